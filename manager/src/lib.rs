//! A connection manager for DuckDB files that no process loses at.
//!
//! DuckDB lets one process write a file, or many read it, never both; and inside one process it opens a file
//! twice without an error and loses what one of the two commits. This crate puts a fair gate in front of the
//! file, gives leases instead of loose connections, and lets a pipeline flip between training and evaluation
//! without a lock error.
//!
//! Read on in this order: [`Manager`], the public face; [`Error`], what can go wrong; [`FeatureStore`], features
//! computed once and found by everyone; [`WalkForward`], the windows, and [`Schedule`], who reads what in them. Inside: `gate` (who may hold the file),
//! `registry` and `engine` (one instance per file), `database` (the three of them in order), `seam` (locks, clock,
//! randomness, processes). `DESIGN.md` has the invariants and why they hold.
//!
//! Without its default features this crate is the gate alone and its tests, built without DuckDB.

#![deny(missing_docs)]
#![warn(clippy::missing_errors_doc, clippy::missing_panics_doc)]

#[cfg(feature = "faulty")]
#[macro_use]
pub mod faulty;
#[cfg(not(feature = "faulty"))]
#[macro_use]
#[path = "faultless.rs"]
mod faulty;

mod class;
mod config;
mod gate;
mod retry;
mod seam;
#[cfg_attr(not(feature = "engine"), allow(dead_code, unused_imports))]
// the face of it needs the engine
mod store;
mod walk_forward;

#[cfg(all(feature = "engine", feature = "tokio"))]
mod asynchronous;
#[cfg(feature = "engine")]
mod attachment;
#[cfg(feature = "engine")]
mod create;
#[cfg(feature = "engine")]
mod database;
#[cfg(feature = "engine")]
mod engine;
#[cfg(feature = "engine")]
mod error;
#[cfg(feature = "engine")]
mod inspect;
#[cfg(feature = "engine")]
mod keeper;
#[cfg(feature = "engine")]
mod lease;
#[cfg(feature = "engine")]
mod leases;
#[cfg(feature = "engine")]
mod manager;
#[cfg(all(feature = "engine", feature = "opentelemetry"))]
mod metrics;
#[cfg(feature = "engine")]
mod observer;
#[cfg(feature = "engine")]
mod outsiders;
#[cfg(feature = "engine")]
mod phases;
#[cfg(feature = "engine")]
mod quarantine;
#[cfg(feature = "engine")]
mod registry;
#[cfg(feature = "engine")]
mod status;
#[cfg(feature = "engine")]
mod transaction;
#[cfg(feature = "engine")]
mod wait;

pub use class::ErrorClass;
pub use config::{
    AccessMode, AcquireOptions, Config, ConfigBuilder, ConfigError, ConfigOrigin,
    WritesInEvaluation,
};
pub use gate::record::{Holder, Phase, Standing};
pub use retry::{Backoff, Jitter, RandomJitter, SeededJitter};
#[cfg(feature = "lockstep")]
pub use seam::lockstep;
pub use seam::patience::Cancel;
pub use store::{
    FeatureSpec, Fingerprint, FingerprintBuilder, HexError, Input, Key, Leak, LeakCause, Params,
    ParamsError, Policy,
};
pub use walk_forward::{Schedule, WalkForward, Window, WindowError, WindowMode};

#[cfg(all(feature = "engine", feature = "tokio"))]
pub use asynchronous::{AsyncManager, AsyncTransactionOptions, OwnedStoredCheck, Pending};
#[cfg(feature = "engine")]
pub use duckdb;
#[cfg(feature = "engine")]
pub use error::{Error, Wanted};
#[cfg(feature = "engine")]
pub use inspect::{gate_path, generation, holders};
#[cfg(feature = "engine")]
pub use lease::{AnyLease, ReadLease, WriteLease};
#[cfg(feature = "engine")]
pub use manager::{Manager, ManagerBuilder};
#[cfg(all(feature = "engine", feature = "opentelemetry"))]
pub use metrics::PoolMetrics;
#[cfg(feature = "engine")]
pub use observer::{LeaseEvent, Observer};
#[cfg(feature = "engine")]
pub use phases::PhaseGuard;
#[cfg(feature = "engine")]
pub use status::{CloseReport, DatabaseStatus, Drain, LeaseStatus, Status};
#[cfg(feature = "engine")]
pub use store::{
    Absent, Artefact, AsOf, Codec, Counts, Depth, Evicted, ExportReport, FeatureStore, Fill,
    Finding, Found, GcReport, Lookup, MirrorState, PinnedFeature, Plan, Publication, Published,
    Reader, Selector, Stats, StoreOptions, VerifyReport,
};
#[cfg(feature = "engine")]
pub use transaction::{StoredCheck, Transaction, TransactionOptions};
#[cfg(feature = "engine")]
pub use walk_forward::{Progress, Step, WalkForwardDriver, Walked, WalkedWindow};

/// The examples of the README are compiled and run with those of this crate.
#[cfg(all(doctest, feature = "engine"))]
#[doc = include_str!("../../README.md")]
struct ReadmeExamples;
