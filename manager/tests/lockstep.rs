//! Threads of one manager whose steps a seed decides: the same seed, the same steps, and no time that passes.

mod lockstep {
    pub(crate) mod baton;
}

use std::collections::BTreeSet;
use std::fs::File;
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use lockstep::baton::{self, Baton};
use manager::{AccessMode, AcquireOptions, Config, Error, Manager, WritesInEvaluation};

const HOUR: Duration = Duration::from_hours(1);

/// A database with an empty table, which nobody holds.
fn database(folder: &tempfile::TempDir) -> PathBuf {
    let path = folder.path().join("x.duckdb");
    let made = manager()
        .create(&path, |new| new.execute_batch("CREATE TABLE t (a INTEGER)").map_err(Error::from));
    assert!(made.unwrap());
    path
}

fn manager() -> Manager {
    Manager::new(Config::default()).unwrap()
}

fn patient_for(wait_max: Duration) -> AcquireOptions {
    AcquireOptions { wait_max: Some(wait_max), ..AcquireOptions::default() }
}

fn count(manager: &Manager, path: &Path) -> i64 {
    let lease = manager.read(path).unwrap();
    lease.query_row("SELECT count(*) FROM t", [], |row| row.get(0)).unwrap()
}

fn insert(manager: &Manager, path: &Path) {
    let done = manager.transaction(path, |tx| tx.execute("INSERT INTO t VALUES (1)", []));
    assert_eq!(done.unwrap(), 1);
}

/// Three threads that write, read and flip the phase; their steps, and what they have found.
fn three_threads(seed: u64) -> Vec<String> {
    let folder = tempfile::tempdir().unwrap();
    let path = database(&folder);
    let found = Arc::new(Mutex::new(Vec::new()));
    let mut steps = baton::run(seed, |_| {
        let writes_in_evaluation = WritesInEvaluation::Allow;
        let config = Config { writes_in_evaluation, ..Config::default() };
        let manager = Manager::new(config).unwrap();
        let of = |part: fn(&Manager, &Path) -> i64| {
            let (manager, path, found) = (manager.clone(), path.clone(), Arc::clone(&found));
            Box::new(move || {
                let rows = part(&manager, &path);
                found.lock().unwrap().push(format!("saw {rows} rows"));
            }) as Box<dyn FnOnce() + Send>
        };
        let writer = of(|manager, path| {
            insert(manager, path);
            insert(manager, path);
            count(manager, path)
        });
        let trainer = of(|manager, path| {
            let phase = manager.training_phase(path).unwrap();
            insert(manager, path);
            drop(phase);
            count(manager, path)
        });
        let evaluator = of(|manager, path| {
            let phase = manager.evaluation_phase(path).unwrap();
            let before = count(manager, path);
            assert!(before <= count(manager, path), "what is stored stays");
            drop(phase);
            before
        });
        vec![("writer", writer), ("trainer", trainer), ("evaluator", evaluator)]
    });
    steps.append(&mut found.lock().unwrap());
    steps
}

#[test]
fn a_seed_decides_every_step() {
    let mut all = BTreeSet::new();
    for seed in 0..50 {
        let (once, again) = (three_threads(seed), three_threads(seed));
        let parting = once.iter().zip(&again).position(|(one, other)| one != other);
        let parting = parting.unwrap_or(once.len().min(again.len()));
        assert_eq!(once.get(parting), again.get(parting), "seed {seed}, step {parting}: {once:#?}");
        assert!(once.iter().any(|step| step.ends_with("committed")), "{once:#?}");
        all.insert(once);
    }
    assert!(all.len() > 40, "the seeds decide something: {} of 50 runs differ", all.len());
}

#[test]
fn a_wait_in_the_queue_ends_at_its_virtual_deadline_and_no_time_passes() {
    let folder = tempfile::tempdir().unwrap();
    let path = database(&folder);
    let begun = Instant::now();
    let steps = baton::run(1, |baton| {
        let manager = manager();
        let (holder, path_of_holder) = (manager.clone(), path.clone());
        let baton_of_holder = Arc::clone(baton);
        let holder = move || {
            let lease = holder.write(&path_of_holder).unwrap();
            baton_of_holder.sleep(2 * HOUR);
            drop(lease);
        };
        let baton = Arc::clone(baton);
        let waiter = move || {
            baton.sleep(Duration::from_secs(1));
            let before = baton.now();
            let refused = manager.get_with(&path, AccessMode::ReadWrite, &patient_for(HOUR));
            assert_eq!(timed_out_after(refused), HOUR);
            assert_eq!(baton.now(), before + HOUR);
        };
        vec![("holder", Box::new(holder)), ("waiter", Box::new(waiter))]
    });
    assert!(steps.iter().any(|step| step.contains("waiter: waits for change of State")));
    assert!(begun.elapsed() < HOUR / 60, "real time has passed");
}

#[track_caller]
fn timed_out_after<T: std::fmt::Debug>(refused: Result<T, Error>) -> Duration {
    match refused {
        Err(Error::TimedOut { waited, .. }) => waited,
        other => panic!("{other:?}"),
    }
}

/// Another process at the gate, as far as the kernel can tell.
struct Other(File);

/// The byte of the gate that whoever has the file has locked; `gate/file.rs` says so.
const FILE: i64 = (1 << 40) + 1;

impl Other {
    fn at(database: &Path) -> Self {
        let gate = manager::gate_path(database);
        let other = Self(File::options().read(true).write(true).open(gate).unwrap());
        other.set(libc::F_WRLCK);
        other
    }

    fn set(&self, kind: i32) {
        let request = libc::flock {
            l_type: kind as i16,
            l_whence: libc::SEEK_SET as i16,
            l_start: FILE,
            l_len: 1,
            l_pid: 0,
        };
        // SAFETY: the descriptor is open, and the request outlives the call.
        let set = unsafe { libc::fcntl(self.0.as_raw_fd(), libc::F_OFD_SETLK, &raw const request) };
        assert_eq!(set, 0, "{}", std::io::Error::last_os_error());
    }
}

#[test]
fn a_wait_at_the_gate_ends_at_its_virtual_deadline() {
    let folder = tempfile::tempdir().unwrap();
    let path = database(&folder);
    let _other = Other::at(&path);
    let steps = baton::run(1, |baton| {
        let baton = Arc::clone(baton);
        let waiter = move || {
            let before = baton.now();
            let refused = manager().get_with(&path, AccessMode::ReadWrite, &patient_for(HOUR));
            assert_eq!(timed_out_after(refused), HOUR);
            assert_eq!(baton.now(), before + HOUR);
        };
        vec![("waiter", Box::new(waiter))]
    });
    assert!(steps.iter().any(|step| step.contains("waiter: waits for gate file")), "{steps:#?}");
}

#[test]
fn who_waits_for_another_process_looks_again_when_that_has_moved() {
    let folder = tempfile::tempdir().unwrap();
    let path = database(&folder);
    for seed in 0..10 {
        let other = Other::at(&path);
        let path = path.clone();
        baton::run(seed, |baton| {
            let woken_at = Duration::from_mins(7);
            let (waiting, moving) = (Arc::clone(baton), Arc::clone(baton));
            let waiter = move || {
                let waiting_for_an_hour = patient_for(HOUR);
                manager().get_with(&path, AccessMode::ReadOnly, &waiting_for_an_hour).unwrap();
                assert_eq!(waiting.now(), woken_at, "as soon as it could be had");
            };
            // The steps of the other process are another actor's; what it did wakes nobody by itself.
            let mover = move || {
                moving.sleep(woken_at);
                other.set(libc::F_UNLCK);
                moving.wake();
            };
            vec![("waiter", Box::new(waiter)), ("mover", Box::new(mover))]
        });
    }
}

#[test]
fn threads_that_a_scheduler_does_not_have_pass() {
    let folder = tempfile::tempdir().unwrap();
    let path = database(&folder);
    let steps = baton::run(1, |_: &Arc<Baton>| {
        let outsider = move || {
            let free = std::thread::spawn(move || {
                let manager = manager();
                insert(&manager, &path);
                count(&manager, &path)
            });
            assert_eq!(free.join().unwrap(), 1);
        };
        vec![("outsider", Box::new(outsider))]
    });
    assert_eq!(steps, ["0ns outsider: ends"]);
}

/// A writer in no phase waits for the turnstile of the phases at the front of its process's queue; a trainer that has it
/// waits for an evaluation of the same process; and the look-up of that one queues behind the writer. Found by lockstep,
/// with seed 2: all three waited until their deadlines.
#[test]
fn a_writer_in_no_phase_does_not_stand_between_an_evaluation_and_the_trainer_that_waits_for_it() {
    let mut refused = 0;
    for seed in 0..60 {
        let folder = tempfile::tempdir().unwrap();
        let path = database(&folder);
        let found = Arc::new(Mutex::new(Vec::new()));
        baton::run(seed, |baton| {
            let manager = manager();
            let of = |name: &'static str, part: fn(&Manager, &Path) -> Result<(), Error>| {
                let (manager, path, found, baton) =
                    (manager.clone(), path.clone(), Arc::clone(&found), Arc::clone(baton));
                let body: Box<dyn FnOnce() + Send> = Box::new(move || {
                    let done = part(&manager, &path);
                    found.lock().unwrap().push((name, baton.now(), done));
                });
                (name, body)
            };
            vec![
                of("writer", |manager, path| manager.write(path).map(drop)),
                of("trainer", |manager, path| manager.training_phase(path).map(drop)),
                of("evaluator", |manager, path| {
                    let phase = manager.evaluation_phase(path)?;
                    drop(manager.read(path)?);
                    drop(phase);
                    Ok(())
                }),
            ]
        });
        for (name, at, done) in found.lock().unwrap().iter() {
            assert!(*at < Duration::from_secs(1), "seed {seed}: {name} came to an end at {at:?}");
            match done {
                Ok(()) => {}
                Err(Error::EvaluationIsOn { .. }) if *name == "writer" => refused += 1,
                Err(error) => panic!("seed {seed}: {name}: {error}"),
            }
        }
    }
    assert!(0 < refused, "an evaluation was met");
}
