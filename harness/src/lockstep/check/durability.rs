//! *Durability*: at the end every row is there whose commit was acknowledged, none whose transaction surely failed, of any
//! other transaction all rows or none, and nothing that nobody put.

use super::Check;
use super::transaction::{self, Fate, Statement, Transaction};
use crate::check::{Evidence, Finding};
use crate::lockstep::driver::Class;
use crate::lockstep::log::Log;
use crate::lockstep::vocabulary::Word;
use crate::scenario::script::Script;

/// See the module's header.
pub(super) struct Durability;

impl Check for Durability {
    fn id(&self) -> &'static str {
        "durability"
    }

    fn judge(&self, script: &Script, log: &Log) -> Option<Finding> {
        let query = &script.watched.rows.as_ref()?.query;
        let Some(answer) = log.end.as_ref().and_then(|end| end.answers.get(query)) else {
            return Some(Finding::unknown("nobody looked at the rows at the end"));
        };
        let rows: Option<Vec<u64>> = answer.lines().map(|line| line.parse().ok()).collect();
        let Some(rows) = rows else {
            return Some(Finding::unknown(&format!("`{query}` gave something else than numbers")));
        };
        let transactions = transaction::all(log);
        let mut evidence = Evidence::default();
        let (mut kept, mut unsure) = (0, None);
        for transaction in &transactions {
            unsure = unsure.or(odd(transaction));
            kept += u64::from(transaction.fate() == Fate::Kept && !put(transaction).is_empty());
            look(transaction, &rows, &mut evidence);
        }
        strangers(&transactions, &rows, &mut evidence);
        let finding = evidence.finding(format!(
            "{kept} transactions with rows were acknowledged, {} rows are there",
            rows.len()
        ));
        Some(match unsure {
            Some(reason) if finding.count == 0 => Finding::unknown(&reason),
            _ => finding,
        })
    }

    /// Takes an acknowledged row out of the last contents.
    fn plant(&self, script: &Script, log: &Log) -> Option<Log> {
        let transactions = transaction::all(log);
        let kept = transactions.iter().filter(|transaction| transaction.fate() == Fate::Kept);
        let (row, _) = kept.flat_map(put).next()?;
        let mut planted = log.clone();
        let query = &script.watched.rows.as_ref()?.query;
        let answer = planted.end.as_mut()?.answers.get_mut(query)?;
        let lines = answer.lines().filter(|line| *line != row.to_string());
        *answer = lines.flat_map(|line| [line, "\n"]).collect();
        Some(planted)
    }
}

/// The rows that a transaction put, and the statements that did.
fn put<'t>(transaction: &'t Transaction<'_>) -> Vec<(u64, &'t Statement<'t>)> {
    let rows =
        transaction.statements.iter().filter_map(|statement| match Word::of(statement.sql) {
            Some(Word::Put(row)) if statement.has_written() => Some((row, statement)),
            _ => None,
        });
    rows.collect()
}

/// Holds the rows of one transaction against those at the end.
fn look(transaction: &Transaction<'_>, rows: &[u64], evidence: &mut Evidence) {
    let own = put(transaction);
    let (there, gone): (Vec<_>, Vec<_>) = own.iter().partition(|(row, _)| rows.contains(row));
    let Transaction { actor, .. } = transaction;
    match transaction.fate() {
        Fate::Kept => {
            for (row, statement) in gone {
                let step = statement.step;
                evidence
                    .add(|| format!("{actor} put {row} at step {step} and committed: it is gone"));
            }
        }
        Fate::Undone => {
            for (row, statement) in there {
                let step = statement.step;
                evidence.add(|| {
                    format!("{actor} put {row} at step {step} and did not commit: it is there")
                });
            }
        }
        Fate::Unknown => {
            if let (Some((one, _)), Some((other, _))) = (there.first(), gone.first()) {
                evidence.add(|| {
                    format!("{actor} put {one} and {other} in one transaction: only {one} is there")
                });
            }
        }
    }
}

/// Rows that nobody put, or that are there twice.
fn strangers(transactions: &[Transaction<'_>], rows: &[u64], evidence: &mut Evidence) {
    let asked = |row: u64| {
        let mut statements = transactions.iter().flat_map(|it| &it.statements);
        statements.any(|statement| {
            let surely_not = matches!(
                statement.outcome.class,
                Class::Conflict | Class::Constraint | Class::Aborted | Class::Failed
            );
            Word::of(statement.sql) == Some(Word::Put(row)) && !surely_not
        })
    };
    for (at, row) in rows.iter().enumerate() {
        if rows[..at].contains(row) {
            evidence.add(|| format!("{row} is there twice"));
        } else if !asked(*row) {
            evidence.add(|| format!("{row} is there, and nobody put it"));
        }
    }
}

/// A statement that should have put one row and did something else.
fn odd(transaction: &Transaction<'_>) -> Option<String> {
    let odd = transaction.statements.iter().find(|statement| {
        let is_put = matches!(Word::of(statement.sql), Some(Word::Put(_)));
        is_put && statement.outcome.class == Class::Ok && statement.outcome.shown != "1\n"
    })?;
    Some(format!("`{}` at step {} did not put one row", odd.sql, odd.step))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::Verdict;
    use crate::lockstep::check::canary;
    use crate::lockstep::check::fixture::{Fixture, finding};
    use crate::lockstep::driver::Outcome;

    const ROWS: &str =
        "[rows]\nput = \"INSERT INTO t VALUES ({id})\"\nquery = \"SELECT id FROM t ORDER BY id\"\n";

    /// One commits two rows, another rolls one back, and of a third one's commit nobody knows.
    fn with(rows: &str) -> Fixture {
        Fixture::new(ROWS)
            .ends_with("SELECT id FROM t ORDER BY id", rows)
            .ok("ada", "begin write", "")
            .ok("ada", "put 1", "1\n")
            .ok("ada", "put 2", "1\n")
            .ok("ada", "commit", "")
            .ok("bob", "begin write", "")
            .ok("bob", "put 3", "1\n")
            .ok("bob", "rollback", "")
            .ok("eve", "begin write", "")
            .ok("eve", "put 4", "1\n")
            .ok("eve", "put 5", "1\n")
            .step("eve", "commit", Outcome::new(Class::Killed, ""))
    }

    #[test]
    fn acknowledged_rows_are_there_and_of_the_others_all_or_none() {
        for rows in ["1\n2\n", "1\n2\n4\n5\n"] {
            let (script, log) = with(rows).build();
            assert_eq!(finding(&Durability, &script, &log).verdict, Verdict::Holds, "{rows}");
            assert_eq!(canary(&Durability, &script, &log), Some(true));
        }
        for (rows, because) in [
            ("1\n", "ada put 2 at step 2 and committed: it is gone"),
            ("1\n2\n3\n", "bob put 3 at step 5 and did not commit: it is there"),
            ("1\n2\n5\n", "eve put 5 and 4 in one transaction: only 5 is there"),
            ("1\n2\n2\n", "2 is there twice"),
            ("1\n2\n9\n", "9 is there, and nobody put it"),
        ] {
            let (script, log) = with(rows).build();
            let found = finding(&Durability, &script, &log);
            assert_eq!((found.verdict, found.because), (Verdict::Violated, vec![because.into()]));
        }
    }

    #[test]
    fn a_row_that_was_refused_may_not_be_there_and_one_that_nobody_answered_for_may() {
        for (class, verdict) in [
            (Class::Constraint, Verdict::Violated),
            (Class::Unknown, Verdict::Holds),
            (Class::Paused, Verdict::Holds),
        ] {
            let fixture = with("1\n2\n6\n").step("joe", "put 6", Outcome::new(class, ""));
            let (script, log) = fixture.build();
            assert_eq!(finding(&Durability, &script, &log).verdict, verdict, "{class}");
        }
    }

    #[test]
    fn of_a_commit_that_succeeds_after_a_refusal_all_rows_are_there_or_none() {
        for (rows, verdict) in [
            ("1\n2\n", Verdict::Holds),
            ("1\n2\n6\n7\n", Verdict::Holds),
            ("1\n2\n7\n", Verdict::Violated),
        ] {
            let (script, log) = with(rows)
                .ok("joe", "begin write", "")
                .ok("joe", "put 6", "1\n")
                .ok("joe", "put 7", "1\n")
                .step("joe", "put 8", Outcome::new(Class::Constraint, ""))
                .ok("joe", "commit", "")
                .build();
            assert_eq!(finding(&Durability, &script, &log).verdict, verdict, "{rows}");
        }
    }

    #[test]
    fn what_nobody_looked_at_or_what_is_no_row_is_unknown() {
        let (script, mut log) = with("1\n2\n").build();
        log.end = None;
        assert_eq!(finding(&Durability, &script, &log).verdict, Verdict::Unknown);
        for fixture in [with("one\n"), with("1\n2\n").ok("joe", "put 6", "0\n")] {
            let (script, log) = fixture.build();
            assert_eq!(finding(&Durability, &script, &log).verdict, Verdict::Unknown);
        }
        let (script, log) = Fixture::new("").ok("ada", "SELECT 1", "1\n").build();
        assert_eq!(Durability.judge(&script, &log), None);
    }
}
