//! When a random schedule has a fault, and which.
//!
//! Swarm testing (Groce, Zhang, Eide, Chen and Regehr, ISSTA 2012): every schedule draws which kinds of fault it has at
//! all, and how often, so that one kind is not always in the way of another. They are drawn from a stream of their own,
//! `faults/17`: without faults the schedule is the same. Losses of power are drawn from `losses/17`.

use super::Offer;
use crate::lockstep::act::{Act, Move};
use crate::seed::{Prng, Seed};

/// See the module's header.
pub(super) struct FaultDraws {
    draws: Prng,
    /// One step in so many has a fault; 0 is none.
    one_in: u64,
    kinds: Vec<Act>,
}

impl FaultDraws {
    /// Those of a schedule of that number.
    pub(super) fn new(seed: Seed, number: u64) -> Self {
        let mut draws = seed.stream(&format!("faults/{number}"));
        let one_in = [0, 4, 16, 64][draws.below(4) as usize];
        // There were none at first, and who was drawn then is drawn still.
        let mut losses = seed.stream(&format!("losses/{number}"));
        let kinds = Act::FAULTS.into_iter().map(|(_, act)| act).filter(|act| {
            let its_draws = if act.loses().is_some() { &mut losses } else { &mut draws };
            its_draws.below(2) == 0
        });
        let kinds = kinds.collect();
        Self { draws, one_in, kinds }
    }

    /// A fault, if there is one now.
    pub(super) fn draw(&mut self, offer: &Offer<'_>) -> Option<Move> {
        if self.one_in == 0 || offer.faults.is_empty() || self.draws.below(self.one_in) != 0 {
            return None;
        }
        let fitting = offer.faults.iter().filter(|fault| self.kinds.contains(&fault.act));
        let fitting: Vec<&Move> = fitting.collect();
        let number = (!fitting.is_empty()).then(|| self.draws.below(fitting.len() as u64))?;
        Some(*fitting[number as usize])
    }
}
