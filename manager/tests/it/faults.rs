//! fsync(2) that fails where a test says so: what a dying disk does, without one and without privileges.
//!
//! The functions below are found before that of the C library by everything that is linked into the tests, and DuckDB is.

use std::fs;
use std::os::fd::RawFd;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

static FAULTS: Mutex<Vec<Fault>> = Mutex::new(Vec::new());

/// What has become of the bytes that were not synchronised.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Bytes {
    /// They are in the file all the same: that DuckDB cuts them off again has no effect either. (It is not told: where
    /// ftruncate(2) fails, too, DuckDB 1.5.5 ends the process.)
    Stay,
    /// They are gone.
    GoAway,
}

struct Fault {
    path: PathBuf,
    bytes: Bytes,
    /// Length of the file when the fault began.
    length: u64,
    times: u32,
}

/// A file that cannot be synchronised while this lives.
pub(crate) struct BrokenSync(PathBuf);

impl BrokenSync {
    pub(crate) fn of(path: &Path, bytes: Bytes) -> Self {
        let length = fs::metadata(path).map_or(0, |metadata| metadata.len());
        let path =
            fs::canonicalize(path.parent().unwrap()).unwrap().join(path.file_name().unwrap());
        faults().push(Fault { path: path.clone(), bytes, length, times: 0 });
        Self(path)
    }

    /// How often it has failed so far.
    pub(crate) fn times(&self) -> u32 {
        faults().iter().find(|fault| fault.path == self.0).unwrap().times
    }
}

impl Drop for BrokenSync {
    fn drop(&mut self) {
        faults().retain(|fault| fault.path != self.0);
    }
}

fn faults() -> MutexGuard<'static, Vec<Fault>> {
    FAULTS.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Whether the file is broken: what happens to its bytes, and the length that it had.
fn broken(descriptor: RawFd) -> Option<(Bytes, u64)> {
    let mut faults = faults();
    if faults.is_empty() {
        return None;
    }
    let path = fs::read_link(format!("/proc/self/fd/{descriptor}")).ok()?;
    let fault = faults.iter_mut().find(|fault| fault.path == path)?;
    fault.times += 1;
    Some((fault.bytes, fault.length))
}

/// See the module's header.
// SAFETY: it has the signature and the contract of fsync(2) as the C library has them, for every caller.
#[unsafe(no_mangle)]
extern "C" fn fsync(descriptor: RawFd) -> i32 {
    match broken(descriptor) {
        // SAFETY: the system call takes a number and touches no memory.
        None => unsafe { libc::syscall(libc::SYS_fsync, descriptor) as i32 },
        Some((Bytes::Stay, _)) => fail(),
        Some((Bytes::GoAway, length)) => {
            cut(descriptor, length.cast_signed());
            fail()
        }
    }
}

/// See the module's header.
// SAFETY: it has the signature and the contract of ftruncate(2) as the C library has them, for every caller.
#[unsafe(no_mangle)]
extern "C" fn ftruncate(descriptor: RawFd, length: i64) -> i32 {
    match broken(descriptor) {
        Some((Bytes::Stay, _)) => 0,
        _ => cut(descriptor, length),
    }
}

fn cut(descriptor: RawFd, length: i64) -> i32 {
    // SAFETY: the system call takes two numbers and touches no memory.
    unsafe { libc::syscall(libc::SYS_ftruncate, descriptor, length) as i32 }
}

fn fail() -> i32 {
    // SAFETY: the C library's own place for this thread, which nobody else writes to.
    unsafe { *libc::__errno_location() = libc::EIO };
    -1
}

#[test]
fn a_file_fails_as_long_as_it_is_broken_and_no_other_does() {
    let folder = tempfile::tempdir().unwrap();
    let (broken, sound) = (folder.path().join("broken"), folder.path().join("sound"));
    let file = fs::File::create(&broken).unwrap();
    let fault = BrokenSync::of(&broken, Bytes::Stay);
    // std calls the same function.
    assert_eq!(file.sync_all().unwrap_err().raw_os_error(), Some(libc::EIO));
    assert_eq!(fault.times(), 1);
    fs::File::create(sound).unwrap().sync_all().unwrap();
    drop(fault);
    file.sync_all().unwrap();
}
