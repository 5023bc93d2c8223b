use super::*;
use crate::walk_forward::{WalkForward, WindowMode};
use proptest::prelude::*;

const POLICIES: [Policy; 3] = [Policy::Lru, Policy::Cost, Policy::Schedule];

/// Window `k` of five trains on `10 k..10 k + 50` and evaluates on the next 10.
fn schedule() -> Schedule {
    let shape = WalkForward {
        positions: 100,
        train: 50,
        eval: 10,
        step: 10,
        label_horizon: 1,
        embargo: 0,
        mode: WindowMode::Rolling,
        keep_tail: false,
    };
    Schedule::new(&shape, 0).unwrap()
}

fn key(number: u8) -> Key {
    Key::from_bytes([number; 16])
}

/// 10 bytes that cost 10 µs, used at 0, read by windows 2, 3 and 4.
fn candidate(number: u8) -> Candidate {
    Candidate {
        key: key(number),
        range: 70..80,
        fit: None,
        bytes: 10,
        compute_us: 10,
        used: 0,
        is_pinned: false,
    }
}

/// The order in which all of them go.
fn order(candidates: &[Candidate], policy: Policy, plans: &[Progress<'_>]) -> Vec<usize> {
    let all = candidates.iter().map(|candidate| candidate.bytes).sum();
    choose(candidates, all, 0, policy, plans).evict
}

#[test]
fn within_the_budget_nothing_goes() {
    for policy in POLICIES {
        assert_eq!(choose(&[candidate(0)], 10, 10, policy, &[]), Choice::default());
    }
}

#[test]
fn lru_goes_by_the_last_use_and_then_by_key() {
    let candidates = [
        Candidate { used: 2, ..candidate(0) },
        Candidate { used: 1, ..candidate(2) },
        Candidate { used: 1, ..candidate(1) },
    ];
    assert_eq!(order(&candidates, Policy::Lru, &[]), [2, 1, 0]);
}

#[test]
fn cost_lets_the_cheap_and_large_go_first_and_the_dear_age() {
    let candidates = [
        Candidate { compute_us: 100, used: 50, ..candidate(0) },
        Candidate { compute_us: 20, used: 50, ..candidate(1) },
        Candidate { compute_us: 100, bytes: 100, used: 50, ..candidate(2) },
        Candidate { compute_us: 100, used: 0, ..candidate(3) },
    ];
    assert_eq!(order(&candidates, Policy::Cost, &[]), [3, 2, 1, 0]);
}

#[test]
fn the_schedule_lets_go_what_no_window_reads_again_then_what_is_read_last() {
    let plan = Progress { schedule: &schedule(), window: 1 };
    let candidates = [
        Candidate { range: 80..90, ..candidate(0) },
        Candidate { range: 10..20, ..candidate(1) },
        Candidate { range: 0..10, compute_us: 1_000_000, used: 8, ..candidate(2) },
        Candidate { range: 90..100, used: 7, ..candidate(3) },
        Candidate { range: 0..10, used: 9, ..candidate(4) },
    ];
    assert_eq!(order(&candidates, Policy::Schedule, &[plan]), [2, 4, 3, 0, 1]);
}

#[test]
fn the_schedule_weighs_the_cost_against_the_time_until_the_next_use() {
    let plan = Progress { schedule: &schedule(), window: 0 };
    let now = Candidate { range: 0..10, ..candidate(0) };
    let in_four = Candidate { range: 90..100, ..candidate(1) };
    let dear = Candidate { compute_us: 51, ..in_four.clone() };
    assert_eq!(order(&[now.clone(), in_four], Policy::Schedule, &[plan]), [1, 0]);
    assert_eq!(order(&[now, dear], Policy::Schedule, &[plan]), [0, 1]);
}

#[test]
fn what_was_fitted_is_dead_once_its_window_is_over() {
    let schedule = schedule();
    let fitted = Candidate { fit: Some(10..60), ..candidate(1) };
    let cheap = Candidate { compute_us: 1, ..candidate(0) };
    let candidates = [cheap, fitted];
    let at =
        |window| order(&candidates, Policy::Schedule, &[Progress { schedule: &schedule, window }]);
    assert_eq!(at(1), [0, 1]);
    assert_eq!(at(2), [1, 0]);
}

#[test]
fn of_several_plans_the_nearest_next_use_counts() {
    let schedule = schedule();
    let plans = [0, 4].map(|window| Progress { schedule: &schedule, window });
    let candidates =
        [Candidate { range: 20..30, ..candidate(1) }, Candidate { range: 90..100, ..candidate(0) }];
    assert_eq!(order(&candidates, Policy::Schedule, &plans[..1]), [1, 0]);
    assert_eq!(order(&candidates, Policy::Schedule, &plans[1..]), [0, 1]);
    assert_eq!(order(&candidates, Policy::Schedule, &plans), [1, 0], "both at once: by key");
}

#[test]
fn a_small_one_stays_if_a_large_one_has_to_go_anyway() {
    let candidates = [
        Candidate { bytes: 1, used: 0, ..candidate(0) },
        Candidate { bytes: 5, used: 1, ..candidate(1) },
        Candidate { bytes: 100, used: 2, ..candidate(2) },
    ];
    let choice = choose(&candidates, 106, 4, Policy::Lru, &[]);
    assert_eq!(choice, Choice { evict: vec![1, 2], freed: 105, short: 0 });
    let choice = choose(&candidates, 106, 5, Policy::Lru, &[]);
    assert_eq!(choice, Choice { evict: vec![0, 2], freed: 101, short: 0 });
}

#[test]
fn what_pins_keep_from_being_freed_is_said() {
    let candidates = [Candidate { is_pinned: true, ..candidate(0) }, candidate(1)];
    let choice = choose(&candidates, 20, 4, Policy::Lru, &[]);
    assert_eq!(choice, Choice { evict: vec![1], freed: 10, short: 6 });
}

fn candidates() -> impl Strategy<Value = Vec<Candidate>> {
    let one = (
        (0..100_u32, 1..30_u32),
        prop::option::weighted(0.2, 0..60_u32),
        0..50_u64,
        0..5_u64,
        0..20_u64,
        prop::bool::weighted(0.2),
    );
    prop::collection::vec(one, 0..60).prop_map(|all| {
        all.into_iter()
            .zip(0..)
            .map(|(((begin, length), fit, bytes, compute_us, used, is_pinned), number)| Candidate {
                key: key(number),
                range: begin..begin + length,
                fit: fit.map(|begin| begin..begin + 50),
                bytes,
                compute_us,
                used,
                is_pinned,
            })
            .collect()
    })
}

fn keys(candidates: &[Candidate], choice: &Choice) -> Vec<Key> {
    choice.evict.iter().map(|index| candidates[*index].key).collect()
}

proptest! {
    #[test]
    fn a_choice_frees_what_is_needed_with_nothing_pinned_and_nothing_needless(
        candidates in candidates(), policy in prop::sample::select(&POLICIES), budget in 0..2_000_u64, window in 0..6_u32,
    ) {
        let total: u64 = candidates.iter().map(|candidate| candidate.bytes).sum();
        let needed = total.saturating_sub(budget);
        let free: u64 = candidates.iter().filter(|c| !c.is_pinned).map(|c| c.bytes).sum();
        let plan = Progress { schedule: &schedule(), window };
        let choice = choose(&candidates, total, budget, policy, &[plan]);

        let chosen = choice.evict.iter().map(|index| &candidates[*index]);
        prop_assert!(chosen.clone().all(|candidate| !candidate.is_pinned));
        prop_assert_eq!(chosen.clone().map(|candidate| candidate.bytes).sum::<u64>(), choice.freed);
        prop_assert!(choice.freed >= needed.min(free));
        prop_assert_eq!(choice.short, needed.saturating_sub(free));
        for candidate in chosen {
            prop_assert!(choice.freed - candidate.bytes < needed.min(free));
        }
    }

    #[test]
    fn a_choice_does_not_depend_on_the_order_of_the_candidates(
        (candidates, shuffled) in candidates().prop_flat_map(|all| (Just(all.clone()), Just(all).prop_shuffle())),
        policy in prop::sample::select(&POLICIES), budget in 0..1_500_u64, window in 0..6_u32,
    ) {
        let plan = Progress { schedule: &schedule(), window };
        let [one, other] = [&candidates, &shuffled].map(|all| {
            keys(all, &choose(all, 1_500, budget, policy, &[plan]))
        });
        prop_assert_eq!(one, other);
    }

    #[test]
    fn of_equal_sizes_those_go_that_are_worth_least(
        mut candidates in candidates(), policy in prop::sample::select(&POLICIES), count in 0..60_u64, window in 0..6_u32,
    ) {
        candidates.retain(|candidate| !candidate.is_pinned);
        for candidate in &mut candidates {
            candidate.bytes = 7;
        }
        let plan = Progress { schedule: &schedule(), window };
        let total = 7 * candidates.len() as u64;
        let chosen = choose(&candidates, total, total.saturating_sub(7 * count), policy, &[plan]);

        let now = candidates.iter().map(|candidate| candidate.used).max().unwrap_or(0);
        let mut sorted: Vec<usize> = (0..candidates.len()).collect();
        sorted.sort_by_key(|index| {
            (Worth::of(&candidates[*index], policy, &[plan], now), candidates[*index].key)
        });
        sorted.truncate(count as usize);
        prop_assert_eq!(chosen.evict, sorted);
    }

    #[test]
    fn without_a_plan_the_schedule_is_lru(candidates in candidates(), budget in 0..1_500_u64) {
        prop_assert_eq!(
            choose(&candidates, 1_500, budget, Policy::Schedule, &[]),
            choose(&candidates, 1_500, budget, Policy::Lru, &[])
        );
    }
}
