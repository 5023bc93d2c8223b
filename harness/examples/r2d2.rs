//! A driver of one's own: r2d2, with connections as duckdb-rs's pool manager makes them, under the scheduler.
//!
//! ```console
//! $ cargo run --release -p harness --example r2d2
//! ```
//!
//! duckdb's `DuckdbConnectionManager` opens the file once and hands out clones of that connection; `has_broken` says no,
//! whatever happened, and `is_valid` runs an empty statement. [`Clones`] does the same, so that this program builds with the
//! features of DuckDB that everything else here has.
//!
//! # What the harness found
//!
//! | scenario | found |
//! |---|---|
//! | [`ABANDONED`] | a connection that goes back within a transaction is handed out within it: a statement that the next caller has for acknowledged is part of a transaction that nobody will commit, and is lost (*durability*) |
//! | [`REFUSED`] | a transaction that DuckDB has refused is committed with success (*no false commit*): a pool does not look at errors |
//! | [`REPLACED`] | an update is lost to one that replaces the row (*no lost update*): a pool does not order writers |
//!
//! The manager's leases do none of that: `tests/it/own_driver.rs` runs the last two on it, too. (The first cannot be written
//! with it: a transaction is a closure, and ends with it.)

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use harness::lockstep::driver::{
    Actor, Class, Command, Driver, DriverError, Outcome, Turn, Waits, World,
};
use harness::lockstep::explore::{self, Explored};
use harness::lockstep::strategy::Kind;
use harness::scenario::script::Script;
use harness::seed::Seed;
use manager::ErrorClass;
use manager::duckdb::types::Value;
use manager::duckdb::{self, Config, Connection};
use parking_lot::Mutex;
use r2d2::{ManageConnection, Pool, PooledConnection};

/// Ada returns early, as `?` does, while bob stores a row with a statement of its own.
pub(crate) const ABANDONED: &str = r#"
format = 1
id = "abandoned"
title = "A connection goes back within a transaction"
suites = ["full"]
mode = "lockstep"
drivers = ["naive"]

[database]
setup = ["CREATE TABLE t (id INTEGER)"]

[[actors]]
id = "ada"
steps = ["begin write", "SELECT count(*) FROM t", "close"]

[[actors]]
id = "bob"
steps = ["put 1"]

[rows]
put = "INSERT INTO t VALUES ({id})"
query = "SELECT id FROM t"
"#;

/// `scenarios/threads/false-commit.toml`.
pub(crate) const REFUSED: &str = include_str!("../../scenarios/threads/false-commit.toml");

/// `scenarios/threads/lost-update.toml`.
pub(crate) const REPLACED: &str = include_str!("../../scenarios/threads/lost-update.toml");

/// So many connections has the pool: one for each actor.
const POOLED: u32 = 2;

/// Connections as duckdb's own pool manager makes them.
struct Clones(Mutex<Connection>);

impl ManageConnection for Clones {
    type Connection = Connection;
    type Error = duckdb::Error;

    fn connect(&self) -> duckdb::Result<Connection> {
        self.0.lock().try_clone()
    }

    fn is_valid(&self, connection: &mut Connection) -> duckdb::Result<()> {
        connection.execute_batch("")
    }

    fn has_broken(&self, _: &mut Connection) -> bool {
        false
    }
}

/// The driver.
pub(crate) struct R2d2;

impl Driver for R2d2 {
    fn name(&self) -> &'static str {
        "r2d2"
    }

    fn create(&self, script: &Script, folder: &Path) -> Result<Arc<dyn World>, DriverError> {
        let opened = || -> duckdb::Result<Connection> {
            let config = Config::default().threads(1)?;
            let root = Connection::open_with_flags(folder.join("db.duckdb"), config)?;
            script.setup.iter().try_for_each(|statement| root.execute_batch(statement))?;
            Ok(root)
        };
        let root = opened().map_err(|error| DriverError::scenario("set the database up", error))?;
        let pool = Pool::builder().max_size(POOLED).idle_timeout(None).max_lifetime(None);
        let pool = pool.build(Clones(Mutex::new(root)));
        let pool = pool.map_err(|error| DriverError::new("fill the pool", error))?;
        Ok(Arc::new(Place(pool)))
    }
}

struct Place(Pool<Clones>);

impl World for Place {
    fn actor(&self, _: &str) -> Result<Box<dyn Actor>, DriverError> {
        Ok(Box::new(Borrowing { pool: self.0.clone(), taken: None, is_within: false }))
    }

    fn query(&self, sql: &str) -> Result<String, DriverError> {
        let error = |error| DriverError::scenario(sql, error);
        // One of its own: those of the pool may be within transactions that nobody ended.
        query(&self.fresh()?, sql).map_err(error)
    }

    fn contents(&self) -> Result<String, DriverError> {
        self.query("SELECT table_name, estimated_size FROM duckdb_tables() ORDER BY ALL")
    }
}

impl Place {
    fn fresh(&self) -> Result<Connection, DriverError> {
        let taken = self.0.try_get().ok_or_else(|| DriverError::new("connect", "all are taken"))?;
        taken.try_clone().map_err(|error| DriverError::new("connect", error))
    }
}

/// An actor that takes a connection for a transaction, or for a statement on its own.
struct Borrowing {
    pool: Pool<Clones>,
    taken: Option<PooledConnection<Clones>>,
    /// It has begun a transaction.
    is_within: bool,
}

impl Actor for Borrowing {
    fn step(&mut self, op: &str) -> Turn {
        let command = Command::of(op);
        if command == Command::Close {
            (self.taken, self.is_within) = (None, false);
            return Turn::Done(Outcome::new(Class::Ok, "").waking());
        }
        if self.taken.is_none() {
            self.taken = self.pool.try_get();
        }
        let Some(connection) = &self.taken else {
            let what = "a connection of the pool".to_owned();
            return Turn::Blocked(Waits { what, ..Waits::default() });
        };
        let outcome = outcome(query(connection, statement(command)));
        let goes_on = match command {
            Command::BeginRead | Command::BeginWrite => outcome.class == Class::Ok,
            Command::Sql(_) => self.is_within,
            _ => false,
        };
        self.is_within = goes_on;
        if goes_on {
            return Turn::Done(outcome);
        }
        self.taken = None;
        Turn::Done(outcome.waking())
    }
}

fn statement(command: Command<'_>) -> &str {
    match command {
        Command::BeginRead => "BEGIN TRANSACTION READ ONLY",
        Command::BeginWrite => "BEGIN TRANSACTION",
        Command::Commit => "COMMIT",
        Command::Rollback => "ROLLBACK",
        Command::Sql(sql) => sql,
        _ => "SELECT 1",
    }
}

/// Rows as text: columns separated by `|`, rows by line ends.
fn query(connection: &Connection, sql: &str) -> duckdb::Result<String> {
    let mut statement = connection.prepare(sql)?;
    let mut rows = statement.query([])?;
    let mut text = String::new();
    while let Some(row) = rows.next()? {
        let cells = (0..row.as_ref().column_count()).map(|column| row.get::<_, Value>(column));
        let cells: Vec<String> = cells.map(|cell| cell.map(shown)).collect::<Result<_, _>>()?;
        text += &(cells.join("|") + "\n");
    }
    Ok(text)
}

fn shown(value: Value) -> String {
    match value {
        Value::Int(number) => number.to_string(),
        Value::BigInt(number) => number.to_string(),
        Value::HugeInt(number) => number.to_string(),
        Value::Text(text) => text,
        other => format!("{other:?}"),
    }
}

/// Of an error its class: its text may name paths.
fn outcome(result: duckdb::Result<String>) -> Outcome {
    let error = match result {
        Ok(text) => return Outcome::new(Class::Ok, &text),
        Err(error) => error,
    };
    let kind = ErrorClass::of(&error.to_string());
    let class = match kind {
        ErrorClass::Conflict => Class::Conflict,
        ErrorClass::Constraint => Class::Constraint,
        ErrorClass::TransactionAborted => Class::Aborted,
        ErrorClass::Fatal => Class::Unknown,
        _ => Class::Failed,
    };
    Outcome::new(class, &format!("{kind:?}"))
}

/// All schedules of a scenario with at most two preemptions on that driver.
///
/// # Panics
///
/// If they cannot be run.
pub(crate) fn explored(text: &str, driver: &dyn Driver, folder: &Path) -> Explored {
    let script = Script::parse(Path::new("own.toml"), text.as_bytes());
    let options = explore::Options {
        script: &script.expect("the scenario is well-formed"),
        driver,
        strategy: Kind::Dfs { preemptions: 2 },
        seed: Seed(0x2a),
        cases: u64::MAX,
        time: Duration::from_mins(5),
        shrink: false,
        folder,
        interrupted: &AtomicBool::new(false),
    };
    explore::explore(&options, &mut |_| ()).expect("every schedule can be run")
}

/// What the harness finds, in a folder for logs.
pub(crate) fn findings(folder: &Path) -> Vec<String> {
    let scenarios = [("abandoned", ABANDONED), ("refused", REFUSED), ("replaced", REPLACED)];
    let found = scenarios.iter().flat_map(|(name, text)| {
        let explored = explored(text, &R2d2, folder);
        let line = |(id, tally): (&&str, &explore::Tally)| {
            let first = tally.first.as_ref()?;
            let (violated, all) = (tally.violated, explored.schedules);
            let why = first.finding.because.join("; ");
            Some(format!("{name}: {id} violated in {violated} of {all} schedules: {why}"))
        };
        explored.checks.iter().filter_map(line).collect::<Vec<_>>()
    });
    found.collect()
}

#[allow(dead_code)] // a test includes this file and calls `findings` itself
fn main() {
    let folder = std::env::temp_dir().join(format!("harness-r2d2-{}", std::process::id()));
    std::fs::create_dir_all(&folder).expect("the folder of temporary files can be written to");
    for finding in findings(&folder) {
        println!("{finding}");
    }
    println!("logs: {}", folder.display());
}
