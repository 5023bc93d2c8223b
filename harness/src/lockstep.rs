//! Lockstep: one actor moves at a time, a strategy decides who, and a decision log says how it went.
//!
//! | module | in → out | pure |
//! |---|---|---|
//! | [`driver`] | the page that a user implements to put own DuckDB code under the scheduler | |
//! | [`naive`], [`managed`] | the built-in drivers | |
//! | [`strategy`] | who is enabled → who moves: random, PCT, preemption-bounded DFS | yes, given the seed |
//! | [`schedule`] | a script, a driver, a strategy → one schedule, carried out and logged | |
//! | [`log`] | the decision log: written before and after each step, read back | |
//! | [`replay`] | a log → the same schedule again, or the first thing that differed | |
//! | [`check`] | a log → findings | yes |
//! | [`explore`] | many schedules → coverage, verdicts, kept failures | |
//! | [`report`] | what was explored or replayed → the parts of `report.json` | yes |
//!
//! # Scope of determinism
//!
//! Decided here: the order of steps, and everything random. Equal log and equal build give equal outcomes, results and
//! contents; a replay that finds otherwise says at which step. A step is a statement or a call of the manager. What
//! happens inside of a step is the engine's own, which runs with one thread. Wall-clock time enters in one place, the
//! watchdog, whose verdict is a finding and never a decision.

pub mod check;
pub mod driver;
pub mod explore;
pub mod log;
pub mod managed;
pub mod naive;
pub mod replay;
pub mod report;
pub mod schedule;
pub mod strategy;

pub mod session;

mod baton;
mod core;
mod sql;
mod workplace;

use driver::Driver;

/// The built-in driver of that name.
pub fn driver(name: &str) -> Option<Box<dyn Driver>> {
    match name {
        "naive" => Some(Box::new(naive::Naive)),
        "managed" => Some(Box::new(managed::Managed)),
        _ => None,
    }
}
