//! What was acknowledged is there, and nothing is there that nobody published:
//! acknowledged ⊆ visible ⊆ acknowledged + in flight.
//!
//! # Scope of determinism
//!
//! A pure function of the history.
//!
//! # Invariants
//!
//! * A publish without an end, or with an unknown one, may have happened at any time since: its rows may
//!   be there, and need not be.
//! * A later publish of a key replaces its content. One publish has surely replaced another only if both
//!   were acknowledged and it began after the other had ended.

use std::collections::{BTreeMap, BTreeSet};

use super::{Check, Evidence, Finding};
use crate::history::{Event, History, Outcome, Row, What};

/// See the module.
#[derive(Debug)]
pub(super) struct NoLostCommit;

impl Check for NoLostCommit {
    fn id(&self) -> &'static str {
        "no_lost_commit"
    }

    fn judge(&self, history: &History) -> Finding {
        let Some(visible) = Visible::last(history) else {
            return Finding::unknown("nobody recorded what the store held at the end");
        };
        let mut evidence = Evidence::default();
        for (key, publish) in visible.lost() {
            let (actor, started_ns) = (publish.actor, publish.started_ns);
            evidence.add(|| {
                format!("{actor} published row {key} at {started_ns} ns, it was acknowledged and is gone")
            });
        }
        let lost = evidence.count;
        let mut seen = BTreeSet::new();
        for row in visible.rows {
            let twice = (!seen.insert(&row.key)).then(|| "which was there already".to_owned());
            if let Some(objection) = twice.or_else(|| visible.objection(row)) {
                let (reader, t_ns) = (&visible.event.actor, visible.event.t_ns);
                let Row { key, content } = row;
                evidence.add(|| {
                    format!("{reader} saw row {key} = {content} at {t_ns} ns, {objection}")
                });
            }
        }
        let message = format!(
            "{lost} acknowledged rows are gone, {} of {} visible rows are not what was published",
            evidence.count - lost,
            visible.rows.len(),
        );
        evidence.finding(message)
    }

    /// Takes an acknowledged row out of what the last reader saw.
    fn plant(&self, history: &History) -> Option<History> {
        let visible = Visible::last(history)?;
        let is_acked = |row: &&Row| last_acked(visible.publishes_of(&row.key)).is_some();
        let victim = &visible.rows.iter().find(is_acked)?.key;
        let mut planted = history.clone();
        if let What::Visible { rows } = &mut planted.events[visible.index].what {
            rows.retain(|row| row.key != *victim);
        }
        Some(planted)
    }
}

/// How many acknowledged keys are gone; `None` if nobody recorded what is there.
pub fn lost_rows(history: &History) -> Option<u64> {
    let visible = Visible::last(history)?;
    Some(visible.lost().count() as u64)
}

/// What the last reader saw, and what was published before. Publishes that end after it are in flight.
struct Visible<'h> {
    index: usize,
    event: &'h Event,
    rows: &'h [Row],
    /// Every publish that may have happened, by key.
    published: BTreeMap<&'h str, Vec<Publish<'h>>>,
}

/// The publish of one row.
struct Publish<'h> {
    actor: &'h str,
    content: &'h str,
    started_ns: u64,
    /// When it was known to have happened; `None` if nobody can tell whether it did.
    acked_ns: Option<u64>,
}

impl<'h> Visible<'h> {
    fn last(history: &'h History) -> Option<Self> {
        let last_first = history.events.iter().enumerate().rev();
        let mut seen = last_first.filter_map(|(index, event)| match &event.what {
            What::Visible { rows } => Some((index, event, rows)),
            _ => None,
        });
        let (index, event, rows) = seen.next()?;
        let mut published: BTreeMap<&str, Vec<Publish<'_>>> = BTreeMap::new();
        for operation in operations(&history.events[..index]) {
            for (key, publish) in operation.publishes() {
                published.entry(key).or_default().push(publish);
            }
        }
        Some(Self { index, event, rows, published })
    }

    fn publishes_of(&self, key: &str) -> &[Publish<'h>] {
        self.published.get(key).map_or(&[], Vec::as_slice)
    }

    /// The keys that were acknowledged and are gone.
    fn lost(&self) -> impl Iterator<Item = (&'h str, &Publish<'h>)> {
        let seen: BTreeSet<&str> = self.rows.iter().map(|row| row.key.as_str()).collect();
        self.published.iter().filter_map(move |(key, publishes)| {
            let acked = last_acked(publishes)?;
            (!seen.contains(key)).then_some((*key, acked))
        })
    }

    /// Why that row cannot be there.
    fn objection(&self, row: &Row) -> Option<String> {
        let publishes = self.publishes_of(&row.key);
        let mut candidates =
            publishes.iter().filter(|publish| publish.content == row.content).peekable();
        if candidates.peek().is_none() {
            return Some("which nobody published".to_owned());
        }
        let last = last_acked(publishes)?;
        // Only an acknowledged publish has surely ended.
        let is_replaced = |publish: &Publish<'_>| {
            publish.acked_ns.is_some_and(|ended_ns| ended_ns < last.started_ns)
        };
        candidates.all(is_replaced).then(|| {
            let (actor, started_ns) = (last.actor, last.started_ns);
            format!("which the acknowledged publish of {actor} at {started_ns} ns had replaced")
        })
    }
}

/// The acknowledged publish that began last.
fn last_acked<'p, 'h>(publishes: &'p [Publish<'h>]) -> Option<&'p Publish<'h>> {
    let acked = publishes.iter().filter(|publish| publish.acked_ns.is_some());
    acked.max_by_key(|publish| publish.started_ns)
}

/// A publish of several rows.
struct Operation<'h> {
    started: &'h Event,
    rows: &'h [Row],
    end: Option<(Outcome, u64)>,
}

impl<'h> Operation<'h> {
    /// Its rows, unless it surely did not happen.
    fn publishes(self) -> impl Iterator<Item = (&'h str, Publish<'h>)> {
        let (happened, acked_ns) = match self.end {
            Some((Outcome::Failed, _)) => (false, None),
            Some((Outcome::Ok, ended_ns)) => (true, Some(ended_ns)),
            Some((Outcome::Unknown, _)) | None => (true, None),
        };
        let rows = if happened { self.rows } else { &[] };
        rows.iter().map(move |row| {
            let publish = Publish {
                actor: &self.started.actor,
                content: &row.content,
                started_ns: self.started.t_ns,
                acked_ns,
            };
            (row.key.as_str(), publish)
        })
    }
}

fn operations(events: &[Event]) -> Vec<Operation<'_>> {
    let mut operations: Vec<Operation<'_>> = Vec::new();
    let mut running: BTreeMap<(&str, u64), usize> = BTreeMap::new();
    for event in events {
        match &event.what {
            What::PublishStarted { op, rows } => {
                running.insert((&event.actor, *op), operations.len());
                operations.push(Operation { started: event, rows, end: None });
            }
            What::PublishEnded { op, outcome } => {
                if let Some(index) = running.remove(&(event.actor.as_str(), *op)) {
                    operations[index].end = Some((*outcome, event.t_ns));
                }
            }
            _ => {}
        }
    }
    operations
}

#[cfg(test)]
mod tests {
    use super::super::Verdict;
    use super::super::fixture::{ended, history, publish, row, visible};
    use super::*;
    use Outcome::{Failed, Ok, Unknown};

    fn judge(parts: &[Vec<Event>]) -> Finding {
        NoLostCommit.judge(&history(parts.concat()))
    }

    const ALICE: &str = "training-0/0";
    const BOB: &str = "training-1/0";

    #[test]
    fn what_was_acknowledged_and_is_there_is_fine() {
        let finding = judge(&[
            publish(10..20, ALICE, 1, &[row(1, 7), row(2, 7)], Some(Ok)),
            visible(50, &[row(1, 7), row(2, 7)]),
        ]);
        assert_eq!(finding.verdict, Verdict::Holds);
        assert_eq!(
            finding.message,
            "0 acknowledged rows are gone, 0 of 2 visible rows are not what was published"
        );
    }

    #[test]
    fn an_acknowledged_row_that_is_gone_is_named_with_its_publisher() {
        let events = [
            publish(10..20, ALICE, 1, &[row(1, 7), row(2, 7)], Some(Ok)),
            visible(50, &[row(2, 7)]),
        ];
        let finding = judge(&events);
        assert_eq!((finding.verdict, finding.count), (Verdict::Violated, 1));
        assert_eq!(
            finding.because,
            ["training-0/0 published row 00000000000000000000000000000001 at 10 ns, \
              it was acknowledged and is gone"]
        );
        assert_eq!(lost_rows(&history(events.concat())), Some(1));
    }

    #[test]
    fn a_row_that_nobody_published_is_a_phantom() {
        let phantom = |seen: &[Row]| {
            judge(&[publish(10..20, ALICE, 1, &[row(1, 7)], Some(Ok)), visible(50, seen)])
        };
        let other_key = phantom(&[row(1, 7), row(2, 7)]);
        assert_eq!((other_key.verdict, other_key.count), (Verdict::Violated, 1));
        let other_content = phantom(&[row(1, 8)]);
        assert_eq!(
            other_content.because,
            ["coordinator saw row 00000000000000000000000000000001 = 0000000000000008 at 50 ns, \
              which nobody published"]
        );
    }

    #[test]
    fn the_row_of_a_failed_publish_is_a_phantom() {
        let failed = |seen: &[Row]| {
            judge(&[publish(10..20, ALICE, 1, &[row(1, 7)], Some(Failed)), visible(50, seen)])
        };
        assert_eq!(failed(&[]).verdict, Verdict::Holds);
        assert_eq!(failed(&[row(1, 7)]).verdict, Verdict::Violated);
    }

    #[test]
    fn the_rows_of_a_killed_actor_may_be_there_and_need_not_be() {
        for outcome in [None, Some(Unknown)] {
            for seen in [vec![], vec![row(1, 7)]] {
                let finding = judge(&[
                    publish(10..20, ALICE, 1, &[row(1, 7)], outcome),
                    vec![ended(30, "training-0", None)],
                    visible(50, &seen),
                ]);
                assert_eq!(finding.verdict, Verdict::Holds);
            }
        }
    }

    #[test]
    fn a_replaced_content_that_is_back_is_a_lost_update() {
        let finding = judge(&[
            publish(10..20, ALICE, 1, &[row(1, 7)], Some(Ok)),
            publish(21..30, BOB, 1, &[row(1, 8)], Some(Ok)),
            visible(50, &[row(1, 7)]),
        ]);
        assert_eq!((finding.verdict, finding.count), (Verdict::Violated, 1));
        assert_eq!(
            finding.because,
            ["coordinator saw row 00000000000000000000000000000001 = 0000000000000007 at 50 ns, \
              which the acknowledged publish of training-1/0 at 21 ns had replaced"]
        );
    }

    #[test]
    fn of_publishes_that_overlap_either_content_may_be_the_last() {
        for seen in [7, 8] {
            let finding = judge(&[
                publish(10..20, ALICE, 1, &[row(1, 7)], Some(Ok)),
                publish(20..30, BOB, 1, &[row(1, 8)], Some(Ok)),
                visible(50, &[row(1, seen)]),
            ]);
            assert_eq!(finding.verdict, Verdict::Holds);
        }
    }

    #[test]
    fn a_content_that_was_replaced_may_be_published_again() {
        let finding = judge(&[
            publish(10..20, ALICE, 1, &[row(1, 7)], Some(Ok)),
            publish(21..30, BOB, 1, &[row(1, 8)], Some(Ok)),
            publish(31..40, ALICE, 2, &[row(1, 7)], Some(Ok)),
            visible(50, &[row(1, 7)]),
        ]);
        assert_eq!(finding.verdict, Verdict::Holds);
    }

    #[test]
    fn a_publish_nobody_can_tell_of_may_come_after_an_acknowledged_one() {
        for (seen, verdict) in [(7, Verdict::Holds), (8, Verdict::Holds), (9, Verdict::Violated)] {
            let finding = judge(&[
                publish(10..20, ALICE, 1, &[row(1, 7)], Some(Unknown)),
                publish(30..40, BOB, 1, &[row(1, 8)], Some(Ok)),
                visible(50, &[row(1, seen)]),
            ]);
            assert_eq!(finding.verdict, verdict, "content {seen}");
        }
    }

    #[test]
    fn what_is_acknowledged_after_the_last_look_need_not_have_been_seen() {
        let finding = judge(&[publish(40..60, ALICE, 1, &[row(1, 7)], Some(Ok)), visible(50, &[])]);
        assert_eq!(finding.verdict, Verdict::Holds);
    }

    #[test]
    fn an_operation_number_that_a_restarted_actor_uses_again_is_another_operation() {
        let finding = judge(&[
            publish(10..20, ALICE, 1, &[row(1, 7)], None),
            publish(30..40, ALICE, 1, &[row(2, 7)], Some(Ok)),
            visible(50, &[row(2, 7)]),
        ]);
        assert_eq!(finding.verdict, Verdict::Holds);
    }

    #[test]
    fn a_history_without_a_last_look_says_nothing() {
        let events = publish(10..20, ALICE, 1, &[row(1, 7)], Some(Ok));
        assert_eq!(judge(std::slice::from_ref(&events)).verdict, Verdict::Unknown);
        assert_eq!(lost_rows(&history(events)), None);
    }

    #[test]
    fn no_defect_is_planted_where_nothing_acknowledged_is_there() {
        let in_flight = [publish(10..20, ALICE, 1, &[row(1, 7)], None), visible(50, &[row(1, 7)])];
        assert_eq!(NoLostCommit.plant(&history(in_flight.concat())), None);
    }
}
