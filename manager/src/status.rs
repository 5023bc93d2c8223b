//! What a process has out. `inspect.rs` looks from outside.
//!
//! Everything here is a snapshot: it was true when it was taken.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::config::AccessMode;

/// What a manager has out. Returned by [`Manager::status`](crate::Manager::status).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    /// Each database that has leases or has had them, ordered by path.
    pub databases: Vec<DatabaseStatus>,
}

impl Status {
    /// Leases that are out, over all databases: the Python system's `active_connections`.
    pub fn leases_out(&self) -> usize {
        self.databases.iter().map(|database| database.leases.len()).sum()
    }
}

/// One database in this process.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DatabaseStatus {
    /// Its canonical path.
    pub path: PathBuf,
    /// How this process holds the file now.
    pub attachment: Option<AccessMode>,
    /// Threads of this process that wait for a lease.
    pub waiting: usize,
    /// Leases that are out, oldest first.
    pub leases: Vec<LeaseStatus>,
}

/// A lease that is out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeaseStatus {
    /// To read or to write.
    pub mode: AccessMode,
    /// The line of the program that took it: `src/train.rs:12:9`.
    pub taken_at: String,
    /// The name of the thread that took it, if it has one.
    pub thread: Option<String>,
    /// Since when, in milliseconds after 1970.
    pub since_unix_ms: u64,
}

impl fmt::Display for LeaseStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mode = match self.mode {
            AccessMode::ReadOnly => "read",
            AccessMode::ReadWrite => "write",
        };
        write!(f, "{mode} lease taken at {}", self.taken_at)
    }
}

/// How long closing waits for the leases that are out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Drain {
    /// From the call on. Zero closes what is idle and reports the rest. Default: zero.
    pub wait_max: Duration,
    /// After how long queries that still run are interrupted; their leases stay out until they are dropped. Default:
    /// `None`, never.
    pub interrupt_after: Option<Duration>,
}

impl Drain {
    /// Waits for so long, and interrupts nothing.
    pub const fn within(wait_max: Duration) -> Self {
        Self { wait_max, interrupt_after: None }
    }
}

/// What closing left behind. Returned by [`Manager::close_all_connections`](crate::Manager::close_all_connections)
/// and [`Manager::close_write_connections`](crate::Manager::close_write_connections).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CloseReport {
    /// Databases that this process no longer holds in the closed way.
    pub closed: Vec<PathBuf>,
    /// Databases that it still holds because leases were out at the deadline, with those leases.
    pub still_out: Vec<DatabaseStatus>,
}

impl CloseReport {
    /// Whether nothing is left.
    pub fn is_complete(&self) -> bool {
        self.still_out.is_empty()
    }
}
