//! Shrinking: what a failure does not need goes, what it needs stays, and what is left still fails.

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use harness::lockstep::act::{Act, Move};
use harness::lockstep::log::{Came, Log};
use harness::lockstep::process::use_program;
use harness::lockstep::repro::{self, Repro, ReproError};
use harness::lockstep::schedule;
use harness::lockstep::shrink::figures::failing;
use harness::lockstep::shrink::padding::padded;
use harness::lockstep::shrink::{Options, Shrunk, shrink};
use harness::lockstep::strategy::{Chooser, Offer, Stop};
use harness::scenario::script::Script;
use serde_json::Value;

use super::verbs::{kept, ran, surprising, valid};
use super::{Bench, Kind, Naive, Seed, explore, shipped};
use crate::support::{Site, read, workspace};

/// With time for a machine that has other things to do: what is left is a function of the log then.
fn shrunk(log: &Log, check: &str) -> Shrunk {
    let time = Duration::from_mins(10);
    let options = Options { check: Some(check), time, ..Options::new(&Naive) };
    shrink(log, &options, &mut |_| ()).unwrap_or_else(|error| panic!("{error}"))
}

fn regression() -> (PathBuf, Log) {
    let file = workspace().join("scenarios/regressions/lost-update.naive.v1.jsonl");
    let log = Log::read(&file).unwrap();
    (file, log)
}

/// The files of a repro, as bytes.
fn files(shrunk: &Shrunk) -> Vec<Vec<u8>> {
    let folder = tempfile::tempdir().unwrap();
    shrunk.repro.write(folder.path(), &shrunk.log).unwrap();
    let names = [repro::FILE, repro::LOG_FILE, repro::SQL_FILE, repro::TEST_FILE];
    names.map(|name| fs::read(folder.path().join(name)).unwrap()).to_vec()
}

#[test]
fn of_a_padded_lost_update_nothing_but_the_lost_update_is_left_and_twice_the_same_bytes() {
    let original = shipped("lost-update.toml");
    let script = padded(&original, Seed(7), 0).unwrap();
    let log = failing(&script, "no_lost_update", Seed(7)).unwrap().expect("a schedule fails");
    let one = shrunk(&log, "no_lost_update");
    let left = one.repro.script().unwrap();
    assert_eq!((&left.actors, &left.setup), (&original.actors, &original.setup));
    let [before, after] = one.repro.statements;
    assert!(10 * after <= before, "{after} of {before} are left");
    assert_eq!(one.repro.events[1], 8, "{:?}", one.repro.moves);
    assert_eq!(one.repro.verified, [3, 3]);
    assert!(one.repro.complete);
    let other = shrunk(&log, "no_lost_update");
    assert!(files(&one) == files(&other), "{:?} and {:?}", one.repro, other.repro);
}

#[test]
fn the_pair_that_decides_is_named_and_there_are_no_more_switches_than_needed() {
    let (_, log) = regression();
    let small = shrunk(&log, "no_lost_update").repro;
    assert_eq!(small.switches[1], 2, "{:?}", small.moves);
    assert_eq!(
        small.critical_pair.as_deref(),
        Some(
            "fails if `in-place: UPDATE counter SET n = n + 1 WHERE id = 1` comes before `replacing: commit`, not if after"
        )
    );
}

/// The test that is written is part of these tests, so it is known to compile and to fail where it should.
#[test]
fn the_checked_in_test_is_the_one_that_is_written_for_its_log() {
    let (_, log) = regression();
    let small = shrunk(&log, "no_lost_update");
    let text = small.repro.test(&small.log).unwrap();
    let file = workspace().join("harness/tests/it/lockstep/repro_lost_update.rs");
    if std::env::var_os("UPDATE_REPRO").is_some() {
        fs::write(&file, &text).unwrap();
    }
    let update =
        "`UPDATE_REPRO=1 cargo test --release -p harness --test it checked_in` writes it anew";
    assert!(read(&file) == text, "{} is not what is written now: {update}", file.display());
}

/// Who adds one in a transaction, and then moves one from here to there in two.
const NOT_ATOMIC: &str = r#"
format = 1
id = "not-atomic"
title = "What is done in two steps is half done when its process is killed"
suites = ["ci"]
mode = "lockstep"
drivers = ["naive"]
each_actor = "process"
points = "io"

[faults]
kinds = ["pause", "kill"]
at_most = 2

[database]
setup = ["CREATE TABLE counter (n INTEGER)", "INSERT INTO counter VALUES (0)", "CREATE TABLE other (n INTEGER)"]

[[actors]]
id = "bob"
steps = ["SELECT 1", "SELECT 2"]

[[actors]]
id = "ada"
steps = [
  "begin write", "UPDATE counter SET n = n + 1", "commit",
  "UPDATE counter SET n = n - 1", "SELECT n FROM counter", "UPDATE counter SET n = n + 1",
]

[counter]
query = "SELECT n FROM counter"
each_commit_adds = 1
"#;

/// Stops bob, has ada begin her last operation, and kills her at its first I/O call.
#[derive(Default)]
struct Killing {
    paused: bool,
    done: usize,
    calls: usize,
}

impl Chooser for Killing {
    fn choose(&mut self, offer: &Offer<'_>) -> Result<Move, Stop> {
        let [bob, ada] = [0, 1];
        let kill = Move { actor: ada, act: Act::Kill };
        Ok(if !self.paused {
            self.paused = true;
            Move { actor: bob, act: Act::Pause }
        } else if self.done == 5 && self.calls == 1 && offer.faults.contains(&kill) {
            kill
        } else if offer.enabled.contains(&ada) {
            Move::go(ada)
        } else {
            Move::go(bob)
        })
    }

    fn came(&mut self, came: &Came) -> Result<(), Stop> {
        if self.paused && came.step != 0 {
            let is_end = came.outcome.class.is_end();
            self.done += usize::from(is_end);
            self.calls = if is_end { 0 } else { self.calls + 1 };
        }
        Ok(())
    }
}

#[test]
fn of_a_failure_that_needs_a_kill_at_an_io_call_just_the_kill_is_left() {
    use_program(env!("CARGO_BIN_EXE_harness").into());
    let bench = Bench::new();
    let script = Script::parse(&PathBuf::from("x.toml"), NOT_ATOMIC.as_bytes()).unwrap();
    let file = bench.folder.path().join("log.jsonl");
    let header = explore::header(&script, "naive", Seed(7), "killing".into(), &bench.build);
    let log = bench.job(&script, &Naive, |job| {
        schedule::run(job, &mut Killing::default(), &file, header).unwrap()
    });
    let acts = |log: &Log| -> Vec<(String, Act)> {
        let decisions = log.steps.iter().map(|step| &step.decision);
        let faults = decisions.filter(|decision| decision.act != Act::Go);
        faults.map(|decision| (decision.actor.clone(), decision.act)).collect()
    };
    assert_eq!(acts(&log), [("bob".to_owned(), Act::Pause), ("ada".to_owned(), Act::Kill)]);
    let small = shrunk(&log, "no_lost_update");
    assert_eq!(acts(&small.log), [("ada".to_owned(), Act::Kill)]);
    assert_eq!(small.repro.faults, [2, 1]);
    let left = small.repro.script().unwrap();
    let faults = left.faults.unwrap();
    assert_eq!((faults.kinds, faults.at_most, faults.restart), (vec![Act::Kill], 1, false));
    let steps: Vec<_> = left.actors.iter().map(|actor| (&*actor.id, actor.steps.clone())).collect();
    let halves = ["UPDATE counter SET n = n - 1", "UPDATE counter SET n = n + 1"];
    assert_eq!(steps, [("ada", halves.map(str::to_owned).to_vec())]);
    assert_eq!(left.setup.len(), 2);
    let pair = small.repro.critical_pair.unwrap();
    assert!(
        pair.contains("n - 1, at write db.duckdb.wal") && pair.contains("ada: kill in"),
        "{pair}"
    );
}

#[test]
fn a_repro_is_read_back_as_it_was_written_and_a_foreign_file_is_refused() {
    let (_, log) = regression();
    let small = shrunk(&log, "no_lost_update");
    let [json, jsonl, ..] = &files(&small)[..] else { panic!("four files") };
    assert_eq!(Repro::parse("x", json).unwrap(), small.repro);
    assert_eq!(Log::parse("x", jsonl).unwrap(), small.log);
    assert!(Repro::is_one(json) && !Repro::is_one(jsonl));
    let refused = |bytes: &[u8]| Repro::parse("x", bytes).unwrap_err().to_string();
    assert!(refused(jsonl).starts_with("x: expected a repro (`flockgate-repro`), found "));
    assert!(refused(&json[..json.len() / 2]).ends_with("no JSON, or was cut off"));
    let text = String::from_utf8(json.clone()).unwrap().replace("\"version\": 1", "\"version\": 2");
    assert_eq!(
        refused(text.as_bytes()),
        "x: the repro has format version 2, this build reads 1; run it with the build that wrote it"
    );
    let foreign = Repro { driver: "mine".to_owned(), ..small.repro };
    assert!(matches!(foreign.verdict(), Err(ReproError::Driver(name)) if name == "mine"));
}

#[test]
fn an_order_that_does_not_fail_has_another_verdict() {
    let (_, log) = regression();
    let mut repro = shrunk(&log, "no_lost_update").repro;
    assert!(repro.verdict().unwrap().is_failure());
    repro.moves.sort_by(|one, other| one.actor.cmp(&other.actor));
    assert!(!repro.verdict().unwrap().is_failure());
}

#[test]
fn explore_makes_an_unexpected_failure_small_and_replay_takes_what_is_left() {
    let site = Site::new();
    let file = surprising(&site);
    let file = file.to_str().unwrap();
    let failed = ran(&site, "explore", &[file, "--driver", "naive"]).exits_with(1);
    drop(failed.says(&["smallest case: 8 → 8 steps, 10 → 10 statements", "fails if `"]));
    let minimized = &valid(&site)["scenarios"][0]["failure"]["minimized"];
    assert_eq!((&minimized["events"][1], &minimized["complete"]), (&8.into(), &true.into()));
    let folder = kept(&site).parent().unwrap().to_owned();
    for name in [repro::FILE, repro::LOG_FILE] {
        let file = folder.join(name);
        let again = ran(&site, "replay", &[file.to_str().unwrap(), "--times", "3"]).exits_with(1);
        drop(again.says(&["reproduced 3 of 3", "no_lost_update: the counter went from 0 to 1"]));
    }
    ran(&site, "explore", &[file, "--driver", "naive", "--no-shrink"]).exits_with(1);
    assert_eq!(valid(&site)["scenarios"][0]["failure"]["minimized"], Value::Null);
    assert!(!kept(&site).with_file_name(repro::FILE).exists());
}

#[test]
fn shrink_writes_a_repro_in_its_folder_and_exits_as_a_replay_would() {
    let site = Site::new();
    let (file, _) = regression();
    // Its scenario expects the failure.
    let done = ran(&site, "shrink", &[file.to_str().unwrap()]).exits_with(0);
    drop(done.says(&[
        "no_lost_update: the counter went from 0 to 1",
        "it fails 3 of 3",
        "repro.json",
    ]));
    let report = valid(&site);
    assert_eq!(
        report["scenarios"][0]["failure"]["minimized"]["verified"],
        serde_json::json!([3, 3])
    );
    let failures = fs::read_dir(site.latest().join("failures")).unwrap();
    let folder = failures.map(|entry| entry.unwrap().path()).next().unwrap();
    let sql = read(folder.join(repro::SQL_FILE));
    for line in ["-- actor: in-place\n", "BEGIN TRANSACTION; -- ok\n", "COMMIT; -- ok\n"] {
        assert!(sql.contains(line), "no {line:?} in {sql}");
    }
    // It can be made small again, and nothing is left to be left out.
    let again = folder.join(repro::FILE);
    drop(ran(&site, "shrink", &[again.to_str().unwrap()]).exits_with(0).says(&["8 → 8 steps"]));
    let unexpected =
        read(&file).replace("\\n[expect.naive]\\nno_lost_update = \\\"violated\\\"\\n", "");
    let unexpected = site.file("unexpected.jsonl", unexpected);
    drop(
        ran(&site, "shrink", &[unexpected.to_str().unwrap()])
            .exits_with(1)
            .says(&["smallest case"]),
    );
}

#[test]
fn what_cannot_be_made_small_is_refused_with_its_reason() {
    let site = Site::new();
    let (file, _) = regression();
    let text = read(&file);
    let refused = |name: &str, text: &str, code: i32, says: &str| {
        let file = site.file(name, text);
        let refused = ran(&site, "shrink", &[file.to_str().unwrap()]);
        drop(refused.exits_with(code).says(&[says]));
    };
    refused("cut", &text[..text.len() * 3 / 4], 3, "the log was cut off after");
    refused("foreign", &text.replacen("\"version\":1", "\"version\":9", 1), 2, "format version 9");
    refused(
        "driver",
        &text.replacen("\"driver\":\"naive\"", "\"driver\":\"mine\"", 1),
        2,
        "no driver `mine`",
    );
    let held = text.replacen("\"counter\":[0,1]", "\"counter\":[0,2]", 1);
    assert_ne!(held, text);
    refused("holds", &held, 4, "there is no failure in the log of lost-update on naive");
    refused("empty", "", 2, "expected the header of a decision log");
    let file = file.to_str().unwrap();
    let late = ran(&site, "shrink", &[file, "--time", "0s"]).exits_with(3);
    drop(late.says(&["no time was left"]));
    let other = ran(&site, "shrink", &[file, "--check", "no_deadlock"]).exits_with(4);
    drop(other.says(&["no_deadlock is not broken"]));
    drop(ran(&site, "shrink", &["no/such/file"]).exits_with(2).says(&["read the decision log"]));
    // A log that says it failed, with an order that does not.
    let script = shipped("lost-update.toml");
    let mut calm = Bench::new().first(&script, &Naive, Kind::Dfs { preemptions: 0 });
    calm.end.as_mut().unwrap().counter = Some([0, 1]);
    refused("calm", &calm.text(), 5, "does not fail in the same way");
}
