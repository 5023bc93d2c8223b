//! Tests the judges: a history with a planted defect must not pass.
//!
//! # Scope of determinism
//!
//! Pure functions of the history.
//!
//! # Invariants
//!
//! * A defect is planted only where the property held before, so that what is caught is the planted one.

use super::{Check, Verdict};
use crate::history::History;

/// How many defects were planted and how many of them the checks caught.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CanaryCount {
    /// At most one a check: a check that does not hold, or whose defect has no place, gets none.
    pub planted: u32,
    /// All of them, or the checks are not to be trusted.
    pub caught: u32,
    /// Ids of the checks that let their defect pass.
    pub missed: Vec<&'static str>,
}

/// Plants a defect for every check and asks that check about it.
pub fn run(history: &History) -> CanaryCount {
    run_with(&super::all(), history)
}

fn run_with(checks: &[&dyn Check], history: &History) -> CanaryCount {
    let mut count = CanaryCount::default();
    for check in checks {
        if check.judge(history).verdict != Verdict::Holds {
            continue;
        }
        let Some(planted) = check.plant(history) else {
            continue;
        };
        count.planted += 1;
        if check.judge(&planted).verdict == Verdict::Violated {
            count.caught += 1;
        } else {
            count.missed.push(check.id());
        }
    }
    count
}

#[cfg(test)]
mod tests {
    use super::super::{Finding, all, fixture};
    use super::*;
    use proptest::prelude::*;

    /// A judge that is blind to what it plants.
    struct Blind(Verdict);

    impl Check for Blind {
        fn id(&self) -> &'static str {
            "blind"
        }

        fn judge(&self, _: &History) -> Finding {
            Finding { verdict: self.0, ..Finding::unknown("") }
        }

        fn plant(&self, history: &History) -> Option<History> {
            Some(history.clone())
        }
    }

    #[test]
    fn a_judge_that_lets_its_defect_pass_is_named() {
        let count = run_with(&[&Blind(Verdict::Holds)], &fixture::history(Vec::new()));
        assert_eq!(count, CanaryCount { planted: 1, caught: 0, missed: vec!["blind"] });
    }

    #[test]
    fn nothing_is_planted_where_the_property_does_not_hold() {
        for verdict in [Verdict::Unknown, Verdict::Violated] {
            let count = run_with(&[&Blind(verdict)], &fixture::history(Vec::new()));
            assert_eq!(count, CanaryCount::default());
        }
    }

    proptest! {
        #[test]
        fn every_property_holds_in_a_valid_history(history in fixture::valid_histories()) {
            for check in all() {
                let finding = check.judge(&history);
                prop_assert_eq!(finding.verdict, Verdict::Holds, "{}: {:?}", check.id(), finding);
            }
        }

        #[test]
        fn a_defect_planted_in_a_valid_history_is_caught(history in fixture::valid_histories()) {
            let count = run(&history);
            prop_assert_eq!(&count.missed, &Vec::<&str>::new());
            prop_assert_eq!((count.planted, count.caught), (4, 4));
        }
    }
}
