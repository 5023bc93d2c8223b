//! *Prompt*: no operation of an actor takes longer than the scenario allows, in virtual time from when it was asked for to its
//! end.

use super::Check;
use crate::check::{Evidence, Finding};
use crate::lockstep::driver::Class;
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
        for Taken { actor, op, first, ns } in taken(script, log) {
            longest_ns = longest_ns.max(ns);
            if most_ns < ns {
                let took_ms = ns / NS_PER_MS;
                evidence.add(|| {
                    format!("{actor}: `{op}`, asked for at step {first}, took {took_ms} ms")
                });
            }
        }
        Some(evidence.finding(format!("the longest took {} ms", longest_ns / NS_PER_MS)))
    }

    /// Lets the last operation end later, and with it the schedule.
    fn plant(&self, script: &Script, log: &Log) -> Option<Log> {
        let late_ns = (u64::from(script.watched.prompt_ms?) + 1) * NS_PER_MS;
        let mut planted = log.clone();
        let last = planted.steps.last()?.clone();
        planted.steps.last_mut()?.came.as_mut()?.outcome.class = Class::Paused;
        planted.steps.push(last);
        planted.steps.last_mut()?.decision.at_ns += late_ns;
        Some(planted)
    }
}

/// How long an operation took, or has taken when the log ends.
struct Taken<'a> {
    actor: &'a str,
    op: &'a str,
    first: usize,
    ns: u64,
}

/// Of all, from when they were asked for: who is refused and tries again has waited, too.
fn taken<'a>(script: &Script, log: &'a Log) -> Vec<Taken<'a>> {
    let mut ended = Vec::new();
    let mut open: Vec<Taken<'_>> = Vec::new();
    for (index, step) in log.steps.iter().enumerate() {
        let (actor, op) = (step.decision.actor.as_str(), step.decision.op.as_str());
        if script.actors.iter().all(|it| it.id != actor) {
            continue; // a thread of the manager, which waits for its next round
        }
        let before = open.iter().position(|it| it.actor == actor);
        let before = before.map(|at| open.swap_remove(at));
        let taken = before.unwrap_or(Taken { actor, op, first: index, ns: 0 });
        let began_ns = log.steps[taken.first].decision.at_ns;
        let taken = Taken { ns: step.decision.at_ns.saturating_sub(began_ns), ..taken };
        let has_ended = step.came.as_ref().is_some_and(|came| came.outcome.class.is_end());
        if has_ended { ended.push(taken) } else { open.push(taken) }
    }
    ended.append(&mut open);
    ended
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::Verdict;
    use crate::lockstep::check::canary;
    use crate::lockstep::check::fixture::{Fixture, finding};
    use crate::lockstep::driver::Outcome;

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
            ["bob: `begin write`, asked for at step 1, took 5 ms"]
        );
        let (script, log) = Fixture::new("").ok("ada", "begin write", "").build();
        assert_eq!(Prompt.judge(&script, &log), None);
    }
}
