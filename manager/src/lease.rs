//! Leases: connections that come back by themselves, and come back clean.

use std::cell::Cell;
use std::fmt;
use std::ops::Deref;
use std::path::Path;
use std::sync::Arc;

use duckdb::Connection;

use crate::config::AccessMode;
use crate::database::{Database, Granted, Used};
use crate::error::Error;
use crate::transaction::{self, Bare, NotStored, Transaction};

/// What both kinds have in common: the debt to give the connection back, paid on drop.
struct Lease {
    database: Arc<Database>,
    /// `None` only while it is given back.
    granted: Option<Granted>,
    used: Cell<Used>,
}

impl Lease {
    fn new(database: Arc<Database>, granted: Granted) -> Self {
        Self { database, granted: Some(granted), used: Cell::new(Used::ByManager) }
    }

    fn granted(&self) -> &Granted {
        self.granted.as_ref().expect("a lease has its connection until it is dropped")
    }

    /// For the user, who may do anything on it.
    fn connection(&self) -> &Connection {
        assert!(
            !self.database.is_forked(),
            "a lease of the parent process is used in a forked child: `{}`",
            self.database.path().display()
        );
        self.used.set(Used::Freely);
        &self.granted().connection
    }

    fn unbind(&self) {
        self.database.unbind(self.granted().number);
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        if let Some(granted) = self.granted.take() {
            let is_leaked = faulty!(Fault::LeaseLeaked)
                && self.used.get() == Used::Freely
                && granted.mode == AccessMode::ReadWrite;
            if is_leaked || (faulty!(Fault::LeaseLostInPanic) && std::thread::panicking()) {
                return std::mem::forget(granted);
            }
            self.database.release(granted, self.used.get());
        }
    }
}

/// A connection that reads one snapshot of a database.
///
/// Given by [`Manager::read`](crate::Manager::read) and returned when it is dropped. It dereferences to a
/// [`duckdb::Connection`] on which every query sees the same state and a write is refused with
/// [`ErrorClass::ReadOnly`](crate::ErrorClass::ReadOnly). Where this process holds the file to read, the file itself is
/// attached so. Beside a writer of this process the lease is one read-only transaction instead: there a `BEGIN` fails, as
/// there is one already, and a `COMMIT` ends the snapshot and the protection.
///
/// It may be sent to another thread. The thread that took it cannot take another lease of that database until it is
/// back ([`Error::Nested`](crate::Error::Nested)), unless it is [unbound](Self::unbind).
///
/// The lease guards against mistakes, not against intent. A connection cloned from it
/// ([`duckdb::Connection::try_clone`]), or another database attached to it, is outside of all guarantees: the manager
/// notices both and closes what it can, but cannot undo what was done. What a lease registers in the instance
/// itself (a function, a secret, an extension) is there for the next one.
///
/// A lease that is leaked with `mem::forget` keeps the file held until the process ends; it is reported when it is older
/// than [`Config::lease_age_max`](crate::Config::lease_age_max), and whoever waits for it is told the line that
/// took it.
///
/// # Panics
///
/// Dereferencing it panics in a forked child of the process that took it. Dropping it there does nothing.
pub struct ReadLease(Lease);

/// The connection that may write a database, alone among all threads and processes.
///
/// Given by [`Manager::write`](crate::Manager::write) and returned when it is dropped: a transaction
/// that is still open then is rolled back, temporary tables are gone. It dereferences to a
/// [`duckdb::Connection`]; use [`transaction`](Self::transaction) for anything that has to be stored as a
/// whole. What [`ReadLease`] says of other threads, clones, attached databases, leaks and forks holds here too.
pub struct WriteLease(Lease);

impl ReadLease {
    pub(crate) fn new(database: Arc<Database>, granted: Granted) -> Self {
        Self(Lease::new(database, granted))
    }

    /// Lets the thread that took this lease take another one while it is out: for a lease that another thread uses and
    /// returns. Whoever waits for a lease that its own thread has waits until the deadline, so do this only then.
    #[must_use = "the lease is returned when it is dropped"]
    pub fn unbind(self) -> Self {
        self.0.unbind();
        self
    }

    /// The database's canonical path.
    pub fn path(&self) -> &Path {
        self.0.database.path()
    }
}

impl WriteLease {
    pub(crate) fn new(database: Arc<Database>, granted: Granted) -> Self {
        Self(Lease::new(database, granted))
    }

    /// As [`ReadLease::unbind`].
    #[must_use = "the lease is returned when it is dropped"]
    pub fn unbind(self) -> Self {
        self.0.unbind();
        self
    }

    /// The database's canonical path.
    pub fn path(&self) -> &Path {
        self.0.database.path()
    }

    /// Runs `work` in one transaction and commits it. `Ok` means it is stored and survives any kill.
    ///
    /// Rolled back, with nothing stored, if `work` returns an error, if it panics, or if any statement of its
    /// [`Transaction`] failed even though `work` went on: DuckDB answers the COMMIT of an aborted transaction with
    /// success and stores nothing, so no such commit is sent. Of statements on the bare connection, those count
    /// that abort the transaction; an unknown table or a syntax error does not.
    ///
    /// Blocks for the time its statements take; it waits for nobody.
    ///
    /// # Errors
    ///
    /// * Whatever `work` returns.
    /// * [`Error::Poisoned`] if a statement failed and `work` returned `Ok`.
    /// * [`Error::TransactionEnded`] if `work` sent a COMMIT or ROLLBACK of its own.
    /// * [`Error::Database`] if the commit was refused; nothing is stored.
    /// * [`Error::UnknownOutcome`] if the commit was cut off.
    /// * [`Error::Forked`] in a forked child of the process that took the lease, also where `work` forked; nothing is stored
    ///   there.
    ///
    /// # Example
    ///
    /// ```
    /// # use manager::{Config, Error, Manager};
    /// # let folder = tempfile::tempdir().unwrap();
    /// # let path = folder.path().join("x.duckdb");
    /// let manager = Manager::new(Config::default())?;
    /// let lease = manager.write(&path)?;
    /// lease.execute_batch("CREATE TABLE t (a INTEGER PRIMARY KEY)")?;
    /// lease.transaction(|tx| tx.execute("INSERT INTO t VALUES (1)", []))?;
    ///
    /// let refused: Result<(), Error> = lease.transaction(|tx| {
    ///     tx.execute("INSERT INTO t VALUES (2)", [])?;
    ///     let _ignored = tx.execute("INSERT INTO t VALUES (1)", []); // a duplicate: it fails
    ///     Ok(())
    /// });
    /// assert!(matches!(refused, Err(Error::Poisoned { .. })));
    /// let rows: i64 = lease.query_row("SELECT count(*) FROM t", [], |row| row.get(0))?;
    /// assert_eq!(rows, 1);
    /// # Ok::<(), Error>(())
    /// ```
    pub fn transaction<T, E: From<Error>>(
        &self,
        work: impl FnOnce(&Transaction<'_>) -> Result<T, E>,
    ) -> Result<T, E> {
        let database = &self.0.database;
        database.refuse_forked()?;
        let ran = transaction::run(self.0.connection(), database, Bare::Reachable, work);
        ran.map_err(|not_stored| not_stored.error)
    }

    /// [`transaction`](Self::transaction) for a closure that cannot reach this lease.
    pub(crate) fn closed_transaction<T, E: From<Error>>(
        &self,
        work: impl FnOnce(&Transaction<'_>) -> Result<T, E>,
    ) -> Result<T, NotStored<T, E>> {
        let connection = &self.0.granted().connection;
        transaction::run(connection, &self.0.database, Bare::OutOfReach, work)
    }
}

impl Deref for ReadLease {
    type Target = Connection;

    fn deref(&self) -> &Connection {
        self.0.connection()
    }
}

impl Deref for WriteLease {
    type Target = Connection;

    fn deref(&self) -> &Connection {
        self.0.connection()
    }
}

impl fmt::Debug for ReadLease {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("ReadLease").field(&self.path()).finish()
    }
}

impl fmt::Debug for WriteLease {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("WriteLease").field(&self.path()).finish()
    }
}

/// Either kind of lease, where the mode is a value: what [`Manager::get_with`](crate::Manager::get_with)
/// returns.
#[derive(Debug)]
pub enum AnyLease {
    /// Asked for with [`AccessMode::ReadOnly`](crate::AccessMode::ReadOnly).
    Read(ReadLease),
    /// Asked for with [`AccessMode::ReadWrite`](crate::AccessMode::ReadWrite).
    Write(WriteLease),
}

impl Deref for AnyLease {
    type Target = Connection;

    fn deref(&self) -> &Connection {
        match self {
            Self::Read(lease) => lease,
            Self::Write(lease) => lease,
        }
    }
}
