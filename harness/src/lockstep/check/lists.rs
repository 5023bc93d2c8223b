//! What a log says of the scenario's lists: which transaction appended and read what.

use super::transaction::{self, Fate, Statement, Transaction};
use crate::isolation::{self, Ending, History, Key, Operation};
use crate::lockstep::driver::{Class, Outcome};
use crate::lockstep::log::Log;
use crate::lockstep::vocabulary::{Word, values};
use crate::scenario::script::Script;

/// The transactions that did anything to a list.
pub(super) struct Lists<'a> {
    pub(super) transactions: Vec<Listed<'a>>,
    /// The lists at the end, if somebody looked.
    pub(super) last: Option<Vec<(&'a str, Vec<u64>)>>,
    /// Why something is not known that a judge may need.
    pub(super) unknown: Option<String>,
}

/// A transaction and what it did to lists.
pub(super) struct Listed<'a> {
    pub(super) transaction: Transaction<'a>,
    pub(super) acts: Vec<(usize, Act<'a>)>,
}

/// What a statement did to a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Act<'a> {
    Append(&'a str, u64),
    Read(&'a str, Vec<u64>),
}

/// Reads a log; none if the scenario has no lists.
pub(super) fn of<'a>(script: &Script, log: &'a Log) -> Option<Lists<'a>> {
    script.watched.lists.as_ref()?;
    let question = script.watched.vocabulary().all_lists()?;
    let answer = log.end.as_ref().and_then(|end| end.answers.get(&question));
    let mut lists = Lists { transactions: Vec::new(), last: None, unknown: None };
    if let Some(answer) = answer {
        lists.last = answer.lines().map(row).collect();
        if lists.last.is_none() {
            lists.unknown = Some(format!("what `{question}` gave at the end are no lists"));
        }
    }
    for transaction in transaction::all(log) {
        let mut acts = Vec::new();
        for statement in &transaction.statements {
            match act(statement) {
                Ok(act) => acts.extend(act.map(|act| (statement.step, act))),
                Err(problem) => lists.unknown = lists.unknown.or(Some(problem)),
            }
        }
        if !acts.is_empty() {
            lists.transactions.push(Listed { transaction, acts });
        }
    }
    Some(lists)
}

fn row(line: &str) -> Option<(&str, Vec<u64>)> {
    let (key, list) = line.split_once('|')?;
    Some((key, values(list)?))
}

/// What a statement did, if it was about a list and may have done anything.
fn act<'a>(statement: &Statement<'a>) -> Result<Option<Act<'a>>, String> {
    let Statement { step, sql, outcome, .. } = statement;
    match (Word::of(sql), outcome.class) {
        (Some(Word::Append(key, value)), Class::Ok) if outcome.shown.trim_end() == "1" => {
            Ok(Some(Act::Append(key, value)))
        }
        (Some(Word::Append(..)), Class::Ok) => {
            Err(format!("`{sql}` at step {step} found no list, or more than one"))
        }
        (Some(Word::Append(key, value)), Class::Unknown | Class::Panicked | Class::Killed) => {
            Ok(Some(Act::Append(key, value)))
        }
        (Some(Word::Read(key)), Class::Ok) => {
            if is_cut(outcome) {
                return Err(format!("`{sql}` at step {step} gave more than the log keeps"));
            }
            let list = outcome.shown.strip_suffix('\n').and_then(values);
            let list = list.ok_or(format!("`{sql}` at step {step} gave no list"))?;
            Ok(Some(Act::Read(key, list)))
        }
        _ => Ok(None),
    }
}

/// Whether the log may have only the beginning of a result.
pub(super) fn is_cut(outcome: &Outcome) -> bool {
    Outcome::SHOWN_MAX <= outcome.shown.chars().count()
}

impl<'a> Lists<'a> {
    /// The appends that are to stay.
    pub(super) fn acknowledged(&self) -> impl Iterator<Item = (&'a str, u64)> {
        let kept = self.transactions.iter().filter(|it| it.transaction.fate() == Fate::Kept);
        kept.flat_map(|it| &it.acts).filter_map(|(_, act)| match act {
            Act::Append(key, value) => Some((*key, *value)),
            Act::Read(..) => None,
        })
    }

    /// As the isolation checker reads it.
    pub(super) fn history(&self) -> History {
        let mut names: Vec<String> = Vec::new();
        let mut key = |name: &str| -> Key {
            let at = names.iter().position(|it| it == name).unwrap_or_else(|| {
                names.push(name.to_owned());
                names.len() - 1
            });
            at as Key
        };
        let at_the_end = self.last.iter().flatten();
        let last = at_the_end.map(|(name, values)| (key(name), values.clone())).collect();
        let mut transactions = Vec::new();
        for Listed { transaction, acts } in &self.transactions {
            let operations = acts.iter().map(|(_, act)| match act {
                Act::Append(name, value) => Operation::Append(key(name), *value),
                Act::Read(name, values) => Operation::Read(key(name), values.clone()),
            });
            transactions.push(isolation::Transaction {
                name: name(transaction),
                ending: match transaction.fate() {
                    Fate::Kept => Ending::Committed,
                    Fate::Undone => Ending::Aborted,
                    Fate::Unknown => Ending::Unknown,
                },
                operations: operations.collect(),
                began: Some(transaction.began as u64),
                ended: transaction
                    .ended
                    .filter(|_| transaction.fate() == Fate::Kept)
                    .map(|step| step as u64),
            });
        }
        History { transactions, last, names }
    }
}

/// What people call a transaction.
pub(super) fn name(transaction: &Transaction<'_>) -> String {
    let Transaction { actor, began, ended, .. } = transaction;
    match ended {
        Some(ended) if began == ended => format!("{actor} (step {began})"),
        Some(ended) => format!("{actor} (steps {began} to {ended})"),
        None => format!("{actor} (from step {began})"),
    }
}
