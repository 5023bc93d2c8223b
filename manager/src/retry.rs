//! Pauses between attempts: exponential backoff with full jitter and a deadline.
//!
//! A pause is drawn uniformly from zero to a limit that doubles with each attempt up to a cap ("full
//! jitter", Marc Brooker, *Exponential Backoff And Jitter*, AWS Architecture Blog, 2015). It serves only
//! where nothing can be waited on: holders without the gate, and transactions that lost a race.

use std::time::{Duration, Instant};

use crate::seam::patience::Patience;
use crate::seam::{clock, lockstep};

pub use crate::seam::jitter::{Jitter, RandomJitter, SeededJitter};

/// The pauses of one operation.
#[derive(Debug)]
pub struct Backoff<'a> {
    limit: Duration,
    cap: Duration,
    patience: Patience,
    attempts: u32,
    jitter: &'a dyn Jitter,
}

impl Backoff<'static> {
    /// Pauses that begin below `base`, stay below `cap`, and never reach beyond `wait_max` from now.
    ///
    /// # Panics
    ///
    /// If `base` is zero: the limit could never grow.
    pub fn new(base: Duration, cap: Duration, wait_max: Duration) -> Self {
        let patience = Patience::until(clock::deadline_in(wait_max));
        Self::drawn(base, cap, patience, &RandomJitter)
    }
}

impl<'a> Backoff<'a> {
    /// Like [`new`](Self::new), with the pauses drawn from a stream of the caller's.
    ///
    /// # Panics
    ///
    /// If `base` is zero: the limit could never grow.
    ///
    /// # Example
    ///
    /// ```
    /// use std::time::Duration;
    /// use manager::{Backoff, SeededJitter};
    ///
    /// let ms = Duration::from_millis;
    /// let (one, two) = (SeededJitter::new(7), SeededJitter::new(7));
    /// let mut first = Backoff::with_jitter(ms(1), ms(4), ms(100), &one);
    /// let mut second = Backoff::with_jitter(ms(1), ms(4), ms(100), &two);
    /// assert_eq!(first.pause(), second.pause());
    /// ```
    pub fn with_jitter(
        base: Duration,
        cap: Duration,
        wait_max: Duration,
        jitter: &'a dyn Jitter,
    ) -> Self {
        Self::drawn(base, cap, Patience::until(clock::deadline_in(wait_max)), jitter)
    }

    pub(crate) fn drawn(
        base: Duration,
        cap: Duration,
        patience: Patience,
        jitter: &'a dyn Jitter,
    ) -> Self {
        assert!(!base.is_zero(), "a backoff begins with a limit above zero");
        Self { limit: base.min(cap), cap, patience, attempts: 0, jitter }
    }

    /// Pauses this many times have been taken.
    pub fn attempts(&self) -> u32 {
        self.attempts
    }

    /// Sleeps for the next pause and returns it, or returns `None` at once when the deadline has passed.
    /// The pause before the deadline is cut to end there, so the last attempt is made at the deadline. So is one that
    /// is cancelled.
    pub fn pause(&mut self) -> Option<Duration> {
        let deadline: Instant = self.patience.deadline();
        let remaining = deadline.saturating_duration_since(clock::now());
        if remaining.is_zero() || self.patience.is_cancelled() {
            return None;
        }
        let pause = self.jitter.up_to(self.limit).min(remaining);
        self.limit = (self.limit * 2).min(self.cap);
        self.attempts += 1;
        sleep(pause, &self.patience);
        Some(pause)
    }
}

/// Sleeps for so long, or until the wait is cancelled.
fn sleep(pause: Duration, patience: &Patience) {
    let sleeper = std::thread::current();
    let wake = move || {
        sleeper.unpark();
        lockstep::wake();
    };
    let Some(_woken) = patience.on_cancel(wake) else { return clock::sleep(pause) };
    let end = clock::deadline_in(pause);
    if lockstep::wait("a pause", end, || patience.is_cancelled()) {
        return;
    }
    while !patience.is_cancelled() {
        let remaining = end.saturating_duration_since(clock::now());
        if remaining.is_zero() {
            return;
        }
        std::thread::park_timeout(remaining);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_stay_below_a_doubling_limit_and_end_at_the_deadline() {
        let wait = Duration::from_millis(60);
        let begin = clock::now();
        let mut backoff = Backoff::new(Duration::from_millis(1), Duration::from_millis(8), wait);
        let mut limit = Duration::from_millis(1);
        while let Some(pause) = backoff.pause() {
            assert!(pause <= limit, "{pause:?} is above {limit:?}");
            limit = (limit * 2).min(Duration::from_millis(8));
        }
        assert!(begin.elapsed() >= wait);
        assert!(backoff.attempts() >= 8, "60 ms hold at least 8 pauses of at most 8 ms");
    }

    #[test]
    fn a_deadline_in_the_past_pauses_never() {
        let mut backoff =
            Backoff::new(Duration::from_secs(1), Duration::from_secs(1), Duration::ZERO);
        assert_eq!(backoff.pause(), None);
        assert_eq!(backoff.attempts(), 0);
    }
}
