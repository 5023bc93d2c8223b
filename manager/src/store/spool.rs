//! What was computed by a process that may not write the manifest: rows, each in a file, for somebody who may.
//!
//! `spool/<32 hex of the key>.json` is a document (`document.rs`) of the format `flockgate-spool-1`, whose row is what
//! the manifest will say of that key. It is there wholly or not at all, and for good.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::files::{Folder, New, entries, name_of};
use super::{document, hex};

const FORMAT: &str = "flockgate-spool-1";

/// The spool of a store.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Spool<'a>(&'a Folder);

/// Why a row could not be read.
#[derive(Debug)]
pub(crate) enum SpoolError {
    /// It is not what was put there.
    Damaged { path: PathBuf, reason: String },
    /// The disk says no.
    Io { path: PathBuf, source: io::Error },
}

impl<'a> Spool<'a> {
    pub(crate) fn of(folder: &'a Folder) -> Self {
        Self(folder)
    }

    /// Puts the row of a key there for good, in place of one that is there.
    pub(crate) fn put(self, key: &[u8; 16], row: &impl Serialize) -> io::Result<()> {
        self.put_many(&[(*key, row)])
    }

    /// Puts many rows there at once: their waits for the disk are one.
    pub(crate) fn put_many<T: Serialize>(self, rows: &[([u8; 16], T)]) -> io::Result<()> {
        let texts: Result<Vec<_>, _> =
            rows.iter().map(|(key, row)| document::write(FORMAT, key, row)).collect();
        let texts = texts?;
        let news: Vec<_> = rows
            .iter()
            .zip(&texts)
            .map(|((key, _), bytes)| New { name: hex::of(key), bytes, path: self.path(key) })
            .collect();
        self.0.write_all(&news, BTreeSet::new())
    }

    /// The row of a key; `None` if there is none.
    pub(crate) fn get<T: DeserializeOwned>(self, key: &[u8; 16]) -> Result<Option<T>, SpoolError> {
        let path = self.path(key);
        match fs::read(&path) {
            Ok(text) => match document::read(FORMAT, key, &text) {
                Ok(row) => Ok(Some(row)),
                Err(reason) => Err(SpoolError::Damaged { path, reason }),
            },
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(source) => Err(SpoolError::Io { path, source }),
        }
    }

    /// The keys that have a row, in their order.
    pub(crate) fn list(self) -> io::Result<Vec<[u8; 16]>> {
        let mut keys: Vec<_> =
            entries(&self.folder())?.iter().filter_map(|path| key_of(path)).collect();
        keys.sort_unstable();
        Ok(keys)
    }

    /// Removes the row of a key. Returns whether there was one. After a crash of the machine it may be there again.
    pub(crate) fn remove(self, key: &[u8; 16]) -> io::Result<bool> {
        match fs::remove_file(self.path(key)) {
            Ok(()) => Ok(true),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Whether there is no row. Looks no further than the first.
    pub(crate) fn is_empty(self) -> io::Result<bool> {
        let mut entries = match fs::read_dir(self.folder()) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(true),
            entries => entries?,
        };
        Ok(!entries.any(|entry| entry.is_ok_and(|entry| key_of(&entry.path()).is_some())))
    }

    fn folder(self) -> PathBuf {
        self.0.path().join("spool")
    }

    fn path(self, key: &[u8; 16]) -> PathBuf {
        self.folder().join(format!("{}.json", hex::of(key)))
    }
}

/// The key whose row is in a file; `None` if the file has another name.
fn key_of(path: &Path) -> Option<[u8; 16]> {
    hex::parse(name_of(path)?.strip_suffix(".json")?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::fixture::folder;

    #[test]
    fn a_row_is_there_until_it_is_removed() {
        let (_site, folder) = folder();
        let spool = Spool::of(&folder);
        assert!(spool.is_empty().unwrap() && spool.list().unwrap().is_empty());
        assert!(spool.get::<String>(&[1; 16]).unwrap().is_none());
        spool.put_many(&[([2; 16], "b"), ([1; 16], "a")]).unwrap();
        spool.put(&[2; 16], &"B").unwrap();
        assert_eq!(spool.list().unwrap(), [[1; 16], [2; 16]]);
        assert_eq!(spool.get::<String>(&[2; 16]).unwrap().as_deref(), Some("B"));
        assert!(!spool.is_empty().unwrap());
        assert!(spool.remove(&[1; 16]).unwrap() && spool.remove(&[2; 16]).unwrap());
        assert!(!spool.remove(&[2; 16]).unwrap(), "it is gone");
        assert!(spool.is_empty().unwrap());
        assert_eq!(folder.sweep_temps(true).unwrap().count, 0);
    }

    #[test]
    fn what_is_no_row_is_named_or_left_alone() {
        let (_site, folder) = folder();
        let spool = Spool::of(&folder);
        spool.put(&[1; 16], &"a row").unwrap();
        let path = spool.path(&[1; 16]);
        fs::write(path.with_file_name("notes.json"), "mine").unwrap();
        assert_eq!(spool.list().unwrap(), [[1; 16]]);
        let text = fs::read(&path).unwrap();
        for torn in [&text[..text.len() - 9], b"", b"{}"] {
            fs::write(&path, torn).unwrap();
            let error = spool.get::<String>(&[1; 16]).unwrap_err();
            assert!(
                matches!(&error, SpoolError::Damaged { path: at, .. } if *at == path),
                "{error:?}"
            );
        }
        fs::rename(&path, spool.path(&[2; 16])).unwrap();
        fs::write(spool.path(&[2; 16]), &text).unwrap();
        let error = spool.get::<String>(&[2; 16]).unwrap_err();
        assert!(matches!(error, SpoolError::Damaged { .. }), "the row of another key: {error:?}");
        spool.remove(&[2; 16]).unwrap();
        assert!(spool.is_empty().unwrap(), "somebody else's file is no row");
    }
}
