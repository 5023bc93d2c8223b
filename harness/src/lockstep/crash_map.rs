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
//! [`Class::Unexplained`]. So two maps of one build are equal (`tests/it/crash_map.rs`).
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
use child::Heard;
use class::Class;
use worker::Task;
use workload::{Step, Workload};

pub use worker::main as worker_main;

/// Whose calls they are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum Driver {
    /// Plain DuckDB.
    Naive,
    /// The manager.
    Managed,
    /// Plain DuckDB by a caller that acknowledges before it commits: the canary of [`class`].
    #[value(skip)]
    Eager,
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
    /// How many pairs of a call and a mode have a class.
    pub covered: usize,
    /// How many there are.
    pub total: usize,
    /// How many nothing explains.
    pub unexplained: usize,
    /// How long it took, in seconds.
    pub seconds: f64,
}

impl CrashMap {
    /// Every pair of a call, by its number from 1, and a mode, with what came of it.
    pub fn pairs(&self) -> impl Iterator<Item = (usize, &Point, Mode, &Class)> {
        (1..).zip(&self.points).flat_map(|(number, point)| {
            point.classes.iter().map(move |(mode, class)| (number, point, *mode, class))
        })
    }
}

/// What a map is taken of.
#[derive(Clone, Copy, Debug)]
pub struct Options<'a> {
    /// Whose calls.
    pub driver: Driver,
    /// Which.
    pub workload: Workload,
    /// Only the calls of these numbers, from 1; of all, if there are none.
    pub calls: &'a [usize],
    /// This harness.
    pub program: &'a Path,
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

/// Takes a map.
///
/// # Errors
///
/// See [`CrashMapError`].
pub fn take(options: &Options<'_>) -> Result<CrashMap, CrashMapError> {
    let begun = Instant::now();
    let taker = Taker { options: *options, steps: options.workload.steps() };
    let mut points = taker.record()?;
    let (mut pairs, mut total) = (Vec::new(), 0);
    for (number, point) in points.iter().enumerate() {
        let chosen = options.calls.is_empty() || options.calls.contains(&(number + 1));
        for mode in Mode::RUN {
            if mode != Mode::Torn || is_write(&point.call) {
                total += modes_of(mode).len();
                pairs.extend(chosen.then_some((number, mode)));
            }
        }
    }
    for (point, found) in taker.try_all(&points, &pairs)? {
        points[point].classes.extend(found);
    }
    let (driver, workload) = (options.driver, options.workload);
    let classes: Vec<&Class> = points.iter().flat_map(|point| point.classes.values()).collect();
    let covered = classes.len();
    let unexplained = classes.iter().filter(|class| matches!(class, Class::Unexplained(_))).count();
    let seconds = begun.elapsed().as_secs_f64();
    Ok(CrashMap { driver, workload, points, covered, total, unexplained, seconds })
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
    options: Options<'a>,
    steps: Vec<Step>,
}

/// What came of one run: the point, and a class for each mode that the run says something about.
type Tried = (usize, Vec<(Mode, Class)>);

impl Taker<'_> {
    /// The calls of a run in which nothing happens.
    fn record(&self) -> Result<Vec<Point>, CrashMapError> {
        let place = Workplace::new().map_err(action("make a folder"))?;
        let site = Site::new(&place)?;
        let heard = self.run(&site.scenario, None, None)?;
        let found = self.look(&[site.scenario])?;
        // As if an error had been met that nobody noticed.
        let class = self.class(Mode::Eio, &heard, &found[0]);
        if class != Class::Unnoticed {
            return Err(CrashMapError::Recording(format!("{class}, after {heard:?}")));
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
        let modes = modes_of(mode);
        if let Some(class) = class::diverged(&heard, &point.call) {
            return Ok(modes.iter().map(|mode| (*mode, class.clone())).collect());
        }
        let folders: Vec<_> =
            modes.iter().map(|mode| site.image(*mode)).collect::<Result<_, _>>()?;
        let found = self.look(&folders)?;
        let judged = modes.iter().zip(&found);
        Ok(judged.map(|(mode, found)| (*mode, self.class(*mode, &heard, found))).collect())
    }

    fn class(&self, mode: Mode, heard: &Heard, found: &child::Look) -> Class {
        class::of(mode, self.options.driver, &self.steps, heard, found)
    }

    fn run(
        &self,
        folder: &Path,
        log: Option<&Path>,
        fault: Option<(usize, Mode)>,
    ) -> Result<Heard, CrashMapError> {
        let Options { driver, workload, program, .. } = self.options;
        let (folder, log) = (folder.to_owned(), log.map(Path::to_owned));
        child::hear(program, &Task::Work { driver, workload, folder, log, fault })
            .map_err(action("run the workload"))
    }

    fn look(&self, folders: &[PathBuf]) -> Result<Vec<child::Look>, CrashMapError> {
        let Options { driver, workload, program, .. } = self.options;
        child::look(program, driver, workload, folders).map_err(action("look at what is left"))
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
