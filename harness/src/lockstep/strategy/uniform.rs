//! Each enabled actor equally likely.

use super::faults::FaultDraws;
use super::{Chooser, Offer, Stop, Strategy};
use crate::lockstep::act::Move;
use crate::seed::{Prng, Seed};

/// See the module's header.
pub struct Uniform {
    seed: Seed,
    begun: u64,
    draws: Prng,
    faults: FaultDraws,
}

impl Uniform {
    /// Schedules of that seed.
    pub fn new(seed: Seed) -> Self {
        Self { seed, begun: 0, draws: seed.stream("random"), faults: FaultDraws::new(seed, 0) }
    }
}

impl Chooser for Uniform {
    fn choose(&mut self, offer: &Offer<'_>) -> Result<Move, Stop> {
        let actor = offer.enabled[self.draws.below(offer.enabled.len() as u64) as usize];
        Ok(self.faults.draw(offer).unwrap_or(Move::go(actor)))
    }
}

impl Strategy for Uniform {
    fn begin(&mut self) -> bool {
        self.draws = self.seed.stream(&format!("random/{}", self.begun));
        self.faults = FaultDraws::new(self.seed, self.begun);
        self.begun += 1;
        true
    }

    fn schedule(&self) -> String {
        format!("random/{}", self.begun.saturating_sub(1))
    }
}
