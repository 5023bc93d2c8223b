//! What takes long is told of, while it does, with who is in the way; what is asked to end ends.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use manager::{
    AccessMode, AcquireOptions, Cancel, Config, Drain, Error, ErrorClass, LeaseEvent, Manager,
    Observer, Phase, SeededJitter, TransactionOptions, Wanted, duckdb,
};
use parking_lot::Mutex;

use crate::peer::Peer;
use crate::support::{
    A_WHILE, LONG, Running, Site, config, count, eventually, insert, manager, waits_at_the_gate,
};

/// Everything that was told, in words.
#[derive(Default)]
struct Told(Mutex<Vec<String>>);

impl Observer for Told {
    fn observe(&self, _: &Path, event: &LeaseEvent<'_>) {
        self.0.lock().push(format!("{event:?}"));
    }
}

impl Told {
    fn has(&self, parts: &[&str]) -> bool {
        let told = self.0.lock();
        told.iter().any(|event| parts.iter().all(|part| event.contains(part)))
    }

    fn count(&self, part: &str) -> usize {
        self.0.lock().iter().filter(|event| event.contains(part)).count()
    }
}

fn watched(config: Config) -> (Manager, Arc<Told>) {
    let told = Arc::new(Told::default());
    (Manager::with_observer(config, Arc::clone(&told) as _).unwrap(), told)
}

const SLOW: &str =
    "SELECT count(*) FROM range(100000) a, range(10000000) b WHERE a.range + b.range = -1";

#[test]
fn a_slow_wait_is_told_of_once_and_names_who_is_in_the_way() {
    let site = Site::new();
    let holder = Peer::begin_labelled("write", &site.database(), "nightly training");
    holder.hears("held");
    let (manager, told) = watched(Config { warn_after: Duration::from_millis(50), ..config() });
    let path = site.database();
    let waiting = Running::begin(move || manager.read(path).map(drop));
    let pid = format!("pid: {}", holder.pid());
    eventually("it is told of", || told.has(&["SlowWait", "ReadOnly", &pid, "nightly training"]));
    assert!(waiting.is_still_running());
    holder.release();
    waiting.finish().unwrap();
    assert_eq!(told.count("SlowWait"), 1);
}

#[test]
fn a_slow_wait_for_a_phase_and_one_in_the_queue_are_told_of_too() {
    let site = Site::new();
    let (manager, told) = watched(Config { warn_after: Duration::from_millis(50), ..config() });
    for (evaluates, wanted) in [(false, "ReadWrite"), (true, "Phase(Evaluation)")] {
        let lease = manager.write(site.database()).unwrap();
        let waiting = Running::begin({
            let (manager, path) = (manager.clone(), site.database());
            move || {
                if evaluates {
                    manager.evaluation_phase(path).map(drop).unwrap();
                } else {
                    manager.write(path).map(drop).unwrap();
                }
            }
        });
        eventually("it is told of", || told.has(&["SlowWait", wanted]));
        drop(lease);
        waiting.finish();
    }
}

#[test]
fn a_lease_that_is_out_for_long_is_told_of_once_with_its_line() {
    let site = Site::new();
    let (manager, told) =
        watched(Config { lease_age_max: Some(Duration::from_millis(20)), ..config() });
    let line = line!() + 1;
    let lease = manager.read(site.database()).unwrap();
    eventually("it is told of", || told.has(&["Overdue", "watching.rs", &format!("line: {line}")]));
    assert_eq!(count(&lease), 0, "it is not taken back");
    std::thread::sleep(2 * A_WHILE);
    assert_eq!(told.count("Overdue"), 1);
    drop(lease);
    drop(manager.read(site.database()).unwrap());
    assert_eq!(told.count("Overdue"), 1);
}

#[test]
fn a_lease_that_is_leaked_is_told_of_and_named_to_whoever_waits_for_it() {
    let site = Site::new();
    let limit = Duration::from_millis(20);
    let config = Config { lease_age_max: Some(limit), wait_max: A_WHILE, ..config() };
    let (manager, told) = watched(config);
    std::mem::forget(manager.read(site.database()).unwrap().unbind());
    eventually("it is told of", || told.has(&["Overdue", "watching.rs"]));
    let error = manager.write(site.database()).unwrap_err();
    let Error::TimedOut { here, .. } = &error else { panic!("{error}") };
    assert!(here[0].taken_at.contains("watching.rs"), "{here:?}");
    assert!(!manager.close_all_connections(Drain::default()).is_complete());
    assert_eq!(count(&manager.read(site.database()).unwrap()), 0, "readers still read");
}

#[test]
fn every_wait_is_told_to_its_end_and_every_lease_too() {
    let site = Site::new();
    let (manager, told) = watched(Config { wait_max: A_WHILE, ..config() });
    let lease = manager.write(site.database()).unwrap().unbind();
    manager.write(site.database()).unwrap_err();
    drop(lease);
    drop(manager.training_phase(site.database()).unwrap());
    assert_eq!(told.count("Waits"), 2);
    assert!(told.has(&["GaveUp", "timed_out: true"]));
    assert!(told.has(&["Opened"]) && told.has(&["Taken", "number: 0"]));
    assert!(told.has(&["Returned", "number: 0"]));
    assert!(told.has(&["PhaseEntered", "Training"]) && told.has(&["PhaseLeft", "Training"]));
}

#[test]
fn a_cancelled_wait_ends_wherever_it_waits_and_leaves_nothing() {
    let site = Site::new();
    let holder = Peer::holding("write", &site.database());
    let manager = manager();
    let cancel = Cancel::default();
    let options = AcquireOptions { cancel: Some(cancel.clone()), ..AcquireOptions::default() };
    let leases = [AccessMode::ReadOnly, AccessMode::ReadWrite].map(|mode| {
        let (manager, path, options) = (manager.clone(), site.database(), options.clone());
        Running::begin(move || manager.get_with(path, mode, &options).map(drop))
    });
    let phase = Running::begin({
        let (manager, path, options) = (manager.clone(), site.database(), options.clone());
        move || manager.phase_with(path, Phase::Evaluation, &options).map(drop)
    });
    waits_at_the_gate(&site.database(), std::process::id());
    assert!(phase.is_still_running());
    cancel.cancel();
    let begun = Instant::now();
    for ended in leases.map(Running::finish).into_iter().chain([phase.finish()]) {
        assert!(matches!(ended, Err(Error::Cancelled { .. })), "{ended:?}");
    }
    assert!(begun.elapsed() < LONG / 2);
    assert_eq!(manager::holders(&site.database()).unwrap().len(), 1, "the holder alone");
    let refused = manager.get_with(site.database(), AccessMode::ReadOnly, &options);
    let Err(Error::Cancelled { wanted, .. }) = refused else { panic!("{refused:?}") };
    assert_eq!(wanted, Wanted::Lease(AccessMode::ReadOnly));
    holder.release();
    drop(manager.write(site.database()).unwrap());
}

#[test]
fn a_drain_interrupts_queries_after_its_limit_and_not_before() {
    let site = Site::new();
    let (manager, told) = watched(config());
    let querying = Running::begin({
        let (manager, path) = (manager.clone(), site.database());
        move || manager.read(path).unwrap().execute_batch(SLOW).map_err(Error::from)
    });
    eventually("the query runs", || manager.status().leases_out() == 1);
    assert!(!manager.close_all_connections(Drain::within(A_WHILE)).is_complete());
    assert_eq!(told.count("Interrupted"), 0);
    let begun = Instant::now();
    let drain = Drain { wait_max: LONG, interrupt_after: Some(A_WHILE) };
    assert!(manager.close_all_connections(drain).is_complete());
    assert!(begun.elapsed() >= A_WHILE);
    let interrupted = querying.finish().unwrap_err();
    assert_eq!(interrupted.class(), Some(ErrorClass::Interrupted), "{interrupted}");
    assert_eq!(told.count("Interrupted"), 1);
}

#[test]
fn a_query_is_interrupted_once_another_process_has_waited_for_long() {
    let site = Site::new();
    let (manager, told) =
        watched(Config { interrupt_after: Some(Duration::from_millis(50)), ..config() });
    let querying = Running::begin({
        let (manager, path) = (manager, site.database());
        move || manager.write(path).unwrap().execute_batch(SLOW).map_err(Error::from)
    });
    std::thread::sleep(A_WHILE);
    assert_eq!(told.count("Interrupted"), 0, "nobody waits yet");
    let evaluator = Peer::holding("evaluation", &site.database());
    let interrupted = querying.finish().unwrap_err();
    assert_eq!(interrupted.class(), Some(ErrorClass::Interrupted), "{interrupted}");
    evaluator.release();
}

#[test]
fn the_reader_above_the_limit_waits_for_one_of_the_others() {
    let site = Site::new();
    let manager = Manager::new(Config { readers_max: 2, ..config() }).unwrap();
    let leases = [(); 2].map(|()| manager.read(site.database()).unwrap().unbind());
    let third = Running::begin({
        let (manager, path) = (manager.clone(), site.database());
        move || count(&manager.read(path).unwrap())
    });
    assert!(third.is_still_running());
    drop(leases);
    assert_eq!(third.finish(), 0);
}

fn conflicting(manager: &Manager, site: &Site, options: &TransactionOptions<'_>) -> (u32, Error) {
    let mut attempts = 0;
    let failed: Result<(), Error> = manager.transaction_with(site.database(), options, |_| {
        attempts += 1;
        let text = "TransactionContext Error: Conflict on update!".to_owned();
        let code = duckdb::ffi::Error::new(1);
        Err(duckdb::Error::DuckDBFailure(code, Some(text)).into())
    });
    (attempts, failed.unwrap_err())
}

#[test]
fn a_transaction_gives_up_after_its_attempts_or_its_time() {
    let site = Site::new();
    let manager = Manager::new(Config { transaction_attempts_max: 4, ..config() }).unwrap();
    let (attempts, error) = conflicting(&manager, &site, &TransactionOptions::default());
    assert_eq!((attempts, error.class()), (4, Some(ErrorClass::Conflict)));
    let options = TransactionOptions { attempts_max: Some(2), ..TransactionOptions::default() };
    assert_eq!(conflicting(&manager, &site, &options).0, 2);
    let options = TransactionOptions {
        attempts_max: Some(u32::MAX),
        wait_max: Some(A_WHILE),
        ..TransactionOptions::default()
    };
    let begun = Instant::now();
    let (attempts, error) = conflicting(&manager, &site, &options);
    assert!(attempts > 1 && error.is_transient(), "{attempts}: {error}");
    assert!(begun.elapsed() >= A_WHILE && begun.elapsed() < LONG / 2);
}

/// The pauses are all that is random in a manager.
#[test]
fn two_managers_with_one_seed_pause_alike() {
    let site = Site::new();
    let pauses = || {
        let told = Arc::new(Told::default());
        let builder = Manager::builder(Config { transaction_attempts_max: 6, ..config() });
        let builder = builder.observer(Arc::clone(&told) as _);
        let manager = builder.jitter(Arc::new(SeededJitter::new(0x2a))).build().unwrap();
        conflicting(&manager, &site, &TransactionOptions::default());
        let told = told.0.lock();
        told.iter().filter(|event| event.contains("Paused")).cloned().collect::<Vec<_>>()
    };
    let first = pauses();
    assert_eq!(first.len(), 5);
    assert_eq!(first, pauses());
}

#[test]
fn a_record_names_the_user_and_the_command() {
    let site = Site::new();
    let manager = manager();
    let lease = manager.write(site.database()).unwrap();
    insert(&lease, 1);
    let holders = manager::holders(&site.database()).unwrap();
    let [holder] = &*holders else { panic!("{holders:?}") };
    let user = std::process::Command::new("id").arg("-un").output().unwrap();
    assert_eq!(holder.user, String::from_utf8_lossy(&user.stdout).trim());
    assert_eq!(holder.pid, std::process::id());
    assert!(holder.command.contains("it-"), "{holder:?}");
    assert!(holder.process_started_ticks.is_some());
    assert!(holder.to_string().contains(&format!("user {}", holder.user)));
}
