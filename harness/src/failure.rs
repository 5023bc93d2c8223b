//! The box of a failure: what the command line prints and what a failing test says.
//!
//! # Scope of determinism
//!
//! A pure function of the report.

use std::fmt::Write as _;

use reports::{Minimized, ScenarioReport, Status};

/// The box of a scenario that did not pass; none of one that did.
pub fn boxed(scenario: &ScenarioReport) -> Option<String> {
    let failure = scenario.failure.as_ref().filter(|_| scenario.status != Status::Passed)?;
    let mut text =
        format!("┌─ {} on {}: failure {}", scenario.id, scenario.driver, failure.fingerprint);
    for reason in &failure.because {
        let _ = write!(text, "\n│ {reason}");
    }
    if let Some([same, of]) = failure.reproduced {
        let _ = write!(text, "\n│ reproduced {same} of {of}");
    }
    if let Some(minimized) = &failure.minimized {
        text.extend(smallest(minimized).iter().map(|line| format!("\n│ {line}")));
    }
    if let Some(command) = &failure.replay_command {
        let _ = write!(text, "\n│ replay: {command}");
    } // writing to a String does not fail
    text.push_str("\n└─");
    Some(text)
}

/// What is left of a failure that was made small, line by line.
pub fn smallest(minimized: &Minimized) -> Vec<String> {
    let [[before, after], [all, left]] = [minimized.events, minimized.statements];
    let rest = if minimized.complete { "" } else { ", and time was out" };
    let head = format!("smallest case: {before} → {after} steps, {all} → {left} statements{rest}");
    let steps = minimized.steps.iter().map(|step| format!("  {step}"));
    let [times, of] = minimized.verified;
    let tail = minimized.critical_pair.iter().cloned().chain([format!("it fails {times} of {of}")]);
    std::iter::once(head).chain(steps).chain(tail).collect()
}
