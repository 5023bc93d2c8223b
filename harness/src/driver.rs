//! Drivers: the ways in which a pipeline gets at its feature store. The plan is one; this is what differs.
//!
//! | driver | connection | on a lock error | at the phase switch |
//! |---|---|---|---|
//! | `naive` | opened once, kept, read-write | surfaces; counts as a cache miss | keeps it open |
//! | `retrying` | one an operation | full-jitter backoff up to a deadline | has none open |
//! | `managed` | a lease when the store has changed or is to be | does not meet any | enters the manager's phase |
//!
//! # Scope of determinism
//!
//! What is stored is a function of the plan. Who stores it first, and who conflicts, is the kernel's.

mod managed;
mod naive;
mod plain;
mod retrying;

use std::path::Path;
use std::time::Duration;

use manager::{FeatureSpec, Key, Leak};

use crate::history::{Outcome, Role, Row};
use crate::probe::Probe;
use crate::scenario::{Driver, Writes};

/// What making an artefact comes to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Made {
    /// Its bytes.
    Bytes(Vec<u8>),
    /// There is none, for this reason: a negative entry.
    Absent(String),
}

/// Something that was made and is to be stored.
pub struct Fresh<'a> {
    /// What it is.
    pub spec: &'a FeatureSpec,
    /// What it came to.
    pub made: &'a Made,
    /// How long that took.
    pub computed_in: Duration,
}

/// An operation that did not succeed. The driver has recorded why.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub struct Failed {
    /// Its text.
    pub message: String,
    /// Whether it surely did not happen, or nobody can tell.
    pub outcome: Outcome,
    /// Set if it was refused because an artefact knows more than whoever wants it.
    pub leak: Option<Leak>,
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

    /// Looks artefacts up, in the order asked for, for somebody who knows the calendar up to a position.
    ///
    /// # Errors
    ///
    /// [`Failed`] if the store could not be asked, or refuses one of them because it knows more.
    fn get_many(&self, specs: &[FeatureSpec], as_of: u32) -> Result<Vec<Option<Made>>, Failed>;

    /// Stores artefacts, all or none.
    ///
    /// # Errors
    ///
    /// [`Failed`] if they surely were not stored, or nobody can tell.
    fn publish(&self, artefacts: &[Fresh<'_>]) -> Result<(), Failed>;

    /// Looks one up, and if it is missing has it made and stores it, once, however many want it at the same time.
    /// `compute` gives `None` if it cannot. `None` if this driver has no such thing.
    ///
    /// # Errors
    ///
    /// Those of [`get_many`](Self::get_many) and [`publish`](Self::publish), inside.
    fn get_or_make(
        &self,
        _spec: &FeatureSpec,
        _as_of: u32,
        _compute: &mut dyn FnMut() -> Option<Made>,
    ) -> Option<Result<Made, Failed>> {
        None
    }
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
    writes: Writes,
    probe: Probe,
) -> Result<Box<dyn Store>, manager::Error> {
    Ok(match driver {
        Driver::Naive => Box::new(naive::Naive::new(path, probe)),
        Driver::Retrying => Box::new(retrying::Retrying::new(path, probe)),
        Driver::Managed => Box::new(managed::Managed::open(path, role, writes, probe)?),
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
    let mut rows = match driver {
        Driver::Naive | Driver::Retrying => plain::visible(path)?,
        Driver::Managed => managed::visible(path)?,
    };
    rows.sort();
    Ok(rows)
}

/// What computing the artefacts that were found would have taken, in microseconds, by what the store itself has counted.
///
/// # Errors
///
/// Those of opening the store.
pub fn saved_us(driver: Driver, path: &Path) -> Result<u64, manager::Error> {
    match driver {
        Driver::Naive | Driver::Retrying => Ok(0),
        Driver::Managed => managed::saved_us(path),
    }
}

/// The row that an artefact is in a history.
pub fn row(key: Key, made: &Made) -> Row {
    Row { key: key.to_string(), content: content(made) }
}

/// The digest that stands for an artefact, or for the reason that there is none, in a history.
fn content(made: &Made) -> String {
    let digest = match made {
        Made::Bytes(bytes) => crate::seed::fnv1a(bytes),
        Made::Absent(reason) => crate::seed::fnv1a(format!("absent: {reason}").as_bytes()),
    };
    format!("{digest:016x}")
}
