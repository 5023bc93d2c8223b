//! Every interleaving of the gate inside one process, by loom.
//!
//! What is modelled: `gate::queue` and `gate::state`, the very files of the crate, with loom's mutex and condition
//! variable in the place of the real ones. Up to three threads do what `database.rs` does with a queue; the file is
//! a mutex that asserts I2 and I3: one hold at a time, leases only under a hold that serves them, one writer.
//!
//! What is not: kernel locks, other processes, DuckDB, the clock. loom's condition variable never times out, so a
//! wait whose deadline has passed is one that ends where it would first go to sleep: under the lock under which it
//! asked for its turn, as in the crate. It meets the other threads at every point before and after that.
//!
//! Budget: [`PREEMPTIONS`] preemptions in one execution, a minute for everything. Measured on two cores: 78,283
//! executions, 5 s in a release build and 14 s in a debug build. Each model says how many executions it had then, and
//! fails if it has fewer than half of them: a model that explores nothing proves nothing. A thread that nobody wakes
//! fails its model with `deadlock`.
//!
//! ```console
//! $ cargo test -p manager --no-default-features --test gate_models
//! ```

mod seam {
    pub(crate) mod sync;
}

#[path = "../src/gate"]
#[allow(dead_code, reason = "the models use a part of the gate")]
mod gate {
    pub(crate) mod queue;
    pub(crate) mod state;
}

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use gate::queue::Queue;
use gate::state::{Afterwards, DrainTurn, Drained, Turn};
use loom::thread;
use manager::AccessMode::{self, ReadOnly, ReadWrite};
use seam::patience::Patience;
use seam::sync::{Condvar, Mutex, never, passed};

/// The most preemptions in one execution; most races need one or two.
const PREEMPTIONS: usize = 3;

/// One process with one database, as `database.rs` has it.
#[derive(Default)]
struct Process {
    queue: Queue,
    file: Mutex<File>,
    /// Whether a reader has been served, and what tells those that wait for it.
    has_read: Mutex<bool>,
    read: Condvar,
}

/// The file and what this process does with it.
#[derive(Debug, Default)]
struct File {
    hold: Option<AccessMode>,
    readers: u32,
    writers: u32,
}

impl File {
    fn change(&mut self, from: Option<AccessMode>, to: Option<AccessMode>) {
        assert!(self.hold == from, "the hold is the one to be changed: {self:?}");
        assert!(self.readers + self.writers == 0, "I2: nothing is out while it changes: {self:?}");
        self.hold = to;
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
    /// Waits for a lease; tells whether it came before the deadline.
    fn acquire(&self, mode: AccessMode, patience: &Patience) -> bool {
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
        self.file.lock().take_lease(mode);
        true
    }

    fn release(&self, mode: AccessMode) {
        self.file.lock().return_lease(mode);
        let afterwards = self.queue.release(mode);
        self.conclude(afterwards);
    }

    fn use_once(&self, mode: AccessMode) {
        assert!(self.acquire(mode, &patient()));
        self.release(mode);
    }

    /// Like [`Process::use_once`], with a deadline that has passed.
    fn try_once(&self, mode: AccessMode) {
        if self.acquire(mode, &Patience::until(passed())) {
            self.release(mode);
        }
    }

    /// Takes its turn, and fails if that is to change the hold.
    fn fail_once(&self, mode: AccessMode) {
        let ticket = self.queue.enqueue(mode);
        match self.queue.wait(ticket, &patient()) {
            Ok(Turn::Change { from, .. }) => {
                self.file.lock().change(from, None);
                self.queue.change_failed(ticket);
            }
            Ok(_) => {
                self.file.lock().take_lease(mode);
                self.release(mode);
            }
            Err(expired) => panic!("{expired:?} without a deadline"),
        }
    }

    fn read_and_tell(&self) {
        self.use_once(ReadOnly);
        *self.has_read.lock() = true;
        self.read.notify_all();
    }

    /// Keeps a lease until the reader has been served.
    fn release_after_reading(&self, mode: AccessMode) {
        let mut has_read = self.has_read.lock();
        while !*has_read {
            self.read.wait_until(&mut has_read, never());
        }
        drop(has_read);
        self.release(mode);
    }

    fn drain(&self, drained: Drained) {
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

    fn assert_at_rest(&self) {
        let file = self.file.lock();
        assert_eq!(file.hold, None, "nothing stays attached");
        assert_eq!(file.readers + file.writers, 0);
        assert_eq!(self.queue.snapshot(), (None, 0), "nobody is left in the queue");
    }
}

/// What a thread of a model does.
type Part = fn(&Process);

/// Runs `begin`, then `here` and one thread for each of `beside`, in every order; then nothing may be left.
fn explore(executions: usize, begin: Part, here: Part, beside: &'static [Part]) {
    let explored = Arc::new(AtomicUsize::new(0));
    let mut model = loom::model::Builder::new();
    model.preemption_bound = Some(PREEMPTIONS);
    let started = Instant::now();
    model.check({
        let explored = Arc::clone(&explored);
        move || {
            explored.fetch_add(1, Ordering::Relaxed);
            let process = Arc::new(Process::default());
            begin(&process);
            let threads: Vec<_> = beside
                .iter()
                .map(|part| {
                    let process = Arc::clone(&process);
                    thread::spawn(move || part(&process))
                })
                .collect();
            here(&process);
            for thread in threads {
                thread.join().unwrap();
            }
            process.assert_at_rest();
        }
    });
    let explored = explored.load(Ordering::Relaxed);
    println!("{explored} executions in {:.1?}", started.elapsed());
    assert!(explored >= executions / 2, "only {explored} executions, it had {executions}");
    assert!(started.elapsed() < Duration::from_mins(1), "{:?}", started.elapsed());
}

const NOTHING: Part = |_| {};
const READ: Part = |process| process.use_once(ReadOnly);
const WRITE: Part = |process| process.use_once(ReadWrite);
const TRY_TO_READ: Part = |process| process.try_once(ReadOnly);
const TRY_TO_WRITE: Part = |process| process.try_once(ReadWrite);
const HAS_READ_LEASE: Part = |process| assert!(process.acquire(ReadOnly, &patient()));
const HAS_WRITE_LEASE: Part = |process| assert!(process.acquire(ReadWrite, &patient()));
const RETURNS_READ_LEASE: Part = |process| process.release(ReadOnly);
const RETURNS_WRITE_LEASE: Part = |process| process.release(ReadWrite);

const YIELD: Part = |process| {
    let afterwards = process.queue.yield_hold();
    process.conclude(afterwards);
};

fn patient() -> Patience {
    Patience::until(never())
}

#[test]
fn a_writer_and_two_readers_are_all_served() {
    explore(19_053, NOTHING, WRITE, &[READ, READ]);
}

#[test]
fn two_writers_and_a_reader_are_all_served() {
    explore(14_652, NOTHING, READ, &[WRITE, WRITE]);
}

#[test]
fn a_wait_that_expires_while_the_holder_returns_strands_nobody() {
    explore(3_332, HAS_WRITE_LEASE, RETURNS_WRITE_LEASE, &[TRY_TO_WRITE, READ]);
}

#[test]
fn a_wait_that_expires_in_front_of_a_reader_lets_it_in() {
    explore(3_252, HAS_READ_LEASE, RETURNS_READ_LEASE, &[TRY_TO_WRITE, READ]);
}

/// The lease that is out may stay out for long: whoever leaves the queue has to wake the next one itself.
#[test]
fn a_reader_behind_a_writer_that_expires_is_served_while_the_holder_stays() {
    explore(
        1_164,
        HAS_READ_LEASE,
        |process| process.release_after_reading(ReadOnly),
        &[TRY_TO_WRITE, Process::read_and_tell],
    );
}

/// Whoever is granted a lease has to wake the next one itself, too.
#[test]
fn a_reader_behind_a_writer_is_served_while_the_writer_stays() {
    explore(
        3_378,
        HAS_WRITE_LEASE,
        |process| {
            assert!(process.acquire(ReadWrite, &patient()));
            process.release_after_reading(ReadWrite);
        },
        &[RETURNS_WRITE_LEASE, Process::read_and_tell],
    );
}

#[test]
fn the_last_waiter_that_expires_leaves_nothing_attached() {
    explore(2_533, HAS_WRITE_LEASE, RETURNS_WRITE_LEASE, &[TRY_TO_READ, TRY_TO_WRITE]);
}

#[test]
fn a_change_that_fails_gives_the_next_waiter_its_turn() {
    explore(7_883, NOTHING, |process| process.fail_once(ReadWrite), &[READ, WRITE]);
}

#[test]
fn a_drain_of_all_lets_go_of_the_file_and_then_lets_everybody_in() {
    explore(
        4_485,
        HAS_READ_LEASE,
        |process| process.drain(Drained::All),
        &[RETURNS_READ_LEASE, WRITE],
    );
}

#[test]
fn a_drain_of_writes_ends_the_hold_of_a_writer_and_its_readers() {
    explore(
        6_574,
        HAS_WRITE_LEASE,
        |process| process.drain(Drained::Writes),
        &[RETURNS_WRITE_LEASE, READ],
    );
}

#[test]
fn two_drains_at_once_both_end() {
    explore(
        9_991,
        HAS_WRITE_LEASE,
        |process| process.drain(Drained::Writes),
        &[|process| process.drain(Drained::All), RETURNS_WRITE_LEASE],
    );
}

#[test]
fn a_hold_that_yields_while_its_last_lease_returns_serves_the_next_waiter_anew() {
    explore(1_815, HAS_READ_LEASE, RETURNS_READ_LEASE, &[YIELD, READ]);
}

#[test]
fn a_newcomer_uses_the_hold_whose_last_lease_returns_or_takes_its_own() {
    explore(68, HAS_READ_LEASE, RETURNS_READ_LEASE, &[READ]);
    explore(68, HAS_WRITE_LEASE, RETURNS_WRITE_LEASE, &[READ]);
    explore(35, HAS_READ_LEASE, RETURNS_READ_LEASE, &[WRITE]);
}
