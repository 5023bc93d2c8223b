//! Faults enumerated, not sampled: one schedule without a fault, then one for each fault that it offered at each of its
//! steps, and nothing else different up to there.
//!
//! The actors go in turns, each until it is done or waits: where the fault is, is the only choice. A scenario that allows
//! for a second fault gets the first one here, and no further.

use super::{Chooser, Offer, Stop, Strategy};
use crate::lockstep::act::Move;

/// See the module's header.
#[derive(Default)]
pub struct Crash {
    /// Faults that have been offered on the way, in this schedule.
    offered: u64,
    /// How many the schedule without a fault offered, once it has ended.
    total: Option<u64>,
    begun: u64,
    is_spent: bool,
}

impl Crash {
    /// The number of the fault that this schedule has, counted from 1; 0 is none.
    fn number(&self) -> u64 {
        self.begun.saturating_sub(1)
    }
}

impl Chooser for Crash {
    fn choose(&mut self, offer: &Offer<'_>) -> Result<Move, Stop> {
        let go = Move::go(offer.can_stay().unwrap_or(offer.enabled[0]));
        if self.is_spent {
            return Ok(go);
        }
        // Those of the actor whose turn it is: what happens to another one is what happens at its own next step.
        let faults = offer.faults.iter().filter(|fault| fault.actor == go.actor);
        for fault in faults {
            self.offered += 1;
            if self.offered == self.number() {
                self.is_spent = true;
                return Ok(*fault);
            }
        }
        Ok(go)
    }
}

impl Strategy for Crash {
    fn begin(&mut self) -> bool {
        if self.begun == 1 {
            self.total = Some(self.offered);
        }
        if self.total.is_some_and(|total| total < self.begun) {
            return false;
        }
        self.begun += 1;
        (self.offered, self.is_spent) = (0, false);
        true
    }

    fn schedule(&self) -> String {
        format!("crash/{}", self.number())
    }

    fn total(&self) -> Option<u64> {
        self.total.map(|total| total + 1)
    }
}
