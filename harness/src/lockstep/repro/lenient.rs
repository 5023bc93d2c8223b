//! Follows a list of moves as far as it applies.
//!
//! A move whose actor cannot move, or whose fault is not offered, is left out. Behind the last one the actor that moved
//! last goes on as long as it can, then the first that can. So whatever is taken out of a list or a scenario, there is a
//! schedule for the rest, and where nothing was taken out it is the one that was listed.

use std::collections::{BTreeMap, VecDeque};

use serde::{Deserialize, Serialize};

use crate::lockstep::act::{Act, Move};
use crate::lockstep::log::{Came, Decision, Log};
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
    left: VecDeque<Placed>,
    /// What actors do, by name; of those that are not here no move has a place.
    scripts: BTreeMap<String, Vec<String>>,
    /// How many operations are behind an actor.
    done: BTreeMap<String, usize>,
    /// Who moves now, and whether that is to bring it to the place of the first move that is left.
    moving: Option<(String, bool)>,
    steps_max: u64,
}

/// A move and, if it has one, its place: the operation of its actor that it carries out, or a part of it.
pub(in crate::lockstep) struct Placed {
    pub(in crate::lockstep) step: Step,
    pub(in crate::lockstep) operation: Option<usize>,
}

impl Lenient {
    /// Follows those moves.
    pub fn new(moves: &[Step]) -> Self {
        let placed = |step: &Step| Placed { step: step.clone(), operation: None };
        Self::placed(moves.iter().map(placed).collect(), BTreeMap::new())
    }

    /// Follows those moves, each at its place: an actor that is not there yet goes on until it is, and a move whose place
    /// is behind its actor is left out. So an operation may take more steps than it took, or fewer.
    pub(in crate::lockstep) fn placed(
        moves: VecDeque<Placed>,
        scripts: BTreeMap<String, Vec<String>>,
    ) -> Self {
        let steps_max = moves.len() as u64 + STEPS_BEYOND_MAX;
        Self { left: moves, scripts, done: BTreeMap::new(), moving: None, steps_max }
    }

    fn chosen(&mut self, offer: &Offer<'_>) -> (Move, bool) {
        while let Some(Placed { step, operation }) = self.left.front() {
            let mut enabled = offer.enabled.iter().copied();
            if let Some(actor) = enabled.find(|&index| offer.names[index] == step.actor) {
                let done = self.done.get(&step.actor).copied().unwrap_or(0);
                let place = operation.unwrap_or(done);
                let listed = Move { actor, act: step.act };
                if done < place {
                    return (Move::go(actor), true);
                }
                if done == place && (listed.act.is_go() || offer.faults.contains(&listed)) {
                    self.left.pop_front();
                    return (listed, false);
                }
            }
            self.left.pop_front();
        }
        (Move::go(offer.can_stay().unwrap_or(offer.enabled[0])), false)
    }
}

impl Chooser for Lenient {
    fn choose(&mut self, offer: &Offer<'_>) -> Result<Move, Stop> {
        if self.steps_max <= offer.step {
            return Err(Stop::Cut { steps: offer.step });
        }
        let (chosen, on_the_way) = self.chosen(offer);
        self.moving = Some((offer.names[chosen.actor].clone(), on_the_way));
        Ok(chosen)
    }

    fn decided(&mut self, decision: &Decision) -> Result<(), Stop> {
        let Some(script) = self.scripts.get(&decision.actor) else { return Ok(()) };
        // Operations may have been passed over: those of a transaction that could not be begun.
        let done = self.done.entry(decision.actor.clone()).or_default();
        let passed = script.iter().skip(*done).position(|op| *op == decision.op);
        *done += passed.unwrap_or(0);
        let on_the_way = self.moving.as_ref().is_some_and(|(_, on_the_way)| *on_the_way);
        let first = self.left.front().filter(|first| on_the_way && first.step.act.is_go());
        if first.is_some_and(|first| first.operation == Some(*done)) {
            self.left.pop_front(); // it was there already
        }
        Ok(())
    }

    fn came(&mut self, came: &Came) -> Result<(), Stop> {
        if let Some((actor, _)) = self.moving.take().filter(|_| came.outcome.class.is_end())
            && let Some(script) = self.scripts.get(&actor)
        {
            let done = self.done.entry(actor).or_default();
            *done = (*done + 1).min(script.len());
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lockstep::driver::{Class, Outcome};

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

    #[test]
    fn a_move_waits_for_its_place_and_is_left_out_behind_it() {
        let placed = |actor: &str, act, operation| Placed {
            step: Step { actor: actor.to_owned(), act },
            operation: Some(operation),
        };
        let moves =
            [placed("bob", Act::Kill, 1), placed("ada", Act::Go, 0), placed("bob", Act::Go, 0)];
        let scripts = [("bob", ["a", "b"]), ("ada", ["a", "b"])];
        let scripts = scripts.map(|(name, ops)| (name.to_owned(), ops.map(str::to_owned).to_vec()));
        let mut lenient = Lenient::placed(moves.into(), scripts.into());
        let mut step = |enabled: &[usize], op: &str, class| {
            let Move { actor, act } = chosen(&mut lenient, enabled, None);
            let actor = names()[actor].clone();
            let decision = Decision {
                step: 0,
                at_ns: 0,
                enabled: Vec::new(),
                actor: actor.clone(),
                op: op.to_owned(),
                at: None,
                act,
            };
            lenient.decided(&decision).unwrap();
            let outcome = Outcome::new(class, "");
            lenient.came(&Came { step: 0, outcome, waits: None }).unwrap();
            (actor, act)
        };
        let (ada, bob) = ("ada".to_owned(), "bob".to_owned());
        // Bob's first operation takes two steps now, and he is killed in his second one all the same.
        assert_eq!(step(&[0, 1], "a", Class::Paused), (bob.clone(), Act::Go));
        assert_eq!(step(&[0, 1], "a", Class::Ok), (bob.clone(), Act::Go));
        assert_eq!(step(&[0, 1], "b", Class::Killed), (bob, Act::Kill));
        assert_eq!(step(&[0, 1], "a", Class::Ok), (ada.clone(), Act::Go));
        // The last move has its place behind Bob.
        assert_eq!(step(&[0, 1], "b", Class::Ok), (ada, Act::Go));
    }
}
