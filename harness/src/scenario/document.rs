//! A TOML document in which every value knows where it stands.
//!
//! # Scope of determinism
//!
//! Values and errors are pure functions of the text and of the path that errors print.
//!
//! # Invariants
//!
//! * Every error about the text has a line and a column, says what was expected and what was found.
//! * Of several errors in one table the one that stands first is reported.

use std::fmt;
use std::io;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};

use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// A position in a scenario file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// The file, as it was named to the program.
    pub file: PathBuf,
    /// Counted from 1.
    pub line: usize,
    /// Counted from 1, in characters.
    pub column: usize,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}", self.file.display(), self.line, self.column)
    }
}

/// Why a scenario could not be read.
#[derive(Debug, thiserror::Error)]
pub enum ScenarioError {
    /// There is no file to read.
    #[error("{}: expected a scenario file, found {found}", file.display())]
    NoFile {
        /// What was named.
        file: PathBuf,
        /// What is there.
        found: &'static str,
    },
    /// The file could not be read.
    #[error("{}: read the scenario: {source}", file.display())]
    Io {
        /// What was named.
        file: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// The file is not text.
    #[error("{place}: expected UTF-8 text, found the byte {byte:#04x}")]
    NotUtf8 {
        /// Where the first byte stands that is not UTF-8.
        place: Place,
        /// That byte.
        byte: u8,
    },
    /// The file is empty.
    #[error(
        "{place}: expected a scenario, found an empty file; `scenarios/README.md` shows every key"
    )]
    Empty {
        /// Its beginning.
        place: Place,
    },
    /// The text is not TOML.
    #[error("{place}: not TOML: {message}")]
    Syntax {
        /// Where.
        place: Place,
        /// What the parser says.
        message: String,
    },
    /// A table has a key that nothing reads.
    #[error("{place}: {key}: found an unknown key, {hint}")]
    UnknownKey {
        /// Where the key stands.
        place: Place,
        /// With the names of the tables around it.
        key: String,
        /// The known key that it resembles, or all of them.
        hint: String,
    },
    /// A value is missing, or not what the key asks for.
    #[error("{place}: {key}: expected {expected}, found {found}")]
    Value {
        /// Where the value stands, or the table that lacks it.
        place: Place,
        /// With the names of the tables around it.
        key: String,
        /// What the key asks for.
        expected: String,
        /// What is there.
        found: String,
    },
}

/// A parsed file.
pub(super) struct Document<'d> {
    source: Source<'d>,
    root: Spanned<DeTable<'d>>,
}

struct Source<'d> {
    file: &'d Path,
    text: &'d str,
}

impl Source<'_> {
    fn place(&self, at: usize) -> Place {
        let before = &self.text[..self.text.floor_char_boundary(at)];
        let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
        Place {
            file: self.file.to_owned(),
            line: before.matches('\n').count() + 1,
            column: before[line_start..].chars().count() + 1,
        }
    }
}

impl<'d> Document<'d> {
    pub(super) fn parse(file: &'d Path, bytes: &'d [u8]) -> Result<Self, ScenarioError> {
        // The first chunk is the whole file, or ends before the first byte that is not UTF-8.
        let (text, bad) = match bytes.utf8_chunks().next() {
            Some(chunk) => (chunk.valid(), chunk.invalid().first().copied()),
            None => ("", None),
        };
        let source = Source { file, text };
        if let Some(byte) = bad {
            let place = source.place(text.len());
            return Err(ScenarioError::NotUtf8 { place, byte });
        }
        if text.trim().is_empty() {
            let place = source.place(0);
            return Err(ScenarioError::Empty { place });
        }
        match DeTable::parse(text) {
            Ok(root) => Ok(Self { source, root }),
            Err(error) => Err(ScenarioError::Syntax {
                place: source.place(error.span().map_or(0, |span| span.start)),
                message: error.message().to_owned(),
            }),
        }
    }

    /// The table of the whole file, which has no keys but `known`.
    pub(super) fn root(&self, known: &[&str]) -> Result<Section<'_>, ScenarioError> {
        let section = self.section();
        section.refuse_all_but(known)?;
        Ok(section)
    }

    /// A value of that table, whatever its other keys are.
    pub(super) fn root_item(&self, key: &str) -> Option<Item<'_>> {
        self.section().optional(key)
    }

    fn section(&self) -> Section<'_> {
        let table = self.root.get_ref();
        Section { source: &self.source, path: String::new(), at: 0, table }
    }
}

/// A table and its place.
pub(super) struct Section<'d> {
    source: &'d Source<'d>,
    path: String,
    at: usize,
    table: &'d DeTable<'d>,
}

impl<'d> Section<'d> {
    /// The value of that key. If it is missing, every reader of [`Item`] says so.
    pub(super) fn item(&self, key: &str) -> Item<'d> {
        self.optional(key).unwrap_or_else(|| Item {
            source: self.source,
            path: self.path_of(key),
            at: self.at,
            value: None,
        })
    }

    /// The value of that key, if there is one.
    pub(super) fn optional(&self, key: &str) -> Option<Item<'d>> {
        self.table.get(key).map(|value| Item::new(self.source, self.path_of(key), value))
    }

    fn path_of(&self, key: &str) -> String {
        if self.path.is_empty() { key.to_owned() } else { format!("{}.{key}", self.path) }
    }

    fn refuse_all_but(&self, known: &[&str]) -> Result<(), ScenarioError> {
        let unknown = self.table.keys().filter(|key| {
            let name: &str = key.get_ref();
            !known.contains(&name)
        });
        let Some(first) = unknown.min_by_key(|key| key.span().start) else {
            return Ok(());
        };
        let hint = match nearest(first.get_ref(), known) {
            Some(near) => format!("did you mean `{near}`?"),
            None => format!("expected one of `{}`", known.join("`, `")),
        };
        Err(ScenarioError::UnknownKey {
            place: self.source.place(first.span().start),
            key: self.path_of(first.get_ref()),
            hint,
        })
    }
}

/// A value and its place, or the place where it is missing.
pub(super) struct Item<'d> {
    source: &'d Source<'d>,
    path: String,
    at: usize,
    value: Option<&'d DeValue<'d>>,
}

impl<'d> Item<'d> {
    fn new(source: &'d Source<'d>, path: String, value: &'d Spanned<DeValue<'d>>) -> Self {
        Self { source, path, at: value.span().start, value: Some(value.get_ref()) }
    }

    /// The error that this value is not what was expected.
    pub(super) fn wrong(&self, expected: impl Into<String>) -> ScenarioError {
        self.wrong_because(expected, "")
    }

    /// The same, with more to say about what was found.
    pub(super) fn wrong_because(&self, expected: impl Into<String>, remark: &str) -> ScenarioError {
        ScenarioError::Value {
            place: self.source.place(self.at),
            key: self.path.clone(),
            expected: expected.into(),
            found: describe(self.value) + remark,
        }
    }

    /// A table that has no keys but `known`.
    pub(super) fn table(&self, known: &[&str]) -> Result<Section<'d>, ScenarioError> {
        let table = self.value.and_then(DeValue::as_table);
        let section = Section {
            source: self.source,
            path: self.path.clone(),
            at: self.at,
            table: table.ok_or_else(|| self.wrong("a table"))?,
        };
        section.refuse_all_but(known)?;
        Ok(section)
    }

    /// A list of at least one value, none twice, each read by `read`.
    pub(super) fn list<T: PartialEq>(
        &self,
        expected: &str,
        read: impl Fn(&Item<'d>) -> Result<T, ScenarioError>,
    ) -> Result<Vec<T>, ScenarioError> {
        let seen = std::cell::RefCell::new(Vec::new());
        self.sequence(expected, |item| {
            let value = read(item)?;
            if seen.borrow().contains(&value) {
                return Err(item.wrong_because("every value once", " again"));
            }
            seen.borrow_mut().push(value);
            Ok(())
        })?;
        Ok(seen.into_inner())
    }

    /// A list of at least one value, each read by `read`.
    pub(super) fn sequence<T>(
        &self,
        expected: &str,
        read: impl Fn(&Item<'d>) -> Result<T, ScenarioError>,
    ) -> Result<Vec<T>, ScenarioError> {
        let array = self.value.and_then(DeValue::as_array);
        let array = array.filter(|array| !array.is_empty());
        let array = array.ok_or_else(|| self.wrong(expected))?;
        let read = |(index, value): (usize, &'d Spanned<DeValue<'d>>)| {
            read(&Item::new(self.source, format!("{}[{index}]", self.path), value))
        };
        array.iter().enumerate().map(read).collect()
    }

    /// A text that `fits`.
    pub(super) fn text(
        &self,
        expected: &str,
        fits: impl Fn(&str) -> bool,
    ) -> Result<String, ScenarioError> {
        self.value
            .and_then(DeValue::as_str)
            .filter(|text| fits(text))
            .map(str::to_owned)
            .ok_or_else(|| self.wrong(expected))
    }

    /// One of a few texts, and what it stands for.
    pub(super) fn choice<T: Copy>(&self, choices: &[(&str, T)]) -> Result<T, ScenarioError> {
        let text = self.value.and_then(DeValue::as_str);
        let chosen = choices.iter().find(|(name, _)| text == Some(name));
        chosen.map(|(_, value)| *value).ok_or_else(|| {
            let names: Vec<String> = choices.iter().map(|(name, _)| format!("{name:?}")).collect();
            self.wrong(names.join(" or "))
        })
    }

    /// Whether something is so.
    pub(super) fn boolean(&self) -> Result<bool, ScenarioError> {
        self.value.and_then(DeValue::as_bool).ok_or_else(|| self.wrong("`true` or `false`"))
    }

    /// An integer within the bounds.
    pub(super) fn integer(&self, bounds: RangeInclusive<u32>) -> Result<u32, ScenarioError> {
        self.value
            .and_then(DeValue::as_integer)
            .and_then(|digits| u32::from_str_radix(digits.as_str(), digits.radix()).ok())
            .filter(|number| bounds.contains(number))
            .ok_or_else(|| {
                self.wrong(format!("an integer from {} to {}", bounds.start(), bounds.end()))
            })
    }

    /// A finite number, with or without a point, that `fits`.
    pub(super) fn number(
        &self,
        expected: &str,
        fits: impl Fn(f64) -> bool,
    ) -> Result<f64, ScenarioError> {
        let digits = match self.value {
            Some(DeValue::Float(digits)) => Some(digits.as_str()),
            Some(DeValue::Integer(digits)) if digits.radix() == 10 => Some(digits.as_str()),
            _ => None,
        };
        digits
            .and_then(|digits| digits.parse().ok())
            .filter(|number: &f64| number.is_finite() && fits(*number))
            .ok_or_else(|| self.wrong(expected))
    }
}

fn describe(value: Option<&DeValue<'_>>) -> String {
    match value {
        None => "nothing".to_owned(),
        Some(DeValue::String(text)) => format!("{text:?}"),
        Some(DeValue::Integer(digits)) => digits.to_string(),
        Some(DeValue::Float(digits)) => digits.to_string(),
        Some(DeValue::Boolean(flag)) => flag.to_string(),
        Some(DeValue::Datetime(date)) => format!("{date} without quotes"),
        Some(DeValue::Array(values)) if values.is_empty() => "an empty list".to_owned(),
        Some(DeValue::Array(_)) => "a list".to_owned(),
        Some(DeValue::Table(_)) => "a table".to_owned(),
    }
}

/// The name that `word` was probably meant to be.
fn nearest<'k>(word: &str, known: &[&'k str]) -> Option<&'k str> {
    let with_distance = known.iter().map(|name| (distance(word, name), *name));
    with_distance
        .filter(|(distance, name)| *distance <= (name.len() / 2).min(3))
        .min()
        .map(|(_, name)| name)
}

/// Levenshtein's distance: how many characters to insert, remove or replace.
fn distance(left: &str, right: &str) -> usize {
    let mut row: Vec<usize> = (0..=right.chars().count()).collect();
    for (index, one) in left.chars().enumerate() {
        let mut diagonal = index;
        row[0] = index + 1;
        for (column, other) in right.chars().enumerate() {
            let replaced = diagonal + usize::from(one != other);
            diagonal = row[column + 1];
            row[column + 1] = replaced.min(diagonal + 1).min(row[column] + 1);
        }
    }
    row[right.chars().count()]
}
