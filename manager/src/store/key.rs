//! Keys: what an artefact is, in 16 bytes.

use std::fmt;
use std::ops::Range;

/// What identifies a feature artefact. Two artefacts with equal fields are the same artefact.
///
/// What does not change the bytes of the artefact (thread counts, batch sizes, paths) does not belong here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FeatureSpec<'a> {
    /// The feature's name.
    pub feature: &'a str,
    /// To be raised whenever the code that computes it changes.
    pub version: u32,
    /// Its parameters, written in one way only (sorted keys, no spaces).
    pub params: &'a str,
    /// Whom it is of: a ticker, a user.
    pub entity: &'a str,
    /// The positions of the calendar that it covers, half-open.
    pub range: Range<u32>,
    /// A fingerprint of the inputs it was computed from; whoever restates an input changes it.
    pub inputs: &'a [u8],
}

/// The first 16 bytes of the BLAKE3 hash of a [`FeatureSpec`].
///
/// The bytes that are hashed, integers little-endian, each text or byte string behind its length as 8 bytes:
/// `flockgate-key-1`, feature, params, entity, inputs; then version, range begin and range end in 4 bytes each.
/// Equal on every platform, in every process, for good.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Key([u8; 16]);

impl FeatureSpec<'_> {
    /// The key under which the artefact is stored.
    pub fn key(&self) -> Key {
        let mut hasher = blake3::Hasher::new();
        let mut text = |bytes: &[u8]| {
            hasher.update(&(bytes.len() as u64).to_le_bytes());
            hasher.update(bytes);
        };
        text(b"flockgate-key-1");
        text(self.feature.as_bytes());
        text(self.params.as_bytes());
        text(self.entity.as_bytes());
        text(self.inputs);
        for number in [self.version, self.range.start, self.range.end] {
            hasher.update(&number.to_le_bytes());
        }
        let hash = hasher.finalize();
        let mut key = [0; 16];
        key.copy_from_slice(&hash.as_bytes()[..16]);
        Key(key)
    }
}

impl Key {
    /// The key with these bytes, as [`Key::as_bytes`] gave them.
    pub fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }

    /// Its 16 bytes.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Key({self})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn spec() -> FeatureSpec<'static> {
        FeatureSpec {
            feature: "rsi",
            version: 1,
            params: "{}",
            entity: "IBM",
            range: 0..21,
            inputs: b"p1",
        }
    }

    /// If this fails, every store on disk has lost its keys.
    #[test]
    fn the_key_of_a_spec_never_changes() {
        assert_eq!(spec().key().to_string(), "c67a8347dbcded80254719690738e943");
    }

    #[test]
    fn every_field_is_part_of_the_key() {
        let others = [
            FeatureSpec { feature: "rsj", ..spec() },
            FeatureSpec { version: 2, ..spec() },
            FeatureSpec { params: "{\"n\":1}", ..spec() },
            FeatureSpec { entity: "MSFT", ..spec() },
            FeatureSpec { range: 0..22, ..spec() },
            FeatureSpec { range: 1..21, ..spec() },
            FeatureSpec { inputs: b"p2", ..spec() },
        ];
        for other in others {
            assert_ne!(other.key(), spec().key(), "{other:?}");
        }
    }

    proptest! {
        #[test]
        fn moving_a_letter_from_one_field_to_the_next_changes_the_key(
            letters in "[a-z]{2,12}", cut in 0..12_usize, other in 0..12_usize,
        ) {
            let (cut, other) = (cut.min(letters.len()), other.min(letters.len()));
            let key = |at: usize| FeatureSpec { feature: &letters[..at], params: &letters[at..], ..spec() }.key();
            prop_assert_eq!(key(cut) == key(other), cut == other);
        }
    }
}
