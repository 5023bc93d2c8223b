//! Transactions that are stored when they say so, and only then (I6).

use std::cell::RefCell;
use std::path::Path;

use duckdb::{Appender, Connection, Params, Row};

use crate::class::ErrorClass;
use crate::error::Error;

/// The statements that a closure of [`WriteLease::transaction`](crate::WriteLease::transaction) may run.
///
/// Each method does what the method of the same name does on [`duckdb::Connection`], and remembers if it
/// failed: such a transaction is never committed.
pub struct Transaction<'a> {
    connection: &'a Connection,
    first_failure: RefCell<Option<String>>,
}

impl Transaction<'_> {
    /// Runs one statement and returns how many rows it changed.
    ///
    /// # Errors
    ///
    /// [`Error::Database`]; the transaction is then poisoned.
    pub fn execute(&self, sql: &str, params: impl Params) -> Result<usize, Error> {
        self.remember(self.connection.execute(sql, params))
    }

    /// Runs statements separated by semicolons.
    ///
    /// # Errors
    ///
    /// [`Error::Database`]; the transaction is then poisoned.
    pub fn execute_batch(&self, sql: &str) -> Result<(), Error> {
        self.remember(self.connection.execute_batch(sql))
    }

    /// Runs a prepared statement once for each set of parameters and returns how many rows they changed.
    ///
    /// # Errors
    ///
    /// [`Error::Database`]; the transaction is then poisoned.
    pub fn execute_many<P: Params>(
        &self,
        sql: &str,
        rows: impl IntoIterator<Item = P>,
    ) -> Result<usize, Error> {
        self.remember(self.connection.prepare_cached(sql).and_then(|mut statement| {
            rows.into_iter().try_fold(0, |changed, row| Ok(changed + statement.execute(row)?))
        }))
    }

    /// Runs one query and maps each of its rows.
    ///
    /// # Errors
    ///
    /// [`Error::Database`]; the transaction is then poisoned.
    pub fn query<T>(
        &self,
        sql: &str,
        params: impl Params,
        map: impl FnMut(&Row<'_>) -> duckdb::Result<T>,
    ) -> Result<Vec<T>, Error> {
        self.remember(
            self.connection
                .prepare_cached(sql)
                .and_then(|mut statement| statement.query_map(params, map)?.collect()),
        )
    }

    /// Hands an appender for a table to `fill` and flushes it: the cheap way to add many rows.
    ///
    /// # Errors
    ///
    /// [`Error::Database`]; the transaction is then poisoned.
    pub fn append(
        &self,
        table: &str,
        fill: impl FnOnce(&mut Appender<'_>) -> duckdb::Result<()>,
    ) -> Result<(), Error> {
        self.remember(self.connection.appender(table).and_then(|mut appender| {
            fill(&mut appender)?;
            appender.flush()
        }))
    }

    fn remember<T>(&self, result: duckdb::Result<T>) -> Result<T, Error> {
        result.map_err(|error| {
            self.first_failure.borrow_mut().get_or_insert_with(|| error.to_string());
            error.into()
        })
    }
}

/// Runs `work` between BEGIN and COMMIT; see [`WriteLease::transaction`](crate::WriteLease::transaction).
pub(crate) fn run<T, E: From<Error>>(
    connection: &Connection,
    path: &Path,
    work: impl FnOnce(&Transaction<'_>) -> Result<T, E>,
) -> Result<T, E> {
    connection.execute_batch("BEGIN").map_err(|error| E::from(error.into()))?;
    let open = Open { connection };
    let number = number(connection).map_err(|error| E::from(error.into()))?;
    let transaction = Transaction { connection, first_failure: RefCell::new(None) };
    let result = work(&transaction);
    let still_open = self::number(connection);
    if still_open.as_ref().is_ok_and(|&now| now != number) {
        return Err(Error::TransactionEnded { path: path.into() }.into());
    }
    let result = result?;
    // A statement can also have aborted the transaction from the bare connection that the lease dereferences
    // to; asking for the number has then failed like any other.
    let failure = transaction.first_failure.into_inner();
    let failure = failure.or(still_open.err().map(|error| error.to_string()));
    if let Some(first_failure) = failure {
        return Err(Error::Poisoned { path: path.into(), first_failure }.into());
    }
    std::mem::forget(open); // from here on the commit decides
    connection.execute_batch("COMMIT").map_err(|error| commit_failed(path, error))?;
    Ok(result)
}

/// The number of the transaction that is open; outside of one, of a transaction of its own.
fn number(connection: &Connection) -> duckdb::Result<u64> {
    connection.query_row("SELECT txid_current()", [], |row| row.get(0))
}

/// A refused commit has stored nothing. One that failed while it was writing may have stored all of it:
/// after a failed fsync the data was sometimes there when the file was opened again.
fn commit_failed<E: From<Error>>(path: &Path, error: duckdb::Error) -> E {
    let text = error.to_string();
    let refused = matches!(
        ErrorClass::of(&text),
        ErrorClass::Conflict | ErrorClass::Constraint | ErrorClass::DiskFull
    ) && text.contains("Failed to commit");
    if refused {
        E::from(error.into())
    } else {
        E::from(Error::UnknownOutcome { path: path.into(), text })
    }
}

/// A transaction that is rolled back unless it is forgotten: on an error, and when a closure panics.
struct Open<'a> {
    connection: &'a Connection,
}

impl Drop for Open<'_> {
    fn drop(&mut self) {
        if let Err(error) = self.connection.execute_batch("ROLLBACK") {
            // The instance is dead, or the closure has ended the transaction itself. Either way nothing of it
            // is committed by this crate.
            tracing::warn!(%error, "a rollback failed");
        }
    }
}
