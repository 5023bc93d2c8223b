//! Walk-forward windows: train on the past, evaluate on what follows, step on.
//!
//! Positions are indices into the trading calendar and ranges are half-open. A label at position `i`
//! with horizon `h` is made from positions `i..i + h`, so the last training labels reach into the
//! evaluation range unless `h - 1` positions before it are purged; the embargo widens that gap
//! (López de Prado, *Advances in Financial Machine Learning*, 2018, §7.4).
//!
//! [`WalkForward`] lays the windows out; [`Schedule`] says which of them read an artefact, and when next;
//! [`WalkForwardDriver`](crate::WalkForwardDriver) goes through them.

#[cfg(feature = "engine")]
mod driver;
mod schedule;
mod windows;

#[cfg(feature = "engine")]
pub use driver::{Progress, Step, WalkForwardDriver, Walked, WalkedWindow};
pub use schedule::Schedule;
pub use windows::{WalkForward, Window, WindowError, WindowMode};
