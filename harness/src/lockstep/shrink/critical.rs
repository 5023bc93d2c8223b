//! The nearest schedule that passes: one step in another place, as few places away as possible. What it crossed last, and
//! the step itself, are the pair whose order decides.

use super::case::{Case, Entry};
use super::lab::{Failing, Halt, Lab};
use crate::lockstep::log::Decision;

/// The pair in words; none if the failure is there wherever a single step is.
pub(super) fn pair(lab: &mut Lab<'_>, base: &Failing) -> Result<Option<String>, Halt> {
    let moves = &base.case.moves;
    for distance in 1..moves.len() {
        // The latest first: what is nearest to the failure says most about it.
        for place in (0..moves.len()).rev() {
            for target in [place.checked_add(distance), place.checked_sub(distance)] {
                let target = target.filter(|&target| may_cross(moves, place, target));
                let Some(target) = target else { continue };
                let case = Case { moves: with_moved(moves, place, target), ..base.case.clone() };
                // What was to come behind a fault may not come any more.
                let is_fault = !moves[place].step.act.is_go();
                let until = if is_fault { target } else { place.max(target) };
                if passes(lab, &case, until)? {
                    let [first, second] = [place.min(target), place.max(target)];
                    return Ok(Some(words(base, first, second)));
                }
            }
        }
    }
    Ok(None)
}

fn with_moved(moves: &[Entry], place: usize, target: usize) -> Vec<Entry> {
    let mut moves = moves.to_vec();
    let mut entry = moves.remove(place);
    if !entry.step.act.is_go() {
        entry.operation = None; // a fault may happen in another one
    }
    moves.insert(target, entry);
    moves
}

/// A step does not pass another of its actor, unless it is a fault; and what it passes last is somebody else's.
fn may_cross(moves: &[Entry], place: usize, target: usize) -> bool {
    let Some(last) = moves.get(target) else { return false };
    let step = &moves[place].step;
    if !step.act.is_go() {
        return target < place && last.step.act.is_go();
    }
    let crossed = &moves[place.min(target)..=place.max(target)];
    let own = crossed.iter().filter(|entry| entry.step.actor == step.actor).count();
    own == 1 && last.step.actor != step.actor
}

/// Whether nothing is broken in that order, and it was that order up to the step that decides.
fn passes(lab: &mut Lab<'_>, case: &Case, until: usize) -> Result<bool, Halt> {
    let Some(trial) = lab.run(case)? else { return Ok(false) };
    let taken = case.with_moves_of(&trial.log).steps();
    let meant = case.steps();
    let is_meant = until < taken.len() && taken[..=until] == meant[..=until];
    Ok(trial.passes() && is_meant)
}

fn words(base: &Failing, first: usize, second: usize) -> String {
    let [first, second] = [first, second].map(|place| described(&base.log.steps[place].decision));
    format!("fails if `{first}` comes before `{second}`, not if after")
}

/// A step in one line.
pub(super) fn described(decision: &Decision) -> String {
    let Decision { actor, op, at, act, .. } = decision;
    let at = at.as_ref().map(|at| format!(", at {at}")).unwrap_or_default();
    if act.is_go() { format!("{actor}: {op}{at}") } else { format!("{actor}: {act} in {op}{at}") }
}
