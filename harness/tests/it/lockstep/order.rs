//! The orders that strategies give: how many there are, counted independently, and that they never change.

use std::collections::BTreeSet;

use harness::lockstep::explore;
use harness::lockstep::strategy::{Kind, Pct};
use harness::scenario::script::Script;
use harness::seed::Seed;

use super::drivers::Fake;
use super::{Bench, Log, Managed, Naive, script, shipped};

/// Counts schedules by brute force: `left[i]` steps are left of actor `i`, which moved last, and the last one may be
/// left `preemptions` times while it has steps. Knows nothing of the harness.
fn count(left: &mut [u32], last: Option<usize>, preemptions: u32) -> u64 {
    if left.iter().all(|&steps| steps == 0) {
        return 1;
    }
    let mut sum = 0;
    for next in 0..left.len() {
        let preempts = last.is_some_and(|last| last != next && 0 < left[last]);
        if left[next] == 0 || (preempts && preemptions == 0) {
            continue;
        }
        left[next] -= 1;
        sum += count(left, Some(next), preemptions - u32::from(preempts));
        left[next] += 1;
    }
    sum
}

/// The manager's rules, in a model of their own: a writer waits for another writer, and for readers as long as the file
/// is attached to be read. A try that fails is a step, and its actor waits until somebody is done.
#[derive(Clone)]
struct Model {
    left: Vec<u32>,
    waiting: Vec<bool>,
    all: Vec<u32>,
    writes: Vec<bool>,
    attached_to_write: bool,
}

impl Model {
    fn of(script: &Script) -> Self {
        let all: Vec<u32> = script.actors.iter().map(|actor| actor.steps.len() as u32).collect();
        let writes = script.actors.iter().map(|actor| actor.steps[0] == "begin write").collect();
        let waiting = vec![false; all.len()];
        Self { left: all.clone(), waiting, all, writes, attached_to_write: false }
    }

    fn can_move(&self, actor: usize) -> bool {
        0 < self.left[actor] && !self.waiting[actor]
    }

    /// Whether somebody who writes, or only reads, is between begin and commit.
    fn is_in(&self, writes: bool) -> bool {
        let mut actors = 0..self.all.len();
        actors.any(|it| self.writes[it] == writes && (1..self.all[it]).contains(&self.left[it]))
    }

    fn step(&mut self, actor: usize) {
        if self.writes[actor] && self.left[actor] == self.all[actor] {
            if self.is_in(true) || (self.is_in(false) && !self.attached_to_write) {
                self.waiting[actor] = true;
                return;
            }
            self.attached_to_write = true;
        }
        self.left[actor] -= 1;
        if self.left[actor] == 0 {
            self.waiting.fill(false);
        }
    }

    fn count(&self, last: Option<usize>, preemptions: u32) -> u64 {
        if self.left.iter().all(|&steps| steps == 0) {
            return 1;
        }
        let mut sum = 0;
        for next in (0..self.all.len()).filter(|&next| self.can_move(next)) {
            let preempts = last.is_some_and(|last| last != next && self.can_move(last));
            if preempts && preemptions == 0 {
                continue;
            }
            let mut after = self.clone();
            after.step(next);
            sum += after.count(Some(next), preemptions - u32::from(preempts));
        }
        sum
    }
}

#[test]
fn three_by_six_has_1056_schedules_at_two_preemptions_and_each_is_run_once() {
    assert_eq!(count(&mut [6, 6, 6], None, 2), 1_056);
    let bench = Bench::new();
    let script = shipped("three-by-six.toml");
    let mut strategy = explore::strategy(Kind::Dfs { preemptions: 2 }, Seed(7), &script);
    let mut orders = BTreeSet::new();
    while strategy.begin() {
        let (log, _) = bench.run(&script, &Fake, &mut *strategy).unwrap();
        assert!(orders.insert(order(&log)), "a schedule was run twice");
    }
    assert_eq!((orders.len(), strategy.total()), (1_056, Some(1_056)));
}

#[test]
fn three_by_six_is_complete_on_duckdb_with_at_most_two_preemptions() {
    let script = shipped("three-by-six.toml");
    let explored = Bench::new().explore(&script, &Naive, Kind::Dfs { preemptions: 2 }, u64::MAX);
    assert_eq!((explored.schedules, explored.total), (1_056, Some(1_056)));
    assert_eq!(explored.divergence, None);
    assert!(explored.duration.as_secs() < 60, "{:?}", explored.duration);
}

#[test]
fn the_search_finds_as_many_schedules_as_brute_force_for_other_shapes_and_bounds() {
    let bench = Bench::new();
    for shape in [vec![1], vec![2, 3], vec![4, 4], vec![1, 2, 3], vec![2, 2, 2, 2]] {
        let steps = ["x"; 4];
        let names = ["ada", "bob", "eve", "joe"];
        let actors: Vec<_> =
            names.iter().zip(&shape).map(|(name, &n)| (*name, &steps[..n])).collect();
        let script = script(&actors);
        for preemptions in 0..4 {
            let mut left: Vec<u32> = shape.iter().map(|&steps| steps as u32).collect();
            let expected = count(&mut left, None, preemptions);
            let found = bench.explore(&script, &Fake, Kind::Dfs { preemptions }, u64::MAX);
            assert_eq!(found.total, Some(expected), "{shape:?} at {preemptions}");
        }
    }
}

#[test]
fn waiting_for_the_manager_leaves_as_many_schedules_as_a_model_of_its_rules() {
    for (file, bounds) in [("lost-update.toml", 0..4), ("three-by-six.toml", 0..2)] {
        let script = shipped(file);
        for preemptions in bounds {
            let expected = Model::of(&script).count(None, preemptions);
            let all = Kind::Dfs { preemptions };
            let found = Bench::new().explore(&script, &Managed, all, u64::MAX);
            assert!(found.divergence.is_none() && !found.stuck, "{:?}", found.divergence);
            assert_eq!(found.total, Some(expected), "{file} at {preemptions}");
        }
    }
    assert_eq!(Model::of(&shipped("three-by-six.toml")).count(None, 2), 1_056, "as the file says");
}

#[test]
fn the_schedules_of_seed_42_never_change() {
    let bench = Bench::new();
    let script =
        script(&[("a", &["1", "2", "3", "4"]), ("b", &["1", "2", "3"]), ("c", &["1", "2", "3"])]);
    let first_two = |kind| {
        let mut strategy = explore::strategy(kind, Seed(42), &script);
        let mut run = || {
            assert!(strategy.begin());
            order(&bench.run(&script, &Fake, &mut *strategy).unwrap().0)
        };
        [run(), run()]
    };
    assert_eq!(first_two(Kind::Random), ["cbaaaabcbc", "cabcbcbaaa"]);
    assert_eq!(first_two(Kind::Pct { depth: 3 }), ["bbbaaaaccc", "cccbbaaaab"]);
    assert_eq!(first_two(Kind::Swarm), ["cbcbbcaaaa", "caccabaabb"]);
}

#[test]
fn pct_meets_a_bug_of_depth_two_at_least_as_often_as_its_bound_says() {
    let script = shipped("lost-update.toml");
    let bound = Pct::bound(2, &script);
    assert!((bound - 1.0 / 16.0).abs() < 1e-12, "two actors, eight steps: {bound}");
    let explored = Bench::new().explore(&script, &Naive, Kind::Pct { depth: 2 }, 160);
    let met = explored.checks["no_lost_update"].violated;
    // Ten are expected at least; three would be three standard deviations below.
    assert!(3 < met, "met {met} times in 160");
}

/// All orders of the steps of a script, as who moves at each.
fn all_orders(left: &mut Vec<usize>, so_far: &mut Vec<usize>, all: &mut Vec<Vec<usize>>) {
    if left.iter().all(|&steps| steps == 0) {
        all.push(so_far.clone());
    }
    for actor in 0..left.len() {
        if 0 < left[actor] {
            left[actor] -= 1;
            so_far.push(actor);
            all_orders(left, so_far, all);
            so_far.pop();
            left[actor] += 1;
        }
    }
}

/// What tells an order from those that differ from it in the order of queries only: which of two steps of two actors comes
/// first, if one of them is no query.
fn class(order: &[usize], script: &Script) -> BTreeSet<[(usize, usize); 2]> {
    let mut done = vec![0; script.actors.len()];
    let mut steps = Vec::new();
    for &actor in order {
        steps.push((actor, done[actor]));
        done[actor] += 1;
    }
    let is_query =
        |&(actor, step): &(usize, usize)| script.actors[actor].steps[step].starts_with("SELECT");
    let mut pairs = BTreeSet::new();
    for (at, first) in steps.iter().enumerate() {
        for second in &steps[at + 1..] {
            if first.0 != second.0 && !(is_query(first) && is_query(second)) {
                pairs.insert([*first, *second]);
            }
        }
    }
    pairs
}

#[test]
fn without_a_bound_one_schedule_is_run_of_all_that_differ_in_the_order_of_queries_only() {
    let scripts: [&[(&str, &[&str])]; 4] = [
        &[("ada", &["SELECT 1", "SELECT 2"]), ("bob", &["SELECT 1", "SELECT 2"])],
        &[("ada", &["SELECT 1", "x"]), ("bob", &["SELECT 1", "SELECT 2"]), ("eve", &["x"])],
        &[("ada", &["x", "SELECT 1", "x"]), ("bob", &["SELECT 1", "x"]), ("eve", &["SELECT 1"])],
        &[("ada", &["x", "x"]), ("bob", &["x", "x", "x"])],
    ];
    for actors in scripts {
        let script = script(actors);
        let mut all = Vec::new();
        let mut left = script.actors.iter().map(|actor| actor.steps.len()).collect();
        all_orders(&mut left, &mut Vec::new(), &mut all);
        let expected: BTreeSet<_> = all.iter().map(|order| class(order, &script)).collect();
        let bench = Bench::new();
        let mut strategy = explore::strategy(Kind::Full, Seed(7), &script);
        let mut found = BTreeSet::new();
        while strategy.begin() {
            let Ok((log, _)) = bench.run(&script, &Fake, &mut *strategy) else { continue };
            let who = |name: &String| script.actors.iter().position(|actor| actor.id == *name);
            let order: Vec<usize> =
                log.steps.iter().map(|step| who(&step.decision.actor).unwrap()).collect();
            assert!(found.insert(class(&order, &script)), "two of a kind were run: {order:?}");
        }
        assert_eq!(found, expected, "{actors:?}");
        assert_eq!(strategy.total(), Some(expected.len() as u64));
    }
}

/// Who moved, a letter a step.
fn order(log: &Log) -> String {
    log.steps.iter().map(|step| &step.decision.actor[..1]).collect()
}
