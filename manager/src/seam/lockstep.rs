//! Threads whose steps somebody else decides: for test harnesses, behind the feature `lockstep`.
//!
//! A [`Scheduler`] that is [installed](install) has some threads of this process. Whatever those threads do in the
//! manager that takes time or waits for somebody goes through it: they come to *points*, at which another one may go on
//! in their place; they *wait*, for a lock or a notification or a moment; their time is the scheduler's. So a test can
//! decide who goes on, and nothing ever sleeps.
//!
//! # What a scheduler can rely on
//!
//! * A thread that it has blocks nowhere in the manager but in [`Scheduler::point`] and [`Scheduler::wait`]. It can
//!   still block inside DuckDB, on a lock of DuckDB's that a thread has which was paused inside DuckDB.
//! * Whoever waits looks again whenever `wait` returns, and waits again if nothing has changed for it. A look changes
//!   nothing for anybody else.
//! * What happens in another process wakes nobody here: the kernel's locks and the bell of a gate are looked at when
//!   `wait` returns. A scheduler of several processes has every wait return once another process has moved.
//! * Places are named by words that are the same in every run: no paths, process ids or addresses.
//! * In a thread that it has, the wall clock is [`UNIX_BASE_MS`] and the virtual time, and
//!   [`RandomJitter`](crate::RandomJitter) pauses for as long as it may. A stream that a seed fixes is better:
//!   [`SeededJitter`](crate::SeededJitter).
//!
//! # What it has to do
//!
//! * Threads that it does not have must not use a database at the same time as those that it has.
//! * A hold is given up after some virtual time (`hold_max`), so virtual time must pass now and then even while somebody
//!   can go on, or a busy process keeps the others out for good.
//! * The kernel serves those who wait for a byte in the order in which they came. Here the scheduler is that order.
//!
//! # Places
//!
//! | place | at |
//! |---|---|
//! | `take …`, `gave back …` | a byte of the gate or a lock of the store, in the words of `gate/byte.rs` |
//! | `attach`, `attached`, `detach`, `detached` | a file that the process takes or lets go of |
//! | `checkpoint`, `checkpointed` | its log, folded |
//! | `commit`, `committed`, `roll back`, `rolled back` | a transaction |
//! | `count the commit`, `counted the commit` | the generation |
//! | `create`, `created`, `name the new file` | a database that is made |
//! | `put.renamed` and others | a step of the store, as `CRASH_AT` names it |
//! | `lock of …`, `change of …`, `the bell`, `a pause` | waits |

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use parking_lot::RwLock;

use super::clock;
use crate::gate::byte;

/// The wall clock at the beginning of virtual time: 1 January 2020, in milliseconds after 1970.
pub const UNIX_BASE_MS: u64 = 1_577_836_800_000;

/// Who decides when the threads of this process go on.
pub trait Scheduler: Send + Sync {
    /// Whether the calling thread's steps are decided. Other threads pass as if nobody were installed.
    fn has_this_thread(&self) -> bool;

    /// Virtual time since the beginning.
    fn now(&self) -> Duration;

    /// The calling thread has come to that place. Returns when it may go on.
    fn point(&self, place: &str);

    /// The calling thread cannot go on. Returns when somebody may have given something back, or when virtual time has
    /// come to `until`. May return early: callers look again.
    fn wait(&self, place: &str, until: Option<Duration>);

    /// The calling thread has given something back or notified others: those who wait look again.
    fn wake(&self);

    /// Starts a thread whose steps are decided, too.
    ///
    /// # Errors
    ///
    /// If the system has no thread to give. The manager goes on without one, as it does otherwise.
    fn spawn(&self, name: &str, body: Box<dyn FnOnce() + Send>) -> io::Result<()>;
}

/// Whether anybody is installed. Until then each of the functions below is one load.
static IS_INSTALLED: AtomicBool = AtomicBool::new(false);
static INSTALLED: RwLock<Option<Arc<dyn Scheduler>>> = RwLock::new(None);

/// Installs a scheduler, or takes it out again. For threads that it has already: between their steps only.
pub fn install(scheduler: Option<Arc<dyn Scheduler>>) {
    let mut installed = INSTALLED.write();
    // Relaxed: the lock orders it for whoever finds it set, and nobody relies on finding it sooner.
    IS_INSTALLED.store(scheduler.is_some(), Ordering::Relaxed);
    *installed = scheduler;
}

fn installed() -> Option<Arc<dyn Scheduler>> {
    IS_INSTALLED.load(Ordering::Relaxed).then(|| INSTALLED.read().clone()).flatten()
}

fn of_this_thread() -> Option<Arc<dyn Scheduler>> {
    installed().filter(|scheduler| scheduler.has_this_thread())
}

/// Whether somebody decides the steps of the calling thread.
pub(crate) fn is_on() -> bool {
    of_this_thread().is_some()
}

/// Virtual time, in a thread that has it.
pub(crate) fn now() -> Option<Duration> {
    Some(of_this_thread()?.now())
}

/// Virtual wall clock, in a thread that has it.
pub(crate) fn unix_ms() -> Option<u64> {
    let since = u64::try_from(now()?.as_millis()).unwrap_or(u64::MAX);
    Some(UNIX_BASE_MS.saturating_add(since))
}

/// The calling thread has come to that place.
pub(crate) fn point(place: &str) {
    if let Some(scheduler) = of_this_thread() {
        scheduler.point(place);
    }
}

/// It is about to take a byte.
pub(crate) fn takes(byte: i64) {
    if let Some(scheduler) = of_this_thread() {
        scheduler.point(&format!("take {}", byte::name(byte)));
    }
}

/// It has given a byte back.
pub(crate) fn gave_back(byte: i64) {
    if let Some(scheduler) = of_this_thread() {
        scheduler.point(&format!("gave back {}", byte::name(byte)));
    }
}

/// Waits until `is_over` or the deadline. Returns whether somebody decides the steps of the calling thread; if nobody
/// does, nothing has happened.
pub(crate) fn wait(place: &str, deadline: Instant, mut is_over: impl FnMut() -> bool) -> bool {
    let Some(scheduler) = of_this_thread() else { return false };
    let until = clock::since_base(deadline);
    while !is_over() && scheduler.now() < until {
        scheduler.wait(place, Some(until));
    }
    true
}

/// The same for a byte.
pub(crate) fn wait_for_byte(byte: i64, deadline: Instant, is_over: impl FnMut() -> bool) -> bool {
    is_on() && wait(byte::name(byte), deadline, is_over)
}

/// The same without a deadline, for what is held for a moment.
pub(crate) fn wait_long(place: &str, mut is_over: impl FnMut() -> bool) {
    let Some(scheduler) = of_this_thread() else { return };
    while !is_over() {
        scheduler.wait(place, None);
    }
}

/// The calling thread has given something back or notified others.
pub(crate) fn wake() {
    if let Some(scheduler) = of_this_thread() {
        scheduler.wake();
    }
}

/// The same for what a thread that the scheduler has is known to wait for, whoever the calling thread is.
pub(super) fn wake_waiting() {
    if let Some(scheduler) = installed() {
        scheduler.wake();
    }
}

/// Starts a thread of the manager's own.
pub(crate) fn spawn(name: &str, body: impl FnOnce() + Send + 'static) -> io::Result<()> {
    match of_this_thread() {
        Some(scheduler) => scheduler.spawn(name, Box::new(body)),
        None => std::thread::Builder::new().name(name.into()).spawn(body).map(|_| ()),
    }
}
