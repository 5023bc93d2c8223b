//! The steps of an actor that works on a panel: find or make, or find and compare.

use super::steps::{Actor, StepError};
use crate::driver::Made;
use crate::history::What;
use crate::panel::{FEATURES, Market};
use crate::plan::Step;
use crate::seed::Seed;

/// How many panels of a block are computed again by everybody who reads it.
const COMPARED: usize = 4;

impl Actor<'_> {
    /// Does one step of a panel's plan.
    pub(super) fn panels(&self, market: &Market, step: &Step) -> Result<(), StepError> {
        let window = self.window;
        let make = |block: u32, as_of: u32| {
            let make = |feature| Ok(Made::Bytes(market.panel(block, feature)));
            self.find_or_make(market.specs(block), as_of, make).map(|_| ())
        };
        match step {
            Step::Panels { blocks } => {
                blocks.iter().try_for_each(|block| make(*block, window.eval.start))
            }
            Step::Prepare { blocks } => {
                blocks.iter().try_for_each(|block| make(*block, window.eval.end))
            }
            Step::Read { blocks } => blocks.iter().try_for_each(|block| self.read(market, *block)),
            _ => Err(StepError::OtherWork),
        }
    }

    /// Looks a block up, and sees whether some of what it finds is what it should be. What is missing is compared too: it
    /// is not what it should be.
    fn read(&self, market: &Market, block: u32) -> Result<(), StepError> {
        let (store, specs) = (&self.worker.shelf, market.specs(block));
        let found = store.look_up(self.window.id, specs, self.window.eval.end)?;
        let mut prng = Seed(self.worker.start.seed).stream(&format!("compare/{block}"));
        for _ in 0..COMPARED {
            let feature = prng.below(FEATURES as u64) as usize;
            let same = found[feature] == Some(Made::Bytes(market.panel(block, feature)));
            store.probe().record(What::Compared { key: specs[feature].key().to_string(), same });
        }
        Ok(())
    }
}
