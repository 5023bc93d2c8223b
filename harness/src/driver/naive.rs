//! What hurt: a connection that is opened read-write when it is first needed, and kept.

use std::path::{Path, PathBuf};
use std::time::Instant;

use manager::FeatureSpec;
use manager::duckdb::{self, AccessMode, Connection};
use parking_lot::Mutex;

use super::{Failed, Fresh, Made, Store, plain};
use crate::history::{Mode, Role, What};
use crate::probe::{Probe, as_ns};

/// See the module's header.
pub(super) struct Naive {
    path: PathBuf,
    probe: Probe,
    connection: Mutex<Option<Connection>>,
}

impl Naive {
    pub(super) fn new(path: &Path, probe: Probe) -> Self {
        Self { path: path.into(), probe, connection: Mutex::default() }
    }

    /// Runs `work` on the process's connection, which is opened first if there is none.
    fn with<T>(
        &self,
        work: impl FnOnce(&mut Connection) -> duckdb::Result<T>,
    ) -> Result<T, Failed> {
        let mut connection = self.connection.lock();
        if connection.is_none() {
            let begun = Instant::now();
            let opened = plain::open(&self.path, AccessMode::ReadWrite).map_err(|error| {
                plain::is_conflict(&error, &self.probe);
                plain::surface(&error, &self.probe)
            })?;
            let waited_ns = as_ns(begun.elapsed());
            self.probe.record_process(What::LeaseTaken { lease: 0, mode: Mode::Write, waited_ns });
            *connection = Some(opened);
        }
        let connection = connection.as_mut().expect("it was opened above");
        work(connection).map_err(|error| plain::surface(&error, &self.probe))
    }
}

impl Store for Naive {
    fn enter(&self, _: Role) -> Result<(), Failed> {
        Ok(())
    }

    fn leave(&self) {}

    fn get_many(&self, specs: &[FeatureSpec], _: u32) -> Result<Vec<Option<Made>>, Failed> {
        self.with(|connection| plain::get_many(connection, specs))
    }

    fn publish(&self, artefacts: &[Fresh<'_>]) -> Result<(), Failed> {
        self.with(|connection| plain::publish(connection, artefacts))
    }
}

impl Drop for Naive {
    fn drop(&mut self) {
        if self.connection.get_mut().is_some() {
            self.probe.record_process(What::LeaseReturned { lease: 0 });
        }
    }
}
