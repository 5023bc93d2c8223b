//! How long a wait may last: until a deadline, or until somebody cancels it.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use super::sync::{AtomicBool, Mutex};

/// Ends waits from another thread. Cheap to clone; the clones are one.
///
/// # Example
///
/// ```
/// use manager::{AccessMode, AcquireOptions, Cancel};
///
/// let cancel = Cancel::default();
/// let options = AcquireOptions { cancel: Some(cancel.clone()), ..AcquireOptions::default() };
/// cancel.cancel(); // whoever waits with these options returns `Error::Cancelled`, now and from now on
/// assert!(cancel.is_cancelled());
/// ```
#[derive(Clone, Debug, Default)]
pub struct Cancel(Arc<Shared>);

#[derive(Default)]
struct Shared {
    cancelled: AtomicBool,
    wakers: Mutex<Vec<(u64, Wake)>>,
}

type Wake = Box<dyn Fn() + Send>;

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Cancel").field("cancelled", &self.cancelled).finish_non_exhaustive()
    }
}

impl PartialEq for Cancel {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl Eq for Cancel {}

impl Cancel {
    /// Ends every wait that was begun with this, and every one that will be. Does not block for longer than it takes
    /// to wake them.
    pub fn cancel(&self) {
        let wakers = self.0.wakers.lock();
        // Before the wake-ups: who wakes up looks at it.
        self.0.cancelled.store(true, Ordering::SeqCst);
        for (_, wake) in wakers.iter() {
            wake();
        }
    }

    /// Whether [`cancel`](Self::cancel) has been called.
    pub fn is_cancelled(&self) -> bool {
        self.0.cancelled.load(Ordering::SeqCst)
    }
}

/// See the module's header.
#[derive(Clone, Debug)]
pub(crate) struct Patience {
    deadline: Instant,
    cancel: Option<Cancel>,
}

/// Keeps a waker registered. It is not called any more once this is dropped.
#[derive(Debug)]
pub(crate) struct Woken {
    cancel: Cancel,
    number: u64,
}

impl Patience {
    pub(crate) fn until(deadline: Instant) -> Self {
        Self { deadline, cancel: None }
    }

    pub(crate) fn with(deadline: Instant, cancel: Option<Cancel>) -> Self {
        Self { deadline, cancel }
    }

    /// The same, but with another deadline.
    pub(crate) fn within(&self, deadline: Instant) -> Self {
        Self { deadline: self.deadline.min(deadline), cancel: self.cancel.clone() }
    }

    pub(crate) fn deadline(&self) -> Instant {
        self.deadline
    }

    /// Whether the deadline has passed by now, or it was cancelled.
    pub(crate) fn is_over(&self, now: Instant) -> bool {
        self.deadline <= now || self.is_cancelled()
    }

    pub(crate) fn is_cancelled(&self) -> bool {
        self.cancel.as_ref().is_some_and(Cancel::is_cancelled)
    }

    /// Calls `wake` when the wait is cancelled, for as long as the result lives. If it has been cancelled before,
    /// `wake` is not called: ask after registering.
    pub(crate) fn on_cancel(&self, wake: impl Fn() + Send + 'static) -> Option<Woken> {
        let cancel = self.cancel.clone()?;
        let mut wakers = cancel.0.wakers.lock();
        let number = wakers.last().map_or(0, |(last, _)| last + 1);
        wakers.push((number, Box::new(wake)));
        drop(wakers);
        Some(Woken { cancel, number })
    }
}

impl Drop for Woken {
    fn drop(&mut self) {
        // Waits for a `cancel` that is going on, so a waker never outlives what it wakes.
        self.cancel.0.wakers.lock().retain(|(number, _)| *number != self.number);
    }
}
