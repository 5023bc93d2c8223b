//! What was held from one event to another, and what of it met.
//!
//! # Scope of determinism
//!
//! Pure functions of the history.
//!
//! # Invariants
//!
//! * No span is longer than what it stands for. A pair of events encloses less than the real interval
//!   (see [`history`](crate::history)). Where the closing event is missing because the process ended, the
//!   span ends at the last event that the process itself recorded: its end is recorded after the wait
//!   for it, and by then the kernel may have handed its locks on. Where its end is missing too, the span
//!   lasts to the end of the history.
//! * Two spans that only touch do not meet: a coarse clock gives one time to two moments.

use std::collections::BTreeMap;
use std::fmt;

use crate::history::{Event, History, Mode, Role, What};

/// Something that a process held for a while.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Span<'h> {
    pub(super) process: &'h str,
    /// The actor that began it.
    pub(super) actor: &'h str,
    pub(super) held: Held,
    /// The number of the lease, or of the window.
    pub(super) number: u64,
    pub(super) from_ns: u64,
    pub(super) to_ns: u64,
}

/// What can be held.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Held {
    Lease(Mode),
    Phase(Role),
}

impl fmt::Display for Span<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (actor, number) = (self.actor, self.number);
        match self.held {
            Held::Lease(Mode::Read) => write!(f, "{actor} held read lease {number}"),
            Held::Lease(Mode::Write) => write!(f, "{actor} held write lease {number}"),
            Held::Phase(role) => write!(f, "{actor} was in the {role} phase of window {number}"),
        }?;
        write!(f, " from {} to {} ns", self.from_ns, self.to_ns)
    }
}

/// Every lease and every phase of the history.
pub(super) fn spans(history: &History) -> Vec<Span<'_>> {
    let mut tracker = Tracker::default();
    for event in &history.events {
        match &event.what {
            What::LeaseTaken { lease, mode, .. } => {
                tracker.begin(event, Held::Lease(*mode), *lease);
            }
            What::LeaseReturned { lease } => {
                tracker.end(event, *lease, |held| matches!(held, Held::Lease(_)));
            }
            What::PhaseEntered { phase, window } => {
                tracker.begin(event, Held::Phase(*phase), u64::from(*window));
            }
            What::PhaseLeft { phase, window } => {
                let left = Held::Phase(*phase);
                tracker.end(event, u64::from(*window), |held| held == left);
            }
            What::ProcessEnded { .. } => tracker.end_all(event.process()),
            _ => {}
        }
        tracker.last_ns.insert(event.process(), event.t_ns);
    }
    tracker.finish(history.events.last().map_or(0, |event| event.t_ns))
}

#[derive(Default)]
struct Tracker<'h> {
    /// What is held, and how many threads say so: a process is in a phase until its last thread leaves.
    open: Vec<(Span<'h>, u32)>,
    closed: Vec<Span<'h>>,
    /// When each process recorded its last event.
    last_ns: BTreeMap<&'h str, u64>,
}

impl<'h> Tracker<'h> {
    fn begin(&mut self, event: &'h Event, held: Held, number: u64) {
        let process = event.process();
        let same = |(span, _): &&mut (Span<'h>, u32)| {
            span.process == process && span.held == held && span.number == number
        };
        if let Some((_, threads)) = self.open.iter_mut().find(same) {
            *threads += 1;
            return;
        }
        let span = Span {
            process,
            actor: &event.actor,
            held,
            number,
            from_ns: event.t_ns,
            to_ns: event.t_ns,
        };
        self.open.push((span, 1));
    }

    fn end(&mut self, event: &Event, number: u64, is_meant: impl Fn(Held) -> bool) {
        let process = event.process();
        let found = self.open.iter().position(|(span, _)| {
            span.process == process && span.number == number && is_meant(span.held)
        });
        // An end without a beginning encloses nothing.
        let Some(index) = found else { return };
        self.open[index].1 -= 1;
        if self.open[index].1 == 0 {
            let (span, _) = self.open.swap_remove(index);
            let to_ns = event.t_ns;
            self.closed.push(Span { to_ns, ..span });
        }
    }

    fn end_all(&mut self, process: &str) {
        let to_ns = self.last_ns.get(process).copied().unwrap_or(0);
        let is_of_it = |(span, _): &mut (Span<'h>, u32)| span.process == process;
        for (span, _) in self.open.extract_if(.., is_of_it) {
            self.closed.push(Span { to_ns, ..span });
        }
    }

    fn finish(mut self, to_ns: u64) -> Vec<Span<'h>> {
        let open = self.open.into_iter();
        self.closed.extend(open.map(|(span, _)| Span { to_ns, ..span }));
        self.closed
    }
}

/// Every span that began while another was held that excludes it, after the one of these that was held
/// longest. `excludes` is symmetric and looks at the processes and at what they held.
///
/// One pass in order of the beginnings: of the spans of one process and one kind only the one that lasts
/// longest can still be held, so each new span is compared with a handful and not with all.
pub(super) fn clashes<'s, 'h>(
    spans: &'s mut [Span<'h>],
    excludes: impl Fn(&Span<'h>, &Span<'h>) -> bool,
) -> Vec<(&'s Span<'h>, &'s Span<'h>)> {
    // By the end too, so that an empty span comes before those that begin with it, which it only touches.
    spans.sort_by_key(|span| (span.from_ns, span.to_ns));
    let mut longest: Vec<&Span<'h>> = Vec::new();
    let mut clashes = Vec::new();
    for span in &*spans {
        let held = longest.iter().filter(|earlier| span.from_ns < earlier.to_ns);
        let excluding = held.filter(|earlier| excludes(earlier, span));
        if let Some(earlier) = excluding.max_by_key(|earlier| earlier.to_ns) {
            clashes.push((*earlier, span));
        }
        let same =
            |known: &&mut &Span<'h>| known.process == span.process && known.held == span.held;
        match longest.iter_mut().find(same) {
            Some(known) if known.to_ns < span.to_ns => *known = span,
            Some(_) => {}
            None => longest.push(span),
        }
    }
    clashes
}

/// The history with one more write lease, inside the given span; `None` if the span is too short to have
/// an inside.
pub(super) fn with_write_lease(
    history: &History,
    actor: &str,
    around: &Span<'_>,
) -> Option<History> {
    let from_ns = around.from_ns.saturating_add(1);
    let to_ns = around.to_ns.saturating_sub(1);
    if to_ns < from_ns {
        return None;
    }
    let leases = history.events.iter().filter_map(|event| match event.what {
        What::LeaseTaken { lease, .. } => Some(lease),
        _ => None,
    });
    let lease = leases.max().map_or(0, |last| last.saturating_add(1));
    let taken = What::LeaseTaken { lease, mode: Mode::Write, waited_ns: 0 };
    let mut planted = history.clone();
    for (t_ns, what) in [(from_ns, taken), (to_ns, What::LeaseReturned { lease })] {
        planted.events.push(Event { t_ns, actor: actor.to_owned(), what });
    }
    planted.sort();
    Some(planted)
}
