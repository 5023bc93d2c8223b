//! The history of a run: what every actor did, as it happened.
//!
//! A history is a JSON Lines file. Its first line is the [`Header`]; every line after it is one
//! [`Event`], appended and flushed when it happens, so that a killed run keeps all that came before.
//! Events of different processes carry one clock (`CLOCK_MONOTONIC`, nanoseconds since boot), and
//! [`History::sort`] orders them by it.
//!
//! # Scope of determinism
//!
//! In `free` mode the order of events is the kernel's and DuckDB's; only the plan is fixed by the
//! seed. Nothing here claims more.
//!
//! # Invariants
//!
//! * An interval that a pair of events encloses (a lease, a phase) is never longer than the real one:
//!   the opening event is recorded after the fact, the closing one before it. Two enclosed intervals
//!   that overlap therefore did overlap.
//! * Checks read this module and nothing else.

use std::fmt;
use std::io::{self, BufRead, Write};

use serde::{Deserialize, Serialize};

/// The format that [`Header::format`] names.
pub const FORMAT: &str = "flockgate-history";
/// The version of the format that this build writes and reads.
pub const FORMAT_VERSION: &str = "1.0";

/// The first line of a history.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Header {
    /// Always [`FORMAT`].
    pub format: String,
    /// [`FORMAT_VERSION`] of the build that wrote the file.
    pub format_version: String,
    /// The scenario's id.
    pub scenario: String,
    /// The driver that ran it.
    pub driver: String,
    /// `0x` and 16 hexadecimal digits.
    pub seed: String,
    /// Who takes part.
    pub actors: Vec<Actor>,
}

/// A thread of a process that takes part in a run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Actor {
    /// `<role>-<process>/<thread>`, for example `training-0/1`.
    pub id: String,
    /// What it does.
    pub role: Role,
    /// Number of its process, counted from 0 over all roles.
    pub process: u32,
    /// Number of its thread within the process.
    pub thread: u32,
}

/// What an actor does, and the phase it does it in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Computes and publishes features, and fits.
    Training,
    /// Looks features up and scores.
    Evaluation,
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Training => "training",
            Self::Evaluation => "evaluation",
        })
    }
}

/// How a database file is held.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// Shared with other readers.
    Read,
    /// Alone, but for readers of the same process.
    Write,
}

/// A stored row: its key and a digest of its content. Content is a function of who computed what, so
/// two rows of one key with different digests are two different facts.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Row {
    /// 32 hexadecimal digits.
    pub key: String,
    /// 16 hexadecimal digits.
    pub content: String,
}

/// How an operation ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    /// It was acknowledged: it must be visible ever after.
    Ok,
    /// It surely did not happen.
    Failed,
    /// Nobody can tell.
    Unknown,
}

/// When a survey of held resources was taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum When {
    /// Before the first actor started.
    Before,
    /// After the last one ended.
    After,
}

/// One line of a history.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Event {
    /// `CLOCK_MONOTONIC`, nanoseconds.
    pub t_ns: u64,
    /// An [`Actor::id`], the name of a process (`training-0`), or `coordinator`.
    pub actor: String,
    /// What happened.
    #[serde(flatten)]
    pub what: What,
}

impl Event {
    /// The process part of [`Event::actor`]: `training-0` of `training-0/1`.
    pub fn process(&self) -> &str {
        self.actor.split('/').next().unwrap_or(&self.actor)
    }
}

/// What happened, one variant a kind of line. Operations are numbered within their actor.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "kebab-case")]
pub enum What {
    /// A process of the run started.
    ProcessStarted {
        /// Its process id.
        pid: u32,
    },
    /// A process of the run ended and was waited for.
    ProcessEnded {
        /// Its process id.
        pid: u32,
        /// Its exit code, or `None` if a signal killed it.
        code: Option<i32>,
    },
    /// A connection that holds the store was had. Recorded after it was.
    LeaseTaken {
        /// Unique within the process.
        lease: u64,
        /// How it holds the file.
        mode: Mode,
        /// From the first attempt to the open connection.
        waited_ns: u64,
    },
    /// A connection is about to be given back. Recorded before it is.
    LeaseReturned {
        /// The same as in [`What::LeaseTaken`].
        lease: u64,
    },
    /// The actor's process entered a phase. Recorded after it did.
    PhaseEntered {
        /// Which.
        phase: Role,
        /// The walk-forward window.
        window: u32,
    },
    /// The actor's process is about to leave a phase. Recorded before it does.
    PhaseLeft {
        /// Which.
        phase: Role,
        /// The walk-forward window.
        window: u32,
    },
    /// A look-up of a batch of keys ended. Whether a miss was of something published is for the reader
    /// of the history to say, who knows what was acknowledged when.
    Lookup {
        /// The walk-forward window.
        window: u32,
        /// Keys that were found, be it an artefact or a negative entry.
        hits: u32,
        /// Those of `hits` that are negative entries: somebody has found out that there is nothing.
        #[serde(default)]
        absent: u32,
        /// Keys that were not.
        missed: Vec<String>,
        /// From the call to the answer.
        took_ns: u64,
    },
    /// An artefact was computed.
    Computed {
        /// Its row's key.
        key: String,
        /// From start to end.
        took_ns: u64,
    },
    /// An artefact that was found was computed again, to be compared.
    Compared {
        /// Its row's key.
        key: String,
        /// Whether it is the same, to the last bit.
        same: bool,
    },
    /// A publish is about to begin.
    PublishStarted {
        /// Unique within the actor.
        op: u64,
        /// What it will store.
        rows: Vec<Row>,
    },
    /// A publish ended.
    PublishEnded {
        /// The same as in [`What::PublishStarted`].
        op: u64,
        /// How.
        outcome: Outcome,
    },
    /// Somebody else held the file.
    Conflict {
        /// The text of the lock error, or of the wait.
        message: String,
    },
    /// The operation is tried again after a pause.
    Retry {
        /// Counted from 1.
        attempt: u32,
        /// How long the actor sleeps before it.
        pause_ns: u64,
    },
    /// An error reached the pipeline's own code.
    SurfacedError {
        /// Its text.
        message: String,
    },
    /// A model was scored on a window.
    Score {
        /// The walk-forward window.
        window: u32,
        /// What was scored.
        ticker: String,
        /// Sessions scored.
        sessions: u32,
        /// Sum of squared errors on the window after the training range.
        squared_error: f64,
        /// Sum of squared labels, the error of the constant forecast 0.
        squared_label: f64,
        /// Sum of squared errors on the training range.
        squared_error_in_sample: f64,
        /// Sum of squared labels on the training range.
        squared_label_in_sample: f64,
        /// Sessions whose sign was right.
        sign_hits: u32,
    },
    /// What the store takes, and what it has counted, when everybody has gone.
    Stored {
        /// What its files take on disk.
        disk_bytes: u64,
        /// What computing the artefacts that were found would have taken, in microseconds.
        saved_us: u64,
    },
    /// What a fresh reader finds in the store when everybody has gone.
    Visible {
        /// All rows.
        rows: Vec<Row>,
    },
    /// What the run holds of the machine.
    Survey {
        /// Before or after the run.
        when: When,
        /// Open descriptors of the coordinator that point into the run's folder.
        descriptors: Vec<String>,
        /// File locks on files of the run's folder, by any process.
        locks: Vec<String>,
        /// Child processes, running or not waited for.
        processes: Vec<u32>,
        /// Files in the run's folder, relative to it.
        files: Vec<String>,
    },
}

/// A history in memory.
#[derive(Clone, Debug, PartialEq)]
pub struct History {
    /// The first line.
    pub header: Header,
    /// All others.
    pub events: Vec<Event>,
}

/// Why a history could not be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The file could not be read.
    #[error("read the history: {0}")]
    Io(#[from] io::Error),
    /// It has no line at all.
    #[error("read the history: the file is empty; a history begins with a header line")]
    Empty,
    /// A line is not what the format says.
    #[error("read the history, line {line}: {source}; a history is JSON Lines, one event a line")]
    Line {
        /// Counted from 1.
        line: usize,
        /// What the parser says.
        source: serde_json::Error,
    },
    /// Another format or version.
    #[error(
        "read the history: it says `{format}` version `{version}`, this build reads `{FORMAT}` version `{FORMAT_VERSION}`"
    )]
    Version {
        /// What the header says.
        format: String,
        /// What the header says.
        version: String,
    },
}

impl History {
    /// Reads a history, which may end in the middle of a line if its writer was killed: such a last
    /// line is left out.
    ///
    /// # Errors
    ///
    /// A [`ReadError`] that names the line.
    pub fn read(mut source: impl BufRead) -> Result<Self, ReadError> {
        // Bytes, since a line may be cut inside a character.
        let mut bytes = Vec::new();
        source.read_to_end(&mut bytes)?;
        if bytes.is_empty() {
            return Err(ReadError::Empty);
        }
        let mut lines: Vec<&[u8]> = bytes.split(|&byte| byte == b'\n').collect();
        if lines.len() > 1 {
            lines.pop(); // nothing, or a line that was cut
        }
        let (first, rest) = lines.split_first().expect("splitting gives one piece at least");
        let header: Header =
            serde_json::from_slice(first).map_err(|source| ReadError::Line { line: 1, source })?;
        if header.format != FORMAT || header.format_version != FORMAT_VERSION {
            return Err(ReadError::Version {
                format: header.format,
                version: header.format_version,
            });
        }
        let mut events = Vec::with_capacity(rest.len());
        for (index, line) in rest.iter().enumerate() {
            let event = serde_json::from_slice(line)
                .map_err(|source| ReadError::Line { line: index + 2, source })?;
            events.push(event);
        }
        let mut history = Self { header, events };
        history.sort();
        Ok(history)
    }

    /// Orders the events by time; events of one instant keep their order.
    pub fn sort(&mut self) {
        self.events.sort_by_key(|event| event.t_ns);
    }

    /// The role of the actor (or of the process) with that name.
    pub fn role(&self, actor: &str) -> Option<Role> {
        let process = actor.split('/').next()?;
        let found = self
            .header
            .actors
            .iter()
            .find(|known| known.id == actor || known.id.split('/').next() == Some(process))?;
        Some(found.role)
    }
}

/// Appends a history to a file, line by line.
#[derive(Debug)]
pub struct Recorder<W: Write> {
    sink: W,
}

impl<W: Write> Recorder<W> {
    /// Writes the header.
    ///
    /// # Errors
    ///
    /// The sink's own.
    pub fn start(mut sink: W, header: &Header) -> io::Result<Self> {
        write_line(&mut sink, header)?;
        Ok(Self { sink })
    }

    /// Writes one event and flushes it.
    ///
    /// # Errors
    ///
    /// The sink's own.
    pub fn record(&mut self, event: &Event) -> io::Result<()> {
        write_line(&mut self.sink, event)
    }
}

fn write_line(sink: &mut impl Write, value: &impl Serialize) -> io::Result<()> {
    let mut line = serde_json::to_vec(value)?;
    line.push(b'\n');
    sink.write_all(&line)?;
    sink.flush()
}
