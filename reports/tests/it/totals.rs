//! Totals, status and exit code, derived from the scenarios.

use reports::{Canaries, ExitCode, ScenarioReport, ScenarioTotals, Status, Summary};

use crate::example;

const ALL_CAUGHT: Canaries = Canaries { planted: 2, caught: 2 };
const ONE_MISSED: Canaries = Canaries { planted: 2, caught: 1 };

fn ended(status: Status) -> ScenarioReport {
    ScenarioReport { status, ..example::managed() }
}

/// Status and exit code of a run of scenarios that ended so.
fn outcome(statuses: &[Status], canaries: Canaries) -> (Status, u8) {
    let scenarios: Vec<_> = statuses.iter().copied().map(ended).collect();
    let summary = Summary::of(&scenarios, canaries);
    (summary.status, summary.exit_code)
}

#[test]
fn totals_are_the_sums_over_the_scenarios() {
    let summary = Summary::of(&[example::naive(), example::managed()], ALL_CAUGHT);
    assert_eq!(summary.schedules, 2);
    assert_eq!(summary.operations, 4_200 + 5_040);
    assert_eq!(summary.conflicts, 3_121);
    assert_eq!(summary.retries, 0);
    assert_eq!(summary.surfaced_errors, 3_121);
    assert_eq!(summary.canaries, ALL_CAUGHT);

    let mut retrying = example::naive();
    retrying.counts.retries = 7;
    let summary = Summary::of(&[retrying.clone(), retrying], ALL_CAUGHT);
    assert_eq!(summary.retries, 14);
}

#[test]
fn every_scenario_is_counted_once_under_its_status() {
    use Status::{Error, Failed, Inconclusive, Passed};
    let scenarios = [Passed, Failed, Passed, Error, Inconclusive, Passed, Failed].map(ended);
    let totals = Summary::of(&scenarios, ALL_CAUGHT).scenarios;
    let expected = ScenarioTotals { passed: 3, failed: 2, inconclusive: 1, error: 1 };
    assert_eq!(totals, expected);
}

#[test]
fn the_worst_that_happened_decides_status_and_exit_code() {
    use Status::{Error, Failed, Inconclusive, Passed};
    for (statuses, canaries, expected) in [
        (&[Passed, Passed][..], ALL_CAUGHT, (Passed, 0)),
        (&[], ALL_CAUGHT, (Inconclusive, 4)),
        (&[], ONE_MISSED, (Failed, 7)),
        (&[Passed, Inconclusive], ALL_CAUGHT, (Inconclusive, 3)),
        (&[Inconclusive, Failed], ALL_CAUGHT, (Failed, 1)),
        (&[Passed], ONE_MISSED, (Failed, 7)),
        (&[Failed, Inconclusive], ONE_MISSED, (Failed, 7)),
        (&[Failed, Error], ONE_MISSED, (Error, 70)),
    ] {
        assert_eq!(outcome(statuses, canaries), expected, "{statuses:?}, {canaries:?}");
    }
}

#[test]
fn an_interruption_keeps_a_failure_in_the_status_and_shows_in_the_exit_code() {
    let mut summary = Summary::of(&[ended(Status::Failed)], ALL_CAUGHT);
    summary.raise(ExitCode::Interrupted);
    assert_eq!((summary.status, summary.exit_code), (Status::Failed, 130));
}

#[test]
fn a_regression_fails_a_run_that_had_passed_but_not_one_with_a_worse_reason() {
    let mut summary = Summary::of(&[ended(Status::Passed)], ALL_CAUGHT);
    summary.raise(ExitCode::Regression);
    assert_eq!((summary.status, summary.exit_code), (Status::Failed, 6));

    let mut summary = Summary::of(&[ended(Status::Failed)], ALL_CAUGHT);
    summary.raise(ExitCode::Regression);
    assert_eq!((summary.status, summary.exit_code), (Status::Failed, 1));
}
