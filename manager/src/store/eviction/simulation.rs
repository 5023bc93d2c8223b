//! A walk-forward over features × blocks, played against a store of a given capacity that evicts with [`choose`]
//! after each publish. One get-many and one publish for each few features: all the blocks that the window reads of
//! them.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::time::{Duration, Instant};

use super::*;
use crate::walk_forward::{WalkForward, Window, WindowMode};

const FEATURES: u32 = 158;
const BLOCKS: u32 = 154;
/// Sessions in a block.
const BLOCK: u32 = 20;
const TRAIN_BLOCKS: u32 = 110;
/// A block of a feature of 300 symbols, as Parquet.
const BYTES: u64 = 34_000;
/// Features in one look-up and publish.
const BATCH: u32 = 15;
const NOWHERE: usize = usize::MAX;

fn shape(mode: WindowMode) -> WalkForward {
    WalkForward {
        positions: BLOCKS * BLOCK,
        train: TRAIN_BLOCKS * BLOCK,
        eval: BLOCK,
        step: BLOCK,
        label_horizon: 1,
        embargo: 0,
        mode,
        keep_tail: false,
    }
}

/// Microseconds for a block of each feature: a power law, dealt out so that dear and cheap features are mixed.
fn heavy_tailed() -> Vec<u64> {
    let ranks = (0..FEATURES).map(|feature| f64::from(feature * 61 % FEATURES + 1));
    ranks.map(|rank| (33_000.0 * rank.powf(-1.28)) as u64).collect()
}

fn equal() -> Vec<u64> {
    vec![1_000; FEATURES as usize]
}

/// What a run saved.
#[derive(Default)]
struct Tally {
    lookups: u64,
    hits: u64,
    cost: u64,
    saved: u64,
}

impl Tally {
    fn look_up(&mut self, is_hit: bool, cost: u64) {
        self.lookups += 1;
        self.cost += cost;
        if is_hit {
            self.hits += 1;
            self.saved += cost;
        }
    }

    fn hit_ratio(&self) -> f64 {
        self.hits as f64 / self.lookups as f64
    }

    fn saved_ratio(&self) -> f64 {
        self.saved as f64 / self.cost as f64
    }
}

/// What `window` reads, in the order in which it reads it: the numbers of artefacts, feature by feature.
fn batches(window: &Window) -> impl Iterator<Item = Vec<u32>> {
    let blocks = window.train.start / BLOCK..window.eval.end / BLOCK;
    (0..FEATURES).step_by(BATCH as usize).map(move |first| {
        (first..FEATURES.min(first + BATCH))
            .flat_map(|feature| blocks.clone().map(move |block| feature * BLOCKS + block))
            .collect()
    })
}

fn cost_of(number: u32, costs: &[u64]) -> u64 {
    costs[(number / BLOCKS) as usize]
}

fn artefact(number: u32, costs: &[u64]) -> Candidate {
    let block = number % BLOCKS;
    // Keys are hashes: mixed, but the same in every run.
    let mixed = u128::from(number + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15_F39C_C060_5CED_C835);
    Candidate {
        key: Key::from_bytes((mixed ^ (mixed >> 64)).to_le_bytes()),
        range: block * BLOCK..(block + 1) * BLOCK,
        fit: None,
        bytes: BYTES,
        compute_us: cost_of(number, costs),
        used: 0,
        is_pinned: false,
    }
}

/// A store in memory: what it holds, and where in it each artefact is.
struct Held {
    candidates: Vec<Candidate>,
    numbers: Vec<u32>,
    places: Vec<usize>,
}

impl Held {
    fn new() -> Self {
        let places = vec![NOWHERE; (FEATURES * BLOCKS) as usize];
        Self { candidates: Vec::new(), numbers: Vec::new(), places }
    }

    fn find(&mut self, number: u32) -> Option<&mut Candidate> {
        self.candidates.get_mut(self.places[number as usize])
    }

    fn insert(&mut self, number: u32, candidate: Candidate) {
        self.places[number as usize] = self.candidates.len();
        self.candidates.push(candidate);
        self.numbers.push(number);
    }

    fn remove(&mut self, mut places: Vec<usize>) {
        places.sort_unstable();
        for place in places.into_iter().rev() {
            self.candidates.swap_remove(place);
            self.places[self.numbers.swap_remove(place) as usize] = NOWHERE;
            if let Some(moved) = self.numbers.get(place) {
                self.places[*moved as usize] = place;
            }
        }
    }
}

/// Plays the walk-forward of `shape` against a store that holds `capacity` artefacts.
fn simulate(shape: &WalkForward, policy: Policy, capacity: usize, costs: &[u64]) -> Tally {
    let schedule = Schedule::new(shape, 0).unwrap();
    let (mut held, mut tally) = (Held::new(), Tally::default());
    let mut now = 0;
    for window in shape.windows().unwrap() {
        let plan = Progress { schedule: &schedule, window: window.id };
        for batch in batches(&window) {
            now += 1;
            for number in batch {
                let found = held.find(number);
                tally.look_up(found.is_some(), cost_of(number, costs));
                match found {
                    Some(candidate) => candidate.used = now,
                    None => held.insert(number, Candidate { used: now, ..artefact(number, costs) }),
                }
            }
            let total = held.candidates.len() as u64 * BYTES;
            let budget = capacity as u64 * BYTES;
            held.remove(choose(&held.candidates, total, budget, policy, &[plan]).evict);
        }
    }
    tally
}

/// The most hits that anything can have which holds `capacity` artefacts between batches: Belády's choice, which
/// knows the batch of each next use and need not keep what it has just read.
fn best_hits(shape: &WalkForward, capacity: usize) -> u64 {
    let reads: Vec<Vec<u32>> = shape.windows().unwrap().iter().flat_map(batches).collect();
    let mut next = vec![usize::MAX; (FEATURES * BLOCKS) as usize];
    // For each read, the batch that reads the same artefact next.
    let mut next_reads: Vec<Vec<usize>> = Vec::new();
    for (batch, numbers) in reads.iter().enumerate().rev() {
        next_reads.push(
            numbers.iter().map(|n| std::mem::replace(&mut next[*n as usize], batch)).collect(),
        );
    }
    next_reads.reverse();

    let (mut held, mut hits) = (BTreeSet::new(), 0);
    for (batch, numbers) in reads.iter().enumerate() {
        for number in numbers {
            hits += u64::from(held.remove(&(batch, *number)));
        }
        let again = numbers.iter().zip(&next_reads[batch]).filter(|(_, next)| **next != usize::MAX);
        held.extend(again.map(|(number, next)| (*next, *number)));
        while held.len() > capacity {
            held.pop_last();
        }
    }
    hits
}

/// One row: a mode and a capacity.
struct Row {
    mode: WindowMode,
    percent: usize,
    lru: Tally,
    cost: Tally,
    schedule: Tally,
    equal: Tally,
    best: f64,
}

fn row(mode: WindowMode, percent: usize) -> Row {
    let shape = shape(mode);
    let live = shape.windows().unwrap().iter().map(|w| w.eval.end - w.train.start).max().unwrap();
    let capacity = (live / BLOCK * FEATURES) as usize * percent / 100;
    let costs = heavy_tailed();
    let run = |policy| simulate(&shape, policy, capacity, &costs);
    let equal = simulate(&shape, Policy::Schedule, capacity, &equal());
    Row {
        mode,
        percent,
        lru: run(Policy::Lru),
        cost: run(Policy::Cost),
        schedule: run(Policy::Schedule),
        best: best_hits(&shape, capacity) as f64 / equal.lookups as f64,
        equal,
    }
}

fn table(rows: &[Row]) -> String {
    let mut text = String::from(
        "hits / compute time saved         LRU            cost           schedule       equal costs  best\n",
    );
    for row in rows {
        let _ =
            write!(text, "{:<9} {:>3} %                ", format!("{:?}", row.mode), row.percent);
        for tally in [&row.lru, &row.cost, &row.schedule] {
            let _ = write!(text, "  {:.3} / {:.3}", tally.hit_ratio(), tally.saved_ratio());
        }
        let _ = writeln!(text, "  {:.3}        {:.3}", row.equal.hit_ratio(), row.best);
    }
    text
}

#[test]
fn a_tenth_of_the_features_costs_three_quarters_of_the_time() {
    let mut costs = heavy_tailed();
    costs.sort_unstable();
    let dear: u64 = costs.iter().rev().take(FEATURES as usize / 10 + 1).sum();
    let share = dear as f64 / costs.iter().sum::<u64>() as f64;
    assert!((0.75..0.79).contains(&share), "{share}");
}

#[test]
fn the_schedule_saves_what_lru_loses() {
    let modes = [WindowMode::Rolling, WindowMode::Expanding];
    let cases = modes.map(|mode| [25, 50, 90, 100].map(|percent| (mode, percent)));
    let rows: Vec<Row> = std::thread::scope(|scope| {
        let rows = cases.as_flattened().iter().map(|case| scope.spawn(|| row(case.0, case.1)));
        let rows: Vec<_> = rows.collect();
        rows.into_iter().map(|row| row.join().unwrap()).collect()
    });
    print!("{}", table(&rows));

    for row in &rows {
        let what = format!("{:?} {} %", row.mode, row.percent);
        assert!(row.equal.hit_ratio() <= row.best + 1e-9, "{what}: better than the best");
        assert!(row.equal.hit_ratio() >= row.best - 0.02, "{what}: {} hits", row.equal.hit_ratio());
        match row.percent {
            100 => {
                assert!(row.lru.hit_ratio() >= 0.96, "{what}: LRU");
                assert!(row.schedule.hit_ratio() >= 0.96, "{what}: schedule");
            }
            _ => assert!(row.schedule.saved_ratio() > row.lru.saved_ratio(), "{what}"),
        }
        if row.percent == 50 {
            assert!(row.schedule.saved_ratio() >= 0.88, "{what}: {}", row.schedule.saved_ratio());
            let is_nothing = row.lru.hits == 0;
            assert!(is_nothing || row.mode == WindowMode::Expanding, "{what}: LRU saved something");
        }
    }
}

#[test]
fn a_choice_among_a_whole_store_takes_milliseconds() {
    let costs = heavy_tailed();
    let candidates: Vec<Candidate> =
        (0..FEATURES * BLOCKS).map(|number| artefact(number, &costs)).collect();
    let schedule = Schedule::new(&shape(WindowMode::Rolling), 0).unwrap();
    let plan = Progress { schedule: &schedule, window: 20 };
    let total = candidates.len() as u64 * BYTES;
    for evicted in [158, candidates.len() as u64 / 2] {
        let fastest = (0..20)
            .map(|_| {
                let begin = Instant::now();
                let budget = total - evicted * BYTES;
                let choice = choose(&candidates, total, budget, Policy::Schedule, &[plan]);
                assert_eq!(choice.evict.len() as u64, evicted);
                begin.elapsed()
            })
            .min();
        println!("{evicted} of {}: {fastest:?}", candidates.len());
        assert!(fastest < Some(Duration::from_millis(10)), "{fastest:?}");
    }
}
