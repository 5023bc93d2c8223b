//! How an artefact gets into the store: computed once, its bytes first, its row last.
//!
//! The steps of a publish, and what a kill after each leaves:
//!
//! 1. The contents are locked (shared), so that nobody sweeps their files away. *Nothing.*
//! 2. Large bytes are written to a temporary file, synced, renamed, the folder synced. *A file that no row names, which
//!    `gc` removes once the lock is gone.*
//! 3. The row is committed, with those of other threads. *Everything.*
//! 4. The generation counts, the call returns. *Everything; nobody was told.*
//!
//! While an evaluation keeps writers out, step 3 is a file in the spool instead, and the row follows at the switch.

use std::fmt::Display;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use super::artefact::{Absent, Artefact, Codec, Fill, Lookup, table};
use super::commits::Published;
use super::content::Content;
use super::core::{Core, Counters};
use super::crash;
use super::failed::Failures;
use super::feature_store::FeatureStore;
use super::flights::{Landing, Pilot, Role};
use super::key::Key;
use super::locks::{ContentHold, Flight, LockError};
use super::manifest;
use super::reading::Reading;
use super::record::{Outcome, Record};
use super::spec::FeatureSpec;
use super::spool::{Spool, SpoolError};
use crate::config::AccessMode;
use crate::error::{Error, Wanted};
use crate::seam::clock;
use crate::seam::patience::Patience;

/// What is ready to be stored, and the bytes of its file if it has one.
struct Ready {
    record: Record,
    file: Option<Vec<u8>>,
}

impl Ready {
    fn new(
        core: &Core,
        spec: &FeatureSpec,
        key: Key,
        fill: Fill,
        took: Duration,
    ) -> Result<Self, Error> {
        let (codec, bytes) = match fill {
            Fill::Bytes(bytes) => (Codec::Bytes, bytes),
            Fill::Table(table) => (Codec::Arrow, encode(core, key, &table)?),
            Fill::Absent { reason, retry_after } => {
                let retry_after = retry_after.as_millis().min(100 * 365 * 86_400_000) as u64;
                let retry_at_ms = clock::unix_ms().saturating_add(retry_after);
                let outcome = Outcome::Absent { reason, retry_at_ms };
                return Ok(Self {
                    record: Record::new(spec, key, outcome, as_us(took)),
                    file: None,
                });
            }
        };
        let content = Content::of(&bytes);
        let (length, is_inline) = (bytes.len() as u64, bytes.len() <= core.options.inline_max());
        let (inline, in_file) = if is_inline { (Some(bytes), None) } else { (None, Some(bytes)) };
        let outcome = Outcome::Ready { content, bytes: length, codec: codec.number(), inline };
        Ok(Self { record: Record::new(spec, key, outcome, as_us(took)), file: in_file })
    }

    fn file(&self) -> Option<(Content, &[u8])> {
        Some((self.record.file()?, self.file.as_deref()?))
    }
}

fn encode(
    core: &Core,
    key: Key,
    table: &duckdb::arrow::record_batch::RecordBatch,
) -> Result<Vec<u8>, Error> {
    table::encode(table).map_err(|error| Error::Artefact {
        path: core.path.clone(),
        key: key.to_string(),
        problem: format!("the table cannot be written as an Arrow stream ({error})"),
        evidence: None,
    })
}

fn as_us(took: Duration) -> u64 {
    took.as_micros().try_into().unwrap_or(u64::MAX)
}

/// What a publication is of, and what it comes to.
#[derive(Clone, Debug)]
pub struct Publication<'a> {
    /// What it is.
    pub spec: &'a FeatureSpec,
    /// What computing it came to.
    pub fill: Fill,
    /// How long that took, for [`Stats::saved`](crate::Stats::saved) and for eviction.
    pub computed_in: Duration,
}

impl<'a> Publication<'a> {
    /// A publication that nobody has measured.
    pub fn new(spec: &'a FeatureSpec, fill: impl Into<Fill>) -> Self {
        Self { spec, fill: fill.into(), computed_in: Duration::ZERO }
    }
}

pub(crate) fn publish(
    store: &FeatureStore,
    publications: Vec<Publication<'_>>,
) -> Result<Published, Error> {
    let core = &*store.core;
    let ready = publications.into_iter().map(|Publication { spec, fill, computed_in }| {
        Ready::new(core, spec, spec.key(), fill, computed_in)
    });
    let ready = ready.collect::<Result<Vec<_>, _>>()?;
    let held = write_files(core, &ready)?;
    let published = core.store(ready.into_iter().map(|ready| ready.record).collect())?;
    crash::point("publish.committed");
    drop(held);
    store.keep_to_budget();
    Ok(published)
}

/// Steps 1 and 2. What this returns has to live until the rows are committed.
fn write_files(core: &Core, ready: &[Ready]) -> Result<Option<ContentHold>, Error> {
    let files: Vec<(Content, &[u8])> = ready.iter().filter_map(Ready::file).collect();
    if files.is_empty() {
        return Ok(None);
    }
    let failed = |source| Error::Io {
        action: "write artefacts into",
        path: core.folder.path().to_path_buf(),
        source,
    };
    core.folder.create().map_err(|error| failed(error.into()))?;
    let contents: Vec<_> = files.iter().map(|(content, _)| *content).collect();
    let held = ContentHold::take(&core.folder, contents, &core.patience())
        .map_err(|error| content_error(core, error))?;
    crash::point("publish.held");
    if faulty!(Fault::RowBeforeFile) {
        let _ = core.store(ready.iter().map(|ready| ready.record.clone()).collect());
    }
    core.folder.put_many(&files).map_err(failed)?;
    crash::point("publish.written");
    Ok(Some(held))
}

pub(crate) fn get_or_compute<E: From<Error> + Display>(
    store: &FeatureStore,
    spec: &FeatureSpec,
    compute: impl FnOnce() -> Result<Fill, E>,
) -> Result<Lookup, E> {
    let (core, key) = (&*store.core, spec.key());
    if let Some(found) = find(store, spec, key)? {
        return Ok(found);
    }
    let begun = clock::now();
    let patience = Patience::until(clock::deadline_in(core.options.computation_wait_max));
    loop {
        let flying = match core.flights.join(key) {
            Role::Pilot(pilot) => {
                let clearance = wait_for_clearance(core, key, &patience)?;
                return fly(store, spec, &pilot, &clearance, compute);
            }
            Role::Itself => {
                let reason = "its computation asks for the artefact that it computes".into();
                return Err(failed(core, key, "this thread", reason).into());
            }
            Role::Passenger(flying) => flying,
        };
        match flying.wait(&patience) {
            Some(Landing::Found(found)) => {
                Counters::add(&core.counters.coalesced, 1);
                return Ok(found);
            }
            Some(Landing::Failed(reason)) => {
                return Err(failed(core, key, "another thread of this process", reason).into());
            }
            Some(Landing::GaveUp) => {}
            None => {
                let waited = clock::since(begun);
                return Err(still_computing(core, key, waited, Vec::new()).into());
            }
        }
    }
}

/// What is known of an artefact, with its bytes at hand; `None` if it has to be computed.
fn find(store: &FeatureStore, spec: &FeatureSpec, key: Key) -> Result<Option<Lookup>, Error> {
    for key in [Some(key), spec.get_formerly()].into_iter().flatten() {
        match store.get(key)? {
            Lookup::Hit(artefact) => match artefact.loaded() {
                Ok(artefact) => return Ok(Some(Lookup::Hit(artefact))),
                Err(Error::Artefact { .. }) => Counters::add(&store.core.counters.damaged, 1),
                Err(error) => return Err(error),
            },
            Lookup::Absent(absent) => return Ok(Some(Lookup::Absent(absent))),
            Lookup::Miss => {}
        }
    }
    Ok(None)
}

/// The same, but `None` at once if anybody computes it already.
pub(crate) fn get_or_compute_unless_busy<E: From<Error> + Display>(
    store: &FeatureStore,
    spec: &FeatureSpec,
    compute: impl FnOnce() -> Result<Fill, E>,
) -> Result<Option<Lookup>, E> {
    let (core, key) = (&*store.core, spec.key());
    if let Some(found) = find(store, spec, key)? {
        return Ok(Some(found));
    }
    let Role::Pilot(pilot) = core.flights.join(key) else { return Ok(None) };
    match clearance(core, key)? {
        Some(clearance) => fly(store, spec, &pilot, &clearance, compute).map(Some),
        None => Ok(None),
    }
}

/// That this process is the only one that computes it.
struct Clearance {
    /// `None` where the folder cannot be written, and every process computes for itself.
    _flight: Option<Flight>,
    /// Since when it was waited for, in milliseconds after 1970, if it was.
    waited_since: Option<u64>,
}

/// Computes, as the only one of all threads and processes.
fn fly<E: From<Error> + Display>(
    store: &FeatureStore,
    spec: &FeatureSpec,
    pilot: &Pilot<'_, Key, Lookup>,
    clearance: &Clearance,
    compute: impl FnOnce() -> Result<Fill, E>,
) -> Result<Lookup, E> {
    let (core, key) = (&*store.core, pilot.key());
    // Somebody may have been quicker.
    if let Some(found) = find(store, spec, key)? {
        Counters::add(&core.counters.coalesced, u64::from(clearance.waited_since.is_some()));
        pilot.land(Landing::Found(found.clone()));
        return Ok(found);
    }
    let failure = clearance
        .waited_since
        .and_then(|since| Failures::of(&core.folder).since(key.as_bytes(), since).ok().flatten());
    if let Some(failure) = failure {
        let by = format!("pid {} (`{}`)", failure.pid, failure.command);
        pilot.land(Landing::Failed(failure.reason.clone()));
        return Err(failed(core, key, &by, failure.reason).into());
    }
    let watched = Watched { core, pilot };
    let began = clock::now();
    let computed = compute();
    std::mem::forget(watched);
    let took = clock::since(began);
    Counters::add(&core.counters.computed, 1);
    Counters::add(&core.counters.computed_us, as_us(took));
    let stored = match computed {
        Ok(fill) => put(store, spec, key, fill, took).map_err(E::from),
        Err(error) => Err(error),
    };
    match &stored {
        Ok(found) => {
            let _ = Failures::of(&core.folder).clear(key.as_bytes()); // an old one harms nobody
            pilot.land(Landing::Found(found.clone()));
        }
        Err(error) => tell_failure(core, pilot, &error.to_string()),
    }
    stored
}

/// Takes the lock of the computation if nobody has it.
fn clearance(core: &Core, key: Key) -> Result<Option<Clearance>, Error> {
    if core.folder.create().is_err() || faulty!(Fault::FlightWithoutLock) {
        return Ok(Some(Clearance { _flight: None, waited_since: None }));
    }
    let label = &core.manager.config().label;
    match Flight::try_take(&core.folder, key.as_bytes(), label) {
        Ok(flight) => {
            Ok(flight.map(|flight| Clearance { _flight: Some(flight), waited_since: None }))
        }
        Err(error) if is_forbidden(&error) => {
            Ok(Some(Clearance { _flight: None, waited_since: None }))
        }
        Err(error) => Err(lock_error(core, error)),
    }
}

/// Whether this process may not write here, and nothing else is wrong.
fn is_forbidden(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem)
}

fn wait_for_clearance(core: &Core, key: Key, patience: &Patience) -> Result<Clearance, Error> {
    let (begun, begun_ms) = (clock::now(), clock::unix_ms());
    if let Some(clearance) = clearance(core, key)? {
        return Ok(clearance);
    }
    let label = &core.manager.config().label;
    match Flight::take(&core.folder, key.as_bytes(), label, patience) {
        Ok(flight) => Ok(Clearance { _flight: Some(flight), waited_since: Some(begun_ms) }),
        Err(LockError::Unusable { source, .. }) => Err(lock_error(core, source)),
        Err(LockError::Expired(holders)) => {
            Err(still_computing(core, key, clock::since(begun), holders))
        }
    }
}

fn content_error(core: &Core, error: LockError) -> Error {
    match error {
        LockError::Unusable { path, source } => Error::Io { action: "lock", path, source },
        LockError::Expired(holders) => Error::TimedOut {
            path: core.path.clone(),
            wanted: Wanted::Lease(AccessMode::ReadWrite),
            waited: core.manager.config().wait_max,
            holders,
            here: Vec::new(),
        },
    }
}

fn lock_error(core: &Core, source: io::Error) -> Error {
    Error::Io { action: "lock a computation in", path: core.folder.path().to_path_buf(), source }
}

/// Publishes what was computed, or leaves it for the next training phase.
fn put(
    store: &FeatureStore,
    spec: &FeatureSpec,
    key: Key,
    fill: Fill,
    took: Duration,
) -> Result<Lookup, Error> {
    let core = &*store.core;
    let ready = [Ready::new(core, spec, key, fill, took)?];
    let held = write_files(core, &ready)?;
    match core.store(vec![ready[0].record.clone()]) {
        Ok(Published { present: 1.., .. }) => {
            drop(held);
            if let Some(theirs) = find(store, spec, key)? {
                return Ok(theirs);
            }
        }
        Ok(_) => {
            crash::point("publish.committed");
            drop(held);
            store.keep_to_budget();
        }
        Err(Error::EvaluationIsOn { .. }) => leave_for_training(core, key, &ready[0].record),
        Err(error) => return Err(error),
    }
    let [ready] = ready;
    Ok(of_record(core, ready.record, ready.file, core.mirror.current().reading()))
}

fn leave_for_training(core: &Core, key: Key, record: &Record) {
    let left = core.folder.create().map_err(io::Error::from);
    let left = left.and_then(|()| Spool::of(&core.folder).put(key.as_bytes(), record));
    if let Err(error) = left {
        // What is computed is not thrown away because it cannot be shared now.
        tracing::warn!(%error, %key, "computed, and cannot be left for the next training phase");
    }
    crash::point("publish.spooled");
}

/// What a record says to somebody who looks it up.
fn of_record(core: &Core, record: Record, file: Option<Vec<u8>>, reading: &Arc<Reading>) -> Lookup {
    if let Outcome::Absent { reason, retry_at_ms } = record.outcome {
        return Lookup::Absent(Absent { reason, retry_at_unix_ms: retry_at_ms });
    }
    let entry = Arc::new(manifest::entry_of(&record, 0, core.mirror.totals()));
    Lookup::Hit(Artefact::new(record.key, entry, reading).with_bytes(file))
}

/// What evaluators have left of that key.
pub(crate) fn spooled(
    core: &Core,
    key: Key,
    reading: &Arc<Reading>,
) -> Result<Option<Lookup>, Error> {
    let record: Option<Record> =
        Spool::of(&core.folder).get(key.as_bytes()).map_err(spool_error)?;
    Ok(record.map(|record| of_record(core, record, None, reading)))
}

/// The keys of what evaluators have left.
pub(crate) fn spooled_keys(core: &Core) -> Result<Vec<Key>, Error> {
    let keys = Spool::of(&core.folder).list().map_err(|error| core.folder_error(error))?;
    Ok(keys.into_iter().map(Key::from_bytes).collect())
}

/// Whether evaluators have left nothing. One look at a folder.
pub(crate) fn spool_is_empty(core: &Core) -> Result<bool, Error> {
    Spool::of(&core.folder).is_empty().map_err(|error| core.folder_error(error))
}

fn spool_error(error: SpoolError) -> Error {
    match error {
        SpoolError::Damaged { path, reason } => Error::Spooled { path, problem: reason },
        SpoolError::Io { path, source } => Error::Io { action: "read", path, source },
    }
}

impl FeatureStore {
    /// Puts into the manifest what evaluators have left for it. [`training_phase`](Self::training_phase) does that.
    ///
    /// Killed in the middle it has done a part, and the next one does the rest. What is damaged is left where it is, and
    /// told in the log.
    ///
    /// # Errors
    ///
    /// Those of [`publish`](Self::publish).
    pub fn fold(&self) -> Result<Published, Error> {
        let core = &*self.core;
        let mut folded = Published::default();
        let spool = Spool::of(&core.folder);
        if spool_is_empty(core)? {
            return Ok(folded);
        }
        let _alone = fold_alone(core)?;
        for keys in spool.list().map_err(|error| core.folder_error(error))?.chunks(1000) {
            let mut records: Vec<Record> = Vec::new();
            for key in keys {
                match spool.get(key).map_err(spool_error) {
                    Ok(record) => records.extend::<Option<Record>>(record),
                    Err(error) => tracing::error!(%error, "it is not put into the manifest"),
                }
            }
            let keys: Vec<_> = records.iter().map(|record| record.key).collect();
            crash::point("fold.read");
            let Published { stored, present } = core.store(records)?;
            folded.stored += stored;
            folded.present += present;
            crash::point("fold.committed");
            for key in keys {
                spool.remove(key.as_bytes()).map_err(|error| core.folder_error(error))?;
            }
        }
        Ok(folded)
    }
}

/// What nobody else folds under. Whoever read the spool before another one has emptied it would put an artefact back that
/// was taken out after that, and whose file may be gone.
fn fold_alone(core: &Core) -> Result<Flight, Error> {
    let begun = clock::now();
    let label = &core.manager.config().label;
    Flight::take(&core.folder, b"flockgate folds!", label, &core.patience()).map_err(|error| {
        match error {
            LockError::Unusable { path, source } => Error::Io { action: "lock", path, source },
            LockError::Expired(holders) => Error::TimedOut {
                path: core.path.clone(),
                wanted: Wanted::Lease(AccessMode::ReadWrite),
                waited: clock::since(begun),
                holders,
                here: Vec::new(),
            },
        }
    })
}

/// Tells everybody who waits for a computation that it has failed.
fn tell_failure(core: &Core, pilot: &Pilot<'_, Key, Lookup>, reason: &str) {
    let told = Failures::of(&core.folder).put(pilot.key().as_bytes(), reason);
    if let Err(error) = told {
        tracing::debug!(%error, "other processes will compute it again");
    }
    pilot.land(Landing::Failed(reason.to_owned()));
}

/// A computation that is going on. Dropped only if it panics.
struct Watched<'a> {
    core: &'a Core,
    pilot: &'a Pilot<'a, Key, Lookup>,
}

impl Drop for Watched<'_> {
    fn drop(&mut self) {
        tell_failure(self.core, self.pilot, "it panicked");
    }
}

fn failed(core: &Core, key: Key, by: &str, reason: String) -> Error {
    Error::ComputationFailed {
        path: core.path.clone(),
        key: key.to_string(),
        by: by.into(),
        reason,
    }
}

fn still_computing(core: &Core, key: Key, waited: Duration, holders: Vec<crate::Holder>) -> Error {
    Error::StillComputing { path: core.path.clone(), key: key.to_string(), waited, holders }
}
