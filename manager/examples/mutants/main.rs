//! Plants the bugs of `manager/mutants.toml` in a copy of the crate, one at a time, and runs the tests of the gate.
//!
//! ```console
//! $ cargo run --release -p manager --no-default-features --example mutants             # all of them
//! $ cargo run --release -p manager --no-default-features --example mutants -- turnstile  # those whose name or file has it
//! $ cargo run --release -p manager --no-default-features --example mutants -- --markdown # the list as a table
//! ```
//!
//! Each bug has to be caught, and by the tests that the list names. Before that the tests have to pass on the copy without
//! a bug. Exit code 1 if any of this is not so. Tests run one after the other, so a test that hangs or takes the process
//! down with it is the one that was begun last; either counts as a failure of it.
//!
//! The copy and what is built of it stay in `mutants/` of the target folder, so a second run has less to compile.

use std::collections::BTreeSet;
use std::error::Error;
use std::fs::{self, File};
use std::io;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use list::{Mutant, Mutants};

mod list;

/// What compiling may take, the first time with all dependencies.
const BUILD_MAX: Duration = Duration::from_mins(15);
/// What the tests may take; without a bug they need a tenth of it.
const TESTS_MAX: Duration = Duration::from_mins(3);

/// What came of the tests.
enum Outcome {
    Passed,
    /// With the tests that failed, if they could be told.
    Failed(BTreeSet<String>),
    DoesNotBuild,
}

fn main() -> Result<ExitCode, Box<dyn Error>> {
    let crate_folder = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mutants = Mutants::read(crate_folder);
    let filter = std::env::args().nth(1).unwrap_or_default();
    if filter == "--markdown" {
        print!("{}", mutants.markdown());
        return Ok(ExitCode::SUCCESS);
    }
    let copy = Copy::make(crate_folder)?;
    let chosen: Vec<_> = mutants.mutants.iter().filter(|m| m.is_meant_by(&filter)).collect();
    let tests: BTreeSet<_> = chosen.iter().map(|mutant| &mutants.tests[&mutant.file]).collect();
    for tests in tests {
        if !matches!(copy.test(tests)?, Outcome::Passed) {
            println!("{tests} fails without a bug; see {}", copy.log().display());
            return Ok(ExitCode::FAILURE);
        }
    }
    let mut caught = 0;
    for mutant in &chosen {
        let begun = Instant::now();
        let outcome = copy.with(mutant, |copy| copy.test(&mutants.tests[&mutant.file]))?;
        let (is_caught, text) = judge(mutant, outcome);
        caught += usize::from(is_caught);
        println!("{}: {text} ({:.0?})", mutant.name, begun.elapsed());
    }
    println!("{caught} of {} caught as the list says", chosen.len());
    Ok(if caught == chosen.len() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn judge(mutant: &Mutant, outcome: Outcome) -> (bool, String) {
    match outcome {
        Outcome::DoesNotBuild => (false, "DOES NOT BUILD".into()),
        Outcome::Passed => (false, "SURVIVED".into()),
        Outcome::Failed(failed) => {
            let missed = mutant.caught_by.iter().find(|test| !failed.contains(*test));
            let by = failed.into_iter().collect::<Vec<_>>().join(", ");
            match missed {
                Some(missed) => (false, format!("NOT CAUGHT BY {missed}, but by {by}")),
                None if mutant.caught_by.is_empty() => (false, format!("NOT IN THE LIST: {by}")),
                None => (true, format!("caught by {by}")),
            }
        }
    }
}

/// A workspace that has this crate alone.
struct Copy {
    folder: PathBuf,
    target: PathBuf,
}

impl Copy {
    fn make(crate_folder: &Path) -> Result<Self, Box<dyn Error>> {
        let workspace = crate_folder.parent().ok_or("the crate is in a workspace")?;
        // This program is `release/examples/mutants` in the target folder, wherever that is.
        let program = std::env::current_exe()?;
        let target = program.ancestors().nth(3).ok_or("a target folder")?.join("mutants");
        let folder = target.join("source");
        if folder.exists() {
            fs::remove_dir_all(&folder)?; // what was planted and not taken out again
        }
        for part in ["src", "tests", "examples"] {
            copy_folder(&crate_folder.join(part), &folder.join("manager").join(part))?;
        }
        fs::copy(crate_folder.join("Cargo.toml"), folder.join("manager/Cargo.toml"))?;
        fs::copy(workspace.join("Cargo.lock"), folder.join("Cargo.lock"))?;
        let mut manifest: toml::Table =
            fs::read_to_string(workspace.join("Cargo.toml"))?.parse()?;
        let members = manifest["workspace"].as_table_mut().ok_or("a workspace")?;
        members.insert("members".into(), vec!["manager"].into());
        // A bug is compiled once and run once: what counts is the time that both take together.
        let quick = "[profile.release.package.manager]\nopt-level = 1\n";
        fs::write(folder.join("Cargo.toml"), format!("{manifest}\n{quick}"))?;
        Ok(Self { folder, target })
    }

    /// Plants a bug, does that, and takes the bug out again.
    fn with<T>(
        &self,
        mutant: &Mutant,
        act: impl FnOnce(&Self) -> io::Result<T>,
    ) -> Result<T, Box<dyn Error>> {
        let path = self.folder.join("manager/src").join(&mutant.file);
        let source = fs::read_to_string(&path)?;
        fs::write(&path, mutant.planted(&source)?)?;
        let done = act(self);
        fs::write(&path, source)?;
        Ok(done?)
    }

    fn test(&self, tests: &str) -> io::Result<Outcome> {
        let target: &[&str] = if tests == "lib" { &["--lib"] } else { &["--test", tests] };
        let build = ["test", "--release", "--offline", "-p", "manager", "--no-default-features"];
        let build = [&build[..], target].concat();
        let compiled = self.cargo(&[&build[..], &["--no-run"]].concat(), BUILD_MAX)?;
        if !compiled.is_some_and(|status| status.success()) {
            return Ok(Outcome::DoesNotBuild);
        }
        let run = self.cargo(&[&build[..], &["--", "--test-threads=1"]].concat(), TESTS_MAX)?;
        if run.is_some_and(|status| status.success()) {
            return Ok(Outcome::Passed);
        }
        Ok(Outcome::Failed(failures(&fs::read_to_string(self.log())?)))
    }

    /// Runs cargo; `None` if it had to be stopped.
    fn cargo(&self, arguments: &[&str], limit: Duration) -> io::Result<Option<ExitStatus>> {
        let log = File::create(self.log())?;
        let child = Command::new(env!("CARGO"))
            .args(arguments)
            .current_dir(&self.folder)
            .env("CARGO_TARGET_DIR", &self.target)
            .env("CARGO_TERM_COLOR", "never")
            .env("CARGO_INCREMENTAL", "1")
            .env("RUST_BACKTRACE", "0")
            .env("MODELS_UNCOUNTED", "1") // fewer executions are not yet a bug that is caught
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .process_group(0)
            .spawn()?;
        wait(child, limit)
    }

    fn log(&self) -> PathBuf {
        self.target.join("log.txt")
    }
}

/// Waits for a process, and kills it and its children at the limit.
fn wait(mut child: Child, limit: Duration) -> io::Result<Option<ExitStatus>> {
    let begun = Instant::now();
    while begun.elapsed() < limit {
        if let Some(status) = child.try_wait()? {
            return Ok(Some(status));
        }
        thread::sleep(Duration::from_millis(50));
    }
    if let Some(group) = rustix::process::Pid::from_raw(child.id().cast_signed()) {
        rustix::process::kill_process_group(group, rustix::process::Signal::KILL)?;
    }
    child.wait().map(|_| None)
}

/// The tests that failed, by the last part of their names; with one that was begun and did not end.
fn failures(log: &str) -> BTreeSet<String> {
    let results = log.lines().filter_map(|line| {
        let (name, result) = line.strip_prefix("test ")?.split_once(" ...")?;
        let name = name.split(" - ").next()?.rsplit("::").next()?;
        (result.trim() != "ok").then(|| name.to_owned())
    });
    results.collect()
}

fn copy_folder(from: &Path, to: &Path) -> io::Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let (path, name) = entry.map(|entry| (entry.path(), entry.file_name()))?;
        if path.is_dir() {
            copy_folder(&path, &to.join(name))?;
        } else {
            fs::copy(&path, to.join(name))?;
        }
    }
    Ok(())
}
