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
use harness::lockstep::sql;
use harness::lockstep::strategy::Kind;
use harness::scenario::script::Script;
use harness::seed::Seed;
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

    fn query(&self, query: &str) -> Result<String, DriverError> {
        // One of its own: those of the pool may be within transactions that nobody ended.
        sql::query(&self.fresh()?, query).map_err(|error| DriverError::scenario(query, error))
    }

    fn contents(&self) -> Result<String, DriverError> {
        sql::contents(&self.fresh()?).map_err(|error| DriverError::new("read all tables", error))
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
        let outcome = sql::outcome(sql::query(connection, command.sql()));
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
