//! The scenarios, and how far each is explored, with a fault or without.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use harness::check::Verdict;
use harness::lockstep::explore;
use harness::lockstep::log::{Build, Log};
use harness::lockstep::managed::{self, Managed};
use harness::lockstep::replay::{self, Replayed};
use harness::lockstep::schedule::{self, Job, ScheduleError};
use harness::lockstep::strategy::{Kind, Stop};
use harness::lockstep::{check, process};
use harness::scenario::script::{EachActor, Script};
use harness::seed::Seed;
use manager::faulty::{self, Fault};
use serde::{Deserialize, Serialize};
use tempfile::TempDir;

use crate::expected;

/// In the place of a fault's name: none.
pub(crate) const SOUND: &str = "none";

const SEED: Seed = Seed(0x5eed);
/// Where they are, below `scenarios/`.
const FOLDERS: [&str; 2] = ["canary", "store"];
/// No fault is looked for any longer.
const TIME: Duration = Duration::from_mins(1);
/// A step that takes longer is stuck: shorter than usual, since most of these managers are wrong.
const WATCHDOG: Duration = Duration::from_secs(5);

/// How a scenario is explored.
pub(crate) struct Plan {
    /// The name of its file.
    pub(crate) scenario: &'static str,
    kind: Kind,
    cases: u64,
}

const fn every(scenario: &'static str, kind: Kind) -> Plan {
    Plan { scenario, kind, cases: u64::MAX }
}

const fn some(scenario: &'static str, cases: u64) -> Plan {
    Plan { scenario, kind: Kind::Random, cases }
}

const TWICE: Kind = Kind::Dfs { preemptions: 2 };
const ONCE: Kind = Kind::Dfs { preemptions: 1 };

/// All of them, quick ones first.
pub(crate) const BATTERY: [Plan; 17] = [
    every("one-writer", ONCE),
    every("reader-beside-writer", TWICE),
    every("panic", TWICE),
    every("nest", TWICE),
    every("left-behind", TWICE),
    every("past-the-manager", TWICE),
    every("phases", TWICE),
    every("failing-disk", Kind::Crash),
    every("hand-over-at-calls", ONCE),
    some("hand-over", 30),
    some("queue", 60),
    some("deadline", 5),
    Plan { kind: Kind::Pct { depth: 2 }, ..some("writer-between-readers", 60) },
    some("look-ups", 60),
    some("computes", 30),
    some("files", 30),
    every("sweeps", ONCE),
];

/// What came of an exploration.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct Explored {
    /// Schedules that were run to their end.
    pub(crate) schedules: u64,
    pub(crate) seconds: f64,
    /// The first verdict that a property is broken.
    pub(crate) caught: Option<Caught>,
    /// What else went wrong: no verdict.
    pub(crate) errors: Vec<String>,
    /// By scenario: how many schedules there were, and which checks had something to say, and said that it holds.
    pub(crate) held: Vec<(String, u64, Vec<String>)>,
}

/// A verdict.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Caught {
    pub(crate) scenario: String,
    pub(crate) check: String,
    pub(crate) strategy: String,
    pub(crate) is_exhaustive: bool,
    pub(crate) because: String,
    /// Whether a replay of its log had the same verdict.
    pub(crate) is_repeated: bool,
}

/// Prints it for the process that asked.
pub(crate) fn tell(explored: &Explored) -> ExitCode {
    let line = serde_json::to_string(explored).unwrap();
    println!("{line}");
    ExitCode::SUCCESS
}

/// Every schedule of the battery, without a fault.
pub(crate) fn sound() -> Explored {
    faulty::plant(None);
    let mut explored = Explored::default();
    let begun = Instant::now();
    for plan in BATTERY {
        let bench = Bench::new(plan.scenario);
        let before = explored.schedules;
        let mut held: Vec<String> = Vec::new();
        bench.explore(&plan, &mut explored, &mut |log| {
            for check in check::all() {
                let Some(finding) = check.judge(&bench.script, log) else { continue };
                let id = check.id().to_owned();
                if finding.verdict == Verdict::Holds && !held.contains(&id) {
                    held.push(id);
                }
            }
            broken(&bench.script, log)
                .map(|(check, because)| bench.caught(&plan, log, check, because))
        });
        explored.held.push((plan.scenario.to_owned(), explored.schedules - before, held));
    }
    explored.seconds = begun.elapsed().as_secs_f64();
    explored
}

/// The battery until it catches that fault, what is expected to do so first.
pub(crate) fn faulty(fault: Fault) -> Explored {
    let hint = expected::scenario(fault);
    let (first, rest): (Vec<_>, Vec<_>) =
        BATTERY.into_iter().partition(|plan| Some(plan.scenario) == hint);
    let mut explored = Explored::default();
    let begun = Instant::now();
    for plan in first.into_iter().chain(rest) {
        let bench = Bench::new(plan.scenario);
        // Where actors are processes they have it from their environment, and whoever looks at the end is sound.
        let is_here = bench.script.each_actor == EachActor::Thread;
        managed::end_idle();
        faulty::plant(is_here.then_some(fault));
        bench.explore(&plan, &mut explored, &mut |log| {
            let (check, because) = broken(&bench.script, log)?;
            Some(bench.caught(&plan, log, check, because))
        });
        if explored.caught.is_some() || TIME < begun.elapsed() {
            break;
        }
    }
    explored.seconds = begun.elapsed().as_secs_f64();
    process::end_idle();
    explored
}

/// The first property that is broken, and why.
fn broken(script: &Script, log: &Log) -> Option<(&'static str, String)> {
    check::all().into_iter().find_map(|check| {
        let finding = check.judge(script, log)?;
        let because = finding.because.first().cloned().unwrap_or_default();
        (finding.verdict == Verdict::Violated).then(|| (check.id(), because))
    })
}

/// A scenario, and a folder for its schedules.
struct Bench {
    script: Script,
    folder: TempDir,
    build: Build,
}

impl Bench {
    fn new(scenario: &str) -> Self {
        let scenarios = Path::new(env!("CARGO_MANIFEST_DIR")).join("../scenarios");
        let mut files = FOLDERS.map(|folder| scenarios.join(folder).join(scenario)).into_iter();
        let file =
            files.find_map(|file| Some(file.with_extension("toml")).filter(|it| it.is_file()));
        let script = Script::read(&file.unwrap_or_else(|| panic!("there is no {scenario}")));
        // In memory, as the harness itself does it.
        let memory = Path::new("/dev/shm");
        let place = if memory.is_dir() { memory.to_owned() } else { std::env::temp_dir() };
        Self {
            script: script.unwrap_or_else(|error| panic!("{error}")),
            folder: tempfile::tempdir_in(place).unwrap(),
            build: Build::of_this_program(),
        }
    }

    /// Runs the plan's schedules until `judge` has a verdict.
    fn explore(
        &self,
        plan: &Plan,
        explored: &mut Explored,
        judge: &mut dyn FnMut(&Log) -> Option<Caught>,
    ) {
        let mut strategy = explore::strategy(plan.kind, SEED, &self.script);
        let begun = Instant::now();
        let mut count = 0;
        while count < plan.cases && explored.caught.is_none() && begun.elapsed() < TIME {
            if !strategy.begin() {
                break;
            }
            let header =
                explore::header(&self.script, "managed", SEED, strategy.schedule(), &self.build);
            let file = self.folder.path().join("log.jsonl");
            match self.job(|job| schedule::run(job, &mut *strategy, &file, header)) {
                Ok(log) => {
                    count += 1;
                    explored.schedules += 1;
                    explored.caught = judge(&log);
                }
                Err(ScheduleError::Stopped(Stop::Redundant)) => {}
                Err(error) => {
                    explored.errors.push(format!("{}: {error}", plan.scenario));
                    break;
                }
            }
        }
    }

    /// What a wrong manager has left in its process is not taken along to the next schedule.
    fn job<T>(&self, run: impl FnOnce(&Job<'_>) -> T) -> T {
        process::end_idle();
        managed::end_idle();
        let folder: PathBuf = self.folder.path().join("schedule");
        let _ = fs::remove_dir_all(&folder); // there is none before the first schedule
        fs::create_dir(&folder).unwrap();
        run(&Job { script: &self.script, driver: &Managed, folder: &folder, watchdog: WATCHDOG })
    }

    fn caught(&self, plan: &Plan, log: &Log, check: &str, because: String) -> Caught {
        let file = self.folder.path().join("replay.jsonl");
        let replayed = self.job(|job| replay::replay(log, job, &file));
        let is_repeated = matches!(replayed, Ok(Replayed::Reproduced(again))
            if broken(&self.script, &again).is_some_and(|(its, _)| its == check));
        Caught {
            scenario: plan.scenario.to_owned(),
            check: check.to_owned(),
            strategy: plan.kind.to_string(),
            is_exhaustive: plan.cases == u64::MAX,
            because,
            is_repeated,
        }
    }
}
