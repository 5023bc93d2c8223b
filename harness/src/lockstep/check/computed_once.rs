//! *Computed once*: of all who ask a store for an artefact that is missing, one computes it.
//!
//! Of keys that somebody takes out, and where a computation was cut off, nothing is said.

use super::Check;
use super::transaction::{self, Statement};
use crate::check::{Evidence, Finding};
use crate::lockstep::driver::Class;
use crate::lockstep::log::Log;
use crate::lockstep::stored::{COMPUTED, Stored};
use crate::scenario::script::Script;

/// See the module's header.
pub(super) struct ComputedOnce;

impl Check for ComputedOnce {
    fn id(&self) -> &'static str {
        "computed_once"
    }

    fn judge(&self, _: &Script, log: &Log) -> Option<Finding> {
        let statements = transaction::statements(log);
        let asked = asked(&statements);
        let mut evidence = Evidence::default();
        for (at, (key, statement)) in asked.iter().enumerate().filter(|(_, it)| computed(&it.1)) {
            let before = asked[..at].iter().find(|(its, it)| its == key && computed(it));
            if let Some((_, before)) = before {
                evidence.add(|| {
                    format!(
                        "{} computed `{key}` at step {}, and {} at step {} again",
                        before.actor, before.step, statement.actor, statement.step
                    )
                });
            }
        }
        (!asked.is_empty()).then(|| {
            evidence.finding(format!("{} asked for what may have to be computed", asked.len()))
        })
    }

    /// Lets somebody compute what another one has computed.
    fn plant(&self, _: &Script, log: &Log) -> Option<Log> {
        let statements = transaction::statements(log);
        let (key, first) = asked(&statements).into_iter().find(|(_, it)| computed(it))?;
        let again = asked(&statements)
            .into_iter()
            .find(|(its, it)| *its == key && it.step != first.step)?;
        let mut planted = log.clone();
        planted.steps[again.1.step].came.as_mut()?.outcome.shown = format!("{COMPUTED}\n");
        Some(planted)
    }
}

/// Who got an artefact that might have to be computed, in the order of ends.
fn asked<'a>(statements: &[Statement<'a>]) -> Vec<(&'a str, Statement<'a>)> {
    let of = |statement: &Statement<'a>| match Stored::of(statement.sql) {
        Some(Stored::Compute(key, _)) => Some((key, *statement)),
        _ => None,
    };
    let is_told = |key: &str| {
        !statements.iter().any(|it| match Stored::of(it.sql) {
            Some(Stored::Drop(its)) => its == key,
            Some(Stored::Compute(its, _)) => its == key && it.outcome.class != Class::Ok,
            _ => false,
        })
    };
    statements.iter().filter_map(of).filter(|(key, _)| is_told(key)).collect()
}

fn computed(statement: &Statement<'_>) -> bool {
    statement.outcome.shown.trim_end() == COMPUTED
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::Verdict;
    use crate::lockstep::check::canary;
    use crate::lockstep::check::fixture::{Fixture, finding};
    use crate::lockstep::driver::Outcome;

    fn asking(last: Outcome) -> Fixture {
        Fixture::new("points = \"manager\"\n")
            .ok("ada", "store compute x 7", "computed\n")
            .ok("bob", "store compute y 7", "computed\n")
            .step("bob", "store compute x 7", last)
    }

    #[test]
    fn whoever_comes_second_finds_it() {
        let (script, log) = asking(Outcome::new(Class::Ok, "found\n")).build();
        assert_eq!(finding(&ComputedOnce, &script, &log).verdict, Verdict::Holds);
        assert_eq!(canary(&ComputedOnce, &script, &log), Some(true));
        let (script, log) = asking(Outcome::new(Class::Ok, "computed\n")).build();
        assert_eq!(
            finding(&ComputedOnce, &script, &log).because,
            ["ada computed `x` at step 0, and bob at step 2 again"]
        );
    }

    #[test]
    fn a_computation_that_was_cut_off_is_made_again() {
        let cut_off = asking(Outcome::new(Class::Killed, ""));
        let (script, log) = cut_off.ok("eve", "store compute x 7", "computed\n").build();
        assert_eq!(finding(&ComputedOnce, &script, &log).verdict, Verdict::Holds);
        let (script, log) = Fixture::new("").ok("ada", "SELECT 1", "1\n").build();
        assert_eq!(ComputedOnce.judge(&script, &log), None);
    }
}
