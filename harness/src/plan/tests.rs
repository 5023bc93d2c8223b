//! Claims about plans.
//!
//! # Scope of determinism
//!
//! The pinned plan is equal on every platform; the other claims are tried on the inputs proptest draws.
//!
//! # Invariants
//!
//! * What a plan must contain is worked out here from the definitions, not with the planner's own helpers.

use super::*;
use crate::pipeline::Price;
use crate::scenario::{Data, Mode, Model, Panel, Windows, Writes};
use crate::seed::fnv1a;
use manager::WindowMode;
use proptest::prelude::*;

fn scenario() -> Scenario {
    let workers = |processes, threads| Workers { processes, threads };
    Scenario {
        id: "fixture".to_owned(),
        title: "A fixture".to_owned(),
        suites: vec!["ci".to_owned()],
        mode: Mode::Free,
        drivers: vec![crate::scenario::Driver::Managed],
        work: Work::Pipeline {
            data: Data {
                prices: "prices.csv".into(),
                price: Price::Close,
                from: "2009-01-02".to_owned(),
                tickers: None,
            },
            model: Model { ridge: 1.0 },
        },
        windows: Windows {
            mode: WindowMode::Rolling,
            count: 3,
            block_sessions: 10,
            train_sessions: 60,
            eval_sessions: 15,
            step_sessions: 15,
            label_sessions: 5,
            embargo_sessions: 1,
        },
        training: workers(2, 2),
        evaluation: workers(1, 2),
        writes: Writes::AtOnce,
        expect: BTreeMap::new(),
    }
}

/// A market whose tickers are first traded at those positions.
fn market(sessions: u32, listed: &[u32]) -> Market {
    let date = |session| format!("day {session:04}");
    let tickers = listed.iter().enumerate().map(|(index, first_session)| Ticker {
        name: format!("T{index:02}"),
        first_session: *first_session,
    });
    Market { sessions: (0..sessions).map(date).collect(), tickers: tickers.collect() }
}

fn ticker(step: &Step) -> &str {
    match step {
        Step::Features { ticker, .. }
        | Step::Fit { ticker, .. }
        | Step::Late { ticker, .. }
        | Step::Score { ticker, .. } => ticker,
        Step::Panels { .. } | Step::Prepare { .. } | Step::Read { .. } => "",
    }
}

/// The steps of a window, whoever does them, in an order that does not depend on the seed.
fn all_steps(window: &WindowPlan) -> Vec<Step> {
    let hands = window.training.values().chain(window.evaluation.values());
    let mut steps: Vec<Step> = hands.flatten().cloned().collect();
    steps.sort_unstable();
    steps
}

/// If this fails, every stored seed has lost its meaning.
#[test]
fn plan_of_seed_42_never_changes() {
    let plan = plan(&scenario(), &market(200, &[0, 0, 0, 70, 500]), Seed(42)).unwrap();
    let json = serde_json::to_vec(&plan).unwrap();
    assert_eq!(Seed(fnv1a(&json)).to_string(), "0x269bff7e9cbebfed");
}

#[test]
fn actors_are_named_by_role_process_and_thread() {
    let plan = plan(&scenario(), &market(200, &[0]), Seed(1)).unwrap();
    let ids: Vec<&str> = plan.actors.iter().map(|actor| actor.id.as_str()).collect();
    assert_eq!(
        ids,
        [
            "training-0/0",
            "training-0/1",
            "training-1/0",
            "training-1/1",
            "evaluation-2/0",
            "evaluation-2/1",
        ]
    );
    assert_eq!(plan.actors[4].process, 2);
}

#[test]
fn the_last_windows_are_run_in_order() {
    let plan = plan(&scenario(), &market(200, &[0]), Seed(1)).unwrap();
    let windows: Vec<&Window> = plan.windows.iter().map(|window| &window.window).collect();
    let ids: Vec<u32> = windows.iter().map(|window| window.id).collect();
    assert_eq!(ids, [5, 6, 7]);
    assert_eq!((windows[2].train.clone(), windows[2].eval.clone()), (105..165, 171..186));
}

#[test]
fn a_range_that_begins_inside_a_block_needs_that_block() {
    assert_eq!(blocks(&(15..40), 10), [1, 2, 3]);
    assert_eq!(blocks(&(15..41), 10), [1, 2, 3, 4]);
    assert_eq!(blocks(&(20..30), 10), [2]);
}

#[test]
fn a_ticker_waits_for_a_window_whose_whole_training_range_it_was_traded_in() {
    let mut scenario = scenario();
    scenario.windows.count = 2;
    let windows = plan(&scenario, &market(200, &[0, 0]), Seed(1)).unwrap().windows;
    let second_train_start = windows[1].window.train.start;
    for (listed, windows_of_it) in
        [(second_train_start - 15, 2), (second_train_start, 1), (second_train_start + 1, 0)]
    {
        let plan = plan(&scenario, &market(200, &[0, listed]), Seed(1)).unwrap();
        let takes_part = |window: &&WindowPlan| {
            let mut steps = all_steps(window).into_iter().filter(|step| ticker(step) == "T01");
            steps.all(|step| !matches!(step, Step::Late { .. }))
        };
        assert_eq!(plan.windows.iter().filter(takes_part).count(), windows_of_it);
    }
}

#[test]
fn a_short_calendar_is_refused_with_what_is_needed() {
    let refused =
        |sessions| plan(&scenario(), &market(sessions, &[0]), Seed(1)).unwrap_err().to_string();
    assert_eq!(
        refused(80),
        "plan `fixture`: the first window needs 81 sessions, there are 80 since 2009-01-02; \
         begin earlier (`data.from`) or shorten the ranges under `[windows]`"
    );
    assert_eq!(
        refused(110),
        "plan `fixture`: 2 windows fit into the 110 sessions since 2009-01-02, \
         `windows.count` asks for 3; lower it or begin earlier (`data.from`)"
    );
    let last = plan(&scenario(), &market(111, &[0]), Seed(1));
    assert_eq!(last.unwrap().windows.len(), 3);
}

#[test]
fn a_window_that_nobody_was_traded_in_is_refused() {
    for listed in [&[][..], &[199]] {
        let error = plan(&scenario(), &market(200, listed), Seed(1)).unwrap_err();
        assert_eq!(
            error.to_string(),
            format!(
                "plan `fixture`: none of {} tickers was traded by day 0075, when the training range of \
                 window 5 begins; begin later (`data.from`) or choose other `data.tickers`",
                listed.len()
            )
        );
    }
}

fn worlds() -> impl Strategy<Value = (Scenario, Market)> {
    let lengths = (1..30_u32, 1..90_u32, 1..30_u32, 1..30_u32, 1..8_u32, 0..4_u32);
    let workers = (1..4_u32, 1..4_u32, 1..4_u32, 1..4_u32);
    let listed = prop::collection::vec(0..120_u32, 0..7);
    (lengths, workers, listed, 1..5_u32, any::<bool>()).prop_map(
        |((block, train, eval, step, label, embargo), workers, mut listed, count, rolling)| {
            let mut scenario = scenario();
            scenario.windows = Windows {
                mode: if rolling { WindowMode::Rolling } else { WindowMode::Expanding },
                count,
                block_sessions: block,
                train_sessions: train,
                eval_sessions: eval,
                step_sessions: step,
                label_sessions: label,
                embargo_sessions: embargo,
            };
            let (processes, threads) = (workers.0, workers.1);
            scenario.training = Workers { processes, threads };
            let (processes, threads) = (workers.2, workers.3);
            scenario.evaluation = Workers { processes, threads };
            listed.push(0);
            (scenario, market(300, &listed))
        },
    )
}

proptest! {
    #[test]
    fn every_block_of_a_training_range_is_computed_by_one_actor(
        (scenario, market) in worlds(), seed in any::<u64>()
    ) {
        for window in plan(&scenario, &market, Seed(seed)).unwrap().windows {
            let mut computed = Vec::new();
            for step in window.training.values().flatten() {
                if let Step::Features { ticker, blocks } = step {
                    prop_assert!(blocks.len() <= FEATURE_BLOCKS_MAX && !blocks.is_empty());
                    computed.extend(blocks.iter().map(|block| (ticker.clone(), *block)));
                }
            }
            computed.sort_unstable();
            let range = &window.window.train;
            let block = scenario.windows.block_sessions;
            let mut wanted = Vec::new();
            for ticker in market.tickers.iter().filter(|ticker| ticker.first_session <= range.start) {
                let overlapping = (0..300).filter(|number| {
                    range.clone().any(|session| session / block == *number)
                });
                wanted.extend(overlapping.map(|number| (ticker.name.clone(), number)));
            }
            prop_assert_eq!(computed, wanted);
        }
    }

    #[test]
    fn a_fit_comes_after_its_features_and_before_its_score(
        (scenario, market) in worlds(), seed in any::<u64>()
    ) {
        for window in plan(&scenario, &market, Seed(seed)).unwrap().windows {
            let mut fitted = Vec::new();
            for hand in window.training.values() {
                let mut computed: Vec<u32> = Vec::new();
                for step in hand {
                    match step {
                        Step::Features { blocks, .. } => computed.extend(blocks),
                        Step::Fit { ticker, blocks } => {
                            prop_assert_eq!(&computed, blocks);
                            computed.clear();
                            fitted.push(ticker);
                        }
                        Step::Late { .. } => {}
                        _ => prop_assert!(false, "a training actor scores"),
                    }
                }
                prop_assert!(computed.is_empty());
            }
            let steps = window.evaluation.values().flatten();
            let mut scored: Vec<&str> =
                steps.filter(|step| matches!(step, Step::Score { .. })).map(ticker).collect();
            fitted.sort_unstable();
            scored.sort_unstable();
            prop_assert!(scored.windows(2).all(|pair| pair[0] < pair[1]));
            prop_assert_eq!(fitted, scored);
        }
    }

    #[test]
    fn equal_inputs_give_equal_plans_and_another_seed_the_same_steps(
        (scenario, market) in worlds(), seeds in any::<(u64, u64)>()
    ) {
        let one = plan(&scenario, &market, Seed(seeds.0)).unwrap();
        prop_assert_eq!(&one, &plan(&scenario, &market, Seed(seeds.0)).unwrap());
        let other = plan(&scenario, &market, Seed(seeds.1)).unwrap();
        prop_assert_eq!(&one.actors, &other.actors);
        for (one, other) in one.windows.iter().zip(&other.windows) {
            prop_assert_eq!(all_steps(one), all_steps(other));
        }
    }

    #[test]
    fn adding_windows_leaves_the_others_unchanged(
        (mut scenario, market) in worlds(), seed in any::<u64>()
    ) {
        let few = plan(&scenario, &market, Seed(seed)).unwrap();
        scenario.windows.count += 1;
        let more = plan(&scenario, &market, Seed(seed)).unwrap();
        prop_assert_eq!(&more.windows[1..], &few.windows[..]);
    }

    #[test]
    fn a_plan_survives_the_pipe((scenario, market) in worlds(), seed in any::<u64>()) {
        let plan = plan(&scenario, &market, Seed(seed)).unwrap();
        let json = serde_json::to_string(&plan).unwrap();
        prop_assert_eq!(plan, serde_json::from_str(&json).unwrap());
    }
}

#[test]
fn the_order_of_the_market_does_not_matter() {
    let market = market(200, &[0; 8]);
    let mut reversed = market.clone();
    reversed.tickers.reverse();
    assert_eq!(plan(&scenario(), &market, Seed(1)), plan(&scenario(), &reversed, Seed(1)));
}

#[test]
fn seeds_differ_in_who_does_what() {
    let market = market(200, &[0; 8]);
    let one = plan(&scenario(), &market, Seed(1)).unwrap();
    let other = plan(&scenario(), &market, Seed(2)).unwrap();
    assert_ne!(one.windows[0].training, other.windows[0].training);
    assert_ne!(one.windows[0].training, one.windows[1].training);
}

#[test]
fn who_was_listed_too_late_is_looked_after_in_both_phases_and_not_scored() {
    let plan = plan(&scenario(), &market(200, &[0, 500]), Seed(1)).unwrap();
    for window in &plan.windows {
        for (hands, chunks) in [(&window.training, 2), (&window.evaluation, 1)] {
            let of_it: Vec<_> =
                hands.values().flatten().filter(|step| ticker(step) == "T01").collect();
            assert_eq!(of_it.len(), chunks, "{of_it:?}");
            assert!(of_it.iter().all(|step| matches!(step, Step::Late { .. })), "{of_it:?}");
        }
    }
}

#[test]
fn every_block_of_a_panel_is_dealt_once_and_every_evaluator_reads_what_is_new() {
    let mut scenario = scenario();
    scenario.work = Work::Panel(Panel { symbols: 3, sessions: 200 });
    scenario.windows = Windows {
        train_sessions: 60,
        eval_sessions: 10,
        step_sessions: 10,
        label_sessions: 0,
        embargo_sessions: 0,
        ..scenario.windows
    };
    let plan = plan(&scenario, &market(200, &[]), Seed(1)).unwrap();
    assert_eq!(plan.windows.len(), 3);
    for WindowPlan { window, training, evaluation } in &plan.windows {
        assert_eq!(window.train.end, window.eval.start, "nothing is purged");
        let (mut trained, mut new) = (Vec::<u32>::new(), Vec::<u32>::new());
        for step in training.values().flatten() {
            match step {
                Step::Panels { blocks } => trained.extend(blocks),
                Step::Prepare { blocks } => new.extend(blocks),
                other => panic!("{other:?}"),
            }
        }
        trained.sort_unstable();
        assert_eq!(trained, blocks(&window.train, 10));
        assert_eq!(new, blocks(&window.eval, 10));
        for steps in evaluation.values() {
            assert_eq!(*steps, [Step::Read { blocks: new.clone() }]);
        }
    }
}
