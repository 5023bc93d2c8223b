//! In the place of `lockstep.rs`, in every build without the feature `lockstep`: threads go on as they like.

use std::io;
use std::time::{Duration, Instant};

#[inline]
pub(crate) fn is_on() -> bool {
    false
}

#[inline]
pub(crate) fn now() -> Option<Duration> {
    None
}

#[inline]
pub(crate) fn unix_ms() -> Option<u64> {
    None
}

#[inline]
pub(crate) fn point(_place: &str) {}

#[inline]
pub(crate) fn takes(_byte: i64) {}

#[inline]
pub(crate) fn gave_back(_byte: i64) {}

#[inline]
pub(crate) fn wait(_place: &str, _deadline: Instant, _is_over: impl FnMut() -> bool) -> bool {
    false
}

#[inline]
pub(crate) fn wait_for_byte(_: i64, _deadline: Instant, _is_over: impl FnMut() -> bool) -> bool {
    false
}

#[inline]
pub(crate) fn wake() {}

/// Starts a thread of the manager's own.
pub(crate) fn spawn(name: &str, body: impl FnOnce() + Send + 'static) -> io::Result<()> {
    std::thread::Builder::new().name(name.into()).spawn(body).map(|_| ())
}
