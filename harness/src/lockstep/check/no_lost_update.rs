//! *No lost update*: the scenario's counter has grown by what the committed transactions added.
//!
//! A transaction counts if it may write, all its statements succeeded, and so did its commit. Whether it is stored is open
//! if nobody can tell of its commit, or if the commit succeeded after a statement had failed (which is
//! [another check's](super::no_false_commit)).

use super::Check;
use super::transaction::{self, Fate};
use crate::check::{Evidence, Finding};
use crate::lockstep::log::Log;
use crate::scenario::script::Script;

/// See the module's header.
pub(super) struct NoLostUpdate;

impl Check for NoLostUpdate {
    fn id(&self) -> &'static str {
        "no_lost_update"
    }

    fn judge(&self, script: &Script, log: &Log) -> Option<Finding> {
        let counter = script.counter.as_ref()?;
        let Some([before, after]) = log.end.as_ref().and_then(|end| end.counter) else {
            return Some(Finding::unknown("nobody looked at the counter at the end"));
        };
        let adds = i64::from(counter.each_commit_adds);
        let (mut sure, mut open, mut who) = (0, 0, Vec::new());
        for transaction in transaction::of(log).iter().filter(|transaction| transaction.writes) {
            match transaction.fate() {
                Fate::Kept => {
                    sure += adds;
                    who.push(transaction.actor);
                }
                Fate::Unknown => open += adds,
                Fate::Undone => {}
            }
        }
        let mut evidence = Evidence::default();
        if after < before + sure {
            let lost = before + sure - after;
            evidence.add(|| {
                format!("committed by {}, each adding {adds}: {lost} of it is gone", who.join(", "))
            });
        }
        if before + sure + open < after {
            evidence.add(|| format!("{} more than was committed", after - before - sure - open));
        }
        Some(
            evidence.finding(format!(
                "the counter went from {before} to {after}, {sure} was committed"
            )),
        )
    }

    fn plant(&self, script: &Script, log: &Log) -> Option<Log> {
        let mut planted = log.clone();
        let [_, after] = planted.end.as_mut()?.counter.as_mut()?;
        *after -= i64::from(script.counter.as_ref()?.each_commit_adds);
        Some(planted)
    }
}
