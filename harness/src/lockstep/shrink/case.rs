//! A scenario and a schedule as parts that can be left out.
//!
//! # Invariants
//!
//! * An operation keeps its number when others are left out, and so does the move that carries it out. Numbers of one
//!   actor ascend.
//! * What begins and what ends something (a transaction, a phase, an open file) is left out together or not at all.
//! * Keys of the scenario that nothing here knows stay as they are.
//!
//! # Scope of determinism
//!
//! Pure functions of the scenario's text and the log.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use toml::{Table, Value};

use crate::lockstep::act::Act;
use crate::lockstep::driver::Command;
use crate::lockstep::log::Log;
use crate::lockstep::repro::{Lenient, Placed, Step};
use crate::scenario::ScenarioError;
use crate::scenario::script::{Faults, KEYS, Script};

/// See the module's header.
#[derive(Clone, Debug)]
pub(super) struct Case {
    pub(super) id: String,
    /// The scenario's document.
    pub(super) document: Table,
    pub(super) roles: Vec<Role>,
    pub(super) setup: Vec<String>,
    pub(super) faults: Option<Faults>,
    pub(super) moves: Vec<Entry>,
}

/// An actor and what it does.
#[derive(Clone, Debug)]
pub(super) struct Role {
    pub(super) id: String,
    pub(super) operations: Vec<Operation>,
}

/// An operation that can be left out.
#[derive(Clone, Debug)]
pub(super) struct Operation {
    /// Unique in the case it came from.
    pub(super) number: usize,
    pub(super) text: String,
}

/// A move, and the operation that it carries out, or a part of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) step: Step,
    pub(super) operation: Option<usize>,
}

impl Case {
    /// Everything, of a failing log.
    pub(super) fn of(script: &Script, log: &Log) -> Self {
        let mut document: Table = toml::from_str(&script.text).unwrap_or_default();
        only_driver(&mut document, &log.header.driver);
        let mut numbers = 0..;
        let mut operation = |text: &String| {
            let number = numbers.next().expect("there is no last number");
            Operation { number, text: text.clone() }
        };
        let mut roles = Vec::new();
        for actor in &script.actors {
            let operations = actor.steps.iter().map(&mut operation).collect();
            roles.push(Role { id: actor.id.clone(), operations });
        }
        let moves = entries(&roles, log);
        let (setup, faults) = (script.setup.clone(), script.faults.clone());
        Self { id: script.id.clone(), document, roles, setup, faults, moves }
    }

    /// The same with the moves of another schedule of it.
    pub(super) fn with_moves_of(&self, log: &Log) -> Self {
        Self { moves: entries(&self.roles, log), ..self.clone() }
    }

    /// Without some operations, the moves that carry them out, and actors that have nothing left to do.
    pub(super) fn without(&self, numbers: &BTreeSet<usize>) -> Self {
        let mut case = self.clone();
        for role in &mut case.roles {
            role.operations.retain(|operation| !numbers.contains(&operation.number));
        }
        case.roles.retain(|role| !role.operations.is_empty());
        let roles = &case.roles;
        // A fault stays, and happens in what its actor does next.
        case.moves.retain(|entry| match entry.operation {
            Some(number) if entry.step.act.is_go() => !numbers.contains(&number),
            _ => is_of_one(roles, &entry.step.actor),
        });
        case
    }

    /// Its moves, each with its place.
    pub(super) fn placed(&self) -> Lenient {
        let place = |entry: &Entry| {
            let role = self.roles.iter().find(|role| role.id == entry.step.actor)?;
            let number = entry.operation?;
            Some(role.operations.iter().filter(|operation| operation.number < number).count())
        };
        let placed = |entry: &Entry| Placed { step: entry.step.clone(), operation: place(entry) };
        let script = |role: &Role| {
            let texts = role.operations.iter().map(|operation| operation.text.clone());
            (role.id.clone(), texts.collect())
        };
        let scripts = self.roles.iter().map(script).collect();
        Lenient::placed(self.moves.iter().map(placed).collect(), scripts)
    }

    pub(super) fn steps(&self) -> Vec<Step> {
        self.moves.iter().map(|entry| entry.step.clone()).collect()
    }

    /// Operations of all actors, and statements of the set-up.
    pub(super) fn statements(&self) -> u64 {
        let operations = self.roles.iter().map(|role| role.operations.len());
        (operations.sum::<usize>() + self.setup.len()) as u64
    }

    /// The places of faults among the moves.
    pub(super) fn fault_places(&self) -> Vec<usize> {
        let faults = self.moves.iter().enumerate().filter(|(_, entry)| !entry.step.act.is_go());
        faults.map(|(place, _)| place).collect()
    }

    /// How often another actor moves than the one before.
    pub(super) fn switches(&self) -> u64 {
        let pairs = self.moves.windows(2);
        pairs.filter(|pair| pair[0].step.actor != pair[1].step.actor).count() as u64
    }

    /// The kinds of faults that it has.
    pub(super) fn kinds(&self) -> Vec<Act> {
        let acts: BTreeSet<Act> = self.moves.iter().map(|entry| entry.step.act).collect();
        acts.into_iter().filter(|act| !act.is_go()).collect()
    }

    /// As a scenario; none if that would be no scenario.
    pub(super) fn script(&self) -> Option<Script> {
        if self.roles.is_empty() || self.setup.is_empty() {
            return None;
        }
        let read: Result<_, ScenarioError> =
            Script::parse(&PathBuf::from(format!("{}.toml", self.id)), self.text().as_bytes());
        read.ok()
    }

    /// As the text of a scenario.
    fn text(&self) -> String {
        let mut document = self.document.clone();
        let texts = |texts: &mut dyn Iterator<Item = &String>| {
            Value::Array(texts.cloned().map(Value::String).collect())
        };
        let actors = self.roles.iter().map(|role| {
            let steps = texts(&mut role.operations.iter().map(|operation| &operation.text));
            Value::Table(Table::from_iter([
                ("id".to_owned(), Value::String(role.id.clone())),
                ("steps".to_owned(), steps),
            ]))
        });
        document.insert("actors".to_owned(), Value::Array(actors.collect()));
        if let Some(database) = document.get_mut("database").and_then(Value::as_table_mut) {
            database.insert("setup".to_owned(), texts(&mut self.setup.iter()));
        }
        document.remove("faults");
        if let Some(Faults { kinds, at_most, restart }) = &self.faults {
            let kinds = kinds.iter().map(|kind| Value::String(kind.to_string())).collect();
            let faults = [
                ("kinds".to_owned(), Value::Array(kinds)),
                ("at_most".to_owned(), Value::Integer((*at_most).into())),
                ("restart".to_owned(), Value::Boolean(*restart)),
            ];
            document.insert("faults".to_owned(), Value::Table(Table::from_iter(faults)));
        }
        in_order(&document)
    }
}

/// The document, plain keys before tables, both in the order in which scenarios are written.
fn in_order(document: &Table) -> String {
    let place = |key: &str| KEYS.iter().position(|known| *known == key).unwrap_or(KEYS.len());
    let mut entries: Vec<(&String, &Value)> = document.iter().collect();
    entries.sort_by_key(|(key, value)| (is_table(value), place(key)));
    let mut text = String::new();
    for (key, value) in entries {
        if is_table(value) {
            text.push('\n');
        }
        let one = Table::from_iter([(key.clone(), value.clone())]);
        text += &toml::to_string_pretty(&one).unwrap_or_default();
    }
    text
}

/// Whether a value has a heading of its own: a plain key behind it would be one of it.
fn is_table(value: &Value) -> bool {
    let of_tables = value.as_array().is_some_and(|values| values.iter().any(Value::is_table));
    value.is_table() || of_tables
}

/// What is said about other drivers is nothing of this case.
fn only_driver(document: &mut Table, driver: &str) {
    let drivers = document.get_mut("drivers").and_then(Value::as_array_mut);
    if let Some(drivers) =
        drivers.filter(|drivers| drivers.iter().any(|it| it.as_str() == Some(driver)))
    {
        drivers.retain(|it| it.as_str() == Some(driver));
    }
    let is_left = document.get_mut("expect").and_then(Value::as_table_mut).is_some_and(|expect| {
        expect.retain(|key, _| key == driver);
        !expect.is_empty()
    });
    if !is_left {
        document.remove("expect");
    }
}

/// Whether that is one of the actors, or a thread that the manager began in the process of one, or in all of theirs.
fn is_of_one(roles: &[Role], actor: &str) -> bool {
    let owner = actor.split('/').next().unwrap_or(actor);
    roles.iter().any(|role| role.id == owner) || owner.contains(' ')
}

/// The moves of a log, each with the operation that it carries out: the next of its actor with that text.
fn entries(roles: &[Role], log: &Log) -> Vec<Entry> {
    let mut next: BTreeMap<&str, usize> = BTreeMap::new();
    let mut entries = Vec::new();
    for step in &log.steps {
        let decision = &step.decision;
        let role = roles.iter().find(|role| role.id == decision.actor);
        let operation = role.and_then(|role| {
            let from = next.entry(&role.id).or_default();
            let left = &role.operations[*from..];
            let at = *from + left.iter().position(|operation| operation.text == decision.op)?;
            let is_over = step.came.as_ref().is_none_or(|came| came.outcome.class.is_end());
            *from = at + usize::from(is_over);
            Some(role.operations[at].number)
        });
        let step = Step { actor: decision.actor.clone(), act: decision.act };
        entries.push(Entry { step, operation });
    }
    entries
}

/// What belongs together in an actor's operations, as places: what begins something with what ends it.
pub(super) fn pairs(operations: &[Operation]) -> Vec<(usize, usize)> {
    let mut open: Vec<(usize, Kind)> = Vec::new();
    let mut pairs = Vec::new();
    for (place, operation) in operations.iter().enumerate() {
        match edge(&operation.text) {
            Some((kind, true)) => open.push((place, kind)),
            Some((kind, false)) => {
                if let Some(at) = open.iter().rposition(|(_, other)| *other == kind) {
                    pairs.push((open.remove(at).0, place));
                }
            }
            None => {}
        }
    }
    pairs
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Transaction,
    Phase,
    File,
}

/// What an operation begins, or, with `false`, ends.
fn edge(text: &str) -> Option<(Kind, bool)> {
    match Command::of(text) {
        Command::BeginRead | Command::BeginWrite => Some((Kind::Transaction, true)),
        Command::Commit | Command::Rollback | Command::Panic => Some((Kind::Transaction, false)),
        Command::BeginPhase(_) => Some((Kind::Phase, true)),
        Command::EndPhase(_) => Some((Kind::Phase, false)),
        Command::Open => Some((Kind::File, true)),
        Command::Close => Some((Kind::File, false)),
        Command::Touch
        | Command::Create
        | Command::Barge
        | Command::Nest
        | Command::Store(_)
        | Command::Sql(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn operations(texts: &[&str]) -> Vec<Operation> {
        let operation =
            |(number, text): (usize, &&str)| Operation { number, text: (*text).to_owned() };
        texts.iter().enumerate().map(operation).collect()
    }

    #[test]
    fn a_document_is_written_as_it_reads_whatever_it_has() {
        let text = "id = \"x\"\nzeal = 1\n[database]\nsetup = [\"a\"]\n[[actors]]\nid = \"ada\"\n[[things]]\nof = [[1]]\n\
                    [things.more]\nx = \"'\\n\"\n[[things]]\nof = []\n[alien]\nkey = true\n";
        let document: Table = toml::from_str(text).unwrap();
        let written = in_order(&document);
        assert_eq!(toml::from_str::<Table>(&written).unwrap(), document, "{written}");
        let order = ["id", "zeal", "[database]", "[[actors]]", "[alien]"]
            .map(|part| written.find(part).unwrap());
        assert!(order.is_sorted(), "{written}");
    }

    #[test]
    fn what_begins_something_is_paired_with_what_ends_it() {
        let texts = [
            "begin training",
            "begin write",
            "UPDATE",
            "commit",
            "SELECT",
            "end training",
            "commit",
            "begin read",
            "SELECT",
        ];
        assert_eq!(
            pairs(&operations(&texts)),
            [(1, 3), (0, 5)],
            "an end without a beginning is left alone"
        );
    }
}
