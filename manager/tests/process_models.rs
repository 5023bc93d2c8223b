//! Every interleaving of processes at one gate file, by loom.
//!
//! What is modelled: `gate::hold` and `gate::phase`, the very files of the crate, over a gate file without a disk
//! (`model/file.rs`) whose bytes lock as Linux's do (`model/kernel.rs`; `kernel_conformance.rs` compares them). A thread
//! here is a process. It does what `attachment.rs` and `keeper.rs` do with a hold: it keeps the file after use, listens
//! to the bell, looks whether somebody waits, lets go. A mutex stands for the file and asserts who may be at it together.
//!
//! What is not: the order in which the kernel wakes who waits (nothing is promised here), records, the disk, the clock,
//! memory order (mutexes stand for the bell and for the kernel). No wait has a deadline but those that end where they
//! would first go to sleep, so whoever is forgotten fails the model with `deadlock`.
//!
//! Budget: a minute for each model, 3 preemptions in an execution of two processes and 2 in one of more. Measured one
//! after the other on two busy cores: 19 models, 114,079 executions, 8 s in a release build.
//!
//! ```console
//! $ cargo test --release -p manager --no-default-features --test process_models
//! ```

#[macro_use]
#[path = "../src/faultless.rs"]
mod faultless;

#[allow(dead_code, unreachable_pub, reason = "the models use a part of the seam")]
mod seam {
    #[path = "../../src/seam/patience.rs"]
    pub(crate) mod patience;
    #[path = "../model/shared_page.rs"]
    pub(crate) mod shared_page;
    pub(crate) mod sync;

    pub(crate) mod file_lock {
        /// As in `src/seam/file_lock.rs`.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub(crate) enum Share {
            Shared,
            Exclusive,
        }
    }
}

#[path = "../src/gate"]
#[allow(dead_code, reason = "the models use a part of the gate")]
mod gate {
    pub(crate) mod byte;
    #[path = "../../tests/model/file.rs"]
    pub(crate) mod file;
    pub(crate) mod hold;
    pub(crate) mod phase;
    pub(crate) mod queue;
    #[path = "../../tests/model/record.rs"]
    pub(crate) mod record;
    pub(crate) mod state;
}

mod model {
    pub(crate) mod explore;
    pub(crate) mod kernel;
    pub(crate) mod threads;
    pub(crate) mod world;
}

use std::ops::Range;
use std::sync::Arc;

use gate::byte;
use gate::file::{self, GateFile, PROTECTED, Refusal};
use gate::phase::{self, WritePermission};
use gate::state::Drained;
use loom::thread;
use manager::AccessMode::{self, ReadOnly, ReadWrite};
use manager::Phase;
use model::explore::{self, Budget};
use model::threads::Threads;
use model::world::{DATABASE, Doing, Process, World, patient};
use seam::patience::Patience;
use seam::sync::{never, passed};

/// What a process of a model does.
type Part = fn(&World);

/// Runs `here` and one thread for each of `beside`, in every order; then nothing may be held.
fn explore(preemptions: usize, executions: usize, here: Part, beside: &'static [Part]) {
    explore::explore(Budget { preemptions, executions }, move || run(here, beside));
}

fn run(here: impl Fn(&World), beside: &[Part]) {
    let world = World::of(1 + beside.len() as u32);
    let threads: Vec<_> = beside
        .iter()
        .map(|&part| {
            let world = world.clone();
            thread::spawn(move || part(&world))
        })
        .collect();
    here(&world);
    for thread in threads {
        thread.join().unwrap();
    }
    assert_everything_is_free();
}

fn assert_everything_is_free() {
    let gate = GateFile::open(DATABASE.as_ref()).unwrap();
    for byte in file::BYTES {
        assert_eq!(gate.held_by_other(byte).unwrap(), None, "byte {byte} is free");
    }
}

const NAMED: Process = Process { database: DATABASE, dies_after: None };
const WITHOUT_RIGHTS: Process = Process { database: PROTECTED, dies_after: None };

const READ: Part = |world| NAMED.use_once(world, ReadOnly);
const WRITE: Part = |world| NAMED.use_once(world, ReadWrite);
const READ_AND_KEEP: Part = |world| NAMED.use_and_keep(world, ReadOnly);
const WRITE_AND_KEEP: Part = |world| NAMED.use_and_keep(world, ReadWrite);
const WRITE_BUSILY: Part = |world| NAMED.use_until_rung(world, ReadWrite);
const WRITE_UNLESS_EVALUATED: Part = |world| NAMED.write_unless_evaluated(world);
const WRITE_AND_KEEP_OUTSIDE: Part = |world| NAMED.write_outside_evaluation_and_keep(world);
const TRAIN: Part = |world| NAMED.be_in(world, Phase::Training);
const EVALUATE: Part = |world| NAMED.be_in(world, Phase::Evaluation);

#[test]
fn writers_exclude_each_other_and_readers() {
    explore(3, 484, WRITE, &[WRITE]);
    explore(2, 1_301, WRITE, &[WRITE, READ]);
}

#[test]
fn readers_are_at_the_file_together() {
    const READ_TOGETHER: Part = |world| {
        let _hold = NAMED.take(ReadOnly).unwrap();
        world.begin(Doing::Reading);
        world.count_served();
        world.wait_until(|present| present.served == 2);
        world.end(Doing::Reading);
    };
    explore(3, 1_628, READ_TOGETHER, &[READ_TOGETHER]);
}

/// The writer is known to wait, as it is at the turnstile, before the reader comes.
#[test]
fn a_reader_behind_a_waiting_writer_waits_behind_it() {
    fn wait_for_the_writer(world: &World) {
        let hold = NAMED.take(ReadOnly).unwrap();
        world.begin(Doing::Reading);
        world.note(|present| present.may_begin = true);
        World::listen(hold.page(), || hold.is_wanted());
        world.note(|present| present.is_told = true);
        world.end(Doing::Reading);
    }
    const WRITE_FIRST: Part = |world| {
        world.wait_until(|present| present.may_begin);
        let _hold = NAMED.take(ReadWrite).unwrap();
        world.visit(Doing::Writing);
        world.count_served();
    };
    fn read_second(process: Process, world: &World) {
        world.wait_until(|present| present.is_told);
        let _hold = process.take(ReadOnly).unwrap();
        assert_eq!(world.begin(Doing::Reading).served, 1, "the writer was first");
        world.end(Doing::Reading);
    }
    explore(2, 3_810, wait_for_the_writer, &[WRITE_FIRST, |world| read_second(NAMED, world)]);
    explore(
        2,
        3_810,
        wait_for_the_writer,
        &[WRITE_FIRST, |world| read_second(WITHOUT_RIGHTS, world)],
    );
}

#[test]
fn who_keeps_the_file_hears_of_everybody_who_waits() {
    explore(3, 925, WRITE_AND_KEEP, &[WRITE_AND_KEEP]);
    explore(2, 6_600, WRITE_AND_KEEP, &[WRITE_AND_KEEP, WRITE_AND_KEEP]);
    explore(2, 7_690, READ_AND_KEEP, &[READ_AND_KEEP, WRITE_AND_KEEP]);
    explore(2, 8_371, WRITE_AND_KEEP, &[READ, READ_AND_KEEP]);
}

/// It looks at the turnstile only after a ring that it has not answered yet.
#[test]
fn who_uses_the_file_all_the_time_hears_of_everybody_who_came_after_it() {
    explore(3, 954, WRITE_BUSILY, &[WRITE_BUSILY]);
    explore(2, 6_957, WRITE_BUSILY, &[WRITE_BUSILY, WRITE_AND_KEEP]);
}

#[test]
fn a_writer_hears_of_a_reader_that_waits_and_a_reader_that_is_in_waits_no_longer() {
    const WRITE_UNTIL_READ: Part = |world| {
        let hold = NAMED.take(ReadWrite).unwrap();
        world.note(|present| present.may_begin = true);
        World::listen(hold.page(), || hold.is_wanted_by_reader());
        drop(hold);
        world.wait_until(|present| present.is_told);
        let beside = NAMED.take(ReadOnly).unwrap();
        assert!(!beside.is_wanted_by_reader(), "it is in");
        world.count_served();
    };
    const READ_BESIDE: Part = |world| {
        world.wait_until(|present| present.may_begin);
        let _hold = NAMED.take(ReadOnly).unwrap();
        world.note(|present| present.is_told = true);
        world.wait_until(|present| present.served == 1);
    };
    explore(3, 1_007, WRITE_UNTIL_READ, &[READ_BESIDE]);
}

#[test]
fn training_and_evaluation_exclude_each_other() {
    explore(3, 379, TRAIN, &[EVALUATE]);
    explore(2, 1_322, TRAIN, &[EVALUATE, TRAIN]);
    explore(2, 1_350, EVALUATE, &[TRAIN, EVALUATE]);
}

#[test]
fn processes_are_in_one_phase_together() {
    const EVALUATE_TOGETHER: Part = |world| {
        let _phase = NAMED.enter(world, Phase::Evaluation).unwrap();
        world.begin(Doing::Evaluating);
        world.count_served();
        world.wait_until(|present| present.served == 2);
        world.end(Doing::Evaluating);
    };
    explore(3, 2_314, EVALUATE_TOGETHER, &[EVALUATE_TOGETHER]);
}

#[test]
fn nobody_writes_while_somebody_evaluates() {
    explore(3, 409, EVALUATE, &[WRITE_UNLESS_EVALUATED]);
    explore(2, 1_536, EVALUATE, &[WRITE_UNLESS_EVALUATED, WRITE_UNLESS_EVALUATED]);
}

/// A writer is refused as soon as somebody is in evaluation, and also if that is so only when its turn has come.
#[test]
fn a_writer_is_refused_while_somebody_evaluates_and_does_not_wait_for_the_end() {
    const EVALUATE_UNTIL_REFUSED: Part = |world| {
        let _phase = NAMED.enter(world, Phase::Evaluation).unwrap();
        world.note(|present| present.may_begin = true);
        world.wait_until(|present| present.is_told);
    };
    const IS_REFUSED: Part = |world| {
        world.wait_until(|present| present.may_begin);
        let asked = phase::refuse_in_evaluation_of(DATABASE.as_ref());
        assert!(matches!(asked, Err(Refusal::Evaluation(_))), "{asked:?}");
        let taken = NAMED.take_as(ReadWrite, WritePermission::OutsideEvaluation, &patient());
        assert!(matches!(taken, Err(Refusal::Evaluation(_))), "{taken:?}");
        world.note(|present| present.is_told = true);
    };
    explore(3, 219, EVALUATE_UNTIL_REFUSED, &[IS_REFUSED]);
    // Also past somebody who waits for the evaluation to end.
    explore(2, 962, EVALUATE_UNTIL_REFUSED, &[IS_REFUSED, TRAIN]);
}

#[test]
fn a_writer_is_not_refused_by_who_is_on_its_way_into_training() {
    const WRITE_OUTSIDE: Part = |world| {
        let permission = WritePermission::OutsideEvaluation;
        let _hold = NAMED.take_as(ReadWrite, permission, &patient()).expect("nobody evaluates");
        world.visit(Doing::Writing);
    };
    explore(3, 922, WRITE_OUTSIDE, &[TRAIN]);
    explore(2, 1_656, WRITE_OUTSIDE, &[TRAIN, TRAIN]);
}

/// A stream of writers and trainers does not keep evaluation out.
#[test]
fn who_comes_behind_a_waiting_evaluator_waits_behind_it() {
    const TRAIN_UNTIL_SOMEBODY_WAITS: Part = |world| {
        let phase = NAMED.enter(world, Phase::Training).unwrap();
        let gate = GateFile::open(DATABASE.as_ref()).unwrap();
        world.note(|present| present.may_begin = true);
        World::listen(gate.page(), || gate.held_by_other(byte::PHASE_TURNSTILE).unwrap().is_some());
        world.note(|present| present.is_told = true);
        drop(phase);
    };
    const EVALUATE_FIRST: Part = |world| {
        world.wait_until(|present| present.may_begin);
        let _phase = NAMED.enter(world, Phase::Evaluation).unwrap();
        world.note(|present| present.served += 1);
    };
    const WRITE_SECOND: Part = |world| {
        world.wait_until(|present| present.is_told);
        if NAMED.take_as(ReadWrite, WritePermission::OutsideEvaluation, &patient()).is_ok() {
            assert_eq!(world.begin(Doing::Writing).served, 1, "evaluation was first");
            world.end(Doing::Writing);
        }
    };
    const TRAIN_SECOND: Part = |world| {
        world.wait_until(|present| present.is_told);
        let _phase = NAMED.enter(world, Phase::Training).unwrap();
        assert_eq!(world.begin(Doing::Training).served, 1, "evaluation was first");
        world.end(Doing::Training);
    };
    explore(2, 1_582, TRAIN_UNTIL_SOMEBODY_WAITS, &[EVALUATE_FIRST, WRITE_SECOND]);
    explore(2, 1_776, TRAIN_UNTIL_SOMEBODY_WAITS, &[EVALUATE_FIRST, TRAIN_SECOND]);
}

#[test]
fn a_write_hold_that_is_kept_and_idle_lets_evaluation_in() {
    explore(3, 394, WRITE_AND_KEEP_OUTSIDE, &[EVALUATE]);
    explore(2, 5_677, WRITE_AND_KEEP_OUTSIDE, &[EVALUATE, READ]);
    explore(2, 5_698, WRITE_AND_KEEP_OUTSIDE, &[EVALUATE, WRITE_AND_KEEP_OUTSIDE]);
}

/// One process gives up its hold, leaves training and enters evaluation while the others come to write and to train.
#[test]
fn a_phase_flip_races_a_checkout_and_a_trainer() {
    const FLIP: Part = |world| {
        let training = NAMED.enter(world, Phase::Training).unwrap();
        world.begin(Doing::Training);
        let hold = NAMED.take(ReadWrite).unwrap();
        world.visit(Doing::Writing);
        drop(hold);
        world.end(Doing::Training);
        drop(training);
        NAMED.be_in(world, Phase::Evaluation);
    };
    explore(2, 532, FLIP, &[WRITE_UNLESS_EVALUATED]);
    explore(2, 4_230, FLIP, &[TRAIN, READ_AND_KEEP]);
    // Whoever waits for a phase holds nothing that somebody in the other phase waits for.
    explore(2, 5_965, FLIP, &[EVALUATE, WRITE_UNLESS_EVALUATED]);
}

/// In the process that flips, another thread comes to write: before the drain, behind it, or in the new phase.
#[test]
fn a_phase_flip_races_a_drain_and_a_checkout_in_its_own_process() {
    explore(2, 5_697, FLIP_BESIDE_A_WRITER, &[WRITE_UNLESS_EVALUATED]);
    explore(2, 6_650, FLIP_BESIDE_A_WRITER, &[WRITE_AND_KEEP_OUTSIDE]);
    explore(2, 4_903, FLIP_BESIDE_A_WRITER, &[EVALUATE]);
}

const FLIP_BESIDE_A_WRITER: Part = |world| {
    let here = Arc::new(Threads::of(NAMED));
    here.enter_training(world);
    here.write_unless_evaluated(world);
    let beside = thread::spawn({
        let (here, world) = (Arc::clone(&here), world.clone());
        move || {
            here.write_unless_evaluated(&world);
            here.keep(&world);
        }
    });
    here.drain(Drained::Writes);
    here.leave_training(world);
    NAMED.enter_and_leave(world, Phase::Evaluation);
    world.count_served();
    beside.join().unwrap();
    here.drain(Drained::All);
};

/// After how many calls at the gate a process is killed; the last number is beyond its last call.
const CALLS: Range<u32> = 0..16;

#[test]
fn a_process_that_dies_on_its_way_leaves_nobody_waiting() {
    let dies = |process: fn(Process, &World), beside: &'static [Part], executions| {
        let model = |calls| {
            move || {
                let dying = Process { dies_after: Some(calls), ..NAMED };
                run(|world| process(dying, world), beside);
            }
        };
        let budget = Budget { preemptions: 2, executions };
        explore::explore_all(budget, CALLS.map(model).collect());
    };
    dies(Process::write_or_die, &[WRITE_AND_KEEP], 1_344);
    dies(Process::write_or_die, &[EVALUATE], 1_391);
    dies(Process::evaluate_or_die, &[WRITE_UNLESS_EVALUATED], 1_104);
}

#[test]
fn a_wait_that_expires_or_is_cancelled_leaves_nobody_waiting() {
    const WRITE_IF_FREE: Part = |world| {
        let taken = NAMED.take_as(ReadWrite, WritePermission::Granted, &Patience::until(passed()));
        match taken {
            Ok(_hold) => world.visit(Doing::Writing),
            Err(Refusal::Expired(_)) => {}
            Err(refusal) => panic!("{refusal:?}"),
        }
        world.count_served();
    };
    const WRITE_UNLESS_CANCELLED: Part = |world| {
        let patience = Patience::with(never(), Some(world.cancel.clone()));
        match NAMED.take_as(ReadWrite, WritePermission::OutsideEvaluation, &patience) {
            Ok(_hold) => world.visit(Doing::Writing),
            Err(Refusal::Expired(_)) => {}
            Err(refusal) => panic!("{refusal:?}"),
        }
        world.count_served();
    };
    const CANCEL: Part = |world| {
        world.cancel.cancel();
        world.count_served();
    };
    explore(2, 4_848, WRITE_AND_KEEP, &[WRITE_IF_FREE, READ]);
    explore(2, 3_337, WRITE_AND_KEEP, &[WRITE_UNLESS_CANCELLED, CANCEL]);
}

#[test]
fn a_gate_that_is_deleted_under_who_waits_for_the_file_is_noticed() {
    const DELETE: Part = |_| {
        let hold = NAMED.take(ReadWrite).unwrap();
        file::delete();
        drop(hold);
    };
    explore(2, 3_292, DELETE, &[WRITE, WRITE]);
}

#[test]
fn a_gate_that_is_deleted_under_who_waits_for_a_phase_is_noticed() {
    const DELETE: Part = |world| {
        let phase = NAMED.enter(world, Phase::Training).unwrap();
        world.note(|present| present.may_begin = true);
        file::delete();
        world.note(|present| present.is_told = true);
        drop(phase);
    };
    const EVALUATE_AFTER: Part = |world| {
        world.wait_until(|present| present.may_begin);
        NAMED.be_in(world, Phase::Evaluation);
    };
    const TRAIN_AT_THE_NEW_ONE: Part = |world| {
        world.wait_until(|present| present.is_told);
        NAMED.be_in(world, Phase::Training);
    };
    explore(2, 1_053, DELETE, &[EVALUATE_AFTER, TRAIN_AT_THE_NEW_ONE]);
}
