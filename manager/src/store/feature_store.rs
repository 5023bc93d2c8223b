//! The public face: look up, compute, publish.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::artefact::{Absent, Artefact, Fill, Lookup};
use super::commits::Published;
use super::core::{self, Core, Counters};
use super::key::Key;
use super::manifest;
use super::mirror::{Entry, Known};
use super::options::StoreOptions;
use super::publish::{self, Publication};
use super::reading::Reading;
use super::rows;
use super::schema::{self, Found};
use super::spec::FeatureSpec;
use crate::error::Error;
use crate::gate::file::{GateFile, Refusal};
use crate::manager::Manager;
use crate::phases::PhaseGuard;
use crate::seam::clock;

/// Features by content-addressed key, shared by all threads and processes. Cheap to clone; the clones are one store.
///
/// A look-up that finds something takes nanoseconds, as long as nobody has changed the database since the last one: it
/// takes no lease, no lock and no system call. Otherwise it first takes a read lease and reads what has changed. It is
/// never stale: once a publish has returned, in whatever process, every look-up that begins after that finds it.
/// A store holds no connection between two calls, so it stands in nobody's way.
///
/// Artefacts of at most [`StoreOptions::inline_bytes_max`] are in the database, larger ones in files under
/// `<database>.store/objects/`. While the store is open, the gate file must not be removed.
///
/// # Example
///
/// ```
/// use manager::{Config, FeatureSpec, FeatureStore, Fill, Manager};
///
/// # let folder = tempfile::tempdir().unwrap();
/// # let path = folder.path().join("features.duckdb");
/// let store = FeatureStore::open(&Manager::new(Config::default())?, &path)?;
/// let spec = FeatureSpec::new("momentum", 1).entity("AAPL").range(0..21);
/// assert!(store.get(spec.key())?.is_miss());
///
/// let computed = store.get_or_compute(&spec, || Ok::<_, manager::Error>(Fill::Bytes(vec![1, 2, 3])))?;
/// let found = store.get(spec.key())?.hit().expect("it is published");
/// assert_eq!(found.bytes()?, computed.hit().expect("it is no negative entry").bytes()?);
/// # Ok::<(), manager::Error>(())
/// ```
#[derive(Clone)]
pub struct FeatureStore {
    pub(crate) core: Arc<Core>,
}

impl FeatureStore {
    /// Opens the store at `path`, creates it if there is no database, and migrates it if it is of an older version.
    ///
    /// Blocks as [`Manager::write`] does if there is something to create or migrate, otherwise as [`Manager::read`].
    ///
    /// # Errors
    ///
    /// Those of [`Manager::create`] and [`Manager::read`]; [`Error::Unusable`] if the database there is no store, or one
    /// of a newer version.
    pub fn open(manager: &Manager, path: impl AsRef<Path>) -> Result<Self, Error> {
        Self::open_with(manager, path, StoreOptions::default())
    }

    /// [`open`](Self::open) with options of its own.
    ///
    /// # Errors
    ///
    /// Those of [`open`](Self::open).
    pub fn open_with(
        manager: &Manager,
        path: impl AsRef<Path>,
        options: StoreOptions,
    ) -> Result<Self, Error> {
        let path = path.as_ref();
        let fill = |new: &duckdb::Connection| -> Result<(), Error> {
            Ok(new.execute_batch(schema::CREATE)?)
        };
        let created = manager.create(path, fill)?;
        let path = std::fs::canonicalize(path).unwrap_or_else(|_| path.to_path_buf());
        if !created {
            make_current(manager, &path, true)?;
        }
        Self::opened(manager, path, options)
    }

    /// [`open`](Self::open) for those who look after a store: one that is not there is not made, and neither is one out
    /// of an empty database. One of an older version is migrated.
    ///
    /// # Errors
    ///
    /// [`Error::Unusable`] if there is no database, or one that is no store; those of [`open`](Self::open).
    pub fn open_existing(manager: &Manager, path: impl AsRef<Path>) -> Result<Self, Error> {
        let path = path.as_ref();
        let path = std::fs::canonicalize(path).map_err(|error| Error::Unusable {
            path: path.into(),
            class: crate::ErrorClass::Missing,
            text: error.to_string(),
        })?;
        make_current(manager, &path, false)?;
        Self::opened(manager, path, StoreOptions::default())
    }

    fn opened(manager: &Manager, path: PathBuf, options: StoreOptions) -> Result<Self, Error> {
        let gate = GateFile::open_existing(&path).map_err(|refusal| match refusal {
            Refusal::Unusable { gate, source } => Error::Gate { path: gate, source },
            Refusal::Expired(_) | Refusal::Evaluation(_) => {
                unreachable!("a look waits for nothing")
            }
        })?;
        let core = Arc::new(Core::new(manager.clone(), path, options, gate));
        Ok(Self { core })
    }

    /// Looks one key up.
    ///
    /// # Errors
    ///
    /// Those of [`Manager::read`], if the database has to be asked; [`Error::Spooled`].
    #[inline]
    pub fn get(&self, key: Key) -> Result<Lookup, Error> {
        match self.core.hit(key) {
            Some(artefact) => Ok(Lookup::Hit(artefact)),
            None => self.get_otherwise(key),
        }
    }

    /// Looks many keys up in one snapshot. The answers are in the order of the keys.
    ///
    /// # Errors
    ///
    /// Those of [`get`](Self::get).
    pub fn get_many(&self, keys: &[Key]) -> Result<Vec<Lookup>, Error> {
        loop {
            let Some(current) = self.core.refreshed()? else { return self.get_many_by_sql(keys) };
            let of = |key: &Key| {
                current.find(*key).map_or(Lookup::Miss, |entry| {
                    answer(*key, entry, current.reading(), current.seq())
                })
            };
            let mut found: Vec<_> = keys.iter().map(of).collect();
            self.fill_from_spool(keys, &mut found)?;
            // Between the two looks it may have gone from the spool into the manifest.
            let misses = found.iter().filter(|found| found.is_miss()).count();
            if misses == 0 || self.core.is_current(&current) {
                Counters::add(&self.core.counters.misses, misses as u64);
                return Ok(found);
            }
        }
    }

    /// Looks an artefact up; if it is missing, computes it, publishes it, and returns it. Never [`Lookup::Miss`].
    ///
    /// Whoever misses the same artefact at the same time, in any thread or process, waits for the one computation, at
    /// most [`StoreOptions::computation_wait_max`] and as long as it goes on: if its process dies, the next one
    /// computes. `compute` runs without a lease, so it may take its time and may use the manager. A look-up that misses
    /// under [`FeatureSpec::formerly`] too computes.
    ///
    /// If it cannot be published because an evaluation phase keeps this process from writing, it is left in the store's
    /// folder, where every look-up finds it, and put into the manifest when the next training phase begins
    /// ([`training_phase`](Self::training_phase)).
    ///
    /// # Errors
    ///
    /// * Whatever `compute` returns. Those who wait for it get [`Error::ComputationFailed`] with its text, and the next
    ///   call computes again. If it panics they do, too.
    /// * [`Error::StillComputing`] if somebody else's computation takes too long. Retryable.
    /// * Those of [`get`](Self::get) and [`publish`](Self::publish).
    pub fn get_or_compute<E: From<Error> + std::fmt::Display>(
        &self,
        spec: &FeatureSpec,
        compute: impl FnOnce() -> Result<Fill, E>,
    ) -> Result<Lookup, E> {
        publish::get_or_compute(self, spec, compute)
    }

    /// [`get_or_compute`](Self::get_or_compute), but `None` at once if somebody computes it already: for workers that
    /// can do something else meanwhile.
    ///
    /// # Errors
    ///
    /// Those of [`get_or_compute`](Self::get_or_compute) but [`Error::StillComputing`].
    pub fn get_or_compute_unless_busy<E: From<Error> + std::fmt::Display>(
        &self,
        spec: &FeatureSpec,
        compute: impl FnOnce() -> Result<Fill, E>,
    ) -> Result<Option<Lookup>, E> {
        publish::get_or_compute_unless_busy(self, spec, compute)
    }

    /// Stores what computations came to, all or none. `Ok` means that it survives any kill, and that every look-up that
    /// begins from now on finds it, in every process. What is there already stays as it is.
    ///
    /// Large artefacts are written to files first. The rows of several threads that publish at the same time share one
    /// transaction.
    ///
    /// # Errors
    ///
    /// Those of [`Manager::transaction`]; [`Error::Io`] if a file cannot be written, a full disk, say. Nothing is
    /// published then.
    pub fn publish(&self, publications: Vec<Publication<'_>>) -> Result<Published, Error> {
        publish::publish(self, publications)
    }

    /// Enters the training phase of the store, as [`Manager::training_phase`] does, and puts into the manifest what
    /// evaluators have left for it.
    ///
    /// # Errors
    ///
    /// Those of [`Manager::training_phase`], and of [`publish`](Self::publish).
    pub fn training_phase(&self) -> Result<PhaseGuard, Error> {
        let phase = self.core.manager.training_phase(&self.core.path)?;
        self.core.begin_phase();
        self.fold()?;
        Ok(phase)
    }

    /// Enters the evaluation phase of the store, as [`Manager::evaluation_phase`] does.
    ///
    /// # Errors
    ///
    /// Those of [`Manager::evaluation_phase`].
    pub fn evaluation_phase(&self) -> Result<PhaseGuard, Error> {
        let phase = self.core.manager.evaluation_phase(&self.core.path)?;
        self.core.begin_phase();
        Ok(phase)
    }

    /// The key of everything that a look-up finds now, be it in the manifest or left by evaluators: artefacts and
    /// negative entries, each key once, in their order.
    ///
    /// Blocks for a read lease and a scan of the manifest.
    ///
    /// # Errors
    ///
    /// Those of [`Manager::read`]; [`Error::Io`] if the folder cannot be read.
    pub fn keys(&self) -> Result<Vec<Key>, Error> {
        // First what was left: a key that goes into the manifest meanwhile is then seen twice, and not missed.
        let mut keys = publish::spooled_keys(&self.core)?;
        let lease = self.core.manager.read(&self.core.path)?;
        keys.extend(rows::stored(&*lease)?.into_iter().map(|row| row.key));
        keys.sort_unstable();
        keys.dedup();
        Ok(keys)
    }

    /// Where the database is.
    pub fn path(&self) -> &Path {
        self.core.path()
    }

    /// The folder of its artefacts. It is there once something large was published.
    pub fn folder(&self) -> PathBuf {
        self.core.folder.path().to_path_buf()
    }

    /// The manager it works through.
    pub fn manager(&self) -> &Manager {
        &self.core.manager
    }

    /// What is no artefact in the mirror.
    fn get_otherwise(&self, key: Key) -> Result<Lookup, Error> {
        let current = self.core.mirror.current();
        if self.core.is_current(&current)
            && let Some(entry) = current.find(key)
        {
            let lookup = answer(key, entry, current.reading(), current.seq());
            if !lookup.is_miss() {
                return Ok(lookup);
            }
        }
        drop(current);
        Ok(self.get_many(&[key])?.pop().unwrap_or(Lookup::Miss))
    }

    fn get_many_by_sql(&self, keys: &[Key]) -> Result<Vec<Lookup>, Error> {
        loop {
            let generation = self.core.generation();
            let found = self.ask(keys)?;
            // As above.
            let misses = found.iter().filter(|found| found.is_miss()).count();
            if misses == 0 || self.core.generation() == generation {
                Counters::add(&self.core.counters.misses, misses as u64);
                return Ok(found);
            }
        }
    }

    fn ask(&self, keys: &[Key]) -> Result<Vec<Lookup>, Error> {
        let reading = self.core.pinned_now(); // before anything is read
        let lease = self.core.manager.read(&self.core.path)?;
        let found = manifest::find(&*lease, keys, self.core.mirror.totals())?;
        drop(lease);
        let found: HashMap<_, _> = found.into_iter().collect();
        let of = |key: &Key| {
            found.get(key).map_or(Lookup::Miss, |entry| answer(*key, entry, &reading, entry.seq))
        };
        let mut found: Vec<_> = keys.iter().map(of).collect();
        self.fill_from_spool(keys, &mut found)?;
        Ok(found)
    }

    /// Looks in what evaluators have left for the manifest.
    fn fill_from_spool(&self, keys: &[Key], found: &mut [Lookup]) -> Result<(), Error> {
        if found.iter().all(|lookup| !lookup.is_miss()) || publish::spool_is_empty(&self.core)? {
            return Ok(());
        }
        // Before anything is read: it may go into the manifest meanwhile, and out of that again.
        let reading = self.core.pinned_now();
        for (key, found) in keys.iter().zip(found).filter(|(_, found)| found.is_miss()) {
            *found = publish::spooled(&self.core, *key, &reading)?.unwrap_or(Lookup::Miss);
        }
        Ok(())
    }
}

/// What an entry says to somebody who looks it up now.
pub(crate) fn answer(
    key: Key,
    entry: &Arc<Entry>,
    reading: &Arc<Reading>,
    last_seq: u64,
) -> Lookup {
    match &entry.known {
        Known::Ready { .. } if entry.is_damaged() && !is_mended(entry) => Lookup::Miss,
        Known::Ready { .. } => {
            entry.count_hit(last_seq);
            Lookup::Hit(Artefact::new(key, Arc::clone(entry), reading))
        }
        Known::Absent { reason, retry_at_ms } => {
            let stands = core::stands(entry.created_ms, *retry_at_ms, clock::unix_ms());
            if !stands && !faulty!(Fault::NegativeNeverEnds) {
                return Lookup::Miss;
            }
            entry.count_hit(last_seq);
            Lookup::Absent(Absent { reason: reason.to_string(), retry_at_unix_ms: *retry_at_ms })
        }
    }
}

/// Whether a file that was found damaged or missing is there again: another process may have published it anew, which
/// changes no row.
fn is_mended(entry: &Entry) -> bool {
    let Known::Ready { content, bytes, inline: None, .. } = &entry.known else { return false };
    let is_mended = entry.folder().read(*content, *bytes).is_ok();
    if is_mended {
        entry.acquit();
    }
    is_mended
}

/// Makes the database that is there a store of this version, if it is one of an older version or, where it `may_fill`
/// it, empty.
fn make_current(manager: &Manager, path: &Path, may_fill: bool) -> Result<(), Error> {
    let lease = manager.read(path)?;
    let tables: u64 = lease.query_row(schema::TABLES, [], |row| row.get(0))?;
    let found = if tables == 0 { None } else { Some(schema::look(&*lease)) };
    drop(lease);
    match found {
        // Somebody took a lease or entered a phase first, which creates an empty database.
        None if !may_fill => {
            Err(not_a_store(path, "it is an empty database, not a feature store".into()))
        }
        None => manager.transaction(path, |tx| {
            if tx.query(schema::TABLES, [], |row| row.get::<_, u64>(0))? == [0] {
                tx.execute_batch(schema::CREATE)?;
            }
            Ok(())
        }),
        Some(Ok(Found::Current)) => Ok(()),
        Some(Ok(Found::Older)) => {
            tracing::info!(path = %path.display(), "a store of version 1 is migrated");
            manager.transaction(path, schema::migrate)
        }
        Some(Ok(Found::Other(other))) => {
            let here = schema::VERSION;
            Err(not_a_store(
                path,
                format!("its schema version is {other}, this build reads up to {here}"),
            ))
        }
        Some(Err(error)) => {
            Err(not_a_store(path, format!("it is a database but not a feature store ({error})")))
        }
    }
}

fn not_a_store(path: &Path, text: String) -> Error {
    Error::Unusable { path: path.into(), class: crate::ErrorClass::OtherVersion, text }
}
