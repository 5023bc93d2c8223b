//! A program that opens the file without the gate is waited for, and named.

use manager::{Error, ErrorClass};

use crate::peer::Peer;
use crate::support::{A_WHILE, Running, Site, count, manager, manager_that_waits};

#[test]
fn a_holder_without_the_gate_is_named() {
    let site = Site::new();
    let foreign = Peer::holding("outside", &site.database());
    let error = manager_that_waits(A_WHILE).read(site.database()).unwrap_err();
    assert!(error.is_transient());
    assert_eq!(error.class(), Some(ErrorClass::FileLocked));
    let text = error.to_string();
    assert!(text.contains(&format!("pid {}", foreign.pid())), "{text}");
    let Error::HeldOutside { pid, command, waited, .. } = error else { panic!("{error:?}") };
    assert_eq!(pid, Some(foreign.pid()));
    assert!(command.unwrap().contains("examples/peer"));
    assert!(waited >= A_WHILE);
    assert_eq!(manager::holders(&site.database()).unwrap(), [], "the gate is free again");
}

#[test]
fn a_holder_without_the_gate_is_waited_for() {
    let site = Site::new();
    let mut foreign = Peer::holding("outside", &site.database());
    let path = site.database();
    let waiter = Running::begin(move || count(&manager().write(path).unwrap()));
    assert!(waiter.is_still_running());
    foreign.insert(0..4);
    foreign.release();
    assert_eq!(waiter.finish(), 4);
}

#[test]
fn beside_a_reader_without_the_gate_one_reads_but_does_not_write() {
    let site = Site::new();
    let mut foreign = Peer::holding("outside-read", &site.database());
    let manager = manager_that_waits(A_WHILE);
    assert_eq!(count(&manager.read(site.database()).unwrap()), 0);
    let error = manager.write(site.database()).unwrap_err();
    assert!(matches!(error, Error::HeldOutside { .. }), "{error}");
    assert_eq!(foreign.tell("count"), "0", "it was not disturbed");
    foreign.release();
    drop(manager.write(site.database()).unwrap());
}

#[test]
fn a_held_file_keeps_programs_without_the_gate_out() {
    let site = Site::new();
    let lease = manager().write(site.database()).unwrap();
    let refused = Peer::begin("outside", &site.database());
    let line = refused.line();
    assert!(line.starts_with("error: ") && line.contains("Could not set lock"), "{line}");
    drop(lease);
    Peer::holding("outside", &site.database()).release();
}
