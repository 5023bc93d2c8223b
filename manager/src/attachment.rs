//! How this process holds one file: the gate across processes and the engine behind it, taken and let go of in
//! that order (I2). One thread at a time works here, the one whose turn the queue says it is.

use std::fs;
use std::os::fd::RawFd;
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
use crate::outsiders::{self, Outsiders};
use crate::quarantine;
use crate::retry::Backoff;
use crate::seam::clock;
use crate::seam::database_lock::{self, Descriptors};
use crate::seam::file_id::FileId;
use crate::seam::fork::ForkGuard;
use crate::seam::shared_page::SharedPage;
use crate::wait::Wait;

/// How much time lies between two looks at what leases have left, so that looking takes some hundredths of it at most.
const LOOK_INTERVAL: Duration = Duration::from_millis(10);

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
    /// `None` for a reader where no gate can be made.
    gate: Option<Hold>,
    mode: AccessMode,
    since: Instant,
    /// The one that DuckDB has the file open with.
    descriptor: RawFd,
    /// The file is detached, but DuckDB has not closed it yet.
    lingers: bool,
    /// Since when somebody else is known to want the file.
    pressed_since: Option<Instant>,
    /// When it was last looked at what leases have left.
    looked: Option<Instant>,
    /// A lease has come back since.
    is_unseen: bool,
    /// The instance is dead, or has more than the file in it: it is closed with the hold.
    is_spent: bool,
    /// The phase that covers a write hold, kept for as long as that lasts.
    training: Option<Arc<PhaseHold>>,
    _fork: Option<ForkGuard>,
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

impl From<Error> for NotTaken {
    fn from(error: Error) -> Self {
        Self::Failed(error)
    }
}

/// What covers a write hold against an evaluation that is on.
pub(crate) enum Cover {
    /// The process's own training phase, if it is in one.
    Training(Option<Arc<PhaseHold>>),
    /// The process is on its way into evaluation and keeps everybody else out of training.
    Entering,
}

/// Whether others want what this process holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Demand {
    /// Nobody does.
    None,
    /// Somebody does, since that long, and this process may go on for so long if it uses it.
    In { pressed: Duration, rest: Duration },
    /// It is time to let go of it; somebody has waited that long.
    Due { pressed: Duration },
}

/// What a lease has left behind.
pub(crate) enum Left {
    Nothing,
    AnotherDatabase,
    /// The instance is dead; the error says why.
    ADeadInstance(String),
}

impl Attachment {
    pub(crate) fn new(path: PathBuf, id: FileId, context: Arc<Context>) -> Self {
        Self { path, id, context, host: None, held: None }
    }

    /// Lets go of what is held, takes the gate, attaches.
    pub(crate) fn change(
        &mut self,
        mode: AccessMode,
        cover: impl FnOnce() -> Cover,
        wait: &Wait<'_>,
    ) -> Result<(), NotTaken> {
        self.let_go_until(wait)?;
        if self.host.is_none() {
            // Before the gate: nobody else has to wait for it.
            let host = Host::start(&self.path, &self.context.config).map_err(Error::from)?;
            self.host = Some(host); // and whoever is refused at the gate does not need another one next time
        }
        // As late as can be: a training phase that this process enters from here on does not cover the hold, which then
        // queues behind an evaluation that waits for that phase, until the deadline.
        let cover = cover();
        let begun = clock::now();
        let gate = {
            let _span =
                tracing::debug_span!("lock_wait", path = %self.path.display(), ?mode).entered();
            let permission = self.permission(&cover);
            Hold::take(&self.path, mode, &self.context.config.label, permission, wait.patience())?
        };
        let waited = clock::since(begun);
        if !faulty!(Fault::IdentityNotChecked) {
            self.check_identity()?;
        }
        let begun = clock::now();
        // Before there is a descriptor that a child could inherit.
        let guard = ForkGuard::of_database(&self.path, self.id.numbers());
        let descriptor = match self.attach(mode, wait) {
            Ok(descriptor) => descriptor,
            Err(error) => {
                self.close_host(); // it may be dead, or have the file still, which nobody may without the gate (I2)
                return Err(error.into());
            }
        };
        self.held = Some(Held {
            gate,
            mode,
            since: clock::now(),
            descriptor,
            lingers: false,
            pressed_since: None,
            looked: None,
            is_unseen: false,
            is_spent: false,
            training: match cover {
                Cover::Training(training) if mode == AccessMode::ReadWrite => training,
                _ => None,
            },
            _fork: guard,
        });
        // Whoever had it to write before may have been killed between its last commit and the count of that.
        if let Some(page) = self.page().filter(|_| mode == AccessMode::ReadWrite) {
            page.count_one();
        }
        let attached_in = clock::since(begun);
        self.context.tell(&self.path, &LeaseEvent::Opened { mode, waited, attached_in });
        Ok(())
    }

    /// A fresh connection on the attached file.
    pub(crate) fn connect(&self, mode: AccessMode) -> duckdb::Result<Connection> {
        match (&self.host, &self.held) {
            (Some(host), Some(held)) => host.connect(held.mode, mode),
            _ => unreachable!("a lease is granted only on an attached file (G2)"),
        }
    }

    /// Detaches, then releases the gate. Returns whether it could: a connection that was cloned from a lease and
    /// has a transaction open keeps DuckDB's lock on the file, and so the gate.
    pub(crate) fn let_go(&mut self) -> bool {
        let Some(held) = &self.held else { return true };
        let span = tracing::debug_span!("close", path = %self.path.display(), mode = ?held.mode);
        let _span = span.entered();
        let lingers = held.lingers;
        if faulty!(Fault::GateBeforeDetach)
            && let Some(held) = &mut self.held
        {
            held.gate = None;
        }
        if !lingers {
            self.detach();
        }
        let Some(held) = &mut self.held else { return true };
        if database_lock::is_open_on(held.descriptor, self.id) {
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
        let (mode, held_for) = (held.mode, clock::since(held.since));
        self.held = None;
        self.context.tell(&self.path, &LeaseEvent::Closed { mode, held: held_for });
        true
    }

    /// Looks at what the leases have left, if it is time to. `used` is for how long the last one was out.
    pub(crate) fn look_after(&mut self, used: Duration) -> Left {
        let Some(held) = self.held.as_mut().filter(|held| !held.is_spent) else {
            return Left::Nothing; // it is closed whatever has been left
        };
        let lately = held.looked.is_some_and(|looked| clock::since(looked) < LOOK_INTERVAL);
        held.is_unseen = true;
        if lately && used < LOOK_INTERVAL { Left::Nothing } else { self.look() }
    }

    /// Notes that the instance must not be used again: it is closed with the hold. Returns whether that is news.
    pub(crate) fn condemn(&mut self) -> bool {
        self.held.as_mut().is_some_and(|held| !std::mem::replace(&mut held.is_spent, true))
    }

    /// Whether the hold is wanted elsewhere, and whether it is old enough to be given up for that.
    pub(crate) fn demand(&mut self, is_tick: bool) -> Demand {
        let delays_evaluation = self.delays_evaluation();
        let Some(held) = &mut self.held else { return Demand::None };
        let Some(gate) = &mut held.gate else { return Demand::None };
        // Whoever may not write to the gate file cannot ring: now and then it is looked at without a ring.
        if !gate.was_rung() && held.pressed_since.is_none() && !is_tick {
            return Demand::None;
        }
        if !(gate.is_wanted() || (delays_evaluation && gate.is_phase_wanted())) {
            held.pressed_since = None;
            return Demand::None;
        }
        let pressed = clock::since(*held.pressed_since.get_or_insert_with(clock::now));
        let hold_max = self.context.config.hold_max;
        let behind_writers = held.mode == AccessMode::ReadWrite && gate.is_wanted_by_reader();
        let serves_for = if behind_writers { hold_max / 8 } else { hold_max };
        let rest = serves_for.saturating_sub(clock::since(held.since));
        if rest.is_zero() || held.lingers {
            Demand::Due { pressed }
        } else {
            Demand::In { pressed, rest }
        }
    }

    /// Whether nobody can enter evaluation as long as the hold lasts, and no guard of a training phase says so as well.
    pub(crate) fn delays_evaluation(&self) -> bool {
        let Some(held) = self.held.as_ref().filter(|held| held.mode == AccessMode::ReadWrite)
        else {
            return false;
        };
        let guarded =
            held.training.as_ref().is_some_and(|training| Arc::strong_count(training) > 1);
        !guarded && self.context.config.writes_in_evaluation == WritesInEvaluation::Refuse
    }

    /// Whether the hold may outlive its last lease: nobody could ask for one without a gate.
    pub(crate) fn may_keep(&self) -> bool {
        self.held.as_ref().is_none_or(|held| held.gate.is_some())
    }

    /// Whether the gate file was deleted or replaced while the file was held: newcomers do not see this hold then.
    pub(crate) fn has_lost_its_gate(&self) -> bool {
        let gate = self.held.as_ref().and_then(|held| held.gate.as_ref());
        gate.is_some_and(|gate| !gate.is_current().unwrap_or(false))
    }

    /// The page that all processes at the gate share, while the file is held.
    pub(crate) fn page(&self) -> Option<&Arc<SharedPage>> {
        self.held.as_ref()?.gate.as_ref().map(Hold::page)
    }

    /// Counts a committed change.
    pub(crate) fn count_commit(&mut self) {
        if let Some(page) = self.page()
            && !faulty!(Fault::GenerationNotCounted)
        {
            page.count_one();
        }
        if faulty!(Fault::GateAtCommit)
            && let Some(held) = &mut self.held
        {
            held.gate = None;
        }
    }

    /// Whether the file is held to write.
    pub(crate) fn is_written(&self) -> bool {
        self.held.as_ref().is_some_and(|held| held.mode == AccessMode::ReadWrite)
    }

    /// Whether nothing is held, not even by a connection that outlived its lease.
    pub(crate) fn is_free(&self) -> bool {
        self.held.is_none()
    }

    /// Whether the file is detached and DuckDB has it all the same.
    pub(crate) fn lingers(&self) -> bool {
        self.held.as_ref().is_some_and(|held| held.lingers)
    }

    /// Folds the write-ahead log into the file now.
    pub(crate) fn checkpoint(&self) -> duckdb::Result<()> {
        self.host.as_ref().map_or(Ok(()), Host::checkpoint)
    }

    /// Length of the write-ahead log.
    pub(crate) fn log_bytes(&self) -> u64 {
        fs::metadata(self.path.with_added_extension("wal")).map_or(0, |log| log.len())
    }

    /// Fails at once if an evaluation phase keeps this process from writing, instead of after its turn.
    pub(crate) fn refuse_in_evaluation(path: &Path, context: &Context) -> Result<(), Refusal> {
        match context.config.writes_in_evaluation {
            WritesInEvaluation::Allow => Ok(()),
            WritesInEvaluation::Refuse if faulty!(Fault::PhaseIgnoredByWriters) => Ok(()),
            WritesInEvaluation::Refuse => phase::refuse_in_evaluation_of(path),
        }
    }

    fn permission(&self, cover: &Cover) -> WritePermission {
        match (self.context.config.writes_in_evaluation, cover) {
            (WritesInEvaluation::Allow, _) | (_, Cover::Entering | Cover::Training(Some(_))) => {
                WritePermission::Granted
            }
            (WritesInEvaluation::Refuse, Cover::Training(None))
                if faulty!(Fault::PhaseIgnoredByWriters) =>
            {
                WritePermission::Granted
            }
            (WritesInEvaluation::Refuse, Cover::Training(None)) => {
                WritePermission::OutsideEvaluation
            }
        }
    }

    fn look(&mut self) -> Left {
        let (Some(host), Some(held)) = (&self.host, &mut self.held) else { return Left::Nothing };
        held.looked = Some(clock::now());
        held.is_unseen = false;
        match host.is_soiled() {
            Ok(false) => Left::Nothing,
            Ok(true) => Left::AnotherDatabase,
            Err(error) => Left::ADeadInstance(error.to_string()),
        }
    }

    /// Detaches the file, or closes the host if that cannot be used again.
    fn detach(&mut self) {
        let is_unseen = self.held.as_ref().is_some_and(|held| held.is_unseen);
        if is_unseen && !matches!(self.look(), Left::Nothing) {
            self.condemn();
        }
        self.fold(); // of a dead instance this fails, and its log stays
        if self.held.as_ref().is_some_and(|held| held.is_spent) {
            return self.close_host(); // which also closes whatever a lease had attached beside this file
        }
        let detached = self.host.as_ref().map_or(Ok(()), Host::detach);
        if let Err(error) = &detached {
            tracing::error!(path = %self.path.display(), %error, "detach failed; the instance is closed");
        }
        if detached.is_err() {
            self.close_host();
        }
    }

    /// Folds the write-ahead log into the file. While another process waits for it, only if replaying it would take that
    /// one longer; readers of an evaluation would all replay it.
    fn fold(&self) {
        let Some(held) = &self.held else { return };
        let writes = held.mode == AccessMode::ReadWrite;
        let waits_to_evaluate = held.gate.as_ref().is_some_and(Hold::is_phase_wanted);
        let bytes_max = match held.pressed_since {
            Some(_) if !waits_to_evaluate => self.context.config.checkpoint_wal_bytes,
            _ => 0,
        };
        if writes
            && self.log_bytes() > bytes_max
            && (self.owns_log() || faulty!(Fault::LogNotChecked))
            && let Err(error) = self.checkpoint()
        {
            // What is in the log is stored; the next holder replays it.
            tracing::warn!(path = %self.path.display(), %error, "no checkpoint; the log stays");
        }
    }

    /// Whether the log beside the path is that of this file. DuckDB removes it by its name after a checkpoint; if another
    /// file has been put in the place of this one, it may be that one's.
    fn owns_log(&self) -> bool {
        self.check_identity().is_ok()
            || FileId::at(&self.path.with_added_extension("wal"))
                .and_then(Descriptors::on)
                .is_ok_and(|open| !open.is_empty())
    }

    fn close_host(&mut self) {
        if let Some(host) = self.host.take() {
            host.close();
        }
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
        let jitter = Arc::clone(&self.context.jitter);
        let mut backoff = Backoff::drawn(
            outsiders::POLL_FIRST,
            self.context.config.foreign_poll_max,
            wait.patience().clone(),
            &*jitter,
        );
        while !self.let_go() {
            if backoff.pause().is_none() {
                if let Some(cancelled) = wait.cancelled() {
                    return Err(cancelled);
                }
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

    /// Attaches, and makes DuckDB's lock last (I4). Waits for programs that hold the file without the gate.
    fn attach(&self, mode: AccessMode, wait: &Wait<'_>) -> Result<RawFd, Error> {
        let host = self.host.as_ref().expect("it was started before the gate was asked for");
        let _span = tracing::debug_span!("open", path = %self.path.display(), ?mode).entered();
        quarantine::refuse(&self.path)?;
        let mut outsiders = Outsiders::new(&self.path, &self.context, mode, wait);
        loop {
            outsiders.wait_until_free()?;
            let before = Descriptors::on(self.id).map_err(|source| self.no_lock(source))?;
            match host.attach(&self.path, mode) {
                Ok(()) => {}
                Err(error) => {
                    let (class, text) = engine::classify(&error);
                    if class == ErrorClass::FileLocked {
                        outsiders.pause(class::lock_holder(&text), &text)?; // it came in between
                        continue;
                    }
                    return Err(quarantine::judge(&self.path, class, text));
                }
            }
            let hardened = Descriptors::on(self.id).and_then(|now| {
                let Some(descriptor) = now.added_since(&before) else { return Ok(None) };
                let had =
                    faulty!(Fault::LockNotHardened) || database_lock::harden(descriptor, mode)?;
                Ok(had.then_some(descriptor))
            });
            if let Ok(Some(descriptor)) = hardened {
                return Ok(descriptor);
            }
            host.detach()?;
            hardened.map_err(|source| self.no_lock(source))?;
            outsiders.pause(None, "somebody opened the file at the same moment")?;
        }
    }

    fn no_lock(&self, source: std::io::Error) -> Error {
        Error::Io { action: "protect the lock on", path: self.path.clone(), source }
    }
}
