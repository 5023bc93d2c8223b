//! One schedule of a strategy by its number: what `replay --scenario` runs.
//!
//! # Scope of determinism
//!
//! Scenario, driver, strategy, seed and number name one schedule; running it again gives the same log.

use super::explore;
use super::log::{Build, Log};
use super::schedule::{self, Job, ScheduleError, WATCHDOG};
use super::session::LockstepError;
use super::strategy::{Kind, Stop};
use super::workplace::Workplace;
use crate::scenario::script::Script;
use crate::seed::Seed;

/// Which schedule.
pub struct Asked<'a> {
    /// Who does what.
    pub script: &'a Script,
    /// The driver's name.
    pub driver: &'a str,
    /// Who decides.
    pub strategy: Kind,
    /// What is drawn from.
    pub seed: Seed,
    /// Which of the strategy's schedules, counted from 0.
    pub schedule: u64,
}

/// Runs it, and gives its log. Of a strategy that searches, those before it are run, too.
///
/// # Errors
///
/// A [`LockstepError`] if there is no such driver, or no such schedule.
pub fn record(asked: &Asked<'_>) -> Result<Log, LockstepError> {
    let Asked { script, driver: name, seed, .. } = *asked;
    let driver = super::driver(name).ok_or_else(|| LockstepError::Driver(name.to_owned()))?;
    let mut strategy = explore::strategy(asked.strategy, seed, script);
    let (place, build) = (Workplace::new().map_err(ScheduleError::Log)?, Build::of_this_program());
    let stand_alone = matches!(asked.strategy, Kind::Random | Kind::Pct { .. } | Kind::Swarm);
    let mut number = 0;
    while strategy.begin() {
        if stand_alone && number < asked.schedule {
            number += 1;
            continue;
        }
        let folder = place.fresh().map_err(ScheduleError::Log)?;
        let job = Job { script, driver: &*driver, folder: &folder, watchdog: WATCHDOG };
        let header = explore::header(script, name, seed, strategy.schedule(), &build);
        match schedule::run(&job, &mut *strategy, &place.beside("decisions.jsonl"), header) {
            Ok(log) if number == asked.schedule => return Ok(log),
            Ok(_) => number += 1,
            Err(ScheduleError::Stopped(Stop::Redundant)) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Err(LockstepError::NoSchedule { asked: asked.schedule, there_are: number })
}
