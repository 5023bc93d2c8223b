//! A process's hold on a file, taken through the turnstile.

use std::path::Path;
use std::time::Instant;

use super::byte;
use super::file::{GateFile, Refusal};
use super::phase::{self, WritePermission};
use super::record::Holder;
use crate::AccessMode;
use crate::seam::file_lock::Share;

/// The file, held by this process. Given back by dropping it.
#[derive(Debug)]
pub(crate) struct Hold {
    gate: GateFile,
}

impl Hold {
    /// Waits for the file and takes it.
    ///
    /// Blocks until the deadline at most, asleep in the kernel. First come, first served among all
    /// processes, readers together.
    pub(crate) fn take(
        database: &Path,
        mode: AccessMode,
        label: &str,
        permission: WritePermission,
        deadline: Instant,
    ) -> Result<Self, Refusal> {
        loop {
            let gate = GateFile::open(database)?;
            let mut holder = Holder::this_process(label, Some(mode), None);
            let slot = gate.announce(&holder)?;
            if mode == AccessMode::ReadWrite && permission == WritePermission::OutsideEvaluation {
                phase::permit_write(&gate, deadline)?;
            }
            gate.lock(byte::TURNSTILE, Share::Exclusive, deadline)?;
            let share = match mode {
                AccessMode::ReadOnly => Share::Shared,
                AccessMode::ReadWrite => Share::Exclusive,
            };
            gate.lock(byte::FILE, share, deadline)?;
            gate.unlock(byte::TURNSTILE)?;
            if gate.is_current()? {
                gate.confirm(slot.as_ref(), &mut holder)?;
                return Ok(Self { gate });
            }
        }
    }

    /// Whether a process waits for a phase: whoever is next holds the turnstile of the phases.
    pub(crate) fn is_phase_wanted(&self) -> bool {
        matches!(self.gate.held_by_other(byte::PHASE_TURNSTILE), Ok(Some(_)))
    }

    /// Whether a process waits for the file: whoever is next holds the turnstile.
    pub(crate) fn is_wanted(&self) -> bool {
        matches!(self.gate.held_by_other(byte::TURNSTILE), Ok(Some(_)))
    }
}
