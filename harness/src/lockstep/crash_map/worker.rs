//! The child processes of a crash map: one that does the workload, and meets its end at a call; one that looks at what is
//! left.
//!
//! What is said goes to standard output, a JSON line each, at once: what was said before a kill was said.

use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use serde::{Deserialize, Serialize};

use super::database::{self, Found, Said, Session};
use super::workload::{Step, Workload};
use super::{Driver, Mode};
use crate::lockstep::io::survivors::Keeping;
use crate::lockstep::io::{self as engine, Call, Judge, Verdict};

/// The seconds after which a child that does not end is ended by SIGALRM.
const PATIENCE_SECONDS: u32 = 30;

/// What a child is to do.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Task {
    /// The workload.
    Work {
        driver: Driver,
        workload: Workload,
        folder: PathBuf,
        /// Where to write down what changes.
        log: Option<PathBuf>,
        /// At the call of this number, counted from 0, this happens. Without it, every call is told.
        fault: Option<(usize, Mode)>,
    },
    /// Looks at what is left in folders.
    Look { driver: Driver, workload: Workload, folders: Vec<PathBuf> },
}

/// What a child says.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Line {
    /// It begins with something. A number is that of a transaction.
    Begun(String, Option<i64>),
    /// How that ended.
    Ended(Said),
    /// A call; in a run with a fault, only the one that it hits.
    Call(String),
    /// What is left in the next folder.
    Found(Found),
}

fn say(line: &Line) {
    let mut text = serde_json::to_string(line).expect("a line is plain data");
    text.push('\n');
    let mut output = io::stdout().lock();
    // Whoever started this one reads to its end. If it has died, so will this one.
    let _ = output.write_all(text.as_bytes()).and_then(|()| output.flush());
}

/// Does a task that is given as JSON. Returns the exit code.
pub fn main(task: &str) -> u8 {
    let _ = rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::KILL));
    // SAFETY: no memory is involved.
    unsafe { libc::alarm(PATIENCE_SECONDS) };
    match serde_json::from_str(task) {
        Ok(Task::Work { driver, workload, folder, log, fault }) => {
            match work(driver, workload, &folder, log.as_deref(), fault) {
                Ok(()) => 0,
                Err(error) => {
                    say(&Line::Begun(format!("cannot work: {error}"), None));
                    70
                }
            }
        }
        Ok(Task::Look { driver, workload, folders }) => {
            for folder in folders {
                say(&Line::Found(database::look(driver, &workload.steps(), &folder)));
            }
            0
        }
        Err(_) => 2,
    }
}

/// Counts calls, and strikes at one.
struct Striker {
    count: AtomicUsize,
    fault: Option<(usize, Mode)>,
}

impl Judge for Striker {
    fn call(&self, call: &Call) -> Verdict {
        let number = self.count.fetch_add(1, Ordering::Relaxed); // one thread counts
        match self.fault {
            None => say(&Line::Call(call.to_string())),
            Some((at, mode)) if at == number => {
                say(&Line::Call(call.to_string()));
                return mode.verdict();
            }
            Some(_) => {}
        }
        Verdict::Pass
    }
}

fn work(
    driver: Driver,
    workload: Workload,
    folder: &Path,
    log: Option<&Path>,
    fault: Option<(usize, Mode)>,
) -> io::Result<()> {
    let striker = Striker { count: AtomicUsize::new(0), fault };
    let judge: Arc<dyn Judge> = match log {
        Some(log) => Arc::new(Keeping::begin(folder, log, striker)?),
        None => Arc::new(striker),
    };
    let _armed = engine::arm(folder, judge)?;
    say(&Line::Begun("open".to_owned(), None));
    let (session, said) = Session::open(driver, folder);
    say(&Line::Ended(said));
    let Some(mut session) = session else { return Ok(()) };
    for step in workload.steps() {
        match step {
            Step::Transaction(number, ops) => {
                say(&Line::Begun(format!("transaction {number}"), Some(number)));
                say(&Line::Ended(session.transaction(number, &ops)));
            }
            Step::Checkpoint => {
                say(&Line::Begun("checkpoint".to_owned(), None));
                say(&Line::Ended(session.checkpoint()));
            }
        }
    }
    say(&Line::Begun("close".to_owned(), None));
    say(&Line::Ended(session.close()));
    Ok(())
}
