//! Each enabled actor equally likely.

use super::{Chooser, Offer, Stop, Strategy};
use crate::scenario::script::Script;
use crate::seed::{Prng, Seed};

/// See the module's header.
pub struct Uniform {
    seed: Seed,
    begun: u64,
    draws: Prng,
}

impl Uniform {
    /// Schedules of that seed.
    pub fn new(seed: Seed) -> Self {
        Self { seed, begun: 0, draws: seed.stream("random") }
    }
}

impl Chooser for Uniform {
    fn choose(&mut self, offer: &Offer<'_>, _: &Script) -> Result<usize, Stop> {
        Ok(offer.enabled[self.draws.below(offer.enabled.len() as u64) as usize])
    }
}

impl Strategy for Uniform {
    fn begin(&mut self) -> bool {
        self.draws = self.seed.stream(&format!("random/{}", self.begun));
        self.begun += 1;
        true
    }

    fn schedule(&self) -> String {
        format!("random/{}", self.begun.saturating_sub(1))
    }
}
