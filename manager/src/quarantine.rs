//! Databases that cannot be opened: left alone, with the evidence beside them.
//!
//! A damaged file does not get better by being opened again and again, and an opening that replays a part of a damaged log
//! can make it worse. So the first manager that finds one writes down what it found, in `<database>.quarantine.json`,
//! and from then on nobody that uses the gate opens it. Nothing else is written, moved or removed: the file and its log
//! stay as they were found.
//!
//! # Layout of `<database>.quarantine.json`
//!
//! One JSON object:
//!
//! | field | content |
//! |---|---|
//! | `text` | DuckDB's words |
//! | `class` | an [`ErrorClass`](crate::ErrorClass), in snake case |
//! | `found_unix_ms` | when it was found, in milliseconds after 1970 |
//! | `pid`, `command` | by whom |
//! | `database`, `log` | of the file and of its write-ahead log, `null` if there is none: `inode`, `bytes`, `modified_ns` (after 1970) |
//!
//! It ends by itself as soon as the file or its log is another one, or has another length or time of change: somebody
//! has mended it. The evidence is then kept as `<database>.quarantine-<found_unix_ms>.json`.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::class::ErrorClass;
use crate::error::Error;
use crate::seam::{clock, process};

#[derive(Debug, Serialize, Deserialize)]
struct Evidence {
    text: String,
    class: ErrorClass,
    found_unix_ms: u64,
    pid: u32,
    command: String,
    database: Option<Seen>,
    log: Option<Seen>,
}

#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Seen {
    inode: u64,
    bytes: u64,
    modified_ns: i64,
}

impl Seen {
    fn at(path: &Path) -> Option<Self> {
        let metadata = fs::metadata(path).ok()?;
        let modified_ns = metadata.mtime() * 1_000_000_000 + metadata.mtime_nsec();
        Some(Self { inode: metadata.ino(), bytes: metadata.len(), modified_ns })
    }
}

/// The file that says why a database is in quarantine.
pub(crate) fn path_of(database: &Path) -> PathBuf {
    database.with_added_extension("quarantine.json")
}

/// Fails if the database is in quarantine and nobody has mended it since.
pub(crate) fn refuse(database: &Path) -> Result<(), Error> {
    let at = path_of(database);
    let text = match fs::read_to_string(&at) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(source) => return Err(Error::Io { action: "read the evidence", path: at, source }),
    };
    // What does not parse is a note that somebody has written by hand: it is in force until it is removed.
    let Ok(evidence) = serde_json::from_str::<Evidence>(&text) else {
        return Err(Error::Quarantined {
            path: database.into(),
            evidence: at,
            class: ErrorClass::Corrupt,
            text,
        });
    };
    if evidence.database == Seen::at(database) && evidence.log == Seen::at(&log_of(database)) {
        let Evidence { text, class, .. } = evidence;
        return Err(Error::Quarantined { path: database.into(), evidence: at, class, text });
    }
    let name = format!("quarantine-{}.json", evidence.found_unix_ms);
    let kept = database.with_added_extension(name);
    tracing::info!(path = %database.display(), kept = %kept.display(), "mended; out of quarantine");
    fs::rename(&at, kept).map_err(|source| Error::Io { action: "put aside", path: at, source })
}

/// Turns an error of opening into the manager's; a damaged database goes into quarantine.
pub(crate) fn judge(database: &Path, class: ErrorClass, text: String) -> Error {
    let is_damaged = match class {
        ErrorClass::Corrupt => true,
        // A fatal error of a full disk says nothing of the file.
        ErrorClass::Fatal => !text.contains("No space left on device"),
        _ => false,
    };
    if !is_damaged {
        return Error::Unusable { path: database.into(), class, text };
    }
    let pid = process::id();
    let evidence = Evidence {
        text,
        class,
        found_unix_ms: clock::unix_ms(),
        pid,
        command: process::command(pid).unwrap_or_default(),
        database: Seen::at(database),
        log: Seen::at(&log_of(database)),
    };
    let at = path_of(database);
    let written = serde_json::to_vec_pretty(&evidence)
        .map_err(io::Error::from)
        .and_then(|text| fs::write(&at, text));
    let Evidence { text, .. } = evidence;
    match written {
        Ok(()) => {
            tracing::error!(path = %database.display(), evidence = %at.display(), text, "quarantined");
            Error::Quarantined { path: database.into(), evidence: at, class, text }
        }
        // A full disk or a read-only folder: it is refused all the same, each time anew.
        Err(error) => {
            tracing::error!(path = %database.display(), %error, "no evidence could be written");
            Error::Unusable { path: database.into(), class, text }
        }
    }
}

fn log_of(database: &Path) -> PathBuf {
    database.with_added_extension("wal")
}
