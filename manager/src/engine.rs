//! DuckDB: the only file of this crate that opens, attaches, detaches or connects.
//!
//! A database file is never opened on its own. Each database has a *host*, an in-memory instance that stays
//! warm, and the file is attached to it and detached from it: attaching takes 0.3 to 0.7 ms where
//! opening takes 7 to 12, and a host survives the file's changes of hands.
//!
//! No lease changes what the next one finds: settings are frozen on the host before anybody has a connection
//! (`lock_configuration`), `USE` and temporary tables belong to a connection and end with it, and a host in which
//! a lease has left something else is not used again ([`Host::is_soiled`]).

use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

use duckdb::{Config as Settings, Connection};
use parking_lot::Mutex;

use crate::class::ErrorClass;
use crate::config::{AccessMode, Config};
use crate::seam::process;

/// A warm instance to which one database file is attached and detached.
pub(crate) struct Host {
    /// The connection that keeps the instance alive and does the attaching.
    root: Mutex<Connection>,
    /// The attached database's name in SQL, quoted.
    name: String,
}

impl Host {
    /// Starts the instance for a database; nothing is attached yet.
    pub(crate) fn start(database: &Path, config: &Config) -> duckdb::Result<Self> {
        static HOSTS: AtomicU64 = AtomicU64::new(0);
        let root = Connection::open_in_memory_with_flags(settings(config)?)?;
        // DuckDB names its spill files alike in every process and locks none: two that shared a folder would
        // overwrite each other's.
        let number = HOSTS.fetch_add(1, Ordering::Relaxed); // only has to be unique
        let spill = database.with_added_extension(format!("{}-{number}.tmp", process::id()));
        root.execute_batch(&format!(
            "SET temp_directory = {}; SET lock_configuration = true;",
            literal(&spill.to_string_lossy())
        ))?;
        Ok(Self { root: Mutex::new(root), name: identifier(&sql_name(database)) })
    }

    /// Attaches the file. The caller holds the gate.
    pub(crate) fn attach(&self, database: &Path, mode: AccessMode) -> duckdb::Result<()> {
        let option = match mode {
            AccessMode::ReadOnly => ", READ_ONLY",
            AccessMode::ReadWrite => "",
        };
        // The type is named so that a file of another format is refused instead of sending DuckDB to look
        // for an extension that could read it.
        self.root.lock().execute_batch(&format!(
            "ATTACH {} AS {} (TYPE duckdb{option})",
            literal(&database.to_string_lossy()),
            self.name
        ))
    }

    /// Detaches the file; a writer's changes are checkpointed. No other connection is open.
    pub(crate) fn detach(&self) -> duckdb::Result<()> {
        self.root.lock().execute_batch(&format!("DETACH {}", self.name))
    }

    /// Whether a lease has left something behind that the next one would find: another database attached, or a
    /// table or view made in the host's own. Such a host is not used again. (Macros in the host's own database
    /// are not looked for: listing DuckDB's functions takes 15 ms.)
    pub(crate) fn is_soiled(&self) -> duckdb::Result<bool> {
        const OWN: u32 = 2; // the host's and the file
        let root = self.root.lock();
        let mut look = root.prepare_cached(
            "SELECT (SELECT count(*) FROM duckdb_databases() WHERE NOT internal) > ?
                 OR EXISTS (SELECT 1 FROM duckdb_tables() WHERE database_name = 'memory' AND NOT temporary)
                 OR EXISTS (SELECT 1 FROM duckdb_views() WHERE database_name = 'memory' AND NOT internal)",
        )?;
        look.query_row([OWN], |row| row.get(0))
    }

    /// A fresh connection on the attached file: in one read-only transaction, or free to write.
    pub(crate) fn connect(&self, mode: AccessMode) -> duckdb::Result<Connection> {
        let connection = self.root.lock().try_clone()?;
        connection.execute_batch(&format!("USE {}", self.name))?;
        if mode == AccessMode::ReadOnly {
            connection.execute_batch("BEGIN TRANSACTION READ ONLY")?;
        }
        Ok(connection)
    }
}

/// Makes a database file, runs `fill` on it, and closes it with everything in the file itself.
pub(crate) fn create_file<T, E: From<crate::Error>>(
    path: &Path,
    config: &Config,
    fill: impl FnOnce(&Connection) -> Result<T, E>,
) -> Result<T, E> {
    let lift = |error: duckdb::Error| E::from(crate::Error::from(error));
    let connection =
        Connection::open_with_flags(path, settings(config).map_err(lift)?).map_err(lift)?;
    let filled = fill(&connection)?;
    // A transaction that the closure left open would keep the checkpoint from happening.
    connection.execute_batch("CHECKPOINT").map_err(lift)?;
    connection.close().map_err(|(_, error)| lift(error))?;
    Ok(filled)
}

/// The text of an error, for [`ErrorClass::of`].
pub(crate) fn classify(error: &duckdb::Error) -> (ErrorClass, String) {
    let text = error.to_string();
    (ErrorClass::of(&text), text)
}

fn settings(config: &Config) -> duckdb::Result<Settings> {
    // Nothing is fetched from a network behind the caller's back.
    let mut settings = Settings::default()
        .with("autoinstall_known_extensions", "false")?
        .with("autoload_known_extensions", "false")?;
    if let Some(threads) = config.duckdb_threads {
        settings = settings.threads(i64::from(threads))?;
    }
    if let Some(bytes) = config.duckdb_memory_max_bytes {
        settings = settings.max_memory(&format!("{bytes}B"))?;
    }
    Ok(settings)
}

/// The name that DuckDB itself would give the database: the file's name without its extension; the
/// names of its own databases are stepped around.
fn sql_name(database: &Path) -> String {
    let stem =
        database.file_stem().map_or_else(String::new, |stem| stem.to_string_lossy().into_owned());
    match stem.to_lowercase().as_str() {
        "" | "memory" | "system" | "temp" => format!("{stem}_db"),
        _ => stem,
    }
}

fn identifier(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

fn literal(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_need_quotes_or_belong_to_duckdb_can_be_attached() {
        let folder = tempfile::tempdir().unwrap();
        for name in ["memory.db", "it's \"odd\".db", "select", "temp", "ünï.code.db"] {
            let path = folder.path().join(name);
            let host = Host::start(&path, &Config::default()).unwrap();
            host.attach(&path, AccessMode::ReadWrite).unwrap();
            let connection = host.connect(AccessMode::ReadWrite).unwrap();
            connection.execute_batch("CREATE TABLE t (a INTEGER)").unwrap();
            drop(connection);
            host.detach().unwrap();
            assert!(path.exists(), "{name}");
        }
    }

    #[test]
    fn a_lease_cannot_change_what_the_next_one_finds() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.db");
        let host = Host::start(&path, &Config::default()).unwrap();
        host.attach(&path, AccessMode::ReadWrite).unwrap();
        let first = host.connect(AccessMode::ReadWrite).unwrap();
        assert!(first.execute_batch("SET threads = 4").is_err());
        first.execute_batch("CREATE TEMP TABLE mine (a INTEGER); USE memory; BEGIN").unwrap();
        first.close().map_err(|(_, error)| error).unwrap();
        let second = host.connect(AccessMode::ReadWrite).unwrap();
        assert!(second.execute_batch("SELECT * FROM mine").is_err());
        second.execute_batch("BEGIN; CREATE TABLE t (a INTEGER); COMMIT").unwrap();
        let database: String = second
            .query_row(
                "SELECT table_catalog FROM information_schema.tables WHERE table_name = 't'",
                [],
                |row| row.get(0),
            )
            .unwrap();
        assert_eq!(database, "x");
    }

    #[test]
    fn a_host_is_soiled_by_what_outlives_a_connection_and_by_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.db");
        let host = Host::start(&path, &Config::default()).unwrap();
        host.attach(&path, AccessMode::ReadWrite).unwrap();
        let after = |sql: &str| {
            host.connect(AccessMode::ReadWrite).unwrap().execute_batch(sql).unwrap();
            host.is_soiled().unwrap()
        };
        assert!(!after(
            "CREATE TABLE t (a INTEGER); CREATE VIEW v AS FROM t; INSERT INTO t VALUES (1)"
        ));
        assert!(!after(
            "CREATE TEMP TABLE mine (a INTEGER); CREATE TEMP VIEW w AS FROM mine; USE memory"
        ));
        assert!(after("CREATE VIEW memory.main.v AS SELECT 1"));
        assert!(!after("DROP VIEW memory.main.v"));
        assert!(after("ATTACH ':memory:' AS other"));
    }
}
