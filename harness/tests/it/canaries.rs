//! The judges are tested with real faults, not only with doctored histories: what is recorded here did happen.
//! (`phase_respected` meets its fault in every run of the naive driver, see `demo`.)

use std::fs::File;
use std::io::{self, Write};
use std::path::Path;
use std::sync::{Arc, Mutex};

use harness::check::{self, Verdict, canary};
use harness::driver::{self, Made};
use harness::history::{Actor, FORMAT, FORMAT_VERSION, Header, History, Mode, Outcome, Role, Row};
use harness::history::{What, When};
use harness::probe::Probe;
use harness::run::survey;
use manager::FeatureSpec;
use manager::duckdb::Connection;

use crate::support::{Site, read};

/// Where two processes of a test record what they do.
#[derive(Clone, Default)]
struct Tape(Arc<Mutex<Vec<u8>>>);

impl Write for Tape {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Tape {
    fn probe(&self, process: &str) -> Probe {
        Probe::new(process, Box::new(self.clone()))
    }

    fn history(&self) -> History {
        let actor = |process| Actor {
            id: format!("training-{process}/0"),
            role: Role::Training,
            process,
            thread: 0,
        };
        let header = Header {
            format: FORMAT.into(),
            format_version: FORMAT_VERSION.into(),
            scenario: "canary".into(),
            driver: "none".into(),
            seed: "0x0000000000000000".into(),
            actors: (0..2).map(actor).collect(),
        };
        let mut text = serde_json::to_vec(&header).unwrap();
        text.push(b'\n');
        text.extend(&*self.0.lock().unwrap());
        History::read(&*text).unwrap()
    }
}

fn verdict(id: &str, history: &History) -> Verdict {
    check::all().into_iter().find(|check| check.id() == id).unwrap().judge(history).verdict
}

#[test]
fn a_defect_planted_in_a_recorded_run_is_caught_by_each_of_the_four_checks() {
    let site = Site::new();
    site.run(&["smoke", "-q"]).exits_with(0);
    let file = site.latest().join("histories/smoke.managed.jsonl");
    let history = History::read(read(file).as_bytes()).unwrap();
    for check in check::all() {
        assert_eq!(check.judge(&history).verdict, Verdict::Holds, "{}", check.id());
        let planted = check.plant(&history).expect("a real run has a place for every defect");
        assert_eq!(check.judge(&planted).verdict, Verdict::Violated, "{}", check.id());
    }
    let count = canary::run(&history);
    assert_eq!((count.planted, count.caught, count.missed), (4, 4, vec![]));
}

/// Two DuckDB instances on one file in one process: DuckDB lets both write, and loses what one commits.
#[test]
fn two_real_writers_at_once_and_the_commit_they_lose_are_caught() {
    let site = Site::new();
    let path = site.path("x.duckdb");
    Connection::open(&path).unwrap().execute_batch("CREATE TABLE t (a INTEGER)").unwrap();
    let tape = Tape::default();
    let probes = [tape.probe("training-0"), tape.probe("training-1")];
    let writers = [&probes[0], &probes[1]].map(|probe| {
        let connection = Connection::open(&path).unwrap();
        probe.record(What::LeaseTaken { lease: 0, mode: Mode::Write, waited_ns: 0 });
        connection
    });
    for (number, (probe, writer)) in probes.iter().zip(&writers).enumerate() {
        probe.record(What::PublishStarted { op: 0, rows: vec![row(number)] });
        writer.execute("INSERT INTO t VALUES (?)", [number]).unwrap();
        probe.record(What::PublishEnded { op: 0, outcome: Outcome::Ok });
    }
    for (probe, writer) in probes.iter().zip(writers) {
        probe.record(What::LeaseReturned { lease: 0 });
        writer.close().map_err(|(_, error)| error).unwrap();
    }
    tape.probe("coordinator").record(What::Visible { rows: rows(&path) });

    let history = tape.history();
    assert_eq!(verdict("one_writer", &history), Verdict::Violated);
    assert_eq!(verdict("no_lost_commit", &history), Verdict::Violated);
    assert_eq!(check::lost_rows(&history), Some(1));
}

fn row(number: usize) -> Row {
    let entity = number.to_string();
    let spec = FeatureSpec::new("f", 1).entity(&entity);
    driver::row(spec.key(), &Made::Bytes(entity.into_bytes()))
}

/// What a fresh reader finds.
fn rows(path: &Path) -> Vec<Row> {
    let connection = Connection::open(path).unwrap();
    let mut statement = connection.prepare("SELECT a FROM t").unwrap();
    let found = statement.query_map([], |found| found.get(0)).unwrap();
    found.map(|number| row(number.unwrap())).collect()
}

#[test]
fn a_real_descriptor_lock_and_log_that_are_left_behind_are_caught() {
    let site = Site::new();
    let folder = site.path("run");
    std::fs::create_dir(&folder).unwrap();
    let tape = Tape::default();
    let probe = tape.probe("coordinator");
    let look = |when| match survey::take(when, &folder).unwrap() {
        // Other tests of this process have children of their own.
        What::Survey { when, descriptors, locks, files, .. } => {
            probe.record(What::Survey { when, descriptors, locks, files, processes: vec![] });
        }
        other => panic!("{other:?}"),
    };
    look(When::Before);
    look(When::After);
    assert_eq!(verdict("no_leak", &tape.history()), Verdict::Holds);

    let left = File::create(folder.join("x.duckdb.wal")).unwrap();
    left.lock().unwrap();
    look(When::After);
    let history = tape.history();
    let check = check::all().into_iter().find(|check| check.id() == "no_leak").unwrap();
    let finding = check.judge(&history);
    assert_eq!((finding.verdict, finding.count), (Verdict::Violated, 3), "{:?}", finding.because);
}
