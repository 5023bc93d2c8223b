//! The state machine of [`super::state`] under one mutex, with one condition variable.
//!
//! A waiter asks for its own turn under the lock that also withdraws it, so a deadline that passes can
//! never race a grant: either the ticket was served, or it is gone. Whoever changes the state wakes all
//! waiters; there are as many as the process has threads at the file.

use std::time::Instant;

use super::state::{Afterwards, DrainTurn, Drained, State, Ticket, Turn};
use crate::AccessMode;
use crate::seam::sync::{Condvar, Mutex};

/// The queue of one database in this process.
#[derive(Default)]
pub(crate) struct Queue {
    state: Mutex<State>,
    moved: Condvar,
}

/// A wait whose deadline has passed. The ticket is spent.
#[derive(Debug)]
pub(crate) struct Expired {
    /// What the caller still has to do.
    pub(crate) afterwards: Afterwards,
    /// How many threads of this process wait on.
    pub(crate) still_waiting: usize,
}

impl Queue {
    /// Joins the queue.
    pub(crate) fn enqueue(&self, mode: AccessMode) -> Ticket {
        self.state.lock().enqueue(mode)
    }

    /// Waits for the ticket's turn, which is never [`Turn::Wait`].
    ///
    /// # Errors
    ///
    /// [`Expired`] if the deadline passes first.
    pub(crate) fn wait(&self, ticket: Ticket, deadline: Instant) -> Result<Turn, Expired> {
        let mut state = self.state.lock();
        let mut expired = false;
        loop {
            match state.poll(ticket) {
                Turn::Wait if expired => {
                    let afterwards = state.cancel(ticket);
                    let still_waiting = state.waiting();
                    drop(state);
                    self.moved.notify_all();
                    return Err(Expired { afterwards, still_waiting });
                }
                Turn::Wait => expired = self.moved.wait_until(&mut state, deadline),
                turn => {
                    drop(state);
                    // The next in the queue may be served beside this one.
                    self.moved.notify_all();
                    return Ok(turn);
                }
            }
        }
    }

    /// See [`State::changed`].
    pub(crate) fn changed(&self, ticket: Ticket) {
        self.apply(|state| state.changed(ticket));
    }

    /// See [`State::change_failed`].
    pub(crate) fn change_failed(&self, ticket: Ticket) {
        self.apply(|state| state.change_failed(ticket));
    }

    /// See [`State::release`].
    pub(crate) fn release(&self, mode: AccessMode) -> Afterwards {
        self.apply(|state| state.release(mode))
    }

    /// See [`State::detached`].
    pub(crate) fn detached(&self) {
        self.apply(State::detached);
    }

    /// See [`State::yield_hold`].
    pub(crate) fn yield_hold(&self) {
        self.apply(State::yield_hold);
    }

    /// See [`State::begin_drain`].
    pub(crate) fn begin_drain(&self, drained: Drained) {
        self.apply(|state| state.begin_drain(drained));
    }

    /// Waits until the drain is done, or until the caller has to let go of the file for it. Returns
    /// [`DrainTurn::Wait`] if the deadline passes first.
    pub(crate) fn wait_drained(&self, drained: Drained, deadline: Instant) -> DrainTurn {
        let mut state = self.state.lock();
        let mut expired = false;
        loop {
            match state.poll_drain(drained) {
                DrainTurn::Wait if !expired => {
                    expired = self.moved.wait_until(&mut state, deadline);
                }
                turn => return turn,
            }
        }
    }

    /// See [`State::end_drain`].
    pub(crate) fn end_drain(&self, drained: Drained) -> Afterwards {
        self.apply(|state| state.end_drain(drained))
    }

    /// How the process holds the file, and how many of its threads wait. A snapshot.
    pub(crate) fn snapshot(&self) -> (Option<AccessMode>, usize) {
        let state = self.state.lock();
        (state.attachment(), state.waiting())
    }

    fn apply<T>(&self, transition: impl FnOnce(&mut State) -> T) -> T {
        let result = transition(&mut self.state.lock());
        self.moved.notify_all();
        result
    }
}
