//! One I/O call as a value.
//!
//! # Scope of determinism
//!
//! The text of a call has neither descriptors nor process numbers nor paths outside of the scenario's folder. With
//! one DuckDB thread the same statements give the same texts, offsets and lengths included
//! (`tests/it/io.rs`).

use std::fmt;

/// What is called.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// `open` of a file that has to be there.
    Open,
    /// `open` that may create the file.
    Create,
    /// `close`
    Close,
    /// `write`
    Write,
    /// `pwrite`
    Pwrite,
    /// `fsync`
    Fsync,
    /// `fdatasync`
    Fdatasync,
    /// `fcntl` that takes a shared lock, or fails.
    LockRead,
    /// `fcntl` that takes an exclusive lock, or fails.
    LockWrite,
    /// `fcntl` that waits for a shared lock.
    AwaitRead,
    /// `fcntl` that waits for an exclusive lock.
    AwaitWrite,
    /// `fcntl` that gives a lock back.
    Unlock,
    /// `fcntl` that asks who has a lock.
    LockTest,
    /// `rename`
    Rename,
    /// `unlink`
    Unlink,
    /// `remove`
    Remove,
    /// `ftruncate`
    Truncate,
}

impl Kind {
    /// How it is written.
    pub fn name(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Create => "open create",
            Self::Close => "close",
            Self::Write => "write",
            Self::Pwrite => "pwrite",
            Self::Fsync => "fsync",
            Self::Fdatasync => "fdatasync",
            Self::LockRead => "fcntl lock-read",
            Self::LockWrite => "fcntl lock-write",
            Self::AwaitRead => "fcntl await-read",
            Self::AwaitWrite => "fcntl await-write",
            Self::Unlock => "fcntl unlock",
            Self::LockTest => "fcntl lock-test",
            Self::Rename => "rename",
            Self::Unlink => "unlink",
            Self::Remove => "remove",
            Self::Truncate => "ftruncate",
        }
    }

    /// Whether it writes bytes, and can be torn.
    pub fn writes(self) -> bool {
        matches!(self, Self::Write | Self::Pwrite)
    }
}

/// A call on a file of the scenario.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Call {
    /// What is called.
    pub kind: Kind,
    /// The file, relative to the scenario's folder; `.` is the folder itself. The number of a process in the name
    /// of a temporary file is `PID`.
    pub file: String,
    /// Of a rename: the new name, or `(elsewhere)`.
    pub to: Option<String>,
    /// Of a write: where it begins.
    pub offset: Option<u64>,
    /// Of a write, how many bytes; of a truncation, the length.
    pub length: Option<u64>,
}

impl Call {
    /// A call that has a file and nothing else.
    pub fn on(kind: Kind, file: String) -> Self {
        Self { kind, file, to: None, offset: None, length: None }
    }

    /// A write.
    pub fn writing(kind: Kind, file: String, offset: u64, length: usize) -> Self {
        let length = Some(length as u64);
        Self { kind, file, to: None, offset: Some(offset), length }
    }
}

/// `pwrite db.duckdb 16384+16384`
impl fmt::Display for Call {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.kind.name(), self.file)?;
        if let Some(to) = &self.to {
            write!(f, " to {to}")?;
        }
        match (self.offset, self.length) {
            (Some(offset), Some(length)) => write!(f, " {offset}+{length}"),
            (None, Some(length)) => write!(f, " {length}"),
            (_, None) => Ok(()),
        }
    }
}

/// How many of so many bytes a torn write does: half, in whole sectors if there are two.
pub(super) fn torn(length: usize) -> usize {
    const SECTOR: usize = 512;
    let half = length / 2;
    if half < SECTOR { half } else { half - half % SECTOR }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_is_written_without_anything_that_differs_between_runs() {
        let file = || "db.duckdb".to_owned();
        let rename = Call { to: Some("new".into()), ..Call::on(Kind::Rename, file()) };
        let truncate = Call { length: Some(0), ..Call::on(Kind::Truncate, file()) };
        let texts = [
            Call::writing(Kind::Pwrite, file(), 16_384, 4_096),
            Call::on(Kind::Fsync, file()),
            Call::on(Kind::LockWrite, file()),
            rename,
            truncate,
        ]
        .map(|call| call.to_string());
        assert_eq!(
            texts,
            [
                "pwrite db.duckdb 16384+4096",
                "fsync db.duckdb",
                "fcntl lock-write db.duckdb",
                "rename db.duckdb to new",
                "ftruncate db.duckdb 0",
            ]
        );
    }

    #[test]
    fn a_torn_write_ends_between_sectors_if_it_has_two() {
        assert_eq!(
            [0, 1, 100, 1_023, 1_024, 1_500, 4_096, 262_144].map(torn),
            [0, 0, 50, 511, 512, 512, 2_048, 131_072]
        );
    }
}
