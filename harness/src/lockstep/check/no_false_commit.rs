//! *No false commit*: a commit that succeeded had no statement that failed. DuckDB rolls such a transaction back, and may
//! answer its COMMIT with success all the same.

use super::{Check, transaction};
use crate::check::{Evidence, Finding};
use crate::lockstep::driver::Class;
use crate::lockstep::log::Log;
use crate::scenario::script::Script;

/// See the module's header.
pub(super) struct NoFalseCommit;

impl Check for NoFalseCommit {
    fn id(&self) -> &'static str {
        "no_false_commit"
    }

    fn judge(&self, _: &Script, log: &Log) -> Option<Finding> {
        let mut evidence = Evidence::default();
        let mut commits = 0;
        for transaction in transaction::of(log) {
            let Some(commit) =
                transaction.commit.filter(|commit| commit.outcome.class == Class::Ok)
            else {
                continue;
            };
            commits += 1;
            if let Some(failed) = transaction.failed() {
                evidence.add(|| {
                    format!(
                        "{}: `{}` failed at step {} ({}), and the commit at step {} said it was stored",
                        transaction.actor, failed.sql, failed.step, failed.outcome.class, commit.step
                    )
                });
            }
        }
        (0 < commits).then(|| evidence.finding(format!("{commits} commits succeeded")))
    }

    fn plant(&self, _: &Script, log: &Log) -> Option<Log> {
        let committed = transaction::of(log)
            .iter()
            .find(|transaction| transaction.commit_class() == Some(Class::Ok))
            .and_then(|transaction| Some(transaction.statements.last()?.step))?;
        let mut planted = log.clone();
        planted.steps[committed].came.as_mut()?.outcome.class = Class::Conflict;
        Some(planted)
    }
}
