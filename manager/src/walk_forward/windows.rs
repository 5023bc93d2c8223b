//! The shape of a walk-forward and its windows.

use std::ops::Range;

use serde::{Deserialize, Serialize};

/// Whether the training range keeps its length or its beginning.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum WindowMode {
    /// The training range has the same length in every window.
    Rolling,
    /// The training range always begins at position 0.
    Expanding,
}

/// The shape of a walk-forward: how long, how far apart, how many. As JSON it is an object of its fields.
///
/// # Example
///
/// ```
/// use manager::{WalkForward, WindowMode};
///
/// let shape = WalkForward {
///     positions: 100,
///     train: 50,
///     eval: 10,
///     step: 10,
///     label_horizon: 5,
///     embargo: 1,
///     mode: WindowMode::Rolling,
///     keep_tail: false,
/// };
/// let windows = shape.windows()?;
/// assert_eq!(windows.len(), 4);
/// assert_eq!((windows[0].train.clone(), windows[0].eval.clone()), (0..50, 55..65));
///
/// assert!(WalkForward { step: 0, ..shape }.windows().is_err());
/// # Ok::<(), manager::WindowError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)] // a plan that says more than this release knows is not half understood
pub struct WalkForward {
    /// Positions in the calendar.
    pub positions: u32,
    /// Length of the training range (of the first one, when expanding). At least 1.
    pub train: u32,
    /// Length of the evaluation range. At least 1.
    pub eval: u32,
    /// Distance between two evaluation ranges. At least 1.
    pub step: u32,
    /// A label at `i` is made from positions `i..i + label_horizon`; a return over `k` sessions has
    /// horizon `k + 1`. 0 and 1 purge nothing.
    pub label_horizon: u32,
    /// Positions left out between training and evaluation on top of the purge.
    pub embargo: u32,
    /// Rolling or expanding.
    pub mode: WindowMode,
    /// Whether a last evaluation range shorter than `eval` is kept.
    pub keep_tail: bool,
}

/// One training range and the evaluation range that follows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Window {
    /// Counted from 0.
    pub id: u32,
    /// Positions to train on.
    pub train: Range<u32>,
    /// Positions to evaluate on.
    pub eval: Range<u32>,
}

/// Why a [`WalkForward`] has no windows.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum WindowError {
    /// A length that must be at least 1 is 0.
    #[error("lay out walk-forward windows: `{field}` is 0, it must be at least 1")]
    ZeroLength {
        /// The field of [`WalkForward`].
        field: &'static str,
    },
    /// The calendar is too short for the first window.
    #[error(
        "lay out walk-forward windows: the first one needs {needed} positions, the calendar has {positions}; \
         shorten `train`, `eval` or the gap between them"
    )]
    TooShort {
        /// What the first window needs.
        needed: u64,
        /// What there is.
        positions: u32,
    },
}

impl WalkForward {
    /// The positions between training and evaluation: purge and embargo.
    pub fn gap(&self) -> u32 {
        self.label_horizon.saturating_sub(1).saturating_add(self.embargo)
    }

    /// Lays the windows out, in order, at least one.
    ///
    /// # Errors
    ///
    /// Those of [`count`](Self::count).
    pub fn windows(&self) -> Result<Vec<Window>, WindowError> {
        Ok((0..self.count()?).map(|id| self.window(id)).collect())
    }

    /// How many windows there are, at least one.
    ///
    /// # Errors
    ///
    /// * [`WindowError::ZeroLength`] if `train`, `eval` or `step` is 0.
    /// * [`WindowError::TooShort`] if the calendar does not hold one window.
    pub fn count(&self) -> Result<u32, WindowError> {
        for (field, value) in [("train", self.train), ("eval", self.eval), ("step", self.step)] {
            if value == 0 {
                return Err(WindowError::ZeroLength { field });
            }
        }
        let shortest = if self.keep_tail { 1 } else { u64::from(self.eval) };
        let needed = self.first_eval() + shortest;
        let spare = u64::from(self.positions)
            .checked_sub(needed)
            .ok_or(WindowError::TooShort { needed, positions: self.positions })?;
        Ok((spare / u64::from(self.step) + 1) as u32)
    }

    /// Where the evaluation range of window 0 begins. 64 bits hold every sum of 32-bit lengths.
    pub(super) fn first_eval(&self) -> u64 {
        u64::from(self.train) + u64::from(self.gap())
    }

    /// The window `id`, which must be less than [`count`](Self::count).
    pub(super) fn window(&self, id: u32) -> Window {
        let begin = self.first_eval() + u64::from(id) * u64::from(self.step);
        let end = (begin + u64::from(self.eval)).min(u64::from(self.positions));
        let train_end = begin as u32 - self.gap();
        let train_begin = match self.mode {
            WindowMode::Rolling => train_end - self.train,
            WindowMode::Expanding => 0,
        };
        Window { id, train: train_begin..train_end, eval: begin as u32..end as u32 }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use proptest::prelude::*;

    pub(in super::super) fn shapes() -> impl Strategy<Value = WalkForward> {
        (
            1..400_u32,
            1..60_u32,
            1..20_u32,
            1..20_u32,
            0..12_u32,
            0..6_u32,
            any::<bool>(),
            any::<bool>(),
        )
            .prop_map(
                |(positions, train, eval, step, label_horizon, embargo, rolling, keep_tail)| {
                    WalkForward {
                        positions,
                        train,
                        eval,
                        step,
                        label_horizon,
                        embargo,
                        mode: if rolling { WindowMode::Rolling } else { WindowMode::Expanding },
                        keep_tail,
                    }
                },
            )
    }

    proptest! {
        #[test]
        fn no_training_label_reaches_the_evaluation_range(shape in shapes()) {
            for window in shape.windows().unwrap_or_default() {
                let last_label_end = window.train.end - 1 + shape.label_horizon;
                prop_assert!(last_label_end + shape.embargo <= window.eval.start);
                prop_assert!(window.train.end + shape.gap() == window.eval.start);
            }
        }

        #[test]
        fn windows_stay_inside_the_calendar_and_keep_their_lengths(shape in shapes()) {
            for window in shape.windows().unwrap_or_default() {
                prop_assert!(window.eval.end <= shape.positions);
                prop_assert!(shape.keep_tail || window.eval.len() as u32 == shape.eval);
                match shape.mode {
                    WindowMode::Rolling => prop_assert_eq!(window.train.len() as u32, shape.train),
                    WindowMode::Expanding => prop_assert_eq!(window.train.start, 0),
                }
            }
        }

        #[test]
        fn evaluation_ranges_step_evenly_until_nothing_more_fits(shape in shapes()) {
            if let Ok(windows) = shape.windows() {
                prop_assert!(!windows.is_empty());
                for pair in windows.windows(2) {
                    prop_assert_eq!(pair[1].eval.start - pair[0].eval.start, shape.step);
                    prop_assert_eq!(pair[1].id, pair[0].id + 1);
                }
                let next = windows[windows.len() - 1].eval.start + shape.step;
                let needed = if shape.keep_tail { 1 } else { shape.eval };
                prop_assert!(shape.positions < next + needed);
            }
        }
    }

    #[test]
    fn lengths_that_would_overflow_are_too_short_not_a_panic() {
        let shape = WalkForward {
            positions: 10,
            train: u32::MAX,
            eval: u32::MAX,
            step: 1,
            label_horizon: u32::MAX,
            embargo: u32::MAX,
            mode: WindowMode::Rolling,
            keep_tail: false,
        };
        assert!(matches!(shape.windows(), Err(WindowError::TooShort { positions: 10, .. })));
    }

    /// If this fails, the plans that are stored in databases are lost.
    #[test]
    fn the_json_of_a_shape_never_changes() {
        let shape = WalkForward {
            positions: 100,
            train: 50,
            eval: 10,
            step: 10,
            label_horizon: 5,
            embargo: 1,
            mode: WindowMode::Rolling,
            keep_tail: false,
        };
        let json = r#"{"positions":100,"train":50,"eval":10,"step":10,"label_horizon":5,"embargo":1,"mode":"rolling","keep_tail":false}"#;
        assert_eq!(serde_json::to_string(&shape).unwrap(), json);
        assert_eq!(serde_json::from_str::<WalkForward>(json).unwrap(), shape);
        let later = json.replace('}', r#","stride":2}"#);
        assert!(serde_json::from_str::<WalkForward>(&later).is_err());
    }
}
