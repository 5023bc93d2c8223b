//! What a transaction acknowledges is stored, and nothing else is.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use manager::{Error, ErrorClass, Manager, WriteLease};

use crate::support::{Running, Site, count, manager};

const DUPLICATE: &str = "INSERT INTO u VALUES (1)";

/// A database whose table `u` has the key 1 already.
fn site_with_a_key() -> (Site, Manager) {
    let site = Site::new();
    let manager = manager();
    let lease = manager.write(site.database()).unwrap();
    lease.execute_batch("CREATE TABLE u (k BIGINT PRIMARY KEY); INSERT INTO u VALUES (1)").unwrap();
    drop(lease);
    (site, manager)
}

fn rows(manager: &Manager, path: &Path) -> i64 {
    count(&manager.read(path).unwrap())
}

fn assert_poisoned(refused: &Result<(), Error>) {
    let Err(Error::Poisoned { first_failure, .. }) = refused else { panic!("{refused:?}") };
    assert!(first_failure.contains("Duplicate key") || first_failure.contains("aborted"));
}

/// Why this module is there. Should DuckDB come to refuse such a COMMIT, the crate can be simpler.
#[test]
fn duckdb_acknowledges_the_commit_of_an_aborted_transaction() {
    let (site, manager) = site_with_a_key();
    let lease = manager.write(site.database()).unwrap();
    lease.execute_batch("BEGIN; INSERT INTO t VALUES (1)").unwrap();
    lease.execute_batch(DUPLICATE).unwrap_err();
    lease.execute_batch("COMMIT").unwrap();
    assert_eq!(count(&lease), 0);
}

#[test]
fn a_transaction_with_a_failed_statement_is_not_acknowledged() {
    let (site, manager) = site_with_a_key();
    let lease = manager.write(site.database()).unwrap();
    let refused = lease.transaction(|tx| -> Result<(), Error> {
        tx.execute("INSERT INTO t VALUES (1)", [])?;
        assert!(tx.execute(DUPLICATE, []).is_err());
        Ok(())
    });
    assert_poisoned(&refused);
    assert_eq!(refused.unwrap_err().class(), Some(ErrorClass::TransactionAborted));
    assert_eq!(count(&lease), 0);
}

#[test]
fn a_transaction_with_a_failed_statement_beside_it_is_not_acknowledged() {
    let (site, manager) = site_with_a_key();
    let lease = manager.write(site.database()).unwrap();
    let refused = lease.transaction(|tx| -> Result<(), Error> {
        tx.execute("INSERT INTO t VALUES (1)", [])?;
        assert!(lease.execute_batch(DUPLICATE).is_err(), "on the connection of the lease itself");
        Ok(())
    });
    assert_poisoned(&refused);
    assert_eq!(count(&lease), 0);
}

#[test]
fn every_way_to_fail_in_a_transaction_is_remembered() {
    type Step = fn(&manager::Transaction<'_>) -> bool;
    let (site, manager) = site_with_a_key();
    let steps: [(&str, Step); 4] = [
        ("execute", |tx| tx.execute("INSERT INTO nothing VALUES (1)", []).is_err()),
        ("execute_many", |tx| tx.execute_many("INSERT INTO u VALUES (?)", [[2], [1]]).is_err()),
        ("query", |tx| tx.query("SELECT * FROM nothing", [], |_| Ok(())).is_err()),
        ("append", |tx| tx.append("u", |rows| rows.append_row([1])).is_err()),
    ];
    for (name, fails) in steps {
        let refused = manager.transaction(site.database(), |tx| {
            tx.execute("INSERT INTO t VALUES (1)", [])?;
            assert!(fails(tx), "{name}");
            Ok(())
        });
        assert!(matches!(refused, Err(Error::Poisoned { .. })), "{name}: {refused:?}");
        assert_eq!(rows(&manager, &site.database()), 0, "{name}");
    }
}

#[test]
fn an_error_of_the_closure_is_returned_and_nothing_is_stored() {
    let (site, manager) = site_with_a_key();
    let refused = manager.transaction(site.database(), |tx| {
        tx.execute("INSERT INTO t VALUES (1)", [])?;
        tx.execute(DUPLICATE, [])
    });
    assert_eq!(refused.unwrap_err().class(), Some(ErrorClass::Constraint));
    assert_eq!(rows(&manager, &site.database()), 0);
}

#[test]
fn a_closure_that_panics_stores_nothing_and_leaves_the_lease_usable() {
    let (site, manager) = site_with_a_key();
    let lease = manager.write(site.database()).unwrap();
    let insert_and_panic = |lease: &WriteLease| -> Result<(), Error> {
        lease.transaction(|tx| {
            tx.execute("INSERT INTO t VALUES (1)", [])?;
            panic!("a bug of the caller")
        })
    };
    assert!(catch_unwind(AssertUnwindSafe(|| insert_and_panic(&lease))).is_err());
    assert_eq!(count(&lease), 0);
    lease.transaction(|tx| tx.execute("INSERT INTO t VALUES (2)", [])).unwrap();
    assert_eq!(count(&lease), 1);
}

/// Another connection of this process changes the row between the two statements of the first attempt.
#[test]
fn a_transaction_that_loses_a_race_is_rerun_as_a_whole() {
    let (site, manager) = site_with_a_key();
    let mut attempts = 0;
    let keys = manager.transaction(site.database(), |tx| {
        attempts += 1;
        tx.execute("INSERT INTO t VALUES (?)", [attempts])?;
        if attempts == 1 {
            // A read lease that steps out of its transaction: the only way to a second writer here.
            let (manager, path) = (manager.clone(), site.database());
            let rival = Running::begin(move || {
                let lease = manager.read(path).unwrap();
                lease.execute_batch("COMMIT; UPDATE u SET k = k + 10").unwrap();
            });
            rival.finish();
        }
        tx.execute("UPDATE u SET k = k + 100", [])?;
        tx.query("SELECT k FROM u", [], |row| row.get::<_, i64>(0))
    });
    assert_eq!(keys.unwrap(), [111], "it saw what the other one did");
    assert_eq!(attempts, 2);
    let lease = manager.read(site.database()).unwrap();
    let stored: i64 = lease.query_row("SELECT sum(a) FROM t", [], |row| row.get(0)).unwrap();
    assert_eq!(stored, 2, "of the first attempt nothing is stored");
}

#[test]
fn transactions_of_many_threads_are_each_stored_once() {
    let (site, manager) = site_with_a_key();
    let threads: Vec<_> = (0..4)
        .map(|_| {
            let (manager, path) = (manager.clone(), site.database());
            Running::begin(move || {
                for _ in 0..25 {
                    manager
                        .transaction(&path, |tx| tx.execute("UPDATE u SET k = k + 1", []))
                        .unwrap();
                }
            })
        })
        .collect();
    threads.into_iter().for_each(Running::finish);
    let lease = manager.read(site.database()).unwrap();
    let k: i64 = lease.query_row("SELECT k FROM u", [], |row| row.get(0)).unwrap();
    assert_eq!(k, 101);
}

#[test]
fn an_acknowledged_transaction_is_there_after_the_lease_and_the_manager_are_gone() {
    let (site, manager) = site_with_a_key();
    manager.transaction(site.database(), |tx| tx.append("t", |rows| rows.append_row([7]))).unwrap();
    drop(manager);
    assert_eq!(rows(&crate::support::manager(), &site.database()), 1);
}
