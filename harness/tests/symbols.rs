//! The functions of the C library that `export_io_symbols!` defines, in a program that defines them: this one. Each does
//! what the C library's does, and tells of itself.

#![allow(missing_docs)]

use std::ffi::CString;
use std::fs::{self, File};
use std::io::{self, ErrorKind, Write as _};
use std::os::fd::AsRawFd as _;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{FileExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use harness::lockstep::io::{self as engine, Call, Change, Judge, Verdict};
use tempfile::TempDir;

harness::export_io_symbols!();

/// Writes down what it hears, and answers always the same.
struct Listener {
    folder: PathBuf,
    verdict: Verdict,
    calls: Mutex<Vec<String>>,
    changes: Mutex<Vec<String>>,
}

impl Judge for Listener {
    fn call(&self, call: &Call) -> Verdict {
        // What a judge does itself is not judged.
        fs::write(self.folder.join("by-the-judge"), "x").unwrap();
        self.calls.lock().unwrap().push(call.to_string());
        self.verdict
    }

    fn changed(&self, change: &Change<'_>) {
        let text = match change {
            Change::Created { .. } => "created".to_owned(),
            Change::Written { offset, bytes, .. } => format!("written {offset}+{}", bytes.len()),
            Change::Truncated { length, .. } => format!("truncated {length}"),
            Change::Synced { .. } => "synced".to_owned(),
            Change::FolderSynced { folder } => format!("folder {folder} synced"),
        };
        self.changes.lock().unwrap().push(text);
    }
}

/// A folder whose calls are heard while a closure runs.
struct Site(TempDir);

impl Site {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn c_path(&self, name: &str) -> CString {
        CString::new(self.path(name).as_os_str().as_bytes()).unwrap()
    }

    fn listener(&self, verdict: Verdict) -> Arc<Listener> {
        let (calls, changes) = (Mutex::default(), Mutex::default());
        Arc::new(Listener { folder: self.0.path().to_owned(), verdict, calls, changes })
    }

    /// The calls of a closure, and what they changed.
    fn hear(&self, work: impl FnOnce()) -> (Vec<String>, Vec<String>) {
        let listener = self.listener(Verdict::Pass);
        let guard = engine::arm(self.0.path(), listener.clone()).unwrap();
        work();
        drop(guard);
        let _after = File::create(self.path("after")).unwrap();
        let calls = listener.calls.lock().unwrap().clone();
        (calls, listener.changes.lock().unwrap().clone())
    }

    /// What a closure returns when all of its calls fail with an error.
    fn fail<T>(&self, errno: i32, work: impl FnOnce() -> T) -> T {
        let _guard = engine::arm(self.0.path(), self.listener(Verdict::Fail(errno))).unwrap();
        work()
    }
}

fn errno(result: &io::Result<impl Sized>) -> Option<i32> {
    result.as_ref().err().and_then(io::Error::raw_os_error)
}

#[test]
fn files_are_written_as_ever_and_every_call_is_told() {
    let site = Site::new();
    let (calls, changes) = site.hear(|| {
        let mut options = File::options();
        let file = options.create(true).truncate(true).write(true).mode(0o640);
        let mut file = file.open(site.path("a")).unwrap();
        file.write_all(b"hello").unwrap();
        file.write_all_at(b"J", 0).unwrap();
        file.sync_all().unwrap();
        file.set_len(4).unwrap();
        file.sync_data().unwrap();
        drop(file);
        let mut file = File::options().append(true).open(site.path("a")).unwrap();
        file.write_all(b"o!").unwrap();
        drop(file);
        fs::rename(site.path("a"), site.path("b")).unwrap();
        drop(File::options().write(true).truncate(true).open(site.path("b")).unwrap());
        fs::remove_file(site.path("b")).unwrap();
        File::open(site.0.path()).unwrap().sync_all().unwrap();
    });
    assert_eq!(
        calls,
        [
            "open create a",
            "write a 0+5",
            "pwrite a 0+1",
            "fsync a",
            "ftruncate a 4",
            "fdatasync a",
            "close a",
            "open a",
            "write a 4+2",
            "close a",
            "rename a to b",
            "open b",
            "close b",
            "unlink b",
            "open .",
            "fsync .",
            "close .",
        ]
    );
    let told = [
        "created",
        "written 0+5",
        "written 0+1",
        "synced",
        "truncated 4",
        "synced",
        "written 4+2",
        "truncated 0",
        "folder . synced",
    ];
    assert_eq!(changes, told);
}

#[test]
fn contents_modes_and_errors_are_those_of_the_c_library() {
    let site = Site::new();
    site.hear(|| {
        let file = File::options().create_new(true).write(true).mode(0o640).open(site.path("a"));
        file.unwrap().write_all(b"text").unwrap();
        assert_eq!(fs::metadata(site.path("a")).unwrap().permissions().mode() & 0o777, 0o640);
        assert_eq!(fs::read(site.path("a")).unwrap(), b"text");
        let again = File::options().create_new(true).write(true).open(site.path("a"));
        assert_eq!(again.unwrap_err().kind(), ErrorKind::AlreadyExists);
        let missing = File::open(site.path("missing")).unwrap_err();
        assert_eq!(missing.kind(), ErrorKind::NotFound);
        let read_only = File::open(site.path("a")).unwrap().write_all(b"x");
        assert_eq!(errno(&read_only), Some(libc::EBADF));
        let onto_folder = fs::rename(site.path("a"), site.0.path());
        assert!(onto_folder.is_err());
    });
}

#[test]
fn remove_takes_files_and_empty_folders_and_no_others() {
    let site = Site::new();
    for folder in ["empty", "full"] {
        fs::create_dir(site.path(folder)).unwrap();
    }
    fs::write(site.path("full/file"), "").unwrap();
    let [empty, full, file] = ["empty", "full", "full/file"].map(|name| site.c_path(name));
    // SAFETY: the path ends with a zero.
    let remove = |path: &CString| match unsafe { libc::remove(path.as_ptr()) } {
        0 => None,
        _ => io::Error::last_os_error().raw_os_error(),
    };
    let (calls, _) = site.hear(|| {
        assert_eq!(remove(&empty), None);
        assert_eq!(remove(&empty), Some(libc::ENOENT));
        assert_eq!(remove(&full), Some(libc::ENOTEMPTY));
        assert_eq!(remove(&file), None);
        assert_eq!(remove(&full), None);
    });
    assert_eq!(
        calls,
        ["remove empty", "remove empty", "remove full", "remove full/file", "remove full"]
    );
}

#[test]
fn locks_are_told_of_with_what_they_are_and_other_uses_of_fcntl_are_not() {
    let site = Site::new();
    let mut options = File::options();
    let file = options.create_new(true).read(true).write(true).open(site.path("a")).unwrap();
    let fcntl = |command, kind: libc::c_int| {
        // SAFETY: all of its fields are numbers.
        let mut lock: libc::flock = unsafe { std::mem::zeroed() };
        lock.l_type = libc::c_short::try_from(kind).unwrap();
        // SAFETY: these commands take a lock.
        assert_eq!(unsafe { libc::fcntl(file.as_raw_fd(), command, &raw mut lock) }, 0);
    };
    let (calls, _) = site.hear(|| {
        fcntl(libc::F_SETLK, libc::F_WRLCK);
        fcntl(libc::F_GETLK, libc::F_WRLCK);
        fcntl(libc::F_OFD_SETLK, libc::F_UNLCK);
        fcntl(libc::F_SETLKW, libc::F_RDLCK);
        fcntl(libc::F_SETLK, libc::F_UNLCK);
        // SAFETY: these take no pointer.
        unsafe {
            assert_eq!(libc::fcntl(file.as_raw_fd(), libc::F_GETFD), libc::FD_CLOEXEC);
            let copy = libc::fcntl(file.as_raw_fd(), libc::F_DUPFD_CLOEXEC, 0);
            assert!(0 < copy);
            assert_eq!(libc::close(copy), 0);
        }
    });
    assert_eq!(
        calls,
        [
            "fcntl lock-write a",
            "fcntl lock-test a",
            "fcntl unlock a",
            "fcntl await-read a",
            "fcntl unlock a",
            "close a",
        ]
    );
}

#[test]
fn a_call_that_fails_is_not_done_and_returns_that_error() {
    let site = Site::new();
    fs::write(site.path("a"), "text").unwrap();
    let mut file = File::options().read(true).write(true).open(site.path("a")).unwrap();
    let results = site.fail(libc::ENOSPC, || {
        [
            File::create(site.path("b")).map(drop),
            file.write_all(b"x"),
            file.write_all_at(b"x", 0),
            file.sync_all(),
            file.sync_data(),
            file.set_len(0),
            fs::rename(site.path("a"), site.path("b")),
            fs::remove_file(site.path("a")),
        ]
    });
    for (number, result) in results.iter().enumerate() {
        assert_eq!(errno(result), Some(libc::ENOSPC), "result {number}");
    }
    assert_eq!(fs::read(site.path("a")).unwrap(), b"text");
    assert!(!site.path("b").exists());
    // Of a file that fails to close the descriptor is gone all the same.
    let number = file.as_raw_fd();
    std::mem::forget(file);
    let is_open = || Path::new(&format!("/proc/self/fd/{number}")).read_link();
    let open_before = is_open().unwrap();
    // SAFETY: the file was forgotten, so this closes it.
    site.fail(libc::EIO, || assert_eq!(unsafe { libc::close(number) }, -1));
    assert_ne!(is_open().ok(), Some(open_before));
}

#[test]
fn other_files_other_threads_and_children_are_left_alone() {
    let (site, other) = (Site::new(), Site::new());
    let beside = site.0.path().with_extension("beside");
    let path = site.c_path("by-the-child");
    let (calls, _) = site.hear(|| {
        fs::write(other.path("a"), "x").unwrap();
        // A folder whose name begins like the scenario's.
        fs::write(&beside, "x").unwrap();
        fs::remove_file(&beside).unwrap();
        std::thread::scope(|scope| {
            scope.spawn(|| fs::write(site.path("by-another"), "x").unwrap());
        });
        // SAFETY: the child makes one call and ends.
        let child = unsafe { libc::fork() };
        if child == 0 {
            // SAFETY: the path ends with a zero; no destructor may run in the child.
            unsafe {
                let file = libc::open(path.as_ptr(), libc::O_CREAT | libc::O_WRONLY, 0o600);
                libc::_exit(i32::from(file < 0));
            }
        }
        let mut status = 0;
        // SAFETY: there is room for the status.
        assert_eq!(unsafe { libc::waitpid(child, &raw mut status, 0) }, child);
        assert_eq!(status, 0);
        assert!(!site.path("by-the-judge").exists(), "nobody was asked so far");
        fs::write(site.path("mine"), "x").unwrap();
    });
    assert_eq!(calls, ["open create mine", "write mine 0+1", "close mine"]);
    assert!(site.path("by-the-child").exists() && site.path("by-another").exists());
    let (calls, _) = site.hear(|| fs::write(site.path("mine"), "x").unwrap());
    assert_eq!(calls.len(), 3, "a thread can be armed again");
}

#[test]
fn a_file_that_has_no_name_any_more_is_told_of_and_changes_nothing() {
    let site = Site::new();
    let mut file = File::create(site.path("a")).unwrap();
    fs::remove_file(site.path("a")).unwrap();
    let (calls, changes) = site.hear(|| {
        file.write_all(b"x").unwrap();
        file.set_len(0).unwrap();
    });
    assert_eq!(calls, ["write a 0+1", "ftruncate a 0"]);
    assert_eq!(changes, [""; 0]);
}

/// The one test of this program that depends on the working directory.
#[test]
fn paths_may_be_relative_and_folders_may_have_two_names() {
    let site = Site::new();
    fs::create_dir(site.path("real")).unwrap();
    std::os::unix::fs::symlink(site.path("real"), site.path("link")).unwrap();
    std::env::set_current_dir(site.0.path()).unwrap();
    let listener = site.listener(Verdict::Pass);
    let guard = engine::arm(Path::new("link"), listener.clone()).unwrap();
    fs::write(site.path("link/a"), "x").unwrap();
    fs::write(site.path("real/b"), "x").unwrap();
    fs::write("link/c", "x").unwrap();
    fs::write("./real/d", "x").unwrap();
    drop(guard);
    let calls = listener.calls.lock().unwrap().clone();
    let opened: Vec<_> = calls.iter().filter(|call| call.starts_with("open")).collect();
    assert_eq!(opened, ["open create a", "open create b", "open create c", "open create d"]);
    assert_eq!(calls.len(), 12);
}
