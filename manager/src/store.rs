//! Features computed once, by whoever needs them first, in whichever process, and found by everyone afterwards.
//!
//! Read on in this order: [`FeatureSpec`] and [`Key`], what an artefact is; [`FeatureStore`], the public face.
//! Inside, from the bottom: `content` (bytes by their hash), `files` (artefacts on disk), `locks` (who computes,
//! publishes or reads what, over all processes), `eviction` (what goes first).

mod content;
mod eviction;
mod fingerprint;
mod hex;
mod key;
mod params;
mod spec;

#[cfg(feature = "engine")]
mod feature_store;

pub use eviction::Policy;
#[cfg(feature = "engine")]
pub use feature_store::{FeatureStore, Lookup, Published};
pub use fingerprint::{Fingerprint, FingerprintBuilder};
pub use hex::HexError;
pub use key::Key;
pub use params::{Params, ParamsError};
pub use spec::{FeatureSpec, Input, Leak, LeakCause};
