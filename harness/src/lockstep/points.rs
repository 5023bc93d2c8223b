//! Where an actor stops within its operations, as its scenario asks for: yield points of the manager, I/O calls of the
//! engine.

use std::path::Path;

use crate::scenario::script::Points;

/// Has the threads of this process that are decided about stop at yield points of the manager, or not.
pub(super) fn install(points: Points) {
    let _ = points;
}

/// Has them stop at I/O calls on files of that folder, or not.
pub(super) fn watch(points: Points, folder: &Path) {
    let _ = (points, folder);
}

/// Whether a call writes to a file.
pub(super) fn is_write(call: &str) -> bool {
    call.starts_with("write ") || call.starts_with("pwrite ")
}

/// Whether a call can fail because the disk is full.
pub(super) fn needs_room(call: &str) -> bool {
    is_write(call) || call.starts_with("ftruncate ") || call.starts_with("open ")
}
