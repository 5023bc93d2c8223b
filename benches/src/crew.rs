//! Processes that work without pause for a while, all at once, and what came of it.

use std::fmt;
use std::io;
use std::path::Path;
use std::str::FromStr;
use std::time::{Duration, Instant};

use crate::latencies::Latencies;
use crate::peer::{self, Peer};
use crate::policy::Wait;

/// What one process has done.
///
/// A wait that was given up, because the time was over, counts among the waits with the length that it had: to leave
/// it out would make a policy that starves look quick.
#[derive(Default)]
pub struct Outcome {
    /// What was done to its end.
    pub operations: u64,
    /// From the first operation to the end of the last.
    pub elapsed: Duration,
    /// One for each operation, and those that were given up.
    pub waits: Latencies,
}

impl Outcome {
    /// Repeats `operation`, which is told when to give up, for so long.
    pub fn of(length: Duration, mut operation: impl FnMut(Instant) -> Wait) -> Self {
        let begin = Instant::now();
        let until = begin + length;
        let mut outcome = Self::default();
        while Instant::now() < until {
            outcome.note(operation(until));
        }
        outcome.elapsed = begin.elapsed();
        outcome
    }

    /// Adds an operation, or one that was given up.
    pub fn note(&mut self, wait: Wait) {
        let (Wait::Over(waited) | Wait::GivenUp(waited)) = wait;
        self.waits.record(waited);
        self.operations += u64::from(matches!(wait, Wait::Over(_)));
    }

    /// Adds what the same process did in another round.
    pub fn merge(&mut self, other: &Self) {
        self.operations += other.operations;
        self.elapsed += other.elapsed;
        self.waits.merge(&other.waits);
    }

    /// Operations per second.
    pub fn rate(&self) -> f64 {
        self.operations as f64 / self.elapsed.as_secs_f64()
    }
}

/// One line, for the bench to parse.
impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} {}", self.operations, self.elapsed.as_nanos(), self.waits.encode())
    }
}

impl FromStr for Outcome {
    type Err = io::Error;

    fn from_str(line: &str) -> io::Result<Self> {
        let mut words = line.split_whitespace();
        let mut number = || words.next().and_then(|word| word.parse().ok());
        let (Some(operations), Some(nanoseconds)) = (number(), number()) else {
            return Err(io::Error::other(format!("the peer said `{line}`, no outcome")));
        };
        let elapsed = Duration::from_nanos(nanoseconds);
        Ok(Self { operations, elapsed, waits: Latencies::decode(words)? })
    }
}

/// Peers numbered from 0, all in one role.
pub struct Crew {
    peers: Vec<Peer>,
}

impl Crew {
    /// Starts them one after the other and waits until all are ready.
    pub fn start(role: &str, database: &Path, count: u8) -> io::Result<Self> {
        let start = |number| Peer::start(role, database, number);
        Ok(Self { peers: (0..count).map(start).collect::<io::Result<_>>()? })
    }

    /// Sets all of them to work.
    pub fn begin(&mut self, length: Duration) -> io::Result<()> {
        let command = length.as_millis().to_string();
        self.peers.iter_mut().try_for_each(|peer| peer.tell(&command))
    }

    /// Waits until all are done and gone; returns what each has done, in the order of their numbers.
    pub fn end(mut self) -> io::Result<Vec<Outcome>> {
        let outcomes = self.peers.iter_mut().map(|peer| peer.answer()?.parse());
        let outcomes = outcomes.collect::<io::Result<_>>()?;
        self.peers.into_iter().try_for_each(Peer::end)?;
        Ok(outcomes)
    }
}

/// What a peer of a [`Crew`] does: repeats `operation` for as long as it is told to.
pub fn work(mut operation: impl FnMut(Instant) -> Wait) {
    peer::obey(|command| {
        let millis = command.parse().expect("the bench tells a length in milliseconds");
        Outcome::of(Duration::from_millis(millis), &mut operation).to_string()
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_outcome_arrives_as_it_was_sent() {
        let mut waits = [1, 20, 300].map(Duration::from_millis).into_iter();
        let sent = Outcome::of(Duration::from_millis(50), |until| {
            let Some(wait) = waits.next() else {
                std::thread::sleep(until.saturating_duration_since(Instant::now()));
                return Wait::GivenUp(Duration::from_millis(50));
            };
            Wait::Over(wait)
        });
        assert_eq!((sent.operations, sent.waits.count()), (3, 4));
        assert!(sent.elapsed >= Duration::from_millis(50));

        let received: Outcome = sent.to_string().parse().unwrap();
        assert_eq!(received.operations, sent.operations);
        assert_eq!(received.elapsed, sent.elapsed);
        assert_eq!(received.waits.encode(), sent.waits.encode());
        assert!("3".parse::<Outcome>().is_err());
    }
}
