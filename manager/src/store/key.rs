//! Keys: what an artefact is, in 16 bytes.

use std::fmt;
use std::ops::Range;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::fingerprint::Fingerprint;
use super::hex::{self, HexError};
use super::spec::FeatureSpec;

/// The first 16 bytes of the BLAKE3 hash of a [`FeatureSpec`].
///
/// Equal on every platform, in every process, for good. As text, and in serialised form, it is 32 hexadecimal digits.
///
/// # The bytes that are hashed
///
/// In this order; integers are little-endian, counts and lengths take 8 bytes.
///
/// | what | bytes |
/// |---|---|
/// | `flockgate-key-2` | its length, then the text |
/// | name | its length, then its UTF-8 |
/// | version | 4 |
/// | params | the length of the text, then its UTF-8 |
/// | code | 0, or 1 and the 32 bytes of the fingerprint |
/// | entities | their count; for each, in the order of their bytes, its length and its UTF-8 |
/// | range | 4 for its begin, 4 for its end |
/// | calendar | 0, or 1 and the 32 bytes of the fingerprint |
/// | lookahead | 4 |
/// | fit | 0, or 1 and 4 for its begin, 4 for its end |
/// | inputs | their count; for each, in the order of their columns' bytes, the length of its column, its UTF-8, and the 32 bytes of its fingerprint |
///
/// What an input is known through is left out. An artefact is made from values, and equal values make equal
/// artefacts: if something later had been folded into them, their fingerprint would be another.
///
/// # Example
///
/// ```
/// use manager::{FeatureSpec, Key};
///
/// let key = FeatureSpec::new("rsi", 1).entity("IBM").range(0..21).key();
/// let text = key.to_string();
/// assert_eq!(text.len(), 32);
/// assert_eq!(text.parse::<Key>()?, key);
/// # Ok::<(), manager::HexError>(())
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Key([u8; 16]);

impl FeatureSpec {
    /// The key under which the artefact is stored.
    pub fn key(&self) -> Key {
        let mut hasher = blake3::Hasher::new();
        self.encode(&mut |bytes| {
            hasher.update(bytes);
        });
        Key::from_hash(&hasher.finalize())
    }

    /// Hands over, piece by piece, the bytes that stand in the table of [`Key`].
    fn encode(&self, sink: &mut impl FnMut(&[u8])) {
        text(sink, "flockgate-key-2");
        text(sink, self.name());
        sink(&self.version().to_le_bytes());
        text(sink, self.get_params().as_str());
        fingerprint(sink, self.get_code());
        count(sink, self.get_entities().len());
        for entity in self.get_entities() {
            text(sink, entity);
        }
        range(sink, &self.get_range());
        fingerprint(sink, self.get_calendar());
        sink(&self.get_lookahead().to_le_bytes());
        sink(&[u8::from(self.get_fit().is_some())]);
        if let Some(fit) = self.get_fit() {
            range(sink, &fit);
        }
        count(sink, self.get_inputs().len());
        for input in self.get_inputs() {
            text(sink, input.name());
            sink(input.fingerprint().as_bytes());
        }
    }
}

fn text(sink: &mut impl FnMut(&[u8]), text: &str) {
    count(sink, text.len());
    sink(text.as_bytes());
}

fn count(sink: &mut impl FnMut(&[u8]), count: usize) {
    sink(&(count as u64).to_le_bytes());
}

fn range(sink: &mut impl FnMut(&[u8]), range: &Range<u32>) {
    sink(&range.start.to_le_bytes());
    sink(&range.end.to_le_bytes());
}

fn fingerprint(sink: &mut impl FnMut(&[u8]), fingerprint: Option<Fingerprint>) {
    sink(&[u8::from(fingerprint.is_some())]);
    if let Some(fingerprint) = fingerprint {
        sink(fingerprint.as_bytes());
    }
}

impl Key {
    /// The key that stores of schema version 1 have the artefact under, for [`FeatureSpec::formerly`].
    ///
    /// The bytes that are hashed, integers little-endian, each text or byte string behind its length as 8 bytes:
    /// `flockgate-key-1`, feature, params, entity, inputs; then version, range begin and range end in 4 bytes each.
    /// `params` and `inputs` are taken as they are, so they must be spelled as they were then.
    ///
    /// # Example
    ///
    /// ```
    /// use manager::{FeatureSpec, Key};
    ///
    /// let then = Key::v1("rsi", 1, "{\"days\": 14}", "IBM", 0..21, b"prices v1");
    /// let spec = FeatureSpec::new("rsi", 1).entity("IBM").range(0..21).formerly(then);
    /// assert_eq!(spec.get_formerly(), Some(then));
    /// ```
    pub fn v1(
        feature: &str,
        version: u32,
        params: &str,
        entity: &str,
        range: Range<u32>,
        inputs: &[u8],
    ) -> Self {
        let mut hasher = blake3::Hasher::new();
        let tag = b"flockgate-key-1";
        for text in [tag, feature.as_bytes(), params.as_bytes(), entity.as_bytes(), inputs] {
            hasher.update(&(text.len() as u64).to_le_bytes());
            hasher.update(text);
        }
        for number in [version, range.start, range.end] {
            hasher.update(&number.to_le_bytes());
        }
        Self::from_hash(&hasher.finalize())
    }

    /// The key with these bytes, as [`Key::as_bytes`] gave them.
    pub fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }

    /// Its 16 bytes.
    pub fn as_bytes(&self) -> &[u8; 16] {
        &self.0
    }

    fn from_hash(hash: &blake3::Hash) -> Self {
        let first = hash.as_bytes().first_chunk().expect("a BLAKE3 hash has 32 bytes");
        Self(*first)
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        hex::write(&self.0, f)
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Key({self})")
    }
}

/// # Errors
///
/// [`HexError`] if the text is not 32 hexadecimal digits, of either case.
impl FromStr for Key {
    type Err = HexError;

    fn from_str(text: &str) -> Result<Self, HexError> {
        hex::read(text).map(Self)
    }
}

impl Serialize for Key {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Key {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        hex::deserialize(deserializer)
    }
}

#[cfg(test)]
mod tests;
