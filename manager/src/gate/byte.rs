//! The bytes of the gate file that are locked; `gate/file.rs` says what each means.

pub(crate) const TURNSTILE: i64 = 1 << 40;
pub(crate) const FILE: i64 = TURNSTILE + 1;
pub(crate) const PHASE_TURNSTILE: i64 = TURNSTILE + 2;
pub(crate) const TRAINING: i64 = TURNSTILE + 3;
pub(crate) const EVALUATION: i64 = TURNSTILE + 4;
pub(crate) const READER_WAITS: i64 = TURNSTILE + 5;
pub(crate) const HEADER: i64 = TURNSTILE + 6;
const FIRST_SLOT: i64 = TURNSTILE + 16;

pub(crate) fn slot(number: u32) -> i64 {
    FIRST_SLOT + i64::from(number)
}

/// A byte in words, those of the store's locks too (`store/locks.rs`).
#[cfg(feature = "lockstep")]
pub(crate) fn name(byte: i64) -> &'static str {
    const AFTER_SLOTS: i64 = FIRST_SLOT + 128;
    const FLIGHTS: i64 = 1 << 60;
    const CONTENTS: i64 = 1 << 61;
    const PINS: i64 = 1 << 62;
    match byte {
        TURNSTILE => "gate turnstile",
        FILE => "gate file",
        PHASE_TURNSTILE => "gate turnstile of the phases",
        TRAINING => "gate training",
        EVALUATION => "gate evaluation",
        READER_WAITS => "gate place of a reader",
        HEADER => "gate header",
        FIRST_SLOT..AFTER_SLOTS => "gate record",
        FLIGHTS..CONTENTS => "flight of the store",
        CONTENTS..PINS => "content of the store",
        PINS.. => "pin of the store",
        _ => "byte of a file",
    }
}
