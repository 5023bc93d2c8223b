//! The seam: the only files that name locks, clocks, randomness, memory shared with others, and processes.
//!
//! Everything above imports these and nothing of the kind from `std` or elsewhere, so that loom and the harness can
//! put their own in.

// Without the engine only the gate uses it.
#![cfg_attr(not(feature = "engine"), allow(dead_code))]

pub(crate) mod clock;
#[cfg(feature = "engine")]
pub(crate) mod database_lock;
#[cfg(feature = "engine")]
pub(crate) mod file_id;
pub(crate) mod file_lock;
pub(crate) mod fork;
pub(crate) mod jitter;
#[cfg(feature = "lockstep")]
pub mod lockstep;
#[cfg(not(feature = "lockstep"))]
#[path = "seam/free.rs"]
pub(crate) mod lockstep;
pub(crate) mod patience;
pub(crate) mod process;
pub(crate) mod shared_page;
#[cfg(not(feature = "lockstep"))]
pub(crate) mod sync;
#[cfg(feature = "lockstep")]
#[path = "seam/lockstep/sync.rs"]
pub(crate) mod sync;
#[cfg(feature = "engine")]
pub(crate) mod turn;
pub(crate) mod writeback;
