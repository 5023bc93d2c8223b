//! The regression gate: the corpus in lockstep as its scenarios say, new schedules of it, and every log that was kept.
//!
//! What a test prints of a failure is what the command line prints: the box with the command that replays it.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use harness::failure;
use harness::lockstep::act::Act;
use harness::lockstep::log::Log;
use harness::lockstep::record::{self, Asked};
use harness::lockstep::replay::{self, Replayed};
use harness::lockstep::schedule::{Job, WATCHDOG};
use harness::lockstep::strategy::Kind;
use harness::lockstep::{check, determinism, driver, gate, process, session};
use harness::scenario::script::{DRIVERS, Script};
use harness::seed::Seed;
use harness::suite;
use parking_lot::Mutex;
use reports::{ScenarioReport, Status};

use crate::support::{Site, harness, output, read, workspace};

/// The seed of the gate: that of `harness run`.
const SEED: Seed = Seed(0x2a);
/// New schedules of each scenario and driver that a run of the tests tries.
const NEW_SCHEDULES: u32 = 3;
/// Scenarios at random that are run twice.
const TWICE: u64 = 200;

fn program() {
    process::use_program(PathBuf::from(env!("CARGO_BIN_EXE_harness")));
}

fn scenarios() -> PathBuf {
    workspace().join("scenarios")
}

fn corpus() -> Vec<Script> {
    suite::choose_scripts(&scenarios(), &["ci".to_owned()]).unwrap()
}

/// One of these tests at a time: each is a whole run, as a program of its own would do it.
static ONE: Mutex<()> = Mutex::new(());

/// Runs the corpus. Logs of failures stay, so that the command in the box works.
fn run(seed: Seed, at_random: Option<u32>) -> Vec<ScenarioReport> {
    program();
    let _one = ONE.lock();
    let folder = workspace().join("reports/out").join(format!("test-{seed}"));
    fs::create_dir_all(&folder).unwrap();
    let options = gate::Options {
        scripts: &corpus(),
        drivers: &[],
        seed,
        at_random,
        folder: &folder,
        interrupted: &AtomicBool::new(false),
    };
    let passed = gate::run(&options, &mut |_| ());
    let canaries = passed.canaries;
    assert_eq!(canaries.planted, canaries.caught, "a planted bug was not caught");
    passed.scenarios
}

/// The boxes of those that ended so.
fn boxes(reports: &[ScenarioReport], is_bad: impl Fn(Status) -> bool) -> String {
    let bad = reports.iter().filter(|report| is_bad(report.status));
    bad.filter_map(failure::boxed).collect::<Vec<_>>().join("\n")
}

#[test]
fn the_corpus_shows_what_it_says_and_nothing_of_it_on_the_manager() {
    println!("seed {SEED}");
    let reports = run(SEED, None);
    let bad = boxes(&reports, |status| status != Status::Passed);
    assert!(bad.is_empty(), "\n{bad}");
    assert!(50 < reports.len(), "{} scenarios on drivers", reports.len());
}

#[test]
fn new_schedules_of_the_corpus_break_nothing_that_is_not_known() {
    let days = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs() / 86_400;
    let seed = std::env::var("HARNESS_SEED").map_or(Seed(days), |text| text.parse().unwrap());
    println!("seed {seed}: run it again with HARNESS_SEED={seed}");
    let reports = run(seed, Some(NEW_SCHEDULES));
    // A violation that is expected need not be among so few.
    let bad = boxes(&reports, |status| matches!(status, Status::Failed | Status::Error));
    assert!(bad.is_empty(), "\n{bad}");
}

#[test]
fn two_hundred_scenarios_at_random_come_out_the_same_twice() {
    program();
    let _one = ONE.lock();
    println!("seed {SEED}");
    let time = Duration::from_mins(5);
    let compared = determinism::check(SEED, TWICE, time, &mut |_, _| ()).unwrap();
    assert_eq!(compared.scenarios, TWICE);
    let differences: Vec<&String> = compared.differences.iter().map(|it| &it.what).collect();
    assert!(differences.is_empty(), "{differences:#?}");
}

/// The logs that lie there, by name.
fn regressions() -> Vec<PathBuf> {
    let entries = fs::read_dir(scenarios().join("regressions")).unwrap();
    let mut logs: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    logs.sort();
    logs
}

#[test]
fn every_log_that_was_kept_replays() {
    program();
    let _one = ONE.lock();
    let folder = tempfile::tempdir_in(memory()).unwrap();
    for file in regressions() {
        let name = file.file_name().unwrap().to_str().unwrap();
        let log = Log::read(&file).unwrap_or_else(|error| panic!("{error}"));
        let header = &log.header;
        let expected = format!("{}.{}.v{}.jsonl", header.scenario, header.driver, header.version);
        assert!(name == expected || name.starts_with(&header.scenario), "{name}: {expected}");
        let script = session::script_of(&log).unwrap();
        let driver = driver(&header.driver).unwrap();
        let place = folder.path().join(name);
        fs::create_dir(&place).unwrap();
        let job = Job { script: &script, driver: &*driver, folder: &place, watchdog: WATCHDOG };
        match replay::replay(&log, &job, &folder.path().join("replay.jsonl")).unwrap() {
            Replayed::Reproduced(_) => {}
            other => panic!("{name}: {other:?}"),
        }
    }
}

#[test]
fn logs_of_every_kind_are_kept() {
    let logs: Vec<Log> = regressions().iter().map(|file| Log::read(file).unwrap()).collect();
    let has = |what: &str, fits: &dyn Fn(&Log) -> bool| {
        assert!(logs.iter().any(fits), "no log of {what} in scenarios/regressions");
    };
    has("version 1", &|log| log.header.version == 1);
    has("version 2", &|log| log.header.version == 2);
    has("an I/O call", &|log| at(log, "pwrite "));
    has("a kill", &|log| log.steps.iter().any(|step| step.decision.act == Act::Kill));
    has("a loss", &|log| log.steps.iter().any(|step| step.decision.act.loses().is_some()));
    has("a point of the manager", &|log| at(log, "gave back "));
    has("a restart", &|log| log.steps.iter().any(|step| step.decision.op == "restart"));
}

#[test]
fn every_fault_driver_and_check_stands_in_the_readme_of_scenarios() {
    let readme = read(scenarios().join("README.md"));
    let faults = Act::FAULTS.map(|(name, _)| name);
    let checks: Vec<&str> = check::all().iter().map(|check| check.id()).collect();
    for name in faults.iter().chain(&DRIVERS).chain(&checks) {
        assert!(readme.contains(&format!("`{name}`")), "{name} does not stand there");
    }
}

fn at(log: &Log, place: &str) -> bool {
    let places = log.steps.iter().filter_map(|step| step.decision.at.as_ref());
    places.into_iter().any(|at| at.starts_with(place))
}

fn memory() -> PathBuf {
    let memory = Path::new("/dev/shm");
    if memory.is_dir() { memory.to_owned() } else { std::env::temp_dir() }
}

#[test]
fn a_schedule_of_a_seed_is_the_same_log_again() {
    program();
    let _one = ONE.lock();
    let read = |file: &str| Script::read(&scenarios().join(file)).unwrap();
    let (script, fails) = (read("threads/lost-update.toml"), read("processes/power-fails.toml"));
    for (script, driver, strategy, schedule) in [
        (&script, "naive", Kind::Random, 12),
        (&script, "naive", Kind::Pct { depth: 2 }, 3),
        (&script, "naive", Kind::Dfs { preemptions: 1 }, 5),
        (&script, "naive", Kind::Full, 5),
        (&script, "naive", Kind::Swarm, 7),
        (&fails, "retrying", Kind::Crash, 9),
        (&fails, "managed", Kind::Swarm, 3),
    ] {
        let asked = Asked { script, driver, strategy, seed: SEED, schedule };
        assert_eq!(record::record(&asked).unwrap(), record::record(&asked).unwrap(), "{strategy}");
    }
    let none = Asked {
        script: &script,
        driver: "naive",
        strategy: Kind::Dfs { preemptions: 0 },
        seed: SEED,
        schedule: 2,
    };
    let error = record::record(&none).unwrap_err().to_string();
    assert_eq!(error, "there is no schedule 2: there are 2, counted from 0");
}

#[test]
fn run_runs_both_modes_and_replay_runs_a_schedule_of_a_seed() {
    let site = Site::new();
    let out = site.output();
    let out = out.to_str().unwrap();
    let ran = |arguments: &[&str]| {
        let done = output(harness(arguments).args(["--output", out]));
        let text = String::from_utf8(done.stderr).unwrap();
        assert_eq!(done.status.code(), Some(0), "{text}");
        text
    };
    let text = ran(&["run", "lost-update", "false-commit", "--driver", "naive"]);
    assert!(
        text.contains("lost-update on naive: 24 of 24 schedules, violated: no_lost_update"),
        "{text}"
    );
    let report = site.report();
    assert_eq!(report.exploration.unwrap().schedules_run, report.summary.schedules);
    let text = ran(&["replay", "--scenario", "lost-update", "--seed", "0x7", "--schedule", "12"]);
    assert!(
        text.contains("random/12 of lost-update on naive") && text.contains("reproduced 1 of 1"),
        "{text}"
    );
}

#[test]
fn the_table_of_hermitage_in_the_readme_is_what_the_command_prints() {
    let site = Site::new();
    let arguments =
        ["explore", "hermitage", "--preemptions", "1", "--table", "--quiet", "--output"];
    let done = output(harness(&arguments).arg(site.output()));
    assert_eq!(done.status.code(), Some(0));
    let table = String::from_utf8(done.stdout).unwrap();
    let readme = read(scenarios().join("README.md"));
    let shown =
        readme.split("<!-- hermitage -->").nth(1).unwrap().split("<!-- end -->").next().unwrap();
    assert_eq!(shown.trim(), table.trim());
}
