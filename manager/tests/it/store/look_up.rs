//! Looking up and publishing.

use std::sync::Arc;
use std::thread;
use std::time::Duration;

use manager::duckdb::arrow::array::{Float64Array, RecordBatch};
use manager::{
    Config, Error, FeatureStore, Fill, Fingerprint, Input, Lookup, Manager, MirrorState,
    Publication, Published, StoreOptions,
};

use super::{absent, bytes, change, is_hit, objects, publish, spec, store, store_of_files};
use crate::peer::Peer;
use crate::support::{Running, Site, config, manager};

const HOUR: Duration = Duration::from_hours(1);

#[test]
fn a_published_artefact_is_found_by_another_process_and_after_it() {
    let site = Site::empty();
    let writing = manager();
    let (ibm, sap) = (spec("IBM"), spec("SAP"));
    let published = store(&writing, &site)
        .publish(vec![Publication::new(&ibm, b"one".to_vec()), Publication::new(&sap, vec![])]);
    assert_eq!(published.unwrap(), Published { stored: 2, present: 0 });
    drop(writing);
    // A process of its own holds the file to read: the store reads beside it.
    let _reader = Peer::holding("outside-read", &site.database());
    let reading = manager();
    let keys = [sap.key(), spec("AMD").key(), ibm.key(), sap.key()];
    let found = store(&reading, &site).get_many(&keys).unwrap();
    is_hit(&found[0], b"");
    assert!(found[1].is_miss());
    is_hit(&found[2], b"one");
    is_hit(&found[3], b"");
}

#[test]
fn the_first_publication_stays() {
    let site = Site::empty();
    let manager = manager();
    let store = store(&manager, &site);
    publish(&store, "IBM", b"first");
    let (ibm, sap, amd) = (spec("IBM"), spec("SAP"), spec("AMD"));
    let again = vec![Publication::new(&ibm, b"x".to_vec()), Publication::new(&sap, b"y".to_vec())];
    assert_eq!(store.publish(again).unwrap(), Published { stored: 1, present: 1 });
    let twice = vec![Publication::new(&amd, b"a".to_vec()), Publication::new(&amd, b"b".to_vec())];
    assert_eq!(store.publish(twice).unwrap(), Published { stored: 1, present: 1 });
    is_hit(&store.get(ibm.key()).unwrap(), b"first");
    is_hit(&store.get(amd.key()).unwrap(), b"a");
    assert_eq!(store.publish(vec![]).unwrap(), Published::default());
}

/// I9: what another store has published before a look-up begins, the look-up finds, although the mirror was full before.
#[test]
fn no_look_up_is_stale() {
    let site = Site::empty();
    let manager = manager();
    let (here, there) = (store(&manager, &site), store(&manager, &site));
    for number in 0..200_u32 {
        let entity = number.to_string();
        assert!(there.get(spec(&entity).key()).unwrap().is_miss());
        publish(&here, &entity, entity.as_bytes());
        is_hit(&there.get(spec(&entity).key()).unwrap(), entity.as_bytes());
        let many = there.get_many(&[spec("none").key(), spec(&entity).key()]).unwrap();
        assert!(many[0].is_miss());
        is_hit(&many[1], entity.as_bytes());
    }
    assert!(matches!(there.stats().unwrap().mirror, MirrorState::Mirrored { keys: 200, .. }));
}

#[test]
fn a_reader_is_as_little_stale_and_counts_what_it_finds() {
    let site = Site::empty();
    let manager = manager();
    let (here, there) = (store(&manager, &site), store_of_files(&manager, &site));
    let mut reader = there.reader();
    for number in 0..50_u32 {
        let entity = number.to_string();
        let key = spec(&entity).key();
        assert!(reader.get(key).unwrap().is_none());
        publish(if number % 2 == 0 { &here } else { &there }, &entity, entity.as_bytes());
        let found = reader.get(key).unwrap().expect("it is published");
        assert_eq!(found.bytes().unwrap(), entity.as_bytes());
        assert_eq!(found.artefact().bytes().unwrap(), entity.as_bytes());
        here.invalidate(&manager::Selector::Key(key)).unwrap();
        assert!(reader.get(key).unwrap().is_none());
    }
    drop(reader);
    assert_eq!(there.stats().unwrap().here.hits, 50);
    let options = StoreOptions { mirror_bytes_max: 0, ..StoreOptions::default() };
    let by_sql = FeatureStore::open_with(&manager, site.database(), options).unwrap();
    publish(&by_sql, "IBM", b"payload");
    assert!(by_sql.reader().get(spec("IBM").key()).unwrap().is_none(), "the store has to be asked");
    is_hit(&by_sql.get(spec("IBM").key()).unwrap(), b"payload");
}

/// The same without a mirror, as a store that is too large for one answers.
#[test]
fn a_mirror_over_its_budget_falls_back_to_sql_and_says_so() {
    let site = Site::empty();
    let manager = manager();
    let options = StoreOptions { mirror_bytes_max: 2_000, ..StoreOptions::default() };
    let small = FeatureStore::open_with(&manager, site.database(), options).unwrap();
    let names: Vec<String> = (0..600).map(|number| number.to_string()).collect();
    for name in &names[..4] {
        publish(&small, name, name.as_bytes());
    }
    assert!(matches!(small.stats().unwrap().mirror, MirrorState::Mirrored { .. }));
    let specs: Vec<_> = names.iter().map(|name| spec(name)).collect();
    let half = specs.iter().zip(&names).step_by(2);
    let half = half.map(|(spec, name)| Publication::new(spec, name.as_bytes().to_vec()));
    assert_eq!(small.publish(half.collect()).unwrap(), Published { stored: 298, present: 2 });
    let keys: Vec<_> = specs.iter().map(manager::FeatureSpec::key).collect();
    for (number, found) in small.get_many(&keys).unwrap().into_iter().enumerate() {
        if number % 2 == 0 || number < 4 {
            is_hit(&found, number.to_string().as_bytes());
        } else {
            assert!(found.is_miss());
        }
    }
    assert_eq!(small.stats().unwrap().mirror, MirrorState::OverBudget);
    let again = store(&manager, &site);
    again.get(keys[0]).unwrap();
    assert!(matches!(again.stats().unwrap().mirror, MirrorState::Mirrored { keys: 302, .. }));
}

#[test]
fn large_artefacts_are_files_and_small_ones_are_not() {
    let site = Site::empty();
    let manager = manager();
    let store = store(&manager, &site);
    let large = vec![7; 4097];
    publish(&store, "IBM", &large);
    publish(&store, "SAP", &large[..4096]);
    let found = store.get(spec("IBM").key()).unwrap().hit().unwrap();
    assert_eq!(std::fs::read(found.path().unwrap()).unwrap(), large);
    assert_eq!((found.bytes().unwrap().len(), found.len()), (4097, 4097));
    assert_eq!(store.get(spec("SAP").key()).unwrap().hit().unwrap().path(), None);
    assert_eq!(objects(&store).len(), 1);
    // The same bytes under another key are not stored twice.
    publish(&store, "AMD", &large);
    assert_eq!(objects(&store).len(), 1);
}

#[test]
fn tables_come_back_as_they_were() {
    let site = Site::empty();
    let manager = manager();
    let store = store(&manager, &site);
    let column = Float64Array::from(vec![1.5, f64::NAN, -0.0]);
    let table = RecordBatch::try_from_iter([("rsi", Arc::new(column) as _)]).unwrap();
    store.publish(vec![Publication::new(&spec("IBM"), Fill::Table(table.clone()))]).unwrap();
    let found = store.get(spec("IBM").key()).unwrap().hit().unwrap();
    assert_eq!(found.codec(), manager::Codec::Arrow);
    let back = found.table().unwrap();
    assert_eq!((back.len(), back[0].schema()), (1, table.schema()));
    assert_eq!(back[0].column(0).to_data(), table.column(0).to_data());
    publish(&store, "SAP", b"no table");
    let bytes = store.get(spec("SAP").key()).unwrap().hit().unwrap();
    assert!(bytes.table().unwrap_err().to_string().contains("as bytes, not as a table"));
}

#[test]
fn a_negative_entry_has_a_reason_and_an_end() {
    let site = Site::empty();
    let manager = manager();
    let store = store(&manager, &site);
    let found =
        store.get_or_compute(&spec("FB"), || Ok::<_, Error>(absent("not listed yet", HOUR)));
    assert!(matches!(found.unwrap(), Lookup::Absent(absent) if absent.reason == "not listed yet"));
    let found =
        store.get_or_compute(&spec("FB"), || -> Result<Fill, Error> { unreachable!("it holds") });
    assert!(matches!(found.unwrap(), Lookup::Absent(_)));
    let fb = spec("FB");
    // Somebody who knows better replaces it; nobody replaces that by a reason.
    publish(&store, "FB", b"listed");
    is_hit(&store.get(spec("FB").key()).unwrap(), b"listed");
    let late = vec![Publication::new(&fb, absent("late", HOUR))];
    assert_eq!(store.publish(late).unwrap(), Published { stored: 0, present: 1 });

    let soon = Duration::from_millis(1);
    store.publish(vec![Publication::new(&spec("SAP"), absent("soon over", soon))]).unwrap();
    thread::sleep(Duration::from_millis(5));
    assert!(store.get(spec("SAP").key()).unwrap().is_miss());
    store.publish(vec![Publication::new(&spec("SAP"), absent("again", HOUR))]).unwrap();
    assert!(matches!(store.get(spec("SAP").key()).unwrap(), Lookup::Absent(_)));
    let here = store.stats().unwrap().here;
    assert_eq!(here.negative, 2);
}

/// The clock of whoever published it was ahead, or this one's has been set back: it is tried again.
#[test]
fn a_negative_entry_of_the_future_does_not_hold() {
    let site = Site::empty();
    let manager = manager();
    let writing = store(&manager, &site);
    writing.publish(vec![Publication::new(&spec("FB"), absent("not listed", HOUR))]).unwrap();
    change(
        &manager,
        &site.database(),
        "UPDATE flockgate_manifest SET created_ms = created_ms + 60000, retry_at_ms = retry_at_ms + 60000",
    );
    let reading = store(&manager, &site);
    assert!(reading.get(spec("FB").key()).unwrap().is_miss());
}

#[test]
fn a_damaged_file_is_computed_again_reported_and_kept() {
    let site = Site::empty();
    let manager = manager();
    let store = store_of_files(&manager, &site);
    publish(&store, "IBM", b"payload");
    publish(&store, "SAP", b"other");
    let found = store.get(spec("IBM").key()).unwrap().hit().unwrap();
    let file = found.path().unwrap();
    std::fs::write(&file, b"pAyload").unwrap();
    let error = found.bytes().unwrap_err();
    let Error::Artefact { evidence: Some(evidence), key, .. } = &error else { panic!("{error:?}") };
    assert_eq!(*key, spec("IBM").key().to_string());
    assert_eq!(std::fs::read(evidence).unwrap(), b"pAyload");
    assert!(evidence.with_added_extension("json").exists());
    assert!(store.get(spec("IBM").key()).unwrap().is_miss(), "it counts as missing");
    is_hit(&store.get(spec("SAP").key()).unwrap(), b"other");
    is_hit(&store.get_or_compute(&spec("IBM"), || bytes(b"payload")).unwrap(), b"payload");
    is_hit(&store.get(spec("IBM").key()).unwrap(), b"payload");
    assert!(store.verify(manager::Depth::Deep).unwrap().is_sound());
}

/// In one call, without anybody having looked before; also if the new bytes are others.
#[test]
fn a_damaged_artefact_is_healed_by_who_computes_it() {
    for (damage, anew) in
        [("other bytes", &b"payload"[..]), ("", b"payload"), ("pAyload", b"better")]
    {
        let site = Site::empty();
        let manager = manager();
        let store = store_of_files(&manager, &site);
        publish(&store, "IBM", b"payload");
        let file = objects(&store).pop().unwrap();
        if damage.is_empty() {
            std::fs::remove_file(&file).unwrap();
        } else {
            std::fs::write(&file, damage).unwrap();
        }
        is_hit(&store.get_or_compute(&spec("IBM"), || bytes(anew)).unwrap(), anew);
        assert_eq!(store.stats().unwrap().here.damaged, 1);
        let fresh = super::store(&manager, &site);
        is_hit(&fresh.get(spec("IBM").key()).unwrap(), anew);
        assert!(store.verify(manager::Depth::Deep).unwrap().is_sound(), "{damage}");
    }
}

#[test]
fn a_damaged_row_is_refused_named_and_healed() {
    let site = Site::empty();
    let manager = manager();
    publish(&store(&manager, &site), "IBM", b"payload");
    change(&manager, &site.database(), "UPDATE flockgate_manifest SET inline = 'pAyload'::BLOB");
    let store = store(&manager, &site);
    let found = store.get(spec("IBM").key()).unwrap().hit().unwrap();
    let text = found.bytes().unwrap_err().to_string();
    assert!(text.contains(&spec("IBM").key().to_string()) && text.contains("checksum"), "{text}");
    assert_eq!(store.verify(manager::Depth::Deep).unwrap().damaged.len(), 1);
    is_hit(&store.get_or_compute(&spec("IBM"), || bytes(b"payload")).unwrap(), b"payload");
    assert!(store.verify(manager::Depth::Deep).unwrap().is_sound());
}

#[test]
fn what_evaluators_compute_is_found_at_once_and_folded_at_the_switch() {
    let site = Site::empty();
    let manager = manager();
    let store = store_of_files(&manager, &site);
    let evaluator = Peer::holding("evaluation", &site.database());
    is_hit(&store.get_or_compute(&spec("IBM"), || bytes(&[7])).unwrap(), &[7]);
    let found = store.get_or_compute(&spec("FB"), || Ok::<_, Error>(absent("too young", HOUR)));
    assert!(matches!(found.unwrap(), Lookup::Absent(_)));
    let elsewhere = super::store(&manager, &site);
    is_hit(&elsewhere.get(spec("IBM").key()).unwrap(), &[7]);
    let many = elsewhere.get_many(&[spec("FB").key(), spec("SAP").key()]).unwrap();
    assert!(matches!(many[0], Lookup::Absent(_)) && many[1].is_miss());
    let report = store.verify(manager::Depth::Deep).unwrap();
    assert_eq!((report.artefacts, report.spooled, report.files_without_row), (0, 2, 0));
    assert!(store.gc(false).is_err(), "nobody writes while somebody evaluates");
    evaluator.release();
    drop(store.training_phase().unwrap());
    let report = store.verify(manager::Depth::Deep).unwrap();
    assert_eq!((report.artefacts, report.negative, report.spooled), (1, 1, 0));
    is_hit(&elsewhere.get(spec("IBM").key()).unwrap(), &[7]);
}

#[test]
fn evaluators_that_may_write_publish_between_the_others_reads() {
    let site = Site::empty();
    let manager = Manager::new(Config {
        writes_in_evaluation: manager::WritesInEvaluation::Allow,
        ..config()
    })
    .unwrap();
    let store = store(&manager, &site);
    let evaluator = Peer::holding("evaluation", &site.database());
    let phase = store.evaluation_phase().unwrap();
    is_hit(&store.get_or_compute(&spec("IBM"), || bytes(&[7])).unwrap(), &[7]);
    assert_eq!(store.verify(manager::Depth::Deep).unwrap().artefacts, 1);
    drop(phase);
    evaluator.release();
}

#[test]
fn what_knows_more_than_its_user_is_refused() {
    let site = Site::empty();
    let manager = manager();
    let store = store(&manager, &site);
    let fitted = spec("IBM").fit(0..40);
    store.publish(vec![Publication::new(&fitted, vec![1])]).unwrap();
    let leak = store.as_of(39).get(&fitted).unwrap_err();
    assert!(matches!(leak, Error::Leak(_)), "{leak}");
    is_hit(&store.as_of(40).get(&fitted).unwrap(), &[1]);
    // Its publisher said that an input knows the end of all days; its user forgot to.
    let fingerprint = Fingerprint::of("prices");
    let honest = spec("SAP").input(Input::column("Adj Close", fingerprint).known_through(3_270));
    let careless = spec("SAP").input(Input::column("Adj Close", fingerprint));
    assert_eq!(honest.key(), careless.key());
    store.publish(vec![Publication::new(&honest, vec![2])]).unwrap();
    let past = store.as_of(100);
    for found in [past.get(&careless), past.get_or_compute(&careless, || bytes(&[3]))] {
        assert!(found.unwrap_err().to_string().contains("its publisher said"));
    }
    let many = past.get_many(&[spec("IBM"), fitted.clone(), honest]);
    assert!(matches!(many.unwrap_err(), Error::Leak(leak) if leak.feature == "rsi"));
    let label = spec("IBM").lookahead(5);
    let refused = store.as_of(21).get_or_compute(&label, || -> Result<Fill, Error> {
        unreachable!("a leak is refused before it is computed")
    });
    assert!(refused.is_err());
    assert_eq!(fitted.known_through(), 40);
}

#[test]
fn what_processes_count_is_summed_over_them() {
    let site = Site::empty();
    let manager = manager();
    for _ in 0..2 {
        let store = store(&manager, &site);
        let ibm = spec("IBM");
        let computed_in = Duration::from_secs(3);
        let slow = Publication { computed_in, ..Publication::new(&ibm, vec![0; 10]) };
        store.publish(vec![slow]).unwrap();
        for _ in 0..4 {
            store.get(spec("IBM").key()).unwrap();
        }
        store.get(spec("SAP").key()).unwrap();
    }
    let stats = store(&manager, &site).stats().unwrap();
    let sum = stats.everywhere;
    assert_eq!((sum.hits, sum.misses, sum.hit_bytes), (8, 2, 80));
    assert_eq!((stats.saved(), stats.here.hits), (Duration::from_secs(24), 0));
}

#[test]
fn threads_that_publish_at_the_same_time_are_all_stored() {
    let site = Site::empty();
    let manager = manager();
    let store = store(&manager, &site);
    let threads: Vec<_> = (0..8_u32)
        .map(|thread| {
            let store = store.clone();
            Running::begin(move || {
                for number in 0..25 {
                    let name = format!("{thread}/{number}");
                    assert_eq!(publish(&store, &name, name.as_bytes()).stored, 1);
                    is_hit(&store.get(spec(&name).key()).unwrap(), name.as_bytes());
                }
            })
        })
        .collect();
    threads.into_iter().for_each(Running::finish);
    let report = store.verify(manager::Depth::Deep).unwrap();
    assert!(report.is_sound() && report.artefacts == 200, "{report:?}");
    let transactions: u64 = manager
        .read(site.database())
        .unwrap()
        .query_row("SELECT max(seq) FROM flockgate_manifest", [], |row| row.get(0))
        .unwrap();
    assert_eq!(transactions, 200, "changes are numbered without gaps");
}
