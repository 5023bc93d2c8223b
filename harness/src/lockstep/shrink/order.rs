//! The order of steps, made plain: as few switches between actors as the failure needs, each as late as it can be.

use super::case::{Case, Entry};
use super::ddmin::ddmin;
use super::lab::{Failing, Halt, Lab};

/// Moves of one actor in a row.
type Stretch = Vec<Entry>;

pub(super) fn flatten(lab: &mut Lab<'_>, base: &mut Failing) -> Result<(), Halt> {
    straight(lab, base)?;
    join(lab, base)?;
    put_off(lab, base)?;
    switch_later(lab, base)
}

/// Takes an order if it needs fewer switches than the base: as it turned out, not as it was meant.
fn fewer(lab: &mut Lab<'_>, base: &mut Failing, moves: Vec<Entry>) -> Result<bool, Halt> {
    let case = Case { moves, ..base.case.clone() };
    let found = lab.attempt(&case)?;
    let better = found.filter(|found| found.case.switches() < base.case.switches());
    Ok(better.map(|better| *base = better).is_some())
}

/// One actor after the other.
fn straight(lab: &mut Lab<'_>, base: &mut Failing) -> Result<(), Halt> {
    let mut actors: Vec<String> = Vec::new();
    for entry in &base.case.moves {
        if !actors.contains(&entry.step.actor) {
            actors.push(entry.step.actor.clone());
        }
    }
    let reversed = actors.iter().rev().cloned().collect();
    for order in [actors, reversed] {
        let mut moves = base.case.moves.clone();
        moves.sort_by_key(|entry| order.iter().position(|actor| *actor == entry.step.actor));
        if fewer(lab, base, moves)? {
            break;
        }
    }
    Ok(())
}

/// Has actors go on where they were left before, by delta debugging over the stretches that are not an actor's first.
fn join(lab: &mut Lab<'_>, base: &mut Failing) -> Result<(), Halt> {
    let stretches = stretches(&base.case.moves);
    let is_first =
        |place: usize| !stretches[..place].iter().any(|other| of(other) == of(&stretches[place]));
    let later: Vec<usize> = (0..stretches.len()).filter(|&place| !is_first(place)).collect();
    ddmin(later.len(), &mut |kept: &[usize]| {
        let kept: Vec<usize> = kept.iter().map(|&number| later[number]).collect();
        let mut joined: Vec<Stretch> = Vec::new();
        for (place, stretch) in stretches.iter().enumerate() {
            let earlier = joined.iter_mut().rev().find(|other| of(other) == of(stretch));
            match earlier.filter(|_| !kept.contains(&place)) {
                Some(earlier) => earlier.extend(stretch.iter().cloned()),
                None => joined.push(stretch.clone()),
            }
        }
        fewer(lab, base, joined.concat())
    })?;
    Ok(())
}

/// Has actors wait with what they do until they go on later, where that saves a switch.
fn put_off(lab: &mut Lab<'_>, base: &mut Failing) -> Result<(), Halt> {
    let mut place = 0;
    loop {
        let mut stretches = stretches(&base.case.moves);
        if stretches.len() <= place {
            return Ok(());
        }
        let later =
            stretches[place + 1..].iter().position(|other| of(other) == of(&stretches[place]));
        let Some(later) = later.map(|at| place + 1 + at) else {
            place += 1;
            continue;
        };
        let early = std::mem::take(&mut stretches[place]);
        stretches[later].splice(0..0, early);
        if !fewer(lab, base, stretches.concat())? {
            place += 1;
        }
    }
}

/// Has an actor that is left go on for longer before it is: by as many steps as it can, halving what is tried.
fn switch_later(lab: &mut Lab<'_>, base: &mut Failing) -> Result<(), Halt> {
    let mut place = 0;
    while let Some(mut length) = movable(&base.case, place) {
        while 0 < length {
            let moves = pulled(&base.case, place, length);
            let case = Case { moves: moves.clone(), ..base.case.clone() };
            let found = lab.attempt(&case)?;
            // Followed to the letter: otherwise it is another order, and perhaps one that was there before.
            match found.filter(|found| found.case.steps() == case.steps()) {
                Some(found) => {
                    *base = found;
                    length = movable(&base.case, place).unwrap_or(0).min(length);
                }
                None => length /= 2,
            }
        }
        place += 1;
    }
    Ok(())
}

/// How many moves its actor's next stretch has beyond one, which would be joined; none behind the last stretch.
fn movable(case: &Case, place: usize) -> Option<usize> {
    let stretches = stretches(&case.moves);
    let stretch = stretches.get(place)?;
    let next = stretches[place + 1..].iter().find(|other| of(other) == of(stretch));
    Some(next.map_or(0, |next| next.len() - 1))
}

fn pulled(case: &Case, place: usize, length: usize) -> Vec<Entry> {
    let mut stretches = stretches(&case.moves);
    let later = stretches[place + 1..].iter().position(|other| of(other) == of(&stretches[place]));
    if let Some(later) = later {
        let pulled: Stretch = stretches[place + 1 + later].drain(..length).collect();
        stretches[place].extend(pulled);
    }
    stretches.concat()
}

fn stretches(moves: &[Entry]) -> Vec<Stretch> {
    moves.chunk_by(|one, next| one.step.actor == next.step.actor).map(<[Entry]>::to_vec).collect()
}

fn of(stretch: &Stretch) -> Option<&str> {
    stretch.first().map(|entry| entry.step.actor.as_str())
}
