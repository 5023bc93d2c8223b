//! What a manager is told once, and what a call may change.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// How a database is opened. The Python system's `mode='r'` and `mode='rw'`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AccessMode {
    /// `'r'`: beside other readers, of any process.
    ReadOnly,
    /// `'rw'`: alone, but for readers of the same process.
    ReadWrite,
}

/// Whether a process may write while an evaluation phase is on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WritesInEvaluation {
    /// A write lease is refused at once, with the names of the evaluating processes.
    Refuse,
    /// A write lease waits for its turn between the evaluation's readers, as it does at any other time.
    Allow,
}

/// The settings of a [`Manager`](crate::Manager).
///
/// # Example
///
/// ```
/// use std::time::Duration;
/// use manager::Config;
///
/// let config = Config { label: "nightly training".into(), wait_max: Duration::from_mins(5), ..Config::default() };
/// assert!(config.validate().is_ok());
///
/// let refused = Config { duckdb_threads: Some(0), ..config }.validate().unwrap_err();
/// assert!(refused.to_string().contains("duckdb_threads"));
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// What other processes read about this one when it stands in their way. Cut at 64 characters.
    /// Default: empty.
    pub label: String,
    /// How long a lease, a phase or a creation is waited for. At most a hundred years. Default: 30 s.
    pub wait_max: Duration,
    /// How long this process serves its own threads on one hold of the file once another process waits.
    /// Longer amortises a hand-over over more leases, shorter lets others in sooner. Default: 20 ms.
    pub hold_max: Duration,
    /// The longest pause between two attempts to open a file that a program without the gate holds; each
    /// pause is drawn uniformly from zero to a limit that doubles from 5 ms up to this. At least 1 ms.
    /// Default: 100 ms.
    pub foreign_poll_max: Duration,
    /// DuckDB's `threads` for each database; at least 1. Default: `None`, as many as the machine has.
    pub duckdb_threads: Option<u32>,
    /// DuckDB's `memory_limit` for each database, in bytes; at least 16 MiB. Default: `None`, 80 % of the
    /// machine's memory.
    pub duckdb_memory_max_bytes: Option<u64>,
    /// Whether write leases are given while an evaluation phase is on. Default: refused.
    pub writes_in_evaluation: WritesInEvaluation,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            label: String::new(),
            wait_max: Duration::from_secs(30),
            hold_max: Duration::from_millis(20),
            foreign_poll_max: Duration::from_millis(100),
            duckdb_threads: None,
            duckdb_memory_max_bytes: None,
            writes_in_evaluation: WritesInEvaluation::Refuse,
        }
    }
}

/// A setting that no manager works with.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("configure the manager: `{field}` is {value}, it must be {expected}")]
pub struct ConfigError {
    /// The field of [`Config`].
    pub field: &'static str,
    /// What it was set to.
    pub value: String,
    /// Its bounds.
    pub expected: &'static str,
}

impl Config {
    /// Checks every field against its bounds.
    ///
    /// # Errors
    ///
    /// [`ConfigError`] names the first field that is out of bounds.
    pub fn validate(&self) -> Result<(), ConfigError> {
        let refuse = |field, value: String, expected| Err(ConfigError { field, value, expected });
        if self.duckdb_threads == Some(0) {
            return refuse("duckdb_threads", "0".into(), "at least 1, or `None`");
        }
        if let Some(bytes) = self.duckdb_memory_max_bytes.filter(|&bytes| bytes < 16 << 20) {
            return refuse(
                "duckdb_memory_max_bytes",
                bytes.to_string(),
                "at least 16 MiB, or `None`",
            );
        }
        if self.foreign_poll_max < Duration::from_millis(1) {
            return refuse(
                "foreign_poll_max",
                format!("{:?}", self.foreign_poll_max),
                "at least 1 ms",
            );
        }
        if self.label.contains(char::is_control) {
            return refuse("label", format!("{:?}", self.label), "free of control characters");
        }
        Ok(())
    }
}

/// What one call asks for beyond the manager's [`Config`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AcquireOptions {
    /// How long to wait. Default: [`Config::wait_max`].
    pub wait_max: Option<Duration>,
}
