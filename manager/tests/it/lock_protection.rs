//! DuckDB's lock on the file stays, whatever else in the process opens and closes it (I4). Each test has a second process
//! try to get in.

use std::fs::{self, File};
use std::path::Path;

use manager::duckdb::Connection;
use manager::{AccessMode, AcquireOptions, AnyLease, Error};

use crate::peer::Peer;
use crate::support::{Site, count, insert, manager};

fn lease(site: &Site, mode: AccessMode) -> AnyLease {
    manager().get_with(site.database(), mode, &AcquireOptions::default()).unwrap()
}

/// Plain DuckDB in another process, which would write.
#[track_caller]
fn assert_kept_out(site: &Site, what: &str) {
    let peer = Peer::begin("outside", &site.database());
    let line = peer.line();
    let names_us = format!("PID {}", std::process::id());
    assert!(line.contains("Could not set lock"), "{what}: {line}");
    // The name hangs on a lock that whoever opens and closes the file takes away.
    assert!(line.contains(&names_us) || line.contains("PID -1"), "{what}: {line}");
}

#[test]
fn a_second_process_is_told_who_has_the_file() {
    let site = Site::new();
    for mode in [AccessMode::ReadOnly, AccessMode::ReadWrite] {
        let _lease = lease(&site, mode);
        let line = Peer::begin("outside", &site.database()).line();
        assert!(line.contains(&format!("(PID {})", std::process::id())), "{mode:?}: {line}");
    }
}

#[test]
fn the_lock_survives_a_copy_a_hash_and_a_look_into_the_file() {
    let site = Site::new();
    for mode in [AccessMode::ReadOnly, AccessMode::ReadWrite] {
        let lease = lease(&site, mode);
        drop(File::open(site.database()).unwrap());
        assert_kept_out(&site, "opened and closed");
        fs::copy(site.database(), site.path("copy.db")).unwrap();
        assert_kept_out(&site, "copied");
        let _bytes = fs::read(site.database()).unwrap();
        assert_kept_out(&site, "read");
        assert_eq!(count(&lease), 0);
    }
}

#[test]
fn the_lock_survives_a_query_that_reads_the_file_itself() {
    let site = Site::new();
    let lease = lease(&site, AccessMode::ReadWrite);
    let read = format!("SELECT size FROM read_blob('{}')", site.database().display());
    let bytes: i64 = lease.query_row(&read, [], |row| row.get(0)).unwrap();
    assert!(bytes > 0);
    assert_kept_out(&site, "read by a query of its own");
}

#[test]
fn the_lock_survives_checkpoints_and_goes_on_from_lease_to_lease() {
    let site = Site::new();
    let manager = manager();
    for number in 0..3 {
        let lease = manager.write(site.database()).unwrap();
        insert(&lease, number);
        lease.execute_batch("CHECKPOINT").unwrap();
        drop(File::open(site.database()).unwrap());
        assert_kept_out(&site, "checkpointed");
        drop(lease);
        assert_kept_out(&site, "kept");
    }
}

#[test]
fn a_second_instance_in_this_process_is_refused_by_every_name_of_the_file() {
    let site = Site::new();
    let link = site.path("hard.db");
    fs::hard_link(site.database(), &link).unwrap();
    let lease = lease(&site, AccessMode::ReadWrite);
    for name in [site.database(), link] {
        let refused = Connection::open(&name).unwrap_err().to_string();
        assert!(refused.contains("Could not set lock"), "{}: {refused}", name.display());
        let attach = format!("ATTACH '{}' AS again", name.display());
        let refused = Connection::open_in_memory().unwrap().execute_batch(&attach).unwrap_err();
        assert!(refused.to_string().contains("Could not set lock"), "{refused}");
    }
    insert(&lease, 1);
    assert_kept_out(&site, "after two who tried");
    assert_eq!(count(&lease), 1);
}

#[test]
fn a_file_that_this_process_has_open_by_plain_duckdb_is_refused_and_not_disturbed() {
    let site = Site::new();
    let plain = Connection::open(site.database()).unwrap();
    let manager = manager();
    for refused in [
        manager.write(site.database()).map(drop).unwrap_err(),
        manager.read(site.database()).map(drop).unwrap_err(),
    ] {
        assert!(matches!(refused, Error::OpenHere { .. }), "{refused}");
        assert!(refused.to_string().contains("without the manager"), "{refused}");
    }
    insert(&plain, 1);
    assert_kept_out(&site, "the plain connection has its lock still");
    plain.close().map_err(|(_, error)| error).unwrap();
    assert_eq!(count(&manager.read(site.database()).unwrap()), 1);
}

/// The lock belongs to a descriptor, and a program that is started must not inherit it.
#[test]
fn a_program_that_is_started_meanwhile_does_not_keep_the_lock() {
    let site = Site::new();
    for mode in [AccessMode::ReadOnly, AccessMode::ReadWrite] {
        let lease = lease(&site, mode);
        let sleeper = Peer::holding("write", &beside(&site, mode));
        drop(lease);
        Peer::holding("outside", &site.database()).release();
        sleeper.release();
    }
}

/// Another database, for a peer that lives on.
fn beside(site: &Site, mode: AccessMode) -> std::path::PathBuf {
    let path = site.path(&format!("{mode:?}.db"));
    crate::support::make_database(Path::new(&path), 0);
    path
}
