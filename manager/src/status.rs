//! What is held, by whom, since when: from inside a process and from outside.
//!
//! Everything here is a snapshot: it was true when it was taken.

use std::fmt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::config::AccessMode;
use crate::error::Error;
use crate::gate::file::{GateFile, Refusal, path_of};
use crate::gate::record::Holder;

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

/// Who holds a database file or waits for it, over all processes that use the gate. Looks at the gate only
/// and never opens the database. Does not block.
///
/// # Errors
///
/// * [`Error::Gate`] if the gate file is there but cannot be read.
///
/// # Example
///
/// ```no_run
/// for holder in manager::holders("features.duckdb".as_ref())? {
///     println!("{holder}");
/// }
/// # Ok::<(), manager::Error>(())
/// ```
pub fn holders(database: &Path) -> Result<Vec<Holder>, Error> {
    let path = std::fs::canonicalize(database).unwrap_or_else(|_| database.to_path_buf());
    let looked = GateFile::open_existing(&path)
        .and_then(|gate| gate.map_or(Ok(Vec::new()), |gate| gate.holders()));
    looked.map_err(|refusal| match refusal {
        Refusal::Unusable { gate, source } => Error::Gate { path: gate, source },
        Refusal::Expired(_) | Refusal::Evaluation(_) => unreachable!("a look waits for nothing"),
    })
}

/// The path of the gate file of a database.
pub fn gate_path(database: &Path) -> PathBuf {
    path_of(database)
}
