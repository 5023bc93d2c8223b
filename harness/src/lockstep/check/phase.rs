//! *Phase*: while somebody evaluates, nobody else's writes are committed and nothing that was read changes; and the phase's
//! number never goes back.
//!
//! An evaluation is open between an actor's `begin evaluation` and `end evaluation`. The number is what `begin evaluation`
//! and `begin training` give, where they give one.

use super::Check;
use super::transaction::{self, Fate, Statement, Transaction};
use crate::check::{Evidence, Finding};
use crate::lockstep::driver::Class;
use crate::lockstep::log::Log;
use crate::scenario::script::Script;

/// See the module's header.
pub(super) struct Phase;

impl Check for Phase {
    fn id(&self) -> &'static str {
        "phase"
    }

    fn judge(&self, _: &Script, log: &Log) -> Option<Finding> {
        let statements = transaction::statements(log);
        let evaluations = evaluations(&statements);
        let begun = statements.iter().filter(|it| begins(it)).count();
        if begun == 0 {
            return None;
        }
        let mut evidence = Evidence::default();
        let transactions = transaction::all(log);
        for evaluation in &evaluations {
            for transaction in &transactions {
                intrusion(evaluation, transaction, &mut evidence);
            }
            changes(evaluation, &statements, &mut evidence);
        }
        back(&statements, &mut evidence);
        Some(
            evidence
                .finding(format!("{begun} phases were begun, {} evaluations", evaluations.len())),
        )
    }

    /// Lets somebody who is in nothing else write in the middle of an evaluation.
    fn plant(&self, _: &Script, log: &Log) -> Option<Log> {
        let statements = transaction::statements(log);
        let evaluation = evaluations(&statements).into_iter().next()?;
        let mut planted = log.clone();
        let mut step = log.steps.get(evaluation.from)?.clone();
        "(planted)".clone_into(&mut step.decision.actor);
        "INSERT INTO t VALUES (1)".clone_into(&mut step.decision.op);
        "1\n".clone_into(&mut step.came.as_mut()?.outcome.shown);
        planted.steps.insert(evaluation.from + 1, step);
        Some(planted)
    }
}

/// The steps in which an evaluation surely was open.
struct Evaluation<'a> {
    actor: &'a str,
    /// In which it was open.
    from: usize,
    /// In which its end was begun; none if it was open at the end.
    until: Option<usize>,
}

impl Evaluation<'_> {
    fn spans(&self, first: usize, last: usize) -> bool {
        self.from < first && self.until.is_none_or(|until| last < until)
    }
}

fn begins(statement: &Statement<'_>) -> bool {
    ["begin evaluation", "begin training"].contains(&statement.sql)
        && statement.outcome.class == Class::Ok
}

fn evaluations<'a>(statements: &[Statement<'a>]) -> Vec<Evaluation<'a>> {
    let mut evaluations: Vec<Evaluation<'a>> = Vec::new();
    for statement in statements {
        let ends = statement.sql == "end evaluation" || statement.outcome.class == Class::Killed;
        if ends {
            let mut own = evaluations.iter_mut().filter(|it| it.actor == statement.actor);
            if let Some(open) = own.find(|it| it.until.is_none()) {
                open.until = Some(statement.first);
            }
        } else if statement.sql == "begin evaluation" && begins(statement) {
            let Statement { actor, step, .. } = *statement;
            evaluations.push(Evaluation { actor, from: step, until: None });
        }
    }
    evaluations
}

/// A commit of another actor's writes.
fn intrusion(evaluation: &Evaluation<'_>, transaction: &Transaction<'_>, evidence: &mut Evidence) {
    let Some(commit) = transaction.commit.filter(|_| transaction.fate() == Fate::Kept) else {
        return;
    };
    let has_written = transaction.statements.iter().any(Statement::has_written);
    let is_other = transaction.actor != evaluation.actor;
    if has_written && is_other && evaluation.spans(commit.first, commit.step) {
        let (actor, step) = (transaction.actor, commit.step);
        let Evaluation { actor: reader, from, .. } = evaluation;
        evidence.add(|| {
            format!(
                "{actor} committed at step {step}, {reader} had been evaluating since step {from}"
            )
        });
    }
}

/// Answers that were not the same within an evaluation, in which its actor wrote nothing itself.
fn changes(evaluation: &Evaluation<'_>, statements: &[Statement<'_>], evidence: &mut Evidence) {
    let own = statements
        .iter()
        .filter(|it| it.actor == evaluation.actor && evaluation.spans(it.first, it.step));
    let mut asked: Vec<&Statement<'_>> = Vec::new();
    for statement in own.take_while(|it| !it.has_written()) {
        if !statement.is_query() || statement.outcome.class != Class::Ok {
            continue;
        }
        let first = asked.iter().find(|first| first.sql == statement.sql);
        if let Some(first) = first.filter(|it| it.outcome.result != statement.outcome.result) {
            evidence.add(|| {
                format!(
                    "{} evaluated `{}`: `{}` at step {}, `{}` at step {}",
                    statement.actor,
                    statement.sql,
                    first.outcome.shown.trim_end(),
                    first.step,
                    statement.outcome.shown.trim_end(),
                    statement.step
                )
            });
        }
        asked.push(statement);
    }
}

/// Numbers of phases that were begun after a later one.
fn back(statements: &[Statement<'_>], evidence: &mut Evidence) {
    let number = |it: &Statement<'_>| it.outcome.shown.trim_end().parse::<u64>().ok();
    let begun = statements.iter().filter(|it| begins(it));
    let begun: Vec<_> = begun.filter_map(|it| Some((it, number(it)?))).collect();
    for (later, its) in &begun {
        let before = begun.iter().filter(|(it, _)| it.step < later.first);
        if let Some((earlier, highest)) = before.max_by_key(|(_, number)| *number)
            && its < highest
        {
            evidence.add(|| {
                format!(
                    "{} began phase {its} at step {}, after {} had begun phase {highest} at step {}",
                    later.actor, later.step, earlier.actor, earlier.step
                )
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::Verdict;
    use crate::lockstep::check::canary;
    use crate::lockstep::check::fixture::{Fixture, finding};
    use crate::lockstep::driver::Outcome;

    fn judged(fixture: Fixture) -> Finding {
        let (script, log) = fixture.build();
        finding(&Phase, &script, &log)
    }

    fn evaluating() -> Fixture {
        Fixture::new("").ok("eve", "begin evaluation", "4\n").ok("eve", "SELECT n FROM t", "1\n")
    }

    #[test]
    fn who_writes_between_evaluations_disturbs_nobody() {
        let good = evaluating()
            .ok("eve", "SELECT n FROM t", "1\n")
            .ok("ada", "begin write", "")
            .ok("ada", "UPDATE t SET n = 2", "1\n")
            .ok("eve", "end evaluation", "")
            .ok("ada", "commit", "")
            .ok("eve", "begin evaluation", "5\n")
            .ok("eve", "SELECT n FROM t", "2\n");
        let (script, log) = good.build();
        assert_eq!(finding(&Phase, &script, &log).verdict, Verdict::Holds);
        assert_eq!(canary(&Phase, &script, &log), Some(true));
        let (script, log) = Fixture::new("").ok("ada", "SELECT 1", "1\n").build();
        assert_eq!(Phase.judge(&script, &log), None, "without phases it is about something else");
    }

    #[test]
    fn a_commit_a_change_and_a_number_that_goes_back_are_told() {
        let write = evaluating().ok("ada", "UPDATE t SET n = 2", "1\n");
        assert_eq!(
            judged(write).because,
            ["ada committed at step 2, eve had been evaluating since step 0"]
        );
        let change = evaluating().ok("eve", "SELECT n FROM t", "2\n");
        assert_eq!(
            judged(change).because,
            ["eve evaluated `SELECT n FROM t`: `1` at step 1, `2` at step 2"]
        );
        let back = evaluating().ok("eve", "end evaluation", "").ok("ada", "begin training", "3\n");
        assert_eq!(
            judged(back).because,
            ["ada began phase 3 at step 3, after eve had begun phase 4 at step 0"]
        );
    }

    #[test]
    fn who_evaluates_may_write_and_then_sees_it() {
        let own =
            evaluating().ok("eve", "UPDATE t SET n = 2", "1\n").ok("eve", "SELECT n FROM t", "2\n");
        assert_eq!(judged(own).verdict, Verdict::Holds);
    }

    #[test]
    fn what_was_not_surely_written_and_committed_is_held_against_nobody() {
        for (op, class, shown) in [
            ("UPDATE t SET n = 2", Class::Ok, "0\n"),
            ("UPDATE t SET n = 2", Class::Conflict, ""),
            ("UPDATE t SET n = 2", Class::Unknown, ""),
            ("SELECT n FROM t", Class::Ok, "1\n"),
        ] {
            let fixture = evaluating().step("ada", op, Outcome::new(class, shown));
            assert_eq!(judged(fixture).verdict, Verdict::Holds, "{op} {class}");
        }
    }
}
