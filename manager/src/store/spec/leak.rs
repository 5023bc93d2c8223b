//! Leaks: artefacts that know what their user cannot know yet.

use std::fmt;

/// An artefact knows more of the calendar than whoever wants it.
///
/// # Example
///
/// ```
/// use manager::{FeatureSpec, LeakCause};
///
/// let label = FeatureSpec::new("return_5d", 1).range(100..121).lookahead(5);
/// let leak = label.allow(121).unwrap_err();
/// assert_eq!((leak.known_through, leak.cause), (126, LeakCause::Lookahead));
/// ```
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "use `{feature}` as of position {as_of}: {cause} reach up to position {known_through}; {}",
    cause.remedy(*as_of)
)]
#[non_exhaustive]
pub struct Leak {
    /// The feature's name.
    pub feature: String,
    /// The end of what it knows, as [`FeatureSpec::known_through`](crate::FeatureSpec::known_through) has it.
    pub known_through: u32,
    /// The end of what its user may know.
    pub as_of: u32,
    /// What reaches that far.
    pub cause: LeakCause,
}

/// What of an artefact reaches furthest into the calendar. If several do, it is the first one of this list.
///
/// # Example
///
/// ```
/// use manager::{FeatureSpec, Fingerprint, Input, LeakCause};
///
/// let adjusted = Input::column("AdjClose", Fingerprint::of("...")).known_through(900);
/// let leak = FeatureSpec::new("momentum", 1).range(0..21).input(adjusted).allow(500).unwrap_err();
/// assert_eq!(leak.cause, LeakCause::Input("AdjClose".to_owned()));
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum LeakCause {
    /// The positions that it covers.
    Range,
    /// Those beyond its range that it is made from: it is a label.
    Lookahead,
    /// What later became known and is folded into this column.
    Input(String),
    /// The positions that it was fitted on.
    Fit,
    /// What its publisher has said of it, which its user's spec does not.
    Publisher,
}

impl LeakCause {
    fn remedy(&self, as_of: u32) -> String {
        match self {
            Self::Range => format!("ask for a range that ends at {as_of} or before"),
            Self::Lookahead => format!(
                "a label is no feature, and to train on it purge the positions whose labels end after {as_of}"
            ),
            Self::Input(column) => format!("read `{column}` as it was known at {as_of}"),
            Self::Fit => format!("fit it on positions before {as_of}"),
            Self::Publisher => "say of its inputs what its publisher says".to_owned(),
        }
    }
}

impl fmt::Display for LeakCause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Range => f.write_str("the positions that it covers"),
            Self::Lookahead => f.write_str("its range and lookahead"),
            Self::Input(column) => write!(f, "the facts folded into its input `{column}`"),
            Self::Fit => f.write_str("the positions that it was fitted on"),
            Self::Publisher => f.write_str("the facts in it, by what its publisher said,"),
        }
    }
}
