//! The transactions of a log: what stands between a `begin` and a `commit` or `rollback` of one actor, and statements on
//! their own.

use reports::Hex64;

use crate::lockstep::driver::{Class, Command, Outcome};
use crate::lockstep::log::{Log, Step};

/// A transaction that was begun.
pub(super) struct Transaction<'a> {
    pub(super) actor: &'a str,
    pub(super) writes: bool,
    /// The step in which it began, or in which that was tried first.
    pub(super) began: usize,
    /// Its statements, in order.
    pub(super) statements: Vec<Statement<'a>>,
    /// The commit, if it was sent. That of a statement on its own is the statement itself.
    pub(super) commit: Option<Statement<'a>>,
    /// The step in which it ended, or in which its process was killed; none if it was open at the end.
    pub(super) ended: Option<usize>,
    /// Whether it is one statement on its own.
    pub(super) is_alone: bool,
}

/// A statement and its end.
#[derive(Clone, Copy)]
pub(super) struct Statement<'a> {
    pub(super) step: usize,
    pub(super) sql: &'a str,
    pub(super) outcome: &'a Outcome,
}

/// What became of a transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    /// It was acknowledged.
    Kept,
    /// Nothing of it may be seen.
    Undone,
    /// Nobody can tell.
    Unknown,
}

/// What is known of a statement that was under way when the log ended.
static UNDER_WAY: Outcome =
    Outcome { class: Class::Unknown, result: Hex64(0), shown: String::new(), wakes: false };

impl Transaction<'_> {
    /// The first statement that failed.
    pub(super) fn failed(&self) -> Option<&Statement<'_>> {
        self.statements.iter().find(|statement| statement.outcome.class != Class::Ok)
    }

    pub(super) fn commit_class(&self) -> Option<Class> {
        self.commit.map(|commit| commit.outcome.class)
    }

    /// What became of it. A commit that succeeds after a statement has failed tells nothing, which is
    /// [another check's](super::no_false_commit).
    pub(super) fn fate(&self) -> Fate {
        match self.commit_class() {
            Some(Class::Ok) if self.failed().is_none() => Fate::Kept,
            // One that failed for a reason that is none of the engine's own, a full disk for one, may be stored.
            Some(Class::Ok | Class::Unknown | Class::Panicked | Class::Killed | Class::Failed) => {
                Fate::Unknown
            }
            _ => Fate::Undone,
        }
    }
}

/// Those that were begun, in the order of their ends; those without one last.
pub(super) fn of(log: &Log) -> Vec<Transaction<'_>> {
    all(log).into_iter().filter(|transaction| !transaction.is_alone).collect()
}

/// These and statements on their own.
pub(super) fn all(log: &Log) -> Vec<Transaction<'_>> {
    let mut reading = Reading::default();
    for (index, step) in log.steps.iter().enumerate() {
        reading.step(index, step);
    }
    for (actor, first, last) in reading.under_way.clone() {
        let op = log.steps[last].decision.op.as_str();
        reading.statement(actor, first, Statement { step: last, sql: op, outcome: &UNDER_WAY });
    }
    reading.ended.append(&mut reading.open);
    reading.ended
}

#[derive(Default)]
struct Reading<'a> {
    open: Vec<Transaction<'a>>,
    ended: Vec<Transaction<'a>>,
    /// Who is within a statement, since which step, and the last step of it.
    under_way: Vec<(&'a str, usize, usize)>,
}

impl<'a> Reading<'a> {
    fn step(&mut self, index: usize, step: &'a Step) {
        let (actor, op) = (step.decision.actor.as_str(), step.decision.op.as_str());
        let before = self.under_way.iter().position(|(it, ..)| *it == actor);
        let first = before.map_or(index, |at| self.under_way.swap_remove(at).1);
        match &step.came {
            Some(came) if came.outcome.class.is_end() => {
                let outcome = &came.outcome;
                self.statement(actor, first, Statement { step: index, sql: op, outcome });
                if outcome.class == Class::Killed {
                    self.end(actor, index, None);
                }
            }
            Some(came) if came.outcome.class == Class::Blocked => {}
            _ => self.under_way.push((actor, first, index)),
        }
    }

    fn statement(&mut self, actor: &'a str, first: usize, statement: Statement<'a>) {
        let at = self.open.iter().position(|transaction| transaction.actor == actor);
        let succeeded = statement.outcome.class == Class::Ok;
        match (Command::of(statement.sql), at) {
            (command @ (Command::BeginRead | Command::BeginWrite), _) if succeeded => {
                // One that is open still went with its process.
                self.end(actor, statement.step, None);
                let writes = command == Command::BeginWrite;
                self.open.push(Transaction::new(actor, writes, first));
            }
            (Command::Sql(_), Some(at)) => self.open[at].statements.push(statement),
            (Command::Sql(_), None) => self.ended.push(Transaction {
                statements: vec![statement],
                commit: Some(statement),
                ended: Some(statement.step),
                is_alone: true,
                ..Transaction::new(actor, true, first)
            }),
            (Command::Commit, _) => self.end(actor, statement.step, Some(statement)),
            (Command::Rollback, _) => self.end(actor, statement.step, None),
            _ => {}
        }
    }

    fn end(&mut self, actor: &str, step: usize, commit: Option<Statement<'a>>) {
        if let Some(at) = self.open.iter().position(|transaction| transaction.actor == actor) {
            let transaction = self.open.remove(at);
            self.ended.push(Transaction { commit, ended: Some(step), ..transaction });
        }
    }
}

impl<'a> Transaction<'a> {
    fn new(actor: &'a str, writes: bool, began: usize) -> Self {
        let statements = Vec::new();
        Self { actor, writes, began, statements, commit: None, ended: None, is_alone: false }
    }
}
