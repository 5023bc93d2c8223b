//! Readers without the permission to write: another user, or a file system that is mounted to be read.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use manager::{Config, Error, Manager};

use crate::peer::{AnotherUser, Peer};
use crate::support::{
    A_WHILE, Running, Site, config, count, make_database, manager, manager_that_waits,
};

/// A database, its gate and its folder, which another user may read and not write.
fn readable() -> (Site, AnotherUser) {
    let site = Site::new();
    let another_user = AnotherUser::beside(&site);
    for path in [site.database(), site.path("x.db.gate")] {
        fs::set_permissions(path, Permissions::from_mode(0o444)).unwrap();
    }
    fs::set_permissions(site.folder(), Permissions::from_mode(0o555)).unwrap();
    (site, another_user)
}

/// Only root can be two users.
fn is_root() -> bool {
    let is_root = rustix::process::geteuid().is_root();
    if !is_root {
        println!("NOT TESTED: a reader beside a writer of another user needs root");
    }
    is_root
}

#[test]
fn readers_that_may_not_write_read_beside_others() {
    let (site, another_user) = readable();
    let mut peer = another_user.runs("read", &site.database());
    peer.hears("held");
    let hasty = manager_that_waits(A_WHILE);
    let lease = hasty.read(site.database()).unwrap();
    let another = another_user.runs("read", &site.database());
    another.hears("held");
    assert_eq!(peer.tell("count"), "0");
    assert_eq!(count(&lease), 0);
}

#[test]
fn a_reader_that_may_not_write_waits_in_the_kernel_for_a_writer() {
    if !is_root() {
        return;
    }
    let (site, another_user) = readable();
    let mut writer = Peer::holding("write", &site.database());
    let mut reader = another_user.runs("read", &site.database());
    reader.sleeps_for_a_lock();
    writer.insert(0..3);
    assert!(reader.is_silent());
    writer.release();
    reader.hears("held");
    assert_eq!(reader.tell("count"), "3");
}

#[test]
fn a_reader_that_may_not_write_keeps_a_writer_out() {
    if !is_root() {
        return;
    }
    let (site, another_user) = readable();
    let reader = another_user.runs("read", &site.database());
    reader.hears("held");
    let writer = Peer::begin("write", &site.database());
    writer.sleeps_for_a_lock();
    assert!(writer.is_silent());
    reader.release();
    writer.hears("held");
}

#[test]
fn a_reader_that_may_not_write_waits_behind_a_waiting_writer() {
    if !is_root() {
        return;
    }
    let (site, another_user) = readable();
    let first = Peer::holding("read", &site.database());
    let writer = Peer::begin("write", &site.database());
    writer.sleeps_for_a_lock();
    let reader = another_user.runs("read", &site.database());
    reader.sleeps_for_a_lock();
    assert!(reader.is_silent(), "it does not pass the writer");
    first.release();
    writer.hears("held");
    assert!(reader.is_silent());
    writer.release();
    reader.hears("held");
}

/// It cannot ring, so the holder finds it when it looks by itself.
#[test]
fn a_reader_that_cannot_ring_gets_a_file_that_is_merely_kept() {
    if !is_root() {
        return;
    }
    let (site, another_user) = readable();
    let database = site.database();
    let mut keeper = Peer::begin_with("training", &database, &[("idle_max", "1h")]);
    keeper.hears("held");
    keeper.insert(0..1); // with a lease that it has returned when it answers
    let mut reader = another_user.runs("read", &database);
    reader.hears("held");
    assert_eq!(reader.tell("count"), "1");
    keeper.end_input();
}

#[test]
fn a_writer_that_may_not_write_is_told_why() {
    let (site, another_user) = readable();
    for role in ["write", "training", "evaluation"] {
        let line = another_user.runs(role, &site.database()).line();
        assert!(
            line.contains("x.db.gate`") && line.contains("Permission denied"),
            "{role}: {line}"
        );
    }
    // With the gate alone it may not do either.
    fs::set_permissions(site.path("x.db.gate"), Permissions::from_mode(0o666)).unwrap();
    let line = another_user.runs("write", &site.database()).line();
    assert!(line.contains("x.db`") && line.contains("Permission denied"), "{line}");
}

#[test]
fn a_reader_without_a_gate_relies_on_the_lock_of_duckdb() {
    if !is_root() {
        return;
    }
    let (site, another_user) = readable();
    fs::remove_file(site.path("x.db.gate")).unwrap();
    let mut reader = another_user.runs("read", &site.database());
    reader.hears("held");
    assert_eq!(reader.tell("count"), "0");
    assert!(!site.path("x.db.gate").exists());
    let refused = manager_that_waits(A_WHILE).write(site.database()).unwrap_err();
    assert!(
        matches!(refused, Error::HeldOutside { pid: Some(pid), .. } if pid == reader.pid()),
        "{refused:?}"
    );
    reader.release();
    drop(manager().write(site.database()).unwrap());
}

/// A folder under a second path, through which it can only be read.
struct ReadOnlyMount {
    at: PathBuf,
}

impl ReadOnlyMount {
    /// Of the folder `real` of the site. `None` where this process may not mount, which it says.
    fn of(site: &Site) -> Option<Self> {
        let at = site.path("mounted");
        fs::create_dir(&at).unwrap();
        let bound = Command::new("mount").arg("--bind").arg(site.path("real")).arg(&at).output();
        match bound {
            Ok(output) if output.status.success() => {}
            Ok(output) => {
                let why = String::from_utf8_lossy(&output.stderr).into_owned();
                println!("NOT TESTED: a read-only file system needs a mount, and {}", why.trim());
                return None;
            }
            Err(error) => {
                println!("NOT TESTED: a read-only file system needs a mount, and `mount`: {error}");
                return None;
            }
        }
        let mount = Self { at };
        let options = ["-o", "remount,bind,ro"];
        assert!(Command::new("mount").args(options).arg(&mount.at).status().unwrap().success());
        Some(mount)
    }

    fn database(&self) -> PathBuf {
        self.at.join("x.db")
    }
}

impl Drop for ReadOnlyMount {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.at).status();
    }
}

/// A database with 5 rows in a folder that is there twice: writable, and mounted to be read.
fn mounted() -> Option<(Site, ReadOnlyMount, PathBuf)> {
    let site = Site::empty();
    fs::create_dir(site.path("real")).unwrap();
    let real = site.path("real").join("x.db");
    make_database(&real, 5);
    let mount = ReadOnlyMount::of(&site)?;
    Some((site, mount, real))
}

#[test]
fn a_database_on_a_read_only_file_system_is_read_with_and_without_a_gate() {
    let Some((_site, mount, real)) = mounted() else { return };
    assert_eq!(count(&manager().read(mount.database()).unwrap()), 5);
    fs::remove_file(manager::gate_path(&real)).unwrap();
    assert_eq!(count(&manager().read(mount.database()).unwrap()), 5);
    assert!(!manager::gate_path(&real).exists());
    let manager = manager();
    for error in [
        manager.write(mount.database()).map(drop).unwrap_err(),
        manager.training_phase(mount.database()).map(drop).unwrap_err(),
        manager.evaluation_phase(mount.database()).map(drop).unwrap_err(),
    ] {
        let text = error.to_string();
        assert!(matches!(error, Error::Gate { .. }), "{error:?}");
        assert!(text.contains("x.db.gate`") && text.contains("Read-only file system"), "{text}");
    }
}

#[test]
fn a_log_beside_a_read_only_database_is_read_and_stays() {
    let Some((_site, mount, real)) = mounted() else { return };
    let mut peer = Peer::holding("write", &real);
    peer.insert(0..2);
    peer.kill();
    let log = fs::read(real.with_added_extension("wal")).unwrap();
    assert!(!log.is_empty());
    assert_eq!(count(&manager().read(mount.database()).unwrap()), 7);
    assert_eq!(fs::read(real.with_added_extension("wal")).unwrap(), log);
}

/// Nobody could ask for it.
#[test]
fn a_reader_without_a_gate_lets_go_with_its_last_lease() {
    let Some((_site, mount, real)) = mounted() else { return };
    fs::remove_file(manager::gate_path(&real)).unwrap();
    let keeps = Manager::new(Config { idle_max: Duration::from_hours(1), ..config() }).unwrap();
    let leases = [(); 2].map(|()| keeps.read(mount.database()).unwrap().unbind());
    let [first, last] = leases;
    drop(first);
    let refused = Peer::begin("outside", &real).line();
    assert!(refused.contains("Could not set lock"), "{refused}");
    drop(last);
    let mut outside = Peer::holding("outside", &real);
    outside.insert(0..1);
    outside.release();
    assert_eq!(count(&keeps.read(mount.database()).unwrap()), 6, "and opens it anew");
}

#[test]
fn a_reader_on_a_read_only_file_system_waits_for_a_writer_elsewhere() {
    let Some((_site, mount, real)) = mounted() else { return };
    let mut writer = Peer::holding("write", &real);
    let path = mount.database();
    let reading = Running::begin(move || count(&manager().read(path).unwrap()));
    reading.sleeps_for_a_lock();
    writer.insert(0..1);
    writer.release();
    assert_eq!(reading.finish(), 6);
}
