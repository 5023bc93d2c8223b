//! A gate file that is not what a living process left: of a machine that was restarted, copied, damaged, made by
//! somebody else, or no gate at all. The gate's state are kernel locks, so whatever the file says keeps nobody out.

use std::fs::{self, Permissions};
use std::io::Write;
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt, chown, symlink};
use std::path::PathBuf;
use std::process::Command;

use manager::{Error, Holder, Standing};
use rustix::fs::{CWD, FileType, Mode, mknodat};

use crate::peer::{AnotherUser, Peer, program};
use crate::support::{
    A_WHILE, Running, Site, count, manager, manager_that_waits, waits_at_the_gate,
};

// The layout of the gate file, version 1, as the head of `gate/file.rs` has it.
const FIRST_SLOT: usize = 4096;
const SLOT_BYTES: usize = 1024;
const SLOTS: usize = 128;

fn gate(site: &Site) -> PathBuf {
    manager::gate_path(&site.database())
}

/// What the gate file says, whoever is still there: each record with its slot.
fn records(site: &Site) -> Vec<(usize, Holder)> {
    let bytes = fs::read(gate(site)).unwrap();
    let slots = bytes.get(FIRST_SLOT..).unwrap_or_default().chunks(SLOT_BYTES).enumerate();
    slots.filter_map(|(slot, text)| Some((slot, serde_json::from_slice(text).ok()?))).collect()
}

/// The record of a process, as that process would write it.
fn record_text(holder: &Holder) -> Vec<u8> {
    let mut text = serde_json::to_vec(holder).unwrap();
    text.resize(SLOT_BYTES, b'\n');
    text
}

fn write_slot(site: &Site, slot: usize, text: &[u8]) {
    let file = fs::File::options().write(true).open(gate(site)).unwrap();
    file.write_all_at(text, (FIRST_SLOT + slot * SLOT_BYTES) as u64).unwrap();
}

/// A record of a process that is dead.
fn record_of_the_dead(site: &Site) -> Holder {
    let peer = Peer::holding("write", &site.database());
    let found = records(site).into_iter().find(|(_, holder)| holder.pid == peer.pid());
    peer.kill();
    found.expect("a holder has its record in the file").1
}

/// Nobody is shown, nobody is waited for, and a gate that is used again does what a gate does.
fn assert_harmless(site: &Site) {
    assert_eq!(manager::holders(&site.database()).unwrap(), []);
    let impatient = manager_that_waits(A_WHILE);
    drop(impatient.evaluation_phase(site.database()).unwrap());
    drop(impatient.training_phase(site.database()).unwrap());
    let lease = impatient.write(site.database()).unwrap();
    let behind = Peer::begin("write", &site.database());
    behind.sleeps_for_a_lock();
    waits_at_the_gate(&site.database(), behind.pid());
    let holders = manager::holders(&site.database()).unwrap();
    let mut pids: Vec<_> = holders.iter().map(|holder| (holder.pid, holder.standing)).collect();
    pids.sort_by_key(|&(_, standing)| standing == Standing::Waiting);
    let expected = [(std::process::id(), Standing::Holding), (behind.pid(), Standing::Waiting)];
    assert_eq!(pids, expected, "{holders:?}");
    drop(lease);
    behind.hears("held");
    behind.release();
}

#[test]
fn a_gate_full_of_records_of_dead_processes_is_harmless() {
    let site = Site::new();
    let dead = record_of_the_dead(&site);
    for standing in [Standing::Holding, Standing::Waiting] {
        for slot in 0..SLOTS {
            write_slot(&site, slot, &record_text(&Holder { standing, ..dead.clone() }));
        }
        assert_eq!(records(&site).len(), SLOTS);
        assert_harmless(&site);
    }
}

/// A record counts by the lock of its owner, not by what it says.
#[test]
fn a_record_that_names_a_living_process_is_not_shown_without_its_lock() {
    let site = Site::new();
    let dead = record_of_the_dead(&site);
    let living = Peer::begin("evaluation", &site.database());
    living.hears("held");
    let of_living = records(&site).into_iter().find(|(_, holder)| holder.pid == living.pid());
    let (_, of_living) = of_living.unwrap();
    living.release();
    let this = Holder { pid: std::process::id(), ..dead };
    for slot in 0..SLOTS {
        write_slot(&site, slot, &record_text(if slot % 2 == 0 { &this } else { &of_living }));
    }
    assert_harmless(&site);
}

#[test]
fn a_gate_full_of_garbage_is_harmless() {
    let site = Site::new();
    let text = record_text(&record_of_the_dead(&site));
    let mut cut = text.clone();
    cut[40..].fill(0);
    let wrong_types = br#"{"pid":"x","command":7}"#.to_vec();
    let deep = b"[".repeat(SLOT_BYTES);
    let garbage = [vec![0xff; SLOT_BYTES], vec![0; SLOT_BYTES], cut, wrong_types, deep];
    for slot in 0..SLOTS {
        write_slot(&site, slot, &garbage[slot % garbage.len()]);
    }
    assert_harmless(&site);
    // And where nobody looks: before the first slot, and behind the last.
    let file = fs::File::options().write(true).open(gate(&site)).unwrap();
    file.write_all_at(&[0xff; 1024], FIRST_SLOT as u64 - 1024).unwrap();
    file.write_all_at(&[0xff; 4096], (FIRST_SLOT + SLOTS * SLOT_BYTES) as u64).unwrap();
    assert_harmless(&site);
}

#[test]
fn a_gate_that_was_cut_off_is_harmless() {
    for length in [FIRST_SLOT - 1, FIRST_SLOT, FIRST_SLOT + 100, FIRST_SLOT + SLOT_BYTES + 1] {
        let site = Site::new();
        drop(record_of_the_dead(&site));
        let file = fs::File::options().write(true).open(gate(&site)).unwrap();
        file.set_len(length as u64).unwrap();
        drop(file);
        assert_harmless(&site);
    }
}

/// After a restart of the machine, or as a copy of another machine's, a gate has its records and not one lock.
#[test]
fn a_gate_that_was_copied_while_it_was_used_is_harmless() {
    let used = Site::new();
    let trainer = Peer::holding("training", &used.database());
    let writer = Peer::holding("write", &used.database());
    let waiting = Peer::begin("read", &used.database());
    waiting.sleeps_for_a_lock();
    let copied = Site::new();
    fs::copy(gate(&used), gate(&copied)).unwrap();
    let pids: Vec<_> = records(&copied).iter().map(|(_, holder)| holder.pid).collect();
    for peer in [&trainer, &writer, &waiting] {
        assert!(pids.contains(&peer.pid()), "{pids:?}");
    }
    assert_harmless(&copied);
    let evaluators = Site::new();
    let evaluator = Peer::holding("evaluation", &evaluators.database());
    fs::copy(gate(&evaluators), gate(&copied)).unwrap();
    assert_harmless(&copied);
    evaluator.release();
    assert_eq!(manager::holders(&used.database()).unwrap().len(), 3, "the original is as it was");
}

/// The owner of a slot writes its record after it has the slot's lock. Until then the record is that of somebody who is
/// dead, and whose pid may be another process's by now.
#[test]
fn a_record_whose_pid_belongs_to_another_process_by_now_is_not_shown() {
    let site = Site::new();
    let peer = Peer::holding("write", &site.database());
    let (slot, honest) =
        records(&site).into_iter().find(|(_, holder)| holder.pid == peer.pid()).unwrap();
    let shown = || manager::holders(&site.database()).unwrap();
    assert_eq!(shown(), std::slice::from_ref(&honest));
    let started = honest.process_started_ticks.unwrap();
    let recycled = Holder { process_started_ticks: Some(started - 1), ..honest.clone() };
    write_slot(&site, slot, &record_text(&recycled));
    assert_eq!(shown(), []);
    let error = manager_that_waits(A_WHILE).read(site.database()).unwrap_err();
    let text = error.to_string();
    assert!(matches!(error, Error::TimedOut { .. }), "{error:?}");
    assert!(!text.contains(&format!("pid {}", peer.pid())), "nobody is blamed wrongly: {text}");
    write_slot(&site, slot, &record_text(&honest));
    assert_eq!(shown(), [honest]);
    peer.release();
}

/// Somebody ran a program once as root, with a umask that gives others nothing. Everybody else who may use the database
/// has to get through its gate still.
#[test]
fn a_gate_that_root_makes_has_the_permissions_and_the_owner_of_its_database() {
    if !rustix::process::geteuid().is_root() {
        let _ = writeln!(std::io::stderr(), "NOT TESTED: a gate that root makes: this is not root");
        return;
    }
    for mode in [0o640, 0o666] {
        let site = Site::new();
        let another_user = AnotherUser::beside(&site);
        fs::remove_file(gate(&site)).unwrap();
        fs::set_permissions(site.database(), Permissions::from_mode(mode)).unwrap();
        chown(site.database(), Some(AnotherUser::ID), Some(AnotherUser::ID)).unwrap();
        let mut as_root = Command::new("sh");
        as_root.args(["-c", "umask 077; exec \"$0\" \"$@\""]).arg(program());
        let root = Peer::run(as_root.arg("write").arg(site.database()));
        root.hears("held");
        let made = fs::metadata(gate(&site)).unwrap();
        assert_eq!(made.mode() & 0o7777, mode);
        assert_eq!((made.uid(), made.gid()), (AnotherUser::ID, AnotherUser::ID));
        root.release();
        let owner = another_user.runs("write", &site.database());
        owner.hears("held");
        owner.release();
    }
}

/// What the gate's name stands for is refused by every call, at once.
fn assert_refused(site: &Site, because: &str) {
    let path = site.database();
    let refused = Running::begin(move || {
        let manager = manager();
        [
            manager.read(&path).map(drop).unwrap_err(),
            manager.write(&path).map(drop).unwrap_err(),
            manager.training_phase(&path).map(drop).unwrap_err(),
            manager.evaluation_phase(&path).map(drop).unwrap_err(),
            manager::holders(&path).map(drop).unwrap_err(),
        ]
    });
    for error in refused.finish() {
        let text = error.to_string();
        assert!(
            matches!(&error, Error::Gate { path, .. } if path.ends_with("x.db.gate")),
            "{text}"
        );
        assert!(text.contains(because), "`{because}` is in: {text}");
        assert!(!error.is_transient());
    }
}

#[test]
fn a_symbolic_link_in_the_place_of_the_gate_is_refused_and_not_followed() {
    let site = Site::new();
    let target = site.path("somebody's");
    fs::remove_file(gate(&site)).unwrap();
    symlink(&target, gate(&site)).unwrap();
    assert_refused(&site, "it is a symbolic link");
    assert!(!target.exists(), "nothing is made where it leads");
    fs::write(&target, "their own").unwrap();
    assert_refused(&site, "it is a symbolic link");
    assert_eq!(fs::read_to_string(&target).unwrap(), "their own");
    fs::remove_file(gate(&site)).unwrap();
    assert_eq!(count(&manager().read(site.database()).unwrap()), 0);
}

#[test]
fn what_is_no_regular_file_in_the_place_of_the_gate_is_refused_without_a_wait() {
    let site = Site::new();
    fs::remove_file(gate(&site)).unwrap();
    fs::create_dir(gate(&site)).unwrap();
    assert_refused(&site, "it is not a regular file");
    fs::remove_dir(gate(&site)).unwrap();
    mknodat(CWD, gate(&site), FileType::Fifo, Mode::RWXU, 0).unwrap();
    assert_refused(&site, "it is not a regular file");
}
