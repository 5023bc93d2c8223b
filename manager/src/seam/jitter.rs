//! Randomness for pauses between attempts. Nothing else in this crate is random.

use std::time::Duration;

use rand::RngExt;

/// A duration drawn uniformly from zero to `limit`, both included.
pub(crate) fn up_to(limit: Duration) -> Duration {
    let nanoseconds = u64::try_from(limit.as_nanos()).unwrap_or(u64::MAX);
    Duration::from_nanos(rand::rng().random_range(0..=nanoseconds))
}
