//! No DuckDB across `fork` (I11).
//!
//! A forked child inherits everything but the threads: connections that still work and append to a log that the parent
//! is about to fold away, and descriptors that keep the parent's locks alive after it has died. So, in the child, before
//! `fork` returns there: every descriptor of a held database, of its log and of a gate is replaced by one of
//! `/dev/null` that cannot be written, and [`epoch`] moves on, by which managers notice that they are the parent's.
//!
//! A child that replaces itself by another program at once (`std::process::Command`, `posix_spawn`) does not come here
//! and needs nothing: all these descriptors are closed on exec.

use std::ffi::{CStr, CString};
use std::sync::Once;
use std::sync::atomic::{AtomicPtr, AtomicU32, Ordering};

/// Files that are taken away from children, over all databases of the process.
const GUARDS_MAX: usize = 256;

/// How many forks lie between this process and the one that called this first.
pub(crate) fn epoch() -> u32 {
    static REGISTERED: Once = Once::new();
    REGISTERED.call_once(|| {
        // SAFETY: `in_child` is an `extern "C"` function for the life of the program and calls async-signal-safe
        // functions only.
        let _ = unsafe { libc::pthread_atfork(None, None, Some(in_child)) };
    });
    EPOCH.load(Ordering::Relaxed) // changes only in a child, before any of its code runs
}

static EPOCH: AtomicU32 = AtomicU32::new(0);
static GUARDS: [AtomicPtr<Guarded>; GUARDS_MAX] =
    [const { AtomicPtr::new(std::ptr::null_mut()) }; GUARDS_MAX];

/// A device and an inode.
type Identity = (u64, u64);

struct Guarded {
    file: Identity,
    /// Made and removed while the database is held, so it is looked for by name.
    log: Option<CString>,
}

/// Takes a file away from children while it lives.
#[derive(Debug)]
pub(crate) struct ForkGuard(usize);

impl ForkGuard {
    /// `None` if there are as many as can be: then a child keeps those descriptors, and only its managers refuse.
    pub(crate) fn of_file(file: Identity) -> Option<Self> {
        Self::new(Guarded { file, log: None })
    }

    /// As [`ForkGuard::of_file`], and its write-ahead log with it.
    #[cfg(feature = "engine")]
    pub(crate) fn of_database(path: &std::path::Path, file: Identity) -> Option<Self> {
        use std::os::unix::ffi::OsStringExt;
        let log = CString::new(path.with_added_extension("wal").into_os_string().into_vec()).ok();
        Self::new(Guarded { file, log })
    }

    fn new(guarded: Guarded) -> Option<Self> {
        let guarded = Box::into_raw(Box::new(guarded));
        for (number, place) in GUARDS.iter().enumerate() {
            // Release: whoever finds the pointer finds what is behind it.
            let taken = place.compare_exchange(
                std::ptr::null_mut(),
                guarded,
                Ordering::Release,
                Ordering::Relaxed,
            );
            if taken.is_ok() {
                return Some(Self(number));
            }
        }
        // SAFETY: made above, and nobody else has it.
        drop(unsafe { Box::from_raw(guarded) });
        None
    }
}

impl Drop for ForkGuard {
    fn drop(&mut self) {
        let guarded = GUARDS[self.0].swap(std::ptr::null_mut(), Ordering::Acquire);
        if !guarded.is_null() {
            // SAFETY: put there by `new`, and taken out here only. A fork that happens meanwhile copies either the
            // pointer and what it points to, or neither.
            drop(unsafe { Box::from_raw(guarded) });
        }
    }
}

/// Runs in the child, in its one thread, before `fork` returns. Calls async-signal-safe functions only.
extern "C" fn in_child() {
    EPOCH.fetch_add(1, Ordering::Relaxed);
    let mut files = [None; 2 * GUARDS_MAX];
    for (number, place) in GUARDS.iter().enumerate() {
        // SAFETY: not freed before the place is emptied, which only the parent would do now.
        if let Some(guarded) = unsafe { place.load(Ordering::Acquire).as_ref() } {
            files[2 * number] = Some(guarded.file);
            files[2 * number + 1] = guarded.log.as_deref().and_then(at);
        }
    }
    if files.iter().any(Option::is_some) {
        take_away(&files);
    }
}

fn at(path: &CStr) -> Option<Identity> {
    // SAFETY: stat(2) on a NUL-terminated string and a pointer to a live local, for which all-zero bytes are valid.
    unsafe {
        let mut status: libc::stat = std::mem::zeroed();
        let found = libc::stat(path.as_ptr(), &raw mut status) == 0;
        found.then_some((status.st_dev, status.st_ino))
    }
}

fn take_away(files: &[Option<Identity>]) {
    // SAFETY: open(2), fstat(2), getrlimit(2), dup3(2) and close(2) on valid, NUL-terminated strings and pointers to live
    // locals; all-zero bytes are valid for both structures. Numbers that name no descriptor are answered with an error.
    unsafe {
        let null = libc::open(c"/dev/null".as_ptr(), libc::O_RDONLY | libc::O_CLOEXEC);
        if null == -1 {
            return;
        }
        let mut limit: libc::rlimit = std::mem::zeroed();
        let known = libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit) == 0;
        let end = if known { limit.rlim_cur.min(1 << 16) as i32 } else { 1 << 10 };
        for descriptor in (3..end).filter(|&descriptor| descriptor != null) {
            let mut status: libc::stat = std::mem::zeroed();
            if libc::fstat(descriptor, &raw mut status) == 0
                && files.contains(&Some((status.st_dev, status.st_ino)))
            {
                libc::dup3(null, descriptor, libc::O_CLOEXEC);
            }
        }
        libc::close(null);
    }
}
