//! Specs: what an artefact is, and what it knows of the calendar.

use std::collections::BTreeSet;
use std::ops::Range;

use super::fingerprint::Fingerprint;
use super::key::Key;
use super::params::Params;

mod input;
mod leak;

pub use input::Input;
pub use leak::{Leak, LeakCause};

/// What a feature artefact is: whose values, over which positions, computed from what and by which code.
///
/// Two artefacts with the same [`key`](Self::key) are the same artefact, so whatever changes its values belongs in
/// here. What does not, as thread counts, batch sizes or paths, has no place here.
///
/// What a method sets, the one named `get_…` reads, as in [`std::process::Command`].
///
/// # Example
///
/// ```
/// use manager::{FeatureSpec, Fingerprint, Input, Params};
///
/// let closes = [101.5, 99.0, 99.5];
/// let spec = FeatureSpec::new("rsi", 1)
///     .params(Params::try_from(r#"{"days":14}"#)?)
///     .code(Fingerprint::of("def rsi(close, days): ..."))
///     .entity("IBM")
///     .range(0..21)
///     .input(Input::column("Close", Fingerprint::builder().f64s(&closes).finish()));
///
/// assert_eq!(spec.key(), spec.clone().key());
/// assert_ne!(spec.key(), spec.clone().entity("MSFT").key());
/// # Ok::<(), manager::ParamsError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[must_use = "a spec alone does nothing: each method returns the changed one"]
pub struct FeatureSpec {
    name: String,
    version: u32,
    params: Params,
    code: Option<Fingerprint>,
    entities: BTreeSet<String>,
    range: Range<u32>,
    calendar: Option<Fingerprint>,
    lookahead: u32,
    fit: Option<Range<u32>>,
    /// In the order of their columns, each column once.
    inputs: Vec<Input>,
    formerly: Option<Key>,
}

impl FeatureSpec {
    /// A spec with everything at its default.
    ///
    /// `version` is to be raised whenever the code that computes the feature changes, for those who do not give its
    /// [`code`](Self::code).
    pub fn new(name: impl Into<String>, version: u32) -> Self {
        Self {
            name: name.into(),
            version,
            params: Params::none(),
            code: None,
            entities: BTreeSet::new(),
            range: 0..0,
            calendar: None,
            lookahead: 0,
            fit: None,
            inputs: Vec::new(),
            formerly: None,
        }
    }

    /// Its parameters. Defaults to [`Params::none`].
    pub fn params(self, params: Params) -> Self {
        Self { params, ..self }
    }

    /// The fingerprint of the code that computes it, helpers included. Defaults to none: the version has to do.
    pub fn code(self, code: Fingerprint) -> Self {
        Self { code: Some(code), ..self }
    }

    /// Adds one of those whom it is of: a ticker, a user. Defaults to nobody, as for a feature of the whole market.
    pub fn entity(self, entity: impl Into<String>) -> Self {
        self.entities([entity])
    }

    /// Adds some of those whom it is of. They are a set: neither their order nor a repetition counts.
    pub fn entities<E: Into<String>>(mut self, entities: impl IntoIterator<Item = E>) -> Self {
        self.entities.extend(entities.into_iter().map(Into::into));
        self
    }

    /// The positions of the calendar that it covers, half-open. Defaults to `0..0`.
    pub fn range(self, range: Range<u32>) -> Self {
        Self { range, ..self }
    }

    /// The fingerprint of the calendar that positions count in. Defaults to none: all specs of the store share one.
    pub fn calendar(self, calendar: Fingerprint) -> Self {
        Self { calendar: Some(calendar), ..self }
    }

    /// How many positions beyond its range it was made from. Defaults to 0, as befits a feature.
    ///
    /// More than 0 makes it a label. One with [`label_horizon`](crate::WalkForward::label_horizon) `h` has lookahead
    /// `h - 1`, which is what a walk-forward purges.
    pub fn lookahead(self, lookahead: u32) -> Self {
        Self { lookahead, ..self }
    }

    /// The positions that it was fitted on, half-open, as those of a scaler. Defaults to none.
    pub fn fit(self, fit: Range<u32>) -> Self {
        Self { fit: Some(fit), ..self }
    }

    /// Adds a column that it was computed from. Inputs are a set, by column: their order does not count, and of two
    /// with the same column the last one stays.
    pub fn input(mut self, input: Input) -> Self {
        match self.inputs.binary_search_by(|other| other.name().cmp(input.name())) {
            Ok(at) => self.inputs[at] = input,
            Err(at) => self.inputs.insert(at, input),
        }
        self
    }

    /// The key under which an older program stored the same artefact. Defaults to none.
    ///
    /// It is no part of the key: a store that has nothing under the key looks under this one, too. What a store of
    /// schema version 1 holds is found by [`Key::v1`].
    pub fn formerly(self, key: Key) -> Self {
        Self { formerly: Some(key), ..self }
    }

    /// The end of what it knows: values at this position and later have no part in it.
    ///
    /// That is the largest of the end of its range plus its lookahead, the end of its fit, and what its inputs are
    /// known through.
    pub fn known_through(&self) -> u32 {
        let inputs = self.inputs.iter().map(Input::get_known_through);
        inputs.chain(self.fit_end()).fold(self.label_end(), u32::max)
    }

    /// Whether somebody may use it who stands at position `as_of` and knows only what came before.
    ///
    /// # Example
    ///
    /// ```
    /// use manager::{FeatureSpec, LeakCause};
    ///
    /// // A scaler for the window that trains on 100..350 is no good for the one before.
    /// let scaled = FeatureSpec::new("rsi_scaled", 1).range(100..121).fit(100..350);
    /// assert!(scaled.allow(350).is_ok());
    /// assert_eq!(scaled.allow(340).unwrap_err().cause, LeakCause::Fit);
    /// ```
    ///
    /// # Errors
    ///
    /// [`Leak`] if it is [known through](Self::known_through) more than `as_of`.
    pub fn allow(&self, as_of: u32) -> Result<(), Leak> {
        let known_through = self.known_through();
        if known_through <= as_of {
            return Ok(());
        }
        let cause = self.cause(known_through);
        Err(Leak { feature: self.name.clone(), known_through, as_of, cause })
    }

    /// The end of the positions that it was fitted on; none if it was not.
    pub fn fit_end(&self) -> Option<u32> {
        self.fit.as_ref().map(|fit| fit.end)
    }

    /// The feature's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The version of the code that computes it.
    pub fn version(&self) -> u32 {
        self.version
    }

    /// Its [`params`](Self::params).
    pub fn get_params(&self) -> &Params {
        &self.params
    }

    /// The fingerprint of its [`code`](Self::code).
    pub fn get_code(&self) -> Option<Fingerprint> {
        self.code
    }

    /// Its [`entities`](Self::entities), each once, in the order of their bytes.
    pub fn get_entities(&self) -> impl ExactSizeIterator<Item = &str> {
        self.entities.iter().map(String::as_str)
    }

    /// Its [`range`](Self::range).
    pub fn get_range(&self) -> Range<u32> {
        self.range.clone()
    }

    /// The fingerprint of its [`calendar`](Self::calendar).
    pub fn get_calendar(&self) -> Option<Fingerprint> {
        self.calendar
    }

    /// Its [`lookahead`](Self::lookahead).
    pub fn get_lookahead(&self) -> u32 {
        self.lookahead
    }

    /// What it was [fitted](Self::fit) on.
    pub fn get_fit(&self) -> Option<Range<u32>> {
        self.fit.clone()
    }

    /// Its [inputs](Self::input), each column once, in the order of their columns' bytes.
    pub fn get_inputs(&self) -> &[Input] {
        &self.inputs
    }

    /// The key that it was stored under [formerly](Self::formerly).
    pub fn get_formerly(&self) -> Option<Key> {
        self.formerly
    }

    fn label_end(&self) -> u32 {
        self.range.end.saturating_add(self.lookahead)
    }

    /// What it knows `through` by; if by several, the one that is the simplest to mend.
    fn cause(&self, through: u32) -> LeakCause {
        if self.range.end == through {
            LeakCause::Range
        } else if self.label_end() == through {
            LeakCause::Lookahead
        } else if let Some(input) =
            self.inputs.iter().find(|input| input.get_known_through() == through)
        {
            LeakCause::Input(input.name().to_owned())
        } else {
            LeakCause::Fit
        }
    }
}

#[cfg(test)]
mod tests;
