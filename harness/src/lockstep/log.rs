//! The decision log: JSON Lines, a header, then for each step what was decided and what came of it, then the end.
//!
//! # Contract
//!
//! * A decision is in the file before its step runs, its outcome after: a process that is killed, or crashes in the
//!   engine, leaves a log that ends with the step it was in.
//! * A log holds its whole scenario: it can be replayed where that file is not.
//! * It holds no time, process number or path: the same seed and build give the same bytes.
//! * A log that was cut off is read up to its last whole line. One of another format version is refused.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Write as _};
use std::path::Path;

use reports::Hex64;
use serde::{Deserialize, Serialize};

use super::act::Act;
use super::driver::{Outcome, Waits};
use crate::seed::fnv1a;

/// What [`Header::format`] always says.
pub const FORMAT: &str = "flockgate-decisions";
/// The version that this build writes.
pub const VERSION: u32 = 2;
/// The oldest version that this build reads: it has no points within operations, no faults, and no digest of files.
pub const OLDEST: u32 = 1;

/// A log, as far as it goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Log {
    /// What was run.
    pub header: Header,
    /// In order.
    pub steps: Vec<Step>,
    /// How it ended; none if it was cut off.
    pub end: Option<End>,
}

/// The first line.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Header {
    /// Always [`FORMAT`].
    pub format: String,
    /// [`VERSION`] of the build that wrote it.
    pub version: u32,
    /// The scenario's id.
    pub scenario: String,
    /// The digest of its text.
    pub scenario_digest: Hex64,
    /// Its whole text.
    pub scenario_text: String,
    /// The driver's name.
    pub driver: String,
    /// What the schedule was drawn from. The decisions below count, not this.
    pub seed: Hex64,
    /// Which strategy drew it, and which of its schedules this is.
    pub strategy: String,
    /// What ran it.
    pub build: Build,
}

/// What a run was built from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Build {
    /// Version of the harness.
    pub harness: String,
    /// The commit's hash, if known, with `+` if files differed from it.
    pub commit: Option<String>,
    /// The engine, as it names itself.
    pub duckdb: String,
    /// The target triple.
    pub target: String,
    /// The cargo profile.
    pub profile: String,
}

impl Build {
    /// This one.
    pub fn of_this_program() -> Self {
        let versions = crate::provenance::versions();
        let dirty = if versions.dirty == Some(true) { "+" } else { "" };
        Self {
            harness: env!("CARGO_PKG_VERSION").to_owned(),
            commit: versions.commit.map(|commit| commit + dirty),
            duckdb: versions.duckdb,
            target: versions.target,
            profile: versions.profile,
        }
    }
}

/// A decision and what came of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// Who moved, and between whom that was decided.
    pub decision: Decision,
    /// None in the last step of a log that was cut off.
    pub came: Option<Came>,
}

/// Who moves next.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Decision {
    /// Counted from 0.
    pub step: u64,
    /// Virtual time.
    pub at_ns: u64,
    /// Who could have moved, in the order of the scenario.
    pub enabled: Vec<String>,
    /// Who does.
    pub actor: String,
    /// What it does.
    pub op: String,
    /// Where it stands within that, if it has begun it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at: Option<String>,
    /// What happens to it.
    #[serde(default, skip_serializing_if = "Act::is_go")]
    pub act: Act,
}

/// What came of a step.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Came {
    /// The step's number.
    pub step: u64,
    /// How it ended.
    #[serde(flatten)]
    pub outcome: Outcome,
    /// What it waits for, if it is blocked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub waits: Option<Waits>,
}

/// The last line.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct End {
    /// Why there is no further step.
    #[serde(flatten)]
    pub ended: Ended,
    /// Virtual time.
    pub at_ns: u64,
    /// A digest of what the database held then; none if nobody could look.
    pub contents: Option<Hex64>,
    /// Why nobody could read it, though nobody was in the way.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unreadable: Option<String>,
    /// What processes still had open of its files when everybody had gone, by who: an actor, or `(scheduler)`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub left_open: BTreeMap<String, Vec<String>>,
    /// A digest of its files, byte for byte.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub files: Option<Hex64>,
    /// The scenario's counter before the first step and at the end, if it has one.
    pub counter: Option<[i64; 2]>,
    /// What the scenario asks at the end, and the answers.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub answers: BTreeMap<String, String>,
}

/// Why a schedule ended.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "ended", rename_all = "snake_case")]
pub enum Ended {
    /// Everybody has done everything.
    #[default]
    Done,
    /// Somebody waits, and nobody is left who could end that.
    Deadlock {
        /// Who waits for whom.
        graph: Vec<Edge>,
    },
    /// The process of an actor died, and nobody had decided that.
    Died {
        /// Who.
        actor: String,
        /// In which operation.
        op: String,
        /// Its exit code, or the signal.
        how: String,
    },
    /// An actor did not come back from its step. This is told by a wall clock, and no replay promises it.
    Stuck {
        /// Who.
        actor: String,
        /// From which operation.
        op: String,
    },
}

/// An actor that waits.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Edge {
    /// Who.
    pub actor: String,
    /// To do what.
    pub op: String,
    /// For what, and who has it.
    pub waits: Waits,
}

/// A line of the file.
#[derive(Serialize, Deserialize)]
#[serde(tag = "line", rename_all = "lowercase")]
enum Line {
    Header(Header),
    Decision(Decision),
    Came(Came),
    End(End),
}

/// Why a log cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// The file cannot be read.
    #[error("read the decision log `{path}`: {source}")]
    Io {
        /// The file.
        path: String,
        /// What the operating system says.
        source: io::Error,
    },
    /// It is something else.
    #[error("{path}:1: expected the header of a decision log (`{FORMAT}`), found {found}")]
    Format {
        /// The file.
        path: String,
        /// What it begins with.
        found: String,
    },
    /// It follows other rules than this build knows.
    #[error(
        "{path}:1: the decision log has format version {found}, this build reads {OLDEST} to {VERSION}; replay it with \
         the build that wrote it"
    )]
    Version {
        /// The file.
        path: String,
        /// What it says.
        found: String,
    },
    /// A line that is not the last is not one of a log.
    #[error("{path}:{line}: {problem}; the log is damaged, not only cut off")]
    Line {
        /// The file.
        path: String,
        /// Counted from 1.
        line: usize,
        /// What is wrong with it.
        problem: String,
    },
}

/// A log that is being written.
pub struct Writer {
    file: File,
    log: Log,
}

impl Writer {
    /// Begins a log in a file that is made anew.
    ///
    /// # Errors
    ///
    /// What the operating system says.
    pub fn create(path: &Path, header: Header) -> io::Result<Self> {
        let mut writer = Self {
            file: File::create(path)?,
            log: Log { header: header.clone(), steps: Vec::new(), end: None },
        };
        writer.put(&Line::Header(header))?;
        Ok(writer)
    }

    pub(super) fn decided(&mut self, decision: Decision) -> io::Result<()> {
        self.put(&Line::Decision(decision.clone()))?;
        self.log.steps.push(Step { decision, came: None });
        Ok(())
    }

    pub(super) fn came(&mut self, came: Came) -> io::Result<()> {
        self.put(&Line::Came(came.clone()))?;
        if let Some(last) = self.log.steps.last_mut() {
            last.came = Some(came);
        }
        Ok(())
    }

    pub(super) fn ended(&mut self, end: End) -> io::Result<()> {
        self.put(&Line::End(end.clone()))?;
        self.log.end = Some(end);
        Ok(())
    }

    /// What was written.
    pub fn into_log(self) -> Log {
        self.log
    }

    /// One `write`: whoever reads sees whole lines, but perhaps for the last.
    fn put(&mut self, line: &Line) -> io::Result<()> {
        let mut text = serde_json::to_vec(line)?;
        text.push(b'\n');
        self.file.write_all(&text)
    }
}

impl Log {
    /// Reads a log.
    ///
    /// # Errors
    ///
    /// A [`LogError`] with the place. A last line that is cut off is no error.
    pub fn read(path: &Path) -> Result<Self, LogError> {
        let name = path.display().to_string();
        match std::fs::read(path) {
            Ok(bytes) => Self::parse(&name, &bytes),
            Err(source) => Err(LogError::Io { path: name, source }),
        }
    }

    /// Reads the bytes of a log; errors call it `name`.
    ///
    /// # Errors
    ///
    /// Those of [`read`](Self::read).
    pub fn parse(name: &str, bytes: &[u8]) -> Result<Self, LogError> {
        // What stands behind the last line end was cut off.
        let whole = bytes.iter().rposition(|&byte| byte == b'\n').map_or(0, |end| end + 1);
        let mut lines = bytes[..whole].split(|&byte| byte == b'\n').filter(|line| !line.is_empty());
        let header = header(name, lines.next().unwrap_or_default())?;
        let mut log = Self { header, steps: Vec::new(), end: None };
        for (index, line) in lines.enumerate() {
            log.add(line).map_err(|problem| {
                let path = name.to_owned();
                LogError::Line { path, line: index + 2, problem }
            })?;
        }
        Ok(log)
    }

    /// The bytes of its file.
    pub fn text(&self) -> String {
        let mut lines = vec![Line::Header(self.header.clone())];
        for step in &self.steps {
            lines.push(Line::Decision(step.decision.clone()));
            lines.extend(step.came.clone().map(Line::Came));
        }
        lines.extend(self.end.clone().map(Line::End));
        lines.iter().map(|line| serde_json::to_string(line).unwrap_or_default() + "\n").collect()
    }

    /// Whether its end is missing.
    pub fn is_cut(&self) -> bool {
        self.end.is_none()
    }

    /// Equal for equal schedules with equal outcomes.
    pub fn digest(&self) -> u64 {
        let mut text = String::new();
        for step in &self.steps {
            let part = serde_json::to_string(&(&step.decision, &step.came));
            text.push_str(&part.unwrap_or_default());
        }
        text.push_str(&serde_json::to_string(&self.end).unwrap_or_default());
        fnv1a(text.as_bytes())
    }

    fn add(&mut self, line: &[u8]) -> Result<(), String> {
        let line: Line = serde_json::from_slice(line).map_err(|error| error.to_string())?;
        let open = self.steps.last().filter(|step| step.came.is_none());
        match line {
            _ if self.end.is_some() => return Err("a line behind the end".to_owned()),
            Line::Decision(decision)
                if open.is_none() && decision.step == self.steps.len() as u64 =>
            {
                self.steps.push(Step { decision, came: None });
            }
            Line::Came(came) if open.is_some_and(|step| step.decision.step == came.step) => {
                let last = self.steps.last_mut().expect("it is open");
                last.came = Some(came);
            }
            Line::End(end) => self.end = Some(end),
            _ => return Err("a line out of order".to_owned()),
        }
        Ok(())
    }
}

fn header(name: &str, line: &[u8]) -> Result<Header, LogError> {
    let path = name.to_owned();
    let foreign = |found: &str| LogError::Format { path: path.clone(), found: found.to_owned() };
    if line.is_empty() {
        return Err(foreign("no whole line"));
    }
    // The envelope first: of another version the rest says nothing.
    let value: serde_json::Value =
        serde_json::from_slice(line).map_err(|_| foreign("something that is no JSON"))?;
    match value["format"].as_str() {
        Some(FORMAT) => {}
        Some(other) => return Err(foreign(&format!("`{other}`"))),
        None => return Err(foreign("a line without a format")),
    }
    let version = value["version"].as_u64();
    if !version.is_some_and(|version| (OLDEST.into()..=VERSION.into()).contains(&version)) {
        return Err(LogError::Version { path, found: value["version"].to_string() });
    }
    match serde_json::from_value(value) {
        Ok(Line::Header(header)) => Ok(header),
        Ok(_) => Err(foreign("another line")),
        Err(error) => Err(LogError::Line { path, line: 1, problem: error.to_string() }),
    }
}
