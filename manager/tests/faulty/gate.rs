//! The gate and the phases.

use std::sync::Arc;
use std::time::Duration;

use manager::{Error, Phase};

use super::site::{
    FILE, Notes, Other, SHORT, Site, TURNSTILE, lockstep, manager, manager_that_keeps_nothing,
    patient, timed_out,
};
use crate::baton::Baton;

pub(crate) fn the_file_is_waited_for(site: &Site) -> bool {
    let _other = Other::with(&site.path, FILE);
    timed_out(&site.write(&manager(), SHORT))
}

pub(crate) fn the_turnstile_is_waited_for(site: &Site) -> bool {
    let _other = Other::with(&site.path, TURNSTILE);
    timed_out(&site.write(&manager(), SHORT))
}

pub(crate) fn the_gate_goes_last(site: &Site) -> bool {
    let (manager, path) = (manager_that_keeps_nothing(), site.path.clone());
    let writer = move |_: &Arc<Baton>, _: &Notes<()>| drop(manager.write(path).unwrap());
    let (_, steps) = lockstep::<()>(1, vec![("writer", Box::new(writer))]);
    let place = |place: &str| steps.iter().rposition(|step| step.ends_with(place)).unwrap();
    place("gave back the gate") > place("detached")
}

pub(crate) fn a_lease_has_the_gate_after_its_commit(site: &Site) -> bool {
    let manager = manager();
    let lease = manager.write(&site.path).unwrap();
    lease.transaction(|tx| tx.execute("INSERT INTO t VALUES (1)", [])).unwrap();
    Other::at(&manager::gate_path(&site.path)).sees(FILE)
}

pub(crate) fn an_idle_file_is_given_up(site: &Site) -> bool {
    let (manager, path) = (manager(), site.path.clone());
    let writer = move |baton: &Arc<Baton>, held: &Notes<bool>| {
        drop(manager.write(&path).unwrap());
        baton.sleep(Duration::from_hours(1));
        held.lock().unwrap().push(Other::at(&manager::gate_path(&path)).sees(FILE));
    };
    lockstep(1, vec![("writer", Box::new(writer))]).0 == [false]
}

pub(crate) fn who_is_in_the_way_is_named(site: &Site) -> bool {
    let manager = manager();
    let _training = manager.training_phase(&site.path).unwrap();
    match manager.phase_with(&site.path, Phase::Evaluation, &patient(SHORT)) {
        Err(Error::TimedOut { holders, .. }) => !holders.is_empty(),
        other => panic!("{other:?}"),
    }
}

pub(crate) fn an_evaluation_keeps_writers_out(site: &Site) -> bool {
    let manager = manager();
    let _evaluation = manager.evaluation_phase(&site.path).unwrap();
    matches!(site.write(&manager, SHORT), Err(Error::EvaluationIsOn { .. }))
}

pub(crate) fn an_evaluation_keeps_trainers_out(site: &Site) -> bool {
    let manager = manager();
    let _evaluation = manager.evaluation_phase(&site.path).unwrap();
    timed_out(&manager.phase_with(&site.path, Phase::Training, &patient(SHORT)))
}

pub(crate) fn training_keeps_evaluators_out(site: &Site) -> bool {
    let manager = manager();
    let _training = manager.training_phase(&site.path).unwrap();
    timed_out(&manager.phase_with(&site.path, Phase::Evaluation, &patient(SHORT)))
}
