//! Parameters: JSON that is written in one way only.

use std::fmt;

use serde_json::{Map, Number, Value};

/// The parameters of a feature, as JSON text of which there is one spelling. [`Params::none`] by default.
///
/// # The spelling
///
/// * No spaces; the members of an object in the order of their names' UTF-8 bytes.
/// * A whole number that a 64-bit integer holds, signed or not, in its digits: `1.0`, `1e0` and `1` are all `1`, and
///   `-0.0` is `0`.
/// * Another number in the fewest digits that read back as the same double: `0.94`. Below `1e-6` and from `1e21` on,
///   signs aside, with an exponent: `1.5e-7`.
/// * Texts with the escapes that JSON demands and no others: `"é\n"`.
///
/// If a text names a member twice, the last one counts.
///
/// # Example
///
/// ```
/// use manager::Params;
///
/// let params = Params::try_from(r#"{ "days": 14.0, "alpha": 0.940 }"#)?;
/// assert_eq!(params.as_str(), r#"{"alpha":0.94,"days":14}"#);
/// assert_eq!(params, Params::try_from(serde_json::json!({ "alpha": 0.94, "days": 14 }))?);
///
/// assert_eq!(Params::none().as_str(), "{}");
/// assert!(Params::try_from("[14]").is_err());
/// # Ok::<(), manager::ParamsError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Params(String);

/// Why something is no [`Params`].
///
/// # Example
///
/// ```
/// use manager::{Params, ParamsError};
///
/// assert!(matches!(Params::try_from("days=14"), Err(ParamsError::Json(_))));
/// assert!(matches!(Params::try_from("14"), Err(ParamsError::NoObject { found: "a number" })));
/// ```
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ParamsError {
    /// The text is no JSON.
    #[error("read parameters: {0}")]
    Json(#[from] serde_json::Error),
    /// It is no object.
    #[error("read parameters: they are {found}, they must be an object, as `{{\"days\":14}}`")]
    NoObject {
        /// What it is.
        found: &'static str,
    },
    /// It has a number that no double and no 64-bit integer comes near.
    #[error("read parameters: `{number}` is out of range; give it as a text")]
    Number {
        /// The number.
        number: String,
    },
}

impl Params {
    /// No parameters: `{}`.
    pub fn none() -> Self {
        Self("{}".to_owned())
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Default for Params {
    fn default() -> Self {
        Self::none()
    }
}

impl fmt::Display for Params {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// # Errors
///
/// * [`ParamsError::NoObject`] if the value is no object.
/// * [`ParamsError::Number`] for a number out of range, which `serde_json` lets pass only if somebody has turned its
///   feature `arbitrary_precision` on.
impl TryFrom<Value> for Params {
    type Error = ParamsError;

    fn try_from(value: Value) -> Result<Self, ParamsError> {
        Self::try_from(&value)
    }
}

/// # Errors
///
/// As from a [`Value`].
impl TryFrom<&Value> for Params {
    type Error = ParamsError;

    fn try_from(value: &Value) -> Result<Self, ParamsError> {
        let Value::Object(members) = value else {
            return Err(ParamsError::NoObject { found: kind(value) });
        };
        let mut text = String::new();
        write_object(members, &mut text)?;
        Ok(Self(text))
    }
}

/// # Errors
///
/// [`ParamsError::Json`] if the text is no JSON or nested more than 127 deep; otherwise as from a [`Value`].
impl TryFrom<&str> for Params {
    type Error = ParamsError;

    fn try_from(text: &str) -> Result<Self, ParamsError> {
        Self::try_from(serde_json::from_str::<Value>(text)?)
    }
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a text",
        Value::Array(_) => "an array",
        Value::Object(_) => "an object",
    }
}

fn write(value: &Value, out: &mut String) -> Result<(), ParamsError> {
    match value {
        Value::Null | Value::Bool(_) | Value::String(_) => out.push_str(&value.to_string()),
        Value::Number(number) => out.push_str(&spelling(number)?),
        Value::Array(values) => {
            out.push('[');
            for (index, value) in values.iter().enumerate() {
                out.push_str(comma(index));
                write(value, out)?;
            }
            out.push(']');
        }
        Value::Object(members) => write_object(members, out)?,
    }
    Ok(())
}

fn write_object(members: &Map<String, Value>, out: &mut String) -> Result<(), ParamsError> {
    // The map is in this order already, unless some crate has turned `serde_json/preserve_order` on.
    let mut members: Vec<(&String, &Value)> = members.iter().collect();
    members.sort_unstable_by_key(|(name, _)| *name);
    out.push('{');
    for (index, (name, value)) in members.into_iter().enumerate() {
        out.push_str(comma(index));
        out.push_str(&Value::from(name.as_str()).to_string());
        out.push(':');
        write(value, out)?;
    }
    out.push('}');
    Ok(())
}

fn comma(index: usize) -> &'static str {
    if index == 0 { "" } else { "," }
}

fn spelling(number: &Number) -> Result<String, ParamsError> {
    if let Some(integer) = number.as_u64() {
        return Ok(integer.to_string());
    }
    if let Some(integer) = number.as_i64() {
        return Ok(integer.to_string());
    }
    let out_of_range = || ParamsError::Number { number: number.to_string() };
    let double = number.as_f64().filter(|double| double.is_finite()).ok_or_else(out_of_range)?;
    Ok(match double.abs() {
        _ if is_integer(double) => (double as i128).to_string(),
        1e-6..1e21 => double.to_string(),
        _ => format!("{double:e}"),
    })
}

/// Whether a 64-bit integer, signed or not, is this number.
fn is_integer(double: f64) -> bool {
    const TWO_TO_64: f64 = 18_446_744_073_709_551_616.0;
    double.fract() == 0.0 && (-TWO_TO_64 / 2.0..TWO_TO_64).contains(&double)
}

#[cfg(test)]
mod tests;
