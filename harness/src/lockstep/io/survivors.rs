//! What a loss of power would leave of a scenario's files.
//!
//! | model | names | contents |
//! |---|---|---|
//! | `process-kill` | as they are | as they are: the kernel goes on |
//! | `ordered` | as they are | as last synced, cut or extended by later truncations, which are changes of names in a journal |
//! | `strict` | those that were there when their folder was last synced | as last synced; empty if never |
//!
//! [`Keeping`] stands between the calls and a judge and writes down what changes, in one file beside the scenario's folder,
//! to which all processes of a scenario append. [`build`] makes of it what one of the models leaves, in another process, while
//! the folder lies as the dead left it.
//!
//! # Scope
//!
//! * `ordered` is ext4 with `data=ordered` whose journal had just been written. It may have been written earlier; then
//!   fewer names have changed. `strict` is what POSIX promises, and no file system in wide use forgets so much: what is
//!   lost under it alone is lost in a model.
//! * Not seen, and so lost under both: what was written through mapped memory (the page of the manager's gate). Folders
//!   themselves are not lost.
//! * A process that is killed from outside, in the middle of a call, may have changed a file without having written it down.
//!   One that dies by a [`Verdict`] has not.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, BufRead as _, BufReader, Read as _, Write as _};
use std::os::unix::fs::DirEntryExt as _;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::{Call, Change, Judge, Verdict};

/// What is assumed to survive.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Model {
    /// The kernel, with all that it was given.
    ProcessKill,
    /// Synced contents, and all names.
    Ordered,
    /// Synced contents, and synced names.
    Strict,
}

impl Model {
    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::ProcessKill => "process-kill",
            Self::Ordered => "ordered",
            Self::Strict => "strict",
        }
    }
}

/// A line of the log. The bytes of a write follow it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Record {
    Created { inode: u64 },
    Written { inode: u64, offset: u64, length: usize },
    Truncated { inode: u64, length: u64 },
    Synced { inode: u64 },
    FolderSynced { folder: String, files: BTreeMap<String, u64> },
}

/// Writes down what changes, and asks another judge about calls.
pub struct Keeping<J> {
    folder: PathBuf,
    log: File,
    judge: J,
}

impl<J: Judge> Keeping<J> {
    /// Begins with the files that are there, all of which count as synced, names included. Reads them, so no DuckDB of
    /// this process may have one open: closing a file drops the locks that the process has on it.
    ///
    /// # Errors
    ///
    /// Those of reading the folder and of writing the log, which must not be there.
    pub fn begin(folder: &Path, log: &Path, judge: J) -> io::Result<Self> {
        let keeping = Self {
            folder: folder.to_owned(),
            log: File::options().append(true).create_new(true).open(log)?,
            judge,
        };
        for (name, inode) in files(folder)? {
            let bytes = fs::read(folder.join(name))?;
            keeping.keep(&Record::Created { inode }, &[])?;
            keeping.keep(&Record::Written { inode, offset: 0, length: bytes.len() }, &bytes)?;
            keeping.keep(&Record::Synced { inode }, &[])?;
        }
        for below in folders(folder)? {
            keeping.keep_folder(&below)?;
        }
        Ok(keeping)
    }

    /// Goes on with a log that another process of the scenario has begun.
    ///
    /// # Errors
    ///
    /// Those of opening the log.
    pub fn join(folder: &Path, log: &Path, judge: J) -> io::Result<Self> {
        let log = File::options().append(true).open(log)?;
        Ok(Self { folder: folder.to_owned(), log, judge })
    }

    fn keep_folder(&self, folder: &str) -> io::Result<()> {
        let files = files_of(&self.folder.join(folder))?;
        self.keep(&Record::FolderSynced { folder: folder.to_owned(), files }, &[])
    }

    /// In one write, so that what other processes append does not come in between.
    fn keep(&self, record: &Record, bytes: &[u8]) -> io::Result<()> {
        let mut line = serde_json::to_vec(record)?;
        line.push(b'\n');
        line.extend_from_slice(bytes);
        (&self.log).write_all(&line)
    }
}

impl<J: Judge> Judge for Keeping<J> {
    fn call(&self, call: &Call) -> Verdict {
        self.judge.call(call)
    }

    fn changed(&self, change: &Change<'_>) {
        self.judge.changed(change);
        let kept = match *change {
            Change::Created { inode } => self.keep(&Record::Created { inode }, &[]),
            Change::Written { inode, offset, bytes } => {
                self.keep(&Record::Written { inode, offset, length: bytes.len() }, bytes)
            }
            Change::Truncated { inode, length } => {
                self.keep(&Record::Truncated { inode, length }, &[])
            }
            Change::Synced { inode } => self.keep(&Record::Synced { inode }, &[]),
            Change::FolderSynced { folder } => self.keep_folder(folder),
        };
        // What is not written down would count as lost. Nothing can be returned from here: this ends the process.
        kept.expect("the log of what survives lies on a disk with room");
    }
}

/// What a log comes to.
#[derive(Debug, Default)]
struct Kept {
    contents: BTreeMap<u64, Content>,
    /// Folder → name → inode, as last synced.
    names: BTreeMap<String, BTreeMap<String, u64>>,
}

#[derive(Debug, Default)]
struct Content {
    now: Vec<u8>,
    ordered: Vec<u8>,
    strict: Vec<u8>,
}

impl Kept {
    fn apply(&mut self, record: Record, bytes: &[u8]) {
        match record {
            // An inode's number is given again.
            Record::Created { inode } => {
                self.contents.insert(inode, Content::default());
            }
            Record::Written { inode, offset, .. } => {
                let now = &mut self.contents.entry(inode).or_default().now;
                let (begin, end) = (offset as usize, offset as usize + bytes.len());
                now.resize(now.len().max(end), 0);
                now[begin..end].copy_from_slice(bytes);
            }
            Record::Truncated { inode, length } => {
                let content = self.contents.entry(inode).or_default();
                content.now.resize(length as usize, 0);
                content.ordered.resize(length as usize, 0);
            }
            Record::Synced { inode } => {
                let content = self.contents.entry(inode).or_default();
                content.ordered.clone_from(&content.now);
                content.strict.clone_from(&content.now);
            }
            Record::FolderSynced { folder, files } => {
                self.names.insert(folder, files);
            }
        }
    }

    /// Reads a log to its end, or to where it was cut off.
    fn read(log: &Path) -> io::Result<Self> {
        let mut kept = Self::default();
        let mut log = BufReader::new(File::open(log)?);
        let mut line = Vec::new();
        while 0 < log.read_until(b'\n', &mut line)? && line.ends_with(b"\n") {
            let record: Record = serde_json::from_slice(&line)?;
            let length = if let Record::Written { length, .. } = record { length } else { 0 };
            let mut bytes = vec![0; length];
            match log.read_exact(&mut bytes) {
                Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => break,
                other => other?,
            }
            kept.apply(record, &bytes);
            line.clear();
        }
        Ok(kept)
    }

    /// The files that a model leaves, of those that are there now.
    fn image(&self, model: Model, now: BTreeMap<String, u64>) -> BTreeMap<String, &[u8]> {
        let names = match model {
            Model::Strict => self
                .names
                .iter()
                .flat_map(|(folder, files)| {
                    files.iter().map(|(name, inode)| (below(folder, name), *inode))
                })
                .collect(),
            _ => now,
        };
        let content = |inode| match (self.contents.get(&inode), model) {
            (None, _) => &[][..],
            (Some(content), Model::ProcessKill) => &content.now,
            (Some(content), Model::Ordered) => &content.ordered,
            (Some(content), Model::Strict) => &content.strict,
        };
        names.into_iter().map(|(name, inode)| (name, content(inode))).collect()
    }
}

/// Makes, in an empty folder, what a model leaves of `folder`. The folder is read, and has to lie as it was left.
///
/// # Errors
///
/// Those of reading the folder and the log, and of writing the target.
pub fn build(model: Model, folder: &Path, log: &Path, target: &Path) -> io::Result<()> {
    for below in folders(folder)? {
        fs::create_dir_all(target.join(below))?;
    }
    if model == Model::ProcessKill {
        // Not from the log: what was written unseen is there too.
        for name in files(folder)?.into_keys() {
            fs::copy(folder.join(&name), target.join(&name))?;
        }
        return Ok(());
    }
    let kept = Kept::read(log)?;
    for (name, bytes) in kept.image(model, files(folder)?) {
        fs::write(target.join(name), bytes)?;
    }
    Ok(())
}

/// The folder itself, as `.`, and those below it.
fn folders(folder: &Path) -> io::Result<Vec<String>> {
    let mut found = vec![".".to_owned()];
    let mut next = 0;
    while let Some(at) = found.get(next).cloned() {
        for entry in fs::read_dir(folder.join(&at))? {
            let entry = entry?;
            if entry.file_type()?.is_dir() {
                found.push(below(&at, &entry.file_name().to_string_lossy()));
            }
        }
        next += 1;
    }
    Ok(found)
}

/// The inodes of all files below a folder.
fn files(folder: &Path) -> io::Result<BTreeMap<String, u64>> {
    let mut found = BTreeMap::new();
    for at in folders(folder)? {
        let files = files_of(&folder.join(&at))?;
        found.extend(files.into_iter().map(|(name, inode)| (below(&at, &name), inode)));
    }
    Ok(found)
}

/// The inodes of the files in a folder.
fn files_of(folder: &Path) -> io::Result<BTreeMap<String, u64>> {
    let mut files = BTreeMap::new();
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        if entry.file_type()?.is_file() {
            files.insert(entry.file_name().to_string_lossy().into_owned(), entry.ino());
        }
    }
    Ok(files)
}

/// A name in a folder, relative to the scenario's.
fn below(folder: &str, name: &str) -> String {
    if folder == "." { name.to_owned() } else { format!("{folder}/{name}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Passes;

    impl Judge for Passes {
        fn call(&self, _: &Call) -> Verdict {
            Verdict::Pass
        }
    }

    /// A log is written as the calls of a process would have it written, and read as after its death.
    struct Site {
        folder: tempfile::TempDir,
        keeping: Keeping<Passes>,
    }

    impl Site {
        fn new() -> Self {
            let folder = tempfile::tempdir().unwrap();
            fs::create_dir(folder.path().join("scenario")).unwrap();
            fs::write(folder.path().join("scenario/old"), "old").unwrap();
            let log = folder.path().join("log");
            let keeping = Keeping::begin(&folder.path().join("scenario"), &log, Passes).unwrap();
            Self { folder, keeping }
        }

        fn file(&self, name: &str) -> PathBuf {
            self.folder.path().join("scenario").join(name)
        }

        /// A file that is created and gets that content, without a sync.
        fn create(&self, name: &str, bytes: &[u8]) -> u64 {
            fs::write(self.file(name), bytes).unwrap();
            let inode = files(&self.folder.path().join("scenario")).unwrap()[name];
            self.keeping.changed(&Change::Created { inode });
            self.keeping.changed(&Change::Written { inode, offset: 0, bytes });
            inode
        }

        fn image(&self, model: Model) -> Vec<(String, String)> {
            let target = tempfile::tempdir().unwrap();
            let log = self.folder.path().join("log");
            build(model, &self.folder.path().join("scenario"), &log, target.path()).unwrap();
            let files = files(target.path()).unwrap().into_keys();
            files
                .map(|name| {
                    let content = fs::read_to_string(target.path().join(&name)).unwrap();
                    (name, content)
                })
                .collect()
        }
    }

    fn of(image: &[(&str, &str)]) -> Vec<(String, String)> {
        image.iter().map(|(name, content)| ((*name).to_owned(), (*content).to_owned())).collect()
    }

    #[test]
    fn what_is_not_synced_is_lost_in_order_and_what_has_no_synced_name_in_strictness() {
        let site = Site::new();
        let inode = site.create("new", b"new");
        assert_eq!(site.image(Model::ProcessKill), of(&[("new", "new"), ("old", "old")]));
        assert_eq!(site.image(Model::Ordered), of(&[("new", ""), ("old", "old")]));
        assert_eq!(site.image(Model::Strict), of(&[("old", "old")]));
        site.keeping.changed(&Change::Synced { inode });
        assert_eq!(site.image(Model::Ordered), of(&[("new", "new"), ("old", "old")]));
        assert_eq!(site.image(Model::Strict), of(&[("old", "old")]));
        site.keeping.changed(&Change::FolderSynced { folder: "." });
        assert_eq!(site.image(Model::Strict), of(&[("new", "new"), ("old", "old")]));
    }

    #[test]
    fn a_later_write_is_lost_and_a_later_truncation_is_not_but_in_strictness() {
        let site = Site::new();
        let inode = site.create("new", b"abc");
        site.keeping.changed(&Change::Synced { inode });
        site.keeping.changed(&Change::FolderSynced { folder: "." });
        site.keeping.changed(&Change::Written { inode, offset: 1, bytes: b"xyz" });
        assert_eq!(site.image(Model::Ordered)[0].1, "abc");
        site.keeping.changed(&Change::Truncated { inode, length: 2 });
        assert_eq!(
            (&*site.image(Model::Ordered)[0].1, &*site.image(Model::Strict)[0].1),
            ("ab", "abc")
        );
        site.keeping.changed(&Change::Synced { inode });
        assert_eq!(
            (&*site.image(Model::Ordered)[0].1, &*site.image(Model::Strict)[0].1),
            ("ax", "ax")
        );
    }

    #[test]
    fn a_rename_and_a_removal_survive_in_order_and_are_forgotten_in_strictness() {
        let site = Site::new();
        let inode = site.create("new", b"new");
        site.keeping.changed(&Change::Synced { inode });
        fs::rename(site.file("new"), site.file("renamed")).unwrap();
        fs::remove_file(site.file("old")).unwrap();
        assert_eq!(site.image(Model::Ordered), of(&[("renamed", "new")]));
        assert_eq!(site.image(Model::Strict), of(&[("old", "old")]));
        site.keeping.changed(&Change::FolderSynced { folder: "." });
        assert_eq!(site.image(Model::Strict), of(&[("renamed", "new")]));
    }

    #[test]
    fn a_log_that_was_cut_off_counts_up_to_there() {
        let site = Site::new();
        let inode = site.create("new", b"new");
        site.keeping.changed(&Change::Synced { inode });
        let log = site.folder.path().join("log");
        let whole = fs::read(&log).unwrap();
        site.keeping.changed(&Change::Written { inode, offset: 3, bytes: b"more" });
        let longer = fs::read(&log).unwrap();
        for length in whole.len()..longer.len() {
            fs::write(&log, &longer[..length]).unwrap();
            assert_eq!(Kept::read(&log).unwrap().contents[&inode].now, b"new", "{length}");
        }
    }
}
