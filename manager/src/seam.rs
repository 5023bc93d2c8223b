//! The seam: the only files that name locks, clocks, randomness and processes.
//!
//! Everything above imports these six and nothing of the kind from `std` or elsewhere, so that loom and
//! the harness can put their own in.

pub(crate) mod clock;
#[cfg(feature = "engine")]
pub(crate) mod file_id;
pub(crate) mod file_lock;
pub(crate) mod jitter;
pub(crate) mod process;
pub(crate) mod sync;
