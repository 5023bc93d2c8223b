//! Transactions and creation.

use manager::{Error, Manager};

use super::site::{Site, manager};

pub(crate) fn a_failed_statement_poisons(site: &Site) -> bool {
    let manager = manager();
    let done = manager.transaction(&site.path, |tx| {
        tx.execute("INSERT INTO t VALUES (1)", [])?;
        let _ignored = tx.execute("INSERT INTO t VALUES (1)", []);
        Ok(())
    });
    matches!(done, Err(Error::Poisoned { .. }))
}

pub(crate) fn a_failed_commit_is_an_error(site: &Site) -> bool {
    let manager = manager();
    let lease = manager.write(&site.path).unwrap();
    let beside = lease.try_clone().unwrap();
    let done: Result<(), Error> = lease.transaction(|tx| {
        tx.execute("INSERT INTO t VALUES (1)", [])?;
        beside.execute_batch("INSERT INTO t VALUES (1)").unwrap();
        Ok(())
    });
    done.is_err()
}

pub(crate) fn a_failed_closure_stores_nothing(site: &Site) -> bool {
    let manager = manager();
    let done: Result<(), Error> = manager.transaction(&site.path, |tx| {
        tx.execute("INSERT INTO t VALUES (1)", [])?;
        Err(Error::Unusable {
            path: site.path.clone(),
            class: manager::ErrorClass::Other,
            text: "on purpose".into(),
        })
    });
    assert!(done.is_err());
    site.count(&manager) == 0
}

/// Lets no file of this process become longer than that.
fn limit_files(bytes: u64) {
    let limit = libc::rlimit { rlim_cur: bytes, rlim_max: libc::RLIM_INFINITY };
    // SAFETY: sets a limit from a live local, and a disposition without a handler.
    unsafe {
        libc::signal(libc::SIGXFSZ, libc::SIG_IGN);
        assert_eq!(libc::setrlimit(libc::RLIMIT_FSIZE, &raw const limit), 0);
    }
}

pub(crate) fn an_unknown_outcome_is_not_repeated(site: &Site) -> bool {
    let manager: Manager = manager();
    let mut runs = 0;
    let _done = manager.transaction(&site.path, |tx| {
        runs += 1;
        tx.execute("INSERT INTO t VALUES (?)", [runs])?;
        limit_files(if runs == 1 { 1 } else { libc::RLIM_INFINITY }); // the log cannot be written
        Ok(())
    });
    limit_files(libc::RLIM_INFINITY);
    runs == 1
}

pub(crate) fn a_database_is_made_as_a_whole(site: &Site) -> bool {
    let new = site.path.with_file_name("new.duckdb");
    let made = manager().create(&new, |connection| {
        connection.execute_batch("CREATE TABLE half (a INTEGER)")?;
        connection.execute_batch("SELECT error('on purpose')").map_err(Error::from)
    });
    assert!(made.is_err());
    !new.exists()
}
