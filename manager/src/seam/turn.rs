//! A turn that one thread at a time has, and whose wait ends.

use std::sync::Arc;

use super::clock;
use super::patience::Patience;
use super::sync::{Condvar, Mutex};

/// A mutex with a deadline. In no order: for what takes long and is rarely met.
#[derive(Default)]
pub(crate) struct Turn {
    is_taken: Mutex<bool>,
    moved: Condvar,
}

/// Gives the turn back when it is dropped.
pub(crate) struct Taken<'a>(&'a Turn);

impl Turn {
    /// Waits until no other thread has it; `None` if patience ends first.
    pub(crate) fn take(self: &Arc<Self>, patience: &Patience) -> Option<Taken<'_>> {
        let this = Arc::clone(self);
        let _woken = patience.on_cancel(move || {
            // Under the lock: whoever has just seen that nobody cancelled is asleep by now.
            let _is_taken = this.is_taken.lock();
            this.moved.notify_all();
        });
        let mut is_taken = self.is_taken.lock();
        while *is_taken {
            if patience.is_over(clock::now()) {
                return None;
            }
            self.moved.wait_until(&mut is_taken, patience.deadline());
        }
        *is_taken = true;
        Some(Taken(self))
    }
}

impl Drop for Taken<'_> {
    fn drop(&mut self) {
        *self.0.is_taken.lock() = false;
        self.0.moved.notify_all();
    }
}
