//! `harness status`: who holds a database file, asked from another process.

use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use manager::{Config, Error, Manager};
use serde_json::Value;

use crate::support::{Running, Site, harness};

fn database(site: &Site) -> (Manager, std::path::PathBuf) {
    let manager = Manager::new(Config { label: "nightly".into(), ..Config::default() }).unwrap();
    let path = site.path("features.duckdb");
    let made = manager.create(&path, |new| -> Result<(), Error> {
        Ok(new.execute_batch("CREATE TABLE t (a BIGINT)")?)
    });
    assert!(made.unwrap());
    (manager, path)
}

fn holders(database: &Path) -> Vec<Value> {
    let mut command = harness(&["status", "--json"]);
    let ran = Running::start(command.arg(database)).finish().exits_with(0);
    let answer: Value = serde_json::from_str(&ran.stdout).unwrap();
    assert_eq!(answer["database"], database.to_str().unwrap());
    answer["holders"].as_array().unwrap().clone()
}

fn text(database: &Path) -> String {
    Running::start(harness(&["status"]).arg(database)).finish().exits_with(0).stdout
}

#[test]
fn a_writer_is_named_with_pid_label_and_time_until_it_has_gone() {
    let site = Site::new();
    let (manager, path) = database(&site);
    let before = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis();
    let lease = manager.write(&path).unwrap();

    let holders = holders(&path);
    assert_eq!(holders.len(), 1, "{holders:?}");
    let holder = &holders[0];
    assert_eq!(holder["pid"], std::process::id());
    assert_eq!(holder["label"], "nightly");
    assert_eq!((&holder["standing"], &holder["mode"]), (&"holding".into(), &"read_write".into()));
    let since = u128::from(holder["since_unix_ms"].as_u64().unwrap());
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis();
    assert!((before..=now).contains(&since), "{before} <= {since} <= {now}");
    let told = text(&path);
    for part in [&std::process::id().to_string(), "nightly", "has it to write"] {
        assert!(told.contains(part), "no `{part}` in {told}");
    }

    drop(lease);
    drop(manager);
    assert_eq!(self::holders(&path), Vec::<Value>::new());
    assert!(text(&path).starts_with("nobody holds "), "{}", text(&path));
}

#[test]
fn the_phase_of_a_process_is_told() {
    let site = Site::new();
    let (manager, path) = database(&site);
    let phase = manager.training_phase(&path).unwrap();
    let told = holders(&path);
    assert!(told.iter().any(|holder| holder["phase"] == "training"), "{told:?}");
    drop(phase);
    drop(manager);
    assert_eq!(holders(&path), Vec::<Value>::new());
}
