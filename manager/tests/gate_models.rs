//! Every interleaving of the gate inside one process, by loom.
//!
//! What is modelled: `gate::queue`, `gate::state` and `seam::patience`, the very files of the crate, with loom's mutex,
//! condition variable and flag in the place of the real ones. Up to three threads do what `database.rs` does with a
//! queue; the file is a mutex that asserts I2 and I3: one hold at a time, leases only under a hold that serves them, one
//! writer, no more readers than there may be. Another process is a wish that the file remembers: it has to be fulfilled.
//!
//! What is not: kernel locks and other processes (`process_models.rs`), DuckDB, the clock. loom's condition variable
//! never times out, so a wait whose deadline has passed is one that ends where it would first go to sleep: under the
//! lock under which it asked for its turn, as in the crate. It meets the other threads at every point before and after.
//!
//! Budget: [`PREEMPTIONS`] preemptions in one execution, a minute for each model. Measured one after the other on two
//! busy cores: 22 models, 109,494 executions, 7 s in a release build. Each model says how many executions it had then,
//! and fails if it has fewer than half of them. A thread that nobody wakes fails its model with `deadlock`.
//!
//! ```console
//! $ cargo test --release -p manager --no-default-features --test gate_models
//! ```

#[macro_use]
#[path = "../src/faultless.rs"]
mod faultless;

mod seam {
    #[path = "../../src/seam/patience.rs"]
    #[allow(dead_code, unreachable_pub, reason = "the models use a part of it")]
    pub(crate) mod patience;
    pub(crate) mod sync;
}

mod model {
    pub(crate) mod explore;
    pub(crate) mod process;
}

#[path = "../src/gate"]
#[allow(dead_code, reason = "the models use a part of the gate")]
mod gate {
    pub(crate) mod queue;
    pub(crate) mod state;
}

use std::sync::Arc;

use gate::state::{Drained, Limits};
use loom::thread;
use manager::AccessMode::{self, ReadOnly, ReadWrite};
use model::explore::{self, Budget};
use model::process::{Process, patient};
use seam::patience::{Cancel, Patience};
use seam::sync::{Mutex, never};

/// The most preemptions in one execution; most races need one or two.
const PREEMPTIONS: usize = 3;

/// What a thread of a model does.
type Part = fn(&Process);

/// Runs `begin`, then `here` and one thread for each of `beside`, in every order; then nothing may be left.
fn explore(executions: usize, begin: Part, here: Part, beside: &'static [Part]) {
    explore_within(Limits::default(), executions, begin, here, beside);
}

fn explore_within(
    limits: Limits,
    executions: usize,
    begin: Part,
    here: Part,
    beside: &'static [Part],
) {
    let budget = Budget { preemptions: PREEMPTIONS, executions };
    explore::explore(budget, move || {
        let process = Arc::new(Process::new(limits));
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
    });
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

const READ_IF_FREE: Part = |process| process.use_if_free(ReadOnly);
const WRITE_IF_FREE: Part = |process| process.use_if_free(ReadWrite);
const HEARS: Part = Process::hear_of_another_process;
const LETS_GO_IF_IDLE: Part = Process::let_go_if_idle;
const CANCELS: Part = |process| process.cancel.cancel();

const KEEPING: Limits = Limits { readers_max: u32::MAX, keep: true };
const ONE_READER: Limits = Limits { readers_max: 1, keep: false };

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
        |process| process.release_when_told(ReadOnly),
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
            process.release_when_told(ReadWrite);
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
    explore(3_339, HAS_READ_LEASE, RETURNS_READ_LEASE, &[HEARS, READ]);
}

#[test]
fn a_newcomer_uses_the_hold_whose_last_lease_returns_or_takes_its_own() {
    explore(68, HAS_READ_LEASE, RETURNS_READ_LEASE, &[READ]);
    explore(68, HAS_WRITE_LEASE, RETURNS_WRITE_LEASE, &[READ]);
    explore(35, HAS_READ_LEASE, RETURNS_READ_LEASE, &[WRITE]);
}

#[test]
fn a_kept_hold_goes_to_the_process_that_asks_while_its_last_lease_returns() {
    explore_within(KEEPING, 1_276, HAS_WRITE_LEASE, RETURNS_WRITE_LEASE, &[HEARS, READ]);
    explore_within(KEEPING, 782, HAS_READ_LEASE, RETURNS_READ_LEASE, &[HEARS, READ_IF_FREE]);
}

/// Nobody of this process will come to return a lease.
#[test]
fn an_idle_kept_hold_goes_to_the_process_that_asks() {
    explore_within(KEEPING, 710, WRITE, HEARS, &[WRITE_IF_FREE, READ_IF_FREE]);
    explore_within(
        KEEPING,
        3_621,
        WRITE,
        HEARS,
        &[|process| process.use_and_look(ReadOnly), HEARS],
    );
}

#[test]
fn a_hold_that_is_let_go_of_as_idle_is_used_by_a_newcomer_or_taken_anew() {
    explore_within(KEEPING, 701, READ, LETS_GO_IF_IDLE, &[READ, WRITE_IF_FREE]);
    explore_within(KEEPING, 4_575, WRITE, LETS_GO_IF_IDLE, &[READ, WRITE]);
}

#[test]
fn readers_above_the_limit_wait_for_one_of_the_others() {
    explore_within(ONE_READER, 12_296, NOTHING, READ, &[READ, READ]);
    explore_within(ONE_READER, 745, HAS_READ_LEASE, RETURNS_READ_LEASE, &[READ, READ_IF_FREE]);
}

#[test]
fn closing_a_database_whose_hold_is_kept_leaves_nothing_to_whoever_asks_at_once() {
    explore_within(
        KEEPING,
        1_846,
        WRITE,
        |process| process.drain(Drained::All),
        &[WRITE_IF_FREE, HEARS],
    );
    explore_within(
        KEEPING,
        831,
        HAS_READ_LEASE,
        |process| process.drain(Drained::All),
        &[RETURNS_READ_LEASE, READ_IF_FREE],
    );
}

#[test]
fn a_wait_that_is_cancelled_while_the_holder_returns_strands_nobody() {
    explore(
        1_856,
        HAS_WRITE_LEASE,
        RETURNS_WRITE_LEASE,
        &[|process| process.use_unless_cancelled(ReadOnly), CANCELS],
    );
}

/// The holder stays until the other one has left: a wake-up that is lost is a deadlock.
#[test]
fn a_wait_that_is_cancelled_ends_while_the_holder_stays() {
    explore(
        443,
        HAS_WRITE_LEASE,
        |process| process.release_when_told(ReadWrite),
        &[
            |process| {
                process.use_unless_cancelled(ReadWrite);
                process.tell();
            },
            CANCELS,
        ],
    );
}

/// What a waker wakes may be gone by then.
#[test]
fn a_waker_is_not_called_once_it_is_dropped() {
    let budget = Budget { preemptions: PREEMPTIONS, executions: 4 };
    explore::explore(budget, || {
        let cancel = Cancel::default();
        let is_gone = Arc::new(Mutex::new(false));
        let patience = Patience::with(never(), Some(cancel.clone()));
        let woken = patience.on_cancel({
            let is_gone = Arc::clone(&is_gone);
            move || assert!(!*is_gone.lock(), "it outlives what it wakes")
        });
        let cancelling = thread::spawn(move || cancel.cancel());
        drop(woken);
        *is_gone.lock() = true;
        cancelling.join().unwrap();
    });
}

#[test]
fn a_waker_that_is_dropped_takes_no_other_with_it() {
    let budget = Budget { preemptions: PREEMPTIONS, executions: 1 };
    explore::explore(budget, || {
        let cancel = Cancel::default();
        let patience = Patience::with(never(), Some(cancel.clone()));
        let woken = Arc::new(Mutex::new(Vec::new()));
        let waker = |name| {
            let woken = Arc::clone(&woken);
            patience.on_cancel(move || woken.lock().push(name))
        };
        let (first, _second) = (waker(1), waker(2));
        drop(first);
        let _third = waker(3);
        cancel.cancel();
        assert_eq!(*woken.lock(), [2, 3]);
    });
}
