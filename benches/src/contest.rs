//! Contenders that take turns: what disturbs the machine disturbs all of them, and a ratio is made of neighbours.
//!
//! A contest has rounds, and in each round everybody has a turn of about the same length, in an order that turns
//! round every time. A figure is the median of all turns, and a ratio the median of the rounds' ratios: never two
//! times that were taken at different moments.

use std::hint::black_box;
use std::time::{Duration, Instant};

use crate::arguments::Arguments;

/// A turn that takes less than this says more of the clock than of the contender.
const TURN_MIN: Duration = Duration::from_micros(200);

/// Runs a call so many times and returns what that took.
type Turn<'a> = Box<dyn FnMut(u64) -> Duration + 'a>;

/// See the module's header. The length of a turn and the number of rounds are given when it begins.
#[derive(Default)]
pub struct Contest<'a> {
    contenders: Vec<(String, Turn<'a>)>,
}

/// What each call of each contender took, round by round, in seconds.
pub struct Times {
    times: Vec<(String, Vec<f64>)>,
}

impl<'a> Contest<'a> {
    /// Adds a contender that is measured by many runs of `call`.
    pub fn add<T>(&mut self, name: &str, mut call: impl FnMut() -> T + 'a) {
        self.add_timed(name, move |calls| {
            let begin = Instant::now();
            for _ in 0..calls {
                black_box(call());
            }
            begin.elapsed()
        });
    }

    /// Adds a contender that times so many calls by itself.
    pub fn add_timed(&mut self, name: &str, turn: impl FnMut(u64) -> Duration + 'a) {
        self.contenders.push((name.to_owned(), Box::new(turn)));
    }

    /// Lets everybody have so many turns of this length, or one call if that takes longer.
    pub fn run(mut self, arguments: &Arguments, rounds: u32, turn: Duration) -> Times {
        let rounds = arguments.count(rounds).max(3);
        let turn = arguments.length(turn).max(TURN_MIN);
        let calls: Vec<u64> =
            self.contenders.iter_mut().map(|(_, run)| calls_in(turn, run)).collect();
        let mut times: Vec<_> =
            self.contenders.iter().map(|(name, _)| (name.clone(), Vec::new())).collect();
        let count = self.contenders.len();
        for round in 0..rounds as usize {
            for place in 0..count {
                let whose = if round % 2 == 0 { place } else { count - 1 - place };
                let taken = (self.contenders[whose].1)(calls[whose]);
                times[whose].1.push(taken.as_secs_f64() / calls[whose] as f64);
            }
        }
        Times { times }
    }
}

/// How many calls take so long, found by doubling, which warms up what is called.
fn calls_in(turn: Duration, run: &mut Turn<'_>) -> u64 {
    let mut calls = 1;
    loop {
        let taken = run(calls);
        if taken * 2 > turn {
            let calls = calls as f64 * turn.as_secs_f64() / taken.as_secs_f64();
            return (calls as u64).max(1);
        }
        calls *= 2;
    }
}

impl Times {
    /// What a call took in the middle of its rounds, in seconds.
    pub fn of(&self, name: &str) -> Option<f64> {
        median(self.rounds(name)?.to_vec())
    }

    /// How many times as long the one took as the other, in the middle of the rounds.
    pub fn ratio(&self, name: &str, other: &str) -> Option<f64> {
        let pairs = self.rounds(name)?.iter().zip(self.rounds(other)?);
        median(pairs.map(|(one, other)| one / other).collect())
    }

    /// A line for each: its time for a call, divided by `per`, in nanoseconds, the best, and the ratio to a reference.
    pub fn lines(&self, per: usize, reference: &str) -> Vec<String> {
        let line = |(name, rounds): &(String, Vec<f64>)| {
            let best = rounds.iter().copied().fold(f64::INFINITY, f64::min);
            let ratio = self.ratio(name, reference).unwrap_or(f64::NAN);
            let median = median(rounds.clone()).unwrap_or(f64::NAN);
            let ns = |seconds: f64| seconds * 1e9 / per as f64;
            format!("{name:<46} {:>13.1} {:>13.1} {ratio:>11.3}", ns(median), ns(best))
        };
        self.times.iter().map(line).collect()
    }

    fn rounds(&self, name: &str) -> Option<&[f64]> {
        self.times.iter().find(|(of, _)| of == name).map(|(_, rounds)| rounds.as_slice())
    }
}

fn median(mut values: Vec<f64>) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everybody_has_a_turn_in_every_round_and_a_ratio_is_of_neighbours() {
        let mut contest = Contest::default();
        for (name, cost) in [("one", 1), ("three", 3)] {
            contest.add_timed(name, move |calls| Duration::from_micros(cost * calls));
        }
        let times = contest.run(&Arguments::of_process(), 25, Duration::from_millis(1));
        assert_eq!(times.rounds("one").unwrap().len(), times.rounds("three").unwrap().len());
        assert!((times.ratio("three", "one").unwrap() - 3.0).abs() < 1e-9);
        assert!((times.of("one").unwrap() - 1e-6).abs() < 1e-12);
        assert_eq!(times.ratio("one", "two"), None);
        assert_eq!(times.lines(1, "one").len(), 2);
    }
}
