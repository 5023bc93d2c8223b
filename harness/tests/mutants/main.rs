//! Proof that the deterministic harness catches faulty managers.
//!
//! Every fault of `manager::faulty` is planted, one at a time, in a process of its own, and the scenarios of
//! `scenarios/canary` and `scenarios/store` are explored until a check says that its property is broken. First the same
//! schedules are run without a fault, and every property holds. A fault counts as caught by a verdict alone, and by one that a replay repeats: not by
//! a divergence, an error of the harness, or a scenario that could not be run.
//!
//! This program has no tests in it that `cargo test` could list: it is the one that plants, the one that explores, and,
//! where actors are processes, they.

mod battery;
mod expected;
mod table;

use std::process::ExitCode;

use harness::lockstep::{self, actor};
use manager::faulty::Fault;

harness::export_io_symbols!();

/// What a process that explores is started with; the name of a fault, or [`battery::SOUND`], follows.
const EXPLORE: &str = "explore";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match words[..] {
        [actor::ARGUMENT] => {
            let served = actor::serve(&lockstep::driver);
            served.map_or(ExitCode::FAILURE, |()| ExitCode::SUCCESS)
        }
        [EXPLORE, battery::SOUND] => battery::tell(&battery::sound()),
        [EXPLORE, name] => {
            let fault: Fault = name.parse().unwrap_or_else(|unknown| panic!("{unknown}"));
            battery::tell(&battery::faulty(fault))
        }
        // Whatever else `cargo test` is told is for tests that it lists.
        _ => table::prove(),
    }
}
