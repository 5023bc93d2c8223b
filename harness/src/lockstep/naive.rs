//! Plain DuckDB, transactions as the script says. Nobody waits for anybody: DuckDB refuses at once what it cannot do.
//!
//! Threads have a connection each on one instance. A process has an instance of its own, opens the file when it first
//! needs it, and keeps it open, as the training of the mission did: the others' opens fail then.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use manager::duckdb::Connection;

use super::driver::{Actor, Class, Command, Driver, DriverError, Turn, World};
use super::plain::{self, Instance, Manner, Own};
use super::sql;
use crate::scenario::script::Script;

/// See the module's header.
pub struct Naive;

impl Driver for Naive {
    fn name(&self) -> &'static str {
        "naive"
    }

    fn create(&self, script: &Script, folder: &Path) -> Result<Arc<dyn World>, DriverError> {
        let path = plain::copy(script, folder)?;
        let opened = Instance::open(&path);
        let instance = opened.map_err(|error| DriverError::new("open the database", error))?;
        Ok(Arc::new(One { instance, path }))
    }

    fn join(&self, script: &Script, folder: &Path) -> Result<Arc<dyn World>, DriverError> {
        Ok(Own::world(script, folder, Manner::Keeps))
    }
}

/// One instance for all.
struct One {
    instance: Instance,
    path: PathBuf,
}

impl World for One {
    fn actor(&self, _: &str) -> Result<Box<dyn Actor>, DriverError> {
        let connected = self.instance.connect();
        let connection = connected.map_err(|error| DriverError::new("connect", error))?;
        Ok(Box::new(Connected { connection, path: self.path.clone() }))
    }

    fn query(&self, query: &str) -> Result<String, DriverError> {
        self.instance.query(query)
    }

    fn contents(&self) -> Result<String, DriverError> {
        self.instance.contents()
    }
}

struct Connected {
    connection: Connection,
    path: PathBuf,
}

impl Actor for Connected {
    fn step(&mut self, op: &str) -> Turn {
        match Command::of(op) {
            Command::Open | Command::Close => plain::done(Class::Ok, ""),
            command => plain::beside(&self.path, command).unwrap_or_else(|| {
                Turn::Done(sql::outcome(sql::query(&self.connection, command.sql())))
            }),
        }
    }
}
