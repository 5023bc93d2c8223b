//! What a look-up gives: an artefact whose bytes are verified before anybody gets them.

use std::borrow::Cow;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use super::content::Content;
use super::files::{Folder, ReadError};
use super::key::Key;
use super::locks::ContentHold;
use super::mirror::{Entry, Known};
use super::reading::Reading;
use crate::error::Error;

/// What a look-up found.
#[derive(Clone, Debug)]
pub enum Lookup {
    /// It was published.
    Hit(Artefact),
    /// There is none, by what its publisher found out.
    Absent(Absent),
    /// Nobody has published it, or what was published is damaged.
    Miss,
}

impl Lookup {
    /// The artefact, if there is one.
    pub fn hit(self) -> Option<Artefact> {
        match self {
            Self::Hit(artefact) => Some(artefact),
            Self::Absent(_) | Self::Miss => None,
        }
    }

    /// Whether nobody knows anything about the key.
    pub fn is_miss(&self) -> bool {
        matches!(self, Self::Miss)
    }
}

/// Why there is no artefact: a negative entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Absent {
    /// In the words of who published that: "not listed yet", "too little history".
    pub reason: String,
    /// After this time, in milliseconds after 1970, it is a miss again.
    pub retry_at_unix_ms: u64,
}

/// What a computation comes to.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Fill {
    /// Bytes, in whatever format their reader knows.
    Bytes(Vec<u8>),
    /// A table, stored as an Arrow IPC stream.
    Table(duckdb::arrow::record_batch::RecordBatch),
    /// There is none, and it need not be tried again before so much time has passed.
    Absent {
        /// Why.
        reason: String,
        /// For how long that holds. Bounded by 100 years.
        retry_after: Duration,
    },
}

impl From<duckdb::arrow::record_batch::RecordBatch> for Fill {
    fn from(table: duckdb::arrow::record_batch::RecordBatch) -> Self {
        Self::Table(table)
    }
}

impl From<Vec<u8>> for Fill {
    fn from(bytes: Vec<u8>) -> Self {
        Self::Bytes(bytes)
    }
}

/// How the bytes of an artefact are to be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Codec {
    /// As they are.
    Bytes,
    /// An Arrow IPC stream.
    Arrow,
}

impl Codec {
    pub(crate) fn number(self) -> u8 {
        match self {
            Self::Bytes => 0,
            Self::Arrow => 1,
        }
    }

    pub(crate) fn from_number(number: u8) -> Option<Self> {
        [Self::Bytes, Self::Arrow].into_iter().find(|codec| codec.number() == number)
    }
}

/// A published artefact. Its file cannot be removed as long as this lives.
///
/// Getting one costs no system call. Its bytes are in memory if they are few ([`StoreOptions::inline_bytes_max`]);
/// otherwise [`bytes`](Self::bytes) reads the file and verifies it.
///
/// [`StoreOptions::inline_bytes_max`]: crate::StoreOptions::inline_bytes_max
#[derive(Clone)]
pub struct Artefact {
    key: Key,
    entry: Arc<Entry>,
    /// `None` of one that is inline. A hit on such a one copies four words, and that is part of its speed.
    in_file: Option<Box<InFile>>,
}

/// What an artefact needs that is in a file.
#[derive(Clone)]
struct InFile {
    /// Keeps the file there.
    _reading: Arc<Reading>,
    /// What was read and verified already.
    loaded: Option<Arc<[u8]>>,
}

impl InFile {
    #[cold] // beside reading a file
    fn new(reading: &Arc<Reading>) -> Self {
        Self { _reading: Arc::clone(reading), loaded: None }
    }
}

impl Artefact {
    /// Of an entry that is ready.
    #[inline]
    pub(crate) fn new(key: Key, entry: Arc<Entry>, reading: &Arc<Reading>) -> Self {
        let in_file = if entry.has_file() { Some(Box::new(InFile::new(reading))) } else { None };
        Self { key, entry, in_file }
    }

    /// The key it was found under.
    pub fn key(&self) -> Key {
        self.key
    }

    /// Its bytes. Blocks for a read of its file unless they are in memory.
    ///
    /// # Errors
    ///
    /// [`Error::Artefact`] if they are not what was published: the damaged file is kept as evidence, and the key is a
    /// miss from then on, until it is published again. [`Error::Io`] if the file cannot be read.
    #[inline]
    pub fn bytes(&self) -> Result<Cow<'_, [u8]>, Error> {
        match &self.entry.known {
            Known::Ready { inline: Some(inline), .. } if inline.is_sound => {
                Ok(Cow::Borrowed(&inline.bytes))
            }
            _ => self.bytes_of_file(),
        }
    }

    fn bytes_of_file(&self) -> Result<Cow<'_, [u8]>, Error> {
        if let Some(InFile { loaded: Some(loaded), .. }) = self.in_file.as_deref() {
            return Ok(Cow::Borrowed(loaded));
        }
        let Known::Ready { content, bytes, inline, .. } = &self.entry.known else {
            unreachable!("an artefact is of an entry that is ready")
        };
        match inline {
            Some(_) => Err(self.damaged("its bytes do not match their checksum".into(), None)),
            None => self.read(*content, *bytes).map(Cow::Owned),
        }
    }

    /// The table it is.
    ///
    /// # Errors
    ///
    /// Those of [`bytes`](Self::bytes); [`Error::Artefact`] if it is no table.
    pub fn table(&self) -> Result<Vec<duckdb::arrow::record_batch::RecordBatch>, Error> {
        let bytes = self.bytes()?;
        if self.codec() != Codec::Arrow {
            return Err(self.error("it was published as bytes, not as a table".into(), None));
        }
        table::decode(&bytes).map_err(|error| self.error(error.to_string(), None))
    }

    /// How its bytes are to be read.
    pub fn codec(&self) -> Codec {
        match &self.entry.known {
            Known::Ready { codec, .. } => Codec::from_number(*codec).unwrap_or(Codec::Bytes),
            Known::Absent { .. } => Codec::Bytes,
        }
    }

    /// How many bytes it has.
    pub fn len(&self) -> u64 {
        match &self.entry.known {
            Known::Ready { bytes, .. } => *bytes,
            Known::Absent { .. } => 0,
        }
    }

    /// Whether it has no bytes.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The first position of the calendar that it knows nothing of.
    pub fn known_through(&self) -> u32 {
        self.entry.known_through
    }

    /// The end of the window that it was fitted on.
    pub fn fit_end(&self) -> Option<u32> {
        self.entry.fit_end
    }

    /// What computing it took.
    pub fn computed_in(&self) -> Duration {
        Duration::from_micros(self.entry.compute_us)
    }

    /// Its file, unless it is in the database itself. Whoever reads that reads unverified bytes.
    pub fn path(&self) -> Option<PathBuf> {
        match &self.entry.known {
            Known::Ready { content, inline: None, .. } => {
                Some(self.entry.folder().object(*content))
            }
            _ => None,
        }
    }

    /// The same with its bytes at hand.
    pub(crate) fn loaded(self) -> Result<Self, Error> {
        let loaded = match self.bytes()? {
            Cow::Owned(bytes) => Some(bytes),
            Cow::Borrowed(_) => None,
        };
        Ok(if loaded.is_some() { self.with_bytes(loaded) } else { self })
    }

    /// The same with these bytes, which it was just made from.
    pub(crate) fn with_bytes(mut self, bytes: Option<Vec<u8>>) -> Self {
        if let (Some(in_file), Some(bytes)) = (&mut self.in_file, bytes) {
            in_file.loaded = Some(bytes.into());
        }
        self
    }

    fn read(&self, content: Content, bytes: u64) -> Result<Vec<u8>, Error> {
        let folder = self.entry.folder();
        match folder.read(content, bytes) {
            Ok(bytes) => Ok(bytes),
            Err(ReadError::Missing) => Err(self.damaged("its file is missing".into(), None)),
            Err(ReadError::Corrupt { found }) => {
                let evidence = keep_evidence(folder, content, bytes);
                Err(self.damaged(format!("its file is damaged: {found}"), evidence))
            }
            Err(ReadError::Io(source)) => {
                Err(Error::Io { action: "read the artefact", path: folder.object(content), source })
            }
        }
    }

    fn damaged(&self, problem: String, evidence: Option<PathBuf>) -> Error {
        self.entry.condemn();
        let error = self.error(problem, evidence);
        tracing::error!(%error, "an artefact is damaged; it counts as missing from now on");
        error
    }

    fn error(&self, problem: String, evidence: Option<PathBuf>) -> Error {
        let path: &Path = self.entry.folder().database();
        Error::Artefact { path: path.into(), key: self.key.to_string(), problem, evidence }
    }
}

/// Moves a damaged file out of the way, unless somebody is just about to replace it.
fn keep_evidence(folder: &Folder, content: Content, bytes: u64) -> Option<PathBuf> {
    let _alone = ContentHold::try_exclusive(folder, content).ok()??;
    folder.keep_evidence(content, bytes).ok()?
}

impl fmt::Debug for Artefact {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Artefact")
            .field("key", &self.key)
            .field("len", &self.len())
            .field("codec", &self.codec())
            .finish_non_exhaustive()
    }
}

/// Equal if they are the same bytes, whatever they are called.
impl PartialEq for Artefact {
    fn eq(&self, other: &Self) -> bool {
        match (&self.entry.known, &other.entry.known) {
            (Known::Ready { content: one, .. }, Known::Ready { content: other, .. }) => {
                one == other
            }
            _ => false,
        }
    }
}

/// Tables as Arrow IPC streams.
pub(crate) mod table {
    use arrow_ipc::reader::StreamReader;
    use arrow_ipc::writer::StreamWriter;
    use duckdb::arrow::error::ArrowError;
    use duckdb::arrow::record_batch::RecordBatch;

    pub(crate) fn encode(table: &RecordBatch) -> Result<Vec<u8>, ArrowError> {
        let mut writer = StreamWriter::try_new(Vec::new(), &table.schema())?;
        writer.write(table)?;
        writer.into_inner()
    }

    pub(crate) fn decode(bytes: &[u8]) -> Result<Vec<RecordBatch>, ArrowError> {
        StreamReader::try_new(bytes, None)?.collect()
    }
}
