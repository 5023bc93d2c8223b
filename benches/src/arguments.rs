//! The command line of a bench that Criterion does not run.
//!
//! As with Criterion, the first argument that is no option selects what is measured by a part of its name, `--quick`
//! takes less time, and a run without the `--bench` that `cargo bench` passes is a test and as short. Other options
//! are ignored.

use std::time::Duration;

/// What a run does not measure in full is divided by this.
const QUICK: u32 = 5;

/// What was asked for.
pub struct Arguments {
    quick: bool,
    filter: Option<String>,
}

impl Arguments {
    /// Those of this process.
    pub fn of_process() -> Self {
        Self::parse(std::env::args().skip(1))
    }

    fn parse(words: impl Iterator<Item = String>) -> Self {
        let (options, names): (Vec<_>, Vec<_>) = words.partition(|word| word.starts_with('-'));
        let has = |option: &str| options.iter().any(|word| word == option);
        Self { quick: has("--quick") || !has("--bench"), filter: names.into_iter().next() }
    }

    /// Whether the figure of this name is measured.
    pub fn selects(&self, name: &str) -> bool {
        self.filter.as_ref().is_none_or(|part| name.contains(part.as_str()))
    }

    /// For how long something is measured that is measured this long in full.
    pub fn length(&self, full: Duration) -> Duration {
        full / self.divisor()
    }

    /// How many times something is measured that is measured this many times in full.
    pub fn count(&self, full: u32) -> u32 {
        full / self.divisor()
    }

    fn divisor(&self) -> u32 {
        if self.quick { QUICK } else { 1 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn arguments(line: &str) -> Arguments {
        Arguments::parse(line.split_whitespace().map(str::to_owned))
    }

    #[test]
    fn a_name_selects_by_its_part_and_an_option_is_no_name() {
        let all = arguments("--bench");
        assert!(all.selects("contention/4/managed") && all.selects("contention/6/managed"));
        let some = arguments("--bench --noplot 6/managed");
        assert!(!some.selects("contention/4/managed") && some.selects("contention/6/managed"));
    }

    #[test]
    fn a_quick_run_and_a_test_are_shorter() {
        let length = |line| arguments(line).length(Duration::from_secs(5));
        assert_eq!(length("--bench"), Duration::from_secs(5));
        assert_eq!(length("--bench --quick"), Duration::from_secs(1));
        assert_eq!(length(""), Duration::from_secs(1));
        assert_eq!(arguments("--quick").count(200), 40);
    }
}
