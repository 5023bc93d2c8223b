//! Actors on threads that move one at a time: who has the baton runs, everybody else sleeps.
//!
//! # Invariants
//!
//! * Between [`Thread::step`] and its return exactly one of the two threads runs.
//! * An actor is made and dropped on its own thread, while everybody else sleeps.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};

use super::driver::{Class, DriverError, Outcome, Turn, World};

/// An actor's thread, seen from the scheduler.
pub(super) struct Thread {
    shared: Arc<Shared>,
    handle: Option<JoinHandle<()>>,
}

/// The actor did not come back in time. Its thread is left behind.
#[derive(Debug)]
pub(super) struct Stuck;

#[derive(Default)]
struct Shared {
    baton: Mutex<Baton>,
    to_actor: Condvar,
    to_scheduler: Condvar,
}

/// Whose turn it is, and what for.
#[derive(Default)]
enum Baton {
    /// The actor is being made, or works.
    #[default]
    Away,
    /// To the actor: do this.
    Go(String),
    /// To the actor: end.
    Stop,
    /// To the scheduler: ready, or what came of the step.
    Back(Result<Option<Turn>, DriverError>),
}

impl Thread {
    /// Starts the thread and waits until its actor has been made.
    pub(super) fn start(world: &Arc<dyn World>, id: &str) -> Result<Self, DriverError> {
        let shared = Arc::new(Shared::default());
        let (world, name, theirs) = (Arc::clone(world), id.to_owned(), Arc::clone(&shared));
        let handle = std::thread::Builder::new()
            .name(id.to_owned())
            .spawn(move || live(&*world, &name, &theirs))
            .map_err(|error| DriverError::new("start a thread", error))?;
        let mut thread = Self { shared, handle: Some(handle) };
        match thread.wait(None) {
            Ok(Ok(_)) => Ok(thread),
            Ok(Err(error)) => Err(error),
            Err(Stuck) => unreachable!("there is no deadline"),
        }
    }

    /// Lets the actor carry out one operation. `patience` is wall-clock time: who needs longer is stuck.
    pub(super) fn step(&mut self, op: &str, patience: Duration) -> Result<Turn, Stuck> {
        self.give(Baton::Go(op.to_owned()));
        match self.wait(Some(patience))? {
            Ok(Some(turn)) => Ok(turn),
            Ok(None) | Err(_) => unreachable!("an actor that was made answers with a turn"),
        }
    }

    /// Ends the actor and waits until it has dropped what it held.
    pub(super) fn stop(mut self) {
        self.end();
    }

    /// Leaves the thread behind, stuck as it is.
    pub(super) fn abandon(mut self) {
        self.handle = None;
    }

    fn end(&mut self) {
        if let Some(handle) = self.handle.take() {
            self.give(Baton::Stop);
            let _ = handle.join(); // a panic while it was dropped has been printed
        }
    }

    fn give(&self, baton: Baton) {
        *self.shared.baton.lock() = baton;
        self.shared.to_actor.notify_one();
    }

    fn wait(
        &mut self,
        patience: Option<Duration>,
    ) -> Result<Result<Option<Turn>, DriverError>, Stuck> {
        let deadline = patience.map(|patience| Instant::now() + patience);
        let mut baton = self.shared.baton.lock();
        loop {
            if matches!(*baton, Baton::Back(_)) {
                let Baton::Back(back) = std::mem::take(&mut *baton) else { unreachable!() };
                return Ok(back);
            }
            match deadline {
                None => self.shared.to_scheduler.wait(&mut baton),
                Some(deadline) => {
                    if self.shared.to_scheduler.wait_until(&mut baton, deadline).timed_out()
                        && !matches!(*baton, Baton::Back(_))
                    {
                        return Err(Stuck);
                    }
                }
            }
        }
    }
}

impl Drop for Thread {
    fn drop(&mut self) {
        self.end();
    }
}

impl Shared {
    fn back(&self, back: Result<Option<Turn>, DriverError>) {
        *self.baton.lock() = Baton::Back(back);
        self.to_scheduler.notify_one();
    }

    /// The next operation, or `None` when there is none.
    fn next(&self) -> Option<String> {
        let mut baton = self.baton.lock();
        loop {
            match std::mem::take(&mut *baton) {
                Baton::Go(op) => return Some(op),
                Baton::Stop => return None,
                other => *baton = other,
            }
            self.to_actor.wait(&mut baton);
        }
    }
}

/// The life of an actor, on its thread.
fn live(world: &dyn World, id: &str, shared: &Shared) {
    let made = catch_unwind(AssertUnwindSafe(|| world.actor(id)));
    let made = made.unwrap_or_else(|_| Err(DriverError::new("make an actor", "it panicked")));
    let mut actor = match made {
        Ok(actor) => actor,
        Err(error) => {
            shared.back(Err(error));
            return;
        }
    };
    shared.back(Ok(None));
    while let Some(op) = shared.next() {
        let turn = catch_unwind(AssertUnwindSafe(|| actor.step(&op)));
        let turn = turn.unwrap_or_else(|_| Turn::Done(Outcome::new(Class::Panicked, "")));
        shared.back(Ok(Some(turn)));
    }
}
