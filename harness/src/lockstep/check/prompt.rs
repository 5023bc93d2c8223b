//! *Prompt*: no operation takes longer than the scenario allows, in virtual time from its first step to its end.

use super::Check;
use super::transaction::{self, Statement};
use crate::check::{Evidence, Finding};
use crate::lockstep::log::Log;
use crate::scenario::script::Script;

/// See the module's header.
pub(super) struct Prompt;

const NS_PER_MS: u64 = 1_000_000;

impl Check for Prompt {
    fn id(&self) -> &'static str {
        "prompt"
    }

    fn judge(&self, script: &Script, log: &Log) -> Option<Finding> {
        let most_ns = u64::from(script.watched.prompt_ms?) * NS_PER_MS;
        let mut evidence = Evidence::default();
        let mut longest_ns = 0;
        for statement in transaction::statements(log) {
            let took_ns = took_ns(log, &statement);
            longest_ns = longest_ns.max(took_ns);
            if most_ns < took_ns {
                let Statement { actor, sql, first, .. } = statement;
                let took_ms = took_ns / NS_PER_MS;
                evidence
                    .add(|| format!("{actor}: `{sql}`, begun at step {first}, took {took_ms} ms"));
            }
        }
        Some(evidence.finding(format!("the longest took {} ms", longest_ns / NS_PER_MS)))
    }

    /// Lets the last operation end later, and with it the schedule.
    fn plant(&self, script: &Script, log: &Log) -> Option<Log> {
        let last = transaction::statements(log).into_iter().max_by_key(|it| it.step)?;
        let late_ns = (u64::from(script.watched.prompt_ms?) + 1) * NS_PER_MS;
        let mut planted = log.clone();
        let again = planted.steps[last.step].clone();
        planted.steps.truncate(last.step + 1);
        planted.steps.push(again);
        let [.., before, end] = &mut planted.steps[..] else { return None };
        // It stands in between, for too long.
        before.came.as_mut()?.outcome.class = crate::lockstep::driver::Class::Paused;
        end.decision.at_ns += late_ns;
        Some(planted)
    }
}

fn took_ns(log: &Log, statement: &Statement<'_>) -> u64 {
    let at_ns = |step: usize| log.steps[step].decision.at_ns;
    at_ns(statement.step).saturating_sub(at_ns(statement.first))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::Verdict;
    use crate::lockstep::check::canary;
    use crate::lockstep::check::fixture::{Fixture, finding};
    use crate::lockstep::driver::{Class, Outcome};

    #[test]
    fn an_operation_may_take_so_long_and_no_longer() {
        let (script, mut log) = Fixture::new("[prompt]\nwithin_ms = 5\n")
            .ok("ada", "begin write", "")
            .step("bob", "begin write", Outcome::new(Class::Blocked, "the write lease"))
            .ok("ada", "commit", "")
            .ok("bob", "begin write", "")
            .build();
        let found = finding(&Prompt, &script, &log);
        assert_eq!((found.verdict, &*found.message), (Verdict::Holds, "the longest took 0 ms"));
        assert_eq!(canary(&Prompt, &script, &log), Some(true));
        log.steps[3].decision.at_ns = log.steps[1].decision.at_ns + 5 * NS_PER_MS;
        assert_eq!(finding(&Prompt, &script, &log).verdict, Verdict::Holds);
        log.steps[3].decision.at_ns += 1;
        assert_eq!(
            finding(&Prompt, &script, &log).because,
            ["bob: `begin write`, begun at step 1, took 5 ms"]
        );
        let (script, log) = Fixture::new("").ok("ada", "begin write", "").build();
        assert_eq!(Prompt.judge(&script, &log), None);
    }
}
