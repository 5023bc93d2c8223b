//! The verb `crash-map` of the command line.

use std::io::{self, Write as _};

use clap::Args;
use reports::ExitCode;

use crate::lockstep::crash_map::workload::Workload;
use crate::lockstep::crash_map::{self, Driver, Options, table};

/// Kill, tear and fail every I/O call of a workload, once each, and say what is left of the database.
#[derive(Debug, Args)]
pub(crate) struct CrashMapArgs {
    /// Whose calls.
    #[arg(long, value_enum, default_value_t = Driver::Naive)]
    driver: Driver,
    /// Which calls.
    #[arg(long, value_enum, default_value_t = Workload::Standard)]
    workload: Workload,
    /// Only the call of this number (repeatable).
    #[arg(long, value_name = "N")]
    call: Vec<usize>,
    /// Print JSON on standard output.
    #[arg(long)]
    json: bool,
}

/// Takes the map and prints it. Exits with 0 if everything in it is explained.
pub(crate) fn run(args: &CrashMapArgs) -> ExitCode {
    let taken = std::env::current_exe().map_err(|error| error.to_string()).and_then(|program| {
        let (driver, workload, calls) = (args.driver, args.workload, &*args.call);
        crash_map::take(&Options { driver, workload, calls, program: &program })
            .map_err(|error| error.to_string())
    });
    let map = match taken {
        Ok(map) => map,
        Err(error) => {
            tell!("harness: take a crash map: {error}");
            return ExitCode::Internal;
        }
    };
    if args.json {
        match serde_json::to_string(&map) {
            Ok(json) => data!("{json}"),
            Err(error) => tell!("harness: print the map: {error}"),
        }
    } else {
        let _ = write!(io::stdout(), "{}", table::text(&map)); // whoever closes the pipe has seen enough
    }
    tell!("{:.1} s", map.seconds);
    if map.unexplained == 0 { ExitCode::Passed } else { ExitCode::CheckFailed }
}
