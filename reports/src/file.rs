//! `report.json` on disk: there as a whole, or not at all.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process;
use std::sync::atomic::{AtomicU64, Ordering};

use serde::Deserialize;

use crate::model::{FORMAT, Report};

/// The name of a report in its folder.
pub const FILE_NAME: &str = "report.json";

/// The only major version that this build reads.
const MAJOR_VERSION: &str = "1";

/// Why a report could not be written. [`ExitCode::NotWritten`](crate::ExitCode::NotWritten) is the exit
/// code for all of them.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum WriteError {
    /// The report holds a value that JSON cannot express. Nothing was written.
    #[error(
        "encode `{}`: {source}, which JSON cannot hold; leave out the window that has no score",
        path.display()
    )]
    Encode {
        /// Where the report would have gone.
        path: PathBuf,
        /// What cannot be encoded.
        source: serde_json::Error,
    },
    /// No file could be made in the folder.
    #[error(
        "create `{}`: {source}; make the folder, or name another with `--output`",
        path.display()
    )]
    Create {
        /// The temporary file.
        path: PathBuf,
        /// The system's answer.
        source: io::Error,
    },
    /// The file could not be filled. It has been removed.
    #[error(
        "write `{}`: {source}; free some space, or name another folder with `--output`",
        path.display()
    )]
    Fill {
        /// The temporary file.
        path: PathBuf,
        /// The system's answer.
        source: io::Error,
    },
    /// The file could not get its final name. It has been removed.
    #[error(
        "rename the written report to `{}`: {source}; move away what stands there",
        path.display()
    )]
    Publish {
        /// The final name.
        path: PathBuf,
        /// The system's answer.
        source: io::Error,
    },
    /// The report is in place, but a power cut may still take it away.
    #[error(
        "sync the folder of `{}`: {source}; the report is there, copy it to a filesystem that syncs",
        path.display()
    )]
    Sync {
        /// The report.
        path: PathBuf,
        /// The system's answer.
        source: io::Error,
    },
}

/// Why a report could not be read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReadError {
    /// The file could not be read.
    #[error("read `{}`: {source}; name a `report.json`", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// The system's answer.
        source: io::Error,
    },
    /// The file is not JSON, or a field is missing or of another type.
    #[error(
        "parse `{}`: {source}; the file is damaged or was edited, write it again with `harness run`",
        path.display()
    )]
    Parse {
        /// The file.
        path: PathBuf,
        /// What was expected, with line and column.
        source: serde_json::Error,
    },
    /// The file is JSON of another kind.
    #[error(
        "read `{}`: its format is `{found}`, not `{FORMAT}`; name a `report.json`",
        path.display()
    )]
    Format {
        /// The file.
        path: PathBuf,
        /// What it calls itself. Empty if it does not.
        found: String,
    },
    /// The report follows other rules than this build knows.
    #[error(
        "read `{}`: its format version is `{found}`, this build reads `{MAJOR_VERSION}.x`; \
         read it with the build that wrote it",
        path.display()
    )]
    Version {
        /// The file.
        path: PathBuf,
        /// What it says. Empty if it does not.
        found: String,
    },
}

/// What says how the rest is to be read.
#[derive(Deserialize)]
struct Envelope {
    #[serde(default)]
    format: String,
    #[serde(default)]
    format_version: String,
}

impl Report {
    /// Writes `report.json` into `dir` and returns its path.
    ///
    /// A reader sees the old file or the new one, never a part: the text goes to a temporary file in
    /// the same folder, is synced, gets its name, and the folder is synced. `dir` must exist. Blocks for
    /// as long as the disk takes to sync twice.
    ///
    /// # Errors
    ///
    /// * [`WriteError::Encode`] if a score is not finite. Trying again does not help.
    /// * [`WriteError::Create`] if `dir` is missing or not writable.
    /// * [`WriteError::Fill`] if the disk is full or failing.
    /// * [`WriteError::Publish`] if something that is no file has the name already.
    /// * [`WriteError::Sync`] if the folder cannot be synced; only then is the report in place.
    pub fn write(&self, dir: impl AsRef<Path>) -> Result<PathBuf, WriteError> {
        let dir = dir.as_ref();
        let path = dir.join(FILE_NAME);
        let mut text = serde_json::to_vec_pretty(self)
            .map_err(|source| WriteError::Encode { path: path.clone(), source })?;
        text.push(b'\n');

        let mut temporary = Temporary::create(dir)?;
        temporary.fill(&text)?;
        temporary.publish(&path)?;
        match File::open(dir).and_then(|folder| folder.sync_all()) {
            Ok(()) => Ok(path),
            Err(source) => Err(WriteError::Sync { path, source }),
        }
    }

    /// Reads a report that this or another build wrote.
    ///
    /// Keys that this build does not know are skipped, and a status it does not know is read as
    /// [`Status::Error`](crate::Status::Error), so a later minor version can be read.
    ///
    /// # Errors
    ///
    /// * [`ReadError::Io`] if the file cannot be read.
    /// * [`ReadError::Parse`] if it is no JSON, or a field is missing or of another type.
    /// * [`ReadError::Format`] if it is something else than a report.
    /// * [`ReadError::Version`] if its major version is another.
    pub fn read(path: impl AsRef<Path>) -> Result<Self, ReadError> {
        let path = path.as_ref();
        let text =
            fs::read(path).map_err(|source| ReadError::Io { path: path.to_owned(), source })?;
        let parse_error = |source| ReadError::Parse { path: path.to_owned(), source };
        // The envelope first: of a foreign file, or of a later major version, the rest says nothing.
        let envelope: Envelope = serde_json::from_slice(&text).map_err(parse_error)?;
        if envelope.format != FORMAT {
            return Err(ReadError::Format { path: path.to_owned(), found: envelope.format });
        }
        let major = envelope.format_version.split_once('.').map(|(major, _)| major);
        if major != Some(MAJOR_VERSION) {
            return Err(ReadError::Version {
                path: path.to_owned(),
                found: envelope.format_version,
            });
        }
        serde_json::from_slice(&text).map_err(parse_error)
    }
}

/// A file on its way to its final name. Whatever happens before, dropping it leaves nothing behind.
struct Temporary {
    path: PathBuf,
    file: File,
}

impl Temporary {
    /// Makes an empty file in `dir` whose name no other writer uses: the process id parts processes, the
    /// counter parts the threads of one.
    fn create(dir: &Path) -> Result<Self, WriteError> {
        static COUNTER: AtomicU64 = AtomicU64::new(0);
        // Relaxed: only the numbers must differ, nothing else is ordered by them.
        let number = COUNTER.fetch_add(1, Ordering::Relaxed);
        let path = dir.join(format!(".{FILE_NAME}.{}-{number}", process::id()));
        match File::create(&path) {
            Ok(file) => Ok(Self { path, file }),
            Err(source) => Err(WriteError::Create { path, source }),
        }
    }

    /// Writes the text and waits until the disk has it: a rename that overtakes its content would
    /// leave an empty report after a power cut.
    fn fill(&mut self, text: &[u8]) -> Result<(), WriteError> {
        self.file
            .write_all(text)
            .and_then(|()| self.file.sync_all())
            .map_err(|source| WriteError::Fill { path: self.path.clone(), source })
    }

    /// Gives the file its final name, in one step.
    fn publish(self, path: &Path) -> Result<(), WriteError> {
        fs::rename(&self.path, path)
            .map_err(|source| WriteError::Publish { path: path.to_owned(), source })
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        // After `publish` there is nothing under this name. Otherwise an error is on its way up already
        // and says more than a failed removal could.
        let _ = fs::remove_file(&self.path);
    }
}
