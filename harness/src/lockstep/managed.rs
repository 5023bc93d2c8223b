//! The manager: a write transaction is one call of `WriteLease::transaction`, whose closure takes a step at a time; a read
//! transaction is a read lease; a statement outside of both takes a lease of its own.
//!
//! # Blocking
//!
//! Leases are asked for with a wait of zero. What the manager refuses then is a [`Turn::Blocked`], tried again after a
//! lease was given back. So the manager itself decides who has to wait, and a second writer that it let in would be seen
//! in the results. `Shared::writer` only names who is in the way. Where actors stop at the manager's points it waits
//! itself, by the scheduler.

mod stores;

use std::fs;
use std::panic::resume_unwind;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::JoinHandle;
use std::time::Duration;

use manager::duckdb::Connection;
use manager::{
    AccessMode, AcquireOptions, AnyLease, Config, Drain, Error, ErrorClass, Manager, Phase,
    PhaseGuard, ReadLease, WriteLease,
};
use parking_lot::Mutex;

use super::baton::Me;
use super::driver::{
    Actor, Class, Command, Driver, DriverError, LET_IN, Outcome, Turn, Waits, World, is_query,
};
use super::stored::Stored;
use super::{plain, sql};
use crate::scenario::script::{EachActor, Points, Script};
use stores::{Common, Stores};

/// See the module's header.
pub struct Managed;

/// The longest that a lease is waited for, where the manager waits itself.
const WAIT_MAX: Duration = Duration::from_secs(5);

/// The manager of the last schedule of steps that are statements, while none is running.
static IDLE: Mutex<Option<(EachActor, Manager)>> = Mutex::new(None);

/// Ends the manager that waits for another schedule.
pub fn end_idle() {
    *IDLE.lock() = None;
}

impl Driver for Managed {
    fn name(&self) -> &'static str {
        "managed"
    }

    fn create(&self, script: &Script, folder: &Path) -> Result<Arc<dyn World>, DriverError> {
        if script.points == Points::Statement {
            copy_onto_inode(script, folder)?;
        } else {
            plain::copy(script, folder)?; // what a manager knows already shows at its points
        }
        if script.has_store() {
            let manager = manager(script.points, script.each_actor)?;
            let made = stores::make(&manager, &sql::path(folder));
            made.map_err(|error| DriverError::new("make a store", error))?;
            manager.close_all_connections(Drain::default());
        }
        self.join(script, folder)
    }

    fn join(&self, script: &Script, folder: &Path) -> Result<Arc<dyn World>, DriverError> {
        let (points, each_actor) = (script.points, script.each_actor);
        // Where actors stop within operations, what one knows from another schedule would show.
        let idle = if points == Points::Statement { IDLE.lock().take() } else { None };
        let manager = match idle {
            Some((its_actor, manager)) if its_actor == each_actor => manager,
            _ => manager(points, each_actor)?,
        };
        let path = sql::path(folder);
        let (writer, store) = (Arc::default(), Arc::default());
        Ok(Arc::new(Place(Shared { manager, path, points, each_actor, writer, store })))
    }
}

/// A fresh copy in the place of the last one. A manager knows a file by its inode, and keeps an instance for it: half of
/// what a schedule costs.
fn copy_onto_inode(script: &Script, folder: &Path) -> Result<(), DriverError> {
    let (path, kept) = (sql::path(folder), folder.with_extension("inode"));
    let link = |from: &Path, to: &Path| {
        fs::hard_link(from, to).map_err(|error| DriverError::new("link the database file", error))
    };
    if kept.exists() {
        link(&kept, &path)?;
        plain::copy(script, folder)?;
        return Ok(());
    }
    plain::copy(script, folder)?;
    link(&path, &kept)
}

fn manager(points: Points, each_actor: EachActor) -> Result<Manager, DriverError> {
    Manager::new(config(points, each_actor))
        .map_err(|error| DriverError::new("make a manager", error))
}

fn config(points: Points, each_actor: EachActor) -> Config {
    let config = Config {
        label: "lockstep".to_owned(),
        duckdb_threads: Some(1),
        wait_max: WAIT_MAX,
        ..Config::default()
    };
    match (points, each_actor) {
        // Everything that happens by a clock happens by the scheduler's.
        (Points::Manager, _) => config,
        // Nothing may happen by a clock between two steps.
        (_, EachActor::Thread) => Config { idle_max: Duration::from_hours(1), ..config },
        // And nobody is there to answer the bell: the file goes back with its lease.
        (_, EachActor::Process) => Config { idle_max: Duration::ZERO, ..config },
    }
}

#[derive(Clone)]
struct Shared {
    manager: Manager,
    path: PathBuf,
    points: Points,
    each_actor: EachActor,
    /// Who of this process has the write lease, for the wait-for graph.
    writer: Arc<Mutex<Option<String>>>,
    store: Common,
}

struct Place(Shared);

impl Shared {
    /// What nobody keeps this from, since nobody has a lease.
    fn read<T>(
        &self,
        action: &str,
        read: impl FnOnce(&ReadLease) -> manager::duckdb::Result<T>,
    ) -> Result<T, DriverError> {
        let lease = self.manager.read(&self.path);
        let lease = lease.map_err(|error| DriverError::new(action, error))?;
        read(&lease).map_err(|error| DriverError::new(action, error))
    }

    fn lease(&self, mode: AccessMode) -> Result<AnyLease, Error> {
        self.manager.get_with(&self.path, mode, &self.options())
    }

    /// The manager waits itself where its waits are the scheduler's; otherwise it says at once that it would.
    fn options(&self) -> AcquireOptions {
        let wait_max = (self.points != Points::Manager).then_some(Duration::ZERO);
        AcquireOptions { wait_max, ..AcquireOptions::default() }
    }

    fn refused(&self, what: &str, error: &Error) -> Turn {
        match error {
            Error::TimedOut { .. } if self.points != Points::Manager => Turn::Blocked(Waits {
                what: what.to_owned(),
                held_by: self.writer.lock().iter().cloned().collect(),
                at_most_ns: None,
            }),
            error => Turn::Done(failed(error)),
        }
    }
}

impl World for Place {
    fn actor(&self, id: &str) -> Result<Box<dyn Actor>, DriverError> {
        let (shared, id) = (self.0.clone(), id.to_owned());
        let stores = Stores::default();
        Ok(Box::new(Leasing { shared, id, at: At::Nothing, phase: None, stores }))
    }

    fn query(&self, query: &str) -> Result<String, DriverError> {
        self.0.read(query, |lease| sql::query(lease, query))
    }

    fn contents(&self) -> Result<String, DriverError> {
        self.0.read("read all tables", |lease| sql::contents(lease))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let Shared { manager, points, each_actor, .. } = &self.0;
        let closed = manager.close_all_connections(Drain::default());
        // One that still holds something is of no more use.
        if closed.is_complete() && *points == Points::Statement {
            *IDLE.lock() = Some((*each_actor, manager.clone()));
        }
    }
}

struct Leasing {
    shared: Shared,
    id: String,
    at: At,
    phase: Option<PhaseGuard>,
    stores: Stores,
}

/// What an actor is in.
enum At {
    Nothing,
    Reading(ReadLease),
    Writing(Closure),
}

impl Actor for Leasing {
    fn step(&mut self, op: &str) -> Turn {
        let command = Command::of(op);
        match command {
            Command::BeginPhase(phase) => return self.begin_phase(phase),
            Command::EndPhase(_) => {
                self.phase = None;
                return Turn::Done(Outcome::new(Class::Ok, "").waking());
            }
            Command::Open | Command::Close => return plain::done(Class::Ok, ""),
            Command::Touch => {
                return plain::beside(&self.shared.path, command).expect("it is not a statement");
            }
            Command::Create => return self.create(),
            Command::Barge => return self.barge(),
            Command::Nest => return self.nest(),
            Command::Store(op) => return self.ask_store(op),
            _ => {}
        }
        match (std::mem::replace(&mut self.at, At::Nothing), command) {
            (At::Nothing, Command::BeginRead) => self.begin_read(),
            (At::Nothing, Command::BeginWrite) => self.begin_write(),
            (At::Nothing, Command::Sql(sql)) => self.alone(sql),
            (At::Nothing, _) => plain::done(Class::Failed, ""),
            (At::Reading(lease), Command::Sql(sql)) => {
                let outcome = sql::outcome(sql::query(&lease, sql));
                self.at = At::Reading(lease);
                Turn::Done(outcome)
            }
            (At::Reading(lease), _) => {
                drop(lease);
                Turn::Done(Outcome::new(Class::Ok, "").waking())
            }
            (At::Writing(closure), Command::Sql(sql)) => {
                let outcome = closure.run(sql);
                self.at = At::Writing(closure);
                Turn::Done(outcome)
            }
            (At::Writing(closure), command) => {
                let outcome = closure.end(command);
                *self.shared.writer.lock() = None;
                Turn::Done(outcome.waking())
            }
        }
    }
}

impl Leasing {
    fn begin_phase(&mut self, phase: Phase) -> Turn {
        let Shared { manager, path, .. } = &self.shared;
        match manager.phase_with(path, phase, &self.shared.options()) {
            Ok(guard) => {
                self.phase = Some(guard);
                plain::done(Class::Ok, "")
            }
            Err(error) => self.shared.refused(&format!("the {phase} phase"), &error),
        }
    }

    fn ask_store(&mut self, op: Stored<'_>) -> Turn {
        let Shared { manager, path, store, .. } = &self.shared;
        self.stores.step((manager, path), store, op)
    }

    fn create(&self) -> Turn {
        let Shared { manager, path, .. } = &self.shared;
        let filled = |new: &Connection| Ok(new.execute_batch(sql::FILLED)?);
        match manager.create(path.with_file_name(sql::NEW), filled) {
            Ok(_whether_it_was_there) => Turn::Done(Outcome::new(Class::Ok, "").waking()),
            Err(error) => Turn::Done(failed(&error).waking()),
        }
    }

    fn barge(&self) -> Turn {
        match plain::Instance::open(&self.shared.path) {
            Ok(_closed_at_once) => plain::done(Class::Ok, LET_IN),
            Err(error) => Turn::Done(Outcome::new(Class::Ok, &sql::outcome(Err(error)).shown)),
        }
    }

    /// What it asks for is what it has already, so that only this can be in its way.
    fn nest(&self) -> Turn {
        let Shared { manager, path, .. } = &self.shared;
        match manager.get_with(path, AccessMode::ReadWrite, &self.shared.options()) {
            Err(error @ Error::Nested { .. }) => {
                Turn::Done(Outcome::new(Class::Ok, &failed(&error).shown))
            }
            Err(error) => Turn::Done(failed(&error)),
            Ok(_given_back_at_once) => plain::done(Class::Failed, "a second lease"),
        }
    }

    fn begin_read(&mut self) -> Turn {
        match self.shared.lease(AccessMode::ReadOnly) {
            Ok(AnyLease::Read(lease)) => {
                self.at = At::Reading(lease);
                Turn::Done(Outcome::new(Class::Ok, ""))
            }
            Ok(AnyLease::Write(_)) => unreachable!("a read lease was asked for"),
            Err(error) => self.shared.refused(what(AccessMode::ReadOnly), &error),
        }
    }

    fn begin_write(&mut self) -> Turn {
        match self.shared.lease(AccessMode::ReadWrite) {
            Ok(AnyLease::Write(lease)) => {
                *self.shared.writer.lock() = Some(self.id.clone());
                self.at = At::Writing(Closure::start(lease));
                Turn::Done(Outcome::new(Class::Ok, ""))
            }
            Ok(AnyLease::Read(_)) => unreachable!("a write lease was asked for"),
            Err(error) => self.shared.refused(what(AccessMode::ReadWrite), &error),
        }
    }

    /// One statement, in a transaction and on a lease of its own.
    fn alone(&self, sql: &str) -> Turn {
        let mode = if is_query(sql) { AccessMode::ReadOnly } else { AccessMode::ReadWrite };
        match self.shared.lease(mode) {
            Ok(AnyLease::Read(lease)) => Turn::Done(sql::outcome(sql::query(&lease, sql)).waking()),
            Ok(AnyLease::Write(lease)) => {
                let done = lease.transaction(|tx| tx.query(sql, [], sql::line));
                let done = done.map(|lines| lines.concat());
                Turn::Done(
                    done.map_or_else(|error| failed(&error), |text| Outcome::new(Class::Ok, &text))
                        .waking(),
                )
            }
            Err(error) => self.shared.refused(what(mode), &error),
        }
    }
}

fn what(mode: AccessMode) -> &'static str {
    match mode {
        AccessMode::ReadOnly => "a read lease",
        AccessMode::ReadWrite => "the write lease",
    }
}

/// A running `WriteLease::transaction`: its closure waits for the next statement on a thread of its own, which runs only
/// while the actor waits for the answer.
struct Closure {
    /// `None` once there is none to come.
    statements: Option<Sender<Statement>>,
    outcomes: Receiver<Outcome>,
    thread: Option<JoinHandle<()>>,
}

enum Statement {
    Sql(String),
    Commit,
    Panic,
}

impl Closure {
    fn start(lease: WriteLease) -> Self {
        let (statements, asked) = channel();
        let (told, outcomes) = channel();
        let actor = Me::ever();
        // The actor's thread has the lease in its name and waits for this one.
        let thread = std::thread::spawn(move || {
            let _stand_in = actor.map(Me::stand_in).transpose().expect("the actor could do it");
            let ended = lease.transaction(|tx| {
                loop {
                    match asked.recv() {
                        Ok(Statement::Sql(sql)) => {
                            let done = tx.query(&sql, [], sql::line).map(|lines| lines.concat());
                            let _ = told.send(match done {
                                Ok(text) => Outcome::new(Class::Ok, &text),
                                Err(error) => failed(&error),
                            }); // who asked has gone: the next receive ends this
                        }
                        Ok(Statement::Commit) => return Ok(()),
                        Ok(Statement::Panic) => resume_unwind(Box::new("on purpose")),
                        Err(_) => return Err(Ended::RolledBack),
                    }
                }
            });
            drop(lease);
            let _ = told.send(match ended {
                Ok(()) => Outcome::new(Class::Ok, ""),
                Err(Ended::RolledBack) => Outcome::new(Class::Ok, "rolled back"),
                Err(Ended::Refused(error)) => failed(&error),
            }); // as above
        });
        Self { statements: Some(statements), outcomes, thread: Some(thread) }
    }

    fn run(&self, sql: &str) -> Outcome {
        self.send(Statement::Sql(sql.to_owned()));
        self.outcome()
    }

    fn end(mut self, command: Command<'_>) -> Outcome {
        match command {
            Command::Commit => self.send(Statement::Commit),
            Command::Panic => self.send(Statement::Panic),
            _ => {}
        }
        self.statements = None;
        match self.outcome() {
            outcome if command != Command::Panic => outcome,
            Outcome { class: Class::Panicked, .. } => Outcome::new(Class::Ok, ""),
            _ => Outcome::new(Class::Failed, "no panic"),
        }
    }

    fn send(&self, statement: Statement) {
        if let Some(statements) = &self.statements {
            let _ = statements.send(statement); // if the closure has panicked, there is no outcome either
        }
    }

    fn outcome(&self) -> Outcome {
        self.outcomes.recv().unwrap_or_else(|_| Outcome::new(Class::Panicked, ""))
    }
}

impl Drop for Closure {
    /// Rolls back what was not committed, and waits until the lease is back.
    fn drop(&mut self) {
        self.statements = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join(); // a panic in it has been printed
        }
    }
}

enum Ended {
    RolledBack,
    Refused(Error),
}

impl From<Error> for Ended {
    fn from(error: Error) -> Self {
        Self::Refused(error)
    }
}

/// The variant stands for the error: its text may name paths and times.
fn failed(error: &Error) -> Outcome {
    let class = match error {
        Error::UnknownOutcome { .. } => Class::Unknown,
        error => sql::class(error.class().unwrap_or(ErrorClass::Other)),
    };
    let text = format!("{error:?}");
    let variant = text.split(|letter: char| !letter.is_alphanumeric()).next();
    let class_name = error.class().map_or_else(String::new, |class| format!(" {class:?}"));
    Outcome::new(class, &format!("{}{class_name}", variant.unwrap_or_default()))
}
