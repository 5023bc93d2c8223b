//! Where the database files of schedules lie: in memory if there is such a file system, since a schedule says nothing
//! about what a disk keeps.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

/// A folder of this process that is emptied between two schedules and removed at the end.
pub(super) struct Workplace {
    folder: PathBuf,
}

impl Workplace {
    pub(super) fn new() -> io::Result<Self> {
        static COUNTER: AtomicU64 = AtomicU64::new(0);
        // Relaxed: only the numbers must differ.
        let number = COUNTER.fetch_add(1, Ordering::Relaxed);
        let name = format!("flockgate-lockstep-{}-{number}", std::process::id());
        let folder = Self::parent().join(&name);
        fs::create_dir(&folder)?;
        Ok(Self { folder })
    }

    /// Where such folders are made.
    pub(super) fn parent() -> PathBuf {
        let memory = Path::new("/dev/shm");
        // Not on every system is it there, and not everybody may write to it.
        let usable = rustix::fs::access(memory, rustix::fs::Access::WRITE_OK).is_ok();
        if usable { memory.to_owned() } else { std::env::temp_dir() }
    }

    /// An empty folder, always of the same name.
    pub(super) fn fresh(&self) -> io::Result<PathBuf> {
        let fresh = self.folder.join("schedule");
        match fs::remove_dir_all(&fresh) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => fs::create_dir(&fresh)?,
        }
        Ok(fresh)
    }
}

impl Drop for Workplace {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.folder); // what is left lies in memory or in a temporary folder
    }
}
