//! Drivers: the ways in which a pipeline gets at its feature store. The plan is one; this is what differs.
//!
//! | driver | connection | on a lock error | at the phase switch |
//! |---|---|---|---|
//! | `naive` | opened once, kept, read-write | surfaces; counts as a cache miss | keeps it open |
//! | `retrying` | one an operation | full-jitter backoff up to a deadline | has none open |
//! | `managed` | a lease an operation | does not meet any | enters the manager's phase |
//!
//! # Scope of determinism
//!
//! What is stored is a function of the plan. Who stores it first, and who conflicts, is the kernel's.

mod managed;
mod naive;
mod plain;
mod retrying;

use std::path::Path;

use manager::{Config, FeatureSpec, Manager};

use crate::history::{Outcome, Role, Row};
use crate::probe::Probe;
use crate::scenario::Driver;

/// An operation that did not succeed. The driver has recorded why.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub struct Failed {
    /// Its text.
    pub message: String,
    /// Whether it surely did not happen, or nobody can tell.
    pub outcome: Outcome,
}

/// One process's way to the store; its threads share it.
pub trait Store: Send + Sync {
    /// The process enters a phase.
    ///
    /// # Errors
    ///
    /// [`Failed`] if it cannot.
    fn enter(&self, phase: Role) -> Result<(), Failed>;

    /// The process leaves the phase it is in.
    fn leave(&self);

    /// Looks artefacts up, in the order asked for.
    ///
    /// # Errors
    ///
    /// [`Failed`] if the store could not be asked.
    fn get_many(&self, specs: &[FeatureSpec]) -> Result<Vec<Option<Vec<u8>>>, Failed>;

    /// Stores artefacts, all or none.
    ///
    /// # Errors
    ///
    /// [`Failed`] if they surely were not stored, or nobody can tell.
    fn publish(&self, artefacts: &[(&FeatureSpec, &[u8])]) -> Result<(), Failed>;
}

/// Makes the empty store of a run.
///
/// # Errors
///
/// Those of [`manager::Manager::create`].
pub fn create(driver: Driver, path: &Path) -> Result<(), manager::Error> {
    match driver {
        Driver::Naive | Driver::Retrying => plain::create(path),
        Driver::Managed => managed::create(path),
    }
}

/// Opens a process's way to the store; nothing is held yet.
///
/// # Errors
///
/// Those of [`manager::FeatureStore::open`].
pub fn open(
    driver: Driver,
    path: &Path,
    role: Role,
    probe: Probe,
) -> Result<Box<dyn Store>, manager::Error> {
    Ok(match driver {
        Driver::Naive => Box::new(naive::Naive::new(path, probe)),
        Driver::Retrying => Box::new(retrying::Retrying::new(path, probe)),
        Driver::Managed => Box::new(managed::Managed::open(path, role, probe)?),
    })
}

/// Whether a driver keeps training and evaluation apart by itself.
pub fn keeps_phases_apart(driver: Driver) -> bool {
    match driver {
        Driver::Naive | Driver::Retrying => false,
        Driver::Managed => true,
    }
}

/// Every row that a fresh reader finds when all actors have gone.
///
/// # Errors
///
/// Those of opening and reading the database.
pub fn visible(driver: Driver, path: &Path) -> Result<Vec<Row>, manager::Error> {
    let all = match driver {
        Driver::Naive | Driver::Retrying => plain::ALL,
        Driver::Managed => managed::ALL,
    };
    let lease = Manager::new(Config::default())?.read(path)?;
    let mut statement = lease.prepare(all)?;
    let rows = statement.query_map([], |row| {
        Ok(Row { key: row.get(0)?, content: content(&row.get::<_, Vec<u8>>(1)?) })
    })?;
    let mut rows = rows.collect::<manager::duckdb::Result<Vec<_>>>()?;
    rows.sort();
    Ok(rows)
}

/// The row that an artefact is in a history.
pub fn row(key: manager::Key, payload: &[u8]) -> Row {
    Row { key: key.to_string(), content: content(payload) }
}

/// The digest of a payload that stands for it in a history.
fn content(payload: &[u8]) -> String {
    format!("{:016x}", crate::seed::fnv1a(payload))
}
