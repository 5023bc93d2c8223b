//! A disk without room: what was acknowledged stays, the error says what to do, and with room again all goes on.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

use manager::{Error, ErrorClass, Manager, duckdb};

use crate::support::{Site, config, count, manager};

/// A small file system in memory, mounted in a folder of the test.
pub(crate) struct SmallDisk {
    at: PathBuf,
}

impl SmallDisk {
    /// `None` where this process may not mount, which it says.
    pub(crate) fn mount(site: &Site, kibibytes: u32) -> Option<Self> {
        let at = site.path("disk");
        fs::create_dir(&at).unwrap();
        let options = format!("size={kibibytes}k");
        let mounted =
            Command::new("mount").args(["-t", "tmpfs", "-o", &options, "tmpfs"]).arg(&at).output();
        match mounted {
            Ok(output) if output.status.success() => Some(Self { at }),
            Ok(output) => {
                let why = String::from_utf8_lossy(&output.stderr).into_owned();
                println!("NOT TESTED: a full disk needs a mount, and {}", why.trim());
                None
            }
            Err(error) => {
                println!("NOT TESTED: a full disk needs a mount, and `mount`: {error}");
                None
            }
        }
    }

    pub(crate) fn database(&self) -> PathBuf {
        self.at.join("x.db")
    }

    pub(crate) fn resize(&self, kibibytes: u32) {
        let options = format!("remount,size={kibibytes}k");
        let resized = Command::new("mount").args(["-o", &options]).arg(&self.at).status().unwrap();
        assert!(resized.success());
    }

    /// Leaves no block free, also of those that are given back or counted late.
    pub(crate) fn fill(&self) {
        let mut ballast = fs::File::create(self.at.join("ballast")).unwrap();
        let mut failures_in_a_row = 0;
        while failures_in_a_row < 100 {
            match ballast.write_all(&[1; 4096]) {
                Ok(()) => failures_in_a_row = 0,
                Err(_) => failures_in_a_row += 1,
            }
            std::thread::yield_now();
        }
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.at).status();
    }
}

/// Commits transactions of 1,000 rows until one fails; returns the acknowledged rows and the error.
fn write_until_full(manager: &Manager, path: &Path) -> (i64, Error) {
    for number in 0..1000 {
        let stored = manager.transaction(path, |tx| {
            tx.execute("INSERT INTO t SELECT hash(range + ?) FROM range(1000)", [number * 1000])
        });
        if let Err(error) = stored {
            return (number * 1000, error);
        }
    }
    panic!("the disk is not that big");
}

#[test]
fn a_full_disk_loses_nothing_that_was_acknowledged() {
    let site = Site::empty();
    let Some(disk) = SmallDisk::mount(&site, 3 * 1024) else { return };
    let manager = manager();
    let create = |new: &duckdb::Connection| -> Result<(), Error> {
        Ok(new.execute_batch("CREATE TABLE t (a UBIGINT)")?)
    };
    manager.create(disk.database(), create).unwrap();
    let (acknowledged, error) = write_until_full(&manager, &disk.database());
    assert!(acknowledged > 0);
    let text = error.to_string();
    assert!(text.contains("No space left on device"), "{text}");
    let outcomes: &[i64] = match &error {
        Error::Database { class: ErrorClass::DiskFull, .. } => &[0],
        Error::UnknownOutcome { .. } | Error::Database { class: ErrorClass::Fatal, .. } => {
            &[0, 1000]
        }
        _ => panic!("{error:?}"),
    };
    let rows = count(&manager.read(disk.database()).unwrap());
    assert!(outcomes.contains(&(rows - acknowledged)), "{rows} of {acknowledged}: {text}");

    disk.resize(32 * 1024);
    manager.transaction(disk.database(), |tx| tx.execute("INSERT INTO t VALUES (1)", [])).unwrap();
    assert_eq!(count(&manager.read(disk.database()).unwrap()), rows + 1);
    drop(manager);
    assert_eq!(count(&crate::support::manager().read(disk.database()).unwrap()), rows + 1);
}

#[test]
fn a_statement_that_fills_the_disk_says_so_and_the_lease_goes_back() {
    let site = Site::empty();
    let Some(disk) = SmallDisk::mount(&site, 3 * 1024) else { return };
    let manager = manager();
    manager
        .create(disk.database(), |new| -> Result<(), Error> {
            Ok(new.execute_batch("CREATE TABLE t (a UBIGINT)")?)
        })
        .unwrap();
    let lease = manager.write(disk.database()).unwrap();
    let error = lease
        .transaction(|tx| tx.execute("INSERT INTO t SELECT hash(range) FROM range(2000000)", []))
        .unwrap_err();
    assert!(error.to_string().contains("No space left on device"), "{error}");
    drop(lease);
    assert_eq!(manager.status().leases_out(), 0);
    assert_eq!(count(&manager.read(disk.database()).unwrap()), 0);
    drop(manager.write(disk.database()).unwrap());
}

#[test]
fn a_database_that_has_no_room_is_not_created_in_part() {
    let site = Site::empty();
    let Some(disk) = SmallDisk::mount(&site, 1024) else { return };
    let manager = Manager::new(config()).unwrap();
    // Four times the size of the disk, so that it cannot fit, however a file system counts its last blocks.
    let fill = |new: &duckdb::Connection| -> Result<(), Error> {
        Ok(new.execute_batch("CREATE TABLE t AS SELECT hash(range) AS a FROM range(500000)")?)
    };
    let error = manager.create(disk.database(), fill).unwrap_err();
    let text = error.to_string();
    assert_eq!(error.class(), Some(ErrorClass::DiskFull), "{text}");
    assert!(text.contains("free some space"), "{text}");
    let left: Vec<_> =
        fs::read_dir(&disk.at).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(left, ["x.db.gate"]);

    disk.resize(16 * 1024);
    assert!(manager.create(disk.database(), fill).unwrap());
    assert_eq!(count(&manager.read(disk.database()).unwrap()), 500_000);
}

#[test]
fn a_gate_that_has_no_room_is_named() {
    let site = Site::empty();
    let Some(disk) = SmallDisk::mount(&site, 512) else { return };
    disk.fill();
    let error = manager().write(disk.database()).unwrap_err();
    assert!(matches!(error, Error::Gate { .. }), "{error:?}");
    let text = error.to_string();
    assert!(text.contains("x.db.gate") && text.contains("No space left on device"), "{text}");
    disk.resize(8 * 1024);
    drop(manager().write(disk.database()).unwrap());
}
