//! The gate: who may hold the file.
//!
//! Two halves, each fair and each waited on in the kernel:
//!
//! * in the process, [`queue::Queue`] around [`state::State`], a pure state machine: who of the threads
//!   is next, and which of them changes how the process holds the file;
//! * across processes, [`file::GateFile`]: byte locks on a file beside the database, a turnstile, the
//!   records of the holders, and the phase.
//!
//! The gate knows nothing of DuckDB and is built and tested without it
//! (`cargo test -p manager --no-default-features`).

// Without the engine nobody above uses the gate but its own tests.
#![cfg_attr(not(feature = "engine"), allow(dead_code))]

pub(crate) mod byte;
pub(crate) mod file;
pub(crate) mod hold;
pub(crate) mod phase;
pub(crate) mod queue;
pub(crate) mod record;
pub(crate) mod state;
