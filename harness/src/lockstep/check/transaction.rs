//! The transactions of a log: what stands between a `begin` and a `commit` or `rollback` of one actor.

use crate::lockstep::driver::{Class, Command, Outcome};
use crate::lockstep::log::{Log, Step};

/// A transaction that was begun.
pub(super) struct Transaction<'a> {
    pub(super) actor: &'a str,
    pub(super) writes: bool,
    /// Its statements, in order.
    pub(super) statements: Vec<Statement<'a>>,
    /// The commit, if it was sent.
    pub(super) commit: Option<Statement<'a>>,
}

/// A statement and its end.
#[derive(Clone, Copy)]
pub(super) struct Statement<'a> {
    pub(super) step: usize,
    pub(super) sql: &'a str,
    pub(super) outcome: &'a Outcome,
}

impl Transaction<'_> {
    /// The first statement that failed.
    pub(super) fn failed(&self) -> Option<&Statement<'_>> {
        self.statements.iter().find(|statement| statement.outcome.class != Class::Ok)
    }

    pub(super) fn commit_class(&self) -> Option<Class> {
        self.commit.map(|commit| commit.outcome.class)
    }
}

/// All of them, in the order of their ends; those without one last.
pub(super) fn of(log: &Log) -> Vec<Transaction<'_>> {
    let mut ended = Vec::new();
    let mut open: Vec<Transaction<'_>> = Vec::new();
    for (index, step) in log.steps.iter().enumerate() {
        add(&mut open, &mut ended, index, step);
    }
    ended.append(&mut open);
    ended
}

fn add<'a>(
    open: &mut Vec<Transaction<'a>>,
    ended: &mut Vec<Transaction<'a>>,
    index: usize,
    step: &'a Step,
) {
    let Some(came) = step.came.as_ref().filter(|came| came.outcome.class.is_end()) else {
        return;
    };
    let (actor, op) = (step.decision.actor.as_str(), step.decision.op.as_str());
    let statement = Statement { step: index, sql: op, outcome: &came.outcome };
    let at = open.iter().position(|transaction| transaction.actor == actor);
    if came.outcome.class == Class::Killed {
        // Whatever it was in ended with its process, and nobody knows how.
        if let Some(at) = at {
            let transaction = open.remove(at);
            let commit = (op == "commit").then_some(statement);
            ended.push(Transaction { commit, ..transaction });
        }
        return;
    }
    match (Command::of(op), at) {
        (Command::BeginRead | Command::BeginWrite, None) if came.outcome.class == Class::Ok => {
            let writes = op == "begin write";
            open.push(Transaction { actor, writes, statements: Vec::new(), commit: None });
        }
        (Command::Sql(_), Some(at)) => open[at].statements.push(statement),
        (Command::Commit, Some(at)) => {
            let transaction = open.remove(at);
            ended.push(Transaction { commit: Some(statement), ..transaction });
        }
        (Command::Rollback, Some(at)) => ended.push(open.remove(at)),
        _ => {}
    }
}
