//! The binary `harness` from outside: real runs in folders of their own, one module for each promise.
//!
//! No test waits without an end: a child that is not done in time is killed and fails its test.

#![allow(missing_docs)]

mod bad_input;
mod canaries;
mod corpus;
mod crash_map;
mod demo;
mod io;
mod kills;
mod lockstep;
mod own_driver;
mod panel;
mod readme;
mod smoke;
mod status;
mod store;
mod support;
mod tidy;
