//! Damaged databases: left alone by everybody, with the evidence beside them, until somebody mends them.

use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use manager::{Config, Error, ErrorClass, Manager};
use serde_json::Value;

use crate::peer::{AnotherUser, Peer};
use crate::support::{Site, config, count, insert, make_database, manager};

/// A database with a log: 10 rows in the file, one in the log.
fn with_log() -> Site {
    let site = Site::empty();
    make_database(&site.database(), 10);
    let mut peer = Peer::holding("write", &site.database());
    peer.insert(0..1);
    peer.kill();
    assert!(fs::metadata(log(&site)).unwrap().len() > 0);
    site
}

fn log(site: &Site) -> PathBuf {
    site.path("x.db.wal")
}

fn evidence(site: &Site) -> PathBuf {
    site.path("x.db.quarantine.json")
}

fn read_evidence(site: &Site) -> Value {
    serde_json::from_slice(&fs::read(evidence(site)).unwrap()).unwrap()
}

/// Inverts the byte in the middle, in place; the times of the file are those of before, as after a fault of the disk.
fn damage(path: &std::path::Path) {
    let modified = fs::metadata(path).unwrap().modified().unwrap();
    let mut bytes = fs::read(path).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 0xff;
    fs::write(path, bytes).unwrap();
    fs::File::options().write(true).open(path).unwrap().set_modified(modified).unwrap();
}

/// Damages a header of the file, which is read whenever it is opened.
fn damage_file(site: &Site) {
    let mut bytes = fs::read(site.database()).unwrap();
    bytes[4096 + 16] ^= 0xff;
    fs::write(site.database(), bytes).unwrap();
}

fn refused(manager: &Manager, site: &Site) -> Error {
    manager.read(site.database()).unwrap_err()
}

fn assert_quarantined(error: &Error, site: &Site) {
    let named = evidence(site).canonicalize().unwrap();
    match error {
        Error::Quarantined { evidence, class: ErrorClass::Corrupt, .. } => {
            assert_eq!(*evidence, named);
        }
        _ => panic!("{error:?}"),
    }
    let text = error.to_string();
    assert!(text.contains("x.db.quarantine.json") && text.contains("backup"), "{text}");
    assert!(!error.is_transient());
    assert_eq!(error.class(), Some(ErrorClass::Corrupt));
}

fn seen(path: &std::path::Path) -> Value {
    let metadata = fs::metadata(path).unwrap();
    let changed_ns = metadata.ctime() * 1_000_000_000 + metadata.ctime_nsec();
    serde_json::json!({ "inode": metadata.ino(), "bytes": metadata.len(), "changed_ns": changed_ns })
}

#[test]
fn a_damaged_log_is_refused_with_evidence_and_nothing_else_is_changed() {
    let site = with_log();
    damage(&log(&site));
    let before = [site.database(), log(&site)].map(|path| fs::read(path).unwrap());
    let manager = manager();
    for error in [refused(&manager, &site), manager.write(site.database()).unwrap_err()] {
        assert_quarantined(&error, &site);
        assert!(error.to_string().contains("WAL"), "{error}");
    }
    assert_eq!([site.database(), log(&site)].map(|path| fs::read(path).unwrap()), before);
    assert_eq!(site.names(), ["x.db", "x.db.gate", "x.db.quarantine.json", "x.db.wal"]);

    let Value::Object(found) = read_evidence(&site) else { panic!("no object") };
    let fields: Vec<_> = found.keys().map(String::as_str).collect();
    assert_eq!(fields, ["class", "command", "database", "found_unix_ms", "log", "pid", "text"]);
    assert_eq!(found["class"], "corrupt");
    assert_eq!(found["pid"], std::process::id());
    assert!(found["text"].as_str().unwrap().contains("WAL"), "{found:?}");
    assert!(!found["command"].as_str().unwrap().is_empty());
    assert!(found["found_unix_ms"].as_u64().unwrap() > 1_700_000_000_000);
    assert_eq!(found["database"], seen(&site.database()));
    assert_eq!(found["log"], seen(&log(&site)));
}

#[test]
fn a_damaged_file_is_refused_and_has_no_log_in_its_evidence() {
    let site = Site::new();
    damage_file(&site);
    let before = fs::read(site.database()).unwrap();
    assert_quarantined(&manager().write(site.database()).unwrap_err(), &site);
    assert_eq!(fs::read(site.database()).unwrap(), before);
    assert_eq!(read_evidence(&site)["log"], Value::Null);
    assert_eq!(site.names(), ["x.db", "x.db.gate", "x.db.quarantine.json"]);
}

/// Evidence of a sound database is in force as well, so who refuses it has not opened the database.
#[test]
fn what_is_in_quarantine_is_not_opened_by_anybody() {
    let site = with_log();
    damage(&log(&site));
    refused(&manager(), &site);
    let mut found = read_evidence(&site);
    let sound = Site::new();
    found["database"] = seen(&sound.database());
    found["log"] = Value::Null;
    fs::write(evidence(&sound), found.to_string()).unwrap();
    let begun = Instant::now();
    assert_quarantined(&refused(&manager(), &sound), &sound);
    assert!(begun.elapsed() < config().wait_max / 2, "at once");
    for role in ["read", "write"] {
        let line = Peer::begin(role, &sound.database()).line();
        assert!(line.starts_with("error:") && line.contains("quarantine"), "{role}: {line}");
    }
    assert_eq!(fs::read_to_string(evidence(&sound)).unwrap(), found.to_string());
    fs::remove_file(evidence(&sound)).unwrap();
    assert_eq!(count(&manager().read(sound.database()).unwrap()), 0, "it was sound");
}

#[test]
fn other_processes_leave_the_evidence_as_it_was_found() {
    let site = with_log();
    damage(&log(&site));
    refused(&manager(), &site);
    let found = fs::read(evidence(&site)).unwrap();
    for role in ["read", "write", "read"] {
        let line = Peer::begin(role, &site.database()).line();
        assert!(line.contains("quarantine"), "{role}: {line}");
    }
    assert_quarantined(&refused(&manager(), &site), &site);
    assert_eq!(fs::read(evidence(&site)).unwrap(), found);
}

/// The database works again, and its old evidence is kept under the name that says when.
fn assert_mended(site: &Site, found_unix_ms: &Value, rows: i64) {
    let lease = manager().write(site.database()).unwrap();
    assert_eq!(count(&lease), rows);
    insert(&lease, 1);
    drop(lease);
    assert!(!evidence(site).exists());
    let kept = site.path(&format!("x.db.quarantine-{found_unix_ms}.json"));
    let kept: Value = serde_json::from_slice(&fs::read(kept).unwrap()).unwrap();
    assert_eq!(kept["found_unix_ms"], *found_unix_ms);
}

#[test]
fn a_backup_that_is_renamed_over_the_file_ends_the_quarantine() {
    let site = Site::new();
    fs::copy(site.database(), site.path("backup")).unwrap();
    damage_file(&site);
    refused(&manager(), &site);
    let found = read_evidence(&site)["found_unix_ms"].clone();
    fs::rename(site.path("backup"), site.database()).unwrap();
    assert_mended(&site, &found, 0);
}

/// Of the same length and with the same time of modification, as `cp -p` or `rsync --inplace -t` leave it.
#[test]
fn a_backup_that_is_copied_into_the_file_ends_the_quarantine() {
    let site = Site::new();
    let modified = fs::metadata(site.database()).unwrap().modified().unwrap();
    let backup = fs::read(site.database()).unwrap();
    damage_file(&site);
    let file = fs::File::options().write(true).open(site.database()).unwrap();
    file.set_modified(modified).unwrap();
    refused(&manager(), &site);
    let found = read_evidence(&site)["found_unix_ms"].clone();
    fs::write(site.database(), backup).unwrap();
    file.set_modified(modified).unwrap();
    drop(file);
    assert_mended(&site, &found, 0);
}

#[test]
fn a_damaged_log_that_is_moved_away_ends_the_quarantine() {
    let site = with_log();
    damage(&log(&site));
    refused(&manager(), &site);
    let found = read_evidence(&site)["found_unix_ms"].clone();
    fs::rename(log(&site), site.path("log of the accident")).unwrap();
    assert_mended(&site, &found, 10);
}

#[test]
fn a_backup_that_is_damaged_too_is_quarantined_anew() {
    let site = with_log();
    damage(&log(&site));
    let manager = manager();
    refused(&manager, &site);
    let first = read_evidence(&site);
    damage_file(&site);
    std::thread::sleep(Duration::from_millis(2)); // so that the second is found in another millisecond
    assert_quarantined(&refused(&manager, &site), &site);
    assert_ne!(read_evidence(&site)["database"], first["database"]);
    assert!(site.path(&format!("x.db.quarantine-{}.json", first["found_unix_ms"])).exists());
}

#[test]
fn a_reader_that_may_not_write_is_refused_and_told_of_the_damage() {
    let site = with_log();
    damage(&log(&site));
    let another_user = AnotherUser::beside(&site);
    for path in [site.database(), log(&site), site.path("x.db.gate")] {
        fs::set_permissions(path, Permissions::from_mode(0o444)).unwrap();
    }
    fs::set_permissions(site.folder(), Permissions::from_mode(0o555)).unwrap();
    for _ in 0..2 {
        let line = another_user.runs("read", &site.database()).line();
        assert!(line.contains("Failure while replaying WAL"), "{line}");
        assert!(line.contains("backup"), "{line}");
    }
    fs::set_permissions(site.folder(), Permissions::from_mode(0o755)).unwrap();
    assert!(!evidence(&site).exists(), "it could not be written");
}

#[test]
fn a_reader_that_may_not_put_the_evidence_aside_reads_what_was_mended() {
    let site = Site::new();
    let backup = fs::read(site.database()).unwrap();
    damage_file(&site);
    refused(&manager(), &site);
    fs::write(site.database(), backup).unwrap();
    let another_user = AnotherUser::beside(&site);
    for path in [site.database(), site.path("x.db.gate"), evidence(&site)] {
        fs::set_permissions(path, Permissions::from_mode(0o444)).unwrap();
    }
    fs::set_permissions(site.folder(), Permissions::from_mode(0o555)).unwrap();
    let mut peer = another_user.runs("read", &site.database());
    peer.hears("held");
    assert_eq!(peer.tell("count"), "0");
    peer.release();
    fs::set_permissions(site.folder(), Permissions::from_mode(0o755)).unwrap();
    assert!(evidence(&site).exists());
}

#[test]
fn a_note_that_somebody_wrote_is_in_force_until_it_is_removed() {
    let site = Site::new();
    for note in ["do not touch, ask Ada", "", "{\"text\": \"no evidence\"}"] {
        fs::write(evidence(&site), note).unwrap();
        let error = manager().write(site.database()).unwrap_err();
        assert_quarantined(&error, &site);
        assert!(error.to_string().contains(note), "{error}");
        fs::write(site.path("y.db"), "").unwrap(); // something else changes
        assert_quarantined(&refused(&manager(), &site), &site);
        assert_eq!(fs::read_to_string(evidence(&site)).unwrap(), note);
    }
    fs::remove_file(evidence(&site)).unwrap();
    drop(manager().write(site.database()).unwrap());
}

#[test]
fn what_is_unusable_without_being_damaged_is_not_quarantined() {
    let site = Site::new();
    let whole = fs::read(site.database()).unwrap();
    fs::write(site.database(), b"date,ticker,close\n".repeat(1000)).unwrap();
    let error = refused(&manager(), &site);
    assert!(matches!(error, Error::Unusable { .. }), "{error:?}");
    assert_eq!(error.class(), Some(ErrorClass::NotADatabase), "{error}");
    fs::remove_file(site.database()).unwrap();
    assert_eq!(refused(&manager(), &site).class(), Some(ErrorClass::Missing));
    fs::write(site.database(), &whole).unwrap();
    let another_user = AnotherUser::beside(&site);
    fs::set_permissions(site.path("x.db.gate"), Permissions::from_mode(0o666)).unwrap();
    fs::set_permissions(site.database(), Permissions::from_mode(0o000)).unwrap();
    let line = another_user.runs("read", &site.database()).line();
    assert!(line.contains("Permission denied"), "{line}");
    fs::set_permissions(site.database(), Permissions::from_mode(0o600)).unwrap();
    assert!(!site.names().iter().any(|name| name.contains("quarantine")), "{:?}", site.names());
    assert_eq!(count(&manager().read(site.database()).unwrap()), 0);
}

#[test]
fn a_manager_without_patience_is_refused_for_the_damage_and_not_for_the_time() {
    let site = with_log();
    damage(&log(&site));
    let hasty = Manager::new(Config { wait_max: Duration::ZERO, ..config() }).unwrap();
    assert_quarantined(&refused(&hasty, &site), &site);
}
