//! Worker processes, as the coordinator sees them.

use std::io::{self, BufRead, BufReader, Write};
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Child, ChildStdin, Command as Program, Stdio};
use std::thread::{self, JoinHandle};

use crossbeam::channel::Sender;

use super::protocol::{Command, Line};
use crate::lockstep::schedule::alone;

/// What comes out of a worker.
#[derive(Debug)]
pub enum Output {
    /// A line that was understood.
    Line(Line),
    /// A line that was not.
    Garbage(String),
    /// Its standard output is closed: it has ended, or is about to.
    End,
}

/// A running worker. It is killed and waited for when this is dropped.
pub struct Process {
    /// `training-0`.
    pub name: String,
    /// Its process id.
    pub pid: u32,
    child: Child,
    input: ChildStdin,
    reader: Option<JoinHandle<()>>,
}

impl Process {
    /// Starts `program worker`; whatever it says goes to `outputs`, with its number.
    ///
    /// # Errors
    ///
    /// Those of starting a process.
    pub fn start(
        program: &Path,
        name: String,
        number: usize,
        outputs: Sender<(usize, Output)>,
    ) -> io::Result<Self> {
        let alone = alone();
        let mut child = Program::new(program)
            .arg("worker")
            // Ctrl-C on a terminal goes to the whole group of the coordinator, and is for it alone.
            .process_group(0)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::inherit())
            .spawn()?;
        drop(alone);
        let input = child.stdin.take().expect("standard input was asked for");
        let output = child.stdout.take().expect("standard output was asked for");
        let reader = thread::spawn(move || {
            for line in BufReader::new(output).split(b'\n') {
                let Ok(line) = line else { break };
                let parsed = match serde_json::from_slice(&line) {
                    Ok(line) => Output::Line(line),
                    Err(_) => {
                        Output::Garbage(String::from_utf8_lossy(&line).chars().take(200).collect())
                    }
                };
                if outputs.send((number, parsed)).is_err() {
                    return;
                }
            }
            let _ = outputs.send((number, Output::End));
        });
        Ok(Self { name, pid: child.id(), child, input, reader: Some(reader) })
    }

    /// Tells it to do something.
    ///
    /// # Errors
    ///
    /// Those of writing to a pipe: it has ended.
    pub fn tell(&mut self, command: &Command) -> io::Result<()> {
        let mut line = serde_json::to_vec(command)?;
        line.push(b'\n');
        self.input.write_all(&line)?;
        self.input.flush()
    }

    /// Waits until it has ended. Returns its exit code, or `None` if a signal ended it.
    ///
    /// # Errors
    ///
    /// Those of waiting for a process.
    pub fn wait(&mut self) -> io::Result<Option<i32>> {
        let status = self.child.wait()?;
        if let Some(reader) = self.reader.take() {
            // Its standard output is closed now, so the reader ends.
            let _ = reader.join();
        }
        Ok(status.code())
    }

    /// Kills it if it still runs. It has to be waited for all the same.
    pub fn kill(&mut self) {
        // It can only fail because the process has ended.
        let _ = self.child.kill();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
        let _ = self.wait();
    }
}
