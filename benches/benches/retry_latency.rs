//! Retry latency: two processes that both want to write one file, all the time.
//!
//! Each of the two gets a row into the file, again and again: get hold of the file, BEGIN, INSERT, COMMIT, let go of
//! it, and begin anew at once. Measured is the whole of that. What differs is how they take turns:
//!
//! | name | how the file is got hold of |
//! |---|---|
//! | `managed` | `Manager::transaction`: waits its turn in the kernel; attaches and detaches the file each time |
//! | `open, full jitter` | opens it each time; on DuckDB's lock error sleeps up to 10 ms, 20 ms, … 1 s, by chance |
//! | `open, poll 1 ms` | the same, but sleeps for 1 ms each time |
//! | `kept, no peer` | the floor: nobody else wants it, one connection is kept |
//!
//! Read the lines of both processes, and their rows: a writer that starves the other has fine latencies of its
//! own, and what Criterion prints is one of the two. Where they take turns fairly, the median holds one operation
//! of the other. A row is never written faster than by who keeps the file, as each hand-over is a checkpoint.
//!
//! After each policy the table is compared with what the two were told is stored; a row that is missing or there
//! twice is a panic.

use std::path::Path;
use std::time::Duration;

use benches::latencies::{ITERATION, Latencies};
use benches::peer::{self, Peer};
use criterion::measurement::WallTime;
use criterion::{BenchmarkGroup, Criterion, SamplingMode};
use manager::duckdb::{self, Config as Settings, Connection};
use manager::{Backoff, Config, ErrorClass, Manager};

const SAMPLES: u32 = 20;
/// Criterion's iterations in a sample, of 20 ms each.
const ITERATIONS: u32 = 25;
/// Nobody waits this long unless something is broken.
const WAIT_MAX: Duration = Duration::from_mins(1);
const TABLE: &str = "CREATE TABLE row (writer UTINYINT NOT NULL, number UBIGINT NOT NULL)";
const INSERT: &str = "INSERT INTO row VALUES (?, ?)";

const THIS: u8 = 0;
const PEER: u8 = 1;

#[derive(Clone, Copy, PartialEq, Eq)]
enum Policy {
    Managed,
    FullJitter,
    Poll,
    Kept,
}

/// Stores a row of this number; returns when it is durable and the file is free.
type Write = Box<dyn FnMut(u64)>;

impl Policy {
    const ALL: [Self; 4] = [Self::Managed, Self::FullJitter, Self::Poll, Self::Kept];

    fn name(self) -> &'static str {
        match self {
            Self::Managed => "managed",
            Self::FullJitter => "open, full jitter",
            Self::Poll => "open, poll 1 ms",
            Self::Kept => "kept, no peer",
        }
    }

    fn writer(self, database: &Path, writer: u8) -> Write {
        let path = database.to_path_buf();
        match self {
            Self::Managed => {
                let settings =
                    Config { duckdb_threads: Some(1), wait_max: WAIT_MAX, ..Config::default() };
                let manager = Manager::new(settings).expect("the settings are in bounds");
                Box::new(move |number| {
                    let row = duckdb::params![writer, number];
                    let written = manager.transaction(&path, |tx| tx.execute(INSERT, row));
                    written.expect("the manager writes within the wait");
                })
            }
            Self::FullJitter => opening(database, writer, || {
                let mut backoff =
                    Backoff::new(Duration::from_millis(10), Duration::from_secs(1), WAIT_MAX);
                move || assert!(backoff.pause().is_some(), "starved for {WAIT_MAX:?}")
            }),
            Self::Poll => {
                opening(database, writer, || || std::thread::sleep(Duration::from_millis(1)))
            }
            Self::Kept => {
                let connection = open(database).expect("nobody else has the file");
                Box::new(move |number| insert(&connection, writer, number))
            }
        }
    }
}

/// A writer that opens the file for each row, and pauses while another process has it.
fn opening<P: FnMut()>(database: &Path, writer: u8, pauses: impl Fn() -> P + 'static) -> Write {
    let path = database.to_path_buf();
    Box::new(move |number| {
        let mut pause = pauses();
        let connection = loop {
            match open(&path) {
                Ok(connection) => break connection,
                Err(error) => {
                    let class = ErrorClass::of(&error.to_string());
                    assert_eq!(class, ErrorClass::FileLocked, "{error}");
                    pause();
                }
            }
        };
        insert(&connection, writer, number);
        connection.close().map_err(|(_, error)| error).expect("a committed file can be closed");
    })
}

fn open(database: &Path) -> duckdb::Result<Connection> {
    Connection::open_with_flags(database, Settings::default().threads(1)?)
}

fn insert(connection: &Connection, writer: u8, number: u64) {
    let inserted = || -> duckdb::Result<()> {
        connection.execute_batch("BEGIN")?;
        connection.execute(INSERT, duckdb::params![writer, number])?;
        connection.execute_batch("COMMIT")
    };
    inserted().expect("who has the file can write it");
}

/// One policy on a fresh file. Returns its lines of the table, none if it was filtered out.
fn bench(group: &mut BenchmarkGroup<'_, WallTime>, policy: Policy, folder: &Path) -> Vec<String> {
    let database = folder.join(format!("{}.duckdb", policy as u8));
    open(&database).and_then(|new| new.execute_batch(TABLE)).expect("a new file can be filled");
    let peer = (policy != Policy::Kept)
        .then(|| Peer::start(policy.name(), &database).expect("this program can be started again"));

    let mut write = policy.writer(&database, THIS);
    write(0); // the first starts DuckDB
    let (mut latencies, mut rows) = (Latencies::default(), 1);
    group.bench_function(policy.name(), |bencher| {
        bencher.iter_custom(|iterations| {
            latencies.sample(iterations, || {
                write(rows);
                rows += 1;
            })
        });
    });

    let stopped = peer.map(|peer| peer.stop().expect("the peer counts its rows"));
    drop(write);
    assert_stored(&database, THIS, rows);
    let mut lines = vec![format!("{:<18} this  {latencies}  rows {rows:>6}", policy.name())];
    if let Some((rows, latencies)) = stopped {
        assert_stored(&database, PEER, rows);
        lines.push(format!("{:<18} peer  {latencies}  rows {rows:>6}", ""));
    }
    lines.retain(|_| latencies.count() > 0);
    lines
}

/// Every row that the writer was told is stored is there, once.
fn assert_stored(database: &Path, writer: u8, acknowledged: u64) {
    let connection = open(database).expect("nobody has the file any more");
    let stored: (u64, u64) = connection
        .query_row(
            "SELECT count(*), count(DISTINCT number) FROM row WHERE writer = ?",
            [writer],
            |row| Ok((row.get(0)?, row.get(1)?)),
        )
        .expect("the table can be read");
    assert_eq!(stored, (acknowledged, acknowledged), "rows of writer {writer}: there, different");
}

fn main() {
    if let Some((role, database)) = peer::role() {
        let policy = Policy::ALL.into_iter().find(|policy| policy.name() == role);
        let policy = policy.expect("a peer is started by this program");
        return peer::play(policy.writer(&database, PEER));
    }
    let mut criterion = Criterion::default().configure_from_args();
    let folder =
        tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("the target can be written");
    let mut group = criterion.benchmark_group("retry_latency");
    group
        .sampling_mode(SamplingMode::Flat)
        .sample_size(SAMPLES as usize)
        .warm_up_time(ITERATION * ITERATIONS)
        .measurement_time(ITERATION * ITERATIONS * SAMPLES)
        .nresamples(10_000)
        .noise_threshold(0.10)
        .significance_level(0.01);
    let lines: Vec<String> = Policy::ALL
        .into_iter()
        .flat_map(|policy| bench(&mut group, policy, folder.path()))
        .collect();
    group.finish();
    criterion.final_summary();
    println!(
        "one durable row, each operation by itself, warm-up included; no acknowledged row was lost"
    );
    println!("{}", lines.join("\n"));
}
