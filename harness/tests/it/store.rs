//! `harness store`: each verb on a real store, from another process, and what people get wrong.

use std::fs;
use std::path::{Path, PathBuf};

use manager::{
    Config, Error, FeatureSpec, FeatureStore, Fill, Fingerprint, Input, Manager, Plan, Publication,
    WalkForward, WindowMode, WritesInEvaluation,
};
use serde_json::{Value, json};

use crate::support::{Ran, Running, Site, harness};

fn manager() -> Manager {
    Manager::new(Config::default()).unwrap()
}

fn database(site: &Site) -> PathBuf {
    site.path("features.duckdb")
}

fn closes() -> Fingerprint {
    Fingerprint::of("closes")
}

fn momentum(block: u32) -> FeatureSpec {
    FeatureSpec::new("momentum", 1).range(block * 21..(block + 1) * 21)
}

fn rsi() -> FeatureSpec {
    FeatureSpec::new("rsi", 2).range(0..21).input(Input::column("Close", closes()))
}

fn scaler() -> FeatureSpec {
    FeatureSpec::new("scaler", 1).range(100..121).fit(0..100)
}

/// A store with three blocks of one feature in files, one of another inline, one that was fitted, and a negative entry.
fn filled(site: &Site) -> PathBuf {
    let path = database(site);
    let store = FeatureStore::open(&manager(), &path).unwrap();
    let specs: Vec<_> = (0..3).map(momentum).collect();
    let mut all: Vec<_> = specs
        .iter()
        .zip(1..)
        .map(|(spec, byte)| Publication::new(spec, vec![byte; 5_000]))
        .collect();
    let (rsi, scaler, late) = (rsi(), scaler(), momentum(0).entity("FB"));
    all.push(Publication::new(&rsi, b"inline".to_vec()));
    all.push(Publication::new(&scaler, b"fitted".to_vec()));
    let (reason, retry_after) = ("listed on 2012-05-18".into(), std::time::Duration::from_hours(1));
    all.push(Publication::new(&late, Fill::Absent { reason, retry_after }));
    assert_eq!(store.publish(all).unwrap().stored, 6);
    path
}

fn store(verb: &[&str], database: &Path) -> Ran {
    let (verb, rest) = verb.split_first().unwrap();
    let mut command = harness(&["store", verb]);
    Running::start(command.arg(database).args(rest)).finish()
}

fn json(verb: &[&str], database: &Path, code: i32) -> Value {
    let ran = store(&[verb, &["--json"]].concat(), database).exits_with(code);
    serde_json::from_str(&ran.stdout).unwrap_or_else(|error| panic!("{error}: {}", ran.stdout))
}

fn objects(database: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![database.with_extension("duckdb.store").join("objects")];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() { folders.push(path) } else { found.push(path) }
        }
    }
    found
}

#[test]
fn a_sound_store_is_verified_with_0() {
    let site = Site::new();
    let path = filled(&site);
    for verb in [&["verify"][..], &["verify", "--deep"]] {
        let report = json(verb, &path, 0);
        assert_eq!((&report["artefacts"], &report["negative"]), (&json!(5), &json!(1)), "{report}");
        assert_eq!(report["missing"], json!([]));
        let text = store(verb, &path).exits_with(0).stdout;
        assert!(text.contains("artefacts") && text.ends_with("sound\n"), "{text}");
    }
}

#[test]
fn a_flipped_bit_is_found_by_a_deep_look_and_a_missing_file_by_any_with_1() {
    let site = Site::new();
    let path = filled(&site);
    let file = &objects(&path)[0];
    let mut bytes = fs::read(file).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    fs::write(file, bytes).unwrap();
    json(&["verify"], &path, 0);
    let report = json(&["verify", "--deep"], &path, 1);
    assert_eq!(report["damaged"].as_array().unwrap().len(), 1, "{report}");
    assert_eq!(report["damaged"][0]["feature"], "momentum");
    fs::remove_file(file).unwrap();
    let text = store(&["verify"], &path).exits_with(1).stdout;
    assert!(text.contains("its file is missing") && text.contains("not sound"), "{text}");
}

#[test]
fn gc_tells_what_it_would_remove_and_then_removes_it() {
    let site = Site::new();
    let path = filled(&site);
    let shard = path.with_extension("duckdb.store").join("objects/01");
    fs::create_dir_all(&shard).unwrap();
    let orphan = shard.join("0123456789abcdef0123456789abcdef");
    fs::write(&orphan, b"nobody's").unwrap();
    assert_eq!(json(&["gc", "--dry-run"], &path, 0)["files"], 1);
    assert!(orphan.exists(), "a dry run removes nothing");
    assert_eq!(json(&["gc"], &path, 0)["files"], 1);
    assert!(!orphan.exists() && objects(&path).len() == 3);
    assert!(store(&["gc"], &path).exits_with(0).stdout.contains("files removed"));
}

#[test]
fn stats_are_those_of_all_processes_so_far() {
    let site = Site::new();
    let path = filled(&site);
    let store_here = FeatureStore::open(&manager(), &path).unwrap();
    for _ in 0..3 {
        assert!(!store_here.get(rsi().key()).unwrap().is_miss());
    }
    drop(store_here);
    assert_eq!(json(&["stats"], &path, 0)["everywhere"]["hits"], 3);
    let text = store(&["stats"], &path).exits_with(0).stdout;
    assert!(text.contains("hits") && text.contains("computing saved"), "{text}");
}

#[test]
fn an_export_has_a_file_for_every_artefact_and_does_not_write_over_anything() {
    let site = Site::new();
    let path = filled(&site);
    let to = site.path("copy");
    let report = json(&["export", "--to", to.to_str().unwrap()], &path, 0);
    assert_eq!((&report["artefacts"], &report["negative"]), (&json!(5), &json!(1)), "{report}");
    assert_eq!(fs::read(to.join("artefacts").join(rsi().key().to_string())).unwrap(), b"inline");
    assert_eq!(fs::read_to_string(to.join("manifest.jsonl")).unwrap().lines().count(), 6);
    let again = &["export", "--to", to.to_str().unwrap()];
    store(again, &path).exits_with(2).says(&["it exists already", to.to_str().unwrap()]);
    let nowhere = site.path("no/such/folder");
    store(&["export", "--to", nowhere.to_str().unwrap()], &path)
        .exits_with(2)
        .says(&["there is no folder to make it in"]);
}

#[test]
fn an_export_leaves_damaged_artefacts_out_and_exits_with_1() {
    let site = Site::new();
    let path = filled(&site);
    fs::remove_file(&objects(&path)[0]).unwrap();
    let report = json(&["export", "--to", site.path("copy").to_str().unwrap()], &path, 1);
    assert_eq!(report["artefacts"], 4);
    assert_eq!(report["damaged"].as_array().unwrap().len(), 1);
}

#[test]
fn what_is_pinned_stays_when_the_rest_is_evicted() {
    let site = Site::new();
    let path = filled(&site);
    let pin = json(
        &["pin", "momentum", "--version", "1", "--note", "for Ada", "--until", "2130-01-31"],
        &path,
        0,
    );
    assert_eq!(pin, json(&["pins"], &path, 0)[0]);
    assert_eq!((&pin["feature"], &pin["note"]), (&json!("momentum"), &json!("for Ada")));
    let text = store(&["pins"], &path).exits_with(0).stdout;
    assert_eq!(text, "momentum version 1 pinned until 2130-01-31T00:00:00Z: for Ada\n");

    for policy in ["lru", "cost", "schedule"] {
        let report = json(&["evict", "--bytes", "0", "--policy", policy], &path, 0);
        assert_eq!(report["pinned_bytes"], 15_000, "{report}");
    }
    assert_eq!(json(&["verify"], &path, 0)["artefacts"], 3);

    assert!(store(&["unpin", "momentum"], &path).exits_with(4).stdout.contains("was not pinned"));
    assert_eq!(json(&["unpin", "momentum", "--version", "1"], &path, 0)["unpinned"], true);
    assert_eq!(store(&["pins"], &path).exits_with(0).stdout, "nothing is pinned\n");
    let text = store(&["evict", "--bytes", "10kB"], &path).exits_with(0).stdout;
    assert!(text.contains("evicted                  1 ("), "{text}");
    assert_eq!(objects(&path).len(), 2);
}

#[test]
fn each_way_to_say_what_is_invalid_takes_exactly_that_out() {
    let key = momentum(1).key().to_string();
    let input = closes().to_string();
    for (selector, gone) in [
        (&["--feature", "momentum"][..], 4),
        (&["--feature", "momentum", "--version", "1"], 4),
        (&["--key", &key], 1),
        (&["--input", &input], 1),
        (&["--range", "20..22"], 4),
        (&["--fit", "0..100"], 1),
    ] {
        let site = Site::new();
        let path = filled(&site);
        let verb = [&["invalidate"], selector].concat();
        assert_eq!(json(&verb, &path, 0)["invalidated"], gone, "{selector:?}");
        assert_eq!(json(&verb, &path, 4)["invalidated"], 0, "nothing is left to match");
    }
    let site = Site::new();
    let path = filled(&site);
    store(&["invalidate", "--feature", "momentum", "--version", "7"], &path).exits_with(4);
}

#[test]
fn plans_are_listed_with_what_is_next() {
    let site = Site::new();
    let path = filled(&site);
    assert_eq!(store(&["plans"], &path).exits_with(0).stdout, "no plan\n");
    let shape = WalkForward {
        positions: 100,
        train: 50,
        eval: 10,
        step: 10,
        label_horizon: 1,
        embargo: 0,
        mode: WindowMode::Rolling,
        keep_tail: false,
    };
    let plan = Plan { name: "nightly".into(), shape, lookback: 9, next_window: 2 };
    FeatureStore::open(&manager(), &path).unwrap().plan(&plan).unwrap();
    assert_eq!(json(&["plans"], &path, 0)[0]["name"], "nightly");
    let text = store(&["plans"], &path).exits_with(0).stdout;
    assert!(text.starts_with("nightly: window 2 of 5 is next; rolling, 100 positions"), "{text}");
}

/// The verbs that need nothing but a database.
const VERBS: [&[&str]; 10] = [
    &["verify"],
    &["gc"],
    &["stats"],
    &["export", "--to", "/nonexistent/copy"],
    &["evict", "--bytes", "0"],
    &["invalidate", "--feature", "x"],
    &["pin", "x"],
    &["unpin", "x"],
    &["pins"],
    &["plans"],
];

#[test]
fn a_database_that_is_not_there_is_refused_by_every_verb_and_none_is_made() {
    let site = Site::new();
    let path = database(&site);
    for verb in VERBS {
        store(verb, &path).exits_with(2).says(&["there is no such file", "features.duckdb"]);
    }
    assert!(fs::read_dir(site.path("")).unwrap().next().is_none(), "nothing is left behind");
}

#[test]
fn what_is_no_database_or_no_store_is_refused_and_left_as_it_is() {
    let site = Site::new();
    for (name, content) in
        [("empty.duckdb", &b""[..]), ("notes.txt", b"no database at all, but long enough")]
    {
        let path = site.file(name, content);
        store(&["verify"], &path).exits_with(2).says(&["it is no DuckDB database", name]);
        assert_eq!(fs::read(&path).unwrap(), content);
        assert_eq!(fs::read_dir(site.path("")).unwrap().count(), 1, "no gate is put beside it");
        fs::remove_file(path).unwrap();
    }
    store(&["verify"], &site.path("")).exits_with(2).says(&["it is no DuckDB database"]);
    for (name, sql) in [("other.duckdb", "CREATE TABLE t (a BIGINT)"), ("empty.duckdb", "SELECT 1")]
    {
        let path = site.path(name);
        let made =
            manager().create(&path, |new| -> Result<(), Error> { Ok(new.execute_batch(sql)?) });
        assert!(made.unwrap());
        for verb in [&["verify"][..], &["gc"], &["pins"]] {
            store(verb, &path).exits_with(2).says(&["not a feature store", name]);
        }
        let lease_of = manager();
        let tables = "SELECT count(*) FROM duckdb_tables() WHERE table_name LIKE 'flockgate%'";
        let count: u64 =
            lease_of.read(&path).unwrap().query_row(tables, [], |row| row.get(0)).unwrap();
        assert_eq!(count, 0, "{name} became a store");
    }
}

#[test]
fn a_store_that_is_busy_for_too_long_is_inconclusive() {
    let site = Site::new();
    let path = filled(&site);
    let manager = manager();
    let lease = manager.write(&path).unwrap();
    let pid = std::process::id().to_string();
    store(&["verify", "--wait", "100ms"], &path).exits_with(3).says(&["still not possible", &pid]);
    drop(lease);
    store(&["verify", "--wait", "30s"], &path).exits_with(0);
}

#[test]
fn nothing_is_removed_while_somebody_evaluates() {
    let site = Site::new();
    let path = filled(&site);
    let config = Config { writes_in_evaluation: WritesInEvaluation::Refuse, ..Config::default() };
    let store_here = FeatureStore::open(&Manager::new(config).unwrap(), &path).unwrap();
    let phase = store_here.evaluation_phase().unwrap();
    store(&["evict", "--bytes", "0"], &path).exits_with(3).says(&["an evaluation phase is on"]);
    json(&["verify"], &path, 0);
    drop(phase);
    store(&["evict", "--bytes", "0"], &path).exits_with(0);
}

#[test]
fn arguments_that_make_no_sense_are_refused_with_what_was_expected() {
    let site = Site::new();
    let path = filled(&site);
    for (arguments, words) in [
        (&["invalidate"][..], "required"),
        (&["invalidate", "--feature", "a", "--range", "0..1"], "cannot be used with"),
        (&["invalidate", "--key", "12", "--version", "1"], "read a hash"),
        (&["invalidate", "--range", "5..5"], "expected an end after its begin"),
        (&["invalidate", "--range", "5"], "expected two positions"),
        (&["invalidate", "--input", "xyz"], "64 hexadecimal digits"),
        (&["evict"], "--bytes"),
        (&["evict", "--bytes", "many"], "expected a number of bytes"),
        (&["evict", "--bytes", "1", "--policy", "fifo"], "expected lru, cost or schedule"),
        (&["pin"], "FEATURE"),
        (&["pin", "x", "--until", "2001-01-01"], "still to come"),
        (&["export"], "--to"),
        (&["verify", "--wait", "soon"], "--wait"),
        (&["tidy"], "unrecognized subcommand"),
    ] {
        store(arguments, &path).exits_with(2).says(&[words]);
    }
    assert_eq!(json(&["verify"], &path, 0)["artefacts"], 5, "nothing was done");
}
