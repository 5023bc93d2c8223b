//! A file that is kept costs nothing between two leases, and nobody waits for it.

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use manager::{
    AccessMode, AcquireOptions, Config, Drain, Error, LeaseEvent, Manager, Observer, Phase,
};
use parking_lot::Mutex;

use crate::peer::Peer;
use crate::support::{A_WHILE, Running, Site, config, count, eventually, insert, manager};

/// Longer than any test: whoever gets a file that is kept for so long has asked for it.
const FOR_EVER: Duration = Duration::from_hours(1);

/// How often the file was opened, and closed.
#[derive(Default)]
struct Holds(Mutex<(u32, u32)>);

impl Observer for Holds {
    fn observe(&self, _: &Path, event: &LeaseEvent<'_>) {
        let mut holds = self.0.lock();
        match event {
            LeaseEvent::Opened { .. } => holds.0 += 1,
            LeaseEvent::Closed { .. } => holds.1 += 1,
            _ => {}
        }
    }
}

fn keeping(idle_max: Duration) -> (Manager, Arc<Holds>) {
    let holds = Arc::new(Holds::default());
    let config = Config { idle_max, ..config() };
    (Manager::with_observer(config, Arc::clone(&holds) as _).unwrap(), holds)
}

#[test]
fn a_hundred_leases_open_the_file_once() {
    let site = Site::new();
    let (manager, holds) = keeping(FOR_EVER);
    for number in 0..50 {
        insert(&manager.write(site.database()).unwrap(), number);
        assert_eq!(count(&manager.read(site.database()).unwrap()), number + 1);
    }
    assert_eq!(*holds.0.lock(), (1, 0));
    assert!(manager.close_all_connections(Drain::default()).is_complete());
    assert_eq!(*holds.0.lock(), (1, 1));
}

/// Without the bell the peer would wait until the idle limit, an hour.
#[test]
fn a_kept_file_goes_to_another_process_as_soon_as_it_asks() {
    let site = Site::new();
    for (mode, role) in [
        (AccessMode::ReadWrite, "write"),
        (AccessMode::ReadWrite, "read"),
        (AccessMode::ReadOnly, "write"),
    ] {
        let (manager, holds) = keeping(FOR_EVER);
        drop(manager.get_with(site.database(), mode, &AcquireOptions::default()).unwrap());
        assert_eq!(manager.status().databases[0].attachment, Some(mode), "it is kept");
        let peer = Peer::holding(role, &site.database());
        // It is told of after it has happened.
        eventually(&format!("{mode:?} to {role}"), || *holds.0.lock() == (1, 1));
        peer.release();
    }
}

#[test]
fn whoever_is_refused_has_its_instance_for_the_next_time() {
    let site = Site::new();
    let manager = manager();
    let spill = || -> String {
        let lease = manager.read(site.database()).unwrap();
        lease.query_row("SELECT current_setting('temp_directory')", [], |row| row.get(0)).unwrap()
    };
    let before = spill(); // its name has the number of the instance
    let peer = Peer::holding("write", &site.database());
    let at_once = AcquireOptions { wait_max: Some(Duration::ZERO), ..AcquireOptions::default() };
    let refused = manager.get_with(site.database(), AccessMode::ReadOnly, &at_once).unwrap_err();
    assert!(matches!(refused, Error::TimedOut { .. }), "{refused}");
    peer.release();
    assert_eq!(spill(), before);
}

#[test]
fn readers_of_two_processes_keep_the_file_together() {
    let site = Site::new();
    let (manager, holds) = keeping(FOR_EVER);
    drop(manager.read(site.database()).unwrap());
    let peer = Peer::holding("read", &site.database());
    assert_eq!(*holds.0.lock(), (1, 0), "nobody had to give it up");
    peer.release();
}

#[test]
fn a_write_hold_that_is_kept_lets_evaluation_in() {
    let site = Site::new();
    let (manager, holds) = keeping(FOR_EVER);
    insert(&manager.write(site.database()).unwrap(), 1);
    let evaluator = Peer::holding("evaluation", &site.database());
    eventually("it is let go of", || *holds.0.lock() == (1, 1));
    assert!(!site.names().contains(&"x.db.wal".to_owned()), "readers find no log to replay");
    evaluator.release();
}

#[test]
fn a_write_hold_that_training_covered_lets_evaluation_in_when_training_ends() {
    let site = Site::new();
    let (manager, holds) = keeping(FOR_EVER);
    let training = manager.training_phase(site.database()).unwrap();
    insert(&manager.write(site.database()).unwrap(), 1);
    let evaluator = Peer::begin("evaluation", &site.database());
    evaluator.sleeps_for_a_lock();
    assert_eq!(*holds.0.lock(), (1, 0), "its own training covers it");
    drop(training);
    evaluator.hears("held");
    evaluator.release();
}

#[test]
fn this_process_enters_evaluation_past_a_write_hold_that_it_keeps_itself() {
    let site = Site::new();
    let (manager, _) = keeping(FOR_EVER);
    insert(&manager.write(site.database()).unwrap(), 1);
    // Nobody else is there, so nothing has to be waited for.
    let at_once = AcquireOptions { wait_max: Some(Duration::ZERO), ..AcquireOptions::default() };
    let phase = manager.phase_with(site.database(), Phase::Evaluation, &at_once).unwrap();
    assert_eq!(count(&manager.read(site.database()).unwrap()), 1);
    assert!(manager.write(site.database()).is_err(), "no write hold is left to write on");
    drop(phase);
}

#[test]
fn an_evaluation_that_is_refused_takes_nothing_from_a_training_phase() {
    let site = Site::new();
    let (manager, holds) = keeping(FOR_EVER);
    let training = manager.training_phase(site.database()).unwrap();
    insert(&manager.write(site.database()).unwrap(), 1);
    let at_once = AcquireOptions { wait_max: Some(Duration::ZERO), ..AcquireOptions::default() };
    let refused = manager.phase_with(site.database(), Phase::Evaluation, &at_once).unwrap_err();
    assert!(matches!(refused, Error::TimedOut { .. }), "{refused}");
    insert(&manager.write(site.database()).unwrap(), 2);
    assert_eq!(*holds.0.lock(), (1, 0), "the file was kept");
    drop(training);
}

#[test]
fn an_evaluation_folds_the_log_that_a_killed_writer_left() {
    let site = Site::new();
    let mut writer = Peer::holding("write", &site.database());
    writer.insert(0..3);
    writer.kill();
    assert!(site.names().contains(&"x.db.wal".to_owned()));
    let manager = manager();
    let phase = manager.evaluation_phase(site.database()).unwrap();
    assert!(!site.names().contains(&"x.db.wal".to_owned()), "before anybody reads");
    assert_eq!(count(&manager.read(site.database()).unwrap()), 3);
    assert!(manager.write(site.database()).is_err(), "the hold of the checkpoint is gone");
    drop(phase);
}

/// A program without the gate cannot ask: for those there is the limit.
#[test]
fn a_file_that_nobody_uses_is_free_for_programs_without_the_gate_after_the_idle_limit() {
    let site = Site::new();
    let (manager, holds) = keeping(A_WHILE);
    let begun = Instant::now();
    insert(&manager.write(site.database()).unwrap(), 1);
    eventually("the file is let go of", || *holds.0.lock() == (1, 1));
    assert!(begun.elapsed() >= A_WHILE, "and not before");
    let mut outside = Peer::holding("outside", &site.database());
    assert_eq!(outside.tell("count"), "1");
    assert_eq!(site.names(), ["x.db", "x.db.gate"], "the log was folded into it");
    outside.release();
}

#[test]
fn a_manager_that_is_dropped_keeps_nothing() {
    let site = Site::new();
    let (manager, holds) = keeping(FOR_EVER);
    insert(&manager.write(site.database()).unwrap(), 1);
    drop(manager);
    assert_eq!(*holds.0.lock(), (1, 1));
    Peer::holding("outside", &site.database()).release();
}

#[test]
fn nothing_is_kept_where_the_idle_limit_is_zero() {
    let site = Site::new();
    let (manager, holds) = keeping(Duration::ZERO);
    drop(manager.read(site.database()).unwrap());
    assert_eq!(*holds.0.lock(), (1, 1));
    assert_eq!(manager.status().databases[0].attachment, None);
}

/// Newcomers would find no hold at the new gate, and DuckDB's lock alone in their way.
#[test]
fn a_kept_file_is_let_go_of_when_its_gate_is_deleted() {
    let site = Site::new();
    let (manager, holds) = keeping(FOR_EVER);
    drop(manager.write(site.database()).unwrap());
    fs::remove_file(manager::gate_path(&site.database())).unwrap();
    Peer::holding("write", &site.database()).release();
    eventually("it is let go of", || *holds.0.lock() == (1, 1));
}

/// Each lease is short, so the file goes back and forth only as often as `hold_max` says.
#[test]
fn two_processes_that_write_without_pause_hand_the_file_over_far_less_often_than_they_write() {
    const ROWS: i64 = 200;
    let site = Site::new();
    let (manager, holds) = keeping(FOR_EVER);
    let mut peer = Peer::holding("training", &site.database());
    let theirs = Running::begin(move || {
        peer.insert(0..ROWS);
        peer.release();
    });
    let begun = Instant::now();
    for number in 0..ROWS {
        insert(&manager.write(site.database()).unwrap(), number);
    }
    let turns = begun.elapsed().as_micros() / config().hold_max.as_micros();
    theirs.finish();
    assert_eq!(count(&manager.read(site.database()).unwrap()), 2 * ROWS);
    let (opened, _) = *holds.0.lock();
    // Where a row takes as long as a turn, each is one.
    let most = (ROWS / 2).max(i64::try_from(turns).unwrap());
    assert!(i64::from(opened) <= most, "{opened} hand-overs for {ROWS} rows in {turns} turns");
}

/// Its leases never leave the file idle for long.
#[test]
fn a_process_that_never_pauses_lets_another_one_in() {
    let site = Site::new();
    let (manager, _) = keeping(FOR_EVER);
    let done = Arc::new(AtomicBool::new(false));
    let writing = Running::begin({
        let (manager, path, done) = (manager.clone(), site.database(), Arc::clone(&done));
        move || {
            while !done.load(Ordering::Relaxed) {
                insert(&manager.write(&path).unwrap(), 0);
            }
        }
    });
    for role in ["read", "write", "read"] {
        Peer::holding(role, &site.database()).release();
    }
    done.store(true, Ordering::Relaxed);
    writing.finish();
}

#[test]
fn the_generation_counts_commits_and_never_comes_back() {
    let site = Site::empty();
    let path = site.database();
    assert_eq!(manager::generation(&path).unwrap(), None);
    let manager = manager();
    manager.write(&path).unwrap().execute_batch("CREATE TABLE t (a BIGINT)").unwrap();
    let before = manager::generation(&path).unwrap().unwrap();
    manager.transaction(&path, |tx| tx.execute("INSERT INTO t VALUES (1)", [])).unwrap();
    let after = manager::generation(&path).unwrap().unwrap();
    assert_eq!(after, before + 1, "one for the transaction");
    drop(manager.read(&path).unwrap());
    assert_eq!(manager::generation(&path).unwrap(), Some(after), "reading counts for nothing");
    let mut peer = Peer::holding("write", &path);
    peer.insert(0..1);
    peer.release();
    let theirs = manager::generation(&path).unwrap().unwrap();
    assert!(theirs > after, "another process counts, too");
    assert!(manager.close_all_connections(Drain::default()).is_complete());
    fs::remove_file(manager::gate_path(&path)).unwrap();
    thread::sleep(Duration::from_millis(2)); // the new one begins at the time, in milliseconds
    drop(manager.write(&path).unwrap());
    assert!(manager::generation(&path).unwrap().unwrap() > theirs);
}
