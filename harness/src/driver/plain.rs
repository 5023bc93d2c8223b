//! What the drivers without a manager have in common: the table they made for themselves, and its SQL.

use std::collections::{HashMap, HashSet};
use std::path::Path;

use manager::duckdb::{self, AccessMode, Config, Connection, params_from_iter};
use manager::{ErrorClass, FeatureSpec, Key, Manager};

use super::{Failed, Fresh, Made};
use crate::history::{Outcome, Row, What};
use crate::probe::Probe;

pub(super) fn create(path: &Path) -> Result<(), manager::Error> {
    // The creation is not what is compared, so it is done safely for everybody.
    let manager = Manager::new(manager::Config::default())?;
    manager.create(path, |new| -> Result<(), manager::Error> {
        Ok(new.execute_batch(
            "CREATE TABLE feature_cache (key BLOB NOT NULL, payload BLOB, absent VARCHAR)",
        )?)
    })?;
    Ok(())
}

pub(super) fn open(path: &Path, mode: AccessMode) -> duckdb::Result<Connection> {
    // One thread, as the managed driver has: a small file is opened and read sooner that way.
    Connection::open_with_flags(path, Config::default().access_mode(mode)?.threads(1)?)
}

pub(super) fn get_many(
    connection: &Connection,
    specs: &[FeatureSpec],
) -> duckdb::Result<Vec<Option<Made>>> {
    let keys: Vec<Key> = specs.iter().map(FeatureSpec::key).collect();
    let sql = format!(
        "SELECT key, payload, absent FROM feature_cache WHERE key IN ({})",
        placeholders(keys.len())
    );
    let mut statement = connection.prepare(&sql)?;
    let found = statement
        .query_map(params_from_iter(keys.iter().map(|key| key.as_bytes().as_slice())), |row| {
            Ok((row.get(0)?, made(row)?))
        })?
        .collect::<duckdb::Result<HashMap<Vec<u8>, Made>>>()?;
    Ok(keys.iter().map(|key| found.get(key.as_bytes().as_slice()).cloned()).collect())
}

/// Stores what is not there yet, in one transaction, through an appender: what the store of the manager does.
pub(super) fn publish(connection: &mut Connection, artefacts: &[Fresh<'_>]) -> duckdb::Result<()> {
    let transaction = connection.transaction()?;
    let keys: Vec<Key> = artefacts.iter().map(|fresh| fresh.spec.key()).collect();
    let sql = format!("SELECT key FROM feature_cache WHERE key IN ({})", placeholders(keys.len()));
    let mut present = transaction
        .prepare(&sql)?
        .query_map(params_from_iter(keys.iter().map(|key| key.as_bytes().as_slice())), |row| {
            row.get(0)
        })?
        .collect::<duckdb::Result<HashSet<Vec<u8>>>>()?;
    let mut appender = transaction.appender("feature_cache")?;
    for (key, fresh) in keys.iter().zip(artefacts) {
        if present.insert(key.as_bytes().to_vec()) {
            let (payload, absent) = match fresh.made {
                Made::Bytes(bytes) => (Some(bytes.as_slice()), None),
                Made::Absent(reason) => (None, Some(reason)),
            };
            appender.append_row(duckdb::params![key.as_bytes().as_slice(), payload, absent])?;
        }
    }
    appender.flush()?;
    drop(appender);
    transaction.commit()
}

/// What a fresh reader finds.
pub(super) fn visible(path: &Path) -> Result<Vec<Row>, manager::Error> {
    let lease = Manager::new(manager::Config::default())?.read(path)?;
    let mut statement =
        lease.prepare("SELECT lower(hex(key)), payload, absent FROM feature_cache")?;
    let rows = statement
        .query_map([], |row| Ok(Row { key: row.get(0)?, content: super::content(&made(row)?) }))?;
    Ok(rows.collect::<duckdb::Result<_>>()?)
}

/// The second column, or the reason in the third that there is none.
fn made(row: &duckdb::Row<'_>) -> duckdb::Result<Made> {
    let payload: Option<Vec<u8>> = row.get(1)?;
    payload.map_or_else(|| Ok(Made::Absent(row.get(2)?)), |payload| Ok(Made::Bytes(payload)))
}

fn placeholders(count: usize) -> String {
    vec!["?"; count].join(", ")
}

/// Whether an error says that another process holds the file; if so, it is recorded.
pub(super) fn is_conflict(error: &duckdb::Error, probe: &Probe) -> bool {
    let message = error.to_string();
    let conflict = ErrorClass::of(&message) == ErrorClass::FileLocked;
    if conflict {
        probe.record(What::Conflict { message });
    }
    conflict
}

/// Records that an error has reached the pipeline's own code. A file that could not be opened was surely
/// not written; of anything else these drivers cannot tell.
pub(super) fn surface(error: &duckdb::Error, probe: &Probe) -> Failed {
    let message = error.to_string();
    let locked = ErrorClass::of(&message) == ErrorClass::FileLocked;
    probe.record(What::SurfacedError { message: message.clone() });
    Failed { message, outcome: if locked { Outcome::Failed } else { Outcome::Unknown }, leak: None }
}
