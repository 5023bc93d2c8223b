//! Which windows of a walk-forward read an artefact: the future that eviction knows.

use std::ops::Range;

use super::windows::{WalkForward, WindowError, WindowMode};

/// Tells for any artefact which windows of a [`WalkForward`] read it, in constant time.
///
/// A window reads what overlaps its training range or its evaluation range, each extended by the lookback to its
/// left (not beyond position 0). An empty range is read by no window.
///
/// # Example
///
/// ```
/// use manager::{Schedule, WalkForward, WindowMode};
///
/// // Window 0 trains on 0..50 and evaluates on 50..60, window 1 on 10..60 and 60..70, …, window 4 on 90..100.
/// let shape = WalkForward {
///     positions: 100,
///     train: 50,
///     eval: 10,
///     step: 10,
///     label_horizon: 1,
///     embargo: 0,
///     mode: WindowMode::Rolling,
///     keep_tail: false,
/// };
/// let schedule = Schedule::new(&shape, 0)?;
/// assert_eq!(schedule.uses(20..30).collect::<Vec<_>>(), [0, 1, 2]);
/// assert_eq!(schedule.next_use(80..90, 0), Some(3));
/// assert_eq!(schedule.next_use(0..10, 1), None);
/// assert_eq!(schedule.last_use(20..30), Some(2));
/// # Ok::<(), manager::WindowError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Schedule {
    shape: WalkForward,
    lookback: u32,
    windows: u32,
}

impl Schedule {
    /// The schedule of `shape`, whose features look `lookback` positions back.
    ///
    /// # Errors
    ///
    /// Those of [`WalkForward::count`].
    pub fn new(shape: &WalkForward, lookback: u32) -> Result<Self, WindowError> {
        Ok(Self { shape: shape.clone(), lookback, windows: shape.count()? })
    }

    /// How many windows there are.
    pub fn windows(&self) -> u32 {
        self.windows
    }

    /// The windows that read an artefact covering `range`, in order.
    pub fn uses(&self, range: Range<u32>) -> impl Iterator<Item = u32> + use<> {
        self.spans(range).into_iter().flatten()
    }

    /// The first window from `from_window` on (that one included) that reads an artefact covering `range`.
    pub fn next_use(&self, range: Range<u32>, from_window: u32) -> Option<u32> {
        self.spans(range)
            .into_iter()
            .map(|span| span.start.max(from_window)..span.end)
            .find_map(|span| (!span.is_empty()).then_some(span.start))
    }

    /// The last window that reads an artefact covering `range`.
    pub fn last_use(&self, range: Range<u32>) -> Option<u32> {
        let [evaluated, trained] = self.spans(range);
        [trained, evaluated].into_iter().find(|span| !span.is_empty()).map(|span| span.end - 1)
    }

    /// The one window that trains on exactly `fit`, if it is `from_window` or a later one: the only one that reads
    /// what was fitted on `fit`.
    pub fn next_use_fitted(&self, fit: Range<u32>, from_window: u32) -> Option<u32> {
        let window = fit.end.checked_sub(self.shape.train)? / self.shape.step;
        let is_ahead = (from_window..self.windows).contains(&window);
        (is_ahead && self.shape.window(window).train == fit).then_some(window)
    }

    /// The windows that read `range`, as two spans that do not overlap, in order: those that reach it with their
    /// evaluation range, and the later ones that train on it.
    fn spans(&self, range: Range<u32>) -> [Range<u32>; 2] {
        if range.is_empty() || range.start >= self.shape.positions {
            return [0..0, 0..0];
        }
        let begin = u64::from(range.start);
        let reach = u64::from(range.end) + u64::from(self.lookback);
        let (train, eval) = (u64::from(self.shape.train), self.shape.first_eval());
        let evaluated =
            self.first_at(eval + u64::from(self.shape.eval), begin + 1)..self.first_at(eval, reach);
        let trained_until = match self.shape.mode {
            WindowMode::Rolling => self.first_at(0, reach),
            WindowMode::Expanding => self.windows,
        };
        // An evaluation range ends after the training range of its window, so these windows come first.
        let trained = self.first_at(train, begin + 1).max(evaluated.end)..trained_until;
        [evaluated, trained]
    }

    /// The first window in which a bound that is at `bound` in window 0 is at `position` or beyond; the number of
    /// windows if there is none.
    fn first_at(&self, bound: u64, position: u64) -> u32 {
        let steps = position.saturating_sub(bound).div_ceil(u64::from(self.shape.step));
        steps.min(u64::from(self.windows)) as u32
    }
}

#[cfg(test)]
mod tests {
    use super::super::windows::tests::shapes;
    use super::*;
    use crate::walk_forward::Window;
    use proptest::prelude::*;

    /// The contract, word by word.
    fn reads(window: &Window, range: &Range<u32>, lookback: u32) -> bool {
        [&window.train, &window.eval].into_iter().any(|read| {
            let read = read.start.saturating_sub(lookback)..read.end;
            !range.is_empty() && range.start < read.end && read.start < range.end
        })
    }

    fn scan(shape: &WalkForward, range: &Range<u32>, lookback: u32) -> Vec<u32> {
        let windows = shape.windows().unwrap_or_default();
        windows.iter().filter(|w| reads(w, range, lookback)).map(|w| w.id).collect()
    }

    fn lookbacks() -> impl Strategy<Value = u32> {
        prop_oneof![Just(0), 1..30_u32, 30..500_u32, Just(u32::MAX)]
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2_000))]

        #[test]
        fn uses_are_those_of_a_scan_of_all_windows(
            shape in shapes(), lookback in lookbacks(), begin in 0..420_u32, length in 0..90_u32, from in 0..60_u32,
        ) {
            let Ok(schedule) = Schedule::new(&shape, lookback) else {
                prop_assert!(shape.windows().is_err());
                return Ok(());
            };
            let range = begin..begin + length;
            let scanned = scan(&shape, &range, lookback);
            prop_assert_eq!(schedule.next_use(range.clone(), from), scanned.iter().copied().find(|id| *id >= from));
            prop_assert_eq!(schedule.last_use(range.clone()), scanned.last().copied());
            prop_assert_eq!(schedule.uses(range).collect::<Vec<_>>(), scanned);
        }

        #[test]
        fn what_was_fitted_is_read_by_the_window_that_fitted_it_and_no_other(
            shape in shapes(), begin in 0..400_u32, length in 0..400_u32, from in 0..60_u32, picked in any::<prop::sample::Index>(),
        ) {
            let Ok(schedule) = Schedule::new(&shape, 0) else { return Ok(()) };
            let windows = shape.windows().unwrap();
            let window = picked.get(&windows);
            for fit in [window.train.clone(), begin..begin + length] {
                let scanned = windows.iter().find(|w| w.train == fit && w.id >= from).map(|w| w.id);
                prop_assert_eq!(schedule.next_use_fitted(fit, from), scanned);
            }
        }
    }

    #[test]
    fn the_ends_of_the_number_range_do_not_overflow() {
        let shape = WalkForward {
            positions: u32::MAX,
            train: 1,
            eval: u32::MAX,
            step: 1,
            label_horizon: 0,
            embargo: 0,
            mode: WindowMode::Expanding,
            keep_tail: true,
        };
        let schedule = Schedule::new(&shape, u32::MAX).unwrap();
        assert_eq!(schedule.next_use(u32::MAX - 1..u32::MAX, 7), Some(7));
        assert_eq!(schedule.last_use(0..1), Some(u32::MAX - 2));
        assert_eq!(schedule.next_use(u32::MAX..u32::MAX, 0), None);
    }
}
