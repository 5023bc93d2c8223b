//! One who takes part in a schedule: where it runs, how far it is, and whether it can move.

use std::cell::RefCell;
use std::rc::Rc;

use super::baton::Thread;
use super::driver::{Class, Command, Outcome, Waits};
use super::log::Came;
use super::process::{Lost, Process};
use super::schedule::{Job, ScheduleError};
use super::wire::Make;
use crate::scenario::script::{Actor, EachActor};

/// See the module's header.
pub(super) struct Player {
    pub(super) body: Body,
    /// How many operations of its script are behind it.
    pub(super) done: usize,
    /// Where it stands within one.
    pub(super) at: Option<String>,
    /// Somebody gave something back since that one was begun.
    pub(super) woken: bool,
    pub(super) state: State,
}

pub(super) enum Body {
    Thread(Option<Thread>),
    /// A thread of a process, which it may share with others.
    Process(Rc<RefCell<Option<Process>>>),
}

pub(super) enum State {
    Ready,
    Waiting {
        waits: Waits,
        until_ns: Option<u64>,
    },
    /// Its process has been stopped.
    Stopped,
    /// Its process was killed, and may be started again.
    Dead,
    /// Its process has died with the power, which no step of its own has said yet.
    Doomed,
    Gone,
}

impl Body {
    /// A process that is that actor.
    pub(super) fn process(job: &Job<'_>, actor: &Actor) -> Result<Self, ScheduleError> {
        debug_assert_eq!(job.script.each_actor, EachActor::Process);
        let failed = |source| ScheduleError::Process { actor: actor.id.clone(), source };
        let mut process = Process::take().map_err(failed)?;
        let make = Make {
            driver: job.driver.name().to_owned(),
            name: format!("{}.toml", job.script.id),
            digest: job.script.digest,
            text: Some(job.script.text.clone()),
            folder: job.folder.to_string_lossy().into_owned(),
            actor: actor.id.clone(),
        };
        process.make(make, job.watchdog).map_err(|lost| match lost {
            Lost::Failed(source) => job.blame(source),
            Lost::Garbage(said) => {
                ScheduleError::Garbage { actor: actor.id.clone(), op: "be an actor".into(), said }
            }
            Lost::Io(source) => failed(source),
            Lost::Stuck => failed(std::io::Error::other("it has not become an actor in time")),
            Lost::Died(how) => {
                failed(std::io::Error::other(format!("it ended before it was an actor: {how}")))
            }
        })?;
        Ok(Self::Process(Rc::new(RefCell::new(Some(process)))))
    }
}

impl Player {
    pub(super) fn new(body: Body) -> Self {
        Self { body, done: 0, at: None, woken: false, state: State::Ready }
    }

    /// Whether it is offered.
    pub(super) fn can_move(&self) -> bool {
        matches!(self.state, State::Ready | State::Stopped | State::Dead)
    }

    /// Notes that it waits, within its operation or before it.
    pub(super) fn waits(&mut self, step: u64, waits: Waits, now_ns: u64, within: bool) -> Came {
        let until_ns = waits.at_most_ns.map(|wait| now_ns.saturating_add(wait));
        self.at = within.then(|| waits.what.clone());
        // What it was refused may have been given back before it had come to the end of being refused.
        if within || !self.woken {
            self.state = State::Waiting { waits: waits.clone(), until_ns };
        }
        let outcome = Outcome::new(Class::Blocked, &waits.what);
        Came { step, outcome, waits: Some(waits) }
    }
}

/// When those that wait for a moment go on.
pub(super) fn timers(players: &[Player]) -> impl Iterator<Item = u64> + '_ {
    players.iter().filter_map(|player| match player.state {
        State::Waiting { until_ns, .. } => until_ns,
        _ => None,
    })
}

/// Where an actor goes on after the operation `done`: a transaction that could not be begun is left out.
pub(super) fn behind(steps: Option<&[String]>, done: usize, class: Class) -> usize {
    match steps {
        Some(steps) if class != Class::Ok && is_begin(&steps[done]) => {
            behind_transaction(steps, done, true)
        }
        _ => done + 1,
    }
}

fn is_begin(op: &str) -> bool {
    matches!(Command::of(op), Command::BeginRead | Command::BeginWrite)
}

fn is_end(op: &str) -> bool {
    matches!(Command::of(op), Command::Commit | Command::Rollback | Command::Panic)
}

/// Where an actor goes on whose process died before the operation `done`, or within it: behind its transaction.
pub(super) fn behind_transaction(steps: &[String], done: usize, within: bool) -> usize {
    let last = steps[..done].iter().rposition(|op| is_begin(op) || is_end(op));
    let is_open = last.is_some_and(|last| is_begin(&steps[last]));
    let begins_one = within && steps.get(done).is_some_and(|op| is_begin(op));
    if is_open || begins_one {
        let end = steps[done..].iter().position(|op| is_end(op));
        return end.map_or(steps.len(), |end| done + end + 1);
    }
    done + usize::from(within)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_was_killed_goes_on_behind_the_transaction_that_died_with_it() {
        let steps = ["SELECT 1", "begin write", "UPDATE", "commit", "begin read", "SELECT 2"];
        let steps = steps.map(str::to_owned);
        let behind = |done, within| behind_transaction(&steps, done, within);
        assert_eq!([behind(0, false), behind(0, true)], [0, 1], "a statement of its own");
        assert_eq!([behind(1, false), behind(1, true)], [1, 4], "begun, or not yet");
        assert_eq!([behind(2, false), behind(2, true), behind(3, true)], [4, 4, 4]);
        assert_eq!([behind(4, false), behind(5, false)], [4, 6], "one without an end is the last");
    }

    #[test]
    fn a_transaction_that_could_not_be_begun_is_left_out() {
        let steps = ["begin write", "UPDATE", "rollback", "SELECT 1"].map(str::to_owned);
        assert_eq!(behind(Some(&steps), 0, Class::Failed), 3);
        assert_eq!(behind(Some(&steps), 0, Class::Ok), 1);
        assert_eq!(behind(Some(&steps), 1, Class::Conflict), 2, "it has to be ended");
        assert_eq!(behind(None, 0, Class::Ok), 1, "a thread of the manager has no script");
    }
}
