//! What can go wrong, who stands in the way, and what to do about it.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::class::ErrorClass;
use crate::config::{AccessMode, ConfigError};
use crate::gate::record::{Holder, Phase};
use crate::status::LeaseStatus;
use crate::store::Leak;
use crate::walk_forward::WindowError;

/// Why a call did not do what it was asked to.
///
/// Branch on the variant, or on [`is_transient`](Self::is_transient); show the `Display` text to a person.
/// The text is not stable. Whatever the variant, nothing that was acknowledged is lost.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The wait for a lease, a phase or a creation ran out. Retryable.
    #[error(
        "{wanted} `{}`: still not possible after {waited:.1?}{}; wait longer, or end what is in the way",
        path.display(),
        in_the_way(holders, here)
    )]
    TimedOut {
        /// The database.
        path: PathBuf,
        /// What was waited for.
        wanted: Wanted,
        /// For how long.
        waited: Duration,
        /// Which processes held the gate then, or queued at it.
        holders: Vec<Holder>,
        /// Which leases this process itself had out, each with the line that took it.
        here: Vec<LeaseStatus>,
    },
    /// A program that does not take the gate holds the file, and held it until the deadline. Retryable.
    #[error(
        "open `{}`: held for {waited:.1?} by {}, which does not use the gate; close it there, or wait longer ({text})",
        path.display(),
        outsider(*pid, command.as_deref())
    )]
    HeldOutside {
        /// The database.
        path: PathBuf,
        /// The process that has it locked; `None` when nobody can tell, as in another container.
        pid: Option<u32>,
        /// Its command line, if it is still there.
        command: Option<String>,
        /// How long it was waited for.
        waited: Duration,
        /// How it was met: DuckDB's words, or ours if the kernel was asked.
        text: String,
    },
    /// A write lease was asked for while an evaluation phase is on, and this manager's configuration
    /// refuses that ([`Config::writes_in_evaluation`](crate::Config::writes_in_evaluation)).
    #[error(
        "write to `{}`: an evaluation phase is on{}; wait until it ends, or allow writes in evaluation",
        path.display(),
        in_the_way(holders, &[])
    )]
    EvaluationIsOn {
        /// The database.
        path: PathBuf,
        /// Who is evaluating.
        holders: Vec<Holder>,
    },
    /// This process has the file open already: through another manager, or under the name of a hard link.
    /// DuckDB would open it twice, without an error, and lose what one of the two commits.
    #[error(
        "open `{}`: this process manages that file already, as `{}`; share that manager and that path",
        path.display(),
        managed_as.display()
    )]
    AlreadyManaged {
        /// The path that was asked for.
        path: PathBuf,
        /// The path it is managed under.
        managed_as: PathBuf,
    },
    /// The database cannot be opened, now or later, until somebody mends what the class says.
    #[error("open `{}`: {text}; {}", path.display(), class.remedy())]
    Unusable {
        /// The database.
        path: PathBuf,
        /// What is wrong with it.
        class: ErrorClass,
        /// DuckDB's words, or the operating system's.
        text: String,
    },
    /// Code of this process has opened the database by plain DuckDB, without the manager. Two instances of one file in a
    /// process lose what one of them commits.
    #[error(
        "open `{}`: this process has opened the file without the manager; close it there, or use a lease instead",
        path.display()
    )]
    OpenHere {
        /// The database.
        path: PathBuf,
    },
    /// The calling thread has a lease of that database already. It would wait for itself: for good if one of the two is
    /// to write, and as soon as a writer waits in between if both are to read.
    #[error(
        "{} `{}` at {wanted_at}: this thread has a {held}; return that first, use it for both, or `unbind` it if \
         another thread is going to return it",
        Wanted::Lease(*wanted),
        path.display()
    )]
    Nested {
        /// The database.
        path: PathBuf,
        /// The lease that this thread has.
        held: LeaseStatus,
        /// What was asked for now.
        wanted: AccessMode,
        /// The line that asked.
        wanted_at: String,
    },
    /// The wait was ended by [`Cancel::cancel`](crate::Cancel::cancel).
    #[error("{wanted} `{}`: cancelled after {waited:.1?}", path.display())]
    Cancelled {
        /// The database.
        path: PathBuf,
        /// What was waited for.
        wanted: Wanted,
        /// For how long.
        waited: Duration,
    },
    /// A future of an [`AsyncManager`](crate::AsyncManager) had to wait and could not: it was polled outside of a tokio
    /// runtime, or in one that shuts down. Nothing was done.
    #[cfg(feature = "tokio")]
    #[error(
        "wait: there is no tokio runtime to wait in, or it shuts down; await the future in one, or use the `Manager` \
         itself"
    )]
    NoRuntime,
    /// This process was forked from the one that made the manager. DuckDB does not work across a fork: a child that went
    /// on with what it inherited would overwrite what its parent stores.
    #[error(
        "{wanted} `{}`: this process was forked from the one that made the manager; start another program instead          (`std::process::Command`), or make the manager after the fork",
        path.display()
    )]
    Forked {
        /// The database.
        path: PathBuf,
        /// What was asked for.
        wanted: Wanted,
    },
    /// The database was found damaged, now or earlier, and nobody opens it until somebody mends it. Nothing was changed.
    #[error(
        "open `{}`: it is in quarantine, {text}; restore it from a backup, which ends the quarantine, and see `{}`",
        path.display(),
        evidence.display()
    )]
    Quarantined {
        /// The database.
        path: PathBuf,
        /// The file that says when and by whom it was found.
        evidence: PathBuf,
        /// What is wrong with it.
        class: ErrorClass,
        /// DuckDB's words.
        text: String,
    },
    /// The gate file beside the database cannot be used.
    #[error(
        "use the gate `{}`: {source}; it and its folder have to be writable, and their file system has to have locks",
        path.display()
    )]
    Gate {
        /// The gate file.
        path: PathBuf,
        /// What the operating system says.
        source: io::Error,
    },
    /// A file operation failed.
    #[error("{action} `{}`: {source}", path.display())]
    Io {
        /// What was tried, as a verb.
        action: &'static str,
        /// On which path.
        path: PathBuf,
        /// What the operating system says.
        source: io::Error,
    },
    /// A statement failed. Inside a transaction nothing of that transaction is stored.
    #[error("{source}; {}", class.remedy())]
    Database {
        /// What the text means.
        class: ErrorClass,
        /// The error of the `duckdb` crate.
        source: Box<duckdb::Error>,
    },
    /// The closure ended well although a statement of its transaction had failed. The transaction was
    /// rolled back: DuckDB would have answered its COMMIT with success, and stored nothing.
    #[error(
        "commit to `{}`: a statement failed before, so everything was rolled back; \
         let the closure return that error ({first_failure})",
        path.display()
    )]
    Poisoned {
        /// The database.
        path: PathBuf,
        /// The text of the first error.
        first_failure: String,
    },
    /// The closure ended its transaction itself, by a COMMIT or ROLLBACK of its own. What it did before that is
    /// stored or not as it asked; what it did after is rolled back. It is never run again.
    #[error(
        "commit to `{}`: the closure ended the transaction itself; leave COMMIT and ROLLBACK to the manager, and \
         look what is stored before repeating it",
        path.display()
    )]
    TransactionEnded {
        /// The database.
        path: PathBuf,
    },
    /// The commit, or the creation of the database, was cut off: what it was to store is either all there or not there at
    /// all. Look before doing it again.
    #[error("commit to `{}`: cut off, stored wholly or not at all ({text}); look before repeating it", path.display())]
    UnknownOutcome {
        /// The database.
        path: PathBuf,
        /// The error that cut it off.
        text: String,
    },
    /// A stored artefact is not what was published. It counts as missing from now on; computing and publishing it again
    /// heals it.
    #[error("read artefact {key} of `{}`: {problem}{}; publish it again", path.display(), kept_as(evidence.as_deref()))]
    Artefact {
        /// The database.
        path: PathBuf,
        /// Its key.
        key: String,
        /// What is wrong with it.
        problem: String,
        /// Where the damaged bytes are kept, if they are in a file.
        evidence: Option<PathBuf>,
    },
    /// An artefact knows more than its user may.
    #[error(transparent)]
    Leak(#[from] Leak),
    /// Somebody else computes the artefact, and was not done in time. Retryable.
    #[error(
        "compute artefact {key} of `{}`: somebody else does and is not done after {waited:.1?}{}; wait longer          (`StoreOptions::computation_wait_max`), or end who hangs",
        path.display(),
        in_the_way(holders, &[])
    )]
    StillComputing {
        /// The database.
        path: PathBuf,
        /// Its key.
        key: String,
        /// For how long it was waited for.
        waited: Duration,
        /// Who computes it, if that is another process. What they are called has the key in it.
        holders: Vec<Holder>,
    },
    /// Somebody else computed the artefact meanwhile, and failed. Calling again computes it here.
    #[error("compute artefact {key} of `{}`: {by} failed at it: {reason}", path.display())]
    ComputationFailed {
        /// The database.
        path: PathBuf,
        /// Its key.
        key: String,
        /// Who, in words.
        by: String,
        /// The text of the error, or of the panic.
        reason: String,
    },
    /// The file of something that was left for the manifest is damaged. It is kept as it is.
    #[error("read `{}`: {problem}; remove it, what it was is computed again", path.display())]
    Spooled {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        problem: String,
    },
    /// A walk-forward has no windows.
    #[error(transparent)]
    Windows(WindowError),
    /// A setting is out of bounds.
    #[error(transparent)]
    Config(#[from] ConfigError),
}

/// What a timed-out call waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Wanted {
    /// A lease.
    Lease(AccessMode),
    /// To enter a phase.
    Phase(Phase),
    /// To create the database.
    Creation,
}

impl std::fmt::Display for Wanted {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Lease(AccessMode::ReadOnly) => f.write_str("read"),
            Self::Lease(AccessMode::ReadWrite) => f.write_str("write to"),
            Self::Phase(phase) => write!(f, "enter the {phase} phase of"),
            Self::Creation => f.write_str("create"),
        }
    }
}

impl Error {
    /// Whether the same call can succeed later without anybody mending anything.
    pub fn is_transient(&self) -> bool {
        match self {
            Self::TimedOut { .. }
            | Self::HeldOutside { .. }
            | Self::EvaluationIsOn { .. }
            | Self::StillComputing { .. } => true,
            Self::Database { class, .. } | Self::Unusable { class, .. } => class.is_transient(),
            _ => false,
        }
    }

    /// Whether the instance it came from is dead.
    pub(crate) fn is_fatal(&self) -> bool {
        match self {
            Self::UnknownOutcome { text, .. } | Self::Poisoned { first_failure: text, .. } => {
                ErrorClass::of(text) == ErrorClass::Fatal
            }
            error => error.class() == Some(ErrorClass::Fatal),
        }
    }

    /// What kind of DuckDB error it is, if it is one.
    pub fn class(&self) -> Option<ErrorClass> {
        match self {
            Self::Database { class, .. }
            | Self::Unusable { class, .. }
            | Self::Quarantined { class, .. } => Some(*class),
            Self::HeldOutside { .. } => Some(ErrorClass::FileLocked),
            Self::Poisoned { .. } => Some(ErrorClass::TransactionAborted),
            _ => None,
        }
    }
}

impl From<duckdb::Error> for Error {
    fn from(source: duckdb::Error) -> Self {
        Self::Database { class: ErrorClass::of(&source.to_string()), source: Box::new(source) }
    }
}

fn in_the_way(holders: &[Holder], here: &[LeaseStatus]) -> String {
    let mut names: Vec<String> = holders.iter().map(ToString::to_string).collect();
    names.extend(here.iter().map(|lease| format!("this process's own lease, {lease}")));
    if names.is_empty() { String::new() } else { format!(", in the way: {}", names.join("; ")) }
}

fn kept_as(evidence: Option<&Path>) -> String {
    evidence.map_or_else(String::new, |file| format!(" (kept as `{}`)", file.display()))
}

/// A process that holds the file without the gate, in words.
pub(crate) fn outsider(pid: Option<u32>, command: Option<&str>) -> String {
    match (pid, command) {
        (Some(pid), Some(command)) => format!("pid {pid} (`{command}`)"),
        (Some(pid), None) => format!("pid {pid}"),
        (None, _) => "a process that nobody can name".to_owned(),
    }
}
