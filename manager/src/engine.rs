//! DuckDB: the only file of this crate that opens, attaches, detaches or connects.
//!
//! A database file is never opened on its own. Each database has a *host*, an in-memory instance that stays
//! warm, and the file is attached to it and detached from it: attaching takes 0.3 to 0.7 ms where
//! opening takes 7 to 12, and a host survives the file's changes of hands.
//!
//! # The empty host
//!
//! An instance's first database gives new connections their default. A host's is renamed to the name that the file is
//! going to have, and then detached: from then on every new connection is at home in the file without having to say
//! `USE` (17 µs, seven times a connection), and there is no other database in which a lease could leave something. A
//! lease on a file that is attached to be read cannot write, again without a statement of its own.
//!
//! No lease changes what the next one finds: settings are frozen on the host before anybody has a connection
//! (`lock_configuration`), `USE` and temporary tables belong to a connection and end with it, and a host to which
//! a lease has attached another database is not used again ([`Host::is_soiled`]).

use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

pub(crate) use duckdb::InterruptHandle;
use duckdb::{Config as Settings, Connection};

use crate::class::ErrorClass;
use crate::config::{AccessMode, Config};
use crate::seam::sync::Mutex;
use crate::seam::{lockstep, process};

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
        let name = sql_name(database);
        let (own, name) = (identifier(&format!("host of {name}")), identifier(&name));
        // Checkpoints are asked for where they are worth it; see `Host::checkpoint`.
        root.execute_batch(&format!(
            "SET temp_directory = {};
             PRAGMA disable_checkpoint_on_shutdown;
             ALTER DATABASE memory SET ALIAS TO {name};
             ATTACH ':memory:' AS {own};
             USE {own};
             DETACH {name};
             SET lock_configuration = true;",
            literal(&spill.to_string_lossy())
        ))?;
        root.try_clone()?.execute_batch(&format!("DETACH {own}"))?;
        Ok(Self { root: Mutex::new(root), name })
    }

    /// Attaches the file. The caller holds the gate.
    pub(crate) fn attach(&self, database: &Path, mode: AccessMode) -> duckdb::Result<()> {
        let option = match mode {
            AccessMode::ReadOnly => ", READ_ONLY",
            AccessMode::ReadWrite => "",
        };
        // The type is named so that a file of another format is refused instead of sending DuckDB to look
        // for an extension that could read it.
        lockstep::point("attach");
        let attached = self.root.lock().execute_batch(&format!(
            "ATTACH {} AS {} (TYPE duckdb{option})",
            literal(&database.to_string_lossy()),
            self.name
        ));
        lockstep::point("attached");
        attached
    }

    /// Detaches the file, without a checkpoint. No other connection is open.
    pub(crate) fn detach(&self) -> duckdb::Result<()> {
        lockstep::point("detach");
        let detached = self.root.lock().execute_batch(&format!("DETACH {}", self.name));
        lockstep::point("detached");
        detached
    }

    /// Closes the instance, and with it the file if that is still attached.
    pub(crate) fn close(self) {
        if let Err((connection, error)) = self.root.into_inner().close() {
            tracing::error!(%error, "an instance did not close; it is leaked");
            std::mem::forget(connection); // its own destructor would panic
        }
    }

    /// Folds the write-ahead log into the file.
    pub(crate) fn checkpoint(&self) -> duckdb::Result<()> {
        lockstep::point("checkpoint");
        self.connect(AccessMode::ReadWrite, AccessMode::ReadWrite)?.execute_batch("CHECKPOINT")?;
        lockstep::point("checkpointed");
        Ok(())
    }

    /// Whether a lease has left another database attached, which the next one would find. Such a host is not used
    /// again. Takes about 0.16 ms, a fifth of it to prove that the instance lives. (What a lease registers in the instance
    /// itself, a function or a secret, stays.)
    ///
    /// # Errors
    ///
    /// If the instance is dead, or the file in it.
    pub(crate) fn is_soiled(&self) -> duckdb::Result<bool> {
        let look = self.connect(AccessMode::ReadOnly, AccessMode::ReadOnly)?;
        prove_alive(&look)?;
        let databases: u32 = look.query_row(
            "SELECT count(*) FROM duckdb_databases() WHERE NOT internal",
            [],
            |row| row.get(0),
        )?;
        Ok(databases > 1 && !faulty!(Fault::AttachLeftBehind))
    }

    /// A fresh connection on the file that is `attached` in one mode, to be used in another: beside a writer a reader
    /// needs a transaction to see one state and not to write.
    pub(crate) fn connect(
        &self,
        attached: AccessMode,
        mode: AccessMode,
    ) -> duckdb::Result<Connection> {
        let connection = self.root.lock().try_clone()?;
        if attached == AccessMode::ReadWrite
            && mode == AccessMode::ReadOnly
            && !faulty!(Fault::ReaderWithoutSnapshot)
        {
            connection.execute_batch("BEGIN TRANSACTION READ ONLY")?;
        }
        Ok(connection)
    }
}

/// Ends the transaction of a connection that is about to be closed, if it has one. Closing would do so, too, but where
/// the file is dead DuckDB 1.5.5 ends the whole process then: the error leaves a destructor.
pub(crate) fn roll_back(connection: &Connection) {
    let _ = connection.execute_batch("ROLLBACK"); // fails where no transaction is open, and on a dead instance
}

/// Fails if the instance is dead, or the file in it: after a failed checkpoint DuckDB goes on without the one database,
/// and only who uses that is told. Takes about 0.03 ms.
pub(crate) fn prove_alive(connection: &Connection) -> duckdb::Result<()> {
    connection.execute_batch("SELECT txid_current()")
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
            let connection = host.connect(AccessMode::ReadWrite, AccessMode::ReadWrite).unwrap();
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
        let first = host.connect(AccessMode::ReadWrite, AccessMode::ReadWrite).unwrap();
        assert!(first.execute_batch("SET threads = 4").is_err());
        first.execute_batch("CREATE TEMP TABLE mine (a INTEGER); BEGIN").unwrap();
        first.close().map_err(|(_, error)| error).unwrap();
        let second = host.connect(AccessMode::ReadWrite, AccessMode::ReadWrite).unwrap();
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
    fn a_host_has_no_database_but_the_file_and_its_connections_are_at_home_there() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.db");
        let host = Host::start(&path, &Config::default()).unwrap();
        for mode in [AccessMode::ReadWrite, AccessMode::ReadOnly, AccessMode::ReadWrite] {
            host.attach(&path, mode).unwrap();
            let connection = host.connect(mode, mode).unwrap();
            let found: (String, String) = connection
                .query_row(
                    "SELECT current_database(), string_agg(database_name) FROM duckdb_databases() WHERE NOT internal",
                    [],
                    |row| Ok((row.get(0)?, row.get(1)?)),
                )
                .unwrap();
            assert_eq!(found, ("x".into(), "x".into()));
            let written = connection.execute_batch("CREATE TABLE IF NOT EXISTS t (a INTEGER)");
            assert_eq!(written.is_ok(), mode == AccessMode::ReadWrite);
            connection.close().map_err(|(_, error)| error).unwrap();
            host.detach().unwrap();
        }
    }

    #[test]
    fn a_host_is_soiled_by_what_outlives_a_connection_and_by_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.db");
        let host = Host::start(&path, &Config::default()).unwrap();
        host.attach(&path, AccessMode::ReadWrite).unwrap();
        let after = |sql: &str| {
            host.connect(AccessMode::ReadWrite, AccessMode::ReadWrite)
                .unwrap()
                .execute_batch(sql)
                .unwrap();
            host.is_soiled().unwrap()
        };
        assert!(!after(
            "CREATE TABLE t (a INTEGER); CREATE VIEW v AS FROM t; INSERT INTO t VALUES (1)"
        ));
        assert!(!after(
            "CREATE TEMP TABLE mine (a INTEGER); CREATE TEMP VIEW w AS FROM mine; USE x"
        ));
        assert!(after("ATTACH ':memory:' AS other"));
    }
}
