//! The verbs `explore` and `replay`: what is asked for, run, and reported in a folder of its own.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use reports::{Canaries, ExitCode, Kind as ReportKind, Provenance, Report, ScenarioReport};

use super::driver::{Driver, DriverError};
use super::explore::{self, ExploreError, Explored};
use super::kept;
use super::log::Log;
use super::replay::{self, Replayed};
use super::report;
use super::schedule::{Job, ScheduleError, WATCHDOG};
use super::shrink::{self, Progress, ShrinkError, Shrunk};
use super::strategy::Kind;
use super::workplace::Workplace;
use crate::probe::as_ns;
use crate::provenance;
use crate::scenario::ScenarioError;
use crate::scenario::script::Script;
use crate::seed::Seed;
use crate::session::{self, Session, SessionError};
use crate::suite;

/// What an exploration is asked for.
pub struct Options {
    /// What is explored, in this order.
    pub scripts: Vec<Script>,
    /// If not empty, only these of each script's drivers.
    pub drivers: Vec<String>,
    /// Who decides.
    pub strategy: Kind,
    /// What is drawn from.
    pub seed: Seed,
    /// At most so many schedules of each script on each driver.
    pub cases: u64,
    /// For at most that long in all, divided between them.
    pub time: Duration,
    /// Whether what nobody expects is made small at once.
    pub shrink: bool,
    /// The folder that gets a folder for this run.
    pub output: PathBuf,
}

/// What a replay is asked for.
pub struct ReplayOptions {
    /// What is followed.
    pub log: Log,
    /// How often.
    pub times: u32,
    /// The folder that gets a folder for this run.
    pub output: PathBuf,
}

/// What shrinking is asked for.
pub struct ShrinkOptions {
    /// What fails.
    pub log: Log,
    /// Of several failures that of this check.
    pub check: Option<String>,
    /// For at most that long.
    pub time: Duration,
    /// The folder that gets a folder for this run.
    pub output: PathBuf,
}

/// What `explore` tells while it runs.
pub enum Told<'a> {
    /// So many schedules of that script have been run on that driver.
    Tick(&'a Script, &'a str, u64),
    /// A script has been explored on a driver.
    Done(&'a Script, &'a str, &'a Explored),
}

/// Why there is no report.
#[derive(Debug, thiserror::Error)]
pub enum LockstepError {
    /// The report, or its folder, could not be written.
    #[error("{0}")]
    Session(Box<SessionError>),
    /// A schedule could not be run.
    #[error(transparent)]
    Explore(#[from] ExploreError),
    /// A replay could not be run.
    #[error(transparent)]
    Schedule(#[from] ScheduleError),
    /// A log could not be made smaller.
    #[error(transparent)]
    Shrink(#[from] ShrinkError),
    /// There is no driver of that name.
    #[error(
        "there is no driver `{0}`; the built-in ones are naive, retrying, separate and managed"
    )]
    Driver(String),
    /// None of the scenarios lists one of the drivers that were asked for.
    #[error("no scenario lists `{asked}` among its `drivers`; there are {there_are}")]
    NotListed {
        /// Those that were asked for.
        asked: String,
        /// Those that some scenario lists.
        there_are: String,
    },
    /// The strategy has no schedule of that number.
    #[error("there is no schedule {asked}: there are {there_are}, counted from 0")]
    NoSchedule {
        /// Which was asked for.
        asked: u64,
        /// How many there are.
        there_are: u64,
    },
    /// The log's scenario cannot be read.
    #[error("the scenario in the log: {0}")]
    Scenario(Box<ScenarioError>),
}

impl From<SessionError> for LockstepError {
    fn from(error: SessionError) -> Self {
        Self::Session(Box::new(error))
    }
}

impl From<ScenarioError> for LockstepError {
    fn from(error: ScenarioError) -> Self {
        Self::Scenario(Box::new(error))
    }
}

impl LockstepError {
    /// What the program exits with.
    pub fn exit_code(&self) -> ExitCode {
        match self {
            Self::Session(error) => error.exit_code(),
            Self::Explore(ExploreError::Io { .. }) => ExitCode::NotWritten,
            Self::Schedule(source) | Self::Explore(ExploreError::Schedule { source, .. }) => {
                source.exit_code()
            }
            Self::Shrink(error) => error.exit_code(),
            Self::Driver(_) | Self::NoSchedule { .. } | Self::Scenario(_) => ExitCode::Usage,
            Self::NotListed { .. } => ExitCode::NothingRan,
        }
    }
}

impl ScheduleError {
    pub(super) fn exit_code(&self) -> ExitCode {
        match self {
            Self::Log(_) => ExitCode::NotWritten,
            Self::Driver { source: DriverError::Scenario(_), .. } | Self::Counter { .. } => {
                ExitCode::Usage
            }
            Self::Driver { .. } | Self::Process { .. } | Self::Garbage { .. } => ExitCode::Internal,
            Self::Stopped(_) => ExitCode::NotReproduced,
        }
    }
}

/// A script and one of its drivers.
type Pair<'a> = (&'a Script, Box<dyn Driver>);

/// Explores everything, and writes the report even if it was interrupted.
///
/// # Errors
///
/// A [`LockstepError`] if there is no report.
pub fn explore(
    options: &Options,
    interrupted: &AtomicBool,
    tell: &mut dyn FnMut(&Told<'_>),
) -> Result<Session, LockstepError> {
    let mut run = Run::begin(&options.output)?;
    let mut canaries = Canaries::default();
    let mut scenarios = Vec::new();
    let jobs = jobs(options)?;
    for (index, (script, driver)) in jobs.iter().enumerate() {
        let left = options.time.saturating_sub(run.begun.elapsed());
        let name = driver.name();
        let kept = match options.strategy {
            Kind::Portfolio => Some(kept::replay_all(
                &suite::folder().join("regressions"),
                script,
                &**driver,
                &run.folder.join("kept.jsonl"),
            )?),
            _ => None,
        };
        let mut explored = explore::explore(
            &explore::Options {
                script,
                driver: &**driver,
                strategy: options.strategy,
                seed: options.seed,
                cases: options.cases,
                time: left / (jobs.len() - index) as u32,
                shrink: options.shrink,
                folder: &run.folder,
                interrupted,
            },
            &mut |schedules| tell(&Told::Tick(script, name, schedules)),
        )?;
        if let Some(kept) = kept {
            explored.parts.insert(0, kept.part);
            explored.divergence = kept.divergence.or(explored.divergence);
        }
        tell(&Told::Done(script, name, &explored));
        canaries.planted += explored.canaries.planted;
        canaries.caught += explored.canaries.caught;
        if explored.divergence.is_some() {
            run.codes.push(ExitCode::NotReproduced);
        }
        scenarios.push(report::explored(script, name, options.strategy, options.seed, &explored));
        if interrupted.load(Ordering::Relaxed) {
            run.codes.push(ExitCode::Interrupted);
            break;
        }
    }
    run.end(ReportKind::Explore, scenarios, canaries, &options.output)
}

fn jobs(options: &Options) -> Result<Vec<Pair<'_>>, LockstepError> {
    let mut jobs = Vec::new();
    for script in &options.scripts {
        for name in &script.drivers {
            if options.drivers.is_empty() || options.drivers.contains(name) {
                let driver = super::driver(name);
                jobs.push((script, driver.ok_or_else(|| LockstepError::Driver(name.clone()))?));
            }
        }
    }
    if jobs.is_empty() && !options.drivers.is_empty() {
        let listed: BTreeSet<&str> =
            options.scripts.iter().flat_map(|script| &script.drivers).map(String::as_str).collect();
        return Err(LockstepError::NotListed {
            asked: options.drivers.join("`, `"),
            there_are: listed.into_iter().collect::<Vec<_>>().join(", "),
        });
    }
    Ok(jobs)
}

/// Replays a log, and writes the report. Returns what came of each time too.
///
/// # Errors
///
/// A [`LockstepError`] if there is no report.
pub fn replay(options: &ReplayOptions) -> Result<(Session, Vec<Replayed>), LockstepError> {
    let log = &options.log;
    let name = &log.header.driver;
    let driver = super::driver(name).ok_or_else(|| LockstepError::Driver(name.clone()))?;
    let script = script_of(log)?;
    let mut run = Run::begin(&options.output)?;
    let place = Workplace::new().map_err(ScheduleError::Log)?;
    let file = run.folder.join("decisions.jsonl");
    let mut all = Vec::new();
    for _ in 0..options.times {
        let folder = place.fresh().map_err(ScheduleError::Log)?;
        let job = Job { script: &script, driver: &*driver, folder: &folder, watchdog: WATCHDOG };
        all.push(replay::replay(log, &job, &file)?);
    }
    let mut because = Vec::new();
    let (mut reproduced, mut again) = (0, None);
    for one in &all {
        match one {
            Replayed::Reproduced(log) => {
                reproduced += 1;
                again = Some(&**log);
            }
            Replayed::Cut(steps) => {
                because.push(format!(
                    "the log was cut off: it was followed for {steps} steps, as recorded"
                ));
                run.codes.push(ExitCode::Inconclusive);
            }
            Replayed::Diverged(divergence) => {
                because.push(divergence.to_string());
                run.codes.push(ExitCode::NotReproduced);
            }
        }
    }
    because.dedup();
    let count = [reproduced, options.times];
    let scenario = report::replayed(&script, log, again, count, because);
    let session =
        run.end(ReportKind::Replay, vec![scenario], Canaries::default(), &options.output)?;
    Ok((session, all))
}

/// Makes a failing log small, and writes the report, with the small case in the folder of its failure. `tell` is called
/// on the way.
///
/// # Errors
///
/// A [`LockstepError`] if there is no report.
pub fn shrink(
    options: &ShrinkOptions,
    tell: &mut dyn FnMut(&Progress),
) -> Result<(Session, Shrunk, PathBuf), LockstepError> {
    let name = &options.log.header.driver;
    let driver = super::driver(name).ok_or_else(|| LockstepError::Driver(name.clone()))?;
    let run = Run::begin(&options.output)?;
    let asked = shrink::Options {
        check: options.check.as_deref(),
        time: options.time,
        ..shrink::Options::new(&*driver)
    };
    let shrunk = shrink::shrink(&options.log, &asked, tell).inspect_err(|_| {
        let _ = std::fs::remove_dir(&run.folder); // nothing is in it, and nothing will be
    })?;
    let place = run.folder.join("failures").join(shrunk.repro.fingerprint.to_string());
    let file = shrunk.repro.write(&place, &shrunk.log).map_err(ShrinkError::Repro)?;
    let scenario = shrink::report(&shrunk, &file).map_err(ShrinkError::Repro)?;
    let session =
        run.end(ReportKind::Replay, vec![scenario], Canaries::default(), &options.output)?;
    Ok((session, shrunk, file))
}

/// The scenario that a log holds.
///
/// # Errors
///
/// A [`ScenarioError`] if this build reads it otherwise.
pub fn script_of(log: &Log) -> Result<Script, ScenarioError> {
    let name = PathBuf::from(format!("{}.toml", log.header.scenario));
    Script::parse(&name, log.header.scenario_text.as_bytes())
}

/// A run that will have a report.
struct Run {
    started_at: jiff::Timestamp,
    begun: Instant,
    folder: PathBuf,
    codes: Vec<ExitCode>,
}

impl Run {
    fn begin(output: &std::path::Path) -> Result<Self, SessionError> {
        let started_at = jiff::Timestamp::now();
        let folder = session::make_folder(output, started_at)?;
        Ok(Self { started_at, begun: Instant::now(), folder, codes: Vec::new() })
    }

    fn end(
        self,
        kind: ReportKind,
        scenarios: Vec<ScenarioReport>,
        canaries: Canaries,
        output: &std::path::Path,
    ) -> Result<Session, LockstepError> {
        let provenance = Provenance {
            started_at: self.started_at.to_string(),
            duration_ns: as_ns(self.begun.elapsed()),
            argv: std::env::args().collect(),
            versions: provenance::versions(),
            machine: provenance::machine(&Workplace::parent()),
        };
        let exploration = report::total(&scenarios);
        let mut report = Report::new(kind, provenance, scenarios, canaries);
        if let Some(exploration) = exploration {
            report = report.explored(exploration);
        }
        for code in self.codes {
            report.summary.raise(code);
        }
        report.write(&self.folder).map_err(SessionError::Report)?;
        session::point_latest(output, &self.folder)?;
        Ok(Session { report, folder: self.folder })
    }
}
