//! The logs that were kept of a scenario: where there is a time to spend, they are replayed before anything new is tried.

use std::fs;
use std::path::Path;

use super::driver::Driver;
use super::log::Log;
use super::replay::{self, Divergence, Replayed};
use super::schedule::{Job, ScheduleError, WATCHDOG};
use super::session::script_of;
use super::strategy::Part;
use super::workplace::Workplace;
use crate::scenario::script::Script;

/// What came of them.
pub(super) struct Kept {
    /// How many there are, and how many were reproduced.
    pub(super) part: Part,
    /// The first that was not.
    pub(super) divergence: Option<Divergence>,
}

/// Replays every log of the folder that is of that scenario and driver. Each holds the scenario as it was, and is run with
/// that. A file that is no log, or holds a scenario that cannot be read any more, is left to the tests, which say so.
pub(super) fn replay_all(
    folder: &Path,
    script: &Script,
    driver: &dyn Driver,
    log_file: &Path,
) -> Result<Kept, ScheduleError> {
    let mut paths: Vec<_> = fs::read_dir(folder)?.flatten().map(|entry| entry.path()).collect();
    paths.sort();
    let logs = paths.iter().filter_map(|path| Log::read(path).ok()).filter(|log| {
        log.header.scenario == script.id && log.header.driver == driver.name() && !log.is_cut()
    });
    let place = Workplace::new()?;
    let (mut reproduced, mut total, mut divergence) = (0, 0, None);
    for log in logs {
        let Ok(script) = script_of(&log) else { continue };
        let folder = place.fresh()?;
        let job = Job { script: &script, driver, folder: &folder, watchdog: WATCHDOG };
        total += 1;
        match replay::replay(&log, &job, log_file)? {
            Replayed::Reproduced(_) => reproduced += 1,
            Replayed::Diverged(found) => divergence = divergence.or(Some(found)),
            Replayed::Cut(_) => {}
        }
    }
    let _ = fs::remove_file(log_file); // there is none if nothing was kept
    let part = Part { name: "kept logs".to_owned(), schedules: reproduced, total: Some(total) };
    Ok(Kept { part, divergence })
}
