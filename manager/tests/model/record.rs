//! Records without a disk: what `gate/hold.rs` and `gate/phase.rs` need of them.

use manager::AccessMode;
pub(crate) use manager::{Phase, Standing};

/// A record; its label tells the model when its process dies.
#[derive(Clone, Debug)]
pub(crate) struct Holder {
    pub(crate) label: String,
    pub(crate) standing: Standing,
    pub(crate) phase: Option<Phase>,
}

/// Every process has one.
#[derive(Debug)]
pub(crate) struct Slot;

impl Holder {
    pub(crate) fn this_process(
        label: &str,
        _mode: Option<AccessMode>,
        phase: Option<Phase>,
    ) -> Self {
        Self { label: label.to_owned(), standing: Standing::Waiting, phase }
    }
}
