//! A process that forks while it uses a database, which nobody should do: for the tests.
//!
//! ```console
//! $ cargo run --release -p manager --example forker -- write features.duckdb idle
//! held
//! fork
//! child 4711
//! calls: 6 forked
//! lease: panicked
//! transaction: forked
//! borrowed: error
//! dropped
//! ```
//!
//! | argument | is |
//! |---|---|
//! | 1 | `write`: it takes the write lease in the training phase and prints `held`. `wait`: a thread of it waits for the lease |
//! | 2 | the database |
//! | 3 | what its children do: `idle`: use what they have inherited, drop it, and wait to be killed. `own`: the same, and then insert row 1000 with a manager of their own. `forking`: the same as `idle`, but for a transaction that forks. Anything else is a program that they become, as a peer that writes |
//!
//! It obeys its input: `fork`; `insert N` answers `ok`; `release` answers `released`. Children print lines of their own.

use std::io::BufRead;
use std::os::unix::process::CommandExt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use manager::duckdb::Connection;
use manager::{Config, Error, Manager, PhaseGuard, WriteLease};

type Outcome = Result<(), Box<dyn std::error::Error>>;

fn main() -> Outcome {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [role, path, then] = arguments.as_slice() else {
        return Err("say what to do: forker write|wait DATABASE idle|own|forking|PROGRAM".into());
    };
    let path = Path::new(path);
    let manager = Manager::new(Config::from_env()?)?;
    if role == "wait" {
        let (waiting, wanted) = (manager.clone(), path.to_path_buf());
        std::thread::spawn(move || println!("held: {}", waiting.write(wanted).is_ok()));
        return obey(None, &manager, path, then);
    }
    let phase = manager.training_phase(path)?;
    let lease = manager.write(path)?;
    println!("held");
    obey(Some((lease, phase)), &manager, path, then)
}

fn obey(
    mut held: Option<(WriteLease, PhaseGuard)>,
    manager: &Manager,
    path: &Path,
    then: &str,
) -> Outcome {
    for line in std::io::stdin().lock().lines() {
        let line = line?;
        match (line.split_once(' '), &held) {
            (None, Some((lease, _))) if line == "fork" && then == "forking" => {
                fork_in_transaction(lease);
            }
            (None, _) if line == "fork" => {
                let borrowed: Option<&Connection> = held.as_ref().map(|(lease, _)| &**lease);
                // SAFETY: the child goes on in this thread, and what it uses of the parent's is what is tried here.
                if unsafe { libc::fork() } == 0 {
                    end_at_last();
                    println!("child {}", std::process::id());
                    if !matches!(then, "idle" | "own") {
                        return Err(Command::new(then).arg("write").arg(path).exec().into());
                    }
                    use_inherited(held.as_ref().map(|(lease, _)| lease), borrowed, manager, path);
                    drop(held.take());
                    return be_a_child(manager, path, then);
                }
            }
            (Some(("insert", number)), Some((lease, _))) => {
                lease.execute("INSERT INTO t VALUES (?)", [number.parse::<i64>()?])?;
                println!("ok");
            }
            (None, _) if line == "release" => {
                drop(held.take());
                println!("released");
                return Ok(());
            }
            _ => return Err(format!("`{line}` is no order").into()),
        }
    }
    Ok(())
}

/// No child outlives its test for long, whatever goes wrong.
fn end_at_last() {
    // SAFETY: has the kernel send SIGALRM, which ends the process.
    unsafe { libc::alarm(60) };
}

fn wait_to_be_killed() -> ! {
    loop {
        std::thread::sleep(Duration::from_mins(1));
    }
}

fn fork_in_transaction(lease: &WriteLease) {
    let mut is_child = false;
    let done: Result<usize, Error> = lease.transaction(|tx| {
        let inserted = tx.execute("INSERT INTO t VALUES (1)", [])?;
        // SAFETY: as above.
        is_child = unsafe { libc::fork() } == 0;
        Ok(inserted)
    });
    if is_child {
        end_at_last();
        println!("child {}", std::process::id());
        println!("transaction: {}", word(&done));
        wait_to_be_killed();
    }
    println!("{}", if done.is_ok() { "ok" } else { "error" });
}

fn word<T>(outcome: &Result<T, Error>) -> String {
    match outcome {
        Ok(_) => "ok".into(),
        Err(Error::Forked { .. }) => "forked".into(),
        Err(error) => format!("error: {error}"),
    }
}

fn use_inherited(
    lease: Option<&WriteLease>,
    borrowed: Option<&Connection>,
    manager: &Manager,
    path: &Path,
) {
    let calls = [
        word(&manager.read(path)),
        word(&manager.write(path)),
        word(&manager.training_phase(path)),
        word(&manager.evaluation_phase(path)),
        word(&manager.transaction(path, |tx| tx.execute("INSERT INTO t VALUES (-1)", []))),
        word(&manager.create(path.with_extension("new"), |_| Ok::<(), Error>(()))),
    ];
    let odd: Vec<_> = calls.iter().filter(|call| *call != "forked").map(String::as_str).collect();
    println!(
        "{}",
        format!("calls: {} forked {}", calls.len() - odd.len(), odd.join(", ")).trim_end()
    );
    let Some((lease, borrowed)) = lease.zip(borrowed) else { return };
    let used =
        catch_unwind(AssertUnwindSafe(|| lease.execute_batch("INSERT INTO t VALUES (-2)").is_ok()));
    println!("lease: {}", if used.is_err() { "panicked" } else { "used" });
    let done = lease.transaction(|tx| tx.execute("INSERT INTO t VALUES (-3)", []));
    println!("transaction: {}", word(&done));
    let done = borrowed.execute_batch("BEGIN; INSERT INTO t VALUES (-4); COMMIT");
    println!("borrowed: {}", if done.is_ok() { "ok" } else { "error" });
}

fn be_a_child(manager: &Manager, path: &Path, then: &str) -> Outcome {
    let report = manager.close_all_connections(manager::Drain::default());
    assert!(report.closed.is_empty() && report.is_complete(), "nothing of it is the child's");
    println!("dropped");
    if then == "own" {
        let hasty = Config { wait_max: Duration::ZERO, ..Config::default() };
        let outcome = Manager::new(hasty)?.read(path);
        println!(
            "own: {}",
            if matches!(outcome, Err(Error::TimedOut { .. })) {
                "kept out".into()
            } else {
                word(&outcome)
            }
        );
        let own = Manager::new(Config::default())?;
        let inserted = own.transaction(path, |tx| tx.execute("INSERT INTO t VALUES (1000)", []));
        println!("own: {}", word(&inserted));
    }
    wait_to_be_killed()
}
