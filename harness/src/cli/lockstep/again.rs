//! `replay --scenario`, which runs a schedule of a seed and records it, and `explore --check-determinism`.

use std::io::{self, Write as _};
use std::time::{Duration, Instant};

use clap::Args;
use reports::ExitCode;

use super::StrategyName;
use crate::lockstep::determinism;
use crate::lockstep::log::Log;
use crate::lockstep::record::{self, Asked};
use crate::scenario::script::DRIVERS;
use crate::seed::Seed;
use crate::suite;

/// Which schedule is run again, if not that of a log.
#[derive(Debug, Args)]
pub(crate) struct Again {
    /// Instead of a log: a scenario in lockstep mode, whose schedule is drawn from the seed.
    #[arg(long, value_name = "SCENARIO", conflicts_with = "file")]
    scenario: Option<String>,
    /// What it is drawn from: 0x and hexadecimal digits, or decimal.
    #[arg(long, value_name = "SEED", env = "HARNESS_SEED", default_value = "0x2a")]
    seed: Seed,
    /// On which of its drivers; the first, if none is given.
    #[arg(long, value_name = "DRIVER", value_parser = DRIVERS)]
    driver: Option<String>,
    /// Who decides.
    #[arg(long, value_enum, default_value_t = StrategyName::Random)]
    strategy: StrategyName,
    /// Of dfs: how often a schedule may leave an actor that could have gone on.
    #[arg(long, value_name = "N", default_value_t = 2)]
    preemptions: u32,
    /// Of pct: how many orderings a bug may need.
    #[arg(long, value_name = "N", default_value_t = 2, value_parser = clap::value_parser!(u32).range(1..=16))]
    depth: u32,
    /// Which of the strategy's schedules, counted from 0.
    #[arg(long, value_name = "N", default_value_t = 0)]
    schedule: u64,
}

impl Again {
    /// Runs that schedule once.
    pub(super) fn record(&self) -> Result<Log, (String, ExitCode)> {
        let usage = |text: String| (text, ExitCode::Usage);
        let word = self.scenario.clone().unwrap_or_default();
        let mut scripts = suite::choose_scripts(&suite::folder(), std::slice::from_ref(&word))
            .map_err(|error| usage(error.to_string()))?;
        // A name that is a part of another one means the whole one.
        if scripts.iter().any(|script| script.id == word) {
            scripts.retain(|script| script.id == word);
        }
        let [script] = scripts.as_slice() else {
            let found: Vec<_> = scripts.iter().map(|script| script.id.as_str()).collect();
            let found = if found.is_empty() { "none".to_owned() } else { found.join(", ") };
            return Err((
                format!("expected one scenario by `{word}`, found {found}"),
                ExitCode::NothingRan,
            ));
        };
        let driver = self.driver.as_ref().unwrap_or(&script.drivers[0]);
        let strategy = self.strategy.kind(self.preemptions, self.depth);
        let asked = Asked { script, driver, strategy, seed: self.seed, schedule: self.schedule };
        record::record(&asked).map_err(|error| (error.to_string(), error.exit_code()))
    }
}

/// Runs scenarios drawn from a seed twice each.
pub(super) fn check_determinism(seed: Seed, count: u64, time: Duration) -> ExitCode {
    tell!("seed {seed}, {count} scenarios twice each");
    let begun = Instant::now();
    let mut tick = |done: u64, differing: u64| {
        if done.is_multiple_of(100) {
            tell!("{done} of {count}, {differing} differ, {:.1} s", begun.elapsed().as_secs_f64());
        }
    };
    match determinism::check(seed, count, time, &mut tick) {
        Ok(compared) => {
            for difference in &compared.differences {
                tell!("scenario {} of the seed: {}", difference.number, difference.what);
            }
            let seconds = begun.elapsed().as_secs_f64();
            let _ = writeln!(
                io::stdout(),
                "{} scenarios of seed {seed} run twice in {seconds:.1} s ({:.1} runs a second), {} divergences",
                compared.scenarios,
                2.0 * compared.scenarios as f64 / seconds,
                compared.differences.len()
            ); // whoever closes the pipe has seen enough
            if compared.differences.is_empty() { ExitCode::Passed } else { ExitCode::NotReproduced }
        }
        Err(error) => super::fail(&error, ExitCode::Internal),
    }
}
