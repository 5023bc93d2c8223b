//! The manager on real files, with real processes: one module for each hazard.
//!
//! Other processes are played by `examples/peer.rs`, which `cargo test` builds. No test waits without an end:
//! a peer that stays silent and a thread that does not finish fail their test after [`support::LONG`].

#![cfg(feature = "engine")]
#![allow(missing_docs)]

#[cfg(feature = "tokio")]
mod asynchronous;
mod bad_input;
mod closing;
mod creation;
mod escapes;
mod fatal;
mod faults;
mod foreign_python;
mod forked;
mod full_disk;
mod keeping;
mod kills;
mod leases;
mod lock_protection;
#[cfg(feature = "opentelemetry")]
mod metrics;
mod nested;
mod one_instance;
mod outside;
mod peer;
mod phases;
mod quarantine;
mod read_only;
mod stale;
mod stopped;
mod store;
mod support;
mod torn_checkpoint;
mod transactions;
mod two_processes;
mod watching;
