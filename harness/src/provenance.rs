//! Where a report comes from: versions and machine.

use std::fs;
use std::path::Path;
use std::process::Command;

use manager::duckdb::Connection;
use reports::{Machine, Versions};

/// What this build is made of.
pub fn versions() -> Versions {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let git = |arguments: &[&str]| {
        let output = Command::new("git").current_dir(here).args(arguments).output().ok()?;
        let text = String::from_utf8(output.stdout).ok()?;
        output.status.success().then(|| text.trim().to_owned())
    };
    Versions {
        rustc: env!("HARNESS_RUSTC").into(),
        duckdb: duckdb_version(),
        target: env!("HARNESS_TARGET").into(),
        profile: env!("HARNESS_PROFILE").into(),
        commit: git(&["rev-parse", "HEAD"]),
        dirty: git(&["status", "--porcelain", "--untracked-files=no"])
            .map(|changes| !changes.is_empty()),
    }
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
