//! The mirror: the manifest in memory, shared by the threads of a process.
//!
//! A look-up loads the generation of the database from memory that all processes share, compares it with the one that
//! the snapshot was read at, and looks the key up in a hash map: no lock, no system call, no SQL. Whoever publishes
//! counts the generation before the publication is acknowledged, so a snapshot of the same generation lacks nothing
//! that anybody was told of (I9). One of another generation is brought up to date first, by the changes since, which
//! the manifest numbers.
//!
//! A snapshot never changes. A new one shares the bulk of the old one (`base`) and has what came since in a small map
//! of its own (`recent`), which every change copies. It is merged when all these copies have come to cost as much as the
//! merge: in a store of `n` keys that changes by `c` at a time, at the square root of `2nc`. A change to a million keys
//! copies 1,400 entries on the average if it is of one, and 18,000 if it is of 158.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use arc_swap::{ArcSwap, Guard};

use super::content::Content;
use super::files::Folder;
use super::key::Key;
use super::reading::Reading;

/// What an entry and its place in the map take, without what is inline. Counted by an allocator, with what it rounds up:
/// 206 and 224 in stores of 24,332 and a million; the map is full to seven eighths at most, and to seven sixteenths after
/// it has grown. `benches/publish.rs` counts it again.
pub(crate) const ENTRY_BYTES: u64 = 224;
/// The generation of the snapshot that nothing was read into.
const NEVER: u64 = u64::MAX;

/// What is known of a key. What a hit touches comes first, beside the count of the `Arc`: one cache line or two.
#[derive(Debug)]
#[repr(C)]
pub(crate) struct Entry {
    /// How often it was found through this mirror.
    hits: AtomicU64,
    /// The last change that was known when it was found, or that made it: a clock that goes with the store.
    used: AtomicU64,
    /// What computing it took.
    pub(crate) compute_us: u64,
    /// Its bytes were found damaged or missing: it counts as missing until it is published again.
    is_damaged: AtomicBool,
    pub(crate) known: Known,
    /// The number of the change that made it.
    pub(crate) seq: u64,
    /// What the artefact knows, as an exclusive position of the calendar.
    pub(crate) known_through: u32,
    pub(crate) fit_end: Option<u32>,
    pub(crate) created_ms: u64,
    totals: Arc<Totals>,
}

/// Whether there is an artefact.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Known {
    /// There is, with these bytes.
    Ready { content: Content, bytes: u64, codec: u8, inline: Option<Inline> },
    /// There is none, for this reason, and nobody has to try before then.
    Absent { reason: Box<str>, retry_at_ms: u64 },
}

/// Bytes that stand in the manifest itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Inline {
    pub(crate) bytes: Box<[u8]>,
    /// Whether they match their checksum, which is looked at when they are read.
    pub(crate) is_sound: bool,
}

impl Inline {
    pub(crate) fn new(bytes: Vec<u8>, content: Content) -> Self {
        let is_sound = Content::of(&bytes) == content;
        Self { bytes: bytes.into(), is_sound }
    }
}

/// What all entries share: where their files are, and what those that are gone have counted.
#[derive(Debug)]
pub(crate) struct Totals {
    folder: Folder,
    pub(crate) hits: AtomicU64,
    pub(crate) negative: AtomicU64,
    pub(crate) hit_bytes: AtomicU64,
    pub(crate) saved_us: AtomicU64,
}

impl Totals {
    pub(crate) fn new(folder: Folder) -> Self {
        let [hits, negative, hit_bytes, saved_us] = Default::default();
        Self { folder, hits, negative, hit_bytes, saved_us }
    }

    #[cfg(test)]
    pub(crate) fn of_nothing() -> Arc<Self> {
        Arc::new(Self::new(Folder::of(std::path::Path::new("nowhere"))))
    }
}

impl Entry {
    pub(crate) fn new(seq: u64, known: Known, totals: &Arc<Totals>) -> Self {
        Self {
            seq,
            known,
            known_through: 0,
            fit_end: None,
            compute_us: 0,
            created_ms: 0,
            hits: AtomicU64::new(0),
            used: AtomicU64::new(seq),
            is_damaged: AtomicBool::new(false),
            totals: Arc::clone(totals),
        }
    }

    /// Notes that it was found.
    #[inline]
    pub(crate) fn count_hit(&self, last_seq: u64) {
        self.hits.fetch_add(1, Ordering::Relaxed);
        self.used.store(last_seq, Ordering::Relaxed);
    }

    /// Notes that it was found, by somebody who counts for himself.
    #[inline]
    pub(crate) fn note_use(&self, last_seq: u64) {
        self.used.store(last_seq, Ordering::Relaxed);
    }

    pub(crate) fn used(&self) -> u64 {
        self.used.load(Ordering::Relaxed)
    }

    /// Whether there is an artefact, and it is whole as far as anybody knows.
    #[inline]
    pub(crate) fn is_ready(&self) -> bool {
        matches!(self.known, Known::Ready { .. }) && !self.is_damaged()
    }

    /// Whether its bytes are in a file.
    #[inline]
    pub(crate) fn has_file(&self) -> bool {
        matches!(self.known, Known::Ready { inline: None, .. })
    }

    /// The folder that its file is in, if it has one.
    pub(crate) fn folder(&self) -> &Folder {
        &self.totals.folder
    }

    /// Notes that its bytes are not there as they were published.
    pub(crate) fn condemn(&self) {
        self.is_damaged.store(true, Ordering::Release);
    }

    /// Notes that they are again.
    pub(crate) fn acquit(&self) {
        self.is_damaged.store(false, Ordering::Release);
    }

    #[inline]
    pub(crate) fn is_damaged(&self) -> bool {
        self.is_damaged.load(Ordering::Acquire)
    }

    fn memory(&self) -> u64 {
        ENTRY_BYTES
            + match &self.known {
                Known::Ready { inline, .. } => {
                    inline.as_ref().map_or(0, |inline| inline.bytes.len() as u64)
                }
                Known::Absent { reason, .. } => reason.len() as u64,
            }
    }

    /// What the artefact takes.
    fn stored(&self) -> u64 {
        match &self.known {
            Known::Ready { bytes, .. } => *bytes,
            Known::Absent { .. } => 0,
        }
    }

    /// What it has counted until now: hits, bytes, microseconds saved.
    fn counted(&self) -> (u64, u64, u64) {
        let hits = self.hits.load(Ordering::Relaxed);
        match &self.known {
            Known::Ready { bytes, .. } => (hits, hits * bytes, hits * self.compute_us),
            Known::Absent { .. } => (hits, 0, 0),
        }
    }
}

/// What somebody has counted for himself.
#[derive(Debug, Default)]
pub(crate) struct Counted {
    hits: u64,
    bytes: u64,
    saved_us: u64,
}

impl Counted {
    /// Counts an artefact that was found.
    #[inline]
    pub(crate) fn add(&mut self, entry: &Entry) {
        self.hits += 1;
        self.bytes += entry.stored();
        self.saved_us += entry.compute_us;
    }

    pub(crate) fn tell(&self, totals: &Totals) {
        totals.hits.fetch_add(self.hits, Ordering::Relaxed);
        totals.hit_bytes.fetch_add(self.bytes, Ordering::Relaxed);
        totals.saved_us.fetch_add(self.saved_us, Ordering::Relaxed);
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        let (hits, bytes, saved_us) = self.counted();
        let hits_of = match self.known {
            Known::Ready { .. } => &self.totals.hits,
            Known::Absent { .. } => &self.totals.negative,
        };
        hits_of.fetch_add(hits, Ordering::Relaxed);
        self.totals.hit_bytes.fetch_add(bytes, Ordering::Relaxed);
        self.totals.saved_us.fetch_add(saved_us, Ordering::Relaxed);
    }
}

/// What has changed in the manifest.
#[derive(Debug, Default)]
pub(crate) struct Changes {
    /// Keys that were taken out, and the number of that change.
    pub(crate) dropped: Vec<(Key, u64)>,
    /// Entries that were put in, and are still there.
    pub(crate) added: Vec<(Key, Arc<Entry>)>,
}

impl Changes {
    /// The number of the last of them.
    pub(crate) fn last_seq(&self) -> Option<u64> {
        let dropped = self.dropped.iter().map(|(_, seq)| *seq);
        dropped.chain(self.added.iter().map(|(_, entry)| entry.seq)).max()
    }
}

type Table = HashMap<Key, Option<Arc<Entry>>, BuildHasherDefault<KeyHasher>>;

/// A key is a hash already; eight bytes of it will do.
#[derive(Default)]
pub(crate) struct KeyHasher(u64);

impl Hasher for KeyHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        if let Some(first) = bytes.first_chunk() {
            self.0 = u64::from_le_bytes(*first);
        }
    }

    fn write_usize(&mut self, _: usize) {} // the length of the key, which is always the same
}

/// The manifest as it was at one generation.
#[derive(Debug)]
pub(crate) struct Snapshot {
    generation: u64,
    /// The number of the last change that it has.
    seq: u64,
    base: Arc<Table>,
    /// Over `base`; `None` where a key is gone.
    recent: Table,
    /// Entries that `recent` was made of, in all snapshots since the last merge.
    copied: usize,
    memory: u64,
    /// What all artefacts take, on disk and in the database.
    stored: u64,
    reading: Arc<Reading>,
}

impl Snapshot {
    /// Of an empty manifest, at no generation.
    pub(crate) fn empty(reading: Arc<Reading>) -> Self {
        let base = Arc::new(Table::default());
        Self {
            generation: NEVER,
            seq: 0,
            base,
            recent: Table::default(),
            copied: 0,
            memory: 0,
            stored: 0,
            reading,
        }
    }

    #[inline]
    pub(crate) fn find(&self, key: Key) -> Option<&Arc<Entry>> {
        if !self.recent.is_empty()
            && let Some(found) = self.recent.get(&key)
        {
            return found.as_ref();
        }
        self.base.get(&key)?.as_ref()
    }

    /// This one with some changes.
    pub(crate) fn with(
        &self,
        generation: u64,
        seq: u64,
        changes: Changes,
        reading: Arc<Reading>,
    ) -> Self {
        let (mut memory, mut stored) = (self.memory, self.stored);
        let mut recent = self.recent.clone();
        let (base, found) = (Arc::clone(&self.base), |recent: &Table, key: &Key| {
            recent.get(key).or_else(|| self.base.get(key)).cloned().flatten()
        });
        for (key, dropped) in changes.dropped {
            // What was put in after that is still there.
            if let Some(entry) = found(&recent, &key).filter(|entry| entry.seq < dropped) {
                memory -= entry.memory();
                stored -= entry.stored();
                recent.insert(key, None);
            }
        }
        for (key, entry) in changes.added {
            if let Some(before) = found(&recent, &key) {
                memory -= before.memory();
                stored -= before.stored();
            }
            memory += entry.memory();
            stored += entry.stored();
            recent.insert(key, Some(entry));
        }
        let copied = self.copied + recent.len();
        let next = Self { generation, seq, base, recent, copied, memory, stored, reading };
        if next.copied > 64 + next.base.len() { next.merged() } else { next }
    }

    fn merged(self) -> Self {
        let mut base = Table::clone(&self.base);
        for (key, entry) in self.recent {
            match entry {
                Some(entry) => base.insert(key, Some(entry)),
                None => base.remove(&key),
            };
        }
        Self { base: Arc::new(base), recent: Table::default(), copied: 0, ..self }
    }

    #[inline]
    pub(crate) fn generation(&self) -> u64 {
        self.generation
    }

    /// Whether anything was ever read into it.
    #[inline]
    pub(crate) fn is_loaded(&self) -> bool {
        self.generation != NEVER
    }

    pub(crate) fn seq(&self) -> u64 {
        self.seq
    }

    /// What it takes in memory, about.
    pub(crate) fn memory(&self) -> u64 {
        self.memory
    }

    /// What all artefacts take, on disk and in the database.
    pub(crate) fn stored_bytes(&self) -> u64 {
        self.stored
    }

    #[inline]
    pub(crate) fn reading(&self) -> &Arc<Reading> {
        &self.reading
    }

    /// All entries, in no order.
    pub(crate) fn entries(&self) -> impl Iterator<Item = (Key, &Arc<Entry>)> {
        let recent = self.recent.iter();
        let base = self.base.iter().filter(|(key, _)| !self.recent.contains_key(key));
        recent.chain(base).filter_map(|(key, entry)| Some((*key, entry.as_ref()?)))
    }

    pub(crate) fn len(&self) -> usize {
        self.entries().count()
    }
}

/// The snapshot that counts now.
pub(crate) struct Mirror {
    current: ArcSwap<Snapshot>,
    is_over_budget: AtomicBool,
    totals: Arc<Totals>,
}

impl Mirror {
    pub(crate) fn new(folder: Folder) -> Self {
        let reading = Arc::new(Reading::new(None));
        Self {
            current: ArcSwap::from_pointee(Snapshot::empty(reading)),
            is_over_budget: AtomicBool::new(false),
            totals: Arc::new(Totals::new(folder)),
        }
    }

    #[inline]
    pub(crate) fn current(&self) -> Guard<Arc<Snapshot>> {
        self.current.load()
    }

    /// Puts a newer snapshot in the place of the current one.
    pub(crate) fn replace(&self, next: &Arc<Snapshot>) {
        self.current.rcu(|current| {
            let is_newer = !current.is_loaded() || current.generation < next.generation;
            Arc::clone(if is_newer { next } else { current })
        });
    }

    /// Forgets everything: the manifest does not fit into the memory that the mirror may take.
    pub(crate) fn give_up(&self) {
        let reading = Arc::clone(self.current.load().reading());
        self.is_over_budget.store(true, Ordering::Release);
        self.current.store(Arc::new(Snapshot::empty(reading)));
    }

    pub(crate) fn is_over_budget(&self) -> bool {
        self.is_over_budget.load(Ordering::Acquire)
    }

    /// Lets it be tried again.
    pub(crate) fn try_again(&self) {
        self.is_over_budget.store(false, Ordering::Release);
    }

    pub(crate) fn totals(&self) -> &Arc<Totals> {
        &self.totals
    }

    /// Hits, negative hits, bytes found and microseconds saved so far.
    pub(crate) fn counted(&self) -> (u64, u64, u64, u64) {
        let of = |count: &AtomicU64| count.load(Ordering::Relaxed);
        let Totals { hits, negative, hit_bytes, saved_us, .. } = &*self.totals;
        let mut counted = (of(hits), of(negative), of(hit_bytes), of(saved_us));
        for (_, entry) in self.current.load().entries() {
            let (hits, bytes, saved_us) = entry.counted();
            match entry.known {
                Known::Ready { .. } => counted.0 += hits,
                Known::Absent { .. } => counted.1 += hits,
            }
            counted.2 += bytes;
            counted.3 += saved_us;
        }
        counted
    }
}

#[cfg(test)]
mod tests;
