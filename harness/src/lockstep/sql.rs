//! What drivers on DuckDB share, one's own too: the database file of a script, and statements with their results as text.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use manager::ErrorClass;
use manager::duckdb::types::Value;
use manager::duckdb::{self, Config, Connection, Row};

use super::driver::{Class, DriverError, Outcome};
use crate::scenario::script::Script;

/// The name of the database in SQL, and of its file.
pub(super) const NAME: &str = "db";

/// The file that is created by an operation.
pub(super) const NEW: &str = "new.duckdb";
/// What is in it.
pub(super) const FILLED: &str = "CREATE TABLE IF NOT EXISTS t (id INTEGER)";

/// Creates that file, which is given as a literal, as DuckDB does it.
pub(super) fn creation(file: &str) -> String {
    format!("ATTACH {file} AS new (TYPE duckdb); USE new; {FILLED}; USE memory; DETACH new;")
}

/// Where the database is.
pub(super) fn path(folder: &Path) -> PathBuf {
    folder.join(format!("{NAME}.duckdb"))
}

/// An in-memory instance that files are attached to: that costs a twentieth of opening them.
pub(super) fn host() -> duckdb::Result<Connection> {
    let config = Config::default()
        .with("autoinstall_known_extensions", "false")?
        .with("autoload_known_extensions", "false")?
        .threads(1)?;
    let host = Connection::open_in_memory_with_flags(config)?;
    host.execute_batch("PRAGMA disable_checkpoint_on_shutdown; SET wal_autocheckpoint = '1TB'")?;
    Ok(host)
}

/// Makes the script's database under that path, small, and folded into its file.
pub(super) fn create(script: &Script, path: &Path) -> Result<(), DriverError> {
    let made = || -> duckdb::Result<()> {
        let host = Connection::open_in_memory_with_flags(Config::default().threads(1)?)?;
        let file = literal(path);
        host.execute_batch(&format!("ATTACH {file} AS {NAME} (BLOCK_SIZE 16384); USE {NAME}"))?;
        for statement in &script.setup {
            host.execute_batch(statement)?;
        }
        host.execute_batch(&format!("USE memory; CHECKPOINT {NAME}; DETACH {NAME}"))
    };
    made().map_err(|error| DriverError::scenario("set the database up", error))
}

/// The bytes of the script's database, made once for all schedules.
pub(super) fn template(script: &Script, folder: &Path) -> Result<Vec<u8>, DriverError> {
    let path = folder.join("template.duckdb");
    create(script, &path)?;
    let bytes = fs::read(&path).map_err(|error| DriverError::new("read the template", error));
    let _ = fs::remove_file(&path); // its folder is emptied for the next schedule
    bytes
}

pub(super) fn literal(path: &Path) -> String {
    format!("'{}'", path.to_string_lossy().replace('\'', "''"))
}

/// Runs one statement or query and gives its result as text: columns separated by `|`, rows by line ends.
///
/// # Errors
///
/// What DuckDB says.
pub fn query(connection: &Connection, sql: &str) -> duckdb::Result<String> {
    let mut statement = connection.prepare(sql)?;
    let mut rows = statement.query([])?;
    let mut text = String::new();
    while let Some(row) = rows.next()? {
        text.push_str(&line(row)?);
    }
    Ok(text)
}

/// A row as text: columns separated by `|`, and a line end.
pub(super) fn line(row: &Row<'_>) -> duckdb::Result<String> {
    let mut text = String::new();
    for column in 0..row.as_ref().column_count() {
        if 0 < column {
            text.push('|');
        }
        let _ = match row.get::<_, Value>(column)? {
            Value::Null => write!(text, "NULL"),
            Value::Boolean(value) => write!(text, "{value}"),
            Value::Int(value) => write!(text, "{value}"),
            Value::BigInt(value) => write!(text, "{value}"),
            Value::HugeInt(value) => write!(text, "{value}"),
            Value::Text(value) => write!(text, "{value}"),
            other => write!(text, "{other:?}"),
        }; // writing to a String does not fail
    }
    text.push('\n');
    Ok(text)
}

/// In the tables of a store, who has published, and the count of changes, which begins anywhere.
const DIFFERENT_EACH_TIME: &str = "('pid', 'generation')";

/// All tables of the database `db` with all their rows, sorted; but for what is different in every run.
///
/// # Errors
///
/// What DuckDB says.
pub fn contents(connection: &Connection) -> duckdb::Result<String> {
    let tables = query(
        connection,
        &format!(
            "SELECT '\"' || schema_name || '\".\"' || table_name || '\"' FROM duckdb_tables() \
             WHERE database_name = '{NAME}' ORDER BY ALL"
        ),
    )?;
    let mut text = String::new();
    for table in tables.lines() {
        let _ = writeln!(text, "{table}");
        let columns = format!("COLUMNS(name -> name NOT IN {DIFFERENT_EACH_TIME})");
        let rows = format!("SELECT {columns} FROM {NAME}.{table} ORDER BY ALL");
        text += &query(connection, &rows)?;
    }
    Ok(text)
}

/// What a statement's result is in a log. Of an error that is its class: its text may name paths.
pub fn outcome(result: duckdb::Result<String>) -> Outcome {
    match result {
        Ok(text) => Outcome::new(Class::Ok, &text),
        Err(error) => {
            let kind = ErrorClass::of(&error.to_string());
            Outcome::new(class(kind), &format!("{kind:?}"))
        }
    }
}

/// The kind of error in the log's words.
pub(super) fn class(class: ErrorClass) -> Class {
    match class {
        ErrorClass::Conflict => Class::Conflict,
        ErrorClass::Constraint => Class::Constraint,
        ErrorClass::TransactionAborted => Class::Aborted,
        ErrorClass::Fatal => Class::Unknown,
        _ => Class::Failed,
    }
}
