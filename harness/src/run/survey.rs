//! What a run holds of the machine: descriptors, locks, processes, files.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use crate::history::{What, When};

/// Looks at everything that concerns `folder`.
///
/// # Errors
///
/// Those of reading the folder or `/proc`.
pub fn take(when: When, folder: &Path) -> io::Result<What> {
    let files = files_below(folder)?;
    Ok(What::Survey {
        when,
        descriptors: descriptors_into(folder)?,
        locks: locks_on(folder, &files)?,
        processes: children()?,
        files: files.iter().map(|file| file.to_string_lossy().into_owned()).collect(),
    })
}

/// What all files below a folder take on disk.
///
/// # Errors
///
/// Those of reading the folder.
pub fn disk_bytes(folder: &Path) -> io::Result<u64> {
    let files = files_below(folder)?;
    let blocks = files.iter().map(|file| Ok(fs::symlink_metadata(folder.join(file))?.blocks()));
    // A block of stat(2) is 512 bytes, whatever the file system's are.
    Ok(blocks.sum::<io::Result<u64>>()? * 512)
}

/// All files below a folder, relative to it, in order.
fn files_below(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    let mut folders = vec![folder.to_path_buf()];
    while let Some(next) = folders.pop() {
        for entry in fs::read_dir(&next)? {
            let path = entry?.path();
            if path.is_dir() {
                folders.push(path.clone());
            }
            files.push(path.strip_prefix(folder).unwrap_or(&path).to_path_buf());
        }
    }
    files.sort();
    Ok(files)
}

/// This process's descriptors of files below a folder, as `/proc/self/fd` names them.
fn descriptors_into(folder: &Path) -> io::Result<Vec<String>> {
    let mut open = Vec::new();
    for entry in fs::read_dir("/proc/self/fd")? {
        // The descriptor that reads this folder is closed by the time it is looked at.
        let Ok(target) = fs::read_link(entry?.path()) else { continue };
        if target.starts_with(folder) {
            open.push(target.to_string_lossy().into_owned());
        }
    }
    open.sort();
    Ok(open)
}

/// Locks of any process on files below a folder: `/proc/locks` names them by device and inode (proc(5)).
fn locks_on(folder: &Path, files: &[PathBuf]) -> io::Result<Vec<String>> {
    let mut ours = BTreeSet::new();
    for file in files {
        match fs::metadata(folder.join(file)) {
            Ok(metadata) => {
                let (major, minor) =
                    (rustix::fs::major(metadata.dev()), rustix::fs::minor(metadata.dev()));
                ours.insert(format!("{major:02x}:{minor:02x}:{}", metadata.ino()));
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {} // it went meanwhile
            Err(error) => return Err(error),
        }
    }
    let locks = fs::read_to_string("/proc/locks")?;
    Ok(locks
        .lines()
        .filter(|line| line.split_whitespace().any(|word| ours.contains(word)))
        .map(str::to_owned)
        .collect())
}

/// Child processes of this one that run or were not waited for.
fn children() -> io::Result<Vec<u32>> {
    let mut children = Vec::new();
    for task in fs::read_dir("/proc/self/task")? {
        // A thread may end between the two reads; its children are then another thread's.
        let Ok(listed) = fs::read_to_string(task?.path().join("children")) else { continue };
        children.extend(listed.split_whitespace().filter_map(|pid| pid.parse::<u32>().ok()));
    }
    children.sort_unstable();
    Ok(children)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::File;

    #[test]
    fn an_open_file_a_lock_and_a_child_are_all_seen_and_gone_afterwards() {
        let folder = tempfile::tempdir().unwrap();
        let look = || match take(When::Before, folder.path()).unwrap() {
            What::Survey { descriptors, locks, files, .. } => {
                (descriptors.len(), locks.len(), files)
            }
            other => panic!("{other:?}"),
        };
        assert_eq!(look(), (0, 0, vec![]));
        let file = File::create(folder.path().join("x.wal")).unwrap();
        file.lock().unwrap();
        assert_eq!(look(), (1, 1, vec!["x.wal".to_owned()]));
        drop(file);
        assert_eq!(look(), (0, 0, vec!["x.wal".to_owned()]));

        let mut child = std::process::Command::new("sleep").arg("60").spawn().unwrap();
        assert!(children().unwrap().contains(&child.id()));
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(!children().unwrap().contains(&child.id()));
    }
}
