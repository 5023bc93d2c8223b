//! Why a computation failed, for those who waited for it in other processes.
//!
//! `failed/<32 hex of the key>.json` is a document (`document.rs`) of the format `flockgate-failed-1`, whose row is a
//! [`Failure`]. Nothing depends on it: who finds none, or one that is damaged, computes the key itself.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::files::{Folder, New};
use super::{document, hex};
use crate::seam::{clock, process};

const FORMAT: &str = "flockgate-failed-1";
/// Letters of a reason that are kept.
const REASON_MAX: usize = 4096;

/// The last computation of a key failed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Failure {
    /// In the words of who computed it, cut at 4,096 letters.
    pub(crate) reason: String,
    pub(crate) pid: u32,
    pub(crate) command: String,
    /// When, in milliseconds after 1970 by that process's wall clock.
    pub(crate) at_unix_ms: u64,
}

/// The failures of a store.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Failures<'a>(&'a Folder);

impl<'a> Failures<'a> {
    pub(crate) fn of(folder: &'a Folder) -> Self {
        Self(folder)
    }

    /// Says that this process has just failed to compute a key. To be called before its flight is given back.
    pub(crate) fn put(self, key: &[u8; 16], reason: &str) -> io::Result<()> {
        let pid = process::id();
        let failure = Failure {
            reason: reason.chars().take(REASON_MAX).collect(),
            pid,
            command: process::command(pid).unwrap_or_default(),
            at_unix_ms: clock::unix_ms(),
        };
        let bytes = document::write(FORMAT, key, &failure)?;
        let new = New { name: hex::of(key), bytes: &bytes, path: self.path(key) };
        self.0.write_all(&[new], BTreeSet::new())
    }

    /// The last failure, if it was not before that time: a waiter asks since when it waits.
    pub(crate) fn since(self, key: &[u8; 16], unix_ms: u64) -> io::Result<Option<Failure>> {
        let text = match fs::read(self.path(key)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            read => read?,
        };
        let failure: Option<Failure> = document::read(FORMAT, key, &text).ok();
        Ok(failure.filter(|failure| failure.at_unix_ms >= unix_ms))
    }

    /// Forgets the failure of a key, if there is one.
    pub(crate) fn clear(self, key: &[u8; 16]) -> io::Result<()> {
        match fs::remove_file(self.path(key)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }

    fn path(self, key: &[u8; 16]) -> PathBuf {
        self.0.path().join("failed").join(format!("{}.json", hex::of(key)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::fixture::folder;

    #[test]
    fn a_failure_reaches_those_who_waited_and_nobody_later() {
        let (_site, folder) = folder();
        let failures = Failures::of(&folder);
        let begun = clock::unix_ms();
        failures.clear(&[1; 16]).unwrap();
        assert_eq!(failures.since(&[1; 16], 0).unwrap(), None);
        failures.put(&[1; 16], &"no data".repeat(1000)).unwrap();
        let failure = failures.since(&[1; 16], begun).unwrap().unwrap();
        assert!(failure.reason.starts_with("no data") && failure.reason.len() == REASON_MAX);
        assert_eq!(failure.pid, process::id());
        assert!(!failure.command.is_empty());
        assert_eq!(failures.since(&[1; 16], failure.at_unix_ms + 1).unwrap(), None);
        assert_eq!(failures.since(&[2; 16], begun).unwrap(), None);
        failures.clear(&[1; 16]).unwrap();
        assert_eq!(failures.since(&[1; 16], begun).unwrap(), None);
    }

    #[test]
    fn a_damaged_failure_is_none() {
        let (_site, folder) = folder();
        let failures = Failures::of(&folder);
        failures.put(&[1; 16], "no data").unwrap();
        fs::write(failures.path(&[1; 16]), "{}").unwrap();
        assert_eq!(failures.since(&[1; 16], 0).unwrap(), None);
        failures.put(&[1; 16], "no data").unwrap();
        assert!(failures.since(&[1; 16], 0).unwrap().is_some());
    }
}
