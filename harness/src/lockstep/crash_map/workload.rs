//! What a crash map is taken of: steps, and what each set of stored transactions comes to.
//!
//! The statements and the expected rows are made of the same value, so that neither can be wrong alone.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::ops::Range;

use clap::ValueEnum;
use serde::{Deserialize, Serialize};

use crate::seed::fnv1a;

/// How much is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum Workload {
    /// Creation, inserts small and large, an update, a deletion, a mixed transaction, a checkpoint, more of them, close.
    Standard,
    /// Creation, one insert, a checkpoint, close.
    Short,
}

/// One change of rows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Op {
    /// The table, with a primary key.
    CreateTable,
    /// Rows with these keys.
    Insert(Range<i64>),
    /// Gives the rows of these keys another value.
    Update(Range<i64>),
    /// Removes the rows of these keys.
    Delete(Range<i64>),
}

/// One thing that is done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// A transaction. Its number stands in every row that it wrote last.
    Transaction(i64, Vec<Op>),
    /// A CHECKPOINT.
    Checkpoint,
}

impl Workload {
    /// Its steps. The first creates the table.
    pub fn steps(self) -> Vec<Step> {
        use Op::{CreateTable, Delete, Insert, Update};
        let transactions = match self {
            Self::Short => vec![vec![CreateTable], vec![Insert(1..4)], vec![]],
            Self::Standard => vec![
                vec![CreateTable],
                vec![Insert(1..2)],
                vec![Insert(2..10)],
                vec![Insert(1_000..LARGE_END)],
                vec![Update(2..5)],
                vec![Delete(2..3)],
                vec![Insert(10..12), Update(6..8), Delete(8..9)],
                vec![],
                vec![Insert(20..23)],
                vec![Update(1_000..1_002), Delete(3..4)],
                vec![Insert(30..32)],
            ],
        };
        let numbered = (1..).zip(transactions);
        numbered
            .map(
                |(number, ops): (i64, Vec<Op>)| {
                    if ops.is_empty() { Step::Checkpoint } else { Step::Transaction(number, ops) }
                },
            )
            .collect()
    }
}

/// So many rows that their transaction takes several writes.
const LARGE_END: i64 = 5_000;

impl Op {
    /// The statement of a transaction with this number.
    pub fn sql(&self, transaction: i64) -> String {
        match self {
            Self::CreateTable => {
                "CREATE TABLE t (id BIGINT PRIMARY KEY, transaction BIGINT, note VARCHAR)".into()
            }
            Self::Insert(keys) => format!(
                "INSERT INTO t SELECT range, {transaction}, repeat(chr(CAST(97 + range % 26 AS INTEGER)), 50) \
                 FROM range({}, {}) ORDER BY range",
                keys.start, keys.end
            ),
            Self::Update(keys) => format!(
                "UPDATE t SET transaction = {transaction} WHERE id >= {} AND id < {}",
                keys.start, keys.end
            ),
            Self::Delete(keys) => {
                format!("DELETE FROM t WHERE id >= {} AND id < {}", keys.start, keys.end)
            }
        }
    }

    fn apply(&self, transaction: i64, table: &mut Table) {
        if let Self::CreateTable = self {
            *table = Some(BTreeMap::new());
        }
        let Some(rows) = table else { return };
        match self {
            Self::CreateTable => {}
            Self::Insert(keys) => rows.extend(keys.clone().map(|key| (key, transaction))),
            Self::Update(keys) => {
                rows.range_mut(keys.clone()).for_each(|(_, by)| *by = transaction);
            }
            Self::Delete(keys) => rows.retain(|key, _| !keys.contains(key)),
        }
    }
}

/// The number of the transaction that wrote it last, by key; `None` if there is no table.
pub type Table = Option<BTreeMap<i64, i64>>;

/// What the table holds if these transactions are stored and no other.
pub fn expected(steps: &[Step], stored: &dyn Fn(i64) -> bool) -> Table {
    let mut table = None;
    for step in steps {
        if let Step::Transaction(number, ops) = step
            && stored(*number)
        {
            for op in ops {
                op.apply(*number, &mut table);
            }
        }
    }
    table
}

/// A key that says something about an index: those of small transactions, and some of a large one; whether or not a row
/// should be there.
pub fn telling_keys(steps: &[Step]) -> Vec<i64> {
    let mut keys = Vec::new();
    for step in steps {
        let Step::Transaction(_, ops) = step else { continue };
        for op in ops {
            if let Op::Insert(range) = op {
                let step_by = (range.end - range.start).div_euclid(8).max(1);
                keys.extend(range.clone().step_by(step_by as usize).chain([range.end - 1]));
            }
        }
    }
    keys.sort_unstable();
    keys.dedup();
    keys
}

/// What the text of a table begins with: one without rows is something, too.
pub const HEAD: &str = "table t\n";

/// The row of a key as text.
pub fn line(key: i64, transaction: i64, note: &str) -> String {
    format!("{key} {transaction} {note}\n")
}

/// The digest of a table's rows, in order of their keys, or of there being no table.
pub fn digest(table: &Table) -> u64 {
    let Some(rows) = table else { return fnv1a(b"") };
    let mut text = HEAD.to_owned();
    for (key, transaction) in rows {
        let letter = char::from(b'a' + (key % 26) as u8);
        let note: String = std::iter::repeat_n(letter, 50).collect();
        let _ = write!(text, "{}", line(*key, *transaction, &note)); // a String takes everything
    }
    fnv1a(text.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_what_the_stored_transactions_left() {
        let steps = Workload::Standard.steps();
        let small = expected(&steps, &|number| [1, 3, 5, 7].contains(&number)).unwrap();
        assert_eq!(
            small.into_iter().collect::<Vec<_>>(),
            [(2, 5), (3, 5), (4, 5), (5, 3), (6, 7), (7, 7), (9, 3), (10, 7), (11, 7)]
        );
        assert_eq!(expected(&steps, &|number| number != 1), None);
        assert_ne!(digest(&Some(BTreeMap::new())), digest(&None));
    }

    #[test]
    fn in_the_standard_workload_every_transaction_shows() {
        let steps = Workload::Standard.steps();
        let whole = digest(&expected(&steps, &|_| true));
        for step in &steps {
            let Step::Transaction(left_out, _) = step else { continue };
            assert_ne!(
                digest(&expected(&steps, &|number| number != *left_out)),
                whole,
                "{left_out}"
            );
        }
        let keys = telling_keys(&steps);
        assert!(
            [1, 2, 8, 1_000, LARGE_END - 1, 31].iter().all(|key| keys.contains(key)),
            "{keys:?}"
        );
    }
}
