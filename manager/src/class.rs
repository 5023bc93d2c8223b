//! What an error of DuckDB means, told by its text.
//!
//! The C API gives no error code that tells a conflict from a corrupt file, and the Rust crate drops the
//! class it has, so the text is all there is. The parts matched here were observed on DuckDB 1.5.5; whole
//! sentences are never matched, since other versions quote and link differently.

// Without the engine there are no errors of DuckDB to tell apart.
#![cfg_attr(not(feature = "engine"), allow(dead_code))]

use serde::{Deserialize, Serialize};

/// The kinds of errors that call for different answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum ErrorClass {
    /// Another process holds the file's lock. Waiting helps.
    FileLocked,
    /// Two transactions touched the same thing. Running the whole transaction again helps.
    Conflict,
    /// A constraint refused a row. Nothing was stored.
    Constraint,
    /// A statement came after one that had failed in the same transaction.
    TransactionAborted,
    /// A write on something that was opened to be read.
    ReadOnly,
    /// There is no such file.
    Missing,
    /// It is not a DuckDB database, or was cut off while it was created.
    NotADatabase,
    /// Its bytes are damaged.
    Corrupt,
    /// It was written by a version of DuckDB that this one cannot read.
    OtherVersion,
    /// The file's permissions forbid it.
    PermissionDenied,
    /// No space is left on the device.
    DiskFull,
    /// The file system has no locks.
    LocksUnsupported,
    /// A connection that was cloned from a lease outlived it, and keeps the file.
    StillOpen,
    /// The instance is dead: every connection to it has to be dropped.
    Fatal,
    /// The query was interrupted.
    Interrupted,
    /// DuckDB ran out of the memory it may use.
    OutOfMemory,
    /// Anything else, an error of the statement itself for the most part.
    Other,
}

/// The parts of texts that tell, in the order in which they are looked for: a fatal error quotes what
/// caused it, and a lock error on a file system without locks begins like any other.
const PARTS: &[(&str, ErrorClass)] = &[
    ("FATAL Error", ErrorClass::Fatal),
    ("INTERNAL Error", ErrorClass::Fatal),
    // The instance, or only the one database in it: `Database "x" has been invalidated because checkpointing failed`.
    ("has been invalidated", ErrorClass::Fatal),
    ("File locks are not supported", ErrorClass::LocksUnsupported),
    ("No locks available", ErrorClass::LocksUnsupported),
    ("Could not set lock on file", ErrorClass::FileLocked),
    ("No space left on device", ErrorClass::DiskFull),
    ("Current transaction is aborted", ErrorClass::TransactionAborted),
    ("Conflict on update", ErrorClass::Conflict),
    ("Conflict on tuple deletion", ErrorClass::Conflict),
    ("Transaction conflict", ErrorClass::Conflict),
    ("write-write conflict", ErrorClass::Conflict),
    ("another transaction has altered this table", ErrorClass::Conflict),
    ("Failed to commit: PRIMARY KEY or UNIQUE", ErrorClass::Conflict),
    ("Constraint Error", ErrorClass::Constraint),
    ("read-only mode: database does not exist", ErrorClass::Missing),
    ("attached in read-only mode", ErrorClass::ReadOnly),
    ("transaction is launched in read-only mode", ErrorClass::ReadOnly),
    ("not a valid DuckDB database file", ErrorClass::NotADatabase),
    ("Could not read enough bytes", ErrorClass::Corrupt),
    ("Corrupt", ErrorClass::Corrupt),
    ("computed checksum", ErrorClass::Corrupt),
    ("Failure while replaying WAL", ErrorClass::Corrupt),
    ("with version number", ErrorClass::OtherVersion),
    ("Permission denied", ErrorClass::PermissionDenied),
    ("No such file or directory", ErrorClass::Missing),
    ("INTERRUPT Error", ErrorClass::Interrupted),
    ("Out of Memory Error", ErrorClass::OutOfMemory),
];

impl ErrorClass {
    /// The class of an error with this text.
    ///
    /// # Example
    ///
    /// ```
    /// use manager::ErrorClass;
    ///
    /// let text = "IO Error: Could not set lock on file \"x.db\": Conflicting lock is held in python (PID 7)";
    /// assert_eq!(ErrorClass::of(text), ErrorClass::FileLocked);
    /// assert_eq!(ErrorClass::of("Parser Error: syntax error"), ErrorClass::Other);
    /// ```
    pub fn of(text: &str) -> Self {
        PARTS.iter().find(|(part, _)| text.contains(part)).map_or(Self::Other, |&(_, class)| class)
    }

    /// Whether the same call can succeed later without anybody mending anything.
    pub fn is_transient(self) -> bool {
        matches!(self, Self::FileLocked | Self::Conflict)
    }

    /// What a person can do about it.
    pub(crate) fn remedy(self) -> &'static str {
        match self {
            Self::FileLocked => "close the program that holds it, or wait longer",
            Self::Conflict => "run the whole transaction again",
            Self::Constraint => "mend the row; it was not stored",
            Self::TransactionAborted => {
                "look at the statement that failed first; nothing was stored"
            }
            Self::ReadOnly => "take a write lease to write",
            Self::Missing => "check the path, or create the database first",
            Self::NotADatabase => "move the file away, or restore it from a backup",
            Self::Corrupt => "restore the file from a backup; nothing was changed here",
            Self::OtherVersion => "open it with the version of DuckDB that wrote it",
            Self::PermissionDenied => "change the permissions, or run as its owner",
            Self::DiskFull => "free some space; what was acknowledged before is safe",
            Self::LocksUnsupported => "move the database to a file system that has locks",
            Self::StillOpen => "drop such connections before their lease",
            Self::Fatal => "drop every lease of this database; it is opened anew for the next one",
            Self::Interrupted => "run it again if it is still wanted",
            Self::OutOfMemory => "lower the query's needs, or raise `duckdb_memory_max_bytes`",
            Self::Other => "mend the statement",
        }
    }
}

/// The process that a lock error names, as far as it names one. A pid of 0 or -1 stands for a process
/// that DuckDB could not identify; the command in the text is not used, as it is unreliable while that
/// process starts or ends.
pub(crate) fn lock_holder(text: &str) -> Option<u32> {
    let after = text.split("PID ").nth(1)?;
    let digits = after.split(|character: char| !character.is_ascii_digit()).next()?;
    digits.parse().ok().filter(|&pid| pid != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Texts observed on DuckDB 1.5.5, paths shortened.
    const OBSERVED: &[(&str, ErrorClass)] = &[
        (
            "IO Error: Could not set lock on file \"x.db\": Conflicting lock is held in /usr/bin/python3.11 \
             (PID 15750). However, you would be able to open this database in read-only mode, e.g. by using the \
             -readonly parameter in the CLI. See also https://duckdb.org/docs/stable/connect/concurrency",
            ErrorClass::FileLocked,
        ),
        (
            "IO Error: Could not set lock on file \"x.db\": File locks are not supported for this file system",
            ErrorClass::LocksUnsupported,
        ),
        ("TransactionContext Error: Conflict on update!", ErrorClass::Conflict),
        (
            "TransactionContext Error: Catalog write-write conflict on create with \"Schema\\0main\"",
            ErrorClass::Conflict,
        ),
        (
            "Constraint Error: Duplicate key \"k: 1\" violates primary key constraint.",
            ErrorClass::Constraint,
        ),
        (
            "TransactionContext Error: Current transaction is aborted (please ROLLBACK)",
            ErrorClass::TransactionAborted,
        ),
        (
            "Invalid Input Error: Cannot execute statement of type \"INSERT\" on database \"a\" which is attached \
             in read-only mode!",
            ErrorClass::ReadOnly,
        ),
        (
            "IO Error: Cannot open database \"x.db\" in read-only mode: database does not exist",
            ErrorClass::Missing,
        ),
        (
            "IO Error: The file \"x.db\" exists, but it is not a valid DuckDB database file!",
            ErrorClass::NotADatabase,
        ),
        (
            "IO Error: Could not read enough bytes from file \"x.db\": attempted to read 4096 bytes from location 4096",
            ErrorClass::Corrupt,
        ),
        (
            "Failure while replaying WAL file \"x.db.wal\": Corrupt WAL file: entry at byte position 1",
            ErrorClass::Corrupt,
        ),
        (
            "Trying to read a database file with version number 999, but we can only read versions between 64 and 68",
            ErrorClass::OtherVersion,
        ),
        ("IO Error: Cannot open file \"x.db\": Permission denied", ErrorClass::PermissionDenied),
        (
            "TransactionContext Error: Failed to commit: Could not write file \"x.db.wal\": No space left on device",
            ErrorClass::DiskFull,
        ),
        (
            "FATAL Error: Failed: database has been invalidated because of a previous fatal error. Original error: \
             \"Conflict on update!\"",
            ErrorClass::Fatal,
        ),
        (
            "IO Error: Database \"x\" has been invalidated because checkpointing failed. Detach and reattach it before \
             using it again. Original error: fsync failed!",
            ErrorClass::Fatal,
        ),
        ("INTERRUPT Error: Interrupted!", ErrorClass::Interrupted),
        ("Catalog Error: Table with name locked_block does not exist!", ErrorClass::Other),
    ];

    #[test]
    fn every_observed_text_has_its_class() {
        for (text, class) in OBSERVED {
            assert_eq!(ErrorClass::of(text), *class, "{text}");
        }
    }

    #[test]
    fn a_lock_error_names_its_holder_unless_duckdb_did_not_know_it() {
        let (named, _) = OBSERVED[0];
        assert_eq!(lock_holder(named), Some(15750));
        assert_eq!(lock_holder("Conflicting lock is held in PID 0. See also"), None);
        assert_eq!(lock_holder("Conflicting lock is held in PID -1. See also"), None);
        assert_eq!(lock_holder("File locks are not supported for this file system"), None);
    }
}
