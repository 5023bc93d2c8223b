//! Where the database files of schedules lie: in memory if there is such a file system, since a schedule says nothing
//! about what a disk keeps.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

/// What the names of all such folders begin with; the process number follows.
const PREFIX: &str = "flockgate-lockstep-";

/// A folder of this process that is emptied between two schedules and removed at the end.
pub(super) struct Workplace {
    folder: PathBuf,
}

impl Workplace {
    pub(super) fn new() -> io::Result<Self> {
        static COUNTER: AtomicU64 = AtomicU64::new(0);
        // Relaxed: only the numbers must differ.
        let number = COUNTER.fetch_add(1, Ordering::Relaxed);
        remove_orphans(&Self::parent());
        let name = format!("{PREFIX}{}-{number}", std::process::id());
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

    /// A file that stays when the folder is emptied.
    pub(super) fn beside(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }
}

impl Drop for Workplace {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.folder); // what is left lies in memory or in a temporary folder
    }
}

/// Removes what processes that were killed have left behind: it lies in memory.
fn remove_orphans(parent: &Path) {
    for entry in fs::read_dir(parent).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let rest = name.to_str().and_then(|name| name.strip_prefix(PREFIX));
        let process =
            rest.and_then(|rest| rest.split('-').next()).and_then(|pid| pid.parse::<u32>().ok());
        if process.is_some_and(|pid| !Path::new(&format!("/proc/{pid}")).exists()) {
            let _ = fs::remove_dir_all(entry.path()); // another process may be at it too
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_killed_process_left_is_removed_and_what_a_living_one_has_is_not() {
        // No process has a number that large (proc(5), pid_max).
        let dead = Workplace::parent().join(format!("{PREFIX}{}-0", u32::MAX));
        fs::create_dir_all(&dead).unwrap();
        let (one, other) = (Workplace::new().unwrap(), Workplace::new().unwrap());
        assert!(!dead.exists());
        let schedule = one.fresh().unwrap();
        assert!(schedule.is_dir() && other.folder.is_dir());
        let folder = one.folder.clone();
        drop(one);
        assert!(!folder.exists() && other.folder.is_dir());
    }
}
