//! Programs that hold a database without the gate: waited for, named, and not disturbed.
//!
//! They cannot be waited for in the kernel without taking the lock that they may want themselves, so they are polled, with
//! full jitter and a cap. What is polled is the kernel's table of locks and not DuckDB: an attempt of DuckDB to open a
//! locked file takes a shared lock for a moment, to word its error, and makes others fail.

use std::path::Path;
use std::time::Duration;

use crate::config::AccessMode;
use crate::error::{self, Error};
use crate::observer::{Context, LeaseEvent};
use crate::retry::Backoff;
use crate::seam::database_lock::{self, Blocker};
use crate::seam::{clock, process};
use crate::wait::Wait;

/// Where the pauses begin.
pub(crate) const POLL_FIRST: Duration = Duration::from_millis(5);

/// A process that was killed lets go of the gate a moment before the file: the kernel closes what it had open in an
/// order of its own. By then it is nobody that could be named, and is not told of as an outsider.
const DYING_MAX: Duration = Duration::from_millis(20);
const DYING_POLL: Duration = Duration::from_micros(200);

/// One wait for all of them.
pub(crate) struct Outsiders<'a> {
    path: &'a Path,
    context: &'a Context,
    mode: AccessMode,
    wait: &'a Wait<'a>,
    backoff: Backoff<'a>,
}

impl<'a> Outsiders<'a> {
    pub(crate) fn new(
        path: &'a Path,
        context: &'a Context,
        mode: AccessMode,
        wait: &'a Wait<'a>,
    ) -> Self {
        let backoff = Backoff::drawn(
            POLL_FIRST,
            context.config.foreign_poll_max,
            wait.patience().clone(),
            &*context.jitter,
        );
        Self { path, context, mode, wait, backoff }
    }

    /// Returns as soon as nobody's lock is in the way.
    pub(crate) fn wait_until_free(&mut self) -> Result<(), Error> {
        let dead_at = clock::deadline_in(DYING_MAX);
        loop {
            // A file that cannot be looked at is for DuckDB to refuse.
            match database_lock::blocker(self.path, self.mode).unwrap_or(None) {
                None => return Ok(()),
                Some(Blocker::ThisProcess) => {
                    return Err(Error::OpenHere { path: self.path.into() });
                }
                Some(Blocker::Other { pid: None })
                    if clock::now() < dead_at && !self.wait.is_over() =>
                {
                    clock::sleep(DYING_POLL);
                }
                Some(Blocker::Other { pid }) => {
                    self.pause(pid, "the kernel has it locked")?;
                }
            }
        }
    }

    /// Sleeps for the next pause, or fails if there is no time for another one. `text` says how the holder was met.
    pub(crate) fn pause(&mut self, pid: Option<u32>, text: &str) -> Result<(), Error> {
        let command = pid.and_then(process::command);
        let told = format!("held by {}: {text}", error::outsider(pid, command.as_deref()));
        if self.backoff.attempts() == 0 {
            tracing::warn!(path = %self.path.display(), told, "a program without the gate is in the way");
        }
        self.context.tell(self.path, &LeaseEvent::HeldOutside { text: &told });
        let Some(pause) = self.backoff.pause() else { return Err(self.error(pid, command, text)) };
        let attempt = self.backoff.attempts();
        self.context.tell(self.path, &LeaseEvent::Paused { attempt, pause });
        Ok(())
    }

    fn error(&self, pid: Option<u32>, command: Option<String>, text: &str) -> Error {
        self.wait.cancelled().unwrap_or_else(|| Error::HeldOutside {
            path: self.path.into(),
            pid,
            command,
            waited: self.wait.waited(),
            text: text.into(),
        })
    }
}
