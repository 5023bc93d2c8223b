//! What makes two paths the same file, and whether this process has it locked.

use std::fs::{self, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use super::process;

/// Device and inode: every path, symbolic link and hard link of a file share them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct FileId {
    device: u64,
    inode: u64,
}

impl FileId {
    pub(crate) fn of(metadata: &Metadata) -> Self {
        Self { device: metadata.dev(), inode: metadata.ino() }
    }

    /// The file that is at `path` now. Looks, and never opens: closing any descriptor of a database would drop
    /// DuckDB's lock on it.
    pub(crate) fn at(path: &Path) -> io::Result<Self> {
        fs::metadata(path).map(|metadata| Self::of(&metadata))
    }

    /// Whether this process has a POSIX lock on the file, as DuckDB takes them (proc(5), `/proc/locks`).
    pub(crate) fn is_locked_by_this_process(self) -> io::Result<bool> {
        let (major, minor) = (rustix::fs::major(self.device), rustix::fs::minor(self.device));
        let file = format!("{major:02x}:{minor:02x}:{}", self.inode);
        let pid = process::id().to_string();
        // 1: POSIX  ADVISORY  WRITE 4711 fe:00:393229 0 EOF
        Ok(fs::read_to_string("/proc/locks")?.lines().any(|line| {
            let words: Vec<&str> = line.split_whitespace().collect();
            words.get(1) == Some(&"POSIX")
                && words.get(4) == Some(&&*pid)
                && words.get(5) == Some(&&*file)
        }))
    }
}
