//! A program in another language that knows nothing of the gate: Python's `duckdb`, as people use it.
//!
//! The interpreter is the one that `PYTHON_WITH_DUCKDB` names, else `python3`, if it has the module; else an environment
//! of its own in `<target>/python-duckdb`, which is made once with `python3 -m venv` and pip.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Arc, OnceLock};
use std::thread;
use std::time::{Duration, Instant};

use manager::{Drain, Error, ErrorClass, Manager};

use crate::peer::Peer;
use crate::support::{
    A_WHILE, FailedAttempts, LONG, Running, Site, config, count, eventually, insert, manager,
    manager_that_waits,
};

/// The module of the DuckDB that this crate has.
const MODULE: &str = "duckdb==1.5.5";
/// Succeeds where that module is, or one that reads and writes the same files: those of 2 are others.
const HAS_MODULE: &str = "import sys, duckdb; sys.exit(not duckdb.__version__.startswith('1.'))";
/// How long making the environment may take.
const INSTALL_MAX: Duration = Duration::from_mins(2);

/// Speaks as `examples/peer.rs` does; `open N` opens and closes the file N times more and answers how often it was
/// refused.
const PROGRAM: &str = r#"
import sys, duckdb
role, path = sys.argv[1:3]

def connect():
    return duckdb.connect(path, read_only=(role == "read"))

try:
    connection = connect()
except duckdb.IOException as error:
    print("error: " + str(error).replace("\n", " "), flush=True)
    sys.exit(1)
print("held", flush=True)
for line in sys.stdin:
    word, _, number = line.strip().partition(" ")
    if word == "release":
        connection.close()
        print("released", flush=True)
        break
    elif word == "insert":
        connection.execute("INSERT INTO t VALUES (?)", [int(number)])
        print("ok", flush=True)
    elif word == "count":
        print(connection.execute("SELECT count(*) FROM t").fetchone()[0], flush=True)
    elif word == "open":
        connection.close()
        refused = 0
        for _ in range(int(number)):
            try:
                duckdb.connect(path, read_only=(role == "read")).close()
            except duckdb.IOException:
                refused += 1
        print(refused, flush=True)
"#;

/// Python with `duckdb`, or the reason why there is none.
struct Python(PathBuf);

impl Python {
    /// `None` if there is none, which it says.
    fn find() -> Option<Self> {
        static FOUND: OnceLock<Result<PathBuf, String>> = OnceLock::new();
        match FOUND.get_or_init(look_for) {
            Ok(program) => Some(Self(program.clone())),
            Err(reason) => {
                // Past the test's own output, which nobody sees while it passes.
                let _ = writeln!(std::io::stderr(), "NOT TESTED: a holder in Python: {reason}");
                None
            }
        }
    }

    fn holding(&self, role: &str, database: &Path) -> Peer {
        let peer = self.begin(role, database);
        peer.hears("held");
        peer
    }

    fn begin(&self, role: &str, database: &Path) -> Peer {
        Peer::run(Command::new(&self.0).args(["-c", PROGRAM, role]).arg(database))
    }
}

fn look_for() -> Result<PathBuf, String> {
    if let Some(named) = std::env::var_os("PYTHON_WITH_DUCKDB") {
        return has_module(Path::new(&named)).map(|()| named.into());
    }
    if has_module(Path::new("python3")).is_ok() {
        return Ok("python3".into());
    }
    let deps = std::env::current_exe().unwrap();
    let target = deps.ancestors().nth(3).unwrap(); // <target>/release/deps/it-…
    let environment = target.join("python-duckdb");
    let program = environment.join("bin/python");
    if has_module(&program).is_err() {
        install(&environment)?;
    }
    has_module(&program).map(|()| program)
}

fn has_module(program: &Path) -> Result<(), String> {
    run_within(INSTALL_MAX, Command::new(program).args(["-c", HAS_MODULE]))
}

/// Makes the environment under another name first: one that was cut off is not taken for a whole one.
fn install(environment: &Path) -> Result<(), String> {
    let deadline = Instant::now() + INSTALL_MAX;
    let making = environment.with_added_extension(std::process::id().to_string());
    let left = || deadline.saturating_duration_since(Instant::now());
    let made = run_within(left(), Command::new("python3").args(["-m", "venv"]).arg(&making))
        .and_then(|()| {
            let mut pip = Command::new(making.join("bin/python"));
            pip.args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check", MODULE]);
            run_within(left(), &mut pip)
        });
    if made.is_ok() {
        // A process that was faster has made it, or what stood there did not work.
        let _ = fs::remove_dir_all(environment);
        let _ = fs::rename(&making, environment);
    }
    let _ = fs::remove_dir_all(&making);
    made
}

/// Runs a command to its end, or ends it.
fn run_within(wait_max: Duration, command: &mut Command) -> Result<(), String> {
    let what = format!("{command:?}");
    let failed = |error: &dyn std::fmt::Display| format!("{what}: {error}");
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .map_err(|error| failed(&error))?;
    let deadline = Instant::now() + wait_max;
    loop {
        match child.try_wait().map_err(|error| failed(&error))? {
            Some(status) if status.success() => return Ok(()),
            Some(status) => return Err(failed(&status)),
            None if Instant::now() < deadline => thread::sleep(Duration::from_millis(5)),
            None => {
                let _ = child.kill();
                let _ = child.wait();
                return Err(failed(&format!("not done after {wait_max:.0?}")));
            }
        }
    }
}

/// A thread that waits for a write lease and polls for it, which it has begun to.
fn polling_writer(site: &Site) -> (Running<i64>, Arc<FailedAttempts>) {
    let failed = Arc::new(FailedAttempts::default());
    let manager = Manager::with_observer(config(), Arc::clone(&failed) as _).unwrap();
    let path = site.database();
    let waiting = Running::begin(move || count(&manager.write(path).unwrap()));
    eventually("the waiter has found the file held", || failed.number() >= 1);
    (waiting, failed)
}

#[test]
fn a_python_program_that_holds_the_file_is_named() {
    let Some(python) = Python::find() else { return };
    let site = Site::new();
    let holder = python.holding("write", &site.database());
    let manager = manager_that_waits(A_WHILE);
    for error in [
        manager.read(site.database()).map(drop).unwrap_err(),
        manager.write(site.database()).map(drop).unwrap_err(),
    ] {
        assert!(error.is_transient(), "{error}");
        assert_eq!(error.class(), Some(ErrorClass::FileLocked));
        let text = error.to_string();
        for part in [&*format!("pid {}", holder.pid()), "python", "close it there"] {
            assert!(text.contains(part), "`{part}` is in: {text}");
        }
        let Error::HeldOutside { pid, command, .. } = error else { panic!("{error:?}") };
        assert_eq!(pid, Some(holder.pid()));
        assert!(command.unwrap().contains("python"));
    }
    holder.release();
    drop(manager.write(site.database()).unwrap());
}

#[test]
fn a_python_program_goes_on_committing_while_its_file_is_waited_for() {
    let Some(python) = Python::find() else { return };
    let site = Site::new();
    let mut holder = python.holding("write", &site.database());
    let (waiting, failed) = polling_writer(&site);
    let mut number = 0;
    let begin = Instant::now();
    while failed.number() < 10 || number < 50 {
        holder.insert(number..number + 1);
        number += 1;
        assert!(begin.elapsed() < LONG, "the waiter polls on");
    }
    assert_eq!(holder.tell("count"), number.to_string());
    holder.release();
    assert_eq!(waiting.finish(), number, "what it stored is there");
}

#[test]
fn beside_a_python_program_that_reads_one_reads_and_waits_to_write() {
    let Some(python) = Python::find() else { return };
    let site = Site::new();
    let mut reader = python.holding("read", &site.database());
    assert_eq!(count(&manager().read(site.database()).unwrap()), 0);
    let (waiting, _) = polling_writer(&site);
    assert!(waiting.is_still_running());
    assert_eq!(reader.tell("count"), "0");
    reader.release();
    assert_eq!(waiting.finish(), 0);
}

/// An attempt to open that fails looks with a lock of its own who is in the way. It must keep nobody out who could open
/// the file without it.
#[test]
fn a_python_program_that_reads_is_never_refused_because_somebody_waits_to_write() {
    let Some(python) = Python::find() else { return };
    let site = Site::new();
    let keeper = python.holding("read", &site.database());
    let mut other = python.holding("read", &site.database());
    let (waiting, failed) = polling_writer(&site);
    let begin = Instant::now();
    while failed.number() < 10 {
        assert_eq!(other.tell("open 20"), "0", "it was refused as often");
        assert!(begin.elapsed() < LONG, "the waiter polls on");
    }
    other.kill();
    keeper.release();
    assert_eq!(waiting.finish(), 0);
}

#[test]
fn a_waiter_asks_for_a_file_that_python_holds_only_now_and_then() {
    let Some(python) = Python::find() else { return };
    let site = Site::new();
    let holder = python.holding("write", &site.database());
    let failed = Arc::new(FailedAttempts::default());
    let config = manager::Config { wait_max: Duration::from_secs(1), ..config() };
    let manager = Manager::with_observer(config, Arc::clone(&failed) as _).unwrap();
    let error = manager.write(site.database()).unwrap_err();
    assert!(matches!(error, Error::HeldOutside { .. }), "{error}");
    // Its pauses are half of `foreign_poll_max` on average, 50 ms, once they have grown to it.
    let attempts = failed.number();
    assert!((3..100).contains(&attempts), "{attempts} attempts in a second");
    holder.release();
}

#[test]
fn python_is_refused_while_a_lease_is_out_and_let_in_when_all_is_closed() {
    let Some(python) = Python::find() else { return };
    let site = Site::new();
    let manager = manager();
    let refused = |role: &str| {
        let line = python.begin(role, &site.database()).line();
        assert!(line.contains("Could not set lock on file"), "{role}: {line}");
        assert!(line.contains(&format!("(PID {})", std::process::id())), "{role}: {line}");
    };
    let lease = manager.write(site.database()).unwrap();
    insert(&lease, 1);
    refused("write");
    refused("read");
    insert(&lease, 2);
    drop(lease);
    assert!(manager.close_all_connections(Drain::within(LONG)).is_complete());
    let lease = manager.read(site.database()).unwrap();
    refused("write");
    let mut beside = python.holding("read", &site.database());
    assert_eq!(beside.tell("count"), "2");
    beside.release();
    assert_eq!(count(&lease), 2, "the lock of the lease is not lost by it");
    refused("write");
    drop(lease);
    assert!(manager.close_all_connections(Drain::within(LONG)).is_complete());
    let mut alone = python.holding("write", &site.database());
    alone.insert(3..4);
    alone.release();
    assert_eq!(count(&manager.read(site.database()).unwrap()), 3);
}

/// Prints the key and the bytes of each artefact: in the manifest, or in the file that its content names.
const READING: &str = r#"
import sys, duckdb, pathlib
path = sys.argv[1]
rows = duckdb.connect(path, read_only=True).execute("""
    SELECT lower(hex(key)), inline, lower(hex(content)) FROM flockgate_manifest WHERE content IS NOT NULL ORDER BY seq
""").fetchall()
for key, inline, content in rows:
    stored = inline if inline is not None else (
        pathlib.Path(path + ".store") / "objects" / content[:2] / content).read_bytes()
    print(key, stored.hex())
"#;

#[test]
fn a_python_program_reads_the_artefacts_of_a_store() {
    let Some(python) = Python::find() else { return };
    let site = Site::empty();
    let manager = manager();
    let store = crate::store::store(&manager, &site);
    crate::store::publish(&store, "IBM", b"small");
    crate::store::publish(&store, "SAP", &[7; 5_000]);
    assert!(manager.close_all_connections(Drain::default()).is_complete());
    let program = Command::new(python.0).args(["-c", READING]).arg(site.database()).output();
    let program = program.unwrap();
    let (small, large) = ("736d616c6c", "07".repeat(5_000));
    let line = |entity, hex: &str| format!("{} {hex}\n", crate::store::spec(entity).key());
    let expected = line("IBM", small) + &line("SAP", &large);
    let errors = String::from_utf8_lossy(&program.stderr);
    assert!(String::from_utf8_lossy(&program.stdout) == expected, "{errors}");
}
