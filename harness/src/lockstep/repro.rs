//! A failing schedule that can be handed on: a scenario, who moves in which order, and what is broken then.
//!
//! A decision log is followed to the letter, and stops where anything differs. A repro is followed as far as it applies
//! ([`Lenient`]), and asks only whether the same property breaks in the same way ([`Symptom`]): so it outlives changes of
//! the driver that a log does not, and parts of it can be left out (`shrink`).
//!
//! # The file, `repro.json`
//!
//! One JSON object in UTF-8, with a line end behind it. Unknown keys are ignored.
//!
//! | key | type | meaning |
//! |---|---|---|
//! | `format` | text | always `flockgate-repro` |
//! | `version` | integer | 1; another one is refused |
//! | `build` | object | what found it: `harness`, `commit` (or null), `duckdb`, `target`, `profile`, as in a decision log |
//! | `manager` | text | version of the manager |
//! | `os` | text | name, release and architecture of the operating system |
//! | `scenario` | text | the scenario's id |
//! | `scenario_text` | text | the whole scenario, a TOML document, without what is not needed |
//! | `driver` | text | the driver's name |
//! | `fingerprint` | text | names the failure across runs: `0x` and 16 hexadecimal digits |
//! | `check` | text | the id of the property that is broken |
//! | `kind` | text | in which way, [`Symptom::kind`] |
//! | `message` | text | what the check said |
//! | `moves` | list | in order: `actor` (its name, or that of a thread of the manager), and `act` if it is not `go` |
//! | `events` | two integers | steps of the schedule before and after |
//! | `statements` | two integers | statements of all actors and of the set-up before and after |
//! | `faults` | two integers | faults before and after |
//! | `switches` | two integers | how often another actor moved than the one before, before and after |
//! | `critical_pair` | text or null | two steps whose order decides, in a sentence |
//! | `verified` | two integers | times it failed in the same way, and times it was tried |
//! | `complete` | boolean | whether nothing could be left out any more, or time was out before that |
//! | `log` | text | the decision log of the schedule, a file beside this one |

mod generated_test;
mod lenient;
mod symptom;
mod transcript;

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use reports::Hex64;
use serde::{Deserialize, Serialize};

pub(super) use lenient::Placed;
pub use lenient::{Lenient, Step};
pub use symptom::Symptom;

use super::act::Act;
use super::driver::Driver;
use super::explore;
use super::log::{Build, Log, LogError};
use super::schedule::{self, Job, ScheduleError, WATCHDOG};
use super::strategy::Stop;
use super::workplace::Workplace;
use crate::check::Finding;
use crate::scenario::ScenarioError;
use crate::scenario::script::Script;
use crate::seed::{Seed, fnv1a};

/// What [`Repro::format`] always says.
pub const FORMAT: &str = "flockgate-repro";
/// The version that this build reads and writes.
pub const VERSION: u32 = 1;
/// The repro in its folder.
pub const FILE: &str = "repro.json";
/// The decision log beside it.
pub const LOG_FILE: &str = "repro.jsonl";
/// The statements beside it, as they would be typed.
pub const SQL_FILE: &str = "repro.sql";
/// The test beside it.
pub const TEST_FILE: &str = "repro.rs";

/// See the module's header, which has every field.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Repro {
    /// Always [`FORMAT`].
    pub format: String,
    /// [`VERSION`] of the build that wrote it.
    pub version: u32,
    /// What found it.
    pub build: Build,
    /// Version of the manager.
    pub manager: String,
    /// The operating system.
    pub os: String,
    /// The scenario's id.
    pub scenario: String,
    /// Its whole text.
    pub scenario_text: String,
    /// The driver's name.
    pub driver: String,
    /// Names the failure.
    pub fingerprint: Hex64,
    /// What is broken, and in which way.
    #[serde(flatten)]
    pub symptom: Symptom,
    /// What the check said.
    pub message: String,
    /// Who moves.
    pub moves: Vec<Step>,
    /// Steps before and after.
    pub events: [u64; 2],
    /// Statements before and after.
    pub statements: [u64; 2],
    /// Faults before and after.
    pub faults: [u64; 2],
    /// Switches between actors before and after.
    pub switches: [u64; 2],
    /// Two steps whose order decides.
    pub critical_pair: Option<String>,
    /// Times it failed in the same way, and times it was tried.
    pub verified: [u32; 2],
    /// Whether nothing could be left out any more.
    pub complete: bool,
    /// The decision log's file name.
    pub log: String,
}

/// Why there is no repro, or it cannot be run.
#[derive(Debug, thiserror::Error)]
pub enum ReproError {
    /// The file cannot be read.
    #[error("read the repro `{path}`: {source}")]
    Io {
        /// The file.
        path: String,
        /// What the operating system says.
        source: io::Error,
    },
    /// The file cannot be written.
    #[error("write the repro `{path}`: {source}")]
    Written {
        /// The file.
        path: String,
        /// What the operating system says.
        source: io::Error,
    },
    /// A decision log cannot be read.
    #[error(transparent)]
    Log(#[from] LogError),
    /// It is something else.
    #[error("{path}: expected a repro (`{FORMAT}`), found {found}")]
    Format {
        /// The file.
        path: String,
        /// What it is.
        found: String,
    },
    /// It follows other rules than this build knows.
    #[error(
        "{path}: the repro has format version {found}, this build reads {VERSION}; run it with the build that wrote it"
    )]
    Version {
        /// The file.
        path: String,
        /// What it says.
        found: String,
    },
    /// Its scenario cannot be read.
    #[error("the scenario of the repro: {0}")]
    Scenario(#[from] Box<ScenarioError>),
    /// A move names no fault that there is.
    #[error("there is no fault `{0}`")]
    Act(String),
    /// There is no driver of that name.
    #[error("there is no driver `{0}` here; give your own to `verdict_on`")]
    Driver(String),
    /// It could not be run.
    #[error(transparent)]
    Schedule(#[from] ScheduleError),
}

/// What came of a repro that was run.
#[derive(Clone, Debug)]
pub struct Verdict {
    /// What the check said, if it said anything.
    pub finding: Option<Finding>,
    fails: bool,
    /// The schedule.
    pub log: Log,
}

impl Verdict {
    /// Whether the failure is there, in the same way.
    pub fn is_failure(&self) -> bool {
        self.fails
    }
}

impl Repro {
    /// One that is written down in a program: what has to happen for that check to find that kind of failure. A move is an
    /// actor's name and `go`, or the name of a fault.
    ///
    /// # Errors
    ///
    /// A [`ReproError`] if the scenario, or a fault, cannot be read.
    pub fn new(
        scenario_text: &str,
        driver: &str,
        [check, kind]: [&str; 2],
        moves: &[(&str, &str)],
    ) -> Result<Self, ReproError> {
        let script = read_script("repro", scenario_text)?;
        let step = |&(actor, act): &(&str, &str)| {
            let named = Act::FAULTS.into_iter().find(|(name, _)| *name == act);
            let act = match named {
                Some((_, act)) => act,
                None if act == "go" => Act::Go,
                None => return Err(ReproError::Act(act.to_owned())),
            };
            Ok(Step { actor: actor.to_owned(), act })
        };
        let moves: Vec<Step> = moves.iter().map(step).collect::<Result<_, _>>()?;
        let symptom = Symptom { check: check.to_owned(), kind: kind.to_owned() };
        Ok(Self { moves, ..Self::blank(&script, driver, symptom) })
    }

    pub(super) fn blank(script: &Script, driver: &str, symptom: Symptom) -> Self {
        Self {
            format: FORMAT.to_owned(),
            version: VERSION,
            build: Build::of_this_program(),
            // All members of the workspace have one version.
            manager: env!("CARGO_PKG_VERSION").to_owned(),
            os: operating_system(),
            scenario: script.id.clone(),
            scenario_text: script.text.clone(),
            driver: driver.to_owned(),
            fingerprint: Hex64(fingerprint(&script.id, driver, &symptom.check)),
            symptom,
            message: String::new(),
            moves: Vec::new(),
            events: [0; 2],
            statements: [0; 2],
            faults: [0; 2],
            switches: [0; 2],
            critical_pair: None,
            verified: [0; 2],
            complete: false,
            log: LOG_FILE.to_owned(),
        }
    }

    /// Reads a file.
    ///
    /// # Errors
    ///
    /// A [`ReproError`] that names it.
    pub fn read(path: &Path) -> Result<Self, ReproError> {
        let name = path.display().to_string();
        match fs::read(path) {
            Ok(bytes) => Self::parse(&name, &bytes),
            Err(source) => Err(ReproError::Io { path: name, source }),
        }
    }

    /// Reads the bytes of a file; errors call it `name`.
    ///
    /// # Errors
    ///
    /// Those of [`read`](Self::read).
    pub fn parse(name: &str, bytes: &[u8]) -> Result<Self, ReproError> {
        let path = name.to_owned();
        let foreign = |found: String| ReproError::Format { path: path.clone(), found };
        // The envelope first: of another version the rest says nothing.
        let value: serde_json::Value = serde_json::from_slice(bytes)
            .map_err(|_| foreign("something that is no JSON, or was cut off".to_owned()))?;
        match value["format"].as_str() {
            Some(FORMAT) => {}
            Some(other) => return Err(foreign(format!("`{other}`"))),
            None => return Err(foreign("an object without a format".to_owned())),
        }
        if value["version"].as_u64() != Some(VERSION.into()) {
            return Err(ReproError::Version { path, found: value["version"].to_string() });
        }
        serde_json::from_value(value).map_err(|error| foreign(error.to_string()))
    }

    /// Whether those bytes are a repro, of whatever version, and no decision log.
    pub fn is_one(bytes: &[u8]) -> bool {
        let value: Option<serde_json::Value> = serde_json::from_slice(bytes).ok();
        value.is_some_and(|value| value["format"].as_str() == Some(FORMAT))
    }

    /// The scenario.
    ///
    /// # Errors
    ///
    /// A [`ReproError`] if this build reads it otherwise.
    pub fn script(&self) -> Result<Script, ReproError> {
        read_script(&self.scenario, &self.scenario_text)
    }

    /// Runs it on the built-in driver of its name.
    ///
    /// # Errors
    ///
    /// A [`ReproError`] if it could not be run.
    pub fn verdict(&self) -> Result<Verdict, ReproError> {
        let driver = super::driver(&self.driver);
        self.verdict_on(&*driver.ok_or_else(|| ReproError::Driver(self.driver.clone()))?)
    }

    /// Runs it on that driver.
    ///
    /// # Errors
    ///
    /// A [`ReproError`] if it could not be run.
    pub fn verdict_on(&self, driver: &dyn Driver) -> Result<Verdict, ReproError> {
        let script = self.script()?;
        let place = Workplace::new().map_err(ScheduleError::Log)?;
        let folder = place.fresh().map_err(ScheduleError::Log)?;
        let job = Job { script: &script, driver, folder: &folder, watchdog: WATCHDOG };
        let log =
            follow(&job, Lenient::new(&self.moves), &self.build, &place.beside("repro.jsonl"))?;
        let (finding, fails) = self.symptom.look(&script, &log);
        Ok(Verdict { finding, fails, log })
    }

    /// The decision log beside a repro's file if it is there, else one of a schedule that is run now.
    ///
    /// # Errors
    ///
    /// A [`ReproError`] if it could not be run.
    pub fn log_beside(&self, file: &Path) -> Result<Log, ReproError> {
        match Log::read(&file.with_file_name(&self.log)) {
            Ok(log) => Ok(log),
            Err(_) => Ok(self.verdict()?.log),
        }
    }

    /// The statements in order, with who types which.
    pub fn sql(&self, log: &Log) -> Result<String, ReproError> {
        Ok(transcript::of(self, &self.script()?, log))
    }

    /// A test in Rust, for a crate that depends on this one.
    pub fn test(&self, log: &Log) -> Result<String, ReproError> {
        Ok(generated_test::of(self, &self.script()?, log))
    }

    /// Writes the repro and what stands beside it into a folder. Returns the repro's file.
    ///
    /// # Errors
    ///
    /// A [`ReproError`] that names the file.
    pub fn write(&self, folder: &Path, log: &Log) -> Result<PathBuf, ReproError> {
        let json = serde_json::to_string_pretty(self).unwrap_or_default() + "\n";
        let parts = [
            (FILE, json),
            (LOG_FILE, log.text()),
            (SQL_FILE, self.sql(log)?),
            (TEST_FILE, self.test(log)?),
        ];
        for (name, text) in parts {
            let path = folder.join(name);
            let written = fs::create_dir_all(folder).and_then(|()| fs::write(&path, text));
            let path = path.display().to_string();
            written.map_err(|source| ReproError::Written { path, source })?;
        }
        Ok(folder.join(FILE))
    }
}

/// The log in a file: a decision log, or that of a repro.
///
/// # Errors
///
/// A [`ReproError`] that names the file.
pub fn read_log(file: &Path) -> Result<Log, ReproError> {
    let name = file.display().to_string();
    let bytes = fs::read(file).map_err(|source| LogError::Io { path: name.clone(), source })?;
    if Repro::is_one(&bytes) {
        return Repro::parse(&name, &bytes)?.log_beside(file);
    }
    Ok(Log::parse(&name, &bytes)?)
}

/// Names a failure across runs.
pub fn fingerprint(scenario: &str, driver: &str, check: &str) -> u64 {
    fnv1a(format!("{scenario}/{driver}/{check}").as_bytes())
}

/// Runs a schedule in which moves are followed as far as they apply.
pub(super) fn follow(
    job: &Job<'_>,
    mut moves: Lenient,
    build: &Build,
    log_file: &Path,
) -> Result<Log, ScheduleError> {
    let header = explore::header(job.script, job.driver.name(), Seed(0), "repro".to_owned(), build);
    schedule::run(job, &mut moves, log_file, header)
}

/// Whether a schedule had no end that a strategy, or the scenario, is to blame for: that of a case that makes no sense.
pub(super) fn is_senseless(error: &ScheduleError) -> bool {
    matches!(
        error,
        ScheduleError::Driver { .. }
            | ScheduleError::Counter { .. }
            | ScheduleError::Stopped(Stop::Cut { .. })
    )
}

fn read_script(name: &str, text: &str) -> Result<Script, ReproError> {
    let script = Script::parse(&PathBuf::from(format!("{name}.toml")), text.as_bytes());
    Ok(script.map_err(Box::new)?)
}

fn operating_system() -> String {
    let name = rustix::system::uname();
    let [system, release, machine] = [name.sysname(), name.release(), name.machine()]
        .map(|part| part.to_string_lossy().into_owned());
    format!("{} {release} {machine}", system.to_lowercase())
}
