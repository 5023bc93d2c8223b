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
use std::sync::Arc;
use std::time::{Duration, Instant};

use duckdb::Connection;
use parking_lot::Mutex;

use crate::attachment::{Attachment, NotTaken};
use crate::config::AccessMode;
use crate::error::{Error, Wanted};
use crate::gate::file::{GateFile, Refusal};
use crate::gate::phase::PhaseHold;
use crate::gate::queue::Queue;
use crate::gate::record::Phase;
use crate::gate::state::{Afterwards, DrainTurn, Drained, Ticket, Turn};
use crate::observer::{Context, LeaseEvent};
use crate::phases::Phases;
use crate::seam::clock;
use crate::seam::file_id::FileId;
use crate::status::{DatabaseStatus, LeaseStatus};
use crate::wait::Wait;

/// See the module's header.
pub(crate) struct Database {
    path: PathBuf,
    context: Arc<Context>,
    queue: Queue,
    /// Locked by whoever changes the hold, for the whole change, and by nobody else for longer than a look.
    attachment: Mutex<Attachment>,
    /// What this process has out.
    leases: Mutex<Leases>,
    phases: Phases,
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
    pub(crate) fn new(path: PathBuf, id: FileId, context: Arc<Context>) -> Self {
        Self {
            attachment: Mutex::new(Attachment::new(path.clone(), id, Arc::clone(&context))),
            path,
            context,
            queue: Queue::default(),
            leases: Mutex::default(),
            phases: Phases::default(),
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
        let wait = Wait::new(&self.path, Wanted::Lease(mode), wait_max);
        if mode == AccessMode::ReadWrite && self.phases.training().is_none() {
            Attachment::refuse_in_evaluation(&self.path, &self.context)
                .map_err(|refusal| self.refused(&wait, refusal))?;
        }
        self.yield_if_due();
        let ticket = self.queue.enqueue(mode);
        self.wait_turn(ticket, mode, &wait)?;
        // From here on the lease is owed back, whatever happens.
        let connected = self.attachment.lock().connect(mode);
        match connected {
            Ok(connection) => {
                let number = self.note(mode, location);
                let waited = wait.waited();
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
        let lease = self.leases.lock().out.remove(&granted.number);
        if self.attachment.lock().is_soiled() {
            let taken_at = lease.map(|lease| lease.taken_at);
            tracing::warn!(path = %self.path.display(), ?taken_at, "a lease left something behind; closing");
            self.queue.yield_hold(); // nobody else gets a lease on this instance
        }
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
        let wait = Wait::new(&self.path, Wanted::Phase(phase), wait_max);
        let label = &self.context.config.label;
        self.phases
            .enter(&self.path, phase, label, &wait)
            .map_err(|refusal| self.refused(&wait, refusal))
    }

    /// Whether this process neither holds the file nor is about to.
    pub(crate) fn is_idle(&self) -> bool {
        self.attachment.try_lock().is_some_and(|attachment| attachment.is_free())
            && self.queue.snapshot().1 == 0
    }

    pub(crate) fn leases_out(&self) -> Vec<LeaseStatus> {
        self.leases.lock().out.values().cloned().collect()
    }

    pub(crate) fn status(&self) -> DatabaseStatus {
        let (attachment, waiting) = self.queue.snapshot();
        DatabaseStatus { path: self.path.clone(), attachment, waiting, leases: self.leases_out() }
    }

    fn wait_turn(&self, ticket: Ticket, mode: AccessMode, wait: &Wait<'_>) -> Result<(), Error> {
        match self.queue.wait(ticket, wait.deadline()) {
            Ok(Turn::Granted) => Ok(()),
            Ok(Turn::Change { .. }) => {
                // Whatever unwinds out of the change, the ticket is answered for.
                let mut change = Change { queue: &self.queue, ticket, done: false };
                let changed = self.attachment.lock().change(mode, || self.phases.training(), wait);
                changed.map_err(|not_taken| match not_taken {
                    NotTaken::Failed(error) => error,
                    NotTaken::Refused(refusal) => self.refused(wait, refusal),
                })?;
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

    fn yield_if_due(&self) {
        // A thread that changes the hold has this lock; then there is nothing to yield.
        let Some(attachment) = self.attachment.try_lock() else { return };
        let due = attachment.is_due();
        drop(attachment);
        if due {
            self.queue.yield_hold();
        }
    }

    fn give_back(&self, mode: AccessMode) {
        self.yield_if_due();
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
        // If it lingers, the next change waits for it, and other processes wait for this one.
        self.attachment.lock().let_go();
        self.queue.detached();
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
