//! Two processes want one file: nobody loses, nobody starves, nobody polls.

use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use manager::{
    AccessMode, AcquireOptions, AnyLease, Config, Drain, Error, Manager, Standing, Wanted,
    WritesInEvaluation,
};

use crate::peer::Peer;
use crate::support::{
    A_WHILE, FailedAttempts, Running, Site, config, count, insert, is_in_fcntl, manager,
    manager_that_waits, waits_at_the_gate,
};

#[test]
fn a_killed_holder_frees_the_file_and_its_acknowledged_rows_are_there() {
    let site = Site::new();
    let mut writer = Peer::holding("write", &site.database());
    writer.insert(0..5);
    let manager = manager();
    let reading = Running::begin({
        let (manager, path) = (manager.clone(), site.database());
        move || count(&manager.read(path).unwrap())
    });
    reading.sleeps_for_a_lock();
    writer.kill();
    assert_eq!(reading.finish(), 5);
    let lease = manager.write(site.database()).unwrap();
    insert(&lease, 5);
    assert_eq!(count(&lease), 6);
}

#[test]
fn a_killed_waiter_leaves_no_place_in_the_queue() {
    let site = Site::new();
    let holder = Peer::holding("write", &site.database());
    let killed = Peer::begin("write", &site.database());
    killed.sleeps_for_a_lock();
    let next = Peer::begin("read", &site.database());
    next.sleeps_for_a_lock();
    killed.kill();
    assert!(next.is_silent(), "the holder is still there");
    holder.release();
    next.hears("held");
}

#[test]
fn a_waiting_reader_sleeps_in_the_kernel_and_gets_in_when_the_writer_leaves() {
    let site = Site::new();
    let mut writer = Peer::holding("write", &site.database());
    let path = site.database();
    let reader = Running::begin(move || count(&manager().read(path).unwrap()));
    reader.sleeps_for_a_lock();
    let before = voluntary_switches(reader.thread());
    thread::sleep(A_WHILE);
    assert!(is_in_fcntl(std::process::id(), reader.thread()), "it sleeps on");
    assert_eq!(voluntary_switches(reader.thread()), before, "it did not wake to look");
    writer.insert(0..3);
    writer.release();
    assert_eq!(reader.finish(), 3, "and it sees what the writer stored");
}

/// How often a thread has gone to sleep by itself, proc(5).
fn voluntary_switches(thread: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/self/task/{thread}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("voluntary_ctxt_switches:"));
    line.unwrap().trim().parse().unwrap()
}

#[test]
fn readers_of_two_processes_hold_together() {
    let site = Site::new();
    let mut peer = Peer::holding("read", &site.database());
    let lease = manager_that_waits(A_WHILE).read(site.database()).unwrap();
    assert_eq!(count(&lease), 0);
    assert_eq!(peer.tell("count"), "0");
    let holders = manager::holders(&site.database()).unwrap();
    assert!(holders.iter().all(|holder| holder.standing == Standing::Holding), "{holders:?}");
    assert_eq!(holders.len(), 2);
}

#[test]
fn a_reader_that_comes_behind_a_waiting_writer_waits_behind_it() {
    let site = Site::new();
    let early = Peer::holding("read", &site.database());
    let path = site.database();
    let writer = Running::begin(move || manager().write(path).unwrap());
    writer.sleeps_for_a_lock();
    let late = Peer::begin("read", &site.database());
    late.sleeps_for_a_lock();
    assert!(late.is_silent(), "it does not overtake the writer");
    early.release();
    let lease = writer.finish();
    assert!(late.is_silent(), "the writer is in");
    drop(lease);
    late.hears("held");
}

#[test]
fn a_writer_is_not_starved_by_readers_in_three_processes() {
    let site = Site::new();
    let done = Arc::new(AtomicBool::new(false));
    let reads = Arc::new(AtomicU64::new(0));
    // In the evaluation phase each `count` takes a read lease of its own.
    let readers: Vec<_> = (0..3)
        .map(|_| {
            let mut peer = Peer::holding("evaluation", &site.database());
            let (done, reads) = (Arc::clone(&done), Arc::clone(&reads));
            Running::begin(move || {
                while !done.load(Ordering::Relaxed) {
                    let answer = peer.tell("count");
                    assert!(answer.parse::<i64>().is_ok(), "{answer}");
                    reads.fetch_add(1, Ordering::Relaxed);
                }
            })
        })
        .collect();
    let config = Config {
        writes_in_evaluation: WritesInEvaluation::Allow,
        wait_max: Duration::from_secs(10),
        ..config()
    };
    let manager = Manager::new(config).unwrap();
    for number in 0..20 {
        insert(&manager.write(site.database()).unwrap(), number);
    }
    let reads_before = reads.load(Ordering::Relaxed);
    let begin = Instant::now();
    while reads.load(Ordering::Relaxed) == reads_before {
        assert!(begin.elapsed() < Duration::from_secs(10), "the readers are served too");
        thread::sleep(Duration::from_millis(1));
    }
    done.store(true, Ordering::Relaxed);
    readers.into_iter().for_each(Running::finish);
    assert_eq!(count(&manager.read(site.database()).unwrap()), 20);
}

/// The process serves its own threads on one hold only as long as `hold_max` once another process waits.
#[test]
fn threads_that_pass_the_file_on_among_themselves_let_another_process_in() {
    let site = Site::new();
    let manager = manager();
    let done = Arc::new(AtomicBool::new(false));
    let first = manager.read(site.database()).unwrap();
    let relay: Vec<_> = (0..3)
        .map(|_| {
            let (manager, path, done) = (manager.clone(), site.database(), Arc::clone(&done));
            Running::begin(move || {
                let mut lease = manager.read(&path).unwrap();
                while !done.load(Ordering::Relaxed) {
                    thread::sleep(Duration::from_millis(2));
                    // The old lease goes back only when the new one is there, so the hold never ends by itself;
                    // once the process yields, that wait would be for itself.
                    let next = manager.get_with(&path, AccessMode::ReadOnly, &wait(1));
                    if let Ok(AnyLease::Read(next)) = next {
                        lease = next;
                    } else {
                        drop(lease);
                        lease = manager.read(&path).unwrap();
                    }
                }
            })
        })
        .collect();
    drop(first);
    let mut writer = Peer::begin("write", &site.database());
    writer.hears("held");
    writer.insert(0..1);
    writer.release();
    done.store(true, Ordering::Relaxed);
    relay.into_iter().for_each(Running::finish);
}

fn wait(milliseconds: u64) -> AcquireOptions {
    AcquireOptions {
        wait_max: Some(Duration::from_millis(milliseconds)),
        ..AcquireOptions::default()
    }
}

/// The gate goes on to the next process only when the file has been let go of.
#[test]
fn whoever_takes_the_gate_finds_the_file_free() {
    let site = Site::new();
    let failed = Arc::new(FailedAttempts::default());
    let manager = Manager::with_observer(config(), Arc::clone(&failed) as _).unwrap();
    let mut peer = Peer::holding("training", &site.database());
    let theirs = Running::begin(move || peer.insert(0..60));
    for number in 0..60 {
        insert(&manager.write(site.database()).unwrap(), number);
    }
    theirs.finish();
    assert_eq!(count(&manager.read(site.database()).unwrap()), 120);
    assert_eq!(failed.number(), 0, "DuckDB never refused to open the file");
}

#[test]
fn a_timed_out_waiter_names_the_holder_and_leaves_the_gate_free() {
    let site = Site::new();
    let holder = Peer::begin_labelled("write", &site.database(), "nightly training");
    holder.hears("held");
    let error = manager_that_waits(A_WHILE).read(site.database()).unwrap_err();
    assert!(error.is_transient());
    let text = error.to_string();
    for part in [&format!("pid {}", holder.pid()), "examples/peer", "nightly training", "x.db"] {
        assert!(text.contains(part), "`{part}` is in: {text}");
    }
    let Error::TimedOut { wanted, waited, holders, here, .. } = error else { panic!("{error:?}") };
    assert_eq!(wanted, Wanted::Lease(AccessMode::ReadOnly));
    assert!(waited >= A_WHILE);
    assert_eq!(here, []);
    assert_eq!(holders.len(), 1, "{holders:?}");
    assert_eq!(holders[0].pid, holder.pid());
    assert_eq!(holders[0].standing, Standing::Holding);
    assert_eq!(holders[0].mode, Some(AccessMode::ReadWrite));
    assert_eq!(
        manager::holders(&site.database()).unwrap(),
        holders,
        "no record of the waiter is left"
    );

    let next = Peer::begin("write", &site.database());
    next.sleeps_for_a_lock();
    holder.release();
    next.hears("held");
}

#[test]
fn a_gate_file_that_is_deleted_while_unused_is_made_anew() {
    let site = Site::new();
    let gate = manager::gate_path(&site.database());
    let manager = manager();
    drop(manager.write(site.database()).unwrap());
    assert!(manager.close_all_connections(Drain::default()).is_complete());
    fs::remove_file(&gate).unwrap();
    let lease = manager.write(site.database()).unwrap();
    assert!(gate.exists());
    let waiting = Peer::begin("read", &site.database());
    waiting.sleeps_for_a_lock();
    drop(lease);
    waiting.hears("held");
}

#[test]
fn a_gate_file_that_is_deleted_under_a_waiter_is_noticed() {
    let site = Site::new();
    let early = Peer::holding("write", &site.database());
    let path = site.database();
    let waiter = Running::begin(move || manager().write(path).unwrap());
    waiter.sleeps_for_a_lock();
    fs::remove_file(manager::gate_path(&site.database())).unwrap();
    // It makes a new gate and takes that; DuckDB's own lock keeps it off the file for the moment.
    let late = Peer::begin("write", &site.database());
    waits_or_holds(&site, late.pid());
    early.release();
    late.hears("held");
    waits_at_the_gate(&site.database(), std::process::id());
    assert!(waiter.is_still_running(), "both would hold the file");
    late.release();
    drop(waiter.finish());
}

fn waits_or_holds(site: &Site, pid: u32) {
    crate::support::eventually("the process is at the new gate", || {
        let gate = manager::gate_path(&site.database());
        gate.exists()
            && manager::holders(&site.database()).unwrap().iter().any(|holder| holder.pid == pid)
    });
}
