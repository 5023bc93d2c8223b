//! Each planted bug breaks what it says: its scenario holds in the manager as it is, and does not with the bug.
//!
//! A scenario looks from outside: leases, phases, the store, files, kernel locks. Where the order of steps matters it is
//! run in lockstep, over some seeds.

#[path = "lockstep/baton.rs"]
mod baton;

mod faulty {
    pub(crate) mod gate;
    pub(crate) mod instance;
    pub(crate) mod queue;
    pub(crate) mod site;
    pub(crate) mod store;
    pub(crate) mod transactions;
}

use std::fs;
use std::panic::catch_unwind;
use std::path::Path;

use faulty::site::Site;
use faulty::{gate, instance, queue, store, transactions};
use manager::faulty::{Fault, plant, planted};

/// Whether what the bug breaks holds.
type Scenario = fn(&Site) -> bool;

fn scenario(fault: Fault) -> Scenario {
    match fault {
        Fault::NoGate => gate::the_file_is_waited_for,
        Fault::NoTurnstile => gate::the_turnstile_is_waited_for,
        Fault::GateBeforeDetach => gate::the_gate_goes_last,
        Fault::GateAtCommit => gate::a_lease_has_the_gate_after_its_commit,
        Fault::KeeperAsleep => gate::an_idle_file_is_given_up,
        Fault::HoldersNotNamed => gate::who_is_in_the_way_is_named,
        Fault::DeadlineTooLate => queue::a_wait_ends_at_its_deadline,
        Fault::SecondWriter => queue::there_is_one_writer,
        Fault::WriteOnReadHold => queue::a_writer_waits_for_readers,
        Fault::LastComeFirstServed => queue::first_come_first_served,
        Fault::WritersOvertake => queue::nobody_overtakes,
        Fault::ReleaseWakesNobody => queue::a_release_wakes_who_waits,
        Fault::LeaseLeaked => queue::a_dropped_lease_is_back,
        Fault::LeaseLostInPanic => queue::a_lease_that_a_panic_dropped_is_back,
        Fault::NestedNotRefused => queue::a_nested_lease_is_refused,
        Fault::KeyedByPath => instance::a_hard_link_is_refused,
        Fault::IdentityNotChecked => instance::a_file_that_was_replaced_is_refused,
        Fault::LockNotHardened => instance::the_lock_survives_a_close,
        Fault::DescriptorLeaked => instance::no_descriptor_stays,
        Fault::ReaderWithoutSnapshot => instance::a_reader_has_one_snapshot,
        Fault::AttachLeftBehind => instance::nothing_is_left_behind,
        Fault::ForkIgnored => instance::a_child_is_refused,
        Fault::LogNotChecked => instance::the_log_of_another_file_stays,
        Fault::PoisonIgnored => transactions::a_failed_statement_poisons,
        Fault::FailedCommitIsSuccess => transactions::a_failed_commit_is_an_error,
        Fault::RollbackForgotten => transactions::a_failed_closure_stores_nothing,
        Fault::UnknownOutcomeRepeated => transactions::an_unknown_outcome_is_not_repeated,
        Fault::PhaseIgnoredByWriters => gate::an_evaluation_keeps_writers_out,
        Fault::PhaseNotHeld => gate::an_evaluation_keeps_trainers_out,
        Fault::EvaluationDoesNotWait => gate::training_keeps_evaluators_out,
        Fault::CreatedInPlace => transactions::a_database_is_made_as_a_whole,
        Fault::MirrorWithoutGeneration | Fault::GenerationNotCounted => {
            store::what_is_stored_is_found
        }
        Fault::GenerationCountedEarly => store::what_is_acknowledged_is_found_by_a_reader_beside_it,
        Fault::FollowerAcknowledgedEarly => store::what_is_acknowledged_is_stored,
        Fault::FlightWithoutLock => store::an_artefact_is_computed_once,
        Fault::NegativeNeverEnds => store::a_negative_entry_ends,
        Fault::ArtefactNotVerified => store::bytes_are_verified,
        Fault::RowBeforeFile => store::the_file_comes_before_the_row,
        Fault::ArtefactNotSynced => store::a_file_is_synced,
        Fault::SweptWhileRead => store::what_is_read_is_not_swept,
        other => panic!("{other} has no scenario"),
    }
}

fn holds(fault: Fault) -> bool {
    let site = Site::new();
    catch_unwind(|| scenario(fault)(&site)).unwrap_or(false)
}

/// One test for all of them: what is planted is planted in the process.
#[test]
fn each_bug_breaks_what_it_says() {
    let mut wrong = Vec::new();
    let only = std::env::var("ONLY").ok();
    for fault in Fault::ALL
        .iter()
        .copied()
        .filter(|fault| only.as_deref().is_none_or(|only| only == fault.name()))
    {
        plant(None);
        if !holds(fault) {
            wrong.push(format!("{fault}: does not hold without it"));
        }
        plant(Some(fault));
        assert_eq!(planted(), Some(fault));
        if holds(fault) {
            wrong.push(format!("{fault}: shows nothing"));
        }
    }
    plant(None);
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn each_bug_has_a_name_and_a_place_in_the_sources() {
    let sources = sources(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"));
    assert!(Fault::ALL.len() >= 24);
    for fault in Fault::ALL {
        assert_eq!(fault.name().parse(), Ok(*fault));
        let place = format!("faulty!(Fault::{fault:?})");
        assert!(sources.contains(&place), "`{place}` stands nowhere");
        assert!(fault.sentence().ends_with('.') && fault.shows().ends_with('.'), "{fault}");
        assert!(fault.breaks() == "phases" || fault.breaks().starts_with('I'), "{fault}");
    }
    let unknown = "none-such".parse::<Fault>().unwrap_err().to_string();
    assert!(unknown.contains("no-gate"), "{unknown}");
}

/// All of them as one text.
fn sources(folder: &Path) -> String {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let texts = entries.map(|path| {
        if path.is_dir() { sources(&path) } else { fs::read_to_string(&path).unwrap() }
    });
    texts.collect()
}
