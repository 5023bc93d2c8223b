//! *Exclusion*: on the drivers that the scenario names, no two actors have a write transaction open at once, and while one
//! is open nobody gets at the file past the manager.

use super::Check;
use super::transaction::{self, Transaction};
use crate::check::{Evidence, Finding};
use crate::lockstep::driver::{Class, Command, LET_IN};
use crate::lockstep::log::Log;
use crate::scenario::script::Script;

/// See the module's header.
pub(super) struct Exclusion;

impl Check for Exclusion {
    fn id(&self) -> &'static str {
        "exclusion"
    }

    fn judge(&self, script: &Script, log: &Log) -> Option<Finding> {
        script.watched.exclusion.contains(&log.header.driver).then_some(())?;
        let writing = writing(log);
        let mut evidence = Evidence::default();
        for one in &writing {
            for other in writing.iter().filter(|other| both_are_open(one, other)) {
                evidence.add(|| {
                    format!(
                        "{} began to write at step {}, {} had been writing since step {}",
                        other.actor, other.opened, one.actor, one.opened
                    )
                });
            }
        }
        for one in &writing {
            for (step, actor) in let_in(log).filter(|(step, _)| is_open_at(one, *step)) {
                evidence.add(|| {
                    format!(
                        "{actor} got at the file past the manager at step {step}, {} had been writing since step {}",
                        one.actor, one.opened
                    )
                });
            }
        }
        Some(evidence.finding(format!("{} write transactions were open", writing.len())))
    }

    /// Lets a transaction stay open while the next one is.
    fn plant(&self, _: &Script, log: &Log) -> Option<Log> {
        let writing = writing(log);
        let follows = |one: &Transaction<'_>, other: &Transaction<'_>| {
            one.actor != other.actor && one.ended.is_some_and(|ended| ended < other.opened)
        };
        let first = writing.iter().find(|one| writing.iter().any(|other| follows(one, other)))?;
        let mut planted = log.clone();
        planted.steps[first.ended?].came.as_mut()?.outcome.class = Class::Blocked;
        Some(planted)
    }
}

fn writing(log: &Log) -> Vec<Transaction<'_>> {
    transaction::of(log).into_iter().filter(|transaction| transaction.writes).collect()
}

/// Whether the one surely was open when the other one had just begun.
fn both_are_open(one: &Transaction<'_>, other: &Transaction<'_>) -> bool {
    one.actor != other.actor && is_open_at(one, other.opened)
}

fn is_open_at(one: &Transaction<'_>, step: usize) -> bool {
    one.opened < step && one.closing.is_none_or(|closing| step < closing)
}

/// The steps in which nobody kept an actor out that did not ask.
fn let_in(log: &Log) -> impl Iterator<Item = (usize, &str)> {
    let statements = transaction::statements(log).into_iter();
    let barges = statements.filter(|it| Command::of(it.sql) == Command::Barge);
    barges.filter(|it| it.outcome.shown == LET_IN).map(|it| (it.step, it.actor))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::Verdict;
    use crate::lockstep::check::canary;
    use crate::lockstep::check::fixture::{Fixture, finding};
    use crate::lockstep::driver::Outcome;

    fn fixture() -> Fixture {
        Fixture::new("[exclusion]\ndrivers = [\"naive\"]\n").ok("ada", "begin write", "")
    }

    #[test]
    fn one_after_the_other_holds_and_both_at_once_do_not() {
        for end in ["commit", "rollback"] {
            let (script, log) = fixture()
                .step("bob", "begin write", Outcome::new(Class::Blocked, "the write lease"))
                .ok("eve", "begin read", "")
                .ok("ada", end, "")
                .ok("bob", "begin write", "")
                .build();
            assert_eq!(finding(&Exclusion, &script, &log).verdict, Verdict::Holds);
            assert_eq!(canary(&Exclusion, &script, &log), Some(true));
        }
        let (script, log) = fixture().ok("bob", "begin write", "").ok("ada", "commit", "").build();
        assert_eq!(
            finding(&Exclusion, &script, &log).because,
            ["bob began to write at step 1, ada had been writing since step 0"]
        );
    }

    #[test]
    fn who_is_stopped_within_a_commit_may_have_given_the_lease_back() {
        let (script, log) = fixture()
            .step("ada", "commit", Outcome::new(Class::Paused, ""))
            .ok("bob", "begin write", "")
            .ok("ada", "commit", "")
            .build();
        assert_eq!(finding(&Exclusion, &script, &log).verdict, Verdict::Holds);
    }

    #[test]
    fn nobody_gets_at_the_file_past_the_manager_while_somebody_writes() {
        let (script, log) = fixture().ok("bob", "barge", "FileLocked").build();
        assert_eq!(finding(&Exclusion, &script, &log).verdict, Verdict::Holds);
        let (script, log) = fixture().ok("bob", "barge", LET_IN).build();
        assert_eq!(
            finding(&Exclusion, &script, &log).because,
            ["bob got at the file past the manager at step 1, ada had been writing since step 0"]
        );
        let (script, log) = fixture().ok("ada", "commit", "").ok("bob", "barge", LET_IN).build();
        assert_eq!(finding(&Exclusion, &script, &log).verdict, Verdict::Holds);
    }

    #[test]
    fn other_drivers_are_not_held_to_it() {
        let (script, log) = Fixture::new("[exclusion]\ndrivers = [\"managed\"]\n")
            .ok("ada", "begin write", "")
            .ok("bob", "begin write", "")
            .build();
        assert_eq!(Exclusion.judge(&script, &log), None);
    }
}
