//! Fingerprints: what went into an artefact, in 32 bytes.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::hex::{self, HexError};

/// Numbers that are hashed in one go.
const CHUNK: usize = 512;

/// The BLAKE3 hash of what an artefact was computed from: a column, a calendar, the code.
///
/// Equal contents have equal fingerprints on every platform, in every process, for good; whoever restates a value
/// changes the fingerprint. As text, and in serialised form, it is 64 hexadecimal digits.
///
/// # Example
///
/// ```
/// use manager::Fingerprint;
///
/// // Of a file's bytes it is what `b3sum` prints.
/// let code = Fingerprint::of(b"def rsi(close, days): ...");
///
/// // Of a column: its values, and the positions that they stand at.
/// let close = Fingerprint::builder().i64s(&[250, 251]).f64s(&[101.5, 99.0]).finish();
/// let restated = Fingerprint::builder().i64s(&[250, 251]).f64s(&[101.5, 98.0]).finish();
/// assert_ne!(close, restated);
///
/// assert_eq!(code.to_string().parse(), Ok(code));
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Fingerprint([u8; 32]);

impl Fingerprint {
    /// The fingerprint of these bytes: their BLAKE3 hash and nothing else.
    ///
    /// For values that are not bytes, or more than one of them, see [`builder`](Self::builder).
    pub fn of(bytes: impl AsRef<[u8]>) -> Self {
        Self(*blake3::hash(bytes.as_ref()).as_bytes())
    }

    /// A fingerprint of several values, taken one after the other.
    pub fn builder() -> FingerprintBuilder {
        FingerprintBuilder::new()
    }

    /// The fingerprint with these bytes, as [`Fingerprint::as_bytes`] gave them.
    pub fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// Its 32 bytes.
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        hex::write(&self.0, f)
    }
}

impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Fingerprint({self})")
    }
}

/// # Errors
///
/// [`HexError`] if the text is not 64 hexadecimal digits, of either case.
impl FromStr for Fingerprint {
    type Err = HexError;

    fn from_str(text: &str) -> Result<Self, HexError> {
        hex::read(text).map(Self)
    }
}

impl Serialize for Fingerprint {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Fingerprint {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        hex::deserialize(deserializer)
    }
}

/// Takes the fingerprint of several values. Made by [`Fingerprint::builder`].
///
/// What counts is the sequence of calls and what each was given: two calls with one value each differ from one call
/// with both, and numbers of one type from equal numbers of the other.
///
/// # The bytes that are hashed
///
/// `flockgate-fingerprint-1`, then for each call one letter that names it, a count as 8 bytes, and what it counts;
/// all integers are little-endian.
///
/// | call | letter | count of | what follows |
/// |---|---|---|---|
/// | [`f64s`](Self::f64s) | `f` | numbers | each as its 8 bytes of IEEE 754; `-0.0` as `0.0`, every NaN as `7ff8000000000000` |
/// | [`i64s`](Self::i64s) | `i` | numbers | each as its 8 bytes of two's complement |
/// | [`texts`](Self::texts) | `t` | texts | each as its length in bytes, in 8 bytes, and its UTF-8 |
/// | [`bytes`](Self::bytes) | `b` | bytes | the bytes |
///
/// # Example
///
/// ```
/// use manager::Fingerprint;
///
/// let sessions = Fingerprint::builder().texts(["2024-01-02", "2024-01-03"]).finish();
/// let apart = Fingerprint::builder().texts(["2024-01-02"]).texts(["2024-01-03"]).finish();
/// assert_ne!(sessions, apart);
///
/// let zero = Fingerprint::builder().f64s(&[0.0, f64::NAN]).finish();
/// assert_eq!(zero, Fingerprint::builder().f64s(&[-0.0, -f64::NAN]).finish());
/// ```
#[derive(Clone, Debug)]
#[must_use = "the fingerprint is what `finish` returns"]
pub struct FingerprintBuilder(blake3::Hasher);

impl FingerprintBuilder {
    fn new() -> Self {
        let mut hasher = blake3::Hasher::new();
        hasher.update(b"flockgate-fingerprint-1");
        Self(hasher)
    }

    /// Takes floating-point numbers. `-0.0` counts as `0.0`, and every NaN as one and the same.
    pub fn f64s(self, numbers: &[f64]) -> Self {
        self.numbers(b'f', numbers, |number| one_spelling(number).to_bits())
    }

    /// Takes integers: positions, dates as days, volumes.
    pub fn i64s(self, numbers: &[i64]) -> Self {
        self.numbers(b'i', numbers, i64::cast_unsigned)
    }

    /// Takes texts, in their order.
    pub fn texts<'t>(mut self, texts: impl IntoIterator<Item = &'t str>) -> Self {
        let texts: Vec<&str> = texts.into_iter().collect();
        self.frame(b't', texts.len());
        for text in texts {
            self.0.update(&(text.len() as u64).to_le_bytes());
            self.0.update(text.as_bytes());
        }
        self
    }

    /// Takes bytes as they are. For those of an Arrow or Parquet file mind that equal tables need not be equal bytes.
    pub fn bytes(mut self, bytes: impl AsRef<[u8]>) -> Self {
        let bytes = bytes.as_ref();
        self.frame(b'b', bytes.len());
        self.0.update(bytes);
        self
    }

    /// The fingerprint of all that was taken.
    pub fn finish(self) -> Fingerprint {
        Fingerprint(*self.0.finalize().as_bytes())
    }

    fn frame(&mut self, letter: u8, count: usize) {
        self.0.update(&[letter]);
        self.0.update(&(count as u64).to_le_bytes());
    }

    fn numbers<N: Copy>(mut self, letter: u8, numbers: &[N], bits: impl Fn(N) -> u64) -> Self {
        self.frame(letter, numbers.len());
        // Hashing eight bytes at a time would cost several times as much.
        for chunk in numbers.chunks(CHUNK) {
            let bytes: Vec<u8> =
                chunk.iter().flat_map(|number| bits(*number).to_le_bytes()).collect();
            self.0.update(&bytes);
        }
        self
    }
}

/// One number for all that are equal, and one NaN for all of them.
fn one_spelling(number: f64) -> f64 {
    match number {
        0.0 => 0.0,
        number if number.is_nan() => f64::from_bits(0x7ff8_0000_0000_0000),
        number => number,
    }
}

#[cfg(test)]
mod tests;
