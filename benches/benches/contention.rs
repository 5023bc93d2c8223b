//! Contention: durable one-row writes from 4 and from 6 processes that all write without pause.
//!
//! The policies are those of [`benches::policy`]. They take turns in four rounds, so that what disturbs the machine for a
//! while disturbs all of them. In each round a policy starts with a fresh file and works for 2 seconds, the floor for one
//! and in one process, beside either number of processes; each process gets hold of the file, stores one row
//! durably, lets go of the file, and begins anew at once.
//!
//! | column | what it is |
//! |---|---|
//! | `writes/s` | of all processes together |
//! | `wait` | from wanting to write until having the file: until the manager calls the closure, or the file is open |
//! | `worst` | the 99th percentile of that process in which it is highest |
//! | `waits` | how many there were; those that were still on at the end count with the length that they had |
//! | `rows of one` | of the process that stored the fewest, and of the one that stored the most |
//!
//! Most waits of a policy that starves some processes are those of the others, and so are its percentiles: read the
//! worst process, the maximum and the rows.
//!
//! After each policy the table is compared with what its processes were told is stored; a row that is missing or there
//! twice is a panic.
//!
//! ```console
//! $ cargo bench --bench contention                    # about 100 seconds
//! $ cargo bench --bench contention -- 6/managed       # the part of it whose names contain this
//! ```

use std::path::Path;
use std::time::{Duration, Instant};

use benches::arguments::Arguments;
use benches::crew::{self, Crew, Outcome};
use benches::figure::{self, Target};
use benches::latencies::Latencies;
use benches::peer;
use benches::policy::{Policy, WAIT_MAX};
use benches::row;

const PROCESSES: [u8; 2] = [4, 6];
const ROUNDS: u32 = 4;
/// Of one policy in one round.
const LENGTH: Duration = Duration::from_secs(2);
const LENGTH_OF_FLOOR: Duration = Duration::from_secs(1);

/// What one policy came to.
struct Figures {
    policy: Policy,
    /// Beside how many it stands; the floor itself is one.
    processes: u8,
    rate: f64,
    waits: Latencies,
    worst_p99: Duration,
    rows: (u64, u64),
}

impl Figures {
    fn new(policy: Policy, processes: u8, outcomes: &[Outcome]) -> Self {
        let mut waits = Latencies::default();
        for outcome in outcomes {
            waits.merge(&outcome.waits);
        }
        let rows = || outcomes.iter().map(|outcome| outcome.operations);
        Self {
            policy,
            processes,
            rate: outcomes.iter().map(Outcome::rate).sum(),
            waits,
            worst_p99: outcomes.iter().map(|it| it.waits.quantile(0.99)).max().unwrap_or_default(),
            rows: (rows().min().unwrap_or(0), rows().max().unwrap_or(0)),
        }
    }

    fn p99(&self) -> Duration {
        self.waits.quantile(0.99)
    }

    fn line(&self) -> String {
        let Self { policy, processes, rate, waits, worst_p99, rows: (fewest, most) } = self;
        let wait = if *policy == Policy::Kept {
            "(no waits)".to_owned()
        } else {
            let (p50, p99, max) = (waits.quantile(0.5), self.p99(), waits.max());
            format!("{p50:>9.1?} {p99:>9.1?} {max:>9.1?} {worst_p99:>9.1?} {:>7}", waits.count())
        };
        let rows = format!("{fewest} to {most}");
        format!("{processes:>9}  {:<27} {rate:>9.1} {wait:>47}   {rows}", policy.name())
    }
}

/// One policy on a fresh file, for one round. Adds what each process did to what it did before.
fn measure(cell: &mut Cell, arguments: &Arguments, folder: &Path) {
    let Cell { processes, policy, outcomes: all, rounds } = cell;
    let (processes, policy) = (*processes, *policy);
    let (crew, length) = match policy {
        Policy::Kept => (1, LENGTH_OF_FLOOR),
        _ => (processes, LENGTH),
    };
    let database = folder.join(format!("{processes}-{}-{rounds}.duckdb", policy as u8));
    *rounds += 1;
    row::create(&database, 0);
    let outcomes = Crew::start(policy.name(), &database, crew).and_then(|mut crew| {
        crew.begin(arguments.length(length))?;
        crew.end()
    });
    let outcomes = outcomes.expect("this program can be started again, and tells what it did");
    for (writer, outcome) in (0..).zip(&outcomes) {
        row::assert_stored(&database, writer, outcome.operations + 1); // the first of all starts DuckDB
    }
    all.resize_with(outcomes.len(), Outcome::default);
    all.iter_mut().zip(&outcomes).for_each(|(all, outcome)| all.merge(outcome));
}

/// One policy beside so many processes, over all rounds.
struct Cell {
    processes: u8,
    policy: Policy,
    outcomes: Vec<Outcome>,
    rounds: u32,
}

/// A process among those that write.
fn write_without_pause(role: &peer::Role) {
    let policy = Policy::named(&role.name).expect("a peer is started by this program");
    let mut client = policy.client(&role.database, role.number);
    client.write(Instant::now() + WAIT_MAX);
    crew::work(|until| client.write(until));
    client.close();
}

/// What this number of processes came to, in proportion.
fn ratios(all: &[Figures], processes: u8) -> impl Iterator<Item = String> {
    let of =
        |policy: Policy| all.iter().find(|it| it.policy == policy && it.processes == processes);
    let polling = || Policy::ALL.into_iter().filter(|policy| policy.polls()).filter_map(of);
    let opening = Policy::ALL.into_iter().filter(|policy| policy.opens_each_time()).filter_map(of);

    let (managed, floor) = (of(Policy::Managed), of(Policy::Kept));
    let best = opening.max_by(|a, b| a.rate.total_cmp(&b.rate));
    let of_rates = |names: &str, one: Option<&Figures>, other: Option<&Figures>, target| {
        let ratio = figure::ratio(one.map(|it| it.rate), other.map(|it| it.rate));
        figure::line(&format!("{processes} processes, writes/s, {names}"), ratio, target)
    };
    let of_waits = |names: &str, p99: fn(&Figures) -> Duration, target| {
        let best = polling().min_by_key(|it| p99(it));
        let seconds = |it: &Figures| p99(it).as_secs_f64();
        let ratio = figure::ratio(managed.map(seconds), best.map(seconds));
        let names =
            format!("{processes} processes, {names}, managed : best that polls ({})", name(best));
        figure::line(&names, ratio, target)
    };
    let best_name = format!("best that opens per operation ({})", name(best));
    let lines = [
        of_rates(&format!("managed : {best_name}"), managed, best, Target::AtLeast(20.0)),
        of_rates(&format!("floor : {best_name}"), floor, best, Target::ForComparison),
        of_rates("managed : floor", managed, floor, Target::AtLeast(0.8)),
        of_waits("p99 wait", Figures::p99, Target::AtMost(0.1)),
        of_waits("p99 wait of the worst process", |it| it.worst_p99, Target::ForComparison),
    ];
    lines.into_iter().flatten()
}

fn name(figures: Option<&Figures>) -> &'static str {
    figures.map_or("none", |figures| figures.policy.name())
}

fn main() {
    if let Some(role) = peer::role() {
        return write_without_pause(&role);
    }
    let arguments = Arguments::of_process();
    let folder =
        tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("the target can be written");
    let selected = |processes: u8, policy: Policy| {
        let name = format!("contention/{processes}/{}", policy.name());
        let cell = Cell { processes, policy, outcomes: Vec::new(), rounds: 0 };
        arguments.selects(&name).then_some(cell)
    };
    let mut cells: Vec<Cell> = PROCESSES
        .into_iter()
        .flat_map(|processes| Policy::ALL.map(|policy| selected(processes, policy)))
        .flatten()
        .collect();
    if cells.is_empty() {
        return;
    }
    for round in 1..=ROUNDS {
        println!("contention, round {round} of {ROUNDS}");
        for cell in &mut cells {
            measure(cell, &arguments, folder.path());
        }
    }
    let figures = |cell: &Cell| Figures::new(cell.policy, cell.processes, &cell.outcomes);
    let all: Vec<Figures> = cells.iter().map(figures).collect();
    println!("\ndurable one-row writes without pause; no acknowledged row was lost");
    println!(
        "processes  {:<27} {:>9} {:>9} {:>9} {:>9} {:>9} {:>7}   rows of one",
        "policy", "writes/s", "wait p50", "p99", "max", "worst", "waits"
    );
    let lines: Vec<String> = all.iter().map(Figures::line).collect();
    println!("{}", lines.join("\n"));
    let ratios = PROCESSES.into_iter().flat_map(|processes| ratios(&all, processes));
    println!("\n{}", ratios.collect::<Vec<_>>().join("\n"));
}
