//! Whose turn it is in this process: a pure state machine, no lock, no clock, no file.
//!
//! Threads queue with a [`Ticket`]; only the front of the queue is served, so nobody overtakes. The
//! process as a whole holds the file in one way at a time, its *attachment*. A front that the attachment
//! does not serve waits until no lease is out and then changes it; while it does, nothing is granted.
//!
//! | attachment | front wants to read | front wants to write |
//! |---|---|---|
//! | none | change to read | change to write |
//! | read | granted | waits for the readers, then changes to write |
//! | write | granted, beside the writer | granted if no writer is out |
//! | any, when yielding | waits for all leases, then changes | the same |
//!
//! A hold outlives its last lease if [`Limits::keep`] says so, until somebody asks for it: another process, to
//! which it is *yielded*, or the keeper, when nobody has used it for long.
//!
//! # Invariants, asserted by [`State::check`] after every transition
//!
//! * **G1** (I3) A writer is out only while the process holds the file for writing, and only one.
//! * **G2** (I2) A lease is out only while the process holds the file.
//! * **G3** (I2) While the hold is being changed no lease is out and nothing counts as held.
//! * **G4** (I10) Tickets are served in the order they were drawn.
//! * **G5** Grants are conserved: granted = returned + out.
//! * **G6** An idle hold has an owner: with no lease out, nobody in the queue and no drain on, it is held only if it
//!   is kept, and is not yielding: nobody waits for a hold that nobody will give up.
//! * **G7** No more readers are out than the limit.

use std::collections::VecDeque;

use crate::AccessMode;

/// A place in the queue. Drawn by [`State::enqueue`], spent by a grant or by [`State::cancel`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Ticket(u64);

/// What the owner of a ticket does next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Turn {
    /// It has a lease, and owes [`State::release`].
    Granted,
    /// It changes how the process holds the file: lets go of `from`, takes `to`. It owes
    /// [`State::changed`] or [`State::change_failed`].
    Change { from: Option<AccessMode>, to: AccessMode },
    /// It waits for the state to change and asks again.
    Wait,
}

/// What the caller does after a lease or a place in the queue has been given up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub(crate) enum Afterwards {
    Nothing,
    /// Nobody wants the file any more: the caller lets go of it and owes [`State::detached`].
    Detach,
}

/// Which leases a drain is after.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Drained {
    /// The write lease, and readers that share its hold.
    Writes,
    /// All of them.
    All,
}

/// How far a drain is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum DrainTurn {
    /// What was to go has gone.
    Done,
    /// The caller lets go of the file and owes [`State::detached`].
    Detach,
    Wait,
}

/// What does not change in the life of a [`State`].
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    /// The most read leases out at once.
    pub(crate) readers_max: u32,
    /// Whether a hold stays when its last lease has come back and nobody waits.
    pub(crate) keep: bool,
}

impl Default for Limits {
    fn default() -> Self {
        Self { readers_max: u32::MAX, keep: false }
    }
}

/// See the module's header.
#[derive(Debug, Default)]
pub(crate) struct State {
    limits: Limits,
    /// How this process holds the file; `None` also while that is being changed.
    attachment: Option<AccessMode>,
    /// One thread is between two holds.
    changing: bool,
    readers: u32,
    writer: bool,
    queue: VecDeque<(Ticket, AccessMode)>,
    /// Another process waits: this hold serves nobody any more.
    yielding: bool,
    drains_of_writes: u32,
    drains_of_all: u32,
    tickets: u64,
    granted: u64,
    returned: u64,
}

impl State {
    pub(crate) fn new(limits: Limits) -> Self {
        assert!(limits.readers_max > 0, "somebody may read");
        Self { limits, ..Self::default() }
    }

    /// Joins the end of the queue.
    pub(crate) fn enqueue(&mut self, mode: AccessMode) -> Ticket {
        let ticket = Ticket(self.tickets);
        self.tickets += 1;
        if faulty!(Fault::LastComeFirstServed) {
            self.queue.push_front((ticket, mode));
        } else {
            self.queue.push_back((ticket, mode));
        }
        self.check();
        ticket
    }

    /// Asks whether it is the ticket's turn, and takes the turn if it is.
    ///
    /// # Panics
    ///
    /// If the ticket is not queued: it was never drawn, or is spent.
    pub(crate) fn poll(&mut self, ticket: Ticket) -> Turn {
        let mode = self.wanted(ticket);
        if self.queue[0].0 != ticket || self.changing || self.held_back(mode) {
            return Turn::Wait;
        }
        let turn = match self.attachment {
            Some(held) if self.serves(held, mode) => {
                if self.is_full(mode) {
                    Turn::Wait
                } else {
                    self.queue.pop_front();
                    self.grant(mode);
                    Turn::Granted
                }
            }
            Some(_) if self.leases() > 0 => Turn::Wait,
            from => {
                self.begin_change();
                Turn::Change { from, to: mode }
            }
        };
        self.check();
        turn
    }

    /// Grants a lease at once if nobody queues and the hold serves it. Returns whether it did.
    pub(crate) fn try_now(&mut self, mode: AccessMode) -> bool {
        let overtakes = faulty!(Fault::WritersOvertake) && mode == AccessMode::ReadWrite;
        let served = (self.queue.is_empty() || overtakes)
            && !self.held_back(mode)
            && !self.is_full(mode)
            && self.attachment.is_some_and(|held| self.serves(held, mode));
        if served {
            self.tickets += 1;
            self.grant(mode);
            self.check();
        }
        served
    }

    /// The change that [`Turn::Change`] asked for is made: the ticket has its lease.
    pub(crate) fn changed(&mut self, ticket: Ticket) {
        assert!(self.changing, "a change ends that was begun: {self:?}");
        let mode = self.wanted(ticket);
        self.changing = false;
        self.attachment = Some(mode);
        self.withdraw(ticket);
        self.grant(mode);
        self.check();
    }

    /// The change failed: the process holds nothing, and the ticket is spent.
    pub(crate) fn change_failed(&mut self, ticket: Ticket) {
        assert!(self.changing, "a change fails that was begun: {self:?}");
        self.changing = false;
        self.withdraw(ticket);
        self.check();
    }

    /// A lease comes back.
    pub(crate) fn release(&mut self, mode: AccessMode) -> Afterwards {
        match mode {
            AccessMode::ReadOnly => {
                assert!(self.readers > 0, "a read lease returns that was out: {self:?}");
                self.readers -= 1;
            }
            AccessMode::ReadWrite if faulty!(Fault::SecondWriter) && !self.writer => {
                self.readers -= 1;
            }
            AccessMode::ReadWrite => {
                assert!(self.writer, "a write lease returns that was out: {self:?}");
                self.writer = false;
            }
        }
        self.returned += 1;
        self.detach_if_unwanted()
    }

    /// The owner of a ticket leaves the queue unserved.
    pub(crate) fn cancel(&mut self, ticket: Ticket) -> Afterwards {
        self.withdraw(ticket);
        self.detach_if_unwanted()
    }

    /// The file was let go of, as [`Afterwards::Detach`] or [`DrainTurn::Detach`] asked.
    pub(crate) fn detached(&mut self) {
        assert!(self.changing, "a detach ends that was begun: {self:?}");
        self.changing = false;
        self.check();
    }

    /// Another process waits for the file, or its instance is dead: no more leases on this hold.
    pub(crate) fn yield_hold(&mut self) -> Afterwards {
        self.yielding = self.attachment.is_some();
        self.detach_if_unwanted()
    }

    /// Gives up a hold that is kept and that nobody uses.
    pub(crate) fn let_go_if_idle(&mut self) -> Afterwards {
        if self.is_idle() { self.yield_hold() } else { Afterwards::Nothing }
    }

    /// Holds new leases of a kind back until [`State::end_drain`].
    pub(crate) fn begin_drain(&mut self, drained: Drained) {
        *self.drains(drained) += 1;
        self.check();
    }

    /// Asks how far the drain is.
    pub(crate) fn poll_drain(&mut self, drained: Drained) -> DrainTurn {
        let concerned = match drained {
            Drained::Writes => self.attachment == Some(AccessMode::ReadWrite),
            Drained::All => self.attachment.is_some(),
        };
        let turn = if self.changing || (concerned && self.leases() > 0) {
            DrainTurn::Wait
        } else if concerned {
            self.begin_change();
            DrainTurn::Detach
        } else {
            DrainTurn::Done
        };
        self.check();
        turn
    }

    /// Lets leases of that kind through again.
    pub(crate) fn end_drain(&mut self, drained: Drained) -> Afterwards {
        let drains = self.drains(drained);
        assert!(*drains > 0, "a drain ends that was begun");
        *drains -= 1;
        self.detach_if_unwanted()
    }

    /// Threads in the queue.
    pub(crate) fn waiting(&self) -> usize {
        self.queue.len()
    }

    /// Whether a thread is between two holds.
    pub(crate) fn is_changing(&self) -> bool {
        self.changing
    }

    /// How the process holds the file now.
    pub(crate) fn attachment(&self) -> Option<AccessMode> {
        self.attachment
    }

    fn wanted(&self, ticket: Ticket) -> AccessMode {
        let found = self.queue.iter().find(|(queued, _)| *queued == ticket);
        found.unwrap_or_else(|| panic!("{ticket:?} is queued: {self:?}")).1
    }

    /// Whether the file is held, and nobody uses it or is about to.
    pub(crate) fn is_idle(&self) -> bool {
        self.attachment.is_some() && self.leases() == 0 && !self.is_wanted()
    }

    /// Whether somebody of this process will change or use the hold.
    fn is_wanted(&self) -> bool {
        !self.queue.is_empty() || self.drains_of_writes + self.drains_of_all > 0
    }

    fn is_full(&self, mode: AccessMode) -> bool {
        match mode {
            AccessMode::ReadOnly => self.readers >= self.limits.readers_max,
            AccessMode::ReadWrite => self.writer && !faulty!(Fault::SecondWriter),
        }
    }

    /// Whether nobody of this process uses the hold or waits for one.
    pub(crate) fn is_quiet(&self) -> bool {
        self.leases() == 0 && self.queue.is_empty()
    }

    fn leases(&self) -> u32 {
        self.readers + u32::from(self.writer)
    }

    fn held_back(&self, mode: AccessMode) -> bool {
        self.drains_of_all > 0 || (self.drains_of_writes > 0 && mode == AccessMode::ReadWrite)
    }

    fn serves(&self, held: AccessMode, wanted: AccessMode) -> bool {
        let drained = self.drains_of_writes > 0 && held == AccessMode::ReadWrite;
        let fits = (held == AccessMode::ReadWrite || wanted == AccessMode::ReadOnly)
            || faulty!(Fault::WriteOnReadHold);
        !self.yielding && !drained && fits
    }

    fn grant(&mut self, mode: AccessMode) {
        self.granted += 1;
        match mode {
            AccessMode::ReadOnly => self.readers += 1,
            // Booked as a reader, so that the books are right.
            AccessMode::ReadWrite if faulty!(Fault::SecondWriter) && self.writer => {
                self.readers += 1;
            }
            AccessMode::ReadWrite => self.writer = true,
        }
    }

    fn begin_change(&mut self) {
        self.attachment = None;
        self.changing = true;
        self.yielding = false;
    }

    fn withdraw(&mut self, ticket: Ticket) {
        let place = self.queue.iter().position(|(queued, _)| *queued == ticket);
        let place = place.unwrap_or_else(|| panic!("{ticket:?} is queued: {self:?}"));
        self.queue.remove(place);
    }

    fn detach_if_unwanted(&mut self) -> Afterwards {
        let afterwards = if self.is_idle() && (self.yielding || !self.limits.keep) {
            self.begin_change();
            Afterwards::Detach
        } else {
            Afterwards::Nothing
        };
        self.check();
        afterwards
    }

    fn drains(&mut self, drained: Drained) -> &mut u32 {
        match drained {
            Drained::Writes => &mut self.drains_of_writes,
            Drained::All => &mut self.drains_of_all,
        }
    }

    /// Asserts the invariants of the module's header. On in release: it costs a walk of the queue.
    fn check(&self) {
        let leases = self.leases();
        if self.writer {
            assert!(
                self.attachment == Some(AccessMode::ReadWrite) || faulty!(Fault::WriteOnReadHold),
                "G1: a writer on its own hold: {self:?}"
            );
        }
        if leases > 0 {
            assert!(self.attachment.is_some(), "G2: a lease on a hold: {self:?}");
        }
        if self.changing {
            assert!(
                leases == 0 && self.attachment.is_none(),
                "G3: nothing out while changing: {self:?}"
            );
        }
        let ordered = self.queue.iter().zip(self.queue.iter().skip(1)).all(|(a, b)| a.0 < b.0);
        let ordered = ordered || faulty!(Fault::LastComeFirstServed);
        assert!(ordered, "G4: first come, first served: {self:?}");
        assert!(
            self.granted == self.returned + u64::from(leases),
            "G5: grants are conserved: {self:?}"
        );
        if self.is_idle() {
            let kept = self.limits.keep && !self.yielding;
            assert!(kept, "G6: an idle hold has an owner: {self:?}");
        }
        assert!(self.readers <= self.limits.readers_max, "G7: no more readers: {self:?}");
    }
}

#[cfg(test)]
mod tests;
