//! The verbs `explore` and `replay` of the command line.

mod again;

use std::io::{self, IsTerminal as _, Write as _};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use clap::{Args, ValueEnum};
use reports::{ExitCode, ScenarioReport};

use crate::failure;
use crate::lockstep::explore::Explored;
use crate::lockstep::replay::{self, Replayed};
use crate::lockstep::report;
use crate::lockstep::repro;
use crate::lockstep::session::{self, Options, ReplayOptions, Told};
use crate::lockstep::strategy::{Kind, Pct};
use crate::scenario::script::{DRIVERS, Script};
use crate::seed::Seed;
use crate::session::Session;
use crate::suite;

mod shrink;

pub(crate) use shrink::{ShrinkArgs, shrink};

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum StrategyName {
    /// Each enabled actor equally likely.
    Random,
    /// Priorities that change at a few steps: finds bugs of a depth with a known probability.
    Pct,
    /// Every schedule with at most --preemptions preemptions.
    Dfs,
    /// Every schedule, but of those that differ in the order of queries only, one.
    Full,
    /// Each actor in its own measure eager, and some kinds of fault.
    Swarm,
    /// Every fault that the scenario allows, at every step.
    Crash,
}

/// What `explore` takes.
#[derive(Debug, Args)]
pub(crate) struct ExploreArgs {
    /// Scenario files in lockstep mode, suites, or parts of scenario ids. All, if none is given.
    #[arg(value_name = "SCENARIO.toml | SUITE | FILTER")]
    scenarios: Vec<String>,
    /// Only these of each scenario's drivers (repeatable).
    #[arg(long, value_name = "DRIVER", value_parser = DRIVERS)]
    driver: Vec<String>,
    /// Who decides between the actors. By default dfs; with --time, dfs with 0, 1 and 2 preemptions, then pct, then swarm.
    #[arg(long, value_enum)]
    strategy: Option<StrategyName>,
    /// Of dfs: how often a schedule may leave an actor that could have gone on.
    #[arg(long, value_name = "N", default_value_t = 2)]
    preemptions: u32,
    /// Of pct: how many orderings a bug may need.
    #[arg(long, value_name = "N", default_value_t = 2, value_parser = clap::value_parser!(u32).range(1..=16))]
    depth: u32,
    /// At most so many schedules of each scenario on each driver.
    #[arg(long, value_name = "N", default_value_t = u64::MAX, hide_default_value = true)]
    cases: u64,
    /// For at most that long in all; 60 s by default.
    #[arg(long, value_name = "TIME", value_parser = humantime::parse_duration)]
    time: Option<Duration>,
    /// Instead, run so many scenarios drawn from the seed twice each, and say what differed.
    #[arg(long, value_name = "N", conflicts_with_all = ["scenarios", "cases"])]
    check_determinism: Option<u64>,
    /// Print a table of which property which driver breaks, in Markdown, on standard output.
    #[arg(long)]
    table: bool,
    /// What schedules are drawn from: 0x and hexadecimal digits, or decimal.
    #[arg(long, value_name = "SEED", env = "HARNESS_SEED", default_value = "0x2a")]
    seed: Seed,
    /// Leave failures that nobody expects as they are.
    #[arg(long)]
    no_shrink: bool,
    #[command(flatten)]
    shown: Shown,
}

/// What `replay` takes.
#[derive(Debug, Args)]
pub(crate) struct ReplayArgs {
    /// A decision log, or a repro: `failures/…/decisions.jsonl` or `failures/…/repro.json`.
    #[arg(required_unless_present = "scenario")]
    file: Option<PathBuf>,
    #[command(flatten)]
    again: again::Again,
    /// How often.
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
    times: u32,
    /// Refuse if another build wrote the log.
    #[arg(long)]
    locked: bool,
    #[command(flatten)]
    shown: Shown,
}

#[derive(Debug, Args)]
struct Shown {
    /// Where reports go.
    #[arg(long, value_name = "DIR", default_value = "reports/out")]
    output: PathBuf,
    /// What the outcome is printed as.
    #[arg(long, value_enum, default_value_t = Format::Human)]
    message_format: Format,
    /// Print nothing but failures.
    #[arg(short, long)]
    quiet: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Format {
    /// Lines on standard error.
    Human,
    /// The report on standard output.
    Json,
}

impl Shown {
    fn people(&self) -> bool {
        !self.quiet && self.message_format == Format::Human
    }

    /// Says how it ended, and returns what to exit with.
    fn end(&self, session: &Session) -> ExitCode {
        let report = &session.report;
        let code = ExitCode::from_code(report.summary.exit_code).unwrap_or(ExitCode::Internal);
        if self.message_format == Format::Json {
            if let Ok(json) = serde_json::to_string(report) {
                let _ = writeln!(io::stdout(), "{json}"); // whoever closes the pipe has seen enough
            }
            return code;
        }
        let boxes = report.scenarios.iter().filter_map(failure::boxed);
        boxes.for_each(|text| tell!("{text}"));
        if self.people() || code != ExitCode::Passed {
            let canaries = report.summary.canaries;
            if 0 < canaries.planted {
                tell!("canaries: {} planted, {} caught", canaries.planted, canaries.caught);
            }
            tell!("report:   {}", session.folder.join(reports::FILE_NAME).display());
        }
        code
    }
}

/// How long an exploration may take if nobody says so.
const TIME: Duration = Duration::from_mins(1);

impl StrategyName {
    fn kind(self, preemptions: u32, depth: u32) -> Kind {
        match self {
            Self::Dfs => Kind::Dfs { preemptions },
            Self::Random => Kind::Random,
            Self::Pct => Kind::Pct { depth },
            Self::Full => Kind::Full,
            Self::Swarm => Kind::Swarm,
            Self::Crash => Kind::Crash,
        }
    }
}

impl ExploreArgs {
    fn kind(&self) -> Kind {
        match self.strategy {
            None if self.time.is_some() => Kind::Portfolio,
            other => other.unwrap_or(StrategyName::Dfs).kind(self.preemptions, self.depth),
        }
    }
}

/// Does `explore`.
pub(crate) fn explore(args: &ExploreArgs) -> ExitCode {
    if let Some(count) = args.check_determinism {
        return again::check_determinism(args.seed, count, args.time.unwrap_or(TIME));
    }
    let scripts = match suite::choose_scripts(&suite::folder(), &args.scenarios) {
        Ok(scripts) => scripts,
        Err(error) => return fail(&error, ExitCode::Usage),
    };
    let interrupted = Arc::new(AtomicBool::new(false));
    for signal in [signal_hook::consts::SIGINT, signal_hook::consts::SIGTERM] {
        if let Err(error) = signal_hook::flag::register(signal, Arc::clone(&interrupted)) {
            return fail(&error, ExitCode::Internal);
        }
    }
    let options = Options {
        scripts,
        drivers: args.driver.clone(),
        strategy: args.kind(),
        seed: args.seed,
        cases: args.cases,
        time: args.time.unwrap_or(TIME),
        shrink: !args.no_shrink,
        output: args.shown.output.clone(),
    };
    if args.shown.people() {
        announce(&options, &args.scenarios);
    }
    let mut teller = Teller::new(options.strategy, args.shown.people());
    match session::explore(&options, &interrupted, &mut |told| teller.tell(told)) {
        Ok(session) => {
            if args.table {
                let _ = write!(io::stdout(), "{}", report::table(&session.report)); // as above
            }
            args.shown.end(&session)
        }
        Err(error) => fail(&error, error.exit_code()),
    }
}

fn announce(options: &Options, words: &[String]) {
    tell!("seed {}, {}", options.seed, options.strategy);
    if options.scripts.is_empty() {
        tell!("harness: no scenario in lockstep mode matches `{}`", words.join(" "));
    }
    for script in &options.scripts {
        tell!("{}: {}", script.id, script.title);
        if let Kind::Pct { depth } = options.strategy {
            tell!(
                "  a bug that needs {depth} orderings is met by one schedule with a probability of at least {:.6} \
                 (1/(n·k^(d-1)) for n = {} actors, k = {} steps)",
                Pct::bound(depth, script),
                script.actors.len(),
                script.step_count()
            );
        }
    }
}

/// Shows how far it is, and what came of each driver.
struct Teller {
    strategy: Kind,
    people: bool,
    /// Whether a line may be drawn over.
    drawn: bool,
    last: Instant,
}

impl Teller {
    fn new(strategy: Kind, people: bool) -> Self {
        let terminal = io::stderr().is_terminal() && std::env::var_os("CI").is_none();
        Self { strategy, people, drawn: people && terminal, last: Instant::now() }
    }

    fn tell(&mut self, told: &Told<'_>) {
        match told {
            Told::Tick(script, driver, schedules) => {
                if self.drawn && Duration::from_millis(100) < self.last.elapsed() {
                    self.last = Instant::now();
                    let _ = write!(io::stderr(), "\r{} on {driver}: {schedules}", script.id);
                }
            }
            Told::Done(script, driver, explored) => {
                if self.drawn {
                    let _ = write!(io::stderr(), "\r");
                }
                if self.people {
                    self.done(script, driver, explored);
                }
            }
        }
    }

    fn done(&self, script: &Script, driver: &str, explored: &Explored) {
        let total = explored.total.map_or("more".to_owned(), thousands);
        let bound = match self.strategy {
            Kind::Dfs { preemptions } => format!(" with at most {preemptions} preemptions"),
            _ => String::new(),
        };
        let seconds = explored.duration.as_secs_f64();
        tell!(
            "{} on {driver}: {} of {total} schedules{bound} in {seconds:.2} s ({:.0} a second), {} steps, {} blocked, \
             {} conflicts",
            script.id,
            thousands(explored.schedules),
            explored.schedules as f64 / seconds,
            thousands(explored.steps),
            thousands(explored.blocked),
            thousands(explored.conflicts),
        );
        if 0 < explored.redundant {
            tell!("  {} more stand for the same as one of these", thousands(explored.redundant));
        }
        for part in &explored.parts {
            let total = part.total.map_or("more".to_owned(), thousands);
            tell!("  {}: {} of {total}", part.name, thousands(part.schedules));
        }
        for (id, tally) in &explored.checks {
            let expected = script.verdict(driver, id);
            if let Some(first) = &tally.first {
                tell!("  {id}: violated in {} ({expected} expected)", thousands(tally.violated));
                tell!("    {}, kept in {}", first.finding.message, first.file.display());
            } else {
                tell!("  {id}: holds in {}", thousands(tally.holds));
            }
        }
    }
}

/// Does `replay`.
pub(crate) fn replay(args: &ReplayArgs) -> ExitCode {
    let read = match &args.file {
        Some(file) => repro::read_log(file).map_err(|error| (error.to_string(), error.exit_code())),
        None => args.again.record(),
    };
    let log = match read {
        Ok(log) => log,
        Err((error, code)) => return fail(&error, code),
    };
    if args.shown.people() {
        tell!(
            "seed {}, {} of {} on {}",
            log.header.seed,
            log.header.strategy,
            log.header.scenario,
            log.header.driver
        );
    }
    let other = replay::other_build(&log);
    if !other.is_empty() {
        let text = format!("another build wrote this log: {}", other.join("; "));
        if args.locked {
            return fail(&text, ExitCode::NotReproduced);
        }
        tell!("harness: {text}");
    }
    let options = ReplayOptions { log, times: args.times, output: args.shown.output.clone() };
    match session::replay(&options) {
        Ok((session, all)) => {
            if args.shown.people() {
                let same = all.iter().filter(|one| matches!(one, Replayed::Reproduced(_))).count();
                tell!("reproduced {same} of {}", all.len());
            }
            args.shown.end(&session)
        }
        Err(error) => fail(&error, error.exit_code()),
    }
}

/// A scenario in lockstep on one driver, as `run` tells of it.
pub(super) fn line(report: &ScenarioReport) -> String {
    let exploration = report.exploration.as_ref();
    let count = |part: fn(&reports::Exploration) -> Option<u64>| {
        exploration.and_then(part).map_or("more".to_owned(), thousands)
    };
    let violated = report.checks.iter().filter(|check| check.status == reports::Verdict::Violated);
    let violated: Vec<&str> = violated.map(|check| check.id.as_str()).collect();
    let violated = if violated.is_empty() {
        String::new()
    } else {
        format!(", violated: {}", violated.join(", "))
    };
    format!(
        "{:10} {} on {}: {} of {} schedules{violated}",
        format!("{:?}", report.status).to_lowercase(),
        report.id,
        report.driver,
        count(|exploration| Some(exploration.schedules_run)),
        count(|exploration| exploration.schedules_total),
    )
}

fn thousands(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if 0 < index && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

fn fail(error: &dyn std::fmt::Display, code: ExitCode) -> ExitCode {
    tell!("harness: {error}");
    code
}

#[cfg(test)]
mod tests {
    use super::thousands;

    #[test]
    fn thousands_are_parted_by_commas() {
        let shown = [0, 12, 999, 1_056, 1_000_000].map(thousands);
        assert_eq!(shown, ["0", "12", "999", "1,056", "1,000,000"]);
    }
}
