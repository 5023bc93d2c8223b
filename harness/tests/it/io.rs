//! The engine's I/O calls, seen and decided about in processes of the harness's own, which define the I/O functions.

use std::fs;
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::ExitStatus;
use std::sync::Arc;

use harness::lockstep::io::survivors::{self, Model};
use harness::lockstep::io::{self as engine, Call, Judge, Verdict};
use serde_json::{Value, json};

use crate::support::{harness, output};

/// The calls of plain DuckDB 1.5.5 in a short life: creation, a table, an insert, CHECKPOINT, close.
const CALLS: &[&str] = &[
    "open db.duckdb",
    "open db.duckdb",
    "open create db.duckdb",
    "fcntl lock-write db.duckdb",
    "pwrite db.duckdb 0+4096",
    "pwrite db.duckdb 4096+4096",
    "pwrite db.duckdb 8192+4096",
    "fsync db.duckdb",
    "open create db.duckdb.wal",
    "fcntl lock-write db.duckdb.wal",
    "write db.duckdb.wal 0+185",
    "fsync db.duckdb.wal",
    "write db.duckdb.wal 185+327",
    "fsync db.duckdb.wal",
    "write db.duckdb.wal 512+49",
    "fsync db.duckdb.wal",
    "close db.duckdb.wal",
    "pwrite db.duckdb 274432+262144",
    "pwrite db.duckdb 536576+262144",
    "pwrite db.duckdb 12288+262144",
    "fsync db.duckdb",
    "pwrite db.duckdb 4096+4096",
    "fsync db.duckdb",
    "remove db.duckdb.wal",
    "close db.duckdb",
];

/// The write to the log, and its sync, that commit the insert.
const INSERT_WRITE: usize = 12;
const INSERT_SYNC: usize = 13;

/// A scenario's folder in memory, and the log of what survives beside it.
struct Site {
    folder: tempfile::TempDir,
}

impl Site {
    fn new() -> Self {
        let memory = Path::new("/dev/shm");
        let place = if memory.is_dir() { memory.to_owned() } else { std::env::temp_dir() };
        let folder = tempfile::tempdir_in(place).unwrap();
        fs::create_dir(folder.path().join("scenario")).unwrap();
        Self { folder }
    }

    fn scenario(&self) -> PathBuf {
        self.folder.path().join("scenario")
    }

    /// The length of a file, if it is there.
    fn length(&self, name: &str) -> Option<u64> {
        fs::metadata(self.scenario().join(name)).ok().map(|status| status.len())
    }

    /// Does the short workload with plain DuckDB, and something at the call of a number.
    fn work(&self, fault: Option<(usize, &str)>) -> Worked {
        let task = json!({ "work": {
            "driver": "naive", "workload": "short", "folder": self.scenario(),
            "log": self.folder.path().join("log"), "fault": fault,
        }});
        let output = output(&mut harness(&["crash-worker", &task.to_string()]));
        let text = String::from_utf8(output.stdout).unwrap();
        let lines = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        Worked { lines, status: output.status }
    }

    /// The length of a file, if a model leaves it.
    fn survives(&self, model: Model, name: &str) -> Option<u64> {
        let target = tempfile::tempdir().unwrap();
        let log = self.folder.path().join("log");
        survivors::build(model, &self.scenario(), &log, target.path()).unwrap();
        fs::metadata(target.path().join(name)).ok().map(|status| status.len())
    }
}

struct Worked {
    lines: Vec<Value>,
    status: ExitStatus,
}

impl Worked {
    fn calls(&self) -> Vec<&str> {
        self.lines.iter().filter_map(|line| line["call"].as_str()).collect()
    }

    /// What was said of each step, in order: opening, two transactions, the checkpoint, closing.
    fn said(&self) -> Vec<String> {
        let said = self.lines.iter().filter_map(|line| line.get("ended"));
        said.map(|said| said.as_str().map_or_else(|| said.to_string(), str::to_owned)).collect()
    }
}

#[test]
fn the_calls_of_a_database_s_life_are_these_in_every_run() {
    for _ in 0..2 {
        let site = Site::new();
        let worked = site.work(None);
        assert_eq!(worked.calls(), CALLS);
        assert_eq!(worked.said(), ["done"; 5]);
        assert!(worked.status.success());
        assert_eq!(site.length("db.duckdb"), Some(798_720));
        assert_eq!(site.length("db.duckdb.wal"), None);
    }
}

#[test]
fn a_kill_comes_before_the_call_that_it_is_meant_for() {
    for (at, length) in [(INSERT_WRITE, 185), (INSERT_SYNC, 512)] {
        let site = Site::new();
        let worked = site.work(Some((at, "kill")));
        assert_eq!(worked.status.signal(), Some(9));
        assert_eq!(worked.calls(), [CALLS[at]]);
        assert_eq!(worked.said(), ["done", "done"]);
        assert_eq!(site.length("db.duckdb.wal"), Some(length));
    }
}

#[test]
fn a_torn_write_leaves_its_first_half_in_whole_sectors_if_it_has_two() {
    let site = Site::new();
    assert_eq!(site.work(Some((INSERT_WRITE, "torn"))).status.signal(), Some(9));
    assert_eq!(site.length("db.duckdb.wal"), Some(185 + 327 / 2));
    let site = Site::new();
    assert_eq!(site.work(Some((4, "torn"))).status.signal(), Some(9));
    assert_eq!(site.length("db.duckdb"), Some(2_048));
}

#[test]
fn an_error_is_that_of_the_statement_whose_call_failed() {
    let site = Site::new();
    let worked = site.work(Some((INSERT_SYNC, "eio")));
    let fatal = r#"{"failed":"Fatal"}"#;
    let unknown = r#"{"unknown":"Fatal"}"#;
    assert_eq!(worked.said(), ["done", "done", unknown, fatal, "done"]);
    let site = Site::new();
    let worked = site.work(Some((INSERT_WRITE, "enospc")));
    assert_eq!(worked.said(), ["done", "done", r#"{"failed":"DiskFull"}"#, "done", "done"]);
    assert_eq!(worked.calls(), [CALLS[INSERT_WRITE]], "the process went on");
    assert!(worked.status.success());
}

#[test]
fn a_commit_without_its_sync_is_lost_in_order_and_the_names_of_files_in_strictness() {
    let site = Site::new();
    site.work(Some((INSERT_SYNC, "kill")));
    let log = "db.duckdb.wal";
    assert_eq!(site.survives(Model::ProcessKill, log), Some(512));
    assert_eq!(site.survives(Model::Ordered, log), Some(185), "what the table's commit has synced");
    assert_eq!(site.survives(Model::Ordered, "db.duckdb"), Some(12_288));
    assert_eq!(site.survives(Model::Strict, log), None, "nobody has synced the folder");
    assert_eq!(site.survives(Model::Strict, "db.duckdb"), None);
    let site = Site::new();
    site.work(Some((INSERT_SYNC + 1, "kill")));
    assert_eq!(
        site.survives(Model::Ordered, log),
        Some(512),
        "the next call has come after the sync"
    );
}

struct Passes;

impl Judge for Passes {
    fn call(&self, _: &Call) -> Verdict {
        Verdict::Pass
    }
}

/// The tests do not define the functions: neither the library nor the manager does so for whoever links them.
#[test]
fn a_program_without_the_functions_is_refused_and_told_what_to_do() {
    let folder = tempfile::tempdir().unwrap();
    let refused = engine::arm(folder.path(), Arc::new(Passes)).err().unwrap();
    assert_eq!(refused.kind(), std::io::ErrorKind::Unsupported);
    assert!(refused.to_string().contains("export_io_symbols"), "{refused}");
    // It has not stayed armed.
    assert!(engine::arm(folder.path(), Arc::new(Passes)).is_err());
}
