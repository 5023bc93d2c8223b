//! A process that is stopped (SIGSTOP, a debugger, Ctrl-Z) keeps what it has until it goes on or is killed. Nobody can
//! take it away, since it would go on as if it had it still; but whoever waits for it learns its name at its deadline.
//!
//! Where it stood in the queue decides what a stopped *waiter* is to the others:
//!
//! * Who is next, or has just been given the file, keeps its place: the others wait until it goes on or is killed.
//! * Who stands further back is passed by the others. The kernel takes a stopped process out of the queue of a lock,
//!   and puts it at the end when it goes on.

use std::time::{Duration, Instant};

use manager::{AccessMode, Error, Holder, Manager, Wanted};

use crate::peer::Peer;
use crate::support::{A_WHILE, LONG, Running, Site, count, insert, manager, manager_that_waits};

/// Asks for a write lease, which is not to be had, and returns who is said to be in the way.
fn in_the_way_of_a_writer(site: &Site) -> Vec<Holder> {
    let begin = Instant::now();
    let error = manager_that_waits(A_WHILE).write(site.database()).unwrap_err();
    assert!(begin.elapsed() < A_WHILE + LONG / 2, "the wait ended at its deadline");
    assert!(error.is_transient(), "{error}");
    let Error::TimedOut { wanted, waited, holders, .. } = error else { panic!("{error:?}") };
    assert_eq!(wanted, Wanted::Lease(AccessMode::ReadWrite));
    assert!(waited >= A_WHILE);
    holders
}

fn names(holders: &[Holder], peer: &Peer) -> bool {
    holders.iter().any(|holder| {
        holder.pid == peer.pid() && holder.to_string().contains(&format!("pid {}", peer.pid()))
    })
}

#[test]
fn a_stopped_holder_is_named_and_the_wait_for_it_ends_at_its_deadline() {
    for role in ["write", "read"] {
        let site = Site::new();
        let holder = Peer::holding(role, &site.database());
        holder.stop();
        let holders = in_the_way_of_a_writer(&site);
        assert!(names(&holders, &holder), "{role}: {holders:?}");
        holder.go_on();
        holder.release();
        drop(manager().write(site.database()).unwrap());
    }
}

#[test]
fn a_stopped_reader_keeps_no_reader_out() {
    let site = Site::new();
    let stopped = Peer::holding("read", &site.database());
    stopped.stop();
    let lease = manager().read(site.database()).unwrap();
    assert_eq!(count(&lease), 0);
    Peer::holding("read", &site.database()).release();
}

#[test]
fn a_stopped_writer_goes_on_where_it_was_and_nobody_has_lost_anything() {
    let site = Site::new();
    let mut writer = Peer::holding("write", &site.database());
    writer.insert(0..3);
    writer.stop();
    let path = site.database();
    let reader = Running::begin(move || count(&manager().read(path).unwrap()));
    reader.sleeps_for_a_lock();
    assert!(reader.is_still_running(), "the stopped process has the file");
    writer.go_on();
    writer.insert(3..5);
    assert!(reader.is_still_running(), "and has it still");
    writer.release();
    assert_eq!(reader.finish(), 5);
    let lease = manager().write(site.database()).unwrap();
    insert(&lease, 5);
    assert_eq!(count(&lease), 6);
}

#[test]
fn a_stopped_holder_that_is_killed_frees_the_file_and_its_acknowledged_rows_are_there() {
    let site = Site::new();
    let mut writer = Peer::holding("write", &site.database());
    writer.insert(0..3);
    writer.stop();
    let path = site.database();
    let reader = Running::begin(move || count(&manager().read(path).unwrap()));
    reader.sleeps_for_a_lock();
    writer.kill();
    assert_eq!(reader.finish(), 3);
}

/// A holder, and a stopped process that is next. The holder leaves.
fn stopped_in_front_of_the_queue(site: &Site) -> Peer {
    let mut holder = Peer::holding("write", &site.database());
    let next = Peer::begin("write", &site.database());
    next.sleeps_for_a_lock();
    next.stop();
    holder.insert(0..3);
    holder.release();
    next
}

#[test]
fn a_stopped_waiter_that_is_next_is_named_and_gets_in_when_it_goes_on() {
    let site = Site::new();
    let mut next = stopped_in_front_of_the_queue(&site);
    let holders = in_the_way_of_a_writer(&site);
    assert!(names(&holders, &next), "{holders:?}");
    let path = site.database();
    let behind = Running::begin(move || count(&manager().write(path).unwrap()));
    behind.sleeps_for_a_lock();
    next.go_on();
    next.hears("held");
    assert!(behind.is_still_running(), "it kept its place");
    next.insert(3..4);
    next.release();
    assert_eq!(behind.finish(), 4);
}

#[test]
fn a_stopped_waiter_that_is_next_is_out_of_the_way_when_it_is_killed() {
    let site = Site::new();
    let next = stopped_in_front_of_the_queue(&site);
    let path = site.database();
    let behind = Running::begin(move || count(&manager().write(path).unwrap()));
    behind.sleeps_for_a_lock();
    next.kill();
    assert_eq!(behind.finish(), 3);
}

#[test]
fn a_stopped_waiter_further_back_keeps_nobody_out_and_gets_in_when_it_goes_on() {
    let site = Site::new();
    let holder = Peer::holding("write", &site.database());
    let queue = ["next", "stopped", "last"].map(|label| {
        let peer = Peer::begin_labelled("write", &site.database(), label);
        peer.sleeps_for_a_lock();
        peer
    });
    let [next, stopped, last] = queue;
    stopped.stop();
    holder.release();
    next.hears("held");
    next.release();
    last.hears("held");
    stopped.go_on();
    stopped.sleeps_for_a_lock();
    last.release();
    stopped.hears("held");
    stopped.release();
}

#[test]
fn a_stopped_evaluator_is_named_and_when_it_is_killed_training_begins() {
    let site = Site::new();
    let evaluator = Peer::holding("evaluation", &site.database());
    evaluator.stop();
    let impatient = manager_that_waits(A_WHILE);
    let error = impatient.training_phase(site.database()).unwrap_err();
    let Error::TimedOut { holders, .. } = &error else { panic!("{error:?}") };
    assert!(names(holders, &evaluator), "{error}");
    let error = impatient.write(site.database()).unwrap_err();
    let Error::EvaluationIsOn { holders, .. } = &error else { panic!("{error:?}") };
    assert!(names(holders, &evaluator), "{error}");
    drop(impatient);
    let (manager, path) = (manager(), site.database());
    let training = Running::begin(move || manager.training_phase(path).unwrap());
    training.sleeps_for_a_lock();
    evaluator.kill();
    drop(training.finish());
}

/// A process without a lease may keep the file for a while, for its next one.
#[test]
fn a_process_that_is_stopped_between_its_leases_is_named_if_it_is_in_the_way() {
    let site = Site::new();
    let mut between = Peer::holding("training", &site.database());
    between.insert(0..1);
    between.stop();
    let patience = Duration::from_millis(300);
    match Manager::read(&manager_that_waits(patience), site.database()) {
        Ok(lease) => assert_eq!(count(&lease), 1),
        Err(Error::TimedOut { holders, .. }) => assert!(names(&holders, &between), "{holders:?}"),
        Err(error) => panic!("{error}"),
    }
    between.go_on();
    assert_eq!(count(&manager().read(site.database()).unwrap()), 1);
    between.insert(1..2);
    between.release();
    assert_eq!(count(&manager().read(site.database()).unwrap()), 2);
}
