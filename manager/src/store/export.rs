//! A copy of a store that anybody can read: one file an artefact, and a list.

use std::fs;
use std::io::Write;
use std::path::Path;

use serde::Serialize;

use super::artefact::Artefact;
use super::feature_store::FeatureStore;
use super::mirror::Known;
use super::rows;
use crate::error::Error;

/// What was exported.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct ExportReport {
    /// Artefacts, each in a file of its own.
    pub artefacts: u64,
    /// Negative entries, which are in the list only.
    pub negative: u64,
    /// Bytes of the artefacts.
    pub bytes: u64,
    /// Keys of artefacts that are damaged, and left out.
    pub damaged: Vec<String>,
}

impl FeatureStore {
    /// Writes the store into a folder, which must not exist yet:
    ///
    /// * `artefacts/<key>`: the bytes of an artefact, verified (an Arrow IPC stream if its codec is 1);
    /// * `manifest.jsonl`: a line of JSON for each row of `flockgate_manifest`, in the order of their changes, without its
    ///   bytes. `schema.rs` has the columns.
    ///
    /// What is published while it runs may be missing; what is in there is whole. Safe beside everything else.
    /// Blocks for a read lease and a scan of the manifest, and then, without a lease, for the copying.
    ///
    /// # Errors
    ///
    /// [`Error::Io`] if the folder exists or cannot be written; those of [`get`](Self::get).
    pub fn export(&self, folder: impl AsRef<Path>) -> Result<ExportReport, Error> {
        let (core, folder) = (&*self.core, folder.as_ref());
        let io = |path: &Path| {
            let path = path.to_path_buf();
            move |source| Error::Io { action: "export to", path, source }
        };
        fs::create_dir(folder).map_err(io(folder))?;
        let artefacts = folder.join("artefacts");
        fs::create_dir(&artefacts).map_err(io(&artefacts))?;
        let reading = core.pinned_now();
        let lease = core.manager.read(&core.path)?;
        let lines = rows::as_json(&*lease)?;
        let entries = super::manifest::changes_since(&*lease, 0, core.mirror.totals())?.added;
        drop(lease);
        let mut report = ExportReport::default();
        for (key, entry) in entries {
            if matches!(entry.known, Known::Absent { .. }) {
                report.negative += 1;
                continue;
            }
            match Artefact::new(key, entry, &reading).bytes() {
                Ok(bytes) => {
                    let file = artefacts.join(key.to_string());
                    fs::write(&file, &bytes).map_err(io(&file))?;
                    report.artefacts += 1;
                    report.bytes += bytes.len() as u64;
                }
                Err(Error::Artefact { key, .. }) => report.damaged.push(key),
                Err(error) => return Err(error),
            }
        }
        let list = folder.join("manifest.jsonl");
        let mut text = lines.join("\n");
        text.push('\n');
        let mut file = fs::File::create_new(&list).map_err(io(&list))?;
        file.write_all(text.as_bytes()).and_then(|()| file.sync_all()).map_err(io(&list))?;
        Ok(report)
    }
}
