//! A process's hold on a file, taken through the turnstile.

use std::path::Path;
use std::sync::Arc;

use super::byte;
use super::file::{GateFile, Refusal};
use super::phase::{self, WritePermission};
use super::record::Holder;
use crate::AccessMode;
use crate::seam::file_lock::Share;
use crate::seam::patience::Patience;
use crate::seam::shared_page::SharedPage;

/// The file, held by this process. Given back by dropping it.
#[derive(Debug)]
pub(crate) struct Hold {
    gate: GateFile,
    /// Rings of the bell that this hold has answered. It begins before the hold did, so that none is missed.
    heard: u32,
}

impl Hold {
    /// Waits for the file and takes it. `None` if this process may not make a gate and there is none; a reader then has
    /// DuckDB's own lock to rely on.
    ///
    /// Blocks while patience lasts, asleep in the kernel. First come, first served among all
    /// processes, readers together.
    pub(crate) fn take(
        database: &Path,
        mode: AccessMode,
        label: &str,
        permission: WritePermission,
        patience: &Patience,
    ) -> Result<Option<Self>, Refusal> {
        loop {
            let gate = match mode {
                AccessMode::ReadOnly => GateFile::open_for_reader(database)?,
                AccessMode::ReadWrite => Some(GateFile::open(database)?),
            };
            let Some(gate) = gate else { return Ok(None) };
            let heard = gate.page().rings();
            let mut holder = Holder::this_process(label, Some(mode), None);
            let slot = gate.announce(&holder)?;
            if mode == AccessMode::ReadWrite && permission == WritePermission::OutsideEvaluation {
                phase::permit_write(&gate, patience)?;
            }
            pass_turnstile(&gate, mode, patience)?;
            if gate.is_current()? {
                gate.confirm(slot.as_ref(), &mut holder)?;
                return Ok(Some(Self { gate, heard }));
            }
        }
    }

    /// Whether the bell has been rung since this was asked last, which also answers it.
    pub(crate) fn was_rung(&mut self) -> bool {
        let rings = self.gate.page().rings();
        let rung = rings != self.heard;
        self.heard = rings;
        rung
    }

    /// Whether a process waits for a phase: whoever is next holds the turnstile of the phases.
    pub(crate) fn is_phase_wanted(&self) -> bool {
        matches!(self.gate.held_by_other(byte::PHASE_TURNSTILE), Ok(Some(_)))
    }

    /// Whether a process waits for the file: whoever is next holds the turnstile.
    pub(crate) fn is_wanted(&self) -> bool {
        matches!(self.gate.held_by_other(byte::TURNSTILE), Ok(Some(_)))
    }

    /// Whether a process waits to read.
    pub(crate) fn is_wanted_by_reader(&self) -> bool {
        matches!(self.gate.held_by_other(byte::READER_WAITS), Ok(Some(_)))
    }

    /// The page that all processes at the gate share.
    pub(crate) fn page(&self) -> &Arc<SharedPage> {
        self.gate.page()
    }

    /// Whether the gate file is still the one that newcomers find.
    pub(crate) fn is_current(&self) -> Result<bool, Refusal> {
        self.gate.is_current()
    }
}

fn pass_turnstile(gate: &GateFile, mode: AccessMode, patience: &Patience) -> Result<(), Refusal> {
    let share = match mode {
        AccessMode::ReadOnly => Share::Shared,
        AccessMode::ReadWrite => Share::Exclusive,
    };
    let is_free =
        gate.try_lock(byte::TURNSTILE, Share::Exclusive)? && gate.try_lock(byte::FILE, share)?;
    if !is_free {
        if mode == AccessMode::ReadOnly {
            gate.lock(byte::READER_WAITS, Share::Shared, patience)?; // nobody takes it otherwise
        }
        gate.page().ring(); // a reader waits now: writers shorten their holds
        gate.lock(byte::TURNSTILE, Share::Exclusive, patience)?;
        if !gate.try_lock(byte::FILE, share)? {
            // Who keeps the file without using it looks at the turnstile when the bell is rung.
            gate.page().ring();
            gate.lock(byte::FILE, share, patience)?;
        }
        gate.unlock(byte::READER_WAITS)?;
    }
    gate.unlock(byte::TURNSTILE)
}
