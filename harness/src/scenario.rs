//! Reads a scenario: which data, which windows, who takes part, and what must come out.
//!
//! # Scope of determinism
//!
//! A scenario is a pure function of its file's text and path. It names its data by path only: the data
//! itself is read elsewhere.
//!
//! # Invariants
//!
//! * A [`Scenario`] that was read keeps the bounds that `scenarios/README.md` states, so that nothing
//!   after it checks them again.
//! * No mistake passes in silence: unknown keys are refused, and every error names the place, what was
//!   found and what was expected.

mod document;
pub mod script;
#[cfg(test)]
mod tests;
mod work;

use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::io::ErrorKind;
use std::ops::RangeInclusive;
use std::path::Path;

use manager::WindowMode;
use serde::{Deserialize, Serialize};

use crate::check::{self, Check, Verdict};
use document::{Document, Item, Section};

pub use document::{Place, ScenarioError};
pub use work::{Data, Model, Panel, Work, Writes};

/// The version of the file format that this build reads.
pub const FORMAT: u32 = 1;

/// The suites that a scenario may belong to.
pub const SUITES: [&str; 4] = ["demo", "smoke", "ci", "full"];

/// Four hundred years of trading, which no sum of a few such lengths carries past 32 bits.
const SESSIONS_MAX: u32 = 100_000;

/// More than any run counts.
const COUNT_MAX: u32 = 1_000_000_000;

/// A scenario file.
#[derive(Clone, Debug, PartialEq)]
pub struct Scenario {
    /// Names it in reports and file names: lower-case letters, digits and hyphens.
    pub id: String,
    /// One line for people.
    pub title: String,
    /// At least one of [`SUITES`].
    pub suites: Vec<String>,
    /// Who orders the steps.
    pub mode: Mode,
    /// At least one, none twice, in the order they run.
    pub drivers: Vec<Driver>,
    /// What is done, and on what.
    pub work: Work,
    /// How time is cut.
    pub windows: Windows,
    /// Who trains.
    pub training: Workers,
    /// Who evaluates.
    pub evaluation: Workers,
    /// When what evaluators have computed gets into the database.
    pub writes: Writes,
    /// What must come out, where it differs from the default.
    pub expect: BTreeMap<Driver, Expect>,
}

/// Who orders the steps of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// The kernel: real parallelism, real clocks.
    Free,
}

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Free => f.write_str("free"),
        }
    }
}

/// How actors get at the database file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Driver {
    /// Opens the file when it needs it, and takes a lock error for a cache miss.
    Naive,
    /// Opens the file when it needs it, and tries again after a lock error.
    Retrying,
    /// Goes through the manager.
    Managed,
}

impl Driver {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Naive, Self::Retrying, Self::Managed];

    /// Its name in scenario files, flags and reports.
    pub fn name(self) -> &'static str {
        match self {
            Self::Naive => "naive",
            Self::Retrying => "retrying",
            Self::Managed => "managed",
        }
    }
}

impl fmt::Display for Driver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// How time is cut. The unit is the trading session.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Windows {
    /// Whether the training range rolls or expands.
    pub mode: WindowMode,
    /// How many windows are run: the last ones.
    pub count: u32,
    /// Length of a feature block.
    pub block_sessions: u32,
    /// Length of the training range (of the first one, when expanding).
    pub train_sessions: u32,
    /// Length of the evaluation range.
    pub eval_sessions: u32,
    /// Distance between two evaluation ranges.
    pub step_sessions: u32,
    /// A label is the return over so many sessions.
    pub label_sessions: u32,
    /// Left out between training and evaluation, on top of the purge.
    pub embargo_sessions: u32,
}

/// How many processes and threads have a role.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Workers {
    /// Processes.
    pub processes: u32,
    /// Threads in each of them.
    pub threads: u32,
}

/// What must come out of a run with one driver.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Expect {
    /// At least so many lock conflicts.
    pub conflicts_min: Option<u64>,
    /// At most so many errors that reach the pipeline's own code.
    pub surfaced_errors_max: Option<u64>,
    /// At most so many acknowledged rows that are gone.
    pub lost_rows_max: Option<u64>,
    /// At least so many blocks computed although they had been published.
    pub recomputes_min: Option<u64>,
    /// At most so many blocks computed although they had been published.
    pub recomputes_max: Option<u64>,
    /// At least this share of the look-ups of published keys are hits.
    pub hit_ratio_published_min: Option<f64>,
    /// Exactly so many artefacts are computed. Of a panel only.
    pub computed_exactly: Option<u64>,
    /// At least this share of all look-ups are hits. Of a panel only.
    pub hit_ratio_min: Option<f64>,
    /// Verdicts by the id of the check, where a scenario states them.
    pub checks: BTreeMap<String, Verdict>,
}

impl Expect {
    /// The verdict that the check with that id must come to: it holds, unless the scenario says
    /// otherwise.
    pub fn verdict(&self, check: &str) -> Verdict {
        self.checks.get(check).copied().unwrap_or(Verdict::Holds)
    }
}

impl Scenario {
    /// Reads a scenario file.
    ///
    /// # Errors
    ///
    /// A [`ScenarioError`] that names the file and, if the text is at fault, the place in it.
    pub fn read(file: &Path) -> Result<Self, ScenarioError> {
        let no_file = |found| ScenarioError::NoFile { file: file.to_owned(), found };
        match fs::read(file) {
            Ok(bytes) => Self::parse(file, &bytes),
            Err(error) if error.kind() == ErrorKind::NotFound => Err(no_file("no such file")),
            Err(error) if error.kind() == ErrorKind::IsADirectory => Err(no_file("a directory")),
            Err(source) => Err(ScenarioError::Io { file: file.to_owned(), source }),
        }
    }

    /// Reads the content of a scenario file. `file` is where paths in it start from, and what errors
    /// call it.
    ///
    /// # Errors
    ///
    /// A [`ScenarioError`] that names the place in the text.
    pub fn parse(file: &Path, bytes: &[u8]) -> Result<Self, ScenarioError> {
        let document = Document::parse(file, bytes)?;
        if let Some(other) = document.root_item("mode").filter(is_lockstep) {
            mode(&other)?; // says so, rather than that the keys of a script are unknown
        }
        let root = document.root(&[
            "format",
            "id",
            "title",
            "suites",
            "mode",
            "drivers",
            "data",
            "windows",
            "training",
            "evaluation",
            "model",
            "panel",
            "expect",
        ])?;
        format(&root.item("format"))?;
        let suites = SUITES.map(|suite| (suite, suite));
        let of_panel = root.optional("panel").is_some();
        Ok(Self {
            id: root
                .item("id")
                .text("lower-case letters, digits and hyphens, such as \"smoke\"", is_id)?,
            title: root
                .item("title")
                .text("one line of text", |text| is_filled(text) && !text.contains('\n'))?,
            suites: root.item("suites").list("a list of at least one suite", |item| {
                item.choice(&suites).map(str::to_owned)
            })?,
            mode: mode(&root.item("mode"))?,
            drivers: drivers(&root.item("drivers"))?,
            work: work::work(file, &root)?,
            windows: windows(&root.item("windows"), of_panel)?,
            training: workers(&root.item("training"), &[])?.0,
            evaluation: workers(&root.item("evaluation"), &["writes"])?.0,
            writes: writes(&root.item("evaluation"))?,
            expect: optional(&root, "expect", |item| expectations(item, of_panel))?
                .unwrap_or_default(),
        })
    }

    /// What must come out of a run with that driver.
    pub fn expect(&self, driver: Driver) -> Expect {
        self.expect.get(&driver).cloned().unwrap_or_default()
    }
}

fn format(item: &Item<'_>) -> Result<(), ScenarioError> {
    match item.integer(0..=u32::MAX) {
        Ok(FORMAT) => Ok(()),
        _ => Err(item.wrong(format!("{FORMAT}, the format that this build reads"))),
    }
}

fn mode(item: &Item<'_>) -> Result<Mode, ScenarioError> {
    // `None` is the mode of another kind of scenario, a `script::Script`.
    match item.choice(&[("free", Some(Mode::Free)), ("lockstep", None)]) {
        Ok(Some(mode)) => Ok(mode),
        Ok(None) => Err(item.wrong_because("\"free\"", ", which `explore` runs")),
        Err(_) => Err(item.wrong("\"free\"")),
    }
}

fn is_lockstep(item: &Item<'_>) -> bool {
    item.choice(&[("lockstep", ())]).is_ok()
}

fn drivers(item: &Item<'_>) -> Result<Vec<Driver>, ScenarioError> {
    let choices = Driver::ALL.map(|driver| (driver.name(), driver));
    item.list("a list of at least one driver", |item| item.choice(&choices))
}

/// A panel has no labels, so that nothing need be purged, and its ranges are made of whole blocks.
fn windows(item: &Item<'_>, of_panel: bool) -> Result<Windows, ScenarioError> {
    let mut known =
        vec!["mode", "count", "block_sessions", "train_sessions", "eval_sessions", "step_sessions"];
    known.extend(
        (!of_panel).then_some(["label_sessions", "embargo_sessions"]).into_iter().flatten(),
    );
    let table = item.table(&known)?;
    let at_least = |least, key| table.item(key).integer(least..=SESSIONS_MAX);
    let block_sessions = at_least(1, "block_sessions")?;
    let range = |key| match at_least(1, key)? {
        length if of_panel && !length.is_multiple_of(block_sessions) => {
            Err(table.item(key).wrong(format!("whole blocks of {block_sessions} sessions")))
        }
        length => Ok(length),
    };
    Ok(Windows {
        mode: table
            .item("mode")
            .choice(&[("rolling", WindowMode::Rolling), ("expanding", WindowMode::Expanding)])?,
        count: at_least(1, "count")?,
        block_sessions,
        train_sessions: range("train_sessions")?,
        eval_sessions: range("eval_sessions")?,
        step_sessions: range("step_sessions")?,
        label_sessions: if of_panel { 0 } else { at_least(1, "label_sessions")? },
        embargo_sessions: if of_panel { 0 } else { at_least(0, "embargo_sessions")? },
    })
}

fn workers<'d>(item: &Item<'d>, more: &[&str]) -> Result<(Workers, Section<'d>), ScenarioError> {
    const PROCESSES: RangeInclusive<u32> = 1..=8;
    const THREADS: RangeInclusive<u32> = 1..=16;
    let table = item.table(&[&["processes", "threads"], more].concat())?;
    let workers = Workers {
        processes: table.item("processes").integer(PROCESSES)?,
        threads: table.item("threads").integer(THREADS)?,
    };
    Ok((workers, table))
}

fn writes(item: &Item<'_>) -> Result<Writes, ScenarioError> {
    let (_, table) = workers(item, &["writes"])?;
    Ok(optional(&table, "writes", work::writes)?.unwrap_or_default())
}

fn expectations(
    item: &Item<'_>,
    of_panel: bool,
) -> Result<BTreeMap<Driver, Expect>, ScenarioError> {
    let table = item.table(&Driver::ALL.map(Driver::name))?;
    let mut expectations = BTreeMap::new();
    for driver in Driver::ALL {
        if let Some(expect) = optional(&table, driver.name(), |item| expectation(item, of_panel))? {
            expectations.insert(driver, expect);
        }
    }
    Ok(expectations)
}

fn expectation(item: &Item<'_>, of_panel: bool) -> Result<Expect, ScenarioError> {
    let checks = check::all().map(Check::id);
    let mut known = vec![
        "conflicts_min",
        "surfaced_errors_max",
        "lost_rows_max",
        "recomputes_min",
        "recomputes_max",
        "hit_ratio_published_min",
    ];
    known.extend(of_panel.then_some(["computed_exactly", "hit_ratio_min"]).into_iter().flatten());
    known.extend(checks);
    let table = item.table(&known)?;
    let count = |key| optional(&table, key, |item| item.integer(0..=COUNT_MAX).map(u64::from));
    let ratio = |key| {
        let read = |item: &Item<'_>| {
            item.number("a number from 0 to 1", |ratio| (0.0..=1.0).contains(&ratio))
        };
        optional(&table, key, read)
    };
    let verdict = |item: &Item<'_>| {
        item.choice(&[("holds", Verdict::Holds), ("violated", Verdict::Violated)])
    };
    let mut verdicts = BTreeMap::new();
    for check in checks {
        if let Some(verdict) = optional(&table, check, verdict)? {
            verdicts.insert(check.to_owned(), verdict);
        }
    }
    Ok(Expect {
        conflicts_min: count("conflicts_min")?,
        surfaced_errors_max: count("surfaced_errors_max")?,
        lost_rows_max: count("lost_rows_max")?,
        recomputes_min: count("recomputes_min")?,
        recomputes_max: count("recomputes_max")?,
        hit_ratio_published_min: ratio("hit_ratio_published_min")?,
        computed_exactly: count("computed_exactly")?,
        hit_ratio_min: ratio("hit_ratio_min")?,
        checks: verdicts,
    })
}

fn optional<'d, T>(
    table: &Section<'d>,
    key: &str,
    read: impl Fn(&Item<'d>) -> Result<T, ScenarioError>,
) -> Result<Option<T>, ScenarioError> {
    table.optional(key).map(|item| read(&item)).transpose()
}

fn is_filled(text: &str) -> bool {
    !text.trim().is_empty()
}

fn is_id(text: &str) -> bool {
    let plain =
        |letter: u8| letter.is_ascii_lowercase() || letter.is_ascii_digit() || letter == b'-';
    !text.is_empty() && text.bytes().all(plain)
}

/// Whether the text has the shape of a date. Whether that day exists is the calendar's to say.
fn is_date(text: &str) -> bool {
    let Some((month, day)) = text.get(5..7).zip(text.get(8..10)) else {
        return false;
    };
    let shape = text.bytes().enumerate().all(|(at, byte)| match at {
        4 | 7 => byte == b'-',
        _ => byte.is_ascii_digit(),
    });
    shape && text.len() == 10 && ("01"..="12").contains(&month) && ("01"..="31").contains(&day)
}
