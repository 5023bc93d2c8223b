//! Transactions that are stored when they say so, and only then (I6).

use std::cell::{Cell, RefCell};
use std::fmt;
use std::path::Path;
use std::time::Duration;

use duckdb::{Appender, Connection, Params, Row};

use crate::class::ErrorClass;
use crate::database::Database;
use crate::error::Error;
use crate::seam::lockstep;
use crate::seam::patience::Cancel;
#[cfg(feature = "tokio")]
use {
    crate::config::AccessMode, crate::error::Wanted, crate::seam::clock,
    crate::seam::patience::Patience, crate::seam::sync::Mutex, duckdb::InterruptHandle,
    std::sync::Arc,
};

/// Tells whether a transaction whose commit was cut off is stored.
pub type StoredCheck<'a> = dyn Fn(&Connection) -> Result<bool, Error> + 'a;

/// How [`Manager::transaction_with`](crate::Manager::transaction_with) runs its closure.
#[derive(Default)]
pub struct TransactionOptions<'a> {
    /// How long all attempts and pauses may take together. Default: [`Config::wait_max`](crate::Config::wait_max).
    pub wait_max: Option<Duration>,
    /// How often the closure is run at most. Default:
    /// [`Config::transaction_attempts_max`](crate::Config::transaction_attempts_max).
    pub attempts_max: Option<u32>,
    /// What ends the waits and pauses from another thread. A closure that runs is not interrupted. Default: nothing.
    pub cancel: Option<Cancel>,
    /// Looks whether the transaction is stored, on a read lease, after a commit that was cut off. With it such an
    /// outcome is not unknown: what is stored is returned, and what is not is run again. It has to find a trace that
    /// only this transaction leaves, a row with an id that the caller has drawn for it, say. Default: nothing,
    /// [`Error::UnknownOutcome`] is returned.
    pub is_stored: Option<&'a StoredCheck<'a>>,
}

impl fmt::Debug for TransactionOptions<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TransactionOptions")
            .field("wait_max", &self.wait_max)
            .field("attempts_max", &self.attempts_max)
            .field("cancel", &self.cancel)
            .field("is_stored", &self.is_stored.is_some())
            .finish()
    }
}

/// Whether a closure can reach the connection that its transaction runs on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Bare {
    /// It may hold the lease, so what it did besides has to be asked.
    Reachable,
    /// All it can do goes through [`Transaction`].
    OutOfReach,
}

/// A transaction that is not known to be stored.
pub(crate) struct NotStored<T, E> {
    pub(crate) error: E,
    /// The error of a dead instance, if it is one.
    fatal: Option<String>,
    /// What the closure returned, if the commit was sent.
    pub(crate) returned: Option<T>,
}

/// Words without which no statement ends a transaction, or runs a statement that was prepared or is read from a file.
/// One of them in a name or a string costs two queries and nothing else.
const ENDING_WORDS: [&str; 6] = ["commit", "rollback", "abort", "end", "execute", "import"];

/// The statements that a closure of [`WriteLease::transaction`](crate::WriteLease::transaction) may run.
///
/// Each method does what the method of the same name does on [`duckdb::Connection`], and remembers if it
/// failed: such a transaction is never committed.
pub struct Transaction<'a> {
    connection: &'a Connection,
    database: &'a Database,
    first_failure: RefCell<Option<String>>,
    /// Its number, once that has been asked for.
    number: Cell<Option<u64>>,
}

impl Transaction<'_> {
    /// Runs one statement and returns how many rows it changed.
    ///
    /// # Errors
    ///
    /// [`Error::Database`]; the transaction is then poisoned.
    pub fn execute(&self, sql: &str, params: impl Params) -> Result<usize, Error> {
        self.expect(sql)?;
        self.remember(self.connection.execute(sql, params))
    }

    /// Runs statements separated by semicolons.
    ///
    /// # Errors
    ///
    /// [`Error::Database`]; the transaction is then poisoned.
    pub fn execute_batch(&self, sql: &str) -> Result<(), Error> {
        self.expect(sql)?;
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
        self.expect(sql)?;
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
        self.expect(sql)?;
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
        self.database.refuse_forked()?;
        self.remember(self.connection.appender(table).and_then(|mut appender| {
            fill(&mut appender)?;
            appender.flush()
        }))
    }

    /// Runs `work`; when `cancel` is cancelled meanwhile, interrupts its statements and fails, so that nothing is stored.
    #[cfg(feature = "tokio")]
    pub(crate) fn until_cancelled<T>(
        &self,
        cancel: &Cancel,
        path: &Path,
        work: impl FnOnce(&Self) -> Result<T, Error>,
    ) -> Result<T, Error> {
        let begun = clock::now();
        let interrupter = Arc::new(Interrupter::new(self.connection));
        let patience = Patience::with(begun, Some(cancel.clone()));
        let woken = patience.on_cancel({
            let interrupter = Arc::clone(&interrupter);
            move || interrupter.begin()
        });
        let done = if patience.is_cancelled() { None } else { Some(work(self)) };
        drop(woken);
        interrupter.end(); // the statements after this end the transaction and have to go on to their end
        match done {
            Some(done) if !patience.is_cancelled() => done,
            _ => Err(Error::Cancelled {
                path: path.into(),
                wanted: Wanted::Lease(AccessMode::ReadWrite),
                waited: clock::since(begun),
            }),
        }
    }

    /// Asks for the transaction's number before a statement that might end it.
    fn expect(&self, sql: &str) -> Result<(), Error> {
        self.database.refuse_forked()?;
        if self.number.get().is_none() && may_end_transaction(sql) {
            self.number.set(Some(self.remember(number(self.connection))?));
        }
        Ok(())
    }

    fn remember<T>(&self, result: duckdb::Result<T>) -> Result<T, Error> {
        result.map_err(|error| {
            self.first_failure.borrow_mut().get_or_insert_with(|| error.to_string());
            error.into()
        })
    }
}

fn may_end_transaction(sql: &str) -> bool {
    let lower = sql.to_ascii_lowercase();
    ENDING_WORDS.iter().any(|word| lower.contains(word))
}

/// Runs `work` between BEGIN and COMMIT; see [`WriteLease::transaction`](crate::WriteLease::transaction).
pub(crate) fn run<T, E: From<Error>>(
    connection: &Connection,
    database: &Database,
    bare: Bare,
    work: impl FnOnce(&Transaction<'_>) -> Result<T, E>,
) -> Result<T, NotStored<T, E>> {
    let ran = attempt(connection, database, bare, work);
    // A commit that was sent counts, whatever was heard of it.
    if matches!(ran, Ok(_) | Err(NotStored { returned: Some(_), .. }))
        && !faulty!(Fault::GenerationCountedEarly)
    {
        database.count_commit();
    }
    if let Err(NotStored { fatal: Some(fatal), .. }) = &ran {
        database.found_dead(fatal);
    }
    ran
}

fn attempt<T, E: From<Error>>(
    connection: &Connection,
    database: &Database,
    bare: Bare,
    work: impl FnOnce(&Transaction<'_>) -> Result<T, E>,
) -> Result<T, NotStored<T, E>> {
    let path = database.path();
    let failed = |error: Error| {
        let fatal = error.is_fatal().then(|| error.to_string());
        NotStored { error: E::from(error), fatal, returned: None }
    };
    connection.execute_batch("BEGIN").map_err(|error| failed(error.into()))?;
    let open = Open { connection };
    let (first_failure, known) = (RefCell::new(None), Cell::new(None));
    let transaction = Transaction { connection, database, first_failure, number: known };
    if bare == Bare::Reachable {
        transaction.number.set(Some(number(connection).map_err(|error| failed(error.into()))?));
    }
    let result = work(&transaction);
    if let Err(forked) = database.refuse_forked() {
        std::mem::forget(open); // it is the parent's
        return Err(failed(forked));
    }
    let begun_as = transaction.number.get();
    let failure = transaction.first_failure.into_inner();
    let fatal = failure.clone().filter(|text| ErrorClass::of(text) == ErrorClass::Fatal);
    // Only where something can have happened that `Transaction` did not see.
    let still_open = begun_as.map(|begun_as| number(connection).map(|now| now == begun_as));
    if let Some(Ok(false)) = still_open {
        return Err(failed(Error::TransactionEnded { path: path.into() }));
    }
    let result = result.map_err(|error| NotStored { error, fatal, returned: None })?;
    // A statement can also have aborted the transaction from the bare connection that the lease dereferences
    // to; asking for the number has then failed like any other.
    let aborted = still_open.and_then(Result::err).map(|error| error.to_string());
    if let Some(first_failure) = failure.or(aborted)
        && !faulty!(Fault::PoisonIgnored)
    {
        return Err(failed(Error::Poisoned { path: path.into(), first_failure }));
    }
    std::mem::forget(open); // from here on the commit decides
    if faulty!(Fault::GenerationCountedEarly) {
        database.count_commit();
    }
    lockstep::point("commit");
    let committed = connection.execute_batch("COMMIT");
    lockstep::point("committed");
    match committed {
        Ok(()) => Ok(result),
        Err(_) if faulty!(Fault::FailedCommitIsSuccess) => Ok(result),
        Err(error) => {
            let (error, fatal) = commit_failed(path, error);
            Err(NotStored { error: error.into(), fatal, returned: Some(result) })
        }
    }
}

/// The number of the transaction that is open; outside of one, of a transaction of its own.
fn number(connection: &Connection) -> duckdb::Result<u64> {
    connection.query_row("SELECT txid_current()", [], |row| row.get(0))
}

/// A refused commit has stored nothing. One that failed while it was writing may have stored all of it:
/// after a failed fsync the data was sometimes there when the file was opened again.
fn commit_failed(path: &Path, error: duckdb::Error) -> (Error, Option<String>) {
    let text = error.to_string();
    let class = ErrorClass::of(&text);
    let fatal = (class == ErrorClass::Fatal).then(|| text.clone());
    let refused =
        matches!(class, ErrorClass::Conflict | ErrorClass::Constraint | ErrorClass::DiskFull)
            && text.contains("Failed to commit");
    if refused {
        (error.into(), fatal)
    } else {
        (Error::UnknownOutcome { path: path.into(), text }, fatal)
    }
}

/// Interrupts the statements of a connection until it is told to end: DuckDB forgets an interrupt that comes just before a
/// statement begins.
#[cfg(feature = "tokio")]
struct Interrupter {
    handle: Arc<InterruptHandle>,
    is_ended: Mutex<bool>,
}

#[cfg(feature = "tokio")]
impl Interrupter {
    const PAUSE: Duration = Duration::from_millis(5);

    fn new(connection: &Connection) -> Self {
        Self { handle: connection.interrupt_handle(), is_ended: Mutex::new(false) }
    }

    /// Interrupts now, and every few milliseconds on a thread that lasts as long as the closure.
    fn begin(self: &Arc<Self>) {
        let this = Arc::clone(self);
        let begun = lockstep::spawn("flockgate interrupter", move || {
            while this.interrupt() {
                clock::sleep(Self::PAUSE);
            }
        });
        if begun.is_err() {
            self.interrupt(); // once is better than never
        }
    }

    /// Returns whether the end has not come.
    fn interrupt(&self) -> bool {
        let is_ended = self.is_ended.lock();
        if !*is_ended {
            self.handle.interrupt();
        }
        !*is_ended
    }

    /// No interrupt comes after this.
    fn end(&self) {
        *self.is_ended.lock() = true;
    }
}

/// A transaction that is rolled back unless it is forgotten: on an error, and when a closure panics.
struct Open<'a> {
    connection: &'a Connection,
}

impl Drop for Open<'_> {
    fn drop(&mut self) {
        lockstep::point("roll back");
        let end = if faulty!(Fault::RollbackForgotten) { "COMMIT" } else { "ROLLBACK" };
        let rolled_back = self.connection.execute_batch(end);
        lockstep::point("rolled back");
        if let Err(error) = rolled_back {
            // The instance is dead, or the closure has ended the transaction itself. Either way nothing of it
            // is committed by this crate.
            tracing::warn!(%error, "a rollback failed");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_statement_that_ends_a_transaction_is_suspected_however_it_is_written() {
        for sql in [
            "COMMIT",
            "insert into t values (1); Rollback",
            "ABORT",
            "END TRANSACTION",
            "execute ending",
            "PREPARE ending AS COMMIT",
            "IMPORT DATABASE 'folder'",
        ] {
            assert!(may_end_transaction(sql), "{sql}");
        }
        assert!(!may_end_transaction("INSERT INTO t SELECT * FROM range(10)"));
    }
}
