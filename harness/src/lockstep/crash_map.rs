//! A crash map: every I/O call of a workload × everything that can happen at it, each tried once, and what came of it.
//!
//! | module | in → out | pure |
//! |---|---|---|
//! | [`workload`] | which transactions, and what each set of them comes to | yes |
//! | `worker` | a task → a child process that dies at a call, or says what it finds | |
//! | [`database`] | the steps on a driver; the look at what is left | |
//! | [`class`] | what was said, what is found → a class | yes |
//! | [`table`] | the map as text | yes |
//!
//! The workload is run once by a child that tells every call. Then, for each call and each [`Mode`], a new child runs it in a
//! new folder and meets that mode at that call; the next process opens what is left. Of every kill, what the two models of
//! a loss of power leave is opened as well.
//!
//! # Scope of determinism
//!
//! Points are enumerated, not drawn. A child says which call it was stopped at, and another call than the recorded one is
//! [`Class::Unexplained`]. So two maps of one build are equal (`tests/it/lockstep/crash_map.rs`).
//!
//! # Run it
//!
//! ```console
//! $ harness crash-map --driver naive
//! ```

pub mod class;
pub mod database;
pub mod table;
pub mod workload;

mod child;
mod worker;

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::thread;
use std::time::Instant;

use clap::ValueEnum;
use serde::{Deserialize, Serialize};

use super::io::Verdict;
use super::io::survivors::{self, Model};
use super::workplace::Workplace;
use child::{Ended, Heard};
use class::Class;
use worker::Task;
use workload::Workload;

pub use worker::main as worker_main;

/// Whose calls they are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum Driver {
    /// Plain DuckDB.
    Naive,
    /// The manager.
    Managed,
}

/// What happens at a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Mode {
    /// The process dies before it.
    Kill,
    /// The process dies half-way through it. Only of writes.
    Torn,
    /// It fails with EIO.
    Eio,
    /// It fails with ENOSPC.
    Enospc,
    /// As `kill`, and then the power fails: [`Model::Ordered`].
    Ordered,
    /// As `kill`, and then the power fails: [`Model::Strict`]. What is lost is lost in a model.
    Strict,
}

impl Mode {
    /// All, in the order in which they are shown.
    pub const ALL: [Self; 6] =
        [Self::Kill, Self::Torn, Self::Eio, Self::Enospc, Self::Ordered, Self::Strict];

    /// Those that take a run of their own.
    const RUN: [Self; 4] = [Self::Kill, Self::Torn, Self::Eio, Self::Enospc];

    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Kill => "kill",
            Self::Torn => "torn",
            Self::Eio => "EIO",
            Self::Enospc => "ENOSPC",
            Self::Ordered => "ordered",
            Self::Strict => "strict",
        }
    }

    fn verdict(self) -> Verdict {
        match self {
            Self::Kill | Self::Ordered | Self::Strict => Verdict::Kill,
            Self::Torn => Verdict::Torn,
            Self::Eio => Verdict::Fail(libc::EIO),
            Self::Enospc => Verdict::Fail(libc::ENOSPC),
        }
    }

    /// Whether the process does not outlive the call.
    fn kills(self) -> bool {
        !matches!(self, Self::Eio | Self::Enospc)
    }
}

/// A call of the workload, and what came of each mode at it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Point {
    /// The step of the workload that makes it.
    pub step: String,
    /// The call.
    pub call: String,
    /// What came of it, by mode.
    pub classes: BTreeMap<Mode, Class>,
}

/// A crash map.
#[derive(Clone, Debug, Serialize)]
pub struct CrashMap {
    /// Whose calls.
    pub driver: Driver,
    /// Which.
    pub workload: Workload,
    /// All calls, in their order.
    pub points: Vec<Point>,
    /// How many pairs of a call and a mode there are.
    pub total: usize,
    /// How long it took, in seconds.
    pub seconds: f64,
}

impl CrashMap {
    /// How many pairs have a class.
    pub fn covered(&self) -> usize {
        self.points.iter().map(|point| point.classes.len()).sum()
    }

    /// Those pairs that nothing explains.
    pub fn unexplained(&self) -> impl Iterator<Item = (usize, Mode, &str)> {
        let points = self.points.iter().enumerate();
        points.flat_map(|(number, point)| {
            point.classes.iter().filter_map(move |(mode, class)| match class {
                Class::Unexplained(reason) => Some((number, *mode, reason.as_str())),
                _ => None,
            })
        })
    }
}

/// Why there is no map.
#[derive(Debug, thiserror::Error)]
pub enum CrashMapError {
    /// Folders, files, processes.
    #[error("{action}: {source}")]
    Io {
        /// What was done.
        action: &'static str,
        /// What the system said.
        source: io::Error,
    },
    /// The workload does not even work when nothing happens.
    #[error(
        "the workload went wrong with no fault in it: {0}; run it on a machine with room on /dev/shm"
    )]
    Recording(String),
}

/// Takes a map. `program` is this harness.
///
/// # Errors
///
/// See [`CrashMapError`].
pub fn take(driver: Driver, workload: Workload, program: &Path) -> Result<CrashMap, CrashMapError> {
    let begun = Instant::now();
    let taker = Taker { driver, workload, program };
    let mut points = taker.record()?;
    let pairs: Vec<(usize, Mode)> = (0..points.len())
        .flat_map(|point| Mode::RUN.map(|mode| (point, mode)))
        .filter(|&(point, mode)| mode != Mode::Torn || is_write(&points[point].call))
        .collect();
    let total = pairs.iter().map(|(_, mode)| modes_of(*mode).len()).sum();
    for (point, found) in taker.try_all(&points, &pairs)? {
        points[point].classes.extend(found);
    }
    let seconds = begun.elapsed().as_secs_f64();
    Ok(CrashMap { driver, workload, points, total, seconds })
}

/// The modes that one run says something about.
fn modes_of(mode: Mode) -> &'static [Mode] {
    match mode {
        Mode::Kill => &[Mode::Kill, Mode::Ordered, Mode::Strict],
        Mode::Torn => &[Mode::Torn],
        Mode::Eio => &[Mode::Eio],
        Mode::Enospc => &[Mode::Enospc],
        Mode::Ordered | Mode::Strict => &[],
    }
}

fn is_write(call: &str) -> bool {
    call.starts_with("write ") || call.starts_with("pwrite ")
}

fn action(action: &'static str) -> impl FnOnce(io::Error) -> CrashMapError {
    move |source| CrashMapError::Io { action, source }
}

struct Taker<'a> {
    driver: Driver,
    workload: Workload,
    program: &'a Path,
}

/// What came of one run: the point, and a class for each mode that the run says something about.
type Tried = (usize, Vec<(Mode, Class)>);

impl Taker<'_> {
    /// The calls of a run in which nothing happens.
    fn record(&self) -> Result<Vec<Point>, CrashMapError> {
        let place = Workplace::new().map_err(action("make a folder"))?;
        let site = Site::new(&place)?;
        let heard = self.run(&site.scenario, None, None)?;
        if heard.ended != Ended::Exited(0) || !heard.all_done() {
            return Err(CrashMapError::Recording(format!("{heard:?}")));
        }
        let found = self.look(&[site.scenario])?;
        let class = class::of(Mode::Kill, self.driver, &self.workload.steps(), &heard, &found[0]);
        if class != Class::Exact {
            return Err(CrashMapError::Recording(class.to_string()));
        }
        let point = |(step, call)| Point { step, call, classes: BTreeMap::new() };
        Ok(heard.calls.into_iter().map(point).collect())
    }

    /// Tries all pairs, two at a time.
    fn try_all(
        &self,
        points: &[Point],
        pairs: &[(usize, Mode)],
    ) -> Result<Vec<Tried>, CrashMapError> {
        let next = Mutex::new(pairs.iter());
        let tries = || -> Result<Vec<Tried>, CrashMapError> {
            let place = Workplace::new().map_err(action("make a folder"))?;
            let mut tried = Vec::new();
            loop {
                let pair = next.lock().expect("nobody panics with it").next();
                let Some(&(point, mode)) = pair else { return Ok(tried) };
                tried.push((point, self.attempt(&place, &points[point], point, mode)?));
            }
        };
        thread::scope(|scope| {
            let other = scope.spawn(tries);
            let mut all = tries()?;
            all.extend(other.join().expect("a try does not panic")?);
            Ok(all)
        })
    }

    fn attempt(
        &self,
        place: &Workplace,
        point: &Point,
        number: usize,
        mode: Mode,
    ) -> Result<Vec<(Mode, Class)>, CrashMapError> {
        let site = Site::new(place)?;
        let log = (mode == Mode::Kill).then_some(&*site.log);
        let heard = self.run(&site.scenario, log, Some((number, mode)))?;
        let steps = self.workload.steps();
        let modes = modes_of(mode);
        if heard.calls.last().map(|(_, call)| call) != Some(&point.call) {
            let class = Class::Unexplained(format!("it came to another call: {:?}", heard.calls));
            return Ok(modes.iter().map(|mode| (*mode, class.clone())).collect());
        }
        let folders: Vec<_> =
            modes.iter().map(|mode| site.image(*mode)).collect::<Result<_, _>>()?;
        let found = self.look(&folders)?;
        let judged = modes.iter().zip(&found);
        Ok(judged
            .map(|(mode, found)| (*mode, class::of(*mode, self.driver, &steps, &heard, found)))
            .collect())
    }

    fn run(
        &self,
        folder: &Path,
        log: Option<&Path>,
        fault: Option<(usize, Mode)>,
    ) -> Result<Heard, CrashMapError> {
        let (driver, workload) = (self.driver, self.workload);
        let (folder, log) = (folder.to_owned(), log.map(Path::to_owned));
        child::hear(self.program, &Task::Work { driver, workload, folder, log, fault })
            .map_err(action("run the workload"))
    }

    fn look(&self, folders: &[PathBuf]) -> Result<Vec<child::Look>, CrashMapError> {
        child::look(self.program, self.driver, self.workload, folders)
            .map_err(action("look at what is left"))
    }
}

/// The folders of one run.
struct Site {
    scenario: PathBuf,
    log: PathBuf,
}

impl Site {
    fn new(place: &Workplace) -> Result<Self, CrashMapError> {
        let folder = place.fresh().map_err(action("empty a folder"))?;
        let site = Self { scenario: folder.join("scenario"), log: folder.join("log") };
        fs::create_dir(&site.scenario).map_err(action("make a folder"))?;
        Ok(site)
    }

    /// What a mode leaves. Those of a loss of power have to be asked for before anybody opens what a kill left.
    fn image(&self, mode: Mode) -> Result<PathBuf, CrashMapError> {
        let model = match mode {
            Mode::Ordered => Model::Ordered,
            Mode::Strict => Model::Strict,
            _ => return Ok(self.scenario.clone()),
        };
        let target = self.scenario.with_file_name(model.name());
        fs::create_dir(&target)
            .and_then(|()| survivors::build(model, &self.scenario, &self.log, &target))
            .map_err(action("make what a loss of power leaves"))?;
        Ok(target)
    }
}
