//! The list of planted bugs, `manager/mutants.toml`.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use serde::Deserialize;

/// The whole list.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Mutants {
    /// Which tests are run for a bug in which file: `lib`, or the name of a file in `tests/`.
    pub(crate) tests: BTreeMap<String, String>,
    /// The bugs.
    #[serde(rename = "mutant")]
    pub(crate) mutants: Vec<Mutant>,
}

/// One bug.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Mutant {
    /// What is wrong with it.
    pub(crate) name: String,
    /// Where it is planted, below `src/`.
    pub(crate) file: String,
    /// What is replaced. It stands there exactly once.
    pub(crate) find: String,
    /// By what.
    pub(crate) replace: String,
    /// Tests that have to fail.
    pub(crate) caught_by: Vec<String>,
}

impl Mutants {
    /// Reads the list of the crate in that folder.
    pub(crate) fn read(folder: &Path) -> Self {
        let path = folder.join("mutants.toml");
        let text =
            fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        toml::from_str(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
    }

    /// The list as a table for people.
    pub(crate) fn markdown(&self) -> String {
        let mut table = "| planted bug | in | caught by |\n|---|---|---|\n".to_owned();
        for Mutant { name, file, caught_by, .. } in &self.mutants {
            let caught_by: Vec<_> = caught_by.iter().map(|test| format!("`{test}`")).collect();
            let _ = writeln!(table, "| {name} | `{file}` | {} |", caught_by.join(", "));
        }
        table
    }
}

impl Mutant {
    /// Whether its name or its file has that text.
    pub(crate) fn is_meant_by(&self, filter: &str) -> bool {
        self.name.contains(filter) || self.file.contains(filter)
    }

    /// The file with the bug in it.
    pub(crate) fn planted(&self, source: &str) -> Result<String, String> {
        match source.matches(&self.find).count() {
            1 => Ok(source.replacen(&self.find, &self.replace, 1)),
            count => {
                Err(format!("`{}`: its text stands {count} times in src/{}", self.name, self.file))
            }
        }
    }
}
