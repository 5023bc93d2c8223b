//! The entry of a setting, and the table of them.

use strsim::levenshtein;
use toml::de::DeValue;

use super::setting::Setting;
use super::{Config, ConfigError, ConfigOrigin};

/// Makes of the entries the struct, its defaults, the builder's setters, and `FIELDS`, the table in the same order.
///
/// An entry reads `pub name: type [as type of the setter's argument] = default, within bounds;`.
macro_rules! settings {
    (
        $(#[$meta:meta])*
        pub struct Config {$(
            $(#[doc = $doc:literal])+
            pub $name:ident: $type:ty $(as $argument:ty)? = $default:expr, within $bounds:expr;
        )+}
    ) => {
        $(#[$meta])*
        pub struct Config {$(
            $(#[doc = $doc])+
            pub $name: $type,
        )+}

        impl Default for Config {
            fn default() -> Self {
                Self { $($name: $default,)+ }
            }
        }

        impl ConfigBuilder {$(
            #[doc = concat!("Sets [`Config::", stringify!($name), "`].")]
            ///
            $(#[doc = $doc])+
            pub fn $name(mut self, $name: settings!(@argument $type $(, $argument)?)) -> Self {
                self.config.$name = $name.into();
                self
            }
        )+}

        static FIELDS: &[&dyn Field] = &[$(
            &Column::<$type> {
                name: stringify!($name),
                #[cfg(test)]
                doc: concat!($($doc, "\n"),+),
                bounds: $bounds,
                get: |config| &config.$name,
                get_mut: |config| &mut config.$name,
            },
        )+];
    };
    (@argument $type:ty) => { $type };
    (@argument $type:ty, $argument:ty) => { $argument };
}
pub(super) use settings;

/// A field of [`Config`] of whatever type.
pub(super) trait Field: Sync {
    fn name(&self) -> &'static str;
    /// What it takes, for an error.
    fn expected(&self) -> String;
    /// Whether its value is within its bounds.
    fn fits(&self, config: &Config) -> bool;
    /// Its value, for an error.
    fn shown(&self, config: &Config) -> String;
    /// Its value, for a document.
    fn to_toml(&self, config: &Config) -> toml::Value;
    /// Sets it to what a variable says; `false`, and the field as it was, if that is not a value within the bounds.
    fn set_text(&self, config: &mut Config, text: &str) -> bool;
    /// The same for the value of a document.
    fn set_toml(&self, config: &mut Config, value: &DeValue<'_>) -> bool;

    /// The error that this field has a value that it does not take.
    fn wrong(&self, value: String, origin: ConfigOrigin) -> ConfigError {
        ConfigError { field: self.name().to_owned(), value, expected: self.expected(), origin }
    }

    /// Its value, for a variable.
    #[cfg(test)]
    fn text(&self, config: &Config) -> String;
    /// The end of its documentation, if its value were the default.
    #[cfg(test)]
    fn contract(&self, config: &Config) -> String;
    #[cfg(test)]
    fn doc(&self) -> &'static str;
}

/// A field of one type.
pub(super) struct Column<T: Setting> {
    pub(super) name: &'static str,
    #[cfg(test)]
    pub(super) doc: &'static str,
    pub(super) bounds: T::Bounds,
    pub(super) get: fn(&Config) -> &T,
    pub(super) get_mut: fn(&mut Config) -> &mut T,
}

impl<T: Setting> Column<T> {
    fn set(&self, config: &mut Config, value: Option<T>) -> bool {
        match value.filter(|value| value.fits(&self.bounds)) {
            Some(value) => {
                *(self.get_mut)(config) = value;
                true
            }
            None => false,
        }
    }
}

impl<T: Setting> Field for Column<T> {
    fn name(&self) -> &'static str {
        self.name
    }

    fn expected(&self) -> String {
        T::expected(&self.bounds)
    }

    fn fits(&self, config: &Config) -> bool {
        (self.get)(config).fits(&self.bounds)
    }

    fn shown(&self, config: &Config) -> String {
        (self.get)(config).shown()
    }

    fn to_toml(&self, config: &Config) -> toml::Value {
        (self.get)(config).to_toml()
    }

    fn set_text(&self, config: &mut Config, text: &str) -> bool {
        self.set(config, T::parse(text))
    }

    fn set_toml(&self, config: &mut Config, value: &DeValue<'_>) -> bool {
        self.set(config, T::from_toml(value))
    }

    #[cfg(test)]
    fn text(&self, config: &Config) -> String {
        (self.get)(config).text()
    }

    #[cfg(test)]
    fn contract(&self, config: &Config) -> String {
        format!("Default: `{}`. Bounds: {}.", self.shown(config), T::limits(&self.bounds))
    }

    #[cfg(test)]
    fn doc(&self) -> &'static str {
        self.doc
    }
}

/// The error that a source names a field that there is none of. The source writes the fields with `spelling`.
pub(super) fn unknown(
    name: &str,
    spelling: impl Fn(&str) -> String,
    origin: ConfigOrigin,
) -> ConfigError {
    let names = || super::FIELDS.iter().map(|field| field.name());
    let wanted = name.to_ascii_lowercase();
    let expected = if let Some(near) = nearest(&wanted, names()) {
        format!("`{}`", spelling(near))
    } else {
        let all: Vec<_> = names().map(|name| format!("`{}`", spelling(name))).collect();
        format!("one of {}", all.join(", "))
    };
    let value = "not a setting".to_owned();
    ConfigError { field: name.to_owned(), value, expected, origin }
}

/// The name that `word` was probably meant to be: at most three characters off, and at most half of them.
fn nearest(word: &str, names: impl Iterator<Item = &'static str>) -> Option<&'static str> {
    names
        .map(|name| (levenshtein(word, name), name))
        .filter(|(distance, name)| *distance <= (name.len() / 2).min(3))
        .min()
        .map(|(_, name)| name)
}
