//! A wait with a deadline, and everything that its error says.

use std::path::Path;
use std::time::{Duration, Instant};

use crate::error::{Error, Wanted};
use crate::gate::file::Refusal;
use crate::seam::clock;
use crate::status::LeaseStatus;

/// What is waited for, since when and for how long.
pub(crate) struct Wait<'a> {
    pub(crate) path: &'a Path,
    wanted: Wanted,
    begun: Instant,
    deadline: Instant,
}

impl<'a> Wait<'a> {
    pub(crate) fn new(path: &'a Path, wanted: Wanted, limit: Duration) -> Self {
        Self { path, wanted, begun: clock::now(), deadline: clock::deadline_in(limit) }
    }

    pub(crate) fn deadline(&self) -> Instant {
        self.deadline
    }

    pub(crate) fn waited(&self) -> Duration {
        self.begun.elapsed()
    }

    /// The error of a gate that did not open; `here` is what this process itself has out.
    pub(crate) fn error(&self, refusal: Refusal, here: Vec<LeaseStatus>) -> Error {
        let path = self.path.to_path_buf();
        match refusal {
            Refusal::Expired(holders) => {
                Error::TimedOut { path, wanted: self.wanted, waited: self.waited(), holders, here }
            }
            Refusal::Evaluation(holders) => Error::EvaluationIsOn { path, holders },
            Refusal::Unusable { gate, source } => Error::Gate { path: gate, source },
        }
    }
}
