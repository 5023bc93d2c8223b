//! The known remedy, done decently: a connection for each operation, one operation of a process at a time (two
//! opens of one file in one process would lose commits), and full-jitter backoff while another process has
//! the file.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use manager::duckdb::{self, AccessMode, Connection};
use manager::{Backoff, FeatureSpec};
use parking_lot::Mutex;

use super::{Failed, Fresh, Made, Store, plain};
use crate::history::{Mode, Role, What};
use crate::probe::{Probe, as_ns};

const PAUSE_FIRST: Duration = Duration::from_millis(10);
const PAUSE_MAX: Duration = Duration::from_secs(1);
const WAIT_MAX: Duration = Duration::from_secs(30);

/// See the module's header.
pub(super) struct Retrying {
    path: PathBuf,
    probe: Probe,
    one_at_a_time: Mutex<()>,
    leases: AtomicU64,
}

impl Retrying {
    pub(super) fn new(path: &Path, probe: Probe) -> Self {
        Self {
            path: path.into(),
            probe,
            one_at_a_time: Mutex::default(),
            leases: AtomicU64::new(0),
        }
    }

    fn with<T>(
        &self,
        mode: &AccessMode,
        work: impl FnOnce(&mut Connection) -> duckdb::Result<T>,
    ) -> Result<T, Failed> {
        let begun = Instant::now();
        let mut backoff = Backoff::new(PAUSE_FIRST, PAUSE_MAX, WAIT_MAX);
        loop {
            let only = self.one_at_a_time.lock();
            let error = match plain::open(&self.path, mode.clone()) {
                Ok(connection) => return self.work(connection, mode, begun, work),
                Err(error) => error,
            };
            drop(only); // the other threads of this process may be luckier meanwhile
            if !plain::is_conflict(&error, &self.probe) {
                return Err(plain::surface(&error, &self.probe));
            }
            let Some(pause) = backoff.pause() else {
                return Err(plain::surface(&error, &self.probe));
            };
            self.probe.record(What::Retry { attempt: backoff.attempts(), pause_ns: as_ns(pause) });
        }
    }

    fn work<T>(
        &self,
        mut connection: Connection,
        mode: &AccessMode,
        begun: Instant,
        work: impl FnOnce(&mut Connection) -> duckdb::Result<T>,
    ) -> Result<T, Failed> {
        let lease = self.leases.fetch_add(1, Ordering::Relaxed); // only has to be unique
        let how = if *mode == AccessMode::ReadOnly { Mode::Read } else { Mode::Write };
        self.probe.record(What::LeaseTaken { lease, mode: how, waited_ns: as_ns(begun.elapsed()) });
        let done = work(&mut connection);
        self.probe.record(What::LeaseReturned { lease });
        drop(connection);
        done.map_err(|error| plain::surface(&error, &self.probe))
    }
}

impl Store for Retrying {
    fn enter(&self, _: Role) -> Result<(), Failed> {
        Ok(())
    }

    fn leave(&self) {}

    fn get_many(&self, specs: &[FeatureSpec], _: u32) -> Result<Vec<Option<Made>>, Failed> {
        self.with(&AccessMode::ReadOnly, |connection| plain::get_many(connection, specs))
    }

    fn publish(&self, artefacts: &[Fresh<'_>]) -> Result<(), Failed> {
        self.with(&AccessMode::ReadWrite, |connection| plain::publish(connection, artefacts))
    }
}
