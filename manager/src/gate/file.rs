//! The half of the gate that processes share: byte locks on a file beside the database.
//!
//! # Layout of `<database>.gate`, version 1
//!
//! | bytes | content |
//! |---|---|
//! | 0 .. 4096 | [`HEADER`], then zeros |
//! | 4096 + 1024·i, i < 128 | record i: one JSON object ([`Holder`]), filled up with newlines |
//!
//! Nothing of it has to survive: it may be deleted while nobody uses the database. The state of the gate
//! are kernel locks on single bytes far beyond its end, which are freed when their holder dies or the
//! machine restarts:
//!
//! | byte | lock | meaning |
//! |---|---|---|
//! | 2⁴⁰ | exclusive | *turnstile*: held by whoever is next, while it waits for the file |
//! | 2⁴⁰ + 1 | shared, exclusive | *file*: its holders read, its holder writes |
//! | 2⁴⁰ + 2 | exclusive | turnstile of the phases |
//! | 2⁴⁰ + 3 | shared | somebody is in training, or writes |
//! | 2⁴⁰ + 4 | shared | somebody is in evaluation |
//! | 2⁴⁰ + 16 + i | exclusive | record i counts |
//!
//! # Why nobody starves
//!
//! Every process passes the turnstile to get at the file, and keeps it while it waits there. Arrivals
//! therefore queue behind a waiting writer instead of passing it as readers do with a plain lock, and the
//! kernel wakes the turnstile's waiters in order of arrival.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::Instant;

use super::record::{self, Holder, Slot, Standing};
use crate::seam::clock;
use crate::seam::file_lock::{self, Share};

/// What a gate file begins with.
pub(crate) const HEADER: &[u8] = b"flockgate gate 1\n\
This file says who may open the DuckDB database beside it.\n\
It may be deleted while nobody uses that database.\n";

/// Why the gate did not open.
#[derive(Debug)]
pub(crate) enum Refusal {
    /// The deadline passed; these were in the way.
    Expired(Vec<Holder>),
    /// An evaluation phase is on; these are in it.
    Evaluation(Vec<Holder>),
    /// The gate file cannot be used.
    Unusable { gate: PathBuf, source: io::Error },
}

/// The file beside `database` that guards it.
pub(crate) fn path_of(database: &Path) -> PathBuf {
    let mut name = database.as_os_str().to_owned();
    name.push(".gate");
    PathBuf::from(name)
}

/// An open gate file: the bytes locked through it are free again when it is dropped.
#[derive(Debug)]
pub(crate) struct GateFile {
    path: PathBuf,
    file: File,
}

impl GateFile {
    /// Opens the gate of a database, and makes it if it is not there.
    pub(crate) fn open(database: &Path) -> Result<Self, Refusal> {
        let path = path_of(database);
        match open_or_create(&path, database) {
            Ok(file) => Ok(Self { path, file }),
            Err(source) => Err(Refusal::Unusable { gate: path, source }),
        }
    }

    /// Opens the gate of a database if there is one, to look at it.
    pub(crate) fn open_existing(database: &Path) -> Result<Option<Self>, Refusal> {
        let path = path_of(database);
        // The kernel refuses to test for an exclusive lock only on descriptors that cannot read.
        match OpenOptions::new().read(true).custom_flags(libc::O_NOFOLLOW).open(&path) {
            Ok(file) => Ok(Some(Self { path, file })),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(source) => Err(Refusal::Unusable { gate: path, source }),
        }
    }

    /// Waits for a byte; [`Refusal::Expired`] names who holds or awaits the database.
    pub(crate) fn lock(&self, byte: i64, share: Share, deadline: Instant) -> Result<(), Refusal> {
        if self.attempt(file_lock::lock(&self.file, byte, share, deadline))? {
            Ok(())
        } else {
            Err(Refusal::Expired(self.holders()?))
        }
    }

    pub(crate) fn unlock(&self, byte: i64) -> Result<(), Refusal> {
        self.attempt(file_lock::unlock(&self.file, byte))
    }

    /// How somebody else holds the byte, if somebody does.
    pub(crate) fn held_by_other(&self, byte: i64) -> Result<Option<Share>, Refusal> {
        self.attempt(file_lock::held_by_other(&self.file, byte))
    }

    /// Writes a record that others can read while this gate file is open. On a full disk there is none: a record
    /// is for people, and reading must go on.
    pub(crate) fn announce(&self, holder: &Holder) -> Result<Option<Slot>, Refusal> {
        self.attempt(full_disk_is_none(Slot::claim(&self.file, holder)))
    }

    /// Turns an announced waiter into a holder.
    pub(crate) fn confirm(&self, slot: Option<&Slot>, holder: &mut Holder) -> Result<(), Refusal> {
        holder.standing = Standing::Holding;
        holder.since_unix_ms = clock::unix_ms();
        match slot {
            Some(slot) => {
                let written = slot.write(&self.file, holder).map(|()| None);
                self.attempt(full_disk_is_none::<()>(written)).map(|_| ())
            }
            None => Ok(()),
        }
    }

    /// Everybody else at this gate.
    pub(crate) fn holders(&self) -> Result<Vec<Holder>, Refusal> {
        self.attempt(record::read_all(&self.file))
    }

    /// Whether the path still names this file: a gate that was deleted guards nothing.
    pub(crate) fn is_current(&self) -> Result<bool, Refusal> {
        let here = self.attempt(self.file.metadata())?;
        match fs::symlink_metadata(&self.path) {
            Ok(there) => Ok((here.dev(), here.ino()) == (there.dev(), there.ino())),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(error) => self.attempt(Err(error)),
        }
    }

    fn attempt<T>(&self, result: io::Result<T>) -> Result<T, Refusal> {
        result.map_err(|source| Refusal::Unusable { gate: self.path.clone(), source })
    }
}

impl Drop for GateFile {
    fn drop(&mut self) {
        // Closing would do, unless a forked child has the descriptor too. It cannot fail on a good one.
        let _ = file_lock::unlock_all(&self.file);
    }
}

fn full_disk_is_none<T>(result: io::Result<Option<T>>) -> io::Result<Option<T>> {
    match result {
        Err(error) if error.kind() == io::ErrorKind::StorageFull => Ok(None),
        result => result,
    }
}

fn open_or_create(path: &Path, database: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.read(true).write(true).custom_flags(libc::O_NOFOLLOW);
    match options.open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        opened => return check_header(opened?),
    }
    let mode = fs::metadata(database).map_or(0o666, |metadata| metadata.mode() & 0o666);
    match options.create_new(true).mode(mode).open(path) {
        Ok(file) => {
            if database.exists() {
                // The umask may have taken bits that the database has.
                file.set_permissions(fs::Permissions::from_mode(mode))?;
            }
            file.write_all_at(HEADER, 0)?;
            Ok(file)
        }
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            check_header(options.create_new(false).open(path)?)
        }
        Err(error) => Err(error),
    }
}

/// Refuses a file that is not a gate: somebody may have called their own file so. An empty one is a gate
/// whose maker has not come to its header yet, or was killed there; its header is then written here.
fn check_header(file: File) -> io::Result<File> {
    let mut begin = [0_u8; HEADER.len()];
    match file.read_exact_at(&mut begin, 0) {
        Ok(()) if begin == HEADER => Ok(file),
        Err(error)
            if error.kind() == io::ErrorKind::UnexpectedEof && file.metadata()?.len() == 0 =>
        {
            file.write_all_at(HEADER, 0)?;
            Ok(file)
        }
        Ok(()) => Err(not_a_gate()),
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Err(not_a_gate()),
        Err(error) => Err(error),
    }
}

fn not_a_gate() -> io::Error {
    io::Error::new(
        io::ErrorKind::InvalidData,
        "it is not a gate file of this version; move it away, or stop the program of another version that made it",
    )
}
