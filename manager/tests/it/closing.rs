//! Closing waits for what is out, tells what stays out, and hinders nobody afterwards.

use std::time::Duration;

use manager::{AccessMode, AcquireOptions, Drain, Error};

use crate::peer::Peer;
use crate::support::{A_WHILE, LONG, Running, Site, count, insert, manager, manager_that_waits};

const AT_ONCE: Drain = Drain::within(Duration::ZERO);
const PATIENT: Drain = Drain::within(LONG);

#[test]
fn closing_waits_for_the_leases_that_are_out() {
    let site = Site::new();
    let manager = manager();
    for mode in [AccessMode::ReadOnly, AccessMode::ReadWrite] {
        let lease = manager.get_with(site.database(), mode, &AcquireOptions::default()).unwrap();
        let closing = Running::begin({
            let manager = manager.clone();
            move || manager.close_all_connections(PATIENT)
        });
        assert!(closing.is_still_running());
        drop(lease);
        let report = closing.finish();
        assert!(report.is_complete(), "{report:?}");
        assert_eq!(report.closed, [std::fs::canonicalize(site.database()).unwrap()]);
        assert_eq!(manager::holders(&site.database()).unwrap(), []);
        assert_eq!(manager.status().databases[0].attachment, None);
    }
    insert(&manager.write(site.database()).unwrap(), 1);
    assert_eq!(count(&manager.read(site.database()).unwrap()), 1);
}

#[test]
fn closing_that_runs_out_of_time_names_the_leases_and_hinders_nobody_afterwards() {
    let site = Site::new();
    let manager = manager();
    let lease = manager.read(site.database()).unwrap().unbind();
    for report in [
        manager.close_all_connections(AT_ONCE),
        manager.close_all_connections(Drain::within(A_WHILE)),
    ] {
        assert!(!report.is_complete());
        assert_eq!(report.still_out[0].leases.len(), 1);
        let taken_at = &report.still_out[0].leases[0].taken_at;
        assert!(taken_at.contains("closing.rs:"), "{taken_at}");
    }
    assert_eq!(count(&manager.read(site.database()).unwrap()), 0, "leases are given again");
    drop(lease);
    assert!(manager.close_all_connections(AT_ONCE).is_complete());
    Peer::holding("write", &site.database()).release();
}

#[test]
fn new_leases_wait_while_all_is_being_closed() {
    let site = Site::new();
    let manager = manager();
    let lease = manager.read(site.database()).unwrap();
    let closing = Running::begin({
        let manager = manager.clone();
        move || manager.close_all_connections(PATIENT)
    });
    assert!(closing.is_still_running());
    let late = Running::begin({
        let (manager, path) = (manager.clone(), site.database());
        move || count(&manager.read(path).unwrap())
    });
    assert!(late.is_still_running(), "the file would never be let go of");
    assert_eq!(manager.status().databases[0].waiting, 1);
    drop(lease);
    assert!(closing.finish().is_complete());
    assert_eq!(late.finish(), 0);
}

#[test]
fn closing_writes_lets_readers_be_unless_they_share_the_hold_of_a_writer() {
    let site = Site::new();
    let manager = manager();
    let reader = manager.read(site.database()).unwrap();
    assert!(manager.close_write_connections(AT_ONCE).is_complete(), "it is held to be read");
    assert_eq!(count(&reader), 0);
    drop(reader);

    let writer = manager.write(site.database()).unwrap().unbind();
    let reader = manager.read(site.database()).unwrap();
    assert!(!manager.close_write_connections(AT_ONCE).is_complete(), "the writer is out");
    drop(writer);
    let report = manager.close_write_connections(AT_ONCE);
    assert!(!report.is_complete(), "the reader keeps the file held for writing");
    assert_eq!(report.still_out[0].attachment, Some(AccessMode::ReadWrite));
    let closing = Running::begin({
        let manager = manager.clone();
        move || manager.close_write_connections(PATIENT)
    });
    assert!(closing.is_still_running());
    drop(reader);
    assert!(closing.finish().is_complete());
}

#[test]
fn a_writer_waits_while_writes_are_being_closed_and_is_served_afterwards() {
    let site = Site::new();
    let manager = manager();
    let first = manager.write(site.database()).unwrap();
    let closing = Running::begin({
        let manager = manager.clone();
        move || manager.close_write_connections(PATIENT)
    });
    assert!(closing.is_still_running());
    let second = Running::begin({
        let (manager, path) = (manager.clone(), site.database());
        move || insert(&manager.write(path).unwrap(), 2)
    });
    assert!(second.is_still_running());
    insert(&first, 1);
    drop(first);
    assert!(closing.finish().is_complete());
    second.finish();
    assert_eq!(count(&manager.read(site.database()).unwrap()), 2);
}

#[test]
fn a_waiter_whose_time_runs_out_while_all_is_being_closed_says_what_is_in_the_way() {
    let site = Site::new();
    let manager = manager_that_waits(A_WHILE);
    let lease = manager.read(site.database()).unwrap().unbind();
    let closing = Running::begin({
        let manager = manager.clone();
        move || manager.close_all_connections(PATIENT)
    });
    assert!(closing.is_still_running());
    let error = manager.read(site.database()).unwrap_err();
    let Error::TimedOut { here, .. } = error else { panic!("{error:?}") };
    assert_eq!(here.len(), 1);
    drop(lease);
    assert!(closing.finish().is_complete());
}
