//! A loss of power in a schedule: what is written and synced is written down on the way, so that it can be taken away.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::io::survivors::{self, Keeping, Model};
use super::io::{Call, Judge, Verdict};

/// Where it is written down, beside the schedule's folder.
pub(super) fn kept(folder: &Path) -> PathBuf {
    folder.with_extension("kept")
}

/// Begins with what is there, all of which counts as synced. Nobody has any of it open.
pub(super) fn begin(folder: &Path) -> io::Result<()> {
    remove(fs::remove_file(kept(folder)))?;
    Keeping::begin(folder, &kept(folder), Passes)?;
    Ok(())
}

/// Leaves of the folder what survives, and begins anew with that. Nobody has any of it open.
pub(super) fn lose(folder: &Path, model: Model) -> io::Result<()> {
    let survivors = folder.with_extension("survivors");
    remove(fs::remove_dir_all(&survivors))?;
    fs::create_dir(&survivors)?;
    survivors::build(model, folder, &kept(folder), &survivors)?;
    fs::remove_dir_all(folder)?;
    fs::rename(&survivors, folder)?;
    begin(folder)
}

/// There need not have been one.
fn remove(removed: io::Result<()>) -> io::Result<()> {
    match removed {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// Whoever begins decides about no calls.
struct Passes;

impl Judge for Passes {
    fn call(&self, _: &Call) -> Verdict {
        Verdict::Pass
    }
}
