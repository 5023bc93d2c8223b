//! A thread that would wait for itself is told so at once, with both lines.

use std::time::Instant;

use manager::{AccessMode, AcquireOptions, Error, Manager};

use crate::support::{Running, Site, count, insert, make_database, manager};

fn take(manager: &Manager, site: &Site, mode: AccessMode) -> Result<manager::AnyLease, Error> {
    manager.get_with(site.database(), mode, &AcquireOptions::default())
}

#[test]
fn a_second_lease_in_one_thread_is_refused_at_once_and_both_lines_are_named() {
    let site = Site::new();
    let manager = manager();
    for first in [AccessMode::ReadOnly, AccessMode::ReadWrite] {
        for second in [AccessMode::ReadOnly, AccessMode::ReadWrite] {
            let begun = Instant::now();
            let lease = take(&manager, &site, first).unwrap();
            let refused = manager.get_with(site.database(), second, &AcquireOptions::default());
            let line = line!() - 1;
            let refused = refused.unwrap_err();
            assert!(begun.elapsed() < crate::support::LONG / 2, "it did not wait");
            let text = refused.to_string();
            assert!(text.contains(&format!("nested.rs:{line}:")), "{text}");
            let Error::Nested { held, wanted, .. } = refused else { panic!("{text}") };
            assert_eq!((held.mode, wanted), (first, second));
            assert!(held.taken_at.contains("nested.rs:"), "{held:?}");
            assert!(text.contains(&held.taken_at), "{text}");
            assert_eq!(count(&lease), 0, "the first one goes on");
        }
    }
}

#[test]
fn an_upgrade_inside_a_transaction_of_the_manager_is_refused() {
    let site = Site::new();
    let manager = manager();
    let refused = manager.transaction(site.database(), |tx| {
        tx.execute("INSERT INTO t VALUES (1)", [])?;
        manager.read(site.database()).map(drop)
    });
    assert!(matches!(refused, Err(Error::Nested { .. })), "{refused:?}");
    assert_eq!(count(&manager.read(site.database()).unwrap()), 0, "and nothing is stored");
}

#[test]
fn a_thread_has_leases_of_two_databases_and_another_thread_has_its_own() {
    let site = Site::new();
    make_database(&site.path("y.db"), 0);
    let manager = manager();
    let _one = manager.read(site.database()).unwrap();
    let _two = manager.read(site.path("y.db")).unwrap();
    let path = site.database();
    let other = Running::begin(move || count(&manager.read(path).unwrap()));
    assert_eq!(other.finish(), 0);
}

#[test]
fn a_thread_may_take_another_lease_when_the_first_is_back_or_unbound() {
    let site = Site::new();
    let manager = manager();
    drop(manager.read(site.database()).unwrap());
    let lease = manager.write(site.database()).unwrap().unbind();
    let path = site.database();
    let beside = manager.read(&path).unwrap();
    assert_eq!(count(&beside), 0);
    let elsewhere = Running::begin(move || {
        insert(&lease, 1);
        drop(lease);
    });
    elsewhere.finish();
    drop(beside);
    assert_eq!(count(&manager.read(&path).unwrap()), 1);
}
