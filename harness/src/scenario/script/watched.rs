//! What checks look at, where a scenario names it: lists, rows, what must always be so.

use super::super::document::{Item, Section};
use super::super::{ScenarioError, is_filled, optional};
use super::{Actor, DRIVERS, Points};
use crate::isolation::Level;
use crate::lockstep::stored::Stored;
use crate::lockstep::vocabulary::{ID, Vocabulary, Word};

/// See the module's header.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Watched {
    /// What the operations `append` and `read` are about.
    pub lists: Option<Lists>,
    /// What the operation `put` is about.
    pub rows: Option<Rows>,
    /// What no reader may find otherwise.
    pub invariant: Option<Invariant>,
    /// Queries that have the same answer at the end; at least two, or none.
    pub agree: Vec<String>,
    /// The drivers that let one write transaction be open at a time.
    pub exclusion: Vec<String>,
    /// Who may be overtaken how often.
    pub fairness: Option<Fairness>,
    /// Whether everybody gets what it asks for, unless it loses a race or breaks a constraint.
    pub served: bool,
    /// How much virtual time an operation may take, in milliseconds.
    pub prompt_ms: Option<u32>,
}

/// Rows with a number each.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rows {
    /// The statement that puts one, with [`ID`] in the place of its number.
    pub put: String,
    /// Gives the numbers of all.
    pub query: String,
}

/// How those are treated who wait.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fairness {
    /// While somebody waits, at most so many others get what it waits for after it has asked.
    pub overtaken_max: u32,
    /// What those wait for who have their place: nobody overtakes them who begins any transaction after that. Without it
    /// the operation has to be the same, and everybody counts from when it asked.
    pub waiting_for: Vec<String>,
}

/// A query and its only answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Invariant {
    /// The query.
    pub query: String,
    /// One row as the log shows it.
    pub always: String,
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
        Vocabulary {
            lists: self.lists.as_ref().map(|lists| lists.table.clone()),
            put: self.rows.as_ref().map(|rows| rows.put.clone()),
        }
    }

    /// What is asked when everybody has come to an end, and kept in the log.
    pub fn questions(&self) -> Vec<String> {
        let lists = self.vocabulary().all_lists();
        let rows = self.rows.as_ref().map(|rows| rows.query.clone());
        let invariant = self.invariant.as_ref().map(|invariant| invariant.query.clone());
        let one_each = lists.into_iter().chain(rows).chain(invariant);
        one_each.chain(self.agree.iter().cloned()).collect()
    }
}

/// The tables of a script that [`read`] reads.
pub(super) const KEYS: [&str; 8] =
    ["lists", "rows", "invariant", "agree", "exclusion", "fairness", "served", "prompt"];

pub(super) fn read(
    root: &Section<'_>,
    actors: &[Actor],
    points: Points,
) -> Result<Watched, ScenarioError> {
    let watched = Watched {
        lists: optional(root, "lists", lists)?,
        rows: optional(root, "rows", rows)?,
        invariant: optional(root, "invariant", invariant)?,
        agree: optional(root, "agree", agree)?.unwrap_or_default(),
        exclusion: optional(root, "exclusion", exclusion)?.unwrap_or_default(),
        fairness: optional(root, "fairness", fairness)?,
        served: optional(root, "served", Item::boolean)?.unwrap_or(false),
        prompt_ms: optional(root, "prompt", prompt)?,
    };
    understand(&watched, &root.item("actors"), actors)?;
    stores(&root.item("actors"), actors, points)?;
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

fn rows(item: &Item<'_>) -> Result<Rows, ScenarioError> {
    let table = item.table(&["put", "query"])?;
    Ok(Rows {
        put: table
            .item("put")
            .text("a statement with `{id}` in the place of the number", |it| it.contains(ID))?,
        query: table.item("query").text("a query that gives the numbers of all rows", is_filled)?,
    })
}

fn invariant(item: &Item<'_>) -> Result<Invariant, ScenarioError> {
    let table = item.table(&["query", "always"])?;
    Ok(Invariant {
        query: table.item("query").text("a query that gives one row", is_filled)?,
        always: table.item("always").text("one line of text", |text| !text.contains('\n'))?,
    })
}

fn agree(item: &Item<'_>) -> Result<Vec<String>, ScenarioError> {
    let expected = "a list of at least two queries";
    let item = item.table(&["queries"])?.item("queries");
    let queries = item.list(expected, |item| item.text("a query", is_filled))?;
    if queries.len() < 2 { Err(item.wrong_because(expected, " of one")) } else { Ok(queries) }
}

fn exclusion(item: &Item<'_>) -> Result<Vec<String>, ScenarioError> {
    let drivers = DRIVERS.map(|driver| (driver, driver));
    let item = item.table(&["drivers"])?.item("drivers");
    item.list("a list of at least one driver", |item| item.choice(&drivers).map(str::to_owned))
}

fn fairness(item: &Item<'_>) -> Result<Fairness, ScenarioError> {
    let table = item.table(&["overtaken_max", "waiting_for"])?;
    let waiting_for = optional(&table, "waiting_for", |item| {
        item.list("a list of at least one wait", |item| item.text("what is waited for", is_filled))
    })?;
    Ok(Fairness {
        overtaken_max: table.item("overtaken_max").integer(0..=1_000_000)?,
        waiting_for: waiting_for.unwrap_or_default(),
    })
}

fn prompt(item: &Item<'_>) -> Result<u32, ScenarioError> {
    item.table(&["within_ms"])?.item("within_ms").integer(1..=86_400_000)
}

fn is_name(text: &str) -> bool {
    let plain = |letter: char| letter.is_ascii_alphanumeric() || letter == '_';
    is_filled(text) && text.chars().all(plain) && !text.starts_with(|it: char| it.is_ascii_digit())
}

/// Where a store takes part its clock is the scheduler's, and what is published under a key is published once.
fn stores(item: &Item<'_>, actors: &[Actor], points: Points) -> Result<(), ScenarioError> {
    let steps = actors.iter().flat_map(|actor| &actor.steps);
    let mut published = Vec::new();
    for (step, op) in steps.filter_map(|step| Some((step, Stored::of(step)?))) {
        if points != Points::Manager {
            let remark = format!(", in which `{step}` stands without them");
            return Err(item.wrong_because("`points = \"manager\"` beside a store", &remark));
        }
        let Stored::Put(key, ..) = op else { continue };
        if published.contains(&key) {
            let remark = format!(", in which `{key}` is published twice");
            return Err(item.wrong_because("every key once", &remark));
        }
        published.push(key);
    }
    Ok(())
}

/// Whether all words of the script have a meaning, and nothing is written twice: then a value tells who wrote it.
fn understand(watched: &Watched, item: &Item<'_>, actors: &[Actor]) -> Result<(), ScenarioError> {
    let mut written = Vec::new();
    for step in actors.iter().flat_map(|actor| &actor.steps) {
        let Some(word) = Word::of(step) else { continue };
        let (is_known, table) = match word {
            Word::Append(..) | Word::Read(_) => (watched.lists.is_some(), "lists"),
            Word::Put(_) => (watched.rows.is_some(), "rows"),
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
    fn a_store_needs_virtual_time_and_keys_of_its_own() {
        assert!(refused("", &["store get x"]).ends_with(
            "expected `points = \"manager\"` beside a store, found a list, in which `store get x` stands without them"
        ));
        let points = "points = \"manager\"\n";
        assert!(
            refused(points, &["store put x 1", "store put-file x 2"]).ends_with(
                "expected every key once, found a list, in which `x` is published twice"
            )
        );
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
