//! Points at which a test can kill its own process.
//!
//! With `CRASH_AT=put.renamed` in its environment a process kills itself (`SIGKILL`: nothing is tidied up, as when the
//! machine's memory runs out) when it passes that point first, with `CRASH_AT=put.renamed:3` when it does the third
//! time. Without the variable a point costs one atomic load. The points are part of every build, because it is the
//! library as users have it that has to stand a kill anywhere.
//!
//! The variable is read once, at the first point that is passed. It is no setting of the manager.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

use rustix::process::{Signal, getpid, kill_process};

use crate::seam::lockstep;

/// Every point, in the order in which an operation passes them.
#[cfg_attr(not(test), allow(dead_code))]
pub(crate) const POINTS: &[&str] = &[
    "put.temp-made",
    "put.temp-locked",
    "put.temp-written",
    "put.writeback-begun",
    "put.synced",
    "put.all-synced",
    "put.folder-made",
    "put.renamed",
    "put.all-renamed",
    "put.folder-synced",
    "put.all-synced-folders",
    "remove.begun",
    "remove.unlinked",
    "sweep.locked",
    "sweep.unlinked",
    "evidence.begun",
    "evidence.moved",
    "evidence.written",
    "publish.held",
    "publish.written",
    "publish.committed",
    "publish.spooled",
    "fold.read",
    "fold.committed",
    "invalidate.committed",
    "evict.committed",
    "upkeep.swept",
];

struct Armed {
    point: String,
    passes_left: AtomicU64,
}

/// Kills this process if the environment asks for it here.
pub(crate) fn point(name: &str) {
    static ARMED: OnceLock<Option<Armed>> = OnceLock::new();
    lockstep::point(name);
    let Some(armed) = ARMED.get_or_init(|| parse(&std::env::var("CRASH_AT").ok()?)) else { return };
    if armed.point == name && armed.passes_left.fetch_sub(1, Ordering::Relaxed) == 1 {
        // It cannot fail on oneself, and does not return.
        let _ = kill_process(getpid(), Signal::KILL);
    }
}

fn parse(text: &str) -> Option<Armed> {
    let (point, passes) = match text.rsplit_once(':') {
        Some((point, passes)) => (point, passes.parse().ok().filter(|passes| *passes > 0)?),
        None => (text, 1),
    };
    Some(Armed { point: point.to_owned(), passes_left: AtomicU64::new(passes) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;
    use std::path::{Path, PathBuf};

    fn sources(folder: &Path, found: &mut Vec<PathBuf>) {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                sources(&path, found);
            } else {
                found.push(path);
            }
        }
    }

    #[test]
    fn every_point_in_the_sources_is_listed() {
        let mut files = Vec::new();
        sources(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src/store"), &mut files);
        let mut passed = BTreeSet::new();
        for file in files {
            let text = std::fs::read_to_string(file).unwrap();
            let begin = concat!("crash::", "point(\"");
            let names = text.split(begin).skip(1).filter_map(|rest| rest.split('"').next());
            passed.extend(names.map(str::to_owned));
        }
        assert_eq!(passed, POINTS.iter().map(|point| (*point).to_owned()).collect());
        assert_eq!(passed.len(), POINTS.len(), "none is listed twice");
    }

    #[test]
    fn the_variable_names_a_point_and_the_pass_of_it() {
        let read = |text| parse(text).map(|armed| (armed.point, armed.passes_left.into_inner()));
        assert_eq!(read("put.synced"), Some(("put.synced".to_owned(), 1)));
        assert_eq!(read("put.synced:3"), Some(("put.synced".to_owned(), 3)));
        for wrong in ["put.synced:0", "put.synced:", "put.synced:x"] {
            assert_eq!(read(wrong), None, "{wrong}");
        }
    }
}
