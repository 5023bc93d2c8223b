//! Where a report comes from: versions and machine.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use manager::duckdb::Connection;
use reports::{Machine, Versions};

use crate::lockstep::schedule::alone;

/// What this build is made of. The commit is asked for now: of the folder that the program was built in, or, where that is
/// gone or was never a checkout, of the working directory, if that is one of this project.
pub fn versions() -> Versions {
    let folder = checkout();
    let ask = |arguments: &[&str]| git(folder.as_ref()?, arguments);
    Versions {
        rustc: env!("HARNESS_RUSTC").into(),
        duckdb: duckdb_version(),
        target: env!("HARNESS_TARGET").into(),
        profile: env!("HARNESS_PROFILE").into(),
        commit: ask(&["rev-parse", "HEAD"]),
        dirty: ask(&["status", "--porcelain", "--untracked-files=no"])
            .map(|changes| !changes.is_empty()),
    }
}

/// A folder of a checkout of this project.
fn checkout() -> Option<PathBuf> {
    let here = env::current_dir().ok();
    let folders = std::iter::once(PathBuf::from(env!("CARGO_MANIFEST_DIR"))).chain(here);
    folders.into_iter().find(|folder| git(folder, &["rev-parse", "--verify", THIS_FILE]).is_some())
}

/// This file in the commit that is checked out: no other project has it.
const THIS_FILE: &str = "HEAD:harness/src/provenance.rs";

fn git(folder: &Path, arguments: &[&str]) -> Option<String> {
    let _alone = alone(); // a child that is not git yet has locks of a schedule
    let output = Command::new("git").current_dir(folder).args(arguments).output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    output.status.success().then(|| text.trim().to_owned())
}

/// The machine, and the file system that `folder` lies on.
pub fn machine(folder: &Path) -> Machine {
    let name = rustix::system::uname();
    Machine {
        os: format!(
            "{} {}",
            name.sysname().to_string_lossy().to_lowercase(),
            name.release().to_string_lossy()
        ),
        arch: name.machine().to_string_lossy().into_owned(),
        cpu_model: field("/proc/cpuinfo", "model name").unwrap_or_else(|| "unknown".into()),
        logical_cpus: std::thread::available_parallelism().map_or(1, |count| count.get() as u32),
        memory_bytes: field("/proc/meminfo", "MemTotal")
            .and_then(|text| text.split_whitespace().next()?.parse::<u64>().ok())
            .map_or(0, |kibibytes| kibibytes * 1024),
        filesystem: filesystem(folder),
    }
}

fn duckdb_version() -> String {
    let asked = Connection::open_in_memory()
        .and_then(|connection| connection.query_row("SELECT version()", [], |row| row.get(0)));
    asked.unwrap_or_else(|_| "unknown".into())
}

/// The first value of a file of `name : value` lines.
fn field(file: &str, name: &str) -> Option<String> {
    let text = fs::read_to_string(file).ok()?;
    let line = text.lines().find(|line| line.starts_with(name))?;
    Some(line.split_once(':')?.1.trim().to_owned())
}

/// The type of the file system that is mounted nearest above a path (proc(5), mountinfo).
fn filesystem(path: &Path) -> String {
    let nearest = || {
        let path = fs::canonicalize(path).ok()?;
        let mounts = fs::read_to_string("/proc/self/mountinfo").ok()?;
        let mounts = mounts.lines().filter_map(|line| {
            let (mount, rest) = line.split_once(" - ")?;
            Some((mount.split(' ').nth(4)?, rest.split(' ').next()?))
        });
        let above = mounts.filter(|(point, _)| path.starts_with(point));
        above.max_by_key(|(point, _)| point.len()).map(|(_, kind)| kind.to_owned())
    };
    nearest().unwrap_or_else(|| "unknown".into())
}
