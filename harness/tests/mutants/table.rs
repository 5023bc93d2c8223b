//! Plants one fault after the other, each in a process of its own, and says which were caught by what.

use std::process::{Command, ExitCode, Stdio};
use std::sync::Mutex;
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::thread;
use std::time::{Duration, Instant};

use manager::faulty::{Fault, VARIABLE};
use rustix::process::{Pid, Signal, kill_process};

use crate::EXPLORE;
use crate::battery::{Caught, Explored, SOUND};
use crate::expected::{Seen, seen};

/// So many are to be caught at least.
const CAUGHT_MIN: usize = 24;

/// No process explores any longer.
const GUARD: Duration = Duration::from_mins(3);

/// The whole proof. Only some faults, if `ONLY` has a part of their names.
pub(crate) fn prove() -> ExitCode {
    let begun = Instant::now();
    let only = std::env::var("ONLY").unwrap_or_default();
    let faults: Vec<Fault> =
        Fault::ALL.iter().copied().filter(|fault| fault.name().contains(&only)).collect();
    let mut wrong = Vec::new();
    if only.is_empty() || only == SOUND {
        without(&mut wrong);
    }
    let caught = with(&faults, &mut wrong);
    println!("\n{caught} of {} faults were caught, in {:.0} s", faults.len(), seconds(begun));
    if only.is_empty() && caught < CAUGHT_MIN {
        wrong.push(format!("{caught} were caught, and {CAUGHT_MIN} have to be"));
    }
    for what in &wrong {
        println!("wrong: {what}");
    }
    if wrong.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn seconds(begun: Instant) -> f64 {
    begun.elapsed().as_secs_f64()
}

/// Without a fault every property holds in every schedule.
fn without(wrong: &mut Vec<String>) {
    let Some(explored) = explore(SOUND, wrong) else { return };
    println!("without a fault: {} schedules in {:.1} s", explored.schedules, explored.seconds);
    for (scenario, schedules, checks) in &explored.held {
        println!("  {scenario:<24} {schedules:>5}  {}", checks.join(", "));
        if *schedules == 0 {
            wrong.push(format!("{scenario}: no schedule was run"));
        }
    }
    let broken = explored.caught.map(|Caught { scenario, check, because, .. }| {
        format!("{scenario} without a fault: {check} is violated: {because}")
    });
    wrong.extend(broken);
    wrong.extend(explored.errors);
}

/// With each of these: how many were caught.
fn with(faults: &[Fault], wrong: &mut Vec<String>) -> usize {
    let queue = Mutex::new(faults.iter().copied());
    let results = Mutex::new(Vec::new());
    let workers = thread::available_parallelism().map_or(1, usize::from);
    thread::scope(|scope| {
        for _ in 0..workers {
            scope.spawn(|| {
                loop {
                    let Some(fault) = queue.lock().unwrap().next() else { break };
                    if matches!(seen(fault), Seen::Elsewhere(_)) {
                        continue;
                    }
                    let mut wrong = Vec::new();
                    let explored = explore(fault.name(), &mut wrong);
                    results.lock().unwrap().push((fault, explored, wrong));
                }
            });
        }
    });
    let mut results = results.into_inner().unwrap();
    results.sort_by_key(|(fault, ..)| *fault);
    println!(
        "\n{:<28} {:<7} {:<42} {:<33} {:>9} {:>7}",
        "fault", "breaks", "caught by", "search", "schedules", "seconds"
    );
    let mut caught = 0;
    for (fault, explored, problems) in results {
        wrong.extend(problems);
        let Some(explored) = explored else { continue };
        caught += usize::from(row(fault, &explored, wrong));
    }
    println!("\nnot seen by these scenarios; manager/tests/faulty.rs catches them:");
    for &fault in faults {
        if let Seen::Elsewhere(reason) = seen(fault) {
            println!("{:<28} {:<7} {reason}", fault.name(), fault.breaks());
        }
    }
    caught
}

fn row(fault: Fault, explored: &Explored, wrong: &mut Vec<String>) -> bool {
    let Explored { schedules, seconds, caught, errors, .. } = explored;
    let Some(caught) = caught else {
        wrong.push(format!(
            "{fault}: {schedules} schedules in {seconds:.1} s showed nothing; {errors:?}"
        ));
        return false;
    };
    let by = format!("{}: {}", caught.scenario, caught.check);
    let search =
        format!("{} ({})", caught.strategy, if caught.is_exhaustive { "all" } else { "drawn" });
    println!(
        "{:<28} {:<7} {by:<42} {search:<33} {schedules:>9} {seconds:>7.1}",
        fault.name(),
        fault.breaks()
    );
    println!("{:<36} {}", "", caught.because);
    if !caught.is_repeated {
        wrong.push(format!("{fault}: a replay did not come to the same verdict"));
    }
    true
}

/// Has another process explore, with that fault in its environment and in that of its actors.
fn explore(fault: &str, wrong: &mut Vec<String>) -> Option<Explored> {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args([EXPLORE, fault]).env_remove(VARIABLE);
    if fault != SOUND {
        command.env(VARIABLE, fault);
    }
    let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    // A schedule of a wrong manager may never end; the process that runs it is ended then.
    let (pid, (told, ended)) = (Pid::from_child(&child), channel::<()>());
    let guard = thread::spawn(move || {
        if ended.recv_timeout(GUARD) == Err(RecvTimeoutError::Timeout) {
            let _ = kill_process(pid, Signal::KILL); // it may have ended just now
        }
    });
    let ran = child.wait_with_output().unwrap();
    drop(told);
    guard.join().unwrap();
    if let Ok(explored) = serde_json::from_slice(&ran.stdout) {
        return Some(explored);
    }
    let said = String::from_utf8_lossy(&ran.stderr);
    let last: Vec<&str> = said.lines().rev().take(5).collect();
    wrong.push(format!("{fault}: the process that explored: {}; {last:?}", ran.status));
    None
}
