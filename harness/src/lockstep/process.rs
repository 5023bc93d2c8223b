//! Actors with a process of their own, as the scheduler sees them.
//!
//! A process is used again for the next schedule; one that was killed, or did not come back, is not.
//!
//! # Invariants
//!
//! * A process that is killed has been waited for before anybody moves: the kernel has let go of its locks by then.
//! * What a process says is read in turns: an order, its reply.

use std::io::{self, Read as _, Write as _};
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::path::PathBuf;
use std::process::{Child, ChildStdin, ChildStdout, Command, ExitStatus, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::process::{Pid, Signal, WaitOptions};

use super::actor::ARGUMENT;
use super::baton::{Back, Go};
use super::driver::DriverError;
use super::wire::{Make, Order, Reply};

/// The longest line that is taken for a reply.
const REPLY_BYTES_MAX: usize = 16 << 20;

/// Names the program that actors are, if it is another one.
pub const VARIABLE: &str = "HARNESS_ACTOR";

static PROGRAM: OnceLock<PathBuf> = OnceLock::new();

/// Processes that are nobody at the moment.
static IDLE: Mutex<Vec<Process>> = Mutex::new(Vec::new());

/// Starts actors with that program instead of this one, or the one that [`VARIABLE`] names. The first call counts.
pub fn use_program(program: PathBuf) {
    let _ = PROGRAM.set(program); // as documented
}

/// Ends the processes that wait for another schedule. One that is started later sees the environment of that time.
pub fn end_idle() {
    IDLE.lock().clear();
}

/// Why a process did not answer as it should.
#[derive(Debug)]
pub(super) enum Lost {
    /// It has not answered in time.
    Stuck,
    /// It has ended.
    Died(String),
    /// It said something else.
    Garbage(String),
    /// It could not be spoken to.
    Io(io::Error),
    /// It could not do its part.
    Failed(DriverError),
}

impl From<io::Error> for Lost {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

/// A child process that plays an actor. Killed and waited for when it is dropped.
pub(super) struct Process {
    child: Child,
    input: ChildStdin,
    output: ChildStdout,
    /// What was read behind the last whole line.
    rest: Vec<u8>,
    /// Digest of the scenario that it has.
    knows: Option<u64>,
}

impl Process {
    /// One that waits, or a new one.
    pub(super) fn take() -> io::Result<Self> {
        let waiting = IDLE.lock().pop();
        if let Some(mut process) = waiting
            && matches!(process.child.try_wait(), Ok(None))
        {
            return Ok(process);
        }
        Self::start()
    }

    fn start() -> io::Result<Self> {
        let program = match (PROGRAM.get(), std::env::var_os(VARIABLE)) {
            (Some(program), _) => program.clone(),
            (None, Some(program)) => program.into(),
            (None, None) => std::env::current_exe()?,
        };
        let mut command = Command::new(program);
        command.arg(ARGUMENT);
        Self::of(command)
    }

    fn of(mut command: Command) -> io::Result<Self> {
        let mut child = command
            // Ctrl-C on a terminal is for the scheduler alone.
            .process_group(0)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::inherit())
            .spawn()?;
        let input = child.stdin.take().expect("standard input was asked for");
        let output = child.stdout.take().expect("standard output was asked for");
        Ok(Self { child, input, output, rest: Vec::new(), knows: None })
    }

    /// Has it be an actor.
    pub(super) fn make(&mut self, mut make: Make, patience: Duration) -> Result<(), Lost> {
        if self.knows == Some(make.digest) {
            make.text = None;
        }
        self.knows = Some(make.digest);
        match self.ask(&Order::Make(make), patience)? {
            Reply::Done => Ok(()),
            other => Err(unasked(&other)),
        }
    }

    /// Lets one of its threads go on to its next stop. Gives also the names of threads that were begun.
    pub(super) fn step(
        &mut self,
        thread: &str,
        go: Go,
        patience: Duration,
    ) -> Result<(Back, Vec<String>), Lost> {
        match self.ask(&Order::Go { thread: thread.to_owned(), go }, patience)? {
            Reply::Back { back, began } => Ok((back, began)),
            other => Err(unasked(&other)),
        }
    }

    /// Has it drop what its actor held, and keeps it for another one. Returns the files that it has open all the same.
    pub(super) fn give_back(mut self, patience: Duration) -> Vec<String> {
        match self.ask(&Order::Drop, patience) {
            Ok(Reply::Left { open }) => {
                IDLE.lock().push(self);
                open
            }
            _ => Vec::new(), // it is killed, and with it goes what it has
        }
    }

    /// Kills it, and waits until it is gone.
    pub(super) fn kill(&mut self) -> io::Result<ExitStatus> {
        self.child.kill()?;
        self.child.wait()
    }

    /// Waits for an end that it brings about itself.
    pub(super) fn wait(&mut self) -> io::Result<ExitStatus> {
        self.child.wait()
    }

    /// Stops it, and waits until it has stopped.
    pub(super) fn pause(&self) -> io::Result<()> {
        rustix::process::kill_process(self.pid(), Signal::STOP)?;
        rustix::process::waitpid(Some(self.pid()), WaitOptions::UNTRACED)?;
        Ok(())
    }

    /// Lets it run again.
    pub(super) fn resume(&self) -> io::Result<()> {
        Ok(rustix::process::kill_process(self.pid(), Signal::CONT)?)
    }

    /// Sends an order without waiting for its reply.
    pub(super) fn send(&mut self, order: &Order) -> Result<(), Lost> {
        let mut line = serde_json::to_vec(order).map_err(io::Error::from)?;
        line.push(b'\n');
        match self.input.write_all(&line).and_then(|()| self.input.flush()) {
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Err(self.end()),
            other => Ok(other?),
        }
    }

    fn ask(&mut self, order: &Order, patience: Duration) -> Result<Reply, Lost> {
        self.send(order)?;
        let line = self.line(patience)?;
        match serde_json::from_slice(&line) {
            Ok(Reply::Failed { error }) => Err(Lost::Failed(error)),
            Ok(reply) => Ok(reply),
            Err(_) => Err(Lost::Garbage(shortened(&line))),
        }
    }

    fn line(&mut self, patience: Duration) -> Result<Vec<u8>, Lost> {
        let deadline = Instant::now() + patience;
        let mut buffer = [0; 4096];
        loop {
            if let Some(end) = self.rest.iter().position(|&byte| byte == b'\n') {
                let mut line: Vec<u8> = self.rest.drain(..=end).collect();
                line.pop();
                return Ok(line);
            }
            if REPLY_BYTES_MAX < self.rest.len() {
                return Err(Lost::Garbage(shortened(&self.rest)));
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(Lost::Stuck);
            }
            let limit = left.try_into().ok();
            match poll(&mut [PollFd::new(&self.output, PollFlags::IN)], limit.as_ref()) {
                Ok(0) | Err(rustix::io::Errno::INTR) => continue,
                other => other.map_err(io::Error::from)?,
            };
            match self.output.read(&mut buffer)? {
                0 => return Err(self.end()),
                count => self.rest.extend_from_slice(&buffer[..count]),
            }
        }
    }

    /// It has closed its end of a pipe.
    fn end(&mut self) -> Lost {
        let _ = self.child.kill(); // if it is only about to end
        match self.child.wait() {
            Ok(status) => Lost::Died(in_words(status)),
            Err(error) => Lost::Io(error),
        }
    }

    fn pid(&self) -> Pid {
        Pid::from_child(&self.child)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.kill(); // it can only fail because it has ended
    }
}

/// How a process ended, the same in every run.
pub(super) fn in_words(status: ExitStatus) -> String {
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("exit code {code}"),
        (None, Some(signal)) => format!("signal {signal}"),
        (None, None) => "no status".to_owned(),
    }
}

fn unasked(reply: &Reply) -> Lost {
    Lost::Garbage(format!("{reply:?}"))
}

fn shortened(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).chars().take(200).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lockstep::schedule::alone;

    /// What `/proc` says that the process does: `S` sleeps, `T` is stopped (proc(5)).
    fn state(process: &Process) -> String {
        let status = std::fs::read_to_string(format!("/proc/{}/status", process.child.id()));
        let status = status.unwrap();
        let state = status.lines().find_map(|line| line.strip_prefix("State:"));
        state.unwrap().trim().chars().take(1).collect()
    }

    #[test]
    fn a_process_is_stopped_when_pause_returns_and_runs_again_behind_resume() {
        let _alone = alone();
        let mut process = Process::of(Command::new("cat")).unwrap();
        process.pause().unwrap();
        assert_eq!(state(&process), "T");
        process.resume().unwrap();
        process.send(&Order::Drop).unwrap();
        let echoed = process.line(Duration::from_secs(20)).unwrap();
        assert_eq!(serde_json::from_slice::<Order>(&echoed).unwrap(), Order::Drop);
        assert_ne!(state(&process), "T");
    }

    #[test]
    fn a_process_that_was_killed_is_gone_when_kill_returns() {
        let _alone = alone();
        let mut process = Process::of(Command::new("cat")).unwrap();
        assert_eq!(in_words(process.kill().unwrap()), "signal 9");
        assert!(matches!(process.send(&Order::Drop), Err(Lost::Died(how)) if how == "signal 9"));
    }
}
