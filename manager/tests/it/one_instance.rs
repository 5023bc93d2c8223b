//! One instance per file per process, whatever the file is called.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;

use manager::{Config, Error, LeaseEvent, Manager, Observer};
use parking_lot::Mutex;

use crate::support::{
    A_WHILE, Running, Site, config, count, insert, make_database, manager, manager_that_waits,
};

#[test]
fn a_second_manager_of_the_same_file_is_refused_while_the_first_lives() {
    let site = Site::new();
    let (first, second) = (manager(), manager());
    let lease = first.read(site.database()).unwrap();
    let path = lease.path().to_path_buf();
    assert_already_managed(second.read(site.database()).unwrap_err(), &path);
    assert_already_managed(second.write(site.database()).unwrap_err(), &path);
    drop(lease);
    assert_already_managed(second.write(site.database()).unwrap_err(), &path);
    drop(first);
    assert_eq!(count(&second.read(site.database()).unwrap()), 0);
}

#[test]
fn a_clone_of_a_manager_is_the_same_manager() {
    let site = Site::new();
    let manager = manager();
    let lease = manager.write(site.database()).unwrap().unbind();
    insert(&lease, 1);
    let reader = manager.clone().read(site.database()).unwrap();
    assert_eq!(count(&reader), 1, "it runs on the instance of the writer");
}

#[test]
fn a_hard_link_of_a_managed_file_is_refused() {
    let site = Site::new();
    let link = site.path("link.db");
    fs::hard_link(site.database(), &link).unwrap();
    let manager = manager();
    let lease = manager.write(site.database()).unwrap();
    let error = manager.read(&link).unwrap_err();
    let text = error.to_string();
    assert!(text.contains("link.db") && text.contains("x.db"), "{text}");
    assert_already_managed(error, lease.path());
}

#[test]
fn a_symbolic_link_and_a_relative_path_lead_to_the_same_leases() {
    let site = Site::new();
    let link = site.path("link.db");
    symlink(site.database(), &link).unwrap();
    let manager = manager_that_waits(A_WHILE);
    let lease = manager.write(&link).unwrap().unbind();
    assert_eq!(lease.path(), fs::canonicalize(site.database()).unwrap());
    for same in [site.database(), relative(&site.database())] {
        assert_eq!(manager.read(&same).unwrap().path(), lease.path(), "{}", same.display());
        let error = manager.write(&same).unwrap_err();
        let Error::TimedOut { here, .. } = &error else { panic!("{error}") };
        assert_eq!(here.len(), 1, "the one lease is in the way: {here:?}");
        assert!(here[0].taken_at.contains("one_instance.rs"), "{error}");
    }
    assert_eq!(manager.status().databases.len(), 1);
    assert!(!site.path("link.db.gate").exists(), "one gate, beside the file itself");
}

/// The same path from where this process is.
fn relative(path: &Path) -> PathBuf {
    let here = std::env::current_dir().unwrap();
    let up: PathBuf = here.components().skip(1).map(|_| "..").collect();
    up.join(path.strip_prefix("/").unwrap())
}

#[test]
fn a_file_put_in_the_place_of_another_is_a_new_database() {
    let site = Site::new();
    let other = site.path("other.db");
    make_database(&other, 2);
    let manager = manager();
    let old = manager.read(site.database()).unwrap();
    assert_eq!(count(&old), 0);
    fs::rename(&other, site.database()).unwrap();
    let new = manager.read(site.database()).unwrap();
    assert_eq!(count(&new), 2);
    assert_eq!(count(&old), 0, "a lease stays on the file it was given for");
    drop((old, new));
    insert(&manager.write(site.database()).unwrap(), 3);
    assert_eq!(count(&manager.read(site.database()).unwrap()), 3);
}

/// The registry knows files by inode, and took a file that had been renamed, or had got the inode of a removed one,
/// for the one it knew under the old name: it was refused as long as the manager lived.
#[test]
fn a_file_that_was_renamed_while_nobody_had_it_is_managed_under_its_new_name() {
    let site = Site::new();
    let manager = manager();
    insert(&manager.write(site.database()).unwrap(), 1);
    let moved = site.path("moved.db");
    fs::rename(site.database(), &moved).unwrap();
    let lease = manager.write(&moved).unwrap();
    assert_eq!(count(&lease), 1);
    assert!(lease.path().ends_with("moved.db"));
    fs::hard_link(&moved, site.database()).unwrap();
    assert_already_managed(manager.read(site.database()).unwrap_err(), &moved);
}

/// Tells when a file was closed, and lets nobody go on until it is told to.
struct AtClosing(SyncSender<()>, Mutex<Receiver<()>>);

impl Observer for AtClosing {
    fn observe(&self, _: &Path, event: &LeaseEvent<'_>) {
        if matches!(event, LeaseEvent::Closed { .. }) && self.0.send(()).is_ok() {
            let _ = self.1.lock().recv(); // nobody tells a second time
        }
    }
}

/// It was refused as used if the keeper was just looking at it, or closing it.
#[test]
fn a_file_that_was_renamed_while_the_keeper_closes_it_is_managed_under_its_new_name() {
    let site = Site::new();
    let ((closing, closes), (go_on, told)) = (sync_channel(1), sync_channel(1));
    let observer = Arc::new(AtClosing(closing, Mutex::new(told)));
    let config = Config { idle_max: A_WHILE, ..config() };
    let manager = Manager::with_observer(config, observer).unwrap();
    insert(&manager.write(site.database()).unwrap(), 1);
    closes.recv().unwrap();
    let moved = site.path("moved.db");
    fs::rename(site.database(), &moved).unwrap();
    let asking = Running::begin({
        let manager = manager.clone();
        move || manager.read(moved).map(|lease| count(&lease))
    });
    thread::sleep(A_WHILE);
    go_on.send(()).unwrap();
    drop(go_on);
    assert_eq!(asking.finish().unwrap(), 1);
}

#[test]
fn new_files_in_the_place_of_removed_ones_are_managed() {
    let site = Site::empty();
    let manager = manager();
    // Most file systems give the inode of the last file that was removed to the next one that is made.
    for number in 0..5 {
        let path = site.path(&format!("{number}.db"));
        make_database(&path, number);
        assert_eq!(count(&manager.read(&path).unwrap()), number);
        fs::remove_file(&path).unwrap();
    }
}

#[test]
fn a_renamed_file_that_is_still_held_is_refused_under_its_new_name() {
    let site = Site::new();
    let manager = manager();
    let lease = manager.write(site.database()).unwrap();
    let moved = site.path("moved.db");
    fs::rename(site.database(), &moved).unwrap();
    assert_already_managed(manager.read(&moved).unwrap_err(), lease.path());
}

fn assert_already_managed(error: Error, expected: &Path) {
    let Error::AlreadyManaged { managed_as, .. } = error else { panic!("{error:?}") };
    assert_eq!(managed_as, fs::canonicalize(expected).unwrap_or_else(|_| expected.into()));
}
