//! What a store has counted: in this process since it was opened, and in all processes for good.

use std::fs::{self, File};
use std::io::{self, Write};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::core::Core;
use super::feature_store::FeatureStore;
use crate::error::Error;
use crate::seam::{clock, fork, process};

/// Counts of look-ups and computations. Each is a sum; nothing is ever taken back.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counts {
    /// Artefacts that were found.
    pub hits: u64,
    /// Look-ups of one key that found nothing.
    pub misses: u64,
    /// Negative entries that were found.
    pub negative: u64,
    /// Computations that were not done, because somebody else did them at the same time.
    pub coalesced: u64,
    /// Computations that were done.
    pub computed: u64,
    /// Artefacts that were found damaged, and computed again.
    pub damaged: u64,
    /// Artefacts that were evicted.
    pub evicted: u64,
    /// Bytes of the artefacts that were found.
    pub hit_bytes: u64,
    /// What computing those that were found would have taken, in microseconds.
    pub saved_us: u64,
    /// What computing took, in microseconds.
    pub computed_us: u64,
}

impl Counts {
    fn combine(self, other: Self, by: impl Fn(u64, u64) -> u64) -> Self {
        Self {
            hits: by(self.hits, other.hits),
            misses: by(self.misses, other.misses),
            negative: by(self.negative, other.negative),
            coalesced: by(self.coalesced, other.coalesced),
            computed: by(self.computed, other.computed),
            damaged: by(self.damaged, other.damaged),
            evicted: by(self.evicted, other.evicted),
            hit_bytes: by(self.hit_bytes, other.hit_bytes),
            saved_us: by(self.saved_us, other.saved_us),
            computed_us: by(self.computed_us, other.computed_us),
        }
    }

    /// The sums of both.
    #[must_use]
    pub fn plus(self, other: Self) -> Self {
        self.combine(other, u64::saturating_add)
    }

    /// What has come since `other` was read.
    #[must_use]
    pub fn since(self, other: Self) -> Self {
        self.combine(other, u64::saturating_sub)
    }
}

/// How look-ups are answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "kebab-case")]
#[non_exhaustive]
pub enum MirrorState {
    /// From memory.
    Mirrored {
        /// How many keys it knows.
        keys: u64,
        /// What it takes, about.
        bytes: u64,
    },
    /// From memory, once it has been asked for the first time.
    Unread,
    /// By SQL: the mirror would take more than [`StoreOptions::mirror_bytes_max`](crate::StoreOptions::mirror_bytes_max).
    OverBudget,
    /// By SQL: there is no gate whose generation could be looked at, as the folder cannot be written.
    NoGate,
}

/// What a store has counted, and how it answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stats {
    /// Since this process opened the store.
    pub here: Counts,
    /// Of all processes, as far as they have told: at the beginning of each phase, and when they close the store.
    pub everywhere: Counts,
    /// How look-ups are answered in this process.
    pub mirror: MirrorState,
}

impl Stats {
    /// What computing the artefacts that were found would have taken, over all processes.
    pub fn saved(&self) -> Duration {
        Duration::from_micros(self.everywhere.saved_us)
    }
}

/// One line of `sessions.jsonl` in the store's folder: what a process has counted since its last line.
#[derive(Serialize, Deserialize)]
struct Session {
    at_unix_ms: u64,
    pid: u32,
    label: String,
    counts: Counts,
}

impl FeatureStore {
    /// What this store has counted. Reads a file; takes no lease.
    ///
    /// # Errors
    ///
    /// [`Error::Io`] if the file is there and cannot be read.
    pub fn stats(&self) -> Result<Stats, Error> {
        self.core.tell_counts();
        let everywhere = self.core.told_counts()?;
        Ok(Stats { here: self.core.counts(), everywhere, mirror: self.core.mirror_state() })
    }
}

impl Core {
    fn counts(&self) -> Counts {
        let of = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let (hits, negative, hit_bytes, saved_us) = self.mirror.counted();
        let counters = &self.counters;
        Counts {
            hits,
            misses: of(&counters.misses),
            negative,
            coalesced: of(&counters.coalesced),
            computed: of(&counters.computed),
            damaged: of(&counters.damaged),
            evicted: of(&counters.evicted),
            hit_bytes,
            saved_us,
            computed_us: of(&counters.computed_us),
        }
    }

    fn mirror_state(&self) -> MirrorState {
        let current = self.mirror.current();
        if self.generation().is_none() {
            MirrorState::NoGate
        } else if self.mirror.is_over_budget() {
            MirrorState::OverBudget
        } else if current.is_loaded() {
            MirrorState::Mirrored { keys: current.len() as u64, bytes: current.memory() }
        } else {
            MirrorState::Unread
        }
    }

    /// Adds what was counted since the last time to what all processes have told. That it cannot is no reason to fail.
    pub(crate) fn tell_counts(&self) {
        let mut told = self.told.lock();
        let now = self.counts();
        let counts = now.since(*told);
        if counts == Counts::default() {
            return;
        }
        let label = self.manager.config().label.chars().take(64).collect();
        let session = Session { at_unix_ms: clock::unix_ms(), pid: process::id(), label, counts };
        match self.append(&session) {
            Ok(()) => *told = now,
            Err(error) => tracing::debug!(%error, "what was counted is not told"),
        }
    }

    fn append(&self, session: &Session) -> io::Result<()> {
        self.folder.create()?;
        let mut line = serde_json::to_vec(session)?;
        line.push(b'\n');
        let path = self.folder.path().join("sessions.jsonl");
        // One write of a short line at the end: those of several processes do not mix.
        File::options().append(true).create(true).open(path)?.write_all(&line)
    }

    fn told_counts(&self) -> Result<Counts, Error> {
        let path = self.folder.path().join("sessions.jsonl");
        let text = match fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => String::new(),
            Err(source) => return Err(Error::Io { action: "read", path, source }),
        };
        // A line that was cut off by a kill or a full disk counts for nothing.
        let sessions = text.lines().filter_map(|line| serde_json::from_str::<Session>(line).ok());
        Ok(sessions.fold(Counts::default(), |sum, session| sum.plus(session.counts)))
    }
}

impl Drop for Core {
    fn drop(&mut self) {
        if fork::epoch() == self.epoch {
            self.tell_counts();
        }
    }
}
