//! I/O calls of the engine as steps: whoever links DuckDB into this program sees each of them before it happens, and decides
//! whether it does.
//!
//! | module | in → out |
//! |---|---|
//! | [`symbols`] | the functions of the C library that DuckDB calls, defined by the binary instead; they ask here |
//! | [`call`] | one call as a value, with a text that is the same in every run |
//! | [`survivors`] | what was written and synced → what a loss of power would leave |
//!
//! A thread is [`arm`]ed with a folder and a [`Judge`]. From then on every call of that thread on a file of that folder is
//! put to the judge. All other threads, processes and files are left alone, at the cost of one relaxed load a call.
//!
//! # Scope
//!
//! * Linux on 64 bits. The binary has to name [`export_io_symbols!`](crate::export_io_symbols); in a program that does
//!   not (the tests of this library among them) arming sees nothing. [`arm`] finds out and refuses.
//! * Seen are `open`, `close`, `write`, `pwrite`, `fsync`, `fdatasync`, `fcntl` with a lock, `rename`, `unlink`, `remove` and
//!   `ftruncate`, by DuckDB, by Rust's standard library and by whoever uses `libc`. Not seen are reads, memory that is mapped
//!   (the page of the manager's gate), `mkdir` and `rmdir`, and what `rustix` does, which makes its system calls itself: the
//!   rename at the end of `Manager::create`.
//! * A thread that waits for its judge may have locks of the engine. Threads of its process that need them wait in earnest, so
//!   who is to overlap inside a call has to be a process.
//!
//! # Invariants
//!
//! * A call that passes does what the C library's would, `errno` included.
//! * While a judge is asked, what the thread does passes: a judge may write to a pipe.
//! * A thread that is not armed neither allocates nor locks in here, so that signal handlers and children of `fork` may
//!   call in.

pub mod call;
pub mod survivors;
pub mod symbols;

mod raw;

use std::cell::Cell;
use std::ffi::c_int;
use std::fs;
use std::io;
use std::marker::PhantomData;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;
use std::ptr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

pub use call::{Call, Kind};

/// What is to become of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It is done.
    Pass,
    /// It is not done, and returns this error. A file is closed all the same, as Linux does it.
    Fail(c_int),
    /// The first half of what it writes is written, in whole sectors of 512 bytes if there are two, and the process dies. A
    /// call that writes nothing is not done.
    Torn,
    /// It is not done, and the process dies by SIGKILL.
    Kill,
}

/// Who decides about calls.
pub trait Judge: Send + Sync {
    /// Decides about a call that is about to be made. May block.
    fn call(&self, call: &Call) -> Verdict;

    /// Hears of what a call has changed, once it is done.
    fn changed(&self, _change: &Change<'_>) {}
}

/// What a call has changed. Files are named by their inodes, which stay when their names change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change<'a> {
    /// There is a new and empty file.
    Created {
        /// Its inode.
        inode: u64,
    },
    /// Bytes were written.
    Written {
        /// The file's inode.
        inode: u64,
        /// Where the first of them is.
        offset: u64,
        /// The bytes.
        bytes: &'a [u8],
    },
    /// A file was cut off or extended.
    Truncated {
        /// Its inode.
        inode: u64,
        /// Its new length.
        length: u64,
    },
    /// A file's content was synced.
    Synced {
        /// Its inode.
        inode: u64,
    },
    /// The names in a folder were synced.
    FolderSynced {
        /// The folder, relative to the scenario's, which is `.` itself.
        folder: &'a str,
    },
}

/// How many threads are armed.
static ARMED_COUNT: AtomicUsize = AtomicUsize::new(0);

thread_local! {
    static ARMED: Cell<*const Armed> = const { Cell::new(ptr::null()) };
}

/// What an armed thread has.
struct Armed {
    /// The folder as it was named, and as the kernel names it.
    folders: [Vec<u8>; 2],
    judge: Arc<dyn Judge>,
    /// A child of `fork` is not armed.
    process: u32,
    /// Set while the judge is asked.
    asking: Cell<bool>,
    /// Set by the first call that arrives, whatever it is about.
    arrived: Cell<bool>,
}

/// Puts the calls of this thread on files below `folder` to `judge`, until the guard is dropped.
///
/// # Errors
///
/// * Those of finding the folder.
/// * [`io::ErrorKind::Unsupported`] if the binary does not define the symbols.
///
/// # Panics
///
/// If the thread is armed.
pub fn arm(folder: &Path, judge: Arc<dyn Judge>) -> io::Result<Guard> {
    assert!(ARMED.get().is_null(), "a thread is armed once");
    let named = std::path::absolute(folder)?.as_os_str().as_bytes().to_vec();
    let canonical = fs::canonicalize(folder)?.as_os_str().as_bytes().to_vec();
    let armed = Box::new(Armed {
        folders: [named, canonical],
        judge,
        process: std::process::id(),
        asking: Cell::new(true),
        arrived: Cell::new(false),
    });
    // Relaxed: a thread looks at what it has written itself; the count only saves the others the look.
    ARMED_COUNT.fetch_add(1, Ordering::Relaxed);
    ARMED.set(&raw const *armed);
    let guard = Guard { armed, _thread: PhantomData };
    // Any call will do to see whether calls arrive: this one is Rust's own and comes by the same symbols.
    drop(fs::File::open("/dev/null")?);
    if !guard.armed.arrived.get() {
        let text = "this program does not define the I/O functions; expand `harness::export_io_symbols` in its main.rs";
        return Err(io::Error::new(io::ErrorKind::Unsupported, text));
    }
    guard.armed.asking.set(false);
    Ok(guard)
}

/// Keeps a thread armed.
#[must_use = "the thread is armed until this is dropped"]
pub struct Guard {
    armed: Box<Armed>,
    /// It has to be dropped by the thread that it is of.
    _thread: PhantomData<*const ()>,
}

impl Drop for Guard {
    fn drop(&mut self) {
        ARMED.set(ptr::null());
        ARMED_COUNT.fetch_sub(1, Ordering::Relaxed); // see `arm`
    }
}

/// One call of an armed thread. While this lives, further calls of the thread pass.
struct Asking<'a>(&'a Armed);

impl Asking<'_> {
    /// `None` if the call is to pass: nearly always, by the first look.
    #[inline]
    fn begin() -> Option<Self> {
        if ARMED_COUNT.load(Ordering::Relaxed) == 0 {
            return None;
        }
        Self::begin_armed()
    }

    #[cold]
    fn begin_armed() -> Option<Self> {
        // SAFETY: the guard of this thread owns it, and clears the pointer before it drops it. It cannot do so while a
        // call of the same thread is here.
        let armed = unsafe { ARMED.get().as_ref()? };
        armed.arrived.set(true);
        if armed.asking.get() || armed.process != std::process::id() {
            return None;
        }
        armed.asking.set(true);
        Some(Self(armed))
    }

    /// The text of a path below the folder, relative to it; `.` for the folder itself.
    fn below(&self, path: &[u8]) -> Option<String> {
        let rest =
            self.0.folders.iter().find_map(|folder| match path.strip_prefix(&folder[..])? {
                [] => Some(&b"."[..]),
                [b'/', rest @ ..] => Some(rest),
                _ => None,
            })?;
        Some(without_numbers(&String::from_utf8_lossy(rest)))
    }

    fn judge(&self, call: &Call) -> Verdict {
        self.0.judge.call(call)
    }

    fn changed(&self, change: &Change<'_>) {
        self.0.judge.changed(change);
    }
}

/// A name in which every part between two dots that is a number is `PID`: temporary files have the number of their process
/// there, of this one or of one that died, and a text has to be the same in every run.
fn without_numbers(name: &str) -> String {
    let is_number = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
    let parts: Vec<&str> = name.split('.').collect();
    let inner = 1..parts.len().saturating_sub(1);
    let mask = |(at, part): (usize, &&str)| {
        if inner.contains(&at) && is_number(part) { "PID".to_owned() } else { (*part).to_owned() }
    };
    parts.iter().enumerate().map(mask).collect::<Vec<_>>().join(".")
}

impl Drop for Asking<'_> {
    fn drop(&mut self) {
        self.0.asking.set(false);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_number_of_a_process_is_masked_and_nothing_else() {
        let masked =
            ["db.duckdb", ".x.db.123.new", ".x.db.7.new.wal", "x.123", "123.x", "a/b1.2c.d"];
        let names =
            ["db.duckdb", ".x.db.PID.new", ".x.db.PID.new.wal", "x.123", "123.x", "a/b1.2c.d"];
        assert_eq!(masked.map(without_numbers), names);
    }
}
