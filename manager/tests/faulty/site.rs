//! What the scenarios share.

use std::fs::File;
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use manager::{AccessMode, AcquireOptions, AnyLease, Config, Error, Manager};
use tempfile::TempDir;

use crate::baton::{self, Baton};

/// What is waited for that must not come.
pub(crate) const SHORT: Duration = Duration::from_millis(20);

/// A database of its own, with a table `t` of unique numbers.
pub(crate) struct Site {
    _folder: TempDir,
    pub(crate) path: PathBuf,
}

impl Site {
    pub(crate) fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let site = Self { path: folder.path().join("x.duckdb"), _folder: folder };
        let make =
            |new: &duckdb::Connection| new.execute_batch("CREATE TABLE t (a INTEGER PRIMARY KEY)");
        manager().create(&site.path, |new| make(new).map_err(Error::from)).unwrap();
        site
    }

    pub(crate) fn write(&self, manager: &Manager, wait: Duration) -> Result<AnyLease, Error> {
        manager.get_with(&self.path, AccessMode::ReadWrite, &patient(wait))
    }

    /// Whether another thread gets the write lease soon.
    pub(crate) fn another_can_write(&self, manager: &Manager) -> bool {
        std::thread::scope(|scope| {
            scope.spawn(|| self.write(manager, SHORT).is_ok()).join().unwrap()
        })
    }

    pub(crate) fn insert(&self, manager: &Manager, number: i32) {
        let done =
            manager.transaction(&self.path, |tx| tx.execute("INSERT INTO t VALUES (?)", [number]));
        assert_eq!(done.unwrap(), 1);
    }

    pub(crate) fn count(&self, manager: &Manager) -> i64 {
        let lease = manager.read(&self.path).unwrap();
        lease.query_row("SELECT count(*) FROM t", [], |row| row.get(0)).unwrap()
    }
}

pub(crate) fn manager() -> Manager {
    manager_with(Config::default())
}

/// One that keeps no file that nobody uses.
pub(crate) fn manager_that_keeps_nothing() -> Manager {
    manager_with(Config { idle_max: Duration::ZERO, ..Config::default() })
}

fn manager_with(config: Config) -> Manager {
    Manager::new(Config { duckdb_threads: Some(1), ..config }).unwrap()
}

pub(crate) fn patient(wait: Duration) -> AcquireOptions {
    AcquireOptions { wait_max: Some(wait), ..AcquireOptions::default() }
}

pub(crate) fn timed_out<T>(done: &Result<T, Error>) -> bool {
    matches!(done, Err(Error::TimedOut { .. }))
}

/// What actors note, in order.
pub(crate) type Notes<T> = Arc<Mutex<Vec<T>>>;

/// What an actor does.
pub(crate) type Part<'a, T> = (&'static str, Box<dyn FnOnce(&Arc<Baton>, &Notes<T>) + Send + 'a>);

/// Runs the parts in lockstep; returns what they noted, and the steps.
pub(crate) fn lockstep<T: Send + 'static>(
    seed: u64,
    parts: Vec<Part<'static, T>>,
) -> (Vec<T>, Vec<String>) {
    let notes = Notes::default();
    let steps = baton::run(seed, |baton| {
        let actors = parts.into_iter().map(|(name, part)| {
            let (baton, notes) = (Arc::clone(baton), Arc::clone(&notes));
            let body: Box<dyn FnOnce() + Send> = Box::new(move || part(&baton, &notes));
            (name, body)
        });
        actors.collect()
    });
    let all = std::mem::take(&mut *notes.lock().unwrap());
    (all, steps)
}

/// Bytes of the gate; `gate/file.rs` has them.
pub(crate) const TURNSTILE: i64 = 1 << 40;
pub(crate) const FILE: i64 = TURNSTILE + 1;

/// An open of a file, for its locks: another process, as far as the kernel can tell.
pub(crate) struct Other(File);

impl Other {
    pub(crate) fn at(path: &Path) -> Self {
        Self(File::options().read(true).write(true).open(path).unwrap())
    }

    /// Has a byte of a gate.
    pub(crate) fn with(database: &Path, byte: i64) -> Self {
        let other = Self::at(&manager::gate_path(database));
        other.control(libc::F_OFD_SETLK, byte, libc::F_WRLCK);
        other
    }

    pub(crate) fn give_back(&self, byte: i64) {
        self.control(libc::F_OFD_SETLK, byte, libc::F_UNLCK);
    }

    /// Whether somebody else has the byte.
    pub(crate) fn sees(&self, byte: i64) -> bool {
        self.control(libc::F_OFD_GETLK, byte, libc::F_WRLCK) != libc::F_UNLCK
    }

    fn control(&self, command: i32, byte: i64, kind: i32) -> i32 {
        let mut request = libc::flock {
            l_type: kind as i16,
            l_whence: libc::SEEK_SET as i16,
            l_start: byte,
            l_len: 1,
            l_pid: 0,
        };
        // SAFETY: the descriptor is open, and the request outlives the call.
        let done = unsafe { libc::fcntl(self.0.as_raw_fd(), command, &raw mut request) };
        assert_eq!(done, 0, "{}", std::io::Error::last_os_error());
        request.l_type.into()
    }
}
