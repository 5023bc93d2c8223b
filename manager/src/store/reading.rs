//! What a reader needs to get at the bytes of artefacts, and what keeps them there.

use super::files::Folder;
use super::locks::Pin;

/// The folder of a store, and the pin of a generation: as long as it lives, no file is removed that an entry of that
/// generation names.
#[derive(Debug)]
pub(crate) struct Reading {
    folder: Folder,
    /// `None` where the folder is not there, or cannot be locked.
    _pin: Option<Pin>,
}

impl Reading {
    pub(crate) fn new(folder: Folder, pin: Option<Pin>) -> Self {
        Self { folder, _pin: pin }
    }

    pub(crate) fn folder(&self) -> &Folder {
        &self.folder
    }

    #[cfg(test)]
    pub(crate) fn of_nothing() -> std::sync::Arc<Self> {
        std::sync::Arc::new(Self::new(Folder::of(std::path::Path::new("nowhere")), None))
    }
}
