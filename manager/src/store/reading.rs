//! What keeps the files of artefacts there while somebody reads them.

use super::locks::Pin;

/// The pin of a generation: as long as it lives, no file is removed that an entry of that generation names.
#[derive(Debug)]
pub(crate) struct Reading {
    /// `None` where the folder is not there, or cannot be locked.
    _pin: Option<Pin>,
}

impl Reading {
    pub(crate) fn new(pin: Option<Pin>) -> Self {
        Self { _pin: pin }
    }

    #[cfg(test)]
    pub(crate) fn of_nothing() -> std::sync::Arc<Self> {
        std::sync::Arc::new(Self::new(None))
    }
}
