//! The proof that a schedule is what its seed says: scenarios drawn at random, each run twice, compared byte for byte.
//!
//! # Scope of determinism
//!
//! What is run is a pure function of the seed and of a number; whether it comes out the same twice is what is asked here.

mod draw;

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

pub use draw::text;

use super::explore;
use super::log::{Build, Log};
use super::replay::{Divergence, Follow};
use super::schedule::{self, Job, ScheduleError, WATCHDOG};
use super::strategy::{Chooser, Kind, Stop};
use super::workplace::Workplace;
use crate::scenario::script::Script;
use crate::seed::Seed;

/// What came of it.
#[derive(Debug, Default)]
pub struct Compared {
    /// So many scenarios were run twice.
    pub scenarios: u64,
    /// Those that did not come out the same.
    pub differences: Vec<Difference>,
}

/// A scenario that did not come out the same.
#[derive(Debug)]
pub struct Difference {
    /// Which of the seed's scenarios.
    pub number: u64,
    /// The first thing that differed.
    pub what: String,
}

/// Runs so many scenarios of a seed twice each, or as many as there is time for. `tick` hears how many have been, and how
/// many of them differed.
///
/// # Errors
///
/// A [`ScheduleError`] if one could not be run.
pub fn check(
    seed: Seed,
    count: u64,
    time: Duration,
    tick: &mut dyn FnMut(u64, u64),
) -> Result<Compared, ScheduleError> {
    let begun = Instant::now();
    let (place, build) = (Workplace::new()?, Build::of_this_program());
    let mut compared = Compared::default();
    for number in 0..count {
        if time <= begun.elapsed() {
            break;
        }
        let text = text(seed, number);
        let script = Script::parse(Path::new("drawn.toml"), text.as_bytes())
            .expect("what is drawn is a scenario");
        let what = twice(&script, Seed(seed.0 ^ number), &place, &build)?;
        compared.differences.extend(what.map(|what| Difference { number, what }));
        compared.scenarios += 1;
        tick(compared.scenarios, compared.differences.len() as u64);
    }
    Ok(compared)
}

/// What differed between two runs of the first schedule of a seed.
fn twice(
    script: &Script,
    seed: Seed,
    place: &Workplace,
    build: &Build,
) -> Result<Option<String>, ScheduleError> {
    let driver = super::driver(&script.drivers[0]).expect("what is drawn has a driver");
    let run =
        |chooser: &mut dyn Chooser, schedule: String| -> Result<(Log, Vec<u8>), ScheduleError> {
            let folder = place.fresh()?;
            let job = Job { script, driver: &*driver, folder: &folder, watchdog: WATCHDOG };
            let header = explore::header(script, driver.name(), seed, schedule, build);
            let file = place.beside("decisions.jsonl");
            let log = schedule::run(&job, chooser, &file, header)?;
            Ok((log, fs::read(&file)?))
        };
    let mut strategy = explore::strategy(Kind::Random, seed, script);
    strategy.begin();
    let schedule = strategy.schedule();
    let (log, bytes) = run(&mut *strategy, schedule.clone())?;
    match run(&mut Follow::of(&log), schedule) {
        Ok((_, again)) if again == bytes => Ok(None),
        Ok(_) => Ok(Some("the bytes of the logs differ, and no step does".to_owned())),
        Err(ScheduleError::Stopped(Stop::Diverged(divergence))) => {
            Ok(Some(shown(script, &divergence)))
        }
        Err(error) => Err(error),
    }
}

fn shown(script: &Script, divergence: &Divergence) -> String {
    let Script { drivers, each_actor, points, .. } = script;
    format!("{} ({each_actor:?}, {points:?}): {divergence}", drivers[0])
}
