//! Randomness for pauses between attempts. Nothing else in this crate is random.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use rand::RngExt;

use super::lockstep;

/// Where pauses are drawn from. A manager takes another one through
/// `ManagerBuilder::jitter`, so that a test can repeat what a run did.
pub trait Jitter: fmt::Debug + Send + Sync {
    /// A duration drawn uniformly from zero to `limit`, both included.
    fn up_to(&self, limit: Duration) -> Duration;
}

/// Draws from the thread's random generator: the default.
#[derive(Clone, Copy, Debug, Default)]
pub struct RandomJitter;

impl Jitter for RandomJitter {
    fn up_to(&self, limit: Duration) -> Duration {
        if lockstep::is_on() {
            return limit; // which is the same in every run
        }
        Duration::from_nanos(rand::rng().random_range(0..=nanoseconds(limit)))
    }
}

/// Draws from a stream that a seed fixes: [SplitMix64](https://prng.di.unimi.it/splitmix64.c) (Sebastiano Vigna, 2015),
/// reduced to the limit by multiplication.
///
/// # Example
///
/// ```
/// use std::time::Duration;
/// use manager::{Jitter, SeededJitter};
///
/// let (one, two) = (SeededJitter::new(0x2a), SeededJitter::new(0x2a));
/// let second = Duration::from_secs(1);
/// assert_eq!(one.up_to(second), two.up_to(second));
/// ```
#[derive(Debug)]
pub struct SeededJitter(AtomicU64);

impl SeededJitter {
    /// The stream of a seed, at its beginning.
    pub fn new(seed: u64) -> Self {
        Self(AtomicU64::new(seed))
    }
}

impl Jitter for SeededJitter {
    fn up_to(&self, limit: Duration) -> Duration {
        const STEP: u64 = 0x9e37_79b9_7f4a_7c15;
        // Relaxed: each draw has to be another one, and nothing hangs on their order.
        let mut mixed = self.0.fetch_add(STEP, Ordering::Relaxed).wrapping_add(STEP);
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^= mixed >> 31;
        let scaled = (u128::from(mixed) * (u128::from(nanoseconds(limit)) + 1)) >> 64;
        Duration::from_nanos(scaled as u64)
    }
}

fn nanoseconds(limit: Duration) -> u64 {
    u64::try_from(limit.as_nanos()).unwrap_or(u64::MAX - 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// From the reference implementation, seed 1234567.
    #[test]
    fn the_stream_of_a_seed_never_changes() {
        let jitter = SeededJitter::new(1_234_567);
        let drawn: Vec<u64> = [0; 3]
            .map(|_| jitter.up_to(Duration::from_nanos(u64::MAX - 1)).as_nanos() as u64)
            .to_vec();
        let reference =
            [6_457_827_717_110_365_317_u64, 3_203_168_211_198_807_973, 9_817_491_932_198_370_423];
        for (drawn, reference) in drawn.iter().zip(reference) {
            assert!(drawn.abs_diff(reference) <= 1, "{drawn} is {reference}");
        }
    }

    #[test]
    fn no_draw_is_above_the_limit_and_none_below_zero_wraps() {
        let jitter = SeededJitter::new(42);
        for limit in [0, 1, 2, 1_000_000] {
            let limit = Duration::from_nanos(limit);
            assert!((0..1_000).all(|_| jitter.up_to(limit) <= limit));
            assert!((0..1_000).all(|_| RandomJitter.up_to(limit) <= limit));
        }
    }
}
