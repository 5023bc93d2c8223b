//! Judges a decision log: one property a file, and a planted bug for each.
//!
//! # Scope of determinism
//!
//! A finding is a pure function of the script and the log. As in [`crate::check`], nobody is accused of what did not
//! surely happen, and what a log cannot tell is [`Verdict::Unknown`](crate::check::Verdict::Unknown).

mod agreement;
mod computed_once;
mod durability;
mod exclusion;
mod fairness;
#[cfg(test)]
mod fixture;
mod invariant;
mod isolation;
mod linearizable;
mod lists;
mod never_stale;
mod no_deadlock;
mod no_false_commit;
mod no_leak;
mod no_lost_update;
mod one_snapshot;
mod phase;
mod prompt;
mod readable;
mod served;
mod session;
mod transaction;

use super::log::Log;
use crate::check::{Finding, Verdict};
use crate::scenario::script::Script;

/// A property of schedules.
pub trait Check: Sync {
    /// Its name in reports and scenarios.
    fn id(&self) -> &'static str;

    /// Says whether the property holds in that log; `None` if the log is about something else.
    fn judge(&self, script: &Script, log: &Log) -> Option<Finding>;

    /// The same log with one defect of the kind this check exists for, or `None` if it has no place for one. The property
    /// holds in the log that is given.
    fn plant(&self, script: &Script, log: &Log) -> Option<Log>;
}

/// All checks, in the order in which reports list them.
pub fn all() -> [&'static dyn Check; 19] {
    [
        &no_deadlock::NoDeadlock,
        &no_lost_update::NoLostUpdate,
        &no_false_commit::NoFalseCommit,
        &one_snapshot::OneSnapshot,
        &readable::Readable,
        &no_leak::NoLeak,
        &isolation::Isolation,
        &durability::Durability,
        &invariant::Invariant,
        &agreement::Agreement,
        &session::Session,
        &phase::Phase,
        &exclusion::Exclusion,
        &fairness::Fairness,
        &linearizable::Linearizable,
        &served::Served,
        &prompt::Prompt,
        &never_stale::NeverStale,
        &computed_once::ComputedOnce,
    ]
}

/// Plants the defect of a check in a log in which its property holds, and asks the check: `None` if there is no place for
/// it, else whether it was caught.
pub fn canary(check: &dyn Check, script: &Script, log: &Log) -> Option<bool> {
    let holds = |finding: &Finding| finding.verdict == Verdict::Holds;
    check.judge(script, log).filter(holds)?;
    let planted = check.plant(script, log)?;
    let finding = check.judge(script, &planted);
    Some(finding.is_some_and(|finding| finding.verdict == Verdict::Violated))
}
