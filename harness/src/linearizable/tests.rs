//! The search against single stories, and against all orders of a few operations.

use proptest::prelude::*;

use super::objects::{Lease, List, OnLease, OnList};
use super::*;
use crate::seed::Prng;

fn at<C>(began: u64, ended: u64, call: C) -> Operation<C> {
    Operation { call, began, ended: Some(ended) }
}

fn never<C>(began: u64, call: C) -> Operation<C> {
    Operation { call, began, ended: None }
}

#[test]
fn a_lease_is_had_by_one_at_a_time() {
    use OnLease::{Acquired, Released};
    let turns = [at(1, 2, Acquired(1)), at(3, 6, Released(1)), at(4, 5, Acquired(2))];
    assert_eq!(check(&Lease, &turns), Answer::Linearizable, "the release may come first");
    let both = [at(1, 2, Acquired(1)), at(6, 7, Released(1)), at(4, 5, Acquired(2))];
    assert_eq!(check(&Lease, &both), Answer::Not { stuck: 2 });
    let killed = [at(1, 2, Acquired(1)), never(3, Released(1)), at(4, 5, Acquired(2))];
    assert_eq!(
        check(&Lease, &killed),
        Answer::Linearizable,
        "who was killed may have given it back"
    );
    let foreign = [at(1, 2, Acquired(1)), at(3, 4, Released(2))];
    assert_eq!(check(&Lease, &foreign), Answer::Not { stuck: 1 });
}

#[test]
fn what_is_not_known_to_have_happened_may_have_happened_later_or_never() {
    let append = |value| vec![OnList::Append(value)];
    let read = |list: &[u64]| vec![OnList::Read(list.to_vec())];
    let story = |lists: [&[u64]; 2]| {
        let reads = [at(2, 3, read(lists[0])), at(4, 5, read(lists[1]))];
        let all: Vec<_> = [never(1, append(7))].into_iter().chain(reads).collect();
        check(&List, &all)
    };
    assert_eq!(story([&[], &[]]), Answer::Linearizable);
    assert_eq!(story([&[], &[7]]), Answer::Linearizable);
    assert_eq!(story([&[7], &[7]]), Answer::Linearizable);
    assert_eq!(story([&[7], &[]]), Answer::Not { stuck: 2 });
}

#[test]
fn too_much_is_unknown() {
    let appends = |count: u64| -> Vec<_> {
        (0..count).map(|value| at(value, value, vec![OnList::Append(value)])).collect()
    };
    assert_eq!(check(&List, &appends(200)), Answer::Linearizable);
    assert_eq!(check(&List, &appends(201)), Answer::Unknown);
    // All at once, and a read that none of the orders explains.
    let mut at_once: Vec<_> = (0..12).map(|value| at(0, 9, vec![OnList::Append(value)])).collect();
    at_once.push(at(0, 9, vec![OnList::Read(vec![99])]));
    assert_eq!(check(&List, &at_once), Answer::Unknown);
}

/// Whether some order of those that ended and some of those that did not explains everything: all orders are tried.
fn by_force(
    operations: &[Operation<Vec<OnList>>],
    order: &mut Vec<usize>,
    list: &Vec<u64>,
) -> bool {
    let left: Vec<usize> = (0..operations.len()).filter(|it| !order.contains(it)).collect();
    if left.iter().all(|it| operations[*it].ended.is_none()) {
        return true;
    }
    for &next in &left {
        let too_early = left.iter().any(|other| {
            operations[*other].ended.is_some_and(|ended| ended < operations[next].began)
        });
        let Some(after) = List.apply(list, &operations[next].call).filter(|_| !too_early) else {
            continue;
        };
        order.push(next);
        let found = by_force(operations, order, &after);
        order.pop();
        if found {
            return true;
        }
    }
    false
}

/// Appends and reads at about the same time.
fn guess(random: &mut Prng) -> Vec<Operation<Vec<OnList>>> {
    let count = 2 + random.below(5);
    let operations = (0..count).map(|value| {
        let list = (0..count).filter(|_| random.below(3) == 0).collect();
        let call = match random.below(4) {
            0 => vec![OnList::Read(list)],
            1 => vec![OnList::Read(list), OnList::Append(value)],
            _ => vec![OnList::Append(value)],
        };
        let began = random.below(10);
        let ended = (random.below(6) != 0).then(|| began + random.below(6));
        Operation { call, began, ended }
    });
    operations.collect()
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(3_000) })]

    #[test]
    fn the_search_finds_an_order_exactly_if_there_is_one(seed in any::<u64>()) {
        let operations = guess(&mut Prng::new(seed));
        let found = check(&List, &operations) == Answer::Linearizable;
        prop_assert_eq!(found, by_force(&operations, &mut Vec::new(), &Vec::new()), "{:?}", operations);
    }
}

#[test]
fn guesses_are_of_both_kinds() {
    let possible = |seed: &u64| check(&List, &guess(&mut Prng::new(*seed))) == Answer::Linearizable;
    let count = (0..1_000).filter(possible).count();
    assert!((200..800).contains(&count), "{count} of 1,000");
}
