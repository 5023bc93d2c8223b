//! Files that are being written: `tmp/<32 hex>.<pid>.<n>`, each locked by its writer until it has its real name.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use super::Folder;
use crate::gate::file::share;
use crate::seam::file_lock::{self, Share};
use crate::seam::{process, writeback};
use crate::store::{crash, hex};

/// The byte that the writer of a temporary file has locked.
const WRITER: i64 = 0;

/// A file that is being written. Dropped before it is renamed, it is removed.
#[derive(Debug)]
pub(super) struct Temp {
    path: PathBuf,
    file: File,
    /// Its path may be unlinked: it has no other name, and no sweeper has it.
    is_mine: bool,
}

impl Temp {
    /// Makes an empty one and locks it.
    pub(super) fn make(folder: &Folder, name: &str) -> io::Result<Self> {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        loop {
            let number = NEXT.fetch_add(1, Ordering::Relaxed);
            let path = folder.tmp().join(format!("{name}.{}.{number}", process::id()));
            let file = match new_file(&path, folder) {
                // Left by a dead process that had this pid, or written by one of another pid namespace.
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => continue,
                made => made?,
            };
            crash::point("put.temp-made");
            let mut temp = Self { path, file, is_mine: false };
            // A sweeper may have found it before it was locked: then it has the lock, or has unlinked the file.
            if file_lock::try_lock(&temp.file, WRITER, Share::Exclusive)?
                && temp.is_at_its_path()?
            {
                crash::point("put.temp-locked");
                temp.is_mine = true;
                return Ok(temp);
            }
        }
    }

    fn is_at_its_path(&self) -> io::Result<bool> {
        is_at(&self.file, &self.path)
    }

    pub(super) fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.file.write_all(bytes)?;
        crash::point("put.temp-written");
        Ok(())
    }

    pub(super) fn begin_writeback(&self) {
        writeback::begin(&self.file);
        crash::point("put.writeback-begun");
    }

    pub(super) fn sync(&self) -> io::Result<()> {
        if !faulty!(Fault::ArtefactNotSynced) {
            self.file.sync_all()?;
        }
        crash::point("put.synced");
        Ok(())
    }

    /// Gives it its real name, in place of whatever has that name.
    pub(super) fn rename(mut self, to: &Path) -> io::Result<()> {
        fs::rename(&self.path, to)?;
        self.is_mine = false;
        crash::point("put.renamed");
        Ok(())
    }
}

impl Drop for Temp {
    fn drop(&mut self) {
        if self.is_mine {
            let _ = fs::remove_file(&self.path); // what stays is swept
        }
        // Closing would do, unless a forked child has the descriptor too. It cannot fail on a good one.
        let _ = file_lock::unlock_all(&self.file);
    }
}

/// Makes a file that everybody may use who may use the database.
fn new_file(path: &Path, folder: &Folder) -> io::Result<File> {
    let database = fs::metadata(folder.database()).ok();
    let mode = database.as_ref().map_or(0o666, |database| database.mode() & 0o666);
    let file = OpenOptions::new().read(true).write(true).create_new(true).mode(mode).open(path)?;
    if let Some(database) = database {
        share(&file, &database)?;
    }
    Ok(file)
}

/// Whether the path names this very file.
pub(crate) fn is_at(file: &File, path: &Path) -> io::Result<bool> {
    let here = file.metadata()?;
    match fs::symlink_metadata(path) {
        Ok(there) => Ok((here.dev(), here.ino()) == (there.dev(), there.ino())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

/// What a sweep of temporary files removed, or would have.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Swept {
    pub(crate) count: u64,
    pub(crate) bytes: u64,
}

impl Folder {
    /// Removes every temporary file whose writer is dead; with `dry` only counts them.
    pub(crate) fn sweep_temps(&self, dry: bool) -> io::Result<Swept> {
        let mut swept = Swept::default();
        for entry in super::entries(&self.tmp())? {
            if let Some(bytes) = sweep(&entry, dry)? {
                swept.count += 1;
                swept.bytes += bytes;
            }
        }
        Ok(swept)
    }
}

/// Removes one temporary file unless it is somebody's. Returns its length if it was nobody's.
fn sweep(path: &Path, dry: bool) -> io::Result<Option<u64>> {
    if !is_temp(path) {
        return Ok(None);
    }
    let mut options = OpenOptions::new();
    let file = match options.read(true).write(true).custom_flags(libc::O_NOFOLLOW).open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None), // just renamed
        opened => opened?,
    };
    let bytes = file.metadata()?.len();
    if dry {
        return Ok(file_lock::held_by_other(&file, WRITER)?.is_none().then_some(bytes));
    }
    // Its path may name another file by now, or none: whoever unlinks or renames it has this lock.
    if !file_lock::try_lock(&file, WRITER, Share::Exclusive)? || !is_at(&file, path)? {
        return Ok(None);
    }
    crash::point("sweep.locked");
    match fs::remove_file(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None), // by hand
        removed => removed?,
    }
    crash::point("sweep.unlinked");
    Ok(Some(bytes))
}

/// Whether a file has the name of a temporary one.
fn is_temp(path: &Path) -> bool {
    let Some(name) = path.file_name().and_then(|name| name.to_str()) else { return false };
    let mut parts = name.split('.');
    let is_named = parts.next().is_some_and(|name| hex::parse(name).is_some());
    let is_number = |part: Option<&str>| part.is_some_and(|part| part.parse::<u64>().is_ok());
    is_named && is_number(parts.next()) && is_number(parts.next()) && parts.next().is_none()
}
