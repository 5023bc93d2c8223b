//! The public face: leases, phases, closing, status.

use std::panic::Location;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use duckdb::Connection;
use parking_lot::Mutex;

use crate::config::{AccessMode, AcquireOptions, Config};
use crate::create;
use crate::database::Database;
use crate::error::Error;
use crate::gate::phase::PhaseHold;
use crate::gate::record::Phase;
use crate::gate::state::Drained;
use crate::lease::{AnyLease, ReadLease, WriteLease};
use crate::observer::{Context, LeaseEvent, Observer};
use crate::registry::{self, ManagerId};
use crate::retry::Backoff;
use crate::seam::clock;
use crate::status::{CloseReport, Status};
use crate::transaction::Transaction;

/// How long closing waits for the leases that are out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Drain {
    /// From the call on. Zero closes what is idle and reports the rest.
    pub wait_max: Duration,
}

/// Gives leases on DuckDB files, one writer or many readers at a time over all processes, in turn.
///
/// A file is held only while leases on it are out. A manager is cheap to clone, and its clones are one
/// manager; two managers in one process cannot have the same file, as its settings belong to one of them.
///
/// # Example
///
/// ```
/// use manager::{Config, Drain, Manager};
///
/// # let folder = tempfile::tempdir().unwrap();
/// # let path = folder.path().join("features.duckdb");
/// let manager = Manager::new(Config { label: "training".into(), ..Config::default() })?;
/// manager.create(&path, |new| {
///     Ok::<_, manager::Error>(new.execute_batch("CREATE TABLE feature (name VARCHAR, value DOUBLE)")?)
/// })?;
///
/// let phase = manager.training_phase(&path)?;
/// manager.transaction(&path, |tx| tx.execute("INSERT INTO feature VALUES ('rsi_14', 0.7)", []))?;
/// drop(phase);
///
/// let phase = manager.evaluation_phase(&path)?;
/// let value: f64 = manager.read(&path)?.query_row("SELECT value FROM feature", [], |row| row.get(0))?;
/// assert_eq!(value, 0.7);
/// assert!(manager.write(&path).is_err(), "nobody writes while somebody evaluates");
/// drop(phase);
///
/// let report = manager.close_all_connections(Drain { wait_max: std::time::Duration::ZERO });
/// assert!(report.is_complete());
/// # Ok::<(), manager::Error>(())
/// ```
#[derive(Clone)]
pub struct Manager {
    shared: Arc<Shared>,
}

struct Shared {
    id: ManagerId,
    context: Arc<Context>,
    /// Keeps each database's warm instance from one lease to the next.
    databases: Mutex<Vec<Arc<Database>>>,
}

impl Manager {
    /// A manager with these settings. Opens nothing.
    ///
    /// # Errors
    ///
    /// * [`Error::Config`] if a setting is out of bounds.
    pub fn new(config: Config) -> Result<Self, Error> {
        Self::build(config, None)
    }

    /// A manager that tells `observer` of every lease. Opens nothing.
    ///
    /// # Errors
    ///
    /// * [`Error::Config`] if a setting is out of bounds.
    pub fn with_observer(config: Config, observer: Arc<dyn Observer>) -> Result<Self, Error> {
        Self::build(config, Some(observer))
    }

    fn build(config: Config, observer: Option<Arc<dyn Observer>>) -> Result<Self, Error> {
        static MANAGERS: AtomicU64 = AtomicU64::new(0);
        config.validate()?;
        let id = ManagerId(MANAGERS.fetch_add(1, Ordering::Relaxed)); // only has to be unique
        let context = Arc::new(Context { config, observer });
        Ok(Self { shared: Arc::new(Shared { id, context, databases: Mutex::default() }) })
    }

    /// Waits for a read lease: a connection that sees one snapshot of the database.
    ///
    /// Runs beside other readers of any process and beside the writer of this one. Threads of one process
    /// are served in order of arrival, and so are processes, but that a process serves its own threads first as long as
    /// its hold is younger than [`Config::hold_max`]. Readers that arrive behind a waiting writer wait behind it.
    ///
    /// Blocks for at most [`Config::wait_max`], plus the time that DuckDB needs to attach (about 1 ms; 12
    /// ms more for the first lease of a database in a process; longer if a write-ahead log has to be
    /// replayed). Do not call it from an async task, nor in a thread that holds a write lease of a database in
    /// the way: that waits for itself until the deadline.
    ///
    /// # Errors
    ///
    /// * [`Error::TimedOut`], naming the holders, if the wait ran out. Retryable.
    /// * [`Error::HeldOutside`] if a program without the gate held the file until then. Retryable.
    /// * [`Error::AlreadyManaged`] if this process has the file under another manager or name.
    /// * [`Error::Unusable`] if there is no such database, or it cannot be opened.
    /// * [`Error::Gate`] if the gate file cannot be used.
    ///
    /// # Example
    ///
    /// ```
    /// use manager::{Config, ErrorClass, Manager};
    ///
    /// let manager = Manager::new(Config::default())?;
    /// let refused = manager.read("no/such.duckdb").unwrap_err();
    /// assert_eq!(refused.class(), Some(ErrorClass::Missing));
    /// # Ok::<(), manager::Error>(())
    /// ```
    #[track_caller]
    pub fn read(&self, path: impl AsRef<Path>) -> Result<ReadLease, Error> {
        self.read_within(path.as_ref(), self.shared.context.config.wait_max, Location::caller())
    }

    /// Waits for the write lease. A database that does not exist is created, empty.
    ///
    /// At most one write lease is out per file, over all threads and processes. Blocks as
    /// [`read`](Self::read) does, and drops are not free: giving the last lease back detaches the
    /// file, which checkpoints what was written (about 2 to 20 ms).
    ///
    /// # Errors
    ///
    /// Those of [`read`](Self::read), and
    ///
    /// * [`Error::EvaluationIsOn`] while an evaluation phase is on, unless the configuration allows writes
    ///   then. Retryable.
    #[track_caller]
    pub fn write(&self, path: impl AsRef<Path>) -> Result<WriteLease, Error> {
        self.write_within(path.as_ref(), self.shared.context.config.wait_max, Location::caller())
    }

    /// Waits for a lease whose mode is a value, with options of its own. The Python system's
    /// `get_duckdb_connection(path, mode)`.
    ///
    /// # Errors
    ///
    /// Those of [`read`](Self::read) or [`write`](Self::write).
    #[track_caller]
    pub fn get_with(
        &self,
        path: impl AsRef<Path>,
        mode: AccessMode,
        options: &AcquireOptions,
    ) -> Result<AnyLease, Error> {
        let wait_max = options.wait_max.unwrap_or(self.shared.context.config.wait_max);
        let location = Location::caller();
        Ok(match mode {
            AccessMode::ReadOnly => {
                AnyLease::Read(self.read_within(path.as_ref(), wait_max, location)?)
            }
            AccessMode::ReadWrite => {
                AnyLease::Write(self.write_within(path.as_ref(), wait_max, location)?)
            }
        })
    }

    /// Creates a database and fills it, unless it exists. Returns whether it did.
    ///
    /// The database appears under its name wholly or not at all, whoever else creates it at the same time and
    /// wherever this process is killed. `fill` gets an ordinary connection to the database while it still has
    /// a temporary name in the same folder; what it leaves in the file when it returns is what appears.
    ///
    /// Blocks for at most [`Config::wait_max`] until other creators are done, plus the time of `fill`.
    ///
    /// # Errors
    ///
    /// * Whatever `fill` returns; nothing is left behind then.
    /// * [`Error::TimedOut`], [`Error::Gate`], [`Error::Database`] and [`Error::Io`] as they say.
    /// * [`Error::Unusable`] with [`ErrorClass::Missing`](crate::ErrorClass::Missing) if the folder does not
    ///   exist.
    pub fn create<E: From<Error>>(
        &self,
        path: impl AsRef<Path>,
        fill: impl FnOnce(&Connection) -> Result<(), E>,
    ) -> Result<bool, E> {
        let config = &self.shared.context.config;
        create::create(path.as_ref(), config, config.wait_max, fill)
    }

    /// Takes the write lease, runs `work` in one transaction, commits, and gives the lease back. Runs the whole
    /// of it again when it lost a race to another transaction.
    ///
    /// `work` may therefore run several times: let it change nothing but the database. It is rerun only while
    /// nothing was stored; an outcome that nobody can tell is returned, not retried.
    ///
    /// Blocks for at most [`Config::wait_max`] over all attempts and pauses, plus the time of the last `work`.
    ///
    /// # Errors
    ///
    /// Those of [`write`](Self::write) and of [`WriteLease::transaction`].
    #[track_caller]
    pub fn transaction<T>(
        &self,
        path: impl AsRef<Path>,
        mut work: impl FnMut(&Transaction<'_>) -> Result<T, Error>,
    ) -> Result<T, Error> {
        let location = Location::caller();
        let deadline = clock::deadline_in(self.shared.context.config.wait_max);
        let mut backoff =
            Backoff::until(Duration::from_millis(1), Duration::from_millis(100), deadline);
        loop {
            let remaining = deadline.saturating_duration_since(clock::now());
            let lease = self.write_within(path.as_ref(), remaining, location)?;
            match lease.transaction(&mut work) {
                Err(error @ Error::Database { class, .. }) if class.is_transient() => {
                    drop(lease);
                    let Some(pause) = backoff.pause() else { return Err(error) };
                    let attempt = backoff.attempts();
                    self.shared.context.tell(path.as_ref(), &LeaseEvent::Paused { attempt, pause });
                }
                done => return done,
            }
        }
    }

    /// Enters the training phase of a database, waiting until nobody evaluates any more. A database that does not
    /// exist is created, empty.
    ///
    /// Any number of processes may train together. While they do, an evaluation phase waits. Leave the phase by
    /// dropping the guard; a write lease that is still out then keeps evaluation waiting until it is returned.
    ///
    /// Blocks for at most [`Config::wait_max`]. Entering it in a thread that is in the evaluation phase waits
    /// for itself until then.
    ///
    /// # Errors
    ///
    /// Those of [`read`](Self::read) but [`Error::HeldOutside`]; [`Error::TimedOut`] names who evaluates.
    pub fn training_phase(&self, path: impl AsRef<Path>) -> Result<PhaseGuard, Error> {
        self.enter(
            &self.open_or_create(path.as_ref(), self.shared.context.config.wait_max)?,
            Phase::Training,
        )
    }

    /// Enters the evaluation phase of a database, waiting until nobody trains or writes any more: the training
    /// phases and the write leases of all processes, this one's included.
    ///
    /// Any number of processes may evaluate together. New writers are refused
    /// ([`Config::writes_in_evaluation`]) and a training phase waits until the last has left. Leave the phase by
    /// dropping the guard.
    ///
    /// Blocks for at most [`Config::wait_max`].
    ///
    /// # Errors
    ///
    /// Those of [`read`](Self::read) but [`Error::HeldOutside`]; [`Error::TimedOut`] names who trains or writes.
    pub fn evaluation_phase(&self, path: impl AsRef<Path>) -> Result<PhaseGuard, Error> {
        self.enter(&self.database(path.as_ref())?, Phase::Evaluation)
    }

    /// Waits for the write leases of this manager to come back and lets go of every file that it holds for
    /// writing. New leases wait meanwhile and are given again afterwards.
    ///
    /// Blocks for at most [`Drain::wait_max`] and the checkpoint of what was written.
    pub fn close_write_connections(&self, drain: Drain) -> CloseReport {
        self.close(Drained::Writes, drain)
    }

    /// Waits for all leases of this manager to come back and lets go of every file, one after the other. New
    /// leases of the file that is being closed wait meanwhile and are given again afterwards.
    ///
    /// Blocks for at most [`Drain::wait_max`] and the checkpoint of what was written.
    pub fn close_all_connections(&self, drain: Drain) -> CloseReport {
        self.close(Drained::All, drain)
    }

    /// What this manager has out at this moment. Does not block.
    pub fn status(&self) -> Status {
        let databases = registry::databases_of(self.shared.id);
        Status { databases: databases.iter().map(|database| database.status()).collect() }
    }

    fn read_within(
        &self,
        path: &Path,
        wait_max: Duration,
        location: &'static Location<'static>,
    ) -> Result<ReadLease, Error> {
        let database = self.database(path)?;
        let granted = database.acquire(AccessMode::ReadOnly, wait_max, location)?;
        Ok(ReadLease::new(database, granted))
    }

    fn write_within(
        &self,
        path: &Path,
        wait_max: Duration,
        location: &'static Location<'static>,
    ) -> Result<WriteLease, Error> {
        let deadline = clock::deadline_in(wait_max);
        let database = self.open_or_create(path, wait_max)?;
        let remaining = deadline.saturating_duration_since(clock::now());
        let granted = database.acquire(AccessMode::ReadWrite, remaining, location)?;
        Ok(WriteLease::new(database, granted))
    }

    fn database(&self, path: &Path) -> Result<Arc<Database>, Error> {
        let database = registry::database(path, self.shared.id, &self.shared.context)?;
        let mut kept = self.shared.databases.lock();
        if !kept.iter().any(|known| Arc::ptr_eq(known, &database)) {
            // Another file may have been put in the place of one that was known under this path.
            kept.retain(|known| known.path() != database.path());
            kept.push(Arc::clone(&database));
        }
        Ok(database)
    }

    fn open_or_create(&self, path: &Path, wait_max: Duration) -> Result<Arc<Database>, Error> {
        if !path.exists() {
            create::create(path, &self.shared.context.config, wait_max, |_| Ok::<(), Error>(()))?;
        }
        self.database(path)
    }

    fn enter(&self, database: &Arc<Database>, phase: Phase) -> Result<PhaseGuard, Error> {
        let hold = database.enter(phase, self.shared.context.config.wait_max)?;
        Ok(PhaseGuard { phase, path: database.path().into(), _hold: hold })
    }

    fn close(&self, drained: Drained, drain: Drain) -> CloseReport {
        let deadline: Instant = clock::deadline_in(drain.wait_max);
        let mut report = CloseReport::default();
        for database in registry::databases_of(self.shared.id) {
            if database.drain(drained, deadline) {
                report.closed.push(database.path().into());
            } else {
                report.still_out.push(database.status());
            }
        }
        report
    }
}

/// A phase that this process is in. It is left when this is dropped, or when the process dies.
#[must_use = "the phase is left as soon as its guard is dropped"]
pub struct PhaseGuard {
    phase: Phase,
    path: PathBuf,
    _hold: Arc<PhaseHold>,
}

impl PhaseGuard {
    /// Which phase.
    pub fn phase(&self) -> Phase {
        self.phase
    }

    /// Of which database, by its canonical path.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl std::fmt::Debug for PhaseGuard {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PhaseGuard")
            .field("phase", &self.phase)
            .field("path", &self.path)
            .finish_non_exhaustive()
    }
}
