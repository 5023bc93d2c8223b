//! Real threads and processes against real DuckDB files, and checks that judge what happened.
//!
//! The way of a run, a module each: a [`scenario`] and a [`seed`] give a [`plan`]; the [`run`] carries it out
//! in worker processes whose [`driver`] gets at the store, doing the work of the [`pipeline`]; every event goes
//! through a [`probe`] into the [`history`]; a [`check`] judges the history, [`tally`] counts it, [`judge`]
//! holds both against what the scenario expects; a [`session`] makes the report of it. In [`lockstep`] a strategy
//! orders the steps; [`isolation`] and [`linearizable`] are its larger judges, which know no database. `DESIGN.md` says
//! what a seed fixes and what it cannot.

pub mod check;
pub mod cli;
pub mod driver;
pub mod failure;
pub mod history;
pub mod isolation;
pub mod judge;
pub mod linearizable;
pub mod lockstep;
pub mod panel;
pub mod pipeline;
pub mod plan;
pub mod probe;
pub mod provenance;
pub mod run;
pub mod scenario;
pub mod seed;
pub mod session;
pub mod suite;
pub mod tally;
