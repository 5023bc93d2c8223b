//! Actors as processes, points within operations, and faults, by decision.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::Duration;

use harness::lockstep::act::{Act, Move};
use harness::lockstep::driver::{Class, Driver};
use harness::lockstep::log::{Came, Ended, Log, Step};
use harness::lockstep::opening::Retrying;
use harness::lockstep::process;
use harness::lockstep::replay::Replayed;
use harness::lockstep::strategy::{Chooser, Offer, Stop};
use harness::lockstep::{managed::Managed, naive::Naive, schedule};
use harness::scenario::script::Script;
use rustix::process::Signal;

use super::{Bench, Kind, Seed, explore, logs};
use crate::support::{Running, Site, eventually, harness, send};

/// Two who add one to a counter, with these lines at the head of the scenario.
fn adding(head: &str) -> Script {
    // The actors of this process are played by the program that has their other half.
    process::use_program(PathBuf::from(env!("CARGO_BIN_EXE_harness")));
    let actor = |id: &str| {
        format!(
            "[[actors]]\nid = {id:?}\nsteps = [\"begin write\", \"UPDATE counter SET n = n + 1\", \"commit\"]\n"
        )
    };
    let text = format!(
        "format = 1\nid = \"adding\"\ntitle = \"x\"\nsuites = [\"ci\"]\nmode = \"lockstep\"\n\
         drivers = [\"naive\", \"retrying\", \"managed\"]\n{head}\n[database]\n\
         setup = [\"CREATE TABLE counter (n INTEGER)\", \"INSERT INTO counter VALUES (0)\"]\n{}{}\
         [counter]\nquery = \"SELECT n FROM counter\"\neach_commit_adds = 1\n",
        actor("ada"),
        actor("bob")
    );
    Script::parse(Path::new("adding.toml"), text.as_bytes()).unwrap()
}

const PROCESSES: &str = "each_actor = \"process\"";
const CALLS: &str = "each_actor = \"process\"\npoints = \"io\"";

fn faults(head: &str, kinds: &[&str], restart: bool) -> String {
    format!("{head}\n[faults]\nkinds = {kinds:?}\nat_most = 1\nrestart = {restart}")
}

/// One schedule, with a fault of that kind at the first step that stands where it says.
struct FaultAt<'a> {
    place: &'a str,
    act: Act,
    is_done: bool,
}

impl Chooser for FaultAt<'_> {
    fn choose(&mut self, offer: &Offer<'_>) -> Result<Move, Stop> {
        let go = Move::go(offer.can_stay().unwrap_or(offer.enabled[0]));
        let at = offer.enabled.iter().position(|actor| *actor == go.actor).unwrap();
        let fault = Move { actor: go.actor, act: self.act };
        if !self.is_done && offer.ops[at].starts_with(self.place) {
            assert!(offer.faults.contains(&fault), "{fault:?} is not in {:?}", offer.faults);
            self.is_done = true;
            return Ok(fault);
        }
        Ok(go)
    }
}

/// The log of it, which a replay reproduces.
fn with_fault(script: &Script, driver: &dyn Driver, act: Act, place: &str) -> Log {
    let bench = Bench::new();
    let mut chooser = FaultAt { place, act, is_done: false };
    let file = bench.folder.path().join("log.jsonl");
    let header = explore::header(script, driver.name(), Seed(7), "fault".into(), &bench.build);
    let log =
        bench.job(script, driver, |job| schedule::run(job, &mut chooser, &file, header).unwrap());
    assert!(chooser.is_done, "nobody came to `{place}`");
    assert_eq!(bench.replay(&log, script, driver), Replayed::Reproduced(Box::new(log.clone())));
    log
}

fn came(log: &Log, step: impl Fn(&Step) -> bool) -> &Came {
    log.steps.iter().find(|it| step(it)).and_then(|it| it.came.as_ref()).unwrap()
}

/// That of the step with the fault.
fn at_fault(log: &Log) -> &Came {
    came(log, |step| !step.decision.act.is_go())
}

fn counted(log: &Log) -> i64 {
    log.end.as_ref().unwrap().counter.unwrap()[1]
}

#[test]
fn the_same_seed_twice_gives_identical_logs_contents_and_files_of_processes_that_fail_and_come_back()
 {
    let kinds = ["kill", "pause", "eio", "enospc", "full", "torn"];
    let script = adding(&faults(CALLS, &kinds, true));
    for (driver, count) in [(&Naive as &dyn Driver, 15), (&Retrying, 15), (&Managed, 15)] {
        let (first, second) = (logs(&script, driver, count), logs(&script, driver, count));
        for (number, (one, other)) in first.iter().zip(&second).enumerate() {
            assert!(one == other, "schedule {number} on {} differs", driver.name());
        }
        let acts: BTreeSet<Act> = first
            .iter()
            .flat_map(|(bytes, _)| Log::parse("x", bytes).unwrap().steps)
            .map(|step| step.decision.act)
            .collect();
        assert!(2 < acts.len(), "there are faults among them: {acts:?}");
    }
}

#[test]
fn two_processes_are_within_a_commit_at_once() {
    let script = adding(CALLS);
    let mut seen = false;
    for (bytes, _) in logs(&script, &Managed, 10) {
        let log = Log::parse("x", &bytes).unwrap();
        let within =
            |step: &&Step| step.decision.at.as_deref().is_some_and(|at| at.contains(".wal"));
        let first = log.steps.iter().find(within).unwrap().decision.step;
        let last = log.steps.iter().rfind(within).unwrap().decision.step;
        let first_actor = &log.steps[first as usize].decision.actor;
        let other = log.steps[first as usize..last as usize]
            .iter()
            .any(|step| step.decision.actor != *first_actor && step.decision.at.is_some());
        seen |= other;
    }
    assert!(seen, "one stands at an I/O call while the other one makes its own");
}

#[test]
fn who_is_killed_at_an_io_call_has_not_made_it_and_its_locks_are_free() {
    let script = adding(&faults(CALLS, &["kill"], true));
    let log = with_fault(&script, &Retrying, Act::Kill, "write db.duckdb.wal");
    let killed = at_fault(&log);
    assert_eq!((killed.outcome.class, killed.outcome.shown.as_str()), (Class::Killed, "signal 9"));
    let restart = log.steps.iter().find(|step| step.decision.op == "restart").unwrap();
    assert_eq!(restart.decision.actor, "ada", "the one that was killed");
    assert_eq!(log.end.as_ref().unwrap().ended, Ended::Done, "bob found the file free");
    assert_eq!(counted(&log), 1, "what ada did is gone, what bob did is there");
}

#[test]
fn who_is_killed_behind_the_write_of_its_commit_may_have_committed() {
    let script = adding(&faults(CALLS, &["kill"], false));
    let log = with_fault(&script, &Retrying, Act::Kill, "fsync db.duckdb.wal");
    assert_eq!(at_fault(&log).outcome.class, Class::Killed);
    assert_eq!(counted(&log), 2, "the kernel has what was written, and bob replayed it");
}

/// Ada writes her commit, syncs it, and closes the file; then bob comes, if he lives.
#[test]
fn the_kernel_keeps_what_was_written_a_disk_what_was_synced_and_posix_what_has_a_synced_name() {
    let count = |act: Act, place: &str| {
        let script = adding(&faults(CALLS, &[&act.to_string()], false));
        counted(&with_fault(&script, &Retrying, act, place))
    };
    let (sync, close) = ("fsync db.duckdb.wal", "close db.duckdb");
    assert_eq!((count(Act::Kill, sync), count(Act::Kill, close)), (2, 2));
    assert_eq!((count(Act::LossOrdered, sync), count(Act::LossOrdered, close)), (0, 1));
    assert_eq!((count(Act::LossStrict, sync), count(Act::LossStrict, close)), (0, 0));
}

#[test]
fn when_the_power_fails_everybody_is_dead_before_anybody_moves() {
    let script = adding(&faults(CALLS, &["loss-ordered"], true));
    let log = with_fault(&script, &Retrying, Act::LossOrdered, "fsync db.duckdb.wal");
    let failed = log.steps.iter().position(|step| step.decision.act == Act::LossOrdered).unwrap();
    let next = &log.steps[failed + 1];
    assert_eq!((&*next.decision.enabled, &*next.decision.actor), (&["bob".to_owned()][..], "bob"));
    assert_eq!(next.came.as_ref().unwrap().outcome.class, Class::Killed);
    let back: Vec<&str> = log.steps[failed + 2..]
        .iter()
        .filter(|step| step.decision.op == "restart")
        .map(|step| &*step.decision.actor)
        .collect();
    assert_eq!(back.len(), 2, "{back:?}");
    assert_eq!(counted(&log), 1, "ada's transaction died with her, bob had not begun his");
}

#[test]
fn a_torn_write_is_half_done_and_its_process_dead() {
    let script = adding(&faults(CALLS, &["torn"], false));
    let log = with_fault(&script, &Retrying, Act::Torn, "write db.duckdb.wal");
    assert_eq!(at_fault(&log).outcome.class, Class::Killed);
    assert_eq!(counted(&log), 1, "half a commit is none");
}

#[test]
fn a_call_that_fails_is_the_failure_of_its_statement() {
    let script = adding(&faults(CALLS, &["eio", "enospc", "full"], false));
    for act in [Act::Eio, Act::Enospc, Act::Full] {
        let log = with_fault(&script, &Retrying, act, "write db.duckdb.wal");
        let of_ada = |step: &Step| step.decision.actor == "ada" && step.decision.op == "commit";
        let ended =
            |step: &Step| of_ada(step) && step.came.as_ref().unwrap().outcome.class.is_end();
        let commit = came(&log, ended);
        assert_ne!(commit.outcome.class, Class::Ok, "{act}: {commit:?}");
        assert!((1..=2).contains(&counted(&log)), "{act}: bob's is there, and perhaps ada's");
    }
}

#[test]
fn who_is_stopped_takes_no_step_until_it_moves_again() {
    let script = adding(&faults(PROCESSES, &["pause"], false));
    let log = with_fault(&script, &Managed, Act::Pause, "UPDATE");
    assert_eq!(at_fault(&log).outcome.shown, "stopped");
    assert_eq!((&log.end.as_ref().unwrap().ended, counted(&log)), (&Ended::Done, 2));
}

#[test]
fn the_manager_waits_by_the_scheduler_and_its_deadlines_are_virtual() {
    for each in ["", PROCESSES] {
        let head = format!("{each}\npoints = \"manager\"");
        let script = adding(&faults(&head, &["jump"], false));
        let begun = logs(&script, &Managed, 15);
        let again = logs(&script, &Managed, 15);
        assert!(begun == again, "the same twice");
        let logs: Vec<Log> =
            begun.iter().map(|(bytes, _)| Log::parse("x", bytes).unwrap()).collect();
        let steps = || logs.iter().flat_map(|log| &log.steps);
        let places: BTreeSet<&str> =
            steps().filter_map(|step| step.decision.at.as_deref()).collect();
        for place in ["attach", "commit", "count the commit", "take gate file"] {
            assert!(places.contains(place), "{place} is not in {places:?}");
        }
        let keeper = steps().any(|step| step.decision.actor.contains("keeper"));
        assert!(keeper, "the manager's own threads move by decision, too");
        let timed_out = steps().filter_map(|step| step.came.as_ref());
        let late = timed_out.filter(|came| came.outcome.shown.starts_with("TimedOut")).count();
        assert!(0 < late, "an hour that jumped by ends a wait of five seconds");
    }
}

#[test]
fn a_kill_at_every_call_is_enumerated_and_loses_nothing() {
    let script = adding(&faults(CALLS, &["kill"], true));
    let bench = Bench::new();
    let explored = bench.explore(&script, &Retrying, Kind::Crash, u64::MAX);
    assert_eq!(explored.total, Some(explored.schedules), "all of them");
    assert!(20 < explored.schedules, "{} calls", explored.schedules);
    for check in ["no_lost_update", "readable", "no_deadlock"] {
        let tally = &explored.checks[check];
        assert_eq!((tally.violated, tally.unknown), (0, 0), "{check}: {tally:?}");
    }
}

#[test]
fn a_replay_that_diverges_within_an_operation_comes_to_an_end() {
    let script = adding("points = \"manager\"");
    let bench = Bench::new();
    let log = bench.first(&script, &Managed, Kind::Random);
    let within = |step: &Step| step.decision.at.is_some() && step.decision.actor == "bob";
    let at = log.steps.iter().position(within).expect("it stops at points");
    let mut tampered = log.clone();
    tampered.steps[at].came.as_mut().unwrap().outcome.result.0 ^= 1;
    let (ended, end) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        let _ = ended.send(Bench::new().replay(&tampered, &script, &Managed)); // nobody waits any more
    });
    let replayed = end.recv_timeout(Duration::from_mins(1)).expect("it hangs");
    let Replayed::Diverged(divergence) = replayed else { panic!("{replayed:?}") };
    assert_eq!(divergence.step, at as u64);
}

#[test]
fn actors_that_stand_within_a_call_end_when_the_scheduler_is_killed() {
    let script = adding(CALLS);
    for _ in 0..3 {
        let site = Site::new();
        let scenario = site.file("adding.toml", &script.text);
        let mut command = harness(&["explore", "--driver", "retrying", "--strategy", "random"]);
        command.args(["--time", "60s", "--output"]).arg(site.output()).arg(scenario);
        let scheduler = Running::start(&mut command);
        let children = format!("/proc/{0}/task/{0}/children", scheduler.pid());
        let limit = Duration::from_secs(20);
        let actors: Vec<PathBuf> = eventually("two actors", limit, || {
            let pids = std::fs::read_to_string(&children).unwrap_or_default();
            let found: Vec<_> =
                pids.split_whitespace().map(|pid| Path::new("/proc").join(pid)).collect();
            (found.len() == 2).then_some(found)
        });
        std::thread::sleep(Duration::from_millis(200)); // so that it is in the middle of something
        send(scheduler.pid(), Signal::KILL);
        eventually("no actor", limit, || actors.iter().all(|actor| !actor.exists()).then_some(()));
    }
}

/// A program that is no actor.
fn odd(site: &Site, script: &str) -> String {
    let file = site.file("actor.sh", format!("#!/bin/sh\n{script}\n"));
    std::fs::set_permissions(&file, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    file.to_str().unwrap().to_owned()
}

#[test]
fn an_actor_that_dies_or_talks_nonsense_is_told_with_its_name() {
    let script = adding(PROCESSES);
    for (program, code, says) in [
        (
            "read make; echo '{\"reply\":\"done\"}'; read go; echo hello",
            70,
            "answered `begin write` with `hello`",
        ),
        ("read make; echo hello", 70, "answered `be an actor` with `hello`"),
        ("exit 3", 70, "it ended before it was an actor: exit code 3"),
        (
            "read make; echo '{\"reply\":\"done\"}'; read go; exit 3",
            1,
            "died in `begin write` (exit code 3)",
        ),
    ] {
        let site = Site::new();
        let scenario = site.file("adding.toml", &script.text);
        let mut command = harness(&["explore", "--driver", "retrying", "--cases", "1", "--output"]);
        command.arg(site.output()).arg(scenario).env(process::VARIABLE, odd(&site, program));
        Running::start(&mut command).finish().exits_with(code).says(&[says]);
    }
}
