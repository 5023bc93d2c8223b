//! Inputs: what an artefact was computed from.

use crate::store::fingerprint::Fingerprint;

/// A column that an artefact was computed from.
///
/// # Example
///
/// ```
/// use manager::{FeatureSpec, Fingerprint, Input};
///
/// // Prices as adjusted on day 900: splits until then are folded into every earlier one.
/// let adjusted = Input::column("AdjClose", Fingerprint::of("...")).known_through(900);
/// let spec = FeatureSpec::new("momentum", 1).range(0..21).input(adjusted);
///
/// assert_eq!(spec.known_through(), 900);
/// assert!(spec.allow(500).is_err());
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[must_use = "an input counts once it is given to a spec"]
pub struct Input {
    column: String,
    fingerprint: Fingerprint,
    known_through: u32,
}

impl Input {
    /// A column, and the fingerprint of those of its values that are read, the ones before the range included.
    ///
    /// Of those and no others: so a day that is appended leaves older artefacts in place, and a price that is
    /// restated does not.
    pub fn column(column: impl Into<String>, fingerprint: Fingerprint) -> Self {
        Self { column: column.into(), fingerprint, known_through: 0 }
    }

    /// The end of what is folded into the values of a column that is restated as time goes by, as adjusted prices are
    /// by later splits. Defaults to 0: each value was known at its own position.
    pub fn known_through(self, position: u32) -> Self {
        Self { known_through: position, ..self }
    }

    /// The column's name.
    pub fn name(&self) -> &str {
        &self.column
    }

    /// The fingerprint of the values that are read.
    pub fn fingerprint(&self) -> Fingerprint {
        self.fingerprint
    }

    /// What it is [known through](Self::known_through).
    pub fn get_known_through(&self) -> u32 {
        self.known_through
    }
}
