//! What leaves the store: invalidated, evicted, swept. And what does not: pinned.
//!
//! Nothing is removed that somebody reads or is publishing (I8):
//!
//! 1. Rows are taken out in a transaction, which notes their files and its own generation.
//! 2. A file is removed only while the write lease is out (so no row that names it can be committed), its content can be
//!    locked alone (so nobody is publishing it), no row and nothing in the spool names it, and no reader has pinned a
//!    generation at which a row named it.
//!
//! There is no guess about age in this: each of the four is a fact at that moment.

use std::collections::{HashMap, HashSet};
use std::ops::Range;

use serde::Serialize;

use super::content::Content;
use super::core::{Core, Counters};
use super::crash;
use super::eviction::{self, Candidate, Choice, Policy, Progress};
use super::feature_store::FeatureStore;
use super::fingerprint::Fingerprint;
use super::key::Key;
use super::locks::{ContentHold, oldest_pin_before};
use super::record::Record;
use super::rows::{self, Stored};
use super::spool::Spool;
use crate::error::Error;
use crate::seam::clock;
use crate::transaction::Transaction;

/// Which artefacts are meant.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Selector {
    /// The one with this key.
    Key(Key),
    /// Those of this feature, of one version or of all.
    Feature(String, Option<u32>),
    /// Those that were made from a column with this fingerprint.
    Input(Fingerprint),
    /// Those that cover some of these positions.
    Range(Range<u32>),
    /// Those that were fitted on this window.
    Fit(Range<u32>),
}

/// What was evicted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Evicted {
    /// Artefacts.
    pub artefacts: u64,
    /// Their bytes.
    pub bytes: u64,
    /// What computing them took, in microseconds.
    pub compute_us: u64,
    /// Bytes beyond the budget that stay, because they are pinned.
    pub pinned_bytes: u64,
}

/// What was swept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct GcReport {
    /// Artefacts of evaluators that were put into the manifest.
    pub folded: u64,
    /// Files that no row named.
    pub files: u64,
    /// Temporary files of writers that are gone.
    pub temporary: u64,
    /// Bytes of both.
    pub bytes: u64,
    /// Files that no row names any more, and that stay as long as somebody reads.
    pub kept_for_readers: u64,
    /// Files that no row names yet: somebody is publishing them.
    pub kept_for_publishers: u64,
}

/// What is never evicted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct PinnedFeature {
    /// The feature.
    pub feature: String,
    /// Its version; `None` for all.
    pub version: Option<u32>,
    /// Why.
    pub note: String,
    /// Until when, in milliseconds after 1970; `None` for good.
    pub until_unix_ms: Option<u64>,
}

impl FeatureStore {
    /// Takes artefacts and negative entries out, pinned ones too. Whoever looks them up from now on misses; whoever has
    /// one already can go on reading it. Returns how many there were.
    ///
    /// # Errors
    ///
    /// Those of [`Manager::transaction`](crate::Manager::transaction).
    pub fn invalidate(&self, selector: &Selector) -> Result<u64, Error> {
        let core = &*self.core;
        self.fold()?; // what evaluators have left is meant, too
        let keys = match selector {
            Selector::Key(key) => vec![*key],
            selector => {
                let lease = core.manager.read(&core.path)?;
                rows::select(&*lease, selector)?
            }
        };
        if keys.is_empty() {
            return Ok(0);
        }
        let gone = core.drop_keys(&keys)?;
        crash::point("invalidate.committed");
        self.sweep()?;
        Ok(gone)
    }

    /// Takes artefacts out until all together take at most so many bytes, those first that `policy` finds least worth
    /// keeping. Pinned ones stay.
    ///
    /// # Errors
    ///
    /// Those of [`Manager::transaction`](crate::Manager::transaction).
    pub fn evict_to(&self, bytes: u64, policy: Policy) -> Result<Evicted, Error> {
        let core = &*self.core;
        let mut evicted = Evicted::default();
        // All in one transaction: nothing is pinned, or evicted by somebody else, between the choice and the deed.
        core.change(|tx, _, staged| {
            let (chosen, choice) = self.choose(tx, bytes, policy)?;
            let keys: Vec<_> = chosen.iter().map(|candidate| candidate.key).collect();
            evicted = Evicted {
                artefacts: keys.len() as u64,
                bytes: choice.freed,
                compute_us: chosen.iter().map(|candidate| candidate.compute_us).sum(),
                pinned_bytes: choice.short,
            };
            Core::take_out(tx, &keys, staged)
        })?;
        crash::point("evict.committed");
        Counters::add(&core.counters.evicted, evicted.artefacts);
        self.sweep()?;
        Ok(evicted)
    }

    /// What has to go, as the transaction finds the store.
    fn choose(
        &self,
        tx: &Transaction<'_>,
        bytes: u64,
        policy: Policy,
    ) -> Result<(Vec<Candidate>, Choice), Error> {
        let candidates = self.candidates(&rows::stored(tx)?, &rows::pins(tx)?);
        let plans = rows::plans(tx)?;
        let schedules: Vec<_> =
            plans.iter().map(|plan| (plan.schedule(), plan.next_window)).collect();
        let progress = schedules.iter().filter_map(|(schedule, window)| {
            Some(Progress { schedule: schedule.as_ref()?, window: *window })
        });
        let progress: Vec<_> = progress.collect();
        let total = candidates.iter().map(|candidate| candidate.bytes).sum();
        let choice = eviction::choose(&candidates, total, bytes, policy, &progress);
        let chosen = choice.evict.iter().map(|index| candidates[*index].clone()).collect();
        Ok((chosen, choice))
    }

    /// Evicts if the store takes more than this process lets it. A hundredth more than that, so that the next publish
    /// does not evict again. That it could not is no reason for a publish to fail.
    pub(crate) fn keep_to_budget(&self) {
        let Some(bytes_max) = self.core.options.bytes_max else { return };
        let kept = self.core.stored_bytes().and_then(|stored| {
            let is_over = bytes_max < stored;
            let evict = || self.evict_to(bytes_max - bytes_max / 100, self.core.options.policy);
            is_over.then(evict).transpose()
        });
        if let Err(error) = kept {
            tracing::warn!(%error, bytes_max, "the store takes more than it may, and cannot evict now");
        }
    }

    fn candidates(&self, stored: &[Stored], pins: &[PinnedFeature]) -> Vec<Candidate> {
        let current = self.core.mirror.current();
        let now = clock::unix_ms();
        let pins: Vec<_> =
            pins.iter().filter(|pin| pin.until_unix_ms.is_none_or(|until| now < until)).collect();
        let is_pinned = |row: &Stored| {
            pins.iter().any(|pin| {
                pin.feature == row.feature
                    && pin.version.is_none_or(|version| version == row.version)
            })
        };
        let artefacts = stored.iter().filter(|row| row.content.is_some());
        let candidate = |row: &Stored| Candidate {
            key: row.key,
            range: row.range.clone(),
            fit: row.fit.clone(),
            bytes: row.bytes,
            compute_us: row.compute_us,
            used: current.find(row.key).map_or(row.seq, |entry| entry.used()),
            is_pinned: is_pinned(row),
        };
        artefacts.map(candidate).collect()
    }

    /// Keeps a feature from being evicted: one version of it, or all; for good, or until a time in milliseconds after
    /// 1970. Pinning again replaces the pin.
    ///
    /// # Errors
    ///
    /// Those of [`Manager::transaction`](crate::Manager::transaction).
    pub fn pin(&self, pin: &PinnedFeature) -> Result<(), Error> {
        self.core.manager.transaction(&self.core.path, |tx| {
            rows::unpin(tx, &pin.feature, pin.version)?;
            rows::pin(tx, pin)
        })
    }

    /// Ends a pin. Returns whether there was one.
    ///
    /// # Errors
    ///
    /// Those of [`Manager::transaction`](crate::Manager::transaction).
    pub fn unpin(&self, feature: &str, version: Option<u32>) -> Result<bool, Error> {
        self.core.manager.transaction(&self.core.path, |tx| rows::unpin(tx, feature, version))
    }

    /// What is pinned.
    ///
    /// # Errors
    ///
    /// Those of [`Manager::read`](crate::Manager::read).
    pub fn pins(&self) -> Result<Vec<PinnedFeature>, Error> {
        let lease = self.core.manager.read(&self.core.path)?;
        rows::pins(&*lease)
    }

    /// Removes what nobody needs: files that no row names, and temporary files of writers that were killed. With `dry`
    /// it only tells what it would remove. Safe beside everything else; see the four conditions in `upkeep.rs`.
    ///
    /// Blocks for the write lease, and keeps it while it removes files.
    ///
    /// # Errors
    ///
    /// Those of [`Manager::transaction`](crate::Manager::transaction); [`Error::Io`] if a file cannot be removed.
    pub fn gc(&self, dry: bool) -> Result<GcReport, Error> {
        let put_in = if dry { 0 } else { self.fold()?.stored as u64 };
        let folder = &self.core.folder;
        let temps = folder.sweep_temps(dry).map_err(|error| self.core.folder_error(error))?;
        let (temporary, bytes) = (temps.count, temps.bytes);
        let mut report = GcReport { folded: put_in, temporary, bytes, ..GcReport::default() };
        self.core.manager.transaction(&self.core.path, |tx| {
            let listed = folder.list().map_err(|error| self.core.folder_error(error))?;
            let swept = sweep(&self.core, tx, listed.objects, dry)?;
            report.files = swept.files;
            report.bytes = bytes + swept.bytes;
            report.kept_for_readers = swept.kept_for_readers;
            report.kept_for_publishers = swept.kept_for_publishers;
            Ok(())
        })?;
        Ok(report)
    }

    /// Removes the files of rows that were taken out.
    fn sweep(&self) -> Result<(), Error> {
        let lease = self.core.manager.read(&self.core.path)?;
        let is_clean = rows::dropped_files(&*lease)?.is_empty();
        drop(lease);
        if is_clean {
            return Ok(()); // a transaction would make every mirror look for changes
        }
        self.core.manager.transaction(&self.core.path, |tx| {
            let dropped = rows::dropped_files(tx)?;
            let files = dropped.iter().map(|file| (file.content, file.bytes)).collect();
            sweep(&self.core, tx, files, false).map(|_| ())
        })
    }
}

/// Removes those of the files that nobody needs, under the write lease.
fn sweep(
    core: &Core,
    tx: &Transaction<'_>,
    files: Vec<(Content, u64)>,
    dry: bool,
) -> Result<GcReport, Error> {
    let named: HashSet<Content> = rows::contents(tx)?.into_iter().collect();
    let dropped = rows::dropped_files(tx)?;
    let dropped = dropped.iter().map(|file| (file.content, file.generation)).collect();
    let mut report = GcReport::default();
    let unnamed: Vec<_> =
        files.into_iter().filter(|(content, _)| !named.contains(content)).collect();
    // Each lock has a descriptor of its own, of which a process has not too many.
    for files in unnamed.chunks(128) {
        sweep_some(core, tx, files, &dropped, dry, &mut report)?;
    }
    Ok(report)
}

fn sweep_some(
    core: &Core,
    tx: &Transaction<'_>,
    files: &[(Content, u64)],
    dropped: &HashMap<Content, u64>,
    dry: bool,
    report: &mut GcReport,
) -> Result<(), Error> {
    let io = |error| core.folder_error(error);
    let mut locked = Vec::new();
    for (content, bytes) in files {
        match ContentHold::try_exclusive(&core.folder, *content).map_err(io)? {
            Some(lock) => locked.push((*content, *bytes, lock)),
            None => report.kept_for_publishers += 1,
        }
    }
    // Only now: whoever spools does so under a lock of its content.
    let spooled = spooled_contents(core)?;
    let mut gone = Vec::new();
    for (content, bytes, _lock) in &locked {
        // If it cannot be looked who reads, somebody may.
        let is_read = dropped.get(content).is_some_and(|generation| {
            !faulty!(Fault::SweptWhileRead)
                && oldest_pin_before(&core.folder, *generation).map_or(true, |pin| pin.is_some())
        });
        if spooled.contains(content) {
            report.kept_for_publishers += 1;
        } else if is_read {
            report.kept_for_readers += 1;
        } else {
            report.files += 1;
            report.bytes += bytes;
            gone.push(*content);
        }
    }
    if !dry {
        for content in &gone {
            core.folder.remove(*content).map_err(io)?;
        }
        crash::point("upkeep.swept");
        rows::forget(tx, &gone)?;
    }
    Ok(())
}

fn spooled_contents(core: &Core) -> Result<HashSet<Content>, Error> {
    let spool = Spool::of(&core.folder);
    let keys = spool.list().map_err(|error| core.folder_error(error))?;
    let records = keys.iter().filter_map(|key| spool.get::<Record>(key).ok().flatten());
    Ok(records.filter_map(|record| record.file()).collect())
}
