//! Files of artefacts that must stay, because a row is about to name them.

use std::io;

use super::{LockError, LockFile, byte_of, take_current, unusable};
use crate::seam::file_lock::{self, Share};
use crate::seam::patience::Patience;
use crate::store::content::Content;
use crate::store::files::Folder;

/// A hold on the files of some contents. Freed when dropped, and when its holder dies.
///
/// A publisher shares them from before it looks whether the files are there until its rows are committed. Who removes a
/// file takes it exclusively, and looks under that whether a row names it. So a file that a row is about to name is not
/// removed, and a file without a row that nobody holds is garbage now.
#[derive(Debug)]
pub(crate) struct ContentHold(#[allow(dead_code, reason = "it is held")] LockFile);

/// Where the bytes of contents begin.
const CONTENTS: i64 = 1 << 61;

impl ContentHold {
    /// Shares these contents. Waits for who removes one of them, which takes a moment.
    pub(crate) fn take(
        folder: &Folder,
        contents: impl IntoIterator<Item = Content>,
        patience: &Patience,
    ) -> Result<Self, LockError> {
        let mut bytes: Vec<_> = contents.into_iter().map(byte).collect();
        bytes.sort_unstable(); // adjacent ones cost the kernel less
        bytes.dedup();
        let take = |lock: &LockFile| {
            for &byte in &bytes {
                if !file_lock::lock(&lock.file, byte, Share::Shared, patience)? {
                    return Ok(false);
                }
            }
            Ok(true)
        };
        let taken = take_current(|| LockFile::open_to_share(folder), take);
        match taken.map_err(unusable(folder))? {
            Ok(lock) => Ok(Self(lock)),
            // Who removes a file leaves no record.
            Err(_) => Err(LockError::Expired(Vec::new())),
        }
    }

    /// Takes a content for who removes its file, or moves it away. `None` if anybody holds it, be it this thread.
    pub(crate) fn try_exclusive(folder: &Folder, content: Content) -> io::Result<Option<Self>> {
        let take =
            |lock: &LockFile| file_lock::try_lock(&lock.file, byte(content), Share::Exclusive);
        Ok(take_current(|| LockFile::open(folder), take)?.ok().map(Self))
    }

    /// Whether it still counts: not if the lock file has been deleted since.
    #[cfg(test)]
    pub(crate) fn is_current(&self) -> io::Result<bool> {
        self.0.is_current()
    }
}

fn byte(content: Content) -> i64 {
    byte_of(content.as_bytes(), CONTENTS)
}
