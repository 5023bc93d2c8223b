//! Judges a history: one property a file, and a planted bug for each.
//!
//! # Scope of determinism
//!
//! A finding is a pure function of the history. Checks name the history and nothing else: not the
//! manager, not the engine, not a clock; so a bug in the product cannot hide in its own judge.
//!
//! # Invariants
//!
//! * Checks are sound: they accuse only what surely happened. What nobody can tell is held in the
//!   run's favour, and a history that says nothing about a property is [`Verdict::Unknown`], not a pass.
//! * Every check has a canary: a history in which its property is broken, made from one in which it
//!   holds ([`Check::plant`], [`canary`]).
//! * Events are in order of time, as [`History::read`](crate::history::History::read) and
//!   [`History::sort`](crate::history::History::sort) leave them.

pub mod canary;
#[cfg(test)]
mod fixture;
mod no_leak;
mod no_lost_commit;
mod one_writer;
mod phase_respected;
mod span;

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::history::History;

pub use no_lost_commit::lost_rows;

/// The most lines that [`Finding::because`] has.
pub const BECAUSE_MAX: usize = 20;

/// A property of histories.
pub trait Check: Sync {
    /// Its name in reports and scenarios.
    fn id(&self) -> &'static str;

    /// Says whether the property holds in that history.
    fn judge(&self, history: &History) -> Finding;

    /// The same history with one defect of the kind this check exists for, or `None` if it has no place
    /// for one. The property holds in the history that is given.
    fn plant(&self, history: &History) -> Option<History>;
}

/// All checks, in the order in which reports list them.
pub fn all() -> [&'static dyn Check; 4] {
    [
        &one_writer::OneWriter,
        &no_lost_commit::NoLostCommit,
        &phase_respected::PhaseRespected,
        &no_leak::NoLeak,
    ]
}

/// What a check says about a history.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// Nothing in the history breaks the property.
    Holds,
    /// Something does.
    Violated,
    /// The history does not say enough. This is not a pass.
    Unknown,
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Holds => "holds",
            Self::Violated => "violated",
            Self::Unknown => "unknown",
        })
    }
}

/// A verdict and its reasons.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finding {
    /// What the check says.
    pub verdict: Verdict,
    /// One line for people.
    pub message: String,
    /// The first [`BECAUSE_MAX`] violations, each with the actors and times of its events.
    pub because: Vec<String>,
    /// How many violations there are.
    pub count: u64,
}

impl Finding {
    pub(crate) fn unknown(message: &str) -> Self {
        Self {
            verdict: Verdict::Unknown,
            message: message.to_owned(),
            because: Vec::new(),
            count: 0,
        }
    }
}

/// Violations as they are found.
#[derive(Debug, Default)]
pub(crate) struct Evidence {
    because: Vec<String>,
    count: u64,
}

impl Evidence {
    pub(crate) fn add(&mut self, line: impl FnOnce() -> String) {
        self.count += 1;
        if self.because.len() < BECAUSE_MAX {
            self.because.push(line());
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Violated if there is any evidence, else it holds; `message` says what was looked at.
    pub(crate) fn finding(self, message: String) -> Finding {
        Finding {
            verdict: if self.count == 0 { Verdict::Holds } else { Verdict::Violated },
            message,
            because: self.because,
            count: self.count,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn evidence_counts_all_and_keeps_the_first_twenty() {
        let mut evidence = Evidence::default();
        for number in 0..50 {
            evidence.add(|| format!("violation {number}"));
        }
        let finding = evidence.finding("50 of 50".to_owned());
        assert_eq!((finding.verdict, finding.count), (Verdict::Violated, 50));
        assert_eq!(finding.because.len(), BECAUSE_MAX);
        assert_eq!(finding.because[19], "violation 19");
    }

    #[test]
    fn no_two_checks_share_an_id() {
        let mut ids = all().map(Check::id);
        ids.sort_unstable();
        assert!(ids.windows(2).all(|pair| pair[0] < pair[1]), "{ids:?}");
    }
}
