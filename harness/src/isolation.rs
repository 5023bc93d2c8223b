//! Which anomalies a history of transactions has that append to lists and read them whole.
//!
//! A list tells the order of the appends to it, and so the versions of its key; from these follow the dependencies
//! between transactions, and a cycle of dependencies is an anomaly with a name (Adya, *Weak Consistency*, MIT 1999;
//! Kingsbury and Alvaro, *Elle*, VLDB 2020).
//!
//! | module | in → out |
//! |---|---|
//! | [`versions`] | history → the order of each key's versions, and what a single read shows |
//! | [`graph`] | versions → dependencies; strongly connected components |
//! | [`cycle`] | components → shortest cycles, named and put into words |
//! | [`simulation`] | what the checker is tested and measured with |
//!
//! # Scope and invariants
//!
//! * Pure functions of the history. Nothing here knows a database, a log or a clock.
//! * Sound: an anomaly accuses transactions that were committed, by what they or others surely read. A transaction of
//!   which nobody can tell whether it was committed counts as committed once its append stands in a list that was read,
//!   and not before.
//! * Complete where the last state of every key is given ([`History::last`]): then a history without anomalies but
//!   [`Kind::G2Item`] has an execution under snapshot isolation, and one without any anomaly has a serial one.

mod cycle;
mod graph;
pub mod simulation;
#[cfg(test)]
mod tests;
mod versions;

use std::fmt;

/// Names a list.
pub type Key = u32;
/// What is appended; none twice to a key.
pub type Value = u64;

/// What transactions did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct History {
    /// In any order.
    pub transactions: Vec<Transaction>,
    /// The lists when all transactions had ended, of the keys that somebody looked at then.
    pub last: Vec<(Key, Vec<Value>)>,
    /// What people call the lists, by key; their numbers if it is not said.
    pub names: Vec<String>,
}

impl History {
    fn list(&self, key: Key) -> String {
        let name = self.names.get(key as usize);
        name.map_or_else(|| format!("list {key}"), |name| format!("`{name}`"))
    }
}

/// What one transaction did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Transaction {
    /// What people call it.
    pub name: String,
    /// How it ended.
    pub ending: Ending,
    /// In its own order, those that succeeded.
    pub operations: Vec<Operation>,
    /// A moment before which it had not taken its snapshot, if known.
    pub began: Option<u64>,
    /// A moment by which it was committed, if known, on the clock of [`began`](Self::began).
    pub ended: Option<u64>,
}

/// How a transaction ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// It was told that what it did is kept.
    Committed,
    /// Nothing of what it did may be seen.
    Aborted,
    /// Nobody can tell.
    Unknown,
}

/// What a transaction does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Operation {
    /// Adds a value to the end of a list.
    Append(Key, Value),
    /// Reads a whole list.
    Read(Key, Vec<Value>),
}

/// What is not allowed to happen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// A list has a value that nobody appended.
    Unwritten,
    /// A list has a value twice.
    Duplicate,
    /// Two reads of a key that no single order of appends explains.
    IncompatibleOrder,
    /// A transaction does not find what it read or appended itself before.
    Internal,
    /// *Aborted read*: of a transaction that was rolled back.
    G1a,
    /// *Intermediate read*: of what was not a transaction's last append to that key.
    G1b,
    /// *Write cycle*: write-write dependencies only.
    G0,
    /// *Circular information flow*: write-write and write-read dependencies.
    G1c,
    /// A committed append that is not in the list at the end, or two transactions that read the same version of a key
    /// and both appended to it.
    LostUpdate,
    /// *Read skew*: a cycle with one anti-dependency, where something read was overwritten.
    GSingle,
    /// A cycle with several anti-dependencies, no two of them in a row.
    GNonadjacent,
    /// *Write skew*: a cycle with two anti-dependencies in a row. Snapshot isolation allows it.
    G2Item,
}

impl Kind {
    /// All of them.
    pub const ALL: [Self; 12] = [
        Self::Unwritten,
        Self::Duplicate,
        Self::IncompatibleOrder,
        Self::Internal,
        Self::G1a,
        Self::G1b,
        Self::G0,
        Self::G1c,
        Self::LostUpdate,
        Self::GSingle,
        Self::GNonadjacent,
        Self::G2Item,
    ];
}

/// What is expected.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Level {
    /// A transaction reads what was committed when it began, and of two that write the same one fails.
    #[default]
    Snapshot,
    /// As if one transaction ran after the other.
    Serializable,
}

/// An anomaly that was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Anomaly {
    /// Its name.
    pub kind: Kind,
    /// Whether it takes the order of time to see it: the end of one transaction before the beginning of another.
    pub timed: bool,
    /// Who takes part, as places in [`History::transactions`].
    pub transactions: Vec<usize>,
    /// What happened, for people.
    pub words: String,
}

/// What a history shows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// Of each knot of transactions that depend on each other, the worst.
    pub anomalies: Vec<Anomaly>,
    /// How many transactions were committed, as far as anybody can tell.
    pub committed: usize,
    /// Dependencies that were left out, since too many appends to a key were read by nobody. Not zero: not complete.
    pub left_out: usize,
}

/// Looks for anomalies.
pub fn check(history: &History) -> Report {
    let mut found = versions::of(history);
    let graph = graph::Graph::new(history, &found);
    let lost = found.anomalies.iter().filter(|anomaly| anomaly.kind == Kind::LostUpdate);
    let cycles = cycle::anomalies(history, &graph, &lost.cloned().collect::<Vec<_>>());
    found.anomalies.extend(cycles);
    Report {
        committed: found.committed.iter().filter(|committed| **committed).count(),
        anomalies: found.anomalies,
        left_out: graph.left_out,
    }
}

impl Report {
    /// The anomalies that the level does not allow.
    pub fn violations(&self, level: Level) -> impl Iterator<Item = &Anomaly> {
        let allowed =
            move |anomaly: &&Anomaly| level == Level::Serializable || anomaly.kind != Kind::G2Item;
        self.anomalies.iter().filter(allowed)
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Unwritten => "unwritten value",
            Self::Duplicate => "duplicate value",
            Self::IncompatibleOrder => "incompatible order",
            Self::Internal => "internal inconsistency",
            Self::G1a => "G1a (aborted read)",
            Self::G1b => "G1b (intermediate read)",
            Self::G0 => "G0 (write cycle)",
            Self::G1c => "G1c (circular information flow)",
            Self::LostUpdate => "lost update",
            Self::GSingle => "G-single (read skew)",
            Self::GNonadjacent => "G-nonadjacent",
            Self::G2Item => "G2-item (write skew)",
        })
    }
}

impl fmt::Display for Anomaly {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let time = if self.timed { " in real time" } else { "" };
        write!(f, "{}{time}: {}", self.kind, self.words)
    }
}
