//! The checker against single anomalies, simulated databases, the definition, and another checker.

mod definition;
mod peer;

use super::simulation::{Rules, Shape, plant, simulate};
use super::*;
use crate::seed::Prng;

const SMALL: Shape =
    Shape { rules: Rules::Snapshot, transactions: 200, actors: 6, keys: 4, operations: 5 };

fn committed(name: &str, operations: &[Operation]) -> Transaction {
    let operations = operations.to_vec();
    Transaction {
        name: name.into(),
        ending: Ending::Committed,
        operations,
        began: None,
        ended: None,
    }
}

fn at(began: u64, ended: u64, transaction: Transaction) -> Transaction {
    Transaction { began: Some(began), ended: Some(ended), ..transaction }
}

fn append(key: Key, value: Value) -> Operation {
    Operation::Append(key, value)
}

fn read(key: Key, list: &[Value]) -> Operation {
    Operation::Read(key, list.to_vec())
}

fn of(transactions: Vec<Transaction>) -> History {
    History { transactions, ..History::default() }
}

/// The anomalies as lines.
fn found(history: &History) -> Vec<String> {
    check(history).anomalies.iter().map(ToString::to_string).collect()
}

#[test]
fn each_anomaly_is_named_alone_and_among_two_hundred_transactions() {
    for kind in Kind::ALL {
        for mut history in [History::default(), simulate(SMALL, &mut Prng::new(kind as u64))] {
            let accepted = |report: &Report, level| report.violations(level).count() == 0;
            assert!(accepted(&check(&history), Level::Snapshot), "{kind}: before it is planted");
            let planted = plant(kind, &mut history);
            let report = check(&history);
            let named = report.anomalies.iter().filter(|anomaly| anomaly.kind == kind);
            let among =
                |anomaly: &Anomaly| anomaly.transactions.iter().all(|it| planted.contains(it));
            assert!(0 < named.clone().filter(|it| among(it)).count(), "{kind}: {report:?}");
            let allowed = accepted(&report, Level::Snapshot);
            assert_eq!(allowed, kind == Kind::G2Item, "{kind}: only write skew is allowed");
            assert!(!accepted(&report, Level::Serializable), "{kind}: serializable allows none");
        }
    }
}

#[test]
fn databases_that_keep_their_level_are_accepted_and_others_are_not() {
    for seed in 0..50 {
        let report = |rules, actors| {
            let shape = Shape { rules, actors, ..SMALL };
            check(&simulate(shape, &mut Prng::new(seed)))
        };
        let snapshot = report(Rules::Snapshot, 6);
        assert_eq!(snapshot.violations(Level::Snapshot).next(), None, "{seed}");
        let serial = report(Rules::Snapshot, 1);
        assert_eq!(serial.violations(Level::Serializable).next(), None, "{seed}");
        let kinds = |report: &Report| -> Vec<Kind> {
            report.anomalies.iter().map(|anomaly| anomaly.kind).collect()
        };
        assert!(kinds(&snapshot).contains(&Kind::G2Item), "{seed}: there is write skew");
        let committed = kinds(&report(Rules::ReadCommitted, 6));
        assert!(committed.contains(&Kind::LostUpdate), "{seed}: {committed:?}");
        assert!(!committed.contains(&Kind::G1a) && !committed.contains(&Kind::G0), "{seed}");
        let uncommitted = kinds(&report(Rules::ReadUncommitted, 6));
        assert!(uncommitted.contains(&Kind::G1a), "{seed}: {uncommitted:?}");
    }
}

#[test]
fn a_cycle_is_told_step_by_step() {
    let mut history = of(vec![
        committed("ada", &[append(0, 1), append(1, 1)]),
        committed("bob", &[read(0, &[]), read(1, &[1])]),
    ]);
    history.names = vec!["x".into(), "y".into()];
    assert_eq!(
        found(&history),
        [
            "G-single (read skew): bob read in `y` what ada appended; bob read `x` without what ada appended"
        ]
    );
}

#[test]
fn who_began_after_a_commit_and_does_not_see_it_read_what_was_stale() {
    let writer = committed("ada", &[append(0, 1)]);
    let reader = committed("bob", &[read(0, &[])]);
    let timed = |began| of(vec![at(1, 4, writer.clone()), at(began, 9, reader.clone())]);
    assert_eq!(
        found(&timed(5)),
        ["G-single (read skew) in real time: ada had ended before bob began; \
          bob read list 0 without what ada appended"]
    );
    // At the moment of the commit, or before it, nobody can tell which was first.
    assert_eq!(found(&timed(4)), Vec::<String>::new());
    // Nor does time count where it is not known.
    assert_eq!(found(&of(vec![writer, reader])), Vec::<String>::new());
}

#[test]
fn an_acknowledged_append_that_is_gone_at_the_end_is_a_lost_update() {
    let mut history =
        of(vec![committed("ada", &[append(0, 1)]), committed("bob", &[append(0, 2)])]);
    assert_eq!(found(&history), Vec::<String>::new());
    history.last = vec![(0, vec![2])];
    assert_eq!(
        found(&history),
        ["lost update: ada appended 1 to list 0, and at the end it is gone"]
    );
}

#[test]
fn a_transaction_of_unknown_end_counts_from_when_its_append_was_read() {
    let unknown = |operations: &[Operation]| Transaction {
        ending: Ending::Unknown,
        ..committed("ada", operations)
    };
    // Its read of nothing is no evidence: it may have been rolled back.
    let writer = committed("bob", &[append(0, 1), append(1, 1)]);
    let skewed = [read(0, &[]), read(1, &[1]), append(2, 1)];
    let unseen = of(vec![unknown(&skewed), writer.clone()]);
    assert_eq!((check(&unseen).committed, found(&unseen).len()), (1, 0));
    let eve = committed("eve", &[read(2, &[1])]);
    let seen = of(vec![unknown(&skewed), writer, eve]);
    assert_eq!((check(&seen).committed, found(&seen).len()), (3, 1));
}

#[test]
fn dependencies_that_are_too_many_are_counted_and_not_forgotten() {
    let transactions = (0..400)
        .flat_map(|number| [committed("w", &[append(0, number)]), committed("r", &[read(0, &[])])]);
    assert_eq!(check(&of(transactions.collect())).left_out, 400 * 400 - 10_000);
}
