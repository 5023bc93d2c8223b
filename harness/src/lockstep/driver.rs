//! What a user implements to put own DuckDB code under the scheduler: three small traits.
//!
//! * A [`Driver`] makes a [`World`] in an empty folder for each schedule: the database, and what the actors share.
//! * A [`World`] makes each [`Actor`], on a thread of its own.
//! * An [`Actor`] carries out one operation of the script at a time.
//!
//! Words of a [`vocabulary`](super::vocabulary) come to a driver as the SQL that the scenario gives them. The built-in
//! drivers read some other operations as [`Command`]s and take anything else for SQL. A driver of one's own may give
//! the texts any meaning; the checks that look at transactions and phases understand those commands.
//!
//! # Contract
//!
//! * Equal operations in equal order have equal outcomes: no clock, no random numbers but the script's, no threads that
//!   go on between two steps. What breaks this is found by a replay, as a divergence.
//! * A step never waits for another actor. Where it would, it returns [`Turn::Blocked`] at once and changes nothing; it
//!   is tried again when another actor's step [`wakes`](Outcome::wakes), or at its virtual time. [`Turn::Paused`] and
//!   [`Turn::Waiting`] are not for drivers: they come from points within an operation, where the scenario asks for such.

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use manager::Phase;
use reports::Hex64;
use serde::{Deserialize, Serialize};

use super::stored::Stored;
use super::vocabulary::Word;
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

    /// Gets at the database that [`create`](Self::create) made in that folder, for one actor, in a process of its own.
    /// Where each actor is a process, the world that was created is dropped before.
    ///
    /// # Errors
    ///
    /// A [`DriverError`] in words; of a driver that knows threads only, always.
    fn join(&self, script: &Script, folder: &Path) -> Result<Arc<dyn World>, DriverError> {
        let _ = (script, folder);
        Err(DriverError::Scenario(format!(
            "the driver `{}` runs all actors in one process; leave `each_actor` out",
            self.name()
        )))
    }
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
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Turn {
    /// It was carried out, well or not. The actor goes on to its next operation.
    Done(Outcome),
    /// It could not be, and nothing was changed. It is tried again.
    Blocked(Waits),
    /// It stands at a point within the operation, in words that are the same in every run, and could go on.
    Paused(String),
    /// It waits within the operation.
    Waiting(Waits),
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
    /// It has not ended yet: the actor stands at a point within it.
    Paused,
    /// Its process was killed: nobody can tell whether it happened, and what was not committed is gone.
    Killed,
}

impl Class {
    /// Whether the operation is over, one way or another.
    pub fn is_end(self) -> bool {
        !matches!(self, Self::Blocked | Self::Paused)
    }
}

impl fmt::Display for Class {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let word = serde_json::to_value(self).unwrap_or_default();
        f.write_str(word.as_str().unwrap_or_default())
    }
}

impl Outcome {
    /// The most characters of [`shown`](Self::shown).
    pub const SHOWN_MAX: usize = 1_000;

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
    /// Begin a phase.
    BeginPhase(Phase),
    /// End it.
    EndPhase(Phase),
    /// Open the file, by a driver whose actors do that themselves.
    Open,
    /// Close it.
    Close,
    /// Open the database file as any file, and close it: what a backup, a hash or a look at its size does.
    Touch,
    /// Create a second database beside the first one, with a table in it, unless it is there.
    Create,
    /// Open the database past the manager, as a program that knows nothing of it would, and close it.
    Barge,
    /// Panic in the closure of the transaction that is open, which ends it.
    Panic,
    /// Ask for a second lease, which a manager has to refuse at once.
    Nest,
    /// Ask a feature store.
    Store(Stored<'a>),
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
            "begin training" => Self::BeginPhase(Phase::Training),
            "begin evaluation" => Self::BeginPhase(Phase::Evaluation),
            "end training" => Self::EndPhase(Phase::Training),
            "end evaluation" => Self::EndPhase(Phase::Evaluation),
            "open" => Self::Open,
            "close" => Self::Close,
            "touch" => Self::Touch,
            "create" => Self::Create,
            "barge" => Self::Barge,
            "panic" => Self::Panic,
            "nest" => Self::Nest,
            op => Stored::of(op).map_or(Self::Sql(op), Self::Store),
        }
    }

    /// The same as DuckDB is told it; an empty statement, if it is nothing of DuckDB's.
    pub fn sql(self) -> &'a str {
        match self {
            Self::BeginRead => "BEGIN TRANSACTION READ ONLY",
            Self::BeginWrite => "BEGIN TRANSACTION",
            Self::Commit => "COMMIT",
            Self::Rollback => "ROLLBACK",
            Self::Sql(sql) => sql,
            _ => "",
        }
    }
}

/// What [`Command::Barge`] gives if nobody keeps it out.
pub const LET_IN: &str = "let in";

/// Whether an operation is a query by its first word: it changes nothing, and gives the same before and after another one.
pub fn is_query(op: &str) -> bool {
    let first = op.split_whitespace().next().unwrap_or_default();
    let is_sql = first.eq_ignore_ascii_case("select") || first.eq_ignore_ascii_case("from");
    is_sql || matches!(Word::of(op), Some(Word::Read(_)))
}

/// Why a driver could not do its part. This is no finding about what is tested.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
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
