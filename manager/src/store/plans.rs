//! Plans: what a walk-forward is going to read, so that eviction knows it.

use serde::{Deserialize, Serialize};

use super::feature_store::FeatureStore;
use super::rows;
use crate::error::Error;
use crate::walk_forward::{Schedule, WalkForward};

/// A walk-forward that is under way.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Plan {
    /// Its name; another plan of the same name takes its place.
    pub name: String,
    /// Its windows.
    pub shape: WalkForward,
    /// How many positions before a range its features are computed from.
    pub lookback: u32,
    /// The first window that is not over. A plan whose windows are all over protects nothing.
    pub next_window: u32,
}

impl Plan {
    /// Who reads what, if the plan has windows.
    pub(crate) fn schedule(&self) -> Option<Schedule> {
        Schedule::new(&self.shape, self.lookback).ok()
    }
}

impl FeatureStore {
    /// Tells eviction what is going to be read, or how far that has come.
    ///
    /// # Errors
    ///
    /// Those of [`Manager::transaction`](crate::Manager::transaction).
    pub fn plan(&self, plan: &Plan) -> Result<(), Error> {
        self.core.manager.transaction(&self.core.path, |tx| rows::put_plan(tx, plan))
    }

    /// Forgets a plan. Returns whether there was one.
    ///
    /// # Errors
    ///
    /// Those of [`Manager::transaction`](crate::Manager::transaction).
    pub fn drop_plan(&self, name: &str) -> Result<bool, Error> {
        self.core.manager.transaction(&self.core.path, |tx| rows::drop_plan(tx, name))
    }

    /// The plans that there are.
    ///
    /// # Errors
    ///
    /// Those of [`Manager::read`](crate::Manager::read).
    pub fn plans(&self) -> Result<Vec<Plan>, Error> {
        let lease = self.core.manager.read(&self.core.path)?;
        rows::plans(&*lease)
    }
}
