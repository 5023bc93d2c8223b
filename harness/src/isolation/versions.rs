//! The order of each key's versions, who reads which of them, and the anomalies that need no cycle.

use std::collections::{BTreeMap, HashMap, HashSet};

use super::{Anomaly, Ending, History, Key, Kind, Operation, Value};

/// What the history says about each key.
pub(super) struct Versions {
    pub(super) keys: BTreeMap<Key, Versioned>,
    /// Which transactions were committed, as far as anybody can tell.
    pub(super) committed: Vec<bool>,
    pub(super) anomalies: Vec<Anomaly>,
}

/// A key's versions: the empty list, and one more after each append.
#[derive(Default)]
pub(super) struct Versioned {
    /// The longest list that was read.
    pub(super) order: Vec<Value>,
    /// Who read it; nobody if that was done when all had ended.
    seen_by: Option<usize>,
    is_last: bool,
    /// Who appended the value at that place, if that transaction was committed.
    pub(super) writers: Vec<Option<usize>>,
    /// Who read the list, and how long it was without the reader's own appends.
    pub(super) readers: Vec<(usize, usize)>,
    /// Who made a committed append that is not in the list.
    pub(super) unread: Vec<usize>,
}

/// An append.
#[derive(Clone, Copy)]
struct Append {
    transaction: usize,
    /// Whether the transaction appended nothing more to that key.
    is_final: bool,
}

type Appends = HashMap<(Key, Value), Append>;

/// Works through a history.
pub(super) fn of(history: &History) -> Versions {
    let appends = appends(history);
    let mut reading = Reading {
        history,
        appends: &appends,
        committed: vec![false; history.transactions.len()],
        keys: BTreeMap::new(),
        anomalies: Vec::new(),
    };
    reading.orders();
    reading.writers();
    for index in 0..history.transactions.len() {
        if reading.committed[index] {
            reading.transaction(index);
        }
    }
    reading.lost_updates();
    let Reading { committed, keys, anomalies, .. } = reading;
    Versions { keys, committed, anomalies }
}

fn appends(history: &History) -> Appends {
    let mut appends = Appends::new();
    let mut newest: HashMap<Key, Value> = HashMap::new();
    for (transaction, it) in history.transactions.iter().enumerate() {
        newest.clear();
        for operation in &it.operations {
            let Operation::Append(key, value) = operation else { continue };
            appends.insert((*key, *value), Append { transaction, is_final: true });
            let earlier = newest.insert(*key, *value).and_then(|it| appends.get_mut(&(*key, it)));
            if let Some(append) = earlier {
                append.is_final = false;
            }
        }
    }
    appends
}

/// A history that is being read.
struct Reading<'h> {
    history: &'h History,
    appends: &'h Appends,
    committed: Vec<bool>,
    keys: BTreeMap<Key, Versioned>,
    anomalies: Vec<Anomaly>,
}

impl Reading<'_> {
    /// The longest list of each key, and who was committed. That a transaction was may be known only from a list that has
    /// its append; then its own reads count too, and so on.
    fn orders(&mut self) {
        let history = self.history;
        for (key, list) in &history.last {
            let order = list.clone();
            self.keys.insert(*key, Versioned { order, is_last: true, ..Versioned::default() });
        }
        let of_ending = |ending| {
            let transactions = history.transactions.iter().enumerate();
            transactions.filter(move |(_, it)| it.ending == ending).map(|(index, _)| index)
        };
        let mut fresh: Vec<usize> = of_ending(Ending::Committed).collect();
        let mut open: HashSet<usize> = of_ending(Ending::Unknown).collect();
        loop {
            for &index in &fresh {
                self.commit(index);
            }
            if open.is_empty() {
                return;
            }
            let appends = self.appends;
            let values =
                self.keys.iter().flat_map(|(key, it)| it.order.iter().map(|it| (*key, *it)));
            let seen = values.filter_map(|it| appends.get(&it)).map(|append| append.transaction);
            fresh = seen.filter(|writer| open.remove(writer)).collect();
            if fresh.is_empty() {
                return;
            }
        }
    }

    fn commit(&mut self, index: usize) {
        self.committed[index] = true;
        for operation in &self.history.transactions[index].operations {
            let Operation::Read(key, list) = operation else { continue };
            let key = self.keys.entry(*key).or_default();
            if !key.is_last && key.order.len() < list.len() {
                key.order.clone_from(list);
                key.seen_by = Some(index);
            }
        }
    }

    fn writers(&mut self) {
        let keys: Vec<Key> = self.keys.keys().copied().collect();
        for key in keys {
            let versioned = &self.keys[&key];
            let (order, seen_by) = (versioned.order.clone(), versioned.seen_by);
            self.suspect(key, &order, seen_by);
            let mut known = HashSet::new();
            let writer = |value: &Value| {
                let append = self.appends.get(&(key, *value)).filter(|_| known.insert(*value))?;
                self.committed[append.transaction].then_some(append.transaction)
            };
            let writers = order.iter().map(writer).collect();
            self.keys.entry(key).or_default().writers = writers;
        }
    }

    /// Looks for values that should not be in a list.
    fn suspect(&mut self, key: Key, list: &[Value], reader: Option<usize>) {
        let mut known = HashSet::new();
        for value in list {
            if !known.insert(*value) {
                let words =
                    format!("{} read {value} in {} twice", self.reader(reader), self.list(key));
                self.accuse(Kind::Duplicate, reader.into_iter().collect(), words);
                continue;
            }
            let Some(append) = self.appends.get(&(key, *value)) else {
                let who = self.reader(reader);
                let words =
                    format!("{who} read {value} in {}, which nobody appended", self.list(key));
                self.accuse(Kind::Unwritten, reader.into_iter().collect(), words);
                continue;
            };
            let writer = append.transaction;
            if self.history.transactions[writer].ending == Ending::Aborted {
                let (who, other) = (self.reader(reader), self.name(writer));
                let words = format!(
                    "{who} read {value} in {}, which {other} appended and did not commit",
                    self.list(key)
                );
                self.accuse(Kind::G1a, reader.into_iter().chain([writer]).collect(), words);
            }
        }
    }

    /// What a transaction reads, in its own order.
    fn transaction(&mut self, index: usize) {
        let mut own: Vec<Own<'_>> = Vec::new();
        let history = self.history;
        for operation in &history.transactions[index].operations {
            let (Operation::Append(key, _) | Operation::Read(key, _)) = operation;
            let at = own.iter().position(|it| it.key == *key).unwrap_or_else(|| {
                own.push(Own { key: *key, read: None, appended: Vec::new() });
                own.len() - 1
            });
            let own = &mut own[at];
            match operation {
                Operation::Append(key, value) => {
                    own.appended.push(*value);
                    self.unread(*key, *value, index);
                }
                Operation::Read(key, list) => {
                    if let Some(before) = own.before(list) {
                        if own.read.is_none() {
                            self.read(index, *key, list, before);
                        }
                    } else {
                        let words = format!(
                            "{} read {list:?} in {}, where it had {}",
                            self.name(index),
                            self.list(*key),
                            own.words()
                        );
                        self.accuse(Kind::Internal, vec![index], words);
                    }
                    own.read = Some(list);
                    own.appended.clear();
                }
            }
        }
    }

    /// A first read of a key, whose first `before` values are not the reader's own.
    fn read(&mut self, index: usize, key: Key, list: &[Value], before: usize) {
        let versioned = self.keys.entry(key).or_default();
        if !versioned.order.starts_with(list) {
            let order = versioned.order.clone();
            let other = versioned.seen_by;
            let (who, longest) = (self.name(index), self.reader(other));
            let words = format!(
                "in {} {who} read {list:?} and {longest} read {order:?}: one does not go on from the other",
                self.list(key)
            );
            self.accuse(Kind::IncompatibleOrder, [index].into_iter().chain(other).collect(), words);
            self.suspect(key, list, Some(index));
            return;
        }
        versioned.readers.push((index, before));
        let Some(newest) = list[..before].last() else { return };
        let Some(append) = self.appends.get(&(key, *newest)) else { return };
        let writer = append.transaction;
        if !append.is_final && writer != index && self.committed[writer] {
            let (who, other) = (self.name(index), self.name(writer));
            let words = format!(
                "{who} read {} up to {newest}, after which {other} appended more to it",
                self.list(key)
            );
            self.accuse(Kind::G1b, vec![index, writer], words);
        }
    }

    /// Notes a committed append that nobody has read.
    fn unread(&mut self, key: Key, value: Value, index: usize) {
        let versioned = self.keys.entry(key).or_default();
        if versioned.order.contains(&value) {
            return;
        }
        if !versioned.is_last {
            versioned.unread.push(index);
        } else if self.history.transactions[index].ending == Ending::Committed {
            let who = self.name(index);
            let words =
                format!("{who} appended {value} to {}, and at the end it is gone", self.list(key));
            self.accuse(Kind::LostUpdate, vec![index], words);
        }
    }

    /// Of two transactions that read the same version of a key and appended to it, one has not seen the other.
    fn lost_updates(&mut self) {
        let mut found = Vec::new();
        for (key, versioned) in &self.keys {
            let appended = |index: usize| {
                let operations = &self.history.transactions[index].operations;
                operations.iter().any(|it| matches!(it, Operation::Append(it, _) if it == key))
            };
            let mut first: BTreeMap<usize, usize> = BTreeMap::new();
            for &(reader, version) in versioned.readers.iter().filter(|(it, _)| appended(*it)) {
                if let Some(other) = first.insert(version, reader) {
                    found.push((*key, version, other, reader));
                }
            }
        }
        for (key, version, one, other) in found {
            let words = format!(
                "{} and {} both found {version} values in {} and both appended to it",
                self.name(one),
                self.name(other),
                self.list(key)
            );
            self.accuse(Kind::LostUpdate, vec![one, other], words);
        }
    }

    fn accuse(&mut self, kind: Kind, transactions: Vec<usize>, words: String) {
        self.anomalies.push(Anomaly { kind, timed: false, transactions, words });
    }

    fn name(&self, index: usize) -> &str {
        &self.history.transactions[index].name
    }

    fn list(&self, key: Key) -> String {
        self.history.list(key)
    }

    fn reader(&self, index: Option<usize>) -> String {
        index
            .map_or_else(|| "who looked at the end".to_owned(), |index| self.name(index).to_owned())
    }
}

/// What a transaction knows of a key by itself.
struct Own<'h> {
    key: Key,
    /// What it read last.
    read: Option<&'h [Value]>,
    /// What it appended since.
    appended: Vec<Value>,
}

impl Own<'_> {
    /// How much of a list that it reads was there before its own appends; none if the list cannot be.
    fn before(&self, list: &[Value]) -> Option<usize> {
        let before = list.len().checked_sub(self.appended.len())?;
        let (theirs, own) = list.split_at(before);
        let is_same = own == self.appended && self.read.is_none_or(|read| read == theirs);
        is_same.then_some(before)
    }

    fn words(&self) -> String {
        let read = self.read.map_or_else(String::new, |read| format!("read {read:?}"));
        let appended = format!("appended {:?}", self.appended);
        match (read.as_str(), self.appended.is_empty()) {
            ("", _) => appended,
            (_, true) => read,
            _ => format!("{read} and {appended}"),
        }
    }
}
