//! While a write lease is out, no other process holds the store, and no other writer of its own.
//!
//! # Scope of determinism
//!
//! A pure function of the history.
//!
//! # Invariants
//!
//! * Readers beside a writer in one process are fine: they see snapshots of the same instance.
//! * A lease counts as held only while it surely was (see `span`).

use super::span::{self, Held, Span};
use super::{Check, Evidence, Finding};
use crate::history::{History, Mode};

/// See the module.
#[derive(Debug)]
pub(super) struct OneWriter;

impl Check for OneWriter {
    fn id(&self) -> &'static str {
        "one_writer"
    }

    fn judge(&self, history: &History) -> Finding {
        let mut leases = leases(history);
        if leases.is_empty() {
            return Finding::unknown("no lease was recorded");
        }
        let count = leases.len();
        let mut evidence = Evidence::default();
        for (earlier, later) in span::clashes(&mut leases, excludes) {
            evidence.add(|| format!("{later}, while {earlier}"));
        }
        let message = format!(
            "{} of {count} leases began while one was held that excludes them",
            evidence.count
        );
        evidence.finding(message)
    }

    /// Lets a writer of another process (or of another thread, if there is but one process) in while a
    /// write lease is out.
    fn plant(&self, history: &History) -> Option<History> {
        let leases = leases(history);
        let mut write_leases = leases.iter().filter(|lease| is_write(lease));
        write_leases.find_map(|lease| {
            let others = history.header.actors.iter();
            let others = others.filter(|actor| actor.id != lease.actor);
            // `false` comes before `true`.
            let intruder = others.min_by_key(|actor| is_of(&actor.id, lease.process))?;
            span::with_write_lease(history, &intruder.id, lease)
        })
    }
}

fn leases(history: &History) -> Vec<Span<'_>> {
    let mut spans = span::spans(history);
    spans.retain(|span| matches!(span.held, Held::Lease(_)));
    spans
}

fn excludes(one: &Span<'_>, other: &Span<'_>) -> bool {
    if one.process == other.process {
        is_write(one) && is_write(other)
    } else {
        is_write(one) || is_write(other)
    }
}

fn is_write(span: &Span<'_>) -> bool {
    span.held == Held::Lease(Mode::Write)
}

fn is_of(actor: &str, process: &str) -> bool {
    actor.split('/').next() == Some(process)
}

#[cfg(test)]
mod tests {
    use super::super::Verdict;
    use super::super::fixture::{at, ended, history, returned, taken};
    use super::*;
    use crate::history::Mode::{Read, Write};
    use proptest::prelude::*;

    fn judge(events: Vec<crate::history::Event>) -> Finding {
        OneWriter.judge(&history(events))
    }

    #[test]
    fn writers_of_two_processes_one_after_the_other_are_fine() {
        let finding = judge(vec![
            taken(10, "training-0/0", 1, Write),
            returned(20, "training-0/0", 1),
            taken(20, "training-1/0", 1, Write),
            returned(30, "training-1/0", 1),
        ]);
        assert_eq!(finding.verdict, Verdict::Holds);
        assert_eq!(finding.message, "0 of 2 leases began while one was held that excludes them");
    }

    #[test]
    fn readers_of_all_processes_and_readers_beside_a_writer_of_their_own_are_fine() {
        let finding = judge(vec![
            taken(10, "training-0/0", 1, Read),
            taken(11, "training-1/0", 1, Read),
            returned(20, "training-0/0", 1),
            returned(21, "training-1/0", 1),
            taken(30, "training-0/0", 2, Write),
            taken(31, "training-0/1", 3, Read),
            returned(40, "training-0/0", 2),
            returned(41, "training-0/1", 3),
        ]);
        assert_eq!((finding.verdict, finding.count), (Verdict::Holds, 0));
    }

    #[test]
    fn a_writer_beside_a_reader_of_another_process_is_named_with_both_times() {
        let finding = judge(vec![
            taken(10, "evaluation-2/0", 7, Read),
            taken(15, "training-0/1", 3, Write),
            returned(18, "training-0/1", 3),
            returned(20, "evaluation-2/0", 7),
        ]);
        assert_eq!((finding.verdict, finding.count), (Verdict::Violated, 1));
        assert_eq!(
            finding.because,
            ["training-0/1 held write lease 3 from 15 to 18 ns, \
              while evaluation-2/0 held read lease 7 from 10 to 20 ns"]
        );
    }

    #[test]
    fn two_writers_of_one_process_are_not_fine() {
        let finding = judge(vec![
            taken(10, "training-0/0", 1, Write),
            taken(11, "training-0/1", 2, Write),
            returned(12, "training-0/1", 2),
            returned(13, "training-0/0", 1),
        ]);
        assert_eq!((finding.verdict, finding.count), (Verdict::Violated, 1));
    }

    #[test]
    fn a_history_without_leases_says_nothing() {
        let finding = judge(vec![ended(10, "training-0", Some(0))]);
        assert_eq!(finding.verdict, Verdict::Unknown);
    }

    /// The kernel hands the lock on when the holder dies, which is before anybody has waited for it.
    #[test]
    fn the_lease_of_a_killed_actor_is_not_held_against_the_one_who_comes_after() {
        let killed = |code| {
            judge(vec![
                taken(10, "training-0/0", 1, Write),
                taken(15, "training-1/0", 1, Write),
                ended(20, "training-0", code),
                returned(25, "training-1/0", 1),
            ])
        };
        assert_eq!(killed(None).verdict, Verdict::Holds);
        assert_eq!(killed(Some(1)).verdict, Verdict::Holds);
    }

    #[test]
    fn a_lease_that_surely_lasted_no_time_meets_none_that_begins_with_it() {
        let finding = judge(vec![
            taken(10, "training-1/0", 1, Write),
            taken(10, "training-0/0", 1, Write),
            returned(15, "training-1/0", 1),
            ended(20, "training-0", None),
        ]);
        assert_eq!(finding.verdict, Verdict::Holds);
    }

    #[test]
    fn a_lease_that_is_never_returned_lasts_while_its_process_surely_lives() {
        let events = vec![
            taken(10, "training-0/0", 1, Write),
            taken(15, "training-1/0", 1, Write),
            returned(25, "training-1/0", 1),
        ];
        assert_eq!(judge(events.clone()).verdict, Verdict::Violated);

        let mut events = events;
        let conflict = crate::history::What::Conflict { message: "still here".to_owned() };
        events.push(at(16, "training-0/1", conflict));
        events.push(ended(30, "training-0", None));
        assert_eq!(judge(events).verdict, Verdict::Violated);
    }

    #[test]
    fn the_planted_intruder_is_of_another_process_if_there_is_one() {
        let mut alone =
            history(vec![taken(10, "training-0/0", 1, Write), returned(20, "training-0/0", 1)]);
        let intrusion = |history: &History| {
            let planted = OneWriter.plant(history).unwrap();
            OneWriter.judge(&planted).because
        };
        assert_eq!(
            intrusion(&alone),
            ["training-1/0 held write lease 2 from 11 to 19 ns, \
              while training-0/0 held write lease 1 from 10 to 20 ns"]
        );
        alone.header.actors.retain(|actor| actor.process == 0);
        assert_eq!(
            intrusion(&alone),
            ["training-0/1 held write lease 2 from 11 to 19 ns, \
              while training-0/0 held write lease 1 from 10 to 20 ns"]
        );
    }

    #[test]
    fn no_defect_is_planted_where_no_write_lease_has_an_inside() {
        let read_only = vec![taken(10, "training-0/0", 1, Read), returned(20, "training-0/0", 1)];
        assert_eq!(OneWriter.plant(&history(read_only)), None);
        let too_short = vec![taken(10, "training-0/0", 1, Write), returned(11, "training-0/0", 1)];
        assert_eq!(OneWriter.plant(&history(too_short)), None);
    }

    /// The definition: a lease is wrong if one that begins before it (in the order of the sweep) overlaps
    /// and excludes it.
    fn wrong_leases(leases: &[Span<'_>]) -> usize {
        let order = |index: usize| (leases[index].from_ns, leases[index].to_ns, index);
        let overlap = |one: &Span<'_>, other: &Span<'_>| {
            one.from_ns < other.to_ns && other.from_ns < one.to_ns
        };
        (0..leases.len())
            .filter(|later| {
                (0..leases.len()).any(|earlier| {
                    order(earlier) < order(*later)
                        && overlap(&leases[earlier], &leases[*later])
                        && excludes(&leases[earlier], &leases[*later])
                })
            })
            .count()
    }

    proptest! {
        #[test]
        fn the_sweep_agrees_with_the_quadratic_definition(
            shapes in prop::collection::vec((0..4_usize, 0..60_u64, 0..12_u64, any::<bool>()), 1..40)
        ) {
            const ACTORS: [&str; 4] = ["training-0/0", "training-0/1", "training-1/0", "evaluation-2/0"];
            let mut events = Vec::new();
            for (lease, (actor, from, length, write)) in shapes.iter().enumerate() {
                let mode = if *write { Write } else { Read };
                events.push(taken(*from, ACTORS[*actor], lease as u64, mode));
                events.push(returned(from + length, ACTORS[*actor], lease as u64));
            }
            let history = history(events);
            let wrong = wrong_leases(&leases(&history)) as u64;
            let finding = OneWriter.judge(&history);
            prop_assert_eq!(finding.count, wrong);
            prop_assert_eq!(finding.verdict == Verdict::Violated, 0 < wrong);
        }
    }
}
