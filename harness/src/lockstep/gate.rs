//! The regression gate: scenarios in lockstep as their `[gate]` says, with a fixed seed.
//!
//! # Scope of determinism
//!
//! All of it: the same seed and build give the same verdicts. Only durations differ.

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use reports::{Canaries, ExitCode, Failure, Hex64, ScenarioReport, Status};

use super::explore;
use super::report;
use super::strategy::Kind;
use crate::scenario::script::{Gate, Script};
use crate::seed::{Seed, fnv1a};

/// A scenario on a driver may take so long: many times what any does, so that a verdict is never a clock's.
const TIME_MAX: Duration = Duration::from_mins(10);

/// What is run.
pub struct Options<'a> {
    /// In this order.
    pub scripts: &'a [Script],
    /// If not empty, only these of each script's drivers.
    pub drivers: &'a [String],
    /// What is drawn from.
    pub seed: Seed,
    /// Instead of what the scenarios say: so many schedules at random.
    pub at_random: Option<u32>,
    /// Where logs of failures are kept.
    pub folder: &'a Path,
    /// Set when the user presses Ctrl-C.
    pub interrupted: &'a AtomicBool,
}

/// What came of it.
#[derive(Debug, Default)]
pub struct Passed {
    /// A report for each script and driver.
    pub scenarios: Vec<ScenarioReport>,
    /// Planted bugs of all of them.
    pub canaries: Canaries,
    /// What the program exits with, besides what the reports say.
    pub codes: Vec<ExitCode>,
}

/// Runs them all. `tell` hears of each report.
pub fn run(options: &Options<'_>, tell: &mut dyn FnMut(&ScenarioReport)) -> Passed {
    let mut passed = Passed::default();
    for script in options.scripts {
        let wanted = |name: &&String| options.drivers.is_empty() || options.drivers.contains(name);
        for driver in script.drivers.iter().filter(wanted) {
            if options.interrupted.load(Ordering::Relaxed) {
                passed.codes.push(ExitCode::Interrupted);
                return passed;
            }
            one(options, script, driver, &mut passed);
            passed.scenarios.last().into_iter().for_each(&mut *tell);
        }
    }
    passed
}

fn one(options: &Options<'_>, script: &Script, driver: &str, passed: &mut Passed) {
    let at_random = |schedules| Gate { strategy: Kind::Random, schedules };
    let gate = options.at_random.map_or(script.gate, at_random);
    let built_in = super::driver(driver).expect("a scenario names drivers that there are");
    let explored = explore::explore(
        &explore::Options {
            script,
            driver: &*built_in,
            strategy: gate.strategy,
            seed: options.seed,
            cases: u64::from(gate.schedules),
            time: TIME_MAX,
            shrink: true,
            folder: options.folder,
            interrupted: options.interrupted,
        },
        &mut |_| (),
    );
    match explored {
        Ok(explored) => {
            passed.canaries.planted += explored.canaries.planted;
            passed.canaries.caught += explored.canaries.caught;
            if explored.divergence.is_some() {
                passed.codes.push(ExitCode::NotReproduced);
            }
            let report = report::explored(script, driver, gate.strategy, options.seed, &explored);
            passed.scenarios.push(report);
        }
        Err(error) => {
            passed.scenarios.push(broken(script, driver, options.seed, &error.to_string()));
        }
    }
}

/// The report of a scenario that could not be run.
fn broken(script: &Script, driver: &str, seed: Seed, because: &str) -> ScenarioReport {
    let failure = Failure {
        fingerprint: Hex64(fnv1a(format!("{}/{driver}/broken", script.id).as_bytes())),
        because: vec![because.to_owned()],
        replay_command: None,
        reproduced: None,
        minimized: None,
    };
    let blank = report::blank(script, driver, seed);
    ScenarioReport { status: Status::Error, failure: Some(failure), ..blank }
}
