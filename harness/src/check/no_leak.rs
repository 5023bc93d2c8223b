//! When everybody has gone, nothing is left behind: no descriptor, lock or process, and no working file.
//!
//! # Scope of determinism
//!
//! A pure function of the history, of the two surveys above all.
//!
//! # Invariants
//!
//! * What was there before the run is nobody's leak.

use std::collections::BTreeMap;
use std::fmt::Display;

use super::{Check, Evidence, Finding};
use crate::history::{Event, History, What, When};

/// Ends of the names that a file or a folder bears only while somebody works on it.
const WORKING_ENDS: [&str; 3] = [".wal", ".tmp", ".new"];

/// See the module.
#[derive(Debug)]
pub(super) struct NoLeak;

impl Check for NoLeak {
    fn id(&self) -> &'static str {
        "no_leak"
    }

    fn judge(&self, history: &History) -> Finding {
        let surveys = Survey::last(history, When::Before).zip(Survey::last(history, When::After));
        let Some((before, after)) = surveys else {
            return Finding::unknown("the machine was not surveyed both before and after the run");
        };
        let mut evidence = Evidence::default();
        let mut leaked = |kind: &str, thing: &dyn Display| {
            let Event { actor, t_ns, .. } = after.event;
            evidence.add(|| format!("{actor} found a {kind} left at {t_ns} ns: {thing}"));
        };
        for descriptor in added(before.descriptors, after.descriptors) {
            leaked("descriptor", descriptor);
        }
        for lock in added(before.locks, after.locks) {
            leaked("lock", lock);
        }
        for pid in added(before.processes, after.processes) {
            leaked("process", pid);
        }
        let files = added(before.files, after.files);
        for file in files.into_iter().filter(|file| is_working_file(file)) {
            leaked("working file", file);
        }
        for (started, pid) in never_ended(&history.events) {
            let Event { actor, t_ns, .. } = started;
            evidence
                .add(|| format!("{actor} started at {t_ns} ns as process {pid} and never ended"));
        }
        let message = format!("{} things were left behind", evidence.count);
        evidence.finding(message)
    }

    /// Leaves a write-ahead log behind.
    fn plant(&self, history: &History) -> Option<History> {
        let mut planted = history.clone();
        let events = planted.events.iter_mut().rev();
        let mut surveys = events.filter_map(|event| match &mut event.what {
            What::Survey { when: When::After, files, .. } => Some(files),
            _ => None,
        });
        surveys.next()?.push("planted.duckdb.wal".to_owned());
        Some(planted)
    }
}

#[derive(Clone, Copy)]
struct Survey<'h> {
    event: &'h Event,
    descriptors: &'h [String],
    locks: &'h [String],
    processes: &'h [u32],
    files: &'h [String],
}

impl<'h> Survey<'h> {
    fn last(history: &'h History, wanted: When) -> Option<Self> {
        let mut surveys = history.events.iter().rev().filter_map(|event| match &event.what {
            What::Survey { when, descriptors, locks, processes, files } if *when == wanted => {
                Some(Self { event, descriptors, locks, processes, files })
            }
            _ => None,
        });
        surveys.next()
    }
}

/// What `after` has more of than `before`.
fn added<'h, T: Ord>(before: &'h [T], after: &'h [T]) -> Vec<&'h T> {
    let mut known: BTreeMap<&T, u32> = BTreeMap::new();
    for thing in before {
        *known.entry(thing).or_default() += 1;
    }
    let is_new = |thing: &&T| match known.get_mut(*thing) {
        Some(left) if 0 < *left => {
            *left -= 1;
            false
        }
        _ => true,
    };
    after.iter().filter(is_new).collect()
}

fn is_working_file(path: &str) -> bool {
    let mut names = path.split('/');
    names.any(|name| WORKING_ENDS.iter().any(|end| name.ends_with(end)))
}

/// Processes that started and whose end nobody recorded.
fn never_ended(events: &[Event]) -> Vec<(&Event, u32)> {
    let mut running: Vec<(&Event, u32)> = Vec::new();
    for event in events {
        match event.what {
            What::ProcessStarted { pid } => running.push((event, pid)),
            What::ProcessEnded { pid, .. } => running.retain(|(_, running)| *running != pid),
            _ => {}
        }
    }
    running
}

#[cfg(test)]
mod tests {
    use super::super::Verdict;
    use super::super::fixture::{ended, history, started, survey};
    use super::*;

    fn judge(events: Vec<Event>) -> Finding {
        NoLeak.judge(&history(events))
    }

    /// A run that leaves `files` where `prices.csv` and `old.tmp` had been.
    fn leaves(files: &[&str]) -> Finding {
        judge(vec![
            survey(1, When::Before, &["prices.csv", "old.tmp"]),
            survey(9, When::After, files),
        ])
    }

    #[test]
    fn results_and_what_was_there_before_may_stay() {
        let finding = leaves(&["prices.csv", "old.tmp", "store.duckdb", "waltz", "new"]);
        assert_eq!(finding.verdict, Verdict::Holds);
        assert_eq!(finding.message, "0 things were left behind");
    }

    #[test]
    fn working_files_are_named() {
        let finding = leaves(&["store.duckdb.wal", "mirror.new", "payloads/7.tmp/part-0"]);
        assert_eq!((finding.verdict, finding.count), (Verdict::Violated, 3));
        assert_eq!(
            finding.because[0],
            "coordinator found a working file left at 9 ns: store.duckdb.wal"
        );
    }

    #[test]
    fn a_second_holding_of_the_same_thing_is_a_leak_too() {
        let mut before = survey(1, When::Before, &[]);
        let mut after = survey(9, When::After, &[]);
        for (event, held) in [(&mut before, 1), (&mut after, 2)] {
            if let What::Survey { descriptors, locks, processes, .. } = &mut event.what {
                *descriptors = vec!["run/history.jsonl".to_owned(); held];
                *locks = vec!["POSIX WRITE run/store.duckdb".to_owned(); held];
                *processes = vec![4711; held];
            }
        }
        let finding = judge(vec![before.clone(), after]);
        assert_eq!((finding.verdict, finding.count), (Verdict::Violated, 3));
        assert_eq!(
            finding.because,
            [
                "coordinator found a descriptor left at 9 ns: run/history.jsonl",
                "coordinator found a lock left at 9 ns: POSIX WRITE run/store.duckdb",
                "coordinator found a process left at 9 ns: 4711",
            ]
        );
        let fewer = judge(vec![before, survey(9, When::After, &[])]);
        assert_eq!(fewer.verdict, Verdict::Holds);
    }

    #[test]
    fn a_process_that_never_ended_is_a_leak_and_a_killed_one_is_not() {
        let run = |code_of_the_second: Option<Event>| {
            let mut events = vec![
                survey(1, When::Before, &[]),
                started(2, "training-0", 100),
                started(3, "training-1", 101),
                ended(7, "training-0", Some(0)),
                survey(9, When::After, &[]),
            ];
            events.extend(code_of_the_second);
            judge(events)
        };
        assert_eq!(
            run(None).because,
            ["training-1 started at 3 ns as process 101 and never ended"]
        );
        assert_eq!(run(Some(ended(8, "training-1", None))).verdict, Verdict::Holds);
    }

    #[test]
    fn a_run_that_was_not_surveyed_twice_says_nothing() {
        assert_eq!(judge(vec![survey(1, When::Before, &[])]).verdict, Verdict::Unknown);
        assert_eq!(judge(vec![survey(9, When::After, &["a.wal"])]).verdict, Verdict::Unknown);
    }

    #[test]
    fn no_defect_is_planted_where_nobody_looked_afterwards() {
        let history = history(vec![survey(1, When::Before, &[])]);
        assert_eq!(NoLeak.plant(&history), None);
    }
}
