//! Follows a list of moves as far as it applies.
//!
//! A move whose actor cannot move, or whose fault is not offered, is left out. Behind the last one the actor that moved
//! last goes on as long as it can, then the first that can. So whatever is taken out of a list or a scenario, there is a
//! schedule for the rest, and where nothing was taken out it is the one that was listed.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};

use crate::lockstep::act::{Act, Move};
use crate::lockstep::log::Log;
use crate::lockstep::strategy::{Chooser, Offer, Stop};

/// A schedule that goes on for longer than its list by so many steps does not end: somebody asks again and again.
const STEPS_BEYOND_MAX: u64 = 10_000;

/// Who moves, by name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Step {
    /// An actor, or a thread that the manager began.
    pub actor: String,
    /// What happens to it.
    #[serde(default, skip_serializing_if = "Act::is_go")]
    pub act: Act,
}

impl Step {
    /// Those of a log.
    pub fn all(log: &Log) -> Vec<Self> {
        let decisions = log.steps.iter().map(|step| &step.decision);
        decisions
            .map(|decision| Self { actor: decision.actor.clone(), act: decision.act })
            .collect()
    }
}

/// See the module's header.
pub struct Lenient {
    left: VecDeque<Step>,
    steps_max: u64,
}

impl Lenient {
    /// Follows those moves.
    pub fn new(moves: &[Step]) -> Self {
        let left = moves.iter().cloned().collect();
        Self { left, steps_max: moves.len() as u64 + STEPS_BEYOND_MAX }
    }
}

impl Chooser for Lenient {
    fn choose(&mut self, offer: &Offer<'_>) -> Result<Move, Stop> {
        if self.steps_max <= offer.step {
            return Err(Stop::Cut { steps: offer.step });
        }
        while let Some(step) = self.left.pop_front() {
            let mut enabled = offer.enabled.iter().copied();
            let Some(actor) = enabled.find(|&index| offer.names[index] == step.actor) else {
                continue;
            };
            let listed = Move { actor, act: step.act };
            if listed.act.is_go() || offer.faults.contains(&listed) {
                return Ok(listed);
            }
        }
        Ok(Move::go(offer.can_stay().unwrap_or(offer.enabled[0])))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names() -> [String; 2] {
        ["ada".to_owned(), "bob".to_owned()]
    }

    fn chosen(lenient: &mut Lenient, enabled: &[usize], last: Option<usize>) -> Move {
        let names = names();
        let faults = [Move { actor: 1, act: Act::Kill }];
        let faults = if enabled.contains(&1) { &faults[..] } else { &[] };
        lenient
            .choose(&Offer { step: 0, at_ns: 0, enabled, ops: &[], faults, last, names: &names })
            .unwrap()
    }

    #[test]
    fn what_does_not_apply_is_left_out_and_behind_the_list_the_last_one_goes_on() {
        let step = |actor: &str, act| Step { actor: actor.to_owned(), act };
        let mut lenient = Lenient::new(&[
            step("bob", Act::Go),
            step("eve", Act::Go),
            step("bob", Act::Torn),
            step("ada", Act::Go),
            step("bob", Act::Kill),
        ]);
        assert_eq!(chosen(&mut lenient, &[0, 1], None), Move::go(1));
        assert_eq!(chosen(&mut lenient, &[0, 1], Some(1)), Move::go(0));
        assert_eq!(chosen(&mut lenient, &[0, 1], Some(0)), Move { actor: 1, act: Act::Kill });
        assert_eq!(chosen(&mut lenient, &[0, 1], Some(1)), Move::go(1));
        assert_eq!(chosen(&mut lenient, &[0], Some(1)), Move::go(0));
    }

    #[test]
    fn a_schedule_that_does_not_end_is_stopped() {
        let mut lenient = Lenient::new(&[]);
        let names = names();
        let offer = Offer {
            step: STEPS_BEYOND_MAX,
            at_ns: 0,
            ops: &[],
            enabled: &[0],
            faults: &[],
            last: None,
            names: &names,
        };
        assert_eq!(lenient.choose(&offer), Err(Stop::Cut { steps: STEPS_BEYOND_MAX }));
    }
}
