//! The public face: leases, phases, closing, status.

use std::collections::BTreeMap;
use std::panic::Location;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use duckdb::Connection;

use crate::config::{AccessMode, AcquireOptions, Config};
use crate::create;
use crate::database::{Database, Taker};
use crate::error::{Error, Wanted};
use crate::gate::record::Phase;
use crate::gate::state::Drained;
use crate::lease::{AnyLease, ReadLease, WriteLease};
use crate::observer::{Context, LeaseEvent, Observer};
use crate::phases::PhaseGuard;
use crate::registry::{self, ManagerId};
use crate::retry::Backoff;
use crate::seam::clock;
use crate::seam::file_id::FileId;
use crate::seam::patience::{Cancel, Patience};
use crate::seam::sync::Mutex;
use crate::status::{CloseReport, Drain, Status};
use crate::transaction::{Transaction, TransactionOptions};

mod builder;

pub use builder::ManagerBuilder;

/// Gives leases on DuckDB files, one writer or many readers at a time over all processes, in turn.
///
/// A file stays attached after the last lease on it, so that the next one costs microseconds, and goes to another process
/// at once when that asks for it, within milliseconds. Programs that do not use the gate cannot ask: they get it
/// [`Config::idle_max`] (1 s) after the last lease, or when it is [closed](Self::close_all_connections).
///
/// A manager is cheap to clone, and its clones are one manager; two managers in one process cannot have the same file,
/// as its settings belong to one of them. Each database that is used has a thread of its own, the keeper, which sleeps
/// until the file is asked for. A process that forks: the child's managers refuse everything
/// ([`Error::Forked`]); one that starts another program needs no care.
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
/// let report = manager.close_all_connections(Drain::default());
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
    /// By the paths under which they were asked for. Keeps each database's warm instance from one lease to the next.
    databases: Mutex<BTreeMap<PathBuf, (FileId, Arc<Database>)>>,
}

impl Manager {
    /// A manager with these settings. Opens nothing.
    ///
    /// # Errors
    ///
    /// * [`Error::Config`] if a setting is out of bounds.
    pub fn new(config: Config) -> Result<Self, Error> {
        Self::builder(config).build()
    }

    /// A manager that tells `observer` of every lease. Opens nothing.
    ///
    /// # Errors
    ///
    /// * [`Error::Config`] if a setting is out of bounds.
    pub fn with_observer(config: Config, observer: Arc<dyn Observer>) -> Result<Self, Error> {
        Self::builder(config).observer(observer).build()
    }

    /// Begins a manager with these settings, an observer or a stream of pauses.
    ///
    /// # Example
    ///
    /// ```
    /// use std::sync::Arc;
    /// use manager::{Config, Manager, SeededJitter};
    ///
    /// let manager = Manager::builder(Config::from_env()?).jitter(Arc::new(SeededJitter::new(0x2a))).build()?;
    /// assert_eq!(manager.status().leases_out(), 0);
    /// # Ok::<(), manager::Error>(())
    /// ```
    pub fn builder(config: Config) -> ManagerBuilder {
        ManagerBuilder::new(config)
    }

    /// Waits for a read lease: a connection that sees one snapshot of the database.
    ///
    /// Runs beside other readers of any process and beside the writer of this one. Threads of one process
    /// are served in order of arrival, and so are processes, but that a process serves its own threads first as long as
    /// its hold is younger than [`Config::hold_max`]. Readers that arrive behind a waiting writer wait behind it.
    ///
    /// Takes microseconds while this process has the file. Otherwise it blocks for at most [`Config::wait_max`], plus the
    /// time that DuckDB needs to attach (about 1 ms; 12 ms more for the first lease of a database in a process;
    /// longer if a write-ahead log has to be replayed). Do not call it from an async task. Beside a writer of this
    /// process it takes about 35 µs more in all, for the transaction that keeps its snapshot: half of that when it is
    /// returned.
    ///
    /// # Errors
    ///
    /// * [`Error::TimedOut`], naming the holders, if the wait ran out. Retryable.
    /// * [`Error::HeldOutside`] if a program without the gate held the file until then. Retryable.
    /// * [`Error::AlreadyManaged`] if this process has the file under another manager or name.
    /// * [`Error::OpenHere`] if this process has opened the file without the manager.
    /// * [`Error::Nested`] if this thread has a lease of the database.
    /// * [`Error::Unusable`] if there is no such database, or it cannot be opened; [`Error::Quarantined`] if it is damaged.
    /// * [`Error::Gate`] if the gate file cannot be used.
    /// * [`Error::Forked`] in a child of the process that made the manager.
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
        let location = Location::caller();
        self.read_as(path.as_ref(), &AcquireOptions::default(), Taker::Thread, location)
    }

    /// Waits for the write lease. A database that does not exist is created, empty.
    ///
    /// At most one write lease is out per file, over all threads and processes. Blocks as
    /// [`read`](Self::read) does. Giving the last lease back while another process waits detaches the file, and
    /// folds its write-ahead log into it first if that has become long ([`Config::checkpoint_wal_bytes`]).
    ///
    /// # Errors
    ///
    /// Those of [`read`](Self::read), and
    ///
    /// * [`Error::EvaluationIsOn`] while an evaluation phase is on, unless the configuration allows writes
    ///   then. Retryable.
    #[track_caller]
    pub fn write(&self, path: impl AsRef<Path>) -> Result<WriteLease, Error> {
        let location = Location::caller();
        self.write_as(path.as_ref(), &AcquireOptions::default(), Taker::Thread, location)
    }

    /// Waits for a lease whose mode is a value, with options of its own. The Python system's
    /// `get_duckdb_connection(path, mode)`.
    ///
    /// # Errors
    ///
    /// Those of [`read`](Self::read) or [`write`](Self::write); [`Error::Cancelled`].
    #[track_caller]
    pub fn get_with(
        &self,
        path: impl AsRef<Path>,
        mode: AccessMode,
        options: &AcquireOptions,
    ) -> Result<AnyLease, Error> {
        let location = Location::caller();
        Ok(match mode {
            AccessMode::ReadOnly => {
                AnyLease::Read(self.read_as(path.as_ref(), options, Taker::Thread, location)?)
            }
            AccessMode::ReadWrite => {
                AnyLease::Write(self.write_as(path.as_ref(), options, Taker::Thread, location)?)
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
    /// * [`Error::TimedOut`], [`Error::Gate`], [`Error::Database`] and [`Error::Io`] as they say; nothing is left behind.
    /// * [`Error::UnknownOutcome`] if its folder could not be synced: the database is there, but a loss of power may take
    ///   it.
    /// * [`Error::Unusable`] with [`ErrorClass::Missing`](crate::ErrorClass::Missing) if the folder does not
    ///   exist.
    pub fn create<E: From<Error>>(
        &self,
        path: impl AsRef<Path>,
        fill: impl FnOnce(&Connection) -> Result<(), E>,
    ) -> Result<bool, E> {
        let context = &self.shared.context;
        context.refuse_forked(path.as_ref(), Wanted::Creation)?;
        create::create(path.as_ref(), &context.config, context.config.wait_max, None, fill)
    }

    /// Takes the write lease, runs `work` in one transaction, commits, and gives the lease back. Runs the whole
    /// of it again when it lost a race to another transaction.
    ///
    /// # Idempotence
    ///
    /// `work` may run several times, and its effects outside of the database then happen several times. It is run
    /// again only while nothing of it was stored, so its effects on the database happen once. A commit that was cut off
    /// is stored wholly or not at all, and nobody can tell which: that is [`Error::UnknownOutcome`], and `work` is not
    /// run again, unless [`TransactionOptions::is_stored`] can look. If that fails, the outcome stays unknown.
    ///
    /// Blocks for at most [`Config::wait_max`] over all attempts and pauses, plus the time of the last `work`. Between
    /// two attempts it sleeps without a lease, from zero to 1 ms and up to 100 ms, drawn from the manager's stream.
    ///
    /// # Errors
    ///
    /// Those of [`write`](Self::write) and of [`WriteLease::transaction`].
    #[track_caller]
    pub fn transaction<T>(
        &self,
        path: impl AsRef<Path>,
        work: impl FnMut(&Transaction<'_>) -> Result<T, Error>,
    ) -> Result<T, Error> {
        self.transaction_as(path.as_ref(), &TransactionOptions::default(), work, Location::caller())
    }

    /// [`transaction`](Self::transaction) with limits of its own, and a look at what a commit that was cut off has stored.
    ///
    /// # Errors
    ///
    /// Those of [`transaction`](Self::transaction); [`Error::Cancelled`].
    ///
    /// # Example
    ///
    /// ```
    /// # use manager::{Config, Error, Manager, TransactionOptions};
    /// # let folder = tempfile::tempdir().unwrap();
    /// # let path = folder.path().join("x.duckdb");
    /// let manager = Manager::new(Config::default())?;
    /// manager.write(&path)?.execute_batch("CREATE TABLE event (id VARCHAR)")?;
    /// let id = "drawn-for-this-event";
    /// let is_stored = |connection: &manager::duckdb::Connection| -> Result<bool, Error> {
    ///     Ok(connection.query_row("SELECT count(*) > 0 FROM event WHERE id = ?", [id], |row| row.get(0))?)
    /// };
    /// let options = TransactionOptions { attempts_max: Some(3), is_stored: Some(&is_stored), ..Default::default() };
    /// manager.transaction_with(&path, &options, |tx| tx.execute("INSERT INTO event VALUES (?)", [id]))?;
    /// # Ok::<(), Error>(())
    /// ```
    #[track_caller]
    pub fn transaction_with<T>(
        &self,
        path: impl AsRef<Path>,
        options: &TransactionOptions<'_>,
        work: impl FnMut(&Transaction<'_>) -> Result<T, Error>,
    ) -> Result<T, Error> {
        self.transaction_as(path.as_ref(), options, work, Location::caller())
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
        self.phase_with(path, Phase::Training, &AcquireOptions::default())
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
        self.phase_with(path, Phase::Evaluation, &AcquireOptions::default())
    }

    /// Enters a phase that is a value, with options of its own. Whoever enters evaluation gives up a write hold that its own
    /// process keeps without using it; that folds its log into the file, which no wait of the options limits.
    ///
    /// # Errors
    ///
    /// Those of [`training_phase`](Self::training_phase) or [`evaluation_phase`](Self::evaluation_phase);
    /// [`Error::Cancelled`].
    pub fn phase_with(
        &self,
        path: impl AsRef<Path>,
        phase: Phase,
        options: &AcquireOptions,
    ) -> Result<PhaseGuard, Error> {
        self.shared.context.refuse_forked(path.as_ref(), Wanted::Phase(phase))?;
        let database = match phase {
            Phase::Training => self.open_or_create(path.as_ref(), options)?,
            Phase::Evaluation => self.database(path.as_ref())?,
        };
        database.enter(phase, options).map(PhaseGuard::new)
    }

    /// Waits for the write leases of this manager to come back and lets go of every file that it holds for
    /// writing. New leases wait meanwhile and are given again afterwards.
    ///
    /// Blocks for at most [`Drain::wait_max`] and the checkpoint of what was written.
    pub fn close_write_connections(&self, drain: Drain) -> CloseReport {
        self.close(Drained::Writes, drain, None)
    }

    /// Waits for all leases of this manager to come back and lets go of every file, one after the other. New
    /// leases of the file that is being closed wait meanwhile and are given again afterwards.
    ///
    /// Blocks for at most [`Drain::wait_max`] and the checkpoint of what was written.
    pub fn close_all_connections(&self, drain: Drain) -> CloseReport {
        self.close(Drained::All, drain, None)
    }

    /// What this manager has out at this moment. Does not block.
    pub fn status(&self) -> Status {
        let databases = registry::databases_of(self.shared.id);
        Status { databases: databases.iter().map(|database| database.status()).collect() }
    }

    pub(crate) fn config(&self) -> &Config {
        &self.shared.context.config
    }

    pub(crate) fn read_as(
        &self,
        path: &Path,
        options: &AcquireOptions,
        taker: Taker,
        location: &'static Location<'static>,
    ) -> Result<ReadLease, Error> {
        self.shared.context.refuse_forked(path, Wanted::Lease(AccessMode::ReadOnly))?;
        let database = self.database(path)?;
        let granted = database.acquire(AccessMode::ReadOnly, options, taker, location)?;
        Ok(ReadLease::new(database, granted))
    }

    pub(crate) fn write_as(
        &self,
        path: &Path,
        options: &AcquireOptions,
        taker: Taker,
        location: &'static Location<'static>,
    ) -> Result<WriteLease, Error> {
        self.shared.context.refuse_forked(path, Wanted::Lease(AccessMode::ReadWrite))?;
        let database = self.open_or_create(path, options)?;
        let granted = database.acquire(AccessMode::ReadWrite, options, taker, location)?;
        Ok(WriteLease::new(database, granted))
    }

    pub(crate) fn transaction_as<T>(
        &self,
        path: &Path,
        options: &TransactionOptions<'_>,
        mut work: impl FnMut(&Transaction<'_>) -> Result<T, Error>,
        location: &'static Location<'static>,
    ) -> Result<T, Error> {
        let context = &self.shared.context;
        let deadline = clock::deadline_in(options.wait_max.unwrap_or(context.config.wait_max));
        let patience = Patience::with(deadline, options.cancel.clone());
        let attempts_max = options.attempts_max.unwrap_or(context.config.transaction_attempts_max);
        let (base, cap) = (Duration::from_millis(1), Duration::from_millis(100));
        let mut backoff = Backoff::drawn(base, cap, patience, &*context.jitter);
        let remaining = || AcquireOptions {
            wait_max: Some(deadline.saturating_duration_since(clock::now())),
            cancel: options.cancel.clone(),
        };
        loop {
            let lease = self.write_as(path, &remaining(), Taker::Thread, location)?;
            let not_stored = match lease.closed_transaction(&mut work) {
                Ok(done) => return Ok(done),
                Err(not_stored) => not_stored,
            };
            let path = lease.path().to_path_buf();
            drop(lease);
            let may_repeat = match &not_stored.error {
                Error::Database { class, .. } => class.is_transient(),
                Error::UnknownOutcome { .. } => match (not_stored.returned, options.is_stored) {
                    (Some(done), Some(is_stored)) => {
                        let lease = self.read_as(&path, &remaining(), Taker::Thread, location);
                        match lease.and_then(|lease| is_stored(&lease)) {
                            Ok(true) => return Ok(done),
                            Ok(false) => true,
                            // Not its error: the caller would repeat what may be stored.
                            Err(error) => {
                                tracing::warn!(path = %path.display(), %error, "cannot look what is stored");
                                false
                            }
                        }
                    }
                    // Of another transaction, which the closure ran, or nobody can look.
                    _ => faulty!(Fault::UnknownOutcomeRepeated),
                },
                _ => false,
            };
            if !may_repeat || backoff.attempts() + 1 >= attempts_max {
                return Err(not_stored.error);
            }
            let Some(pause) = backoff.pause() else { return Err(not_stored.error) };
            context.tell(&path, &LeaseEvent::Paused { attempt: backoff.attempts(), pause });
        }
    }

    pub(crate) fn database(&self, path: &Path) -> Result<Arc<Database>, Error> {
        if let Some(database) = self.known(path) {
            return Ok(database);
        }
        let (id, database) = registry::database(path, self.shared.id, &self.shared.context)?;
        let mut databases = self.shared.databases.lock();
        // Another file may have been put in the place of one that was known under this path, or the file renamed.
        let gone: Vec<_> = databases
            .extract_if(.., |_, (known_id, known)| {
                let same = known.path() == database.path() || *known_id == id;
                same && !Arc::ptr_eq(known, &database)
            })
            .collect();
        databases.insert(path.into(), (id, Arc::clone(&database)));
        drop(databases);
        drop(gone); // lets go of a file that is still kept, and not under the lock
        Ok(database)
    }

    /// The database that was last found under a path, if its file is still called that.
    pub(crate) fn known(&self, path: &Path) -> Option<Arc<Database>> {
        let (id, database) = self.shared.databases.lock().get(path).cloned()?;
        let is_at = |path: &Path| FileId::at(path).is_ok_and(|found| found == id);
        (is_at(path) && (database.path() == path || is_at(database.path()))).then_some(database)
    }

    fn open_or_create(
        &self,
        path: &Path,
        options: &AcquireOptions,
    ) -> Result<Arc<Database>, Error> {
        if let Some(database) = self.known(path) {
            return Ok(database);
        }
        if !path.exists() {
            let config = &self.shared.context.config;
            let wait_max = options.wait_max.unwrap_or(config.wait_max);
            let nothing = |_: &Connection| Ok::<(), Error>(());
            create::create(path, config, wait_max, options.cancel.clone(), nothing)?;
        }
        self.database(path)
    }

    pub(crate) fn close(
        &self,
        drained: Drained,
        drain: Drain,
        cancel: Option<Cancel>,
    ) -> CloseReport {
        let patience = Patience::with(clock::deadline_in(drain.wait_max), cancel);
        let mut report = CloseReport::default();
        for database in registry::databases_of(self.shared.id) {
            let goes_on = !patience.is_cancelled();
            if goes_on && database.drain(drained, &patience, drain.interrupt_after) {
                report.closed.push(database.path().into());
            } else {
                report.still_out.push(database.status());
            }
        }
        report
    }
}
