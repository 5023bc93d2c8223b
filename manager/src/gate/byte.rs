//! The bytes of the gate file that are locked; `gate/file.rs` says what each means.

pub(crate) const TURNSTILE: i64 = 1 << 40;
pub(crate) const FILE: i64 = TURNSTILE + 1;
pub(crate) const PHASE_TURNSTILE: i64 = TURNSTILE + 2;
pub(crate) const TRAINING: i64 = TURNSTILE + 3;
pub(crate) const EVALUATION: i64 = TURNSTILE + 4;
pub(crate) const READER_WAITS: i64 = TURNSTILE + 5;
pub(crate) const HEADER: i64 = TURNSTILE + 6;

pub(crate) fn slot(number: u32) -> i64 {
    TURNSTILE + 16 + i64::from(number)
}
