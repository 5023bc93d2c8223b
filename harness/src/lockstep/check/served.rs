//! *Served*: where the scenario asks for it, nobody is refused. An operation may lose a race, break a constraint, or fail
//! because its transaction did; it does not end with any other error, and nobody panics.

use super::Check;
use super::transaction::{self, Statement};
use crate::check::{Evidence, Finding};
use crate::lockstep::driver::Class;
use crate::lockstep::log::Log;
use crate::scenario::script::Script;

/// See the module's header.
pub(super) struct Served;

impl Check for Served {
    fn id(&self) -> &'static str {
        "served"
    }

    fn judge(&self, script: &Script, log: &Log) -> Option<Finding> {
        script.watched.served.then_some(())?;
        let mut evidence = Evidence::default();
        let ended = ended(log);
        for Statement { actor, step, sql, outcome, .. } in &ended {
            if matches!(outcome.class, Class::Failed | Class::Unknown | Class::Panicked) {
                evidence.add(|| {
                    let shown = outcome.shown.trim_end();
                    format!("{actor}: `{sql}` ended at step {step} with {} {shown}", outcome.class)
                });
            }
        }
        Some(evidence.finding(format!("{} operations ended", ended.len())))
    }

    /// Lets an operation fail.
    fn plant(&self, _: &Script, log: &Log) -> Option<Log> {
        let step = ended(log).first()?.step;
        let mut planted = log.clone();
        planted.steps[step].came.as_mut()?.outcome.class = Class::Failed;
        Some(planted)
    }
}

/// What came to an end.
fn ended(log: &Log) -> Vec<Statement<'_>> {
    let statements = transaction::statements(log).into_iter();
    statements.filter(|it| has_ended(log, it.step)).collect()
}

fn has_ended(log: &Log, step: usize) -> bool {
    log.steps[step].came.as_ref().is_some_and(|came| came.outcome.class.is_end())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::Verdict;
    use crate::lockstep::check::canary;
    use crate::lockstep::check::fixture::{Fixture, finding};
    use crate::lockstep::driver::Outcome;

    fn fixture() -> Fixture {
        Fixture::new("served = true\n")
            .ok("ada", "begin write", "")
            .step("bob", "begin write", Outcome::new(Class::Blocked, "the write lease"))
            .ok("ada", "commit", "")
    }

    #[test]
    fn who_loses_a_race_is_served_and_who_is_turned_away_is_not() {
        for class in [Class::Ok, Class::Conflict, Class::Constraint, Class::Aborted, Class::Killed]
        {
            let end = Outcome::new(class, "");
            let (script, log) = fixture().step("bob", "begin write", end).build();
            assert_eq!(finding(&Served, &script, &log).verdict, Verdict::Holds, "{class}");
            assert_eq!(canary(&Served, &script, &log), Some(true));
        }
        for class in [Class::Failed, Class::Unknown, Class::Panicked] {
            let end = Outcome::new(class, "TimedOut");
            let (script, log) = fixture().step("bob", "begin write", end).build();
            assert_eq!(
                finding(&Served, &script, &log).because,
                [format!("bob: `begin write` ended at step 3 with {class} TimedOut")]
            );
        }
    }

    #[test]
    fn what_was_under_way_is_held_against_nobody_and_a_scenario_has_to_ask() {
        let (script, log) = fixture().maybe("bob", "begin write", None).build();
        assert_eq!(finding(&Served, &script, &log).verdict, Verdict::Holds);
        let end = Outcome::new(Class::Failed, "");
        let (script, log) = Fixture::new("").step("ada", "begin write", end).build();
        assert_eq!(Served.judge(&script, &log), None);
    }
}
