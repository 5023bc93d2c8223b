//! Whether what is stored is what the workers said: acknowledged ⊆ visible ⊆ acknowledged + in flight (I7), and
//! every transaction wholly. Pure: it knows no clock, no process and no DuckDB.

use std::collections::{BTreeMap, HashSet};
use std::fmt;

use super::history::{Demand, History, Key};

/// What was found in the database, in one snapshot of it.
#[derive(Debug, Default)]
pub(crate) struct Stored {
    pub(crate) transactions: Vec<StoredTransaction>,
    pub(crate) counters: Vec<Counter>,
}

/// The rows of one transaction.
#[derive(Clone, Debug)]
pub(crate) struct StoredTransaction {
    pub(crate) worker: u64,
    pub(crate) number: u64,
    pub(crate) slot: u64,
    /// Rows found.
    pub(crate) rows: u64,
    /// Different rows among them.
    pub(crate) parts: u64,
    /// Rows that it consists of.
    pub(crate) parts_expected: u64,
}

/// What the transactions of one slot have counted themselves.
#[derive(Clone, Debug)]
pub(crate) struct Counter {
    pub(crate) slot: u64,
    pub(crate) transactions: u64,
    pub(crate) rows: u64,
}

/// Something that must not be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Finding {
    /// It was acknowledged, or seen, and is gone.
    Lost(Key),
    /// Some of its rows are missing.
    Partial(Key),
    /// Some of its rows are there twice.
    Duplicate(Key),
    /// It was undone, or ruled out, and is there.
    Risen(Key),
    /// Nobody said that it was going to be committed.
    Unexplained(Key),
    /// A slot's counter is not what its rows say.
    Miscounted { slot: u64 },
}

impl StoredTransaction {
    pub(crate) fn key(&self) -> Key {
        (self.worker, self.number)
    }
}

impl Stored {
    pub(crate) fn keys(&self) -> HashSet<Key> {
        self.transactions.iter().map(StoredTransaction::key).collect()
    }
}

/// Everything that is wrong with what is stored, given what was said.
pub(crate) fn check(history: &History, stored: &Stored) -> Vec<Finding> {
    let there = stored.keys();
    let mut findings: Vec<_> = stored.transactions.iter().filter_map(check_rows).collect();
    findings.extend(
        stored
            .transactions
            .iter()
            .map(StoredTransaction::key)
            .filter(|&key| !history.explains(key))
            .map(Finding::Unexplained),
    );
    findings.extend(history.demands().filter_map(|(key, demand)| match demand {
        Demand::Present if !there.contains(&key) => Some(Finding::Lost(key)),
        // What was not even going to be committed is unexplained, above.
        Demand::Absent if there.contains(&key) && history.explains(key) => {
            Some(Finding::Risen(key))
        }
        _ => None,
    }));
    findings.extend(check_counters(stored));
    findings
}

fn check_rows(transaction: &StoredTransaction) -> Option<Finding> {
    if transaction.parts < transaction.parts_expected {
        Some(Finding::Partial(transaction.key()))
    } else if transaction.rows > transaction.parts {
        Some(Finding::Duplicate(transaction.key()))
    } else {
        None
    }
}

/// A transaction adds its rows and counts itself: one without the other is half of it.
fn check_counters(stored: &Stored) -> Vec<Finding> {
    let mut found: BTreeMap<u64, (u64, u64)> = BTreeMap::new();
    for transaction in &stored.transactions {
        let (transactions, rows) = found.entry(transaction.slot).or_default();
        *transactions += 1;
        *rows += transaction.rows;
    }
    let mut findings = Vec::new();
    for counter in &stored.counters {
        let counted = (counter.transactions, counter.rows);
        if found.remove(&counter.slot).unwrap_or_default() != counted {
            findings.push(Finding::Miscounted { slot: counter.slot });
        }
    }
    findings.extend(found.into_keys().map(|slot| Finding::Miscounted { slot }));
    findings
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (what, (worker, number)) = match self {
            Self::Lost(key) => ("was acknowledged or seen and is gone", key),
            Self::Partial(key) => ("is there in part", key),
            Self::Duplicate(key) => ("is there twice", key),
            Self::Risen(key) => ("was not stored and is there", key),
            Self::Unexplained(key) => ("is there and was never committed", key),
            Self::Miscounted { slot } => {
                return write!(f, "the counter of slot {slot} is not what its rows say");
            }
        };
        write!(f, "transaction {number} of worker {worker} {what}")
    }
}

#[cfg(test)]
mod tests {
    use super::super::journal::Line;
    use super::*;

    /// Worker 0 has acknowledged transaction 0 (two rows), undone transaction 1, and was killed in the commit of
    /// transaction 2; worker 1, alive, has begun a transaction and not come to its commit.
    fn history() -> History {
        let mut history = History::default();
        let (killed, alive) = (history.begin(0), history.begin(1));
        let said = [
            Line::Begin(0),
            Line::Write(0),
            Line::Commit(0),
            Line::Ack(0),
            Line::Begin(1),
            Line::Undone(1),
            Line::Begin(2),
            Line::Commit(2),
        ];
        for line in &said {
            history.hear(killed, line).unwrap();
        }
        history.end(killed);
        history.hear(alive, &Line::Begin(0)).unwrap();
        history.demand();
        history
    }

    fn transaction(worker: u64, number: u64) -> StoredTransaction {
        StoredTransaction { worker, number, slot: worker, rows: 2, parts: 2, parts_expected: 2 }
    }

    /// These transactions, and counters that agree with them.
    fn stored(transactions: Vec<StoredTransaction>) -> Stored {
        let counters = (0..2).map(|slot| {
            let of_slot: Vec<_> = transactions.iter().filter(|one| one.slot == slot).collect();
            let rows = of_slot.iter().map(|one| one.rows).sum();
            Counter { slot, transactions: of_slot.len() as u64, rows }
        });
        Stored { counters: counters.collect(), transactions }
    }

    #[test]
    fn what_was_acknowledged_is_right_with_and_without_what_was_cut_off() {
        assert_eq!(check(&history(), &stored(vec![transaction(0, 0)])), []);
        let both = stored(vec![transaction(0, 0), transaction(0, 2)]);
        assert_eq!(check(&history(), &both), []);
        assert_eq!(history().acknowledged(), 1);
    }

    #[test]
    fn a_missing_acknowledged_transaction_is_lost() {
        assert_eq!(check(&history(), &stored(Vec::new())), [Finding::Lost((0, 0))]);
    }

    #[test]
    fn a_transaction_without_one_of_its_rows_is_partial() {
        let mut half = stored(vec![transaction(0, 0)]);
        half.transactions[0].rows = 1;
        half.transactions[0].parts = 1;
        half.counters[0].rows = 1;
        assert_eq!(check(&history(), &half), [Finding::Partial((0, 0))]);
    }

    #[test]
    fn rows_that_are_there_twice_are_found() {
        let mut double = stored(vec![transaction(0, 0)]);
        double.transactions[0].rows = 4;
        double.counters[0].rows = 4;
        assert_eq!(check(&history(), &double), [Finding::Duplicate((0, 0))]);
    }

    #[test]
    fn a_transaction_that_was_undone_must_not_be_there() {
        let risen = stored(vec![transaction(0, 0), transaction(0, 1)]);
        assert_eq!(check(&history(), &risen), [Finding::Risen((0, 1))]);
    }

    #[test]
    fn a_transaction_that_was_not_going_to_be_committed_is_unexplained() {
        for key in [(1, 0), (0, 3), (7, 0)] {
            let found = stored(vec![transaction(0, 0), transaction(key.0, key.1)]);
            assert!(check(&history(), &found).contains(&Finding::Unexplained(key)), "{key:?}");
        }
    }

    #[test]
    fn what_was_cut_off_stays_as_it_was_found() {
        for (there, expected) in [(true, Finding::Lost((0, 2))), (false, Finding::Risen((0, 2)))] {
            let mut history = history();
            let without = stored(vec![transaction(0, 0)]);
            let with = stored(vec![transaction(0, 0), transaction(0, 2)]);
            let (first, second) = if there { (with, without) } else { (without, with) };
            let settled = history.settle(&first.keys());
            assert_eq!((settled.there, settled.not_there), (u64::from(there), u64::from(!there)));
            assert_eq!(check(&history, &first), []);
            assert_eq!(check(&history, &second), [expected]);
        }
    }

    #[test]
    fn a_counter_that_disagrees_with_its_rows_is_found() {
        let mut miscounted = stored(vec![transaction(0, 0)]);
        miscounted.counters[1].transactions = 1;
        assert_eq!(check(&history(), &miscounted), [Finding::Miscounted { slot: 1 }]);
        miscounted.counters.clear();
        assert_eq!(check(&history(), &miscounted), [Finding::Miscounted { slot: 0 }]);
    }
}
