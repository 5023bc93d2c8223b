//! What checks look at, where a scenario names it: lists, rows, what must always be so.

use super::super::document::{Item, Section};
use super::super::{ScenarioError, is_filled, optional};
use super::Actor;
use crate::isolation::Level;
use crate::lockstep::vocabulary::{Vocabulary, Word};

/// See the module's header.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Watched {
    /// What the operations `append` and `read` are about.
    pub lists: Option<Lists>,
}

/// A table of lists.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lists {
    /// Its name. It has the columns `k` and `v`, both texts, and an empty `v` for each `k` from the set-up.
    pub table: String,
    /// What transactions on it are promised.
    pub level: Level,
}

impl Watched {
    /// How operations on what is watched are said in SQL.
    pub fn vocabulary(&self) -> Vocabulary {
        Vocabulary { lists: self.lists.as_ref().map(|lists| lists.table.clone()), put: None }
    }

    /// What is asked when everybody has come to an end, and kept in the log.
    pub fn questions(&self) -> Vec<String> {
        self.vocabulary().all_lists().into_iter().collect()
    }
}

/// The tables of a script that [`read`] reads.
pub(super) const KEYS: [&str; 1] = ["lists"];

pub(super) fn read(root: &Section<'_>, actors: &[Actor]) -> Result<Watched, ScenarioError> {
    let watched = Watched { lists: optional(root, "lists", lists)? };
    understand(&watched, &root.item("actors"), actors)?;
    Ok(watched)
}

fn lists(item: &Item<'_>) -> Result<Lists, ScenarioError> {
    let table = item.table(&["table", "level"])?;
    let levels = [("snapshot", Level::Snapshot), ("serializable", Level::Serializable)];
    Ok(Lists {
        table: table.item("table").text("the name of a table", is_name)?,
        level: optional(&table, "level", |item| item.choice(&levels))?.unwrap_or_default(),
    })
}

fn is_name(text: &str) -> bool {
    let plain = |letter: char| letter.is_ascii_alphanumeric() || letter == '_';
    is_filled(text) && text.chars().all(plain) && !text.starts_with(|it: char| it.is_ascii_digit())
}

/// Whether all words of the script have a meaning, and nothing is written twice: then a value tells who wrote it.
fn understand(watched: &Watched, item: &Item<'_>, actors: &[Actor]) -> Result<(), ScenarioError> {
    let mut written = Vec::new();
    for step in actors.iter().flat_map(|actor| &actor.steps) {
        let Some(word) = Word::of(step) else { continue };
        let (is_known, table) = match word {
            Word::Append(..) | Word::Read(_) => (watched.lists.is_some(), "lists"),
            Word::Put(_) => (false, "rows"),
        };
        if !is_known {
            let remark = format!(", in which `{step}` stands without a table `[{table}]`");
            return Err(item.wrong_because("steps that mean something", &remark));
        }
        if !matches!(word, Word::Read(_)) && written.contains(&word) {
            let remark = format!(", in which `{step}` stands twice");
            return Err(item.wrong_because("every value and row once", &remark));
        }
        written.push(word);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use crate::scenario::script::Script;

    /// What is wrong with a script that has these keys, and one actor with these steps.
    fn refused(keys: &str, steps: &[&str]) -> String {
        let text = format!(
            "format = 1\nid = \"x\"\ntitle = \"x\"\nsuites = [\"ci\"]\nmode = \"lockstep\"\n\
             drivers = [\"naive\"]\n{keys}[database]\nsetup = [\"-\"]\n[[actors]]\nid = \"ada\"\n\
             steps = {steps:?}\n"
        );
        let error = Script::parse(Path::new("x.toml"), text.as_bytes()).unwrap_err();
        error.to_string()
    }

    #[test]
    fn words_without_a_meaning_and_values_that_stand_twice_are_refused() {
        assert!(refused("", &["read x"]).ends_with(
            "expected steps that mean something, found a list, in which `read x` stands without a table `[lists]`"
        ));
        let lists = "[lists]\ntable = \"lists\"\n";
        assert!(refused(lists, &["append x 1", "append y 1", "append x 1"]).ends_with(
            "expected every value and row once, found a list, in which `append x 1` stands twice"
        ));
        assert!(
            refused("[lists]\ntable = \"a; b\"\n", &["-"])
                .ends_with("lists.table: expected the name of a table, found \"a; b\"")
        );
    }
}
