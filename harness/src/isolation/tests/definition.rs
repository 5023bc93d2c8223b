//! The checker against the definition of its levels: whether there is an order of snapshots and commits that explains a
//! history, found by trying all of them. Knows nothing of dependencies.

use proptest::prelude::*;

use super::super::*;
use crate::seed::Prng;

/// An execution as far as it goes.
#[derive(Clone)]
struct Execution<'h> {
    history: &'h History,
    who: &'h [usize],
    level: Level,
    /// By transaction: the moment of its snapshot and of its commit.
    began: Vec<Option<usize>>,
    ended: Vec<Option<usize>>,
    now: usize,
    lists: Vec<Vec<Value>>,
}

/// Whether the history can have come about at that level.
fn is_possible(history: &History, level: Level) -> bool {
    let places = 0..history.transactions.len();
    let of_ending = |ending| {
        let transactions = &history.transactions;
        places.clone().filter(move |it| transactions[*it].ending == ending).collect::<Vec<_>>()
    };
    let open = of_ending(Ending::Unknown);
    (0..1 << open.len()).any(|set: u32| {
        let chosen = open.iter().enumerate().filter(|(bit, _)| set & (1 << bit) != 0);
        let mut who = of_ending(Ending::Committed);
        who.extend(chosen.map(|(_, it)| *it));
        let execution = Execution {
            history,
            who: &who,
            level,
            began: vec![None; places.len()],
            ended: vec![None; places.len()],
            now: 1,
            lists: vec![Vec::new(); KEYS as usize],
        };
        execution.goes_on()
    })
}

impl Execution<'_> {
    fn goes_on(&self) -> bool {
        let mut all_ended = true;
        for &it in self.who {
            if self.ended[it].is_some() {
                continue;
            }
            all_ended = false;
            let next = if self.began[it].is_some() { self.commit(it) } else { self.begin(it) };
            if next.is_some_and(|next| next.goes_on()) {
                return true;
            }
        }
        let last = |(key, list): &(Key, Vec<Value>)| self.lists[*key as usize] == *list;
        all_ended && self.history.last.iter().all(last)
    }

    /// Takes a snapshot, if the transaction then reads what it read.
    fn begin(&self, it: usize) -> Option<Self> {
        let transactions = &self.history.transactions;
        let transaction = &transactions[it];
        for &other in self.who {
            let before = transactions[other].ended.zip(transaction.began);
            if before.is_some_and(|(ended, began)| ended < began) && self.ended[other].is_none() {
                return None;
            }
        }
        let mut own = self.lists.clone();
        for operation in &transaction.operations {
            match operation {
                Operation::Append(key, value) => own[*key as usize].push(*value),
                Operation::Read(key, list) if own[*key as usize] != *list => return None,
                Operation::Read(..) => {}
            }
        }
        let mut next = self.clone();
        next.began[it] = Some(self.now);
        next.now += 1;
        if self.level == Level::Serializable { next.commit(it) } else { Some(next) }
    }

    /// Commits, if nobody has committed to the same keys since the snapshot.
    fn commit(&self, it: usize) -> Option<Self> {
        let appends = |it: usize| {
            let operations = self.history.transactions[it].operations.iter();
            operations.filter_map(|operation| match operation {
                Operation::Append(key, value) => Some((*key, *value)),
                Operation::Read(..) => None,
            })
        };
        let is_since = |other: &&usize| self.began[it] < self.ended[**other];
        for &other in self.who.iter().filter(is_since) {
            if appends(it).any(|(key, _)| appends(other).any(|(theirs, _)| theirs == key)) {
                return None;
            }
        }
        let mut next = self.clone();
        appends(it).for_each(|(key, value)| next.lists[key as usize].push(value));
        next.ended[it] = Some(self.now);
        next.now += 1;
        Some(next)
    }
}

const KEYS: u64 = 2;

/// Transactions that append in some order and read prefixes of what comes of it: half possible, half not.
fn guess(random: &mut Prng) -> History {
    let count = 2 + random.below(4) as usize;
    let mut value = 0;
    let mut appends: Vec<Vec<(Key, Value)>> = Vec::new();
    for _ in 0..count {
        let own = (0..random.below(3)).map(|_| {
            value += 1;
            (random.below(KEYS) as Key, value)
        });
        appends.push(own.collect());
    }
    let mut order: Vec<usize> = (0..count).collect();
    random.shuffle(&mut order);
    let mut lists = vec![Vec::new(); KEYS as usize];
    let endings: Vec<Ending> = (0..count)
        .map(|_| match random.below(12) {
            0 => Ending::Aborted,
            1 => Ending::Unknown,
            _ => Ending::Committed,
        })
        .collect();
    // One list may have another order than the other.
    for key in 0..KEYS as Key {
        if random.below(4) == 0 {
            random.shuffle(&mut order);
        }
        for &it in order.iter().filter(|it| endings[**it] != Ending::Aborted) {
            let own = appends[it].iter().filter(|(list, _)| *list == key);
            lists[key as usize].extend(own.map(|(_, value)| *value));
        }
    }
    let timed = random.below(2) == 0;
    let transactions = (0..count).map(|it| {
        let operations = operations(&appends[it], &lists, random);
        let began = timed.then(|| random.below(8));
        let ended = began.map(|began| began + 1 + random.below(6));
        let ended = ended.filter(|_| endings[it] == Ending::Committed);
        Transaction { name: format!("T{it}"), ending: endings[it], operations, began, ended }
    });
    let transactions = transactions.collect();
    let last = lists.into_iter().enumerate().map(|(key, list)| (key as Key, list)).collect();
    History { transactions, last, names: Vec::new() }
}

fn operations(appends: &[(Key, Value)], lists: &[Vec<Value>], random: &mut Prng) -> Vec<Operation> {
    let mut operations = Vec::new();
    let prefix = |key: Key, random: &mut Prng| {
        let list = &lists[key as usize];
        let own = list.iter().position(|it| appends.contains(&(key, *it))).unwrap_or(list.len());
        // Mostly what a writer of that key must have read.
        let rest = own < list.len() && random.below(3) != 0;
        if rest { own } else { random.below(own as u64 + 1) as usize }
    };
    let lengths: Vec<usize> = (0..KEYS as Key).map(|key| prefix(key, random)).collect();
    let read = |key: Key, done: usize| {
        let own = appends[..done].iter().filter(|(list, _)| *list == key).map(|(_, value)| *value);
        let theirs = lists[key as usize][..lengths[key as usize]].iter().copied();
        Operation::Read(key, theirs.chain(own).collect())
    };
    for done in 0..=appends.len() {
        for key in 0..KEYS as Key {
            if random.below(3) == 0 {
                operations.push(read(key, done));
            }
        }
        operations.extend(appends.get(done).map(|(key, value)| Operation::Append(*key, *value)));
    }
    operations
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(3_000) })]

    #[test]
    fn a_history_has_an_anomaly_exactly_if_no_order_of_snapshots_and_commits_explains_it(seed in any::<u64>()) {
        let history = guess(&mut Prng::new(seed));
        let report = check(&history);
        let is_accepted = report.violations(Level::Snapshot).next().is_none();
        prop_assert_eq!(is_accepted, is_possible(&history, Level::Snapshot), "{:?} {:?}", history, report);
    }

    #[test]
    fn a_history_without_times_has_an_anomaly_exactly_if_no_serial_order_explains_it(seed in any::<u64>()) {
        let mut history = guess(&mut Prng::new(seed));
        for transaction in &mut history.transactions {
            (transaction.began, transaction.ended) = (None, None);
        }
        let report = check(&history);
        let is_accepted = report.violations(Level::Serializable).next().is_none();
        prop_assert_eq!(is_accepted, is_possible(&history, Level::Serializable), "{:?} {:?}", history, report);
    }

    /// Where nobody looked at the end, the checker knows less, and still accuses nobody wrongly.
    #[test]
    fn without_the_last_lists_only_the_impossible_is_accused(seed in any::<u64>()) {
        let mut history = guess(&mut Prng::new(seed));
        history.last.clear();
        for level in [Level::Snapshot, Level::Serializable] {
            let report = check(&history);
            let accused: Vec<_> = report.violations(level).filter(|it| level == Level::Snapshot || !it.timed).collect();
            prop_assert!(accused.is_empty() || !is_possible(&history, level), "{:?} {:?}", history, accused);
        }
    }
}

#[test]
fn guesses_are_of_both_kinds() {
    let possible =
        (0..2_000).filter(|seed| is_possible(&guess(&mut Prng::new(*seed)), Level::Snapshot));
    let possible = possible.count();
    assert!((400..1_600).contains(&possible), "{possible} of 2,000 are possible");
}
