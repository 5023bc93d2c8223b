//! Stores of other versions: an older one is migrated, a newer one refused by name. The files are of those versions.

use std::fs::File;
use std::io;
use std::path::Path;

use flate2::read::GzDecoder;
use manager::{Error, ErrorClass, FeatureSpec, FeatureStore, Fill, Key, Lookup};

use super::{is_hit, store};
use crate::peer::Peer;
use crate::support::{Site, manager};

fn unpack(name: &str, to: &Path) {
    let packed = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data").join(name);
    let mut packed = GzDecoder::new(File::open(packed).unwrap());
    io::copy(&mut packed, &mut File::create(to).unwrap()).unwrap();
}

fn old_key(entity: &str) -> Key {
    Key::v1("rsi", 1, "{\"days\":14}", entity, 0..21, b"prices v1")
}

#[test]
fn a_store_of_version_1_is_migrated_and_its_artefacts_are_found() {
    let site = Site::empty();
    unpack("store.v1.duckdb.gz", &site.database());
    let manager = manager();
    let migrated = store(&manager, &site);
    is_hit(&migrated.get(old_key("AAPL")).unwrap(), &[0; 100]);
    is_hit(&migrated.get(old_key("FB")).unwrap(), &[4; 6000]);
    // By whoever says what it was called then.
    let spec = FeatureSpec::new("rsi", 1).entity("IBM").range(0..21).formerly(old_key("IBM"));
    let found = migrated.get_or_compute(&spec, || -> Result<Fill, Error> {
        unreachable!("it was computed by version 1")
    });
    is_hit(&found.unwrap(), &[1; 101]);
    assert!(migrated.get(spec.key()).unwrap().is_miss(), "under its new key it is not there");
    let report = migrated.verify(manager::Depth::Deep).unwrap();
    assert!(report.is_sound() && report.artefacts == 5, "{report:?}");
    drop(migrated);
    let again = store(&manager, &site);
    assert!(matches!(again.get(old_key("MSFT")).unwrap(), Lookup::Hit(_)));
}

#[test]
fn two_processes_that_open_a_store_of_version_1_at_once_both_find_all_of_it() {
    for _ in 0..3 {
        let site = Site::empty();
        unpack("store.v1.duckdb.gz", &site.database());
        let mut peers = super::peers::open_many(2, &site.database(), &[]);
        for peer in &mut peers {
            assert_eq!(peer.tell("verify"), "sound 5");
            assert_eq!(peer.tell("get none"), "miss");
        }
        assert_eq!(peers[0].tell("publish IBM 60"), "ok 1 0");
        assert_eq!(peers[1].tell("get IBM"), "hit 60 IBM");
    }
}

#[test]
fn a_migration_that_is_killed_at_any_moment_is_done_by_the_next_process() {
    let mut killed = 0;
    for moment in 0..12 {
        let site = Site::empty();
        unpack("store.v1.duckdb.gz", &site.database());
        let doomed = Peer::run(&mut super::peers::command("-", &site.database(), &[]));
        std::thread::sleep(std::time::Duration::from_millis(4 * moment));
        killed += u32::from(doomed.has_said_nothing());
        doomed.kill();
        let manager = manager();
        let migrated = store(&manager, &site);
        for (entity, byte, length) in [("AAPL", 0, 100), ("IBM", 1, 101), ("FB", 4, 6000)] {
            is_hit(&migrated.get(old_key(entity)).unwrap(), &vec![byte; length]);
        }
        let report = migrated.verify(manager::Depth::Deep).unwrap();
        assert!(report.is_sound() && report.artefacts == 5, "{report:?}");
    }
    assert!(killed > 0, "some of them were killed before they were done");
}

#[test]
fn a_store_is_not_migrated_while_somebody_evaluates() {
    let site = Site::empty();
    unpack("store.v1.duckdb.gz", &site.database());
    let manager = manager();
    let evaluator = Peer::holding("evaluation", &site.database());
    let error = FeatureStore::open(&manager, site.database()).map(drop).unwrap_err();
    assert!(matches!(error, Error::EvaluationIsOn { .. }), "{error}");
    evaluator.release();
    is_hit(&store(&manager, &site).get(old_key("AAPL")).unwrap(), &[0; 100]);
}

#[test]
fn a_newer_store_is_refused_by_name_and_left_alone() {
    let site = Site::empty();
    unpack("store.v99.duckdb.gz", &site.database());
    let before = std::fs::read(site.database()).unwrap();
    let manager = manager();
    let error = FeatureStore::open(&manager, site.database()).map(drop).unwrap_err();
    assert_eq!(error.class(), Some(ErrorClass::OtherVersion));
    assert!(
        error.to_string().contains("schema version is 99, this build reads up to 2"),
        "{error}"
    );
    drop(manager);
    assert!(std::fs::read(site.database()).unwrap() == before);
}
