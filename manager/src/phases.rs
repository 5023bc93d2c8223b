//! The phases of one database that this process is in.
//!
//! A process is in a phase once, however often and from however many threads it is entered: a second entry
//! shares the first one's hold. Otherwise it would queue behind a process that waits for the first one to end.

use std::path::Path;
use std::sync::{Arc, Weak};

use parking_lot::Mutex;

use crate::gate::file::Refusal;
use crate::gate::phase::PhaseHold;
use crate::gate::record::Phase;
use crate::wait::Wait;

/// See the module's header.
#[derive(Default)]
pub(crate) struct Phases {
    training: OnePhase,
    evaluation: OnePhase,
}

#[derive(Default)]
struct OnePhase {
    /// Held by the thread that enters; the others of this process wait for it instead of queueing themselves.
    entering: Mutex<()>,
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
    ) -> Result<Arc<PhaseHold>, Refusal> {
        let one = match phase {
            Phase::Training => &self.training,
            Phase::Evaluation => &self.evaluation,
        };
        let Some(_entering) = one.entering.try_lock_until(wait.deadline()) else {
            return Err(Refusal::Expired(Vec::new()));
        };
        if let Some(hold) = one.current.lock().upgrade() {
            return Ok(hold);
        }
        let hold = Arc::new(PhaseHold::enter(database, phase, label, wait.deadline())?);
        *one.current.lock() = Arc::downgrade(&hold);
        Ok(hold)
    }

    /// The training phase, if this process is in it: it covers the process's writes.
    pub(crate) fn training(&self) -> Option<Arc<PhaseHold>> {
        self.training.current.lock().upgrade()
    }
}
