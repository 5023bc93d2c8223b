//! Whether operations on one object can have taken effect one after the other, each at a moment between its beginning and
//! its end (Wing and Gong, *Testing and Verifying Concurrent Objects*, 1993), with a memory of what was tried (Lowe,
//! *Testing for Linearizability*, 2017).
//!
//! Of several objects each is asked about by itself: all are linearizable together exactly if each is (Herlihy and Wing,
//! 1990).
//!
//! # Scope and invariants
//!
//! * Pure functions of the operations. Nothing here knows a database, a log or a clock.
//! * The search takes exponential time at worst, so both its input and its memory are bounded; behind a bound the answer
//!   is [`Answer::Unknown`], which is no pass.

pub mod objects;
#[cfg(test)]
mod tests;

use std::collections::HashSet;
use std::hash::Hash;

/// More operations are not looked at.
pub const OPERATIONS_MAX: usize = 200;
/// More ways are not tried.
pub const WAYS_MAX: usize = 100_000;

/// What an object does if one operation follows the other.
pub trait Object {
    /// What it is in.
    type State: Clone + Eq + Hash;
    /// What can be done to it, with what came of it.
    type Call;

    /// What it is in before the first operation.
    fn start(&self) -> Self::State;

    /// What it is in after a call; none if the call cannot have ended so in that state.
    fn apply(&self, state: &Self::State, call: &Self::Call) -> Option<Self::State>;
}

/// An operation.
#[derive(Clone, Debug)]
pub struct Operation<C> {
    /// What was done.
    pub call: C,
    /// A moment before which it had no effect.
    pub began: u64,
    /// A moment by which it had. None if it may have its effect any time later, or never.
    pub ended: Option<u64>,
}

/// What the search found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// There is an order that explains everything.
    Linearizable,
    /// There is none. However far one comes, this operation is one that can go no further.
    Not {
        /// Its place.
        stuck: usize,
    },
    /// There are too many operations, or ways.
    Unknown,
}

/// Which operations have had their effect.
type Done = [u64; OPERATIONS_MAX.div_ceil(64)];

/// Looks for an order of operations on one object.
pub fn check<O: Object>(object: &O, operations: &[Operation<O::Call>]) -> Answer {
    if OPERATIONS_MAX < operations.len() {
        return Answer::Unknown;
    }
    let nothing: Done = [0; OPERATIONS_MAX.div_ceil(64)];
    let mut ways = vec![(nothing, object.start())];
    let mut tried = HashSet::from([ways[0].clone()]);
    let mut furthest = (0, 0);
    while let Some((done, state)) = ways.pop() {
        let Some(first_end) = first_end(operations, &done) else { return Answer::Linearizable };
        let count: u32 = done.iter().map(|word| word.count_ones()).sum();
        furthest = furthest.max((count + 1, first_end));
        let limit = operations[first_end].ended;
        for (place, operation) in operations.iter().enumerate() {
            // One that began after another one's end comes after it.
            let may_be_next = limit.is_none_or(|limit| operation.began <= limit);
            if has(&done, place) || !may_be_next {
                continue;
            }
            let Some(next) = object.apply(&state, &operation.call) else { continue };
            let mut with = done;
            with[place / 64] |= 1 << (place % 64);
            if tried.insert((with, next.clone())) {
                ways.push((with, next));
            }
        }
        if WAYS_MAX < tried.len() {
            return Answer::Unknown;
        }
    }
    Answer::Not { stuck: furthest.1 }
}

fn has(done: &Done, place: usize) -> bool {
    done[place / 64] & (1 << (place % 64)) != 0
}

/// Of the operations that surely took effect, and have not yet, the one that ended first.
fn first_end<C>(operations: &[Operation<C>], done: &Done) -> Option<usize> {
    let left = (0..operations.len()).filter(|place| !has(done, *place));
    let ends = left.filter_map(|place| Some((operations[place].ended?, place)));
    ends.min().map(|(_, place)| place)
}
