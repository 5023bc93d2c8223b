//! Who moves next: one strategy a file.
//!
//! # Scope of determinism
//!
//! A strategy is a pure function of its seed and of what it was offered. Every schedule draws from a stream of its own
//! name, `random/17`, so schedule 17 is the same whatever came before.

mod dfs;
mod faults;
mod pct;
mod uniform;

use std::fmt;

pub use dfs::Dfs;
pub use pct::Pct;
pub use uniform::Uniform;

use super::act::Move;
use super::log::{Came, Decision, End};
use super::replay::Divergence;

/// Between whom is decided.
#[derive(Clone, Copy, Debug)]
pub struct Offer<'a> {
    /// Counted from 0.
    pub step: u64,
    /// Virtual time.
    pub at_ns: u64,
    /// Indices of the actors that can move, ascending; at least one.
    pub enabled: &'a [usize],
    /// What else could happen to them, as far as the scenario allows it; often nothing.
    pub faults: &'a [Move],
    /// Who moved last.
    pub last: Option<usize>,
    /// The names of all, by index.
    pub names: &'a [String],
}

impl Offer<'_> {
    /// The names of those that can move.
    pub fn enabled_names(&self) -> Vec<&str> {
        self.enabled.iter().map(|&index| self.names[index].as_str()).collect()
    }

    /// Whether the one who moved last could go on.
    pub fn can_stay(&self) -> Option<usize> {
        self.last.filter(|last| self.enabled.contains(last))
    }
}

/// Why there is no choice.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Stop {
    /// What is offered is not what was offered before, after the same choices.
    #[error(transparent)]
    Diverged(#[from] Divergence),
    /// The log that is followed was cut off here.
    #[error("the log ends after {steps} steps, before the schedule does")]
    Cut {
        /// How many steps it has.
        steps: u64,
    },
}

/// Chooses within one schedule, and sees what came of it.
pub trait Chooser {
    /// Chooses one of [`Offer::enabled`], or one of [`Offer::faults`].
    ///
    /// # Errors
    ///
    /// [`Stop`] ends the schedule.
    fn choose(&mut self, offer: &Offer<'_>) -> Result<Move, Stop>;

    /// Sees the decision as it will be logged.
    ///
    /// # Errors
    ///
    /// [`Stop`] ends the schedule.
    fn decided(&mut self, _: &Decision) -> Result<(), Stop> {
        Ok(())
    }

    /// Sees what came of a step.
    ///
    /// # Errors
    ///
    /// [`Stop`] ends the schedule.
    fn came(&mut self, _: &Came) -> Result<(), Stop> {
        Ok(())
    }

    /// Sees the end.
    ///
    /// # Errors
    ///
    /// [`Stop`], if it is another than the one followed.
    fn ended(&mut self, _: &End) -> Result<(), Stop> {
        Ok(())
    }
}

/// Chooses schedule after schedule.
pub trait Strategy: Chooser {
    /// Begins the next schedule; `false` if there is none left.
    fn begin(&mut self) -> bool;

    /// Names the schedule that was begun, in the log.
    fn schedule(&self) -> String;

    /// How many schedules there are, once that is known.
    fn total(&self) -> Option<u64> {
        None
    }
}

/// Which strategy is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Each enabled actor equally likely.
    Random,
    /// Priorities with `depth - 1` changes.
    Pct {
        /// How many orderings a bug needs to be found with the printed probability.
        depth: u32,
    },
    /// All schedules with at most that many preemptions.
    Dfs {
        /// How often an actor may be left that could have gone on.
        preemptions: u32,
    },
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Random => f.write_str("random"),
            Self::Pct { depth } => write!(f, "pct, depth {depth}"),
            Self::Dfs { preemptions } => write!(f, "dfs, at most {preemptions} preemptions"),
        }
    }
}
