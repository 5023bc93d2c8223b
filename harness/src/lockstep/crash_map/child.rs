//! The child processes of a crash map, as their parent hears them.

use std::io::{self, Read as _};
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::Driver;
use super::database::{Found, Said};
use super::worker::{Line, Task};
use super::workload::Workload;
use crate::lockstep::schedule::alone;

/// How a process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ended {
    Exited(i32),
    /// By the signal of this number.
    Killed(i32),
}

/// What a process that did the workload has said.
#[derive(Debug)]
pub(super) struct Heard {
    /// What was begun: its name, its number if it is a transaction, and how it ended.
    pub(super) steps: Vec<(String, Option<i64>, Option<Said>)>,
    /// The calls that were told, and the steps that they are of.
    pub(super) calls: Vec<(String, String)>,
    pub(super) ended: Ended,
}

/// What is left in a folder, or how the process ended that looked.
pub(super) type Look = Result<Found, Ended>;

fn run(program: &Path, task: &Task) -> io::Result<(Vec<Line>, Ended)> {
    let alone = alone();
    let mut child = Command::new(program)
        .arg("crash-worker")
        .arg(serde_json::to_string(task)?)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null()) // DuckDB's last words before a terminate
        .spawn()?;
    drop(alone);
    let mut text = String::new();
    let read = child.stdout.take().expect("it was asked for").read_to_string(&mut text);
    let status = child.wait()?;
    read?;
    let ended = match (status.code(), status.signal()) {
        (Some(code), _) => Ended::Exited(code),
        (None, signal) => Ended::Killed(signal.unwrap_or_default()),
    };
    // A line that a kill cut off was not said.
    let lines = text.split_inclusive('\n').filter(|line| line.ends_with('\n'));
    let lines = lines.map(serde_json::from_str).collect::<Result<_, _>>()?;
    Ok((lines, ended))
}

/// Runs the workload.
pub(super) fn hear(program: &Path, task: &Task) -> io::Result<Heard> {
    let (lines, ended) = run(program, task)?;
    let mut heard = Heard { steps: Vec::new(), calls: Vec::new(), ended };
    for line in lines {
        match (line, heard.steps.last_mut()) {
            (Line::Begun(step, number), _) => heard.steps.push((step, number, None)),
            (Line::Ended(said), Some((_, _, last))) => *last = Some(said),
            (Line::Call(call), Some((step, _, _))) => heard.calls.push((step.clone(), call)),
            (line, _) => return Err(io::Error::other(format!("it says {line:?}"))),
        }
    }
    Ok(heard)
}

/// Looks at folders, in as few processes as it takes: one that dies of a folder leaves the others to the next.
pub(super) fn look(
    program: &Path,
    driver: Driver,
    workload: Workload,
    folders: &[PathBuf],
) -> io::Result<Vec<Look>> {
    let mut looks = Vec::new();
    while looks.len() < folders.len() {
        let folders = folders[looks.len()..].to_vec();
        let asked = folders.len();
        let (lines, ended) = run(program, &Task::Look { driver, workload, folders })?;
        let said = lines.len();
        for line in lines {
            match line {
                Line::Found(found) => looks.push(Ok(found)),
                line => return Err(io::Error::other(format!("it says {line:?}"))),
            }
        }
        if said < asked {
            looks.push(Err(ended));
        }
    }
    Ok(looks)
}
