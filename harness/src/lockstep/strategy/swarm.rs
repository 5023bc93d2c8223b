//! Swarm testing (Groce, Zhang, Eide, Chen and Regehr, *Swarm Testing*, ISSTA 2012): every schedule has its own taste.
//!
//! Each draws how eager every actor is, so that some schedules starve one and others let it run ahead, where random
//! choices are all alike; and which kinds of fault there are at all, and how often.

use super::faults::FaultDraws;
use super::{Chooser, Offer, Stop, Strategy};
use crate::lockstep::act::Move;
use crate::seed::{Prng, Seed};

/// How eager an actor can be.
const EAGER: [u64; 3] = [1, 4, 16];

/// See the module's header.
pub struct Swarm {
    seed: Seed,
    begun: u64,
    draws: Prng,
    /// By actor.
    weights: Vec<u64>,
    faults: FaultDraws,
}

impl Swarm {
    /// Schedules of that seed.
    pub fn new(seed: Seed) -> Self {
        let (draws, faults) = (seed.stream("swarm"), FaultDraws::new(seed, 0));
        Self { seed, begun: 0, draws, weights: Vec::new(), faults }
    }
}

impl Chooser for Swarm {
    fn choose(&mut self, offer: &Offer<'_>) -> Result<Move, Stop> {
        while self.weights.len() < offer.names.len() {
            self.weights.push(EAGER[self.draws.below(EAGER.len() as u64) as usize]);
        }
        let all: u64 = offer.enabled.iter().map(|&actor| self.weights[actor]).sum();
        let mut drawn = self.draws.below(all);
        let actor = offer.enabled.iter().copied().find(|&actor| {
            let found = drawn < self.weights[actor];
            drawn = drawn.saturating_sub(self.weights[actor]);
            found
        });
        let go = Move::go(actor.expect("somebody is enabled, and weighs something"));
        Ok(self.faults.draw(offer).unwrap_or(go))
    }
}

impl Strategy for Swarm {
    fn begin(&mut self) -> bool {
        self.draws = self.seed.stream(&format!("swarm/{}", self.begun));
        self.faults = FaultDraws::new(self.seed, self.begun);
        self.weights.clear();
        self.begun += 1;
        true
    }

    fn schedule(&self) -> String {
        format!("swarm/{}", self.begun.saturating_sub(1))
    }
}
