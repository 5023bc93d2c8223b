//! A configuration in the making.

use super::{Config, ConfigError};

/// Makes a [`Config`], one setter a field.
///
/// A field that is not set keeps the value of the configuration that the builder began with: the default with
/// [`Config::builder`]. A field that is set twice has the later value.
///
/// # Example
///
/// ```
/// use std::time::Duration;
/// use manager::Config;
///
/// let config = Config::builder().label("nightly training").wait_max(Duration::from_mins(5)).build()?;
/// assert_eq!(config.readers_max, 64);
///
/// let refused = config.to_builder().readers_max(0).build().unwrap_err();
/// assert_eq!(refused.field, "readers_max");
/// # Ok::<(), manager::ConfigError>(())
/// ```
#[derive(Clone, Debug)]
#[must_use = "a builder makes nothing until `build` is called"]
pub struct ConfigBuilder {
    pub(super) config: Config,
}

impl ConfigBuilder {
    /// Checks every field against its bounds and returns the configuration.
    ///
    /// # Errors
    ///
    /// [`ConfigError`] names the first field that is out of bounds.
    pub fn build(self) -> Result<Config, ConfigError> {
        self.config.validate()?;
        Ok(self.config)
    }
}

impl Config {
    /// Begins a configuration with every field at its default.
    pub fn builder() -> ConfigBuilder {
        Self::default().to_builder()
    }

    /// Begins a configuration with the fields of this one, to lay a program's own settings over those of a file or
    /// of the environment.
    pub fn to_builder(self) -> ConfigBuilder {
        ConfigBuilder { config: self }
    }
}
