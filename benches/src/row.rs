//! The table that all processes of a bench share, and the proof that no row of it was lost.

use std::path::Path;

use manager::AccessMode;
use manager::duckdb::{self, AccessMode as DuckdbMode, Config as Settings, Connection};

/// Stores a row: who wrote it, and which of theirs it is.
pub const INSERT: &str = "INSERT INTO row VALUES (?, ?)";
/// Who wrote the rows that are there from the beginning.
pub const FILLER: u8 = u8::MAX;

/// Makes a file with so many rows of [`FILLER`].
pub fn create(database: &Path, rows: u64) {
    let create = || -> duckdb::Result<()> {
        let new = open(database, AccessMode::ReadWrite)?;
        new.execute_batch(&format!(
            "CREATE TABLE row (writer UTINYINT NOT NULL, number UBIGINT NOT NULL);
             INSERT INTO row SELECT {FILLER}, range FROM range({rows});"
        ))?;
        new.close().map_err(|(_, error)| error)
    };
    create().expect("a new file can be filled");
}

/// Opens the file as plain DuckDB does, with one thread.
pub fn open(database: &Path, mode: AccessMode) -> duckdb::Result<Connection> {
    let mode = match mode {
        AccessMode::ReadOnly => DuckdbMode::ReadOnly,
        AccessMode::ReadWrite => DuckdbMode::ReadWrite,
    };
    Connection::open_with_flags(database, Settings::default().threads(1)?.access_mode(mode)?)
}

/// Closes it, which checkpoints what was written.
pub fn close(connection: Connection) {
    connection
        .close()
        .map_err(|(_, error)| error)
        .expect("a file without an open transaction closes");
}

/// Stores a row; returns when it is durable.
pub fn insert(connection: &Connection, writer: u8, number: u64) {
    let inserted = || -> duckdb::Result<()> {
        connection.execute_batch("BEGIN")?;
        connection.execute(INSERT, duckdb::params![writer, number])?;
        connection.execute_batch("COMMIT")
    };
    inserted().expect("who has the file can write it");
}

/// Finds a row that is there once.
pub fn find(connection: &Connection, writer: u8, number: u64) {
    let found: duckdb::Result<u64> = connection.query_row(
        "SELECT count(*) FROM row WHERE writer = ? AND number = ?",
        duckdb::params![writer, number],
        |row| row.get(0),
    );
    assert_eq!(found.expect("who has the file can read it"), 1, "row {number} of writer {writer}");
}

/// Panics unless each of the rows that this writer was told are stored, 0, 1, 2, …, is there once, and no other of
/// its rows. No process may have the file.
pub fn assert_stored(database: &Path, writer: u8, acknowledged: u64) {
    let connection = open(database, AccessMode::ReadOnly).expect("nobody has the file any more");
    let stored: (u64, u64, Option<u64>) = connection
        .query_row(
            "SELECT count(*), count(DISTINCT number), max(number) FROM row WHERE writer = ?",
            [writer],
            |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)),
        )
        .expect("the table can be read");
    let expected = (acknowledged, acknowledged, acknowledged.checked_sub(1));
    assert_eq!(stored, expected, "rows of writer {writer}: there, different, the last");
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stored(numbers: &[u64]) {
        let folder = tempfile::tempdir().unwrap();
        let database = folder.path().join("row.duckdb");
        create(&database, 2);
        let connection = open(&database, AccessMode::ReadWrite).unwrap();
        for &number in numbers {
            insert(&connection, 7, number);
        }
        find(&connection, FILLER, 1);
        close(connection);
        assert_stored(&database, 7, 3);
    }

    #[test]
    fn rows_that_are_all_there_once_are_no_loss() {
        stored(&[1, 0, 2]);
    }

    #[test]
    #[should_panic(expected = "rows of writer 7")]
    fn a_row_that_is_missing_is_a_panic() {
        stored(&[0, 2]);
    }

    #[test]
    #[should_panic(expected = "rows of writer 7")]
    fn a_row_that_is_there_twice_is_a_panic() {
        stored(&[0, 1, 2, 2]);
    }

    #[test]
    #[should_panic(expected = "rows of writer 7")]
    fn a_row_that_nobody_was_told_of_is_a_panic() {
        stored(&[0, 1, 3]);
    }
}
