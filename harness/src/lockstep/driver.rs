//! What a user implements to put own DuckDB code under the scheduler: three small traits.
//!
//! * A [`Driver`] makes a [`World`] in an empty folder for each schedule: the database, and what the actors share.
//! * A [`World`] makes each [`Actor`], on a thread of its own.
//! * An [`Actor`] carries out one operation of the script at a time.
//!
//! The built-in drivers read the operations `begin read`, `begin write`, `commit` and `rollback` and take anything
//! else for SQL ([`Command`]). A driver of one's own may give the texts any meaning; the checks that look at transactions
//! understand these four.
//!
//! # Contract
//!
//! * Equal operations in equal order have equal outcomes: no clock, no random numbers but the script's, no threads that
//!   go on between two steps. What breaks this is found by a replay, as a divergence.
//! * A step never waits for another actor. Where it would, it returns [`Turn::Blocked`] at once and changes nothing; it
//!   is tried again when another actor's step [`wakes`](Outcome::wakes), or at its virtual time.

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use reports::Hex64;
use serde::{Deserialize, Serialize};

use crate::scenario::script::Script;
use crate::seed::fnv1a;

/// A way to get at a database.
pub trait Driver: Sync {
    /// Its name in logs and reports.
    fn name(&self) -> &str;

    /// Makes the database of one schedule in a folder that is empty.
    ///
    /// # Errors
    ///
    /// A [`DriverError`] in words.
    fn create(&self, script: &Script, folder: &Path) -> Result<Arc<dyn World>, DriverError>;
}

/// The database of one schedule.
pub trait World: Send + Sync {
    /// Makes the actor of that name. Called on the thread that the actor will run on, one at a time.
    ///
    /// # Errors
    ///
    /// A [`DriverError`] in words.
    fn actor(&self, id: &str) -> Result<Box<dyn Actor>, DriverError>;

    /// What a fresh reader gets for a query: columns separated by `|`, rows by line ends. Called before the first
    /// actor is made and after the last has gone.
    ///
    /// # Errors
    ///
    /// A [`DriverError`] in words.
    fn query(&self, sql: &str) -> Result<String, DriverError>;

    /// All that the database holds, in an order that depends on nothing else. Called as [`query`](Self::query) is.
    ///
    /// # Errors
    ///
    /// A [`DriverError`] in words.
    fn contents(&self) -> Result<String, DriverError>;
}

/// One who takes part. Dropped on its thread when its script is done or the schedule ends; what it holds then goes back.
pub trait Actor {
    /// Carries out one operation, or says who is in its way.
    fn step(&mut self, op: &str) -> Turn;
}

/// What came of a step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Turn {
    /// It was carried out, well or not. The actor goes on to its next operation.
    Done(Outcome),
    /// It could not be, and nothing was changed.
    Blocked(Waits),
}

/// How a step ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Outcome {
    /// In one word.
    pub class: Class,
    /// A digest of its whole result.
    pub result: Hex64,
    /// The beginning of its result, for people.
    pub shown: String,
    /// Whether something was given back that others may wait for.
    pub wakes: bool,
}

/// What a blocked actor waits for.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Waits {
    /// In words, the same in every run.
    pub what: String,
    /// The actors that have it.
    pub held_by: Vec<String>,
    /// It is tried again after this much virtual time, whoever has it.
    pub at_most_ns: Option<u64>,
}

/// The end of a step in one word.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Class {
    /// It did what it was asked to.
    Ok,
    /// It has to wait, and did nothing.
    Blocked,
    /// It lost a race to another transaction.
    Conflict,
    /// A constraint refused it.
    Constraint,
    /// Its transaction had failed before.
    Aborted,
    /// It surely did not happen, for another reason.
    Failed,
    /// Nobody can tell whether it happened.
    Unknown,
    /// The actor's code panicked; the actor takes no further step.
    Panicked,
}

impl fmt::Display for Class {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let word = serde_json::to_value(self).unwrap_or_default();
        f.write_str(word.as_str().unwrap_or_default())
    }
}

impl Outcome {
    /// The most characters of [`shown`](Self::shown).
    pub const SHOWN_MAX: usize = 80;

    /// An end with that result.
    pub fn new(class: Class, result: &str) -> Self {
        let shown = result.chars().take(Self::SHOWN_MAX).collect();
        Self { class, result: Hex64(fnv1a(result.as_bytes())), shown, wakes: false }
    }

    /// The same, after which blocked actors try again.
    #[must_use]
    pub fn waking(self) -> Self {
        Self { wakes: true, ..self }
    }
}

/// An operation as the built-in drivers and the checks read it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Command<'a> {
    /// Begin a transaction that only reads.
    BeginRead,
    /// Begin a transaction that may write.
    BeginWrite,
    /// End it, and keep what it did.
    Commit,
    /// End it, and keep nothing.
    Rollback,
    /// One statement; on its own if there is no transaction.
    Sql(&'a str),
}

impl<'a> Command<'a> {
    /// What the text asks for.
    pub fn of(op: &'a str) -> Self {
        match op {
            "begin read" => Self::BeginRead,
            "begin write" => Self::BeginWrite,
            "commit" => Self::Commit,
            "rollback" => Self::Rollback,
            sql => Self::Sql(sql),
        }
    }
}

/// Why a driver could not do its part. This is no finding about what is tested.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DriverError {
    /// The scenario is wrong: its set-up, or a query.
    #[error("{0}; mend the scenario")]
    Scenario(String),
    /// Something else.
    #[error("{0}")]
    Failed(String),
}

impl DriverError {
    /// An error of something that was tried.
    pub fn new(action: &str, error: impl fmt::Display) -> Self {
        Self::Failed(format!("{action}: {error}"))
    }

    /// An error of something that the scenario asked for.
    pub fn scenario(action: &str, error: impl fmt::Display) -> Self {
        Self::Scenario(format!("{action}: {error}"))
    }
}
