//! One schedule: decides, logs, lets one actor move, logs what came of it, until there is nobody left to move.
//!
//! # Invariants
//!
//! * An actor that waits is not enabled; it is again when a step wakes, or when its virtual time has come.
//! * Virtual time goes on by [`STEP_NS`] a step, and jumps to the earliest timer when nobody is enabled.
//! * Nobody enabled, no timer and somebody waiting is a deadlock.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use super::baton::{Stuck, Thread};
use super::core::Pinned;
use super::driver::{Class, Driver, DriverError, Outcome, Turn, Waits, World};
use super::log::{Came, Decision, Edge, End, Ended, Header, Log, Writer};
use super::strategy::{Chooser, Offer, Stop};
use crate::scenario::script::Script;
use crate::seed::fnv1a;

/// Virtual nanoseconds that a step takes.
pub const STEP_NS: u64 = 1_000;
/// An actor that is away for longer is stuck. Wall-clock time: no statement of a scenario takes a hundredth of it.
pub const WATCHDOG: Duration = Duration::from_secs(10);

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
    /// The log could not be written.
    #[error("write the decision log: {0}")]
    Log(#[from] io::Error),
    /// The strategy had no choice left.
    #[error(transparent)]
    Stopped(#[from] Stop),
    /// The scenario's counter is no number.
    #[error("the scenario's counter: expected a whole number from `{query}`, found `{found}`")]
    Counter {
        /// The query.
        query: String,
        /// What it gave.
        found: String,
    },
}

/// Runs one schedule from a fresh database to its end.
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
    let _one_core = Pinned::here();
    let mut writer = Writer::create(log_file, header)?;
    let world = job.driver.create(job.script, job.folder).map_err(|source| job.blame(source))?;
    let before = counter(job, &*world)?;
    let mut stage = Stage::new(job, &world)?;
    let ended = stage.play(chooser, &mut writer)?;
    let at_ns = stage.now_ns;
    let stuck = matches!(ended, Ended::Stuck { .. });
    stage.clear(stuck);
    let mut end = End { ended, at_ns, contents: None, counter: None };
    if !stuck {
        let contents = world.contents().map_err(|source| job.blame(source))?;
        end.contents = Some(reports::Hex64(fnv1a(contents.as_bytes())));
        end.counter = before.zip(counter(job, &*world)?).map(|(before, after)| [before, after]);
    }
    chooser.ended(&end)?;
    writer.ended(end)?;
    Ok(writer.into_log())
}

impl Job<'_> {
    fn blame(&self, source: DriverError) -> ScheduleError {
        ScheduleError::Driver { driver: self.driver.name().to_owned(), source }
    }
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

/// Everybody who takes part, and what they are at.
struct Stage<'a> {
    job: &'a Job<'a>,
    actors: Vec<Player>,
    now_ns: u64,
    last: Option<usize>,
}

struct Player {
    thread: Thread,
    /// How many operations of its script are behind it.
    done: usize,
    state: State,
}

enum State {
    Ready,
    Waiting { waits: Waits, until_ns: Option<u64> },
    Gone,
}

impl<'a> Stage<'a> {
    fn new(job: &'a Job<'a>, world: &Arc<dyn World>) -> Result<Self, ScheduleError> {
        let start = |actor: &crate::scenario::script::Actor| {
            Ok(Player { thread: Thread::start(world, &actor.id)?, done: 0, state: State::Ready })
        };
        let actors = job.script.actors.iter().map(start).collect::<Result<_, DriverError>>();
        let actors = actors.map_err(|source| job.blame(source))?;
        Ok(Self { job, actors, now_ns: 0, last: None })
    }

    fn play(
        &mut self,
        chooser: &mut dyn Chooser,
        log: &mut Writer,
    ) -> Result<Ended, ScheduleError> {
        for step in 0.. {
            let enabled = self.enabled();
            if enabled.is_empty() {
                break;
            }
            let offer = Offer { step, at_ns: self.now_ns, enabled: &enabled, last: self.last };
            let chosen = chooser.choose(&offer, self.job.script)?;
            let decision = self.decision(step, &enabled, chosen);
            chooser.decided(&decision)?;
            let op = decision.op.clone();
            log.decided(decision)?;
            let turn = self.actors[chosen].thread.step(&op, self.job.watchdog);
            let Ok(turn) = turn.map_err(|Stuck| ()) else {
                let actor = self.job.script.actors[chosen].id.clone();
                return Ok(Ended::Stuck { actor, op });
            };
            self.last = Some(chosen);
            self.now_ns += STEP_NS;
            let came = self.take(step, chosen, turn);
            chooser.came(&came)?;
            log.came(came)?;
        }
        let graph = self.waiting();
        Ok(if graph.is_empty() { Ended::Done } else { Ended::Deadlock { graph } })
    }

    /// Who can move now, or, if nobody can, when the earliest timer has come.
    fn enabled(&mut self) -> Vec<usize> {
        loop {
            let now_ns = self.now_ns;
            for actor in &mut self.actors {
                if matches!(actor.state, State::Waiting { until_ns: Some(until), .. } if until <= now_ns)
                {
                    actor.state = State::Ready;
                }
            }
            let ready = |index: &usize| matches!(self.actors[*index].state, State::Ready);
            let enabled: Vec<usize> = (0..self.actors.len()).filter(ready).collect();
            let timers = self.actors.iter().filter_map(|actor| match actor.state {
                State::Waiting { until_ns, .. } => until_ns,
                _ => None,
            });
            match timers.min() {
                Some(earliest) if enabled.is_empty() => self.now_ns = earliest,
                _ => return enabled,
            }
        }
    }

    fn decision(&self, step: u64, enabled: &[usize], chosen: usize) -> Decision {
        let actors = &self.job.script.actors;
        Decision {
            step,
            at_ns: self.now_ns,
            enabled: enabled.iter().map(|&index| actors[index].id.clone()).collect(),
            actor: actors[chosen].id.clone(),
            op: self.op(chosen).to_owned(),
        }
    }

    fn op(&self, index: usize) -> &str {
        &self.job.script.actors[index].steps[self.actors[index].done]
    }

    /// Notes what came of a step.
    fn take(&mut self, step: u64, chosen: usize, turn: Turn) -> Came {
        match turn {
            Turn::Blocked(waits) => {
                let until_ns = waits.at_most_ns.map(|wait| self.now_ns + wait);
                self.actors[chosen].state = State::Waiting { waits: waits.clone(), until_ns };
                let outcome = Outcome::new(Class::Blocked, &waits.what);
                Came { step, outcome, waits: Some(waits) }
            }
            Turn::Done(outcome) => {
                let player = &mut self.actors[chosen];
                player.done += 1;
                let all = player.done == self.job.script.actors[chosen].steps.len();
                if all || outcome.class == Class::Panicked {
                    player.state = State::Gone;
                }
                if outcome.wakes {
                    self.wake();
                }
                Came { step, outcome, waits: None }
            }
        }
    }

    fn wake(&mut self) {
        for actor in &mut self.actors {
            if matches!(actor.state, State::Waiting { .. }) {
                actor.state = State::Ready;
            }
        }
    }

    fn waiting(&self) -> Vec<Edge> {
        let edge = |(index, player): (usize, &Player)| match &player.state {
            State::Waiting { waits, .. } => Some(Edge {
                actor: self.job.script.actors[index].id.clone(),
                op: self.op(index).to_owned(),
                waits: waits.clone(),
            }),
            _ => None,
        };
        self.actors.iter().enumerate().filter_map(edge).collect()
    }

    /// Ends all actors, one after the other. If one is stuck, all threads are left behind.
    fn clear(self, stuck: bool) {
        for player in self.actors {
            if stuck { player.thread.abandon() } else { player.thread.stop() }
        }
    }
}
