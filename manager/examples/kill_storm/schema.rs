//! The tables of the storm, and every statement on them.

use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use manager::Error;
use manager::duckdb::{self, Connection};

use super::check::{Counter, Stored, StoredTransaction};

/// Workers that create one second database between them.
const CREATORS: u64 = 4;
/// Rows of a second database.
pub(crate) const ROWS_FILLED: i64 = 50;

/// Worker, number, slot, parts.
pub(crate) const ADD_ROWS: &str =
    "INSERT INTO entry SELECT $1, $2, $3, range, $4 FROM range($4::BIGINT)";
/// Rows, slot.
pub(crate) const COUNT_ROWS: &str =
    "UPDATE counter SET transactions = transactions + 1, entries = entries + $1 WHERE slot = $2";

pub(crate) fn database(folder: &Path) -> PathBuf {
    folder.join("storm.db")
}

/// The second database that a worker creates.
pub(crate) fn creation_of(worker: u64) -> u64 {
    worker / CREATORS
}

pub(crate) fn creation(folder: &Path, number: u64) -> PathBuf {
    folder.join(format!("made-{number}.db"))
}

/// Makes the tables of the storm.
pub(crate) fn make(new: &Connection, slots: usize) -> Result<(), Error> {
    new.execute_batch(
        "CREATE TABLE entry (worker BIGINT, number BIGINT, slot BIGINT, part BIGINT, parts BIGINT);
         CREATE TABLE counter (slot BIGINT, transactions BIGINT, entries BIGINT);",
    )?;
    new.execute("INSERT INTO counter SELECT range, 0, 0 FROM range(?::BIGINT)", [slots as u64])?;
    Ok(())
}

/// What a transaction does, on a bare connection.
pub(crate) fn add(
    connection: &Connection,
    (worker, number): (u64, u64),
    slot: u64,
    parts: u64,
) -> duckdb::Result<()> {
    connection.execute(ADD_ROWS, [worker, number, slot, parts])?;
    connection.execute(COUNT_ROWS, [parts, slot]).map(drop)
}

/// How many rows there are, and how many counters disagree with them.
pub(crate) fn look(connection: &Connection) -> duckdb::Result<(i64, i64)> {
    connection.query_row(
        "WITH found AS (
             SELECT slot, count(*) AS entries, count(*) FILTER (part = 0) AS transactions,
                 sum(parts) FILTER (part = 0) AS expected
             FROM entry GROUP BY slot
         )
         SELECT coalesce(sum(found.entries), 0)::BIGINT,
             count(*) FILTER (
                 coalesce(found.entries, 0) <> counter.entries OR coalesce(expected, 0) <> counter.entries
                 OR coalesce(found.transactions, 0) <> counter.transactions)
         FROM counter LEFT JOIN found USING (slot)",
        [],
        |row| Ok((row.get(0)?, row.get(1)?)),
    )
}

pub(crate) fn transactions_of(connection: &Connection, worker: u64) -> duckdb::Result<i64> {
    connection.query_row(
        "SELECT count(*) FROM entry WHERE worker = ? AND part = 0",
        [worker],
        |row| row.get(0),
    )
}

/// Everything that is stored.
pub(crate) fn stored(connection: &Connection) -> duckdb::Result<Stored> {
    let mut transactions = connection.prepare(
        "SELECT worker, number, any_value(slot), count(*), bit_count(bit_or(1 << part)), max(parts)
         FROM entry GROUP BY worker, number",
    )?;
    let transactions = transactions.query_map([], |row| {
        Ok(StoredTransaction {
            worker: row.get(0)?,
            number: row.get(1)?,
            slot: row.get(2)?,
            rows: row.get(3)?,
            parts: row.get(4)?,
            parts_expected: row.get(5)?,
        })
    })?;
    let mut counters = connection.prepare("SELECT slot, transactions, entries FROM counter")?;
    let counters = counters.query_map([], |row| {
        Ok(Counter { slot: row.get(0)?, transactions: row.get(1)?, rows: row.get(2)? })
    })?;
    Ok(Stored {
        transactions: transactions.collect::<Result<_, _>>()?,
        counters: counters.collect::<Result<_, _>>()?,
    })
}

/// Takes a transaction out again without anybody having said so.
pub(crate) fn remove(connection: &Connection, (worker, number): (u64, u64)) -> duckdb::Result<()> {
    connection
        .execute("DELETE FROM entry WHERE worker = ? AND number = ?", [worker, number])
        .map(drop)
}

/// Adds a row that no counter counts.
pub(crate) fn tear(connection: &Connection) -> duckdb::Result<()> {
    connection.execute_batch("INSERT INTO entry VALUES (0, 1000000, 0, 0, 1)")
}

/// Fills a second database, in two steps with a pause between them.
pub(crate) fn fill(new: &Connection, pause: Duration) -> Result<(), Error> {
    new.execute_batch("CREATE TABLE filled AS SELECT range AS a FROM range(20)")?;
    thread::sleep(pause);
    new.execute("INSERT INTO filled SELECT range FROM range(20, ?)", [ROWS_FILLED])?;
    Ok(())
}

pub(crate) fn count_filled(connection: &Connection) -> duckdb::Result<i64> {
    connection.query_row("SELECT count(*) FROM filled", [], |row| row.get(0))
}
