//! `harness run smoke`, the flags of `run`, and the verbs that only print.

use std::collections::BTreeMap;

use harness::history::{History, Mode, Row, What};
use reports::{Canaries, Hex64, Report, Status};
use serde_json::Value;

use crate::support::{Running, Site, harness, read, workspace};

fn history(site: &Site) -> History {
    History::read(read(site.latest().join("histories/smoke.managed.jsonl")).as_bytes()).unwrap()
}

#[test]
fn smoke_passes_with_every_seed_and_the_seed_is_in_report_and_history() {
    let site = Site::new();
    for seed in ["0x1", "7", "0xfeedface"] {
        site.run(&["smoke", "--seed", seed]).exits_with(0);
        let report = site.report();
        let seed: harness::seed::Seed = seed.parse().unwrap();
        assert_eq!(report.scenarios[0].seed, Hex64(seed.0));
        assert_eq!(history(&site).header.seed, seed.to_string());
        let Canaries { planted, caught } = report.summary.canaries;
        assert!(4 < planted, "those of the free scenario, and those of the ones in lockstep");
        assert_eq!(caught, planted);
    }
}

#[test]
fn as_json_the_report_is_the_only_thing_printed() {
    let site = Site::new();
    let ran = site.run(&["smoke", "--message-format", "json"]).exits_with(0);
    assert_eq!(ran.stderr, "");
    let printed: Vec<Value> = serde_json::Deserializer::from_str(&ran.stdout)
        .into_iter()
        .map(|document| document.expect("only JSON"))
        .collect();
    assert_eq!(printed.len(), 1, "{}", ran.stdout);
    let written: Value =
        serde_json::from_str(&read(site.latest().join(reports::FILE_NAME))).unwrap();
    assert_eq!(printed[0], written);
}

#[test]
fn a_quiet_run_that_passes_says_nothing() {
    for flag in ["-q", "--quiet"] {
        let ran = Site::new().run(&["smoke", flag]).exits_with(0);
        assert_eq!((ran.stdout.as_str(), ran.stderr.as_str()), ("", ""));
    }
}

#[test]
fn a_quiet_run_that_fails_says_why_and_how_to_run_it_again() {
    let site = Site::new();
    let scenario = read(workspace().join("scenarios/smoke.toml"))
        .replace("data/stocks", workspace().join("scenarios/data/stocks").to_str().unwrap())
        .replace("[expect.managed]", "[expect.managed]\nconflicts_min = 1000000");
    let scenario = site.file("impossible.toml", scenario);
    site.run(&[scenario.as_path(), "-q".as_ref()])
        .exits_with(1)
        .says(&["conflicts_min: found 0, at least 1000000 expected", "--driver managed --seed 0x"]);
    let report = site.report();
    assert_eq!((report.summary.exit_code, report.summary.status), (1, Status::Failed));
    let failure = report.scenarios[0].failure.as_ref().unwrap();
    assert!(failure.because[0].starts_with("conflicts_min: "), "{failure:?}");
}

#[test]
fn a_check_that_was_expected_to_fail_and_does_not_is_a_failure() {
    let site = Site::new();
    let scenario = read(workspace().join("scenarios/smoke.toml"))
        .replace("data/stocks", workspace().join("scenarios/data/stocks").to_str().unwrap())
        .replace("[expect.managed]", "[expect.managed]\none_writer = \"violated\"");
    let scenario = site.file("surprise.toml", scenario);
    site.run(&[scenario]).exits_with(1).says(&["one_writer: holds, expected violated"]);
}

#[test]
fn only_the_drivers_that_were_asked_for_are_run() {
    let site = Site::new();
    site.run(&["demo", "--driver", "managed"]).exits_with(0);
    let drivers: Vec<_> = site.report().scenarios.into_iter().map(|run| run.driver).collect();
    assert_eq!(drivers, ["managed"]);
}

#[test]
fn the_seed_comes_from_the_environment_unless_it_is_given() {
    for (arguments, seed) in [(&["smoke"][..], 0x7b), (&["smoke", "--seed", "0x5"][..], 5)] {
        let site = Site::new();
        let command = &mut site.run_command(arguments);
        Running::start(command.env("HARNESS_SEED", "0x7b")).finish().exits_with(0);
        assert_eq!(site.report().scenarios[0].seed, Hex64(seed));
    }
}

/// How many keys each actor asked for, look-up by look-up.
fn asked(history: &History) -> BTreeMap<String, Vec<usize>> {
    let mut asked: BTreeMap<String, Vec<usize>> = BTreeMap::new();
    for event in &history.events {
        if let What::Lookup { hits, missed, .. } = &event.what {
            asked.entry(event.actor.clone()).or_default().push(*hits as usize + missed.len());
        }
    }
    asked
}

/// The interleaving is the kernel's, but who does what in which order is the plan's.
#[test]
fn two_runs_of_one_seed_have_the_same_actors_steps_and_scores() {
    let (one, other) = (Site::new(), Site::new());
    for site in [&one, &other] {
        site.run(&["smoke", "--seed", "99"]).exits_with(0);
    }
    assert_eq!(history(&one).header, history(&other).header);
    assert_eq!(asked(&history(&one)), asked(&history(&other)));
    assert_eq!(asked(&history(&one)).len(), 4, "every actor has something to do");
    let scores = |site: &Site| site.report().scenarios.remove(0).scores;
    assert_eq!(scores(&one), scores(&other));
    assert!(!scores(&one).is_empty());
}

/// Evaluators miss what they are scored on, compute it, and leave it for the next training phase.
#[test]
fn evaluators_that_may_not_write_lose_nothing_that_they_have_computed() {
    let site = Site::new();
    site.run(&["smoke"]).exits_with(0);
    let events = history(&site).events;
    let evaluating = |actor: &str| actor.starts_with("evaluation-");
    let wrote = |what: &What| matches!(what, What::LeaseTaken { mode: Mode::Write, .. });
    assert!(!events.iter().any(|event| evaluating(&event.actor) && wrote(&event.what)));
    let mut left: Vec<&Row> = Vec::new();
    for event in &events {
        if let What::PublishStarted { rows, .. } = &event.what
            && evaluating(&event.actor)
        {
            left.extend(rows);
        }
    }
    assert!(!left.is_empty(), "somebody has missed");
    let visible = events.iter().find_map(|event| match &event.what {
        What::Visible { rows } => Some(rows),
        _ => None,
    });
    assert!(left.iter().all(|row| visible.unwrap().contains(row)), "all of it is found");
}

#[test]
fn without_a_verb_the_flags_are_those_of_run() {
    let site = Site::new();
    let mut command = harness(&["smoke", "--output"]);
    Running::start(command.arg(site.output())).finish().exits_with(0);
    assert_eq!(site.report().scenarios[0].id, "smoke");
}

#[test]
fn a_file_and_a_suite_can_be_named() {
    for arguments in [&["scenarios/smoke.toml"][..], &["--suite", "ci", "--seed", "0x2a"]] {
        let site = Site::new();
        site.run(arguments).exits_with(0);
        assert_eq!(site.report().scenarios[0].id, "smoke");
    }
}

#[test]
fn runs_into_one_folder_keep_each_other_and_latest_is_the_newest() {
    let site = Site::new();
    let mut folders = Vec::new();
    for _ in 0..2 {
        site.run(&["smoke", "-q"]).exits_with(0);
        folders.push(site.latest());
    }
    assert_ne!(folders[0], folders[1]);
    for folder in folders {
        Report::read(folder.join(reports::FILE_NAME)).unwrap();
    }
}

/// `harness run 2>&1 | head` ended the run with a panic and exit code 101, without a report.
#[test]
fn a_reader_that_goes_away_changes_nothing() {
    let site = Site::new();
    for arguments in [&["smoke"][..], &["smoke", "--message-format", "json"]] {
        Running::start_unheard(&mut site.run_command(arguments)).finish().exits_with(0);
        assert_eq!(site.report().summary.exit_code, 0);
    }
    for arguments in [&["list"][..], &["schema"], &["check", "no-such-file"]] {
        let code = if arguments[0] == "check" { 2 } else { 0 };
        Running::start_unheard(&mut harness(arguments)).finish().exits_with(code);
    }
}

#[test]
fn the_list_names_every_scenario_with_its_suites_and_drivers() {
    let ran = Running::start(&mut harness(&["list"])).finish().exits_with(0);
    let line = |id: &str| {
        let mut lines = ran.stdout.lines();
        lines.find(|line| line.starts_with(id)).unwrap_or_else(|| panic!("{}", ran.stdout))
    };
    assert!(line("demo ").contains("naive,retrying,managed"), "{}", ran.stdout);
    assert!(line("smoke ").contains("smoke,ci"), "{}", ran.stdout);
}

#[test]
fn the_printed_schema_is_the_checked_in_one() {
    let ran = Running::start(&mut harness(&["schema"])).finish().exits_with(0);
    let printed: Value = serde_json::from_str(&ran.stdout).unwrap();
    let checked_in = read(workspace().join("reports/schema/report.v1.schema.json"));
    assert_eq!(printed, serde_json::from_str::<Value>(&checked_in).unwrap());
}
