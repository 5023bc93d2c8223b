//! Who moves next: one strategy a file.
//!
//! # Scope of determinism
//!
//! A strategy is a pure function of its seed and of what it was offered. Every schedule draws from a stream of its own
//! name, `random/17`, so schedule 17 is the same whatever came before.

mod crash;
mod dfs;
mod faults;
mod pct;
mod portfolio;
mod swarm;
mod uniform;

use std::fmt;

pub use crash::Crash;
pub use dfs::Dfs;
pub use pct::Pct;
pub use portfolio::Portfolio;
pub use swarm::Swarm;
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
    /// What each of them would do next: an operation, or the point within one at which it stands.
    pub ops: &'a [&'a str],
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
    /// Another schedule that is run stands for this one.
    #[error("the same as another schedule, but for the order of independent steps")]
    Redundant,
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

    /// What it consists of, if it is several strategies one after the other.
    fn parts(&self) -> Vec<Part> {
        Vec::new()
    }
}

/// One of several strategies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Part {
    /// Its name.
    pub name: String,
    /// How many schedules it has had.
    pub schedules: u64,
    /// How many there are, once that is known.
    pub total: Option<u64>,
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
    /// All schedules, of those that differ in the order of independent steps one.
    Full,
    /// Every actor in its own measure eager, and some kinds of fault.
    Swarm,
    /// One schedule for every fault at every step.
    Crash,
    /// All of them, for as long as there is time.
    Portfolio,
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Random => f.write_str("random"),
            Self::Pct { depth } => write!(f, "pct, depth {depth}"),
            Self::Dfs { preemptions } => write!(f, "dfs, at most {preemptions} preemptions"),
            Self::Full => f.write_str("every schedule, without a bound"),
            Self::Swarm => f.write_str("swarm"),
            Self::Crash => f.write_str("every fault at every step"),
            Self::Portfolio => f.write_str("dfs with 0 to 2 preemptions, pct, swarm"),
        }
    }
}
