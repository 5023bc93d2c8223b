//! Threads that move one at a time: who has the baton runs, everybody else sleeps.
//!
//! A thread gives the baton back when its operation has ended, and, if its crew stops there, at points within it: a yield
//! point of the manager, or an I/O call of the engine. A process of its own is the same crew with a pipe in between
//! (`actor.rs`).
//!
//! # Invariants
//!
//! * Between [`Thread::step`] and its return exactly one of the two threads runs.
//! * An actor is made and dropped on its own thread, while everybody else sleeps.
//! * A thread that is told to stop at a point within its operation goes on to that operation's end without stopping.

use std::cell::RefCell;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};
use serde::{Deserialize, Serialize};

use super::act::Act;
use super::driver::{Class, DriverError, Outcome, Turn, World};
use super::io::Guard;
use super::points;
use crate::scenario::script::{Points, Script};

/// What a thread is told when it gets the baton.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Go {
    /// The operation to carry out; of a thread that is within one it is ignored.
    pub(super) op: String,
    /// What happens at the point that it stands at.
    #[serde(default, skip_serializing_if = "Act::is_go")]
    pub(super) act: Act,
    /// Virtual time.
    pub(super) now_ns: u64,
}

/// What came of a step.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Back {
    pub(super) turn: Turn,
    /// Somebody was notified, or something given back, at a point on the way.
    pub(super) woke: bool,
}

/// What the threads of one process that are decided about have in common.
#[derive(Default)]
pub(super) struct Crew {
    /// Virtual time. Relaxed everywhere: who has the baton got it through a mutex.
    now_ns: AtomicU64,
    /// Something was given back since the last step ended.
    woke: AtomicBool,
    /// Nobody stops at points any more: the schedule has ended.
    is_over: AtomicBool,
    /// Threads that were begun since the last step ended, by the manager.
    began: Mutex<Vec<Thread>>,
    /// How many were begun in all.
    count: AtomicU64,
    /// Where actors stop within their operations.
    points: Points,
    power_may_fail: bool,
    /// The folder of the files on which they stop at I/O calls.
    folder: PathBuf,
}

/// A thread, seen from the scheduler.
pub(super) struct Thread {
    name: String,
    crew: Arc<Crew>,
    shared: Arc<Shared>,
    handle: Option<JoinHandle<()>>,
}

/// The thread did not come back in time. It is left behind.
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
    Go(Go),
    /// To the actor: end.
    Stop,
    /// To the scheduler: ready, or what came of the step.
    Back(Result<Option<Turn>, DriverError>),
}

/// The calling thread, if it is one that is decided about.
#[derive(Clone)]
pub(super) struct Me {
    crew: Arc<Crew>,
    shared: Arc<Shared>,
}

thread_local! {
    static ME: RefCell<Option<Me>> = const { RefCell::new(None) };
}

impl Crew {
    /// One whose actors stop where the script says, and at I/O calls on files of that folder only.
    pub(super) fn new(script: &Script, folder: &Path) -> Arc<Self> {
        points::install();
        Arc::new(Self {
            points: script.points,
            power_may_fail: script.power_may_fail(),
            folder: folder.to_owned(),
            ..Self::default()
        })
    }

    /// Threads that were begun by the step that has just ended.
    pub(super) fn began(&self) -> Vec<Thread> {
        std::mem::take(&mut *self.began.lock())
    }

    /// From here on nobody stops within an operation, and time is the clock's.
    pub(super) fn is_over(&self) {
        self.is_over.store(true, Ordering::Relaxed);
    }
}

impl Thread {
    /// Starts the thread and waits until its actor has been made.
    pub(super) fn start(
        crew: &Arc<Crew>,
        world: &Arc<dyn World>,
        id: &str,
    ) -> Result<Self, DriverError> {
        let (world, name) = (Arc::clone(world), id.to_owned());
        let mut thread = Self::spawn(crew, id, move |me| me.live(&*world, &name))
            .map_err(|error| DriverError::new("start a thread", error))?;
        match thread.wait(None) {
            Ok(Ok(_)) => Ok(thread),
            Ok(Err(error)) => Err(error),
            Err(Stuck) => unreachable!("there is no deadline"),
        }
    }

    fn spawn(
        crew: &Arc<Crew>,
        name: &str,
        body: impl FnOnce(&Me) + Send + 'static,
    ) -> io::Result<Self> {
        let shared = Arc::new(Shared::default());
        let me = Me { crew: Arc::clone(crew), shared: Arc::clone(&shared) };
        let handle = std::thread::Builder::new().name(name.to_owned()).spawn(move || {
            ME.set(Some(me.clone()));
            body(&me);
        })?;
        let (name, crew) = (name.to_owned(), Arc::clone(crew));
        Ok(Self { name, crew, shared, handle: Some(handle) })
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// Lets it go on to its next stop. `patience` is wall-clock time: who needs longer is stuck.
    pub(super) fn step(&mut self, go: Go, patience: Duration) -> Result<Back, Stuck> {
        self.crew.now_ns.store(go.now_ns, Ordering::Relaxed);
        self.give(Baton::Go(go));
        match self.wait(Some(patience))? {
            Ok(Some(turn)) => {
                Ok(Back { turn, woke: self.crew.woke.swap(false, Ordering::Relaxed) })
            }
            Ok(None) | Err(_) => unreachable!("an actor that was made answers with a turn"),
        }
    }

    /// Ends the actor and waits until it has dropped what it held.
    pub(super) fn stop(mut self) {
        self.end();
    }

    /// Lets the thread run on to its end, whenever that is: it belongs to somebody else.
    pub(super) fn release(mut self) {
        self.handle = None;
        self.give(Baton::Stop);
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
    /// Of a thread that was told to stop nobody wants to know any more.
    fn back(&self, back: Result<Option<Turn>, DriverError>) {
        let mut baton = self.baton.lock();
        if !matches!(*baton, Baton::Stop) {
            *baton = Baton::Back(back);
            self.to_scheduler.notify_one();
        }
    }

    /// What to do next, or `None` when there is nothing. Being told to stop holds for every later call.
    fn next(&self) -> Option<Go> {
        let mut baton = self.baton.lock();
        loop {
            match std::mem::take(&mut *baton) {
                Baton::Go(go) => return Some(go),
                Baton::Stop => {
                    *baton = Baton::Stop;
                    return None;
                }
                other => *baton = other,
            }
            self.to_actor.wait(&mut baton);
        }
    }
}

impl Me {
    /// The calling thread, if it is decided about and the schedule goes on.
    pub(super) fn this_thread() -> Option<Self> {
        let me = ME.with_borrow(Clone::clone)?;
        (!me.crew.is_over.load(Ordering::Relaxed)).then_some(me)
    }

    /// The calling thread, if it is decided about, whether the schedule goes on or not.
    pub(super) fn ever() -> Option<Self> {
        ME.with_borrow(Clone::clone)
    }

    /// Has the calling thread act for this one, which waits for it meanwhile, until the result is dropped.
    pub(super) fn stand_in(self) -> Result<Option<Guard>, DriverError> {
        let watched = self.watch()?;
        ME.set(Some(self));
        Ok(watched)
    }

    fn watch(&self) -> Result<Option<Guard>, DriverError> {
        if !self.crew.points.has_calls() {
            return Ok(None);
        }
        let watched = points::stop_at_calls(&self.crew.folder, self.crew.power_may_fail);
        watched.map(Some).map_err(|error| DriverError::new("watch I/O calls", error))
    }

    /// Whether the manager has the scheduler's time and waits by it.
    pub(super) fn is_timed(&self) -> bool {
        self.crew.points != Points::Statement
    }

    /// Whether it stops at yield points of the manager.
    pub(super) fn stops_in_the_manager(&self) -> bool {
        self.crew.points == Points::Manager
    }

    /// Virtual time.
    pub(super) fn now_ns(&self) -> u64 {
        self.crew.now_ns.load(Ordering::Relaxed)
    }

    /// Gives the baton back within an operation; returns when this thread has it again, with what happens to it.
    pub(super) fn stop_at(&self, turn: Turn) -> Act {
        self.shared.back(Ok(Some(turn)));
        let Some(go) = self.shared.next() else {
            self.crew.is_over();
            return Act::Go;
        };
        go.act
    }

    /// Those who wait may try again.
    pub(super) fn wake(&self) {
        self.crew.woke.store(true, Ordering::Relaxed);
    }

    /// Begins a thread that is decided about, too. It does nothing before its first step.
    pub(super) fn begin(&self, name: &str, body: Box<dyn FnOnce() + Send>) -> io::Result<()> {
        let number = self.crew.count.fetch_add(1, Ordering::Relaxed) + 1;
        let thread = Thread::spawn(&self.crew, &format!("{name}-{number}"), move |me| {
            if me.shared.next().is_none() {
                me.crew.is_over();
            }
            let ended = catch_unwind(AssertUnwindSafe(body));
            let class = if ended.is_ok() { Class::Ok } else { Class::Panicked };
            me.shared.back(Ok(Some(Turn::Done(Outcome::new(class, "")))));
        })?;
        self.crew.began.lock().push(thread);
        Ok(())
    }

    /// The life of an actor, on its thread.
    fn live(&self, world: &dyn World, id: &str) {
        let watched = self.watch();
        let made = catch_unwind(AssertUnwindSafe(|| world.actor(id)));
        let made = made.unwrap_or_else(|_| Err(DriverError::new("make an actor", "it panicked")));
        let (mut actor, _watched) = match made.and_then(|made| Ok((made, watched?))) {
            Ok(actor) => actor,
            Err(error) => {
                self.shared.back(Err(error));
                return;
            }
        };
        self.shared.back(Ok(None));
        while let Some(go) = self.shared.next() {
            let turn = catch_unwind(AssertUnwindSafe(|| actor.step(&go.op)));
            let turn = turn.unwrap_or_else(|_| Turn::Done(Outcome::new(Class::Panicked, "")));
            self.shared.back(Ok(Some(turn)));
        }
    }
}
