//! loom's mutex, condition variable and flag in the shape of `src/seam/sync.rs`.

pub(crate) use loom::sync::atomic::AtomicBool;
#[allow(unused_imports, reason = "one of the models uses it")]
pub(crate) use loom::thread::ThreadId;
use std::ops::{Deref, DerefMut};
use std::sync::LazyLock;
use std::time::{Duration, Instant};

/// The thread that asks.
#[allow(dead_code, reason = "one of the models uses it")]
pub(crate) fn this_thread() -> ThreadId {
    loom::thread::current().id()
}

static STARTED: LazyLock<Instant> = LazyLock::new(Instant::now);

/// The deadline of a wait that may take as long as it likes.
pub(crate) fn never() -> Instant {
    *STARTED + Duration::from_hours(1)
}

/// The deadline of a wait that ends where it would first go to sleep.
pub(crate) fn passed() -> Instant {
    *STARTED
}

#[derive(Default)]
pub(crate) struct Mutex<T>(loom::sync::Mutex<T>);

/// Empty only while it waits: loom's condition variable takes the guard and gives it back.
#[derive(Debug)]
pub(crate) struct MutexGuard<'a, T>(Option<loom::sync::MutexGuard<'a, T>>);

impl<T> Mutex<T> {
    pub(crate) fn new(value: T) -> Self {
        Self(loom::sync::Mutex::new(value))
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, T> {
        MutexGuard(Some(self.0.lock().unwrap()))
    }
}

impl<T> Deref for MutexGuard<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        self.0.as_ref().unwrap()
    }
}

impl<T> DerefMut for MutexGuard<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        self.0.as_mut().unwrap()
    }
}

#[derive(Default)]
pub(crate) struct Condvar(loom::sync::Condvar);

impl Condvar {
    /// Waits until notified. Returns whether the deadline has passed, and then does not wait.
    pub(crate) fn wait_until<T>(&self, guard: &mut MutexGuard<'_, T>, deadline: Instant) -> bool {
        if deadline == passed() {
            return true;
        }
        guard.0 = Some(self.0.wait(guard.0.take().unwrap()).unwrap());
        false
    }

    pub(crate) fn notify_all(&self) {
        self.0.notify_all();
    }
}
