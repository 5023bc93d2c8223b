//! The steps of an actor: find or make, fit, score.
//!
//! # Scope of determinism
//!
//! What a step computes is a function of the prices and the plan alone, to the last bit, whichever driver it
//! runs on and whatever was found in the store. What it finds is not.
//!
//! # Who knows what
//!
//! All that a model is made from is looked up as of the first session that it forecasts, in training and in
//! evaluation. What it is scored on is looked up as of the session on which the last of its labels is known.

use std::collections::BTreeMap;

use manager::duckdb::Connection;
use manager::{FeatureSpec, Leak, Window};

use super::protocol::Start;
use super::shelf::Shelf;
use super::specs::Specs;
use crate::driver::Made;
use crate::history::What;
use crate::panel::Market;
use crate::pipeline::{self, DecodeError, FeatureBlock, FeaturesError, FitError, Gram};
use crate::plan::Step;

/// Why a step did not get done. A store that fails is no reason: what it does not give is computed.
#[derive(Debug, thiserror::Error)]
pub enum StepError {
    /// Features could not be computed.
    #[error(transparent)]
    Features(#[from] FeaturesError),
    /// No model could be fitted.
    #[error(transparent)]
    Fit(#[from] FitError),
    /// The store refuses what its user cannot know yet.
    #[error(transparent)]
    Leak(#[from] Leak),
    /// The store gave back bytes that nobody published.
    #[error("read an artefact of `{entity}` from the store: {source}")]
    Artefact {
        /// Of what.
        entity: String,
        /// What is wrong with it.
        source: DecodeError,
    },
    /// The store says that there is nothing where there has to be something.
    #[error("find `{feature}` of `{entity}`: the store says that there is none ({reason})")]
    Absent {
        /// What.
        feature: &'static str,
        /// Of what.
        entity: String,
        /// Why, by the store.
        reason: String,
    },
    /// A step of another kind of work.
    #[error(
        "a step of another work than this scenario's; the plan and the worker are not of one build"
    )]
    OtherWork,
}

/// What the threads of a process share.
pub struct Worker {
    /// How it was started.
    pub start: Start,
    /// Its store.
    pub shelf: Shelf,
    /// What its artefacts are made from.
    pub source: Source,
}

/// What artefacts are made from.
pub enum Source {
    /// Prices.
    Prices(Box<Specs>),
    /// A synthetic market.
    Market(Box<Market>),
}

/// One actor in one phase.
pub struct Actor<'a> {
    /// The process it belongs to.
    pub worker: &'a Worker,
    /// Its own connection to the prices, if there are any.
    pub prices: Option<Connection>,
    /// The window of the phase.
    pub window: &'a Window,
    /// What the window's model is fitted on.
    pub fits: &'a BTreeMap<String, Vec<u32>>,
}

impl Actor<'_> {
    /// Does one step.
    ///
    /// # Errors
    ///
    /// A [`StepError`] if it cannot be done with or without the store.
    pub fn take(&self, step: &Step) -> Result<(), StepError> {
        match (&self.worker.source, &self.prices) {
            (Source::Market(market), _) => self.panels(market, step),
            (Source::Prices(specs), Some(prices)) => {
                Ticking { actor: self, specs, prices }.take(step)
            }
            (Source::Prices(_), None) => Err(StepError::OtherWork),
        }
    }

    /// Finds or makes artefacts in this actor's window.
    pub(super) fn find_or_make(
        &self,
        specs: &[FeatureSpec],
        as_of: u32,
        make: impl Fn(usize) -> Result<Made, StepError>,
    ) -> Result<Vec<Made>, StepError> {
        self.worker.shelf.find_or_make(self.window.id, specs, as_of, make)
    }
}

/// An actor of the pipeline.
struct Ticking<'a> {
    actor: &'a Actor<'a>,
    specs: &'a Specs,
    prices: &'a Connection,
}

/// For whom blocks are looked up.
#[derive(Clone, Copy)]
enum Use {
    /// A model that forecasts the evaluation range.
    Model,
    /// Its score.
    Score,
}

impl Ticking<'_> {
    fn take(&self, step: &Step) -> Result<(), StepError> {
        match step {
            Step::Features { ticker, blocks } | Step::Late { ticker, blocks } => {
                self.features(ticker, blocks, Use::Model).map(|_| ())
            }
            Step::Fit { ticker, blocks } => self.gram(ticker, blocks).map(|_| ()),
            Step::Score { ticker, train_blocks, eval_blocks } => {
                self.score(ticker, train_blocks, eval_blocks)
            }
            Step::Panels { .. } | Step::Prepare { .. } | Step::Read { .. } => {
                Err(StepError::OtherWork)
            }
        }
    }

    /// The feature blocks, from the store or computed and then published.
    fn features(
        &self,
        ticker: &str,
        blocks: &[u32],
        used: Use,
    ) -> Result<Vec<FeatureBlock>, StepError> {
        let windows = &self.actor.worker.start.windows;
        let window = self.actor.window;
        let length = windows.block_sessions;
        let last = blocks.last().map_or(0, |block| (block + 1) * length);
        // A block that reaches beyond the training range is cut off there: the rest is not for the model to know.
        let (end, as_of) = match used {
            Use::Model => (window.train.end, window.eval.start),
            Use::Score => (last, self.specs.scored_at(last)),
        };
        let sessions = |block: u32| block * length..((block + 1) * length).min(end);
        let specs: Vec<_> =
            blocks.iter().map(|block| self.specs.features(ticker, sessions(*block))).collect();
        let found = self.actor.find_or_make(&specs, as_of, |index| {
            let sessions = sessions(blocks[index]);
            if let Some(reason) = self.specs.absent(ticker, &sessions) {
                return Ok(Made::Absent(reason));
            }
            let label = windows.label_sessions;
            let block = pipeline::compute_range(self.prices, ticker, sessions, label)?;
            Ok(Made::Bytes(block.to_bytes()))
        })?;
        let decode = |(block, made): (&u32, &Made)| match made {
            Made::Bytes(bytes) => FeatureBlock::from_bytes(bytes).map_err(|e| damaged(ticker, e)),
            // There is none, and so no row.
            Made::Absent(_) => {
                Ok(FeatureBlock { first_session: sessions(*block).start, rows: vec![] })
            }
        };
        blocks.iter().zip(&found).map(decode).collect()
    }

    /// What one ticker contributes to the window's model.
    fn gram(&self, ticker: &str, blocks: &[u32]) -> Result<Gram, StepError> {
        let train = self.actor.window.train.clone();
        let spec = self.specs.gram(ticker, train.clone());
        let found = self.actor.find_or_make(&[spec], self.actor.window.eval.start, |_| {
            let blocks = self.features(ticker, blocks, Use::Model)?;
            Ok(Made::Bytes(Gram::of(&blocks, train.clone()).to_bytes()))
        })?;
        match &found[0] {
            Made::Bytes(bytes) => Gram::from_bytes(bytes).map_err(|error| damaged(ticker, error)),
            Made::Absent(reason) => {
                let (feature, entity, reason) = ("gram", ticker.to_owned(), reason.clone());
                Err(StepError::Absent { feature, entity, reason })
            }
        }
    }

    fn score(
        &self,
        ticker: &str,
        train_blocks: &[u32],
        eval_blocks: &[u32],
    ) -> Result<(), StepError> {
        let Actor { worker, window, fits, .. } = self.actor;
        let grams = fits.iter().map(|(ticker, blocks)| self.gram(ticker, blocks));
        let grams = grams.collect::<Result<Vec<_>, _>>()?;
        let weights = pipeline::fit(&grams, worker.start.ridge())?;
        let trained = self.features(ticker, train_blocks, Use::Model)?;
        let evaluated = self.features(ticker, eval_blocks, Use::Score)?;
        let inside = pipeline::score(&weights, &trained, window.train.clone());
        let outside = pipeline::score(&weights, &evaluated, window.eval.clone());
        worker.shelf.probe().record(What::Score {
            window: window.id,
            ticker: ticker.to_owned(),
            sessions: outside.sessions,
            squared_error: outside.squared_error,
            squared_label: outside.squared_label,
            squared_error_in_sample: inside.squared_error,
            squared_label_in_sample: inside.squared_label,
            sign_hits: outside.sign_hits,
        });
        Ok(())
    }
}

fn damaged(entity: &str, source: DecodeError) -> StepError {
    StepError::Artefact { entity: entity.to_owned(), source }
}
