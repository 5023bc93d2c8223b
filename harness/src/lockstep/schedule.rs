//! One schedule: decides, logs, lets one actor move, logs what came of it, until there is nobody left to move.
//!
//! # Invariants
//!
//! * An actor that waits is not enabled; it is again when a step wakes, or when its virtual time has come.
//! * Virtual time goes on by [`STEP_NS`] a step, and jumps to the earliest timer when nobody is enabled.
//! * Nobody enabled, no timer and somebody waiting is a deadlock.

use std::fs;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::{Mutex, MutexGuard};
use reports::Hex64;

use super::core::Pinned;
use super::driver::{Driver, DriverError, World};
use super::log::{End, Ended, Header, Log, Writer};
use super::stage::Stage;
use super::strategy::{Chooser, Offer, Stop};
use super::{leaks, loss};
use crate::scenario::script::{EachActor, Points, Script};
use crate::seed::fnv1a;

/// Virtual nanoseconds that a step takes.
pub const STEP_NS: u64 = 1_000;
/// An actor that is away for longer is stuck. Wall-clock time: no statement of a scenario takes a hundredth of it.
pub const WATCHDOG: Duration = Duration::from_secs(10);

/// Held by the one schedule of this process that is running.
static ALONE: Mutex<()> = Mutex::new(());

/// Keeps schedules of this process from running until it is dropped; waits for the one that is. For whoever starts
/// processes beside: until a child becomes another program it has copies of all descriptors, and with them the locks,
/// which a schedule would see.
pub fn alone() -> MutexGuard<'static, ()> {
    ALONE.lock()
}

/// What is run, and where.
pub struct Job<'a> {
    /// Who does what.
    pub script: &'a Script,
    /// On what.
    pub driver: &'a dyn Driver,
    /// An empty folder.
    pub folder: &'a Path,
    /// [`WATCHDOG`], or less in tests.
    pub watchdog: Duration,
}

/// Why a schedule has no whole log.
#[derive(Debug, thiserror::Error)]
pub enum ScheduleError {
    /// The driver could not do its part.
    #[error("the driver `{driver}`: {source}")]
    Driver {
        /// Its name.
        driver: String,
        /// What it says.
        source: DriverError,
    },
    /// The log could not be written, or the schedule's folder not be made or read.
    #[error("the log or the folder of a schedule: {0}; `--output` puts logs elsewhere")]
    Log(#[from] io::Error),
    /// The strategy had no choice left.
    #[error(transparent)]
    Stopped(#[from] Stop),
    /// An actor's process could not be had, or spoken to.
    #[error("the process of {actor}: {source}")]
    Process {
        /// The actor.
        actor: String,
        /// What the operating system says.
        source: io::Error,
    },
    /// An actor's process said something else than what came of its step.
    #[error(
        "the process of {actor} answered `{op}` with `{said}`, which is no reply; its standard output is for replies \
         alone"
    )]
    Garbage {
        /// The actor.
        actor: String,
        /// What it was to do.
        op: String,
        /// What it said, shortened.
        said: String,
    },
    /// The scenario's counter is no number.
    #[error("the scenario's counter: expected a whole number from `{query}`, found `{found}`")]
    Counter {
        /// The query.
        query: String,
        /// What it gave.
        found: String,
    },
}

/// Runs one schedule from a fresh database to its end. Waits for any other schedule of this process; see [`alone`].
///
/// # Errors
///
/// A [`ScheduleError`]. What was decided before it is in the log's file.
pub fn run(
    job: &Job<'_>,
    chooser: &mut dyn Chooser,
    log_file: &Path,
    header: Header,
) -> Result<Log, ScheduleError> {
    let _alone = alone();
    let _one_core = Pinned::here();
    let mut writer = Writer::create(log_file, header)?;
    let open = leaks::Before::now(job.folder)?;
    let world = job.driver.create(job.script, job.folder).map_err(|source| job.blame(source))?;
    let before = counter_before(job, &*world)?;
    let world = hand_over(job, world)?;
    if job.script.power_may_fail() {
        loss::begin(job.folder)?;
    }
    let mut stage = Stage::new(job, world.as_ref())?;
    let ended = play(&mut stage, chooser, &mut writer)?;
    let at_ns = stage.now_ns();
    let is_whole = !matches!(ended, Ended::Stuck { .. });
    let left_open = stage.clear(is_whole);
    let mut end = End { ended, at_ns, left_open, ..End::default() };
    if is_whole {
        look(job, world, before, &mut end)?;
        let left_open = open.left_open()?;
        if !left_open.is_empty() {
            end.left_open.insert("(scheduler)".to_owned(), left_open);
        }
    }
    chooser.ended(&end)?;
    writer.ended(end)?;
    Ok(writer.into_log())
}

/// The world of actors on threads. What this thread, which nobody decides about, has begun in it must not go on: where
/// each actor is a process, it lets go of the file; where the manager's threads are decided about, they begin anew.
fn hand_over(
    job: &Job<'_>,
    world: Arc<dyn World>,
) -> Result<Option<Arc<dyn World>>, ScheduleError> {
    match (job.script.each_actor, job.script.points) {
        (EachActor::Process, _) => Ok(None),
        (EachActor::Thread, Points::Manager) => {
            drop(world);
            let again = job.driver.join(job.script, job.folder);
            Ok(Some(again.map_err(|source| job.blame(source))?))
        }
        (EachActor::Thread, _) => Ok(Some(world)),
    }
}

/// Decides step after step.
fn play(
    stage: &mut Stage<'_>,
    chooser: &mut dyn Chooser,
    log: &mut Writer,
) -> Result<Ended, ScheduleError> {
    for step in 0.. {
        let enabled = stage.enabled();
        if enabled.is_empty() {
            break;
        }
        let chosen = {
            let (faults, ops) = (stage.faults(&enabled), stage.ops(&enabled));
            chooser.choose(&Offer {
                step,
                at_ns: stage.now_ns(),
                enabled: &enabled,
                ops: &ops,
                faults: &faults,
                last: stage.last(),
                names: stage.names(),
            })?
        };
        let decision = stage.decision(step, &enabled, chosen);
        chooser.decided(&decision)?;
        let (actor, op) = (decision.actor.clone(), decision.op.clone());
        log.decided(decision)?;
        match stage.step(step, chosen)? {
            Ok(came) => {
                chooser.came(&came)?;
                log.came(came)?;
            }
            Err(lost) => return Ok(lost.ended(actor, op)),
        }
    }
    Ok(stage.ended())
}

/// What is left when all actors have gone. A database that cannot be read then is a finding, not an error.
fn look(
    job: &Job<'_>,
    world: Option<Arc<dyn World>>,
    before: Option<i64>,
    end: &mut End,
) -> Result<(), ScheduleError> {
    let world = world.map_or_else(|| job.driver.join(job.script, job.folder), Ok);
    match world.and_then(|world| Ok((world.contents()?, world))) {
        Ok((contents, world)) => {
            end.contents = Some(Hex64(fnv1a(contents.as_bytes())));
            end.counter = before.zip(counter(job, &*world)?).map(|(before, after)| [before, after]);
            for question in job.script.watched.questions() {
                let answer = world.query(&question).map_err(|source| job.blame(source))?;
                end.answers.insert(question, answer);
            }
        }
        Err(source @ DriverError::Scenario(_)) => return Err(job.blame(source)),
        Err(DriverError::Failed(text)) => {
            end.unreadable = Some(text.replace(&*job.folder.to_string_lossy(), "…"));
        }
    }
    // A store notes the process that has published, which is another one each time.
    end.files = if job.script.has_store() { None } else { Some(Hex64(files(job.folder)?)) };
    Ok(())
}

/// A digest of the databases of a folder and of their logs, byte for byte. Nobody has them open: closing one here would
/// drop DuckDB's lock.
fn files(folder: &Path) -> io::Result<u64> {
    let mut paths = Vec::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        let end = path.extension().and_then(|end| end.to_str());
        if matches!(end, Some("duckdb" | "wal")) {
            paths.push(path);
        }
    }
    paths.sort();
    let mut digest = 0;
    for path in paths {
        digest = u64::rotate_left(digest, 1) ^ fnv1a(&fs::read(&path)?);
    }
    Ok(digest)
}

impl Job<'_> {
    pub(super) fn blame(&self, source: DriverError) -> ScheduleError {
        ScheduleError::Driver { driver: self.driver.name().to_owned(), source }
    }
}

/// What the scenario counts in its fresh database: the same for every schedule, so it is asked once. Where actors stop
/// within operations, they would see whether somebody has asked.
fn counter_before(job: &Job<'_>, world: &dyn World) -> Result<Option<i64>, ScheduleError> {
    static LAST: Mutex<Option<(u64, String, Option<i64>)>> = Mutex::new(None);
    if job.script.points != Points::Statement {
        return counter(job, world);
    }
    let (digest, driver) = (job.script.digest, job.driver.name());
    let known = LAST.lock().clone();
    if let Some((_, _, counted)) = known.filter(|(script, on, _)| *script == digest && on == driver)
    {
        return Ok(counted);
    }
    let counted = counter(job, world)?;
    *LAST.lock() = Some((digest, driver.to_owned(), counted));
    Ok(counted)
}

/// What the scenario counts, if it does.
fn counter(job: &Job<'_>, world: &dyn World) -> Result<Option<i64>, ScheduleError> {
    let Some(counter) = &job.script.counter else { return Ok(None) };
    let found = world.query(&counter.query).map_err(|source| job.blame(source))?;
    match found.trim().parse() {
        Ok(number) => Ok(Some(number)),
        Err(_) => Err(ScheduleError::Counter { query: counter.query.clone(), found }),
    }
}
