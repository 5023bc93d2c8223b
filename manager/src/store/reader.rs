//! A thread's own eye on a store: look-ups that borrow what they find.
//!
//! [`FeatureStore::get`] gives an artefact away, which takes five locked operations of the processor: two for the snapshot,
//! two for the artefact, one for the count. A reader holds a snapshot, lends out what is in it, and counts for itself.

use std::borrow::Cow;
use std::sync::Arc;

use super::artefact::Artefact;
use super::feature_store::FeatureStore;
use super::key::Key;
use super::mirror::{Counted, Entry, Known, Snapshot};
use super::reading::Reading;
use crate::error::Error;
use crate::seam::shared_page::SharedPage;

/// Look-ups of one thread in a hot loop: several times faster than [`FeatureStore::get`], and as little stale. Made by
/// [`FeatureStore::reader`].
///
/// It keeps the files of all artefacts that it has seen last from being removed, so it is not for keeping.
///
/// # Example
///
/// ```
/// # use manager::{Config, FeatureSpec, FeatureStore, Manager, Publication};
/// # let folder = tempfile::tempdir().unwrap();
/// let store = FeatureStore::open(&Manager::new(Config::default())?, folder.path().join("x.duckdb"))?;
/// let spec = FeatureSpec::new("momentum", 1).entity("AAPL").range(0..21);
/// let key = spec.key();
/// let mut reader = store.reader();
/// assert!(reader.get(key)?.is_none());
///
/// store.publish(vec![Publication::new(&spec, vec![1, 2, 3])])?;
/// let found = reader.get(key)?.expect("it has just been published");
/// assert_eq!(found.bytes()?, [1, 2, 3].as_slice());
/// # Ok::<(), manager::Error>(())
/// ```
pub struct Reader<'a> {
    store: &'a FeatureStore,
    /// Where the generation is: at hand, as it is looked at each time. `None` without a gate.
    page: Option<Arc<SharedPage>>,
    /// Of the snapshot.
    generation: u64,
    snapshot: Arc<Snapshot>,
    /// Told to the store when the snapshot goes.
    counted: Counted,
}

/// An artefact that a [`Reader`] has found, for as long as that does not look again.
#[derive(Clone, Copy)]
pub struct Found<'a> {
    key: Key,
    entry: &'a Arc<Entry>,
    reading: &'a Arc<Reading>,
}

impl FeatureStore {
    /// A reader for this thread.
    pub fn reader(&self) -> Reader<'_> {
        let snapshot = Arc::clone(&self.core.mirror.current());
        let (page, generation) = (self.core.page().cloned(), snapshot.generation());
        Reader { store: self, page, generation, snapshot, counted: Counted::default() }
    }
}

impl Reader<'_> {
    /// Looks one key up in memory. `None`: there is no artefact in the mirror. What else the store knows of it, a negative
    /// entry, something that was left for the manifest, or all of it where the mirror is over its budget, tells
    /// [`FeatureStore::get`].
    ///
    /// Takes no lock and no system call, as long as nobody has changed the database since the last look-up.
    ///
    /// # Errors
    ///
    /// Those of [`Manager::read`](crate::Manager::read), if the database has to be asked what has changed.
    #[inline]
    pub fn get(&mut self, key: Key) -> Result<Option<Found<'_>>, Error> {
        if self.page.as_ref().is_none_or(|page| page.count() != self.generation) {
            self.refresh()?;
        }
        let Some(entry) = self.snapshot.find(key).filter(|entry| entry.is_ready()) else {
            return Ok(None);
        };
        self.counted.add(entry);
        entry.note_use(self.snapshot.seq());
        Ok(Some(Found { key, entry, reading: self.snapshot.reading() }))
    }

    #[cold]
    fn refresh(&mut self) -> Result<(), Error> {
        let core = &self.store.core;
        // What was read after this look-up began lacks nothing, whatever has been published since.
        self.snapshot = match core.refreshed()? {
            Some(snapshot) => snapshot,
            None => Arc::new(Snapshot::empty(core.pinned_now())), // there is no mirror
        };
        self.generation = self.snapshot.generation();
        Ok(())
    }
}

impl Drop for Reader<'_> {
    fn drop(&mut self) {
        self.counted.tell(self.store.core.mirror.totals());
    }
}

impl<'a> Found<'a> {
    /// Its bytes. Blocks for a read of its file unless they are in memory.
    ///
    /// # Errors
    ///
    /// Those of [`Artefact::bytes`].
    #[inline]
    pub fn bytes(&self) -> Result<Cow<'a, [u8]>, Error> {
        match &self.entry.known {
            Known::Ready { inline: Some(inline), .. } if inline.is_sound => {
                Ok(Cow::Borrowed(&inline.bytes))
            }
            _ => Ok(Cow::Owned(self.artefact().bytes()?.into_owned())),
        }
    }

    /// The artefact, to be kept.
    pub fn artefact(&self) -> Artefact {
        Artefact::new(self.key, Arc::clone(self.entry), self.reading)
    }
}
