//! Every interleaving of the store's single flight inside one process, and of a mirror with a publisher, by loom.
//!
//! What is modelled: `store::flights`, the very file of the crate, with loom's mutex and condition variable in the place of
//! the real ones; and, in the words of this file, how `publish.rs` uses it and how `core.rs` and `mirror.rs` use the generation.
//! What is not: other processes, DuckDB, the clock. Each property has a canary: the same model without the step that it
//! rests on has to fail.
//!
//! ```console
//! $ cargo test --release -p manager --no-default-features --test flight_models
//! ```

mod seam {
    #[path = "../../src/seam/clock.rs"]
    #[allow(dead_code, reason = "the models use a part of it")]
    pub(crate) mod clock;
    #[path = "../../src/seam/free.rs"]
    #[allow(dead_code, reason = "the models use a part of it")]
    pub(crate) mod lockstep;
    #[path = "../../src/seam/patience.rs"]
    #[allow(dead_code, unreachable_pub, reason = "the models use a part of it")]
    pub(crate) mod patience;
    pub(crate) mod sync;
}

mod model {
    pub(crate) mod explore;
}

#[path = "../src/store"]
#[allow(dead_code, reason = "the models use a part of it")]
mod store {
    pub(crate) mod flights;
}

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use loom::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use loom::thread;

use model::explore::{Budget, explore};
use seam::patience::Patience;
use seam::sync::{Mutex, never};
use store::flights::{Flights, Landing, Role};

/// What the threads share: a store with one key, and how often it was computed.
struct Site {
    flights: Flights<u8, u32>,
    stored: Mutex<Option<u32>>,
    computed: AtomicU32,
}

/// Which step is left out.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Planted {
    Nothing,
    NoSecondLook,
    LandsBeforeItStores,
}

impl Site {
    fn new() -> Arc<Self> {
        let (stored, computed) = (Mutex::new(None), AtomicU32::new(0));
        Arc::new(Self { flights: Flights::new(), stored, computed })
    }

    /// As `publish::get_or_compute`; `work` computes or fails.
    fn get_or_compute(&self, planted: Planted, work: impl Fn() -> Option<u32>) -> Option<u32> {
        loop {
            if let Some(found) = *self.stored.lock() {
                return Some(found);
            }
            let flying = match self.flights.join(7) {
                Role::Pilot(pilot) => {
                    let found = *self.stored.lock();
                    if let Some(found) = found.filter(|_| planted != Planted::NoSecondLook) {
                        pilot.land(Landing::Found(found));
                        return Some(found);
                    }
                    self.computed.fetch_add(1, Ordering::Relaxed);
                    let Some(computed) = work() else {
                        pilot.land(Landing::Failed("planted".to_owned()));
                        return None;
                    };
                    if planted == Planted::LandsBeforeItStores {
                        drop(pilot);
                        *self.stored.lock() = Some(computed);
                        return Some(computed);
                    }
                    *self.stored.lock() = Some(computed);
                    pilot.land(Landing::Found(computed));
                    return Some(computed);
                }
                Role::Passenger(flying) => flying,
                Role::Itself => unreachable!("nobody asks for itself"),
            };
            match flying.wait(&Patience::until(never())) {
                Some(Landing::Found(found)) => return Some(found),
                Some(Landing::Failed(_)) => return None,
                Some(Landing::GaveUp) => {}
                None => unreachable!("it waits for good"),
            }
        }
    }
}

fn three_threads_compute_once(planted: Planted) {
    let site = Site::new();
    let ask = |number| {
        let site = Arc::clone(&site);
        move || site.get_or_compute(planted, || Some(number))
    };
    let others = [thread::spawn(ask(1)), thread::spawn(ask(2))];
    let own = ask(3)();
    for other in others {
        assert_eq!(other.join().unwrap(), own, "everybody has the same");
    }
    assert_eq!(site.computed.load(Ordering::Relaxed), 1);
}

#[test]
fn what_three_threads_miss_is_computed_once() {
    let budget = Budget { preemptions: 3, executions: EXECUTIONS_OF_FLIGHT };
    explore(budget, || three_threads_compute_once(Planted::Nothing));
}

/// The first one fails, or its thread gives up; those who wait for it hear of that, and whoever comes later computes.
#[test]
fn a_failure_reaches_who_waits_and_leaves_nothing_behind() {
    explore(Budget { preemptions: 3, executions: EXECUTIONS_OF_FAILURE }, || {
        let site = Site::new();
        let waiting = thread::spawn({
            let site = Arc::clone(&site);
            move || site.get_or_compute(Planted::Nothing, || Some(2))
        });
        let own = site.get_or_compute(Planted::Nothing, || None);
        let theirs = waiting.join().unwrap();
        let computed = site.computed.load(Ordering::Relaxed);
        match (own, theirs) {
            (None, None) => assert_eq!(computed, 1, "they flew together"),
            (None, Some(2)) => assert_eq!(computed, 2, "they came after"),
            (Some(2), Some(2)) => assert_eq!(computed, 1, "they came before"),
            other => panic!("{other:?}"),
        }
        assert_eq!(site.get_or_compute(Planted::Nothing, || Some(5)), theirs.or(Some(5)));
    });
}

/// What a publisher and a reader share, as they do over processes.
struct Mirrored {
    manifest: Mutex<Vec<u32>>,
    generation: AtomicU64,
    told: AtomicU32,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Order {
    Right,
    CountsBeforeItCommits,
    ReadsTheGenerationLast,
    TellsBeforeItCounts,
}

fn publish(site: &Mirrored, number: u32, order: Order) {
    if order == Order::CountsBeforeItCommits {
        site.generation.fetch_add(1, Ordering::AcqRel);
    }
    site.manifest.lock().push(number);
    if order == Order::TellsBeforeItCounts {
        site.told.store(number, Ordering::Release);
    }
    if order != Order::CountsBeforeItCommits {
        site.generation.fetch_add(1, Ordering::AcqRel);
    }
    site.told.store(number, Ordering::Release);
}

/// A reader that has looked before, and looks again whenever it is told of something.
fn read(site: &Mirrored, order: Order) {
    let mut snapshot: Option<(u64, Vec<u32>)> = None;
    for _ in 0..2 {
        let told = site.told.load(Ordering::Acquire);
        let current =
            snapshot.take().filter(|(at, _)| *at == site.generation.load(Ordering::Acquire));
        let (at, rows) = current.unwrap_or_else(|| {
            let before = site.generation.load(Ordering::Acquire);
            let rows = site.manifest.lock().clone();
            let after = site.generation.load(Ordering::Acquire);
            (if order == Order::ReadsTheGenerationLast { after } else { before }, rows)
        });
        assert!(told == 0 || rows.contains(&told), "told of {told}, and {rows:?} is all there is");
        snapshot = Some((at, rows));
    }
}

fn a_publisher_and_a_reader(order: Order) {
    let manifest = Mutex::new(Vec::new());
    let (generation, told) = (AtomicU64::new(1), AtomicU32::new(0));
    let site = Arc::new(Mirrored { manifest, generation, told });
    let publishing = thread::spawn({
        let site = Arc::clone(&site);
        move || {
            publish(&site, 1, order);
            publish(&site, 2, order);
        }
    });
    read(&site, order);
    publishing.join().unwrap();
}

/// I9.
#[test]
fn whoever_is_told_of_a_publication_finds_it() {
    let budget = Budget { preemptions: 3, executions: EXECUTIONS_OF_MIRROR };
    explore(budget, || a_publisher_and_a_reader(Order::Right));
}

/// Each step that the models leave out is one that they rest on.
#[test]
fn the_models_fail_without_the_steps_they_rest_on() {
    let fails = |model: fn()| {
        let unbounded = Budget { preemptions: 3, executions: 0 };
        catch_unwind(AssertUnwindSafe(|| explore(unbounded, model))).is_err()
    };
    let models: [(&str, fn()); 5] = [
        ("no second look", || three_threads_compute_once(Planted::NoSecondLook)),
        ("lands before it stores", || three_threads_compute_once(Planted::LandsBeforeItStores)),
        ("counts before it commits", || a_publisher_and_a_reader(Order::CountsBeforeItCommits)),
        ("reads the generation last", || a_publisher_and_a_reader(Order::ReadsTheGenerationLast)),
        ("tells before it counts", || a_publisher_and_a_reader(Order::TellsBeforeItCounts)),
    ];
    for (name, model) in models {
        assert!(fails(model), "`{name}` is not noticed");
    }
}

// Measured in a release build on two busy cores.
const EXECUTIONS_OF_FLIGHT: usize = 1_566;
const EXECUTIONS_OF_FAILURE: usize = 67;
const EXECUTIONS_OF_MIRROR: usize = 1_583;
