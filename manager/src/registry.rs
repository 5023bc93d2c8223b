//! One instance per file per process (I1).
//!
//! DuckDB opens a file twice in one process without an error and then loses what one of the two commits;
//! its lock belongs to the process, so it cannot notice. This registry can: it is one for the whole
//! process and keyed by device and inode, which every path, symbolic link and hard link of a file share. It
//! learns them by stat(2) and never by opening, because closing any descriptor of the file would drop
//! DuckDB's lock (I4).

use std::collections::HashMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, LazyLock, Weak};

use crate::class::ErrorClass;
use crate::database::Database;
use crate::error::Error;
use crate::observer::Context;
use crate::seam::file_id::FileId;
use crate::seam::fork;
use crate::seam::sync::Mutex;

/// The name of a manager within this process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ManagerId(pub(crate) u64);

struct Entry {
    owner: ManagerId,
    database: Weak<Database>,
}

type Files = Mutex<HashMap<FileId, Entry>>;

/// As many forks in a row begin with a table of their own; the children of children beyond share the last one.
const EPOCHS_MAX: usize = 16;

/// The table of this process. A forked child begins with an empty one: what the parent's lists is nothing that the child
/// has open, and another thread of the parent may have been in the middle of it.
fn files() -> &'static Files {
    static FILES: [LazyLock<Files>; EPOCHS_MAX] =
        [const { LazyLock::new(Mutex::default) }; EPOCHS_MAX];
    &FILES[(fork::epoch() as usize).min(EPOCHS_MAX - 1)]
}

/// The one instance of the file at `path`, for the manager that owns it.
pub(crate) fn database(
    path: &Path,
    owner: ManagerId,
    context: &Arc<Context>,
) -> Result<(FileId, Arc<Database>), Error> {
    let (canonical, id) = identify(path)?;
    let mut files = files().lock();
    files.retain(|_, entry| entry.database.strong_count() > 0);
    if let Some(entry) = files.get(&id)
        && let Some(database) = entry.database.upgrade()
        && !has_gone(&database, id)
        && (database.path() == canonical || !faulty!(Fault::KeyedByPath))
    {
        // The name matters too: DuckDB names the write-ahead log after it, so a hard link has another one.
        if entry.owner == owner && database.path() == canonical {
            return Ok((id, database));
        }
        let (path, managed_as) = (path.into(), database.path().into());
        return Err(Error::AlreadyManaged { path, managed_as });
    }
    if let Some(gone) = files.get(&id).and_then(|entry| entry.database.upgrade()) {
        gone.let_go_if_unused(); // before another instance has the file, under its new name
    }
    let database = Arc::new(Database::new(canonical, id, Arc::clone(context)));
    files.insert(id, Entry { owner, database: Arc::downgrade(&database) });
    Ok((id, database))
}

/// Every database that a manager has used and somebody still keeps.
pub(crate) fn databases_of(owner: ManagerId) -> Vec<Arc<Database>> {
    let files = files().lock();
    let own = files.values().filter(|entry| entry.owner == owner);
    let mut databases: Vec<_> = own.filter_map(|entry| entry.database.upgrade()).collect();
    databases.sort_by(|a, b| a.path().cmp(b.path()));
    databases
}

/// Whether a database's file was moved or deleted, and its inode perhaps given to another file, while nobody
/// of this process used it. (An inode is not given anew while somebody has the old file open.)
fn has_gone(database: &Database, id: FileId) -> bool {
    let elsewhere = FileId::at(database.path()).map_or(true, |found| found != id);
    elsewhere && database.is_unused()
}

/// DuckDB takes paths as UTF-8; any other name would be turned into that of another file.
pub(crate) const NOT_UTF8: &str = "its path is not UTF-8, and DuckDB takes no other";

fn identify(path: &Path) -> Result<(PathBuf, FileId), Error> {
    let unusable =
        |class, text: &str| Error::Unusable { path: path.into(), class, text: text.into() };
    if path.to_str().is_none() {
        return Err(unusable(ErrorClass::Other, NOT_UTF8));
    }
    let found =
        fs::canonicalize(path).and_then(|canonical| Ok((fs::metadata(&canonical)?, canonical)));
    let (metadata, canonical) = match found {
        Ok(found) => found,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let text = match path.parent().filter(|parent| !parent.as_os_str().is_empty()) {
                Some(parent) if !parent.exists() => "its folder does not exist",
                _ => "there is no such file",
            };
            return Err(unusable(ErrorClass::Missing, text));
        }
        Err(error) if error.kind() == io::ErrorKind::NotADirectory => {
            return Err(unusable(
                ErrorClass::Missing,
                "a part of its path is a file, not a folder",
            ));
        }
        Err(source) => {
            return Err(Error::Io { action: "look at", path: path.into(), source });
        }
    };
    if metadata.is_dir() {
        return Err(unusable(ErrorClass::NotADatabase, "it is a folder, not a file"));
    }
    if !metadata.is_file() {
        return Err(unusable(ErrorClass::NotADatabase, "it is a device or a pipe, not a file"));
    }
    if metadata.len() == 0 {
        return Err(unusable(
            ErrorClass::NotADatabase,
            "it is empty; its creation was cut off, or it is not a database",
        ));
    }
    Ok((canonical, FileId::of(&metadata)))
}
