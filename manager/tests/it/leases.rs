//! A lease gives what it promises while it is out, and leaves nothing behind when it is back.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use duckdb::Connection;
use manager::{AccessMode, Config, Drain, Error, ErrorClass, LeaseEvent, Manager, Observer};

use crate::peer::Peer;
use crate::support::{A_WHILE, Running, Site, config, count, insert, manager, manager_that_waits};

#[test]
fn a_returned_lease_leaves_no_transaction_table_setting_or_statement() {
    let site = Site::new();
    let manager = manager();
    let beside = manager.write(site.database()).unwrap().unbind();
    // The hold of the file outlasts the first lease: nothing is gone only because the file was let go of.
    let keeper = manager.read(site.database()).unwrap().unbind();
    assert_eq!(count(&keeper), 0, "its snapshot begins with its first query");
    beside.execute_batch("CREATE TEMP TABLE mine (a BIGINT); PREPARE p AS SELECT 1").unwrap();
    beside.execute_batch("BEGIN; INSERT INTO t VALUES (1); USE x").unwrap();
    let refused = beside.execute_batch("SET threads = 7").unwrap_err();
    assert!(refused.to_string().contains("locked"), "{refused}");
    drop(beside);

    let next = manager.write(site.database()).unwrap();
    assert_eq!(count(&next), 0, "what was not committed is rolled back");
    assert!(next.execute_batch("SELECT * FROM mine").is_err());
    assert!(next.execute_batch("EXECUTE p").is_err());
    next.execute_batch("BEGIN; INSERT INTO t VALUES (2); COMMIT").unwrap();
    assert_eq!(count(&keeper), 0);
    drop((next, keeper));
    assert_eq!(count(&manager.read(site.database()).unwrap()), 1);
    assert!(manager.close_all_connections(Drain::default()).is_complete());
    assert_eq!(site.names(), ["x.db", "x.db.gate"], "no log, no temporary file");
}

#[test]
fn a_read_lease_writes_neither_alone_nor_beside_a_writer() {
    let site = Site::new();
    let manager = manager();
    let refuses = |reader: &Connection| {
        for sql in ["INSERT INTO t VALUES (1)", "CREATE TABLE u (a BIGINT)", "DROP TABLE t"] {
            // Each on its own: a refused statement aborts the transaction of the lease.
            let error = Error::from(reader.execute_batch(sql).unwrap_err());
            assert_eq!(error.class(), Some(ErrorClass::ReadOnly), "{sql}: {error}");
            assert!(error.to_string().contains("take a write lease"), "{error}");
            let _ = reader.execute_batch("ROLLBACK; BEGIN TRANSACTION READ ONLY");
        }
    };
    refuses(&manager.read(site.database()).unwrap());
    let writer = manager.write(site.database()).unwrap().unbind();
    refuses(&manager.read(site.database()).unwrap());
    assert_eq!(count(&writer), 0);
}

#[test]
fn a_read_lease_sees_one_snapshot_while_the_writer_commits() {
    let site = Site::new();
    let manager = manager();
    let writer = manager.write(site.database()).unwrap().unbind();
    insert(&writer, 1);
    let reader = manager.read(site.database()).unwrap().unbind();
    assert_eq!(count(&reader), 1);
    insert(&writer, 2);
    writer.execute_batch("UPDATE t SET a = 10").unwrap();
    assert_eq!(count(&reader), 1);
    let a: i64 = reader.query_row("SELECT sum(a) FROM t", [], |row| row.get(0)).unwrap();
    assert_eq!(a, 1);
    assert_eq!(count(&manager.read(site.database()).unwrap()), 2, "a new lease sees the new state");
}

#[test]
fn a_thread_that_panics_with_a_lease_returns_it() {
    let site = Site::new();
    let manager = manager();
    for mode in [AccessMode::ReadOnly, AccessMode::ReadWrite] {
        let panicking = std::thread::spawn({
            let (manager, path) = (manager.clone(), site.database());
            move || {
                let lease =
                    manager.get_with(path, mode, &manager::AcquireOptions::default()).unwrap();
                if mode == AccessMode::ReadWrite {
                    lease.execute_batch("BEGIN; INSERT INTO t VALUES (1)").unwrap();
                }
                panic!("a bug of the caller");
            }
        });
        assert!(panicking.join().is_err());
        assert_eq!(manager.status().leases_out(), 0);
        Peer::holding("write", &site.database()).release();
    }
    assert_eq!(count(&manager.read(site.database()).unwrap()), 0);
}

#[test]
fn a_lease_may_be_used_and_returned_by_another_thread() {
    let site = Site::new();
    let manager = manager();
    let lease = manager.write(site.database()).unwrap();
    let other = Running::begin(move || {
        insert(&lease, 1);
        count(&lease)
    });
    assert_eq!(other.finish(), 1);
    Peer::holding("write", &site.database()).release();
}

#[test]
fn two_write_leases_are_never_out_at_once() {
    const THREADS: i64 = 8;
    const ROUNDS: i64 = 40;
    let site = Site::new();
    let manager = manager();
    insert(&manager.write(site.database()).unwrap(), 0);
    let threads: Vec<_> = (0..THREADS)
        .map(|_| {
            let (manager, path) = (manager.clone(), site.database());
            Running::begin(move || {
                for _ in 0..ROUNDS {
                    let lease = manager.write(&path).unwrap();
                    // Read and written in two statements without a transaction: only the lease keeps others out.
                    let a: i64 = lease.query_row("SELECT a FROM t", [], |row| row.get(0)).unwrap();
                    lease.execute("UPDATE t SET a = ?", [a + 1]).unwrap();
                    let writers = manager.status().databases[0].leases.len();
                    assert_eq!(writers, 1);
                }
            })
        })
        .collect();
    threads.into_iter().for_each(Running::finish);
    let lease = manager.read(site.database()).unwrap();
    let a: i64 = lease.query_row("SELECT a FROM t", [], |row| row.get(0)).unwrap();
    assert_eq!(a, THREADS * ROUNDS);
}

#[test]
fn status_names_the_line_and_the_thread_that_took_a_lease() {
    let site = Site::new();
    let manager = manager();
    let line = line!() + 1;
    let lease = manager.read(site.database()).unwrap();
    let status = manager.status();
    assert_eq!(status.leases_out(), 1);
    let database = &status.databases[0];
    assert_eq!(database.path, lease.path());
    assert_eq!(database.attachment, Some(AccessMode::ReadOnly));
    let taken_at = &database.leases[0].taken_at;
    assert!(taken_at.contains(&format!("leases.rs:{line}:")), "{taken_at}");
    let thread = std::thread::current().name().map(str::to_owned);
    assert_eq!(database.leases[0].thread, thread);
    drop(lease);
    assert_eq!(manager.status().leases_out(), 0);
    assert_eq!(manager.status().databases[0].attachment, Some(AccessMode::ReadOnly), "it is kept");
}

#[test]
fn a_wait_for_a_lease_of_the_same_thread_ends_and_names_it() {
    let site = Site::new();
    let manager = manager_that_waits(A_WHILE);
    let _lease = manager.read(site.database()).unwrap().unbind();
    let error = manager.write(site.database()).unwrap_err();
    let text = error.to_string();
    assert!(text.contains("this process's own lease") && text.contains("leases.rs:"), "{text}");
    assert_eq!(count(&manager.read(site.database()).unwrap()), 0, "the expired writer is gone");
}

#[test]
fn the_last_lease_that_returns_leaves_no_descriptor_and_no_lock_where_nothing_is_kept() {
    let site = Site::new();
    let manager = Manager::new(Config { idle_max: Duration::ZERO, ..config() }).unwrap();
    drop(manager.write(site.database()).unwrap());
    assert_eq!((descriptors(&site), locks(&site)), (0, 0));
    for _ in 0..3 {
        let writer = manager.write(site.database()).unwrap().unbind();
        let reader = manager.read(site.database()).unwrap();
        let phase = manager.training_phase(site.database()).unwrap();
        insert(&writer, 1);
        assert!(descriptors(&site) >= 3, "the database, its log, the gate");
        assert!(locks(&site) >= 2);
        drop((phase, writer, reader));
        assert_eq!((descriptors(&site), locks(&site)), (0, 0));
    }
    manager_that_waits(A_WHILE).read(site.path("missing.db")).unwrap_err();
    assert_eq!((descriptors(&site), locks(&site)), (0, 0));
    assert_eq!(site.names(), ["x.db", "x.db.gate"]);
}

/// Descriptors of this process that lead into the folder.
fn descriptors(site: &Site) -> usize {
    let folder = fs::canonicalize(site.folder()).unwrap();
    let open = fs::read_dir("/proc/self/fd").unwrap();
    open.filter_map(|entry| fs::read_link(entry.unwrap().path()).ok())
        .filter(|target| target.starts_with(&folder))
        .count()
}

/// Locks on the files of the folder, as `/proc/locks` has them.
fn locks(site: &Site) -> usize {
    let inode = |path: &Path| format!(":{} ", fs::metadata(path).unwrap().ino());
    let inodes: Vec<_> = site.names().iter().map(|name| inode(&site.path(name))).collect();
    let locks = fs::read_to_string("/proc/locks").unwrap();
    locks.lines().filter(|line| inodes.iter().any(|inode| line.contains(inode))).count()
}

/// Panics at every event.
struct Faulty;

impl Observer for Faulty {
    fn observe(&self, _: &Path, _: &LeaseEvent<'_>) {
        panic!("a bug of the observer");
    }
}

#[test]
fn an_observer_that_panics_keeps_no_lease_out() {
    let site = Site::new();
    let manager = Manager::with_observer(config(), Arc::new(Faulty)).unwrap();
    let reading = Running::begin({
        let (manager, path) = (manager.clone(), site.database());
        move || manager.read(path).map(drop)
    });
    reading.finish().unwrap();
    assert_eq!(manager.status().leases_out(), 0);
    Peer::holding("write", &site.database()).release();
}
