//! The checker against another one: the crate `adya`, which follows Jepsen's Elle.

use std::fmt::Write as _;

use adya::{Opts, Valid, Workload};

use super::super::simulation::{Rules, Shape, simulate};
use super::super::*;
use crate::seed::Prng;

/// The history as Jepsen writes it. What was found at the end is a last transaction.
fn jepsen(history: &History) -> String {
    let mut text = String::new();
    for (process, transaction) in history.transactions.iter().enumerate() {
        let end = match transaction.ending {
            Ending::Committed => "ok",
            Ending::Aborted => "fail",
            Ending::Unknown => "info",
        };
        let operations: Vec<String> = transaction
            .operations
            .iter()
            .map(|operation| match operation {
                Operation::Append(key, value) => format!("[\"append\",{key},{value}]"),
                // What a transaction of unknown end has read counts here only if it was committed.
                Operation::Read(key, _) if end == "info" => format!("[\"r\",{key},null]"),
                Operation::Read(key, list) => format!("[\"r\",{key},{list:?}]"),
            })
            .collect();
        let value = operations.join(",");
        for end in ["invoke", end] {
            let _ =
                writeln!(text, "{{\"type\":\"{end}\",\"process\":{process},\"value\":[{value}]}}");
        }
    }
    text
}

fn accepts(text: &str, model: &str) -> (bool, Vec<String>) {
    let options = Opts { models: vec![model.into()], ..Opts::default() };
    let history = adya::History::from_json(text).unwrap();
    let report = adya::check(&history, Workload::ListAppend, &options);
    assert_ne!(report.valid, Valid::Unknown, "{:?}", report.anomaly_types);
    (report.valid == Valid::True, report.anomaly_types)
}

#[test]
fn another_checker_has_the_same_verdict_on_simulated_histories() {
    let mut accepted = 0;
    for seed in 0..120 {
        let mut random = Prng::new(seed);
        let rules = [Rules::Snapshot, Rules::ReadCommitted, Rules::ReadUncommitted];
        let shape = Shape {
            rules: rules[seed as usize % 3],
            transactions: 5 + random.below(60) as usize,
            actors: 1 + random.below(5) as usize,
            keys: 1 + random.below(8) as usize,
            operations: 1 + random.below(5),
        };
        let mut history = simulate(shape, &mut random);
        let last = std::mem::take(&mut history.last);
        let last: Vec<_> = last.into_iter().map(|(key, list)| Operation::Read(key, list)).collect();
        history.transactions.push(super::committed("last", &last));
        for transaction in &mut history.transactions {
            (transaction.began, transaction.ended) = (None, None);
        }
        let text = jepsen(&history);
        let report = check(&history);
        for (level, model) in
            [(Level::Snapshot, "snapshot-isolation"), (Level::Serializable, "serializable")]
        {
            let violations: Vec<_> = report.violations(level).collect();
            let (is_accepted, kinds) = accepts(&text, model);
            let agree = is_accepted == violations.is_empty();
            assert!(agree, "{seed} {shape:?} {model}: {kinds:?}, here {violations:#?}");
            accepted += u32::from(is_accepted);
        }
    }
    assert!((60..180).contains(&accepted), "{accepted} of 240 verdicts accept");
}
