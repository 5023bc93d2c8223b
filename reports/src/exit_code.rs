//! How the harness ends, for scripts and CI jobs.

use crate::model::Status;

/// The exit codes of the binary `harness`.
///
/// Part of the outward contract: a code never changes its meaning. The report repeats it as
/// `summary.exit_code`, because wrappers change codes (`cargo test --no-fail-fast` turns each into 101).
///
/// # Example
///
/// ```
/// use reports::ExitCode;
///
/// let applying = [ExitCode::Inconclusive, ExitCode::CheckFailed, ExitCode::CanaryMissed];
/// assert_eq!(ExitCode::pick(applying).code(), 7);
/// assert_eq!(ExitCode::pick([]), ExitCode::Passed);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum ExitCode {
    /// 0: all that was asked for passed.
    Passed = 0,
    /// 1: a check failed.
    CheckFailed = 1,
    /// 2: a usage error or a bad scenario file.
    Usage = 2,
    /// 3: nothing failed, but something is inconclusive.
    Inconclusive = 3,
    /// 4: nothing matched, so nothing ran.
    NothingRan = 4,
    /// 5: a replay did not reproduce or diverged, or `--locked` found another build.
    NotReproduced = 5,
    /// 6: a confirmed performance regression.
    Regression = 6,
    /// 7: a planted canary was not caught: do not believe the green.
    CanaryMissed = 7,
    /// 70: an error of the harness itself.
    Internal = 70,
    /// 74: the report could not be written.
    NotWritten = 74,
    /// 130: interrupted; the report is still written.
    Interrupted = 130,
}

impl ExitCode {
    /// Every code, the one that wins when several apply first.
    ///
    /// The contract orders 70, 74, 7, 1, 6, 5, 3, 4. The two it leaves open stand before 7: after an
    /// interruption or a usage error the run is not the one that was asked for, so what it found, or
    /// did not find, is no verdict on that one. They stand behind 70 and 74, which are faults of ours.
    pub const PRECEDENCE: [Self; 11] = [
        Self::Internal,
        Self::NotWritten,
        Self::Interrupted,
        Self::Usage,
        Self::CanaryMissed,
        Self::CheckFailed,
        Self::Regression,
        Self::NotReproduced,
        Self::Inconclusive,
        Self::NothingRan,
        Self::Passed,
    ];

    /// The number that the process exits with.
    pub const fn code(self) -> u8 {
        self as u8
    }

    /// The code with that number, if there is one.
    pub fn from_code(code: u8) -> Option<Self> {
        Self::PRECEDENCE.into_iter().find(|known| known.code() == code)
    }

    /// The one to exit with when several apply, by [`PRECEDENCE`](Self::PRECEDENCE). `Passed` if none
    /// does.
    pub fn pick(codes: impl IntoIterator<Item = Self>) -> Self {
        let rank = |code: &Self| Self::PRECEDENCE.iter().position(|known| known == code);
        codes.into_iter().min_by_key(rank).unwrap_or(Self::Passed)
    }

    /// What a run that ends with this code calls itself in `summary.status`.
    pub const fn status(self) -> Status {
        match self {
            Self::Passed => Status::Passed,
            Self::NothingRan | Self::Inconclusive | Self::NotReproduced | Self::Interrupted => {
                Status::Inconclusive
            }
            Self::CheckFailed | Self::Regression | Self::CanaryMissed => Status::Failed,
            Self::Usage | Self::Internal | Self::NotWritten => Status::Error,
        }
    }
}

impl From<ExitCode> for std::process::ExitCode {
    fn from(code: ExitCode) -> Self {
        Self::from(code.code())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_order_is_the_contract_with_130_and_2_before_7() {
        let order = ExitCode::PRECEDENCE.map(ExitCode::code);
        assert_eq!(order, [70, 74, 130, 2, 7, 1, 6, 5, 3, 4, 0]);
    }

    #[test]
    fn every_code_comes_back_from_its_number_and_no_other_number_is_a_code() {
        let known: Vec<u8> =
            (0..=u8::MAX).filter(|code| ExitCode::from_code(*code).is_some()).collect();
        assert_eq!(known, [0, 1, 2, 3, 4, 5, 6, 7, 70, 74, 130]);
        for code in known {
            assert_eq!(ExitCode::from_code(code).map(ExitCode::code), Some(code));
        }
    }

    #[test]
    fn only_exit_code_0_calls_itself_passed() {
        for code in ExitCode::PRECEDENCE {
            assert_eq!(code.status() == Status::Passed, code.code() == 0, "{code:?}");
        }
    }

    #[test]
    fn the_process_exits_with_the_same_number() {
        // The standard type offers no comparison; its debug text holds the number.
        for code in ExitCode::PRECEDENCE {
            assert_eq!(
                format!("{:?}", std::process::ExitCode::from(code)),
                format!("{:?}", std::process::ExitCode::from(code.code()))
            );
        }
    }

    proptest! {
        #[test]
        fn a_pick_is_one_of_those_that_apply_and_none_of_them_precedes_it(
            ranks in prop::collection::vec(0..ExitCode::PRECEDENCE.len(), 1..20),
        ) {
            let picked = ExitCode::pick(ranks.iter().map(|rank| ExitCode::PRECEDENCE[*rank]));
            let first = ranks.iter().min().expect("at least one rank");
            prop_assert_eq!(picked, ExitCode::PRECEDENCE[*first]);
        }
    }
}
