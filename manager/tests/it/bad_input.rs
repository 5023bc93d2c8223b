//! Files that are no database, folders that are none, disks that are full: a clear error, and nothing lost.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use manager::{Error, ErrorClass};

use crate::peer::AnotherUser;
use crate::support::{Site, count, make_database, manager};

/// Reads and writes fail with this class, name the file and what to do, and leave the folder as it is.
fn assert_refused(site: &Site, path: &Path, class: ErrorClass, remedy: &str) {
    let manager = manager();
    let before = contents(site);
    for (mode, error) in [
        ("read", manager.read(path).map(drop).unwrap_err()),
        ("write", manager.write(path).map(drop).unwrap_err()),
    ] {
        let text = error.to_string();
        assert_eq!(error.class(), Some(class), "{mode}: {text}");
        if class == ErrorClass::Corrupt {
            assert!(matches!(error, Error::Quarantined { .. }), "{mode}: {error:?}");
        } else {
            assert!(matches!(error, Error::Unusable { .. }), "{mode}: {error:?}");
        }
        assert!(text.contains(&*path.file_name().unwrap().to_string_lossy()), "{mode}: {text}");
        assert!(text.contains(remedy), "{mode}: `{remedy}` is in: {text}");
        assert!(!error.is_transient(), "{mode}: {text}");
    }
    assert_eq!(manager.status().leases_out(), 0);
    assert_eq!(contents(site), before, "the refused file and its neighbours are as they were");
}

/// The files of the folder with their bytes, but for the gates, which may stay, and the evidence of damage.
fn contents(site: &Site) -> Vec<(String, Vec<u8>)> {
    let names = site
        .names()
        .into_iter()
        .filter(|name| !name.contains(".gate") && !name.contains(".quarantine"));
    names.map(|name| (name.clone(), fs::read(site.path(&name)).unwrap_or_default())).collect()
}

#[test]
fn a_missing_file_is_not_created_by_reading_it() {
    let site = Site::empty();
    let manager = manager();
    for error in [
        manager.read(site.database()).map(drop).unwrap_err(),
        manager.evaluation_phase(site.database()).map(drop).unwrap_err(),
    ] {
        assert_eq!(error.class(), Some(ErrorClass::Missing));
        let text = error.to_string();
        assert!(text.contains("x.db") && text.contains("there is no such file"), "{text}");
        assert!(text.contains("create the database first"), "{text}");
    }
    assert_eq!(site.names(), [""; 0]);
}

#[test]
fn a_missing_folder_is_named() {
    let site = Site::empty();
    assert_refused(&site, &site.path("nowhere/x.db"), ErrorClass::Missing, "check the path");
    let error = manager().read(site.path("nowhere/x.db")).unwrap_err();
    assert!(error.to_string().contains("its folder does not exist"), "{error}");
}

#[test]
fn a_folder_is_no_database() {
    let site = Site::empty();
    fs::create_dir(site.database()).unwrap();
    assert_refused(&site, &site.database(), ErrorClass::NotADatabase, "move the file away");
}

#[test]
fn a_file_in_the_place_of_a_folder_is_named() {
    let site = Site::new();
    let error = manager().read(site.database().join("y.db")).unwrap_err();
    assert_eq!(error.class(), Some(ErrorClass::Missing));
    assert!(error.to_string().contains("is a file, not a folder"), "{error}");
    let error = manager().write(site.database().join("y.db")).unwrap_err();
    assert!(error.to_string().contains("y.db"), "{error}");
}

#[test]
fn an_empty_file_is_no_database() {
    let site = Site::empty();
    fs::write(site.database(), "").unwrap();
    assert_refused(&site, &site.database(), ErrorClass::NotADatabase, "move the file away");
}

#[test]
fn a_text_file_is_no_database() {
    let site = Site::empty();
    fs::write(site.database(), "date,ticker,close\n".repeat(1000)).unwrap();
    assert_refused(&site, &site.database(), ErrorClass::NotADatabase, "move the file away");
}

#[test]
fn a_file_of_sqlite_is_no_database_and_nothing_is_fetched_for_it() {
    let site = Site::empty();
    let mut bytes = b"SQLite format 3\0".to_vec();
    bytes.resize(8192, 0);
    fs::write(site.database(), bytes).unwrap();
    assert_refused(&site, &site.database(), ErrorClass::NotADatabase, "move the file away");
}

#[test]
fn a_truncated_database_is_corrupt_wherever_it_was_cut() {
    let site = Site::empty();
    make_database(&site.database(), 50_000);
    let whole = fs::read(site.database()).unwrap();
    // Within the first 4 KiB not even the mark of a database is whole; behind them its headers are missing.
    for (length, class) in [
        (4, ErrorClass::NotADatabase),
        (1_000, ErrorClass::Corrupt),
        (4_096, ErrorClass::Corrupt),
        (10_000, ErrorClass::Corrupt),
        (12_288, ErrorClass::Corrupt),
    ] {
        fs::write(site.database(), &whole[..length]).unwrap();
        assert_refused(&site, &site.database(), class, "backup");
    }
    fs::write(site.database(), &whole).unwrap();
    assert_eq!(count(&manager().read(site.database()).unwrap()), 50_000);
}

/// A cut behind the headers shows only when the missing block is read.
#[test]
fn a_database_whose_data_was_cut_off_opens_or_says_that_it_is_corrupt() {
    let site = Site::empty();
    make_database(&site.database(), 200_000);
    let whole = fs::read(site.database()).unwrap();
    fs::write(site.database(), &whole[..whole.len() / 2]).unwrap();
    let failure = manager().read(site.database()).and_then(|lease| {
        let sum = lease.query_row("SELECT sum(a) FROM t", [], |row| row.get::<_, i64>(0));
        sum.map_err(Error::from)
    });
    let error = failure.expect_err("half of it is missing");
    assert!(
        matches!(error.class(), Some(ErrorClass::Corrupt | ErrorClass::Fatal)),
        "{:?}: {error}",
        error.class()
    );
}

#[test]
fn a_file_that_may_not_be_read_is_named() {
    let site = Site::new();
    let another_user = AnotherUser::beside(&site);
    let before = fs::read(site.database()).unwrap();
    fs::set_permissions(site.database(), Permissions::from_mode(0o000)).unwrap();
    for role in ["read", "write"] {
        // Without a gate file, that user makes one and gets as far as the database.
        fs::remove_file(manager::gate_path(&site.database())).unwrap();
        let line = another_user.runs(role, &site.database()).line();
        assert!(line.contains("x.db`") && line.contains("Permission denied"), "{role}: {line}");
        assert!(line.contains("change the permissions, or run as its owner"), "{role}: {line}");
    }
    fs::set_permissions(site.database(), Permissions::from_mode(0o600)).unwrap();
    assert_eq!(fs::read(site.database()).unwrap(), before);
}

#[test]
fn a_gate_that_may_not_be_used_is_named() {
    let site = Site::new();
    let another_user = AnotherUser::beside(&site);
    fs::set_permissions(manager::gate_path(&site.database()), Permissions::from_mode(0o000))
        .unwrap();
    for role in ["read", "write", "evaluation"] {
        let line = another_user.runs(role, &site.database()).line();
        assert!(
            line.contains("x.db.gate`") && line.contains("Permission denied"),
            "{role}: {line}"
        );
        assert!(line.contains("have to be writable"), "{role}: {line}");
    }
}

#[test]
fn a_file_that_has_the_name_of_the_gate_is_named_and_left_alone() {
    let site = Site::new();
    let gate = manager::gate_path(&site.database());
    fs::write(&gate, "this is my own file").unwrap();
    let error = manager().read(site.database()).unwrap_err();
    assert!(matches!(&error, Error::Gate { path, .. } if path.ends_with("x.db.gate")), "{error:?}");
    assert!(error.to_string().contains("move it away"), "{error}");
    assert_eq!(fs::read_to_string(&gate).unwrap(), "this is my own file");
}
