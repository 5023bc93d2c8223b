//! Runs a model in every order that loom finds, within a budget.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// The longest that one model may take, on a busy machine.
const TIME_MAX: Duration = Duration::from_mins(1);

/// Set while bugs are planted: one that leaves less to explore is not caught by that.
const UNCOUNTED: &str = "MODELS_UNCOUNTED";

/// How far a model is explored.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Budget {
    /// The most preemptions in one execution; most races need one or two.
    pub(crate) preemptions: usize,
    /// How many executions there were when that was last measured. Fewer than half of them fail the model: one that
    /// explores nothing proves nothing.
    pub(crate) executions: usize,
}

/// Runs a model in every order. It is made anew for each.
pub(crate) fn explore(budget: Budget, model: impl Fn() + Send + Sync + 'static) {
    explore_all(budget, vec![model]);
}

/// Runs several models, which share one budget.
pub(crate) fn explore_all<M: Fn() + Send + Sync + 'static>(budget: Budget, models: Vec<M>) {
    let explored = Arc::new(AtomicUsize::new(0));
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(budget.preemptions);
    let started = Instant::now();
    for model in models {
        let explored = Arc::clone(&explored);
        builder.check(move || {
            explored.fetch_add(1, Ordering::Relaxed);
            model();
        });
    }
    let (explored, noted) = (explored.load(Ordering::Relaxed), budget.executions);
    println!("{explored} executions in {:.1?}, {noted} are noted", started.elapsed());
    if std::env::var_os(UNCOUNTED).is_none() {
        assert!(noted <= explored * 2, "only {explored} executions, it had {noted}");
    }
    assert!(started.elapsed() < TIME_MAX, "{:?}", started.elapsed());
}
