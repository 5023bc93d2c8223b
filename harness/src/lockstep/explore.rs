//! Schedule after schedule, until there are none left, or enough, or time is out.
//!
//! # Invariants
//!
//! * Every [`RECHECK`]th schedule is replayed at once. One that diverges ends the exploration: what is not deterministic
//!   cannot be explored.
//! * The log of the first schedule that breaks a property is kept, whether that was expected or not, and replayed three
//!   times.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use reports::{Canaries, Hex64, Minimized};

use super::check;
use super::driver::{Class, Driver};
use super::log::{Build, Ended, FORMAT, Header, Log, VERSION};
use super::replay::{self, Divergence, Replayed};
use super::repro;
use super::schedule::{self, Job, ScheduleError, WATCHDOG};
use super::shrink::{self, ShrinkError};
use super::strategy::{Crash, Dfs, Kind, Part, Pct, Portfolio, Stop, Strategy, Swarm, Uniform};
use super::workplace::Workplace;
use crate::check::{Finding, Verdict};
use crate::scenario::script::Script;
use crate::seed::Seed;

/// One schedule in so many is replayed as soon as it has ended.
pub const RECHECK: u64 = 20;
/// How often a schedule that is kept is replayed.
pub const VERIFIED: u32 = 3;

/// What is explored.
pub struct Options<'a> {
    /// Who does what.
    pub script: &'a Script,
    /// On what.
    pub driver: &'a dyn Driver,
    /// In which order.
    pub strategy: Kind,
    /// What is drawn from.
    pub seed: Seed,
    /// At most so many schedules.
    pub cases: u64,
    /// For at most that long.
    pub time: Duration,
    /// Whether what nobody expects is made small at once, in the time that is left.
    pub shrink: bool,
    /// Where logs are kept.
    pub folder: &'a Path,
    /// Set when the user presses Ctrl-C.
    pub interrupted: &'a AtomicBool,
}

/// What came of it.
#[derive(Clone, Debug)]
pub struct Explored {
    /// Schedules that were run to their end.
    pub schedules: u64,
    /// How many there are within the strategy's bound, if that is known: then all of them were run.
    pub total: Option<u64>,
    /// Schedules that were begun and left, since another one stands for them.
    pub redundant: u64,
    /// What the strategy consisted of, if of several.
    pub parts: Vec<Part>,
    /// The first thing that was not the same twice.
    pub divergence: Option<Divergence>,
    /// Steps that were taken.
    pub steps: u64,
    /// Those that lost a race.
    pub conflicts: u64,
    /// Those that had to wait.
    pub blocked: u64,
    /// Those that failed for another reason.
    pub errors: u64,
    /// What the checks said, by id, of those that had something to say.
    pub checks: BTreeMap<&'static str, Tally>,
    /// Planted bugs.
    pub canaries: Canaries,
    /// Of all logs, in order.
    pub digest: u64,
    /// How long it took.
    pub duration: Duration,
    /// An actor was stuck, so its thread is still there, and no further schedule was run.
    pub stuck: bool,
}

/// What one check said of all schedules.
#[derive(Clone, Debug, Default)]
pub struct Tally {
    /// Schedules in which the property holds.
    pub holds: u64,
    /// Schedules in which it is broken.
    pub violated: u64,
    /// Schedules that do not tell.
    pub unknown: u64,
    /// Its canary was not caught.
    pub is_blind: bool,
    /// The first in which it is broken.
    pub first: Option<Kept>,
}

/// A log that was kept.
#[derive(Clone, Debug)]
pub struct Kept {
    /// Names the failure: equal for equal scenario, driver and check.
    pub fingerprint: u64,
    /// Which of the strategy's schedules it is.
    pub schedule: String,
    /// The log.
    pub file: PathBuf,
    /// What the check said.
    pub finding: Finding,
    /// How often a replay had the same outcome, of how many.
    pub reproduced: [u32; 2],
    /// The smallest case, or why there is none; none if nobody asked for one.
    pub shrunk: Option<Result<Minimized, String>>,
}

/// Why an exploration has no result.
#[derive(Debug, thiserror::Error)]
pub enum ExploreError {
    /// A schedule could not be run.
    #[error("explore `{scenario}` on {driver}: {source}")]
    Schedule {
        /// The scenario's id.
        scenario: String,
        /// The driver's name.
        driver: String,
        /// Why.
        source: ScheduleError,
    },
    /// A log could not be kept.
    #[error("{action} `{}`: {source}; `--output` puts it elsewhere", path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// On which path.
        path: PathBuf,
        /// What the operating system says.
        source: io::Error,
    },
}

/// The strategy of that kind for that script.
pub fn strategy(kind: Kind, seed: Seed, script: &Script) -> Box<dyn Strategy> {
    match kind {
        Kind::Random => Box::new(Uniform::new(seed)),
        Kind::Pct { depth } => Box::new(Pct::new(seed, depth, script)),
        Kind::Dfs { preemptions } => Box::new(Dfs::new(preemptions)),
        Kind::Full => Box::new(Dfs::without_bound()),
        Kind::Swarm => Box::new(Swarm::new(seed)),
        Kind::Crash => Box::new(Crash::default()),
        Kind::Portfolio => Box::new(Portfolio::new(seed, script)),
    }
}

/// Explores one script on one driver. `tick` is called after each schedule with how many have been run.
///
/// # Errors
///
/// An [`ExploreError`]; the log of the schedule that was running is in the folder.
pub fn explore(options: &Options<'_>, tick: &mut dyn FnMut(u64)) -> Result<Explored, ExploreError> {
    let begun = Instant::now();
    let mut strategy = strategy(options.strategy, options.seed, options.script);
    let mut explorer = Explorer::new(options)?;
    loop {
        let out_of_time = options.time <= begun.elapsed();
        let enough = options.cases <= explorer.explored.schedules || out_of_time;
        if enough || options.interrupted.load(Ordering::Relaxed) || explorer.is_over() {
            break;
        }
        if !strategy.begin() {
            explorer.explored.total = strategy.total();
            break;
        }
        explorer.one(&mut *strategy)?;
        tick(explorer.explored.schedules);
    }
    // The last schedule may have been the last there is.
    if !explorer.is_over() && explorer.explored.total.is_none() && 0 < explorer.explored.schedules {
        let ends = matches!(options.strategy, Kind::Dfs { .. } | Kind::Full | Kind::Crash);
        let is_last = ends && !strategy.begin();
        explorer.explored.total = if is_last { strategy.total() } else { None };
    }
    explorer.explored.parts = strategy.parts();
    explorer.explored.duration = begun.elapsed();
    let _ = fs::remove_file(&explorer.current); // of schedules that ended; what is worth it was kept
    let _ = fs::remove_file(&explorer.again);
    Ok(explorer.explored)
}

struct Explorer<'a> {
    options: &'a Options<'a>,
    workplace: Workplace,
    build: Build,
    /// The log that is being written, and that of a replay.
    current: PathBuf,
    again: PathBuf,
    explored: Explored,
    begun: Instant,
}

impl<'a> Explorer<'a> {
    fn new(options: &'a Options<'a>) -> Result<Self, ExploreError> {
        let workplace = Workplace::new().map_err(|source| ExploreError::Io {
            action: "make a folder for databases in",
            path: std::env::temp_dir(),
            source,
        })?;
        let name = format!("{}.{}", options.script.id, options.driver.name());
        Ok(Self {
            options,
            workplace,
            build: Build::of_this_program(),
            begun: Instant::now(),
            current: options.folder.join(format!("{name}.running.jsonl")),
            again: options.folder.join(format!("{name}.replay.jsonl")),
            explored: Explored {
                schedules: 0,
                total: None,
                redundant: 0,
                parts: Vec::new(),
                divergence: None,
                steps: 0,
                conflicts: 0,
                blocked: 0,
                errors: 0,
                checks: BTreeMap::new(),
                canaries: Canaries::default(),
                digest: 0,
                duration: Duration::ZERO,
                stuck: false,
            },
        })
    }

    /// Whether going on makes no sense.
    fn is_over(&self) -> bool {
        self.explored.stuck || self.explored.divergence.is_some()
    }

    fn one(&mut self, strategy: &mut dyn Strategy) -> Result<(), ExploreError> {
        let header = self.header(strategy.schedule());
        let log = self.with_job(|job| schedule::run(job, strategy, &self.current, header));
        let log = match log {
            Ok(log) => log,
            Err(ScheduleError::Stopped(Stop::Diverged(divergence))) => {
                self.explored.divergence = Some(divergence);
                return Ok(());
            }
            Err(ScheduleError::Stopped(Stop::Redundant)) => {
                self.explored.redundant += 1;
                return Ok(());
            }
            Err(source) => return Err(self.failed(source)),
        };
        self.count(&log);
        if self.explored.stuck {
            return self.judge(&log);
        }
        if self.explored.schedules % RECHECK == 1
            && let Replayed::Diverged(divergence) = self.replay(&log)?
        {
            self.explored.divergence = Some(divergence);
        }
        self.judge(&log)
    }

    fn with_job<T>(
        &self,
        run: impl FnOnce(&Job<'_>) -> Result<T, ScheduleError>,
    ) -> Result<T, ScheduleError> {
        let folder = self.workplace.fresh()?;
        let Options { script, driver, .. } = *self.options;
        run(&Job { script, driver, folder: &folder, watchdog: WATCHDOG })
    }

    fn replay(&self, log: &Log) -> Result<Replayed, ExploreError> {
        self.with_job(|job| replay::replay(log, job, &self.again))
            .map_err(|source| self.failed(source))
    }

    fn failed(&self, source: ScheduleError) -> ExploreError {
        let (scenario, driver) =
            (self.options.script.id.clone(), self.options.driver.name().into());
        ExploreError::Schedule { scenario, driver, source }
    }

    fn header(&self, schedule: String) -> Header {
        let Options { script, driver, seed, .. } = *self.options;
        header(script, driver.name(), seed, schedule, &self.build)
    }

    fn count(&mut self, log: &Log) {
        let explored = &mut self.explored;
        explored.schedules += 1;
        explored.digest = explored.digest.rotate_left(1) ^ log.digest();
        explored.steps += log.steps.len() as u64;
        for came in log.steps.iter().filter_map(|step| step.came.as_ref()) {
            match came.outcome.class {
                Class::Ok | Class::Paused | Class::Killed => {}
                Class::Blocked => explored.blocked += 1,
                Class::Conflict => explored.conflicts += 1,
                _ => explored.errors += 1,
            }
        }
        let ended = log.end.as_ref().map(|end| &end.ended);
        explored.stuck = matches!(ended, Some(Ended::Stuck { .. }));
    }

    fn judge(&mut self, log: &Log) -> Result<(), ExploreError> {
        let script = self.options.script;
        for check in check::all() {
            let Some(finding) = check.judge(script, log) else { continue };
            let tally = self.explored.checks.entry(check.id()).or_default();
            // One canary a check: in the first schedule in which its property holds.
            if finding.verdict == Verdict::Holds && tally.holds == 0 {
                let caught = check::canary(check, script, log);
                self.explored.canaries.planted += u32::from(caught.is_some());
                self.explored.canaries.caught += u32::from(caught == Some(true));
                tally.is_blind = caught == Some(false);
            }
            match finding.verdict {
                Verdict::Holds => tally.holds += 1,
                Verdict::Unknown => tally.unknown += 1,
                Verdict::Violated => {
                    tally.violated += 1;
                    if tally.first.is_none() {
                        let kept = self.keep(check.id(), finding, log)?;
                        self.explored.checks.entry(check.id()).or_default().first = Some(kept);
                    }
                }
            }
        }
        Ok(())
    }

    fn keep(&self, check: &str, finding: Finding, log: &Log) -> Result<Kept, ExploreError> {
        let Options { script, driver, folder, .. } = *self.options;
        let fingerprint = repro::fingerprint(&script.id, driver.name(), check);
        let place = folder.join("failures").join(format!("{}", Hex64(fingerprint)));
        let file = place.join("decisions.jsonl");
        let io = |action, path: &Path| {
            let path = path.to_owned();
            move |source| ExploreError::Io { action, path, source }
        };
        fs::create_dir_all(&place).map_err(io("create", &place))?;
        fs::copy(&self.current, &file).map_err(io("keep a log as", &file))?;
        let mut again = 0;
        for _ in 0..if self.explored.stuck { 0 } else { VERIFIED } {
            again += u32::from(matches!(self.replay(log)?, Replayed::Reproduced(_)));
        }
        let schedule = log.header.strategy.clone();
        let is_expected = script.verdict(driver.name(), check) == Verdict::Violated;
        let shrunk = (self.options.shrink && !is_expected && again == VERIFIED)
            .then(|| self.shrink(check, log, &place).map_err(|error| error.to_string()));
        Ok(Kept { fingerprint, schedule, file, finding, reproduced: [again, VERIFIED], shrunk })
    }

    fn shrink(&self, check: &str, log: &Log, place: &Path) -> Result<Minimized, ShrinkError> {
        let left = self.options.time.saturating_sub(self.begun.elapsed());
        let options = shrink::Options {
            check: Some(check),
            time: left.min(shrink::TIME),
            ..shrink::Options::new(self.options.driver)
        };
        let shrunk = shrink::shrink(log, &options, &mut |_| ())?;
        shrunk.repro.write(place, &shrunk.log)?;
        Ok(shrink::minimized(&shrunk))
    }
}

/// The header of a log.
pub fn header(
    script: &Script,
    driver: &str,
    seed: Seed,
    schedule: String,
    build: &Build,
) -> Header {
    Header {
        format: FORMAT.to_owned(),
        version: VERSION,
        scenario: script.id.clone(),
        scenario_digest: Hex64(script.digest),
        scenario_text: script.text.clone(),
        driver: driver.to_owned(),
        seed: Hex64(seed.0),
        strategy: schedule,
        build: build.clone(),
    }
}
