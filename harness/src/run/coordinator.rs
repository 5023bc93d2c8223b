//! The coordinator: starts the workers of one driver, leads them through the plan phase by phase, and writes
//! the history as it happens.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, BufReader};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crossbeam::channel::{self, Receiver, RecvTimeoutError};

use super::process::{Output, Process};
use super::protocol::{Command, Line, PhaseWork, Reply, Start};
use super::survey;
use crate::driver;
use crate::history::{self, Event, Header, History, ReadError, Recorder, Role, What, When};
use crate::plan::{Plan, Step, WindowPlan};
use crate::probe;
use crate::scenario::{Driver, Scenario, Work};
use crate::seed::Seed;

/// How long a worker may take for one phase before it counts as stuck. Every wait inside it is shorter.
const SILENCE_MAX: Duration = Duration::from_mins(3);
/// How often a wait looks whether the run was interrupted.
const TICK: Duration = Duration::from_millis(100);

/// Why a run did not come to its end. The history so far is kept.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The user pressed Ctrl-C.
    #[error("interrupted")]
    Interrupted,
    /// A worker said that it cannot go on.
    #[error("{process}: {message}")]
    Worker {
        /// Its name.
        process: String,
        /// What it said.
        message: String,
    },
    /// A worker ended outside the plan.
    #[error(
        "{process} ended in the middle of its work ({ending}); its last words are on standard error"
    )]
    Died {
        /// Its name.
        process: String,
        /// How it ended.
        ending: String,
    },
    /// A worker wrote something else than the protocol.
    #[error("{process} wrote something on its pipe that is not a line of the protocol: `{line}`")]
    Garbage {
        /// Its name.
        process: String,
        /// What it wrote, cut.
        line: String,
    },
    /// A worker said nothing for too long.
    #[error("{process} did not answer for {SILENCE_MAX:?}; it was killed")]
    Silent {
        /// Its name.
        process: String,
    },
    /// The run's folder or its files failed.
    #[error("{action} `{}`: {source}; the run's folder needs space and has to be writable", path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// On which path.
        path: PathBuf,
        /// What the operating system says.
        source: io::Error,
    },
    /// The store failed outside of any actor.
    #[error(transparent)]
    Store(#[from] manager::Error),
    /// The history that was just written cannot be read.
    #[error(transparent)]
    History(#[from] ReadError),
}

/// What a run of one driver needs.
pub struct Job<'a> {
    /// Whose plan it is.
    pub scenario: &'a Scenario,
    /// What is done.
    pub plan: &'a Plan,
    /// How the store is got at.
    pub driver: Driver,
    /// Where the plan came from.
    pub seed: Seed,
    /// The prices' database.
    pub prices: &'a Path,
    /// The program that is started as `program worker`.
    pub program: &'a Path,
    /// An empty folder for the store.
    pub folder: &'a Path,
    /// Where the history goes.
    pub history: &'a Path,
    /// Set when the user presses Ctrl-C.
    pub interrupted: &'a AtomicBool,
}

/// A run that came to its end.
#[derive(Debug)]
pub struct Finished {
    /// What happened.
    pub history: History,
    /// From the first worker's start to the last one's end.
    pub duration: Duration,
}

struct Run<'a> {
    job: &'a Job<'a>,
    recorder: Recorder<File>,
    processes: Vec<Process>,
    outputs: Receiver<(usize, Output)>,
    /// For each process, how many commands it has not answered yet.
    owed: Vec<u32>,
    /// For each process, the phase that it entered last, and in which window.
    entered: Vec<Option<(u32, Role)>>,
    /// Whether the processes were told to end, so that an end is no death.
    finishing: bool,
}

/// Runs a plan on one driver. `progress` is told after each phase.
///
/// # Errors
///
/// A [`RunError`]; every worker has been waited for by then.
pub fn run(
    job: &Job<'_>,
    progress: &mut dyn FnMut(&WindowPlan, Role),
) -> Result<Finished, RunError> {
    let failed = |action, path: &Path| {
        let path = path.to_path_buf();
        move |source| RunError::Io { action, path, source }
    };
    let file = File::create_new(job.history).map_err(failed("create", job.history))?;
    let recorder = Recorder::start(file, &header(job)).map_err(failed("write", job.history))?;
    let (send, outputs) = channel::unbounded();
    let mut run = Run {
        job,
        recorder,
        processes: Vec::new(),
        outputs,
        owed: Vec::new(),
        entered: Vec::new(),
        finishing: false,
    };

    run.survey(When::Before)?;
    driver::create(job.driver, &store_in(job.folder))?;
    let begun = Instant::now();
    run.start_all(&send)?;
    for window in &job.plan.windows {
        for phase in [Role::Training, Role::Evaluation] {
            run.phase(window, phase)?;
            progress(window, phase);
        }
    }
    run.finish_all()?;
    let duration = begun.elapsed();
    if matches!(job.scenario.work, Work::Panel(_)) {
        run.record_stored()?;
    }
    let rows = driver::visible(job.driver, &store_in(job.folder))?;
    run.record(What::Visible { rows })?;
    run.survey(When::After)?;
    drop(run);

    let file = File::open(job.history).map_err(failed("read", job.history))?;
    Ok(Finished { history: History::read(BufReader::new(file))?, duration })
}

impl Run<'_> {
    fn start_all(&mut self, send: &channel::Sender<(usize, Output)>) -> Result<(), RunError> {
        let mut names: BTreeMap<u32, (String, Role)> = BTreeMap::new();
        for actor in &self.job.plan.actors {
            let name = actor.id.split('/').next().unwrap_or(&actor.id);
            names.insert(actor.process, (name.to_owned(), actor.role));
        }
        for (number, (name, role)) in names.into_values().enumerate() {
            let program = self.job.program;
            let process = Process::start(program, name.clone(), number, send.clone())
                .map_err(|source| RunError::Io { action: "start", path: program.into(), source })?;
            self.record_of(&name, What::ProcessStarted { pid: process.pid })?;
            let start = Start {
                process: name,
                role,
                driver: self.job.driver,
                store: store_in(self.job.folder),
                prices: self.job.prices.into(),
                seed: self.job.seed.0,
                windows: self.job.scenario.windows.clone(),
                work: self.job.scenario.work.clone(),
                writes: self.job.scenario.writes,
            };
            self.processes.push(process);
            self.owed.push(0);
            self.entered.push(None);
            self.tell(number, &Command::Start(start));
        }
        self.await_all_replies()
    }

    /// Has all processes of a role do their part of a window, and waits until the next phase may be told.
    ///
    /// A driver that keeps phases apart itself is told the next phase as soon as this one has been entered, so
    /// that nothing but the driver keeps the two apart. For the others the coordinator waits until all are done.
    fn phase(&mut self, window: &WindowPlan, phase: Role) -> Result<(), RunError> {
        let steps = match phase {
            Role::Training => &window.training,
            Role::Evaluation => &window.evaluation,
        };
        let mut told = Vec::new();
        for number in 0..self.processes.len() {
            let name = &self.processes[number].name;
            let steps: BTreeMap<_, _> = steps
                .iter()
                .filter(|(actor, _)| actor.split('/').next() == Some(name.as_str()))
                .map(|(actor, steps)| (actor.clone(), steps.clone()))
                .collect();
            if !steps.is_empty() {
                let (window, fits) = (window.window.clone(), fits_of(window));
                self.tell(number, &Command::Phase(PhaseWork { window, phase, steps, fits }));
                told.push(number);
            }
        }
        if driver::keeps_phases_apart(self.job.driver) {
            let this = Some((window.window.id, phase));
            self.listen(|run| told.iter().copied().find(|&number| run.entered[number] != this))
        } else {
            self.await_all_replies()
        }
    }

    fn tell(&mut self, number: usize, command: &Command) {
        // If it has ended already, its missing answer says so.
        let _ = self.processes[number].tell(command);
        self.owed[number] += 1;
    }

    fn finish_all(&mut self) -> Result<(), RunError> {
        self.await_all_replies()?;
        self.finishing = true;
        for number in 0..self.processes.len() {
            self.tell(number, &Command::Finish);
        }
        self.await_all_replies()?;
        for mut process in std::mem::take(&mut self.processes) {
            let (name, pid) = (process.name.clone(), process.pid);
            let code = process.wait().map_err(|source| RunError::Io {
                action: "wait for",
                path: name.clone().into(),
                source,
            })?;
            self.record_of(&name, What::ProcessEnded { pid, code })?;
        }
        Ok(())
    }

    fn await_all_replies(&mut self) -> Result<(), RunError> {
        self.listen(|run| run.owed.iter().position(|&owed| owed > 0))
    }

    /// Records what comes as long as some process, whose number `awaited` tells, has not come far enough.
    fn listen(&mut self, awaited: impl Fn(&Self) -> Option<usize>) -> Result<(), RunError> {
        let mut deadline = Instant::now() + SILENCE_MAX;
        while let Some(behind) = awaited(self) {
            if self.job.interrupted.load(Ordering::Relaxed) {
                return Err(RunError::Interrupted);
            }
            match self.outputs.recv_timeout(TICK) {
                Ok((number, output)) => self.hear(number, output)?,
                Err(RecvTimeoutError::Timeout) if Instant::now() < deadline => continue,
                Err(_) => {
                    return Err(RunError::Silent { process: self.processes[behind].name.clone() });
                }
            }
            deadline = Instant::now() + SILENCE_MAX;
        }
        Ok(())
    }

    fn hear(&mut self, number: usize, output: Output) -> Result<(), RunError> {
        let process = || self.processes[number].name.clone();
        match output {
            Output::Line(Line::Event(event)) => {
                if let What::PhaseEntered { phase, window } = event.what {
                    self.entered[number] = Some((window, phase));
                }
                self.append(&event)
            }
            Output::Line(Line::Reply(Reply::Done)) => {
                self.owed[number] = self.owed[number].saturating_sub(1);
                Ok(())
            }
            Output::Line(Line::Reply(Reply::Failed { message })) => {
                Err(RunError::Worker { process: process(), message })
            }
            Output::Garbage(line) => Err(RunError::Garbage { process: process(), line }),
            // Also of one that has nothing to do just now: its answer would be awaited in vain later.
            Output::End if !self.finishing || self.owed[number] > 0 => {
                let process = process();
                let ending = match self.processes[number].wait() {
                    Ok(Some(code)) => format!("exit code {code}"),
                    Ok(None) => "killed by a signal".to_owned(),
                    Err(error) => error.to_string(),
                };
                Err(RunError::Died { process, ending })
            }
            Output::End => Ok(()),
        }
    }

    fn record_stored(&mut self) -> Result<(), RunError> {
        let folder = self.job.folder;
        let disk_bytes = survey::disk_bytes(folder).map_err(|source| RunError::Io {
            action: "measure",
            path: folder.into(),
            source,
        })?;
        let saved_us = driver::saved_us(self.job.driver, &store_in(folder))?;
        self.record(What::Stored { disk_bytes, saved_us })
    }

    fn survey(&mut self, when: When) -> Result<(), RunError> {
        let folder = self.job.folder;
        let survey = survey::take(when, folder).map_err(|source| RunError::Io {
            action: "survey",
            path: folder.into(),
            source,
        })?;
        self.record(survey)
    }

    fn record(&mut self, what: What) -> Result<(), RunError> {
        self.record_of("coordinator", what)
    }

    fn record_of(&mut self, actor: &str, what: What) -> Result<(), RunError> {
        self.append(&Event { t_ns: probe::now_ns(), actor: actor.to_owned(), what })
    }

    fn append(&mut self, event: &Event) -> Result<(), RunError> {
        let path = self.job.history;
        self.recorder.record(event).map_err(|source| RunError::Io {
            action: "write",
            path: path.into(),
            source,
        })
    }
}

/// The store's database in a run's folder.
fn store_in(folder: &Path) -> PathBuf {
    folder.join("store.duckdb")
}

/// What a window's model is fitted on: the blocks of every ticker that takes part.
fn fits_of(window: &WindowPlan) -> BTreeMap<String, Vec<u32>> {
    let steps = window.training.values().flatten();
    steps
        .filter_map(|step| match step {
            Step::Fit { ticker, blocks } => Some((ticker.clone(), blocks.clone())),
            _ => None,
        })
        .collect()
}

fn header(job: &Job<'_>) -> Header {
    Header {
        format: history::FORMAT.to_owned(),
        format_version: history::FORMAT_VERSION.to_owned(),
        scenario: job.scenario.id.clone(),
        driver: job.driver.name().to_owned(),
        seed: job.seed.to_string(),
        actors: job.plan.actors.clone(),
    }
}

/// Removes a run's folder with its databases; what cannot be removed is not worth failing for.
pub fn clean_up(folder: &Path) {
    let _ = fs::remove_dir_all(folder);
}
