//! How this process holds one file: the gate across processes and the engine behind it, taken and let go of in
//! that order (I2). One thread at a time works here, the one whose turn the queue says it is.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use duckdb::Connection;

use crate::class::{self, ErrorClass};
use crate::config::{AccessMode, WritesInEvaluation};
use crate::engine::{self, Host};
use crate::error::Error;
use crate::gate::file::Refusal;
use crate::gate::hold::Hold;
use crate::gate::phase::{self, PhaseHold, WritePermission};
use crate::observer::{Context, LeaseEvent};
use crate::retry::Backoff;
use crate::seam::file_id::FileId;
use crate::seam::{clock, process};
use crate::wait::Wait;

/// Where the pauses begin while a program without the gate holds the file.
const FOREIGN_POLL_FIRST: Duration = Duration::from_millis(5);

/// See the module's header.
pub(crate) struct Attachment {
    path: PathBuf,
    id: FileId,
    context: Arc<Context>,
    /// Kept warm between holds. Dropped before the hold: a host that is closed with the file still attached
    /// lets go of it first (I2).
    host: Option<Host>,
    held: Option<Held>,
}

/// A hold on the file.
struct Held {
    gate: Hold,
    mode: AccessMode,
    since: Instant,
    /// The file is detached, but DuckDB has not released its lock yet.
    lingers: bool,
    /// The phase that covers a write hold, kept for as long as that lasts.
    training: Option<Arc<PhaseHold>>,
}

/// Why the file could not be taken.
pub(crate) enum NotTaken {
    Refused(Refusal),
    Failed(Error),
}

impl From<Refusal> for NotTaken {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

impl Attachment {
    pub(crate) fn new(path: PathBuf, id: FileId, context: Arc<Context>) -> Self {
        Self { path, id, context, host: None, held: None }
    }

    /// Lets go of what is held, takes the gate, attaches.
    pub(crate) fn change(
        &mut self,
        mode: AccessMode,
        training: impl FnOnce() -> Option<Arc<PhaseHold>>,
        wait: &Wait<'_>,
    ) -> Result<(), NotTaken> {
        self.let_go_until(wait).map_err(NotTaken::Failed)?;
        let host = match self.host.take() {
            Some(host) => host,
            // Before the gate: nobody else has to wait for it.
            None => Host::start(&self.path, &self.context.config)
                .map_err(|error| NotTaken::Failed(error.into()))?,
        };
        let training = training();
        let permission = self.permission(training.is_some());
        let label = &self.context.config.label;
        let gate = Hold::take(&self.path, mode, label, permission, wait.deadline())?;
        self.check_identity().map_err(NotTaken::Failed)?;
        let attached = self.attach(&host, mode, wait);
        self.host = Some(host);
        attached.map_err(NotTaken::Failed)?;
        let training = training.filter(|_| mode == AccessMode::ReadWrite);
        self.held = Some(Held { gate, mode, since: clock::now(), lingers: false, training });
        Ok(())
    }

    /// A fresh connection on the attached file.
    pub(crate) fn connect(&self, mode: AccessMode) -> duckdb::Result<Connection> {
        match &self.host {
            Some(host) => host.connect(mode),
            None => unreachable!("a lease is granted only on an attached file (G2)"),
        }
    }

    /// Detaches, then releases the gate. Returns whether it could: a connection that was cloned from a lease and
    /// has a transaction open keeps DuckDB's lock on the file, and so the gate.
    pub(crate) fn let_go(&mut self) -> bool {
        let Some(held) = &mut self.held else { return true };
        if !held.lingers {
            let soiled = self.host.as_ref().is_some_and(|host| host.is_soiled().unwrap_or(true));
            if let Some(Err(error)) = self.host.as_ref().map(Host::detach) {
                tracing::error!(path = %self.path.display(), %error, "detach failed; the instance is closed");
                self.host = None;
            } else if soiled {
                self.host = None; // which also closes whatever a lease had attached beside this file
            }
        }
        // Where `/proc` does not say, detaching has to do.
        if self.id.is_locked_by_this_process().unwrap_or(false) {
            if !held.lingers {
                tracing::error!(
                    path = %self.path.display(),
                    "a connection that was cloned from a lease still has a transaction open; \
                     the file stays held until that ends"
                );
            }
            held.lingers = true;
            return false;
        }
        self.held = None;
        true
    }

    /// Whether a lease has left something that the next one on this hold would find.
    pub(crate) fn is_soiled(&self) -> bool {
        let soiled = self.host.as_ref().map(Host::is_soiled);
        soiled.is_some_and(|soiled| soiled.unwrap_or(true))
    }

    /// Whether the hold is old enough, and wanted elsewhere, to be given up.
    pub(crate) fn is_due(&self) -> bool {
        let Some(held) = &self.held else { return false };
        held.since.elapsed() >= self.context.config.hold_max
            && (held.gate.is_wanted()
                || (self.delays_evaluation(held) && held.gate.is_phase_wanted()))
    }

    /// Whether nothing is held, not even by a connection that outlived its lease.
    pub(crate) fn is_free(&self) -> bool {
        self.held.is_none()
    }

    /// Fails at once if an evaluation phase keeps this process from writing, instead of after its turn.
    pub(crate) fn refuse_in_evaluation(path: &Path, context: &Context) -> Result<(), Refusal> {
        match context.config.writes_in_evaluation {
            WritesInEvaluation::Allow => Ok(()),
            WritesInEvaluation::Refuse => phase::refuse_in_evaluation_of(path),
        }
    }

    fn permission(&self, in_training: bool) -> WritePermission {
        match self.context.config.writes_in_evaluation {
            WritesInEvaluation::Allow => WritePermission::Granted,
            WritesInEvaluation::Refuse if in_training => WritePermission::Granted,
            WritesInEvaluation::Refuse => WritePermission::OutsideEvaluation,
        }
    }

    /// Whether an evaluation waits for this hold alone, since no guard of a training phase is left.
    fn delays_evaluation(&self, held: &Held) -> bool {
        let guarded =
            held.training.as_ref().is_some_and(|training| Arc::strong_count(training) > 1);
        held.mode == AccessMode::ReadWrite
            && !guarded
            && self.context.config.writes_in_evaluation == WritesInEvaluation::Refuse
    }

    /// The file may have been replaced while this process waited; attaching another one, or making a new one,
    /// would go around the registry.
    fn check_identity(&self) -> Result<(), Error> {
        if FileId::at(&self.path).is_ok_and(|id| id == self.id) {
            return Ok(());
        }
        let text =
            "it was removed or replaced meanwhile; take a new lease to use what is there now"
                .into();
        Err(Error::Unusable { path: self.path.clone(), class: ErrorClass::Missing, text })
    }

    fn let_go_until(&mut self, wait: &Wait<'_>) -> Result<(), Error> {
        let mut backoff = self.backoff(wait);
        while !self.let_go() {
            if backoff.pause().is_none() {
                let text =
                    "a connection that was cloned from a lease still has a transaction open".into();
                return Err(Error::Unusable {
                    path: self.path.clone(),
                    class: ErrorClass::StillOpen,
                    text,
                });
            }
        }
        Ok(())
    }

    /// Attaches, and waits for programs that hold the file without the gate. They cannot be waited for in
    /// the kernel without a descriptor of the database file, and closing that would drop DuckDB's lock
    /// on it, so they are polled.
    fn attach(&self, host: &Host, mode: AccessMode, wait: &Wait<'_>) -> Result<(), Error> {
        let mut backoff = self.backoff(wait);
        loop {
            let Err(error) = host.attach(&self.path, mode) else { return Ok(()) };
            let (class, text) = engine::classify(&error);
            if class != ErrorClass::FileLocked {
                return Err(Error::Unusable { path: self.path.clone(), class, text });
            }
            if backoff.attempts() == 0 {
                tracing::warn!(path = %self.path.display(), %text, "held by a program without the gate");
            }
            self.context.tell(&self.path, &LeaseEvent::HeldOutside { text: &text });
            let Some(pause) = backoff.pause() else {
                let pid = class::lock_holder(&text);
                let command = pid.and_then(process::command);
                let (path, waited) = (self.path.clone(), wait.waited());
                return Err(Error::HeldOutside { path, pid, command, waited, text });
            };
            self.context
                .tell(&self.path, &LeaseEvent::Paused { attempt: backoff.attempts(), pause });
        }
    }

    fn backoff(&self, wait: &Wait<'_>) -> Backoff {
        Backoff::until(FOREIGN_POLL_FIRST, self.context.config.foreign_poll_max, wait.deadline())
    }
}
