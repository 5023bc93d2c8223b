//! How long the isolation checker takes: a simulated history of 100,000 transactions under snapshot isolation, checked, and
//! checked again with one of each anomaly planted.
//!
//! `cargo run --release --example isolation [-- TRANSACTIONS]`

use std::time::Instant;

use harness::isolation::simulation::{Rules, Shape, plant, simulate};
use harness::isolation::{History, Kind, Level, check};
use harness::seed::Seed;

fn main() {
    let argument = std::env::args().nth(1).map(|text| text.parse());
    let Ok(transactions) = argument.unwrap_or(Ok(100_000)) else {
        eprintln!("expected how many transactions, a whole number");
        std::process::exit(2);
    };
    let shape =
        Shape { rules: Rules::Snapshot, transactions, actors: 20, keys: 100, operations: 6 };
    let mut history = simulate(shape, &mut Seed(1).stream("isolation"));
    measure("as simulated", &history);
    for kind in Kind::ALL {
        plant(kind, &mut history);
    }
    measure("with one of each anomaly", &history);
}

fn measure(what: &str, history: &History) {
    let begun = Instant::now();
    let report = check(history);
    let seconds = begun.elapsed().as_secs_f64();
    let operations: usize = history.transactions.iter().map(|it| it.operations.len()).sum();
    let transactions = history.transactions.len();
    println!("{what}: {transactions} transactions, {operations} operations: {seconds:.3} s");
    let skews = report.anomalies.iter().filter(|it| it.kind == Kind::G2Item).count();
    let violations: Vec<_> = report.violations(Level::Snapshot).collect();
    println!("  {} violations, {skews} write skews, which the level allows", violations.len());
    for anomaly in violations {
        println!("  {anomaly}");
    }
}
