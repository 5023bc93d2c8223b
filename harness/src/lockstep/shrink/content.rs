//! What is left out of a scenario: actors, transactions, statements, faults, set-up.

use std::collections::BTreeSet;

use super::case::{Case, pairs};
use super::ddmin::ddmin;
use super::lab::{Failing, Halt, Lab};
use crate::lockstep::act::Act;
use crate::scenario::script::Faults;

/// Numbers of operations that are left out together.
type Unit = BTreeSet<usize>;

/// Whole actors.
pub(super) fn actors(lab: &mut Lab<'_>, base: &mut Failing) -> Result<(), Halt> {
    let numbers = |role: &super::case::Role| {
        role.operations.iter().map(|operation| operation.number).collect()
    };
    let units: Vec<Unit> = base.case.roles.iter().map(numbers).collect();
    leave_out(lab, base, &units)
}

/// Whole transactions, phases, and stretches in which a file is open.
pub(super) fn transactions(lab: &mut Lab<'_>, base: &mut Failing) -> Result<(), Halt> {
    let mut units: Vec<Unit> = Vec::new();
    for role in &base.case.roles {
        for (begin, end) in pairs(&role.operations) {
            units.push(role.operations[begin..=end].iter().map(|it| it.number).collect());
        }
    }
    leave_out(lab, base, &units)
}

/// Single statements; what begins something together with what ends it.
pub(super) fn statements(lab: &mut Lab<'_>, base: &mut Failing) -> Result<(), Halt> {
    let mut units: Vec<Unit> = Vec::new();
    for role in &base.case.roles {
        let pairs = pairs(&role.operations);
        for (place, operation) in role.operations.iter().enumerate() {
            let pair = pairs.iter().find(|(begin, end)| [*begin, *end].contains(&place));
            match pair {
                None => units.push(Unit::from([operation.number])),
                Some((begin, end)) if *begin == place => {
                    units.push([*begin, *end].map(|at| role.operations[at].number).into());
                }
                Some(_) => {}
            }
        }
    }
    leave_out(lab, base, &units)
}

fn leave_out(lab: &mut Lab<'_>, base: &mut Failing, units: &[Unit]) -> Result<(), Halt> {
    ddmin(units.len(), &mut |kept: &[usize]| {
        let kept: Unit = kept.iter().flat_map(|&unit| units[unit].iter().copied()).collect();
        let out: Unit = units.iter().flatten().copied().filter(|it| !kept.contains(it)).collect();
        lab.accept(base, &base.case.without(&out))
    })?;
    Ok(())
}

/// Statements of the set-up.
pub(super) fn setup(lab: &mut Lab<'_>, base: &mut Failing) -> Result<(), Halt> {
    let all = base.case.setup.clone();
    ddmin(all.len(), &mut |kept: &[usize]| {
        let setup = kept.iter().map(|&place| all[place].clone()).collect();
        let case = Case { setup, ..base.case.clone() };
        lab.accept(base, &case)
    })?;
    Ok(())
}

/// Faults: one after the other, since there are few; then milder ones; then those that the scenario allows.
pub(super) fn faults(lab: &mut Lab<'_>, base: &mut Failing) -> Result<(), Halt> {
    let mut number = 0;
    while let Some(&place) = base.case.fault_places().get(number) {
        let case = without_fault(&base.case, place);
        let before = base.case.fault_places().len();
        // A fault that was left out must not come back as another.
        if !lab.accept(base, &case)? || base.case.fault_places().len() == before {
            number += 1;
        }
    }
    soften(lab, base)?;
    allow_less(lab, base)
}

/// The actor goes on instead. If it was killed, it does not come back either.
fn without_fault(case: &Case, place: usize) -> Case {
    let mut case = case.clone();
    let fault = case.moves[place].step.clone();
    let behind = &case.moves[place + 1..];
    let comes_back = behind.iter().position(|entry| entry.step.actor == fault.actor);
    match fault.act {
        act if act.kills() => {
            let back = comes_back.map(|at| place + 1 + at);
            if let Some(back) = back.filter(|&back| case.moves[back].operation.is_none()) {
                case.moves.remove(back);
            }
            case.moves.remove(place);
        }
        Act::Pause => {
            case.moves.remove(place);
        }
        _ => case.moves[place].step.act = Act::Go,
    }
    case
}

/// The same fault with less to it, if the scenario knows that.
fn soften(lab: &mut Lab<'_>, base: &mut Failing) -> Result<(), Halt> {
    for number in 0..base.case.fault_places().len() {
        let Some(&place) = base.case.fault_places().get(number) else { break };
        let milder: &[Act] = match base.case.moves[place].step.act {
            Act::Torn | Act::LossOrdered => &[Act::Kill],
            Act::LossStrict => &[Act::Kill, Act::LossOrdered],
            Act::Full => &[Act::Eio, Act::Enospc],
            Act::Enospc => &[Act::Eio],
            _ => &[],
        };
        let known = base.case.faults.as_ref().map(|faults| faults.kinds.clone());
        for &act in milder.iter().filter(|act| known.iter().flatten().any(|kind| kind == *act)) {
            let mut case = base.case.clone();
            case.moves[place].step.act = act;
            if lab.accept(base, &case)? {
                break;
            }
        }
    }
    Ok(())
}

/// The scenario allows what happens, and no more.
fn allow_less(lab: &mut Lab<'_>, base: &mut Failing) -> Result<(), Halt> {
    let Some(faults) = base.case.faults.clone() else { return Ok(()) };
    let (kinds, at_most) = (base.case.kinds(), base.case.fault_places().len() as u32);
    let kills = kinds.iter().any(|act| act.kills());
    let needed = |restart| (0 < at_most).then(|| Faults { kinds: kinds.clone(), at_most, restart });
    for restart in [false, faults.restart] {
        let less = needed(restart && kills);
        if less.as_ref() == Some(&faults) {
            break;
        }
        let case = Case { faults: less, ..base.case.clone() };
        if lab.accept(base, &case)? {
            break;
        }
    }
    Ok(())
}
