//! The verbs `explore` and `replay` from outside: exit codes, reports, and what a failure says.

use std::fs;
use std::path::PathBuf;

use serde_json::Value;

use crate::support::{Ran, Running, Site, harness, read, workspace};

pub(super) fn ran(site: &Site, verb: &str, arguments: &[&str]) -> Ran {
    let mut command = harness(&[verb, "--output"]);
    Running::start(command.arg(site.output()).args(arguments)).finish()
}

/// The scenario `lost-update`, with nothing said about what is expected.
pub(super) fn surprising(site: &Site) -> PathBuf {
    let text = read(workspace().join("scenarios/threads/lost-update.toml"));
    let (text, _) = text.split_once("[expect.naive]").unwrap();
    site.file("surprise.toml", text)
}

/// The one log that an exploration kept.
pub(super) fn kept(site: &Site) -> PathBuf {
    let failures = fs::read_dir(site.latest().join("failures")).unwrap();
    let folders: Vec<_> = failures.map(|entry| entry.unwrap().path()).collect();
    assert_eq!(folders.len(), 1);
    folders[0].join("decisions.jsonl")
}

pub(super) fn valid(site: &Site) -> Value {
    let report: Value = serde_json::from_str(&read(site.latest().join("report.json"))).unwrap();
    let schema = jsonschema::validator_for(&reports::schema()).unwrap();
    assert!(schema.is_valid(&report), "{:?}", schema.iter_errors(&report).next());
    report
}

#[test]
fn explore_prints_its_seed_first_and_reports_what_it_covered() {
    let site = Site::new();
    let done = ran(&site, "explore", &["lost-update", "--seed", "0x7"]).exits_with(0);
    assert!(
        done.stderr.starts_with("seed 0x0000000000000007, dfs, at most 2 preemptions\n"),
        "{}",
        done.stderr
    );
    let done = done.says(&["lost-update on naive: 24 of 24 schedules with at most 2 preemptions"]);
    drop(done);
    let report = valid(&site);
    assert_eq!(report["kind"], "explore");
    let exploration = &report["exploration"];
    assert_eq!(exploration["strategy"], "dfs");
    assert_eq!(exploration["preemption_bound"], 2);
    assert_eq!(exploration["complete"], true);
    assert_eq!(exploration["schedules_run"], exploration["schedules_total"]);
    assert_eq!(exploration["divergences"], 0);
    assert_eq!(report["summary"]["schedules"], exploration["schedules_run"]);
    assert_eq!(report["scenarios"][0]["mode"], "lockstep");
    assert_eq!(report["scenarios"][0]["exploration"]["schedules_run"], 24);
}

#[test]
fn pct_says_with_which_probability_it_meets_a_bug() {
    let site = Site::new();
    let arguments =
        ["lost-update", "--strategy", "pct", "--depth", "2", "--cases", "60", "--driver", "naive"];
    ran(&site, "explore", &arguments)
        .exits_with(0)
        .says(&["a probability of at least 0.062500", "60 of more schedules"]);
}

#[test]
fn an_expected_violation_that_no_schedule_shows_is_inconclusive() {
    let site = Site::new();
    let arguments = ["lost-update", "--driver", "naive", "--preemptions", "0"];
    let done = ran(&site, "explore", &arguments).exits_with(3);
    drop(done.says(&["2 of 2 schedules", "no_lost_update: expected violated: violated in 0 of 2"]));
    assert_eq!(valid(&site)["scenarios"][0]["status"], "inconclusive");
}

#[test]
fn a_failing_schedule_is_kept_and_its_replay_fails_the_same_way() {
    let site = Site::new();
    let file = surprising(&site);
    let file = file.to_str().unwrap();
    let failed = ran(&site, "explore", &[file, "--driver", "naive"]).exits_with(1);
    let log = kept(&site);
    let command = format!("replay: cargo run --release -- replay {}", log.display());
    failed.says(&["the counter went from 0 to 1, 2 was committed", "reproduced 3 of 3", &command]);
    let again = ran(&site, "replay", &[log.to_str().unwrap(), "--times", "10"]).exits_with(1);
    drop(again.says(&["reproduced 10 of 10", "no_lost_update: the counter went from 0 to 1"]));
    assert_eq!(valid(&site)["kind"], "replay");
    // The manager has nothing to hide.
    ran(&site, "explore", &[file, "--driver", "managed"]).exits_with(0);
}

#[test]
fn a_replay_that_diverges_is_cut_off_or_has_another_build_says_so_by_its_exit_code() {
    let site = Site::new();
    ran(&site, "explore", &["lost-update", "--driver", "naive", "--quiet"]).exits_with(0);
    let text = read(kept(&site));
    let log = |name: &str, text: &str| site.file(name, text).to_str().unwrap().to_owned();
    let other = text.replacen("\"shown\":\"1\\n\"", "\"shown\":\"2\\n\"", 1).replacen(
        "0x07f8bc07b4ba5002",
        "0x07f8bc07b4ba5003",
        1,
    );
    ran(&site, "replay", &[&log("diverges", &other)])
        .exits_with(5)
        .says(&["DIVERGED at step 1: result ok `1`", "reproduced 0 of 1"]);
    let cut = &text[..text.len() / 2 + text.len() / 4];
    ran(&site, "replay", &[&log("cut", cut)]).exits_with(3).says(&["the log was cut off"]);
    let foreign = text.replacen("\"version\":2", "\"version\":9", 1);
    ran(&site, "replay", &[&log("foreign", &foreign)]).exits_with(2).says(&["format version 9"]);
    let elsewhere = text.replacen("\"duckdb\":\"v", "\"duckdb\":\"v0", 1);
    let elsewhere = log("elsewhere", &elsewhere);
    ran(&site, "replay", &[&elsewhere, "--locked"])
        .exits_with(5)
        .says(&["another build wrote this log: duckdb v"]);
    ran(&site, "replay", &[&elsewhere]).exits_with(0).says(&["another build", "reproduced 1 of 1"]);
    ran(&site, "replay", &["no/such/file"]).exits_with(2).says(&["read the decision log"]);
}

#[test]
fn what_cannot_be_explored_is_refused() {
    let site = Site::new();
    ran(&site, "explore", &["no-such-id"])
        .exits_with(4)
        .says(&["no scenario in lockstep mode matches"]);
    ran(&site, "explore", &["lost-update", "--driver", "retrying"])
        .exits_with(4)
        .says(&["no scenario lists `retrying` among its `drivers`; there are managed, naive"]);
    let demo = workspace().join("scenarios/demo.toml");
    ran(&site, "explore", &[demo.to_str().unwrap()]).exits_with(2).says(&["demo.toml:"]);
    let text = read(workspace().join("scenarios/threads/lost-update.toml"));
    let bad = |name: &str, old: &str, new: &str| {
        site.file(name, text.replacen(old, new, 1)).to_str().unwrap().to_owned()
    };
    let driver = bad("driver.toml", "\"naive\", \"managed\"", "\"hopeful\"");
    ran(&site, "explore", &[&driver])
        .exits_with(2)
        .says(&["drivers[0]: expected \"naive\" or \"retrying\" or \"separate\" or \"managed\""]);
    let twice = bad("twice.toml", "id = \"replacing\"", "id = \"in-place\"");
    ran(&site, "explore", &[&twice]).exits_with(2).says(&["two actors are called \"in-place\""]);
    let setup = bad("setup.toml", "CREATE TABLE", "CREATE TABEL");
    ran(&site, "explore", &[&setup]).exits_with(2).says(&["set the database up", "TABEL"]);
}

#[test]
fn a_time_is_spent_on_kept_logs_first_then_on_all_of_few_preemptions_then_at_random() {
    let site = Site::new();
    ran(&site, "explore", &["lost-update", "--driver", "naive", "--time", "3s"])
        .exits_with(0)
        .says(&[
            "kept logs: 1 of 1",
            "dfs, at most 0 preemptions: 2 of 2",
            "dfs, at most 1 preemptions: 8 of 8",
            "dfs, at most 2 preemptions: 24 of 24",
            "pct, depth 2: ",
        ]);
}
