//! What the tests of the store share: a folder, and other processes at it.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use super::files::Folder;

const TASK: &str = "STORE_TEST_DATABASE";

/// An empty store beside an empty file, and the folder that both go with.
pub(crate) fn folder() -> (tempfile::TempDir, Folder) {
    let site = tempfile::tempdir().unwrap();
    let database = site.path().join("x.db");
    std::fs::write(&database, "").unwrap();
    let folder = Folder::of(&database);
    folder.create().unwrap();
    (site, folder)
}

/// Another process that runs one test of this binary, as of `module_path!()`, at the same store.
pub(crate) fn other(module: &str, test: &str, database: &Path) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    let name = format!("{}::{test}", module.trim_start_matches("manager::"));
    command.args([name.as_str(), "--exact", "--nocapture", "--test-threads=1"]);
    command.env(TASK, database).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
    command
}

/// The store that this process was started for; `None` in the process that the user has started.
pub(crate) fn given() -> Option<Folder> {
    std::env::var_os(TASK).map(|database| Folder::of(&PathBuf::from(database)))
}

/// Says that the work of this process is done, and waits until it is killed or its parent dies.
pub(crate) fn ready() {
    println!("\nREADY");
    let _ = std::io::stdin().read_line(&mut String::new());
}

/// A process that has said that it is [`ready`]. Killed when dropped.
pub(crate) struct Ready(pub(crate) Child);

impl Ready {
    pub(crate) fn start(mut command: Command) -> Self {
        let mut child = command.spawn().unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let said = lines.map_while(Result::ok).any(|line| line == "READY");
        assert!(said, "it ended before it was ready");
        Self(child)
    }

    pub(crate) fn kill(mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

impl Drop for Ready {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
