//! The leases of one database that this process has out: who took them, where, since when, and how to interrupt them.

use std::collections::BTreeMap;
use std::panic::Location;
use std::sync::Arc;
use std::thread::{self, Thread};
use std::time::{Duration, Instant};

use crate::config::AccessMode;
use crate::engine::InterruptHandle;
use crate::seam::clock;
use crate::seam::sync::Mutex;
use crate::status::LeaseStatus;

/// See the module's header.
pub(crate) struct Leases(Mutex<Table>);

struct Table {
    next: u64,
    out: BTreeMap<u64, Lease>,
    /// When the last one came back.
    idle_since: Instant,
}

struct Lease {
    mode: AccessMode,
    taken_at: &'static Location<'static>,
    taken_by: Thread,
    /// Whether the thread that took it may not take another one.
    is_bound: bool,
    since: Instant,
    interrupt: Arc<InterruptHandle>,
    is_reported: bool,
    is_interrupted: bool,
}

/// A lease that is out for too long.
pub(crate) struct Overdue {
    pub(crate) number: u64,
    pub(crate) age: Duration,
    pub(crate) taken_at: &'static Location<'static>,
}

impl Default for Leases {
    fn default() -> Self {
        Self(Mutex::new(Table { next: 0, out: BTreeMap::new(), idle_since: clock::now() }))
    }
}

impl Leases {
    /// Notes a lease and returns its number. If it is bound, the calling thread may not take another one.
    pub(crate) fn note(
        &self,
        mode: AccessMode,
        is_bound: bool,
        taken_at: &'static Location<'static>,
        interrupt: Arc<InterruptHandle>,
    ) -> u64 {
        let lease = Lease {
            mode,
            taken_at,
            taken_by: thread::current(),
            is_bound,
            since: clock::now(),
            interrupt,
            is_reported: false,
            is_interrupted: false,
        };
        let mut table = self.0.lock();
        let number = table.next;
        table.next += 1;
        table.out.insert(number, lease);
        number
    }

    /// The lease comes back; returns how long it was out and the line that took it.
    pub(crate) fn remove(&self, number: u64) -> Option<(Duration, &'static Location<'static>)> {
        let mut table = self.0.lock();
        let lease = table.out.remove(&number)?;
        let now = clock::now();
        if table.out.is_empty() {
            table.idle_since = now;
        }
        Some((now.saturating_duration_since(lease.since), lease.taken_at))
    }

    /// How long the lease has been out.
    pub(crate) fn age(&self, number: u64) -> Duration {
        self.0.lock().out.get(&number).map_or(Duration::ZERO, |lease| clock::since(lease.since))
    }

    /// The thread that took the lease may take another one from now on.
    pub(crate) fn unbind(&self, number: u64) {
        if let Some(lease) = self.0.lock().out.get_mut(&number) {
            lease.is_bound = false;
        }
    }

    /// A lease that the calling thread has taken and not given back.
    pub(crate) fn of_this_thread(&self) -> Option<LeaseStatus> {
        let table = self.0.lock();
        if table.out.is_empty() {
            return None;
        }
        let this = thread::current().id();
        let held = table.out.values().find(|lease| lease.is_bound && lease.taken_by.id() == this);
        held.map(Lease::status)
    }

    /// For how long none has been out; `None` while one is.
    pub(crate) fn idle_for(&self) -> Option<Duration> {
        let table = self.0.lock();
        table.out.is_empty().then(|| clock::since(table.idle_since))
    }

    /// Those that have become older than `age_max` since this was asked last.
    pub(crate) fn newly_overdue(&self, age_max: Duration) -> Vec<Overdue> {
        let mut overdue = Vec::new();
        for (&number, lease) in &mut self.0.lock().out {
            let age = clock::since(lease.since);
            if age > age_max && !lease.is_reported {
                lease.is_reported = true;
                overdue.push(Overdue { number, age, taken_at: lease.taken_at });
            }
        }
        overdue
    }

    /// Interrupts the queries of all leases that are out, and returns the numbers of those that have not been interrupted
    /// before. DuckDB forgets an interrupt that comes just before a query begins, so once is not enough.
    pub(crate) fn interrupt(&self) -> Vec<u64> {
        let mut newly = Vec::new();
        for (&number, lease) in &mut self.0.lock().out {
            lease.interrupt.interrupt();
            if !lease.is_interrupted {
                lease.is_interrupted = true;
                newly.push(number);
            }
        }
        newly
    }

    /// All of them, oldest first.
    pub(crate) fn statuses(&self) -> Vec<LeaseStatus> {
        self.0.lock().out.values().map(Lease::status).collect()
    }
}

impl Lease {
    fn status(&self) -> LeaseStatus {
        let age_ms = u64::try_from(clock::since(self.since).as_millis()).unwrap_or(u64::MAX);
        LeaseStatus {
            mode: self.mode,
            taken_at: self.taken_at.to_string(),
            thread: self.taken_by.name().map(str::to_owned),
            since_unix_ms: clock::unix_ms().saturating_sub(age_ms),
        }
    }
}
