//! What the parts of a store share: the mirror and how it is kept up to date, and the one way into the manifest.

use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::artefact::{Artefact, Lookup};
use super::commits::{Commits, Published};
use super::files::Folder;
use super::flights::Flights;
use super::key::Key;
use super::locks::Pin;
use super::manifest::{self, Queries};
use super::mirror::{Changes, Entry, Known, Mirror, Snapshot};
use super::options::StoreOptions;
use super::reading::Reading;
use super::record::{Outcome, Record};
use super::rows;
use super::stats::Counts;
use crate::config::AccessMode;
use crate::error::{Error, Wanted};
use crate::gate::file::GateFile;
use crate::manager::Manager;
use crate::seam::patience::Patience;
use crate::seam::shared_page::SharedPage;
use crate::seam::sync::Mutex;
use crate::seam::turn::Turn;
use crate::seam::{clock, fork};
use crate::transaction::Transaction;

/// See the module's header.
pub(crate) struct Core {
    pub(crate) manager: Manager,
    pub(crate) path: PathBuf,
    pub(crate) folder: Folder,
    pub(crate) options: StoreOptions,
    pub(crate) mirror: Mirror,
    pub(crate) flights: Flights<Key, Lookup>,
    pub(crate) counters: Counters,
    commits: Commits,
    /// Where the generation is; `None` where there is no gate (a folder that cannot be written).
    gate: Option<GateFile>,
    refreshing: Arc<Turn>,
    /// What all processes know of what this one has counted.
    pub(crate) told: Mutex<Counts>,
    /// A forked child has nothing to tell.
    pub(crate) epoch: u32,
}

/// What no entry of the mirror counts.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    pub(crate) misses: AtomicU64,
    pub(crate) coalesced: AtomicU64,
    pub(crate) computed: AtomicU64,
    pub(crate) computed_us: AtomicU64,
    pub(crate) damaged: AtomicU64,
    pub(crate) evicted: AtomicU64,
}

impl Counters {
    pub(crate) fn add(counter: &AtomicU64, number: u64) {
        counter.fetch_add(number, Ordering::Relaxed);
    }
}

/// What a commit has put in and taken out.
pub(crate) struct Staged {
    /// What the manifest was before; `None` without a mirror.
    before: Option<Arc<Snapshot>>,
    generation: u64,
    seq: u64,
    changes: Changes,
    are_new: Vec<bool>,
}

impl Core {
    pub(crate) fn new(
        manager: Manager,
        path: PathBuf,
        options: StoreOptions,
        gate: Option<GateFile>,
    ) -> Self {
        let folder = Folder::of(&path);
        let mirror = Mirror::new(folder.clone());
        if options.mirror_bytes_max == 0 {
            mirror.give_up();
        }
        Self {
            manager,
            path,
            folder,
            options,
            mirror,
            flights: Flights::new(),
            counters: Counters::default(),
            commits: Commits::default(),
            gate,
            refreshing: Arc::default(),
            told: Mutex::default(),
            epoch: fork::epoch(),
        }
    }

    /// The artefact of a key, if the mirror is current and has it.
    #[inline]
    pub(crate) fn hit(&self, key: Key) -> Option<Artefact> {
        let current = self.mirror.current();
        let entry = current.find(key).filter(|entry| entry.is_ready())?;
        if !self.is_current(&current) {
            return None;
        }
        entry.count_hit(current.seq());
        Some(Artefact::new(key, Arc::clone(entry), current.reading()))
    }

    /// The page that the generation is on.
    pub(crate) fn page(&self) -> Option<&Arc<SharedPage>> {
        self.gate.as_ref().map(GateFile::page)
    }

    /// The generation as of now: one load from memory.
    #[inline]
    pub(crate) fn generation(&self) -> Option<u64> {
        self.gate.as_ref().map(|gate| gate.page().count())
    }

    /// Whether a snapshot has everything that anybody was told of.
    #[inline]
    pub(crate) fn is_current(&self, snapshot: &Snapshot) -> bool {
        snapshot.is_loaded()
            && (self.generation() == Some(snapshot.generation())
                || faulty!(Fault::MirrorWithoutGeneration))
    }

    pub(crate) fn patience(&self) -> Patience {
        Patience::until(clock::deadline_in(self.manager.config().wait_max))
    }

    /// The manifest as of now; `None` if it has to be asked by SQL. Blocks for a read lease and a query if somebody has
    /// changed the database since the last time.
    pub(crate) fn refreshed(&self) -> Result<Option<Arc<Snapshot>>, Error> {
        let current = self.mirror.current();
        if self.is_current(&current) {
            return Ok(Some(Arc::clone(&current)));
        }
        drop(current);
        let begun = clock::now();
        let turn = self.refreshing.take(&self.patience());
        let current = Arc::clone(&self.mirror.current());
        if self.is_current(&current) {
            return Ok(Some(current)); // somebody else has done it
        }
        if turn.is_none() {
            return Err(self.timed_out(clock::since(begun)));
        }
        // Before anything is read: what is counted later makes the snapshot old.
        let Some(generation) = self.generation().filter(|_| self.gate_is_there()) else {
            return Ok(None);
        };
        if self.mirror.is_over_budget() {
            return Ok(None);
        }
        let reading = self.reading_at(generation);
        let lease = self.manager.read(&self.path)?;
        self.caught_up(&*lease, &current, generation, reading)
    }

    /// Whether the gate is still the one whose generation is looked at. Newcomers count in another one once it is gone.
    fn gate_is_there(&self) -> bool {
        self.gate.as_ref().is_some_and(|gate| gate.is_current().unwrap_or(false))
    }

    fn reading_at(&self, generation: u64) -> Arc<Reading> {
        let pin = match Pin::take(&self.folder, generation) {
            Ok(pin) => Some(pin),
            Err(error) => {
                tracing::debug!(%error, "no pin: a file may be removed while it is about to be read");
                None
            }
        };
        Arc::new(Reading::new(pin))
    }

    /// Brings a snapshot up to date with what is read, and makes it the one that counts.
    fn caught_up(
        &self,
        queries: &impl Queries,
        current: &Arc<Snapshot>,
        generation: u64,
        reading: Arc<Reading>,
    ) -> Result<Option<Arc<Snapshot>>, Error> {
        let totals = self.mirror.totals();
        let forgotten = manifest::forgotten(queries)?;
        let next = if current.is_loaded() && current.seq() >= forgotten {
            let changes = manifest::changes_since(queries, current.seq(), totals)?;
            let seq = changes.last_seq().unwrap_or(0).max(current.seq());
            current.with(generation, seq, changes, reading)
        } else {
            let extent = manifest::extent(queries)?;
            if !self.fits(extent.inline_bytes + extent.rows * super::mirror::ENTRY_BYTES) {
                return Ok(None);
            }
            let changes = manifest::changes_since(queries, 0, totals)?;
            let added = Changes { added: changes.added, ..Changes::default() };
            let empty = Snapshot::empty(Arc::clone(&reading));
            empty.with(generation, extent.seq, added, reading)
        };
        if !self.fits(next.memory()) {
            return Ok(None);
        }
        let next = Arc::new(next);
        self.mirror.replace(&next);
        Ok(Some(next))
    }

    fn fits(&self, bytes: u64) -> bool {
        let budget = self.options.mirror_bytes_max;
        if budget < bytes {
            tracing::warn!(
                path = %self.path.display(), bytes, budget,
                "the mirror would need more memory than it may take; look-ups go to the database"
            );
            self.mirror.give_up();
        }
        bytes <= budget
    }

    /// Stores records, together with what other threads publish at this moment.
    pub(crate) fn store(&self, records: Vec<Record>) -> Result<Published, Error> {
        if records.is_empty() {
            return Ok(Published::default());
        }
        let begun = clock::now();
        let submitted = self.commits.submit(records, &self.patience(), |records| {
            self.change(|tx, known, stage| self.put_in(tx, known, records, stage))
                .map(|staged| staged.are_new)
        });
        submitted.unwrap_or_else(|| Err(self.timed_out(clock::since(begun))))
    }

    /// Takes keys out of the manifest. Returns how many were there.
    pub(crate) fn drop_keys(&self, keys: &[Key]) -> Result<u64, Error> {
        let staged = self.change(|tx, _, staged| Self::take_out(tx, keys, staged))?;
        Ok(staged.changes.dropped.len() as u64)
    }

    /// Takes keys out in a change of the manifest.
    pub(crate) fn take_out(
        tx: &Transaction<'_>,
        keys: &[Key],
        staged: &mut Staged,
    ) -> Result<(), Error> {
        let gone = manifest::drop_keys(tx, staged.seq + 1, staged.generation + 1, keys)?;
        staged.changes.dropped = numbered(&gone, staged.seq + 1);
        staged.seq += gone.len() as u64;
        Ok(())
    }

    /// Changes the manifest in one transaction, and the mirror with it.
    pub(crate) fn change(
        &self,
        mut work: impl FnMut(&Transaction<'_>, Option<&Snapshot>, &mut Staged) -> Result<(), Error>,
    ) -> Result<Staged, Error> {
        let mut staged = self.manager.transaction(&self.path, |tx| {
            let generation = self.generation().unwrap_or(0);
            let before = self.before_change(tx, generation)?;
            let seq = match &before {
                Some(before) => before.seq(),
                None => manifest::last_seq(tx)?,
            };
            let (changes, are_new) = (Changes::default(), Vec::new());
            let mut staged = Staged { before, generation, seq, changes, are_new };
            let before = staged.before.clone();
            work(tx, before.as_deref(), &mut staged)?;
            Ok(staged)
        })?;
        // Only if nobody else has changed anything since: nobody could, but between the commit and this.
        if let Some(before) = &staged.before
            && self.generation() == Some(staged.generation + 1)
        {
            let changes = std::mem::take(&mut staged.changes);
            let dropped = changes.dropped.clone();
            let generation = staged.generation + 1;
            let next = before.with(generation, staged.seq, changes, self.reading_at(generation));
            if self.fits(next.memory()) {
                self.mirror.replace(&Arc::new(next));
            }
            staged.changes.dropped = dropped;
        }
        Ok(staged)
    }

    /// The manifest as the writer's transaction finds it.
    fn before_change(
        &self,
        tx: &Transaction<'_>,
        generation: u64,
    ) -> Result<Option<Arc<Snapshot>>, Error> {
        let current = Arc::clone(&self.mirror.current());
        if self.mirror.is_over_budget() || self.gate.is_none() {
            return Ok(None);
        }
        // Also of what somebody has committed who was killed before he could count: this process counted when it took the
        // file to write.
        if self.is_current(&current) {
            return Ok(Some(current));
        }
        self.caught_up(tx, &current, generation, self.reading_at(generation))
    }

    /// Puts records in that say something new. One that stays as it is counts as present.
    fn put_in(
        &self,
        tx: &Transaction<'_>,
        known: Option<&Snapshot>,
        records: &[&Record],
        staged: &mut Staged,
    ) -> Result<(), Error> {
        let totals = self.mirror.totals();
        let found: Vec<Option<Arc<Entry>>> = if let Some(known) = known {
            records.iter().map(|record| known.find(record.key).cloned()).collect()
        } else {
            let keys: Vec<_> = records.iter().map(|record| record.key).collect();
            let found: HashMap<_, _> = manifest::find(tx, &keys, totals)?.into_iter().collect();
            keys.iter().map(|key| found.get(key).cloned()).collect()
        };
        let (now, mut seen) = (clock::unix_ms(), HashSet::new());
        let is_new = |(record, found): (&&Record, &Option<Arc<Entry>>)| {
            found.as_ref().is_none_or(|entry| says_more(record, entry, now))
                && seen.insert(record.key)
        };
        staged.are_new = records.iter().zip(&found).map(is_new).collect();
        let of_new = |index: &usize| staged.are_new[*index];
        let new: Vec<usize> = (0..records.len()).filter(of_new).collect();
        let replaced: Vec<Key> = new
            .iter()
            .filter(|index| found[**index].is_some())
            .map(|index| records[*index].key)
            .collect();
        if !replaced.is_empty() {
            Self::take_out(tx, &replaced, staged)?;
        }
        let rows: Vec<&Record> = new.iter().map(|index| records[*index]).collect();
        manifest::append(tx, staged.seq + 1, &rows)?;
        staged.changes.added = (staged.seq + 1..)
            .zip(&rows)
            .map(|(seq, record)| (record.key, Arc::new(manifest::entry_of(record, seq, totals))))
            .collect();
        staged.seq += rows.len() as u64;
        Ok(())
    }

    /// What is done once a phase: counts are told, and a mirror that was too large is tried again.
    pub(crate) fn begin_phase(&self) {
        self.tell_counts();
        if self.options.mirror_bytes_max > 0 {
            self.mirror.try_again();
        }
    }

    /// What all artefacts take.
    pub(crate) fn stored_bytes(&self) -> Result<u64, Error> {
        match self.refreshed()? {
            Some(current) => Ok(current.stored_bytes()),
            None => rows::total_bytes(&*self.manager.read(&self.path)?),
        }
    }

    /// Keeps every file that is there now from being removed, as long as the result lives.
    pub(crate) fn pinned_now(&self) -> Arc<Reading> {
        self.reading_at(self.generation().unwrap_or(0))
    }

    pub(crate) fn folder_error(&self, source: std::io::Error) -> Error {
        Error::Io { action: "use the folder", path: self.folder.path().to_path_buf(), source }
    }

    pub(crate) fn timed_out(&self, waited: std::time::Duration) -> Error {
        Error::TimedOut {
            path: self.path.clone(),
            wanted: Wanted::Lease(AccessMode::ReadWrite),
            waited,
            holders: Vec::new(),
            here: Vec::new(),
        }
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }
}

fn numbered(keys: &[Key], first: u64) -> Vec<(Key, u64)> {
    keys.iter().copied().zip(first..).collect()
}

/// Whether a record says more than what is known: an artefact instead of a damaged one or of none, or a newer reason.
fn says_more(record: &Record, entry: &Entry, now_ms: u64) -> bool {
    match (&record.outcome, &entry.known) {
        (
            Outcome::Ready { content, inline, .. },
            Known::Ready { content: known, inline: there, .. },
        ) => {
            let is_mended = content == known && inline.is_none() && there.is_none();
            if is_mended {
                entry.acquit(); // its file has just been written again
            }
            (entry.is_damaged() || there.as_ref().is_some_and(|there| !there.is_sound))
                && !is_mended
        }
        (Outcome::Ready { .. }, Known::Absent { .. }) => true,
        (Outcome::Absent { .. }, Known::Ready { .. }) => entry.is_damaged(),
        (Outcome::Absent { .. }, Known::Absent { retry_at_ms, .. }) => {
            !stands(entry.created_ms, *retry_at_ms, now_ms)
        }
    }
}

/// Whether a negative entry still holds. One that was made in the future was not: the clock has been set back, and
/// nobody knows how long it has been.
pub(crate) fn stands(created_ms: u64, retry_at_ms: u64, now_ms: u64) -> bool {
    created_ms <= now_ms && now_ms < retry_at_ms
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_negative_entry_holds_from_when_it_was_made_until_its_time() {
        assert!(stands(100, 200, 100) && stands(100, 200, 199));
        assert!(!stands(100, 200, 200), "its time has come");
        assert!(!stands(100, 200, 99), "the clock was set back");
    }
}
