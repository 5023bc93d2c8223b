//! Making a database so that it is there wholly or not at all.
//!
//! DuckDB creates a file in several steps and without a lock: two creators overwrite each other, and one that
//! is killed leaves a file that can never be opened again. Here the database is made under another name in the
//! same folder, while the gate keeps every other creator out:
//!
//! 1. take the gate for writing; if the database is there by now, somebody else made it, and that is that;
//! 2. remove what a killed creator left (nobody else can be creating);
//! 3. create `.<name>.<pid>.new`, fill it, checkpoint, close;
//! 4. fsync it, rename it to `<name>` unless that exists, fsync the folder.
//!
//! A kill before the rename leaves only files that step 2 removes; after it, the whole database. If the folder cannot be
//! synced, the outcome is unknown: the database is there, and a loss of power may take it.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use duckdb::Connection;
use rustix::fs::{CWD, RenameFlags};

use crate::class::ErrorClass;
use crate::config::{AccessMode, Config};
use crate::engine;
use crate::error::{Error, Wanted};
use crate::gate::hold::Hold;
use crate::gate::phase::WritePermission;
use crate::registry::NOT_UTF8;
use crate::seam::patience::Cancel;
use crate::seam::{lockstep, process};
use crate::wait::Wait;

/// Creates the database at `path` and fills it, unless it exists. Returns whether it did.
pub(crate) fn create<E: From<Error>>(
    path: &Path,
    config: &Config,
    wait_max: Duration,
    cancel: Option<Cancel>,
    fill: impl FnOnce(&Connection) -> Result<(), E>,
) -> Result<bool, E> {
    if path.exists() {
        return Ok(false);
    }
    let place = Place::of(path)?;
    let wait = Wait::new(path, Wanted::Creation, wait_max, cancel);
    let _hold = Hold::take(
        &place.database,
        AccessMode::ReadWrite,
        &config.label,
        WritePermission::Granted,
        wait.patience(),
    )
    .map_err(|refusal| wait.error(refusal, Vec::new()))?;
    if place.database.exists() {
        return Ok(false);
    }
    if faulty!(Fault::CreatedInPlace) {
        engine::create_file(&place.database, config, fill)?;
        return Ok(true);
    }
    place.remove_leftovers()?;
    let leftovers = Leftovers(&place);
    lockstep::point("create");
    engine::create_file(&place.temporary, config, fill)?;
    lockstep::point("created");
    place.publish()?;
    drop(leftovers);
    Ok(true)
}

/// The names that a creation uses, all in one folder.
struct Place {
    folder: PathBuf,
    database: PathBuf,
    temporary: PathBuf,
    /// What the names of all creators of this database begin with.
    prefix: OsString,
}

impl Place {
    fn of(path: &Path) -> Result<Self, Error> {
        let unusable = |text: &str| Error::Unusable {
            path: path.into(),
            class: ErrorClass::Missing,
            text: text.into(),
        };
        let name =
            path.file_name().ok_or_else(|| unusable("the path does not end in a file name"))?;
        if path.to_str().is_none() {
            return Err(unusable(NOT_UTF8));
        }
        let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
        let folder = fs::canonicalize(parent.unwrap_or(Path::new("."))).map_err(|source| {
            match source.kind() {
                io::ErrorKind::NotFound => unusable("its folder does not exist"),
                _ => Error::Io { action: "look at the folder of", path: path.into(), source },
            }
        })?;
        let mut prefix = OsString::from(".");
        prefix.push(name);
        prefix.push(".");
        let mut temporary = prefix.clone();
        temporary.push(format!("{}.new", process::id()));
        Ok(Self { database: folder.join(name), temporary: folder.join(temporary), folder, prefix })
    }

    fn remove_leftovers(&self) -> Result<(), Error> {
        let failed = |source| Error::Io { action: "look into", path: self.folder.clone(), source };
        for entry in fs::read_dir(&self.folder).map_err(failed)? {
            let entry = entry.map_err(failed)?;
            if self.is_leftover(entry.file_name().as_encoded_bytes()) {
                fs::remove_file(entry.path()).map_err(|source| Error::Io {
                    action: "remove the leftover",
                    path: entry.path(),
                    source,
                })?;
            }
        }
        Ok(())
    }

    /// Whether a file's name is one that a creator of this database uses: `.<name>.<pid>.new`, or its log.
    fn is_leftover(&self, name: &[u8]) -> bool {
        let name = name.strip_suffix(b".wal").unwrap_or(name);
        let pid = name
            .strip_prefix(self.prefix.as_encoded_bytes())
            .and_then(|rest| rest.strip_suffix(b".new"));
        pid.is_some_and(|pid| !pid.is_empty() && pid.iter().all(u8::is_ascii_digit))
    }

    fn publish(&self) -> Result<(), Error> {
        let failed =
            |action| move |source| Error::Io { action, path: self.temporary.clone(), source };
        // DuckDB has closed the file, so no lock of its own is lost by opening and closing it here.
        File::open(&self.temporary).and_then(|file| file.sync_all()).map_err(failed("fsync"))?;
        lockstep::point("name the new file");
        match rustix::fs::renameat_with(
            CWD,
            &self.temporary,
            CWD,
            &self.database,
            RenameFlags::NOREPLACE,
        ) {
            Ok(()) => {}
            // Not every file system knows NOREPLACE. The gate keeps everybody out who takes it.
            Err(rustix::io::Errno::INVAL | rustix::io::Errno::NOSYS) => {
                fs::rename(&self.temporary, &self.database).map_err(failed("rename"))?;
            }
            Err(error) => return Err(failed("rename")(error.into())),
        }
        let synced = File::open(&self.folder).and_then(|folder| folder.sync_all());
        // It has its name, so to say that it was not made would be wrong.
        synced.map_err(|error| Error::UnknownOutcome {
            path: self.database.clone(),
            text: format!("it was created, and its folder could not be synced: {error}"),
        })
    }
}

/// Removes what an unfinished creation has made so far. After a finished one there is nothing to remove.
struct Leftovers<'a>(&'a Place);

impl Drop for Leftovers<'_> {
    fn drop(&mut self) {
        // The next creator removes what cannot be removed now.
        let _ = fs::remove_file(&self.0.temporary);
        let _ = fs::remove_file(self.0.temporary.with_added_extension("wal"));
    }
}
