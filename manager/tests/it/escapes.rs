//! A lease is a DuckDB connection, so its user can go around the manager. What that leaves behind is noticed.

use std::fs;
use std::time::Duration;

use manager::{Error, ErrorClass};

use crate::peer::Peer;
use crate::support::{Site, count, eventually, insert, make_database, manager, manager_that_waits};

#[test]
fn a_database_that_a_lease_attached_is_let_go_of_with_the_lease() {
    let site = Site::new();
    make_database(&site.path("other.db"), 0);
    let manager = manager();
    let lease = manager.write(site.database()).unwrap();
    lease.execute_batch(&format!("ATTACH '{}' AS other", site.path("other.db").display())).unwrap();
    drop(lease);
    // It would be held without a gate otherwise, and this one would wait for it.
    let mut peer = Peer::holding("write", &site.path("other.db"));
    peer.insert(0..1);
    let lease = manager.write(site.database()).unwrap();
    assert!(lease.execute_batch("SELECT * FROM other.t").is_err());
}

#[test]
fn there_is_no_database_but_the_file_in_which_a_lease_could_leave_something() {
    let site = Site::new();
    let lease = manager().write(site.database()).unwrap();
    for place in ["memory.main", "system.main", "\"host of x\".main"] {
        let refused = lease.execute_batch(&format!("CREATE TABLE {place}.mine (a INTEGER)"));
        assert!(refused.is_err(), "{place}");
    }
    let databases = "SELECT string_agg(database_name) FROM duckdb_databases() WHERE NOT internal";
    let databases: String = lease.query_row(databases, [], |row| row.get(0)).unwrap();
    assert_eq!(databases, "x");
}

#[test]
fn a_clone_with_an_open_transaction_keeps_the_gate_closed_until_it_ends() {
    let site = Site::new();
    let manager = manager_that_waits(Duration::from_millis(100));
    let lease = manager.write(site.database()).unwrap();
    let clone = lease.try_clone().unwrap();
    clone.execute_batch("USE x; BEGIN; INSERT INTO t VALUES (1)").unwrap();
    drop(lease);

    let waiting = Peer::begin("write", &site.database());
    waiting.sleeps_for_a_lock();
    assert!(waiting.is_silent(), "DuckDB still has the file, so nobody else may");
    let refused = manager.read(site.database()).unwrap_err();
    assert_eq!(refused.class(), Some(ErrorClass::StillOpen), "{refused}");

    clone.execute_batch("COMMIT").unwrap();
    drop(clone);
    let again = manager.read(site.database());
    drop(again);
    waiting.hears("held");
    eventually("the peer sees the row", || waiting.is_silent());
    waiting.release();
    assert_eq!(count(&manager.read(site.database()).unwrap()), 1);
}

#[test]
fn two_processes_do_not_spill_into_one_folder() {
    let site = Site::new();
    let manager = manager();
    let lease = manager.read(site.database()).unwrap();
    let folder: String =
        lease.query_row("SELECT current_setting('temp_directory')", [], |row| row.get(0)).unwrap();
    assert!(folder.contains(&format!(".{}-", std::process::id())), "{folder} names this process");
    let extension = std::path::Path::new(&folder).extension().unwrap().to_owned();
    assert_eq!(extension, "tmp", "{folder} is known as a temporary one");
}

#[test]
fn a_transaction_that_its_closure_ended_is_not_acknowledged() {
    let site = Site::new();
    let manager = manager();
    let lease = manager.write(site.database()).unwrap();
    for ending in ["ROLLBACK; BEGIN", "COMMIT; BEGIN", "COMMIT", "ROLLBACK"] {
        let ended: Result<(), Error> = lease.transaction(|tx| {
            tx.execute("INSERT INTO t VALUES (1)", [])?;
            tx.execute_batch(ending)
        });
        assert!(matches!(ended, Err(Error::TransactionEnded { .. })), "{ending}: {ended:?}");
    }
    // Whoever fails after his own COMMIT must not be run again.
    let ended: Result<(), Error> = lease.transaction(|tx| {
        tx.execute_batch("COMMIT")?;
        tx.execute("INSERT INTO nosuch VALUES (1)", []).map(|_| ())
    });
    assert!(matches!(ended, Err(Error::TransactionEnded { .. })), "{ended:?}");
    insert(&lease, 7); // no transaction is open any more
    assert_eq!(count(&lease), 3, "two commits of the closures' own, and this row");
}

#[test]
fn creating_a_database_removes_no_file_but_its_own_leftovers() {
    let site = Site::empty();
    for name in [".x.db.my-notes.new", ".x.db.bak.4711.new", ".x.db..new", ".y.db.4711.new"] {
        fs::write(site.path(name), "not ours").unwrap();
    }
    fs::write(site.path(".x.db.4711.new"), "a killed creator's").unwrap();
    fs::write(site.path(".x.db.4711.new.wal"), "a killed creator's").unwrap();
    make_database(&site.database(), 0);
    let names = site.names();
    let kept = [
        ".x.db..new",
        ".x.db.bak.4711.new",
        ".x.db.my-notes.new",
        ".y.db.4711.new",
        "x.db",
        "x.db.gate",
    ];
    assert_eq!(names, kept);
}

#[test]
fn a_path_that_is_not_utf_8_is_refused_and_not_taken_for_another() {
    use std::os::unix::ffi::OsStrExt as _;
    let site = Site::new();
    let odd = site.folder().join(std::ffi::OsStr::from_bytes(b"odd\xff.db"));
    for refused in [manager().read(&odd).map(drop), manager().write(&odd).map(drop)] {
        let text = refused.unwrap_err().to_string();
        assert!(text.contains("UTF-8"), "{text}");
    }
    assert_eq!(site.names(), ["x.db", "x.db.gate"]);
}
