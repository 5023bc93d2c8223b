//! The verb `run`: scenarios on drivers, judged, tested with canaries, reported.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use manager::{Leak, Manager};
use reports::{Canaries, ExitCode, Exploration, Kind, Provenance, Report, ScenarioReport, Score};

use crate::check::canary;
use crate::judge;
use crate::lockstep::{self, gate};
use crate::pipeline::{self, PricesError};
use crate::plan::{self, Market, Plan, PlanError, Ticker};
use crate::probe::as_ns;
use crate::provenance;
use crate::run::specs::Specs;
use crate::run::{self, Job, RunError, coordinator};
use crate::scenario::script::Script;
use crate::scenario::{Driver, Scenario, Work};
use crate::seed::Seed;

/// What a run is asked for.
pub struct Options {
    /// What is run, in this order.
    pub scenarios: Vec<Scenario>,
    /// What is run after that, in lockstep.
    pub scripts: Vec<Script>,
    /// If not empty, only these of each scenario's drivers.
    pub drivers: Vec<String>,
    /// What plans are drawn from.
    pub seed: Seed,
    /// The folder that gets a folder for this run.
    pub output: PathBuf,
    /// The program that is started as `program worker`.
    pub program: PathBuf,
    /// Whether a progress bar is drawn.
    pub progress: bool,
    /// Set when the user presses Ctrl-C.
    pub interrupted: Arc<AtomicBool>,
}

impl Options {
    fn wants(&self, driver: Driver) -> bool {
        self.drivers.is_empty() || self.drivers.iter().any(|name| name == driver.name())
    }
}

/// A run that was reported.
pub struct Session {
    /// The report, as it was written.
    pub report: Report,
    /// Its folder.
    pub folder: PathBuf,
}

/// Why a run has no report.
#[derive(Debug, thiserror::Error)]
pub enum SessionError {
    /// The run's folder cannot be made.
    #[error("{action} `{}`: {source}; choose another folder with `--output`", path.display())]
    Folder {
        /// What was tried.
        action: &'static str,
        /// On which path.
        path: PathBuf,
        /// What the operating system says.
        source: io::Error,
    },
    /// The scenario's data is bad.
    #[error(transparent)]
    Prices(#[from] PricesError),
    /// The scenario asks for what its data does not have.
    #[error(transparent)]
    Plan(#[from] PlanError),
    /// The scenario asks for something that its models cannot know yet.
    #[error("run `{scenario}`: {leak}, or leave `data.price` out")]
    Leak {
        /// The scenario's id.
        scenario: String,
        /// What the store says.
        leak: Leak,
    },
    /// The prices' database could not be made.
    #[error(transparent)]
    Store(#[from] manager::Error),
    /// The report could not be written.
    #[error(transparent)]
    Report(#[from] reports::WriteError),
}

impl SessionError {
    /// What the program exits with.
    pub fn exit_code(&self) -> ExitCode {
        match self {
            Self::Prices(PricesError::Database(_)) | Self::Store(_) => ExitCode::Internal,
            Self::Prices(_) | Self::Plan(_) | Self::Leak { .. } => ExitCode::Usage,
            Self::Folder { .. } | Self::Report(_) => ExitCode::NotWritten,
        }
    }
}

/// What all drivers of a scenario share.
struct Prepared {
    plan: Plan,
    prices: PathBuf,
}

/// Runs everything, and writes the report even if it was interrupted.
///
/// # Errors
///
/// A [`SessionError`] if there is nothing to report or no way to.
pub fn run(options: &Options) -> Result<Session, SessionError> {
    let started_at = jiff::Timestamp::now();
    let begun = Instant::now();
    let folder = make_folder(&options.output, started_at)?;
    let work = folder.join("work");
    let mut scenarios = Vec::new();
    let mut canaries = Canaries::default();
    let mut exit_codes = Vec::new();
    let mut failed = None;
    for scenario in &options.scenarios {
        let done = run_scenario(
            options,
            scenario,
            &folder,
            &mut scenarios,
            &mut canaries,
            &mut exit_codes,
        );
        if let Err(error) = done {
            failed = Some((scenario, blame_full_disk(error, &folder)));
            break;
        }
    }
    let machine = provenance::machine(&folder);
    coordinator::clean_up(&work);
    let exploration = match failed {
        None => run_scripts(options, &folder, &mut scenarios, &mut canaries, &mut exit_codes),
        Some(_) => None,
    };
    if let Some((scenario, error)) = failed {
        if scenarios.is_empty() {
            let _ = fs::remove_dir_all(&folder); // there is nothing in it to keep
            return Err(error);
        }
        exit_codes.push(error.exit_code());
        let (driver, seed) = (scenario.drivers[0], options.seed);
        scenarios.push(judge::broken(scenario, driver, seed, &[], &error.to_string()));
    }
    let provenance = Provenance {
        started_at: started_at.to_string(),
        duration_ns: as_ns(begun.elapsed()),
        argv: std::env::args().collect(),
        versions: provenance::versions(),
        machine,
    };
    let mut report = Report::new(Kind::Run, provenance, scenarios, canaries);
    if let Some(exploration) = exploration {
        report = report.explored(exploration);
    }
    for code in exit_codes {
        report.summary.raise(code);
    }
    report.write(&folder)?;
    point_latest(&options.output, &folder)?;
    Ok(Session { report, folder })
}

/// The scenarios in lockstep, and how much of them was covered.
fn run_scripts(
    options: &Options,
    folder: &Path,
    scenarios: &mut Vec<ScenarioReport>,
    canaries: &mut Canaries,
    exit_codes: &mut Vec<ExitCode>,
) -> Option<Exploration> {
    let passed = gate::run(
        &gate::Options {
            scripts: &options.scripts,
            drivers: &options.drivers,
            seed: options.seed,
            at_random: None,
            folder,
            interrupted: &options.interrupted,
        },
        &mut |_| (),
    );
    canaries.planted += passed.canaries.planted;
    canaries.caught += passed.canaries.caught;
    exit_codes.extend(passed.codes);
    let exploration = lockstep::report::total(&passed.scenarios);
    scenarios.extend(passed.scenarios);
    exploration
}

/// A full disk is the folder's fault, whoever met it first: its report could not be written either.
fn blame_full_disk(error: SessionError, folder: &Path) -> SessionError {
    let full = io::Error::from_raw_os_error(rustix::io::Errno::NOSPC.raw_os_error());
    // Its text is within that of every error that it causes.
    if error.to_string().contains("No space left on device") {
        SessionError::Folder { action: "fill", path: folder.into(), source: full }
    } else {
        error
    }
}

fn run_scenario(
    options: &Options,
    scenario: &Scenario,
    folder: &Path,
    reports: &mut Vec<ScenarioReport>,
    canaries: &mut Canaries,
    exit_codes: &mut Vec<ExitCode>,
) -> Result<(), SessionError> {
    let work = folder.join("work").join(&scenario.id);
    make(&work)?;
    let prepared = prepare(options, scenario, &work)?;
    let mut reference: Option<Vec<Score>> = None;
    for &driver in scenario.drivers.iter().filter(|driver| options.wants(**driver)) {
        if options.interrupted.load(Ordering::Relaxed) {
            exit_codes.push(ExitCode::Interrupted);
            return Ok(());
        }
        let seed = options.seed;
        match run_driver(options, scenario, driver, &prepared, folder) {
            Ok(finished) => {
                let report =
                    judge::finished(scenario, driver, seed, &finished, reference.as_deref());
                let count = canary::run(&finished.history);
                canaries.planted += count.planted;
                canaries.caught += count.caught;
                reference.get_or_insert_with(|| report.scores.clone());
                reports.push(report);
            }
            Err(error) => {
                if matches!(error, RunError::Interrupted) {
                    exit_codes.push(ExitCode::Interrupted);
                } else {
                    let (actors, message) = (&prepared.plan.actors, error.to_string());
                    reports.push(judge::broken(scenario, driver, seed, actors, &message));
                }
            }
        }
    }
    Ok(())
}

fn run_driver(
    options: &Options,
    scenario: &Scenario,
    driver: Driver,
    prepared: &Prepared,
    folder: &Path,
) -> Result<run::Finished, RunError> {
    let place = folder.join("work").join(&scenario.id).join(driver.name());
    let histories = folder.join("histories");
    for path in [&place, &histories] {
        fs::create_dir_all(path).map_err(|source| RunError::Io {
            action: "create",
            path: path.clone(),
            source,
        })?;
    }
    let bar = progress_bar(options.progress, scenario, driver, prepared.plan.windows.len());
    let job = Job {
        scenario,
        plan: &prepared.plan,
        driver,
        seed: options.seed,
        prices: &prepared.prices,
        program: &options.program,
        folder: &place,
        history: &histories.join(format!("{}.{driver}.jsonl", scenario.id)),
        interrupted: &options.interrupted,
    };
    let finished = run::run(&job, &mut |window, phase| {
        bar.inc(1);
        bar.set_message(format!("window {}, {phase} done", window.window.id));
    });
    bar.finish_and_clear();
    finished
}

/// Loads the prices, if there are any, into a database of their own, and draws the plan.
fn prepare(options: &Options, scenario: &Scenario, work: &Path) -> Result<Prepared, SessionError> {
    let prices = work.join("prices.duckdb");
    let data = match &scenario.work {
        Work::Pipeline { data, .. } => data,
        Work::Panel(panel) => {
            let sessions =
                (0..panel.sessions).map(|session| format!("session {session}")).collect();
            let market = Market { sessions, tickers: Vec::new() };
            return Ok(Prepared { plan: plan::plan(scenario, &market, options.seed)?, prices });
        }
    };
    let manager = Manager::new(manager::Config::default())?;
    manager.create(&prices, |new| {
        pipeline::load(new, &data.prices, &data.from, data.tickers.as_deref(), data.price)
            .map_err(SessionError::from)
    })?;
    let lease = manager.read(&prices)?;
    let (sessions, tickers) = pipeline::market(&lease)?;
    let tickers =
        tickers.into_iter().map(|(name, first_session)| Ticker { name, first_session }).collect();
    let plan = plan::plan(scenario, &Market { sessions, tickers }, options.seed)?;
    // What the store will refuse in the end is refused before anything runs, where a driver has a store that refuses.
    if scenario.drivers.contains(&Driver::Managed) && options.wants(Driver::Managed) {
        let specs = Specs::read(&lease, &scenario.windows, data.price);
        let specs = specs.map_err(manager::Error::from)?;
        let scenario = scenario.id.clone();
        specs.check(&plan).map_err(|leak| SessionError::Leak { scenario, leak })?;
    }
    Ok(Prepared { plan, prices })
}

fn progress_bar(drawn: bool, scenario: &Scenario, driver: Driver, windows: usize) -> ProgressBar {
    let target = if drawn { ProgressDrawTarget::stderr() } else { ProgressDrawTarget::hidden() };
    let bar = ProgressBar::with_draw_target(Some(windows as u64 * 2), target);
    let style =
        ProgressStyle::with_template("{prefix:20} [{bar:32}] {pos}/{len} {msg} ({elapsed})");
    bar.set_style(style.expect("the template is fixed").progress_chars("=> "));
    bar.set_prefix(format!("{} {driver}", scenario.id));
    bar
}

/// Makes `<output>/<run-id>/`, where the id is the time of the start.
pub(crate) fn make_folder(
    output: &Path,
    started_at: jiff::Timestamp,
) -> Result<PathBuf, SessionError> {
    make(output)?;
    let id = started_at.strftime("%Y%m%dT%H%M%SZ").to_string();
    let names = std::iter::once(id.clone()).chain((2..1000).map(|number| format!("{id}-{number}")));
    for name in names {
        let folder = output.join(name);
        match fs::create_dir(&folder) {
            Ok(()) => {
                // Absolute, since workers and surveys name files by their whole path.
                return fs::canonicalize(&folder).map_err(|source| SessionError::Folder {
                    action: "look at",
                    path: folder,
                    source,
                });
            }
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(source) => {
                return Err(SessionError::Folder { action: "create", path: folder, source });
            }
        }
    }
    let source = io::Error::from(io::ErrorKind::AlreadyExists);
    Err(SessionError::Folder { action: "create", path: output.join(id), source })
}

fn make(folder: &Path) -> Result<(), SessionError> {
    fs::create_dir_all(folder).map_err(|source| SessionError::Folder {
        action: "create",
        path: folder.into(),
        source,
    })
}

/// Has `<output>/latest` point to the newest run, in one step for whoever reads it.
pub(crate) fn point_latest(output: &Path, folder: &Path) -> Result<(), SessionError> {
    let fresh = output.join(format!(".latest.{}", std::process::id()));
    let latest = output.join("latest");
    let name = folder.file_name().unwrap_or(folder.as_os_str());
    std::os::unix::fs::symlink(name, &fresh).and_then(|()| fs::rename(&fresh, &latest)).map_err(
        |source| {
            let _ = fs::remove_file(&fresh); // it is not there, or of no use
            SessionError::Folder { action: "point", path: latest, source }
        },
    )
}
