//! How long the isolation checker takes: simulated histories of 100,000 transactions, of databases that keep snapshot
//! isolation and of some that do not, and one with each anomaly planted.
//!
//! `cargo run --release -p harness --example isolation [-- TRANSACTIONS]`

use std::collections::BTreeMap;
use std::time::Instant;

use harness::isolation::simulation::{Rules, Shape, plant, simulate};
use harness::isolation::{History, Kind, check};
use harness::seed::Seed;

fn main() {
    let argument = std::env::args().nth(1).map(|text| text.parse());
    let Ok(transactions) = argument.unwrap_or(Ok(100_000)) else {
        eprintln!("expected how many transactions, a whole number");
        std::process::exit(2);
    };
    let history = |rules| {
        let shape = Shape { rules, transactions, actors: 20, keys: 100, operations: 6 };
        simulate(shape, &mut Seed(1).stream("isolation"))
    };
    let mut snapshot = history(Rules::Snapshot);
    measure("snapshot isolation", &snapshot);
    for kind in Kind::ALL {
        plant(kind, &mut snapshot);
    }
    measure("the same, with each anomaly planted", &snapshot);
    measure("read committed", &history(Rules::ReadCommitted));
    measure("read uncommitted", &history(Rules::ReadUncommitted));
}

fn measure(what: &str, history: &History) {
    let begun = Instant::now();
    let report = check(history);
    let seconds = begun.elapsed().as_secs_f64();
    let operations: usize = history.transactions.iter().map(|it| it.operations.len()).sum();
    let transactions = history.transactions.len();
    println!("{what}: {transactions} transactions, {operations} operations, {seconds:.3} s");
    let mut kinds: BTreeMap<Kind, usize> = BTreeMap::new();
    for anomaly in &report.anomalies {
        *kinds.entry(anomaly.kind).or_default() += 1;
    }
    for (kind, count) in kinds {
        println!("  {count:>6} {kind}");
    }
}
