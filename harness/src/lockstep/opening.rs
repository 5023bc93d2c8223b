//! Drivers whose actors open the file for themselves, as threads as well as as processes.
//!
//! * `retrying`: the usual remedy, a connection for each transaction, tried again with backoff while the file is locked.
//!   In one process nothing is ever locked, and that is its trap.
//! * `separate`: an instance each, kept open.

use std::path::Path;
use std::sync::Arc;

use super::driver::{Driver, DriverError, World};
use super::plain::{self, Manner, Own};
use crate::scenario::script::Script;

/// See the module's header.
pub struct Retrying;

/// See the module's header.
pub struct Separate;

impl Driver for Retrying {
    fn name(&self) -> &'static str {
        "retrying"
    }

    fn create(&self, script: &Script, folder: &Path) -> Result<Arc<dyn World>, DriverError> {
        plain::copy(script, folder)?;
        self.join(script, folder)
    }

    fn join(&self, script: &Script, folder: &Path) -> Result<Arc<dyn World>, DriverError> {
        Ok(Own::world(script, folder, Manner::Retries))
    }
}

impl Driver for Separate {
    fn name(&self) -> &'static str {
        "separate"
    }

    fn create(&self, script: &Script, folder: &Path) -> Result<Arc<dyn World>, DriverError> {
        plain::copy(script, folder)?;
        self.join(script, folder)
    }

    fn join(&self, script: &Script, folder: &Path) -> Result<Arc<dyn World>, DriverError> {
        Ok(Own::world(script, folder, Manner::Keeps))
    }
}
