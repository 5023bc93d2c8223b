//! Phases: training and evaluation of one database exclude each other over all processes.
//!
//! Any number of processes may be in one phase together. To enter a phase a process passes the turnstile of
//! the phases, waits there until the last one has left the other phase, and takes its share of its own.
//! Everything is a kernel lock, so a phase whose owner dies is over.
//!
//! A write hold counts as training for as long as it lasts, unless its process may write during
//! evaluation: entering evaluation therefore waits until the last writer has let go, everywhere, and new
//! writers queue behind it. It is taken *before* the file (and before its turnstile): a process that
//! waits for a phase holds nothing through the gate that somebody in the other phase could wait for. (A thread
//! of it that has a read lease out does; its own deadline ends that.)

use std::path::Path;
use std::time::Duration;

use super::byte;
use super::file::{GateFile, Refusal};
use super::record::{Holder, Phase};
use crate::seam::file_lock::Share;
use crate::seam::patience::Patience;

/// How long a writer waits for the turnstile before it looks again whether somebody evaluates.
const LOOK: Duration = Duration::from_millis(100);

/// What a process that wants to write needs of the phases.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum WritePermission {
    /// Nobody may be in evaluation, now and as long as the hold lasts.
    OutsideEvaluation,
    /// Nothing: its own training phase, or the policy of its configuration, covers it.
    Granted,
}

/// A phase this process is in. It is left by dropping it.
#[derive(Debug)]
pub(crate) struct PhaseHold {
    _gate: GateFile,
}

impl PhaseHold {
    /// Waits until nobody is in the other phase, does what is to be done `before` this process is in this one, and enters.
    pub(crate) fn enter(
        database: &Path,
        phase: Phase,
        label: &str,
        patience: &Patience,
        before: impl Fn(),
    ) -> Result<Self, Refusal> {
        let (own, other) = match phase {
            Phase::Training => (byte::TRAINING, byte::EVALUATION),
            Phase::Evaluation => (byte::EVALUATION, byte::TRAINING),
        };
        loop {
            let gate = GateFile::open(database)?;
            let mut holder = Holder::this_process(label, None, Some(phase));
            let slot = gate.announce(&holder)?;
            gate.lock(byte::PHASE_TURNSTILE, Share::Exclusive, patience)?;
            if !gate.try_lock(other, Share::Exclusive)? {
                // With the turnstile in hand: who keeps a write hold that nobody uses lets go of it now.
                gate.page().ring();
                gate.lock(other, Share::Exclusive, patience)?;
            }
            // After the last wait: whoever is at a gate that was deleted meanwhile keeps nobody out of the other phase.
            if gate.is_current()? {
                before();
                gate.lock(own, Share::Shared, patience)?; // nobody has it: that would take the turnstile
                gate.unlock(other)?;
                gate.unlock(byte::PHASE_TURNSTILE)?;
                gate.confirm(slot.as_ref(), &mut holder)?;
                return Ok(Self { _gate: gate });
            }
        }
    }
}

/// Takes a share of training for as long as `gate` is open, or refuses if somebody is in evaluation.
pub(crate) fn permit_write(gate: &GateFile, patience: &Patience) -> Result<(), Refusal> {
    refuse_in_evaluation(gate)?;
    // Whoever has the turnstile may wait for an evaluation of this very process, and that one for this writer, in the
    // queue of the process. It began before the turnstile was taken, so that a look at it ends the circle.
    while !gate.lock_for(byte::PHASE_TURNSTILE, Share::Exclusive, patience, LOOK)? {
        refuse_in_evaluation(gate)?;
    }
    gate.lock(byte::TRAINING, Share::Shared, patience)?;
    gate.unlock(byte::PHASE_TURNSTILE)?;
    // Somebody may have entered while this process queued; from here on nobody can.
    refuse_in_evaluation(gate)
}

/// Refuses if somebody is in evaluation now. Waits for nothing.
pub(crate) fn refuse_in_evaluation_of(database: &Path) -> Result<(), Refusal> {
    GateFile::open_existing(database)?.as_ref().map_or(Ok(()), refuse_in_evaluation)
}

fn refuse_in_evaluation(gate: &GateFile) -> Result<(), Refusal> {
    // An exclusive holder is on its way into training and makes sure that nobody is in evaluation.
    if gate.held_by_other(byte::EVALUATION)? != Some(Share::Shared) {
        return Ok(());
    }
    let mut holders = gate.holders()?;
    holders.retain(|holder| holder.phase == Some(Phase::Evaluation));
    Err(Refusal::Evaluation(holders))
}
