//! Lockstep through the library: what is said to be decided is decided, and what is said to be seen is seen.

mod drivers;
mod files;
mod order;
mod processes;
mod repro_lost_update;
mod shrink;
mod verbs;

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use harness::lockstep::driver::Driver;
use harness::lockstep::explore::{self, Explored, Options};
use harness::lockstep::log::{Build, Ended, Log};
use harness::lockstep::replay::{self, Differs, Replayed};
use harness::lockstep::schedule::{self, Job, ScheduleError};
use harness::lockstep::strategy::{Kind, Strategy};
use harness::lockstep::{check, managed::Managed, naive::Naive};
use harness::scenario::script::Script;
use harness::seed::Seed;
use reports::Canaries;

use crate::support::workspace;
use drivers::{Clock, Fake, TwoFiles};

fn shipped(name: &str) -> Script {
    Script::read(&workspace().join("scenarios/threads").join(name)).unwrap()
}

/// A script for drivers that have no database.
fn script(actors: &[(&str, &[&str])]) -> Script {
    let head = "format = 1\nid = \"x\"\ntitle = \"x\"\nsuites = [\"ci\"]\nmode = \"lockstep\"\n\
                drivers = [\"naive\"]\n[database]\nsetup = [\"-\"]\n";
    let tables =
        actors.iter().map(|(id, steps)| format!("[[actors]]\nid = {id:?}\nsteps = {steps:?}\n"));
    let text: String = std::iter::once(head.to_owned()).chain(tables).collect();
    Script::parse(Path::new("x.toml"), text.as_bytes()).unwrap()
}

/// Runs schedules in a folder of its own.
struct Bench {
    folder: tempfile::TempDir,
    build: Build,
}

impl Bench {
    fn new() -> Self {
        // In memory, as the harness itself does it.
        let memory = Path::new("/dev/shm");
        let place = if memory.is_dir() { memory.to_owned() } else { std::env::temp_dir() };
        let build = Build::of_this_program();
        Self { folder: tempfile::tempdir_in(place).unwrap(), build }
    }

    fn job<T>(&self, script: &Script, driver: &dyn Driver, run: impl FnOnce(&Job<'_>) -> T) -> T {
        let folder = self.folder.path().join("schedule");
        let _ = fs::remove_dir_all(&folder);
        fs::create_dir(&folder).unwrap();
        run(&Job { script, driver, folder: &folder, watchdog: Duration::from_secs(5) })
    }

    /// The next schedule of a strategy, and the bytes of its log.
    fn run(
        &self,
        script: &Script,
        driver: &dyn Driver,
        strategy: &mut dyn Strategy,
    ) -> Result<(Log, Vec<u8>), ScheduleError> {
        let file = self.folder.path().join("log.jsonl");
        let schedule = strategy.schedule();
        let header = explore::header(script, driver.name(), Seed(7), schedule, &self.build);
        let log = self.job(script, driver, |job| schedule::run(job, strategy, &file, header))?;
        Ok((log, fs::read(file).unwrap()))
    }

    /// The first schedule of a strategy.
    fn first(&self, script: &Script, driver: &dyn Driver, kind: Kind) -> Log {
        let mut strategy = explore::strategy(kind, Seed(7), script);
        assert!(strategy.begin());
        self.run(script, driver, &mut *strategy).unwrap().0
    }

    fn replay(&self, log: &Log, script: &Script, driver: &dyn Driver) -> Replayed {
        let file = self.folder.path().join("replay.jsonl");
        self.job(script, driver, |job| replay::replay(log, job, &file)).unwrap()
    }

    fn explore(
        &self,
        script: &Script,
        driver: &dyn Driver,
        strategy: Kind,
        cases: u64,
    ) -> Explored {
        let options = Options {
            script,
            driver,
            strategy,
            seed: Seed(7),
            cases,
            time: Duration::from_mins(2),
            shrink: false,
            folder: self.folder.path(),
            interrupted: &AtomicBool::new(false),
        };
        explore::explore(&options, &mut |_| ()).unwrap()
    }
}

/// The logs of so many random schedules, as bytes and as digests.
fn logs(script: &Script, driver: &dyn Driver, count: usize) -> Vec<(Vec<u8>, u64)> {
    let bench = Bench::new();
    let mut strategy = explore::strategy(Kind::Random, Seed(0x5eed), script);
    let mut logs = Vec::new();
    for _ in 0..count {
        assert!(strategy.begin());
        let (log, bytes) = bench.run(script, driver, &mut *strategy).unwrap();
        logs.push((bytes, log.end.unwrap().contents.map_or(0, |contents| contents.0)));
    }
    logs
}

#[test]
fn the_same_seed_twice_gives_identical_logs_and_contents_for_200_random_schedules() {
    for (driver, count) in [(&Naive as &dyn Driver, 160), (&Managed, 40)] {
        let script = shipped("lost-update.toml");
        let (first, second) = (logs(&script, driver, count), logs(&script, driver, count));
        for (number, (one, other)) in first.iter().zip(&second).enumerate() {
            assert!(one == other, "schedule {number} on {} differs", driver.name());
        }
        let distinct: BTreeSet<_> = first.iter().map(|(log, _)| log).collect();
        assert!(count / 10 < distinct.len(), "a seed draws many schedules: {}", distinct.len());
    }
}

#[test]
fn a_recorded_log_replays_fifty_times_without_a_divergence() {
    let bench = Bench::new();
    for driver in [&Naive as &dyn Driver, &Managed] {
        let script = shipped("lost-update.toml");
        let log = bench.first(&script, driver, Kind::Pct { depth: 2 });
        for time in 0..50 {
            let replayed = bench.replay(&log, &script, driver);
            assert_eq!(
                replayed,
                Replayed::Reproduced(Box::new(log.clone())),
                "{} {time}",
                driver.name()
            );
        }
    }
}

#[test]
fn a_driver_that_asks_the_clock_is_caught_as_a_divergence_that_names_the_step() {
    let bench = Bench::new();
    let script = script(&[("ada", &["one", "clock", "two"]), ("bob", &["one"])]);
    let log = bench.first(&script, &Clock, Kind::Dfs { preemptions: 0 });
    let Replayed::Diverged(divergence) = bench.replay(&log, &script, &Clock) else {
        panic!("the clock was not noticed");
    };
    assert_eq!((divergence.step, divergence.differs), (1, Differs::Result));
    assert!(divergence.to_string().starts_with("DIVERGED at step 1: result ok `"), "{divergence}");
    // An exploration notices by itself, and goes no further.
    let explored = bench.explore(&script, &Clock, Kind::Random, 1_000);
    let divergence = explored.divergence.unwrap();
    assert_eq!((explored.schedules, divergence.differs), (1, Differs::Result));
}

#[test]
fn two_actors_that_wait_for_each_other_are_a_deadlock_with_its_graph() {
    let bench = Bench::new();
    let script = script(&[
        ("ada", &["take left", "take right", "return both"]),
        ("bob", &["take right", "take left", "return both"]),
    ]);
    let explored = bench.explore(&script, &TwoFiles, Kind::Dfs { preemptions: 1 }, 100);
    let tally = &explored.checks["no_deadlock"];
    assert!(0 < tally.violated && 0 < tally.holds, "{tally:?}");
    let kept = tally.first.as_ref().unwrap();
    assert_eq!(kept.reproduced, [3, 3], "a deadlock can be replayed");
    assert_eq!(
        kept.finding.because,
        [
            "nobody can move, and there is no timer",
            "ada (`take right`) waits for the write lease of right, which bob has",
            "bob (`take left`) waits for the write lease of left, which ada has",
        ]
    );
    let log = Log::read(&kept.file).unwrap();
    let Ended::Deadlock { graph } = log.end.unwrap().ended else { panic!("another end") };
    assert_eq!(graph.len(), 2);
}

#[test]
fn an_actor_that_does_not_come_back_is_a_finding_and_ends_the_exploration() {
    let bench = Bench::new();
    let script = script(&[("ada", &["one"]), ("bob", &["hang"])]);
    let mut strategy = explore::strategy(Kind::Random, Seed(7), &script);
    assert!(strategy.begin());
    let header = explore::header(&script, "fake", Seed(7), strategy.schedule(), &bench.build);
    let file = bench.folder.path().join("log.jsonl");
    let log = bench.job(&script, &Fake, |job| {
        let job = Job { watchdog: Duration::from_millis(300), ..*job };
        schedule::run(&job, &mut *strategy, &file, header).unwrap()
    });
    let end = log.end.as_ref().unwrap();
    assert_eq!(end.ended, Ended::Stuck { actor: "bob".into(), op: "hang".into() });
    let finding = check::all()[0].judge(&script, &log).unwrap();
    assert_eq!(finding.message, "bob is stuck");
}

#[test]
fn an_actor_that_panics_takes_no_further_step_and_the_others_go_on() {
    let bench = Bench::new();
    let script = script(&[("ada", &["panic", "one"]), ("bob", &["one", "two"])]);
    let log = bench.first(&script, &Fake, Kind::Dfs { preemptions: 0 });
    let ops: Vec<&str> = log.steps.iter().map(|step| step.decision.op.as_str()).collect();
    assert_eq!(ops, ["panic", "one", "two"]);
    assert_eq!(log.end.unwrap().ended, Ended::Done);
}

#[test]
fn virtual_time_jumps_to_the_earliest_timer_when_nobody_can_move() {
    let bench = Bench::new();
    let script = script(&[("ada", &["sleep 5000000"]), ("bob", &["sleep 90000"])]);
    let log = bench.first(&script, &Fake, Kind::Dfs { preemptions: 0 });
    let seen: Vec<(u64, &str)> =
        log.steps.iter().map(|step| (step.decision.at_ns, step.decision.actor.as_str())).collect();
    // Each blocked try takes a step of 1,000 ns, and the timers count from its end.
    assert_eq!(seen, [(0, "ada"), (1_000, "bob"), (92_000, "bob"), (5_001_000, "ada")]);
}

#[test]
fn every_check_catches_its_canary_in_real_schedules() {
    let bench = Bench::new();
    let explored = bench.explore(&shipped("three-by-six.toml"), &Managed, Kind::Random, 5);
    assert_eq!(explored.canaries, Canaries { planted: 6, caught: 6 });
    let holds: Vec<_> = explored.checks.iter().map(|(id, tally)| (*id, tally.holds)).collect();
    assert_eq!(
        holds,
        [
            ("no_deadlock", 5),
            ("no_false_commit", 5),
            ("no_leak", 5),
            ("no_lost_update", 5),
            ("one_snapshot", 5),
            ("readable", 5)
        ]
    );
}

#[test]
fn every_check_that_a_scenario_asks_for_catches_its_canary_in_real_schedules() {
    let bench = Bench::new();
    let mut asked = BTreeSet::new();
    for file in ["list-append.toml", "rows.toml", "transfer.toml"] {
        let explored = bench.explore(&shipped(file), &Managed, Kind::Random, 10);
        for (id, tally) in &explored.checks {
            assert_eq!((tally.violated, tally.unknown), (0, 0), "{file}: {id}");
        }
        let Canaries { planted, caught } = explored.canaries;
        assert_eq!((planted, caught), (explored.checks.len() as u32, planted), "{file}");
        asked.extend(explored.checks.into_keys());
    }
    let ids: BTreeSet<_> = check::all().into_iter().map(check::Check::id).collect();
    let others: Vec<_> = ids.difference(&asked).copied().collect();
    // Those have tests of their own, or the scenarios of faulty managers.
    assert_eq!(
        others,
        [
            "computed_once",
            "never_stale",
            "no_lost_update",
            "one_snapshot",
            "phase",
            "prompt",
            "served"
        ]
    );
}

#[test]
fn duckdb_loses_an_update_and_lies_about_a_commit_and_the_manager_does_neither() {
    let bench = Bench::new();
    for (file, check) in [
        ("lost-update.toml", "no_lost_update"),
        ("false-commit.toml", "no_false_commit"),
        ("list-rewritten.toml", "isolation"),
        ("write-skew.toml", "isolation"),
    ] {
        let script = shipped(file);
        let all = Kind::Dfs { preemptions: 2 };
        let naive = bench.explore(&script, &Naive, all, u64::MAX);
        let kept = naive.checks[check].first.as_ref().expect("naive is caught");
        assert_eq!(kept.reproduced, [3, 3]);
        let managed = bench.explore(&script, &Managed, all, u64::MAX);
        assert_eq!(managed.total, Some(managed.schedules), "all of them were run");
        assert_eq!(managed.checks[check].violated, 0);
        assert_eq!(managed.checks[check].holds, managed.schedules);
    }
}
