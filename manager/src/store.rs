//! Features computed once, by whoever needs them first, in whichever process, and found by everyone afterwards.
//!
//! Read on in this order: [`FeatureSpec`] and [`Key`], what an artefact is; [`FeatureStore`], the public face. Inside,
//! from the bottom:
//!
//! | modules | what they own |
//! |---|---|
//! | `fingerprint`, `params`, `spec`, `key` | what an artefact is; what it knows |
//! | `content`, `files`, `locks`, `spool`, `failed`, `document`, `crash` | artefacts on disk; who computes, publishes and reads, over all processes; what waits for the manifest; where a test may kill |
//! | `hex` | names of 16 and 32 bytes |
//! | `eviction` | what goes first: a pure choice |
//! | `mirror`, `reading`, `flights`, `commits` | the manifest in memory; one computation, and one commit, of several threads |
//! | `record`, `manifest`, `rows`, `schema` | the manifest in the database |
//! | `core`, `publish` | look up, compute, publish |
//! | `feature_store`, `reader`, `as_of`, `plans`, `stats`, `upkeep`, `verify`, `export` | the public face |
//!
//! The upper half needs the engine; the lower half is built and tested without it.

mod content;
mod crash;
mod document;
mod eviction;
mod failed;
mod files;
mod fingerprint;
mod hex;
mod key;
mod locks;
mod params;
mod spec;
mod spool;

#[cfg(test)]
mod fixture;

#[cfg(feature = "engine")]
mod artefact;
#[cfg(feature = "engine")]
mod as_of;
#[cfg(feature = "engine")]
mod commits;
#[cfg(feature = "engine")]
mod core;
#[cfg(feature = "engine")]
mod export;
#[cfg(feature = "engine")]
mod feature_store;
#[cfg(feature = "engine")]
mod flights;
#[cfg(feature = "engine")]
mod manifest;
#[cfg(feature = "engine")]
mod mirror;
#[cfg(feature = "engine")]
mod options;
#[cfg(feature = "engine")]
mod plans;
#[cfg(feature = "engine")]
mod publish;
#[cfg(feature = "engine")]
mod reader;
#[cfg(feature = "engine")]
mod reading;
#[cfg(feature = "engine")]
mod record;
#[cfg(feature = "engine")]
mod rows;
#[cfg(feature = "engine")]
mod schema;
#[cfg(feature = "engine")]
mod stats;
#[cfg(feature = "engine")]
mod upkeep;
#[cfg(feature = "engine")]
mod verify;

#[cfg(feature = "engine")]
pub use self::{
    artefact::{Absent, Artefact, Codec, Fill, Lookup},
    as_of::AsOf,
    commits::Published,
    export::ExportReport,
    feature_store::FeatureStore,
    options::StoreOptions,
    plans::Plan,
    publish::Publication,
    reader::{Found, Reader},
    stats::{Counts, MirrorState, Stats},
    upkeep::{Evicted, GcReport, PinnedFeature, Selector},
    verify::{Depth, Finding, VerifyReport},
};
pub use eviction::Policy;
pub use fingerprint::{Fingerprint, FingerprintBuilder};
pub use hex::HexError;
pub use key::Key;
pub use params::{Params, ParamsError};
pub use spec::{FeatureSpec, Input, Leak, LeakCause};
