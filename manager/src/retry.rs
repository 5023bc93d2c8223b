//! Pauses between attempts: exponential backoff with full jitter and a deadline.
//!
//! A pause is drawn uniformly from zero to a limit that doubles with each attempt up to a cap ("full
//! jitter", Marc Brooker, *Exponential Backoff And Jitter*, AWS Architecture Blog, 2015). It serves only
//! where nothing can be waited on: holders without the gate, and transactions that lost a race.

use std::time::{Duration, Instant};

use crate::seam::{clock, jitter};

/// The pauses of one operation.
#[derive(Clone, Debug)]
pub struct Backoff {
    limit: Duration,
    cap: Duration,
    deadline: Instant,
    attempts: u32,
}

impl Backoff {
    /// Pauses that begin below `base`, stay below `cap`, and never reach beyond `wait_max` from now.
    ///
    /// # Panics
    ///
    /// If `base` is zero: the limit could never grow.
    pub fn new(base: Duration, cap: Duration, wait_max: Duration) -> Self {
        Self::until(base, cap, clock::deadline_in(wait_max))
    }

    pub(crate) fn until(base: Duration, cap: Duration, deadline: Instant) -> Self {
        assert!(!base.is_zero(), "a backoff begins with a limit above zero");
        Self { limit: base.min(cap), cap, deadline, attempts: 0 }
    }

    /// Pauses this many times have been taken.
    pub fn attempts(&self) -> u32 {
        self.attempts
    }

    /// Sleeps for the next pause and returns it, or returns `None` at once when the deadline has passed.
    /// The pause before the deadline is cut to end there, so the last attempt is made at the deadline.
    pub fn pause(&mut self) -> Option<Duration> {
        let remaining = self.deadline.saturating_duration_since(clock::now());
        if remaining.is_zero() {
            return None;
        }
        let pause = jitter::up_to(self.limit).min(remaining);
        self.limit = (self.limit * 2).min(self.cap);
        self.attempts += 1;
        clock::sleep(pause);
        Some(pause)
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
