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
//! | `database`, `log` | of the file and of its write-ahead log, `null` if there is none: `inode`, `bytes`, `changed_ns` (after 1970) |
//!
//! It ends by itself as soon as the file or its log is another one, or has another length or time of change (the one
//! that nobody can set back, stat(2)'s `st_ctim`): somebody may have mended it. The evidence is then kept as
//! `<database>.quarantine-<found_unix_ms>.json`, or left where it is by a process that may not rename it.

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
    changed_ns: i64,
}

impl Seen {
    fn at(path: &Path) -> Option<Self> {
        let metadata = fs::metadata(path).ok()?;
        let changed_ns = metadata.ctime() * 1_000_000_000 + metadata.ctime_nsec();
        Some(Self { inode: metadata.ino(), bytes: metadata.len(), changed_ns })
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
    if let Err(error) = fs::rename(&at, kept) {
        // Another process was first, or this one may not: it is not in force any more wherever it lies.
        tracing::warn!(path = %at.display(), %error, "the evidence was not put aside");
    }
    Ok(())
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
        .and_then(|text| write_whole(&at, &text));
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

/// Writes a file that is there wholly or not at all: half an evidence would count as a note, and stay in force for good.
fn write_whole(at: &Path, text: &[u8]) -> io::Result<()> {
    let beside = at.with_added_extension(format!("{}.new", process::id()));
    let written = fs::write(&beside, text).and_then(|()| fs::rename(&beside, at));
    if written.is_err() {
        let _ = fs::remove_file(&beside); // there may be none
    }
    written
}

fn log_of(database: &Path) -> PathBuf {
    database.with_added_extension("wal")
}
