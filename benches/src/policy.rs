//! How a process gets hold of a file that others want too.
//!
//! | policy | how |
//! |---|---|
//! | `managed` | waits its turn at the manager's gate |
//! | `open, full jitter` | opens the file each time; on DuckDB's lock error sleeps up to 10 ms, 20 ms, … 1 s, by chance |
//! | `open, poll 1 ms` | the same, but sleeps for 1 ms each time |
//! | `open, dagster` | the same, but sleeps for 0.1 s, 0.2 s, 0.4 s, … as dagster-duckdb does |
//! | `lock, then open` | waits in the kernel for `flock` on a file beside it, then opens it |
//! | `one process keeps the file` | the floor: nobody else wants it, and one connection is kept |
//!
//! Who has opened the file closes it after each use. All of DuckDB runs on one thread.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use manager::duckdb::{self, Connection};
use manager::{AccessMode, AcquireOptions, Backoff, Config, Drain, ErrorClass, Manager};

use crate::row;

/// A lease is had within this, unless something is broken.
pub const WAIT_MAX: Duration = Duration::from_mins(1);

/// See the module's header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Policy {
    /// `managed`
    Managed,
    /// `open, full jitter`
    FullJitter,
    /// `open, poll 1 ms`
    Poll,
    /// `open, dagster`
    Dagster,
    /// `lock, then open`
    BlockingLock,
    /// `one process keeps the file`
    Kept,
}

/// How a wait for the file ended, and how long it took.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wait {
    /// What was wanted has been done.
    Over(Duration),
    /// It could not be done in time.
    GivenUp(Duration),
}

/// One process's way to a file.
pub struct Client {
    path: PathBuf,
    writer: u8,
    rows: u64,
    way: Way,
}

enum Way {
    Managed(Manager),
    /// Opens it, and pauses by this policy while another process has it.
    Opening(Policy),
    /// Opens it while it has the lock on a file beside it.
    Locking(File),
    Keeping(Connection),
}

impl Policy {
    /// The floor comes last.
    pub const ALL: [Self; 6] = [
        Self::Managed,
        Self::FullJitter,
        Self::Poll,
        Self::Dagster,
        Self::BlockingLock,
        Self::Kept,
    ];

    /// What it is called in tables and arguments.
    pub fn name(self) -> &'static str {
        match self {
            Self::Managed => "managed",
            Self::FullJitter => "open, full jitter",
            Self::Poll => "open, poll 1 ms",
            Self::Dagster => "open, dagster",
            Self::BlockingLock => "lock, then open",
            Self::Kept => "one process keeps the file",
        }
    }

    /// The one of this name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|policy| policy.name() == name)
    }

    /// Whether it opens the file again and again until that succeeds.
    pub fn polls(self) -> bool {
        matches!(self, Self::FullJitter | Self::Poll | Self::Dagster)
    }

    /// Whether it opens the file for each operation.
    pub fn opens_each_time(self) -> bool {
        self.polls() || self == Self::BlockingLock
    }

    /// A way to the file; its rows are those of this writer.
    pub fn client(self, database: &Path, writer: u8) -> Client {
        let way = match self {
            Self::Managed => Way::Managed(manager()),
            Self::FullJitter | Self::Poll | Self::Dagster => Way::Opening(self),
            Self::BlockingLock => {
                let side = File::create(database.with_added_extension("lock"));
                Way::Locking(side.expect("the folder can be written"))
            }
            Self::Kept => {
                let kept = row::open(database, AccessMode::ReadWrite);
                Way::Keeping(kept.expect("nobody else has the file"))
            }
        };
        Client { path: database.into(), writer, rows: 0, way }
    }
}

/// A manager with the defaults, but one thread of DuckDB and waits that do not run out.
pub fn manager() -> Manager {
    let config = Config { duckdb_threads: Some(1), wait_max: WAIT_MAX, ..Config::default() };
    Manager::new(config).expect("the settings are in bounds")
}

/// Lets go of every file that the manager keeps from one lease to the next. No lease may be out.
pub fn close(manager: &Manager) {
    let report = manager.close_all_connections(Drain::within(WAIT_MAX));
    assert!(report.is_complete(), "no lease is out: {report:?}");
}

impl Client {
    /// Stores the next row. When the wait is over it is durable, and the file is free for others. Polling is given
    /// up at `until`, and the last attempt made then.
    ///
    /// The wait ends when the file can be written: when the manager calls the closure of its transaction, or DuckDB
    /// has opened the file.
    pub fn write(&mut self, until: Instant) -> Wait {
        let (writer, number) = (self.writer, self.rows);
        let wait = if let Way::Managed(manager) = &self.way {
            let (begin, mut waited) = (Instant::now(), None);
            let written = manager.transaction(&self.path, |tx| {
                waited.get_or_insert_with(|| begin.elapsed());
                tx.execute(row::INSERT, duckdb::params![writer, number])
            });
            written.expect("the manager writes within the wait");
            Wait::Over(waited.expect("a transaction has run its closure"))
        } else {
            self.hold(AccessMode::ReadWrite, until, |file| row::insert(file, writer, number))
        };
        self.rows += u64::from(matches!(wait, Wait::Over(_)));
        wait
    }

    /// Finds one row of [`row::FILLER`]; otherwise as [`write`](Self::write).
    pub fn read(&mut self, number: u64, until: Instant) -> Wait {
        self.hold(AccessMode::ReadOnly, until, |file| row::find(file, row::FILLER, number))
    }

    /// How many rows it was told are stored.
    pub fn rows(&self) -> u64 {
        self.rows
    }

    /// Lets go of the file, also where it is kept from one operation to the next.
    pub fn close(self) {
        match self.way {
            Way::Managed(manager) => close(&manager),
            Way::Keeping(connection) => row::close(connection),
            Way::Opening(_) | Way::Locking(_) => {}
        }
    }

    fn hold(&self, mode: AccessMode, until: Instant, work: impl FnOnce(&Connection)) -> Wait {
        let begin = Instant::now();
        match &self.way {
            Way::Managed(manager) => {
                let lease = manager.get_with(&self.path, mode, &AcquireOptions::default());
                let lease = lease.expect("the manager gives a lease within the wait");
                let waited = begin.elapsed();
                work(&lease);
                Wait::Over(waited)
            }
            Way::Opening(policy) => {
                let opened = open_when_free(&self.path, mode, Pauses::of(*policy, until));
                let waited = begin.elapsed();
                let Some(connection) = opened else { return Wait::GivenUp(waited) };
                work(&connection);
                row::close(connection);
                Wait::Over(waited)
            }
            Way::Locking(side) => {
                let locked = match mode {
                    AccessMode::ReadOnly => side.lock_shared(),
                    AccessMode::ReadWrite => side.lock(),
                };
                locked.expect("the file system has locks");
                let connection =
                    row::open(&self.path, mode).expect("who has the lock has the file");
                let waited = begin.elapsed();
                work(&connection);
                row::close(connection);
                side.unlock().expect("a lock can be released");
                Wait::Over(waited)
            }
            Way::Keeping(connection) => {
                work(connection);
                Wait::Over(Duration::ZERO)
            }
        }
    }
}

/// `None` if another process still had the file at the last attempt.
fn open_when_free(path: &Path, mode: AccessMode, mut pauses: Pauses) -> Option<Connection> {
    loop {
        match row::open(path, mode) {
            Ok(connection) => return Some(connection),
            Err(error) => {
                let class = ErrorClass::of(&error.to_string());
                assert_eq!(class, ErrorClass::FileLocked, "{error}");
            }
        }
        if !pauses.pause() {
            return None;
        }
    }
}

/// The pauses between the attempts of one wait, the last cut to end when it is given up.
enum Pauses {
    FullJitter(Backoff<'static>),
    Growing(Growing, Instant),
}

/// Each pause is so many times the last.
struct Growing {
    next: Duration,
    factor: u32,
}

impl Pauses {
    fn of(policy: Policy, until: Instant) -> Self {
        match policy {
            Policy::FullJitter => {
                let (base, cap) = (Duration::from_millis(10), Duration::from_secs(1));
                let wait_max = until.saturating_duration_since(Instant::now());
                Self::FullJitter(Backoff::new(base, cap, wait_max))
            }
            Policy::Poll => Self::Growing(Growing::from(Duration::from_millis(1), 1), until),
            Policy::Dagster => Self::Growing(Growing::from(Duration::from_millis(100), 2), until),
            Policy::Managed | Policy::BlockingLock | Policy::Kept => {
                unreachable!("`{}` does not poll", policy.name())
            }
        }
    }

    /// Sleeps for the next; returns false at once when there are no more.
    fn pause(&mut self) -> bool {
        match self {
            Self::FullJitter(backoff) => backoff.pause().is_some(),
            Self::Growing(growing, until) => {
                let pause = growing.next(until.saturating_duration_since(Instant::now()));
                pause.map(std::thread::sleep).is_some()
            }
        }
    }
}

impl Growing {
    fn from(next: Duration, factor: u32) -> Self {
        Self { next, factor }
    }

    fn next(&mut self, remaining: Duration) -> Option<Duration> {
        let pause = self.next.min(remaining);
        self.next = self.next.saturating_mul(self.factor);
        (!pause.is_zero()).then_some(pause)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_policy_stores_its_rows_once_and_lets_go_of_the_file() {
        let folder = tempfile::tempdir().unwrap();
        let until = Instant::now() + WAIT_MAX;
        for policy in Policy::ALL {
            let database = folder.path().join(format!("{}.duckdb", policy as u8));
            row::create(&database, 1);
            let mut client = Policy::named(policy.name()).unwrap().client(&database, 7);
            for _ in 0..3 {
                assert!(matches!(client.write(until), Wait::Over(_)), "{policy:?}");
                assert!(matches!(client.read(0, until), Wait::Over(_)), "{policy:?}");
            }
            assert_eq!(client.rows(), 3);
            client.close();
            row::assert_stored(&database, 7, 3);
        }
    }

    #[test]
    fn dagsters_pauses_double_and_the_last_is_cut() {
        let mut pauses = Growing::from(Duration::from_millis(100), 2);
        let mut next = |remaining| pauses.next(Duration::from_millis(remaining));
        assert_eq!(next(1_000), Some(Duration::from_millis(100)));
        assert_eq!(next(900), Some(Duration::from_millis(200)));
        assert_eq!(next(50), Some(Duration::from_millis(50)));
        assert_eq!(next(0), None);
    }
}
