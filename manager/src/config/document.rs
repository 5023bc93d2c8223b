//! A configuration in TOML.

use std::fmt::Write as _;
use std::ops::Range;

use toml::de::{DeTable, DeValue};

use super::{Config, ConfigError, ConfigOrigin, FIELDS, field};

const TABLE: &str = "flockgate";

impl Config {
    /// Reads the table `[flockgate]` of a TOML document. A field that it lacks has its default, and so has every
    /// field if the document lacks the table. Other tables are left alone.
    ///
    /// [`Config`] says how values are written.
    ///
    /// # Errors
    ///
    /// [`ConfigError`] if the text is not TOML, or names the key of the table that stands first of those that no field
    /// has, or whose value has another type or is out of bounds; with line and column.
    ///
    /// # Example
    ///
    /// ```
    /// use std::time::Duration;
    /// use manager::Config;
    ///
    /// let config = Config::from_toml(
    ///     r#"
    ///     [flockgate]
    ///     wait_max = "1m 30s"
    ///     checkpoint_wal_bytes = "16MiB"
    ///     lease_age_max = "none"
    ///     "#,
    /// )?;
    /// assert_eq!(config.wait_max, Duration::from_secs(90));
    /// assert_eq!(config.lease_age_max, None);
    ///
    /// let refused = Config::from_toml("flockgate.wait_mx = '5s'").unwrap_err();
    /// assert_eq!((refused.field.as_str(), refused.expected.as_str()), ("wait_mx", "`wait_max`"));
    /// # Ok::<(), manager::ConfigError>(())
    /// ```
    pub fn from_toml(text: &str) -> Result<Self, ConfigError> {
        Self::default().with_toml(text)
    }

    /// Lays the table `[flockgate]` of a TOML document over this configuration. A field that it lacks stays.
    ///
    /// # Errors
    ///
    /// As [`from_toml`](Self::from_toml); and [`ConfigError`] if a field that stays is out of bounds.
    pub fn with_toml(mut self, text: &str) -> Result<Self, ConfigError> {
        let document = DeTable::parse(text).map_err(|error| ConfigError {
            field: TABLE.to_owned(),
            value: format!("unreadable ({})", error.message().trim_end()),
            expected: "a TOML document".to_owned(),
            origin: place(text, &error.span().unwrap_or(0..0)),
        })?;
        let Some(section) = document.get_ref().get(TABLE) else {
            self.validate()?;
            return Ok(self);
        };
        let table = section.get_ref().as_table().ok_or_else(|| ConfigError {
            field: TABLE.to_owned(),
            value: describe(section.get_ref()),
            expected: "a table".to_owned(),
            origin: place(text, &section.span()),
        })?;
        let mut entries: Vec<_> = table.iter().collect();
        entries.sort_by_key(|(key, _)| key.span().start);
        for (key, value) in entries {
            let Some(field) = FIELDS.iter().find(|field| field.name() == key.get_ref()) else {
                return Err(field::unknown(key.get_ref(), str::to_owned, place(text, &key.span())));
            };
            if !field.set_toml(&mut self, value.get_ref()) {
                return Err(field.wrong(describe(value.get_ref()), place(text, &value.span())));
            }
        }
        self.validate()?;
        Ok(self)
    }

    /// Writes the configuration as a TOML document: the table `[flockgate]`, every field a line.
    ///
    /// [`from_toml`](Self::from_toml) reads the same configuration back, if it is within its bounds.
    ///
    /// # Example
    ///
    /// ```
    /// use manager::Config;
    ///
    /// let text = Config::default().to_toml();
    /// assert!(text.starts_with("[flockgate]\nlabel = \"\"\nwait_max = \"30s\"\nhold_max = \"20ms\"\n"));
    /// assert_eq!(Config::from_toml(&text)?, Config::default());
    /// # Ok::<(), manager::ConfigError>(())
    /// ```
    #[must_use]
    pub fn to_toml(&self) -> String {
        let mut text = format!("[{TABLE}]\n");
        for field in FIELDS {
            writeln!(text, "{} = {}", field.name(), field.to_toml(self))
                .expect("a string takes all that is written to it");
        }
        text
    }
}

fn place(text: &str, span: &Range<usize>) -> ConfigOrigin {
    let before = &text[..text.floor_char_boundary(span.start)];
    let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
    ConfigOrigin::Toml {
        line: before.matches('\n').count() + 1,
        column: before[line_start..].chars().count() + 1,
    }
}

/// A value as it is written, or what it is if it could be long.
fn describe(value: &DeValue<'_>) -> String {
    match value {
        DeValue::String(text) => format!("{text:?}"),
        DeValue::Integer(digits) => digits.to_string(),
        DeValue::Float(digits) => digits.to_string(),
        DeValue::Boolean(flag) => flag.to_string(),
        DeValue::Datetime(date) => format!("{date} without quotes"),
        DeValue::Array(_) => "a list".to_owned(),
        DeValue::Table(_) => "a table".to_owned(),
    }
}
