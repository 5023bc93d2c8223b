//! Time: one monotonic clock for deadlines, one wall clock for what people read. Both are a scheduler's in a thread
//! whose steps one decides.

use std::sync::OnceLock;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use super::lockstep;

/// Now, for deadlines and durations.
pub(crate) fn now() -> Instant {
    match lockstep::now() {
        Some(time) => base() + time,
        None => Instant::now(),
    }
}

/// Where virtual time begins. An instant shows nobody which one it is.
fn base() -> Instant {
    static BASE: OnceLock<Instant> = OnceLock::new();
    *BASE.get_or_init(Instant::now)
}

/// An instant in virtual time.
#[cfg(feature = "lockstep")]
pub(crate) fn since_base(instant: Instant) -> Duration {
    instant.saturating_duration_since(base())
}

/// How long ago an instant was.
pub(crate) fn since(begun: Instant) -> Duration {
    now().saturating_duration_since(begun)
}

/// The instant `wait` from now. A wait that is too long for the clock ends in a hundred years.
pub(crate) fn deadline_in(wait: Duration) -> Instant {
    const CENTURY: Duration = Duration::from_hours(24 * 36_525);
    now().checked_add(wait).unwrap_or_else(|| now() + CENTURY)
}

/// The instant `wait` after another, or a hundred years from now.
pub(crate) fn after(begun: Instant, wait: Duration) -> Instant {
    begun.checked_add(wait).unwrap_or_else(|| deadline_in(wait))
}

/// Sleeps.
pub(crate) fn sleep(pause: Duration) {
    if !lockstep::wait("a pause", deadline_in(pause), || false) {
        std::thread::sleep(pause);
    }
}

/// Milliseconds since 1970, for records that other processes read.
pub(crate) fn unix_ms() -> u64 {
    lockstep::unix_ms().unwrap_or_else(|| {
        SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .map_or(0, |since| u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
    })
}
