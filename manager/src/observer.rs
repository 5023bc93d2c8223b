//! What a manager tells while it works.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use crate::config::{AccessMode, Config};

/// Something that happened to a lease, on the thread it happened on.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum LeaseEvent<'a> {
    /// A lease was given. Told after it was.
    Taken {
        /// Names the lease within this process and database.
        number: u64,
        /// To read or to write.
        mode: AccessMode,
        /// From the call to the open connection.
        waited: Duration,
    },
    /// A lease is about to be given back. Told before it is.
    Returned {
        /// The same as in [`LeaseEvent::Taken`].
        number: u64,
    },
    /// An attempt to open the file failed because a program without the gate holds it.
    HeldOutside {
        /// DuckDB's own words.
        text: &'a str,
    },
    /// A pause before the next attempt is over.
    Paused {
        /// Counted from 1.
        attempt: u32,
        /// How long it was.
        pause: Duration,
    },
}

/// Is told of leases, for metrics and histories.
///
/// It is called on the thread that takes or returns the lease, and the lease waits for it to return. It must
/// not call the manager: that thread may be in the middle of changing how the process holds the file. A panic
/// in it is logged and goes no further.
pub trait Observer: Send + Sync {
    /// Is called once for each event.
    fn observe(&self, database: &Path, event: &LeaseEvent<'_>);
}

/// What every part of one manager works with.
pub(crate) struct Context {
    pub(crate) config: Config,
    pub(crate) observer: Option<Arc<dyn Observer>>,
}

impl Context {
    pub(crate) fn tell(&self, database: &Path, event: &LeaseEvent<'_>) {
        if let Some(observer) = &self.observer {
            // A lease is owed back whatever its observer does, and it comes back in a destructor (I11).
            let told = catch_unwind(AssertUnwindSafe(|| observer.observe(database, event)));
            if told.is_err() {
                tracing::error!(path = %database.display(), ?event, "the observer panicked");
            }
        }
    }
}
