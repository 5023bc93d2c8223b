//! The command line: what can be asked for, and what is printed where. Text for people goes to standard error,
//! data to standard output.

use std::fs::File;
use std::io::{self, BufReader, IsTerminal as _, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use clap::{Args, Parser, Subcommand, ValueEnum};
use reports::{ExitCode, Mode, Report, ScenarioReport};

use crate::check::{self, Verdict};
use crate::failure;
use crate::history::History;
use crate::lockstep::actor;
use crate::run::worker;
use crate::scenario::script::DRIVERS;
use crate::seed::Seed;
use crate::session::{self, Options};
use crate::suite;

/// A line for people. That nobody listens any longer (`harness run 2>&1 | head`) is no reason to stop.
macro_rules! tell {
    ($($text:tt)*) => {{ let _ = writeln!(io::stderr(), $($text)*); }};
}

/// A line of data. Whoever closes the pipe has seen enough.
macro_rules! data {
    ($($text:tt)*) => {{ let _ = writeln!(io::stdout(), $($text)*); }};
}

mod crash_map;
mod lockstep;
mod store;

use lockstep::{ExploreArgs, ReplayArgs, ShrinkArgs};

/// Runs training and evaluation pipelines against real DuckDB files, and judges what happened.
#[derive(Debug, Parser)]
#[command(name = "harness", version, args_conflicts_with_subcommands = true)]
pub struct Cli {
    #[command(subcommand)]
    verb: Option<Verb>,
    #[command(flatten)]
    run: RunArgs,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Run scenarios with a fixed seed (the default verb, of the suite `demo`).
    Run(RunArgs),
    /// Run new schedules of scenarios in lockstep mode.
    Explore(ExploreArgs),
    /// Run a recorded schedule again, and compare everything.
    Replay(ReplayArgs),
    /// Make a failing schedule small: a scenario, a transcript in SQL, and a test in Rust.
    Shrink(ShrinkArgs),
    /// Run the checks over a recorded history.
    Check {
        /// A file of `histories/`.
        history: PathBuf,
    },
    /// Say who holds a database file or waits for it. Never opens the database.
    Status {
        /// The database file.
        database: PathBuf,
        /// Print JSON on standard output.
        #[arg(long)]
        json: bool,
    },
    CrashMap(crash_map::CrashMapArgs),
    Store(store::StoreArgs),
    /// List scenarios and suites.
    List,
    /// Print the JSON Schema of report.json.
    Schema,
    /// What `run` starts as its child processes.
    #[command(hide = true)]
    Worker,
    /// What `explore` and `replay` start as theirs.
    #[command(hide = true, name = actor::ARGUMENT)]
    Actor,
    /// What `crash-map` starts as its child processes.
    #[command(hide = true)]
    CrashWorker {
        /// What to do, as JSON.
        task: String,
    },
}

#[derive(Debug, Args)]
struct RunArgs {
    /// Scenario files, suites (demo, smoke, ci, full), or parts of scenario ids.
    #[arg(value_name = "SCENARIO.toml | SUITE | FILTER")]
    scenarios: Vec<String>,
    /// The same as naming the suite.
    #[arg(long, value_name = "SUITE", value_parser = crate::scenario::SUITES)]
    suite: Option<String>,
    /// Only these of each scenario's drivers (repeatable).
    #[arg(long, value_name = "DRIVER", value_parser = DRIVERS)]
    driver: Vec<String>,
    /// What plans are drawn from: 0x and hexadecimal digits, or decimal.
    #[arg(long, value_name = "SEED", env = "HARNESS_SEED", default_value = "0x2a")]
    seed: Seed,
    /// Where reports go.
    #[arg(long, value_name = "DIR", default_value = "reports/out")]
    output: PathBuf,
    /// What the outcome is printed as.
    #[arg(long, value_enum, default_value_t = MessageFormat::Human)]
    message_format: MessageFormat,
    /// Print nothing but failures.
    #[arg(short, long, conflicts_with = "verbose")]
    quiet: bool,
    /// Log what the manager does (repeat for more).
    #[arg(short, long, action = clap::ArgAction::Count)]
    verbose: u8,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum MessageFormat {
    /// A table on standard error.
    Human,
    /// The report on standard output.
    Json,
}

/// Does what the command line asks for.
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    match cli.verb {
        None => run(&cli.run),
        Some(Verb::Run(run_args)) => run(&run_args),
        Some(Verb::Explore(explore_args)) => lockstep::explore(&explore_args),
        Some(Verb::Replay(replay_args)) => lockstep::replay(&replay_args),
        Some(Verb::Shrink(shrink_args)) => lockstep::shrink(&shrink_args),
        Some(Verb::Check { history }) => judge(&history),
        Some(Verb::Status { database, json }) => status(&database, json),
        Some(Verb::Store(args)) => {
            log(0);
            store::run(&args)
        }
        Some(Verb::CrashMap(args)) => {
            log(0);
            crash_map::run(&args)
        }
        Some(Verb::CrashWorker { task }) => ended(crate::lockstep::crash_map::worker_main(&task)),
        Some(Verb::List) => list(),
        Some(Verb::Schema) => {
            data!("{:#}", reports::schema());
            ExitCode::Passed
        }
        Some(Verb::Actor) => match actor::serve(&crate::lockstep::driver) {
            Ok(()) => ExitCode::Passed,
            Err(error) => {
                let text = format!("{error}; this is a part of `harness explore`");
                fail(&text, ExitCode::Usage)
            }
        },
        Some(Verb::Worker) => {
            log(0);
            ended(worker::main())
        }
    }
}

/// The exit code of a child process of the harness.
fn ended(code: u8) -> ExitCode {
    ExitCode::from_code(code).unwrap_or(ExitCode::Internal)
}

fn run(args: &RunArgs) -> ExitCode {
    match args.verbose {
        // Managers of this very process are those of lockstep, which are made to wait, and to fail.
        0 => log_as("warn,manager=off"),
        verbose => log(verbose),
    }
    let words: Vec<String> = args.scenarios.iter().chain(&args.suite).cloned().collect();
    let (scenarios, scripts) = match suite::choose(&suite::folder(), &words) {
        Ok(chosen) => chosen,
        Err(error) => return fail(&error, ExitCode::Usage),
    };
    let program = match std::env::current_exe() {
        Ok(program) => program,
        Err(error) => return fail(&error, ExitCode::Internal),
    };
    let interrupted = Arc::new(AtomicBool::new(false));
    for signal in [signal_hook::consts::SIGINT, signal_hook::consts::SIGTERM] {
        if let Err(error) = signal_hook::flag::register(signal, Arc::clone(&interrupted)) {
            return fail(&error, ExitCode::Internal);
        }
    }
    let people = !args.quiet && args.message_format == MessageFormat::Human;
    let options = Options {
        scenarios,
        scripts,
        drivers: args.driver.clone(),
        seed: args.seed,
        output: args.output.clone(),
        program,
        progress: people && io::stderr().is_terminal() && std::env::var_os("CI").is_none(),
        interrupted,
    };
    if people {
        announce(&options, &words);
    }
    match session::run(&options) {
        Ok(done) => {
            report(args, &done);
            ExitCode::from_code(done.report.summary.exit_code).unwrap_or(ExitCode::Internal)
        }
        Err(error) => fail(&error, error.exit_code()),
    }
}

fn announce(options: &Options, words: &[String]) {
    if options.scenarios.is_empty() && options.scripts.is_empty() {
        tell!(
            "harness: no scenario matches `{}`; `harness list` shows scenarios and suites",
            words.join(" ")
        );
    }
    for scenario in &options.scenarios {
        tell!("{}: {}, seed {}", scenario.id, scenario.title, options.seed);
    }
    if !options.scripts.is_empty() {
        tell!("{} scenarios in lockstep, seed {}", options.scripts.len(), options.seed);
    }
}

fn report(args: &RunArgs, done: &session::Session) {
    let path = done.folder.join(reports::FILE_NAME);
    if args.message_format == MessageFormat::Json {
        match serde_json::to_string(&done.report) {
            Ok(json) => data!("{json}"),
            Err(error) => tell!("harness: print the report: {error}"),
        }
        return;
    }
    let good = done.report.summary.exit_code == ExitCode::Passed.code();
    if !args.quiet || !good {
        outcome(&done.report);
        let canaries = done.report.summary.canaries;
        tell!("canaries: {} planted, {} caught", canaries.planted, canaries.caught);
        tell!("report:   {}", path.display());
    }
}

/// Tables of what ran freely, a line for each scenario in lockstep, and what went wrong.
fn outcome(report: &Report) {
    let (scripts, free): (Vec<ScenarioReport>, Vec<ScenarioReport>) =
        report.scenarios.iter().cloned().partition(|it| it.mode == Mode::Lockstep);
    if !free.is_empty() || scripts.is_empty() {
        tell!("\n{}", reports::table(&Report { scenarios: free.clone(), ..report.clone() }));
    }
    for script in &scripts {
        tell!("{}", lockstep::line(script));
    }
    for scenario in &free {
        if let Some(failure) = &scenario.failure {
            explain(&scenario.id, &scenario.driver, failure);
        }
    }
    let boxes = scripts.iter().filter_map(failure::boxed);
    boxes.for_each(|text| tell!("{text}"));
}

fn explain(id: &str, driver: &str, failure: &reports::Failure) {
    tell!("{id} on {driver}: failure {}", failure.fingerprint);
    for reason in &failure.because {
        tell!("  {reason}");
    }
    if let Some(command) = &failure.replay_command {
        tell!("  run it again: {command}");
    }
}

fn judge(path: &Path) -> ExitCode {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) => return fail(&format!("read `{}`: {error}", path.display()), ExitCode::Usage),
    };
    let history = match History::read(BufReader::new(file)) {
        Ok(history) => history,
        Err(error) => return fail(&format!("{}: {error}", path.display()), ExitCode::Usage),
    };
    let findings = check::all().map(|check| (check.id(), check.judge(&history)));
    for (id, finding) in &findings {
        data!("{id:16} {:9} {}", finding.verdict.to_string(), finding.message);
        finding.because.iter().for_each(|reason| data!("{:26} {reason}", ""));
    }
    let found = |verdict| findings.iter().any(|(_, finding)| finding.verdict == verdict);
    if found(Verdict::Violated) {
        ExitCode::CheckFailed
    } else if found(Verdict::Unknown) {
        ExitCode::Inconclusive
    } else {
        ExitCode::Passed
    }
}

fn status(database: &Path, json: bool) -> ExitCode {
    if !database.exists() {
        return fail(
            &format!("look at `{}`: there is no such file; check the path", database.display()),
            ExitCode::Usage,
        );
    }
    match manager::holders(database) {
        Ok(holders) if json => {
            let path = database.to_string_lossy();
            data!("{:#}", serde_json::json!({ "database": path, "holders": holders }));
            ExitCode::Passed
        }
        Ok(holders) => {
            if holders.is_empty() {
                data!("nobody holds {} through the gate", database.display());
            }
            for holder in holders {
                data!("{holder}");
            }
            ExitCode::Passed
        }
        Err(error) => fail(&error, ExitCode::Internal),
    }
}

fn list() -> ExitCode {
    let folder = suite::folder();
    let line = |id: &str, suites: &[String], drivers: &[&str], title: &str| {
        data!("{id:16} {:12} {:24} {title}", suites.join(","), drivers.join(","));
    };
    match suite::all(&folder).and_then(|free| Ok((free, suite::scripts(&folder)?))) {
        Ok((free, scripts)) => {
            for it in free {
                let drivers: Vec<_> = it.drivers.iter().map(|driver| driver.name()).collect();
                line(&it.id, &it.suites, &drivers, &it.title);
            }
            for it in scripts {
                let drivers: Vec<_> = it.drivers.iter().map(String::as_str).collect();
                line(&it.id, &it.suites, &drivers, &it.title);
            }
            ExitCode::Passed
        }
        Err(error) => fail(&error, ExitCode::Usage),
    }
}

fn fail(error: &dyn std::fmt::Display, code: ExitCode) -> ExitCode {
    tell!("harness: {error}");
    code
}

fn log(verbose: u8) {
    log_as(["warn", "info", "debug", "trace"][usize::from(verbose.min(3))]);
}

fn log_as(level: &str) {
    let filter = tracing_subscriber::EnvFilter::try_from_default_env()
        .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new(level));
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(io::stderr).init();
}
