//! Runs a log again: follows its choices, compares everything else, and stops at the first thing that differs.

use std::fmt;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::act::Move;
use super::driver::Outcome;
use super::log::{Build, Came, Decision, End, Header, Log, VERSION};
use super::schedule::{self, Job, ScheduleError};
use super::strategy::{Chooser, Offer, Stop};

/// The first thing that was not as recorded.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("DIVERGED at step {step}: {differs} {found}, recorded {recorded}")]
pub struct Divergence {
    /// Counted from 0; the number of steps if the ends differ.
    pub step: u64,
    /// What differs.
    pub differs: Differs,
    /// In the log.
    pub recorded: String,
    /// Now.
    pub found: String,
}

/// What can differ.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Differs {
    /// Who could move.
    Enabled,
    /// What the actor does.
    Operation,
    /// How the step ended.
    Outcome,
    /// Its result.
    Result,
    /// What a blocked actor waits for, or whether the step wakes others.
    Waits,
    /// Virtual time.
    Time,
    /// Why, or when, there is no further step.
    End,
    /// What the database holds at the end.
    Contents,
    /// The bytes of its files.
    Files,
}

impl fmt::Display for Differs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Enabled => "enabled",
            Self::Operation => "operation",
            Self::Outcome => "outcome",
            Self::Result => "result",
            Self::Waits => "waits",
            Self::Time => "virtual time",
            Self::End => "end",
            Self::Contents => "contents",
            Self::Files => "files",
        })
    }
}

/// How a replay went.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Replayed {
    /// Everything was as recorded. Holds the new log.
    Reproduced(Box<Log>),
    /// Everything was as recorded up to where the log was cut off, after so many steps.
    Cut(u64),
    /// Something was not.
    Diverged(Divergence),
}

/// Runs a log again.
///
/// # Errors
///
/// A [`ScheduleError`] that is no divergence.
pub fn replay(log: &Log, job: &Job<'_>, log_file: &Path) -> Result<Replayed, ScheduleError> {
    match schedule::run(
        job,
        &mut Follow { log },
        log_file,
        Header { version: VERSION, ..log.header.clone() },
    ) {
        Ok(again) => Ok(Replayed::Reproduced(Box::new(again))),
        Err(ScheduleError::Stopped(Stop::Diverged(divergence))) => {
            Ok(Replayed::Diverged(divergence))
        }
        Err(ScheduleError::Stopped(Stop::Cut { steps })) => Ok(Replayed::Cut(steps)),
        Err(error) => Err(error),
    }
}

/// In what this program differs from the one that wrote the log; empty if in nothing.
pub fn other_build(log: &Log) -> Vec<String> {
    differences(&log.header.build, &Build::of_this_program())
}

fn differences(theirs: &Build, ours: &Build) -> Vec<String> {
    let parts = [
        ("harness", &theirs.harness, &ours.harness),
        ("duckdb", &theirs.duckdb, &ours.duckdb),
        ("target", &theirs.target, &ours.target),
        ("profile", &theirs.profile, &ours.profile),
    ];
    let other = parts.into_iter().filter(|(_, theirs, ours)| theirs != ours);
    let mut other: Vec<String> =
        other.map(|(part, theirs, ours)| format!("{part} {ours}, recorded {theirs}")).collect();
    let shown = |build: &Build| build.commit.clone().unwrap_or_else(|| "unknown".to_owned());
    // What differs from its commit may differ in any way.
    let is_exact =
        |build: &Build| build.commit.as_ref().is_some_and(|commit| !commit.ends_with('+'));
    if theirs.commit != ours.commit {
        other.push(format!("commit {}, recorded {}", shown(ours), shown(theirs)));
    } else if !is_exact(ours) {
        other.push(format!(
            "commit {}, recorded the same, but files that differ from it may be others now",
            shown(ours)
        ));
    }
    other
}

/// Chooses as a log says, and compares.
pub(super) struct Follow<'a> {
    log: &'a Log,
}

impl<'a> Follow<'a> {
    pub(super) fn of(log: &'a Log) -> Self {
        Self { log }
    }
}

impl Follow<'_> {
    fn cut(&self) -> Stop {
        Stop::Cut { steps: self.log.steps.len() as u64 }
    }
}

impl Chooser for Follow<'_> {
    fn choose(&mut self, offer: &Offer<'_>) -> Result<Move, Stop> {
        let enabled = offer.enabled_names();
        let Some(step) = self.log.steps.get(offer.step as usize) else {
            let Some(end) = &self.log.end else { return Err(self.cut()) };
            let found = format!("not yet: {} can move", enabled.join(", "));
            return Err(differ(offer.step, Differs::End, &format!("{:?}", end.ended), &found));
        };
        let recorded = &step.decision;
        if recorded.enabled != enabled {
            let (recorded, found) = (recorded.enabled.join(", "), enabled.join(", "));
            return Err(differ(offer.step, Differs::Enabled, &recorded, &found));
        }
        let at = enabled.iter().position(|name| *name == recorded.actor);
        let none = || differ(offer.step, Differs::Enabled, &recorded.actor, &enabled.join(", "));
        let chosen = Move { actor: offer.enabled[at.ok_or_else(none)?], act: recorded.act };
        if recorded.act.is_go() || offer.faults.contains(&chosen) {
            return Ok(chosen);
        }
        let recorded = format!("{} of {}", recorded.act, recorded.actor);
        Err(differ(offer.step, Differs::Enabled, &recorded, &format!("{:?}", offer.faults)))
    }

    fn decided(&mut self, found: &Decision) -> Result<(), Stop> {
        let Some(step) = self.log.steps.get(found.step as usize) else { return Err(self.cut()) };
        let recorded = &step.decision;
        let op = |decision: &Decision| match &decision.at {
            Some(at) => format!("{} at {at}", decision.op),
            None => decision.op.clone(),
        };
        same(found.step, Differs::Operation, &op(recorded), &op(found))?;
        same(found.step, Differs::Time, &recorded.at_ns, &found.at_ns)
    }

    fn came(&mut self, found: &Came) -> Result<(), Stop> {
        let Some(step) = self.log.steps.get(found.step as usize) else { return Err(self.cut()) };
        // The process that wrote the log ended within this step.
        let Some(recorded) = &step.came else { return Err(self.cut()) };
        let (old, new) = (&recorded.outcome, &found.outcome);
        let differs = if old.class == new.class {
            (old.result != new.result).then_some(Differs::Result)
        } else {
            Some(Differs::Outcome)
        };
        if let Some(differs) = differs {
            let shown = |outcome: &Outcome| {
                let Outcome { class, result, shown, .. } = outcome;
                format!("{class} `{}` ({result})", shown.trim_end())
            };
            return Err(differ(found.step, differs, &shown(old), &shown(new)));
        }
        let waits = |came: &Came| format!("{:?}, wakes {}", came.waits, came.outcome.wakes);
        same(found.step, Differs::Waits, &waits(recorded), &waits(found))
    }

    fn ended(&mut self, found: &End) -> Result<(), Stop> {
        let steps = self.log.steps.len() as u64;
        let Some(recorded) = &self.log.end else { return Err(self.cut()) };
        let ended = |end: &End| format!("{:?}", end.ended);
        same(steps, Differs::End, &ended(recorded), &ended(found))?;
        same(steps, Differs::Time, &recorded.at_ns, &found.at_ns)?;
        let held = |end: &End| {
            format!(
                "{:?}, counter {:?}, answers {:?}, unreadable {:?}, left open {:?}",
                end.contents.map(|digest| digest.to_string()),
                end.counter,
                end.answers,
                end.unreadable,
                end.left_open
            )
        };
        same(steps, Differs::Contents, &held(recorded), &held(found))?;
        // Logs of version 1 do not have it.
        let Some(files) = recorded.files else { return Ok(()) };
        let found = found.files.map_or_else(|| "none".to_owned(), |found| found.to_string());
        same(steps, Differs::Files, &files.to_string(), &found)
    }
}

fn same<T: PartialEq + fmt::Display>(
    step: u64,
    differs: Differs,
    recorded: &T,
    found: &T,
) -> Result<(), Stop> {
    if recorded == found {
        return Ok(());
    }
    Err(differ(step, differs, &recorded.to_string(), &found.to_string()))
}

fn differ(step: u64, differs: Differs, recorded: &str, found: &str) -> Stop {
    Divergence { step, differs, recorded: recorded.to_owned(), found: found.to_owned() }.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn build(commit: Option<&str>) -> Build {
        Build {
            harness: "1".to_owned(),
            commit: commit.map(str::to_owned),
            duckdb: "v1".to_owned(),
            target: "t".to_owned(),
            profile: "release".to_owned(),
        }
    }

    #[test]
    fn only_a_commit_that_is_known_and_unchanged_is_the_same_build() {
        let differ = |theirs, ours| differences(&build(theirs), &build(ours)).join("; ");
        assert_eq!(differ(Some("aa"), Some("aa")), "");
        assert_eq!(differ(Some("aa"), Some("bb")), "commit bb, recorded aa");
        assert_eq!(differ(None, Some("bb")), "commit bb, recorded unknown");
        for commit in [Some("aa+"), None] {
            assert!(differ(commit, commit).contains("recorded the same, but"));
        }
    }
}
