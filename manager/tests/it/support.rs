//! What the tests share: a folder with a database in it, managers, and waits that end.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use manager::duckdb::Connection;
use manager::{Config, Error, LeaseEvent, Manager, Observer, Standing};
use tempfile::TempDir;

/// No test waits longer for anything.
pub(crate) const LONG: Duration = Duration::from_secs(30);
/// How long a test looks on to see that something does not happen.
pub(crate) const A_WHILE: Duration = Duration::from_millis(100);

/// A folder of its own for one test.
pub(crate) struct Site {
    folder: TempDir,
}

impl Site {
    /// A folder without a database.
    pub(crate) fn empty() -> Self {
        Self { folder: tempfile::tempdir().unwrap() }
    }

    /// A folder with a database that has an empty table `t`.
    pub(crate) fn new() -> Self {
        let site = Self::empty();
        make_database(&site.database(), 0);
        site
    }

    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(crate) fn database(&self) -> PathBuf {
        self.path("x.db")
    }

    /// What is in the folder, sorted.
    pub(crate) fn names(&self) -> Vec<String> {
        let entries = fs::read_dir(self.folder.path()).unwrap();
        let mut names: Vec<_> =
            entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }
}

/// Makes a database with `rows` rows in table `t`, and leaves no manager behind.
pub(crate) fn make_database(path: &Path, rows: i64) {
    let made = manager().create(path, |new| -> Result<(), Error> {
        new.execute_batch("CREATE TABLE t (a BIGINT)")?;
        new.execute("INSERT INTO t SELECT * FROM range(?)", [rows])?;
        Ok(())
    });
    assert!(made.unwrap(), "{} is new", path.display());
}

/// A manager that waits long enough for anything that does happen.
pub(crate) fn manager() -> Manager {
    manager_that_waits(LONG)
}

pub(crate) fn manager_that_waits(wait_max: Duration) -> Manager {
    Manager::new(Config { wait_max, ..config() }).unwrap()
}

pub(crate) fn config() -> Config {
    Config { label: "test".into(), wait_max: LONG, duckdb_threads: Some(1), ..Config::default() }
}

pub(crate) fn count(connection: &Connection) -> i64 {
    connection.query_row("SELECT count(*) FROM t", [], |row| row.get(0)).unwrap()
}

pub(crate) fn insert(connection: &Connection, number: i64) {
    connection.execute("INSERT INTO t VALUES (?)", [number]).unwrap();
}

/// Counts the attempts that failed because the file was held without the gate.
#[derive(Default)]
pub(crate) struct FailedAttempts(AtomicU64);

impl FailedAttempts {
    pub(crate) fn number(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

impl Observer for FailedAttempts {
    fn observe(&self, _: &Path, event: &LeaseEvent<'_>) {
        if matches!(event, LeaseEvent::HeldOutside { .. }) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// Waits until something is so, and fails the test if it does not come to be.
pub(crate) fn eventually(what: &str, mut is_so: impl FnMut() -> bool) {
    let begin = Instant::now();
    while !is_so() {
        assert!(begin.elapsed() < LONG, "still not after {LONG:?}: {what}");
        thread::sleep(Duration::from_millis(1));
    }
}

/// Waits until a process is listed at the gate as one that waits.
pub(crate) fn waits_at_the_gate(database: &Path, pid: u32) {
    eventually("the process waits at the gate", || {
        let holders = manager::holders(database).unwrap();
        holders.iter().any(|holder| holder.pid == pid && holder.standing == Standing::Waiting)
    });
}

/// Waits until a thread sleeps in the kernel for a file lock.
pub(crate) fn sleeps_for_a_lock(pid: u32, thread: u32) {
    eventually("the thread sleeps in fcntl(2)", || is_in_fcntl(pid, thread));
}

pub(crate) fn is_in_fcntl(pid: u32, thread: u32) -> bool {
    // proc(5): the number of the system call that the thread is blocked in, then its arguments.
    let call = fs::read_to_string(format!("/proc/{pid}/task/{thread}/syscall")).unwrap_or_default();
    call.split_whitespace().next() == Some(&libc::SYS_fcntl.to_string())
}

/// A thread whose outcome is waited for only so long.
pub(crate) struct Running<T> {
    outcome: mpsc::Receiver<thread::Result<T>>,
    thread: u32,
}

impl<T: Send + 'static> Running<T> {
    pub(crate) fn begin(work: impl FnOnce() -> T + Send + 'static) -> Self {
        let (send, outcome) = mpsc::channel();
        let (send_id, id) = mpsc::channel();
        thread::spawn(move || {
            let id = rustix::thread::gettid().as_raw_nonzero().get();
            send_id.send(u32::try_from(id).unwrap()).unwrap();
            let done = std::panic::catch_unwind(std::panic::AssertUnwindSafe(work));
            // Nobody listens if the test has failed already.
            let _ = send.send(done);
        });
        Self { outcome, thread: id.recv().unwrap() }
    }

    /// The kernel's number of the thread.
    pub(crate) fn thread(&self) -> u32 {
        self.thread
    }

    /// Waits until it sleeps in the kernel for a file lock.
    pub(crate) fn sleeps_for_a_lock(&self) {
        sleeps_for_a_lock(std::process::id(), self.thread);
    }

    /// Looks on for a while and tells whether it is still at it.
    pub(crate) fn is_still_running(&self) -> bool {
        matches!(self.outcome.recv_timeout(A_WHILE), Err(mpsc::RecvTimeoutError::Timeout))
    }

    pub(crate) fn finish(self) -> T {
        match self.outcome.recv_timeout(LONG) {
            Ok(Ok(outcome)) => outcome,
            Ok(Err(panic)) => std::panic::resume_unwind(panic),
            Err(error) => panic!("a thread of the test is still not done after {LONG:?}: {error}"),
        }
    }
}
