//! All schedules with at most `p` preemptions, depth first, each once. A preemption leaves an actor that could have gone
//! on; a switch from one that is done or waits is free. What happens to an actor at one of its steps (a fault) is another
//! choice at that step, and no preemption of it.
//!
//! Every schedule starts from a fresh database and follows the choices up to the last node that has one left. What is
//! offered on the way has to be what was offered before: otherwise something here is not deterministic.
//!
//! # Without a bound
//!
//! Of schedules that differ only in the order of steps that are independent of each other, one is run: sleep sets
//! (Godefroid, *Partial-Order Methods for the Verification of Concurrent Systems*, 1996, chapter 5). After a choice has
//! been explored, its actor sleeps in the choices that follow it, until a step is taken that depends on its own. Two steps
//! are independent if both are queries: conservative, and true of every driver here. Under a bound nothing sleeps: what
//! stands for a schedule could have more preemptions than it, and not be run.

use super::{Chooser, Offer, Stop, Strategy};
use crate::lockstep::act::Move;
use crate::lockstep::driver::is_query;
use crate::lockstep::replay::{Differs, Divergence};

/// See the module's header.
pub struct Dfs {
    /// None: as many as there are.
    preemptions: Option<u32>,
    path: Vec<Node>,
    depth: usize,
    begun: u64,
    /// Of those, the ones that others stand for.
    redundant: u64,
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
    /// Actors whose next step is a query.
    queries: Vec<usize>,
    /// Actors whose next step has been explored at an earlier node, and depends on nothing since.
    sleeping: Vec<usize>,
}

impl Node {
    fn new(offer: &Offer<'_>, spent: u32, bound: Option<u32>, sleeping: Vec<usize>) -> Self {
        let stay = offer.can_stay();
        let is_free = |actor: usize| {
            stay.is_none_or(|stay| stay == actor) || bound.is_none_or(|bound| spent < bound)
        };
        let others = offer.enabled.iter().copied().filter(|&actor| Some(actor) != stay);
        let all = stay.into_iter().chain(others).map(Move::go).chain(offer.faults.iter().copied());
        let is_awake = |choice: &Move| !choice.act.is_go() || !sleeping.contains(&choice.actor);
        let choices = all.filter(|choice| is_free(choice.actor)).filter(is_awake).collect();
        let with_ops = offer.enabled.iter().zip(offer.ops);
        let queries = with_ops.filter(|(_, op)| is_query(op)).map(|(&actor, _)| actor).collect();
        let enabled = offer.enabled.to_vec();
        Self { enabled, choices, at: 0, spent, last: offer.last, queries, sleeping }
    }

    fn chosen(&self) -> Option<Move> {
        self.choices.get(self.at).copied()
    }

    /// Preemptions behind this node.
    fn spent_after(&self) -> u32 {
        let chosen = self.chosen().map(|chosen| chosen.actor);
        let left =
            self.last.is_some_and(|last| Some(last) != chosen && self.enabled.contains(&last));
        self.spent + u32::from(left)
    }

    /// Who sleeps behind this node.
    fn sleeping_after(&self) -> Vec<usize> {
        let is_query = |actor: &usize| self.queries.contains(actor);
        let Some(chosen) = self.chosen().filter(|it| it.act.is_go() && is_query(&it.actor)) else {
            return Vec::new();
        };
        let explored = self.choices[..self.at].iter().filter(|choice| choice.act.is_go());
        let asleep = self.sleeping.iter().copied().chain(explored.map(|choice| choice.actor));
        asleep.filter(|actor| *actor != chosen.actor).filter(is_query).collect()
    }
}

impl Dfs {
    /// All schedules with at most that many preemptions.
    pub fn new(preemptions: u32) -> Self {
        Self::with(Some(preemptions))
    }

    /// All schedules, but for those that others stand for.
    pub fn without_bound() -> Self {
        Self::with(None)
    }

    fn with(preemptions: Option<u32>) -> Self {
        let path = Vec::new();
        Self { preemptions, path, depth: 0, begun: 0, redundant: 0, complete: false }
    }
}

impl Chooser for Dfs {
    fn choose(&mut self, offer: &Offer<'_>) -> Result<Move, Stop> {
        if self.depth == self.path.len() {
            let before = self.path.last();
            let spent = before.map_or(0, Node::spent_after);
            let before = before.filter(|_| self.preemptions.is_none());
            let sleeping = before.map_or_else(Vec::new, Node::sleeping_after);
            self.path.push(Node::new(offer, spent, self.preemptions, sleeping));
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
        let Some(chosen) = node.chosen() else {
            self.redundant += 1;
            return Err(Stop::Redundant);
        };
        Ok(chosen)
    }
}

impl Strategy for Dfs {
    fn begin(&mut self) -> bool {
        if 0 < self.begun {
            // What lies behind the last choice that can still be changed is new.
            self.path.truncate(self.depth);
            while self.path.last().is_some_and(|node| node.choices.len() <= node.at + 1) {
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
        let bound = self.preemptions.map_or("full".to_owned(), |bound| format!("dfs{bound}"));
        format!("{bound}/{}", self.begun.saturating_sub(1))
    }

    fn total(&self) -> Option<u64> {
        self.complete.then(|| self.begun - self.redundant)
    }
}

fn names(indices: &[usize], offer: &Offer<'_>) -> String {
    let name = |&index: &usize| offer.names.get(index).map_or("?", String::as_str);
    indices.iter().map(name).collect::<Vec<_>>().join(", ")
}
