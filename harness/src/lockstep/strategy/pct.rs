//! Probabilistic concurrency testing (Burckhardt, Kothari, Musuvathi and Nagarakatte, ASPLOS 2010): the enabled actor
//! with the highest priority moves, and at `depth - 1` steps drawn beforehand whoever would move falls behind all others.
//!
//! A bug that needs `d` orderings of steps is met by one schedule with a probability of at least 1/(n·k^(d−1)), for `n`
//! actors and `k` steps in all. The bound counts the steps of the script; a step that was blocked and is tried again is
//! one more, which the bound does not know.

use super::faults::FaultDraws;
use super::{Chooser, Offer, Stop, Strategy};
use crate::lockstep::act::Move;
use crate::scenario::script::Script;
use crate::seed::Seed;

/// See the module's header.
pub struct Pct {
    seed: Seed,
    depth: u32,
    steps: u64,
    begun: u64,
    /// By actor; the highest moves.
    priorities: Vec<i64>,
    actors: usize,
    /// Steps at which a priority falls, ascending.
    changes: Vec<u64>,
    fallen: i64,
    faults: FaultDraws,
}

impl Pct {
    /// Schedules of that seed for that script.
    pub fn new(seed: Seed, depth: u32, script: &Script) -> Self {
        Self {
            seed,
            depth,
            steps: script.step_count(),
            begun: 0,
            priorities: Vec::new(),
            actors: script.actors.len(),
            changes: Vec::new(),
            fallen: 0,
            faults: FaultDraws::new(seed, 0),
        }
    }

    /// The probability with which one schedule meets a bug of that depth, at least.
    pub fn bound(depth: u32, script: &Script) -> f64 {
        let (actors, steps) = (script.actors.len() as f64, script.step_count() as f64);
        1.0 / (actors * steps.powf(f64::from(depth.saturating_sub(1))))
    }
}

impl Chooser for Pct {
    fn choose(&mut self, offer: &Offer<'_>) -> Result<Move, Stop> {
        // Threads of the manager come behind all actors, in the order in which they were begun.
        while self.priorities.len() < offer.names.len() {
            self.priorities.push(0);
        }
        let highest = |priorities: &[i64]| {
            let best = offer.enabled.iter().copied().max_by_key(|&actor| priorities[actor]);
            best.expect("somebody is enabled")
        };
        while self.changes.first() == Some(&offer.step) {
            self.changes.remove(0);
            self.fallen -= 1;
            let actor = highest(&self.priorities);
            self.priorities[actor] = self.fallen;
        }
        let fault = self.faults.draw(offer);
        Ok(fault.unwrap_or(Move::go(highest(&self.priorities))))
    }
}

impl Strategy for Pct {
    fn begin(&mut self) -> bool {
        let mut draws = self.seed.stream(&format!("pct/{}", self.begun));
        self.faults = FaultDraws::new(self.seed, self.begun);
        self.begun += 1;
        let mut order: Vec<i64> = (1..).take(self.actors).collect();
        draws.shuffle(&mut order);
        self.priorities = order;
        self.fallen = 0;
        self.changes = (1..self.depth).map(|_| draws.below(self.steps)).collect();
        self.changes.sort_unstable();
        true
    }

    fn schedule(&self) -> String {
        format!("pct/{}", self.begun.saturating_sub(1))
    }
}
