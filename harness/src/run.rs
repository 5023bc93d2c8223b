//! Runs: a plan carried out by real processes and threads on a real DuckDB file.
//!
//! # Scope of determinism
//!
//! `free` mode: the plan is fixed by scenario and seed, and so is everything that is computed; the
//! interleaving is the kernel's.
//!
//! # Invariants
//!
//! * Every event is in the history file before the next reply is awaited.
//! * When a run ends, however it ends, each of its processes has been waited for.

pub mod coordinator;
mod panels;
pub mod process;
pub mod protocol;
pub mod shelf;
pub mod specs;
pub mod steps;
pub mod survey;
pub mod worker;

pub use coordinator::{Finished, Job, RunError, run};
