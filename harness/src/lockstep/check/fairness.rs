//! *Fairness*: while an actor waits, not more others than the scenario allows get the same that ask after it. This is
//! counted in steps; time has no part in it.
//!
//! Who has asked may not have its place yet. A scenario that says what those wait for who have theirs counts from there,
//! and every transaction that is begun.

use super::Check;
use crate::check::{Evidence, Finding};
use crate::lockstep::driver::{Class, Command};
use crate::lockstep::log::{Log, Step};
use crate::scenario::script::Script;

/// See the module's header.
pub(super) struct Fairness;

impl Check for Fairness {
    fn id(&self) -> &'static str {
        "fairness"
    }

    fn judge(&self, script: &Script, log: &Log) -> Option<Finding> {
        let fairness = script.watched.fairness.as_ref()?;
        let most = fairness.overtaken_max as usize;
        let mut evidence = Evidence::default();
        let requests = requests(log, &fairness.waiting_for);
        let mut highest = 0;
        for waiter in requests.iter().filter(|it| it.place.is_some()) {
            let by_place = !fairness.waiting_for.is_empty();
            let overtakes = |it: &&Request<'_>| it.overtakes(waiter, by_place);
            let overtaking: Vec<_> = requests.iter().filter(overtakes).collect();
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
        let fairness = script.watched.fairness.as_ref()?;
        let requests = requests(log, &fairness.waiting_for);
        let waiter = requests.iter().find(|it| it.place.is_some())?;
        let place = waiter.place?;
        let other = log.steps.iter().find(|step| step.decision.actor != waiter.actor)?;
        let mut step: Step = log.steps[waiter.first].clone();
        step.decision.actor.clone_from(&other.decision.actor);
        let came = step.came.as_mut()?;
        (came.outcome.class, came.waits) = (Class::Ok, None);
        let mut planted = log.clone();
        // One more, since the other one may be waiting already.
        for _ in 0..fairness.overtaken_max + 2 {
            planted.steps.insert(place + 1, step.clone());
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
    /// The step in which it surely had its place among those who wait, if it had one.
    place: Option<usize>,
}

impl Request<'_> {
    fn overtakes(&self, waiter: &Request<'_>, by_place: bool) -> bool {
        let is_other = self.actor != waiter.actor;
        let is_same = self.op == waiter.op || (self.what.is_some() && self.what == waiter.what);
        let is_behind = if by_place {
            let begins = matches!(Command::of(self.op), Command::BeginRead | Command::BeginWrite);
            begins && waiter.place.is_some_and(|place| place < self.first)
        } else {
            is_same && waiter.first < self.first
        };
        let had_first = match (self.last, waiter.last) {
            (Some(own), Some(theirs)) => own < theirs,
            (own, _) => own.is_some(),
        };
        is_other && is_behind && had_first && self.succeeded
    }
}

/// All of them. Who waits for anything has its place, or, if it is said, who waits for one of these.
fn requests<'a>(log: &'a Log, waiting_for: &[String]) -> Vec<Request<'a>> {
    let mut done = Vec::new();
    let mut open: Vec<Request<'_>> = Vec::new();
    for (index, step) in log.steps.iter().enumerate() {
        let (actor, op) = (step.decision.actor.as_str(), step.decision.op.as_str());
        let at = open.iter().position(|request| request.actor == actor);
        let new = Request {
            actor,
            op,
            first: index,
            last: None,
            succeeded: false,
            what: None,
            place: None,
        };
        let mut request = at.map_or(new, |at| open.swap_remove(at));
        let came = step.came.as_ref();
        match came.map(|came| came.outcome.class) {
            None | Some(Class::Paused) => open.push(request),
            Some(Class::Blocked) => {
                let waits = came.and_then(|came| came.waits.as_ref());
                let what = waits.map(|waits| waits.what.as_str());
                let is_placed = waiting_for.is_empty()
                    || what.is_some_and(|what| waiting_for.iter().any(|known| known == what));
                request.what = request.what.or(what);
                request.place = request.place.or(is_placed.then_some(index));
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
    fn who_has_its_place_is_overtaken_by_no_transaction_that_is_begun_later() {
        let placed = |what: &str| {
            Fixture::new("[fairness]\novertaken_max = 0\nwaiting_for = [\"gate file\"]\n")
                .ok("ada", "begin read", "")
                .step("bob", "begin write", Outcome::new(Class::Blocked, what))
                .ok("eve", "begin read", "")
                .ok("bob", "begin write", "")
        };
        let (script, log) = placed("gate file").build();
        assert_eq!(
            finding(&Fairness, &script, &log).because,
            ["bob asked for `begin write` at step 1, and eve got it before"]
        );
        let (script, log) = placed("gate turnstile").build();
        assert_eq!(finding(&Fairness, &script, &log).verdict, Verdict::Holds, "not yet");
        let (script, log) =
            Fixture::new("[fairness]\novertaken_max = 0\nwaiting_for = [\"gate file\"]\n")
                .ok("ada", "begin read", "")
                .step("bob", "begin write", Outcome::new(Class::Blocked, "gate file"))
                .ok("bob", "begin write", "")
                .build();
        assert_eq!(canary(&Fairness, &script, &log), Some(true));
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
