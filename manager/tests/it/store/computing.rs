//! Computing what is missing: once, and what becomes of those who wait for it.

use std::cell::Cell;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::Duration;

use manager::{Error, FeatureStore, Fill, StoreOptions};

use super::{bytes, is_hit, publish, spec, store};
use crate::support::{Running, Site, manager};

#[test]
fn an_artefact_is_computed_once_and_a_failed_computation_publishes_nothing() {
    let site = Site::empty();
    let manager = manager();
    let store = store(&manager, &site);
    let failed = store.get_or_compute(&spec("IBM"), || {
        Err::<Fill, _>(Error::from(duckdb::Error::QueryReturnedNoRows))
    });
    assert!(failed.is_err());
    assert!(store.get(spec("IBM").key()).unwrap().is_miss());
    let computed = Cell::new(0);
    for _ in 0..3 {
        let found = store.get_or_compute(&spec("IBM"), || {
            computed.set(computed.get() + 1);
            bytes(&[7])
        });
        is_hit(&found.unwrap(), &[7]);
    }
    assert_eq!(computed.get(), 1);
    let here = store.stats().unwrap().here;
    assert_eq!((here.computed, here.hits), (2, 2));
}

#[test]
fn threads_that_miss_the_same_artefact_compute_it_once() {
    let site = Site::empty();
    let manager = manager();
    let store = store(&manager, &site);
    let computed = Arc::new(AtomicU32::new(0));
    let threads: Vec<_> = (0..6_u8)
        .map(|number| {
            let (store, computed) = (store.clone(), Arc::clone(&computed));
            Running::begin(move || {
                store
                    .get_or_compute(&spec("IBM"), || {
                        computed.fetch_add(1, Ordering::SeqCst);
                        thread::sleep(Duration::from_millis(50));
                        bytes(&[number])
                    })
                    .unwrap()
            })
        })
        .collect();
    let found: Vec<_> = threads.into_iter().map(|thread| thread.finish().hit().unwrap()).collect();
    assert!(found.iter().all(|artefact| *artefact == found[0]));
    assert_eq!(computed.load(Ordering::SeqCst), 1);
    assert_eq!(store.stats().unwrap().here.coalesced, 5);
}

#[test]
fn a_failed_computation_reaches_every_thread_that_waits_for_it() {
    let site = Site::empty();
    let manager = manager();
    let store = store(&manager, &site);
    let (begun, has_begun) = std::sync::mpsc::channel();
    let computing = Running::begin({
        let store = store.clone();
        move || {
            store.get_or_compute(&spec("IBM"), || -> Result<Fill, Error> {
                begun.send(()).unwrap();
                thread::sleep(Duration::from_millis(100));
                panic!("planted");
            })
        }
    });
    has_begun.recv().unwrap();
    let waiting: Vec<_> = (0..3)
        .map(|_| {
            let store = store.clone();
            Running::begin(move || store.get_or_compute(&spec("IBM"), || bytes(b"late")))
        })
        .collect();
    for waiting in waiting {
        let error = waiting.finish().unwrap_err();
        assert!(
            matches!(&error, Error::ComputationFailed { reason, .. } if reason.contains("panic")),
            "{error}"
        );
    }
    assert!(std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| computing.finish())).is_err());
    is_hit(&store.get_or_compute(&spec("IBM"), || bytes(b"now")).unwrap(), b"now");
}

#[test]
fn a_computation_that_never_returns_is_waited_for_only_so_long() {
    let site = Site::empty();
    let manager = manager();
    let computation_wait_max = Duration::from_millis(50);
    let options = StoreOptions { computation_wait_max, ..StoreOptions::default() };
    let store = FeatureStore::open_with(&manager, site.database(), options.clone()).unwrap();
    let (leave, left) = std::sync::mpsc::channel::<()>();
    let (begun, has_begun) = std::sync::mpsc::channel();
    let hanging = Running::begin({
        let store = store.clone();
        move || {
            store.get_or_compute(&spec("IBM"), || {
                begun.send(()).unwrap();
                left.recv().unwrap();
                bytes(b"at last")
            })
        }
    });
    has_begun.recv().unwrap();
    // A thread of this store, and one of another, which waits as another process would.
    for waiting in
        [store.clone(), FeatureStore::open_with(&manager, site.database(), options).unwrap()]
    {
        let error = waiting.get_or_compute(&spec("IBM"), || bytes(b"")).unwrap_err();
        assert!(matches!(error, Error::StillComputing { .. }) && error.is_transient(), "{error}");
    }
    assert!(store.get_or_compute_unless_busy(&spec("IBM"), || bytes(b"")).unwrap().is_none());
    leave.send(()).unwrap();
    is_hit(&hanging.finish().unwrap(), b"at last");
}

#[test]
fn a_computation_that_needs_itself_is_refused() {
    let site = Site::empty();
    let manager = manager();
    let store = store(&manager, &site);
    let found = store.get_or_compute(&spec("IBM"), || {
        store.get_or_compute(&spec("IBM"), || bytes(b"")).map(|_| Fill::Bytes(vec![]))
    });
    assert!(found.unwrap_err().to_string().contains("asks for the artefact that it computes"));
}

#[test]
fn an_artefact_published_while_it_is_computed_is_the_one_returned() {
    let site = Site::empty();
    let manager = manager();
    let store = store(&manager, &site);
    let found = store.get_or_compute(&spec("IBM"), || {
        publish(&store, "IBM", b"theirs");
        bytes(b"ours")
    });
    is_hit(&found.unwrap(), b"theirs");
}
