//! In the place of `seam/sync.rs`, with the feature `lockstep`: the same, but a thread whose steps somebody decides
//! waits as that one says.

use std::ops::{Deref, DerefMut};
pub(crate) use std::sync::atomic::AtomicBool;
use std::sync::atomic::{AtomicU64, Ordering};
#[cfg(feature = "engine")]
pub(crate) use std::thread::ThreadId;
use std::time::Instant;

use super::lockstep;

/// The thread that asks.
#[cfg(feature = "engine")]
pub(crate) fn this_thread() -> ThreadId {
    std::thread::current().id()
}

/// How many wait for something, as a scheduler says.
#[derive(Debug, Default)]
struct Waiting(AtomicU64);

impl Waiting {
    fn during<T>(&self, wait: impl FnOnce() -> T) -> T {
        self.0.fetch_add(1, Ordering::SeqCst);
        let waited = wait();
        self.0.fetch_sub(1, Ordering::SeqCst);
        waited
    }

    fn wake(&self) {
        if self.0.load(Ordering::SeqCst) > 0 {
            lockstep::wake_waiting();
        }
    }
}

/// A mutex of `parking_lot`.
#[derive(Debug, Default)]
pub(crate) struct Mutex<T> {
    waiting: Waiting,
    inner: parking_lot::Mutex<T>,
}

/// Empty only while its condition variable waits.
#[derive(Debug)]
pub(crate) struct MutexGuard<'a, T> {
    mutex: &'a Mutex<T>,
    inner: Option<parking_lot::MutexGuard<'a, T>>,
}

impl<T> Mutex<T> {
    pub(crate) const fn new(value: T) -> Self {
        Self { waiting: Waiting(AtomicU64::new(0)), inner: parking_lot::Mutex::new(value) }
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, T> {
        MutexGuard { mutex: self, inner: Some(self.take()) }
    }

    pub(crate) fn try_lock(&self) -> Option<MutexGuard<'_, T>> {
        Some(MutexGuard { mutex: self, inner: Some(self.inner.try_lock()?) })
    }

    #[cfg(feature = "engine")]
    pub(crate) fn try_lock_for(&self, limit: std::time::Duration) -> Option<MutexGuard<'_, T>> {
        let mut inner = None;
        let deadline = super::clock::deadline_in(limit);
        let is_over = || {
            inner = self.inner.try_lock();
            inner.is_some()
        };
        if !self.waiting.during(|| lockstep::wait(&lock_of::<T>(), deadline, is_over)) {
            inner = self.inner.try_lock_for(limit);
        }
        Some(MutexGuard { mutex: self, inner: Some(inner?) })
    }

    #[cfg(feature = "engine")]
    pub(crate) fn into_inner(self) -> T {
        self.inner.into_inner()
    }

    fn take(&self) -> parking_lot::MutexGuard<'_, T> {
        if let Some(taken) = self.inner.try_lock() {
            return taken;
        }
        let mut taken = None;
        if lockstep::is_on() {
            let is_over = || {
                taken = self.inner.try_lock();
                taken.is_some()
            };
            self.waiting.during(|| lockstep::wait_long(&lock_of::<T>(), is_over));
        }
        taken.unwrap_or_else(|| self.inner.lock())
    }
}

impl<T> MutexGuard<'_, T> {
    fn give_back(&mut self) {
        drop(self.inner.take());
        self.mutex.waiting.wake();
    }
}

impl<T> Drop for MutexGuard<'_, T> {
    fn drop(&mut self) {
        self.give_back();
    }
}

impl<T> Deref for MutexGuard<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        self.inner.as_ref().expect("nobody looks while the condition variable waits")
    }
}

impl<T> DerefMut for MutexGuard<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        self.inner.as_mut().expect("nobody looks while the condition variable waits")
    }
}

/// A condition variable whose waits have a deadline.
#[derive(Debug, Default)]
pub(crate) struct Condvar {
    waiting: Waiting,
    notified: AtomicU64,
    inner: parking_lot::Condvar,
}

impl Condvar {
    /// Waits until notified or until the deadline. Returns whether the deadline has passed.
    pub(crate) fn wait_until<T>(&self, guard: &mut MutexGuard<'_, T>, deadline: Instant) -> bool {
        if !lockstep::is_on() {
            let inner = guard.inner.as_mut().expect("a guard that waits has its mutex");
            return self.inner.wait_until(inner, deadline).timed_out();
        }
        let heard = self.notified.load(Ordering::SeqCst);
        let is_notified = || self.notified.load(Ordering::SeqCst) != heard;
        guard.give_back();
        self.waiting.during(|| lockstep::wait(&change_of::<T>(), deadline, is_notified));
        guard.inner = Some(guard.mutex.take());
        !is_notified()
    }

    /// Wakes every waiter.
    pub(crate) fn notify_all(&self) {
        self.notified.fetch_add(1, Ordering::SeqCst);
        self.inner.notify_all();
        self.waiting.wake();
    }
}

fn lock_of<T>() -> String {
    format!("lock of {}", short::<T>())
}

fn change_of<T>() -> String {
    format!("change of {}", short::<T>())
}

/// The name of a type without where it is and what it is of.
fn short<T>() -> &'static str {
    let name = std::any::type_name::<T>();
    let name = name.split('<').next().unwrap_or(name);
    name.rsplit("::").next().unwrap_or(name)
}
