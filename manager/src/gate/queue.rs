//! The state machine of [`super::state`] under one mutex, with one condition variable.
//!
//! A waiter asks for its own turn under the lock that also withdraws it, so a deadline that passes can
//! never race a grant: either the ticket was served, or it is gone. Whoever changes the state wakes all
//! waiters; there are as many as the process has threads at the file.

use std::sync::Arc;

use super::state::{Afterwards, DrainTurn, Drained, Limits, State, Ticket, Turn};
use crate::AccessMode;
use crate::seam::patience::Patience;
use crate::seam::sync::{Condvar, Mutex};

/// The queue of one database in this process.
#[derive(Default)]
pub(crate) struct Queue(Arc<Shared>);

/// Shared with whoever cancels a wait.
#[derive(Default)]
struct Shared {
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

impl Shared {
    /// Has every waiter look whether it was cancelled.
    fn wake(&self) {
        // Under the lock: whoever has just seen that nobody cancelled is asleep by now.
        let _state = self.state.lock();
        self.moved.notify_all();
    }
}

impl Queue {
    pub(crate) fn new(limits: Limits) -> Self {
        let state = Mutex::new(State::new(limits));
        Self(Arc::new(Shared { state, moved: Condvar::default() }))
    }

    /// Joins the queue.
    pub(crate) fn enqueue(&self, mode: AccessMode) -> Ticket {
        self.0.state.lock().enqueue(mode)
    }

    /// Waits for the ticket's turn, which is never [`Turn::Wait`].
    ///
    /// # Errors
    ///
    /// [`Expired`] if patience ends first.
    pub(crate) fn wait(&self, ticket: Ticket, patience: &Patience) -> Result<Turn, Expired> {
        let shared = Arc::clone(&self.0);
        let _woken = patience.on_cancel(move || shared.wake());
        let mut state = self.0.state.lock();
        let mut expired = patience.is_cancelled();
        loop {
            match state.poll(ticket) {
                Turn::Wait if expired => {
                    let afterwards = state.cancel(ticket);
                    let still_waiting = state.waiting();
                    drop(state);
                    self.0.moved.notify_all();
                    return Err(Expired { afterwards, still_waiting });
                }
                Turn::Wait => {
                    expired = self.0.moved.wait_until(&mut state, patience.deadline())
                        || patience.is_cancelled();
                }
                turn => {
                    drop(state);
                    // The next in the queue may be served beside this one.
                    self.0.moved.notify_all();
                    return Ok(turn);
                }
            }
        }
    }

    /// Takes a lease if it is there for the taking: nobody queues and the hold serves it. Never changes the hold.
    pub(crate) fn try_now(&self, mode: AccessMode) -> bool {
        self.0.state.lock().try_now(mode)
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
        if faulty!(Fault::ReleaseWakesNobody) {
            return self.0.state.lock().release(mode);
        }
        self.apply(|state| state.release(mode))
    }

    /// See [`State::detached`].
    pub(crate) fn detached(&self) {
        self.apply(State::detached);
    }

    /// See [`State::yield_hold`].
    pub(crate) fn yield_hold(&self) -> Afterwards {
        self.apply(State::yield_hold)
    }

    /// See [`State::let_go_if_idle`].
    pub(crate) fn let_go_if_idle(&self) -> Afterwards {
        self.apply(State::let_go_if_idle)
    }

    /// See [`State::begin_drain`].
    pub(crate) fn begin_drain(&self, drained: Drained) {
        self.apply(|state| state.begin_drain(drained));
    }

    /// Waits until the drain is done, or until the caller has to let go of the file for it. Returns
    /// [`DrainTurn::Wait`] if patience ends first.
    pub(crate) fn wait_drained(&self, drained: Drained, patience: &Patience) -> DrainTurn {
        let shared = Arc::clone(&self.0);
        let _woken = patience.on_cancel(move || shared.wake());
        let mut state = self.0.state.lock();
        let mut expired = patience.is_cancelled();
        loop {
            match state.poll_drain(drained) {
                DrainTurn::Wait if !expired => {
                    expired = self.0.moved.wait_until(&mut state, patience.deadline())
                        || patience.is_cancelled();
                }
                turn => return turn,
            }
        }
    }

    /// See [`State::end_drain`].
    pub(crate) fn end_drain(&self, drained: Drained) -> Afterwards {
        self.apply(|state| state.end_drain(drained))
    }

    /// See [`State::is_changing`].
    pub(crate) fn is_changing(&self) -> bool {
        self.0.state.lock().is_changing()
    }

    /// See [`State::is_quiet`].
    pub(crate) fn is_quiet(&self) -> bool {
        self.0.state.lock().is_quiet()
    }

    /// How the process holds the file, and how many of its threads wait. A snapshot.
    pub(crate) fn snapshot(&self) -> (Option<AccessMode>, usize) {
        let state = self.0.state.lock();
        (state.attachment(), state.waiting())
    }

    fn apply<T>(&self, transition: impl FnOnce(&mut State) -> T) -> T {
        let result = transition(&mut self.0.state.lock());
        self.0.moved.notify_all();
        result
    }
}
