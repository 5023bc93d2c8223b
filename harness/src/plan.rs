//! Turns a scenario, a market and a seed into a plan: who does what, in which order.
//!
//! # Scope of determinism
//!
//! * The plan is a pure function of `(scenario, market, seed)`. Equal inputs give equal bytes, on every
//!   platform.
//! * The history of a `free` run is **not**: the kernel schedules the threads. A replay runs the same
//!   plan again and reports how often the violation came back; it never claims "exact".
//!
//! # Invariants
//!
//! * The seed decides who does a step and in which order, never what is done: the steps of a window are
//!   the same for every seed.
//! * Every window and phase draws from its own stream, so adding windows leaves the others unchanged.
//! * A ticker's steps in one phase of a window belong to one actor, features before the fit that needs
//!   them.
//! * This module does no I/O and reads no clock.

mod panel;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use manager::{WalkForward, Window, WindowError};
use serde::{Deserialize, Serialize};

use crate::history::{Actor, Role};
use crate::scenario::{Scenario, Work, Workers};
use crate::seed::Seed;

/// The most blocks that one [`Step::Features`] computes and publishes together.
pub const FEATURE_BLOCKS_MAX: usize = 4;

/// What there is to trade, and when.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Market {
    /// Dates of the sessions, ascending. Positions elsewhere are indices into this list.
    pub sessions: Vec<String>,
    /// Each once.
    pub tickers: Vec<Ticker>,
}

/// A listed company.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ticker {
    /// Its symbol.
    pub name: String,
    /// Position of the first session that it was traded in.
    pub first_session: u32,
}

/// Who does what, in which order.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Plan {
    /// Everybody, training first.
    pub actors: Vec<Actor>,
    /// In the order they are run.
    pub windows: Vec<WindowPlan>,
}

/// The steps of one window.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WindowPlan {
    /// Positions to train and to evaluate on.
    pub window: Window,
    /// Steps by [`Actor::id`], for every training actor, perhaps none.
    pub training: BTreeMap<String, Vec<Step>>,
    /// Steps by [`Actor::id`], for every evaluation actor, perhaps none.
    pub evaluation: BTreeMap<String, Vec<Step>>,
}

/// One thing that an actor does. Block `b` covers the sessions from `b * block_sessions` up to the next
/// block.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(tag = "step", rename_all = "kebab-case")]
pub enum Step {
    /// Compute and publish what is missing of these feature blocks.
    Features {
        /// Whose.
        ticker: String,
        /// Of the training range, at most [`FEATURE_BLOCKS_MAX`].
        blocks: Vec<u32>,
    },
    /// Fit a model to the training range.
    Fit {
        /// Whose.
        ticker: String,
        /// All that overlap the training range.
        blocks: Vec<u32>,
    },
    /// Compute and publish what is missing of these feature blocks of a ticker that was listed too late to take part, or
    /// find out why there are none.
    Late {
        /// Whose.
        ticker: String,
        /// Of the training range, at most [`FEATURE_BLOCKS_MAX`] in training.
        blocks: Vec<u32>,
    },
    /// Find all features of the market in these blocks of the training range, or compute and publish them.
    Panels {
        /// Which.
        blocks: Vec<u32>,
    },
    /// The same for blocks that are about to be evaluated on.
    Prepare {
        /// Which.
        blocks: Vec<u32>,
    },
    /// Find all features of the market in these blocks, and compare some of them with what they should be.
    Read {
        /// Which.
        blocks: Vec<u32>,
    },
    /// Fit the same model from the store and score it on the evaluation range.
    Score {
        /// Whose.
        ticker: String,
        /// All that overlap the training range.
        train_blocks: Vec<u32>,
        /// All that overlap the evaluation range.
        eval_blocks: Vec<u32>,
    },
}

/// Why a scenario has no plan.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PlanError {
    /// The calendar does not hold one window.
    #[error(
        "plan `{scenario}`: the first window needs {needed} sessions, there are {sessions} since {from}; \
         begin earlier (`data.from`) or shorten the ranges under `[windows]`"
    )]
    CalendarTooShort {
        /// The scenario's id.
        scenario: String,
        /// What the first window needs.
        needed: u64,
        /// What there is.
        sessions: u32,
        /// The date that the scenario begins at.
        from: String,
    },
    /// The calendar holds fewer windows than the scenario runs.
    #[error(
        "plan `{scenario}`: {windows} windows fit into the {sessions} sessions since {from}, \
         `windows.count` asks for {count}; lower it or begin earlier (`data.from`)"
    )]
    TooFewWindows {
        /// The scenario's id.
        scenario: String,
        /// How many fit.
        windows: usize,
        /// What there is.
        sessions: u32,
        /// The date that the scenario begins at.
        from: String,
        /// How many are asked for.
        count: u32,
    },
    /// A window would have nothing to do.
    #[error(
        "plan `{scenario}`: none of {tickers} tickers was traded by {train_from}, when the training range \
         of window {window} begins; begin later (`data.from`) or choose other `data.tickers`"
    )]
    NoTicker {
        /// The scenario's id.
        scenario: String,
        /// How many the market has.
        tickers: usize,
        /// The first session of the training range.
        train_from: String,
        /// The window's number.
        window: u32,
    },
    /// The lengths make no sense. A scenario that was read from a file never gets here.
    #[error("plan `{scenario}`: {source}")]
    Lengths {
        /// The scenario's id.
        scenario: String,
        /// What the layout says.
        source: WindowError,
    },
}

/// Lays the windows out and deals the steps to the actors.
///
/// A ticker takes part in a window if it was traded in all of the training range; otherwise its blocks are looked
/// after in both phases ([`Step::Late`]), and it is neither fitted nor scored. A panel is dealt by blocks.
///
/// # Errors
///
/// A [`PlanError`] if the market is too small for the scenario.
pub fn plan(scenario: &Scenario, market: &Market, seed: Seed) -> Result<Plan, PlanError> {
    let trainers = actors(Role::Training, scenario.training, 0);
    let evaluators = actors(Role::Evaluation, scenario.evaluation, scenario.training.processes);
    let mut windows = Vec::new();
    for window in last_windows(scenario, market)? {
        let (training, evaluation) = match scenario.work {
            Work::Pipeline { .. } => {
                let steps = PipelineSteps::of(scenario, market, &window)?;
                let shuffled = |role| steps.shuffled(seed, role, window.id);
                (
                    deal(&trainers, &shuffled(Role::Training), |ticker| steps.training(ticker)),
                    deal(&evaluators, &shuffled(Role::Evaluation), |ticker| {
                        steps.evaluation(ticker)
                    }),
                )
            }
            Work::Panel(_) => panel::steps(scenario, &window, seed, &trainers, &evaluators),
        };
        windows.push(WindowPlan { window, training, evaluation });
    }
    let actors = [trainers, evaluators].concat();
    Ok(Plan { actors, windows })
}

/// Processes are numbered over all roles, from `first_process` on.
fn actors(role: Role, workers: Workers, first_process: u32) -> Vec<Actor> {
    let processes = first_process..first_process + workers.processes;
    let actors = processes.flat_map(|process| {
        (0..workers.threads).map(move |thread| Actor {
            id: format!("{role}-{process}/{thread}"),
            role,
            process,
            thread,
        })
    });
    actors.collect()
}

fn last_windows(scenario: &Scenario, market: &Market) -> Result<Vec<Window>, PlanError> {
    let sessions = u32::try_from(market.sessions.len()).unwrap_or(u32::MAX);
    let shape = &scenario.windows;
    let layout = WalkForward {
        positions: sessions,
        train: shape.train_sessions,
        eval: shape.eval_sessions,
        step: shape.step_sessions,
        // A return over k sessions is made from k + 1 prices.
        label_horizon: shape.label_sessions + 1,
        embargo: shape.embargo_sessions,
        mode: shape.mode,
        keep_tail: false,
    };
    let id = || scenario.id.clone();
    let mut windows = layout.windows().map_err(|source| match source {
        WindowError::TooShort { needed, .. } => PlanError::CalendarTooShort {
            scenario: id(),
            needed,
            sessions,
            from: from_of(scenario),
        },
        source => PlanError::Lengths { scenario: id(), source },
    })?;
    let Some(first) = windows.len().checked_sub(shape.count as usize) else {
        return Err(PlanError::TooFewWindows {
            scenario: id(),
            windows: windows.len(),
            sessions,
            from: from_of(scenario),
            count: shape.count,
        });
    };
    Ok(windows.split_off(first))
}

/// The day that its calendar begins at.
fn from_of(scenario: &Scenario) -> String {
    match &scenario.work {
        Work::Pipeline { data, .. } => data.from.clone(),
        Work::Panel(_) => "the first one".to_owned(),
    }
}

/// The tickers that were traded in all of the training range, by name.
fn traded<'m>(
    scenario: &Scenario,
    market: &'m Market,
    window: &Window,
) -> Result<Vec<&'m str>, PlanError> {
    let covering =
        market.tickers.iter().filter(|ticker| ticker.first_session <= window.train.start);
    let mut names: Vec<&str> = covering.map(|ticker| ticker.name.as_str()).collect();
    // The order of the market must not matter: the shuffle begins from this one.
    names.sort_unstable();
    if names.is_empty() {
        return Err(PlanError::NoTicker {
            scenario: scenario.id.clone(),
            tickers: market.tickers.len(),
            train_from: market.sessions[window.train.start as usize].clone(),
            window: window.id,
        });
    }
    Ok(names)
}

/// The blocks that overlap the range.
fn blocks(range: &Range<u32>, block_sessions: u32) -> Vec<u32> {
    (range.start / block_sessions..range.end.div_ceil(block_sessions)).collect()
}

/// What is done for each ticker in a window of the pipeline.
struct PipelineSteps<'m> {
    /// Those that take part, by name, and then those that do not.
    tickers: Vec<&'m str>,
    late: BTreeSet<&'m str>,
    train_blocks: Vec<u32>,
    eval_blocks: Vec<u32>,
}

impl<'m> PipelineSteps<'m> {
    fn of(scenario: &Scenario, market: &'m Market, window: &Window) -> Result<Self, PlanError> {
        let mut tickers = traded(scenario, market, window)?;
        let all = market.tickers.iter().map(|ticker| ticker.name.as_str());
        let late: BTreeSet<&str> = all.filter(|name| !tickers.contains(name)).collect();
        tickers.extend(&late);
        let length = scenario.windows.block_sessions;
        let (train_blocks, eval_blocks) =
            (blocks(&window.train, length), blocks(&window.eval, length));
        Ok(Self { tickers, late, train_blocks, eval_blocks })
    }

    fn training(&self, ticker: &str) -> Vec<Step> {
        let is_late = self.late.contains(ticker);
        let features = self.train_blocks.chunks(FEATURE_BLOCKS_MAX).map(|blocks| {
            let (ticker, blocks) = (ticker.to_owned(), blocks.to_vec());
            if is_late { Step::Late { ticker, blocks } } else { Step::Features { ticker, blocks } }
        });
        let fit = Step::Fit { ticker: ticker.to_owned(), blocks: self.train_blocks.clone() };
        features.chain((!is_late).then_some(fit)).collect()
    }

    fn evaluation(&self, ticker: &str) -> Vec<Step> {
        let (train_blocks, ticker) = (self.train_blocks.clone(), ticker.to_owned());
        if self.late.contains(ticker.as_str()) {
            return vec![Step::Late { ticker, blocks: train_blocks }];
        }
        vec![Step::Score { ticker, train_blocks, eval_blocks: self.eval_blocks.clone() }]
    }

    fn shuffled(&self, seed: Seed, role: Role, window: u32) -> Vec<&'m str> {
        let mut shuffled = self.tickers.clone();
        let mut prng = seed.stream(&format!("plan/{role}/{window}"));
        prng.shuffle(&mut shuffled);
        shuffled
    }
}

/// Deals tickers or blocks round robin, and with each of them all its steps.
fn deal<T: Copy>(
    actors: &[Actor],
    things: &[T],
    steps: impl Fn(T) -> Vec<Step>,
) -> BTreeMap<String, Vec<Step>> {
    let mut hands = BTreeMap::new();
    for (place, actor) in actors.iter().enumerate() {
        let dealt = things.iter().skip(place).step_by(actors.len());
        hands.insert(actor.id.clone(), dealt.flat_map(|thing| steps(*thing)).collect());
    }
    hands
}
