//! Lockstep: one actor moves at a time, a strategy decides who, and a decision log says how it went.
//!
//! | module | in → out | pure |
//! |---|---|---|
//! | [`driver`] | the page that a user implements to put own DuckDB code under the scheduler | |
//! | [`naive`], [`opening`], [`managed`] | the built-in drivers | |
//! | [`vocabulary`], [`stored`] | operations that checks understand too → SQL, and what is asked of a store | yes |
//! | [`sql`] | what drivers on DuckDB share: statements with their results as text | |
//! | [`strategy`] | who is enabled → who moves: random, PCT, swarm, preemption-bounded or full DFS, every fault | yes, given the seed |
//! | [`schedule`], `stage`, `player`, `points` | a script, a driver, a strategy → one schedule, carried out and logged | |
//! | `baton`, [`process`], [`actor`] | an actor's thread, or its process as seen from the scheduler and from within | |
//! | [`act`] | what is decided about who moves: that it goes on, dies, that its disk or the power fails | yes |
//! | [`log`] | the decision log: written before and after each step, read back | |
//! | [`replay`] | a log → the same schedule again, or the first thing that differed | |
//! | [`check`] | a log → findings | yes |
//! | [`repro`] | a scenario and moves, followed as far as they apply → whether it fails in the same way | |
//! | [`shrink`] | a failing log → the smallest case that fails in the same way | |
//! | [`explore`] | many schedules → coverage, verdicts, kept failures | |
//! | [`io`] | the engine's I/O calls, each put to a judge before it is made; what a loss of power leaves | |
//! | `loss` | a folder, a model → the folder as the power left it | |
//! | [`crash_map`] | a workload → every I/O call × every fault → what is left | |
//! | [`gate`] | scenarios → what `run` and `cargo test` hold against them | |
//! | [`record`] | a strategy, a seed and a number → the log of that schedule | |
//! | [`determinism`] | scripts at random, each run twice → how often something differed | |
//! | [`report`] | what was explored or replayed → the parts of `report.json` | yes |
//!
//! # Scope of determinism
//!
//! Decided here: the order of steps, and everything random. Equal log and equal build give equal outcomes, results and
//! contents; a replay that finds otherwise says at which step. A step is an operation, or what lies between two points
//! within it. What happens inside of a step is the engine's own, which runs with one thread. Wall-clock time enters in one
//! place, the watchdog, whose verdict is a finding and never a decision.

pub mod act;
pub mod actor;
pub mod check;
pub mod crash_map;
pub mod determinism;
pub mod driver;
pub mod explore;
pub mod gate;
pub mod io;
pub mod log;
pub mod managed;
pub mod naive;
pub mod opening;
pub mod process;
pub mod record;
pub mod replay;
pub mod report;
pub mod repro;
pub mod schedule;
pub mod shrink;
pub mod stored;
pub mod strategy;
pub mod vocabulary;

pub mod session;
pub mod sql;

mod baton;
mod core;
mod kept;
mod leaks;
mod loss;
mod plain;
mod player;
mod points;
mod stage;
mod wire;
mod workplace;

use driver::Driver;

/// The built-in driver of that name.
pub fn driver(name: &str) -> Option<Box<dyn Driver>> {
    match name {
        "naive" => Some(Box::new(naive::Naive)),
        "retrying" => Some(Box::new(opening::Retrying)),
        "separate" => Some(Box::new(opening::Separate)),
        "managed" => Some(Box::new(managed::Managed)),
        _ => None,
    }
}
