//! The transactions of a log: what stands between a `begin` and a `commit` or `rollback` of one actor, and statements on
//! their own.

use reports::Hex64;

use crate::lockstep::driver::{Class, Command, Outcome, is_query};
use crate::lockstep::log::Log;

/// A transaction that was begun.
pub(super) struct Transaction<'a> {
    pub(super) actor: &'a str,
    pub(super) writes: bool,
    /// The step in which its beginning was begun, and that in which it was open.
    pub(super) began: usize,
    pub(super) opened: usize,
    /// Its statements, in order.
    pub(super) statements: Vec<Statement<'a>>,
    /// The commit, if it was sent. That of a statement on its own is the statement itself.
    pub(super) commit: Option<Statement<'a>>,
    /// The step in which its end was begun, and that in which it had ended or its process was killed; none if it was open
    /// at the end.
    pub(super) closing: Option<usize>,
    pub(super) ended: Option<usize>,
    /// Whether it is one statement on its own.
    pub(super) is_alone: bool,
}

/// A statement, or another operation, and its end.
#[derive(Clone, Copy)]
pub(super) struct Statement<'a> {
    pub(super) actor: &'a str,
    /// The step in which it was begun, and that in which it ended.
    pub(super) first: usize,
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
    for statement in statements(log) {
        reading.statement(statement);
        if statement.outcome.class == Class::Killed {
            reading.end(statement, None);
        }
    }
    reading.ended.append(&mut reading.open);
    reading.ended
}

/// Everything that was done, in the order of ends; what was under way when the log ended comes last.
pub(super) fn statements(log: &Log) -> Vec<Statement<'_>> {
    let mut statements = Vec::new();
    // With whether it may have been refused, and nothing has been done.
    let mut under_way: Vec<(Statement<'_>, bool)> = Vec::new();
    for (step, it) in log.steps.iter().enumerate() {
        let (actor, sql) = (it.decision.actor.as_str(), it.decision.op.as_str());
        let begun = Statement { actor, first: step, step, sql, outcome: &UNDER_WAY };
        let before = under_way.iter().position(|(statement, _)| statement.actor == actor);
        let before = before.map(|at| under_way.swap_remove(at));
        // Who was refused begins anew; who waits within an operation stands at a place in it.
        let goes_on = before.filter(|(_, is_refused)| !is_refused || it.decision.at.is_some());
        let statement = Statement { step, ..goes_on.map_or(begun, |(statement, _)| statement) };
        let outcome = it.came.as_ref().map(|came| &came.outcome);
        match outcome {
            Some(outcome) if outcome.class.is_end() => {
                statements.push(Statement { outcome, ..statement });
            }
            Some(outcome) if outcome.class == Class::Blocked => {
                under_way.push((statement, goes_on.is_none()));
            }
            _ => under_way.push((statement, false)),
        }
    }
    let last = under_way.into_iter().filter(|(_, is_refused)| !is_refused);
    statements.extend(last.map(|(statement, _)| statement));
    statements
}

impl Statement<'_> {
    /// Whether it only reads, as far as its first word tells.
    pub(super) fn is_query(&self) -> bool {
        is_query(self.sql)
    }

    /// Whether it surely wrote something: it succeeded, and does not say that it found no row.
    pub(super) fn has_written(&self) -> bool {
        let writes = self.begins_with(&["append", "put", "insert", "update", "delete"]);
        let Outcome { class, shown, .. } = self.outcome;
        writes && *class == Class::Ok && shown.trim_end() != "0"
    }

    fn begins_with(&self, words: &[&str]) -> bool {
        let first = self.sql.split_whitespace().next().unwrap_or_default();
        words.iter().any(|word| first.eq_ignore_ascii_case(word))
    }
}

#[derive(Default)]
struct Reading<'a> {
    open: Vec<Transaction<'a>>,
    ended: Vec<Transaction<'a>>,
}

impl<'a> Reading<'a> {
    fn statement(&mut self, statement: Statement<'a>) {
        let at = self.open.iter().position(|it| it.actor == statement.actor);
        let succeeded = statement.outcome.class == Class::Ok;
        match (Command::of(statement.sql), at) {
            (command @ (Command::BeginRead | Command::BeginWrite), _) if succeeded => {
                // One that is open still went with its process.
                self.end(statement, None);
                let writes = command == Command::BeginWrite;
                self.open.push(Transaction::new(statement, writes));
            }
            (Command::Sql(_), Some(at)) => self.open[at].statements.push(statement),
            (Command::Sql(_), None) => self.ended.push(Transaction {
                statements: vec![statement],
                commit: Some(statement),
                closing: Some(statement.first),
                ended: Some(statement.step),
                is_alone: true,
                ..Transaction::new(statement, true)
            }),
            (Command::Commit, _) => self.end(statement, Some(statement)),
            (Command::Rollback | Command::Panic, _) => self.end(statement, None),
            _ => {}
        }
    }

    /// Ends what the actor of a statement has open.
    fn end(&mut self, by: Statement<'a>, commit: Option<Statement<'a>>) {
        if let Some(at) = self.open.iter().position(|transaction| transaction.actor == by.actor) {
            let transaction = self.open.remove(at);
            let (closing, ended) = (Some(by.first), Some(by.step));
            self.ended.push(Transaction { commit, closing, ended, ..transaction });
        }
    }
}

impl<'a> Transaction<'a> {
    fn new(begin: Statement<'a>, writes: bool) -> Self {
        Self {
            actor: begin.actor,
            writes,
            began: begin.first,
            opened: begin.step,
            statements: Vec::new(),
            commit: None,
            closing: None,
            ended: None,
            is_alone: false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lockstep::check::fixture::Fixture;

    fn first_steps(log: &Log) -> Vec<(usize, usize)> {
        statements(log).iter().map(|it| (it.first, it.step)).collect()
    }

    #[test]
    fn who_is_refused_begins_anew_and_who_waits_within_an_operation_goes_on() {
        let blocked = || Outcome::new(Class::Blocked, "gate file");
        let fixture = Fixture::new("")
            .step("ada", "begin write", blocked())
            .ok("ada", "begin write", "")
            .step("bob", "begin write", blocked());
        let (_, mut log) = fixture.build();
        assert_eq!(first_steps(&log), [(1, 1)], "bob has not begun");
        log.steps[1].decision.at = Some("gate file".to_owned());
        assert_eq!(first_steps(&log), [(0, 1)]);
    }
}
