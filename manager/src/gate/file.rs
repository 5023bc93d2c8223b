//! The half of the gate that processes share: byte locks on a file beside the database.
//!
//! # Layout of `<database>.gate`, version 2
//!
//! | bytes | content |
//! |---|---|
//! | 0 .. 2048 | [`HEADER`], then zeros |
//! | 2048 .. 2052 | the *bell*: counts its rings, native byte order; also a futex(2) |
//! | 2056 .. 2064 | the *generation*: counts committed changes, and whenever a process takes the file to write; native byte order |
//! | 2064 .. 4096 | zeros |
//! | 4096 + 1024·i, i < 128 | record i: one JSON object ([`Holder`]), filled up with newlines |
//!
//! The first page is mapped by every process at the gate, so it must not be cut off while somebody uses the database.
//! Nothing of it has to survive: the file may be deleted while nobody does. (The generation of a new gate begins at the
//! time of its making, so it goes on from there.) The state of the gate are kernel locks on single bytes far beyond
//! its end, which are freed when their holder dies or the machine restarts:
//!
//! | byte | lock | meaning |
//! |---|---|---|
//! | 2⁴⁰ | exclusive | *turnstile*: held by whoever is next, while it waits for the file |
//! | 2⁴⁰ + 1 | shared, exclusive | *file*: its holders read, its holder writes |
//! | 2⁴⁰ + 2 | exclusive | turnstile of the phases |
//! | 2⁴⁰ + 3 | shared | somebody is in training, or writes |
//! | 2⁴⁰ + 4 | shared | somebody is in evaluation |
//! | 2⁴⁰ + 5 | shared | somebody waits to read |
//! | 2⁴⁰ + 6 | exclusive | the first page is being written, by who made the file |
//! | 2⁴⁰ + 16 + i | exclusive | record i counts |
//!
//! # Why nobody starves
//!
//! Every process passes the turnstile to get at the file, and keeps it while it waits there. Arrivals
//! therefore queue behind a waiting writer instead of passing it as readers do with a plain lock, and the
//! kernel wakes the turnstile's waiters in order of arrival.
//!
//! # Why nobody waits for a holder that does not know
//!
//! A process may keep the file although none of its threads uses it. Whoever finds the file held rings the bell
//! *after* it has taken the turnstile; every holder passed that turnstile before, and looks at it whenever the bell has
//! been rung since. So the holder sees either the turnstile or a ring that is still to be answered.
//!
//! # Without write permission
//!
//! A process that may only read the gate file passes the turnstile with a shared lock, which waits behind a waiting
//! writer just as well; it leaves no record and cannot ring, so whoever keeps the file lets it in when the keeper next
//! looks, a quarter of a second later at most. Where there is no gate file and none can be made (a read-only folder), a reader
//! relies on DuckDB's own lock and keeps nothing.

use std::fs::{self, File, Metadata, OpenOptions, Permissions};
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt, PermissionsExt, fchown};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use super::byte;
use super::record::{self, Holder, Slot, Standing};
use crate::seam::clock;
use crate::seam::file_lock::{self, Share};
use crate::seam::fork::{self, ForkGuard};
use crate::seam::lockstep;
use crate::seam::patience::Patience;
use crate::seam::shared_page::{COUNTER_AT, PAGE_BYTES, SharedPage};

/// What a gate file begins with.
pub(crate) const HEADER: &[u8] = b"flockgate gate 2\n\
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
    page: Arc<SharedPage>,
    is_writable: bool,
    epoch: u32,
    _fork: Option<ForkGuard>,
}

impl GateFile {
    /// Opens the gate of a database, and makes it if it is not there.
    pub(crate) fn open(database: &Path) -> Result<Self, Refusal> {
        let path = path_of(database);
        let opened = open_or_create(&path, database);
        match opened.and_then(|file| Self::new(path.clone(), file, true)) {
            Ok(gate) => Ok(gate),
            Err(source) => Err(Refusal::Unusable { gate: path, source }),
        }
    }

    fn new(path: PathBuf, file: File, is_writable: bool) -> io::Result<Self> {
        let page = SharedPage::map(&file, is_writable).map(Arc::new)?;
        let metadata = file.metadata()?;
        let epoch = fork::epoch();
        let guard = ForkGuard::of_file((metadata.dev(), metadata.ino()));
        Ok(Self { path, file, page, is_writable, epoch, _fork: guard })
    }

    /// Opens the gate for one who reads: [`GateFile::open`] where it may, what there is where it may not write, and
    /// `None` where there is no gate and none can be made.
    pub(crate) fn open_for_reader(database: &Path) -> Result<Option<Self>, Refusal> {
        match Self::open(database) {
            Err(Refusal::Unusable { source, .. }) if is_write_protected(&source) => {
                Self::open_existing(database)
            }
            opened => opened.map(Some),
        }
    }

    /// Opens the gate of a database if there is one, without writing to it.
    pub(crate) fn open_existing(database: &Path) -> Result<Option<Self>, Refusal> {
        let path = path_of(database);
        let opened = open_regular(OpenOptions::new().read(true), &path);
        let gate = opened.and_then(|file| {
            if file.metadata()?.len() < PAGE_BYTES as u64 {
                return Ok(None); // nobody has been at it yet
            }
            check_header(&file)?;
            Self::new(path.clone(), file, false).map(Some)
        });
        match gate {
            Ok(gate) => Ok(gate),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(source) => Err(Refusal::Unusable { gate: path, source }),
        }
    }

    /// The page that all processes at this gate share.
    pub(crate) fn page(&self) -> &Arc<SharedPage> {
        &self.page
    }

    /// Takes a byte if nobody is in the way. Returns whether it did.
    pub(crate) fn try_lock(&self, byte: i64, share: Share) -> Result<bool, Refusal> {
        lockstep::takes(byte);
        if is_left_out(byte, share) {
            return Ok(true);
        }
        self.attempt(file_lock::try_lock(&self.file, byte, self.may_take(share)))
    }

    /// Waits for a byte for so long at most; [`Refusal::Expired`] if patience ends before. Returns whether it is had.
    pub(crate) fn lock_for(
        &self,
        byte: i64,
        share: Share,
        patience: &Patience,
        limit: Duration,
    ) -> Result<bool, Refusal> {
        match self.lock(byte, share, &patience.within(clock::deadline_in(limit))) {
            Ok(()) => Ok(true),
            Err(Refusal::Expired(_)) if !patience.is_over(clock::now()) => Ok(false),
            Err(refusal) => Err(refusal),
        }
    }

    /// Waits for a byte; [`Refusal::Expired`] names who holds or awaits the database.
    pub(crate) fn lock(&self, byte: i64, share: Share, patience: &Patience) -> Result<(), Refusal> {
        lockstep::takes(byte);
        if is_left_out(byte, share)
            || self.attempt(file_lock::lock(&self.file, byte, self.may_take(share), patience))?
        {
            Ok(())
        } else {
            Err(Refusal::Expired(if faulty!(Fault::HoldersNotNamed) {
                Vec::new()
            } else {
                self.holders()?
            }))
        }
    }

    /// The kernel gives exclusive locks only to who may write. A turnstile that is passed with a shared one still stops
    /// behind whoever waits in it.
    fn may_take(&self, share: Share) -> Share {
        if self.is_writable { share } else { Share::Shared }
    }

    pub(crate) fn unlock(&self, byte: i64) -> Result<(), Refusal> {
        self.attempt(file_lock::unlock(&self.file, byte))?;
        lockstep::gave_back(byte);
        Ok(())
    }

    /// How somebody else holds the byte, if somebody does.
    pub(crate) fn held_by_other(&self, byte: i64) -> Result<Option<Share>, Refusal> {
        self.attempt(file_lock::held_by_other(&self.file, byte))
    }

    /// Writes a record that others can read while this gate file is open. On a full disk there is none: a record
    /// is for people, and reading must go on.
    pub(crate) fn announce(&self, holder: &Holder) -> Result<Option<Slot>, Refusal> {
        if !self.is_writable {
            return Ok(None);
        }
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
        // In a forked child they are the parent's locks.
        if fork::epoch() == self.epoch {
            // Closing would do, unless a forked child has the descriptor too. It cannot fail on a good one.
            let _ = file_lock::unlock_all(&self.file);
            if faulty!(Fault::DescriptorLeaked) {
                let _ = self.file.try_clone().map(std::mem::forget);
            }
            lockstep::point("gave back the gate");
        }
    }
}

/// Whether a planted bug keeps a byte from being taken.
fn is_left_out(byte: i64, share: Share) -> bool {
    let is_shared = share == Share::Shared;
    let is_phase = byte == byte::TRAINING || byte == byte::EVALUATION;
    let left_out = [
        (byte == byte::FILE, faulty!(Fault::NoGate)),
        (byte == byte::TURNSTILE, faulty!(Fault::NoTurnstile)),
        (is_phase && is_shared, faulty!(Fault::PhaseNotHeld)),
        (byte == byte::TRAINING && !is_shared, faulty!(Fault::EvaluationDoesNotWait)),
    ];
    left_out.contains(&(true, true))
}

pub(crate) fn full_disk_is_none<T>(result: io::Result<Option<T>>) -> io::Result<Option<T>> {
    match result {
        Err(error) if error.kind() == io::ErrorKind::StorageFull => Ok(None),
        result => result,
    }
}

fn is_write_protected(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem)
}

fn open_or_create(path: &Path, database: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.read(true).write(true);
    let file = match open_regular(&mut options, path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            create(&mut options, path, database)?
        }
        opened => opened?,
    };
    if file.metadata()?.len() < PAGE_BYTES as u64 {
        write_first_page(&file)?;
    }
    check_header(&file)?;
    Ok(file)
}

/// Makes a file beside a database, for whoever may use that; or opens it, if somebody has just made it.
pub(crate) fn create(options: &mut OpenOptions, path: &Path, database: &Path) -> io::Result<File> {
    let database = fs::metadata(database).ok();
    let mode = database.as_ref().map_or(0o666, |database| database.mode() & 0o666);
    match options.create_new(true).mode(mode).open(path) {
        Ok(file) => {
            if let Some(database) = database {
                share(&file, &database)?;
            }
            Ok(file)
        }
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            open_regular(options.create_new(false), path)
        }
        Err(error) => Err(error),
    }
}

/// Opens a file, and neither follows a symbolic link nor waits at a pipe.
pub(crate) fn open_regular(options: &mut OpenOptions, path: &Path) -> io::Result<File> {
    let refused = |text| io::Error::new(io::ErrorKind::InvalidInput, text);
    let file = match options.custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK).open(path) {
        Err(error) if error.raw_os_error() == Some(libc::ELOOP) => {
            return Err(refused("it is a symbolic link, which is not followed; remove it"));
        }
        Err(error) if error.kind() == io::ErrorKind::IsADirectory => return Err(refused(NO_FILE)),
        opened => opened?,
    };
    if file.metadata()?.is_file() { Ok(file) } else { Err(refused(NO_FILE)) }
}

const NO_FILE: &str = "it is not a regular file; move it away";

/// Lets everybody use a new file (a gate, or one of the store) who may use its database: it belongs to the same user and group, where this process
/// may give it away, and has the same permissions, of which the umask may have taken some.
pub(crate) fn share(gate: &File, database: &Metadata) -> io::Result<()> {
    let (user, group) = (Some(database.uid()), Some(database.gid()));
    // Only root gives a file to another user, and others give it to their own groups only. Who cannot keeps it.
    let _ = fchown(gate, user, group).or_else(|_| fchown(gate, None, group));
    gate.set_permissions(Permissions::from_mode(database.mode() & 0o666))
}

/// Writes the first page of a file whose maker has not come to it yet, or was killed there. Any other file is refused:
/// somebody may have called their own so.
fn write_first_page(file: &File) -> io::Result<()> {
    let patience = Patience::until(clock::deadline_in(Duration::from_secs(1)));
    if !file_lock::lock(file, byte::HEADER, Share::Exclusive, &patience)? {
        return Err(io::Error::new(io::ErrorKind::TimedOut, "another process is making it"));
    }
    let there = file.metadata()?.len() as usize;
    if there < PAGE_BYTES {
        let mut begin = vec![0; there];
        file.read_exact_at(&mut begin, 0)?;
        let mut page = vec![0; PAGE_BYTES];
        page[..HEADER.len()].copy_from_slice(HEADER);
        // A generation is never met again, also if the gate that had it is deleted.
        let generation = clock::unix_ms() << 20;
        page[COUNTER_AT..COUNTER_AT + 8].copy_from_slice(&generation.to_ne_bytes());
        if begin.iter().zip(&page).take(HEADER.len()).any(|(is, should)| is != should) {
            return Err(not_a_gate());
        }
        // In full, so that memory behind the mapping is there even when the disk fills up later.
        file.write_all_at(&page, 0)?;
    }
    file_lock::unlock(file, byte::HEADER)
}

fn check_header(file: &File) -> io::Result<()> {
    let mut begin = [0_u8; HEADER.len()];
    match file.read_exact_at(&mut begin, 0) {
        Ok(()) if begin == HEADER => Ok(()),
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
