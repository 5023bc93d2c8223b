//! The harness's report: one JSON file that everything else is made from.
//!
//! A run of the harness ends in a [`Report`]. It is built once, with [`Report::new`], from one
//! [`ScenarioReport`] for each scenario and driver; totals, status and exit code are derived from
//! those and from nothing else ([`Summary::of`], [`ExitCode::pick`]). [`Report::write`] puts it on disk
//! as a whole or not at all, [`Report::read`] takes it back, also from a later minor version, and
//! [`table`] shows it to a person.
//!
//! The file is public and versioned: its JSON Schema ([`schema()`]) is checked in as
//! `reports/schema/report.v1.schema.json`, and `reports/golden/run.json` is a report that every later
//! build must still read. The text of [`table`] is for people and may change.
//!
//! # Example
//!
//! ```
//! use reports::{ReadError, Report, table};
//!
//! let report = Report::read("golden/run.json")?;
//! assert_eq!(report.summary.exit_code, 0);
//! for scenario in &report.scenarios {
//!     println!("{} on {}: {:?}", scenario.id, scenario.driver, scenario.status);
//! }
//! print!("{}", table(&report));
//!
//! let foreign = Report::read("schema/report.v1.schema.json");
//! assert!(matches!(foreign, Err(ReadError::Format { .. })));
//! # Ok::<(), ReadError>(())
//! ```

#![deny(missing_docs)]
#![forbid(unsafe_code)]

mod model;
mod scenario;

mod hex64;

mod exit_code;

mod file;
mod schema;
mod summary;

pub use exit_code::ExitCode;
pub use file::{FILE_NAME, ReadError, WriteError};
pub use hex64::{Hex64, ParseHex64Error};
pub use model::{
    Canaries, Exploration, FORMAT, FORMAT_VERSION, Kind, Machine, Provenance, Report,
    ScenarioTotals, Status, Summary, Versions,
};
pub use scenario::{
    Actor, Check, Counts, Failure, Latencies, Latency, Minimized, Mode, ScenarioReport, Score,
    StoreFigures, Verdict,
};
pub use schema::schema;
pub use summary::table;
