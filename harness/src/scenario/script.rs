//! A scenario in lockstep: a small database, and who does which steps on it.
//!
//! # Scope of determinism
//!
//! A pure function of the file's text and path.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use super::document::{Document, Item};
use super::{ScenarioError, is_filled, is_id, optional};
use crate::check::Verdict;
use crate::lockstep::check;
use crate::seed::fnv1a;

/// The drivers that run scripts.
pub const DRIVERS: [&str; 2] = ["naive", "managed"];

/// A scenario file with `mode = "lockstep"`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Script {
    /// Names it in reports and file names.
    pub id: String,
    /// One line for people.
    pub title: String,
    /// Which suites run it.
    pub suites: Vec<String>,
    /// Names of the drivers it is run with.
    pub drivers: Vec<String>,
    /// Statements that make the database.
    pub setup: Vec<String>,
    /// At least one, with different ids.
    pub actors: Vec<Actor>,
    /// What every committed transaction adds to.
    pub counter: Option<Counter>,
    /// Verdicts by driver and id of the check, where they are stated.
    pub expect: BTreeMap<String, BTreeMap<String, Verdict>>,
    /// Its whole text, which logs keep.
    pub text: String,
    /// The text's digest.
    pub digest: u64,
}

/// Who takes part.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Actor {
    /// Its name.
    pub id: String,
    /// What it does, in order.
    pub steps: Vec<String>,
}

/// A number that only grows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Counter {
    /// Gives one whole number.
    pub query: String,
    /// What each committed transaction that may write adds to it.
    pub each_commit_adds: u32,
}

impl Script {
    /// Reads a scenario file.
    ///
    /// # Errors
    ///
    /// A [`ScenarioError`] that names the file and, if the text is at fault, the place in it.
    pub fn read(file: &Path) -> Result<Self, ScenarioError> {
        match fs::read(file) {
            Ok(bytes) => Self::parse(file, &bytes),
            Err(source) => Err(ScenarioError::Io { file: file.to_owned(), source }),
        }
    }

    /// Whether a scenario's text asks for lockstep. A text that cannot be read does not.
    pub fn is_one(text: &str) -> bool {
        let table: Option<toml::Table> = toml::from_str(text).ok();
        table.is_some_and(|table| {
            table.get("mode").and_then(toml::Value::as_str) == Some("lockstep")
        })
    }

    /// Reads the content of a scenario file, which errors call `file`.
    ///
    /// # Errors
    ///
    /// A [`ScenarioError`] that names the place in the text.
    pub fn parse(file: &Path, bytes: &[u8]) -> Result<Self, ScenarioError> {
        let document = Document::parse(file, bytes)?;
        let root = document.root(&[
            "format", "id", "title", "suites", "mode", "drivers", "database", "actors", "counter",
            "expect",
        ])?;
        super::format(&root.item("format"))?;
        root.item("mode").choice(&[("lockstep", ())])?;
        let suites = super::SUITES.map(|suite| (suite, suite));
        let drivers = DRIVERS.map(|driver| (driver, driver));
        Ok(Self {
            id: root.item("id").text("lower-case letters, digits and hyphens", is_id)?,
            title: root
                .item("title")
                .text("one line of text", |text| is_filled(text) && !text.contains('\n'))?,
            suites: root.item("suites").list("a list of at least one suite", |item| {
                item.choice(&suites).map(str::to_owned)
            })?,
            drivers: root.item("drivers").list("a list of at least one driver", |item| {
                item.choice(&drivers).map(str::to_owned)
            })?,
            setup: setup(&root.item("database"))?,
            actors: actors(&root.item("actors"))?,
            counter: optional(&root, "counter", counter)?,
            expect: optional(&root, "expect", expect)?.unwrap_or_default(),
            text: String::from_utf8_lossy(bytes).into_owned(),
            digest: fnv1a(bytes),
        })
    }

    /// Steps of all actors together.
    pub fn step_count(&self) -> u64 {
        self.actors.iter().map(|actor| actor.steps.len() as u64).sum()
    }

    /// The names of some actors.
    pub fn names(&self, indices: &[usize]) -> Vec<&str> {
        indices.iter().map(|&index| self.actors[index].id.as_str()).collect()
    }

    /// What that check must say on that driver: it holds, unless stated otherwise.
    pub fn verdict(&self, driver: &str, check: &str) -> Verdict {
        let stated = self.expect.get(driver).and_then(|checks| checks.get(check));
        stated.copied().unwrap_or(Verdict::Holds)
    }
}

fn setup(item: &Item<'_>) -> Result<Vec<String>, ScenarioError> {
    let table = item.table(&["setup"])?;
    table
        .item("setup")
        .list("a list of at least one statement", |item| item.text("a statement of SQL", is_filled))
}

fn actors(item: &Item<'_>) -> Result<Vec<Actor>, ScenarioError> {
    let actors = item.list("at least one table `[[actors]]`", |item| {
        let table = item.table(&["id", "steps"])?;
        let id = table.item("id").text("lower-case letters, digits and hyphens", is_id)?;
        let steps = table.item("steps").sequence("a list of at least one step", |item| {
            item.text("`begin read`, `begin write`, `commit`, `rollback` or SQL", is_filled)
        })?;
        Ok(Actor { id, steps })
    })?;
    for (index, actor) in actors.iter().enumerate() {
        if actors[..index].iter().any(|other| other.id == actor.id) {
            return Err(item.wrong_because(
                "every id once",
                &format!(", in which two actors are called {:?}", actor.id),
            ));
        }
    }
    Ok(actors)
}

fn counter(item: &Item<'_>) -> Result<Counter, ScenarioError> {
    let table = item.table(&["query", "each_commit_adds"])?;
    Ok(Counter {
        query: table.item("query").text("a query that gives one whole number", is_filled)?,
        each_commit_adds: table.item("each_commit_adds").integer(1..=1_000_000)?,
    })
}

type Expectations = BTreeMap<String, BTreeMap<String, Verdict>>;

fn expect(item: &Item<'_>) -> Result<Expectations, ScenarioError> {
    let ids = check::all().map(check::Check::id);
    let verdicts = [("holds", Verdict::Holds), ("violated", Verdict::Violated)];
    let drivers = item.table(&DRIVERS)?;
    let mut expectations = BTreeMap::new();
    for driver in DRIVERS {
        let Some(item) = drivers.optional(driver) else { continue };
        let table = item.table(&ids)?;
        let mut checks = BTreeMap::new();
        for id in ids {
            if let Some(verdict) = optional(&table, id, |item| item.choice(&verdicts))? {
                checks.insert(id.to_owned(), verdict);
            }
        }
        expectations.insert(driver.to_owned(), checks);
    }
    Ok(expectations)
}
