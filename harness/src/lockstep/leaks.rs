//! Which files of a schedule's folder this process has left open.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// What this process had open in a schedule's folder before the schedule: what an earlier one in a folder of that name
/// has left open is not this one's.
pub(super) struct Before {
    folder: PathBuf,
    open: Vec<String>,
}

impl Before {
    /// To be called before anything is opened there.
    pub(super) fn now(folder: &Path) -> io::Result<Self> {
        let folder = fs::canonicalize(folder)?;
        let open = open_below(&folder)?;
        Ok(Self { folder, open })
    }

    /// The files that this process has open since then, as often as it has them open, sorted. Names are relative to the
    /// folder, so they are the same in every run.
    pub(super) fn left_open(&self) -> io::Result<Vec<String>> {
        let mut open = open_below(&self.folder)?;
        for earlier in &self.open {
            if let Some(at) = open.iter().position(|name| name == earlier) {
                open.remove(at);
            }
        }
        Ok(open)
    }
}

fn open_below(folder: &Path) -> io::Result<Vec<String>> {
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc/self/fd")? {
        // One that was closed meanwhile, the one of this listing among them, has no target any more.
        let Ok(target) = fs::read_link(entry?.path()) else { continue };
        if let Ok(file) = target.strip_prefix(folder) {
            found.push(file.to_string_lossy().into_owned());
        }
    }
    found.sort();
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_found_for_as_long_as_it_is_open_and_others_are_not() {
        let folder = tempfile::tempdir().unwrap();
        let before = Before::now(folder.path()).unwrap();
        let elsewhere = tempfile::tempfile().unwrap();
        let files = ["b", "a"].map(|name| fs::File::create(folder.path().join(name)).unwrap());
        assert_eq!(before.left_open().unwrap(), ["a", "b"]);
        drop(files);
        assert_eq!(before.left_open().unwrap(), [""; 0]);
        drop(elsewhere);
    }

    #[test]
    fn what_an_earlier_schedule_in_a_folder_of_that_name_has_left_open_is_not_this_ones() {
        let place = tempfile::tempdir().unwrap();
        let folder = place.path().join("schedule");
        let begin = || {
            let _ = fs::remove_dir_all(&folder); // there is none at first
            fs::create_dir(&folder).unwrap();
            (Before::now(&folder).unwrap(), fs::File::create(folder.join("a")).unwrap())
        };
        let (_, _kept) = begin();
        let (before, again) = begin();
        assert_eq!(before.left_open().unwrap(), ["a"]);
        drop(again);
        assert_eq!(before.left_open().unwrap(), [""; 0]);
    }
}
