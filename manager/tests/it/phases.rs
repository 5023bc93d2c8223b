//! Training and evaluation exclude each other, over all processes, and never for longer than they last.

use std::fs;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Barrier};
use std::time::Duration;

use manager::{
    AcquireOptions, Config, Error, Manager, Phase, Standing, Wanted, WritesInEvaluation,
};

use crate::peer::Peer;
use crate::support::{
    A_WHILE, Running, Site, config, count, eventually, insert, manager, manager_that_waits,
    waits_at_the_gate,
};

#[test]
fn evaluation_waits_for_a_training_process() {
    let site = Site::new();
    let mut trainer = Peer::holding("training", &site.database());
    let manager = manager();
    let entering = Running::begin({
        let (manager, path) = (manager.clone(), site.database());
        move || manager.evaluation_phase(path).unwrap()
    });
    entering.sleeps_for_a_lock();
    trainer.insert(0..3);
    trainer.release();
    let phase = entering.finish();
    assert_eq!(phase.phase(), Phase::Evaluation);
    assert_eq!(count(&manager.read(phase.path()).unwrap()), 3);
}

#[test]
fn evaluation_waits_for_a_write_lease_outside_any_phase() {
    let site = Site::new();
    let writer = Peer::holding("write", &site.database());
    let evaluator = Peer::begin("evaluation", &site.database());
    evaluator.sleeps_for_a_lock();
    assert!(evaluator.is_silent());
    writer.release();
    evaluator.hears("held");
}

#[test]
fn evaluation_waits_for_a_write_lease_that_outlives_its_training_phase() {
    let site = Site::new();
    let manager = manager();
    let phase = manager.training_phase(site.database()).unwrap();
    let lease = manager.write(site.database()).unwrap();
    drop(phase);
    let evaluator = Peer::begin("evaluation", &site.database());
    evaluator.sleeps_for_a_lock();
    assert!(evaluator.is_silent());
    drop(lease);
    evaluator.hears("held");
}

#[test]
fn training_waits_for_an_evaluating_process() {
    let site = Site::new();
    let evaluator = Peer::holding("evaluation", &site.database());
    let trainer = Peer::begin("training", &site.database());
    trainer.sleeps_for_a_lock();
    assert!(trainer.is_silent());
    evaluator.release();
    trainer.hears("held");
}

#[test]
fn many_processes_are_in_one_phase_together() {
    let site = Site::new();
    for role in ["training", "evaluation"] {
        let peers: Vec<_> = (0..3).map(|_| Peer::holding(role, &site.database())).collect();
        let holders = manager::holders(&site.database()).unwrap();
        assert!(holders.iter().all(|holder| holder.standing == Standing::Holding), "{holders:?}");
        assert_eq!(holders.len(), 3);
        peers.into_iter().for_each(Peer::release);
    }
}

#[test]
fn a_killed_trainer_is_out_of_its_phase() {
    let site = Site::new();
    let mut trainer = Peer::holding("training", &site.database());
    trainer.insert(0..2);
    let mut evaluator = Peer::begin("evaluation", &site.database());
    evaluator.sleeps_for_a_lock();
    trainer.kill();
    evaluator.hears("held");
    assert_eq!(evaluator.tell("count"), "2");
}

#[test]
fn a_phase_that_cannot_be_entered_names_who_is_in_the_other_one() {
    let site = Site::new();
    let trainer = Peer::begin_labelled("training", &site.database(), "walk 3");
    trainer.hears("held");
    let manager = manager_that_waits(A_WHILE);
    let error = manager.evaluation_phase(site.database()).unwrap_err();
    let text = error.to_string();
    let named = format!("pid {}", trainer.pid());
    assert!(text.contains(&named) && text.contains("walk 3"), "{text}");
    assert!(text.contains("is in its training phase"), "{text}");
    let Error::TimedOut { wanted, .. } = error else { panic!("{error:?}") };
    assert_eq!(wanted, Wanted::Phase(Phase::Evaluation));
    trainer.release();
    drop(manager.evaluation_phase(site.database()).unwrap());
    assert_eq!(manager::holders(&site.database()).unwrap(), []);
}

#[test]
fn a_writer_is_refused_at_once_while_somebody_evaluates_unless_its_policy_allows_it() {
    let site = Site::new();
    let evaluator = Peer::begin_labelled("evaluation", &site.database(), "scorer");
    evaluator.hears("held");
    let refusing = manager();
    let error = refusing.write(site.database()).unwrap_err();
    assert!(error.is_transient());
    let text = error.to_string();
    assert!(
        text.contains(&format!("pid {}", evaluator.pid())) && text.contains("scorer"),
        "{text}"
    );
    let Error::EvaluationIsOn { holders, .. } = error else { panic!("{error:?}") };
    assert_eq!(holders.len(), 1);
    assert_eq!(holders[0].phase, Some(Phase::Evaluation));
    assert_eq!(count(&refusing.read(site.database()).unwrap()), 0, "it may read");
    drop(refusing);

    let policy = Config { writes_in_evaluation: WritesInEvaluation::Allow, ..config() };
    let allowing = Manager::new(policy).unwrap();
    insert(&allowing.write(site.database()).unwrap(), 1);
    evaluator.release();
    assert_eq!(count(&allowing.read(site.database()).unwrap()), 1);
}

#[test]
fn a_process_in_training_writes_although_somebody_waits_to_evaluate() {
    let site = Site::new();
    let manager = manager();
    let phase = manager.training_phase(site.database()).unwrap();
    let evaluator = Peer::begin("evaluation", &site.database());
    evaluator.sleeps_for_a_lock();
    for number in 0..3 {
        insert(&manager.write(site.database()).unwrap(), number);
    }
    assert!(evaluator.is_silent(), "the phase is not over");
    drop(phase);
    evaluator.hears("held");
}

/// Only the guard that was taken last covered the writes of the process: after it was dropped, a write queued behind
/// the waiting evaluator, which waited for the first guard, until both ran out of time.
#[test]
fn each_of_two_training_guards_of_a_process_covers_its_writes() {
    for keep_first in [true, false] {
        let site = Site::new();
        let manager = manager();
        let first = manager.training_phase(site.database()).unwrap();
        let second = manager.training_phase(site.database()).unwrap();
        let kept = if keep_first {
            drop(second);
            first
        } else {
            drop(first);
            second
        };
        let evaluator = Peer::begin("evaluation", &site.database());
        evaluator.sleeps_for_a_lock();
        insert(&manager.write(site.database()).unwrap(), 1);
        drop(kept);
        evaluator.hears("held");
    }
}

#[test]
fn a_writer_that_waits_lets_an_evaluator_in_that_came_first() {
    let site = Site::new();
    let trainer = Peer::holding("training", &site.database());
    let evaluator = Peer::begin("evaluation", &site.database());
    evaluator.sleeps_for_a_lock();
    let path = site.database();
    let writer = Running::begin(move || manager().write(path).map(drop));
    writer.sleeps_for_a_lock();
    trainer.release();
    evaluator.hears("held");
    let error = writer.finish().unwrap_err();
    assert!(matches!(error, Error::EvaluationIsOn { .. }), "{error}");
}

/// A process that waited on the deleted gate entered its phase there, where nobody of the other phase looked.
#[test]
fn a_gate_file_that_is_deleted_under_a_waiting_evaluator_is_noticed() {
    let site = Site::new();
    let early = Peer::holding("training", &site.database());
    let evaluator = Peer::begin("evaluation", &site.database());
    evaluator.sleeps_for_a_lock();
    fs::remove_file(manager::gate_path(&site.database())).unwrap();
    let late = Peer::holding("training", &site.database());
    early.release();
    waits_at_the_gate(&site.database(), evaluator.pid());
    assert!(evaluator.is_silent(), "somebody trains at the new gate");
    late.release();
    evaluator.hears("held");
}

#[test]
fn a_stream_of_writers_that_is_in_no_phase_lets_evaluation_in() {
    let site = Site::new();
    let manager = manager();
    let stop = Arc::new(AtomicBool::new(false));
    let writers: Vec<_> = (0..4)
        .map(|_| {
            let (manager, path, stop) = (manager.clone(), site.database(), Arc::clone(&stop));
            Running::begin(move || {
                while !stop.load(Ordering::Relaxed) {
                    match manager.write(&path) {
                        Ok(_lease) => std::thread::sleep(Duration::from_millis(5)),
                        Err(Error::EvaluationIsOn { .. }) => return,
                        Err(error) => panic!("{error}"),
                    }
                }
            })
        })
        .collect();
    // One writes and the others queue: from here on the file is never idle by itself.
    eventually("the writers are at it", || {
        manager.status().databases.iter().any(|file| file.leases.len() == 1 && file.waiting == 3)
    });
    let evaluator = Peer::holding("evaluation", &site.database());
    for writer in writers {
        writer.finish(); // refused, now that somebody evaluates
    }
    stop.store(true, Ordering::Relaxed);
    evaluator.release();
}

#[test]
fn a_second_evaluation_phase_of_a_process_does_not_queue_behind_a_waiting_trainer() {
    a_second_phase_does_not_queue_behind_who_waits_for_the_first(Phase::Evaluation, "training");
}

#[test]
fn a_second_training_phase_of_a_process_does_not_queue_behind_a_waiting_evaluator() {
    a_second_phase_does_not_queue_behind_who_waits_for_the_first(Phase::Training, "evaluation");
}

fn a_second_phase_does_not_queue_behind_who_waits_for_the_first(phase: Phase, other: &str) {
    let site = Site::new();
    let manager = manager();
    let enter = || manager.phase_with(site.database(), phase, &AcquireOptions::default()).unwrap();
    let first = enter();
    let waiting = Peer::begin(other, &site.database());
    waiting.sleeps_for_a_lock();
    let second = enter();
    drop(first);
    assert!(waiting.is_silent(), "the second is still on");
    drop(second);
    waiting.hears("held");
}

#[test]
fn threads_that_enter_training_together_share_one_phase() {
    let site = Site::new();
    let manager = manager();
    let blocking = Peer::holding("evaluation", &site.database());
    let meet = Arc::new(Barrier::new(2));
    let entering = || {
        let (manager, path, meet) = (manager.clone(), site.database(), Arc::clone(&meet));
        Running::begin(move || {
            let _phase = manager.training_phase(path).unwrap();
            meet.wait(); // both are in it at once
        })
    };
    let first = entering();
    first.sleeps_for_a_lock();
    let behind = Peer::begin("evaluation", &site.database());
    behind.sleeps_for_a_lock();
    // If it queued by itself, it would be behind this evaluator, which waits for the first.
    let second = entering();
    assert!(second.is_still_running());
    blocking.release();
    first.finish();
    second.finish();
    behind.hears("held");
}

#[test]
fn a_writer_is_refused_at_once_even_while_this_process_reads() {
    let site = Site::new();
    let manager = manager();
    let _phase = Peer::holding("evaluation", &site.database());
    let _reader = manager.read(site.database()).unwrap().unbind();
    let refused = manager.write(site.database()).unwrap_err();
    assert!(matches!(refused, Error::EvaluationIsOn { .. }), "{refused}");
}
