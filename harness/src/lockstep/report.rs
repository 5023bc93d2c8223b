//! From what was explored or replayed to the parts of `report.json`.
//!
//! # Scope of determinism
//!
//! Pure functions; only durations differ from run to run.

use std::fmt::Write as _;

use reports::{
    Actor, Check as CheckReport, Counts, Exploration, Failure, Hex64, Latencies, Mode, Report,
    ScenarioReport, Status, Verdict as Found,
};

use super::check;
use super::explore::{Explored, Kept, Tally};
use super::log::Log;
use super::strategy::Kind;
use crate::check::Verdict;
use crate::probe::as_ns;
use crate::scenario::script::Script;
use crate::seed::{Seed, fnv1a};

/// The report of one script explored on one driver.
pub fn explored(
    script: &Script,
    driver: &str,
    strategy: Kind,
    seed: Seed,
    explored: &Explored,
) -> ScenarioReport {
    let checks: Vec<_> = check::all()
        .iter()
        .filter_map(|check| {
            let tally = explored.checks.get(check.id());
            let stated = script.expect.get(driver).is_some_and(|it| it.contains_key(check.id()));
            (tally.is_some() || stated).then(|| tallied(script, driver, check.id(), tally))
        })
        .collect();
    let failure = diverged(script, driver, explored)
        .or_else(|| unexpected(&checks, explored).map(|kept| failed(&kept)))
        .or_else(|| not_found(script, driver, &checks));
    ScenarioReport {
        status: status(&checks, explored.divergence.is_some()),
        duration_ns: as_ns(explored.duration),
        counts: Counts {
            operations: explored.steps,
            conflicts: explored.conflicts,
            surfaced_errors: explored.conflicts + explored.errors,
            ..Counts::default()
        },
        checks,
        digest: Hex64(explored.digest),
        failure,
        exploration: Some(exploration(strategy, explored)),
        ..blank(script, driver, seed)
    }
}

/// The report of a log that was replayed. `again` is what came of it, if it came to its end.
pub fn replayed(
    script: &Script,
    log: &Log,
    again: Option<&Log>,
    reproduced: [u32; 2],
    because: Vec<String>,
) -> ScenarioReport {
    let driver = log.header.driver.as_str();
    let mut checks = Vec::new();
    let mut because = because;
    for check in check::all() {
        let Some(finding) = again.and_then(|again| check.judge(script, again)) else { continue };
        let expected = script.verdict(driver, check.id());
        // Of one schedule nobody expects that it breaks what some schedules break.
        let surprising = expected == Verdict::Holds && finding.verdict != Verdict::Holds;
        if surprising {
            because.push(format!("{}: {}", check.id(), finding.message));
            because.extend(finding.because.iter().cloned());
        }
        let status = verdict(finding.verdict);
        let expected = if surprising { Found::Holds } else { status };
        checks.push(CheckReport {
            id: check.id().into(),
            status,
            expected,
            message: finding.message,
        });
    }
    let [times, of] = reproduced;
    let status = status(&checks, times < of);
    let failure = (status != Status::Passed).then(|| Failure {
        fingerprint: Hex64(fnv1a(format!("{}/{driver}/replay", script.id).as_bytes())),
        because,
        replay_command: None,
        reproduced: Some(reproduced),
        minimized: None,
    });
    ScenarioReport {
        status,
        counts: Counts { operations: log.steps.len() as u64, ..Counts::default() },
        checks,
        digest: Hex64(log.digest()),
        failure,
        exploration: Some(Exploration {
            strategy: "replay".to_owned(),
            schedules_run: u64::from(of),
            schedules_total: None,
            preemption_bound: None,
            complete: false,
            crash_points_run: 0,
            crash_points_total: None,
            divergences: u64::from(of - times),
        }),
        ..blank(script, driver, Seed(log.header.seed.0))
    }
}

/// What all scenarios of a report covered together.
pub fn total(scenarios: &[ScenarioReport]) -> Option<Exploration> {
    let parts: Vec<_> = scenarios.iter().filter_map(|part| part.exploration.as_ref()).collect();
    let mut total = Exploration::clone(parts.first()?);
    for part in &parts[1..] {
        total.schedules_run += part.schedules_run;
        total.schedules_total = total.schedules_total.zip(part.schedules_total).map(|(a, b)| a + b);
        total.complete &= part.complete;
        total.crash_points_run += part.crash_points_run;
        total.crash_points_total = match (total.crash_points_total, part.crash_points_total) {
            (Some(one), Some(other)) => Some(one + other),
            (one, other) => one.or(other),
        };
        total.divergences += part.divergences;
    }
    Some(total)
}

/// Which property breaks on which driver, in Markdown: a row for each scenario.
pub fn table(report: &Report) -> String {
    let mut drivers: Vec<&str> = Vec::new();
    let mut ids: Vec<&str> = Vec::new();
    for scenario in &report.scenarios {
        if !drivers.contains(&scenario.driver.as_str()) {
            drivers.push(&scenario.driver);
        }
        if !ids.contains(&scenario.id.as_str()) {
            ids.push(&scenario.id);
        }
    }
    let head: Vec<String> = drivers.iter().map(|driver| format!(" {driver} |")).collect();
    let mut text = format!("| DuckDB {} |{}\n", report.provenance.versions.duckdb, head.concat());
    let _ = writeln!(text, "|---|{}", "---|".repeat(drivers.len())); // a String takes all
    for id in ids {
        let cell = |driver: &&str| {
            let of = |it: &&ScenarioReport| it.id == id && it.driver == **driver;
            let shown = report.scenarios.iter().find(of).map_or_else(String::new, cell);
            format!(" {shown} |")
        };
        let cells: Vec<String> = drivers.iter().map(cell).collect();
        let _ = writeln!(text, "| `{id}` |{}", cells.concat());
    }
    text
}

fn cell(scenario: &ScenarioReport) -> String {
    let violated = scenario.checks.iter().filter(|check| check.status == Found::Violated);
    let violated: Vec<String> = violated
        .map(|check| {
            // The first clause says in how many schedules.
            let counted = check.message.split(',').next().unwrap_or_default();
            format!("*{}*: {counted}", check.id.replace('_', " "))
        })
        .collect();
    if !violated.is_empty() {
        return violated.join("; ");
    }
    let Some(exploration) = &scenario.exploration else { return String::new() };
    let total = exploration.schedules_total.map_or("more".to_owned(), |total| total.to_string());
    format!("holds in {} of {total}", exploration.schedules_run)
}

/// A command that replays a log.
pub fn replay_command(kept: &Kept) -> String {
    format!("cargo run --release -- replay {}", kept.file.display())
}

fn exploration(strategy: Kind, explored: &Explored) -> Exploration {
    let (name, preemption_bound) = match strategy {
        Kind::Random => ("random", None),
        Kind::Pct { .. } => ("pct", None),
        Kind::Dfs { preemptions } => ("dfs", Some(preemptions)),
        Kind::Full => ("full", None),
        Kind::Swarm => ("swarm", None),
        Kind::Crash => ("crash", None),
        Kind::Portfolio => ("portfolio", None),
    };
    // The first schedule of that strategy has no fault.
    let points = |schedules: u64| schedules.saturating_sub(1);
    let is_crash = strategy == Kind::Crash;
    Exploration {
        strategy: name.to_owned(),
        schedules_run: explored.schedules,
        schedules_total: explored.total,
        preemption_bound,
        complete: explored.total == Some(explored.schedules),
        crash_points_run: if is_crash { points(explored.schedules) } else { 0 },
        crash_points_total: explored.total.filter(|_| is_crash).map(points),
        divergences: u64::from(explored.divergence.is_some()),
    }
}

/// A check over all schedules. One that is expected to be violated is so if some schedule violates it. If none of those
/// that were run does, another one may: a bound on preemptions is no bound on what can happen.
fn tallied(script: &Script, driver: &str, id: &str, tally: Option<&Tally>) -> CheckReport {
    let expected = script.verdict(driver, id);
    let tally = tally.cloned().unwrap_or_default();
    let found = match expected {
        _ if 0 < tally.violated => Verdict::Violated,
        _ if 0 < tally.unknown || tally.holds == 0 => Verdict::Unknown,
        Verdict::Violated => Verdict::Unknown,
        _ => Verdict::Holds,
    };
    let Tally { holds, violated, unknown, .. } = tally;
    let first = tally.first.as_ref().map_or_else(String::new, |first| {
        format!(", first in {}: {}", first.schedule, first.finding.message)
    });
    let all = holds + violated + unknown;
    let blind = if tally.is_blind { "; its canary was not caught" } else { "" };
    let message = format!("violated in {violated} of {all} schedules{first}{blind}");
    CheckReport { id: id.into(), status: verdict(found), expected: verdict(expected), message }
}

/// The first log of a property that was broken and should not have been.
fn unexpected(checks: &[CheckReport], explored: &Explored) -> Option<Kept> {
    let surprising = checks.iter().filter(|check| !check.is_as_expected());
    let mut kept = surprising
        .filter_map(|check| explored.checks.get(check.id.as_str()))
        .filter_map(|tally| tally.first.clone());
    kept.next()
}

fn failed(kept: &Kept) -> Failure {
    let mut because = vec![format!("schedule {}: {}", kept.schedule, kept.finding.message)];
    because.extend(kept.finding.because.iter().cloned());
    let minimized = match &kept.shrunk {
        Some(Ok(minimized)) => Some(minimized.clone()),
        Some(Err(reason)) => {
            because.push(format!("it was not made smaller: {reason}"));
            None
        }
        None => None,
    };
    Failure {
        fingerprint: Hex64(kept.fingerprint),
        because,
        replay_command: Some(replay_command(kept)),
        reproduced: Some(kept.reproduced),
        minimized,
    }
}

fn diverged(script: &Script, driver: &str, explored: &Explored) -> Option<Failure> {
    let divergence = explored.divergence.as_ref()?;
    Some(Failure {
        fingerprint: Hex64(fnv1a(format!("{}/{driver}/divergence", script.id).as_bytes())),
        because: vec![
            divergence.to_string(),
            "the same decisions had another outcome: something in the driver is not deterministic"
                .into(),
        ],
        replay_command: None,
        reproduced: None,
        minimized: None,
    })
}

/// A violation that was expected and not met.
fn not_found(script: &Script, driver: &str, checks: &[CheckReport]) -> Option<Failure> {
    let check = checks.iter().find(|check| !check.is_as_expected())?;
    Some(Failure {
        fingerprint: Hex64(fnv1a(format!("{}/{driver}/{}", script.id, check.id).as_bytes())),
        because: vec![format!("{}: expected {}: {}", check.id, check.expected, check.message)],
        replay_command: None,
        reproduced: None,
        minimized: None,
    })
}

fn status(checks: &[CheckReport], diverged: bool) -> Status {
    let surprising: Vec<_> = checks.iter().filter(|check| !check.is_as_expected()).collect();
    if surprising.iter().any(|check| check.status != Found::Unknown) {
        Status::Failed
    } else if surprising.is_empty() && !diverged {
        Status::Passed
    } else {
        Status::Inconclusive
    }
}

fn verdict(verdict: Verdict) -> Found {
    match verdict {
        Verdict::Holds => Found::Holds,
        Verdict::Violated => Found::Violated,
        Verdict::Unknown => Found::Unknown,
    }
}

/// One of a script on a driver, with nothing in it yet.
pub(super) fn blank(script: &Script, driver: &str, seed: Seed) -> ScenarioReport {
    let actor = |(thread, actor): (usize, &crate::scenario::script::Actor)| Actor {
        id: actor.id.clone(),
        role: "actor".to_owned(),
        process: 0,
        thread: thread as u32,
    };
    ScenarioReport {
        id: script.id.clone(),
        driver: driver.to_owned(),
        mode: Mode::Lockstep,
        seed: Hex64(seed.0),
        status: Status::Error,
        duration_ns: 0,
        actors: script.actors.iter().enumerate().map(actor).collect(),
        counts: Counts::default(),
        latency_ns: Latencies::default(),
        checks: Vec::new(),
        scores: Vec::new(),
        digest: Hex64(0),
        failure: None,
        store: None,
        exploration: None,
    }
}
