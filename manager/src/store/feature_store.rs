//! A feature store that holds no connection: look-ups read, publishing writes, and in between the file is free.
//!
//! # Layout, schema version 1
//!
//! | table | column | content |
//! |---|---|---|
//! | `flockgate_meta` | `name VARCHAR`, `value VARCHAR` | one row: `schema_version`, `1` |
//! | `flockgate_artefact` | `key BLOB` | the 16 bytes of a [`Key`], once at most |
//! | | `feature VARCHAR`, `version UINTEGER`, `entity VARCHAR`, `range_begin UINTEGER`, `range_end UINTEGER` | what it is of, for people |
//! | | `payload BLOB` | the bytes that were published |
//! | | `checksum UBIGINT` | the first 8 bytes of the payload's BLAKE3, little-endian |
//!
//! There is no primary key: its index makes every hand-over's checkpoint several times dearer, and the one writer
//! lane makes it needless. A publish looks for the keys in its own transaction and leaves out what is there.

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use duckdb::{Connection, params_from_iter};

use crate::error::Error;
use crate::manager::Manager;
use crate::transaction::Transaction;

use super::key::{FeatureSpec, Key};

/// Keys in one `IN (…)`; longer batches take several queries of one snapshot.
const BATCH: usize = 256;

const SCHEMA: &str = "
    CREATE TABLE flockgate_meta (name VARCHAR NOT NULL, value VARCHAR NOT NULL);
    INSERT INTO flockgate_meta VALUES ('schema_version', '1');
    CREATE TABLE flockgate_artefact (
        key BLOB NOT NULL, feature VARCHAR NOT NULL, version UINTEGER NOT NULL, entity VARCHAR NOT NULL,
        range_begin UINTEGER NOT NULL, range_end UINTEGER NOT NULL, payload BLOB NOT NULL, checksum UBIGINT NOT NULL
    );";

/// How many tables the database has.
const TABLES: &str = "SELECT count(*) FROM duckdb_tables() WHERE database_name = current_database() AND NOT temporary";

/// What a look-up found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Lookup {
    /// The bytes that were published, verified.
    Hit(Vec<u8>),
    /// Nobody has published it.
    Miss,
}

/// What a publish stored.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Published {
    /// Artefacts that are new.
    pub stored: usize,
    /// Artefacts that were there before; the first publication stays.
    pub present: usize,
}

/// Features by content-addressed key, shared by all threads and processes. Cheap to clone.
///
/// Every call takes its own lease and gives it back before it returns, so a store stands in nobody's way between
/// calls. Each blocks as [`Manager::read`] or [`Manager::write`] does, and for the query itself.
///
/// # Example
///
/// ```
/// use manager::{Config, FeatureSpec, FeatureStore, Lookup, Manager};
///
/// # let folder = tempfile::tempdir().unwrap();
/// # let path = folder.path().join("features.duckdb");
/// let store = FeatureStore::open(&Manager::new(Config::default())?, &path)?;
/// let spec = FeatureSpec {
///     feature: "momentum", version: 1, params: "{\"days\":21}", entity: "AAPL", range: 0..21, inputs: b"prices v7",
/// };
/// assert_eq!(store.get(spec.key())?, Lookup::Miss);
///
/// let computed = store.get_or_compute(&spec, || Ok::<_, manager::Error>(vec![1, 2, 3]))?;
/// let found = store.get_or_compute(&spec, || -> Result<_, manager::Error> { unreachable!("it is there") })?;
/// assert_eq!(computed, found);
/// # Ok::<(), manager::Error>(())
/// ```
#[derive(Clone)]
pub struct FeatureStore {
    manager: Manager,
    path: PathBuf,
}

impl FeatureStore {
    /// Opens the store at `path`, and creates it if there is no database.
    ///
    /// # Errors
    ///
    /// Those of [`Manager::create`] and [`Manager::read`]; [`Error::Unusable`] if the database there is no store,
    /// or one of another schema version.
    pub fn open(manager: &Manager, path: impl AsRef<Path>) -> Result<Self, Error> {
        let store = Self { manager: manager.clone(), path: path.as_ref().to_path_buf() };
        let created = manager
            .create(&store.path, |new| -> Result<(), Error> { Ok(new.execute_batch(SCHEMA)?) })?;
        if !created && store.is_empty_database()? {
            // Somebody took a lease or entered a phase first, which creates an empty database.
            manager.transaction(&store.path, |tx| {
                if tx.query(TABLES, [], |row| row.get::<_, u64>(0))? == [0] {
                    tx.execute_batch(SCHEMA)?;
                }
                Ok(())
            })?;
        }
        store.check_version()?;
        Ok(store)
    }

    /// Looks one key up.
    ///
    /// # Errors
    ///
    /// Those of [`Manager::read`]; [`Error::Artefact`] if what is stored is not what was published.
    pub fn get(&self, key: Key) -> Result<Lookup, Error> {
        Ok(self.get_many(&[key])?.pop().unwrap_or(Lookup::Miss))
    }

    /// Looks many keys up in one snapshot. The answers are in the order of the keys.
    ///
    /// # Errors
    ///
    /// Those of [`get`](Self::get).
    pub fn get_many(&self, keys: &[Key]) -> Result<Vec<Lookup>, Error> {
        let lease = self.manager.read(&self.path)?;
        let mut found = std::collections::HashMap::with_capacity(keys.len());
        for batch in keys.chunks(BATCH) {
            let sql = format!(
                "SELECT key, payload, checksum FROM flockgate_artefact WHERE key IN ({})",
                placeholders(batch.len())
            );
            let mut statement = lease.prepare(&sql)?;
            let mut rows = statement.query(params_from_iter(batch.iter().map(Key::as_bytes)))?;
            while let Some(row) = rows.next()? {
                let (key, payload, checksum) =
                    (row.get::<_, Vec<u8>>(0)?, row.get::<_, Vec<u8>>(1)?, row.get::<_, u64>(2)?);
                if checksum_of(&payload) != checksum {
                    return Err(self.damaged(&key));
                }
                found.insert(key, payload);
            }
        }
        Ok(keys
            .iter()
            .map(|key| {
                found.get(key.as_bytes()).map_or(Lookup::Miss, |hit| Lookup::Hit(hit.clone()))
            })
            .collect())
    }

    /// Looks an artefact up; if it is missing, computes it, publishes it, and returns what is stored.
    ///
    /// `compute` runs without a lease, so it may take its time and may use the manager. If somebody else
    /// publishes the artefact meanwhile, theirs is returned. While an evaluation phase keeps this process from
    /// writing, what was computed is returned and not published.
    ///
    /// # Errors
    ///
    /// Whatever `compute` returns; those of [`get`](Self::get) and [`publish`](Self::publish).
    pub fn get_or_compute<E: From<Error>>(
        &self,
        spec: &FeatureSpec<'_>,
        compute: impl FnOnce() -> Result<Vec<u8>, E>,
    ) -> Result<Vec<u8>, E> {
        let key = spec.key();
        if let Lookup::Hit(payload) = self.get(key)? {
            return Ok(payload);
        }
        let payload = compute()?;
        match self.publish(&[(spec, &payload)]) {
            Ok(Published { present: 1.., .. }) => {
                if let Lookup::Hit(theirs) = self.get(key)? {
                    return Ok(theirs);
                }
            }
            // What is computed is not thrown away because it cannot be shared now.
            Ok(_) | Err(Error::EvaluationIsOn { .. }) => {}
            Err(error) => return Err(error.into()),
        }
        Ok(payload)
    }

    /// Stores artefacts, all or none. `Ok` means they survive any kill. What is there already stays as it is.
    ///
    /// # Errors
    ///
    /// Those of [`Manager::transaction`].
    pub fn publish(&self, artefacts: &[(&FeatureSpec<'_>, &[u8])]) -> Result<Published, Error> {
        if artefacts.is_empty() {
            return Ok(Published::default());
        }
        self.manager.transaction(&self.path, |tx| {
            let mut present = present_keys(tx, artefacts)?;
            let mut published = Published::default();
            tx.append("flockgate_artefact", |appender| {
                for (spec, payload) in artefacts {
                    let key = spec.key();
                    if present.insert(key.as_bytes().to_vec()) {
                        appender.append_row(duckdb::params![
                            key.as_bytes(),
                            spec.feature,
                            spec.version,
                            spec.entity,
                            spec.range.start,
                            spec.range.end,
                            *payload,
                            checksum_of(payload)
                        ])?;
                        published.stored += 1;
                    } else {
                        published.present += 1;
                    }
                }
                Ok(())
            })?;
            Ok(published)
        })
    }

    /// Where the store is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    fn is_empty_database(&self) -> Result<bool, Error> {
        let tables: u64 = self.manager.read(&self.path)?.query_row(TABLES, [], |row| row.get(0))?;
        Ok(tables == 0)
    }

    fn check_version(&self) -> Result<(), Error> {
        let lease = self.manager.read(&self.path)?;
        let version = schema_version(&lease);
        match version.as_deref() {
            Ok("1") => Ok(()),
            Ok(other) => {
                Err(self.not_a_store(format!("its schema version is {other}, this build reads 1")))
            }
            Err(error) => {
                Err(self.not_a_store(format!("it is a database but not a feature store ({error})")))
            }
        }
    }

    fn not_a_store(&self, text: String) -> Error {
        Error::Unusable { path: self.path.clone(), class: crate::ErrorClass::OtherVersion, text }
    }

    fn damaged(&self, key: &[u8]) -> Error {
        let key = key.try_into().map(|key| Key::from_bytes(key).to_string()).unwrap_or_default();
        Error::Artefact {
            path: self.path.clone(),
            key,
            problem: "its bytes do not match their checksum",
        }
    }
}

fn schema_version(connection: &Connection) -> duckdb::Result<String> {
    connection.query_row(
        "SELECT value FROM flockgate_meta WHERE name = 'schema_version'",
        [],
        |row| row.get(0),
    )
}

fn present_keys(
    tx: &Transaction<'_>,
    artefacts: &[(&FeatureSpec<'_>, &[u8])],
) -> Result<HashSet<Vec<u8>>, Error> {
    let mut present = HashSet::new();
    for batch in artefacts.chunks(BATCH) {
        let sql = format!(
            "SELECT key FROM flockgate_artefact WHERE key IN ({})",
            placeholders(batch.len())
        );
        let keys: Vec<Key> = batch.iter().map(|(spec, _)| spec.key()).collect();
        present.extend(tx.query(
            &sql,
            params_from_iter(keys.iter().map(Key::as_bytes)),
            |row| row.get(0),
        )?);
    }
    Ok(present)
}

fn placeholders(count: usize) -> String {
    vec!["?"; count].join(", ")
}

fn checksum_of(payload: &[u8]) -> u64 {
    let hash = blake3::hash(payload);
    let first = hash.as_bytes().first_chunk().expect("a BLAKE3 hash has 32 bytes");
    u64::from_le_bytes(*first)
}
