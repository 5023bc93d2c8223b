//! While any process evaluates, no process trains: no training writer holds the store, and no other
//! process is in a training phase.
//!
//! # Scope of determinism
//!
//! A pure function of the history.
//!
//! # Invariants
//!
//! * A phase counts as entered, and a lease as held, only while it surely was (see `span`).

use super::span::{self, Held, Span};
use super::{Check, Evidence, Finding};
use crate::history::{History, Mode, Role};

/// See the module.
#[derive(Debug)]
pub(super) struct PhaseRespected;

impl Check for PhaseRespected {
    fn id(&self) -> &'static str {
        "phase_respected"
    }

    fn judge(&self, history: &History) -> Finding {
        let mut spans = spans(history);
        let evaluations = spans.iter().filter(|span| is_evaluation(span)).count();
        if evaluations == 0 {
            return Finding::unknown("no evaluation phase was recorded");
        }
        let mut evidence = Evidence::default();
        for (earlier, later) in span::clashes(&mut spans, excludes) {
            evidence.add(|| format!("{later}, while {earlier}"));
        }
        let message = format!(
            "training met evaluation {} times in {evaluations} evaluation phases",
            evidence.count
        );
        evidence.finding(message)
    }

    /// Lets a training writer in during an evaluation phase.
    fn plant(&self, history: &History) -> Option<History> {
        let actors = &history.header.actors;
        let trainer = actors.iter().find(|actor| actor.role == Role::Training)?;
        let spans = spans(history);
        let mut evaluations = spans.iter().filter(|span| is_evaluation(span));
        evaluations.find_map(|phase| span::with_write_lease(history, &trainer.id, phase))
    }
}

/// Phases, and the write leases of training processes.
fn spans(history: &History) -> Vec<Span<'_>> {
    let mut spans = span::spans(history);
    spans.retain(|span| match span.held {
        Held::Phase(_) => true,
        Held::Lease(Mode::Write) => history.role(span.actor) == Some(Role::Training),
        Held::Lease(Mode::Read) => false,
    });
    spans
}

fn excludes(one: &Span<'_>, other: &Span<'_>) -> bool {
    let spoils = |training: &Span<'_>, evaluation: &Span<'_>| {
        is_evaluation(evaluation)
            && match training.held {
                Held::Lease(_) => true,
                Held::Phase(role) => {
                    role == Role::Training && training.process != evaluation.process
                }
            }
    };
    spoils(one, other) || spoils(other, one)
}

fn is_evaluation(span: &Span<'_>) -> bool {
    span.held == Held::Phase(Role::Evaluation)
}

#[cfg(test)]
mod tests {
    use super::super::Verdict;
    use super::super::fixture::{ended, entered, history, left, returned, taken};
    use super::*;
    use crate::history::Event;
    use crate::history::Mode::{Read, Write};
    use crate::history::Role::{Evaluation, Training};

    fn judge(events: Vec<Event>) -> Finding {
        PhaseRespected.judge(&history(events))
    }

    #[test]
    fn training_then_evaluation_then_training_is_fine() {
        let finding = judge(vec![
            entered(10, "training-0", Training, 0),
            taken(11, "training-0/0", 1, Write),
            returned(19, "training-0/0", 1),
            left(20, "training-0", Training, 0),
            entered(20, "evaluation-2", Evaluation, 0),
            taken(21, "evaluation-2/0", 1, Read),
            returned(29, "evaluation-2/0", 1),
            left(30, "evaluation-2", Evaluation, 0),
            entered(30, "training-0", Training, 1),
            left(40, "training-0", Training, 1),
        ]);
        assert_eq!(finding.verdict, Verdict::Holds);
        assert_eq!(finding.message, "training met evaluation 0 times in 1 evaluation phases");
    }

    #[test]
    fn a_training_writer_in_an_evaluation_phase_is_named_with_both_times() {
        let finding = judge(vec![
            entered(10, "evaluation-2", Evaluation, 4),
            taken(12, "training-0/1", 9, Write),
            left(20, "evaluation-2", Evaluation, 4),
            returned(25, "training-0/1", 9),
        ]);
        assert_eq!((finding.verdict, finding.count), (Verdict::Violated, 1));
        assert_eq!(
            finding.because,
            ["training-0/1 held write lease 9 from 12 to 25 ns, \
              while evaluation-2 was in the evaluation phase of window 4 from 10 to 20 ns"]
        );
    }

    #[test]
    fn training_readers_and_evaluation_writers_are_not_this_checks_business() {
        let finding = judge(vec![
            entered(10, "evaluation-2", Evaluation, 0),
            taken(11, "training-0/0", 1, Read),
            taken(12, "evaluation-2/0", 1, Write),
            returned(13, "evaluation-2/0", 1),
            returned(14, "training-0/0", 1),
            left(20, "evaluation-2", Evaluation, 0),
        ]);
        assert_eq!(finding.verdict, Verdict::Holds);
    }

    #[test]
    fn the_training_phase_of_another_process_must_be_over() {
        let overlap = |trainer| {
            judge(vec![
                entered(10, trainer, Training, 1),
                entered(15, "evaluation-2", Evaluation, 0),
                left(20, trainer, Training, 1),
                left(30, "evaluation-2", Evaluation, 0),
            ])
        };
        assert_eq!(overlap("training-0").verdict, Verdict::Violated);
        assert_eq!(overlap("evaluation-2").verdict, Verdict::Holds);
    }

    #[test]
    fn a_process_is_in_a_phase_until_its_last_thread_leaves() {
        let events = |last| {
            vec![
                entered(10, "evaluation-2/0", Evaluation, 0),
                entered(11, "evaluation-2/1", Evaluation, 0),
                left(20, "evaluation-2/0", Evaluation, 0),
                left(last, "evaluation-2/1", Evaluation, 0),
                taken(30, "training-0/0", 1, Write),
                returned(50, "training-0/0", 1),
            ]
        };
        assert_eq!(judge(events(30)).verdict, Verdict::Holds);
        assert_eq!(judge(events(40)).verdict, Verdict::Violated);
    }

    #[test]
    fn a_phase_that_is_never_left_ends_with_its_process() {
        let events = vec![
            entered(10, "evaluation-2", Evaluation, 0),
            taken(30, "training-0/0", 1, Write),
            returned(40, "training-0/0", 1),
        ];
        assert_eq!(judge(events.clone()).verdict, Verdict::Violated);
        let mut killed = events;
        killed.push(ended(35, "evaluation-2", None));
        assert_eq!(judge(killed).verdict, Verdict::Holds);
    }

    #[test]
    fn a_history_without_an_evaluation_phase_says_nothing() {
        let finding = judge(vec![
            entered(10, "training-0", Training, 0),
            taken(11, "training-0/0", 1, Write),
        ]);
        assert_eq!(finding.verdict, Verdict::Unknown);
    }

    #[test]
    fn no_defect_is_planted_where_nobody_evaluates_or_nobody_trains() {
        let training = history(vec![entered(10, "training-0", Training, 0)]);
        assert_eq!(PhaseRespected.plant(&training), None);
        let mut alone = history(vec![
            entered(10, "evaluation-2", Evaluation, 0),
            left(20, "evaluation-2", Evaluation, 0),
        ]);
        assert!(PhaseRespected.plant(&alone).is_some());
        alone.header.actors.retain(|actor| actor.role == Evaluation);
        assert_eq!(PhaseRespected.plant(&alone), None);
    }
}
