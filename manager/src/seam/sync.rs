//! Mutex, condition variable, flag. The loom models of `tests/gate_models.rs` and `tests/process_models.rs` bring their
//! own file of this shape; of what waits inside a process nothing else differs between the two builds.

pub(crate) use std::sync::atomic::AtomicBool;
#[cfg(feature = "engine")]
pub(crate) use std::thread::ThreadId;
use std::time::Instant;

pub(crate) use parking_lot::{Mutex, MutexGuard};

/// The thread that asks.
#[cfg(feature = "engine")]
pub(crate) fn this_thread() -> ThreadId {
    std::thread::current().id()
}

/// A condition variable whose waits have a deadline.
#[derive(Debug, Default)]
pub(crate) struct Condvar(parking_lot::Condvar);

impl Condvar {
    /// Waits until notified or until the deadline. Returns whether the deadline has passed.
    pub(crate) fn wait_until<T>(&self, guard: &mut MutexGuard<'_, T>, deadline: Instant) -> bool {
        self.0.wait_until(guard, deadline).timed_out()
    }

    /// Wakes every waiter.
    pub(crate) fn notify_all(&self) {
        self.0.notify_all();
    }
}
