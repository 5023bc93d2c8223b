//! What is written on the command line of `harness store`, and what it means.

use std::ops::Range;
use std::time::Duration;

use clap::{ArgGroup, Args};
use manager::{Fingerprint, Key, Policy, Selector};

/// Which artefacts are meant: exactly one way to say it.
#[derive(Debug, Args)]
#[group(skip)]
#[command(group(
    ArgGroup::new("selection").required(true).args(["feature", "key", "input", "range", "fit"])
))]
pub(super) struct Selected {
    /// Those of this feature.
    #[arg(long, value_name = "F")]
    feature: Option<String>,
    /// Of this version only.
    #[arg(long, value_name = "V", requires = "feature")]
    version: Option<u32>,
    /// The one with this key: 32 hexadecimal digits.
    #[arg(long, value_name = "K")]
    key: Option<Key>,
    /// Those made from a column with this fingerprint: 64 hexadecimal digits.
    #[arg(long, value_name = "HEX")]
    input: Option<Fingerprint>,
    /// Those that cover some of these positions, `120..141` say.
    #[arg(long, value_name = "A..B", value_parser = positions)]
    range: Option<Range<u32>>,
    /// Those that were fitted on exactly these positions.
    #[arg(long, value_name = "A..B", value_parser = positions)]
    fit: Option<Range<u32>>,
}

impl Selected {
    /// What the manager calls it.
    pub(super) fn selector(&self) -> Selector {
        let feature = self.feature.clone().map(|name| Selector::Feature(name, self.version));
        feature
            .or(self.key.map(Selector::Key))
            .or(self.input.map(Selector::Input))
            .or(self.range.clone().map(Selector::Range))
            .or(self.fit.clone().map(Selector::Fit))
            .expect("the group of these arguments is required")
    }
}

/// `120..141`.
fn positions(text: &str) -> Result<Range<u32>, String> {
    let expected = || "expected two positions as `120..141`, the end left out".to_owned();
    let (begin, end) = text.split_once("..").ok_or_else(expected)?;
    let number = |text: &str| text.parse::<u32>().map_err(|_| expected());
    let (begin, end) = (number(begin)?, number(end)?);
    if begin < end { Ok(begin..end) } else { Err("expected an end after its begin".to_owned()) }
}

/// A number, perhaps with a unit.
pub(super) fn bytes(text: &str) -> Result<u64, String> {
    const UNITS: [(&str, u64); 9] = [
        ("", 1),
        ("B", 1),
        ("kB", 1_000),
        ("MB", 1_000_000),
        ("GB", 1_000_000_000),
        ("KiB", 1 << 10),
        ("MiB", 1 << 20),
        ("GiB", 1 << 30),
        ("TiB", 1 << 40),
    ];
    let expected = || "expected a number of bytes, as `8GiB`, `500MB` or `4096`".to_owned();
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    let (_, factor) =
        UNITS.iter().find(|(name, _)| *name == unit.trim_start()).ok_or_else(expected)?;
    let number: u64 = number.parse().map_err(|_| expected())?;
    number.checked_mul(*factor).ok_or_else(expected)
}

pub(super) fn policy(text: &str) -> Result<Policy, String> {
    match text {
        "lru" => Ok(Policy::Lru),
        "cost" => Ok(Policy::Cost),
        "schedule" => Ok(Policy::Schedule),
        _ => Err("expected lru, cost or schedule".to_owned()),
    }
}

/// A day, an instant, or a time from now on, in milliseconds after 1970.
pub(super) fn until(text: &str) -> Result<u64, String> {
    let now = jiff::Timestamp::now();
    let until = text
        .parse::<jiff::Timestamp>()
        .ok()
        .or_else(|| day(text))
        .or_else(|| now.checked_add(humantime::parse_duration(text).ok()?).ok())
        .ok_or("expected `2030-01-31`, `2030-01-31T12:00:00Z`, or a time from now on as `30d`")?;
    if until <= now {
        return Err("expected a time that is still to come".to_owned());
    }
    Ok(u64::try_from(until.as_millisecond()).unwrap_or(0))
}

/// The beginning of a day, UTC.
fn day(text: &str) -> Option<jiff::Timestamp> {
    let _: jiff::civil::Date = text.parse().ok()?;
    format!("{text}T00:00:00Z").parse().ok()
}

/// Milliseconds after 1970 as people read them.
pub(super) fn instant(unix_ms: u64) -> String {
    let instant =
        i64::try_from(unix_ms).ok().and_then(|ms| jiff::Timestamp::from_millisecond(ms).ok());
    instant.map_or_else(|| format!("{unix_ms} ms after 1970"), |instant| instant.to_string())
}

/// Microseconds, rounded to what people can take in.
pub(super) fn time(us: u64) -> String {
    let coarse = if us < 1_000_000 { us } else { us / 1_000 * 1_000 };
    humantime::format_duration(Duration::from_micros(coarse)).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_numbers_with_or_without_a_unit() {
        for (text, number) in [("0", 0), ("4096", 4096), ("8GiB", 8 << 30), ("500 MB", 500_000_000)]
        {
            assert_eq!(bytes(text), Ok(number), "{text}");
        }
        for text in ["", "GiB", "-1", "1.5GB", "1 gb", "99999999999999999999", "99999999999TiB"] {
            assert!(bytes(text).is_err(), "{text}");
        }
    }

    #[test]
    fn positions_are_two_numbers_in_order() {
        assert_eq!(positions("0..21"), Ok(0..21));
        for text in ["", "5", "5..", "..5", "5..5", "7..3", "0..=3", "-1..3", "a..b"] {
            assert!(positions(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_pin_ends_on_a_day_at_an_instant_or_after_a_time() {
        assert_eq!(until("2130-01-31"), until("2130-01-31T00:00:00Z"));
        assert!(until("2130-01-31").is_ok() && until("30d").unwrap() < until("60d").unwrap());
        for text in ["", "2001-01-01", "2130-02-30", "soon"] {
            assert!(until(text).is_err(), "{text}");
        }
        assert_eq!(instant(until("2130-01-31").unwrap()), "2130-01-31T00:00:00Z");
    }
}
