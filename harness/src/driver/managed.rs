//! The manager's store: look-ups from memory, leases where the database has changed or is to be, phases that wait for
//! each other, nothing held in between.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use manager::{
    AccessMode, Config, FeatureSpec, FeatureStore, Fill, LeaseEvent, Lookup, Manager, Observer,
    PhaseGuard, Publication, WritesInEvaluation,
};
use parking_lot::Mutex;

use super::{Failed, Fresh, Made, Store};
use crate::history::{Mode, Outcome, Role, Row, What};
use crate::probe::{Probe, as_ns};
use crate::scenario::Writes;

/// Longer than any phase of a scenario lasts: a process that is told its phase early waits for the other one.
const PHASE_MAX: Duration = Duration::from_mins(2);

/// Those who are told their phase early wait for all of the other one: that is nothing to warn of.
const PHASE_SLOW: Duration = Duration::from_secs(30);

/// Longer than any run lasts: what was not listed then will never have been.
const FOR_GOOD: Duration = Duration::from_hours(24 * 36_500);

/// See the module's header.
pub(super) struct Managed {
    store: FeatureStore,
    phase: Mutex<Option<PhaseGuard>>,
    probe: Probe,
}

pub(super) fn create(path: &Path) -> Result<(), manager::Error> {
    FeatureStore::open(&Manager::new(Config::default())?, path).map(|_| ())
}

/// What a fresh reader finds: in the manifest, in files, and in what evaluators have left.
pub(super) fn visible(path: &Path) -> Result<Vec<Row>, manager::Error> {
    rows(&FeatureStore::open_existing(&Manager::new(Config::default())?, path)?)
}

fn rows(store: &FeatureStore) -> Result<Vec<Row>, manager::Error> {
    let mut rows = Vec::new();
    for keys in store.keys()?.chunks(1_000) {
        for (key, found) in keys.iter().zip(store.get_many(keys)?) {
            rows.extend(made(found)?.map(|made| super::row(*key, &made)));
        }
    }
    Ok(rows)
}

pub(super) fn saved_us(path: &Path) -> Result<u64, manager::Error> {
    let store = FeatureStore::open_existing(&Manager::new(Config::default())?, path)?;
    Ok(store.stats()?.everywhere.saved_us)
}

impl Managed {
    pub(super) fn open(
        path: &Path,
        role: Role,
        writes: Writes,
        probe: Probe,
    ) -> Result<Self, manager::Error> {
        let config = Config {
            label: role.to_string(),
            duckdb_threads: Some(1),
            writes_in_evaluation: match (role, writes) {
                // An evaluator that misses computes and publishes, between the other evaluators' reads.
                (Role::Evaluation, Writes::AtOnce) => WritesInEvaluation::Allow,
                // It leaves what it has computed for the next training phase.
                (Role::Evaluation, Writes::Spool) | (Role::Training, _) => {
                    WritesInEvaluation::Refuse
                }
            },
            wait_max: PHASE_MAX,
            warn_after: PHASE_SLOW,
            ..Config::default()
        };
        let manager = Manager::with_observer(config, Arc::new(Recording(probe.clone())))?;
        let store = FeatureStore::open(&manager, path)?;
        Ok(Self { store, phase: Mutex::default(), probe })
    }

    fn surface(&self, error: manager::Error) -> Failed {
        let message = error.to_string();
        self.probe.record(What::SurfacedError { message: message.clone() });
        let unknown = matches!(error, manager::Error::UnknownOutcome { .. });
        let outcome = if unknown { Outcome::Unknown } else { Outcome::Failed };
        let leak = if let manager::Error::Leak(leak) = error { Some(leak) } else { None };
        Failed { message, outcome, leak }
    }
}

impl Store for Managed {
    fn enter(&self, phase: Role) -> Result<(), Failed> {
        let guard = match phase {
            Role::Training => self.store.training_phase(),
            Role::Evaluation => self.store.evaluation_phase(),
        };
        *self.phase.lock() = Some(guard.map_err(|error| self.surface(error))?);
        Ok(())
    }

    fn leave(&self) {
        *self.phase.lock() = None;
    }

    fn get_many(&self, specs: &[FeatureSpec], as_of: u32) -> Result<Vec<Option<Made>>, Failed> {
        let found = self.store.as_of(as_of).get_many(specs);
        let found = found.and_then(|found| found.into_iter().map(made).collect());
        found.map_err(|error| self.surface(error))
    }

    fn publish(&self, artefacts: &[Fresh<'_>]) -> Result<(), Failed> {
        let publications = artefacts.iter().map(publication).collect();
        self.store.publish(publications).map(|_| ()).map_err(|error| self.surface(error))
    }

    fn get_or_make(
        &self,
        spec: &FeatureSpec,
        as_of: u32,
        compute: &mut dyn FnMut() -> Option<Made>,
    ) -> Option<Result<Made, Failed>> {
        let filled = || compute().map(fill).ok_or(Cause::NotMade);
        let found = self.store.as_of(as_of).get_or_compute(spec, filled);
        let found = found.and_then(|found| Ok(made(found)?));
        Some(match found {
            Ok(Some(made)) => Ok(made),
            Err(Cause::Store(error)) => Err(self.surface(error)),
            Ok(None) | Err(Cause::NotMade) => {
                let message = Cause::NotMade.to_string();
                Err(Failed { message, outcome: Outcome::Failed, leak: None })
            }
        })
    }
}

/// Why something was neither found nor made.
#[derive(Debug, thiserror::Error)]
enum Cause {
    #[error(transparent)]
    Store(#[from] manager::Error),
    #[error("it could not be computed")]
    NotMade,
}

fn publication<'a>(fresh: &Fresh<'a>) -> Publication<'a> {
    let (spec, fill) = (fresh.spec, fill(fresh.made.clone()));
    Publication { spec, fill, computed_in: fresh.computed_in }
}

fn fill(made: Made) -> Fill {
    match made {
        Made::Bytes(bytes) => Fill::Bytes(bytes),
        Made::Absent(reason) => Fill::Absent { reason, retry_after: FOR_GOOD },
    }
}

fn made(found: Lookup) -> Result<Option<Made>, manager::Error> {
    Ok(match found {
        Lookup::Hit(artefact) => Some(Made::Bytes(artefact.bytes()?.into_owned())),
        Lookup::Absent(absent) => Some(Made::Absent(absent.reason)),
        Lookup::Miss => None,
    })
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

#[cfg(test)]
mod tests {
    use super::*;
    use manager::{Fingerprint, Input, LeakCause};

    #[test]
    fn what_knows_too_much_is_refused_and_neither_found_nor_made() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.duckdb");
        let probe = Probe::new("evaluation-0", Box::new(std::io::sink()));
        let store = Managed::open(&path, Role::Evaluation, Writes::Spool, probe).unwrap();
        let adjusted = Input::column("Adj Close", Fingerprint::of("")).known_through(900);
        let spec = FeatureSpec::new("features", 1).range(0..21).input(adjusted);
        let made = Made::Bytes(vec![1]);
        let artefact = Fresh { spec: &spec, made: &made, computed_in: Duration::ZERO };
        store.publish(&[artefact]).unwrap();
        let refused = store.get_many(std::slice::from_ref(&spec), 899).unwrap_err();
        assert_eq!(refused.leak.unwrap().cause, LeakCause::Input("Adj Close".to_owned()));
        let refused = store.get_or_make(&spec, 899, &mut || panic!("it is made")).unwrap();
        assert!(refused.unwrap_err().leak.is_some());
        assert_eq!(store.get_many(&[spec], 900).unwrap(), [Some(made)]);
    }

    #[test]
    fn a_negative_entry_is_found_with_its_reason_where_it_was_left_and_in_the_manifest() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.duckdb");
        let probe = Probe::new("evaluation-0", Box::new(std::io::sink()));
        let store = Managed::open(&path, Role::Evaluation, Writes::Spool, probe).unwrap();
        let spec = FeatureSpec::new("features", 1).entity("FB").range(0..21);
        let absent = Made::Absent("listed on 2012-05-18".to_owned());
        store.enter(Role::Evaluation).unwrap();
        let made = store.get_or_make(&spec, 21, &mut || Some(absent.clone())).unwrap().unwrap();
        assert_eq!(made, absent);
        assert_eq!(
            rows(&store.store).unwrap(),
            [super::super::row(spec.key(), &absent)],
            "spooled"
        );
        store.leave();
        store.enter(Role::Training).unwrap(); // which puts it into the manifest
        assert_eq!(rows(&store.store).unwrap(), [super::super::row(spec.key(), &absent)], "folded");
        assert_eq!(store.get_many(&[spec], 21).unwrap(), [Some(absent)]);
    }
}
