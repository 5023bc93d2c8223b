//! One instance of a file, its lock, and what its leases leave.

use std::fs::{self, File};
use std::sync::Arc;
use std::time::Duration;

use manager::{AccessMode, Error, Manager};

use super::site::{
    FILE, Notes, Other, Site, lockstep, manager, manager_that_keeps_nothing, patient,
};
use crate::baton::Baton;

pub(crate) fn a_hard_link_is_refused(site: &Site) -> bool {
    let (one, other) = (manager(), manager());
    let _lease = one.read(&site.path).unwrap();
    let link = site.path.with_file_name("link.duckdb");
    fs::hard_link(&site.path, &link).unwrap();
    matches!(other.read(&link), Err(Error::AlreadyManaged { .. }))
}

pub(crate) fn a_file_that_was_replaced_is_refused(site: &Site) -> bool {
    let (manager, path) = (manager(), site.path.clone());
    let other = Other::with(&path, FILE);
    let waiter = move |_: &Arc<Baton>, refused: &Notes<bool>| {
        let lease =
            manager.get_with(&path, AccessMode::ReadWrite, &patient(Duration::from_secs(3)));
        refused.lock().unwrap().push(matches!(lease, Err(Error::Unusable { .. })));
    };
    let path = site.path.clone();
    let mover = move |baton: &Arc<Baton>, _: &Notes<bool>| {
        baton.sleep(Duration::from_secs(1));
        let copy = path.with_extension("copy");
        fs::copy(&path, &copy).unwrap();
        fs::rename(copy, &path).unwrap();
        other.give_back(FILE);
        baton.wake();
    };
    lockstep(1, vec![("waiter", Box::new(waiter)), ("mover", Box::new(mover))]).0 == [true]
}

pub(crate) fn the_lock_survives_a_close(site: &Site) -> bool {
    let manager = manager();
    let _lease = manager.write(&site.path).unwrap();
    drop(File::open(&site.path).unwrap());
    Other::at(&site.path).sees(100)
}

pub(crate) fn no_descriptor_stays(site: &Site) -> bool {
    let manager = manager_that_keeps_nothing();
    let open = || {
        let entries = fs::read_dir("/proc/self/fd").unwrap();
        let gate = manager::gate_path(&site.path);
        entries
            .filter(|entry| {
                fs::read_link(entry.as_ref().unwrap().path()).is_ok_and(|to| to == gate)
            })
            .count()
    };
    site.insert(&manager, 1);
    let before = open();
    site.insert(&manager, 2);
    open() == before
}

pub(crate) fn a_reader_has_one_snapshot(site: &Site) -> bool {
    let manager = manager();
    let writer = manager.write(&site.path).unwrap().unbind();
    let reader = manager.read(&site.path).unwrap();
    let count =
        || -> i64 { reader.query_row("SELECT count(*) FROM t", [], |row| row.get(0)).unwrap() };
    let before = count();
    writer.transaction(|tx| tx.execute("INSERT INTO t VALUES (1)", [])).unwrap();
    count() == before
}

pub(crate) fn nothing_is_left_behind(site: &Site) -> bool {
    let manager = manager();
    manager.write(&site.path).unwrap().execute_batch("ATTACH ':memory:' AS other").unwrap();
    let lease = manager.read(&site.path).unwrap();
    let databases = "SELECT count(*) FROM duckdb_databases() WHERE database_name = 'other'";
    let others: i64 = lease.query_row(databases, [], |row| row.get(0)).unwrap();
    others == 0
}

pub(crate) fn a_child_is_refused(site: &Site) -> bool {
    let manager: Manager = manager();
    // SAFETY: the child calls the manager, which is to refuse it before it does anything, and ends without unwinding.
    unsafe {
        let child = libc::fork();
        assert_ne!(child, -1);
        if child == 0 {
            let done = manager.create(&site.path, |_| Ok::<(), Error>(()));
            libc::_exit(i32::from(!matches!(done, Err(Error::Forked { .. }))));
        }
        let mut status = 0;
        assert_eq!(libc::waitpid(child, &raw mut status, 0), child);
        status == 0
    }
}

pub(crate) fn the_log_of_another_file_stays(site: &Site) -> bool {
    let manager = manager();
    let lease = manager.write(&site.path).unwrap();
    lease.transaction(|tx| tx.execute("INSERT INTO t VALUES (1)", [])).unwrap();
    let log = site.path.with_added_extension("wal");
    assert!(log.exists(), "there is something to fold");
    for file in [&site.path, &log] {
        fs::rename(file, file.with_added_extension("old")).unwrap();
        fs::write(file, "of another one").unwrap();
    }
    drop(lease);
    drop(manager);
    log.exists()
}
