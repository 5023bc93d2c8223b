//! Histories to test and measure the checker with: of simulated databases that keep a level, or do not, and with single
//! anomalies planted.
//!
//! # Scope of determinism
//!
//! A history is a pure function of its [`Shape`] and the state of the generator.

use std::collections::BTreeMap;

use super::{Ending, History, Key, Kind, Operation, Transaction, Value};
use crate::seed::Prng;

/// What is simulated.
#[derive(Clone, Copy, Debug)]
pub struct Shape {
    /// What the database promises.
    pub rules: Rules,
    /// How many transactions there are.
    pub transactions: usize,
    /// How many of them are open at once.
    pub actors: usize,
    /// How many keys are in use at once. A key that has got [`APPENDS_MAX`] appends is replaced by a fresh one.
    pub keys: usize,
    /// A transaction has from 1 to so many operations.
    pub operations: u64,
}

/// What a simulated database promises.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rules {
    /// Reads of the state at the beginning; of two that write the same one is rolled back.
    Snapshot,
    /// Reads of what was committed at that moment.
    ReadCommitted,
    /// Reads of whatever is there; what is rolled back is removed.
    ReadUncommitted,
}

/// How long a list gets.
pub const APPENDS_MAX: usize = 32;

/// Simulates a database.
pub fn simulate(shape: Shape, random: &mut Prng) -> History {
    let mut database =
        Database { shape, now: 0, lists: BTreeMap::new(), fresh: 0, keys: Vec::new() };
    database.keys = (0..shape.keys).map(|_| database.fresh_key()).collect();
    let mut open: Vec<Open> = Vec::new();
    let mut history = History::default();
    let mut begun = 0;
    while !open.is_empty() || begun < shape.transactions {
        database.now += 1;
        let actor = random.below(shape.actors as u64) as usize;
        if open.len() <= actor {
            if begun < shape.transactions {
                open.push(Open::new(begun, &database, random));
                begun += 1;
            }
            continue;
        }
        if 0 < open[actor].left {
            database.step(&mut open[actor], random);
        } else {
            history.transactions.push(database.end(open.swap_remove(actor), random));
        }
    }
    let values = |list: &List| list.iter().map(|(value, _)| *value).collect();
    history.last = database.lists.iter().map(|(key, list)| (*key, values(list))).collect();
    history
}

/// Values and the moments since which they are there.
type List = Vec<(Value, u64)>;

struct Database {
    shape: Shape,
    now: u64,
    lists: BTreeMap<Key, List>,
    fresh: Key,
    keys: Vec<Key>,
}

struct Open {
    transaction: Transaction,
    began: u64,
    left: u64,
}

impl Open {
    fn new(number: usize, database: &Database, random: &mut Prng) -> Self {
        let transaction = Transaction {
            name: format!("T{number}"),
            ending: Ending::Unknown,
            operations: Vec::new(),
            began: Some(database.now),
            ended: None,
        };
        Self { transaction, began: database.now, left: 1 + random.below(database.shape.operations) }
    }

    fn appended(&self) -> impl Iterator<Item = (Key, Value)> {
        self.transaction.operations.iter().filter_map(|operation| match operation {
            Operation::Append(key, value) => Some((*key, *value)),
            Operation::Read(..) => None,
        })
    }
}

impl Database {
    fn fresh_key(&mut self) -> Key {
        self.fresh += 1;
        self.lists.insert(self.fresh - 1, List::new());
        self.fresh - 1
    }

    fn is_in_place(&self) -> bool {
        self.shape.rules == Rules::ReadUncommitted
    }

    fn step(&mut self, open: &mut Open, random: &mut Prng) {
        open.left -= 1;
        let key = self.keys[random.below(self.keys.len() as u64) as usize];
        let operation = if random.below(2) == 0 {
            Operation::Read(key, self.read(key, open))
        } else {
            let value = self.now;
            if self.is_in_place() {
                self.append(key, value);
            }
            Operation::Append(key, value)
        };
        open.transaction.operations.push(operation);
    }

    fn read(&self, key: Key, open: &Open) -> Vec<Value> {
        let until = if self.shape.rules == Rules::Snapshot { open.began } else { self.now };
        let list = self.lists[&key].iter().filter(|(_, since)| *since <= until);
        let theirs = list.map(|(value, _)| *value);
        let own = open.appended().filter(|(it, _)| *it == key && !self.is_in_place());
        theirs.chain(own.map(|(_, value)| value)).collect()
    }

    fn append(&mut self, key: Key, value: Value) {
        let list = self.lists.entry(key).or_default();
        list.push((value, self.now));
        let is_full = APPENDS_MAX <= list.len();
        if let Some(at) = self.keys.iter().position(|it| *it == key).filter(|_| is_full) {
            self.keys[at] = self.fresh_key();
        }
    }

    /// Ends a transaction. One in twenty is rolled back, and of one in twenty nobody is told how it ended.
    fn end(&mut self, open: Open, random: &mut Prng) -> Transaction {
        let newest = |key: Key| self.lists[&key].last().map_or(0, |(_, since)| *since);
        let is_late = self.shape.rules == Rules::Snapshot
            && open.appended().any(|(key, _)| open.began < newest(key));
        let chance = random.below(20);
        let is_kept = !is_late && chance != 0;
        for (key, value) in open.appended() {
            if is_kept && !self.is_in_place() {
                self.append(key, value);
            } else if !is_kept && let Some(list) = self.lists.get_mut(&key) {
                list.retain(|(it, _)| *it != value);
            }
        }
        let ending = match chance {
            1 => Ending::Unknown,
            _ if is_kept => Ending::Committed,
            _ => Ending::Aborted,
        };
        let ended = (ending == Ending::Committed).then_some(self.now);
        Transaction { ending, ended, ..open.transaction }
    }
}

/// Adds transactions with one anomaly to a history, on keys of their own. Returns the places of those that were added.
pub fn plant(kind: Kind, history: &mut History) -> std::ops::Range<usize> {
    let before = history.transactions.len();
    let keys = history.transactions.iter().flat_map(|it| &it.operations).map(|operation| {
        let (Operation::Append(key, _) | Operation::Read(key, _)) = operation;
        *key
    });
    let a = keys.chain(history.last.iter().map(|(key, _)| *key)).max().map_or(0, |key| key + 1);
    let (b, c, d) = (a + 1, a + 2, a + 3);
    let append = Operation::Append;
    let read = |key, list: &[Value]| Operation::Read(key, list.to_vec());
    let transactions = match kind {
        Kind::Unwritten => vec![vec![read(a, &[1])]],
        Kind::Duplicate => vec![vec![append(a, 1)], vec![read(a, &[1, 1])]],
        Kind::IncompatibleOrder => vec![
            vec![append(a, 1)],
            vec![append(a, 2)],
            vec![read(a, &[1, 2])],
            vec![read(a, &[2, 1])],
        ],
        Kind::Internal => vec![vec![append(a, 1), read(a, &[])]],
        Kind::G1a => vec![vec![append(a, 1)], vec![read(a, &[1])]],
        Kind::G1b => vec![vec![append(a, 1), append(a, 2)], vec![read(a, &[1])]],
        Kind::G0 => vec![
            vec![append(a, 1), append(b, 1)],
            vec![append(a, 2), append(b, 2)],
            vec![read(a, &[1, 2])],
            vec![read(b, &[2, 1])],
        ],
        Kind::G1c => vec![vec![append(a, 1), read(b, &[1])], vec![append(b, 1), read(a, &[1])]],
        Kind::LostUpdate => vec![
            vec![read(a, &[]), append(a, 1)],
            vec![read(a, &[]), append(a, 2)],
            vec![read(a, &[1, 2])],
        ],
        Kind::GSingle => vec![vec![append(a, 1), append(b, 1)], vec![read(a, &[]), read(b, &[1])]],
        Kind::GNonadjacent => vec![
            vec![read(d, &[1]), read(a, &[])],
            vec![append(a, 1), append(c, 1)],
            vec![read(c, &[1]), read(b, &[])],
            vec![append(b, 1), append(d, 1)],
        ],
        Kind::G2Item => vec![vec![read(a, &[]), append(b, 1)], vec![read(b, &[]), append(a, 1)]],
    };
    for (index, operations) in transactions.into_iter().enumerate() {
        let is_undone = kind == Kind::G1a && index == 0;
        history.transactions.push(Transaction {
            name: format!("P{index}"),
            ending: if is_undone { Ending::Aborted } else { Ending::Committed },
            operations,
            began: None,
            ended: None,
        });
    }
    before..history.transactions.len()
}
