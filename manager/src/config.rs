//! What a manager is told once, and what a call may change.
//!
//! A setting is one entry of [`Config`]: documentation, name, type, default and bounds. The struct, the setters of
//! [`ConfigBuilder`] and the table `FIELDS` are made of it, and TOML, the environment and the validation go
//! through that table. A new setting is added there and nowhere else.
//!
//! Inside: `setting` (types of values: how they are written, read and bounded), `field` (the entry and the table),
//! `document` (TOML), `environment`, `builder`, `error`.

mod builder;
mod document;
mod environment;
mod error;
mod field;
mod setting;
#[cfg(test)]
mod tests;

use std::time::Duration;

use serde::{Deserialize, Serialize};

pub use builder::ConfigBuilder;
pub use error::{ConfigError, ConfigOrigin};
use field::{Column, Field, settings};
use setting::{Listed, Printable};

use crate::seam::patience::Cancel;

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

const MILLISECOND: Duration = Duration::from_millis(1);
const SECOND: Duration = Duration::from_secs(1);
const HOUR: Duration = Duration::from_hours(1);
/// Years of 365.25 days, as `humantime` has them. No clock of the system overflows on it.
const HUNDRED_YEARS: Duration = Duration::from_hours(100 * 8_766);
const TEN_MILLISECONDS: Duration = Duration::from_millis(10);
const TEN_SECONDS: Duration = Duration::from_secs(10);

settings! {
    /// The settings of a [`Manager`](crate::Manager).
    ///
    /// Write the struct, or let [`builder`](Self::builder), [`from_toml`](Self::from_toml) and
    /// [`from_env`](Self::from_env) make it, which check the bounds; a manager checks them again when it is made.
    /// Layers stack: `Config::from_toml(text)?.with_env()?` is a file and over it the environment, and
    /// [`to_builder`](Self::to_builder) goes on from there.
    ///
    /// Each field's documentation ends with its default and its bounds, both included, as they are written in TOML
    /// and in the environment:
    ///
    /// * a duration is one or more numbers with a unit (`ns`, `us`, `ms`, `s`, `m`, `h`, `days`, `years` of 365.25
    ///   days): `20ms`, `1m 30s`, `1.5s`. A quoted string in TOML;
    /// * a number of bytes is an integer, or one with a unit of 1024 (`B`, `KiB`, `MiB`, `GiB`, `TiB`): `4096`,
    ///   `16MiB`. With a unit it is quoted in TOML;
    /// * a field that is an `Option` takes `none` for `None`. Quoted in TOML.
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
        /// What other processes read about this one when it stands in their way. Cut at 64 characters when it is
        /// recorded.
        ///
        /// Default: `""`. Bounds: no control characters.
        pub label: String as impl Into<String> = String::new(), within Printable;

        /// How long a lease, a phase or a creation is waited for. Zero does not wait: what cannot be had at once is
        /// refused.
        ///
        /// Default: `30s`. Bounds: from `0s` to `100years`.
        pub wait_max: Duration = Duration::from_secs(30), within Duration::ZERO..=HUNDRED_YEARS;

        /// How long this process serves its own threads on one hold of the file once another process waits; while it
        /// writes and one waits to read, an eighth of it. Longer amortises a hand-over over more leases, shorter lets
        /// others in sooner.
        ///
        /// Default: `20ms`. Bounds: from `0s` to `10s`.
        pub hold_max: Duration = Duration::from_millis(20), within Duration::ZERO..=TEN_SECONDS;

        /// How long the file stays attached after the last lease while nobody asks for it. Zero lets go with the last
        /// lease. Another process that uses the gate gets the file at once all the same; this is for programs that
        /// cannot ask.
        ///
        /// Default: `1s`. Bounds: from `0s` to `1h`.
        pub idle_max: Duration = SECOND, within Duration::ZERO..=HOUR;

        /// The most read leases out at once, of one database in this process. The next one waits its turn.
        ///
        /// Default: `64`. Bounds: from `1` to `10000`.
        pub readers_max: u32 = 64, within 1..=10_000;

        /// A lease that is out for longer is reported, with the line that took it. It is not taken back. `None`
        /// reports none.
        ///
        /// Default: `1m`. Bounds: at least `10ms`, or `none`.
        pub lease_age_max: Option<Duration> = Some(Duration::from_mins(1)), within TEN_MILLISECONDS..=Duration::MAX;

        /// A wait that takes longer is warned of, with who is in the way.
        ///
        /// Default: `1s`. Bounds: from `10ms` to `1h`.
        pub warn_after: Duration = SECOND, within TEN_MILLISECONDS..=HOUR;

        /// Once another process or a phase has waited this long for a database, queries that run on it in this
        /// process are interrupted. `None` lets every query end by itself.
        ///
        /// Default: `none`. Bounds: at least `10ms`, or `none`.
        pub interrupt_after: Option<Duration> = None, within TEN_MILLISECONDS..=Duration::MAX;

        /// The longest pause between two attempts to open a file that a program without the gate holds; each pause is
        /// drawn uniformly from zero to a limit that doubles from 5 ms up to this.
        ///
        /// Default: `100ms`. Bounds: from `1ms` to `10s`.
        pub foreign_poll_max: Duration = Duration::from_millis(100), within MILLISECOND..=TEN_SECONDS;

        /// At a hand-over the write-ahead log is folded into the file when it is longer than this, in bytes; a
        /// shorter one is replayed by the next holder.
        ///
        /// Default: `1KiB`. Bounds: from `0` to `1GiB`.
        pub checkpoint_wal_bytes: u64 = 1024, within 0..=1 << 30;

        /// How often `Manager::transaction` runs its closure at most, the first time included.
        ///
        /// Default: `16`. Bounds: from `1` to `10000`.
        pub transaction_attempts_max: u32 = 16, within 1..=10_000;

        /// DuckDB's `threads` for each database. `None` takes as many as the machine has.
        ///
        /// Default: `none`. Bounds: at least `1`, or `none`.
        pub duckdb_threads: Option<u32> = None, within 1..=u32::MAX;

        /// DuckDB's `memory_limit` for each database, in bytes. `None` takes 80 % of the machine's memory.
        ///
        /// Default: `none`. Bounds: at least `16MiB`, or `none`.
        pub duckdb_memory_max_bytes: Option<u64> = None, within 16 << 20..=u64::MAX;

        /// Whether write leases are given while an evaluation phase is on.
        ///
        /// Default: `refuse`. Bounds: `refuse` or `allow`.
        pub writes_in_evaluation: WritesInEvaluation = WritesInEvaluation::Refuse, within Listed;
    }
}

impl Config {
    /// Checks every field against its bounds.
    ///
    /// # Errors
    ///
    /// [`ConfigError`] names the first field that is out of bounds.
    pub fn validate(&self) -> Result<(), ConfigError> {
        match FIELDS.iter().find(|field| !field.fits(self)) {
            Some(field) => Err(field.wrong(field.shown(self), ConfigOrigin::Program)),
            None => Ok(()),
        }
    }
}

/// What one call asks for beyond the manager's [`Config`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AcquireOptions {
    /// How long to wait. Default: [`Config::wait_max`].
    pub wait_max: Option<Duration>,
    /// What ends the wait from another thread. Default: nothing.
    pub cancel: Option<Cancel>,
}
