//! What every worker has said so far: what was begun, acknowledged, undone, and what it was at when it died.

use std::collections::{BTreeMap, HashSet};

use super::journal::{Activity, Line};

/// A transaction: the worker that ran it, and that worker's number for it.
pub(crate) type Key = (u64, u64);

/// All workers that have been started, in order.
#[derive(Default)]
pub(crate) struct History {
    lives: Vec<Life>,
    /// The databases that somebody has begun to create, and whether somebody has found one made.
    creations: BTreeMap<u64, bool>,
}

/// One worker from its start to its end.
pub(crate) struct Life {
    pub(crate) slot: usize,
    pub(crate) is_alive: bool,
    pub(crate) activity: Activity,
    is_in_phase: bool,
    transactions: Vec<Transaction>,
}

struct Transaction {
    outcome: Outcome,
    /// What the next look at the database must find.
    demand: Demand,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outcome {
    /// Its COMMIT was not sent yet.
    Begun,
    /// Its COMMIT was about to be sent: it is stored wholly or not at all, and nobody can tell.
    Committing,
    Acknowledged,
    Undone,
}

/// What is known of a transaction before somebody looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Demand {
    /// It was acknowledged, or seen before.
    Present,
    /// It was undone, or its worker died before its COMMIT, or it was missing when somebody looked after that
    /// death.
    Absent,
    /// It may be there.
    Open,
}

/// What became of the transactions that were being committed when their worker died.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Settled {
    pub(crate) there: u64,
    pub(crate) not_there: u64,
}

impl History {
    /// A worker is started; returns its number.
    pub(crate) fn begin(&mut self, slot: usize) -> u64 {
        self.lives.push(Life {
            slot,
            is_alive: true,
            activity: Activity::Start,
            is_in_phase: false,
            transactions: Vec::new(),
        });
        self.lives.len() as u64 - 1
    }

    pub(crate) fn life(&self, number: u64) -> &Life {
        &self.lives[number as usize]
    }

    /// A worker is dead. What it had said before may still be heard.
    pub(crate) fn end(&mut self, number: u64) {
        self.lives[number as usize].is_alive = false;
    }

    /// A worker has said something. Fails if it cannot be, which is a bug of the storm.
    pub(crate) fn hear(&mut self, number: u64, line: &Line) -> Result<(), String> {
        match *line {
            Line::Creates(database) => {
                self.creations.entry(database).or_default();
            }
            Line::Created(database) => {
                self.creations.insert(database, true);
            }
            _ => {}
        }
        self.lives[number as usize].hear(line)
    }

    /// Whether a transaction was going to be committed, as far as was heard.
    pub(crate) fn explains(&self, (worker, number): Key) -> bool {
        let life = self.lives.get(worker as usize);
        life.and_then(|life| life.transactions.get(number as usize))
            .is_some_and(|transaction| transaction.outcome != Outcome::Begun)
    }

    /// From now on whoever looks must find what was acknowledged and must not find what was undone.
    pub(crate) fn demand(&mut self) {
        for life in &mut self.lives {
            for transaction in &mut life.transactions {
                match transaction.outcome {
                    Outcome::Acknowledged => transaction.demand = Demand::Present,
                    Outcome::Undone => transaction.demand = Demand::Absent,
                    Outcome::Begun if !life.is_alive => transaction.demand = Demand::Absent,
                    Outcome::Begun | Outcome::Committing => {}
                }
            }
        }
    }

    /// Every transaction that was begun, and what is demanded of it.
    pub(crate) fn demands(&self) -> impl Iterator<Item = (Key, Demand)> {
        self.lives.iter().zip(0..).flat_map(|(life, worker)| {
            let numbered = life.transactions.iter().zip(0..);
            numbered.map(move |(transaction, number)| ((worker, number), transaction.demand))
        })
    }

    /// Somebody has looked: what a dead worker was committing stays as it was found, there or not.
    pub(crate) fn settle(&mut self, there: &HashSet<Key>) -> Settled {
        let mut settled = Settled::default();
        for (life, worker) in self.lives.iter_mut().zip(0..) {
            for (transaction, number) in life.transactions.iter_mut().zip(0..) {
                let is_there = there.contains(&(worker, number));
                if transaction.demand == Demand::Open && !life.is_alive {
                    settled.there += u64::from(is_there);
                    settled.not_there += u64::from(!is_there);
                    transaction.demand = if is_there { Demand::Present } else { Demand::Absent };
                }
            }
        }
        settled
    }

    pub(crate) fn acknowledged(&self) -> u64 {
        let all = self.lives.iter().flat_map(|life| &life.transactions);
        all.filter(|transaction| transaction.outcome == Outcome::Acknowledged).count() as u64
    }

    /// The last transaction that the last worker that has any has had acknowledged.
    pub(crate) fn last_acknowledged(&self) -> Option<Key> {
        let all = self.lives.iter().zip(0..).flat_map(|(life, worker)| {
            life.transactions.iter().zip(0..).map(move |(one, number)| ((worker, number), one))
        });
        all.filter(|(_, one)| one.outcome == Outcome::Acknowledged).map(|(key, _)| key).last()
    }

    /// Takes the databases that were being created before database number `before`, and whether each was found
    /// made.
    pub(crate) fn take_creations(&mut self, before: u64) -> BTreeMap<u64, bool> {
        let later = self.creations.split_off(&before);
        std::mem::replace(&mut self.creations, later)
    }
}

impl Life {
    fn hear(&mut self, line: &Line) -> Result<(), String> {
        if *line == Line::Polls {
            return Ok(()); // it is at what it was at
        }
        let around = if self.is_in_phase { Activity::Phase } else { Activity::Idle };
        self.activity = line.activity().unwrap_or(around);
        match *line {
            Line::Begin(number) => {
                if number != self.transactions.len() as u64 {
                    return Err(format!("`{line}` does not come next"));
                }
                let transaction = Transaction { outcome: Outcome::Begun, demand: Demand::Open };
                self.transactions.push(transaction);
            }
            Line::Commit(number) => {
                self.follow(number, &[Outcome::Begun], Outcome::Committing)?;
            }
            Line::Ack(number) => {
                self.follow(number, &[Outcome::Committing], Outcome::Acknowledged)?;
            }
            Line::Undone(number) => {
                self.follow(number, &[Outcome::Begun, Outcome::Committing], Outcome::Undone)?;
            }
            Line::Entered => self.is_in_phase = true,
            Line::Left => {
                self.is_in_phase = false;
                self.activity = Activity::Idle;
            }
            _ => {}
        }
        Ok(())
    }

    /// A transaction's outcome becomes another one, which can follow only some.
    fn follow(&mut self, number: u64, before: &[Outcome], after: Outcome) -> Result<(), String> {
        match self.transactions.get_mut(number as usize) {
            Some(transaction) if before.contains(&transaction.outcome) => {
                transaction.outcome = after;
                Ok(())
            }
            Some(transaction) => {
                Err(format!("transaction {number} was {:?} and is {after:?}", transaction.outcome))
            }
            None => Err(format!("transaction {number} was never begun and is {after:?}")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn heard(lines: &[Line]) -> History {
        let mut history = History::default();
        let worker = history.begin(3);
        for line in lines {
            history.hear(worker, line).unwrap();
        }
        history
    }

    #[test]
    fn what_a_worker_is_at_follows_what_it_said_last() {
        let in_phase = [Line::Ready, Line::Enters, Line::Entered];
        let of = |lines: &[Line]| heard(lines).life(0).activity;
        assert_eq!(of(&[]), Activity::Start);
        assert_eq!(of(&[Line::Ready]), Activity::Idle);
        assert_eq!(of(&in_phase), Activity::Phase);
        assert_eq!(of(&[&in_phase[..], &[Line::Reads]].concat()), Activity::Read);
        assert_eq!(of(&[&in_phase[..], &[Line::Reads, Line::Polls]].concat()), Activity::Read);
        assert_eq!(of(&[&in_phase[..], &[Line::Reads, Line::Read]].concat()), Activity::Phase);
        assert_eq!(of(&[&in_phase[..], &[Line::Left]].concat()), Activity::Idle);
        assert_eq!(heard(&[]).life(0).slot, 3);
    }

    #[test]
    fn a_worker_that_contradicts_itself_is_refused() {
        let committing = [Line::Begin(0), Line::Commit(0)];
        for (before, line) in [
            (&committing[..0], Line::Begin(1)),
            (&committing[..0], Line::Ack(0)),
            (&committing[..1], Line::Ack(0)),
            (&committing[..2], Line::Begin(0)),
            (&committing[..2], Line::Commit(0)),
        ] {
            assert!(heard(before).hear(0, &line).is_err(), "{line} after {before:?}");
        }
    }

    #[test]
    fn the_last_acknowledged_transaction_is_not_one_that_is_in_flight() {
        let mut history = heard(&[Line::Begin(0), Line::Commit(0), Line::Ack(0), Line::Begin(1)]);
        assert_eq!(history.last_acknowledged(), Some((0, 0)));
        let second = history.begin(0);
        history.hear(second, &Line::Begin(0)).unwrap();
        assert_eq!(history.last_acknowledged(), Some((0, 0)));
    }

    #[test]
    fn databases_are_taken_once_with_whether_they_were_made() {
        let mut history =
            heard(&[Line::Creates(0), Line::Created(0), Line::Creates(1), Line::Creates(2)]);
        assert_eq!(history.take_creations(2), BTreeMap::from([(0, true), (1, false)]));
        assert_eq!(history.take_creations(u64::MAX), BTreeMap::from([(2, false)]));
    }
}
