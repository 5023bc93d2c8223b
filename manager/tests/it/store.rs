//! The feature store: what one process publishes, every process finds, unchanged and never stale.

mod computing;
mod hazards;
mod killed;
mod look_up;
mod no_system_call;
mod peers;
mod processes;
mod storms;
mod upkeep;
mod versions;
mod walks;

use std::path::Path;
use std::time::Duration;

use manager::{Error, FeatureSpec, FeatureStore, Fill, Lookup, Manager, Publication, StoreOptions};

use crate::support::{Site, manager};

/// A feature of one share, in its first month.
pub(crate) fn spec(entity: &str) -> FeatureSpec {
    FeatureSpec::new("rsi", 1).entity(entity).range(0..21)
}

pub(crate) fn store(manager: &Manager, site: &Site) -> FeatureStore {
    FeatureStore::open(manager, site.database()).unwrap()
}

/// One that puts everything into files.
pub(crate) fn store_of_files(manager: &Manager, site: &Site) -> FeatureStore {
    let options = StoreOptions { inline_bytes_max: 0, ..StoreOptions::default() };
    FeatureStore::open_with(manager, site.database(), options).unwrap()
}

/// What is found is these bytes.
#[track_caller]
pub(crate) fn is_hit(found: &Lookup, bytes: &[u8]) {
    match found {
        Lookup::Hit(artefact) => assert_eq!(artefact.bytes().unwrap(), bytes),
        other => panic!("{other:?} instead of {bytes:?}"),
    }
}

pub(crate) fn publish(store: &FeatureStore, entity: &str, bytes: &[u8]) -> manager::Published {
    store.publish(vec![Publication::new(&spec(entity), bytes.to_vec())]).unwrap()
}

pub(crate) fn absent(reason: &str, retry_after: Duration) -> Fill {
    Fill::Absent { reason: reason.into(), retry_after }
}

#[allow(clippy::unnecessary_wraps)] // it is what a computation returns
pub(crate) fn bytes(bytes: &[u8]) -> Result<Fill, Error> {
    Ok(Fill::Bytes(bytes.to_vec()))
}

pub(crate) fn change(manager: &Manager, path: &Path, sql: &str) {
    assert!(manager.write(path).unwrap().execute(sql, []).unwrap() > 0, "{sql}");
}

/// The files of a store that artefacts are in.
pub(crate) fn objects(store: &FeatureStore) -> Vec<std::path::PathBuf> {
    let folders = std::fs::read_dir(store.folder().join("objects")).into_iter().flatten().flatten();
    folders
        .flat_map(|folder| std::fs::read_dir(folder.path()).unwrap())
        .map(|file| file.unwrap().path())
        .collect()
}

#[test]
fn a_store_can_be_opened_where_a_phase_or_a_lease_came_first() {
    let site = Site::empty();
    let manager = manager();
    drop(manager.training_phase(site.database()).unwrap());
    assert!(store(&manager, &site).get(spec("IBM").key()).unwrap().is_miss());
}

#[test]
fn a_database_that_is_no_store_is_refused_and_left_alone() {
    let site = Site::new();
    let manager = manager();
    let error = FeatureStore::open(&manager, site.database()).map(drop).unwrap_err();
    assert!(error.to_string().contains("not a feature store"), "{error}");
    let lease = manager.read(site.database()).unwrap();
    let tables: i64 =
        lease.query_row("SELECT count(*) FROM duckdb_tables()", [], |row| row.get(0)).unwrap();
    assert_eq!(tables, 1);
}

#[test]
fn who_looks_after_a_store_makes_none() {
    let site = Site::empty();
    let manager = manager();
    let open = || FeatureStore::open_existing(&manager, site.database()).map(drop);
    assert!(open().unwrap_err().to_string().contains("check the path"));
    assert!(!site.database().exists(), "none was made");
    assert!(manager.create(site.database(), |_| -> Result<(), Error> { Ok(()) }).unwrap());
    assert!(open().unwrap_err().to_string().contains("an empty database"));
    drop(store(&manager, &site)); // which fills it
    open().unwrap();
}

#[test]
fn the_keys_are_those_of_artefacts_negative_entries_and_what_evaluators_have_left() {
    let site = Site::empty();
    let manager = manager();
    let store = store_of_files(&manager, &site);
    assert_eq!(store.keys().unwrap(), []);
    publish(&store, "IBM", b"one");
    let sap = spec("SAP");
    let fill = absent("not listed", Duration::from_hours(1));
    store.publish(vec![Publication { fill, ..Publication::new(&sap, vec![]) }]).unwrap();
    let phase = store.evaluation_phase().unwrap();
    store.get_or_compute(&spec("MSFT"), || bytes(b"left")).unwrap();
    let mut expected = ["IBM", "SAP", "MSFT"].map(|entity| spec(entity).key());
    expected.sort_unstable();
    assert_eq!(store.keys().unwrap(), expected);
    drop(phase);
    assert_eq!(store.fold().unwrap().stored, 1);
    assert_eq!(store.keys().unwrap(), expected);
}
