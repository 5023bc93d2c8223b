//! The verb `shrink` of the command line.

use std::io::{self, IsTerminal as _, Write as _};
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use reports::ExitCode;

use super::{Shown, fail};
use crate::failure;
use crate::lockstep::repro;
use crate::lockstep::session::{self, ShrinkOptions};
use crate::lockstep::shrink::{Progress, figures};
use crate::seed::Seed;

/// What `shrink` takes.
#[derive(Debug, Args)]
pub(crate) struct ShrinkArgs {
    /// A failing decision log, or a repro: `failures/…/decisions.jsonl` or `failures/…/repro.json`.
    #[arg(required_unless_present = "bench")]
    file: Option<PathBuf>,
    /// For at most that long.
    #[arg(long, value_name = "TIME", default_value = "30s", value_parser = humantime::parse_duration)]
    time: Duration,
    /// Of several failures that of this check.
    #[arg(long, value_name = "CHECK")]
    check: Option<String>,
    /// Measure how much is left out, and how long that takes: of failures of the shipped scenarios, and of such padded
    /// with what they do not need.
    #[arg(long, conflicts_with_all = ["file", "check"])]
    bench: bool,
    #[command(flatten)]
    shown: Shown,
}

/// Does `shrink`.
pub(crate) fn shrink(args: &ShrinkArgs) -> ExitCode {
    let Some(file) = &args.file else { return bench(args) };
    let log = match repro::read_log(file) {
        Ok(log) => log,
        Err(error) => return fail(&error, error.exit_code()),
    };
    let header = &log.header;
    if args.shown.people() {
        tell!(
            "seed {}, {} of {} on {}",
            header.seed,
            header.strategy,
            header.scenario,
            header.driver
        );
    }
    let options = ShrinkOptions {
        log,
        check: args.check.clone(),
        time: args.time,
        output: args.shown.output.clone(),
    };
    let drawn =
        args.shown.people() && io::stderr().is_terminal() && std::env::var_os("CI").is_none();
    let mut tell = |progress: &Progress| {
        if drawn {
            let Progress { pass, runs, events: [before, after] } = progress;
            // Drawn over by the next one.
            let _ = write!(io::stderr(), "\r{runs} runs, {before} → {after} steps, {pass:24}");
        }
    };
    let shrunk = session::shrink(&options, &mut tell);
    if drawn {
        let _ = write!(io::stderr(), "\r{:72}\r", "");
    }
    let (session, shrunk, file) = match shrunk {
        Ok(done) => done,
        Err(error) => return fail(&error, error.exit_code()),
    };
    if args.shown.people() {
        let failure = session.report.scenarios.iter().find_map(|it| it.failure.as_ref());
        let expected = session.report.summary.exit_code == ExitCode::Passed.code();
        // What nobody expects is in the box that follows.
        if let Some(minimized) = failure.and_then(|it| it.minimized.as_ref()).filter(|_| expected) {
            tell!("{}: {}, as the scenario says", shrunk.repro.symptom.check, shrunk.repro.message);
            for line in failure::smallest(minimized) {
                tell!("│ {line}");
            }
        }
        tell!("{} runs in {:.2} s", shrunk.runs, shrunk.duration.as_secs_f64());
        tell!("repro:    {}", file.display());
    }
    args.shown.end(&session)
}

fn bench(args: &ShrinkArgs) -> ExitCode {
    let folder = crate::suite::folder();
    match figures::measure(&folder, args.time, Seed(0x2a), &mut |case| tell!("{case}")) {
        Ok(figures) => {
            data!("{figures}");
            ExitCode::Passed
        }
        Err(error) => fail(&error, error.exit_code()),
    }
}
