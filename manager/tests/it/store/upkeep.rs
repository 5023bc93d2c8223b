//! What leaves the store, and what does not.

use std::time::Duration;

use manager::{
    Depth, FeatureSpec, FeatureStore, Fingerprint, Input, PinnedFeature, Plan, Policy, Publication,
    Selector, StoreOptions, WalkForward, WindowMode,
};

use super::{is_hit, objects, publish, spec, store, store_of_files};
use crate::support::{Site, manager};

fn put(store: &FeatureStore, spec: &FeatureSpec, bytes: usize, computed_in: u64) {
    let fill = vec![spec.get_range().start as u8; bytes];
    let computed_in = Duration::from_millis(computed_in);
    let publication = Publication { computed_in, ..Publication::new(spec, fill) };
    store.publish(vec![publication]).unwrap();
}

fn is_there(store: &FeatureStore, spec: &FeatureSpec) -> bool {
    store.get(spec.key()).unwrap().hit().is_some()
}

#[test]
fn artefacts_are_invalidated_by_what_they_are() {
    let site = Site::empty();
    let manager = manager();
    let store = store_of_files(&manager, &site);
    let close = Fingerprint::of("close");
    let specs = [
        spec("IBM"),
        FeatureSpec::new("rsi", 2).entity("IBM").range(0..21),
        FeatureSpec::new("beta", 1).entity("IBM").range(21..42),
        FeatureSpec::new("scaler", 1).fit(0..42),
        FeatureSpec::new("open", 1).input(Input::column("Open", Fingerprint::of("open"))),
        FeatureSpec::new("both", 1).input(Input::column("Close", close)),
    ];
    let of = [
        (Selector::Key(specs[0].key()), 0),
        (Selector::Feature("rsi".into(), Some(2)), 1),
        (Selector::Range(30..31), 2),
        (Selector::Fit(0..42), 3),
        (Selector::Input(Fingerprint::of("open")), 4),
        (Selector::Input(close), 5),
    ];
    for (selector, only) in of {
        for (number, spec) in specs.iter().enumerate() {
            put(&store, spec, 10 + number, 0);
        }
        assert_eq!(store.invalidate(&selector).unwrap(), 1, "{selector:?}");
        for (number, spec) in specs.iter().enumerate() {
            assert_eq!(is_there(&store, spec), number != only, "{selector:?} {number}");
        }
    }
    assert_eq!(store.invalidate(&Selector::Feature("rsi".into(), None)).unwrap(), 2);
    assert_eq!(store.invalidate(&Selector::Feature("none".into(), None)).unwrap(), 0);
    assert!(store.verify(Depth::Deep).unwrap().is_sound());
}

#[test]
fn a_reader_of_an_evicted_artefact_reads_on_and_its_file_goes_after_that() {
    let site = Site::empty();
    let manager = manager();
    let (here, reading) = (store_of_files(&manager, &site), store_of_files(&manager, &site));
    publish(&here, "IBM", b"payload");
    let found = reading.get(spec("IBM").key()).unwrap().hit().unwrap();
    assert_eq!(here.evict_to(0, Policy::Lru).unwrap().artefacts, 1);
    assert_eq!(objects(&here).len(), 1, "somebody reads it");
    assert_eq!(found.bytes().unwrap(), &b"payload"[..]);
    assert!(reading.get(spec("IBM").key()).unwrap().is_miss());
    assert_eq!(here.gc(false).unwrap().kept_for_readers, 1);
    drop(found);
    assert!(reading.get(spec("IBM").key()).unwrap().is_miss());
    let report = here.gc(false).unwrap();
    assert_eq!((report.files, report.bytes, report.kept_for_readers), (1, 7, 0));
    assert!(objects(&here).is_empty());
}

#[test]
fn a_content_that_another_key_has_stays() {
    let site = Site::empty();
    let manager = manager();
    let store = store_of_files(&manager, &site);
    publish(&store, "IBM", b"same");
    publish(&store, "SAP", b"same");
    store.invalidate(&Selector::Key(spec("IBM").key())).unwrap();
    is_hit(&store.get(spec("SAP").key()).unwrap(), b"same");
    store.invalidate(&Selector::Key(spec("SAP").key())).unwrap();
    assert!(objects(&store).is_empty());
    // And one that is published again after its row was taken out.
    publish(&store, "IBM", b"same");
    store.gc(false).unwrap();
    is_hit(&store.get(spec("IBM").key()).unwrap(), b"same");
}

#[test]
fn the_least_recently_used_goes_first_and_the_pinned_stays() {
    let site = Site::empty();
    let manager = manager();
    let store = store_of_files(&manager, &site);
    let specs: Vec<_> =
        (0..4).map(|n| FeatureSpec::new(format!("f{n}"), 1).range(n..n + 1)).collect();
    for spec in &specs {
        put(&store, spec, 100, 1);
    }
    publish(&store, "now", b""); // so that the look-ups below are later than all publications
    assert!(is_there(&store, &specs[0]) && is_there(&store, &specs[1]));
    let pin = |until_unix_ms| PinnedFeature {
        feature: "f2".into(),
        version: None,
        note: "the live model reads it".into(),
        until_unix_ms,
    };
    store.pin(&pin(Some(1))).unwrap(); // in 1970
    store.pin(&pin(None)).unwrap();
    assert_eq!(store.pins().unwrap(), [pin(None)]);
    let evicted = store.evict_to(300, Policy::Lru).unwrap();
    assert_eq!((evicted.artefacts, evicted.bytes, evicted.pinned_bytes), (1, 100, 0));
    let left: Vec<_> = specs.iter().map(|spec| is_there(&store, spec)).collect();
    assert_eq!(left, [true, true, true, false]);
    let evicted = store.evict_to(0, Policy::Lru).unwrap();
    assert_eq!((evicted.artefacts, evicted.pinned_bytes), (2, 100));
    assert!(is_there(&store, &specs[2]));
    assert!(store.unpin("f2", None).unwrap() && !store.unpin("f2", None).unwrap());
    assert_eq!(store.evict_to(0, Policy::Lru).unwrap().pinned_bytes, 0);
}

#[test]
fn a_store_with_a_plan_keeps_what_is_read_next() {
    let site = Site::empty();
    let manager = manager();
    let store = store_of_files(&manager, &site);
    let shape = WalkForward {
        positions: 60,
        train: 20,
        eval: 10,
        step: 10,
        label_horizon: 1,
        embargo: 0,
        mode: WindowMode::Rolling,
        keep_tail: false,
    };
    let blocks: Vec<_> =
        (0..6).map(|n| FeatureSpec::new("f", 1).range(10 * n..10 * (n + 1))).collect();
    for block in &blocks {
        put(&store, block, 100, 1);
    }
    // In window 1, positions 10 to 40: block 0 is never read again, and block 5 not for two windows.
    store.plan(&Plan { name: "p".into(), shape, lookback: 0, next_window: 1 }).unwrap();
    assert_eq!(store.plans().unwrap()[0].next_window, 1);
    store.evict_to(500, Policy::Schedule).unwrap();
    assert!(!is_there(&store, &blocks[0]));
    store.evict_to(400, Policy::Schedule).unwrap();
    let left: Vec<_> = blocks.iter().map(|block| is_there(&store, block)).collect();
    assert_eq!(left, [false, true, true, true, true, false]);
    assert!(store.drop_plan("p").unwrap() && store.plans().unwrap().is_empty());
}

#[test]
fn a_publish_beyond_the_budget_evicts() {
    let site = Site::empty();
    let manager = manager();
    let options =
        StoreOptions { bytes_max: Some(1000), inline_bytes_max: 0, ..StoreOptions::default() };
    let store = FeatureStore::open_with(&manager, site.database(), options).unwrap();
    let specs: Vec<_> = (0..30).map(|n| FeatureSpec::new("f", n).range(n..n + 1)).collect();
    for spec in &specs {
        put(&store, spec, 90, 1);
    }
    let report = store.verify(Depth::Deep).unwrap();
    assert!(report.is_sound() && report.bytes <= 1000 && report.bytes > 800, "{report:?}");
    assert!(is_there(&store, &specs[29]), "the last one is the last to go");
    assert_eq!(store.stats().unwrap().here.evicted, 30 - report.artefacts);
    assert_eq!(objects(&store).len() as u64, report.artefacts);
}

#[test]
fn gc_removes_what_nobody_needs_and_nothing_else() {
    let site = Site::empty();
    let manager = manager();
    let store = store_of_files(&manager, &site);
    publish(&store, "IBM", b"payload");
    let kept = objects(&store);
    let orphan = kept[0].parent().unwrap().with_file_name("ab").join("ab".repeat(16));
    std::fs::create_dir_all(orphan.parent().unwrap()).unwrap();
    std::fs::write(&orphan, b"left by somebody who was killed").unwrap();
    let foreign = store.folder().join("objects/notes.txt");
    std::fs::write(&foreign, b"mine").unwrap();
    let report = store.verify(Depth::Shallow).unwrap();
    assert!(report.is_sound() && report.files_without_row == 1, "{report:?}");
    let dry = store.gc(true).unwrap();
    assert!(orphan.exists() && dry.files == 1 && dry.bytes == 31);
    assert_eq!(store.gc(false).unwrap().files, 1);
    assert!(!orphan.exists() && foreign.exists() && kept[0].exists());
    assert_eq!(store.gc(false).unwrap(), manager::GcReport::default());
}

#[test]
fn verify_tells_missing_from_damaged() {
    let site = Site::empty();
    let manager = manager();
    let store = store_of_files(&manager, &site);
    for entity in ["IBM", "SAP", "AMD"] {
        publish(&store, entity, entity.as_bytes());
    }
    let path = |entity| store.get(spec(entity).key()).unwrap().hit().unwrap().path().unwrap();
    std::fs::remove_file(path("IBM")).unwrap();
    std::fs::write(path("SAP"), b"SAp").unwrap();
    std::fs::write(path("AMD"), b"AM").unwrap();
    let shallow = store.verify(Depth::Shallow).unwrap();
    assert_eq!((shallow.missing.len(), shallow.damaged.len()), (1, 1));
    let deep = store.verify(Depth::Deep).unwrap();
    assert_eq!((deep.missing.len(), deep.damaged.len()), (1, 2));
    assert_eq!(deep.missing[0].key, spec("IBM").key());
}

#[test]
fn an_export_has_every_artefact_and_a_list() {
    let site = Site::empty();
    let manager = manager();
    let store = store_of_files(&manager, &site);
    publish(&store, "IBM", b"payload");
    let inline = super::store(&manager, &site);
    publish(&inline, "SAP", b"inline");
    inline
        .publish(vec![Publication::new(
            &spec("FB"),
            super::absent("young", Duration::from_hours(1)),
        )])
        .unwrap();
    let to = site.path("export");
    let report = store.export(&to).unwrap();
    assert_eq!((report.artefacts, report.negative, report.bytes), (2, 1, 13));
    let artefact = to.join("artefacts").join(spec("IBM").key().to_string());
    assert_eq!(std::fs::read(artefact).unwrap(), b"payload");
    let list = std::fs::read_to_string(to.join("manifest.jsonl")).unwrap();
    let rows: Vec<serde_json::Value> =
        list.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(rows.len(), 3);
    assert_eq!(rows[0]["entities"], serde_json::json!(["IBM"]));
    assert_eq!(rows[2]["reason"], "young");
    assert!(
        store.export(&to).unwrap_err().to_string().contains("export"),
        "it is not written over"
    );
}

#[test]
fn mirrors_that_are_far_behind_read_all_again() {
    let site = Site::empty();
    let manager = manager();
    let (here, there) = (store(&manager, &site), store(&manager, &site));
    publish(&here, "IBM", b"payload");
    is_hit(&there.get(spec("IBM").key()).unwrap(), b"payload");
    here.invalidate(&Selector::Key(spec("IBM").key())).unwrap();
    publish(&here, "SAP", b"other");
    // As `gc` does once there are very many of them.
    let forget = "UPDATE flockgate_meta SET value = '2' WHERE name = 'forgotten'";
    super::change(&manager, &site.database(), forget);
    super::change(&manager, &site.database(), "DELETE FROM flockgate_dropped");
    assert!(there.get(spec("IBM").key()).unwrap().is_miss());
    is_hit(&there.get(spec("SAP").key()).unwrap(), b"other");
    publish(&there, "AMD", b"third");
    is_hit(&here.get(spec("AMD").key()).unwrap(), b"third");
}
