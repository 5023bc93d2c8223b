//! Publishing, verifying and opening: what the store's durable side costs.
//!
//! | name | what it does |
//! |---|---|
//! | `store, 158 rows` | one [`FeatureStore::publish`] of 158 artefacts of 84 bytes, inline |
//! | `store, 158 negative` | the same of 158 negative entries |
//! | `DuckDB appender, 158 rows` | the floor: 158 rows of the same columns in one transaction of a connection that is kept |
//! | `append and fsync, 158 rows` | the floor below: as many bytes written to the end of a file, and synced |
//! | `store, one thread`, `store, 8 threads` | publications of one artefact each |
//! | `alone, one thread`, `alone, 8 threads` | one row of the same columns by [`Manager::transaction`] each |
//! | `get_or_compute, inline`, `… in a file` | a key that nobody has, whose computation takes no time: 84 bytes, 64 KiB |
//! | `DuckDB insert` | the floor of the first: one row of the same columns, durably, on a connection that is kept |
//! | `file and DuckDB insert` | the floor of the second: a temporary file written, synced, renamed, its folder synced; and that row |
//!
//! All that is acknowledged survives a power cut: each transaction is one fsync, and each file two. The commits of 158
//! are measured in memory too (`/dev/shm`), where an fsync costs nothing: what is left is what the processor does. What
//! is published is made outside the time. The contenders take turns, on one disk, in tables that grow alike.
//!
//! **Where it is unfair.** A kept connection keeps every other process out; the store and the manager take a lease for
//! each call. The floor's values are ready, the store hashes each artefact and looks whether its key is there already.
//!
//! Below that: how fast [`FeatureStore::verify`] reads, how long the first look-up takes that fills the mirror, and what
//! the mirror takes in memory, counted by the allocator.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use benches::arguments::Arguments;
use benches::contest::{Contest, Times};
use benches::figure::{self, Target};
use benches::workload::BATCH;
use duckdb::{Appender, Connection, params};
use manager::{
    Config, Depth, FeatureSpec, FeatureStore, Fill, Manager, MirrorState, Publication, StoreOptions,
};

const BYTES: usize = 84;
const FILE_BYTES: usize = 64 << 10;
const THREADS: u64 = 8;
const ROUNDS: u32 = 15;
const TURN: Duration = Duration::from_millis(60);
/// Artefacts of the store that is opened and verified: 154 batches of 158.
const OPENED: usize = 24_332;
const MILLION: usize = 1_000_000;

/// The system's allocator, and how much of it is taken.
struct Counting;

static TAKEN: AtomicUsize = AtomicUsize::new(0);

// SAFETY: all is left to the system's allocator.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        TAKEN.fetch_add(rounded(layout.size()), Ordering::Relaxed);
        // SAFETY: the caller's promises are passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        TAKEN.fetch_sub(rounded(layout.size()), Ordering::Relaxed);
        // SAFETY: the caller's promises are passed on.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// What an allocation of that size takes: glibc adds eight bytes and rounds up to sixteen.
fn rounded(bytes: usize) -> usize {
    (bytes + 8).next_multiple_of(16).max(32)
}

/// Keys that nobody has had yet.
fn fresh(count: usize) -> Vec<FeatureSpec> {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let first = NEXT.fetch_add(count as u64, Ordering::Relaxed);
    let spec = |number: u64| {
        let feature = format!("feature_{:03}", number % BATCH as u64);
        FeatureSpec::new(&feature, 1).entity(format!("ticker_{number}")).range(0..21)
    };
    (first..first + count as u64).map(spec).collect()
}

fn payload(number: u64, bytes: usize) -> Vec<u8> {
    let mut payload = vec![7; bytes];
    payload[..8].copy_from_slice(&number.to_le_bytes());
    payload
}

/// A different payload each time.
fn next_payload(bytes: usize) -> Vec<u8> {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    payload(NEXT.fetch_add(1, Ordering::Relaxed), bytes)
}

fn manager() -> Manager {
    Manager::new(Config { duckdb_threads: Some(1), ..Config::default() }).expect("it is sound")
}

fn store(folder: &Path, name: &str) -> FeatureStore {
    let path = folder.join(name);
    FeatureStore::open(&manager(), path).expect("the target can be written")
}

/// A connection that is kept, to the tables of an empty store.
fn kept(folder: &Path, name: &str) -> Connection {
    drop(store(folder, name));
    let connection = Connection::open(folder.join(name)).expect("nobody has it any more");
    connection.execute_batch("SET threads = 1").expect("it is a setting");
    connection
}

fn publish(store: &FeatureStore, specs: &[FeatureSpec], fill: impl Fn() -> Fill) -> Duration {
    let publications = specs.iter().map(|spec| Publication::new(spec, fill())).collect();
    let begin = Instant::now();
    let published = store.publish(publications).expect("nobody is in the way");
    let taken = begin.elapsed();
    assert_eq!(published.stored, specs.len());
    taken
}

fn inline() -> Fill {
    Fill::Bytes(next_payload(BYTES))
}

fn negative() -> Fill {
    Fill::Absent { reason: "too little history".into(), retry_after: Duration::from_hours(1) }
}

/// A row of an artefact of that key, as the store writes it.
fn append(
    appender: &mut Appender<'_>,
    seq: u64,
    key: [u8; 16],
    bytes: &[u8],
) -> duckdb::Result<()> {
    let (none, no_number): (Option<&str>, Option<u64>) = (None, None);
    let content = key.as_slice();
    appender.append_row(params![
        seq,
        key.as_slice(),
        "feature_001",
        1,
        "{}",
        "",
        "[\"ticker_1\"]",
        "{}",
        0,
        21,
        0,
        "",
        none,
        none,
        21,
        0,
        bytes.len() as u64,
        content,
        bytes,
        none,
        no_number,
        0,
        1_700_000_000_000_u64,
        1
    ])
}

fn append_durably(connection: &Connection, seq: &Cell<u64>, rows: usize) -> Duration {
    let rows: Vec<_> = fresh(rows).iter().map(|spec| *spec.key().as_bytes()).collect();
    let bytes = next_payload(BYTES);
    let begin = Instant::now();
    let appended = (|| {
        connection.execute_batch("BEGIN")?;
        let mut appender = connection.appender("flockgate_manifest")?;
        for key in rows {
            seq.set(seq.get() + 1);
            append(&mut appender, seq.get(), key, &bytes)?;
        }
        appender.flush()?;
        drop(appender);
        connection.execute_batch("COMMIT")
    })();
    appended.expect("the table is there");
    begin.elapsed()
}

fn append_to_file(file: &mut File, rows: usize) -> Duration {
    let bytes = vec![7; rows * (BYTES + 130)];
    let begin = Instant::now();
    file.write_all(&bytes).and_then(|()| file.sync_data()).expect("the target can be written");
    begin.elapsed()
}

fn many(calls: u64, call: impl FnMut(u64) -> Duration) -> Duration {
    (0..calls).map(call).sum()
}

/// One line for each: how many a second, and how that stands to the reference.
fn rates(times: &Times, names: &[(&str, usize)], reference: &str) -> Vec<String> {
    let per_row = |name: &str| {
        let rows = names.iter().find(|(of, _)| *of == name).map_or(1, |(_, rows)| *rows);
        times.of(name).map(|seconds| seconds / rows as f64)
    };
    let line = |(name, rows): &(&str, usize)| {
        let own = per_row(name)?;
        let of_reference = names.iter().find(|(of, _)| *of == reference)?.1;
        let ratio = times.ratio(reference, name)? * *rows as f64 / of_reference as f64;
        Some(format!("{name:<34} {:>12.0} /s {:>12.1} µs {ratio:>10.3}", 1.0 / own, own * 1e6))
    };
    names.iter().filter_map(line).collect()
}

fn titled(title: &str, lines: Vec<String>) -> Vec<String> {
    [format!("\n{title}")].into_iter().chain(lines).collect()
}

const STORE: &str = "store, 158 rows";
const NEGATIVE: &str = "store, 158 negative";
const APPENDER: &str = "DuckDB appender, 158 rows";
const RAW: &str = "append and fsync, 158 rows";

fn batches(arguments: &Arguments, folder: &Path, place: &str) -> Vec<String> {
    let (positive, absent) = (store(folder, "158.duckdb"), store(folder, "negative.duckdb"));
    let (plain, seq) = (kept(folder, "plain.duckdb"), Cell::new(0));
    let mut file = File::create(folder.join("raw")).expect("the target can be written");
    let mut contest = Contest::default();
    contest.add_timed(STORE, |calls| many(calls, |_| publish(&positive, &fresh(BATCH), inline)));
    contest.add_timed(NEGATIVE, |calls| many(calls, |_| publish(&absent, &fresh(BATCH), negative)));
    contest.add_timed(APPENDER, |calls| many(calls, |_| append_durably(&plain, &seq, BATCH)));
    contest.add_timed(RAW, move |calls| many(calls, |_| append_to_file(&mut file, BATCH)));
    let times = contest.run(arguments, ROUNDS, TURN);
    let names = [(STORE, BATCH), (NEGATIVE, BATCH), (APPENDER, BATCH), (RAW, BATCH)];
    let title = format!("commits of 158 rows {place}; the last column is the rate : appender's");
    let mut lines = titled(&title, rates(&times, &names, APPENDER));
    for name in [STORE, NEGATIVE] {
        let rate = times.of(name).map(|seconds| BATCH as f64 / seconds);
        lines.extend(figure::line(&format!("{name}, rows/s"), rate, Target::AtLeast(100_000.0)));
    }
    lines
}

/// Runs a call so many times in each of the threads, and returns how long all of them took.
fn in_threads(calls: u64, call: impl Fn() + Sync) -> Duration {
    let begin = Instant::now();
    std::thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(|| (0..calls).for_each(|_| call()));
        }
    });
    begin.elapsed()
}

fn publish_one(store: &FeatureStore) {
    publish(store, &fresh(1), inline);
}

fn alone(manager: &Manager, path: &Path) {
    let (key, bytes) = (*fresh(1)[0].key().as_bytes(), next_payload(BYTES));
    let inserted: Result<(), manager::Error> = manager.transaction(path, |tx| {
        tx.append("flockgate_manifest", |appender| append(appender, 1, key, &bytes))
    });
    inserted.expect("nobody is in the way");
}

fn single(arguments: &Arguments, folder: &Path) -> Vec<String> {
    let names = ["store, one thread", "store, 8 threads", "alone, one thread", "alone, 8 threads"];
    let shared = [store(folder, "one.duckdb"), store(folder, "eight.duckdb")];
    let apart = [store(folder, "alone.duckdb"), store(folder, "eight alone.duckdb")];
    let apart = apart.each_ref().map(|store| (store.manager(), store.path().to_path_buf()));
    let once = |call: &dyn Fn()| {
        let begin = Instant::now();
        call();
        begin.elapsed()
    };
    let mut contest = Contest::default();
    contest.add_timed(names[0], |calls| many(calls, |_| once(&|| publish_one(&shared[0]))));
    contest.add_timed(names[1], |calls| in_threads(calls, || publish_one(&shared[1])));
    contest.add_timed(names[2], |calls| many(calls, |_| once(&|| alone(apart[0].0, &apart[0].1))));
    contest.add_timed(names[3], |calls| in_threads(calls, || alone(apart[1].0, &apart[1].1)));
    let times = contest.run(arguments, ROUNDS, TURN);
    let threads = THREADS as usize;
    let counted = [(names[0], 1), (names[1], threads), (names[2], 1), (names[3], threads)];
    let title = "one artefact each; the last column is the rate : 8 threads alone's";
    let mut lines = titled(title, rates(&times, &counted, names[3]));
    let ratio = times.ratio(names[3], names[1]);
    lines.extend(figure::line("store : alone, 8 threads", ratio, Target::AtLeast(5.0)));
    lines
}

/// A temporary file written, synced and renamed, its folder synced.
fn write_durably(folder: &Path, name: u64, bytes: &[u8]) {
    let path = |kind: &str| -> PathBuf { folder.join(format!("{name}{kind}")) };
    let written = (|| {
        let mut file = File::create(path(".tmp"))?;
        file.write_all(bytes)?;
        file.sync_data()?;
        fs::rename(path(".tmp"), path(""))?;
        File::open(folder)?.sync_all()
    })();
    written.expect("the target can be written");
}

fn compute(store: &FeatureStore, bytes: usize) -> Duration {
    let (spec, bytes) = (fresh(1), next_payload(bytes));
    let begin = Instant::now();
    let found = store.get_or_compute(&spec[0], || Ok::<_, manager::Error>(Fill::Bytes(bytes)));
    found.expect("nobody is in the way");
    begin.elapsed()
}

fn cold(arguments: &Arguments, folder: &Path) -> Vec<String> {
    let names = [
        "get_or_compute, inline",
        "DuckDB insert",
        "get_or_compute, in a file",
        "file and DuckDB insert",
    ];
    let (inline, in_file) = (store(folder, "cold.duckdb"), store(folder, "cold files.duckdb"));
    let (plain, with_file) = (kept(folder, "insert.duckdb"), kept(folder, "file.duckdb"));
    let objects = folder.join("objects of the floor");
    fs::create_dir(&objects).expect("the target can be written");
    let (one, other, mut number) = (Cell::new(0), Cell::new(0), 0);
    let mut contest = Contest::default();
    contest.add_timed(names[0], |calls| many(calls, |_| compute(&inline, BYTES)));
    contest.add_timed(names[1], |calls| many(calls, |_| append_durably(&plain, &one, 1)));
    contest.add_timed(names[2], |calls| many(calls, |_| compute(&in_file, FILE_BYTES)));
    contest.add_timed(names[3], |calls| {
        many(calls, |_| {
            number += 1;
            let (bytes, begin) = (next_payload(FILE_BYTES), Instant::now());
            write_durably(&objects, number, &bytes);
            let taken = begin.elapsed();
            taken + append_durably(&with_file, &other, 1)
        })
    });
    let times = contest.run(arguments, ROUNDS, TURN);
    let title = "a cold key, computed in no time; the last column is the rate : `DuckDB insert`'s";
    let mut lines = titled(title, rates(&times, &names.map(|name| (name, 1)), names[1]));
    for (name, floor) in [(names[0], names[1]), (names[2], names[3])] {
        let ratio = times.ratio(name, floor);
        lines.extend(figure::line(&format!("{name} : {floor}"), ratio, Target::ForComparison));
    }
    lines
}

fn fill(store: &FeatureStore, count: usize, bytes: usize) {
    for first in (0..count).step_by(20_000) {
        let specs = fresh(20_000.min(count - first));
        publish(store, &specs, || Fill::Bytes(next_payload(bytes)));
    }
}

/// The first look-up of a process, and what it takes in memory.
fn first_look_up(folder: &Path, name: &str, count: usize) -> Vec<String> {
    let path = folder.join(name);
    let begin = Instant::now();
    fill(&store(folder, name), count, BYTES);
    let filled = begin.elapsed();
    let wanted = fresh(1)[0].key();
    let options = StoreOptions { mirror_bytes_max: 4 << 30, ..StoreOptions::default() };
    let opened = FeatureStore::open_with(&manager(), &path, options).expect("it is a store");
    let (before, begin) = (TAKEN.load(Ordering::Relaxed), Instant::now());
    assert!(opened.get(wanted).expect("it can be read").is_miss());
    let taken = begin.elapsed();
    let memory = (TAKEN.load(Ordering::Relaxed) - before) as f64 / count as f64;
    let MirrorState::Mirrored { keys, bytes } = opened.stats().expect("it can be read").mirror
    else {
        panic!("it fits")
    };
    assert_eq!(keys as usize, count);
    let of_entry = memory - (BYTES as f64);
    let estimate = bytes as f64 / count as f64 - BYTES as f64;
    vec![format!(
        "{count:>9} artefacts: filled in {filled:.1?}; first look-up {taken:.1?}; {of_entry:.0} bytes an entry \
         without its own {BYTES}, estimated {estimate:.0}"
    )]
}

fn verify(folder: &Path) -> Vec<String> {
    let path = folder.join("verified.duckdb");
    let store = FeatureStore::open(&manager(), path).expect("the target can be written");
    fill(&store, OPENED, 420);
    fill(&store, 200, 1 << 20);
    let mut lines = Vec::new();
    for depth in [Depth::Shallow, Depth::Deep] {
        let begin = Instant::now();
        let report = store.verify(depth).expect("it can be read");
        let taken = begin.elapsed();
        assert!(report.is_sound());
        let rate = report.bytes as f64 / taken.as_secs_f64() / 1e6;
        lines.push(format!(
            "{depth:?}: {} artefacts, {} MB in {taken:.1?}, {rate:.0} MB/s",
            report.artefacts,
            report.bytes / 1_000_000
        ));
    }
    lines
}

fn main() {
    let arguments = Arguments::of_process();
    let folder =
        tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("the target can be written");
    let folder = folder.path();
    let section = |name: &str, run: &dyn Fn() -> Vec<String>| {
        if arguments.selects(name) {
            println!("{}", run().join("\n"));
        }
    };
    section("publish/158 rows", &|| batches(&arguments, folder, "on disk"));
    let memory = tempfile::tempdir_in("/dev/shm");
    if let Ok(memory) = &memory {
        section("publish/158 rows in memory", &|| batches(&arguments, memory.path(), "in memory"));
    }
    section("publish/one row", &|| single(&arguments, folder));
    section("publish/cold", &|| cold(&arguments, folder));
    section("publish/verify", &|| titled("verify", verify(folder)));
    section("publish/first look-up", &|| {
        titled("first look-up", first_look_up(folder, "opened.duckdb", OPENED))
    });
    if arguments.count(5) == 5 {
        section("publish/million", &|| first_look_up(folder, "million.duckdb", MILLION));
    }
}
