//! Looks at what is stored: through the manager, as anybody would, and compares it with what was said.

use std::collections::HashSet;
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use manager::duckdb::Connection;
use manager::{Config, Error, ErrorClass, Manager};

use super::check::Stored;
use super::history::Key;
use super::schema;

/// One look at the database.
pub(crate) struct Look {
    pub(crate) stored: Stored,
    /// How long its lease was waited for.
    pub(crate) waited: Duration,
}

pub(crate) struct Judge {
    folder: PathBuf,
    wait_max: Duration,
}

impl Judge {
    pub(crate) fn new(folder: &Path, wait_max: Duration) -> Self {
        Self { folder: folder.into(), wait_max }
    }

    /// A manager for one look, so that no look is helped by an earlier one.
    fn manager(&self) -> Result<Manager, Error> {
        Manager::new(Config {
            label: "judge".into(),
            wait_max: self.wait_max,
            duckdb_threads: Some(1),
            ..Config::default()
        })
    }

    pub(crate) fn make_database(&self, slots: usize) -> Result<(), Error> {
        let path = schema::database(&self.folder);
        self.manager()?.create(path, |new| schema::make(new, slots)).map(drop)
    }

    pub(crate) fn look(&self) -> Result<Look, Error> {
        let begin = Instant::now();
        let manager = self.manager()?;
        let lease = manager.read(schema::database(&self.folder))?;
        let waited = begin.elapsed();
        Ok(Look { stored: schema::stored(&lease)?, waited })
    }

    /// Writes as anybody would, when nobody else is there any more.
    pub(crate) fn can_write(&self) -> Result<(), Error> {
        let path = schema::database(&self.folder);
        self.manager()?.transaction(path, |tx| tx.execute("CREATE TABLE last (a INTEGER)", []))?;
        Ok(())
    }

    /// Canary: takes an acknowledged transaction away.
    pub(crate) fn drop_transaction(&self, key: Key) -> Result<(), Error> {
        let lease = self.manager()?;
        let lease = lease.write(schema::database(&self.folder))?;
        Ok(schema::remove(&lease, key)?)
    }

    /// Canary: adds a row without its count. Tries again while an evaluation keeps it from writing.
    pub(crate) fn tear(&self) -> Result<(), Error> {
        let manager = self.manager()?;
        let deadline = Instant::now() + self.wait_max;
        loop {
            match manager.write(schema::database(&self.folder)) {
                Ok(lease) => return Ok(schema::tear(&lease)?),
                Err(Error::EvaluationIsOn { .. }) if Instant::now() < deadline => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// Canary: holds the file as a program does that does not know the gate.
    pub(crate) fn hold_outside(&self) -> Result<Connection, Error> {
        let deadline = Instant::now() + self.wait_max;
        loop {
            match Connection::open(schema::database(&self.folder)).map_err(Error::from) {
                Err(error) if error.class() == Some(ErrorClass::FileLocked) => {
                    if Instant::now() > deadline {
                        return Err(error);
                    }
                }
                opened => return opened,
            }
        }
    }

    /// Looks at a second database that nobody creates any more, and removes it. Returns what is wrong with it.
    pub(crate) fn judge_creation(
        &self,
        number: u64,
        was_made: bool,
    ) -> Result<Option<String>, Error> {
        let path = schema::creation(&self.folder, number);
        let manager = self.manager()?;
        let was_missing = manager.create(&path, |new| schema::fill(new, Duration::ZERO))?;
        let rows = schema::count_filled(&*manager.read(&path)?)?;
        drop(manager);
        let name = format!("database {number}");
        let leftovers = self.leftovers(&path)?;
        self.remove(&path)?;
        Ok(if was_made && was_missing {
            Some(format!("{name} was made and is gone"))
        } else if rows != schema::ROWS_FILLED {
            Some(format!("{name} has {rows} of {} rows", schema::ROWS_FILLED))
        } else if !leftovers.is_empty() && was_missing {
            Some(format!("beside {name}, which was just made, there is {leftovers:?}"))
        } else {
            None
        })
    }

    /// What stands in the folder under names that creators of a database use.
    fn leftovers(&self, path: &Path) -> Result<HashSet<OsString>, Error> {
        let mut prefix = OsString::from(".");
        prefix.push(path.file_name().unwrap_or_default());
        let names = fs::read_dir(&self.folder).and_then(|entries| {
            entries.map(|entry| entry.map(|entry| entry.file_name())).collect::<Result<Vec<_>, _>>()
        });
        let names = names.map_err(|source| Error::Io {
            action: "look into",
            path: self.folder.clone(),
            source,
        })?;
        let prefix = prefix.as_encoded_bytes();
        Ok(names.into_iter().filter(|name| name.as_encoded_bytes().starts_with(prefix)).collect())
    }

    fn remove(&self, path: &Path) -> Result<(), Error> {
        let leftovers = self.leftovers(path)?;
        let mut paths: Vec<_> = leftovers.iter().map(|name| self.folder.join(name)).collect();
        paths.push(manager::gate_path(path));
        paths.push(path.into());
        paths.into_iter().try_for_each(|path| {
            fs::remove_file(&path).map_err(|source| Error::Io { action: "remove", path, source })
        })
    }
}
