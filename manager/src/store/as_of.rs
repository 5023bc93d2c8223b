//! A look at a store from a point in time: what knows more is refused.

use std::fmt::{self, Display};

use super::artefact::{Fill, Lookup};
use super::feature_store::FeatureStore;
use super::spec::{FeatureSpec, Leak, LeakCause};
use crate::error::Error;

/// A store as somebody may see it who knows the calendar up to a position. Made by [`FeatureStore::as_of`].
///
/// An artefact that knows more ([`FeatureSpec::known_through`]) is refused by name, before it is looked up, and so is
/// one whose publisher said that it does. A label is such an artefact by its nature, a scaler that was fitted on a later
/// window, and a feature of prices that later splits have changed.
///
/// # Example
///
/// ```
/// use manager::{Config, Error, FeatureSpec, FeatureStore, Fingerprint, Input, Manager};
///
/// # let folder = tempfile::tempdir().unwrap();
/// let store = FeatureStore::open(&Manager::new(Config::default())?, folder.path().join("x.duckdb"))?;
/// let session_100 = store.as_of(100);
/// let close = Input::column("Close", Fingerprint::of("prices"));
/// let feature = FeatureSpec::new("momentum", 1).entity("AAPL").range(79..100).input(close);
/// assert!(session_100.get(&feature)?.is_miss());
///
/// // An adjusted price is divided by all later splits: it knows the last session.
/// let adjusted = Input::column("Adj Close", Fingerprint::of("prices")).known_through(3_270);
/// let refused = session_100.get(&feature.clone().input(adjusted));
/// assert!(matches!(refused, Err(Error::Leak(leak)) if leak.to_string().contains("Adj Close")));
///
/// let label = FeatureSpec::new("return", 1).entity("AAPL").range(79..100).lookahead(5);
/// assert!(session_100.get(&label).is_err() && store.as_of(105).get(&label).is_ok());
/// # Ok::<(), Error>(())
/// ```
#[derive(Clone, Copy)]
pub struct AsOf<'a> {
    store: &'a FeatureStore,
    position: u32,
}

impl fmt::Debug for AsOf<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "AsOf({})", self.position)
    }
}

impl FeatureStore {
    /// This store as of a position of the calendar: everything before it is known, it and what follows is not.
    pub fn as_of(&self, position: u32) -> AsOf<'_> {
        AsOf { store: self, position }
    }
}

impl AsOf<'_> {
    /// The position.
    pub fn position(&self) -> u32 {
        self.position
    }

    /// Looks an artefact up.
    ///
    /// # Errors
    ///
    /// [`Error::Leak`] if it knows more; those of [`FeatureStore::get`].
    pub fn get(&self, spec: &FeatureSpec) -> Result<Lookup, Error> {
        spec.allow(self.position)?;
        let found = self.store.get(spec.key())?;
        self.allowed(spec, self.or_formerly(spec, found)?)
    }

    /// Looks many up. If one of them knows more, none is answered.
    ///
    /// # Errors
    ///
    /// Those of [`get`](Self::get).
    pub fn get_many(&self, specs: &[FeatureSpec]) -> Result<Vec<Lookup>, Error> {
        specs.iter().try_for_each(|spec| spec.allow(self.position))?;
        let keys: Vec<_> = specs.iter().map(FeatureSpec::key).collect();
        let found = self.store.get_many(&keys)?;
        let found = specs.iter().zip(found);
        found.map(|(spec, found)| self.allowed(spec, self.or_formerly(spec, found)?)).collect()
    }

    /// Looks one up, or computes and publishes it.
    ///
    /// # Errors
    ///
    /// [`Error::Leak`] if it knows more, and nothing is computed; those of [`FeatureStore::get_or_compute`].
    pub fn get_or_compute<E: From<Error> + Display>(
        &self,
        spec: &FeatureSpec,
        compute: impl FnOnce() -> Result<Fill, E>,
    ) -> Result<Lookup, E> {
        spec.allow(self.position).map_err(Error::from)?;
        let found = self.store.get_or_compute(spec, compute)?;
        Ok(self.allowed(spec, found)?)
    }

    /// What is missed may be there under the key that it had before.
    fn or_formerly(&self, spec: &FeatureSpec, found: Lookup) -> Result<Lookup, Error> {
        match spec.get_formerly() {
            Some(key) if found.is_miss() => self.store.get(key),
            _ => Ok(found),
        }
    }

    /// What its publisher said of it counts, too: the key does not say how far an input's knowledge reaches.
    fn allowed(&self, spec: &FeatureSpec, found: Lookup) -> Result<Lookup, Error> {
        match found {
            Lookup::Hit(artefact) if self.position < artefact.known_through() => {
                let (feature, as_of) = (spec.name().to_owned(), self.position);
                let (known_through, cause) = (artefact.known_through(), LeakCause::Publisher);
                Err(Leak { feature, known_through, as_of, cause }.into())
            }
            found => Ok(found),
        }
    }
}
