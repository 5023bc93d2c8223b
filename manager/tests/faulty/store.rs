//! The feature store.

use std::fs;
use std::os::fd::AsRawFd;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use manager::{
    Config, Error, FeatureSpec, FeatureStore, Fill, Lookup, Manager, Publication, Selector,
};

use super::site::{Notes, Part, Site, lockstep, manager};
use crate::baton::Baton;

const LARGE: usize = 1 << 20;

fn spec(version: u32) -> FeatureSpec {
    FeatureSpec::new("feature", version)
}

fn open(site: &Site, manager: &Manager) -> FeatureStore {
    FeatureStore::open(manager, site.path.with_file_name("store.duckdb")).unwrap()
}

fn publish(store: &FeatureStore, version: u32, bytes: Vec<u8>) {
    store.publish(vec![Publication::new(&spec(version), bytes)]).unwrap();
}

fn has(store: &FeatureStore, version: u32) -> bool {
    store.get(spec(version).key()).unwrap().hit().is_some()
}

pub(crate) fn what_is_stored_is_found(site: &Site) -> bool {
    let manager = manager();
    let (here, there) = (open(site, &manager), open(site, &manager));
    publish(&here, 1, vec![1]);
    assert!(has(&there, 1), "its mirror is loaded");
    publish(&here, 2, vec![2]);
    has(&there, 2)
}

/// Publishes, and notes whether another store finds it then.
fn publisher(
    name: &'static str,
    version: u32,
    here: &FeatureStore,
    there: &FeatureStore,
) -> Part<'static, bool> {
    let (here, there) = (here.clone(), there.clone());
    let part = move |_: &Arc<Baton>, found: &Notes<bool>| {
        publish(&here, version, vec![1]);
        let is_found = has(&there, version); // not under the lock: others have steps meanwhile
        found.lock().unwrap().push(is_found);
    };
    (name, Box::new(part))
}

/// Runs the parts in lockstep, over two stores of one file that are opened in it too.
fn over_stores<T: Send + 'static>(
    site: &Site,
    seed: u64,
    parts: impl FnOnce(&FeatureStore, &FeatureStore) -> Vec<Part<'static, T>> + Send + 'static,
) -> Vec<T> {
    let path = site.path.with_file_name(format!("store-{seed}.duckdb"));
    let open = move |baton: &Arc<Baton>, notes: &Notes<T>| {
        let manager = Manager::new(Config::default()).unwrap();
        let open = || FeatureStore::open(&manager, &path).unwrap();
        for (name, part) in parts(&open(), &open()) {
            let (of_part, notes) = (Arc::clone(baton), Arc::clone(notes));
            baton.enter(name, Box::new(move || part(&of_part, &notes)));
        }
    };
    lockstep(seed, vec![("opener", Box::new(open))]).0
}

pub(crate) fn what_is_acknowledged_is_found_by_a_reader_beside_it(site: &Site) -> bool {
    (0..20).all(|seed| {
        let found = over_stores(site, seed, |here, there| {
            let reader = there.clone();
            let look = move |_: &Arc<Baton>, _: &Notes<bool>| {
                for _ in 0..4 {
                    let _ = has(&reader, 1); // whatever it finds, its mirror is loaded
                }
            };
            vec![publisher("publisher", 1, here, there), ("reader", Box::new(look))]
        });
        found == [true]
    })
}

pub(crate) fn what_is_acknowledged_is_stored(site: &Site) -> bool {
    (0..10).all(|seed| {
        let found = over_stores(site, seed, |here, there| {
            let names = ["one", "two", "three", "four"];
            (1..).zip(names).map(|(version, name)| publisher(name, version, here, there)).collect()
        });
        found == [true; 4]
    })
}

pub(crate) fn an_artefact_is_computed_once(site: &Site) -> bool {
    (0..10).all(|seed| {
        let computed = over_stores(site, seed, |here, there| {
            let of = |name, store: &FeatureStore| -> Part<'static, ()> {
                let store = store.clone();
                let part = move |baton: &Arc<Baton>, computed: &Notes<()>| {
                    let compute = || -> Result<Fill, Error> {
                        computed.lock().unwrap().push(());
                        baton.sleep(Duration::from_millis(5));
                        Ok(Fill::Bytes(vec![1]))
                    };
                    store.get_or_compute(&spec(1), compute).unwrap();
                };
                (name, Box::new(part))
            };
            vec![of("one", here), of("two", there)]
        });
        computed.len() == 1
    })
}

pub(crate) fn a_negative_entry_ends(site: &Site) -> bool {
    let missed = over_stores(site, 1, |here, _| {
        let store = here.clone();
        let part = move |baton: &Arc<Baton>, missed: &Notes<bool>| {
            let retry_after = Duration::from_mins(1);
            let absent = Fill::Absent { reason: "no data yet".into(), retry_after };
            store.publish(vec![Publication::new(&spec(1), absent)]).unwrap();
            let look = || {
                let found = store.get(spec(1).key()).unwrap();
                missed.lock().unwrap().push(matches!(found, Lookup::Miss));
            };
            look();
            baton.sleep(2 * retry_after);
            look();
        };
        vec![("one", Box::new(part))]
    });
    missed == [false, true]
}

/// The files of artefacts.
fn objects(store: &FeatureStore) -> Vec<std::path::PathBuf> {
    let entries = |folder: &Path| -> Vec<_> {
        fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect()
    };
    entries(&store.folder().join("objects")).iter().flat_map(|folder| entries(folder)).collect()
}

pub(crate) fn bytes_are_verified(site: &Site) -> bool {
    let manager = manager();
    let store = open(site, &manager);
    publish(&store, 1, vec![1; LARGE]);
    let object = objects(&store).pop().unwrap();
    let mut bytes = fs::read(&object).unwrap();
    bytes[LARGE / 2] ^= 1;
    fs::write(&object, bytes).unwrap();
    let artefact = store.get(spec(1).key()).unwrap().hit().unwrap();
    artefact.bytes().is_err()
}

pub(crate) fn the_file_comes_before_the_row(site: &Site) -> bool {
    let path = site.path.with_file_name("store.duckdb");
    let part = move |_: &Arc<Baton>, _: &Notes<()>| {
        let manager = Manager::new(Config::default()).unwrap();
        publish(&FeatureStore::open(&manager, path).unwrap(), 1, vec![1; LARGE]);
    };
    let (_, steps) = lockstep(1, vec![("publisher", Box::new(part))]);
    let place = |place: &str| steps.iter().position(|step| step.ends_with(place)).unwrap();
    place("put.renamed") < place("committed")
}

static SYNCS: AtomicU64 = AtomicU64::new(0);

/// In the place of the C library's, so that calls are counted.
///
/// # Safety
///
/// As that one: any number is answered.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn fsync(descriptor: i32) -> i32 {
    let is_artefact = fs::read_link(format!("/proc/self/fd/{descriptor}")).is_ok_and(|path| {
        path.parent().is_some_and(|folder| folder.ends_with("store.duckdb.store/tmp"))
    });
    SYNCS.fetch_add(u64::from(is_artefact), Ordering::SeqCst);
    // SAFETY: a system call on a number.
    unsafe { libc::syscall(libc::SYS_fsync, descriptor.as_raw_fd()) as i32 }
}

pub(crate) fn a_file_is_synced(site: &Site) -> bool {
    let manager = manager();
    let store = open(site, &manager);
    let before = SYNCS.load(Ordering::SeqCst);
    publish(&store, 1, vec![1; LARGE]);
    SYNCS.load(Ordering::SeqCst) > before
}

pub(crate) fn what_is_read_is_not_swept(site: &Site) -> bool {
    let manager = manager();
    let store = open(site, &manager);
    publish(&store, 1, vec![1; LARGE]);
    let artefact = store.get(spec(1).key()).unwrap().hit().unwrap();
    assert_eq!(store.invalidate(&Selector::Feature("feature".into(), None)).unwrap(), 1);
    store.gc(false).unwrap();
    artefact.bytes().is_ok()
}
