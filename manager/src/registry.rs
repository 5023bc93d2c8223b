//! One instance per file per process (I1).
//!
//! DuckDB opens a file twice in one process without an error and then loses what one of the two commits;
//! its lock belongs to the process, so it cannot notice. This registry can: it is one for the whole
//! process and keyed by device and inode, which every path, symbolic link and hard link of a file share. It
//! learns them by stat(2) and never by opening, because closing any descriptor of the file would drop
//! DuckDB's lock (I4).

use std::collections::HashMap;
use std::fs::{self, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, LazyLock, Weak};

use parking_lot::Mutex;

use crate::class::ErrorClass;
use crate::database::Database;
use crate::error::Error;
use crate::observer::Context;

/// What makes two paths the same file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct FileId {
    device: u64,
    inode: u64,
}

impl FileId {
    fn of(metadata: &Metadata) -> Self {
        Self { device: metadata.dev(), inode: metadata.ino() }
    }
}

/// The name of a manager within this process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ManagerId(pub(crate) u64);

struct Entry {
    owner: ManagerId,
    database: Weak<Database>,
}

static FILES: LazyLock<Mutex<HashMap<FileId, Entry>>> = LazyLock::new(Mutex::default);

/// The one instance of the file at `path`, for the manager that owns it.
pub(crate) fn database(
    path: &Path,
    owner: ManagerId,
    context: &Arc<Context>,
) -> Result<Arc<Database>, Error> {
    let (canonical, id) = identify(path)?;
    let mut files = FILES.lock();
    files.retain(|_, entry| entry.database.strong_count() > 0);
    if let Some(entry) = files.get(&id)
        && let Some(database) = entry.database.upgrade()
        && !is_deleted(&database, id)
    {
        // The name matters too: DuckDB names the write-ahead log after it, so a hard link has another one.
        if entry.owner == owner && database.path() == canonical {
            return Ok(database);
        }
        // A file that was renamed, or removed and its inode given to another, is free again once it is let go of.
        if database.is_attached() || names(database.path(), id) {
            return Err(Error::AlreadyManaged {
                path: path.into(),
                managed_as: database.path().into(),
            });
        }
    }
    let database = Arc::new(Database::new(canonical, Arc::clone(context)));
    files.insert(id, Entry { owner, database: Arc::downgrade(&database) });
    Ok(database)
}

/// Every database that a manager has used and somebody still keeps.
pub(crate) fn databases_of(owner: ManagerId) -> Vec<Arc<Database>> {
    let files = FILES.lock();
    let own = files.values().filter(|entry| entry.owner == owner);
    let mut databases: Vec<_> = own.filter_map(|entry| entry.database.upgrade()).collect();
    databases.sort_by(|a, b| a.path().cmp(b.path()));
    databases
}

fn names(path: &Path, id: FileId) -> bool {
    fs::metadata(path).is_ok_and(|metadata| FileId::of(&metadata) == id)
}

/// Whether a database's file has been deleted and its inode now belongs to another file. An inode is not
/// given anew while somebody has the old file open, so the file of a database that is held was moved.
fn is_deleted(database: &Database, id: FileId) -> bool {
    let elsewhere =
        fs::metadata(database.path()).map_or(true, |metadata| FileId::of(&metadata) != id);
    elsewhere && database.is_idle()
}

fn identify(path: &Path) -> Result<(PathBuf, FileId), Error> {
    let unusable =
        |class, text: &str| Error::Unusable { path: path.into(), class, text: text.into() };
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
