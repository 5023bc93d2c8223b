//! Cache-hit throughput: artefacts found per second, one thread, nothing else going on.
//!
//! | name | what it does for each call |
//! |---|---|
//! | `FeatureStore` | takes a read lease (gate, attach), looks up, verifies the checksum, gives it back (detach) |
//! | `kept, prepared` | runs a prepared statement on a connection that is kept; the table has no index |
//! | `kept, prepared, primary key` | the same on a table whose key is its primary key |
//! | `hash map` | the floor: looks a 128-bit key up in a standard map, and borrows what it finds |
//!
//! One key is looked up by `= ?`, 158 different keys by `IN (?, …)`. The keys are drawn by Zipf's law, 0.99, from
//! 10,000 artefacts of 420 bytes; all of them are there. The tables of the kept connection are not compressed:
//! left to itself, DuckDB decides from a random sample of the bytes, differently from run to run, and a look-up
//! in what it compresses takes up to four times as long. The store's table is as the store makes it.
//!
//! **The comparison is unfair to the store, on purpose.** A kept connection keeps the file from every writer
//! of every other process, which is the trouble that this project is about; the store leaves the file free between
//! two calls and pays for that with each call. What it pays is the ratio in the last column. A mirror in
//! memory that spares it this is not built yet; the hash map shows how much there is to gain.

use std::collections::HashMap;
use std::path::Path;
use std::time::Duration;

use benches::latencies::Average;
use benches::workload::{self, ARTEFACTS, Artefact, BATCH};
use criterion::measurement::WallTime;
use criterion::{BenchmarkGroup, Criterion, SamplingMode, Throughput};
use manager::duckdb::{self, Config as Settings, Connection, Statement, params_from_iter};
use manager::{Config, FeatureSpec, FeatureStore, Key, Lookup, Manager, Publication};

/// What is measured against.
const REFERENCE: &str = "kept, prepared";
/// Artefacts per publication.
const PUBLISHED: usize = 2_000;
/// Draws after which the keys are asked for again from the first.
const DRAWS: usize = 1 << 16;
const BATCHES: usize = 64;

/// The contenders, all filled with the same artefacts.
struct Contenders {
    store: FeatureStore,
    plain: Connection,
    map: HashMap<u128, Vec<u8>>,
}

impl Contenders {
    fn fill(folder: &Path, artefacts: &[Artefact]) -> Result<Self, manager::Error> {
        let manager = Manager::new(Config { duckdb_threads: Some(1), ..Config::default() })?;
        let store = FeatureStore::open(&manager, folder.join("store.duckdb"))?;
        for part in artefacts.chunks(PUBLISHED) {
            let specs: Vec<FeatureSpec> = part.iter().map(Artefact::spec).collect();
            let payloads = part.iter().map(|artefact| artefact.payload.clone());
            let publications = specs.iter().zip(payloads);
            store.publish(
                publications.map(|(spec, bytes)| Publication::new(spec, bytes)).collect(),
            )?;
        }
        let plain = fill_plain(&folder.join("plain.duckdb"), artefacts)?;
        let map = artefacts
            .iter()
            .map(|artefact| (number(artefact.key()), artefact.payload.clone()))
            .collect();
        Ok(Self { store, plain, map })
    }
}

fn fill_plain(database: &Path, artefacts: &[Artefact]) -> duckdb::Result<Connection> {
    let connection = Connection::open_with_flags(database, Settings::default().threads(1)?)?;
    connection.execute_batch(
        "CREATE TABLE unindexed (
             key BLOB NOT NULL USING COMPRESSION uncompressed,
             payload BLOB NOT NULL USING COMPRESSION uncompressed);
         CREATE TABLE indexed (
             key BLOB PRIMARY KEY USING COMPRESSION uncompressed,
             payload BLOB NOT NULL USING COMPRESSION uncompressed);",
    )?;
    for table in ["unindexed", "indexed"] {
        let mut appender = connection.appender(table)?;
        for artefact in artefacts {
            appender.append_row(duckdb::params![
                artefact.key().as_bytes().as_slice(),
                artefact.payload
            ])?;
        }
        appender.flush()?;
    }
    connection.execute_batch("CHECKPOINT")?;
    Ok(connection)
}

fn number(key: Key) -> u128 {
    u128::from_le_bytes(*key.as_bytes())
}

fn find_one(statement: &mut Statement<'_>, key: Key) -> Vec<u8> {
    statement
        .query_row([key.as_bytes().as_slice()], |row| row.get(0))
        .expect("the artefact is there")
}

fn find_many(statement: &mut Statement<'_>, keys: &[Key]) -> Vec<(Vec<u8>, Vec<u8>)> {
    let keys = params_from_iter(keys.iter().map(|key| key.as_bytes().as_slice()));
    let rows = statement.query_map(keys, |row| Ok((row.get(0)?, row.get(1)?)));
    let found = rows.and_then(Iterator::collect::<duckdb::Result<Vec<_>>>);
    found.expect("the table can be read")
}

/// A group of benches on calls of so many keys, and the keys per second of each.
struct Group<'a> {
    criterion: BenchmarkGroup<'a, WallTime>,
    keys: usize,
    rates: Vec<(&'static str, f64)>,
}

impl<'a> Group<'a> {
    fn new(criterion: &'a mut Criterion, name: &str, keys: usize) -> Self {
        let mut group = criterion.benchmark_group(name);
        group
            .throughput(Throughput::Elements(keys as u64))
            .sampling_mode(SamplingMode::Flat)
            .sample_size(30)
            .warm_up_time(Duration::from_millis(500))
            .measurement_time(Duration::from_secs(3))
            .nresamples(10_000)
            .noise_threshold(0.10)
            .significance_level(0.01);
        Self { criterion: group, keys, rates: Vec::new() }
    }

    fn bench<T>(&mut self, name: &'static str, mut call: impl FnMut() -> T) {
        let mut average = Average::default();
        self.criterion.bench_function(name, |bencher| {
            bencher.iter_custom(|iterations| average.sample(iterations, &mut call));
        });
        let rate = average.seconds().map(|seconds| (name, self.keys as f64 / seconds));
        self.rates.extend(rate);
    }

    /// Ends the group; returns its lines of the table.
    fn finish(self) -> Vec<String> {
        self.criterion.finish();
        let reference =
            self.rates.iter().find(|(name, _)| *name == REFERENCE).map(|(_, rate)| *rate);
        let line = |(name, rate): &(&str, f64)| {
            let ratio =
                reference.map_or_else(String::new, |reference| format!("{:.2}", rate / reference));
            format!("{:>3} per call   {name:<28} {rate:>12.0} keys/s   {ratio:>9}", self.keys)
        };
        self.rates.iter().map(line).collect()
    }
}

fn one_key(criterion: &mut Criterion, contenders: &Contenders, keys: &[Key]) -> Vec<String> {
    let drawn: Vec<Key> = workload::zipf(keys.len()).take(DRAWS).map(|item| keys[item]).collect();
    let next = || {
        let mut drawn = drawn.iter().copied().cycle();
        move || drawn.next().expect("a cycle has no end")
    };
    let prepare = |table| {
        let sql = format!("SELECT payload FROM {table} WHERE key = ?");
        contenders.plain.prepare(&sql).expect("the table is there")
    };
    let (mut unindexed, mut indexed) = (prepare("unindexed"), prepare("indexed"));
    for key in &drawn[..BATCH] {
        let expected = &contenders.map[&number(*key)];
        let found = contenders.store.get(*key).expect("the store can be read");
        let found = found.hit().expect("it is published");
        assert_eq!(found.bytes().expect("it is whole"), expected.as_slice());
        assert_eq!(&find_one(&mut unindexed, *key), expected);
        assert_eq!(&find_one(&mut indexed, *key), expected);
    }

    let mut group = Group::new(criterion, "cache_hit/one key", 1);
    let mut key = next();
    group.bench("FeatureStore", || contenders.store.get(key()).expect("the store can be read"));
    let mut key = next();
    group.bench(REFERENCE, || find_one(&mut unindexed, key()));
    let mut key = next();
    group.bench("kept, prepared, primary key", || find_one(&mut indexed, key()));
    let mut key = next();
    group.bench("hash map", || contenders.map[&number(key())].as_ptr());
    group.finish()
}

fn many_keys(criterion: &mut Criterion, contenders: &Contenders, keys: &[Key]) -> Vec<String> {
    let batches: Vec<Vec<Key>> = workload::batches(keys.len(), BATCHES)
        .iter()
        .map(|batch| batch.iter().map(|&item| keys[item]).collect())
        .collect();
    let next = || {
        let mut batches = batches.iter().cycle();
        move || batches.next().expect("a cycle has no end").as_slice()
    };
    let prepare = |table| {
        let places = vec!["?"; BATCH].join(", ");
        let sql = format!("SELECT key, payload FROM {table} WHERE key IN ({places})");
        contenders.plain.prepare(&sql).expect("the table is there")
    };
    let (mut unindexed, mut indexed) = (prepare("unindexed"), prepare("indexed"));
    for batch in &batches {
        let found = contenders.store.get_many(batch).expect("the store can be read");
        let all_hit = found.iter().all(|lookup| matches!(lookup, Lookup::Hit(_)));
        assert!(all_hit && found.len() == BATCH, "the store finds all of a batch");
        assert_eq!(find_many(&mut unindexed, batch).len(), BATCH);
        assert_eq!(find_many(&mut indexed, batch).len(), BATCH);
    }

    let mut group = Group::new(criterion, "cache_hit/158 keys", BATCH);
    let mut batch = next();
    group.bench("FeatureStore", || {
        contenders.store.get_many(batch()).expect("the store can be read")
    });
    let mut batch = next();
    group.bench(REFERENCE, || find_many(&mut unindexed, batch()));
    let mut batch = next();
    group.bench("kept, prepared, primary key", || find_many(&mut indexed, batch()));
    let mut batch = next();
    group.bench("hash map", || -> Vec<&[u8]> {
        batch().iter().map(|&key| contenders.map[&number(key)].as_slice()).collect()
    });
    group.finish()
}

fn main() {
    let mut criterion = Criterion::default().configure_from_args();
    let folder =
        tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("the target can be written");
    let artefacts = workload::artefacts();
    let keys: Vec<Key> = artefacts.iter().map(Artefact::key).collect();
    let contenders = Contenders::fill(folder.path(), &artefacts).expect("new files can be filled");

    let mut lines = one_key(&mut criterion, &contenders, &keys);
    lines.extend(many_keys(&mut criterion, &contenders, &keys));
    criterion.final_summary();
    println!(
        "{ARTEFACTS} artefacts; the last column is the ratio to `{REFERENCE}`, warm-up included"
    );
    println!(
        "the store takes a lease for each call and leaves the file free between calls; a kept connection does not"
    );
    println!("{}", lines.join("\n"));
}
