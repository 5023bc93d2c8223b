//! What the drivers without a manager share: instances of DuckDB that a file is attached to, and an actor that opens the
//! file itself.
//!
//! An instance is used again for the next file: attaching costs a twentieth of opening. For everybody else it is the
//! same, the file's lock is taken when it is attached and dropped when it is detached.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use manager::ErrorClass;
use manager::duckdb::{self, Connection};
use parking_lot::Mutex;

use super::driver::{Actor, Class, Command, DriverError, Outcome, Turn, Waits, World};
use super::sql;
use crate::scenario::script::Script;
use crate::seed::{Prng, Seed, fnv1a};

/// Instances that have no file at the moment.
static IDLE: Mutex<Vec<Connection>> = Mutex::new(Vec::new());

/// The bytes of the last set-up's database, which is made once for all schedules.
static TEMPLATE: Mutex<Option<(u64, Vec<u8>)>> = Mutex::new(None);

/// Puts a fresh copy of the script's database into the folder.
pub(super) fn copy(script: &Script, folder: &Path) -> Result<PathBuf, DriverError> {
    let mut template = TEMPLATE.lock();
    // Scenarios that differ elsewhere have the same one.
    let setup = fnv1a(script.setup.join("\0").as_bytes());
    if template.as_ref().is_none_or(|(digest, _)| *digest != setup) {
        *template = Some((setup, sql::template(script, folder)?));
    }
    let (_, bytes) = template.as_ref().expect("it was just made");
    let path = sql::path(folder);
    fs::write(&path, bytes).map_err(|error| DriverError::new("copy the template", error))?;
    Ok(path)
}

/// An instance with one file.
pub(super) struct Instance {
    host: Mutex<Option<Connection>>,
    /// For whoever only looks.
    looking: Mutex<Option<Connection>>,
    path: PathBuf,
}

impl Instance {
    /// Opens the file, to write.
    pub(super) fn open(path: &Path) -> duckdb::Result<Self> {
        Self::attach(path, "")
    }

    /// Opens the file, to read.
    pub(super) fn open_to_read(path: &Path) -> duckdb::Result<Self> {
        Self::attach(path, ", READ_ONLY")
    }

    fn attach(path: &Path, how: &str) -> duckdb::Result<Self> {
        let idle = IDLE.lock().pop();
        let host = match idle {
            Some(host) => host,
            None => sql::host()?,
        };
        let file = sql::literal(path);
        let attached =
            host.execute_batch(&format!("ATTACH {file} AS {} (TYPE duckdb{how})", sql::NAME));
        if let Err(error) = attached {
            // A lock says nothing of the instance. Any other error may be its end.
            if ErrorClass::of(&error.to_string()) == ErrorClass::FileLocked {
                IDLE.lock().push(host);
            }
            return Err(error);
        }
        let (host, looking) = (Mutex::new(Some(host)), Mutex::default());
        Ok(Self { host, looking, path: path.to_owned() })
    }

    /// Another connection.
    pub(super) fn connect(&self) -> duckdb::Result<Connection> {
        let host = self.host.lock();
        let connection = host.as_ref().expect("it is there until the end").try_clone()?;
        connection.execute_batch(&format!("USE {}", sql::NAME))?;
        Ok(connection)
    }

    pub(super) fn query(&self, query: &str) -> Result<String, DriverError> {
        let asked = self.look(|connection| sql::query(connection, query));
        asked.map_err(|error| DriverError::scenario(query, error))
    }

    pub(super) fn contents(&self) -> Result<String, DriverError> {
        self.look(sql::contents).map_err(|error| DriverError::new("read all tables", error))
    }

    fn look<T>(&self, look: impl FnOnce(&Connection) -> duckdb::Result<T>) -> duckdb::Result<T> {
        let mut looking = self.looking.lock();
        if looking.is_none() {
            *looking = Some(self.connect()?);
        }
        look(looking.as_ref().expect("it was just made"))
    }
}

impl Drop for Instance {
    fn drop(&mut self) {
        *self.looking.lock() = None;
        let host = self.host.lock().take().expect("it is there until the end");
        // An instance that does not let go of the file is of no more use, nor is one whose file has gone.
        if self.path.exists() && host.execute_batch(&format!("DETACH {}", sql::NAME)).is_ok() {
            IDLE.lock().push(host);
        }
    }
}

/// What an actor does that is the same with any connection; `None` if it is a statement.
pub(super) fn beside(path: &Path, command: Command<'_>) -> Option<Turn> {
    match command {
        Command::BeginPhase(_) | Command::EndPhase(_) => Some(done(Class::Ok, "")),
        Command::Barge | Command::Panic | Command::Nest | Command::Store(_) => {
            Some(done(Class::Failed, "for a manager only"))
        }
        Command::Touch => Some(match File::open(path) {
            Ok(file) => {
                drop(file); // and with it every POSIX lock that this process had on the file
                done(Class::Ok, "")
            }
            Err(_) => done(Class::Failed, "no file"),
        }),
        Command::Create => Some(create(&path.with_file_name(sql::NEW))),
        _ => None,
    }
}

/// As DuckDB does it: in the place where it is to be.
fn create(path: &Path) -> Turn {
    let created = || -> duckdb::Result<()> {
        let idle = IDLE.lock().pop();
        let host = idle.map_or_else(sql::host, Ok)?;
        host.execute_batch(&sql::creation(&sql::literal(path)))?;
        IDLE.lock().push(host); // one that failed may have the file still
        Ok(())
    };
    Turn::Done(sql::outcome(created().map(|()| String::new())).waking())
}

pub(super) fn done(class: Class, text: &str) -> Turn {
    Turn::Done(Outcome::new(class, text))
}

/// Who opens the file for itself, and how.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Manner {
    /// When it first needs it, and keeps it. What is refused fails.
    Keeps,
    /// For each transaction. What is refused is tried again, later each time.
    Retries,
}

/// The world of actors that open the file for themselves.
pub(super) struct Own {
    path: PathBuf,
    manner: Manner,
    /// What pauses are drawn from.
    seed: Seed,
}

impl Own {
    pub(super) fn world(script: &Script, folder: &Path, manner: Manner) -> Arc<dyn World> {
        Arc::new(Self { path: sql::path(folder), manner, seed: Seed(script.digest) })
    }

    fn open(&self) -> Result<Instance, DriverError> {
        Instance::open(&self.path).map_err(|error| DriverError::new("open the database", error))
    }
}

impl World for Own {
    fn actor(&self, id: &str) -> Result<Box<dyn Actor>, DriverError> {
        Ok(Box::new(Opening {
            path: self.path.clone(),
            manner: self.manner,
            opened: None,
            in_transaction: false,
            refusals: 0,
            draws: self.seed.stream(&format!("backoff/{id}")),
        }))
    }

    fn query(&self, query: &str) -> Result<String, DriverError> {
        self.open()?.query(query)
    }

    fn contents(&self) -> Result<String, DriverError> {
        self.open()?.contents()
    }
}

/// An actor that opens the file for itself.
struct Opening {
    path: PathBuf,
    manner: Manner,
    /// The connection first: it has to go before its instance.
    opened: Option<(Connection, Instance)>,
    in_transaction: bool,
    /// How often in a row the file could not be had.
    refusals: u32,
    draws: Prng,
}

/// After so many refusals an operation fails.
const REFUSALS_MAX: u32 = 12;
/// The first pause is drawn from zero to this; each further one from twice as much.
const PAUSE_FIRST_NS: u64 = 10_000_000;
/// But for this at most.
const PAUSE_MAX_NS: u64 = 1_000_000_000;

impl Actor for Opening {
    fn step(&mut self, op: &str) -> Turn {
        let command = Command::of(op);
        if let Some(turn) = beside(&self.path, command) {
            return turn;
        }
        if command == Command::Close {
            self.close();
            return Turn::Done(Outcome::new(Class::Ok, "").waking());
        }
        if self.opened.is_none() {
            match self.open(command == Command::BeginRead) {
                Ok(opened) => self.opened = Some(opened),
                Err(error) => return self.refused(error),
            }
        }
        self.refusals = 0;
        if command == Command::Open {
            return done(Class::Ok, "");
        }
        self.run(command)
    }
}

impl Opening {
    fn open(&self, to_read: bool) -> duckdb::Result<(Connection, Instance)> {
        let reads = to_read && self.manner == Manner::Retries;
        let instance =
            if reads { Instance::open_to_read(&self.path)? } else { Instance::open(&self.path)? };
        Ok((instance.connect()?, instance))
    }

    fn close(&mut self) {
        self.opened = None;
        self.in_transaction = false;
    }

    fn run(&mut self, command: Command<'_>) -> Turn {
        let (connection, _) = self.opened.as_ref().expect("it was opened");
        let outcome = sql::outcome(sql::query(connection, command.sql()));
        match command {
            Command::BeginRead | Command::BeginWrite => {
                self.in_transaction = outcome.class == Class::Ok;
            }
            Command::Commit | Command::Rollback => self.in_transaction = false,
            _ => {}
        }
        if self.manner == Manner::Retries && !self.in_transaction {
            self.close();
            return Turn::Done(outcome.waking());
        }
        Turn::Done(outcome)
    }

    /// Full jitter: Brooker, *Exponential Backoff and Jitter*, AWS Architecture Blog, 2015.
    fn refused(&mut self, error: duckdb::Error) -> Turn {
        let outcome = sql::outcome(Err(error));
        let is_lock = outcome.shown == "FileLocked";
        if self.manner == Manner::Keeps || !is_lock || self.refusals == REFUSALS_MAX {
            self.refusals = 0;
            return Turn::Done(outcome);
        }
        let most = PAUSE_MAX_NS.min(PAUSE_FIRST_NS << self.refusals.min(20));
        self.refusals += 1;
        let pause = self.draws.below(most) + 1;
        Turn::Blocked(Waits {
            what: "the file, which another process has open".to_owned(),
            held_by: Vec::new(),
            at_most_ns: Some(pause),
        })
    }
}
