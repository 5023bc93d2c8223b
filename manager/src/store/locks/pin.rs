//! Generations of the manifest that somebody still reads.

use std::io;

use super::{LockFile, take_current};
use crate::seam::file_lock::{self, Share};
use crate::store::files::Folder;

/// Keeps what the manifest said in one generation readable. Freed when dropped, and when its holder dies.
///
/// A reader pins a generation, and looks *then* whether it is still the current one: a file may have been removed between
/// its reading of the generation and its pin.
#[derive(Debug)]
pub(crate) struct Pin(#[allow(dead_code, reason = "it is held")] LockFile);

/// Where the bytes of pins begin, and how many there are.
const PINS: i64 = 1 << 62;

impl Pin {
    /// Pins a generation, which is below 2⁶².
    pub(crate) fn take(folder: &Folder, generation: u64) -> io::Result<Self> {
        let byte = byte(generation)?;
        let take = |lock: &LockFile| file_lock::try_lock(&lock.file, byte, Share::Shared);
        let taken = take_current(|| LockFile::open_to_share(folder), take)?;
        taken.map(Self).map_err(|_| io::Error::other("somebody has a pin exclusively"))
    }

    /// Whether it still counts: not if the lock file has been deleted since.
    #[cfg(test)]
    pub(crate) fn is_current(&self) -> io::Result<bool> {
        self.0.is_current()
    }
}

/// The oldest generation below this one that anybody has pinned, this process included.
pub(crate) fn oldest_pin_before(folder: &Folder, generation: u64) -> io::Result<Option<u64>> {
    let mut end = byte(generation)?;
    let Some(lock) = LockFile::open_existing(folder)? else { return Ok(None) };
    let mut oldest = None;
    // The kernel names any of them; there are no more rounds than pins.
    while let Some(byte) = file_lock::held_by_other_in(&lock.file, PINS..end)? {
        oldest = Some((byte - PINS) as u64);
        end = byte;
    }
    Ok(oldest)
}

fn byte(generation: u64) -> io::Result<i64> {
    let generation = i64::try_from(generation).ok().filter(|&generation| generation < PINS);
    generation.map(|generation| PINS + generation).ok_or_else(|| {
        io::Error::new(io::ErrorKind::InvalidInput, "a generation that is not below 2^62")
    })
}
