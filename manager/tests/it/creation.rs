//! A database is there wholly or not at all, whoever creates it and wherever they are killed.

use std::panic::{AssertUnwindSafe, catch_unwind};

use manager::Error;

use crate::faults::{BrokenSync, Bytes};
use crate::peer::Peer;
use crate::support::{A_WHILE, Running, Site, count, manager, manager_that_waits};

#[test]
fn of_two_processes_that_create_one_makes_the_database_and_the_other_finds_it() {
    let site = Site::empty();
    let mut first = Peer::holding("create", &site.database());
    let second = Peer::begin("create", &site.database());
    second.sleeps_for_a_lock();
    first.insert(0..3);
    assert!(!site.database().exists(), "it appears when it is whole");
    assert!(second.is_silent());
    first.release();
    second.hears("exists");
    assert_eq!(count(&manager().read(site.database()).unwrap()), 3);
    assert_eq!(site.names(), ["x.db", "x.db.gate"]);
}

#[test]
fn of_many_processes_that_create_at_once_exactly_one_does() {
    let site = Site::empty();
    let mut peers: Vec<_> = (0..5).map(|_| Peer::begin("create", &site.database())).collect();
    peers.iter_mut().for_each(Peer::end_input);
    let mut answers: Vec<_> = peers.iter().map(Peer::line).collect();
    answers.sort();
    assert_eq!(answers, ["exists", "exists", "exists", "exists", "held"]);
    assert_eq!(count(&manager().read(site.database()).unwrap()), 0);
    assert_eq!(site.names(), ["x.db", "x.db.gate"]);
}

#[test]
fn a_writer_of_a_missing_database_waits_for_who_creates_it() {
    let site = Site::empty();
    let mut creator = Peer::holding("create", &site.database());
    let path = site.database();
    let writer = Running::begin(move || count(&manager().write(path).unwrap()));
    writer.sleeps_for_a_lock();
    creator.insert(0..2);
    creator.release();
    assert_eq!(writer.finish(), 2);
}

#[test]
fn a_creator_that_is_killed_leaves_nothing_that_hinders_the_next() {
    let site = Site::empty();
    let mut killed = Peer::holding("create", &site.database());
    killed.insert(0..3);
    let leftover = format!(".x.db.{}.new", killed.pid());
    assert!(site.names().contains(&leftover), "{:?}", site.names());
    killed.kill();
    assert!(!site.database().exists());
    assert!(site.names().contains(&leftover), "{:?}", site.names());

    let mut next = Peer::holding("create", &site.database());
    next.insert(0..1);
    next.release();
    assert_eq!(count(&manager().read(site.database()).unwrap()), 1);
    assert_eq!(site.names(), ["x.db", "x.db.gate"], "the leftovers are gone");
}

#[test]
fn a_creation_that_fails_or_panics_leaves_nothing() {
    let site = Site::empty();
    let manager = manager();
    let failed = manager.create(site.database(), |new| -> Result<(), Error> {
        new.execute_batch("CREATE TABLE t (a BIGINT)")?;
        Ok(new.execute_batch("CREATE TABLE t (a BIGINT)")?)
    });
    assert!(matches!(failed, Err(Error::Database { .. })), "{failed:?}");
    assert_eq!(site.names(), ["x.db.gate"]);
    let panicked = catch_unwind(AssertUnwindSafe(|| {
        manager.create(site.database(), |new| -> Result<(), Error> {
            new.execute_batch("CREATE TABLE t (a BIGINT)")?;
            panic!("a bug of the caller")
        })
    }));
    assert!(panicked.is_err());
    assert_eq!(site.names(), ["x.db.gate"]);
    assert_eq!(manager::holders(&site.database()).unwrap(), []);
    Peer::holding("create", &site.database()).release();
}

#[test]
fn a_creation_that_leaves_a_transaction_open_is_refused_and_leaves_nothing() {
    let site = Site::empty();
    let refused = manager().create(site.database(), |new| -> Result<(), Error> {
        Ok(new.execute_batch("CREATE TABLE t (a BIGINT); BEGIN; INSERT INTO t VALUES (1)")?)
    });
    assert!(refused.is_err());
    assert_eq!(site.names(), ["x.db.gate"]);
}

#[test]
fn a_database_whose_folder_cannot_be_synced_is_there_and_its_outcome_unknown() {
    let site = Site::empty();
    let manager = manager();
    let broken = BrokenSync::of(site.database().parent().unwrap(), Bytes::Stay);
    let create = || {
        manager.create(site.database(), |new| -> Result<(), Error> {
            Ok(new.execute_batch("CREATE TABLE t (a BIGINT)")?)
        })
    };
    let unknown = create().unwrap_err();
    assert!(matches!(unknown, Error::UnknownOutcome { .. }), "{unknown}");
    assert!(unknown.to_string().contains("its folder could not be synced"), "{unknown}");
    assert_eq!(broken.times(), 1);
    assert!(!create().unwrap(), "it is there");
    assert_eq!(count(&manager.read(site.database()).unwrap()), 0);
}

#[test]
fn an_existing_database_is_left_as_it_is() {
    let site = Site::new();
    let created = manager()
        .create(site.database(), |_| -> Result<(), Error> { panic!("there is nothing to fill") });
    assert!(!created.unwrap());
}

#[test]
fn a_creation_that_waits_too_long_names_who_creates() {
    let site = Site::empty();
    let creator = Peer::begin_labelled("create", &site.database(), "first");
    creator.hears("held");
    let error = manager_that_waits(A_WHILE).write(site.database()).unwrap_err();
    let text = error.to_string();
    assert!(text.starts_with("create `") && text.contains("label `first`"), "{text}");
    assert!(matches!(error, Error::TimedOut { wanted: manager::Wanted::Creation, .. }));
    creator.release();
}
