//! 64-bit values that JSON numbers cannot carry.

use std::fmt;
use std::str::FromStr;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// A seed or a hash, written as `0x` and exactly 16 lower-case hexadecimal digits.
///
/// A string and not a number, because JavaScript and older `jq` damage integers above 2^53. One
/// spelling per value, so that equal values are equal strings.
///
/// # Example
///
/// ```
/// use reports::Hex64;
///
/// let seed: Hex64 = "0x000000000000002a".parse()?;
/// assert_eq!(seed, Hex64(42));
/// assert!("0x2a".parse::<Hex64>().is_err());
/// # Ok::<(), reports::ParseHex64Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Hex64(pub u64);

/// Why a text is not a [`Hex64`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "parse `{text}`: a seed or hash is `0x` and 16 lower-case hexadecimal digits; pad it with zeros"
)]
pub struct ParseHex64Error {
    /// What was given.
    pub text: String,
}

impl fmt::Display for Hex64 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#018x}", self.0)
    }
}

impl FromStr for Hex64 {
    type Err = ParseHex64Error;

    /// Reads the one spelling that [`Hex64`] prints.
    ///
    /// # Errors
    ///
    /// [`ParseHex64Error`] for every other text: shorter, longer, upper-case, signed, without `0x`.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        // `from_str_radix` is laxer than this format (case, length, sign), so its answer counts only
        // if it prints back as the same text.
        text.strip_prefix("0x")
            .and_then(|digits| u64::from_str_radix(digits, 16).ok())
            .map(Self)
            .filter(|value| value.to_string() == text)
            .ok_or_else(|| ParseHex64Error { text: text.to_owned() })
    }
}

impl Serialize for Hex64 {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Hex64 {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}

impl JsonSchema for Hex64 {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Hex64".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "description": "A seed or a hash: `0x` and exactly 16 lower-case hexadecimal digits.",
            "type": "string",
            "pattern": "^0x[0-9a-f]{16}$",
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_smallest_and_the_largest_value_have_the_same_width() {
        assert_eq!(Hex64(0).to_string(), "0x0000000000000000");
        assert_eq!(Hex64(u64::MAX).to_string(), "0xffffffffffffffff");
    }

    #[test]
    fn only_the_padded_lower_case_spelling_is_read() {
        for text in [
            "",
            "0x",
            "0x2a",
            "000000000000002a",
            "0x000000000000002A",
            "0X000000000000002a",
            "0x+00000000000002a",
            "0x0000000000000002a",
            " 0x000000000000002a",
            "0x00000000000000_2",
        ] {
            let refused = text.parse::<Hex64>();
            assert!(refused.is_err(), "`{text}` was read as {refused:?}");
        }
    }

    #[test]
    fn a_json_number_is_refused() {
        assert!(serde_json::from_str::<Hex64>("42").is_err());
        assert_eq!(
            serde_json::from_str::<Hex64>("\"0x000000000000002a\"").expect("a padded seed"),
            Hex64(42)
        );
    }

    proptest! {
        #[test]
        fn every_value_survives_json(value: u64) {
            let json = serde_json::to_string(&Hex64(value)).unwrap();
            prop_assert_eq!(serde_json::from_str::<Hex64>(&json).unwrap(), Hex64(value));
        }

        #[test]
        fn what_is_read_prints_as_it_was_written(text in "0x[0-9a-fA-F]{15,17}") {
            let is_canonical = text.len() == 18 && text == text.to_lowercase();
            prop_assert_eq!(text.parse::<Hex64>().is_ok(), is_canonical);
        }
    }
}
