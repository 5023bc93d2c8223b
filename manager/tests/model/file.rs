//! A gate file without a disk, with the methods of `src/gate/file.rs`.
//!
//! The file lives as long as one execution of a model. Its bytes are those of `kernel.rs`, its page is the bell of
//! `shared_page.rs`. It can be deleted once; then the next who opens it makes another.

use std::collections::BTreeSet;
use std::fmt;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use loom::sync::atomic::AtomicUsize;

use super::byte;
use super::record::{Holder, Slot, Standing};
use std::time::Duration;

use crate::model::kernel::{Byte, Owner};
use crate::seam::file_lock::Share;
use crate::seam::patience::Patience;
use crate::seam::shared_page::SharedPage;

/// What a process that may only read the gate calls the database.
pub(crate) const PROTECTED: &str = "protected";
/// Before the number of calls after which a process dies, in its label.
pub(crate) const DIES_AFTER: &str = "dies after ";

/// The bytes that count.
pub(crate) const BYTES: [i64; 6] = [
    byte::TURNSTILE,
    byte::FILE,
    byte::PHASE_TURNSTILE,
    byte::TRAINING,
    byte::EVALUATION,
    byte::READER_WAITS,
];

#[derive(Debug)]
pub(crate) enum Refusal {
    Expired(Vec<Holder>),
    Evaluation(Vec<Holder>),
    /// The process was killed in the middle of it.
    Died,
}

#[derive(Default)]
struct Inode {
    bytes: [Byte; BYTES.len()],
    page: Arc<SharedPage>,
}

#[derive(Default)]
struct Disk {
    inodes: [Inode; 2],
    /// Which of them has the name.
    current: AtomicUsize,
}

loom::lazy_static! {
    static ref DISK: Disk = Disk::default();
}

/// Deletes the gate file, which somebody makes anew.
pub(crate) fn delete() {
    assert_eq!(DISK.current.swap(1, Ordering::SeqCst), 0, "it is deleted once");
}

pub(crate) struct GateFile {
    inode: usize,
    owner: Owner,
    is_writable: bool,
    // Of one process, which is one thread here: nothing for loom to explore.
    held: Mutex<BTreeSet<i64>>,
    /// After so many calls its process is killed.
    dies_after: Mutex<Option<u32>>,
}

#[allow(clippy::unnecessary_wraps, reason = "the shape of the real one")]
impl GateFile {
    pub(crate) fn open(_database: &Path) -> Result<Self, Refusal> {
        static OWNERS: AtomicU64 = AtomicU64::new(0);
        Ok(Self {
            inode: DISK.current.load(Ordering::SeqCst),
            owner: OWNERS.fetch_add(1, Ordering::Relaxed),
            is_writable: true,
            held: Mutex::default(),
            dies_after: Mutex::default(),
        })
    }

    pub(crate) fn open_for_reader(database: &Path) -> Result<Option<Self>, Refusal> {
        let mut gate = Self::open(database)?;
        gate.is_writable = database != Path::new(PROTECTED);
        Ok(Some(gate))
    }

    pub(crate) fn open_existing(database: &Path) -> Result<Option<Self>, Refusal> {
        Self::open(database).map(Some)
    }

    pub(crate) fn page(&self) -> &Arc<SharedPage> {
        &DISK.inodes[self.inode].page
    }

    #[cfg(feature = "engine")]
    pub(crate) fn identity(&self) -> Result<(u64, u64), Refusal> {
        self.live().map(|()| (0, self.inode as u64))
    }

    pub(crate) fn try_lock(&self, byte: i64, share: Share) -> Result<bool, Refusal> {
        self.live()?;
        let taken = self.byte(byte).try_lock(self.owner, self.may_take(share));
        self.note(byte, taken);
        Ok(taken)
    }

    pub(crate) fn lock(&self, byte: i64, share: Share, patience: &Patience) -> Result<(), Refusal> {
        self.live()?;
        let taken = self.byte(byte).lock(self.owner, self.may_take(share), patience);
        self.note(byte, taken);
        if taken { Ok(()) } else { Err(Refusal::Expired(self.holders()?)) }
    }

    /// Here nobody looks at a clock: it waits until it has the byte, as the last of such waits does.
    pub(crate) fn lock_for(
        &self,
        byte: i64,
        share: Share,
        patience: &Patience,
        _limit: Duration,
    ) -> Result<bool, Refusal> {
        self.lock(byte, share, patience).map(|()| true)
    }

    pub(crate) fn unlock(&self, byte: i64) -> Result<(), Refusal> {
        self.live()?;
        if self.held.lock().unwrap().remove(&byte) {
            self.byte(byte).unlock(self.owner);
        }
        Ok(())
    }

    pub(crate) fn held_by_other(&self, byte: i64) -> Result<Option<Share>, Refusal> {
        self.live()?;
        Ok(self.byte(byte).held_by_other(self.owner))
    }

    pub(crate) fn announce(&self, holder: &Holder) -> Result<Option<Slot>, Refusal> {
        let dies_after = holder.label.strip_prefix(DIES_AFTER);
        *self.dies_after.lock().unwrap() = dies_after.map(|calls| calls.parse().unwrap());
        self.live().map(|()| Some(Slot))
    }

    pub(crate) fn confirm(&self, _slot: Option<&Slot>, holder: &mut Holder) -> Result<(), Refusal> {
        holder.standing = Standing::Holding;
        self.live()
    }

    pub(crate) fn holders(&self) -> Result<Vec<Holder>, Refusal> {
        self.live().map(|()| Vec::new())
    }

    pub(crate) fn is_current(&self) -> Result<bool, Refusal> {
        self.live()?;
        Ok(DISK.current.load(Ordering::SeqCst) == self.inode)
    }

    fn byte(&self, byte: i64) -> &Byte {
        let place = BYTES.iter().position(|known| *known == byte).expect("a byte of the gate");
        &DISK.inodes[self.inode].bytes[place]
    }

    fn may_take(&self, share: Share) -> Share {
        if self.is_writable { share } else { Share::Shared }
    }

    fn note(&self, byte: i64, taken: bool) {
        if taken {
            self.held.lock().unwrap().insert(byte);
        }
    }

    /// Counts a call, and dies at the one it is to die at.
    fn live(&self) -> Result<(), Refusal> {
        match self.dies_after.lock().unwrap().as_mut() {
            Some(0) => Err(Refusal::Died),
            Some(calls) => {
                *calls -= 1;
                Ok(())
            }
            None => Ok(()),
        }
    }
}

impl Drop for GateFile {
    fn drop(&mut self) {
        if std::thread::panicking() {
            return; // the model has failed, and its kernel is gone
        }
        // One after the other: the kernel does it at once, so this is more than can happen.
        for byte in std::mem::take(self.held.get_mut().unwrap()) {
            self.byte(byte).unlock(self.owner);
        }
    }
}

impl fmt::Debug for GateFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GateFile").field("inode", &self.inode).finish_non_exhaustive()
    }
}
