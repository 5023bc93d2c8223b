//! Who computes, publishes or reads what, over all processes: byte locks on one file, `<database>.store/locks`.
//!
//! # Layout of `locks`, version 1
//!
//! | bytes | content |
//! |---|---|
//! | 0 .. 4096 | [`HEADER`], then nothing |
//! | 4096 + 1024·i, i < 128 | record i: one JSON object ([`Holder`]), filled up with newlines, see `gate/record.rs` |
//!
//! Nothing of it has to survive: the file may be deleted while nobody uses the store. Its locks are the kernel's, on
//! single bytes far beyond its end, which are freed when their holder dies:
//!
//! | byte | lock | meaning |
//! |---|---|---|
//! | 2⁴⁰ + 16 + i | exclusive | record i counts |
//! | 2⁶⁰ + k, k < 2⁶⁰ | exclusive | [`Flight`]: an artefact is being computed whose key, its first 8 bytes read little-endian, is k modulo 2⁶⁰ |
//! | 2⁶¹ + c, c < 2⁶¹ | shared | [`ContentHold`]: somebody relies on the file of a content that is c modulo 2⁶¹, read likewise |
//! | the same | exclusive | it is being removed, or moved away |
//! | 2⁶² + g, g < 2⁶² | shared | [`Pin`]: somebody reads what the manifest said in generation g |
//!
//! Keys or contents that share a byte exclude each other without need, and nothing worse.
//!
//! # Order
//!
//! Who holds a flight may wait for contents; nobody waits for a flight while holding contents, nor for two flights in
//! different orders. Contents are waited for only to share them, and nobody who holds one exclusively waits for
//! anything, so these waits are short. Pins are not waited for.
//!
//! Each lock has an open file description of its own, so threads exclude each other as processes do. Those who wait are
//! served in the kernel's order. A forked child does not have the locks (`seam::fork`).
//!
//! # What it costs
//!
//! Measured on two busy cores, taken and given back: a flight 15 to 30 µs (158 at once 5 ms, most of it looking for free
//! records), a hold 1 µs for each content, an exclusive one 7 µs, a pin 9 µs; the oldest pin is found in 6 µs.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Weak};

use super::files::{Folder, is_at};
use super::hex;
use crate::Holder;
use crate::gate::file::{create, open_regular};
use crate::seam::file_lock;
use crate::seam::fork::{self, ForkGuard};
use crate::seam::lockstep;
use crate::seam::sync::Mutex;

mod content_hold;
mod flight;
mod pin;

pub(crate) use content_hold::ContentHold;
pub(crate) use flight::Flight;
pub(crate) use pin::{Pin, oldest_pin_before};

/// What the lock file begins with.
const HEADER: &[u8] = b"flockgate store locks 1\n\
This file says who uses the feature store it is in.\n\
It may be deleted while nobody does.\n";

/// Why a lock was not had.
#[derive(Debug)]
pub(crate) enum LockError {
    /// The patience ended; these, as far as they are known, were in the way.
    Expired(Vec<Holder>),
    /// The lock file cannot be used.
    Unusable { path: PathBuf, source: io::Error },
}

/// The lock file, opened once more. The bytes locked through it are free again when it is dropped.
#[derive(Debug)]
struct LockFile {
    path: PathBuf,
    file: File,
    epoch: u32,
    _fork: Option<Arc<ForkGuard>>,
}

impl LockFile {
    /// Opens it, and makes it if it is not there.
    fn open(folder: &Folder) -> io::Result<Self> {
        let path = path_of(folder);
        let file = open_or_create(&path, folder)?;
        Self::new(path, file)
    }

    /// Opens it for who takes shared locks only, and therefore need not write it. It has to be there if it cannot be
    /// made.
    fn open_to_share(folder: &Folder) -> io::Result<Self> {
        match Self::open_existing(folder)? {
            Some(lock) => Ok(lock),
            None => Self::open(folder),
        }
    }

    /// Opens it if it is there, without writing to it.
    fn open_existing(folder: &Folder) -> io::Result<Option<Self>> {
        let path = path_of(folder);
        match open_regular(OpenOptions::new().read(true), &path) {
            Ok(file) => Self::new(path, file).map(Some),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn new(path: PathBuf, file: File) -> io::Result<Self> {
        check_header(&file)?;
        let metadata = file.metadata()?;
        let fork = guard((metadata.dev(), metadata.ino()));
        Ok(Self { path, file, epoch: fork::epoch(), _fork: fork })
    }

    /// Whether the path still names this file: locks on one that was deleted keep nobody out.
    fn is_current(&self) -> io::Result<bool> {
        is_at(&self.file, &self.path)
    }
}

impl Drop for LockFile {
    fn drop(&mut self) {
        // In a forked child they are the parent's locks.
        if fork::epoch() == self.epoch {
            // Closing would do, unless a forked child has the descriptor too. It cannot fail on a good one.
            let _ = file_lock::unlock_all(&self.file);
            lockstep::point("gave back a lock of the store");
        }
    }
}

/// Opens the lock file in one of the ways of [`LockFile`] and takes locks with it, until they are on the file that is
/// there. `None` if `take` did not get them.
fn take_current(
    open: impl Fn() -> io::Result<LockFile>,
    take: impl Fn(&LockFile) -> io::Result<bool>,
) -> io::Result<Result<LockFile, LockFile>> {
    loop {
        let lock = open()?;
        if !take(&lock)? {
            return Ok(Err(lock));
        }
        if lock.is_current()? {
            return Ok(Ok(lock));
        }
    }
}

fn path_of(folder: &Folder) -> PathBuf {
    folder.path().join("locks")
}

/// An error of the lock file, with its path.
fn unusable(folder: &Folder) -> impl Fn(io::Error) -> LockError {
    let path = path_of(folder);
    move |source| LockError::Unusable { path: path.clone(), source }
}

/// The byte of a name, in a region of so many bytes (a power of two) that begins with its length.
fn byte_of(name: &[u8; 16], region: i64) -> i64 {
    let mut low = [0; 8];
    low.copy_from_slice(&name[..8]);
    region + (i64::from_le_bytes(low) & (region - 1))
}

fn open_or_create(path: &Path, folder: &Folder) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.read(true).write(true);
    let opened = open_regular(&mut options, path);
    let is_missing = |error: &io::Error| error.kind() == io::ErrorKind::NotFound;
    let file = match opened {
        Err(error) if is_missing(&error) => match create(&mut options, path, folder.database()) {
            Err(error) if is_missing(&error) => {
                folder.create()?;
                create(options.create_new(true), path, folder.database())?
            }
            created => created?,
        },
        opened => opened?,
    };
    if file.metadata()?.len() < HEADER.len() as u64 {
        write_header(&file)?;
    }
    Ok(file)
}

/// Writes the header of a file whose maker has not come to it yet, or was killed there. Several may do so at once: they
/// write the same. A full disk does not keep anybody from locking.
fn write_header(file: &File) -> io::Result<()> {
    check_header(file)?;
    match file.write_all_at(HEADER, 0) {
        Err(error) if error.kind() == io::ErrorKind::StorageFull => Ok(()),
        written => written,
    }
}

/// Refuses a file that somebody has called so, and that is no lock file nor the beginning of one.
fn check_header(file: &File) -> io::Result<()> {
    let mut begin = [0; HEADER.len()];
    let length = file.read_at(&mut begin, 0)?;
    if begin[..length] == HEADER[..length] {
        return Ok(());
    }
    let text =
        "it is not a lock file of this version; move it away, or stop the program that made it";
    Err(io::Error::new(io::ErrorKind::InvalidData, text))
}

/// A device and an inode.
type Identity = (u64, u64);

/// One guard for all descriptors that this process has of a lock file: there are few guards, and one works for all.
fn guard(file: Identity) -> Option<Arc<ForkGuard>> {
    static GUARDS: Mutex<Vec<(Identity, Weak<ForkGuard>)>> = Mutex::new(Vec::new());
    let mut guards = GUARDS.lock();
    let known = guards.iter().filter(|(of, _)| *of == file).find_map(|(_, guard)| guard.upgrade());
    known.or_else(|| {
        guards.retain(|(_, guard)| guard.strong_count() > 0);
        let guard = ForkGuard::of_file(file).map(Arc::new)?;
        guards.push((file, Arc::downgrade(&guard)));
        Some(guard)
    })
}

#[cfg(test)]
mod tests;
