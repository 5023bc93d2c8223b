//! The phases of one database that this process is in.
//!
//! A process is in a phase once, however often and from however many threads it is entered: a second entry
//! shares the first one's hold. Otherwise it would queue behind a process that waits for the first one to end.

use std::path::Path;
use std::sync::{Arc, Weak};
use std::time::Instant;

use crate::database::Database;
use crate::gate::file::Refusal;
use crate::gate::phase::PhaseHold;
use crate::gate::record::Phase;
use crate::seam::clock;
use crate::seam::sync::Mutex;
use crate::seam::turn::Turn;
use crate::wait::Wait;

/// See the module's header.
#[derive(Default)]
pub(crate) struct Phases {
    training: OnePhase,
    evaluation: OnePhase,
}

#[derive(Default)]
struct OnePhase {
    /// The threads that enter at the same time do so one after the other, instead of queueing at the gate themselves.
    entry: Arc<Turn>,
    current: Mutex<Weak<PhaseHold>>,
}

impl Phases {
    /// Enters a phase, or shares it if this process is in it.
    pub(crate) fn enter(
        &self,
        database: &Path,
        phase: Phase,
        label: &str,
        wait: &Wait<'_>,
        before: impl Fn(),
    ) -> Result<Arc<PhaseHold>, Refusal> {
        let one = match phase {
            Phase::Training => &self.training,
            Phase::Evaluation => &self.evaluation,
        };
        let Some(_entering) = one.entry.take(wait.patience()) else {
            return Err(Refusal::Expired(Vec::new()));
        };
        if let Some(hold) = one.current.lock().upgrade() {
            return Ok(hold);
        }
        let hold = Arc::new(PhaseHold::enter(database, phase, label, wait.patience(), before)?);
        *one.current.lock() = Arc::downgrade(&hold);
        Ok(hold)
    }

    /// The training phase, if this process is in it: it covers the process's writes.
    pub(crate) fn training(&self) -> Option<Arc<PhaseHold>> {
        self.training.current.lock().upgrade()
    }
}

/// A guard's share of a phase. Given back by dropping it.
pub(crate) struct PhaseShare {
    database: Arc<Database>,
    phase: Phase,
    since: Instant,
    /// `None` only while it is given back.
    hold: Option<Arc<PhaseHold>>,
}

impl PhaseShare {
    pub(crate) fn new(database: Arc<Database>, phase: Phase, hold: Arc<PhaseHold>) -> Self {
        Self { database, phase, since: clock::now(), hold: Some(hold) }
    }

    pub(crate) fn phase(&self) -> Phase {
        self.phase
    }

    pub(crate) fn path(&self) -> &Path {
        self.database.path()
    }
}

impl Drop for PhaseShare {
    fn drop(&mut self) {
        // Before the keeper looks: a write hold that this covered may now stand in evaluation's way.
        self.hold = None;
        self.database.left(self.phase, clock::since(self.since));
    }
}

/// A phase that this process is in. It is left when this is dropped, or when the process dies.
#[must_use = "the phase is left as soon as its guard is dropped"]
pub struct PhaseGuard(PhaseShare);

impl PhaseGuard {
    pub(crate) fn new(share: PhaseShare) -> Self {
        Self(share)
    }

    /// Which phase.
    pub fn phase(&self) -> Phase {
        self.0.phase()
    }

    /// Of which database, by its canonical path.
    pub fn path(&self) -> &Path {
        self.0.path()
    }
}

impl std::fmt::Debug for PhaseGuard {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PhaseGuard")
            .field("phase", &self.phase())
            .field("path", &self.path())
            .finish_non_exhaustive()
    }
}
