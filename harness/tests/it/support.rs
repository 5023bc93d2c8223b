//! What the tests share: runs of the binary that end, and what they leave behind.

use std::fmt::Display;
use std::fs::{self, File};
use std::io::{BufReader, Read, Seek};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use harness::history::{History, What};
use harness::lockstep::schedule::alone;
use reports::Report;
use rustix::process::{Pid, Signal};
use tempfile::TempDir;

/// No test waits longer for anything.
pub(crate) const LONG: Duration = Duration::from_mins(2);
/// How soon something has to happen that nobody should wait for: well under the three minutes that a run waits
/// for a silent worker, well above what a busy machine needs.
pub(crate) const SOON: Duration = Duration::from_mins(1);

/// The folder of the workspace, which every command is run in.
pub(crate) fn workspace() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the member lies in the workspace")
}

pub(crate) fn read(path: impl AsRef<Path>) -> String {
    let path = path.as_ref();
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The binary, without what the shell of the tests may have set for it.
pub(crate) fn harness(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_harness"));
    command.args(arguments).current_dir(workspace());
    command.env_remove("HARNESS_SEED").env_remove("RUST_LOG").env_remove("CI");
    command
}

/// A folder of its own for one test, and runs that write their reports there.
pub(crate) struct Site {
    folder: TempDir,
}

impl Site {
    pub(crate) fn new() -> Self {
        Self { folder: tempfile::tempdir().unwrap() }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// A file with that content.
    pub(crate) fn file(&self, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path(name);
        fs::write(&path, content).unwrap();
        path
    }

    /// Where runs write their reports.
    pub(crate) fn output(&self) -> PathBuf {
        self.path("out")
    }

    /// `harness run …` with this site's output.
    pub(crate) fn run_command(&self, arguments: &[impl AsRef<Path>]) -> Command {
        let mut command = harness(&["run", "--output"]);
        command.arg(self.output()).args(arguments.iter().map(AsRef::as_ref));
        command
    }

    /// Runs `harness run …` to its end.
    pub(crate) fn run(&self, arguments: &[impl AsRef<Path>]) -> Ran {
        Running::start(&mut self.run_command(arguments)).finish()
    }

    /// The folder of the newest run that was reported.
    pub(crate) fn latest(&self) -> PathBuf {
        let latest = self.output().join("latest");
        fs::canonicalize(&latest).unwrap_or_else(|error| panic!("{}: {error}", latest.display()))
    }

    pub(crate) fn report(&self) -> Report {
        Report::read(self.latest().join(reports::FILE_NAME)).unwrap()
    }

    /// Every file and folder below the output, relative to it.
    pub(crate) fn leftovers(&self) -> Vec<PathBuf> {
        let mut found = Vec::new();
        let mut folders = vec![self.output()];
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(&folder).into_iter().flatten() {
                let path = entry.unwrap().path();
                if path.is_dir() && !path.is_symlink() {
                    folders.push(path.clone());
                }
                found.push(path.strip_prefix(self.output()).unwrap().to_path_buf());
            }
        }
        found.sort();
        found
    }

    /// The history that a run is writing, so far; none before its file is there.
    pub(crate) fn history_so_far(&self, name: &str) -> Option<History> {
        let mut runs = fs::read_dir(self.output()).ok()?.map(|entry| entry.unwrap().path());
        let file = runs.find_map(|run| File::open(run.join("histories").join(name)).ok())?;
        History::read(BufReader::new(file)).ok()
    }
}

/// Starts a process while no schedule of this one runs, which would see the descriptors that it has at first.
fn spawn(command: &mut Command) -> Child {
    let _alone = alone();
    let child = command.spawn();
    child.unwrap_or_else(|error| panic!("{command:?}: {error}"))
}

/// What a command says.
pub(crate) fn output(command: &mut Command) -> Output {
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    spawn(command).wait_with_output().unwrap()
}

/// A child of the test. Killed and waited for when it is dropped.
pub(crate) struct Running {
    child: Child,
    name: String,
    // Files and not pipes: a worker that survives would keep a pipe open.
    output: File,
    errors: File,
}

impl Running {
    pub(crate) fn start(command: &mut Command) -> Self {
        let name = format!("{command:?}");
        let output = tempfile::tempfile().unwrap();
        let errors = tempfile::tempfile().unwrap();
        command.stdin(Stdio::null());
        command.stdout(output.try_clone().unwrap()).stderr(errors.try_clone().unwrap());
        let child = spawn(command);
        Self { child, name, output, errors }
    }

    /// Starts a command whose output nobody reads: the other end of its pipes is closed.
    pub(crate) fn start_unheard(command: &mut Command) -> Self {
        let name = format!("{command:?}");
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        command.stdin(Stdio::null()).stdout(writer.try_clone().unwrap()).stderr(writer);
        let child = spawn(command);
        let [output, errors] = [(); 2].map(|()| tempfile::tempfile().unwrap());
        Self { child, name, output, errors }
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn finish(self) -> Ran {
        self.finish_within(LONG)
    }

    /// Waits for its end, which has to come in time.
    pub(crate) fn finish_within(mut self, limit: Duration) -> Ran {
        let begun = Instant::now();
        let status = loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                break status;
            }
            if limit < begun.elapsed() {
                let said = text(&mut self.errors);
                panic!("{} is still not done after {limit:?}; it said:\n{said}", self.name);
            }
            thread::sleep(Duration::from_millis(5));
        };
        let (stdout, stderr) = (text(&mut self.output), text(&mut self.errors));
        Ran { name: self.name.clone(), status, stdout, stderr }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill(); // SIGKILL; fails if it has ended
        let _ = self.child.wait();
    }
}

fn text(file: &mut File) -> String {
    let mut text = String::new();
    file.rewind().unwrap();
    file.read_to_string(&mut text).unwrap();
    text
}

/// A child that has ended.
pub(crate) struct Ran {
    name: String,
    pub(crate) status: ExitStatus,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Ran {
    #[track_caller]
    pub(crate) fn exits_with(self, code: i32) -> Self {
        let Self { name, status, stdout, stderr } = &self;
        assert_eq!(status.code(), Some(code), "{name}: {status}\n{stdout}\n{stderr}");
        self
    }

    /// Standard error has to have all of these parts.
    #[track_caller]
    pub(crate) fn says(self, parts: &[impl Display]) -> Self {
        for part in parts {
            let part = part.to_string();
            assert!(self.stderr.contains(&part), "{}: no `{part}` in: {}", self.name, self.stderr);
        }
        self
    }
}

/// Waits until something is there, and fails the test if it does not come.
#[track_caller]
pub(crate) fn eventually<T>(what: &str, limit: Duration, mut look: impl FnMut() -> Option<T>) -> T {
    let begun = Instant::now();
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(begun.elapsed() < limit, "still not after {limit:?}: {what}");
        thread::sleep(Duration::from_millis(10));
    }
}

/// The processes that a history says were started, with their names.
pub(crate) fn workers(history: &History) -> Vec<(String, u32)> {
    let started = history.events.iter().filter_map(|event| match event.what {
        What::ProcessStarted { pid } => Some((event.actor.clone(), pid)),
        _ => None,
    });
    started.collect()
}

/// Whether a process with that number runs and is a worker of the harness: numbers are given again, and a
/// process that has ended has no command line until it is waited for.
pub(crate) fn is_worker(pid: u32) -> bool {
    let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    line.ends_with(b"harness\0worker\0")
}

pub(crate) fn send(pid: u32, signal: Signal) {
    rustix::process::kill_process(to_pid(pid), signal).unwrap();
}

/// Sends a signal to a process and all of its group, as a terminal does.
pub(crate) fn send_to_group(pid: u32, signal: Signal) {
    rustix::process::kill_process_group(to_pid(pid), signal).unwrap();
}

fn to_pid(pid: u32) -> Pid {
    Pid::from_raw(i32::try_from(pid).unwrap()).unwrap()
}
