//! What a process still has open of a scenario's files: after everybody has gone that should be nothing.

use std::fs;
use std::io;
use std::path::Path;

/// The files below the folder that this process has open, as often as it has them open, sorted. Names are relative to
/// the folder, so they are the same in every run.
pub(super) fn open_below(folder: &Path) -> io::Result<Vec<String>> {
    let folder = fs::canonicalize(folder)?;
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc/self/fd")? {
        // One that was closed meanwhile, the one of this listing among them, has no target any more.
        let Ok(target) = fs::read_link(entry?.path()) else { continue };
        if let Ok(file) = target.strip_prefix(&folder) {
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
        let elsewhere = tempfile::tempfile().unwrap();
        let files = ["b", "a"].map(|name| fs::File::create(folder.path().join(name)).unwrap());
        assert_eq!(open_below(folder.path()).unwrap(), ["a", "b"]);
        drop(files);
        assert_eq!(open_below(folder.path()).unwrap(), [""; 0]);
        drop(elsewhere);
    }
}
