//! An instance that dies: one reopening, nothing lost, nobody stranded.
//!
//! It is killed by an fsync(2) that fails, as of a dying disk (`faults.rs`), and once by a disk that is really full.

use std::cell::Cell;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use manager::duckdb::Connection;
use manager::{
    Config, Drain, Error, ErrorClass, LeaseEvent, Manager, Observer, TransactionOptions,
};

use crate::faults::{BrokenSync, Bytes};
use crate::full_disk::SmallDisk;
use crate::peer::Peer;
use crate::support::{Running, Site, config, count, eventually, insert};

/// Counts how often an instance was found dead and how often the file was opened.
#[derive(Default)]
struct Tally {
    broken: AtomicU32,
    opened: AtomicU32,
}

impl Tally {
    /// What has come since the last time.
    fn take(&self) -> (u32, u32) {
        (self.broken.swap(0, Ordering::SeqCst), self.opened.swap(0, Ordering::SeqCst))
    }
}

impl Observer for Tally {
    fn observe(&self, _: &Path, event: &LeaseEvent<'_>) {
        match event {
            LeaseEvent::Broken { .. } => self.broken.fetch_add(1, Ordering::SeqCst),
            LeaseEvent::Opened { .. } => self.opened.fetch_add(1, Ordering::SeqCst),
            _ => 0,
        };
    }
}

/// A manager that keeps the file, with one row committed and in the log.
fn with_a_row(site: &Site) -> (Manager, Arc<Tally>) {
    let tally = Arc::new(Tally::default());
    let config = Config { idle_max: Duration::from_hours(1), ..config() };
    let manager = Manager::with_observer(config, Arc::<Tally>::clone(&tally)).unwrap();
    manager.transaction(site.database(), |tx| tx.execute("INSERT INTO t VALUES (0)", [])).unwrap();
    tally.take();
    (manager, tally)
}

fn rows(manager: &Manager, site: &Site) -> i64 {
    count(&manager.read(site.database()).unwrap())
}

/// Kills the instance of a connection that may write.
fn kill_instance(site: &Site, connection: &Connection) {
    let fault = BrokenSync::of(&site.path("x.db"), Bytes::Stay);
    let error = connection.execute_batch("CHECKPOINT").unwrap_err().to_string();
    assert_eq!(ErrorClass::of(&error), ErrorClass::Fatal, "{error}");
    assert!(fault.times() > 0);
}

fn assert_fatal(connection: &Connection) {
    let error = connection.execute_batch("FROM t").unwrap_err().to_string();
    assert_eq!(ErrorClass::of(&error), ErrorClass::Fatal, "{error}");
}

#[test]
fn a_lease_whose_instance_died_is_returned_and_the_next_one_works() {
    let site = Site::new();
    let (manager, tally) = with_a_row(&site);
    let lease = manager.write(site.database()).unwrap();
    insert(&lease, 1);
    kill_instance(&site, &lease);
    assert_fatal(&lease);
    drop(lease);
    assert_eq!(rows(&manager, &site), 2);
    assert_eq!(tally.take(), (1, 1), "found dead once, opened once more");
    manager.transaction(site.database(), |tx| tx.execute("INSERT INTO t VALUES (2)", [])).unwrap();
    assert_eq!(rows(&manager, &site), 3);
    assert_eq!(manager.status().leases_out(), 0);
}

/// What a lease has left is looked at now and then only, and a lease that dies at once comes between two looks.
#[test]
fn an_instance_that_dies_between_two_looks_is_not_handed_on() {
    let site = Site::new();
    let (manager, tally) = with_a_row(&site);
    for round in 0..5 {
        let lease = manager.write(site.database()).unwrap();
        insert(&lease, round);
        drop(lease); // this one is looked at
        let lease = manager.write(site.database()).unwrap();
        insert(&lease, round);
        kill_instance(&site, &lease);
        drop(lease);
        let lease = manager.write(site.database()).unwrap();
        assert_eq!(count(&lease), 3 + 2 * i64::from(round as i32), "round {round}");
        drop(lease);
        assert_eq!(tally.take().0, 1, "round {round}");
    }
}

#[test]
fn leases_on_a_dead_instance_get_errors_and_those_who_wait_are_served_by_one_reopening() {
    let site = Site::new();
    let (manager, tally) = with_a_row(&site);
    let writer = manager.write(site.database()).unwrap().unbind();
    let readers = [(); 3].map(|()| manager.read(site.database()).unwrap().unbind());
    assert_eq!(count(&readers[0]), 1, "one of them is in the middle of its snapshot");
    let waiting_writer = Running::begin({
        let (manager, path) = (manager.clone(), site.database());
        move || insert(&manager.write(path).unwrap(), 1)
    });
    eventually("it queues", || manager.status().databases[0].waiting == 1);
    kill_instance(&site, &writer);
    for reader in &readers {
        assert_fatal(reader);
    }
    drop(writer);
    // Readers that come now must not get the dead instance either.
    let late = [(); 3].map(|()| {
        let (manager, path) = (manager.clone(), site.database());
        Running::begin(move || count(&manager.read(path).unwrap()))
    });
    assert!(waiting_writer.is_still_running(), "the dead instance is still out");
    drop(readers);
    waiting_writer.finish();
    for reader in late {
        assert!((1..=2).contains(&reader.finish()), "beside the writer or behind it");
    }
    assert_eq!(tally.take(), (1, 1), "found dead once, opened once more for all");
}

/// The writer is out beside readers, so a reader comes to the dead instance before anybody has returned one.
#[test]
fn a_reader_that_comes_to_a_dead_instance_waits_for_the_next_one() {
    let site = Site::new();
    let (manager, tally) = with_a_row(&site);
    let writer = manager.write(site.database()).unwrap().unbind();
    let fault = BrokenSync::of(&site.path("x.db.wal"), Bytes::GoAway);
    let error = writer.execute_batch("INSERT INTO t VALUES (1)").unwrap_err().to_string();
    drop(fault);
    assert!(error.contains("fsync"), "{error}");
    let reader = Running::begin({
        let (manager, path) = (manager.clone(), site.database());
        move || manager.read(path).map(|lease| count(&lease)).map_err(|error| error.to_string())
    });
    assert!(reader.is_still_running(), "the dead instance is still out");
    drop(writer);
    assert_eq!(reader.finish(), Ok(1));
    assert_eq!(tally.take(), (1, 1));
}

#[test]
fn another_process_gets_the_file_of_a_dead_instance() {
    let site = Site::new();
    let (manager, _) = with_a_row(&site);
    let lease = manager.write(site.database()).unwrap();
    let mut peer = Peer::begin("write", &site.database());
    peer.sleeps_for_a_lock();
    kill_instance(&site, &lease);
    drop(lease);
    peer.hears("held");
    assert_eq!(peer.tell("count"), "1");
    peer.insert(1..2);
    peer.release();
    assert_eq!(rows(&manager, &site), 2);
}

#[test]
fn a_manager_whose_instance_died_can_be_closed() {
    let site = Site::new();
    let (manager, _) = with_a_row(&site);
    let lease = manager.write(site.database()).unwrap();
    kill_instance(&site, &lease);
    drop(lease);
    assert!(manager.close_all_connections(Drain::default()).is_complete());
    drop(manager);
    assert_eq!(rows(&crate::support::manager(), &site), 1);
}

#[test]
fn a_statement_that_kills_the_instance_fails_its_transaction_and_the_next_one_works() {
    let site = Site::new();
    let (manager, tally) = with_a_row(&site);
    let lease = manager.write(site.database()).unwrap();
    let fault = BrokenSync::of(&site.path("x.db"), Bytes::Stay);
    let failed: Result<(), Error> = lease.transaction(|tx| tx.execute_batch("CHECKPOINT"));
    assert!(fault.times() > 0);
    drop(fault);
    assert_eq!(failed.unwrap_err().class(), Some(ErrorClass::Fatal));
    assert_eq!(tally.take().0, 1, "found before the lease is back");
    drop(lease);
    manager.transaction(site.database(), |tx| tx.execute("INSERT INTO t VALUES (1)", [])).unwrap();
    assert_eq!(rows(&manager, &site), 2);
    assert_eq!(tally.take(), (0, 1));
}

#[test]
fn a_commit_that_was_cut_off_is_unknown_and_is_not_run_again() {
    for (bytes, stored) in [(Bytes::Stay, 2), (Bytes::GoAway, 1)] {
        let site = Site::new();
        let (manager, tally) = with_a_row(&site);
        let runs = Cell::new(0);
        let fault = BrokenSync::of(&site.path("x.db.wal"), bytes);
        let error = manager
            .transaction(site.database(), |tx| {
                runs.set(runs.get() + 1);
                tx.execute("INSERT INTO t VALUES (1)", [])
            })
            .unwrap_err();
        assert!(fault.times() > 0);
        drop(fault);
        assert!(matches!(error, Error::UnknownOutcome { .. }), "{bytes:?}: {error:?}");
        assert!(!error.is_transient(), "{error}");
        assert_eq!(runs.get(), 1, "{bytes:?}");
        assert_eq!(rows(&manager, &site), stored, "{bytes:?}");
        assert_eq!(tally.take(), (1, 1), "{bytes:?}");
    }
}

/// Runs a transaction whose first commit is cut off, with a look at what it has stored.
fn with_a_look(
    site: &Site,
    manager: &Manager,
    bytes: Bytes,
    look: &dyn Fn(&Connection) -> Result<bool, Error>,
) -> (Result<i64, Error>, i64) {
    let runs = Cell::new(0);
    let fault = Cell::new(None);
    let look = |connection: &Connection| {
        drop(fault.take());
        look(connection)
    };
    let options = TransactionOptions { is_stored: Some(&look), ..Default::default() };
    let outcome = manager.transaction_with(site.database(), &options, |tx| {
        runs.set(runs.get() + 1);
        if runs.get() == 1 {
            fault.set(Some(BrokenSync::of(&site.path("x.db.wal"), bytes)));
        }
        tx.execute("INSERT INTO t VALUES (7)", [])?;
        Ok(100 + runs.get())
    });
    (outcome, runs.get())
}

fn seven_is_there(connection: &Connection) -> Result<bool, Error> {
    Ok(connection.query_row("SELECT count(*) > 0 FROM t WHERE a = 7", [], |row| row.get(0))?)
}

#[test]
fn a_commit_that_was_cut_off_and_stored_returns_what_it_returned_and_is_not_run_again() {
    let site = Site::new();
    let (manager, _) = with_a_row(&site);
    let (outcome, runs) = with_a_look(&site, &manager, Bytes::Stay, &seven_is_there);
    assert_eq!((outcome.unwrap(), runs), (101, 1));
    assert_eq!(rows(&manager, &site), 2);
}

#[test]
fn a_commit_that_was_cut_off_and_not_stored_is_run_again() {
    let site = Site::new();
    let (manager, _) = with_a_row(&site);
    let (outcome, runs) = with_a_look(&site, &manager, Bytes::GoAway, &seven_is_there);
    assert_eq!((outcome.unwrap(), runs), (102, 2));
    assert_eq!(rows(&manager, &site), 2);
}

/// An error of the look, retryable perhaps, would have the caller do again what may be stored.
#[test]
fn an_outcome_that_could_not_be_looked_at_stays_unknown() {
    let site = Site::new();
    let (manager, _) = with_a_row(&site);
    let fails =
        |connection: &Connection| seven_is_there(connection).and_then(|_| nosuch(connection));
    let (outcome, runs) = with_a_look(&site, &manager, Bytes::Stay, &fails);
    let error = outcome.unwrap_err();
    assert!(matches!(error, Error::UnknownOutcome { .. }), "{error:?}");
    assert_eq!(runs, 1);
}

fn nosuch(connection: &Connection) -> Result<bool, Error> {
    Ok(connection.query_row("SELECT true FROM nosuch", [], |row| row.get(0))?)
}

/// It is an outcome of something else, which the look knows nothing of.
#[test]
fn an_unknown_outcome_that_a_closure_returns_is_not_looked_at() {
    let site = Site::new();
    let (manager, _) = with_a_row(&site);
    let looks = Cell::new(0);
    let look = |connection: &Connection| {
        looks.set(looks.get() + 1);
        seven_is_there(connection)
    };
    let options = TransactionOptions { is_stored: Some(&look), ..Default::default() };
    let runs = Cell::new(0);
    let outcome: Result<(), Error> = manager.transaction_with(site.database(), &options, |_| {
        runs.set(runs.get() + 1);
        Err(Error::UnknownOutcome { path: "other.db".into(), text: "cut off".into() })
    });
    assert!(
        matches!(outcome, Err(Error::UnknownOutcome { path, .. }) if path == Path::new("other.db"))
    );
    assert_eq!((runs.get(), looks.get()), (1, 0));
}

#[test]
fn a_checkpoint_on_a_full_disk_kills_the_instance_and_loses_nothing() {
    let site = Site::empty();
    let Some(disk) = SmallDisk::mount(&site, 4 * 1024) else { return };
    let tally = Arc::new(Tally::default());
    let manager = Manager::with_observer(config(), Arc::<Tally>::clone(&tally)).unwrap();
    let lease = manager.write(disk.database()).unwrap();
    lease.execute_batch("CREATE TABLE t (a UBIGINT)").unwrap();
    lease.execute_batch("INSERT INTO t SELECT hash(range) FROM range(50000)").unwrap();
    disk.fill();
    let error = lease.execute_batch("CHECKPOINT").unwrap_err().to_string();
    assert_eq!(ErrorClass::of(&error), ErrorClass::Fatal, "{error}");
    assert!(error.contains("No space left on device"), "{error}");
    drop(lease);
    assert_eq!(count(&manager.read(disk.database()).unwrap()), 50_000, "on the full disk, too");
    let left = std::fs::read_dir(disk.database().parent().unwrap()).unwrap();
    let names: Vec<_> = left.map(|entry| entry.unwrap().file_name()).collect();
    assert!(!names.iter().any(|name| name.to_string_lossy().contains("quarantine")), "{names:?}");
    disk.resize(32 * 1024);
    manager.transaction(disk.database(), |tx| tx.execute("INSERT INTO t VALUES (1)", [])).unwrap();
    drop(manager);
    assert_eq!(count(&crate::support::manager().read(disk.database()).unwrap()), 50_001);
    assert_eq!(tally.broken.load(Ordering::SeqCst), 1);
}
