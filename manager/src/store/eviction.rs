//! What goes first when a store holds more than it may: a pure choice, of candidates and plans.
//!
//! A walk-forward is a loop: each window reads again nearly all that the one before it has read. Least recently
//! used evicts just what is read next, and below the size of the loop it saves nothing at all. A plan knows the next
//! use of every artefact, and the store knows what each cost to compute; [`Policy::Schedule`] goes by both.

use std::ops::Range;

use crate::walk_forward::Schedule;

use super::key::Key;

#[cfg(test)]
mod simulation;
#[cfg(test)]
mod tests;

/// What a store evicts first when it holds more than it may. What is pinned is never evicted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Policy {
    /// The least recently used first, by what the evicting process has looked up itself; what others read counts from
    /// when it was published. For what is read at random; useless for a walk-forward that does not fit.
    Lru,
    /// First what cost the least compute time per byte and per time since its last use: cheap before dear, and what
    /// nobody reads ages until it goes, however dear it was. In the manner of GreedyDual-Size, with the age as the
    /// divisor. For where there is no plan and some features cost far more than others.
    Cost,
    /// What no plan reads again goes first, the least recently used first. Then what saves the least compute time
    /// per byte and per window that it has to be kept until its next use, in whichever plan that is nearest: with
    /// equal costs the one that is used last, among those used next the cheapest. Without a plan as
    /// [`Lru`](Policy::Lru).
    #[default]
    Schedule,
}

/// An artefact that a store holds.
#[derive(Clone, Debug)]
pub(crate) struct Candidate {
    /// Its key, which no other candidate has.
    pub(crate) key: Key,
    /// The positions that it covers.
    pub(crate) range: Range<u32>,
    /// The training range that it was fitted on, if it is fitted: only that window reads it.
    pub(crate) fit: Option<Range<u32>>,
    /// What its eviction frees.
    pub(crate) bytes: u64,
    /// How long it took to compute, in microseconds.
    pub(crate) compute_us: u64,
    /// The logical time of its last use, or of its publication.
    pub(crate) used: u64,
    /// Whether it has to stay.
    pub(crate) is_pinned: bool,
}

/// A walk-forward that is under way.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Progress<'a> {
    /// Who reads what.
    pub(crate) schedule: &'a Schedule,
    /// The first window that is not over.
    pub(crate) window: u32,
}

/// What to evict.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Choice {
    /// Indices of the candidates to evict, in order.
    pub(crate) evict: Vec<usize>,
    /// The bytes that this frees.
    pub(crate) freed: u64,
    /// The bytes over the budget that remain, since the rest is pinned.
    pub(crate) short: u64,
}

/// Chooses what to evict so that of `total_bytes` at most `budget_bytes` remain.
///
/// Each one chosen is needed: without any one of them too little would be freed. If all that is not pinned is too
/// little, all of it that has bytes goes, and [`Choice::short`] says what is missing. The choice is a function of
/// the candidates, not of their order; ties go by key. Its time is linear in the candidates, plus the sorting of the
/// chosen.
pub(crate) fn choose(
    candidates: &[Candidate],
    total_bytes: u64,
    budget_bytes: u64,
    policy: Policy,
    plans: &[Progress<'_>],
) -> Choice {
    let needed = total_bytes.saturating_sub(budget_bytes);
    if needed == 0 {
        return Choice::default();
    }
    let now = candidates.iter().map(|candidate| candidate.used).max().unwrap_or(0);
    let mut ranked = Vec::with_capacity(candidates.len());
    let movable = candidates.iter().enumerate().filter(|(_, candidate)| !candidate.is_pinned);
    ranked.extend(movable.map(|(index, candidate)| Ranked {
        worth: Worth::of(candidate, policy, plans, now),
        key: candidate.key,
        index,
        bytes: candidate.bytes,
    }));
    let count = shortest_prefix(&mut ranked, needed);
    ranked.truncate(count);
    ranked.sort_unstable();
    let freed = spare(&mut ranked, needed);
    Choice {
        evict: ranked.into_iter().map(|ranked| ranked.index).collect(),
        freed,
        short: needed.saturating_sub(freed),
    }
}

/// A candidate's place in the order, and what the choice needs to know of it: all that it touches, side by side.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Ranked {
    worth: Worth,
    key: Key,
    index: usize,
    bytes: u64,
}

fn bytes(ranked: &[Ranked]) -> u64 {
    ranked.iter().map(|ranked| ranked.bytes).sum()
}

/// What keeping an artefact is worth; the least goes first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Worth {
    /// Nothing but that it was used at this time.
    LastUse(u64),
    /// Compute time saved per byte and per time kept: the bits of a number ≥ 0, whose order is that of the numbers.
    Rate(u64),
}

impl Worth {
    /// What `candidate` is worth at the logical time `now`.
    fn of(candidate: &Candidate, policy: Policy, plans: &[Progress<'_>], now: u64) -> Self {
        let last_use = Self::LastUse(candidate.used);
        match policy {
            Policy::Lru => last_use,
            Policy::Cost => Self::of_keeping(candidate, now - candidate.used),
            Policy::Schedule => plans
                .iter()
                .filter_map(|plan| plan.windows_until_use(candidate))
                .min()
                .map_or(last_use, |windows| Self::of_keeping(candidate, windows)),
        }
    }

    /// What it is worth to keep `candidate` until `time` from now, if that saves computing it once.
    fn of_keeping(candidate: &Candidate, time: u64) -> Self {
        let byte_time = candidate.bytes.max(1) as f64 * (time as f64 + 1.0);
        Self::Rate((candidate.compute_us as f64 / byte_time).to_bits())
    }
}

impl Progress<'_> {
    /// How many windows from now the next one is that reads `candidate`; 0 is the present one.
    fn windows_until_use(&self, candidate: &Candidate) -> Option<u64> {
        let next = match &candidate.fit {
            Some(fit) => self.schedule.next_use_fitted(fit.clone(), self.window),
            None => self.schedule.next_use(candidate.range.clone(), self.window),
        };
        next.map(|next| u64::from(next - self.window))
    }
}

/// Moves the first in order to the front, as few as have `needed` bytes together, and says how many they are; all
/// if all have less. A binary search that sorts only what it has to, in linear time.
fn shortest_prefix(items: &mut [Ranked], mut needed: u64) -> usize {
    // The last one that is needed is in `begin..end` or, at its place already, at `end`. `needed` is without those
    // before `begin`.
    let (mut begin, mut end) = (0, items.len());
    while begin < end {
        let middle = begin + (end - begin) / 2;
        items[begin..end].select_nth_unstable(middle - begin);
        let first = bytes(&items[begin..=middle]);
        if first < needed {
            needed -= first;
            begin = middle + 1;
        } else {
            end = middle;
        }
    }
    items.len().min(end + 1)
}

/// Removes, from the last to the first, whatever the rest can do without and still have `needed` bytes, or all that
/// there are if they are less. Returns the bytes of the rest.
fn spare(items: &mut Vec<Ranked>, needed: u64) -> u64 {
    let mut sum = bytes(items);
    let needed = needed.min(sum);
    items.reverse();
    items.retain(|item| {
        let without = sum - item.bytes;
        if without >= needed {
            sum = without;
        }
        without < needed
    });
    items.reverse();
    sum
}
