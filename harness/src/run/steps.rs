//! The steps of an actor: look up, compute what is missing, publish, fit, score.
//!
//! # Scope of determinism
//!
//! What a step computes is a function of the prices and the plan alone, to the last bit, whichever driver it
//! runs on and whatever was found in the store. What it finds is not.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use manager::duckdb::Connection;
use manager::{FeatureSpec, Fingerprint, Input, Params, Window};

use super::protocol::Start;
use crate::driver::{self, Failed, Store};
use crate::history::What;
use crate::pipeline::{self, DecodeError, FeatureBlock, FeaturesError, FitError, Gram};
use crate::plan::Step;
use crate::probe::{Probe, as_ns};

/// Why a step did not get done. A store that fails is no reason: what it does not give is computed.
#[derive(Debug, thiserror::Error)]
pub enum StepError {
    /// Features could not be computed.
    #[error(transparent)]
    Features(#[from] FeaturesError),
    /// No model could be fitted.
    #[error(transparent)]
    Fit(#[from] FitError),
    /// The store gave back bytes that nobody published.
    #[error("read an artefact of `{entity}` from the store: {source}")]
    Artefact {
        /// Of what.
        entity: String,
        /// What is wrong with it.
        source: DecodeError,
    },
}

/// What the threads of a process share.
pub struct Worker {
    start: Start,
    probe: Probe,
    store: Box<dyn Store>,
    params: Params,
    publishes: AtomicU64,
}

/// One actor in one phase.
pub struct Actor<'a> {
    /// The process it belongs to.
    pub worker: &'a Worker,
    /// Its own connection to the prices.
    pub prices: Connection,
    /// The window of the phase.
    pub window: &'a Window,
    /// What the window's model is fitted on.
    pub fits: &'a BTreeMap<String, Vec<u32>>,
}

impl Worker {
    /// Opens the store; nothing is held yet.
    ///
    /// # Errors
    ///
    /// Those of [`driver::open`].
    pub fn new(start: Start, probe: Probe) -> Result<Self, manager::Error> {
        let store = driver::open(start.driver, &start.store, start.role, probe.clone())?;
        let params = serde_json::json!({
            "block_sessions": start.windows.block_sessions,
            "label_sessions": start.windows.label_sessions,
        });
        let params = Params::try_from(params).expect("it is an object of whole numbers");
        Ok(Self { start, probe, store, params, publishes: AtomicU64::new(0) })
    }

    /// Where the process's events go.
    pub fn probe(&self) -> &Probe {
        &self.probe
    }

    /// The way to the store.
    pub fn store(&self) -> &dyn Store {
        &*self.store
    }
}

impl Actor<'_> {
    /// Does one step.
    ///
    /// # Errors
    ///
    /// A [`StepError`] if it cannot be done with or without the store.
    pub fn take(&self, step: &Step) -> Result<(), StepError> {
        match step {
            Step::Features { ticker, blocks } => self.features(ticker, blocks).map(|_| ()),
            Step::Fit { ticker, blocks } => self.gram(ticker, blocks).map(|_| ()),
            Step::Score { ticker, train_blocks, eval_blocks } => {
                self.score(ticker, train_blocks, eval_blocks)
            }
        }
    }

    /// The feature blocks, from the store or computed and then published.
    fn features(&self, ticker: &str, blocks: &[u32]) -> Result<Vec<FeatureBlock>, StepError> {
        let windows = &self.worker.start.windows;
        let length = windows.block_sessions;
        let specs: Vec<_> = blocks
            .iter()
            .map(|block| self.spec("features", ticker, block * length..(block + 1) * length))
            .collect();
        self.find_or_make(&specs, |index| {
            let block = pipeline::compute(
                &self.prices,
                ticker,
                blocks[index],
                length,
                windows.label_sessions,
            )?;
            Ok(block.to_bytes())
        })?
        .iter()
        .map(|bytes| FeatureBlock::from_bytes(bytes).map_err(|source| damaged(ticker, source)))
        .collect()
    }

    /// What one ticker contributes to the window's model.
    fn gram(&self, ticker: &str, blocks: &[u32]) -> Result<Gram, StepError> {
        let spec = self.spec("gram", ticker, self.window.train.clone());
        let bytes = self.find_or_make(&[spec], |_| {
            let blocks = self.features(ticker, blocks)?;
            Ok(Gram::of(&blocks, self.window.train.clone()).to_bytes())
        })?;
        Gram::from_bytes(&bytes[0]).map_err(|source| damaged(ticker, source))
    }

    fn score(
        &self,
        ticker: &str,
        train_blocks: &[u32],
        eval_blocks: &[u32],
    ) -> Result<(), StepError> {
        let grams = self.fits.iter().map(|(ticker, blocks)| self.gram(ticker, blocks));
        let grams = grams.collect::<Result<Vec<_>, _>>()?;
        let weights = pipeline::fit(&grams, self.worker.start.ridge)?;
        let trained = self.features(ticker, train_blocks)?;
        let evaluated = self.features(ticker, eval_blocks)?;
        let inside = pipeline::score(&weights, &trained, self.window.train.clone());
        let outside = pipeline::score(&weights, &evaluated, self.window.eval.clone());
        self.worker.probe.record(What::Score {
            window: self.window.id,
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

    fn spec(&self, feature: &str, entity: &str, range: Range<u32>) -> FeatureSpec {
        let inputs = Fingerprint::of(&self.worker.start.inputs);
        FeatureSpec::new(feature, u32::from(pipeline::VERSION))
            .params(self.worker.params.clone())
            .entity(entity)
            .range(range)
            .input(Input::column("prices", inputs))
    }

    /// Looks artefacts up, makes those that are missing, publishes these, and returns all in order.
    fn find_or_make(
        &self,
        specs: &[FeatureSpec],
        make: impl Fn(usize) -> Result<Vec<u8>, StepError>,
    ) -> Result<Vec<Vec<u8>>, StepError> {
        let mut found = self.look_up(specs);
        let missing: Vec<usize> =
            (0..specs.len()).filter(|&index| found[index].is_none()).collect();
        for &index in &missing {
            let begun = Instant::now();
            let payload = make(index)?;
            let key = specs[index].key().to_string();
            self.worker.probe.record(What::Computed { key, took_ns: as_ns(begun.elapsed()) });
            found[index] = Some(payload);
        }
        let all: Vec<Vec<u8>> = found.into_iter().flatten().collect();
        let fresh: Vec<_> =
            missing.iter().map(|&index| (&specs[index], all[index].as_slice())).collect();
        if !fresh.is_empty() {
            self.publish(&fresh);
        }
        Ok(all)
    }

    /// A store that does not answer is taken for one that has nothing: that is what caches are for.
    fn look_up(&self, specs: &[FeatureSpec]) -> Vec<Option<Vec<u8>>> {
        let begun = Instant::now();
        let found = self.worker.store.get_many(specs).unwrap_or_else(|_| vec![None; specs.len()]);
        let missed: Vec<String> = specs
            .iter()
            .zip(&found)
            .filter(|(_, found)| found.is_none())
            .map(|(spec, _)| spec.key().to_string())
            .collect();
        self.worker.probe.record(What::Lookup {
            window: self.window.id,
            hits: (specs.len() - missed.len()) as u32,
            missed,
            took_ns: as_ns(begun.elapsed()),
        });
        found
    }

    fn publish(&self, artefacts: &[(&FeatureSpec, &[u8])]) {
        let op = self.worker.publishes.fetch_add(1, Ordering::Relaxed); // only has to be unique
        let rows =
            artefacts.iter().map(|(spec, payload)| driver::row(spec.key(), payload)).collect();
        self.worker.probe.record(What::PublishStarted { op, rows });
        let outcome = match self.worker.store.publish(artefacts) {
            Ok(()) => crate::history::Outcome::Ok,
            Err(Failed { outcome, .. }) => outcome,
        };
        self.worker.probe.record(What::PublishEnded { op, outcome });
    }
}

fn damaged(entity: &str, source: DecodeError) -> StepError {
    StepError::Artefact { entity: entity.to_owned(), source }
}
