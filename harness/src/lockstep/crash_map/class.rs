//! What came of a fault: what the caller was told, against what the next process finds.
//!
//! # Invariants
//!
//! * Acknowledged ⊆ found ⊆ acknowledged + unknown, transaction by transaction, each wholly or not at all. Everything else is
//!   [`Class::Unexplained`], or lost in a model.
//! * A pure function; it knows neither DuckDB nor the manager.

use std::collections::BTreeSet;
use std::fmt;

use serde::{Serialize, Serializer};

use super::child::{Ended, Heard, Look};
use super::database::{Found, Said};
use super::workload::{self, Step};
use super::{Driver, Mode};

/// What came of a fault.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Class {
    /// All that was acknowledged is there, and nothing was in flight.
    Exact,
    /// All that was acknowledged is there; what was in flight when the process died is not.
    InFlightGone,
    /// All that was acknowledged is there; what was in flight when the process died is, too, all of it.
    InFlightKept,
    /// No caller was told of the error, and everything is there.
    Unnoticed,
    /// Callers were told that something failed. It is not there, and the rest is.
    Refused,
    /// A caller was told that the outcome is unknown. It is not there, and the rest is.
    UnknownGone,
    /// A caller was told that the outcome is unknown. It is there, and so is the rest.
    UnknownKept,
    /// The file cannot be opened. Nothing was acknowledged, it was being created: DuckDB does not do so in one step.
    UnopenableWhileCreating,
    /// A loss of power under [`Mode::Strict`] has lost what was acknowledged.
    ModelLost,
    /// A loss of power under [`Mode::Strict`] has left a file that cannot be opened.
    ModelUnopenable,
    /// Anything else, and what it is.
    Unexplained(String),
}

impl Class {
    /// Its name.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Exact => "exact",
            Self::InFlightGone => "in-flight-gone",
            Self::InFlightKept => "in-flight-kept",
            Self::Unnoticed => "unnoticed",
            Self::Refused => "refused",
            Self::UnknownGone => "unknown-gone",
            Self::UnknownKept => "unknown-kept",
            Self::UnopenableWhileCreating => "unopenable-while-creating",
            Self::ModelLost => "model-only-lost",
            Self::ModelUnopenable => "model-only-unopenable",
            Self::Unexplained(_) => "unexplained",
        }
    }
}

impl fmt::Display for Class {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())?;
        match self {
            Self::Unexplained(reason) => write!(f, ": {reason}"),
            _ => Ok(()),
        }
    }
}

impl Serialize for Class {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// The class of a run that did not come to the call that was recorded.
pub(super) fn diverged(heard: &Heard, recorded: &str) -> Option<Class> {
    let calls: Vec<&str> = heard.calls.iter().map(|(_, call)| call.as_str()).collect();
    (calls != [recorded])
        .then(|| Class::Unexplained(format!("`{recorded}` was recorded, it came to {calls:?}")))
}

/// The class of a run.
pub(super) fn of(mode: Mode, driver: Driver, steps: &[Step], heard: &Heard, look: &Look) -> Class {
    let meant = if mode.kills() { Ended::Killed(libc::SIGKILL) } else { Ended::Exited(0) };
    if heard.ended != meant {
        return Class::Unexplained(format!("the process ended otherwise: {:?}", heard.ended));
    }
    let told = Told::of(heard);
    let class = left(driver, steps, &told, look).unwrap_or_else(|lost| match (mode, lost) {
        (Mode::Strict, Lost::Rows(_)) => Class::ModelLost,
        (Mode::Strict, Lost::Unopenable(_)) => Class::ModelUnopenable,
        (_, Lost::Rows(reason) | Lost::Unopenable(reason) | Lost::Sense(reason)) => {
            Class::Unexplained(reason)
        }
    });
    match class {
        Class::InFlightGone if !mode.kills() => Class::UnknownGone,
        Class::InFlightKept if !mode.kills() => Class::UnknownKept,
        Class::Exact if told.any_failed => Class::Refused,
        Class::Exact if !mode.kills() => Class::Unnoticed,
        class => class,
    }
}

/// What the caller knows of the transactions.
struct Told {
    acknowledged: BTreeSet<i64>,
    /// Each may be there or not.
    unknown: Vec<i64>,
    any_failed: bool,
}

impl Told {
    fn of(heard: &Heard) -> Self {
        let mut told =
            Self { acknowledged: BTreeSet::new(), unknown: Vec::new(), any_failed: false };
        for (_, number, said) in &heard.steps {
            match (number, said) {
                (Some(number), Some(Said::Done)) => {
                    told.acknowledged.insert(*number);
                }
                (Some(number), Some(Said::Unknown(_)) | None) => told.unknown.push(*number),
                (_, Some(Said::Failed(_) | Said::Unknown(_))) => told.any_failed = true,
                (None, Some(Said::Done) | None) => {}
            }
        }
        told
    }
}

/// What must not be.
enum Lost {
    /// Other rows than those of any outcome.
    Rows(String),
    /// A file that cannot be opened or read.
    Unopenable(String),
    /// A database that contradicts itself, or ends the process that opens it.
    Sense(String),
}

/// More unknown outcomes than that are not tried in all combinations.
const UNKNOWN_MAX: usize = 8;

fn left(driver: Driver, steps: &[Step], told: &Told, look: &Look) -> Result<Class, Lost> {
    let found = look
        .as_ref()
        .map_err(|ended| Lost::Sense(format!("the process that opened it ended: {ended:?}")))?;
    let (digest, by_transaction) = match found {
        Found::Absent => (workload::digest(&None), None),
        Found::Unopenable(_) if driver != Driver::Managed && told.acknowledged.is_empty() => {
            return Ok(Class::UnopenableWhileCreating);
        }
        Found::Unopenable(error) => {
            return Err(Lost::Unopenable(format!("cannot be opened: {error}")));
        }
        Found::Unreadable(error) => {
            return Err(Lost::Unopenable(format!("cannot be read: {error}")));
        }
        Found::Rows { disagreements, .. } if !disagreements.is_empty() => {
            return Err(Lost::Sense(disagreements.join("; ")));
        }
        Found::Rows { digest, by_transaction, .. } => (*digest, by_transaction.as_ref()),
    };
    let unknown = &told.unknown;
    if UNKNOWN_MAX < unknown.len() {
        return Err(Lost::Sense(format!(
            "the outcomes of {} transactions are unknown",
            unknown.len()
        )));
    }
    for kept in 0..1_u32 << unknown.len() {
        let stored = |number| {
            let at = unknown.iter().position(|unknown| *unknown == number);
            at.map_or_else(|| told.acknowledged.contains(&number), |at| kept & 1 << at != 0)
        };
        if workload::digest(&workload::expected(steps, &stored)) == digest {
            return Ok(match (unknown.is_empty(), kept) {
                (true, _) => Class::Exact,
                (false, 0) => Class::InFlightGone,
                (false, _) => Class::InFlightKept,
            });
        }
    }
    Err(Lost::Rows(format!(
        "acknowledged {:?}, unknown {unknown:?}; found rows by transaction {by_transaction:?}",
        told.acknowledged
    )))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::lockstep::crash_map::workload::{Workload, digest, expected};

    /// A process that was killed in its second transaction, or went on to its end.
    fn heard(second: Option<Said>, ended: Ended) -> Heard {
        let transaction = |number, said| (format!("transaction {number}"), Some(number), said);
        let steps = vec![
            ("open".to_owned(), None, Some(Said::Done)),
            transaction(1, Some(Said::Done)),
            transaction(2, second),
        ];
        Heard { steps, calls: Vec::new(), ended }
    }

    /// What is found if these transactions are stored.
    fn stored(numbers: &[i64]) -> Found {
        let digest =
            digest(&expected(&Workload::Short.steps(), &|number| numbers.contains(&number)));
        let by_transaction = Some(BTreeMap::new());
        Found::Rows { digest, by_transaction, disagreements: Vec::new() }
    }

    fn class(mode: Mode, heard: &Heard, found: &Found) -> Class {
        of(mode, Driver::Naive, &Workload::Short.steps(), heard, &Ok(found.clone()))
    }

    const KILLED: Ended = Ended::Killed(libc::SIGKILL);
    const DONE: Ended = Ended::Exited(0);

    #[test]
    fn what_was_in_flight_may_be_there_or_not_and_what_was_refused_may_not() {
        let in_flight = heard(None, KILLED);
        assert_eq!(class(Mode::Kill, &in_flight, &stored(&[1])), Class::InFlightGone);
        assert_eq!(class(Mode::Kill, &in_flight, &stored(&[1, 2])), Class::InFlightKept);
        let unknown = heard(Some(Said::Unknown("Fatal".into())), DONE);
        assert_eq!(class(Mode::Eio, &unknown, &stored(&[1])), Class::UnknownGone);
        assert_eq!(class(Mode::Eio, &unknown, &stored(&[1, 2])), Class::UnknownKept);
        let refused = heard(Some(Said::Failed("DiskFull".into())), DONE);
        assert_eq!(class(Mode::Enospc, &refused, &stored(&[1])), Class::Refused);
        let phantom = class(Mode::Enospc, &refused, &stored(&[1, 2]));
        assert_eq!(phantom.name(), "unexplained", "{phantom}");
        let told = heard(Some(Said::Done), DONE);
        assert_eq!(class(Mode::Eio, &told, &stored(&[1, 2])), Class::Unnoticed);
        assert_eq!(
            class(Mode::Kill, &heard(Some(Said::Done), KILLED), &stored(&[1, 2])),
            Class::Exact
        );
    }

    #[test]
    fn a_lost_acknowledgement_is_unexplained_but_where_a_model_loses_it() {
        let acknowledged = heard(Some(Said::Done), KILLED);
        for found in [stored(&[1]), stored(&[]), Found::Absent] {
            let lost = class(Mode::Kill, &acknowledged, &found);
            assert_eq!(lost.name(), "unexplained", "{found:?}");
            assert_eq!(class(Mode::Ordered, &acknowledged, &found), lost);
            assert_eq!(class(Mode::Strict, &acknowledged, &found), Class::ModelLost);
        }
    }

    #[test]
    fn half_a_transaction_or_an_index_that_disagrees_is_unexplained_under_every_model() {
        let in_flight = heard(None, KILLED);
        let half = Found::Rows {
            digest: digest(&Some(BTreeMap::from([(1, 2)]))),
            by_transaction: Some(BTreeMap::from([(2, 1)])),
            disagreements: Vec::new(),
        };
        assert!(class(Mode::Kill, &in_flight, &half).to_string().contains("Some({2: 1})"));
        let Found::Rows { digest, by_transaction, .. } = stored(&[1, 2]) else { unreachable!() };
        let disagreements = vec!["key 3: the index says None, the scan Some(2)".to_owned()];
        let stale = Found::Rows { digest, by_transaction, disagreements };
        for mode in [Mode::Kill, Mode::Ordered, Mode::Strict] {
            assert!(class(mode, &in_flight, &stale).to_string().contains("key 3"), "{mode:?}");
        }
    }

    #[test]
    fn a_file_that_cannot_be_opened_is_explained_only_while_plain_duckdb_creates_it() {
        let found = Found::Unopenable("NotADatabase".into());
        let mut creating = heard(None, KILLED);
        creating.steps.truncate(1);
        assert_eq!(class(Mode::Kill, &creating, &found), Class::UnopenableWhileCreating);
        let managed = of(
            Mode::Kill,
            Driver::Managed,
            &Workload::Short.steps(),
            &creating,
            &Ok(found.clone()),
        );
        assert_eq!(managed.name(), "unexplained");
        let later = heard(None, KILLED);
        assert_eq!(class(Mode::Kill, &later, &found).name(), "unexplained");
        assert_eq!(class(Mode::Strict, &later, &found), Class::ModelUnopenable);
    }

    #[test]
    fn a_run_that_comes_to_another_call_is_unexplained() {
        let mut heard = heard(None, KILLED);
        let none = diverged(&heard, "fsync a").unwrap();
        assert_eq!(none.to_string(), "unexplained: `fsync a` was recorded, it came to []");
        heard.calls.push(("open".to_owned(), "fsync a".to_owned()));
        assert_eq!(diverged(&heard, "fsync a"), None);
        assert!(diverged(&heard, "fsync b").is_some());
    }

    #[test]
    fn a_process_that_ends_otherwise_than_it_was_made_to_is_unexplained() {
        let exact = stored(&[1, 2]);
        let crashed = Ended::Killed(libc::SIGSEGV);
        for (mode, ended) in [(Mode::Kill, DONE), (Mode::Eio, KILLED), (Mode::Eio, crashed)] {
            let class = class(mode, &heard(Some(Said::Done), ended), &exact);
            assert_eq!(class.name(), "unexplained", "{mode:?} {ended:?}");
        }
        let acknowledged = heard(Some(Said::Done), KILLED);
        let steps = Workload::Short.steps();
        let class = of(Mode::Strict, Driver::Naive, &steps, &acknowledged, &Err(crashed));
        assert_eq!(class.name(), "unexplained", "nor may whoever opens it");
    }
}
