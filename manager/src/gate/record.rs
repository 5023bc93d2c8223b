//! Who holds the gate, and who waits at it: records that any process can read.
//!
//! A record is a slot of [`SLOT_BYTES`] in the gate file, holding one JSON object and filled up with
//! newlines. It counts only while its owner holds the lock on the slot's byte, which the kernel frees
//! when the owner dies: a record that nobody locks is stale, whatever it says and whoever has its pid now.

use std::fmt;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::sync::OnceLock;

use serde::{Deserialize, Serialize};

use super::byte;
use crate::AccessMode;
use crate::seam::file_lock::{self, Share};
use crate::seam::{clock, process};

/// Slots in a gate file. A process beyond that works, but others cannot name it.
pub(crate) const SLOTS: u32 = 128;
/// Length of one slot.
pub(crate) const SLOT_BYTES: u64 = 1024;
/// Where the first slot begins; the file's header stands before it.
pub(crate) const FIRST_SLOT: u64 = 4096;

/// A phase of a pipeline: a state of the database that its processes share.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Phase {
    /// Features are computed and published.
    Training,
    /// Features are looked up; writers stay out.
    Evaluation,
}

impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Training => "training",
            Self::Evaluation => "evaluation",
        })
    }
}

/// Whether a process has what its record names, or waits for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Standing {
    /// It has it.
    Holding,
    /// It waits for it.
    Waiting,
}

/// A process that holds a database or one of its phases, or waits for either.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Holder {
    /// Its process id, in its own pid namespace.
    pub pid: u32,
    /// When it started, in clock ticks after boot: with the pid it names one process for good. `None`
    /// where `/proc` does not say.
    pub process_started_ticks: Option<u64>,
    /// Its command line, cut at 160 characters.
    pub command: String,
    /// The user it acts as: a name, or a number where the system knows none.
    pub user: String,
    /// What its configuration calls it.
    pub label: String,
    /// Has it, or waits for it.
    pub standing: Standing,
    /// How it holds the file; `None` for a record of a phase.
    pub mode: Option<AccessMode>,
    /// The phase that the record is of; `None` for a record of a hold.
    pub phase: Option<Phase>,
    /// Since when, in milliseconds after 1970 by that process's wall clock.
    pub since_unix_ms: u64,
}

impl Holder {
    /// A record of this process, as of now.
    pub(crate) fn this_process(
        label: &str,
        mode: Option<AccessMode>,
        phase: Option<Phase>,
    ) -> Self {
        let Identity { pid, started, command, user } = Identity::of_this_process();
        Self {
            pid,
            process_started_ticks: started,
            command,
            user,
            label: label.chars().take(64).collect(),
            standing: Standing::Waiting,
            mode,
            phase,
            since_unix_ms: clock::unix_ms(),
        }
    }
}

/// What a process is called. It does not change, so it is looked up once.
#[derive(Clone)]
struct Identity {
    pid: u32,
    started: Option<u64>,
    command: String,
    user: String,
}

impl Identity {
    fn of_this_process() -> Self {
        static KNOWN: OnceLock<Identity> = OnceLock::new();
        let look = || {
            let pid = process::id();
            Self {
                pid,
                started: process::started(pid),
                command: process::command(pid).unwrap_or_default(),
                user: process::user(),
            }
        };
        let known = KNOWN.get_or_init(look);
        // A forked child is another process.
        if known.pid == process::id() { known.clone() } else { look() }
    }
}

impl fmt::Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = clock::unix_ms().saturating_sub(self.since_unix_ms) as f64 / 1000.0;
        let what = match (self.standing, self.mode, self.phase) {
            (Standing::Holding, Some(AccessMode::ReadWrite), _) => "has it to write".to_owned(),
            (Standing::Holding, Some(AccessMode::ReadOnly), _) => "has it to read".to_owned(),
            (Standing::Holding, None, Some(phase)) => format!("is in its {phase} phase"),
            (Standing::Waiting, None, Some(phase)) => format!("waits for its {phase} phase"),
            (Standing::Waiting, Some(AccessMode::ReadWrite), _) => "waits to write".to_owned(),
            (Standing::Waiting, ..) => "waits to read".to_owned(),
            // A record of the feature store: its label says what.
            (Standing::Holding, None, None) => "computes it".to_owned(),
        };
        write!(f, "pid {} (`{}`, user {}", self.pid, self.command, self.user)?;
        if !self.label.is_empty() {
            write!(f, ", label `{}`", self.label)?;
        }
        write!(f, ") {what} since {seconds:.1} s")
    }
}

/// A slot of the gate file that this process has claimed. It is given up with the file's other locks.
#[derive(Debug)]
pub(crate) struct Slot(u32);

impl Slot {
    /// Claims a free slot and writes the record into it; `None` if all are taken.
    pub(crate) fn claim(file: &File, holder: &Holder) -> io::Result<Option<Self>> {
        Self::claim_from(0, file, holder)
    }

    /// As [`Slot::claim`], beginning with that slot: who claims many does not try all that it has.
    pub(crate) fn claim_from(first: u32, file: &File, holder: &Holder) -> io::Result<Option<Self>> {
        for number in (first..first + SLOTS).map(|number| number % SLOTS) {
            if file_lock::try_lock(file, byte::slot(number), Share::Exclusive)? {
                let slot = Self(number);
                slot.write(file, holder)?;
                return Ok(Some(slot));
            }
        }
        Ok(None)
    }

    /// Replaces the record.
    pub(crate) fn write(&self, file: &File, holder: &Holder) -> io::Result<()> {
        let mut text = serde_json::to_vec(holder)?;
        if text.len() as u64 > SLOT_BYTES {
            // Escapes can make a command line six times as long; the rest fits by its bounds.
            let short = Holder { command: String::new(), ..holder.clone() };
            text = serde_json::to_vec(&short)?;
        }
        text.resize(SLOT_BYTES as usize, b'\n');
        file.write_all_at(&text, FIRST_SLOT + u64::from(self.0) * SLOT_BYTES)
    }
}

/// The records that count: those that somebody other than the caller's `file` holds.
pub(crate) fn read_all(file: &File) -> io::Result<Vec<Holder>> {
    let mut holders = Vec::new();
    for number in 0..SLOTS {
        if file_lock::held_by_other(file, byte::slot(number))?.is_none() {
            continue;
        }
        let mut text = vec![0_u8; SLOT_BYTES as usize];
        let at = FIRST_SLOT + u64::from(number) * SLOT_BYTES;
        if file.read_exact_at(&mut text, at).is_err() {
            continue; // nothing is written yet
        }
        // A record that is being written does not parse, and one that a dead process left in a slot that has
        // just been claimed is not of the process that it names: both owners are left out, not misnamed.
        let found: Option<Holder> = serde_json::from_slice(&text).ok();
        holders.extend(found.filter(|holder| {
            let started = process::started(holder.pid);
            started.is_none() || started == holder.process_started_ticks
        }));
    }
    Ok(holders)
}
