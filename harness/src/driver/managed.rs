//! The manager: leases for each operation, phases that wait for each other, nothing held in between.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use manager::{
    AccessMode, Config, FeatureSpec, FeatureStore, LeaseEvent, Lookup, Manager, Observer,
    PhaseGuard, Publication, StoreOptions, WritesInEvaluation,
};
use parking_lot::Mutex;

use super::{Failed, Store};
use crate::history::{Mode, Outcome, Role, What};
use crate::probe::{Probe, as_ns};

/// Longer than any phase of a scenario lasts: a process that is told its phase early waits for the other one.
const PHASE_MAX: Duration = Duration::from_mins(2);

/// See the module's header.
pub(super) struct Managed {
    manager: Manager,
    store: FeatureStore,
    phase: Mutex<Option<PhaseGuard>>,
    probe: Probe,
}

/// Keys and payloads of all rows.
pub(super) const ALL: &str = "SELECT lower(hex(key)), inline FROM flockgate_manifest";

pub(super) fn create(path: &Path) -> Result<(), manager::Error> {
    FeatureStore::open(&Manager::new(Config::default())?, path).map(|_| ())
}

impl Managed {
    pub(super) fn open(path: &Path, role: Role, probe: Probe) -> Result<Self, manager::Error> {
        let config = Config {
            label: role.to_string(),
            duckdb_threads: Some(1),
            // An evaluator that misses computes and publishes, between the other evaluators' reads.
            writes_in_evaluation: match role {
                Role::Training => WritesInEvaluation::Refuse,
                Role::Evaluation => WritesInEvaluation::Allow,
            },
            wait_max: PHASE_MAX,
            ..Config::default()
        };
        let manager = Manager::with_observer(config, Arc::new(Recording(probe.clone())))?;
        let options = StoreOptions { inline_bytes_max: 1 << 20, ..StoreOptions::default() };
        let store = FeatureStore::open_with(&manager, path, options)?;
        Ok(Self { manager, store, phase: Mutex::default(), probe })
    }

    fn surface(&self, error: &manager::Error) -> Failed {
        let message = error.to_string();
        self.probe.record(What::SurfacedError { message: message.clone() });
        let unknown = matches!(error, manager::Error::UnknownOutcome { .. });
        Failed { message, outcome: if unknown { Outcome::Unknown } else { Outcome::Failed } }
    }
}

impl Store for Managed {
    fn enter(&self, phase: Role) -> Result<(), Failed> {
        let guard = match phase {
            Role::Training => self.manager.training_phase(self.store.path()),
            Role::Evaluation => self.manager.evaluation_phase(self.store.path()),
        };
        *self.phase.lock() = Some(guard.map_err(|error| self.surface(&error))?);
        Ok(())
    }

    fn leave(&self) {
        *self.phase.lock() = None;
    }

    fn get_many(&self, specs: &[FeatureSpec]) -> Result<Vec<Option<Vec<u8>>>, Failed> {
        let keys: Vec<_> = specs.iter().map(FeatureSpec::key).collect();
        let found = self.store.get_many(&keys).map_err(|error| self.surface(&error))?;
        let bytes = |lookup: Lookup| {
            let bytes = lookup.hit().map(|artefact| Ok(artefact.bytes()?.into_owned()));
            bytes.transpose().map_err(|error| self.surface(&error))
        };
        found.into_iter().map(bytes).collect()
    }

    fn publish(&self, artefacts: &[(&FeatureSpec, &[u8])]) -> Result<(), Failed> {
        let artefacts = artefacts.iter();
        let publications =
            artefacts.map(|(spec, payload)| Publication::new(spec, payload.to_vec())).collect();
        self.store.publish(publications).map(|_| ()).map_err(|error| self.surface(&error))
    }
}

/// Turns what the manager tells into events.
struct Recording(Probe);

impl Observer for Recording {
    fn observe(&self, _: &Path, event: &LeaseEvent<'_>) {
        self.0.record(match *event {
            LeaseEvent::Taken { number, mode, waited } => What::LeaseTaken {
                lease: number,
                mode: match mode {
                    AccessMode::ReadOnly => Mode::Read,
                    AccessMode::ReadWrite => Mode::Write,
                },
                waited_ns: as_ns(waited),
            },
            LeaseEvent::Returned { number, .. } => What::LeaseReturned { lease: number },
            LeaseEvent::HeldOutside { text } => What::Conflict { message: text.to_owned() },
            LeaseEvent::Paused { attempt, pause } => {
                What::Retry { attempt, pause_ns: as_ns(pause) }
            }
            _ => return,
        });
    }
}
