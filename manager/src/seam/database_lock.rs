//! DuckDB's own lock on a database file, and how it is made to last (I4).
//!
//! DuckDB locks its file with fcntl(2)'s POSIX locks. Those belong to the process and the file, so that closing *any*
//! descriptor of the file, by whoever in the process, drops the lock without a word, and a second open in the
//! same process is not refused. [`harden`] turns the lock into an open file description lock on the very descriptor that
//! DuckDB has: it ends with that descriptor and with nothing else, and it keeps other openers of this process out, too.
//!
//! The first byte stays under a POSIX lock, because the kernel tells others who has those, and not who has the new kind:
//! `Conflicting lock is held in train.py (PID 4711)` instead of `PID -1`. If it is dropped, only the name is lost.
//!
//! This relies on DuckDB setting its lock once, when it opens the file (true of 1.5.5; `tests/it/lock_protection.rs`
//! fails when it no longer is).

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io;
use std::os::fd::RawFd;
use std::path::Path;

use super::file_id::FileId;
use crate::config::AccessMode;

/// The descriptors of this process that are open on one file.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Descriptors(BTreeSet<RawFd>);

impl Descriptors {
    /// Those that are open on `id` now.
    pub(crate) fn on(id: FileId) -> io::Result<Self> {
        let mut found = BTreeSet::new();
        for entry in fs::read_dir("/proc/self/fd")? {
            let number: Option<RawFd> = entry?.file_name().to_str().and_then(|n| n.parse().ok());
            found.extend(number.filter(|&number| is_open_on(number, id)));
        }
        Ok(Self(found))
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The one that is in `self` and not in `before`; `None` if it cannot be told.
    pub(crate) fn added_since(&self, before: &Self) -> Option<RawFd> {
        let mut added = self.0.difference(&before.0);
        let only = added.next().copied();
        if added.next().is_none() { only } else { None }
    }
}

/// Whether a number names a descriptor of this process that is open on the file.
pub(crate) fn is_open_on(descriptor: RawFd, id: FileId) -> bool {
    // SAFETY: all-zero bytes are a valid `stat`, a plain C structure; the pointer is to a live local; a number that
    // names no descriptor is answered with an error.
    unsafe {
        let mut status: libc::stat = std::mem::zeroed();
        libc::fstat(descriptor, &raw mut status) == 0 && id.is(status.st_dev, status.st_ino)
    }
}

/// Turns DuckDB's lock into one that survives whatever else in the process opens and closes the file, without a
/// moment in which the file is not locked at all. Returns whether it is had: a reader of another process can have come
/// in between, where the exclusive lock passes through a shared one, and then the file has to be let go of.
pub(crate) fn harden(descriptor: RawFd, mode: AccessMode) -> io::Result<bool> {
    let posix = |bytes, kind| set(descriptor, libc::F_SETLK, bytes, kind);
    let own = |kind| set(descriptor, libc::F_OFD_SETLK, Bytes::Rest, kind);
    // DuckDB leaves this flag out where it only reads, and the lock would go on in every program that is started.
    // SAFETY: sets a flag of a descriptor by its number; nothing in memory is touched.
    if unsafe { libc::fcntl(descriptor, libc::F_SETFD, libc::FD_CLOEXEC) } == -1 {
        return Err(io::Error::last_os_error());
    }
    match mode {
        AccessMode::ReadOnly => own(libc::F_RDLCK),
        // The two kinds of lock exclude each other as if they were of two processes, but for shared ones.
        AccessMode::ReadWrite => Ok(posix(Bytes::All, libc::F_RDLCK)?
            && own(libc::F_RDLCK)?
            && posix(Bytes::Rest, libc::F_UNLCK)?
            && own(libc::F_WRLCK)?
            && posix(Bytes::First, libc::F_WRLCK)?),
    }
}

/// Who keeps this process from locking the file as DuckDB would, if somebody does. Takes no lock, not for a moment.
pub(crate) fn blocker(database: &Path, mode: AccessMode) -> io::Result<Option<Blocker>> {
    let file = File::open(database)?;
    let kind = match mode {
        AccessMode::ReadOnly => libc::F_RDLCK,
        AccessMode::ReadWrite => libc::F_WRLCK,
    };
    let mut request = Bytes::All.request(kind);
    control(std::os::fd::AsRawFd::as_raw_fd(&file), libc::F_OFD_GETLK, &mut request)?;
    if i32::from(request.l_type) == libc::F_UNLCK {
        return Ok(None);
    }
    if u32::try_from(request.l_pid) == Ok(super::process::id()) {
        // Closing this descriptor would drop that lock; a leaked descriptor is the smaller evil.
        std::mem::forget(file);
        return Ok(Some(Blocker::ThisProcess));
    }
    Ok(Some(Blocker::Other { pid: u32::try_from(request.l_pid).ok().filter(|&pid| pid > 0) }))
}

/// See [`blocker`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Blocker {
    /// Code of this process that opened the database without the manager.
    ThisProcess,
    /// Another process; the kernel does not always know which.
    Other { pid: Option<u32> },
}

/// Returns whether the lock is had.
fn set(descriptor: RawFd, command: i32, bytes: Bytes, kind: i32) -> io::Result<bool> {
    match control(descriptor, command, &mut bytes.request(kind)) {
        Ok(()) => Ok(true),
        Err(error) if matches!(error.raw_os_error(), Some(libc::EAGAIN | libc::EACCES)) => {
            Ok(false)
        }
        Err(error) => Err(error),
    }
}

/// Which bytes of the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Bytes {
    /// As DuckDB asks for: who has a part of them keeps everybody else out.
    All,
    First,
    Rest,
}

impl Bytes {
    fn request(self, kind: i32) -> libc::flock {
        let (start, length) = match self {
            Self::All => (0, 0), // a length of 0 reaches to the end of all files
            Self::First => (0, 1),
            Self::Rest => (1, 0),
        };
        libc::flock {
            l_type: kind as i16,
            l_whence: libc::SEEK_SET as i16,
            l_start: start,
            l_len: length,
            l_pid: 0,
        }
    }
}

fn control(descriptor: RawFd, command: i32, request: &mut libc::flock) -> io::Result<()> {
    // SAFETY: `request` is a valid `flock` that outlives the call, which writes to nothing else; a number that names no
    // descriptor is answered with an error.
    match unsafe { libc::fcntl(descriptor, command, std::ptr::from_mut(request)) } {
        -1 => Err(io::Error::last_os_error()),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::fd::AsRawFd;

    fn file() -> (tempfile::NamedTempFile, FileId) {
        let file = tempfile::NamedTempFile::new().unwrap();
        let id = FileId::at(file.path()).unwrap();
        (file, id)
    }

    fn open(path: &Path) -> File {
        File::options().read(true).write(true).open(path).unwrap()
    }

    #[test]
    fn the_descriptor_that_came_last_is_told_from_those_that_were_there() {
        let (file, id) = file();
        let before = Descriptors::on(id).unwrap();
        assert_eq!(before.0.len(), 1, "its own");
        let added = open(file.path());
        let after = Descriptors::on(id).unwrap();
        assert_eq!(after.added_since(&before), Some(added.as_raw_fd()));
        let _another = open(file.path());
        assert_eq!(Descriptors::on(id).unwrap().added_since(&before), None, "which of the two");
    }

    #[test]
    fn a_hardened_lock_survives_the_close_of_another_descriptor() {
        let (file, _) = file();
        let duckdb = open(file.path());
        assert!(set(duckdb.as_raw_fd(), libc::F_SETLK, Bytes::All, libc::F_WRLCK).unwrap());
        assert!(harden(duckdb.as_raw_fd(), AccessMode::ReadWrite).unwrap());
        drop(open(file.path())); // which would drop a POSIX lock
        let other = open(file.path());
        assert!(!set(other.as_raw_fd(), libc::F_OFD_SETLK, Bytes::All, libc::F_RDLCK).unwrap());
        drop(duckdb);
        assert!(set(other.as_raw_fd(), libc::F_OFD_SETLK, Bytes::All, libc::F_WRLCK).unwrap());
    }

    #[test]
    fn a_lock_of_this_process_is_found_and_kept() {
        let (file, _) = file();
        let plain = open(file.path());
        assert!(set(plain.as_raw_fd(), libc::F_SETLK, Bytes::All, libc::F_WRLCK).unwrap());
        for _ in 0..2 {
            let found = blocker(file.path(), AccessMode::ReadWrite).unwrap();
            assert_eq!(found, Some(Blocker::ThisProcess), "looking did not drop it");
        }
    }

    #[test]
    fn readers_are_in_the_way_of_a_writer_only() {
        let (file, _) = file();
        let reader = open(file.path());
        assert!(set(reader.as_raw_fd(), libc::F_OFD_SETLK, Bytes::All, libc::F_RDLCK).unwrap());
        assert_eq!(blocker(file.path(), AccessMode::ReadOnly).unwrap(), None);
        let found = blocker(file.path(), AccessMode::ReadWrite).unwrap();
        assert_eq!(found, Some(Blocker::Other { pid: None }), "an OFD lock names nobody");
    }
}
