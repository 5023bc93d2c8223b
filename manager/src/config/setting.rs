//! The types of settings: how a value is written, read and bounded.

use std::ops::RangeInclusive;
use std::time::Duration;

use toml::de::DeValue;

use super::WritesInEvaluation;

/// A type that a field of [`Config`](super::Config) can have.
///
/// `parse(text(value))` and `from_toml(to_toml(value))` are `value`, within its bounds or not.
pub(super) trait Setting: Sized + 'static {
    /// What bounds its values.
    type Bounds: Sync;

    fn fits(&self, bounds: &Self::Bounds) -> bool;

    /// The bounds, for the documentation.
    fn limits(bounds: &Self::Bounds) -> String;

    /// Type and bounds, for an error.
    fn expected(bounds: &Self::Bounds) -> String;

    /// Reads a variable, or a string in TOML.
    fn parse(text: &str) -> Option<Self>;

    fn text(&self) -> String;

    /// The same, for an error.
    fn shown(&self) -> String {
        self.text()
    }

    fn from_toml(value: &DeValue<'_>) -> Option<Self> {
        value.as_str().and_then(Self::parse)
    }

    fn to_toml(&self) -> toml::Value {
        toml::Value::String(self.text())
    }
}

/// Both bounds, unless the upper one is the type's own.
fn range<T: Setting + PartialEq>(bounds: &RangeInclusive<T>, max: &T) -> String {
    let [lower, upper] = [bounds.start(), bounds.end()].map(T::text);
    if bounds.end() == max {
        format!("at least `{lower}`")
    } else {
        format!("from `{lower}` to `{upper}`")
    }
}

impl Setting for Duration {
    type Bounds = RangeInclusive<Self>;

    fn fits(&self, bounds: &Self::Bounds) -> bool {
        bounds.contains(self)
    }

    fn limits(bounds: &Self::Bounds) -> String {
        range(bounds, &Self::MAX)
    }

    fn expected(bounds: &Self::Bounds) -> String {
        format!("a duration, {}, like \"1m 30s\"", Self::limits(bounds))
    }

    /// Number by number: given the whole of `18446744073709551615s 1000000000ns`, `humantime` 2.4.0 panics.
    fn parse(text: &str) -> Option<Self> {
        let mut sum = Self::ZERO;
        let mut rest = text;
        loop {
            let unit = rest.find(char::is_alphabetic).unwrap_or(rest.len());
            let next = rest[unit..].find(|letter: char| letter.is_ascii_digit());
            let (number, others) = rest.split_at(next.map_or(rest.len(), |next| unit + next));
            sum = sum.checked_add(humantime::parse_duration(number).ok()?)?;
            if others.is_empty() {
                return Some(sum);
            }
            rest = others;
        }
    }

    fn text(&self) -> String {
        humantime::format_duration(*self).to_string()
    }
}

/// A count.
impl Setting for u32 {
    type Bounds = RangeInclusive<Self>;

    fn fits(&self, bounds: &Self::Bounds) -> bool {
        bounds.contains(self)
    }

    fn limits(bounds: &Self::Bounds) -> String {
        range(bounds, &Self::MAX)
    }

    fn expected(bounds: &Self::Bounds) -> String {
        format!("an integer, {}", Self::limits(bounds))
    }

    fn parse(text: &str) -> Option<Self> {
        text.parse().ok()
    }

    fn text(&self) -> String {
        self.to_string()
    }

    fn from_toml(value: &DeValue<'_>) -> Option<Self> {
        let digits = value.as_integer()?;
        Self::from_str_radix(digits.as_str(), digits.radix()).ok()
    }

    fn to_toml(&self) -> toml::Value {
        toml::Value::Integer((*self).into())
    }
}

const BYTE_UNITS: [(&str, u32); 5] = [("TiB", 40), ("GiB", 30), ("MiB", 20), ("KiB", 10), ("B", 0)];

/// A number of bytes.
impl Setting for u64 {
    type Bounds = RangeInclusive<Self>;

    fn fits(&self, bounds: &Self::Bounds) -> bool {
        bounds.contains(self)
    }

    fn limits(bounds: &Self::Bounds) -> String {
        range(bounds, &Self::MAX)
    }

    fn expected(bounds: &Self::Bounds) -> String {
        format!("a number of bytes, {}, like 4096 or \"16MiB\"", Self::limits(bounds))
    }

    fn parse(text: &str) -> Option<Self> {
        let digits_end = text.find(|letter: char| !letter.is_ascii_digit()).unwrap_or(text.len());
        let (digits, unit) = text.split_at(digits_end);
        let unit = if unit.is_empty() { "B" } else { unit.trim_start_matches(' ') };
        let (_, shift) = BYTE_UNITS.iter().find(|(name, _)| *name == unit)?;
        digits.parse::<Self>().ok()?.checked_mul(1 << shift)
    }

    /// With the largest unit that leaves an integer.
    fn text(&self) -> String {
        let fitting = |shift: u32| *self != 0 && self.is_multiple_of(1 << shift);
        match BYTE_UNITS.iter().find(|(_, shift)| *shift != 0 && fitting(*shift)) {
            Some((name, shift)) => format!("{}{name}", self >> shift),
            None => self.to_string(),
        }
    }

    fn from_toml(value: &DeValue<'_>) -> Option<Self> {
        match value.as_integer() {
            Some(digits) => Self::from_str_radix(digits.as_str(), digits.radix()).ok(),
            None => value.as_str().and_then(Self::parse),
        }
    }

    /// An integer where that is how it is written and TOML, whose integers are signed, has it.
    fn to_toml(&self) -> toml::Value {
        let text = self.text();
        match text.parse::<i64>() {
            Ok(integer) => toml::Value::Integer(integer),
            Err(_) => toml::Value::String(text),
        }
    }
}

const NONE: &str = "none";

/// A setting that can be absent. Not for texts, of which `none` is one.
impl<T: Setting> Setting for Option<T> {
    type Bounds = T::Bounds;

    fn fits(&self, bounds: &Self::Bounds) -> bool {
        self.as_ref().is_none_or(|value| value.fits(bounds))
    }

    fn limits(bounds: &Self::Bounds) -> String {
        format!("{}, or `{NONE}`", T::limits(bounds))
    }

    fn expected(bounds: &Self::Bounds) -> String {
        format!("{}, or \"{NONE}\"", T::expected(bounds))
    }

    fn parse(text: &str) -> Option<Self> {
        if text == NONE { Some(None) } else { T::parse(text).map(Some) }
    }

    fn text(&self) -> String {
        self.as_ref().map_or_else(|| NONE.to_owned(), T::text)
    }

    fn from_toml(value: &DeValue<'_>) -> Option<Self> {
        if value.as_str() == Some(NONE) { Some(None) } else { T::from_toml(value).map(Some) }
    }

    fn to_toml(&self) -> toml::Value {
        self.as_ref().map_or_else(|| toml::Value::String(NONE.to_owned()), T::to_toml)
    }
}

/// The bound of a text: no control characters.
pub(super) struct Printable;

impl Setting for String {
    type Bounds = Printable;

    fn fits(&self, _: &Printable) -> bool {
        !self.contains(char::is_control)
    }

    fn limits(_: &Printable) -> String {
        "no control characters".to_owned()
    }

    fn expected(bounds: &Printable) -> String {
        format!("a text with {}", Self::limits(bounds))
    }

    fn parse(text: &str) -> Option<Self> {
        Some(text.to_owned())
    }

    fn text(&self) -> String {
        self.clone()
    }

    fn shown(&self) -> String {
        format!("{self:?}")
    }
}

/// The bound of a choice: one of its names.
pub(super) struct Listed;

impl Setting for WritesInEvaluation {
    type Bounds = Listed;

    fn fits(&self, _: &Listed) -> bool {
        true
    }

    fn limits(_: &Listed) -> String {
        "`refuse` or `allow`".to_owned()
    }

    fn expected(bounds: &Listed) -> String {
        Self::limits(bounds)
    }

    fn parse(text: &str) -> Option<Self> {
        [Self::Refuse, Self::Allow].into_iter().find(|choice| choice.text() == text)
    }

    fn text(&self) -> String {
        match self {
            Self::Refuse => "refuse",
            Self::Allow => "allow",
        }
        .to_owned()
    }
}
