//! From what was made small to the parts of `report.json`, and to what the program exits with.
//!
//! # Scope of determinism
//!
//! Pure functions; only durations differ from run to run.

use std::path::Path;

use reports::{ExitCode, Failure, Minimized, ScenarioReport};

use super::{ShrinkError, Shrunk, critical};
use crate::lockstep::log::Log;
use crate::lockstep::report;
use crate::lockstep::repro::ReproError;
use crate::probe::as_ns;

/// What a report says of a failure that was made small.
pub fn minimized(shrunk: &Shrunk) -> Minimized {
    let repro = &shrunk.repro;
    Minimized {
        events: repro.events,
        statements: repro.statements,
        steps: steps(&shrunk.log),
        critical_pair: repro.critical_pair.clone(),
        verified: repro.verified,
        complete: repro.complete,
    }
}

/// The report of a failure that was made small, into that file.
///
/// # Errors
///
/// A [`ReproError`] if the scenario cannot be read.
pub fn report(shrunk: &Shrunk, file: &Path) -> Result<ScenarioReport, ReproError> {
    let Shrunk { repro, log, .. } = shrunk;
    let mut report = report::replayed(&repro.script()?, log, Some(log), repro.verified, Vec::new());
    report.duration_ns = as_ns(shrunk.duration);
    // Whether the scenario expects it or not: this is what was asked for.
    report.failure = Some(Failure {
        fingerprint: repro.fingerprint,
        because: vec![format!("{}: {}", repro.symptom.check, repro.message)],
        replay_command: Some(format!("cargo run --release -- replay {}", file.display())),
        reproduced: Some(repro.verified),
        minimized: Some(minimized(shrunk)),
    });
    Ok(report)
}

/// The steps of a schedule, a line each.
pub fn steps(log: &Log) -> Vec<String> {
    log.steps.iter().map(|step| critical::described(&step.decision)).collect()
}

impl ShrinkError {
    /// What the program exits with.
    pub fn exit_code(&self) -> ExitCode {
        match self {
            Self::NoFailure { .. } => ExitCode::NothingRan,
            Self::Cut { .. } | Self::Stuck { .. } | Self::NoTime => ExitCode::Inconclusive,
            Self::NotReproduced(_) | Self::NotVerified { .. } => ExitCode::NotReproduced,
            Self::Scenario(_) => ExitCode::Usage,
            Self::Schedule(error) => error.exit_code(),
            Self::Repro(error) => error.exit_code(),
        }
    }
}

impl ReproError {
    /// What the program exits with.
    pub fn exit_code(&self) -> ExitCode {
        match self {
            Self::Written { .. } => ExitCode::NotWritten,
            Self::Schedule(error) => error.exit_code(),
            _ => ExitCode::Usage,
        }
    }
}
