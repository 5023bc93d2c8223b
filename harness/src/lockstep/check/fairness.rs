//! *Fairness*: while an actor waits, not more others than the scenario allows get the same that ask after it. This is
//! counted in steps; time has no part in it.

use super::Check;
use crate::check::{Evidence, Finding};
use crate::lockstep::driver::Class;
use crate::lockstep::log::{Log, Step};
use crate::scenario::script::Script;

/// See the module's header.
pub(super) struct Fairness;

impl Check for Fairness {
    fn id(&self) -> &'static str {
        "fairness"
    }

    fn judge(&self, script: &Script, log: &Log) -> Option<Finding> {
        let most = script.watched.overtaken_max? as usize;
        let mut evidence = Evidence::default();
        let requests = requests(log);
        let mut highest = 0;
        for waiter in requests.iter().filter(|it| it.what.is_some()) {
            let overtaking: Vec<_> = requests.iter().filter(|it| it.overtakes(waiter)).collect();
            highest = highest.max(overtaking.len());
            if most < overtaking.len() {
                let who: Vec<&str> = overtaking.iter().map(|it| it.actor).collect();
                let Request { actor, op, first, .. } = waiter;
                evidence.add(|| {
                    format!(
                        "{actor} asked for `{op}` at step {first}, and {} got it before",
                        who.join(", ")
                    )
                });
            }
        }
        Some(evidence.finding(format!("who waited was overtaken {highest} times at most")))
    }

    /// Lets somebody else get what an actor waits for, again and again.
    fn plant(&self, script: &Script, log: &Log) -> Option<Log> {
        let requests = requests(log);
        let waiter = requests.iter().find(|it| it.what.is_some())?;
        let other = log.steps.iter().find(|step| step.decision.actor != waiter.actor)?;
        let mut step: Step = log.steps[waiter.first].clone();
        step.decision.actor.clone_from(&other.decision.actor);
        let came = step.came.as_mut()?;
        (came.outcome.class, came.waits) = (Class::Ok, None);
        let mut planted = log.clone();
        // One more, since the other one may be waiting already.
        for _ in 0..script.watched.overtaken_max? + 2 {
            planted.steps.insert(waiter.first + 1, step.clone());
        }
        Some(planted)
    }
}

/// An operation, from when it was asked for until it was had.
struct Request<'a> {
    actor: &'a str,
    op: &'a str,
    /// The step in which it was asked for first.
    first: usize,
    /// The step in which it ended; none if it was waiting when the log ended.
    last: Option<usize>,
    succeeded: bool,
    /// What it waited for, if it did.
    what: Option<&'a str>,
}

impl Request<'_> {
    fn overtakes(&self, waiter: &Request<'_>) -> bool {
        let is_other = self.actor != waiter.actor;
        let is_same = self.op == waiter.op || (self.what.is_some() && self.what == waiter.what);
        let had_first = match (self.last, waiter.last) {
            (Some(own), Some(theirs)) => own < theirs,
            (own, _) => own.is_some(),
        };
        is_other && is_same && waiter.first < self.first && had_first && self.succeeded
    }
}

fn requests(log: &Log) -> Vec<Request<'_>> {
    let mut done = Vec::new();
    let mut open: Vec<Request<'_>> = Vec::new();
    for (index, step) in log.steps.iter().enumerate() {
        let (actor, op) = (step.decision.actor.as_str(), step.decision.op.as_str());
        let at = open.iter().position(|request| request.actor == actor);
        let new = Request { actor, op, first: index, last: None, succeeded: false, what: None };
        let mut request = at.map_or(new, |at| open.swap_remove(at));
        let came = step.came.as_ref();
        match came.map(|came| came.outcome.class) {
            None | Some(Class::Paused) => open.push(request),
            Some(Class::Blocked) => {
                let waits = came.and_then(|came| came.waits.as_ref());
                request.what = request.what.or(waits.map(|waits| waits.what.as_str()));
                open.push(request);
            }
            Some(class) => {
                let succeeded = class == Class::Ok;
                done.push(Request { last: Some(index), succeeded, ..request });
            }
        }
    }
    done.append(&mut open);
    done
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::Verdict;
    use crate::lockstep::check::canary;
    use crate::lockstep::check::fixture::{Fixture, finding};
    use crate::lockstep::driver::Outcome;

    /// One has it, another waits for it.
    fn fixture(overtaken_max: u32) -> Fixture {
        Fixture::new(&format!("[fairness]\novertaken_max = {overtaken_max}\n"))
            .ok("ada", "begin write", "")
            .step("bob", "begin write", blocked())
            .ok("ada", "commit", "")
    }

    fn blocked() -> Outcome {
        Outcome::new(Class::Blocked, "the write lease")
    }

    #[test]
    fn who_asked_later_may_be_first_so_often_and_no_more() {
        let twice = |overtaken_max| {
            let fixture = fixture(overtaken_max)
                .ok("eve", "begin write", "")
                .ok("eve", "commit", "")
                .ok("ada", "begin write", "")
                .ok("ada", "commit", "")
                .ok("bob", "begin write", "")
                .ok("eve", "begin write", "");
            fixture.build()
        };
        let (script, log) = twice(2);
        let found = finding(&Fairness, &script, &log);
        assert_eq!(
            (found.verdict, &*found.message),
            (Verdict::Holds, "who waited was overtaken 2 times at most")
        );
        assert_eq!(canary(&Fairness, &script, &log), Some(true));
        let (script, log) = twice(1);
        assert_eq!(
            finding(&Fairness, &script, &log).because,
            ["bob asked for `begin write` at step 1, and eve, ada got it before"]
        );
    }

    #[test]
    fn who_asked_before_overtakes_nobody_even_if_both_wait() {
        let (script, log) = fixture(0)
            .step("eve", "begin write", blocked())
            .ok("bob", "begin write", "")
            .ok("bob", "commit", "")
            .ok("eve", "begin write", "")
            .build();
        assert_eq!(finding(&Fairness, &script, &log).verdict, Verdict::Holds);
    }

    #[test]
    fn who_still_waits_at_the_end_was_overtaken_too_and_by_whatever_needs_the_same() {
        let (script, log) = fixture(0)
            .step("eve", "INSERT INTO t VALUES (1)", blocked())
            .ok("eve", "INSERT INTO t VALUES (1)", "1\n")
            .build();
        assert_eq!(finding(&Fairness, &script, &log).verdict, Verdict::Violated);
        let (script, log) = Fixture::new("").ok("ada", "SELECT 1", "1\n").build();
        assert_eq!(Fairness.judge(&script, &log), None);
    }
}
