//! A wait with a deadline, everything that its error says, and who is told when it takes long.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::error::{Error, Wanted};
use crate::gate::file::Refusal;
use crate::seam::clock;
use crate::seam::patience::{Cancel, Patience};
use crate::seam::sync::Mutex;
use crate::status::LeaseStatus;

/// What is waited for, since when and for how long.
pub(crate) struct Wait<'a> {
    pub(crate) path: &'a Path,
    wanted: Wanted,
    begun: Instant,
    patience: Patience,
}

impl<'a> Wait<'a> {
    pub(crate) fn new(
        path: &'a Path,
        wanted: Wanted,
        limit: Duration,
        cancel: Option<Cancel>,
    ) -> Self {
        let begun = clock::now();
        let limit = if faulty!(Fault::DeadlineTooLate) { limit.saturating_mul(2) } else { limit };
        Self { path, wanted, begun, patience: Patience::with(clock::after(begun, limit), cancel) }
    }

    pub(crate) fn patience(&self) -> &Patience {
        &self.patience
    }

    pub(crate) fn waited(&self) -> Duration {
        clock::since(self.begun)
    }

    /// Whether its time is over, or it was cancelled.
    pub(crate) fn is_over(&self) -> bool {
        self.patience.is_over(clock::now())
    }

    /// The error of a wait that was cancelled, if it was.
    pub(crate) fn cancelled(&self) -> Option<Error> {
        self.patience.is_cancelled().then(|| Error::Cancelled {
            path: self.path.to_path_buf(),
            wanted: self.wanted,
            waited: self.waited(),
        })
    }

    /// The error of a gate that did not open; `here` is what this process itself has out.
    pub(crate) fn error(&self, refusal: Refusal, here: Vec<LeaseStatus>) -> Error {
        let path = self.path.to_path_buf();
        match refusal {
            Refusal::Expired(holders) => self.cancelled().unwrap_or_else(|| Error::TimedOut {
                path,
                wanted: self.wanted,
                waited: self.waited(),
                holders,
                here,
            }),
            Refusal::Evaluation(holders) => Error::EvaluationIsOn { path, holders },
            Refusal::Unusable { gate, source } => Error::Gate { path: gate, source },
        }
    }
}

/// The waits that are going on in this process for one database.
#[derive(Clone, Default)]
pub(crate) struct Waits(Arc<Mutex<Vec<Waiting>>>);

struct Waiting {
    number: u64,
    wanted: Wanted,
    begun: Instant,
    is_reported: bool,
}

/// A wait that has become long.
pub(crate) struct SlowWait {
    pub(crate) wanted: Wanted,
    pub(crate) waited: Duration,
}

/// Keeps a wait listed.
pub(crate) struct Listed {
    waits: Waits,
    number: u64,
}

impl Waits {
    pub(crate) fn list(&self, wait: &Wait<'_>) -> Listed {
        let mut waits = self.0.lock();
        let number = waits.last().map_or(0, |last| last.number + 1);
        waits.push(Waiting { number, wanted: wait.wanted, begun: wait.begun, is_reported: false });
        drop(waits);
        Listed { waits: self.clone(), number }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.lock().is_empty()
    }

    /// Those that have become longer than `limit` since this was asked last.
    pub(crate) fn newly_slow(&self, limit: Duration) -> Vec<SlowWait> {
        let mut slow = Vec::new();
        for waiting in &mut *self.0.lock() {
            let waited = clock::since(waiting.begun);
            if waited > limit && !waiting.is_reported {
                waiting.is_reported = true;
                slow.push(SlowWait { wanted: waiting.wanted, waited });
            }
        }
        slow
    }
}

impl Drop for Listed {
    fn drop(&mut self) {
        self.waits.0.lock().retain(|waiting| waiting.number != self.number);
    }
}
