//! What a store keeps beside its database, in the folder `<database>.store`.
//!
//! # Layout
//!
//! | path | content |
//! |---|---|
//! | `objects/ab/<32 hex>` | the bytes of an artefact and nothing else, named by their [`Content`]; `ab` are its first two digits |
//! | `tmp/<32 hex>.<pid>.<n>` | a file that process `pid` is writing, its `n`th, under the name that it will have (of an object, or of a key) |
//! | `corrupt/<32 hex>.<unix_ms>` | what was found in the place of an artefact, as it was found |
//! | `corrupt/<32 hex>.<unix_ms>.json` | an [`Evidence`] beside it: one JSON object |
//! | `spool/<32 hex>.json` | what a process has computed that may not write the manifest, see `spool.rs` |
//! | `failed/<32 hex>.json` | why the last computation of a key failed, see `failed.rs` |
//! | `locks` | who computes, publishes and reads what, see `locks.rs` |
//!
//! Every file is written under `tmp/`, synced, then renamed, then its folder is synced: under its name it is there wholly or
//! not at all. The writer of a temporary file has byte 0 of it locked exclusively (an open file description's lock) from
//! before its first byte to after its last rename. The kernel frees that lock when the writer dies, so a temporary file that
//! nobody locks is garbage *now*, however young it is ([`Folder::sweep_temps`]). A file gets its lock a moment after it is
//! made; so a writer makes another if it finds it swept or locked by a sweeper, and a sweeper that has the lock looks
//! whether the path still names that file.
//!
//! The folder and all that is in it belong to whom the database belongs to, where this process may give them away, and have
//! its permissions. Files with other names are left alone; those below `objects/` are reported ([`Listing::foreign`]).

mod put;
mod temp;

use std::fs::{self, DirBuilder, File, Metadata, Permissions};
use std::io::{self, Read};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt, chown};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::content::Content;
use super::{crash, hex};
use crate::seam::{clock, process};

pub(crate) use put::New;
pub(crate) use temp::is_at;

/// The folder of a store. It need not exist.
#[derive(Clone, Debug)]
pub(crate) struct Folder {
    database: PathBuf,
    path: PathBuf,
}

/// A folder of the store cannot be made, or be synced.
#[derive(Debug)]
pub(crate) struct CannotMake {
    pub(crate) path: PathBuf,
    pub(crate) source: io::Error,
}

impl From<CannotMake> for io::Error {
    fn from(CannotMake { path, source }: CannotMake) -> Self {
        at("make the folder", &path)(source)
    }
}

/// Why an artefact could not be read.
#[derive(Debug)]
pub(crate) enum ReadError {
    /// It is not there.
    Missing,
    /// It is there with other bytes than were put there.
    Corrupt { found: String },
    /// The disk says no.
    Io(io::Error),
}

/// What is known of an artefact that was found damaged.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Evidence {
    /// The content that should have been there.
    pub(crate) expected: String,
    /// And its length.
    pub(crate) expected_bytes: u64,
    /// What was there.
    pub(crate) found: String,
    /// The length of that.
    pub(crate) bytes: u64,
    /// When, in milliseconds after 1970.
    pub(crate) found_unix_ms: u64,
    /// By whom.
    pub(crate) pid: u32,
    pub(crate) command: String,
}

/// What is below `objects/`.
#[derive(Debug, Default)]
pub(crate) struct Listing {
    /// The artefacts and their lengths, in no order.
    pub(crate) objects: Vec<(Content, u64)>,
    /// What has no name of an artefact.
    pub(crate) foreign: Vec<PathBuf>,
}

impl Folder {
    /// The folder beside a database.
    pub(crate) fn of(database: &Path) -> Self {
        let path = database.with_added_extension("store");
        Self { database: database.into(), path }
    }

    /// Makes what is not there yet: the folder, and in it those for artefacts and for what is being written.
    pub(crate) fn create(&self) -> Result<(), CannotMake> {
        for folder in [self.path.clone(), self.objects(), self.tmp()] {
            make_folder(&folder, self)?;
        }
        // Also if they were there: whoever made them may not have come to this.
        let above = self.path.parent().filter(|above| !above.as_os_str().is_empty());
        for folder in [&self.path, above.unwrap_or(Path::new("."))] {
            let path = folder.to_path_buf();
            put::sync_folder(folder).map_err(|source| CannotMake { path, source })?;
        }
        Ok(())
    }

    /// Where it is.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// The database beside it.
    pub(crate) fn database(&self) -> &Path {
        &self.database
    }

    fn objects(&self) -> PathBuf {
        self.path.join("objects")
    }

    fn tmp(&self) -> PathBuf {
        self.path.join("tmp")
    }

    /// Where the bytes of an artefact are.
    pub(crate) fn object(&self, content: Content) -> PathBuf {
        let name = content.to_string();
        self.objects().join(&name[..2]).join(name)
    }

    /// The bytes of an artefact, which are the ones that were put there, or an error.
    pub(crate) fn read(&self, content: Content, length: u64) -> Result<Vec<u8>, ReadError> {
        match read(&self.object(content), length) {
            Ok(Ok(bytes))
                if Content::of(&bytes) == content || faulty!(Fault::ArtefactNotVerified) =>
            {
                Ok(bytes)
            }
            Ok(Ok(bytes)) => {
                let found = format!("{} bytes with the hash {}", bytes.len(), Content::of(&bytes));
                Err(ReadError::Corrupt { found })
            }
            Ok(Err(other)) => {
                let found = format!("{other} bytes instead of {length}");
                Err(ReadError::Corrupt { found })
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => Err(ReadError::Missing),
            Err(source) => Err(ReadError::Io(source)),
        }
    }

    /// Moves a damaged artefact away, and writes down beside it what is wrong with it. Returns where it is now; `None`
    /// if it is not damaged any more, or gone.
    ///
    /// Only for who has the content's lock exclusively (`locks::ContentHold`): it could take away a good file that
    /// somebody has just put in its place.
    pub(crate) fn keep_evidence(
        &self,
        content: Content,
        length: u64,
    ) -> io::Result<Option<PathBuf>> {
        let found = match self.read(content, length) {
            Err(ReadError::Corrupt { found }) => found,
            Err(ReadError::Io(source)) => return Err(source),
            Ok(_) | Err(ReadError::Missing) => return Ok(None),
        };
        crash::point("evidence.begun");
        let (now, pid) = (clock::unix_ms(), process::id());
        let folder = self.path.join("corrupt");
        let kept = folder.join(format!("{content}.{now}"));
        make_folder(&folder, self)?;
        fs::rename(self.object(content), &kept)?;
        crash::point("evidence.moved");
        let evidence = Evidence {
            expected: content.to_string(),
            expected_bytes: length,
            found,
            bytes: fs::metadata(&kept)?.len(),
            found_unix_ms: now,
            pid,
            command: process::command(pid).unwrap_or_default(),
        };
        let bytes = serde_json::to_vec_pretty(&evidence)?;
        let path = kept.with_added_extension("json");
        let new = New { name: content.to_string(), bytes: &bytes, path };
        self.write_all(&[new], [folder_of_object(self, content)].into())?;
        crash::point("evidence.written");
        Ok(Some(kept))
    }

    /// Removes an artefact. Returns whether it was there.
    ///
    /// After a crash of the machine it may be there again, then without a row, like any that was put and not committed.
    /// Only for who has the content's lock exclusively (`locks::ContentHold`).
    pub(crate) fn remove(&self, content: Content) -> io::Result<bool> {
        crash::point("remove.begun");
        let removed = fs::remove_file(self.object(content));
        crash::point("remove.unlinked");
        match removed {
            Ok(()) => Ok(true),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// All artefacts, whoever puts or removes some meanwhile.
    pub(crate) fn list(&self) -> io::Result<Listing> {
        let mut listing = Listing::default();
        for folder in entries(&self.objects())? {
            if !folder.is_dir() || name_of(&folder).is_none_or(|name| name.len() != 2) {
                listing.foreign.push(folder);
                continue;
            }
            for path in entries(&folder)? {
                let content = name_of(&path).and_then(hex::parse).map(Content::from_bytes);
                match (content, fs::symlink_metadata(&path)) {
                    (Some(content), Ok(file)) if file.is_file() && self.object(content) == path => {
                        listing.objects.push((content, file.len()));
                    }
                    (_, Err(error)) if error.kind() == io::ErrorKind::NotFound => {} // just removed
                    _ => listing.foreign.push(path),
                }
            }
        }
        Ok(listing)
    }
}

fn folder_of_object(folder: &Folder, content: Content) -> PathBuf {
    folder.objects().join(&content.to_string()[..2])
}

/// The bytes of a file, or its length if that is another one.
fn read(path: &Path, length: u64) -> io::Result<Result<Vec<u8>, u64>> {
    let file = File::open(path)?;
    let there = file.metadata()?.len();
    if there != length {
        return Ok(Err(there));
    }
    let mut bytes = Vec::with_capacity(length as usize);
    // One more than there should be, so that a file that has just grown is told from a good one.
    file.take(length + 1).read_to_end(&mut bytes)?;
    Ok(Ok(bytes))
}

/// The name of a file, if it is text.
pub(crate) fn name_of(path: &Path) -> Option<&str> {
    path.file_name().and_then(|name| name.to_str())
}

/// What is in a folder; nothing if there is no such folder.
pub(crate) fn entries(folder: &Path) -> io::Result<Vec<PathBuf>> {
    match fs::read_dir(folder) {
        Ok(entries) => entries.map(|entry| entry.map(|entry| entry.path())).collect(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(at("look into", folder)(error)),
    }
}

/// Makes a folder, unless it is there, for everybody who may use the database.
fn make_folder(path: &Path, store: &Folder) -> Result<(), CannotMake> {
    let database = fs::metadata(&store.database).ok();
    let mode = database.as_ref().map_or(0o777, folder_mode);
    let is_new = match DirBuilder::new().mode(mode).create(path) {
        Ok(()) => database.map_or(Ok(()), |database| share_folder(path, &database)),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        Err(error) => Err(error),
    };
    is_new.map_err(|source| CannotMake { path: path.into(), source })
}

/// Who may read files may look into folders too.
fn folder_mode(database: &Metadata) -> u32 {
    let mode = database.mode() & 0o666;
    mode | (mode & 0o444) >> 2
}

fn share_folder(path: &Path, database: &Metadata) -> io::Result<()> {
    let (user, group) = (Some(database.uid()), Some(database.gid()));
    // Only root gives a folder to another user, and others give it to their own groups only. Who cannot keeps it.
    let _ = chown(path, user, group).or_else(|_| chown(path, None, group));
    fs::set_permissions(path, Permissions::from_mode(folder_mode(database)))
}

/// Says in an error what could not be done.
fn at(action: &str, path: &Path) -> impl Fn(io::Error) -> io::Error {
    let place = format!("{action} {}", path.display());
    move |error| io::Error::new(error.kind(), format!("{place}: {error}"))
}

#[cfg(test)]
mod tests;
