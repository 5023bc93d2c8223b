//! Hashes as text: two hexadecimal digits a byte.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, de};

/// Why a text is no [`Key`](crate::Key) and no [`Fingerprint`](crate::Fingerprint).
///
/// # Example
///
/// ```
/// use manager::{HexError, Key};
///
/// assert_eq!("c67a".parse::<Key>(), Err(HexError::Length { needed: 32, found: 4 }));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum HexError {
    /// It is too short or too long.
    #[error("read a hash: it has {found} bytes of text, it must be {needed} hexadecimal digits")]
    Length {
        /// What it must have.
        needed: usize,
        /// What it has.
        found: usize,
    },
    /// Something in it is no hexadecimal digit.
    #[error("read a hash: byte {at} of the text is no hexadecimal digit")]
    Digit {
        /// Where, counted in bytes from 0.
        at: usize,
    },
}

/// Writes bytes as digits, in lower case.
pub(crate) fn write(bytes: &[u8], f: &mut fmt::Formatter<'_>) -> fmt::Result {
    bytes.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
}

/// Reads `N` bytes from digits of either case.
pub(crate) fn read<const N: usize>(text: &str) -> Result<[u8; N], HexError> {
    if text.len() != 2 * N {
        return Err(HexError::Length { needed: 2 * N, found: text.len() });
    }
    let mut bytes = [0; N];
    for (at, digit) in text.bytes().enumerate() {
        let value = char::from(digit).to_digit(16).ok_or(HexError::Digit { at })?;
        bytes[at / 2] = bytes[at / 2] << 4 | value as u8;
    }
    Ok(bytes)
}

/// The 32 digits of 16 bytes.
pub(crate) fn of(bytes: &[u8; 16]) -> String {
    format!("{:032x}", u128::from_be_bytes(*bytes))
}

/// The 16 bytes with this name; `None` if it is not one that [`of`] gives.
pub(crate) fn parse(name: &str) -> Option<[u8; 16]> {
    read(name).ok().filter(|bytes| of(bytes) == name)
}

/// Deserializes from the digits.
pub(crate) fn deserialize<'de, T, D>(deserializer: D) -> Result<T, D::Error>
where
    T: FromStr<Err = HexError>,
    D: Deserializer<'de>,
{
    String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn digits_of_both_cases_are_read() {
        assert_eq!(read("00fFA1"), Ok([0, 255, 161]));
    }

    #[test]
    fn what_is_no_digit_is_pointed_at() {
        assert_eq!(read::<2>("00f"), Err(HexError::Length { needed: 4, found: 3 }));
        assert_eq!(read::<2>("00g0"), Err(HexError::Digit { at: 2 }));
        assert_eq!(read::<2>("+1+1"), Err(HexError::Digit { at: 0 }));
        assert_eq!(read::<2>("0é0"), Err(HexError::Digit { at: 1 }));
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic(text in ".{0,8}") {
            let _ = read::<4>(&text);
        }
    }
}
