//! Counts and latencies of a history. Nobody counts for himself: every figure of a report comes from here.
//!
//! # Scope of determinism
//!
//! Pure functions of the history.

use std::collections::{BTreeMap, BTreeSet};

use hdrhistogram::Histogram;
use reports::{Counts, Latencies, Latency, Score, StoreFigures};

use crate::check;
use crate::history::{Event, History, Outcome, Role, What};

/// Counts what a report counts.
pub fn counts(history: &History) -> Counts {
    let published = acknowledged_at(history);
    let is_published =
        |key: &String, at: u64| published.get(key.as_str()).is_some_and(|&then| then < at);
    // When each actor asked for what it then missed.
    let mut asked: BTreeMap<(&str, &str), u64> = BTreeMap::new();
    let mut counts =
        Counts { lost_rows: check::lost_rows(history).unwrap_or(0), ..Counts::default() };
    for event in &history.events {
        match &event.what {
            What::Lookup { hits, missed, took_ns, .. } => {
                counts.operations += 1;
                let asked_at = event.t_ns.saturating_sub(*took_ns);
                asked.extend(missed.iter().map(|key| ((&*event.actor, &**key), asked_at)));
                if history.role(&event.actor) == Some(Role::Evaluation) {
                    counts.cache_hits += u64::from(*hits);
                    counts.cache_misses += missed.len() as u64;
                    let known = missed.iter().filter(|key| is_published(key, asked_at));
                    counts.misses_published += known.count() as u64;
                }
            }
            What::Computed { key, took_ns } => {
                counts.recomputes +=
                    u64::from(is_published(key, event.t_ns.saturating_sub(*took_ns)));
            }
            What::PublishStarted { .. } => counts.operations += 1,
            What::Conflict { .. } => counts.conflicts += 1,
            What::Retry { .. } => counts.retries += 1,
            What::SurfacedError { .. } => counts.surfaced_errors += 1,
            _ => {}
        }
    }
    counts
}

/// What the store did over all phases.
pub fn store_figures(history: &History) -> StoreFigures {
    let mut figures = StoreFigures::default();
    let mut computed = BTreeSet::new();
    for event in &history.events {
        match &event.what {
            What::Lookup { hits, missed, .. } => {
                figures.hits += u64::from(*hits);
                figures.lookups += u64::from(*hits) + missed.len() as u64;
            }
            What::Computed { key, took_ns } => {
                figures.computed += 1;
                figures.computed_twice += u64::from(!computed.insert(key));
                figures.compute_ns += took_ns;
            }
            What::Compared { same, .. } => {
                figures.compared += 1;
                figures.wrong += u64::from(!same);
            }
            What::Stored { disk_bytes, saved_us } => {
                figures.disk_bytes = *disk_bytes;
                figures.saved_ns = saved_us.saturating_mul(1_000);
            }
            _ => {}
        }
    }
    figures
}

/// When each key was first acknowledged.
fn acknowledged_at(history: &History) -> BTreeMap<&str, u64> {
    let mut in_flight = BTreeMap::new();
    let mut published = BTreeMap::new();
    for Event { t_ns, actor, what } in &history.events {
        match what {
            What::PublishStarted { op, rows } => {
                in_flight.insert((actor, op), rows);
            }
            What::PublishEnded { op, outcome: Outcome::Ok } => {
                for row in in_flight.remove(&(actor, op)).into_iter().flatten() {
                    published.entry(row.key.as_str()).or_insert(*t_ns);
                }
            }
            _ => {}
        }
    }
    published
}

/// Measures what a report measures.
pub fn latencies(history: &History) -> Latencies {
    let mut acquire = durations();
    let mut lookup = durations();
    for event in &history.events {
        match event.what {
            What::LeaseTaken { waited_ns, .. } => acquire.saturating_record(waited_ns.max(1)),
            What::Lookup { took_ns, .. } => lookup.saturating_record(took_ns.max(1)),
            _ => {}
        }
    }
    Latencies { acquire: latency(&acquire), lookup: latency(&lookup), handoff: None }
}

/// From 1 ns to an hour, to three digits.
fn durations() -> Histogram<u64> {
    Histogram::new_with_bounds(1, 3_600_000_000_000, 3).expect("the bounds are in order")
}

fn latency(durations: &Histogram<u64>) -> Option<Latency> {
    (!durations.is_empty()).then(|| {
        let quantile = |share| durations.value_at_quantile(share).min(durations.max());
        Latency::new(durations.len(), quantile(0.5), quantile(0.9), quantile(0.99), durations.max())
    })
}

/// Scores by window, over all tickers, added up in the order of their names.
pub fn scores(history: &History) -> Vec<Score> {
    #[derive(Default)]
    struct Sums {
        sessions: u32,
        sign_hits: u32,
        outside: (f64, f64),
        inside: (f64, f64),
    }
    let mut sorted: BTreeMap<(u32, &str), &What> = BTreeMap::new();
    for event in &history.events {
        if let What::Score { window, ticker, .. } = &event.what {
            sorted.insert((*window, ticker), &event.what);
        }
    }
    let mut windows: BTreeMap<u32, Sums> = BTreeMap::new();
    for ((window, _), score) in sorted {
        let What::Score {
            sessions,
            squared_error,
            squared_label,
            squared_error_in_sample,
            squared_label_in_sample,
            sign_hits,
            ..
        } = score
        else {
            continue;
        };
        let sums = windows.entry(window).or_default();
        sums.sessions += sessions;
        sums.sign_hits += sign_hits;
        sums.outside = (sums.outside.0 + squared_error, sums.outside.1 + squared_label);
        sums.inside =
            (sums.inside.0 + squared_error_in_sample, sums.inside.1 + squared_label_in_sample);
    }
    // A window without a single label, or with none that moves, has no score.
    let scored =
        windows.into_iter().filter(|(_, sums)| sums.outside.1 > 0.0 && sums.inside.1 > 0.0);
    scored
        .map(|(window, sums)| Score {
            window,
            sessions: sums.sessions,
            r2_out_of_sample: 1.0 - sums.outside.0 / sums.outside.1,
            r2_in_sample: 1.0 - sums.inside.0 / sums.inside.1,
            sign_hit_ratio: f64::from(sums.sign_hits) / f64::from(sums.sessions),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::history::{Header, Row};

    fn history(events: Vec<(u64, &str, What)>) -> History {
        let actor = |id: &str, role, process| crate::history::Actor {
            id: id.into(),
            role,
            process,
            thread: 0,
        };
        History {
            header: Header {
                format: crate::history::FORMAT.into(),
                format_version: crate::history::FORMAT_VERSION.into(),
                scenario: "s".into(),
                driver: "naive".into(),
                seed: "0x0".into(),
                actors: vec![
                    actor("training-0/0", Role::Training, 0),
                    actor("evaluation-1/0", Role::Evaluation, 1),
                ],
            },
            events: events
                .into_iter()
                .map(|(t_ns, actor, what)| Event { t_ns, actor: actor.into(), what })
                .collect(),
        }
    }

    fn publish(op: u64, key: &str) -> What {
        What::PublishStarted { op, rows: vec![Row { key: key.into(), content: "c".into() }] }
    }

    fn lookup(hits: u32, missed: &[&str], took_ns: u64) -> What {
        let missed = missed.iter().map(|&key| key.to_owned()).collect();
        What::Lookup { window: 0, hits, absent: 0, missed, took_ns }
    }

    #[test]
    fn a_miss_counts_against_the_cache_only_if_the_key_was_acknowledged_before_the_look_up_began() {
        let counts = counts(&history(vec![
            (10, "training-0/0", publish(0, "a")),
            (20, "training-0/0", What::PublishEnded { op: 0, outcome: Outcome::Ok }),
            (21, "training-0/0", publish(1, "b")),
            (22, "training-0/0", What::PublishEnded { op: 1, outcome: Outcome::Failed }),
            (25, "evaluation-1/0", lookup(0, &["a"], 10)), // began at 15, before the acknowledgement
            (40, "evaluation-1/0", lookup(3, &["a", "b"], 10)),
            (41, "training-0/0", lookup(7, &["a"], 1)), // not in the evaluation
            (50, "evaluation-1/0", What::Computed { key: "a".into(), took_ns: 5 }),
            (51, "evaluation-1/0", What::Computed { key: "b".into(), took_ns: 5 }),
        ]));
        assert_eq!((counts.cache_hits, counts.cache_misses, counts.misses_published), (3, 3, 1));
        assert_eq!(counts.recomputes, 1);
        assert_eq!(counts.operations, 5);
        assert_eq!(counts.hit_ratio_published(), Some(0.75));
    }

    #[test]
    fn what_is_computed_twice_or_compares_wrong_is_counted() {
        let computed = |key: &str| What::Computed { key: key.into(), took_ns: 100 };
        let compared = |same| What::Compared { key: "a".into(), same };
        let figures = store_figures(&history(vec![
            (1, "training-0/0", lookup(0, &["a", "b"], 1)),
            (2, "training-0/0", computed("a")),
            (3, "training-0/0", computed("b")),
            (4, "evaluation-1/0", lookup(2, &[], 1)),
            (5, "evaluation-1/0", computed("a")),
            (6, "evaluation-1/0", compared(true)),
            (7, "evaluation-1/0", compared(false)),
            (8, "coordinator", What::Stored { disk_bytes: 9, saved_us: 2 }),
        ]));
        let expected = StoreFigures {
            lookups: 4,
            hits: 2,
            computed: 3,
            computed_twice: 1,
            compared: 2,
            wrong: 1,
            compute_ns: 300,
            saved_ns: 2_000,
            disk_bytes: 9,
        };
        assert_eq!((figures, figures.hit_ratio()), (expected, Some(0.5)));
    }

    #[test]
    fn scores_add_up_over_tickers_and_a_window_without_labels_has_none() {
        let score = |window, ticker: &str, squared_error, squared_label| What::Score {
            window,
            ticker: ticker.into(),
            sessions: 10,
            squared_error,
            squared_label,
            squared_error_in_sample: 0.0,
            squared_label_in_sample: squared_label,
            sign_hits: 6,
        };
        let scores = scores(&history(vec![
            (1, "evaluation-1/0", score(0, "B", 1.0, 2.0)),
            (2, "evaluation-1/0", score(0, "A", 2.0, 2.0)),
            (3, "evaluation-1/0", score(1, "A", 0.0, 0.0)),
        ]));
        assert_eq!(scores.len(), 1);
        assert_eq!((scores[0].sessions, scores[0].window), (20, 0));
        assert!((scores[0].r2_out_of_sample - 0.25).abs() < 1e-12);
        assert!((scores[0].sign_hit_ratio - 0.6).abs() < 1e-12);
    }
}
