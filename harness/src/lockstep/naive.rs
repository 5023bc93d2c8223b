//! Plain DuckDB: one instance, a connection for each actor, transactions as the script says. Nobody waits for anybody:
//! DuckDB refuses at once what it cannot do.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use manager::duckdb::{self, Connection};
use parking_lot::Mutex;

use super::driver::{Actor, Command, Driver, DriverError, Turn, World};
use super::sql;
use crate::scenario::script::Script;

/// See the module's header.
pub struct Naive;

/// What is kept from one schedule of a script to the next.
struct Warm {
    script: u64,
    template: Vec<u8>,
    host: Connection,
}

/// The instance of this process's naive schedules, while none is running.
static WARM: Mutex<Option<Warm>> = Mutex::new(None);

impl Driver for Naive {
    fn name(&self) -> &'static str {
        "naive"
    }

    fn create(&self, script: &Script, folder: &Path) -> Result<Arc<dyn World>, DriverError> {
        let kept = WARM.lock().take().filter(|warm| warm.script == script.digest);
        let warm = match kept {
            Some(warm) => warm,
            None => Warm {
                script: script.digest,
                template: sql::template(script, folder)?,
                host: sql::host().map_err(|error| DriverError::new("open an instance", error))?,
            },
        };
        let path = folder.join(format!("{}.duckdb", sql::NAME));
        fs::write(&path, &warm.template)
            .map_err(|error| DriverError::new("copy the template", error))?;
        let attach = format!("ATTACH {} AS {} (TYPE duckdb)", sql::literal(&path), sql::NAME);
        warm.host
            .execute_batch(&attach)
            .map_err(|error| DriverError::new("attach the database", error))?;
        Ok(Arc::new(Shared { warm: Mutex::new(Some(warm)), path }))
    }
}

struct Shared {
    warm: Mutex<Option<Warm>>,
    path: PathBuf,
}

impl Shared {
    fn connect(&self) -> Result<Connection, DriverError> {
        let connect = || -> duckdb::Result<Connection> {
            let warm = self.warm.lock();
            let connection = warm.as_ref().expect("it is there until the end").host.try_clone()?;
            connection.execute_batch(&format!("USE {}", sql::NAME))?;
            Ok(connection)
        };
        connect().map_err(|error| DriverError::new("connect", error))
    }
}

impl World for Shared {
    fn actor(&self, _: &str) -> Result<Box<dyn Actor>, DriverError> {
        Ok(Box::new(Connected(self.connect()?)))
    }

    fn query(&self, query: &str) -> Result<String, DriverError> {
        sql::query(&self.connect()?, query).map_err(|error| DriverError::scenario(query, error))
    }

    fn contents(&self) -> Result<String, DriverError> {
        sql::contents(&self.connect()?).map_err(|error| DriverError::new("read all tables", error))
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        let warm = self.warm.lock().take().expect("it is there until the end");
        // An instance that does not let go of the file is of no more use, nor is one whose file has gone.
        if self.path.exists() && warm.host.execute_batch(&format!("DETACH {}", sql::NAME)).is_ok() {
            *WARM.lock() = Some(warm);
        }
    }
}

struct Connected(Connection);

impl Actor for Connected {
    fn step(&mut self, op: &str) -> Turn {
        let sql = match Command::of(op) {
            Command::BeginRead => "BEGIN TRANSACTION READ ONLY",
            Command::BeginWrite => "BEGIN TRANSACTION",
            Command::Commit => "COMMIT",
            Command::Rollback => "ROLLBACK",
            Command::Sql(sql) => sql,
        };
        Turn::Done(sql::outcome(sql::query(&self.0, sql)))
    }
}
