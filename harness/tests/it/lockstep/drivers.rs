//! Drivers of the tests: without a database, with a clock, and with two databases that can be waited for.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use harness::lockstep::driver::{Actor, Class, Driver, DriverError, Outcome, Turn, Waits, World};
use harness::scenario::script::Script;
use manager::{AcquireOptions, AnyLease, Config, Error, Manager};
use parking_lot::Mutex;

/// Does what its operations say: `hang`, `panic`, `sleep N`, anything else succeeds.
pub(super) struct Fake;
/// The same, and `clock` gives the time.
pub(super) struct Clock;
/// Two databases, `left` and `right`, each with one write lease.
pub(super) struct TwoFiles;

impl Driver for Fake {
    fn name(&self) -> &'static str {
        "fake"
    }

    fn create(&self, _: &Script, _: &Path) -> Result<Arc<dyn World>, DriverError> {
        Ok(Arc::new(Nothing))
    }
}

impl Driver for Clock {
    fn name(&self) -> &'static str {
        "clock"
    }

    fn create(&self, _: &Script, _: &Path) -> Result<Arc<dyn World>, DriverError> {
        Ok(Arc::new(Nothing))
    }
}

struct Nothing;

impl World for Nothing {
    fn actor(&self, _: &str) -> Result<Box<dyn Actor>, DriverError> {
        Ok(Box::new(Obeying { slept: false }))
    }

    fn query(&self, _: &str) -> Result<String, DriverError> {
        Ok("0".into())
    }

    fn contents(&self) -> Result<String, DriverError> {
        Ok(String::new())
    }
}

struct Obeying {
    slept: bool,
}

impl Actor for Obeying {
    fn step(&mut self, op: &str) -> Turn {
        match op {
            "hang" => loop {
                std::thread::sleep(Duration::from_hours(1));
            },
            "panic" => panic!("as asked for"),
            "clock" => Turn::Done(Outcome::new(Class::Ok, &format!("{:?}", SystemTime::now()))),
            sleep if sleep.starts_with("sleep ") && !self.slept => {
                self.slept = true;
                let at_most_ns = sleep["sleep ".len()..].parse().ok();
                Turn::Blocked(Waits { what: "time".into(), held_by: Vec::new(), at_most_ns })
            }
            _ => Turn::Done(Outcome::new(Class::Ok, op)),
        }
    }
}

impl Driver for TwoFiles {
    fn name(&self) -> &'static str {
        "two-files"
    }

    fn create(&self, _: &Script, folder: &Path) -> Result<Arc<dyn World>, DriverError> {
        let manager = Manager::new(Config::default());
        let manager = manager.map_err(|error| DriverError::new("make a manager", error))?;
        let holders = Arc::default();
        Ok(Arc::new(Pair { manager, folder: folder.to_owned(), holders }))
    }
}

type Holders = Arc<Mutex<Vec<(String, String)>>>;

struct Pair {
    manager: Manager,
    folder: PathBuf,
    /// File and actor.
    holders: Holders,
}

impl World for Pair {
    fn actor(&self, id: &str) -> Result<Box<dyn Actor>, DriverError> {
        Ok(Box::new(Taking {
            manager: self.manager.clone(),
            folder: self.folder.clone(),
            holders: Arc::clone(&self.holders),
            id: id.to_owned(),
            leases: Vec::new(),
        }))
    }

    fn query(&self, _: &str) -> Result<String, DriverError> {
        Ok("0".into())
    }

    fn contents(&self) -> Result<String, DriverError> {
        Ok(String::new())
    }
}

struct Taking {
    manager: Manager,
    folder: PathBuf,
    holders: Holders,
    id: String,
    leases: Vec<AnyLease>,
}

impl Actor for Taking {
    fn step(&mut self, op: &str) -> Turn {
        let Some(file) = op.strip_prefix("take ") else {
            self.leases.clear();
            self.holders.lock().retain(|(_, holder)| *holder != self.id);
            return Turn::Done(Outcome::new(Class::Ok, "").waking());
        };
        let at_once =
            AcquireOptions { wait_max: Some(Duration::ZERO), ..AcquireOptions::default() };
        let path = self.folder.join(format!("{file}.duckdb"));
        match self.manager.get_with(path, manager::AccessMode::ReadWrite, &at_once) {
            Ok(lease) => {
                self.leases.push(lease);
                self.holders.lock().push((file.to_owned(), self.id.clone()));
                Turn::Done(Outcome::new(Class::Ok, ""))
            }
            Err(Error::TimedOut { .. }) => {
                let holders = self.holders.lock();
                let held_by = holders.iter().filter(|(held, _)| held == file);
                Turn::Blocked(Waits {
                    what: format!("the write lease of {file}"),
                    held_by: held_by.map(|(_, holder)| holder.clone()).collect(),
                    at_most_ns: None,
                })
            }
            Err(error) => panic!("{error}"),
        }
    }
}
