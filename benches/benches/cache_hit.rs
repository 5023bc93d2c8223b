//! Cache hits: artefacts that are computed already, found one by one and 158 at a time.
//!
//! | name | what it does for each call |
//! |---|---|
//! | `store` | [`FeatureStore::get`]: compares the generation, looks up in the mirror, gives an artefact that lives on its own |
//! | `reader` | [`FeatureStore::reader`]: the same comparison and look-up, and borrows what it finds |
//! | `DuckDB, prepared` | a prepared statement on a connection that is kept, through duckdb-rs; the table has no index |
//! | `DuckDB, prepared, primary key` | the same on a table whose key is its primary key |
//! | `LMDB` | looks up in a read-only transaction that is kept open, and borrows |
//! | `hash map` | the floor: a standard map of 128-bit keys with a hasher as cheap as the store's; one load of a count in shared memory before; borrows |
//! | `hash map, std hasher` | the same with the hasher that a standard map has |
//! | `hash map, owned` | the cheap one, but what it finds is an `Arc`, cloned and dropped, as an owned artefact has to be |
//!
//! Each reads the first byte of what it finds. The keys are drawn by Zipf's law, 0.99, from 10,000 artefacts of 420
//! bytes; all of them are there, and all of them inline. The contenders take turns. The tables of the kept connection
//! are not compressed: left to itself, DuckDB decides from a random sample of the bytes, differently from run to run.
//!
//! Batches have 158 different keys: `store` by [`FeatureStore::get_many`]; `store, by SQL` by the same where a mirror is
//! not allowed, with a lease for each call; `… one by one` look the keys up by themselves.
//!
//! **Where it is unfair.** To the others: none of them can tell that it is stale except the map, and a kept connection
//! or transaction sees nothing that was written since it began. To the store: it counts every hit (for eviction and
//! for what it has saved), and what it gives stays valid for as long as the caller likes; what the reader, the map and LMDB
//! lend does not, and the last two count nothing.

use std::collections::HashMap;
use std::hash::{BuildHasher, BuildHasherDefault, Hasher, RandomState};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use benches::arguments::Arguments;
use benches::contest::Contest;
use benches::figure::{self, Target};
use benches::generation::Generation;
use benches::latencies::Latencies;
use benches::workload::{self, ARTEFACTS, Artefact, BATCH};
use lmdb::{DatabaseFlags, EnvironmentFlags, Transaction, WriteFlags};
use manager::duckdb::{self, Config as Settings, Connection, Statement, params_from_iter};
use manager::{Config, FeatureSpec, FeatureStore, Key, Lookup, Manager, Publication, StoreOptions};

const DUCKDB: &str = "DuckDB, prepared";
const INDEXED: &str = "DuckDB, prepared, primary key";
const STORE: &str = "store";
const READER: &str = "reader";
const LMDB: &str = "LMDB";
const MAP: &str = "hash map";
const STD_MAP: &str = "hash map, std hasher";
const OWNED_MAP: &str = "hash map, owned";
/// Artefacts per publication.
const PUBLISHED: usize = 2_000;
/// Draws after which the keys are asked for again from the first.
const DRAWS: usize = 1 << 16;
const BATCHES: usize = 64;
/// Look-ups that are timed together beside a publisher.
const CHUNK: u64 = 64;
const ROUNDS: u32 = 31;
const TURN: Duration = Duration::from_millis(10);

/// A key is a hash already; eight bytes of it will do.
#[derive(Default)]
struct Cheap(u64);

impl Hasher for Cheap {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        if let Some(first) = bytes.first_chunk() {
            self.0 = u64::from_le_bytes(*first);
        }
    }

    fn write_u128(&mut self, number: u128) {
        self.0 = number as u64;
    }
}

/// A map that is looked up in only while the count is the one that it was made at.
struct Map<S> {
    generation: Generation,
    made_at: u64,
    entries: HashMap<u128, Vec<u8>, S>,
}

impl<S: BuildHasher + Default> Map<S> {
    fn fill(path: &Path, artefacts: &[Artefact]) -> Self {
        let generation = Generation::create(path).expect("the target can be written");
        let pairs = artefacts.iter().map(|of| (number(of.key()), of.payload.clone()));
        Self { made_at: generation.now(), generation, entries: pairs.collect() }
    }

    fn get(&self, key: Key) -> Option<&[u8]> {
        if self.generation.now() != self.made_at {
            return None;
        }
        self.entries.get(&number(key)).map(Vec::as_slice)
    }
}

/// The contenders, all filled with the same artefacts.
struct Contenders {
    manager: Manager,
    store: FeatureStore,
    /// The same one without a mirror.
    by_sql: FeatureStore,
    plain: Connection,
    lmdb: lmdb::Environment,
    map: Map<BuildHasherDefault<Cheap>>,
    std_map: Map<RandomState>,
}

impl Contenders {
    fn fill(folder: &Path, artefacts: &[Artefact]) -> Result<Self, manager::Error> {
        let manager = Manager::new(Config { duckdb_threads: Some(1), ..Config::default() })?;
        let database = folder.join("store.duckdb");
        let store = FeatureStore::open(&manager, &database)?;
        for part in artefacts.chunks(PUBLISHED) {
            let specs: Vec<FeatureSpec> = part.iter().map(Artefact::spec).collect();
            let payloads = part.iter().map(|artefact| artefact.payload.clone());
            let publications = specs.iter().zip(payloads);
            store.publish(
                publications.map(|(spec, bytes)| Publication::new(spec, bytes)).collect(),
            )?;
        }
        let unmirrored = StoreOptions { mirror_bytes_max: 0, ..StoreOptions::default() };
        let by_sql = FeatureStore::open_with(&manager, &database, unmirrored)?;
        Ok(Self {
            manager,
            store,
            by_sql,
            plain: fill_plain(&folder.join("plain.duckdb"), artefacts)?,
            lmdb: fill_lmdb(&folder.join("lmdb"), artefacts).expect("a new folder can be filled"),
            map: Map::fill(&folder.join("generation"), artefacts),
            std_map: Map::fill(&folder.join("generation of std"), artefacts),
        })
    }

    fn lmdb_table(&self) -> lmdb::Database {
        self.lmdb.open_db(None).expect("it was filled")
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

fn fill_lmdb(folder: &Path, artefacts: &[Artefact]) -> lmdb::Result<lmdb::Environment> {
    std::fs::create_dir(folder).expect("the target can be written");
    let mut options = lmdb::Environment::new();
    options.set_map_size(64 << 20).set_flags(EnvironmentFlags::NO_TLS);
    let environment = options.open(folder)?;
    let table = environment.create_db(None, DatabaseFlags::empty())?;
    let mut writing = environment.begin_rw_txn()?;
    for artefact in artefacts {
        writing.put(table, artefact.key().as_bytes(), &artefact.payload, WriteFlags::empty())?;
    }
    writing.commit()?;
    Ok(environment)
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

/// The first byte of what a store finds.
fn first_byte(store: &FeatureStore, key: Key) -> u8 {
    let Ok(Lookup::Hit(artefact)) = store.get(key) else { panic!("it is published") };
    artefact.bytes().expect("it is whole")[0]
}

/// Numbers, again from the first after the last.
fn around<'a, T>(items: &'a [T]) -> impl FnMut() -> &'a T {
    let mut items = items.iter().cycle();
    move || items.next().expect("a cycle has no end")
}

fn one_key(arguments: &Arguments, contenders: &Contenders, drawn: &[Key]) -> Vec<String> {
    let prepare = |table| {
        let sql = format!("SELECT payload FROM {table} WHERE key = ?");
        contenders.plain.prepare(&sql).expect("the table is there")
    };
    let (mut unindexed, mut indexed) = (prepare("unindexed"), prepare("indexed"));
    let reading = contenders.lmdb.begin_ro_txn().expect("there is a slot for a reader");
    let table = contenders.lmdb_table();
    let in_lmdb = |key: Key| reading.get(table, key.as_bytes()).expect("it was put in");
    for key in &drawn[..BATCH] {
        let expected = contenders.map.get(*key).expect("it was put in");
        let found = contenders.store.get(*key).ok().and_then(Lookup::hit).expect("it is there");
        assert_eq!(found.bytes().expect("it is whole"), expected);
        assert_eq!(find_one(&mut unindexed, *key), expected);
        assert_eq!(find_one(&mut indexed, *key), expected);
        assert_eq!(in_lmdb(*key), expected);
        assert_eq!(contenders.std_map.get(*key), Some(expected));
    }

    let pairs = contenders.map.entries.iter().map(|(key, bytes)| (*key, bytes.as_slice().into()));
    let owned: HashMap<u128, Arc<[u8]>, BuildHasherDefault<Cheap>> = pairs.collect();
    let mut contest = Contest::default();
    let mut key = around(drawn);
    contest.add(STORE, move || first_byte(&contenders.store, *key()));
    let (mut key, mut reader) = (around(drawn), contenders.store.reader());
    contest.add(READER, move || {
        let found = reader.get(*key()).expect("the store can be read").expect("it is there");
        found.bytes().expect("it is whole")[0]
    });
    let mut key = around(drawn);
    contest.add(MAP, move || contenders.map.get(*key()).expect("it is there")[0]);
    let mut key = around(drawn);
    contest.add(STD_MAP, move || contenders.std_map.get(*key()).expect("it is there")[0]);
    let mut key = around(drawn);
    contest.add(OWNED_MAP, move || Arc::clone(&owned[&number(*key())])[0]);
    let mut key = around(drawn);
    contest.add(LMDB, move || in_lmdb(*key())[0]);
    let mut key = around(drawn);
    contest.add(DUCKDB, move || find_one(&mut unindexed, *key())[0]);
    let mut key = around(drawn);
    contest.add(INDEXED, move || find_one(&mut indexed, *key())[0]);
    let times = contest.run(arguments, ROUNDS, TURN);
    let mut lines = titled("one key, one thread: ns", times.lines(1, STORE));
    for own in [STORE, READER] {
        let faster = |other, target| {
            figure::line(&format!("{other} : {own}"), times.ratio(other, own), target)
        };
        lines.extend(faster(DUCKDB, Target::AtLeast(2_000.0)));
        lines.extend(faster(LMDB, Target::AtLeast(3.0)));
        let slower = |other, target| {
            figure::line(&format!("{own} : {other}"), times.ratio(own, other), target)
        };
        lines.extend(slower(MAP, Target::AtMost(3.0)));
        for other in [STD_MAP, OWNED_MAP] {
            lines.extend(slower(other, Target::ForComparison));
        }
    }
    lines
}

/// Runs a call so many times in each of two threads at once.
fn in_two_threads(calls: u64, drawn: &[Key], call: impl Fn(Key) -> u8 + Sync) -> Duration {
    let run = |begin: usize| {
        let mut keys = drawn.iter().cycle().skip(begin);
        for _ in 0..calls {
            std::hint::black_box(call(*keys.next().expect("a cycle has no end")));
        }
    };
    let begin = Instant::now();
    std::thread::scope(|scope| {
        scope.spawn(|| run(DRAWS / 2));
        run(0);
    });
    begin.elapsed()
}

fn two_threads(arguments: &Arguments, contenders: &Contenders, drawn: &[Key]) -> Vec<String> {
    let (store, map) = (&contenders.store, &contenders.map);
    let mut contest = Contest::default();
    contest.add_timed(STORE, |calls| in_two_threads(calls, drawn, |key| first_byte(store, key)));
    contest.add_timed(MAP, |calls| {
        in_two_threads(calls, drawn, |key| map.get(key).expect("it is there")[0])
    });
    let times = contest.run(arguments, ROUNDS, TURN);
    titled("one key, two threads: ns a call of one of them", times.lines(1, STORE))
}

/// One thread looks up without pause while another store, with a mirror of its own, publishes ten times a second.
fn beside_a_publisher(
    arguments: &Arguments,
    contenders: &Contenders,
    drawn: &[Key],
) -> Vec<String> {
    let other = FeatureStore::open(&contenders.manager, contenders.store.path());
    let (other, store) = (other.expect("it is a store"), &contenders.store);
    let specs: Vec<FeatureSpec> = (0..arguments.count(40))
        .map(|number| FeatureSpec::new("fresh", 1).entity(number.to_string()).range(0..21))
        .collect();
    let (published, is_over) = (AtomicUsize::new(0), AtomicBool::new(false));
    let (mut refreshes, mut stale, mut hits) = (Latencies::default(), 0, 0_u64);
    let begin = Instant::now();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for spec in &specs {
                let publication = Publication::new(spec, vec![7; workload::PAYLOAD_BYTES]);
                other.publish(vec![publication]).expect("nobody is in the way");
                published.fetch_add(1, Ordering::SeqCst);
                std::thread::sleep(Duration::from_millis(100));
            }
            is_over.store(true, Ordering::SeqCst);
        });
        let (mut key, mut seen, mut slowest) = (around(drawn), 0, Duration::ZERO);
        while !is_over.load(Ordering::Relaxed) {
            let now = published.load(Ordering::SeqCst);
            if now > seen {
                let key = specs[now - 1].key();
                stale += u32::from(store.get(key).is_ok_and(|found| found.is_miss()));
                refreshes.record(std::mem::take(&mut slowest));
                seen = now;
            }
            let begin = Instant::now();
            for _ in 0..CHUNK {
                std::hint::black_box(first_byte(store, *key()));
            }
            slowest = slowest.max(begin.elapsed());
            hits += CHUNK;
        }
    });
    let rate = hits as f64 / begin.elapsed().as_secs_f64();
    vec![
        "\nbeside a publisher of 10 a second (another store, the same process)".to_owned(),
        format!("{:.2} million hits a second; {stale} of {} stale", rate / 1e6, specs.len()),
        format!(
            "the slowest {CHUNK} look-ups between two publishes, the refresh in them: {refreshes}"
        ),
    ]
}

const ONE_BY_ONE: &str = "DuckDB, prepared, one by one";
const STORE_SQL: &str = "store, by SQL";
const STORE_SQL_ONE_BY_ONE: &str = "store, by SQL, one by one";

fn many_keys(arguments: &Arguments, contenders: &Contenders, keys: &[Key]) -> Vec<String> {
    let batches: Vec<Vec<Key>> = workload::batches(keys.len(), BATCHES)
        .iter()
        .map(|batch| batch.iter().map(|&item| keys[item]).collect())
        .collect();
    let prepare = |sql: &str| contenders.plain.prepare(sql).expect("the table is there");
    let places = vec!["?"; BATCH].join(", ");
    let mut unindexed =
        prepare(&format!("SELECT key, payload FROM unindexed WHERE key IN ({places})"));
    let mut point = prepare("SELECT payload FROM unindexed WHERE key = ?");
    let stores = [(STORE, &contenders.store), (STORE_SQL, &contenders.by_sql)];
    for batch in &batches {
        for (name, store) in stores {
            let found = store.get_many(batch).expect("the store can be read");
            let all_hit = found.iter().all(|lookup| matches!(lookup, Lookup::Hit(_)));
            assert!(all_hit && found.len() == BATCH, "{name} finds all of a batch");
        }
        assert_eq!(find_many(&mut unindexed, batch).len(), BATCH);
    }

    let reading = contenders.lmdb.begin_ro_txn().expect("there is a slot for a reader");
    let table = contenders.lmdb_table();
    let in_lmdb = &|key: &Key| reading.get(table, key.as_bytes());
    let mut contest = Contest::default();
    for (name, store) in stores {
        let mut batch = around(&batches);
        contest.add(name, move || store.get_many(batch()).expect("the store can be read"));
    }
    let mut batch = around(&batches);
    contest.add(MAP, move || -> Vec<&[u8]> {
        batch().iter().filter_map(|&key| contenders.map.get(key)).collect()
    });
    let mut batch = around(&batches);
    contest.add(LMDB, move || -> Vec<u8> {
        batch().iter().filter_map(|key| Some(in_lmdb(key).ok()?[0])).collect()
    });
    let mut batch = around(&batches);
    contest.add(DUCKDB, move || find_many(&mut unindexed, batch()));
    let mut batch = around(&batches);
    contest.add(ONE_BY_ONE, move || -> Vec<_> {
        batch().iter().map(|&key| find_one(&mut point, key)).collect()
    });
    let mut batch = around(&batches);
    contest.add(STORE_SQL_ONE_BY_ONE, move || -> Vec<_> {
        batch().iter().map(|&key| contenders.by_sql.get(key).expect("it can be read")).collect()
    });
    let times = contest.run(arguments, ROUNDS / 2, TURN);
    let mut lines = titled("158 keys: ns a call", times.lines(1, STORE));
    let micros = times.of(STORE).map(|seconds| seconds * 1e6);
    lines.extend(figure::line("store, µs", micros, Target::AtMost(10.0)));
    for one_by_one in [STORE_SQL_ONE_BY_ONE, ONE_BY_ONE] {
        let ratio = times.ratio(one_by_one, STORE_SQL);
        let names = format!("{one_by_one} : {STORE_SQL}");
        lines.extend(figure::line(&names, ratio, Target::AtLeast(10.0)));
    }
    lines
}

fn titled(title: &str, lines: Vec<String>) -> Vec<String> {
    let head = format!("\n{title:<46} {:>13} {:>13} {:>11}", "median", "best", ": store");
    [head].into_iter().chain(lines).collect()
}

fn main() {
    let arguments = Arguments::of_process();
    let folder =
        tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("the target can be written");
    let artefacts = workload::artefacts();
    let keys: Vec<Key> = artefacts.iter().map(Artefact::key).collect();
    let drawn: Vec<Key> = workload::zipf(keys.len()).take(DRAWS).map(|item| keys[item]).collect();
    let contenders = Contenders::fill(folder.path(), &artefacts).expect("new files can be filled");

    println!("{ARTEFACTS} artefacts of {} bytes", workload::PAYLOAD_BYTES);
    let mut lines = Vec::new();
    if arguments.selects("cache_hit/one key") {
        lines.extend(one_key(&arguments, &contenders, &drawn));
        lines.extend(two_threads(&arguments, &contenders, &drawn));
    }
    if arguments.selects("cache_hit/158 keys") {
        lines.extend(many_keys(&arguments, &contenders, &keys));
    }
    if arguments.selects("cache_hit/beside a publisher") {
        lines.extend(beside_a_publisher(&arguments, &contenders, &drawn));
    }
    println!("{}", lines.join("\n"));
}
