//! Leases and phases as futures, for tasks of a tokio runtime.
//!
//! A lease that is there for the taking is taken where the future is polled: two stat(2) and some tens of microseconds of
//! DuckDB. Everything else waits, in locks of the kernel and in DuckDB, and neither knows of tasks; so it is done on a
//! thread of the runtime's blocking pool, by the same code that threads use. The future owns that wait ([`Waiting`]):
//! dropped, it cancels it, and the thread is free within milliseconds.
//!
//! A lease is dropped where its task runs, and that thread must not wait either. Closing the connection takes
//! microseconds and is done there. Letting go of the file, if another process wants it by then, may fold the log and takes
//! milliseconds: that is left to the keeper of the database ([`Taker::Task`]). Not to the blocking pool: it may be full, it
//! may be of a runtime that has ended, and a destructor may run where there is none; the keeper is a thread that
//! every database in use has.
//!
//! Nested leases are found by thread, and a task is on none. Leases of tasks are *unbound* from the beginning, and a thread
//! of the pool is not asked what it has.

use std::fmt;
use std::future::Future;
use std::panic::{Location, resume_unwind};
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use duckdb::Connection;
use tokio::runtime::Handle;
use tokio::task::JoinHandle;

use crate::config::{AccessMode, AcquireOptions};
use crate::database::{Database, Granted, Taker};
use crate::error::Error;
use crate::gate::record::Phase;
use crate::gate::state::Drained;
use crate::lease::{AnyLease, ReadLease, WriteLease};
use crate::manager::Manager;
use crate::phases::PhaseGuard;
use crate::seam::clock;
use crate::seam::patience::{Cancel, Patience, Woken};
use crate::status::{CloseReport, Drain};
use crate::transaction::{StoredCheck, Transaction, TransactionOptions};

/// A [`Manager`] whose waits are futures. Needs the feature `tokio`.
///
/// It is the same manager: leases of both kinds queue in one line, and [`manager`](Self::manager) has everything that is
/// not a wait. Cheap to clone. What its methods return does nothing until it is polled, and may be dropped at any time
/// ([`Pending`] says what then).
///
/// The statements of a lease block the thread that they run on, as everything in DuckDB does; run long ones by
/// [`tokio::task::spawn_blocking`], into which a lease can be moved, or use [`transaction`](Self::transaction). A lease
/// that is dropped takes microseconds, unless its transaction has to be rolled back.
/// Dropping the manager lets go of its files, which takes milliseconds: close them before.
///
/// A task may have several leases, also of one database. One that waits for a lease that it has itself
/// waits until the deadline; [`Error::Nested`] is not told to tasks.
///
/// # Example
///
/// ```
/// use manager::{AsyncManager, Config, Drain, Error, Manager};
///
/// # let folder = tempfile::tempdir().unwrap();
/// # let path = folder.path().join("features.duckdb");
/// # let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
/// # runtime.block_on(async {
/// let manager = AsyncManager::new(Manager::new(Config::default())?);
/// manager.transaction(&path, |tx| tx.execute_batch("CREATE TABLE t (a INTEGER); INSERT INTO t VALUES (7)")).await?;
///
/// let lease = manager.read(&path).await?;
/// let a: i64 = tokio::task::spawn_blocking(move || lease.query_row("SELECT a FROM t", [], |row| row.get(0)))
///     .await
///     .expect("a query does not panic")?;
/// assert_eq!(a, 7);
///
/// assert!(manager.close_all_connections(Drain::default()).await?.is_complete());
/// # Ok::<(), Error>(())
/// # }).unwrap();
/// ```
#[derive(Clone)]
pub struct AsyncManager {
    manager: Manager,
}

/// What is waited for: a future of `Result<T, Error>`.
///
/// # Cancel safety
///
/// It may be dropped at any time, before it is polled, while it waits and at the moment at which it is served. It then
/// leaves no place in a queue, no lease, no phase and no process waiting behind it: a wait ends within milliseconds, and
/// what was granted just then is given back. The one thing that is not broken off is DuckDB while it attaches a
/// file (milliseconds; longer if it replays a log).
///
/// # Runtimes
///
/// Where it has to wait it needs a tokio runtime, of any flavour, without its timer; outside of one, and in one that shuts
/// down, it is ready with [`Error::NoRuntime`]. The wait takes a thread of the blocking pool (512 unless the runtime was built
/// otherwise); while none is free it stands in no queue, and its deadline is looked at when one is. A runtime that shuts
/// down drops the futures of its tasks, and their waits end. One that is polled from outside of it, by
/// `Handle::block_on`, goes on waiting, and the shutdown waits for it.
///
/// # Panics
///
/// When polled, if the closure that it runs panics (with the same message), or if the system has no thread for the pool.
#[must_use = "a future does nothing until it is awaited"]
pub struct Pending<T>(Pin<Box<dyn Future<Output = Result<T, Error>> + Send>>);

/// How [`AsyncManager::transaction_with`] runs its closure: [`TransactionOptions`] that a task can own.
#[derive(Clone, Default)]
pub struct AsyncTransactionOptions {
    /// As [`TransactionOptions::wait_max`].
    pub wait_max: Option<Duration>,
    /// As [`TransactionOptions::attempts_max`].
    pub attempts_max: Option<u32>,
    /// Ends the transaction as dropping its future does, with [`Error::Cancelled`]. Default: nothing.
    pub cancel: Option<Cancel>,
    /// As [`TransactionOptions::is_stored`].
    pub is_stored: Option<Arc<OwnedStoredCheck>>,
}

/// Tells whether a transaction whose commit was cut off is stored, on another thread.
pub type OwnedStoredCheck = dyn Fn(&Connection) -> Result<bool, Error> + Send + Sync;

impl AsyncManager {
    /// The futures of a manager.
    pub fn new(manager: Manager) -> Self {
        Self { manager }
    }

    /// The manager itself, for what is not a wait.
    pub fn manager(&self) -> &Manager {
        &self.manager
    }

    /// Waits for a read lease, as [`Manager::read`] does.
    ///
    /// Taken at once, without a thread of the blocking pool, while this process has the file and nobody queues.
    ///
    /// # Errors
    ///
    /// Those of [`Manager::read`] but [`Error::Nested`]; [`Error::NoRuntime`].
    #[track_caller]
    pub fn read(&self, path: impl AsRef<Path>) -> Pending<ReadLease> {
        let (options, location) = (AcquireOptions::default(), Location::caller());
        self.lease(
            AccessMode::ReadOnly,
            path.as_ref(),
            options,
            location,
            Manager::read_as,
            ReadLease::new,
        )
    }

    /// Waits for the write lease, as [`Manager::write`] does. A database that does not exist is created, empty.
    ///
    /// Taken at once as a [read](Self::read) lease is, while this process has the file for writing.
    ///
    /// # Errors
    ///
    /// Those of [`Manager::write`] but [`Error::Nested`]; [`Error::NoRuntime`].
    #[track_caller]
    pub fn write(&self, path: impl AsRef<Path>) -> Pending<WriteLease> {
        let (options, location) = (AcquireOptions::default(), Location::caller());
        self.lease(
            AccessMode::ReadWrite,
            path.as_ref(),
            options,
            location,
            Manager::write_as,
            WriteLease::new,
        )
    }

    /// Waits for a lease whose mode is a value, with options of its own, as [`Manager::get_with`] does.
    ///
    /// # Errors
    ///
    /// Those of [`read`](Self::read) or [`write`](Self::write); [`Error::Cancelled`].
    #[track_caller]
    pub fn get_with(
        &self,
        path: impl AsRef<Path>,
        mode: AccessMode,
        options: AcquireOptions,
    ) -> Pending<AnyLease> {
        let (path, location) = (path.as_ref(), Location::caller());
        match mode {
            AccessMode::ReadOnly => Pending::new({
                let lease =
                    self.lease(mode, path, options, location, Manager::read_as, ReadLease::new);
                async { lease.await.map(AnyLease::Read) }
            }),
            AccessMode::ReadWrite => Pending::new({
                let lease =
                    self.lease(mode, path, options, location, Manager::write_as, WriteLease::new);
                async { lease.await.map(AnyLease::Write) }
            }),
        }
    }

    /// Runs `work` in one transaction, as [`Manager::transaction`] does, on a thread of the blocking pool.
    ///
    /// Dropping the future while `work` runs interrupts its statement, and nothing is stored. Dropped while it commits, the
    /// transaction is stored or not and nobody is told.
    ///
    /// # Errors
    ///
    /// Those of [`Manager::transaction`]; [`Error::NoRuntime`].
    #[track_caller]
    pub fn transaction<T: Send + 'static>(
        &self,
        path: impl AsRef<Path>,
        work: impl FnMut(&Transaction<'_>) -> Result<T, Error> + Send + 'static,
    ) -> Pending<T> {
        self.transaction_as(
            path.as_ref(),
            AsyncTransactionOptions::default(),
            work,
            Location::caller(),
        )
    }

    /// [`transaction`](Self::transaction) with limits of its own, as [`Manager::transaction_with`].
    ///
    /// # Errors
    ///
    /// Those of [`transaction`](Self::transaction); [`Error::Cancelled`].
    #[track_caller]
    pub fn transaction_with<T: Send + 'static>(
        &self,
        path: impl AsRef<Path>,
        options: AsyncTransactionOptions,
        work: impl FnMut(&Transaction<'_>) -> Result<T, Error> + Send + 'static,
    ) -> Pending<T> {
        self.transaction_as(path.as_ref(), options, work, Location::caller())
    }

    /// Enters the training phase, as [`Manager::training_phase`] does, on a thread of the blocking pool.
    ///
    /// # Errors
    ///
    /// Those of [`Manager::training_phase`]; [`Error::NoRuntime`].
    pub fn training_phase(&self, path: impl AsRef<Path>) -> Pending<PhaseGuard> {
        self.phase_with(path, Phase::Training, AcquireOptions::default())
    }

    /// Enters the evaluation phase, as [`Manager::evaluation_phase`] does, on a thread of the blocking pool.
    ///
    /// # Errors
    ///
    /// Those of [`Manager::evaluation_phase`]; [`Error::NoRuntime`].
    pub fn evaluation_phase(&self, path: impl AsRef<Path>) -> Pending<PhaseGuard> {
        self.phase_with(path, Phase::Evaluation, AcquireOptions::default())
    }

    /// Enters a phase that is a value, with options of its own, as [`Manager::phase_with`] does.
    ///
    /// # Errors
    ///
    /// Those of [`Manager::phase_with`]; [`Error::NoRuntime`].
    pub fn phase_with(
        &self,
        path: impl AsRef<Path>,
        phase: Phase,
        options: AcquireOptions,
    ) -> Pending<PhaseGuard> {
        let (manager, path) = (self.manager.clone(), path.as_ref().to_path_buf());
        Pending::new(async move {
            let limit = Limit::new(options.wait_max, &manager);
            let enter = move |cancel| manager.phase_with(&path, phase, &limit.options(cancel));
            wait(options.cancel, enter).await
        })
    }

    /// Waits for the write leases to come back, as [`Manager::close_write_connections`] does, on a thread of
    /// the blocking pool. Dropped meanwhile, it closes nothing more and leases are given again.
    ///
    /// # Errors
    ///
    /// * [`Error::NoRuntime`].
    pub fn close_write_connections(&self, drain: Drain) -> Pending<CloseReport> {
        self.close(Drained::Writes, drain)
    }

    /// Waits for all leases to come back, as [`Manager::close_all_connections`] does, on a thread of the
    /// blocking pool. Dropped meanwhile, it closes nothing more and leases are given again.
    ///
    /// # Errors
    ///
    /// * [`Error::NoRuntime`].
    pub fn close_all_connections(&self, drain: Drain) -> Pending<CloseReport> {
        self.close(Drained::All, drain)
    }

    /// Takes a lease: now if that can be, otherwise by `by_waiting`.
    fn lease<L: Send + 'static>(
        &self,
        mode: AccessMode,
        path: &Path,
        options: AcquireOptions,
        location: &'static Location<'static>,
        by_waiting: ByWaiting<L>,
        made_of: fn(Arc<Database>, Granted) -> L,
    ) -> Pending<L> {
        let (manager, path) = (self.manager.clone(), path.to_path_buf());
        Pending::new(async move {
            if let Some(database) = manager.known(&path)
                && let Some(granted) = database.acquire_now(mode, location)
            {
                return granted.map(|granted| made_of(database, granted));
            }
            let limit = Limit::new(options.wait_max, &manager);
            wait(options.cancel, move |cancel| {
                by_waiting(&manager, &path, &limit.options(cancel), Taker::Task, location)
            })
            .await
        })
    }

    fn transaction_as<T: Send + 'static>(
        &self,
        path: &Path,
        options: AsyncTransactionOptions,
        mut work: impl FnMut(&Transaction<'_>) -> Result<T, Error> + Send + 'static,
        location: &'static Location<'static>,
    ) -> Pending<T> {
        let (manager, path) = (self.manager.clone(), path.to_path_buf());
        Pending::new(async move {
            let limit = Limit::new(options.wait_max, &manager);
            let AsyncTransactionOptions { attempts_max, cancel, is_stored, .. } = options;
            wait(cancel, move |cancel| {
                let options = TransactionOptions {
                    wait_max: Some(limit.rest()),
                    attempts_max,
                    cancel: Some(cancel.clone()),
                    is_stored: is_stored.as_deref().map(|check| check as &StoredCheck<'_>),
                };
                let work = |tx: &Transaction<'_>| tx.until_cancelled(&cancel, &path, &mut work);
                manager.transaction_as(&path, &options, work, location)
            })
            .await
        })
    }

    fn close(&self, drained: Drained, drain: Drain) -> Pending<CloseReport> {
        let manager = self.manager.clone();
        Pending::new(wait(None, move |cancel| Ok(manager.close(drained, drain, Some(cancel)))))
    }
}

/// [`Manager::read_as`] or [`Manager::write_as`].
type ByWaiting<L> =
    fn(&Manager, &Path, &AcquireOptions, Taker, &'static Location<'static>) -> Result<L, Error>;

/// The deadline of a wait. It begins when the future is first polled, not when a thread of the pool is free.
#[derive(Clone, Copy)]
struct Limit(Instant);

impl Limit {
    fn new(wait_max: Option<Duration>, manager: &Manager) -> Self {
        Self(clock::deadline_in(wait_max.unwrap_or(manager.config().wait_max)))
    }

    fn rest(self) -> Duration {
        self.0.saturating_duration_since(clock::now())
    }

    fn options(self, cancel: Cancel) -> AcquireOptions {
        AcquireOptions { wait_max: Some(self.rest()), cancel: Some(cancel) }
    }
}

/// Runs `work` on a thread of the blocking pool. It is given what is cancelled when this is dropped, or `outer` is.
async fn wait<T: Send + 'static>(
    outer: Option<Cancel>,
    work: impl FnOnce(Cancel) -> Result<T, Error> + Send + 'static,
) -> Result<T, Error> {
    let runtime = Handle::try_current().map_err(|_| Error::NoRuntime)?;
    let cancel = Cancel::default();
    // `outer` may be shared with other waits, so it cannot be what a drop cancels.
    let _followed = outer.as_ref().and_then(|outer| follow(outer, &cancel));
    let given = cancel.clone();
    let mut waiting = Waiting { cancel, thread: runtime.spawn_blocking(move || work(given)) };
    match (&mut waiting.thread).await {
        Ok(done) => done,
        Err(error) => match error.try_into_panic() {
            Ok(panic) => resume_unwind(panic),
            Err(_) => Err(Error::NoRuntime),
        },
    }
}

/// Cancels one when the other is, for as long as the result lives.
fn follow(leader: &Cancel, follower: &Cancel) -> Option<Woken> {
    let patience = Patience::with(clock::now(), Some(leader.clone()));
    let woken = patience.on_cancel({
        let follower = follower.clone();
        move || follower.cancel()
    });
    if leader.is_cancelled() {
        follower.cancel();
    }
    woken
}

/// A wait on a thread of the pool, and the debt to end it. What it has got by then is dropped with it: a lease goes
/// back.
struct Waiting<T> {
    cancel: Cancel,
    thread: JoinHandle<Result<T, Error>>,
}

impl<T> Drop for Waiting<T> {
    fn drop(&mut self) {
        self.cancel.cancel();
        self.thread.abort(); // if no thread of the pool has begun with it, none will
    }
}

impl<T> Pending<T> {
    fn new(future: impl Future<Output = Result<T, Error>> + Send + 'static) -> Self {
        Self(Box::pin(future))
    }
}

impl<T> Future for Pending<T> {
    type Output = Result<T, Error>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        self.0.as_mut().poll(context)
    }
}

impl From<Manager> for AsyncManager {
    fn from(manager: Manager) -> Self {
        Self::new(manager)
    }
}

impl fmt::Debug for AsyncTransactionOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AsyncTransactionOptions")
            .field("wait_max", &self.wait_max)
            .field("attempts_max", &self.attempts_max)
            .field("cancel", &self.cancel)
            .field("is_stored", &self.is_stored.is_some())
            .finish()
    }
}

impl<T> fmt::Debug for Pending<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pending").finish_non_exhaustive()
    }
}
