//! How actors record what they do: each thread says who it is once, and events go out as they happen.
//!
//! # Scope of determinism
//!
//! Times are the machine's: `CLOCK_MONOTONIC`, one clock for all processes.

use std::cell::RefCell;
use std::io::{self, Write};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use serde::Serialize;

use crate::history::{Event, What};

/// Where a process's events go. Cheap to clone.
#[derive(Clone)]
pub struct Probe {
    process: Arc<str>,
    sink: Arc<Mutex<Box<dyn Write + Send>>>,
}

thread_local! {
    static ACTOR: RefCell<Option<String>> = const { RefCell::new(None) };
}

impl Probe {
    /// A probe of the process with that name, whose events go to `sink`, a line each.
    pub fn new(process: &str, sink: Box<dyn Write + Send>) -> Self {
        Self { process: process.into(), sink: Arc::new(Mutex::new(sink)) }
    }

    /// Names the actor that the calling thread is from now on.
    pub fn become_actor(actor: &str) {
        ACTOR.with_borrow_mut(|own| *own = Some(actor.to_owned()));
    }

    /// Records an event of the calling thread's actor, now.
    pub fn record(&self, what: What) {
        let actor = ACTOR.with_borrow(Clone::clone).unwrap_or_else(|| self.process.to_string());
        self.emit(actor, what);
    }

    /// Records an event of the process as a whole, now.
    pub fn record_process(&self, what: What) {
        self.emit(self.process.to_string(), what);
    }

    /// Answers a command, after all events that were recorded before.
    pub fn reply(&self, reply: &impl Serialize) {
        let _ = send(&mut **self.sink.lock(), reply);
    }

    fn emit(&self, actor: String, what: What) {
        // The lock is taken before the clock is read, so that lines are in order of their times.
        let mut sink = self.sink.lock();
        let event = Event { t_ns: now_ns(), actor, what };
        // A sink that is gone means that the coordinator is: this process is about to be told.
        let _ = send(&mut **sink, &event);
    }
}

fn send(sink: &mut dyn Write, line: &impl Serialize) -> io::Result<()> {
    let mut line = serde_json::to_vec(line)?;
    line.push(b'\n');
    sink.write_all(&line)?;
    sink.flush()
}

/// `CLOCK_MONOTONIC`, in nanoseconds.
pub fn now_ns() -> u64 {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    let seconds = u64::try_from(now.tv_sec).expect("the monotonic clock is positive");
    let nanoseconds = u64::try_from(now.tv_nsec).expect("a fraction of a second is positive");
    seconds * 1_000_000_000 + nanoseconds
}

/// A duration as events carry it.
pub fn as_ns(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}
