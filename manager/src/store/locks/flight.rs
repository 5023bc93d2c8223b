//! One computation of a key at a time, over all processes.

use std::io;

use super::{LockError, LockFile, byte_of, hex, take_current, unusable};
use crate::gate::file::full_disk_is_none;
use crate::gate::record::{self, Holder, SLOTS, Slot, Standing};
use crate::seam::file_lock::{self, Share};
use crate::seam::lockstep;
use crate::seam::patience::Patience;
use crate::store::files::Folder;

/// The right to compute the artefact of a key. Freed when dropped, and when its holder dies.
///
/// Who got it after a wait looks first whether the artefact is there by now.
#[derive(Debug)]
pub(crate) struct Flight(#[allow(dead_code, reason = "it is held")] LockFile);

/// Where the bytes of flights begin.
const FLIGHTS: i64 = 1 << 60;

impl Flight {
    /// Takes it if nobody has it. `label` says what is computed, to people.
    pub(crate) fn try_take(
        folder: &Folder,
        key: &[u8; 16],
        label: &str,
    ) -> io::Result<Option<Self>> {
        let byte = byte_of(key, FLIGHTS);
        lockstep::takes(byte);
        let take = |lock: &LockFile| file_lock::try_lock(&lock.file, byte, Share::Exclusive);
        let taken = take_current(|| LockFile::open(folder), take)?;
        taken.ok().map(|lock| Self::announced(lock, key, label)).transpose()
    }

    /// Waits for it. [`LockError::Expired`] names who has it.
    pub(crate) fn take(
        folder: &Folder,
        key: &[u8; 16],
        label: &str,
        patience: &Patience,
    ) -> Result<Self, LockError> {
        let unusable = unusable(folder);
        let byte = byte_of(key, FLIGHTS);
        lockstep::takes(byte);
        let take = |lock: &LockFile| file_lock::lock(&lock.file, byte, Share::Exclusive, patience);
        match take_current(|| LockFile::open(folder), take).map_err(&unusable)? {
            Ok(lock) => Self::announced(lock, key, label).map_err(&unusable),
            Err(lock) => Err(LockError::Expired(holders(&lock, key).map_err(&unusable)?)),
        }
    }

    /// Whether it still keeps everybody out: not if the lock file has been deleted since.
    #[cfg(test)]
    pub(crate) fn is_current(&self) -> io::Result<bool> {
        self.0.is_current()
    }

    /// Writes who computes. Without room for a record it is computed all the same, by somebody unknown.
    fn announced(lock: LockFile, key: &[u8; 16], label: &str) -> io::Result<Self> {
        let mut holder = Holder::this_process(&label_of(key, label), None, None);
        holder.standing = Standing::Holding;
        let first = u32::from(key[15]) % SLOTS;
        full_disk_is_none(Slot::claim_from(first, &lock.file, &holder))?;
        Ok(Self(lock))
    }
}

fn label_of(key: &[u8; 16], label: &str) -> String {
    format!("{} {label}", hex::of(key))
}

/// Who computes this key.
fn holders(lock: &LockFile, key: &[u8; 16]) -> io::Result<Vec<Holder>> {
    let mut holders = record::read_all(&lock.file)?;
    holders.retain(|holder| holder.label.starts_with(&hex::of(key)));
    Ok(holders)
}
