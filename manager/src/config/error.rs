//! A setting that was refused, and where it came from.

use std::fmt;

/// A setting that no manager works with.
///
/// The fields are for programs, the `Display` text is for people and not stable.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("configure the manager from {origin}: `{field}` is {value}, expected {expected}")]
#[non_exhaustive]
pub struct ConfigError {
    /// The field of [`Config`](crate::Config); an unknown key, or variable without `FLOCKGATE_`, as it was written;
    /// `flockgate` for the whole table.
    pub field: String,
    /// What it was set to, as a person would write it, or what is wrong with it.
    pub value: String,
    /// What it takes: type and bounds, or the name that was probably meant.
    pub expected: String,
    /// Where it came from.
    pub origin: ConfigOrigin,
}

/// Where a setting came from.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ConfigOrigin {
    /// A struct or a builder.
    Program,
    /// A TOML document.
    Toml {
        /// The line of the value, or of the unknown key; counted from 1.
        line: usize,
        /// Its first column; counted from 1, in characters.
        column: usize,
    },
    /// The environment of the process.
    Environment {
        /// The name of the variable; bytes that are not UTF-8 are replaced by U+FFFD.
        variable: String,
    },
}

impl fmt::Display for ConfigOrigin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Program => write!(f, "the program"),
            Self::Toml { line, column } => write!(f, "TOML, line {line}, column {column}"),
            Self::Environment { variable } => write!(f, "the environment, {variable}"),
        }
    }
}
