//! All schedules with at most `p` preemptions, depth first, each once. A preemption leaves an actor that could have gone
//! on; a switch from one that is done or waits is free. What happens to an actor at one of its steps (a fault) is another
//! choice at that step, and no preemption of it.
//!
//! Every schedule starts from a fresh database and follows the choices up to the last node that has one left. What is
//! offered on the way has to be what was offered before: otherwise something here is not deterministic.

use super::{Chooser, Offer, Stop, Strategy};
use crate::lockstep::act::Move;
use crate::lockstep::replay::{Differs, Divergence};

/// See the module's header.
pub struct Dfs {
    preemptions: u32,
    path: Vec<Node>,
    depth: usize,
    begun: u64,
    complete: bool,
}

struct Node {
    enabled: Vec<usize>,
    /// Choices that are within the bound, the ones left to try from `at` on.
    choices: Vec<Move>,
    at: usize,
    /// Preemptions before this node.
    spent: u32,
    last: Option<usize>,
}

impl Node {
    fn new(offer: &Offer<'_>, spent: u32, bound: u32) -> Self {
        let stay = offer.can_stay();
        let is_free = |actor: usize| stay.is_none_or(|stay| stay == actor) || spent < bound;
        let others = offer.enabled.iter().copied().filter(|&actor| Some(actor) != stay);
        let all = stay.into_iter().chain(others).map(Move::go).chain(offer.faults.iter().copied());
        let choices = all.filter(|choice| is_free(choice.actor)).collect();
        Self { enabled: offer.enabled.to_vec(), choices, at: 0, spent, last: offer.last }
    }

    fn chosen(&self) -> Move {
        self.choices[self.at]
    }

    /// Preemptions behind this node.
    fn spent_after(&self) -> u32 {
        let left = self
            .last
            .is_some_and(|last| last != self.chosen().actor && self.enabled.contains(&last));
        self.spent + u32::from(left)
    }
}

impl Dfs {
    /// All schedules with at most that many preemptions.
    pub fn new(preemptions: u32) -> Self {
        Self { preemptions, path: Vec::new(), depth: 0, begun: 0, complete: false }
    }
}

impl Chooser for Dfs {
    fn choose(&mut self, offer: &Offer<'_>) -> Result<Move, Stop> {
        if self.depth == self.path.len() {
            let spent = self.path.last().map_or(0, Node::spent_after);
            self.path.push(Node::new(offer, spent, self.preemptions));
        }
        let node = &self.path[self.depth];
        if node.enabled != offer.enabled {
            return Err(Divergence {
                step: offer.step,
                differs: Differs::Enabled,
                recorded: names(&node.enabled, offer),
                found: names(offer.enabled, offer),
            }
            .into());
        }
        self.depth += 1;
        Ok(node.chosen())
    }
}

impl Strategy for Dfs {
    fn begin(&mut self) -> bool {
        if 0 < self.begun {
            // What lies behind the last choice that can still be changed is new.
            self.path.truncate(self.depth);
            while self.path.last().is_some_and(|node| node.at + 1 == node.choices.len()) {
                self.path.pop();
            }
            match self.path.last_mut() {
                Some(node) => node.at += 1,
                None => self.complete = true,
            }
        }
        if self.complete {
            return false;
        }
        self.depth = 0;
        self.begun += 1;
        true
    }

    fn schedule(&self) -> String {
        format!("dfs{}/{}", self.preemptions, self.begun.saturating_sub(1))
    }

    fn total(&self) -> Option<u64> {
        self.complete.then_some(self.begun)
    }
}

fn names(indices: &[usize], offer: &Offer<'_>) -> String {
    let name = |&index: &usize| offer.names.get(index).map_or("?", String::as_str);
    indices.iter().map(name).collect::<Vec<_>>().join(", ")
}
