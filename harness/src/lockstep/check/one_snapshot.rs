//! *One snapshot*: within a transaction a query that is asked again has the same answer, unless the transaction itself
//! ran a statement in between that is no query.

use super::Check;
use super::transaction::{self, Statement, Transaction};
use crate::check::{Evidence, Finding};
use crate::lockstep::driver::Class;
use crate::lockstep::log::Log;
use crate::scenario::script::Script;

/// See the module's header.
pub(super) struct OneSnapshot;

impl Check for OneSnapshot {
    fn id(&self) -> &'static str {
        "one_snapshot"
    }

    fn judge(&self, _: &Script, log: &Log) -> Option<Finding> {
        let mut evidence = Evidence::default();
        let mut compared = 0;
        for transaction in transaction::of(log) {
            for (first, again) in repeated(&transaction) {
                compared += 1;
                if first.outcome.result != again.outcome.result {
                    evidence.add(|| {
                        format!(
                            "{}: `{}` gave `{}` at step {} and `{}` at step {}",
                            transaction.actor,
                            first.sql,
                            first.outcome.shown.trim_end(),
                            first.step,
                            again.outcome.shown.trim_end(),
                            again.step
                        )
                    });
                }
            }
        }
        (0 < compared).then(|| evidence.finding(format!("{compared} answers compared")))
    }

    fn plant(&self, _: &Script, log: &Log) -> Option<Log> {
        let transactions = transaction::of(log);
        let (_, again) = transactions.iter().flat_map(repeated).next()?;
        let mut planted = log.clone();
        planted.steps[again.step].came.as_mut()?.outcome.result.0 ^= 1;
        Some(planted)
    }
}

/// Pairs of the same query with nothing but queries between them.
fn repeated<'a>(transaction: &Transaction<'a>) -> Vec<(Statement<'a>, Statement<'a>)> {
    let mut pairs = Vec::new();
    let mut asked: Vec<Statement<'a>> = Vec::new();
    for statement in &transaction.statements {
        if !statement.is_query() || statement.outcome.class != Class::Ok {
            asked.clear();
            continue;
        }
        if let Some(first) = asked.iter().find(|first| first.sql == statement.sql) {
            pairs.push((*first, *statement));
        }
        asked.push(*statement);
    }
    pairs
}
