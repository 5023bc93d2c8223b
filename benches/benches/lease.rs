//! Lease: what it costs to take one and give it back inside one process, when nobody else wants the file.
//!
//! | name | what is taken and given back |
//! |---|---|
//! | `write lease` | a write lease |
//! | `read lease` | a read lease, on a file that another lease holds to read |
//! | `read lease beside the writer` | the same, on a file that a write lease of this process holds |
//! | `fresh connection` | a connection cloned from one that is open, and closed |
//! | `fresh connection with a snapshot` | the same, with the read-only transaction begun that a read lease is in |
//! | `r2d2` | a connection from a pool of duckdb-rs's own manager, which asks it each time if it is well |
//! | `r2d2, unchecked` | the same without the question |
//! | `mutex` | a connection popped from a list behind a mutex, and pushed back: no pool can cost less |
//!
//! Only a lease keeps other processes out and lets them in, and only a lease and a fresh connection come clean: a pool
//! gives the next borrower the transaction and the temporary tables that the last one left.

use std::path::Path;
use std::time::Duration;

use benches::figure::{self, Target};
use benches::latencies::Average;
use benches::{policy, row};
use criterion::measurement::WallTime;
use criterion::{BenchmarkGroup, Criterion, SamplingMode};
use duckdb::{Config as Settings, DuckdbConnectionManager};
use manager::AccessMode;
use parking_lot::Mutex;

/// What is measured against.
const REFERENCE: &str = "fresh connection";
const LEASES: [&str; 3] = ["write lease", "read lease", "read lease beside the writer"];
const POOLED: u32 = 4;

/// The group of all, and what each takes on average, in seconds.
struct Group<'a> {
    criterion: BenchmarkGroup<'a, WallTime>,
    averages: Vec<(&'static str, f64)>,
}

impl<'a> Group<'a> {
    fn new(criterion: &'a mut Criterion) -> Self {
        let mut group = criterion.benchmark_group("lease");
        group
            .sampling_mode(SamplingMode::Flat)
            .sample_size(30)
            .warm_up_time(Duration::from_millis(500))
            .measurement_time(Duration::from_secs(2))
            .nresamples(10_000)
            .noise_threshold(0.10)
            .significance_level(0.01);
        Self { criterion: group, averages: Vec::new() }
    }

    /// `take` returns what it took, and dropping that gives it back.
    fn bench<T>(&mut self, name: &'static str, mut take: impl FnMut() -> T) {
        let mut average = Average::default();
        self.criterion.bench_function(name, |bencher| {
            bencher.iter_custom(|iterations| average.sample(iterations, &mut take));
        });
        self.averages.extend(average.seconds().map(|seconds| (name, seconds)));
    }

    /// Ends the group; returns the lines of its table and the ratios.
    fn finish(self) -> Vec<String> {
        self.criterion.finish();
        let of = |wanted: &str| {
            let average = self.averages.iter().find(|(name, _)| *name == wanted);
            average.map(|(_, seconds)| *seconds)
        };
        let line = |(name, seconds): &(&str, f64)| {
            let ratio = figure::ratio(Some(*seconds), of(REFERENCE));
            let ratio = ratio.map_or_else(String::new, |ratio| format!("{ratio:.3}"));
            format!("{name:<34} {:>12.3} µs   {ratio:>9}", seconds * 1e6)
        };
        let target = |lease: &&str| -> Option<String> {
            let ratio = figure::ratio(of(lease), of(REFERENCE));
            figure::line(&format!("{lease} : {REFERENCE}"), ratio, Target::AtMost(2.0))
        };
        let lines = self.averages.iter().map(line);
        lines.chain([String::new()]).chain(LEASES.iter().filter_map(target)).collect()
    }
}

fn leases(group: &mut Group<'_>, folder: &Path) {
    let [write, read, beside] = LEASES;
    let file = |name: &str| {
        let database = folder.join(name);
        row::create(&database, 1);
        database
    };
    let manager = policy::manager();

    let database = file("write.duckdb");
    group.bench(write, || manager.write(&database).expect("nobody else wants it"));
    let database = file("read.duckdb");
    let holder = manager.read(&database).expect("nobody else wants it").unbind();
    group.bench(read, || manager.read(&database).expect("readers share"));
    drop(holder);
    let database = file("beside.duckdb");
    let holder = manager.write(&database).expect("nobody else wants it").unbind();
    group.bench(beside, || manager.read(&database).expect("one's own writer is shared"));
    drop(holder);
    policy::close(&manager);
}

fn alternatives(group: &mut Group<'_>, folder: &Path) -> duckdb::Result<()> {
    let database = folder.join("plain.duckdb");
    row::create(&database, 1);
    let root = row::open(&database, AccessMode::ReadWrite)?;
    group.bench(REFERENCE, || root.try_clone().expect("the instance is well"));
    group.bench("fresh connection with a snapshot", || {
        let fresh = root.try_clone().expect("the instance is well");
        fresh.execute_batch("BEGIN TRANSACTION READ ONLY").expect("no transaction is open");
        fresh
    });
    let connections: Vec<_> =
        (0..POOLED).map(|_| root.try_clone()).collect::<duckdb::Result<_>>()?;
    let connections = Mutex::new(connections);
    group.bench("mutex", || {
        let taken = connections.lock().pop();
        connections.lock().extend(taken);
    });
    drop(connections);
    row::close(root);

    for (name, is_checked) in [("r2d2", true), ("r2d2, unchecked", false)] {
        let database = folder.join(name);
        row::create(&database, 1);
        let settings = Settings::default().threads(1)?;
        let manager = DuckdbConnectionManager::file_with_flags(database, settings)?;
        let pool = r2d2::Pool::builder().max_size(POOLED).test_on_check_out(is_checked);
        let pool = pool.build(manager).expect("an open instance gives connections");
        group.bench(name, || pool.get().expect("nobody else takes one"));
    }
    Ok(())
}

fn main() {
    let mut criterion = Criterion::default().configure_from_args();
    let folder =
        tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("the target can be written");
    let mut group = Group::new(&mut criterion);
    leases(&mut group, folder.path());
    alternatives(&mut group, folder.path()).expect("new files can be opened");
    let lines = group.finish();
    criterion.final_summary();
    println!("taken and given back; the last column is the ratio to `{REFERENCE}`");
    println!("{}", lines.join("\n"));
}
