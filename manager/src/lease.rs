//! Leases: connections that come back by themselves, and come back clean.

use std::fmt;
use std::ops::Deref;
use std::path::Path;
use std::sync::Arc;

use duckdb::Connection;

use crate::config::AccessMode;
use crate::database::{Database, Granted};
use crate::error::Error;
use crate::transaction::{self, Transaction};

/// What both kinds have in common: the debt to give the connection back, paid on drop.
struct Lease {
    database: Arc<Database>,
    mode: AccessMode,
    /// `None` only while it is given back.
    granted: Option<Granted>,
}

impl Lease {
    fn connection(&self) -> &Connection {
        &self.granted.as_ref().expect("a lease has its connection until it is dropped").connection
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        if let Some(granted) = self.granted.take() {
            self.database.release(self.mode, granted);
        }
    }
}

/// A connection that reads one snapshot of a database.
///
/// Given by [`Manager::read`](crate::Manager::read) and returned when it is dropped. It dereferences to a
/// [`duckdb::Connection`] inside one read-only transaction: every query of the lease sees the same state, a
/// write is refused with [`ErrorClass::ReadOnly`](crate::ErrorClass::ReadOnly), and a `BEGIN` fails because
/// there is one already. It may be sent to another thread.
///
/// The lease guards against mistakes, not against intent: a `COMMIT` ends its snapshot and its protection, and
/// after a statement that aborts the transaction (a failed cast, say) it answers nothing more; take a new one.
/// A connection cloned from it ([`duckdb::Connection::try_clone`]), or another database attached to it, is outside
/// of all guarantees: the manager notices both and closes what it can, but cannot undo what was done.
///
/// A lease that is leaked with `mem::forget` keeps the file held until the process ends.
pub struct ReadLease(Lease);

/// The connection that may write a database, alone among all threads and processes.
///
/// Given by [`Manager::write`](crate::Manager::write) and returned when it is dropped: a transaction
/// that is still open then is rolled back, temporary tables are gone. It dereferences to a
/// [`duckdb::Connection`]; use [`transaction`](Self::transaction) for anything that has to be stored as a
/// whole. It may be sent to another thread. What [`ReadLease`] says of clones and attached databases holds here
/// too.
///
/// A lease that is leaked with `mem::forget` keeps the file held until the process ends.
pub struct WriteLease(Lease);

impl ReadLease {
    pub(crate) fn new(database: Arc<Database>, granted: Granted) -> Self {
        Self(Lease { database, mode: AccessMode::ReadOnly, granted: Some(granted) })
    }

    /// The database's canonical path.
    pub fn path(&self) -> &Path {
        self.0.database.path()
    }
}

impl WriteLease {
    pub(crate) fn new(database: Arc<Database>, granted: Granted) -> Self {
        Self(Lease { database, mode: AccessMode::ReadWrite, granted: Some(granted) })
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
        transaction::run(self.0.connection(), self.path(), work)
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
    /// Asked for with [`AccessMode::ReadOnly`].
    Read(ReadLease),
    /// Asked for with [`AccessMode::ReadWrite`].
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
