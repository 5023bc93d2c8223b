//! How a manager is made.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::{Manager, Shared};
use crate::config::Config;
use crate::error::Error;
use crate::observer::{Context, Observer};
use crate::registry::ManagerId;
use crate::retry::{Jitter, RandomJitter};
use crate::seam::fork;
use crate::seam::sync::Mutex;

/// What a [`Manager`] is made with beyond its [`Config`]. Made by [`Manager::builder`].
#[derive(Default)]
pub struct ManagerBuilder {
    config: Config,
    observers: Vec<Arc<dyn Observer>>,
    jitter: Option<Arc<dyn Jitter>>,
}

impl ManagerBuilder {
    pub(super) fn new(config: Config) -> Self {
        Self { config, ..Self::default() }
    }

    /// Tells `observer` of every lease, after those that were given before. Default: nobody is told.
    #[must_use]
    pub fn observer(mut self, observer: Arc<dyn Observer>) -> Self {
        self.observers.push(observer);
        self
    }

    /// Draws the pauses between attempts from a stream of the caller's. Default: [`RandomJitter`].
    #[must_use]
    pub fn jitter(mut self, jitter: Arc<dyn Jitter>) -> Self {
        self.jitter = Some(jitter);
        self
    }

    /// Makes the manager. Opens nothing.
    ///
    /// # Errors
    ///
    /// * [`Error::Config`] if a setting is out of bounds.
    pub fn build(self) -> Result<Manager, Error> {
        static MANAGERS: AtomicU64 = AtomicU64::new(0);
        let Self { config, observers, jitter } = self;
        config.validate()?;
        let id = ManagerId(MANAGERS.fetch_add(1, Ordering::Relaxed)); // only has to be unique
        let jitter = jitter.unwrap_or_else(|| Arc::new(RandomJitter));
        let context = Arc::new(Context { config, observers, jitter, epoch: fork::epoch() });
        Ok(Manager { shared: Arc::new(Shared { id, context, databases: Mutex::default() }) })
    }
}

impl std::fmt::Debug for ManagerBuilder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ManagerBuilder")
            .field("config", &self.config)
            .field("jitter", &self.jitter)
            .finish_non_exhaustive()
    }
}
