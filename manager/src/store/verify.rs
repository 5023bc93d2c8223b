//! Whether what the manifest says is there, and nothing else.

use std::collections::{HashMap, HashSet};

use serde::Serialize;

use super::content::Content;
use super::feature_store::FeatureStore;
use super::files::ReadError;
use super::key::Key;
use super::record::Record;
use super::rows::{self, Stored};
use super::spool::{Spool, SpoolError};
use crate::error::Error;

/// How closely [`FeatureStore::verify`] looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Depth {
    /// Whether each file is there and as long as it should be.
    Shallow,
    /// Whether each byte is what was published.
    Deep,
}

/// An artefact that is not as it was published.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// Its key.
    pub key: Key,
    /// What it is of.
    pub feature: String,
    /// What is wrong.
    pub problem: String,
}

/// What [`FeatureStore::verify`] found.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct VerifyReport {
    /// Artefacts in the manifest.
    pub artefacts: u64,
    /// Negative entries.
    pub negative: u64,
    /// Bytes of all artefacts.
    pub bytes: u64,
    /// Artefacts whose file is missing.
    pub missing: Vec<Finding>,
    /// Artefacts whose bytes are not what was published.
    pub damaged: Vec<Finding>,
    /// Keys with more than one row.
    pub duplicate_keys: u64,
    /// Artefacts that evaluators have left, and that are not in the manifest yet.
    pub spooled: u64,
    /// Files that were left and cannot be read.
    pub spool_damaged: Vec<String>,
    /// Files that no row names: being published, or left by somebody who was killed. [`FeatureStore::gc`] removes the latter.
    pub files_without_row: u64,
    /// Their bytes.
    pub files_without_row_bytes: u64,
}

impl VerifyReport {
    /// Whether everything that was published is there. Files without a row take room and do no harm.
    pub fn is_sound(&self) -> bool {
        self.missing.is_empty()
            && self.damaged.is_empty()
            && self.duplicate_keys == 0
            && self.spool_damaged.is_empty()
    }
}

impl FeatureStore {
    /// Compares the manifest with the files. Changes nothing, and is safe beside everything else: while it looks, no file
    /// is removed that was there when it began.
    ///
    /// Blocks for a read lease and a scan of the manifest, and then, without a lease, for a look at each file; a deep one
    /// reads every byte.
    ///
    /// # Errors
    ///
    /// Those of [`Manager::read`](crate::Manager::read); [`Error::Io`] if the folder cannot be read.
    pub fn verify(&self, depth: Depth) -> Result<VerifyReport, Error> {
        let core = &*self.core;
        let _pinned = core.pinned_now();
        let lease = core.manager.read(&core.path)?;
        let stored = rows::stored(&*lease)?;
        drop(lease);
        let mut report = VerifyReport::default();
        let mut keys = HashSet::new();
        for row in &stored {
            report.duplicate_keys += u64::from(!keys.insert(row.key));
            match &row.content {
                None => report.negative += 1,
                Some(_) => report.artefacts += 1,
            }
            report.bytes += row.bytes;
        }
        self.verify_files(depth, &stored, &mut report)?;
        self.verify_inline(depth, &mut report)?;
        Ok(report)
    }

    fn verify_files(
        &self,
        depth: Depth,
        stored: &[Stored],
        report: &mut VerifyReport,
    ) -> Result<(), Error> {
        let folder = &self.core.folder;
        let listed = folder.list().map_err(|error| self.core.folder_error(error))?;
        let mut there: HashMap<Content, u64> = listed.objects.into_iter().collect();
        let mut named = HashSet::new();
        for row in stored.iter().filter(|row| !row.is_inline) {
            let Some(content) = row.content else { continue };
            named.insert(content);
            let finding = |problem| Finding { key: row.key, feature: row.feature.clone(), problem };
            match there.get(&content) {
                None => report.missing.push(finding("its file is missing".into())),
                Some(length) if *length != row.bytes => {
                    report
                        .damaged
                        .push(finding(format!("{length} bytes instead of {}", row.bytes)));
                }
                Some(_) if depth == Depth::Deep => match folder.read(content, row.bytes) {
                    Ok(_) => {}
                    Err(ReadError::Missing) => {
                        report.missing.push(finding("its file is missing".into()));
                    }
                    Err(ReadError::Corrupt { found }) => report.damaged.push(finding(found)),
                    Err(ReadError::Io(source)) => {
                        report.damaged.push(finding(source.to_string()));
                    }
                },
                Some(_) => {}
            }
        }
        self.verify_spool(&mut named, report)?;
        there.retain(|content, _| !named.contains(content));
        report.files_without_row = there.len() as u64;
        report.files_without_row_bytes = there.values().sum();
        Ok(())
    }

    fn verify_spool(
        &self,
        named: &mut HashSet<Content>,
        report: &mut VerifyReport,
    ) -> Result<(), Error> {
        let spool = Spool::of(&self.core.folder);
        for key in spool.list().map_err(|error| self.core.folder_error(error))? {
            match spool.get::<Record>(&key) {
                Ok(record) => {
                    report.spooled += u64::from(record.is_some());
                    named.extend(record.and_then(|record| record.file()));
                }
                Err(SpoolError::Damaged { path, reason }) => {
                    report.spool_damaged.push(format!("{}: {reason}", path.display()));
                }
                Err(SpoolError::Io { path, source }) => {
                    return Err(Error::Io { action: "read", path, source });
                }
            }
        }
        Ok(())
    }

    /// What stands in the manifest is read with its rows, so a shallow look has seen that it is there.
    fn verify_inline(&self, depth: Depth, report: &mut VerifyReport) -> Result<(), Error> {
        if depth == Depth::Shallow {
            return Ok(());
        }
        let lease = self.core.manager.read(&self.core.path)?;
        for rows::InlineRow { key, feature, content, bytes } in rows::inline(&*lease)? {
            if Content::of(&bytes) != content {
                let problem = "its bytes do not match their checksum".into();
                report.damaged.push(Finding { key, feature, problem });
            }
        }
        Ok(())
    }
}
