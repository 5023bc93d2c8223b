//! I11: no DuckDB across fork(2). What a child has inherited does nothing, and keeps nothing alive.

use std::fs;
use std::path::Path;
use std::process::Command;

use rustix::process::{Pid, Signal, kill_process};

use crate::peer::{Peer, example, program};
use crate::support::{
    A_WHILE, Site, count, eventually, is_in_fcntl, manager, manager_that_waits, waits_at_the_gate,
};

/// A child of a peer. Killed when it is dropped.
struct Child(Pid);

impl Drop for Child {
    fn drop(&mut self) {
        let _ = kill_process(self.0, Signal::KILL); // it may have ended with its peer's pipe
    }
}

impl Child {
    /// The one that its parent's answer names.
    fn named(line: &str) -> Self {
        let pid = line.strip_prefix("child ").unwrap_or_else(|| panic!("{line}"));
        Self(Pid::from_raw(pid.parse().unwrap()).unwrap())
    }

    fn pid(&self) -> u32 {
        self.0.as_raw_nonzero().get().try_into().unwrap()
    }

    fn is_alive(&self) -> bool {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.pid()));
        stat.is_ok_and(|stat| !stat.rsplit_once(") ").unwrap().1.starts_with('Z'))
    }
}

fn forker(role: &str, database: &Path, then: &str) -> Peer {
    Peer::run(Command::new(example("forker")).arg(role).arg(database).arg(then))
}

fn fork(peer: &mut Peer) -> Child {
    Child::named(&peer.tell("fork"))
}

/// A peer that has the write lease, and whose children do that.
fn writer(site: &Site, then: &str) -> Peer {
    let peer = forker("write", &site.database(), then);
    peer.hears("held");
    peer
}

/// A peer that has the write lease and a log, and a child that has tried what it has inherited before it does that.
fn with_child(site: &Site, then: &str) -> (Peer, Child) {
    let mut peer = writer(site, then);
    assert_eq!(peer.tell("insert 1"), "ok");
    let child = fork(&mut peer);
    for line in
        ["calls: 6 forked", "lease: panicked", "transaction: forked", "borrowed: error", "dropped"]
    {
        peer.hears(line);
    }
    (peer, child)
}

#[test]
fn what_a_child_writes_on_what_it_inherited_reaches_neither_the_file_nor_the_log() {
    let site = Site::new();
    let (mut peer, child) = with_child(&site, "idle");
    assert_eq!(peer.tell("insert 2"), "ok");
    peer.release();
    assert!(child.is_alive());
    let manager = manager();
    let lease = manager.read(site.database()).unwrap();
    let rows: String = lease
        .query_row("SELECT string_agg(a, ',' ORDER BY a) FROM t", [], |row| row.get(0))
        .unwrap();
    assert_eq!(rows, "1,2", "the parent's, and none of the child's");
    assert_eq!(site.names(), ["x.db", "x.db.gate"], "and it has created nothing");
}

#[test]
fn a_child_that_drops_what_it_inherited_takes_no_lock_from_its_parent() {
    let site = Site::new();
    let (peer, child) = with_child(&site, "idle");
    let third = Peer::begin("write", &site.database());
    third.sleeps_for_a_lock();
    let evaluation = Peer::begin("evaluation", &site.database());
    evaluation.sleeps_for_a_lock();
    let outside = Peer::begin("outside", &site.database()).line();
    assert!(outside.contains("Could not set lock"), "{outside}");
    assert!(third.is_silent() && evaluation.is_silent(), "the parent holds the file and the phase");
    assert!(child.is_alive());
    peer.release();
    third.hears("held");
    third.release();
    evaluation.hears("held");
}

#[test]
fn a_killed_parent_leaves_nothing_held_by_its_child() {
    let site = Site::new();
    let (peer, child) = with_child(&site, "idle");
    peer.kill();
    assert!(child.is_alive());
    let mut writer = Peer::holding("write", &site.database());
    writer.insert(2..3);
    writer.release();
    drop(Peer::holding("evaluation", &site.database()));
    let mut outside = Peer::holding("outside", &site.database());
    assert_eq!(outside.tell("count"), "2");
    assert!(child.is_alive());
    assert!(manager::holders(&site.database()).unwrap().is_empty());
}

/// The one that waits has the turnstile, without which nobody gets at the file.
#[test]
fn a_killed_process_that_waited_leaves_no_place_in_the_queue_to_its_child() {
    let site = Site::new();
    let holder = Peer::holding("write", &site.database());
    let mut waiting = forker("wait", &site.database(), "idle");
    waits_at_the_gate(&site.database(), waiting.pid());
    eventually("a thread of it sleeps for the file", || {
        let threads = fs::read_dir(format!("/proc/{}/task", waiting.pid())).unwrap();
        threads.map(Result::unwrap).any(|thread| {
            let id = thread.file_name().to_str().unwrap().parse().unwrap();
            is_in_fcntl(waiting.pid(), id)
        })
    });
    let child = fork(&mut waiting);
    waiting.hears("calls: 6 forked");
    waiting.hears("dropped");
    waiting.kill();
    holder.release();
    assert!(child.is_alive());
    assert_eq!(count(&manager().write(site.database()).unwrap()), 0);
    assert!(child.is_alive());
}

#[test]
fn a_transaction_that_forks_is_committed_by_the_parent_alone() {
    let site = Site::new();
    let mut peer = writer(&site, "forking");
    assert_eq!(peer.tell("insert 0"), "ok");
    let mut lines = [peer.tell("fork"), peer.line(), peer.line()];
    lines.sort(); // two processes write them
    let _child = Child::named(&lines[0]);
    assert_eq!(lines[1..], ["ok", "transaction: forked"]);
    peer.release();
    assert_eq!(count(&manager().read(site.database()).unwrap()), 2);
}

#[test]
fn a_child_with_a_manager_of_its_own_takes_part_as_any_other_process() {
    let site = Site::new();
    let (mut peer, child) = with_child(&site, "own");
    peer.hears("own: kept out");
    waits_at_the_gate(&site.database(), child.pid());
    assert_eq!(peer.tell("insert 2"), "ok");
    assert_eq!(peer.tell("release"), "released");
    peer.hears("own: ok");
    assert_eq!(count(&manager().read(site.database()).unwrap()), 3);
    drop(child);
}

#[test]
fn a_child_that_becomes_another_program_is_one_more_process_at_the_gate() {
    let site = Site::new();
    let program = program();
    let mut peer = writer(&site, program.to_str().unwrap());
    let child = fork(&mut peer);
    waits_at_the_gate(&site.database(), child.pid());
    let refused = manager_that_waits(A_WHILE).read(site.database());
    assert!(refused.is_err(), "the parent holds the file");
    assert_eq!(peer.tell("insert 1"), "ok");
    // The parent says that it has released the file, and the child that it has it: two processes, one output.
    let mut said = [peer.tell("release"), peer.line()];
    said.sort();
    assert_eq!(said, ["held", "released"]);
    drop(child);
    assert_eq!(count(&manager().read(site.database()).unwrap()), 1);
}
