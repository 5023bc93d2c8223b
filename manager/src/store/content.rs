//! Contents: bytes, named by their hash.

use std::fmt;

/// The first 16 bytes of the BLAKE3 hash of an artefact's bytes: its name on disk, and its checksum.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Content([u8; 16]);

impl Content {
    /// The content of these bytes.
    pub(crate) fn of(bytes: &[u8]) -> Self {
        Self::from_hash(&blake3::hash(bytes))
    }

    /// The content with these 16 bytes, as [`Content::as_bytes`] gave them.
    pub(crate) fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }

    /// Its 16 bytes.
    pub(crate) fn as_bytes(&self) -> &[u8; 16] {
        &self.0
    }

    fn from_hash(hash: &blake3::Hash) -> Self {
        let first = hash.as_bytes().first_chunk().expect("a BLAKE3 hash has 32 bytes");
        Self(*first)
    }
}

impl std::str::FromStr for Content {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let is_hex = text.len() == 32 && text.bytes().all(|letter| letter.is_ascii_hexdigit());
        let number = u128::from_str_radix(text, 16).ok().filter(|_| is_hex);
        number.map(|number| Self(number.to_be_bytes())).ok_or(())
    }
}

impl fmt::Display for Content {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Content {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Content({self})")
    }
}
