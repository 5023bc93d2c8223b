//! What one process publishes, every process finds, unchanged.

use std::cell::Cell;
use std::path::Path;

use manager::{Error, ErrorClass, FeatureSpec, FeatureStore, Lookup, Manager, Published};

use crate::peer::Peer;
use crate::support::{Running, Site, manager};

fn spec(entity: &str) -> FeatureSpec<'_> {
    FeatureSpec {
        feature: "rsi",
        version: 1,
        params: "{}",
        entity,
        range: 0..21,
        inputs: b"prices",
    }
}

fn store(manager: &Manager, site: &Site) -> FeatureStore {
    FeatureStore::open(manager, site.database()).unwrap()
}

fn change(manager: &Manager, path: &Path, sql: &str) {
    assert!(manager.write(path).unwrap().execute(sql, []).unwrap() > 0, "{sql}");
}

#[test]
fn a_published_artefact_is_found_by_another_process_and_after_it() {
    let site = Site::empty();
    let writing = manager();
    let published = store(&writing, &site).publish(&[(&spec("IBM"), b"one"), (&spec("SAP"), b"")]);
    assert_eq!(published.unwrap(), Published { stored: 2, present: 0 });
    drop(writing);
    // A process of its own holds the file to read: the store reads beside it.
    let _reader = Peer::holding("outside-read", &site.database());
    let reading = manager();
    let found = store(&reading, &site)
        .get_many(&[spec("SAP").key(), spec("AMD").key(), spec("IBM").key(), spec("SAP").key()])
        .unwrap();
    let [sap, ibm] = [Lookup::Hit(vec![]), Lookup::Hit(b"one".to_vec())];
    assert_eq!(found, [sap.clone(), Lookup::Miss, ibm, sap], "in the order of the keys");
}

#[test]
fn the_first_publication_stays() {
    let site = Site::empty();
    let manager = manager();
    let store = store(&manager, &site);
    store.publish(&[(&spec("IBM"), b"first")]).unwrap();
    let again = store.publish(&[(&spec("IBM"), b"second"), (&spec("SAP"), b"new")]).unwrap();
    assert_eq!(again, Published { stored: 1, present: 1 });
    let twice = store.publish(&[(&spec("AMD"), b"a"), (&spec("AMD"), b"b")]).unwrap();
    assert_eq!(twice, Published { stored: 1, present: 1 });
    assert_eq!(store.get(spec("IBM").key()).unwrap(), Lookup::Hit(b"first".to_vec()));
    assert_eq!(store.get(spec("AMD").key()).unwrap(), Lookup::Hit(b"a".to_vec()));
}

#[test]
fn look_ups_of_more_keys_than_one_query_takes_are_answered_in_order() {
    let site = Site::empty();
    let manager = manager();
    let store = store(&manager, &site);
    let names: Vec<String> = (0..600).map(|number| number.to_string()).collect();
    let specs: Vec<_> = names.iter().map(|name| spec(name)).collect();
    let artefacts: Vec<_> =
        specs.iter().zip(&names).step_by(2).map(|(spec, name)| (spec, name.as_bytes())).collect();
    assert_eq!(store.publish(&artefacts).unwrap().stored, 300);
    assert_eq!(store.publish(&artefacts).unwrap().present, 300);
    let keys: Vec<_> = specs.iter().map(FeatureSpec::key).collect();
    for (number, found) in store.get_many(&keys).unwrap().into_iter().enumerate() {
        let published = number % 2 == 0;
        let expected =
            if published { Lookup::Hit(number.to_string().into_bytes()) } else { Lookup::Miss };
        assert_eq!(found, expected, "{number}");
    }
}

#[test]
fn an_artefact_is_computed_once_and_a_failed_computation_publishes_nothing() {
    let site = Site::empty();
    let manager = manager();
    let store = store(&manager, &site);
    let failed = store.get_or_compute(&spec("IBM"), || {
        Err::<Vec<u8>, _>(Error::from(duckdb::Error::QueryReturnedNoRows))
    });
    assert!(failed.is_err());
    assert_eq!(store.get(spec("IBM").key()).unwrap(), Lookup::Miss);
    let computed = Cell::new(0);
    for _ in 0..3 {
        let found = store.get_or_compute(&spec("IBM"), || -> Result<_, Error> {
            computed.set(computed.get() + 1);
            Ok(vec![7])
        });
        assert_eq!(found.unwrap(), [7]);
    }
    assert_eq!(computed.get(), 1);
}

#[test]
fn threads_that_compute_the_same_artefact_all_get_the_one_that_was_published_first() {
    let site = Site::empty();
    let manager = manager();
    let store = store(&manager, &site);
    let threads: Vec<_> = (0..6_u8)
        .map(|number| {
            let store = store.clone();
            Running::begin(move || {
                store.get_or_compute(&spec("IBM"), || Ok::<_, Error>(vec![number])).unwrap()
            })
        })
        .collect();
    let found: Vec<_> = threads.into_iter().map(Running::finish).collect();
    assert!(found.iter().all(|payload| *payload == found[0]), "{found:?}");
    assert_eq!(store.get(spec("IBM").key()).unwrap(), Lookup::Hit(found[0].clone()));
}

#[test]
fn an_artefact_published_while_it_is_computed_is_the_one_returned() {
    let site = Site::empty();
    let manager = manager();
    let store = store(&manager, &site);
    let found = store.get_or_compute(&spec("IBM"), || -> Result<_, Error> {
        store.publish(&[(&spec("IBM"), b"theirs")])?;
        Ok(b"ours".to_vec())
    });
    assert_eq!(found.unwrap(), b"theirs");
}

#[test]
fn a_damaged_artefact_is_refused_and_named() {
    let site = Site::empty();
    let manager = manager();
    let store = store(&manager, &site);
    store.publish(&[(&spec("IBM"), b"payload"), (&spec("SAP"), b"other")]).unwrap();
    change(
        &manager,
        &site.database(),
        "UPDATE flockgate_artefact SET payload = 'pAyload'::BLOB WHERE entity = 'IBM'",
    );
    let error = store.get(spec("IBM").key()).unwrap_err();
    let text = error.to_string();
    assert!(matches!(error, Error::Artefact { .. }), "{text}");
    assert!(text.contains(&spec("IBM").key().to_string()) && text.contains("checksum"), "{text}");
    assert_eq!(store.get(spec("SAP").key()).unwrap(), Lookup::Hit(b"other".to_vec()));
    let computed = store.get_or_compute(&spec("IBM"), || Ok::<_, Error>(vec![1]));
    assert!(matches!(computed, Err(Error::Artefact { .. })), "it is not papered over");
}

#[test]
fn a_store_of_another_schema_version_is_refused() {
    let site = Site::empty();
    let manager = manager();
    store(&manager, &site);
    change(&manager, &site.database(), "UPDATE flockgate_meta SET value = '2'");
    let error = FeatureStore::open(&manager, site.database()).map(drop).unwrap_err();
    assert_eq!(error.class(), Some(ErrorClass::OtherVersion));
    assert!(error.to_string().contains("schema version is 2"), "{error}");
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
fn a_store_can_be_opened_where_a_phase_or_a_lease_came_first() {
    let site = Site::empty();
    let manager = manager();
    drop(manager.training_phase(site.database()).unwrap());
    let store = FeatureStore::open(&manager, site.database()).unwrap();
    assert_eq!(store.get(spec("IBM").key()).unwrap(), Lookup::Miss);
}

#[test]
fn what_is_computed_while_somebody_else_evaluates_is_returned_and_not_published() {
    let site = Site::empty();
    let manager = manager();
    let store = FeatureStore::open(&manager, site.database()).unwrap();
    let evaluator = Peer::holding("evaluation", &site.database());
    let computed = store.get_or_compute(&spec("IBM"), || Ok::<_, Error>(vec![7])).unwrap();
    assert_eq!(computed, [7]);
    assert_eq!(store.get(spec("IBM").key()).unwrap(), Lookup::Miss);
    evaluator.release();
    store.get_or_compute(&spec("IBM"), || Ok::<_, Error>(vec![7])).unwrap();
    assert_eq!(store.get(spec("IBM").key()).unwrap(), Lookup::Hit(vec![7]));
}
