//! Retry latency: two processes that both want to write one file, all the time.
//!
//! Each of the two gets a row into the file, again and again: get hold of the file, BEGIN, INSERT, COMMIT, let go of
//! it, and begin anew at once. Measured is the whole of that, where `contention` measures the wait alone. What differs
//! is how they take turns: `managed`, `open, full jitter` and `open, poll 1 ms` of [`benches::policy`], and beside them
//! `one process keeps the file`, the floor without a peer.
//!
//! Read the lines of both processes, and their rows: a writer that starves the other has fine latencies of its
//! own, and what Criterion prints is one of the two. Where they take turns fairly, the median holds one operation
//! of the other. A row is never written faster than by who keeps the file, as each hand-over is a checkpoint.
//!
//! After each policy the table is compared with what the two were told is stored; a row that is missing or there
//! twice is a panic.

use std::path::Path;
use std::time::Instant;

use benches::latencies::{ITERATION, Latencies};
use benches::peer::{self, Peer};
use benches::policy::{Client, Policy, WAIT_MAX, Wait};
use benches::row;
use criterion::measurement::WallTime;
use criterion::{BenchmarkGroup, Criterion, SamplingMode};

const SAMPLES: u32 = 20;
/// Criterion's iterations in a sample, of 20 ms each.
const ITERATIONS: u32 = 25;
const POLICIES: [Policy; 4] = [Policy::Managed, Policy::FullJitter, Policy::Poll, Policy::Kept];

const THIS: u8 = 0;
const PEER: u8 = 1;

/// Stores the next row; returns when it is durable and the file is free.
fn write(client: &mut Client) {
    let wait = client.write(Instant::now() + WAIT_MAX);
    assert!(matches!(wait, Wait::Over(_)), "starved: {wait:?}");
}

/// One policy on a fresh file. Returns its lines of the table, none if it was filtered out.
fn bench(group: &mut BenchmarkGroup<'_, WallTime>, policy: Policy, folder: &Path) -> Vec<String> {
    let database = folder.join(format!("{}.duckdb", policy as u8));
    row::create(&database, 0);
    let peer = (policy != Policy::Kept).then(|| {
        Peer::start(policy.name(), &database, PEER).expect("this program can be started again")
    });

    let mut client = policy.client(&database, THIS);
    write(&mut client); // the first starts DuckDB
    let mut latencies = Latencies::default();
    group.bench_function(policy.name(), |bencher| {
        bencher.iter_custom(|iterations| latencies.sample(iterations, || write(&mut client)));
    });

    let stopped = peer.map(|peer| peer.stop().expect("the peer counts its rows"));
    let rows = client.rows();
    client.close();
    row::assert_stored(&database, THIS, rows);
    let mut lines = vec![format!("{:<26} this  {latencies}  rows {rows:>6}", policy.name())];
    if let Some((rows, latencies)) = stopped {
        row::assert_stored(&database, PEER, rows);
        lines.push(format!("{:<26} peer  {latencies}  rows {rows:>6}", ""));
    }
    lines.retain(|_| latencies.count() > 0);
    lines
}

fn main() {
    if let Some(role) = peer::role() {
        let policy = Policy::named(&role.name).expect("a peer is started by this program");
        let mut client = policy.client(&role.database, role.number);
        peer::play(|| write(&mut client));
        return client.close();
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
    let lines: Vec<String> =
        POLICIES.into_iter().flat_map(|policy| bench(&mut group, policy, folder.path())).collect();
    group.finish();
    criterion.final_summary();
    println!(
        "one durable row, each operation by itself, warm-up included; no acknowledged row was lost"
    );
    println!("{}", lines.join("\n"));
}
