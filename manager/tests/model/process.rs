//! One process with one database: the queue, and a file that asserts what must hold of it.

use manager::AccessMode::{self, ReadOnly, ReadWrite};

use crate::gate::queue::Queue;
use crate::gate::state::{Afterwards, DrainTurn, Drained, Limits, Turn};
use crate::seam::patience::{Cancel, Patience};
use crate::seam::sync::{Condvar, Mutex, never, passed};

pub(crate) fn patient() -> Patience {
    Patience::until(never())
}

/// One process with one database, as `database.rs` has it.
pub(crate) struct Process {
    limits: Limits,
    pub(crate) queue: Queue,
    file: Mutex<File>,
    /// Whether a thread that others wait for has got what it came for, and what tells them.
    is_done: Mutex<bool>,
    done: Condvar,
    pub(crate) cancel: Cancel,
}

/// The file and what this process does with it.
#[derive(Debug, Default)]
struct File {
    hold: Option<AccessMode>,
    readers: u32,
    writers: u32,
    /// Another process waits for a hold to end.
    is_wanted: bool,
}

impl File {
    fn change(&mut self, from: Option<AccessMode>, to: Option<AccessMode>) {
        assert!(self.hold == from, "the hold is the one to be changed: {self:?}");
        assert!(self.readers + self.writers == 0, "I2: nothing is out while it changes: {self:?}");
        self.hold = to;
        self.is_wanted = false; // whoever waited at the turnstile had it in between
    }

    fn take_lease(&mut self, mode: AccessMode) {
        match mode {
            ReadOnly => self.readers += 1,
            ReadWrite => self.writers += 1,
        }
        assert!(self.hold.is_some(), "I2: a lease is on a hold: {self:?}");
        assert!(self.writers <= 1, "I3: one writer: {self:?}");
        if self.writers == 1 {
            assert!(self.hold == Some(ReadWrite), "I3: on its own hold: {self:?}");
        }
    }

    fn return_lease(&mut self, mode: AccessMode) {
        match mode {
            ReadOnly => self.readers -= 1,
            ReadWrite => self.writers -= 1,
        }
    }
}

impl Process {
    pub(crate) fn new(limits: Limits) -> Self {
        Self {
            limits,
            queue: Queue::new(limits),
            file: Mutex::default(),
            is_done: Mutex::default(),
            done: Condvar::default(),
            cancel: Cancel::default(),
        }
    }

    /// Waits for a lease; tells whether it came before the deadline.
    pub(crate) fn acquire(&self, mode: AccessMode, patience: &Patience) -> bool {
        let ticket = self.queue.enqueue(mode);
        match self.queue.wait(ticket, patience) {
            Ok(Turn::Granted) => {}
            Ok(Turn::Change { from, to }) => {
                assert!(to == mode, "a change serves the one who makes it");
                self.file.lock().change(from, Some(to));
                self.queue.changed(ticket);
            }
            Ok(Turn::Wait) => unreachable!("the queue waits itself"),
            Err(expired) => {
                self.conclude(expired.afterwards);
                return false;
            }
        }
        self.take_lease(mode);
        true
    }

    fn take_lease(&self, mode: AccessMode) {
        let mut file = self.file.lock();
        file.take_lease(mode);
        assert!(file.readers <= self.limits.readers_max, "G7: no more readers: {file:?}");
    }

    pub(crate) fn release(&self, mode: AccessMode) {
        self.file.lock().return_lease(mode);
        let afterwards = self.queue.release(mode);
        self.conclude(afterwards);
    }

    pub(crate) fn use_once(&self, mode: AccessMode) {
        assert!(self.acquire(mode, &patient()));
        self.release(mode);
    }

    /// Like [`Process::use_once`], with a deadline that has passed.
    pub(crate) fn try_once(&self, mode: AccessMode) {
        if self.acquire(mode, &Patience::until(passed())) {
            self.release(mode);
        }
    }

    /// Takes its turn, and fails if that is to change the hold.
    pub(crate) fn fail_once(&self, mode: AccessMode) {
        let ticket = self.queue.enqueue(mode);
        match self.queue.wait(ticket, &patient()) {
            Ok(Turn::Change { from, .. }) => {
                self.file.lock().change(from, None);
                self.queue.change_failed(ticket);
            }
            Ok(_) => {
                self.take_lease(mode);
                self.release(mode);
            }
            Err(expired) => panic!("{expired:?} without a deadline"),
        }
    }

    /// Takes a lease only if it is there for the taking.
    pub(crate) fn use_if_free(&self, mode: AccessMode) {
        if self.queue.try_now(mode) {
            self.take_lease(mode);
            self.release(mode);
        }
    }

    /// Waits until it is served or cancelled.
    pub(crate) fn use_unless_cancelled(&self, mode: AccessMode) {
        if self.acquire(mode, &Patience::with(never(), Some(self.cancel.clone()))) {
            self.release(mode);
        }
    }

    pub(crate) fn tell(&self) {
        *self.is_done.lock() = true;
        self.done.notify_all();
    }

    pub(crate) fn read_and_tell(&self) {
        self.use_once(ReadOnly);
        self.tell();
    }

    /// Keeps a lease until the other thread has told.
    pub(crate) fn release_when_told(&self, mode: AccessMode) {
        let mut is_done = self.is_done.lock();
        while !*is_done {
            self.done.wait_until(&mut is_done, never());
        }
        drop(is_done);
        self.release(mode);
    }

    /// Uses a lease as `database.rs` does: who brings it back looks whether another process waits. A hold that is being
    /// taken does not yield yet, so the keeper may have looked too early.
    pub(crate) fn use_and_look(&self, mode: AccessMode) {
        assert!(self.acquire(mode, &patient()));
        let is_wanted = self.file.lock().is_wanted;
        if is_wanted {
            let afterwards = self.queue.yield_hold();
            self.conclude(afterwards);
        }
        self.release(mode);
    }

    /// The keeper hears that another process waits.
    pub(crate) fn hear_of_another_process(&self) {
        {
            let mut file = self.file.lock();
            file.is_wanted = file.hold.is_some();
        }
        let afterwards = self.queue.yield_hold();
        self.conclude(afterwards);
    }

    /// The keeper finds that nobody has used the hold for long.
    pub(crate) fn let_go_if_idle(&self) {
        let afterwards = self.queue.let_go_if_idle();
        self.conclude(afterwards);
    }

    pub(crate) fn drain(&self, drained: Drained) {
        self.queue.begin_drain(drained);
        loop {
            match self.queue.wait_drained(drained, &patient()) {
                DrainTurn::Done => break,
                DrainTurn::Wait => unreachable!("it has no deadline"),
                DrainTurn::Detach => self.let_go(),
            }
        }
        let hold = self.file.lock().hold;
        match drained {
            Drained::All => assert_eq!(hold, None),
            Drained::Writes => assert_ne!(hold, Some(ReadWrite)),
        }
        let afterwards = self.queue.end_drain(drained);
        self.conclude(afterwards);
    }

    fn conclude(&self, afterwards: Afterwards) {
        match afterwards {
            Afterwards::Nothing => {}
            Afterwards::Detach => self.let_go(),
        }
    }

    fn let_go(&self) {
        {
            let mut file = self.file.lock();
            let held = file.hold;
            assert!(held.is_some(), "only what is held is let go of: {file:?}");
            file.change(held, None);
        }
        self.queue.detached();
    }

    pub(crate) fn assert_at_rest(&self) {
        assert!(!self.file.lock().is_wanted, "who waited for the hold has had it");
        if self.limits.keep {
            self.let_go_if_idle();
        }
        let file = self.file.lock();
        assert_eq!(file.hold, None, "nothing stays attached");
        assert_eq!(file.readers + file.writers, 0);
        assert_eq!(self.queue.snapshot(), (None, 0), "nobody is left in the queue");
    }
}
