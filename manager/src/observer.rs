//! What a manager tells while it works.

use std::panic::{AssertUnwindSafe, Location, catch_unwind};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use crate::config::{AccessMode, Config};
use crate::error::{Error, Wanted};
use crate::gate::record::{Holder, Phase};
use crate::retry::Jitter;
use crate::seam::fork;

/// Something that happened, on the thread it happened on.
///
/// Leases are numbered within a process and database. Every [`Waits`](Self::Waits) is followed by a
/// [`Taken`](Self::Taken) or a [`GaveUp`](Self::GaveUp) on the same thread, and every `Taken` by a
/// [`Returned`](Self::Returned) unless the lease is leaked.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum LeaseEvent<'a> {
    /// Somebody asks for a lease.
    Waits {
        /// To read or to write.
        mode: AccessMode,
    },
    /// A lease was given. Told after it was.
    Taken {
        /// Names the lease within this process and database.
        number: u64,
        /// To read or to write.
        mode: AccessMode,
        /// From the call to the open connection.
        waited: Duration,
    },
    /// A lease was asked for and not given.
    GaveUp {
        /// To read or to write.
        mode: AccessMode,
        /// From the call to the error.
        waited: Duration,
        /// Whether the time ran out; otherwise it was refused or failed.
        timed_out: bool,
    },
    /// A lease is about to be given back. Told before it is.
    Returned {
        /// The same as in [`LeaseEvent::Taken`].
        number: u64,
        /// To read or to write.
        mode: AccessMode,
        /// How long it was out.
        used: Duration,
    },
    /// The process holds the file.
    Opened {
        /// To read or to write.
        mode: AccessMode,
        /// How long the gate was waited for.
        waited: Duration,
        /// How long DuckDB needed to attach the file, programs without the gate included.
        attached_in: Duration,
    },
    /// The process has let go of the file.
    Closed {
        /// As it was held.
        mode: AccessMode,
        /// For how long.
        held: Duration,
    },
    /// An attempt to open the file failed because a program without the gate holds it.
    HeldOutside {
        /// What is known of it.
        text: &'a str,
    },
    /// A pause before the next attempt is over.
    Paused {
        /// Counted from 1.
        attempt: u32,
        /// How long it was.
        pause: Duration,
    },
    /// A wait is longer than [`Config::warn_after`](crate::Config::warn_after).
    SlowWait {
        /// What is waited for.
        wanted: Wanted,
        /// For how long so far.
        waited: Duration,
        /// Which processes are in the way.
        holders: &'a [Holder],
    },
    /// A lease is out for longer than [`Config::lease_age_max`](crate::Config::lease_age_max). Told once for each.
    Overdue {
        /// Which.
        number: u64,
        /// How old it is.
        age: Duration,
        /// The line of the program that took it.
        taken_at: &'a Location<'static>,
    },
    /// The query of a lease was interrupted because others have waited for too long.
    Interrupted {
        /// Which lease.
        number: u64,
    },
    /// The instance was found dead. It is closed as soon as its leases are back, and opened anew for the next one.
    Broken {
        /// The error that told.
        text: &'a str,
    },
    /// This process is in a phase.
    PhaseEntered {
        /// Which.
        phase: Phase,
        /// How long it waited.
        waited: Duration,
    },
    /// A guard of a phase was dropped.
    PhaseLeft {
        /// Which.
        phase: Phase,
        /// How long it lasted.
        lasted: Duration,
    },
}

/// Is told of leases, for metrics and histories.
///
/// It is called on the thread that takes or returns the lease, and the lease waits for it to return; of what happens
/// to a lease from outside, on a thread of the manager's own. It must not call the manager: that thread may be in the
/// middle of changing how the process holds the file. A panic in it is logged and goes no further; other observers are
/// told all the same.
pub trait Observer: Send + Sync {
    /// Is called once for each event.
    fn observe(&self, database: &Path, event: &LeaseEvent<'_>);
}

/// What every part of one manager works with.
pub(crate) struct Context {
    pub(crate) config: Config,
    pub(crate) observers: Vec<Arc<dyn Observer>>,
    pub(crate) jitter: Arc<dyn Jitter>,
    /// How many forks lay behind the process that made the manager.
    pub(crate) epoch: u32,
}

impl Context {
    /// Whether this process was forked from the one that made the manager: nothing here may be used then (I11).
    pub(crate) fn is_forked(&self) -> bool {
        fork::epoch() != self.epoch && !faulty!(Fault::ForkIgnored)
    }

    /// Fails in such a process.
    pub(crate) fn refuse_forked(&self, path: &Path, wanted: Wanted) -> Result<(), Error> {
        if self.is_forked() { Err(Error::Forked { path: path.into(), wanted }) } else { Ok(()) }
    }

    pub(crate) fn tell(&self, database: &Path, event: &LeaseEvent<'_>) {
        for observer in &self.observers {
            // A lease is owed back whatever its observer does, and it comes back in a destructor (I11).
            let told = catch_unwind(AssertUnwindSafe(|| observer.observe(database, event)));
            if told.is_err() {
                tracing::error!(path = %database.display(), ?event, "the observer panicked");
            }
        }
    }
}
