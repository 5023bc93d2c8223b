//! One database file in this process: the queue, the hold across processes, and the engine, in that order.
//!
//! | step | what it does | what it may wait for |
//! |---|---|---|
//! | 1 | wait in the queue | other threads of this process |
//! | 2 | take the gate | other processes that use the gate |
//! | 3 | attach | programs that do not |
//! | 4 | connect | nothing |
//!
//! and back: disconnect, and when the last lease is back detach, then release the gate (I2).

use std::collections::BTreeMap;
use std::panic::Location;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use duckdb::Connection;
use parking_lot::Mutex;

use crate::class::{self, ErrorClass};
use crate::config::{AccessMode, WritesInEvaluation};
use crate::engine::{self, Host};
use crate::error::{Error, Wanted};
use crate::gate::file::{GateFile, Hold, Refusal};
use crate::gate::phase::{PhaseHold, WritePermission};
use crate::gate::queue::Queue;
use crate::gate::record::Phase;
use crate::gate::state::{Afterwards, DrainTurn, Drained, Ticket, Turn};
use crate::observer::{Context, LeaseEvent};
use crate::retry::Backoff;
use crate::seam::{clock, process};
use crate::status::{DatabaseStatus, LeaseStatus};

/// Where the pauses begin while a program without the gate holds the file.
const FOREIGN_POLL_FIRST: Duration = Duration::from_millis(5);

/// See the module's header.
pub(crate) struct Database {
    path: PathBuf,
    context: Arc<Context>,
    queue: Queue,
    /// Locked by whoever changes the hold, for the whole change, and by nobody else for longer than a look.
    attachment: Mutex<Attachment>,
    /// What this process has out.
    leases: Mutex<Leases>,
    /// The training phases that this process is in: any of them covers the process's writes.
    training: Mutex<Vec<Weak<PhaseHold>>>,
}

/// How this process holds the file.
#[derive(Default)]
struct Attachment {
    /// Kept warm between holds. Dropped before the hold: a host that is closed with the file still attached
    /// lets go of it first (I2).
    host: Option<Host>,
    held: Option<Held>,
}

/// A hold on the file, as long as it is attached.
struct Held {
    gate: Hold,
    since: Instant,
    /// Keeps the phase that covers a write hold for as long as it lasts.
    _training: Option<Arc<PhaseHold>>,
}

#[derive(Default)]
struct Leases {
    next: u64,
    out: BTreeMap<u64, LeaseStatus>,
}

/// A connection that was granted, and what identifies it on its way back.
pub(crate) struct Granted {
    pub(crate) connection: Connection,
    pub(crate) number: u64,
}

impl Database {
    pub(crate) fn new(path: PathBuf, context: Arc<Context>) -> Self {
        Self {
            path,
            context,
            queue: Queue::default(),
            attachment: Mutex::default(),
            leases: Mutex::default(),
            training: Mutex::default(),
        }
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Waits for a lease. Steps 1 to 4 of the module's header.
    pub(crate) fn acquire(
        &self,
        mode: AccessMode,
        wait_max: Duration,
        location: &'static Location<'static>,
    ) -> Result<Granted, Error> {
        let wait = Wait {
            path: &self.path,
            wanted: Wanted::Lease(mode),
            begun: clock::now(),
            limit: wait_max,
        };
        self.yield_if_wanted();
        let ticket = self.queue.enqueue(mode);
        self.wait_turn(ticket, mode, &wait)?;
        // From here on the lease is owed back, whatever happens.
        let connected = match &self.attachment.lock().host {
            Some(host) => host.connect(mode),
            None => unreachable!("a lease is granted only on an attached file (G2)"),
        };
        match connected {
            Ok(connection) => {
                let number = self.note(mode, location);
                let waited = wait.begun.elapsed();
                self.context.tell(&self.path, &LeaseEvent::Taken { number, mode, waited });
                Ok(Granted { connection, number })
            }
            Err(error) => {
                self.give_back(mode);
                Err(error.into())
            }
        }
    }

    /// Takes a lease back. The connection is closed first: that rolls its transaction back and drops its
    /// temporary tables (I5).
    pub(crate) fn release(&self, mode: AccessMode, granted: Granted) {
        self.context.tell(&self.path, &LeaseEvent::Returned { number: granted.number });
        // A refusal to close leaves the connection to its own drop, which panics then; it has not been
        // seen to happen and must not happen while another panic unwinds.
        if let Err((connection, error)) = granted.connection.close() {
            tracing::error!(path = %self.path.display(), %error, "a connection did not close; it is leaked");
            std::mem::forget(connection);
        }
        self.leases.lock().out.remove(&granted.number);
        self.give_back(mode);
    }

    /// Holds leases of a kind back, waits until those that are out have returned, and lets go of the file.
    /// Returns whether it got that far before the deadline.
    pub(crate) fn drain(&self, drained: Drained, deadline: Instant) -> bool {
        self.queue.begin_drain(drained);
        let done = loop {
            match self.queue.wait_drained(drained, deadline) {
                DrainTurn::Done => break true,
                DrainTurn::Wait => break false,
                DrainTurn::Detach => self.detach(),
            }
        };
        let afterwards = self.queue.end_drain(drained);
        self.conclude(afterwards);
        done
    }

    /// Enters a phase; see [`PhaseHold::enter`].
    pub(crate) fn enter(&self, phase: Phase, wait_max: Duration) -> Result<Arc<PhaseHold>, Error> {
        // One training phase covers all writes of a process, so a process has one, however often it is entered.
        // A second one would queue behind the evaluation that waits for the first.
        if phase == Phase::Training
            && let Some(hold) = self.training.lock().iter().find_map(Weak::upgrade)
        {
            return Ok(hold);
        }
        let wait = Wait {
            path: &self.path,
            wanted: Wanted::Phase(phase),
            begun: clock::now(),
            limit: wait_max,
        };
        let entered =
            PhaseHold::enter(&self.path, phase, &self.context.config.label, wait.deadline());
        let hold = Arc::new(entered.map_err(|refusal| self.refused(&wait, refusal))?);
        if phase == Phase::Training {
            let mut training = self.training.lock();
            training.retain(|phase| phase.strong_count() > 0);
            training.push(Arc::downgrade(&hold));
        }
        Ok(hold)
    }

    /// Whether this process neither holds the file nor is about to.
    pub(crate) fn is_idle(&self) -> bool {
        self.attachment.try_lock().is_some_and(|attachment| attachment.held.is_none())
            && self.queue.snapshot().1 == 0
    }

    pub(crate) fn leases_out(&self) -> Vec<LeaseStatus> {
        self.leases.lock().out.values().cloned().collect()
    }

    pub(crate) fn status(&self) -> DatabaseStatus {
        let (attachment, waiting) = self.queue.snapshot();
        DatabaseStatus { path: self.path.clone(), attachment, waiting, leases: self.leases_out() }
    }

    /// Whether the file is attached here, or on its way in or out.
    pub(crate) fn is_attached(&self) -> bool {
        // Whoever changes the hold has this lock.
        self.attachment.try_lock().is_none_or(|attachment| attachment.held.is_some())
    }

    fn wait_turn(&self, ticket: Ticket, mode: AccessMode, wait: &Wait<'_>) -> Result<(), Error> {
        match self.queue.wait(ticket, wait.deadline()) {
            Ok(Turn::Granted) => Ok(()),
            Ok(Turn::Change { .. }) => {
                // Whatever unwinds out of the change, the ticket is answered for.
                let mut change = Change { queue: &self.queue, ticket, done: false };
                self.change_hold(mode, wait)?;
                change.done = true;
                Ok(())
            }
            Ok(Turn::Wait) => unreachable!("the queue waits itself"),
            Err(expired) => {
                tracing::debug!(
                    still_waiting = expired.still_waiting,
                    "a wait in this process ran out"
                );
                self.conclude(expired.afterwards);
                // What stands in this thread's way may be the process that another thread waits for.
                let gate = GateFile::open_existing(&self.path).ok().flatten();
                let holders = gate.and_then(|gate| gate.holders().ok()).unwrap_or_default();
                Err(self.refused(wait, Refusal::Expired(holders)))
            }
        }
    }

    /// Steps 2 and 3: lets go of what is held, takes the gate, attaches.
    fn change_hold(&self, mode: AccessMode, wait: &Wait<'_>) -> Result<(), Error> {
        let mut attachment = self.attachment.lock();
        self.let_go(&mut attachment);
        if attachment.host.is_none() {
            // Before the gate: nobody else has to wait for it.
            attachment.host = Some(Host::start(&self.path, self.context.config.duckdb_threads)?);
        }
        let training = self.training.lock().iter().find_map(Weak::upgrade);
        let allowed = self.context.config.writes_in_evaluation == WritesInEvaluation::Allow
            || training.is_some();
        let permission =
            if allowed { WritePermission::Granted } else { WritePermission::OutsideEvaluation };
        let gate =
            Hold::take(&self.path, mode, &self.context.config.label, permission, wait.deadline())
                .map_err(|refusal| self.refused(wait, refusal))?;
        if let Some(host) = &attachment.host {
            self.attach(host, mode, wait)?;
        }
        let training = training.filter(|_| mode == AccessMode::ReadWrite);
        attachment.held = Some(Held { gate, since: clock::now(), _training: training });
        Ok(())
    }

    /// Attaches, and waits for programs that hold the file without the gate. They cannot be waited for in
    /// the kernel without a descriptor of the database file, and closing that would drop DuckDB's lock
    /// on it, so they are polled.
    fn attach(&self, host: &Host, mode: AccessMode, wait: &Wait<'_>) -> Result<(), Error> {
        let mut backoff = Backoff::until(
            FOREIGN_POLL_FIRST,
            self.context.config.foreign_poll_max,
            wait.deadline(),
        );
        loop {
            let Err(error) = host.attach(&self.path, mode) else {
                return Ok(());
            };
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
                let (path, waited) = (self.path.clone(), wait.begun.elapsed());
                return Err(Error::HeldOutside { path, pid, command, waited, text });
            };
            self.context
                .tell(&self.path, &LeaseEvent::Paused { attempt: backoff.attempts(), pause });
        }
    }

    fn yield_if_wanted(&self) {
        // A thread that changes the hold has this lock; then there is nothing to yield.
        let Some(attachment) = self.attachment.try_lock() else { return };
        let wanted = attachment.held.as_ref().is_some_and(|held| {
            held.since.elapsed() >= self.context.config.hold_max && held.gate.is_wanted()
        });
        drop(attachment);
        if wanted {
            self.queue.yield_hold();
        }
    }

    fn give_back(&self, mode: AccessMode) {
        self.yield_if_wanted();
        let afterwards = self.queue.release(mode);
        self.conclude(afterwards);
    }

    fn conclude(&self, afterwards: Afterwards) {
        match afterwards {
            Afterwards::Nothing => {}
            Afterwards::Detach => self.detach(),
        }
    }

    fn detach(&self) {
        self.let_go(&mut self.attachment.lock());
        self.queue.detached();
    }

    /// Detaches, then releases the gate. An instance that cannot detach is closed as a whole, which ends
    /// its hold on the file as surely.
    fn let_go(&self, attachment: &mut Attachment) {
        let Some(held) = attachment.held.take() else { return };
        if let Some(host) = &attachment.host
            && let Err(error) = host.detach()
        {
            tracing::error!(path = %self.path.display(), %error, "detach failed; the instance is closed");
            attachment.host = None;
        }
        drop(held);
    }

    fn refused(&self, wait: &Wait<'_>, refusal: Refusal) -> Error {
        wait.error(refusal, self.leases_out())
    }

    fn note(&self, mode: AccessMode, location: &'static Location<'static>) -> u64 {
        let mut leases = self.leases.lock();
        let number = leases.next;
        leases.next += 1;
        let status = LeaseStatus {
            mode,
            taken_at: location.to_string(),
            thread: std::thread::current().name().map(str::to_owned),
            since_unix_ms: clock::unix_ms(),
        };
        leases.out.insert(number, status);
        number
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

/// What is waited for, since when and for how long: everything a time-out says.
pub(crate) struct Wait<'a> {
    pub(crate) path: &'a Path,
    pub(crate) wanted: Wanted,
    pub(crate) begun: Instant,
    pub(crate) limit: Duration,
}

impl Wait<'_> {
    pub(crate) fn deadline(&self) -> Instant {
        self.begun.checked_add(self.limit).unwrap_or_else(|| clock::deadline_in(self.limit))
    }

    pub(crate) fn error(&self, refusal: Refusal, here: Vec<LeaseStatus>) -> Error {
        let path = self.path.to_path_buf();
        match refusal {
            Refusal::Expired(holders) => Error::TimedOut {
                path,
                wanted: self.wanted,
                waited: self.begun.elapsed(),
                holders,
                here,
            },
            Refusal::Evaluation(holders) => Error::EvaluationIsOn { path, holders },
            Refusal::Unusable { gate, source } => Error::Gate { path: gate, source },
        }
    }
}
