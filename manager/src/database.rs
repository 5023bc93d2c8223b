//! One database file in this process: the queue, the hold across processes, and the engine, in that order.
//!
//! | step | what it does | what it may wait for |
//! |---|---|---|
//! | 1 | wait in the queue | other threads of this process |
//! | 2 | take the gate | other processes that use the gate |
//! | 3 | attach | programs that do not |
//! | 4 | connect | nothing |
//!
//! and back: disconnect. The file stays attached and the gate taken until another process asks for it
//! (`keeper.rs` hears that) or nobody has used it for [`Config::idle_max`](crate::Config::idle_max); then detach, then
//! release the gate (I2).

use std::panic::Location;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use duckdb::Connection;

use crate::attachment::{Attachment, Cover, NotTaken};
use crate::class::ErrorClass;
use crate::config::{AccessMode, AcquireOptions};
use crate::error::{Error, Wanted};
use crate::gate::file::{GateFile, Refusal};
use crate::gate::queue::Queue;
use crate::gate::record::Phase;
use crate::gate::state::{Afterwards, DrainTurn, Drained, Limits, Ticket, Turn};
use crate::keeper::Keeper;
use crate::leases::Leases;
use crate::observer::{Context, LeaseEvent};
use crate::phases::{PhaseShare, Phases};
use crate::seam::file_id::FileId;
use crate::seam::patience::Patience;
use crate::seam::sync::Mutex;
use crate::seam::{clock, lockstep};
use crate::status::DatabaseStatus;
use crate::wait::{Wait, Waits};

mod coming_back;
mod rounds;
#[cfg(feature = "tokio")]
mod tasks;

/// A hold that nobody has used for so long is given up at once when another process asks, however young it is.
const GRACE: Duration = Duration::from_millis(1);
/// How often queries that are to end are interrupted, until their leases are back.
const INTERRUPT_INTERVAL: Duration = Duration::from_millis(10);
/// How often it is looked whether a connection that outlived its lease has ended its transaction.
const LINGER_POLL: Duration = Duration::from_millis(10);
/// What the checkpoint before an evaluation may wait for readers; without it they replay the log.
const CHECKPOINT_WAIT_MAX: Duration = Duration::from_secs(1);

/// A database, shared by the manager and its leases. When the last of them goes, the file is let go of.
pub(crate) struct Database {
    site: Arc<Site>,
    keeper: Keeper,
}

/// What the keeper's thread shares.
struct Site {
    path: PathBuf,
    context: Arc<Context>,
    queue: Queue,
    /// Locked by whoever changes the hold, for the whole change, and by nobody else for longer than a look.
    attachment: Mutex<Attachment>,
    leases: Leases,
    waits: Waits,
    phases: Phases,
    /// The file is to be let go of, by whoever finds this first: the lease that was to do it could not take the time.
    owes_detach: AtomicBool,
}

/// A connection that was granted, and what identifies it on its way back.
pub(crate) struct Granted {
    pub(crate) connection: Connection,
    pub(crate) number: u64,
    pub(crate) mode: AccessMode,
    pub(crate) taker: Taker,
}

/// Who takes a lease, and so how it comes back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Taker {
    /// A thread. It may not take another one meanwhile, and lets go of the file itself if that is due.
    Thread,
    /// An asynchronous task, on whatever thread it runs. It may have others, and the keeper lets go of the file for it.
    #[cfg_attr(not(feature = "tokio"), allow(dead_code))]
    Task,
}

/// How a lease was used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Used {
    /// Its connection was given out: anything may have been done on it.
    Freely,
    /// By the manager's own statements only.
    ByManager,
}

impl Database {
    pub(crate) fn new(path: PathBuf, id: FileId, context: Arc<Context>) -> Self {
        let config = &context.config;
        let limits = Limits { readers_max: config.readers_max, keep: !config.idle_max.is_zero() };
        let site = Site {
            queue: Queue::new(limits),
            attachment: Mutex::new(Attachment::new(path.clone(), id, Arc::clone(&context))),
            path,
            context,
            leases: Leases::default(),
            waits: Waits::default(),
            phases: Phases::default(),
            owes_detach: AtomicBool::new(false),
        };
        Self { site: Arc::new(site), keeper: Keeper::default() }
    }

    pub(crate) fn path(&self) -> &Path {
        &self.site.path
    }

    /// Whether this is a child of the process that it belongs to.
    pub(crate) fn is_forked(&self) -> bool {
        self.site.context.is_forked()
    }

    /// Fails there.
    pub(crate) fn refuse_forked(&self) -> Result<(), Error> {
        self.site.context.refuse_forked(&self.site.path, Wanted::Lease(AccessMode::ReadWrite))
    }

    /// Waits for a lease. Steps 1 to 4 of the module's header.
    pub(crate) fn acquire(
        &self,
        mode: AccessMode,
        options: &AcquireOptions,
        taker: Taker,
        location: &'static Location<'static>,
    ) -> Result<Granted, Error> {
        let site = &*self.site;
        let wanted = Wanted::Lease(mode);
        site.context.refuse_forked(&site.path, wanted)?;
        if taker == Taker::Thread
            && !faulty!(Fault::NestedNotRefused)
            && let Some(held) = site.leases.of_this_thread()
        {
            let (path, wanted_at) = (site.path.clone(), location.to_string());
            return Err(Error::Nested { path, held, wanted: mode, wanted_at });
        }
        let _span = tracing::debug_span!("acquire", path = %site.path.display(), ?mode).entered();
        let limit = options.wait_max.unwrap_or(site.context.config.wait_max);
        let wait = Wait::new(&site.path, wanted, limit, options.cancel.clone());
        site.context.tell(&site.path, &LeaseEvent::Waits { mode });
        let granted = loop {
            let granted = self.take_turn(mode, &wait).and_then(|()| {
                let connected = site.attachment.lock().connect(mode);
                self.grant(connected, mode, taker, location)
            });
            // An instance that died under somebody else: the next one serves this lease, too.
            let is_dead = granted.as_ref().is_err_and(|error| {
                matches!(error, Error::Database { class: ErrorClass::Fatal, .. })
            });
            if !is_dead || wait.is_over() {
                break granted;
            }
        };
        self.tell_outcome(mode, wait.waited(), &granted);
        granted
    }

    fn tell_outcome(&self, mode: AccessMode, waited: Duration, granted: &Result<Granted, Error>) {
        let site = &*self.site;
        match granted {
            Ok(Granted { number, .. }) => {
                site.context.tell(&site.path, &LeaseEvent::Taken { number: *number, mode, waited });
            }
            Err(error) => {
                let timed_out = matches!(error, Error::TimedOut { .. } | Error::HeldOutside { .. });
                site.context.tell(&site.path, &LeaseEvent::GaveUp { mode, waited, timed_out });
            }
        }
    }

    /// The thread that took the lease may take another one.
    pub(crate) fn unbind(&self, number: u64) {
        if !self.is_forked() {
            self.site.leases.unbind(number);
        }
    }

    /// A change was committed. Told before it is acknowledged, so that whoever hears of it finds a new generation (I9).
    pub(crate) fn count_commit(&self) {
        if self.is_forked() {
            return;
        }
        lockstep::point("count the commit");
        self.site.attachment.lock().count_commit();
        lockstep::point("counted the commit");
    }

    /// The instance is dead: nobody gets a lease on it any more, and the next one opens it anew.
    pub(crate) fn found_dead(&self, text: &str) {
        let site = &*self.site;
        if self.is_forked() {
            return; // it is the parent's
        }
        let is_news = site.attachment.lock().condemn();
        if is_news {
            tracing::error!(path = %site.path.display(), text, "the instance is dead; it is opened anew");
            site.context.tell(&site.path, &LeaseEvent::Broken { text });
        }
        site.yield_hold();
    }

    /// Holds leases of a kind back, waits until those that are out have returned, and lets go of the file.
    /// Returns whether it got that far before the deadline. Queries that still run after `interrupt_after` are
    /// interrupted.
    pub(crate) fn drain(
        &self,
        drained: Drained,
        patience: &Patience,
        interrupt_after: Option<Duration>,
    ) -> bool {
        let site = &*self.site;
        if site.context.is_forked() {
            return true; // a child has nothing out
        }
        site.pay_detach();
        site.queue.begin_drain(drained);
        let mut interrupt_at = interrupt_after.map(clock::deadline_in);
        let done = loop {
            let until = interrupt_at.map_or_else(|| patience.clone(), |at| patience.within(at));
            match site.queue.wait_drained(drained, &until) {
                DrainTurn::Done => break true,
                DrainTurn::Detach => site.detach(),
                DrainTurn::Wait if interrupt_at.is_none() || patience.is_over(clock::now()) => {
                    break false;
                }
                DrainTurn::Wait => {
                    site.interrupt();
                    interrupt_at = Some(clock::deadline_in(INTERRUPT_INTERVAL));
                }
            }
        };
        site.conclude(site.queue.end_drain(drained));
        done
    }

    /// Enters a phase; see [`PhaseHold::enter`](crate::gate::phase::PhaseHold::enter).
    pub(crate) fn enter(
        self: &Arc<Self>,
        phase: Phase,
        options: &AcquireOptions,
    ) -> Result<PhaseShare, Error> {
        let site = &*self.site;
        let wanted = Wanted::Phase(phase);
        site.context.refuse_forked(&site.path, wanted)?;
        let _span = tracing::debug_span!("phase", path = %site.path.display(), %phase).entered();
        let limit = options.wait_max.unwrap_or(site.context.config.wait_max);
        let wait = Wait::new(&site.path, wanted, limit, options.cancel.clone());
        let _listed = self.look_after(&wait);
        if phase == Phase::Evaluation {
            let attachment = site.when_quiet();
            if attachment.is_some_and(|attachment| attachment.delays_evaluation()) {
                site.let_go_if_idle(); // the keeper would as well, once it has been rung for
            }
        }
        let before = || {
            if phase == Phase::Evaluation {
                self.checkpoint_for_readers(&wait);
            }
        };
        let label = &site.context.config.label;
        let hold = site.phases.enter(&site.path, phase, label, &wait, before);
        let hold = hold.map_err(|refusal| site.refused(&wait, refusal))?;
        let entered = LeaseEvent::PhaseEntered { phase, waited: wait.waited() };
        site.context.tell(&site.path, &entered);
        Ok(PhaseShare::new(Arc::clone(self), phase, hold))
    }

    /// A guard of a phase is gone. Somebody may have waited for a write hold that it covered.
    pub(crate) fn left(&self, phase: Phase, lasted: Duration) {
        let site = &*self.site;
        if self.is_forked() {
            return; // its parent is in it
        }
        site.context.tell(&site.path, &LeaseEvent::PhaseLeft { phase, lasted });
        self.keeper.wake_now();
    }

    /// Whether nobody of this process uses the file or is about to. See [`Site::when_quiet`].
    pub(crate) fn is_unused(&self) -> bool {
        let site = &*self.site;
        let attachment = site.when_quiet();
        attachment.is_some_and(|attachment| !attachment.lingers())
            && site.leases.idle_for().is_some()
    }

    /// Lets go of a file that nobody of this process uses.
    pub(crate) fn let_go_if_unused(&self) {
        self.site.let_go_if_idle();
    }

    pub(crate) fn status(&self) -> DatabaseStatus {
        let (attachment, waiting) = self.site.queue.snapshot();
        let (path, leases) = (self.site.path.clone(), self.site.leases.statuses());
        DatabaseStatus { path, attachment, waiting, leases }
    }

    /// Steps 1 to 3.
    fn take_turn(&self, mode: AccessMode, wait: &Wait<'_>) -> Result<(), Error> {
        let site = &*self.site;
        if site.queue.try_now(mode) {
            return Ok(()); // on a write hold: it lasts no longer than the permission it was taken with
        }
        let _listed = self.look_after(wait);
        if mode == AccessMode::ReadWrite && site.phases.training().is_none() {
            Attachment::refuse_in_evaluation(&site.path, &site.context)
                .map_err(|refusal| site.refused(wait, refusal))?;
        }
        let ticket = site.queue.enqueue(mode);
        let covered = || Cover::Training(site.phases.training());
        self.wait_turn(ticket, mode, covered, wait)
    }

    fn wait_turn(
        &self,
        ticket: Ticket,
        mode: AccessMode,
        cover: impl FnOnce() -> Cover,
        wait: &Wait<'_>,
    ) -> Result<(), Error> {
        let site = &*self.site;
        match site.queue.wait(ticket, wait.patience()) {
            Ok(Turn::Granted) => Ok(()),
            Ok(Turn::Change { .. }) => {
                // Whatever unwinds out of the change, the ticket is answered for.
                let mut change = Change { queue: &site.queue, ticket, done: false };
                let mut attachment = site.attachment.lock();
                let changed = attachment.change(mode, cover, wait);
                let page = attachment.page().cloned();
                drop(attachment);
                change.done = changed.is_ok();
                drop(change);
                self.keeper.follow(page); // somebody may have rung since the hold began
                changed.map_err(|not_taken| match not_taken {
                    NotTaken::Failed(error) => error,
                    NotTaken::Refused(refusal) => site.refused(wait, refusal),
                })
            }
            Ok(Turn::Wait) => unreachable!("the queue waits itself"),
            Err(expired) => {
                tracing::debug!(
                    still_waiting = expired.still_waiting,
                    "a wait in this process ran out"
                );
                site.conclude(expired.afterwards);
                Err(site.refused(wait, Refusal::Expired(site.holders())))
            }
        }
    }

    /// Step 4, after connecting. From here on the lease is owed back, whatever happens.
    fn grant(
        &self,
        connected: duckdb::Result<Connection>,
        mode: AccessMode,
        taker: Taker,
        location: &'static Location<'static>,
    ) -> Result<Granted, Error> {
        match connected {
            Ok(connection) => {
                let (is_bound, interrupt) = (taker == Taker::Thread, connection.interrupt_handle());
                let number = self.site.leases.note(mode, is_bound, location, interrupt);
                Ok(Granted { connection, number, mode, taker })
            }
            Err(error) => {
                let error = Error::from(error);
                if error.is_fatal() {
                    self.found_dead(&error.to_string());
                }
                self.conclude(self.site.take_back(mode), taker);
                Err(error)
            }
        }
    }

    /// Folds the log into the file while nobody trains and before anybody evaluates: each of the readers would replay
    /// it. Without it they do, so whatever goes wrong here is not worth an error.
    fn checkpoint_for_readers(&self, wait: &Wait<'_>) {
        let site = &*self.site;
        if site.attachment.try_lock().is_none_or(|attachment| attachment.log_bytes() == 0) {
            return;
        }
        let limit = wait.patience().within(clock::deadline_in(CHECKPOINT_WAIT_MAX));
        let remaining = limit.deadline().saturating_duration_since(clock::now());
        let wait = Wait::new(&site.path, Wanted::Lease(AccessMode::ReadWrite), remaining, None);
        let ticket = site.queue.enqueue(AccessMode::ReadWrite);
        let taken = self.wait_turn(ticket, AccessMode::ReadWrite, || Cover::Entering, &wait);
        if let Err(error) = taken {
            tracing::debug!(path = %site.path.display(), %error, "no checkpoint before the evaluation");
            return;
        }
        if let Err(error) = site.attachment.lock().checkpoint() {
            tracing::warn!(path = %site.path.display(), %error, "the checkpoint before the evaluation failed");
        }
        site.yield_hold(); // it was taken without a share of training, so nobody else may write on it
        site.give_back(AccessMode::ReadWrite);
    }

    /// Lists a wait with the keeper, which tells of it if it takes long.
    fn look_after(&self, wait: &Wait<'_>) -> crate::wait::Listed {
        let listed = self.site.waits.list(wait);
        let site = Arc::clone(&self.site);
        self.keeper.begin(move || site.round());
        self.keeper.wake();
        listed
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        if self.site.context.is_forked() {
            // Nothing of it may be used or closed, and another thread of the parent may have been in the middle of it.
            std::mem::forget(Arc::clone(&self.site));
        } else {
            self.site.attachment.lock().let_go();
        }
    }
}

impl Site {
    fn yield_hold(&self) {
        let afterwards = self.queue.yield_hold();
        self.conclude(afterwards);
    }

    fn conclude(&self, afterwards: Afterwards) {
        match afterwards {
            Afterwards::Nothing => {}
            Afterwards::Detach => self.detach(),
        }
    }

    fn detach(&self) {
        // If it lingers, the keeper and the next change try again, and other processes wait for this one.
        self.attachment.lock().let_go();
        self.queue.detached();
    }

    /// Who holds the gate or waits at it.
    fn holders(&self) -> Vec<crate::gate::record::Holder> {
        let gate = GateFile::open_existing(&self.path).ok().flatten();
        gate.and_then(|gate| gate.holders().ok()).unwrap_or_default()
    }

    fn refused(&self, wait: &Wait<'_>, refusal: Refusal) -> Error {
        wait.error(refusal, self.leases.statuses())
    }
}

/// Answers for a ticket whose owner changes the hold.
struct Change<'a> {
    queue: &'a Queue,
    ticket: Ticket,
    done: bool,
}

impl Drop for Change<'_> {
    fn drop(&mut self) {
        if self.done {
            self.queue.changed(self.ticket);
        } else {
            self.queue.change_failed(self.ticket);
        }
    }
}
