//! A scenario in lockstep: a small database, and who does which steps on it.
//!
//! # Scope of determinism
//!
//! A pure function of the file's text and path.

mod gate;
mod watched;

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

pub use gate::Gate;
use serde::{Deserialize, Serialize};

use super::document::{Document, Item};
use super::{ScenarioError, is_filled, is_id, optional};
use crate::check::Verdict;
use crate::lockstep::act::Act;
use crate::lockstep::check;
use crate::lockstep::stored::Stored;
use crate::seed::fnv1a;

pub use watched::{Fairness, Invariant, Lists, Rows, Watched};

/// The drivers that run scripts.
pub const DRIVERS: [&str; 4] = ["naive", "retrying", "separate", "managed"];

/// What every script may say, in the order in which a reader wants to know it.
pub(crate) const KEYS: [&str; 14] = [
    "format",
    "id",
    "title",
    "suites",
    "mode",
    "drivers",
    "each_actor",
    "points",
    "faults",
    "gate",
    "database",
    "actors",
    "counter",
    "expect",
];

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
    /// What an actor runs as.
    pub each_actor: EachActor,
    /// Where it stops within its operations.
    pub points: Points,
    /// What may happen beside.
    pub faults: Option<Faults>,
    /// Statements that make the database.
    pub setup: Vec<String>,
    /// At least one, with different ids.
    pub actors: Vec<Actor>,
    /// What every committed transaction adds to.
    pub counter: Option<Counter>,
    /// What else checks look at.
    pub watched: Watched,
    /// How much of it `run` and the tests run.
    pub gate: Gate,
    /// Verdicts by driver and id of the check, where they are stated.
    pub expect: BTreeMap<String, BTreeMap<String, Verdict>>,
    /// Its whole text, which logs keep.
    pub text: String,
    /// The text's digest.
    pub digest: u64,
}

/// What an actor runs as.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum EachActor {
    /// A thread of the process that decides.
    #[default]
    Thread,
    /// A process.
    Process,
}

/// Where an actor stops within its operations, and others may move.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Points {
    /// Nowhere: a step is an operation.
    #[default]
    Statement,
    /// At the manager's yield points. Its waits are the scheduler's, and its time is virtual.
    Manager,
    /// At the engine's I/O calls.
    Io,
}

impl Points {
    /// Whether there are I/O calls among them.
    pub fn has_calls(self) -> bool {
        self == Self::Io
    }
}

/// What may happen to actors beside that they move.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Faults {
    /// What it may be.
    pub kinds: Vec<Act>,
    /// How often, in one schedule.
    pub at_most: u32,
    /// Whether who was killed may come back.
    pub restart: bool,
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
        let root = document.root(&[&KEYS[..], &watched::KEYS].concat())?;
        super::format(&root.item("format"))?;
        root.item("mode").choice(&[("lockstep", ())])?;
        let suites = super::SUITES.map(|suite| (suite, suite));
        let drivers = DRIVERS.map(|driver| (driver, driver));
        let each_actor = optional(&root, "each_actor", |item| {
            item.choice(&[("thread", EachActor::Thread), ("process", EachActor::Process)])
        })?
        .unwrap_or_default();
        let points =
            optional(&root, "points", |item| points(item, each_actor))?.unwrap_or_default();
        let actors = actors(&root.item("actors"))?;
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
            each_actor,
            points,
            faults: optional(&root, "faults", |item| faults(item, each_actor, points))?,
            setup: setup(&root.item("database"))?,
            counter: optional(&root, "counter", counter)?,
            watched: watched::read(&root, &actors, points)?,
            actors,
            gate: optional(&root, "gate", |item| Gate::read(item, points))?
                .unwrap_or_else(|| Gate::of(points)),
            expect: optional(&root, "expect", expect)?.unwrap_or_default(),
            text: String::from_utf8_lossy(bytes).into_owned(),
            digest: fnv1a(bytes),
        })
    }

    /// Steps of all actors together.
    pub fn step_count(&self) -> u64 {
        self.actors.iter().map(|actor| actor.steps.len() as u64).sum()
    }

    /// Whether a loss of power is among its faults.
    pub fn power_may_fail(&self) -> bool {
        let mut kinds = self.faults.iter().flat_map(|faults| &faults.kinds);
        kinds.any(|act| act.loses().is_some())
    }

    /// Whether a feature store takes part.
    pub fn has_store(&self) -> bool {
        let mut steps = self.actors.iter().flat_map(|actor| &actor.steps);
        steps.any(|step| Stored::of(step).is_some())
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

fn points(item: &Item<'_>, each_actor: EachActor) -> Result<Points, ScenarioError> {
    let names =
        [("statement", Points::Statement), ("manager", Points::Manager), ("io", Points::Io)];
    let points = item.choice(&names)?;
    if points.has_calls() && each_actor == EachActor::Thread {
        // Within a call an actor may have a lock of the engine that another thread would wait for.
        return Err(item.wrong("`each_actor = \"process\"` beside `points = \"io\"`"));
    }
    Ok(points)
}

fn faults(item: &Item<'_>, each_actor: EachActor, points: Points) -> Result<Faults, ScenarioError> {
    let table = item.table(&["kinds", "at_most", "restart"])?;
    let kinds = table.item("kinds").list("a list of at least one fault", |item| {
        let act = item.choice(&Act::FAULTS)?;
        if act.needs_process() && each_actor == EachActor::Thread {
            return Err(item.wrong("a fault of a thread, or `each_actor = \"process\"`"));
        }
        if act.needs_calls_seen() && !points.has_calls() {
            return Err(item.wrong("another fault, or `points = \"io\"`"));
        }
        Ok(act)
    })?;
    let at_most = table.item("at_most").integer(1..=100)?;
    let restart = optional(&table, "restart", Item::boolean)?.unwrap_or(false);
    Ok(Faults { kinds, at_most, restart })
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
