//! From a history to a verdict: what the checks say, whether it was expected, and one report of it all.
//!
//! # Scope of determinism
//!
//! A pure function of the history, the scenario and the time that the run took.

use reports::{
    Check as CheckReport, Counts, Failure, Hex64, ScenarioReport, Score, Status, StoreFigures,
};

use crate::check::{self, Verdict};
use crate::history::{History, Role};
use crate::run::Finished;
use crate::scenario::{Driver, Expect, Mode, Scenario, Work};
use crate::seed::{Seed, fnv1a};
use crate::tally;

/// Judges a run that came to its end. `reference` is what another driver scored on the same plan.
pub fn finished(
    scenario: &Scenario,
    driver: Driver,
    seed: Seed,
    finished: &Finished,
    reference: Option<&[Score]>,
) -> ScenarioReport {
    let history = &finished.history;
    let expect = scenario.expect(driver);
    let counts = tally::counts(history);
    let scores = tally::scores(history);
    let mut checks = Vec::new();
    let mut because = Vec::new();
    for check in check::all() {
        let finding = check.judge(history);
        let expected = expect.verdict(check.id());
        if finding.verdict != expected {
            because.push(format!("{}: {}", check.id(), finding.message));
            because.extend(finding.because);
        }
        checks.push(CheckReport {
            id: check.id().into(),
            status: verdict(finding.verdict),
            expected: verdict(expected),
            message: finding.message,
        });
    }
    let mut bounds = bounds(&expect, &counts);
    let figures = match scenario.work {
        Work::Pipeline { .. } => {
            bounds.push(all_scored(scenario, &scores));
            bounds.extend(same_scores(&scores, reference));
            None
        }
        Work::Panel(_) => Some(tally::store_figures(history)),
    };
    bounds.extend(figures.into_iter().flat_map(|figures| of_store(&expect, &figures)));
    because.extend(
        bounds
            .iter()
            .filter(|bound| !bound.is_as_expected())
            .map(|bound| format!("{}: {}", bound.id, bound.message)),
    );
    checks.extend(bounds);
    let status = status(&checks);
    let failure =
        (status != Status::Passed).then(|| explain(scenario, driver, seed, because, &checks));
    ScenarioReport {
        duration_ns: crate::probe::as_ns(finished.duration),
        counts,
        store: figures,
        latency_ns: tally::latencies(history),
        checks,
        scores,
        digest: Hex64(digest(history)),
        status,
        failure,
        ..empty(scenario, driver, seed, history)
    }
}

/// Reports a run that did not come to its end.
pub fn broken(
    scenario: &Scenario,
    driver: Driver,
    seed: Seed,
    actors: &[crate::history::Actor],
    message: &str,
) -> ScenarioReport {
    let because = vec![message.to_owned()];
    ScenarioReport {
        status: Status::Error,
        failure: Some(explain(scenario, driver, seed, because, &[])),
        ..blank(scenario, driver, seed, actors)
    }
}

/// The bounds that a scenario sets, as checks.
fn bounds(expect: &Expect, counts: &Counts) -> Vec<CheckReport> {
    let at_least = |id: &str, found: u64, bound: Option<u64>| {
        bound.map(|bound| {
            report(id, found >= bound, format!("found {found}, at least {bound} expected"))
        })
    };
    let at_most = |id: &str, found: u64, bound: Option<u64>| {
        bound.map(|bound| {
            report(id, found <= bound, format!("found {found}, at most {bound} expected"))
        })
    };
    let ratio = expect.hit_ratio_published_min.map(|bound| {
        let found = counts.hit_ratio_published();
        let text = found
            .map_or("no look-up of a published key".to_owned(), |found| format!("found {found}"));
        let good = found.is_some_and(|found| bound <= found);
        report("hit_ratio_published_min", good, format!("{text}, at least {bound} expected"))
    });
    [
        at_least("conflicts_min", counts.conflicts, expect.conflicts_min),
        at_most("surfaced_errors_max", counts.surfaced_errors, expect.surfaced_errors_max),
        at_most("lost_rows_max", counts.lost_rows, expect.lost_rows_max),
        at_least("recomputes_min", counts.recomputes, expect.recomputes_min),
        at_most("recomputes_max", counts.recomputes, expect.recomputes_max),
        ratio,
    ]
    .into_iter()
    .flatten()
    .collect()
}

/// What has to be so of every panel, and what the scenario asks for on top.
fn of_store(expect: &Expect, figures: &StoreFigures) -> Vec<CheckReport> {
    let StoreFigures { computed, computed_twice, compared, wrong, .. } = *figures;
    let once =
        format!("{computed_twice} of {computed} computations were of something computed before");
    let right =
        format!("{wrong} of {compared} artefacts that were found are not what they should be");
    let mut checks = vec![
        report("computed_once", computed_twice == 0 && 0 < computed, once),
        // Who compares nothing has shown nothing.
        report("hits_right", wrong == 0 && 0 < compared, right),
    ];
    checks.extend(expect.computed_exactly.map(|bound| {
        let text = format!("found {computed}, exactly {bound} expected");
        report("computed_exactly", computed == bound, text)
    }));
    checks.extend(expect.hit_ratio_min.map(|bound| {
        let found = figures.hit_ratio().unwrap_or(0.0);
        report("hit_ratio_min", bound <= found, format!("found {found}, at least {bound} expected"))
    }));
    checks
}

/// A run that scored nothing has shown nothing.
fn all_scored(scenario: &Scenario, scores: &[Score]) -> CheckReport {
    let (found, planned) = (scores.len(), scenario.windows.count);
    report(
        "all_scored",
        found as u64 == u64::from(planned),
        format!("{found} of {planned} windows scored"),
    )
}

/// One plan has one outcome, whichever driver carried it out: the scores are equal to the last bit.
fn same_scores(scores: &[Score], reference: Option<&[Score]>) -> Option<CheckReport> {
    let reference = reference?;
    let bits = |scores: &[Score]| -> Vec<[u64; 4]> {
        scores
            .iter()
            .map(|score| {
                let [outside, inside, sign] =
                    [score.r2_out_of_sample, score.r2_in_sample, score.sign_hit_ratio]
                        .map(f64::to_bits);
                [u64::from(score.window), outside, inside, sign]
            })
            .collect()
    };
    let same = !scores.is_empty() && bits(scores) == bits(reference);
    let message = format!(
        "{} windows scored, {} by the first driver, equal: {same}",
        scores.len(),
        reference.len()
    );
    Some(report("same_scores", same, message))
}

fn report(id: &str, good: bool, message: String) -> CheckReport {
    let status = if good { reports::Verdict::Holds } else { reports::Verdict::Violated };
    CheckReport { id: id.into(), status, expected: reports::Verdict::Holds, message }
}

fn verdict(verdict: Verdict) -> reports::Verdict {
    match verdict {
        Verdict::Holds => reports::Verdict::Holds,
        Verdict::Violated => reports::Verdict::Violated,
        Verdict::Unknown => reports::Verdict::Unknown,
    }
}

fn status(checks: &[CheckReport]) -> Status {
    let surprising: Vec<_> = checks.iter().filter(|check| !check.is_as_expected()).collect();
    if surprising.is_empty() {
        Status::Passed
    } else if surprising.iter().all(|check| check.status == reports::Verdict::Unknown) {
        Status::Inconclusive
    } else {
        Status::Failed
    }
}

/// A failure's name is made of what failed, not of when or where, so that it is the same in every run.
fn explain(
    scenario: &Scenario,
    driver: Driver,
    seed: Seed,
    because: Vec<String>,
    checks: &[CheckReport],
) -> Failure {
    let mut name = format!("{}/{driver}", scenario.id);
    for check in checks.iter().filter(|check| !check.is_as_expected()) {
        name.push('/');
        name.push_str(&check.id);
    }
    Failure {
        fingerprint: Hex64(fnv1a(name.as_bytes())),
        because,
        replay_command: Some(format!(
            "cargo run --release -- run {} --driver {driver} --seed {seed}",
            scenario.id
        )),
        reproduced: None,
        minimized: None,
    }
}

fn empty(scenario: &Scenario, driver: Driver, seed: Seed, history: &History) -> ScenarioReport {
    blank(scenario, driver, seed, &history.header.actors)
}

fn blank(
    scenario: &Scenario,
    driver: Driver,
    seed: Seed,
    actors: &[crate::history::Actor],
) -> ScenarioReport {
    ScenarioReport {
        id: scenario.id.clone(),
        driver: driver.name().into(),
        mode: match scenario.mode {
            Mode::Free => reports::Mode::Free,
        },
        seed: Hex64(seed.0),
        status: Status::Error,
        duration_ns: 0,
        actors: actors
            .iter()
            .map(|actor| reports::Actor {
                id: actor.id.clone(),
                role: match actor.role {
                    Role::Training => "training".into(),
                    Role::Evaluation => "evaluation".into(),
                },
                process: actor.process,
                thread: actor.thread,
            })
            .collect(),
        counts: Counts::default(),
        store: None,
        latency_ns: reports::Latencies::default(),
        checks: Vec::new(),
        scores: Vec::new(),
        digest: Hex64(0),
        failure: None,
        exploration: None,
    }
}

fn digest(history: &History) -> u64 {
    let lines = history.events.iter().filter_map(|event| serde_json::to_string(event).ok());
    fnv1a(lines.collect::<Vec<_>>().join("\n").as_bytes())
}
