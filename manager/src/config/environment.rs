//! A configuration in environment variables.

use std::env;
use std::ffi::{OsStr, OsString};

use super::{Config, ConfigError, ConfigOrigin, FIELDS, field};

const PREFIX: &str = "FLOCKGATE_";

/// The variable of a field.
fn variable_of(field: &str) -> String {
    format!("{PREFIX}{}", field.to_ascii_uppercase())
}

impl Config {
    /// Reads the environment of the process: `FLOCKGATE_WAIT_MAX` and so on, one variable a field, its name in capital
    /// letters. A field without a variable has its default.
    ///
    /// [`Config`] says how values are written. An empty variable is a value like any other: an empty label, and no
    /// duration.
    ///
    /// # Errors
    ///
    /// [`ConfigError`] names the first variable, in the order of the alphabet, that begins with `FLOCKGATE_` and that no
    /// field has, or whose value is not UTF-8, not of the field's type or out of bounds.
    pub fn from_env() -> Result<Self, ConfigError> {
        Self::default().with_env()
    }

    /// Lays the environment of the process over this configuration. A field without a variable stays.
    ///
    /// # Errors
    ///
    /// As [`from_env`](Self::from_env); and [`ConfigError`] if a field that stays is out of bounds.
    pub fn with_env(self) -> Result<Self, ConfigError> {
        self.with_variables(env::vars_os())
    }

    /// Lays these variables over this configuration, as [`with_env`](Self::with_env) does those of the process. Of two
    /// with one name the later counts.
    ///
    /// # Errors
    ///
    /// As [`with_env`](Self::with_env).
    ///
    /// # Example
    ///
    /// ```
    /// use std::time::Duration;
    /// use manager::Config;
    ///
    /// let config = Config::default().with_variables([("FLOCKGATE_WAIT_MAX", "1m 30s"), ("HOME", "/root")])?;
    /// assert_eq!(config.wait_max, Duration::from_secs(90));
    ///
    /// let refused = config.with_variables([("FLOCKGATE_READERS_MAX", "many")]).unwrap_err();
    /// assert_eq!(
    ///     refused.to_string(),
    ///     "configure the manager from the environment, FLOCKGATE_READERS_MAX: \
    ///      `readers_max` is \"many\", expected an integer, from `1` to `10000`"
    /// );
    /// # Ok::<(), manager::ConfigError>(())
    /// ```
    pub fn with_variables<N, V>(
        mut self,
        variables: impl IntoIterator<Item = (N, V)>,
    ) -> Result<Self, ConfigError>
    where
        N: Into<OsString>,
        V: Into<OsString>,
    {
        let mut ours: Vec<(String, OsString)> = variables
            .into_iter()
            .map(|(name, value)| (name.into().to_string_lossy().into_owned(), value.into()))
            .filter(|(name, _)| name.starts_with(PREFIX))
            .collect();
        ours.sort_by(|(left, _), (right, _)| left.cmp(right));
        #[cfg(feature = "faulty")]
        ours.retain(|(name, _)| name != crate::faulty::VARIABLE);
        for (variable, value) in ours {
            self.set(variable, &value)?;
        }
        self.validate()?;
        Ok(self)
    }

    fn set(&mut self, variable: String, value: &OsStr) -> Result<(), ConfigError> {
        let Some(field) = FIELDS.iter().find(|field| variable_of(field.name()) == variable) else {
            let name = variable[PREFIX.len()..].to_owned();
            return Err(field::unknown(&name, variable_of, ConfigOrigin::Environment { variable }));
        };
        let origin = ConfigOrigin::Environment { variable };
        let Some(text) = value.to_str() else {
            let escaped = value.as_encoded_bytes().escape_ascii();
            return Err(field.wrong(format!("\"{escaped}\", which is not UTF-8"), origin));
        };
        if field.set_text(self, text) {
            Ok(())
        } else {
            Err(field.wrong(format!("{text:?}"), origin))
        }
    }
}
