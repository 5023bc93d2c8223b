//! Hand-over: how long a process waits for a file that another one keeps idle, or that others use without pause.
//!
//! | name | what is waited for |
//! |---|---|
//! | `idle/managed, nothing written` | a write lease that the other process has taken and returned |
//! | `idle/managed, a row written` | the same, and each stores a row before it returns the lease |
//! | `idle/open, nobody has it` | plain DuckDB to open the file, which the other process has closed |
//! | `write behind readers/…` | the file to store a row, every 100 ms, while 4 processes read it without pause |
//! | `read behind writers/…` | the file to find a row, every 100 ms, while 4 processes write it without pause |
//!
//! The idle hand-overs go to and fro between this process and one peer, 200 in all, each after 25 ms in which nothing
//! happens: longer than `Config::hold_max`, so that no hold has to grow old first. Measured is the call alone.
//!
//! Behind others, all processes follow the policy that the name ends with, one of [`benches::policy`], for 5 seconds.
//! Who waits longer than 100 ms wants nothing new meanwhile, and a wait that is on at the end counts with the length
//! that it had; so read how many waits there were. `others/s` is what the four did together meanwhile.
//!
//! Where rows are stored, the table is afterwards compared with what each process was told; a row that is missing or
//! there twice is a panic.
//!
//! ```console
//! $ cargo bench --bench hand_over              # under a minute
//! $ cargo bench --bench hand_over -- idle      # the part of it whose names contain this
//! ```

use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use benches::arguments::Arguments;
use benches::crew::{self, Crew, Outcome};
use benches::figure::{self, Target};
use benches::latencies::Latencies;
use benches::peer::{self, Peer, Role};
use benches::policy::{self, Client, Policy, WAIT_MAX, Wait};
use benches::row;
use manager::{AccessMode, Manager, duckdb};

/// Idle hand-overs, both ways together.
const TURNS: u32 = 200;
const IDLE: Duration = Duration::from_millis(25);
const LENGTH: Duration = Duration::from_secs(5);
const PERIOD: Duration = Duration::from_millis(100);
/// Processes that use the file without pause.
const CREW: u8 = 4;
const POLICIES: [Policy; 2] = [Policy::Managed, Policy::FullJitter];
/// Rows that are there from the beginning, to be found.
const ROWS: u64 = 1_000;
/// This process; peers are numbered from 0.
const THIS: u8 = 100;
const PEER: u8 = 0;

/// How the file is taken over while nobody uses it.
#[derive(Clone, Copy, PartialEq, Eq)]
enum TakeOver {
    Lease,
    LeaseAndRow,
    Open,
}

impl TakeOver {
    const ALL: [Self; 3] = [Self::Lease, Self::LeaseAndRow, Self::Open];

    fn name(self) -> &'static str {
        match self {
            Self::Lease => "idle/managed, nothing written",
            Self::LeaseAndRow => "idle/managed, a row written",
            Self::Open => "idle/open, nobody has it",
        }
    }
}

/// One of the two between whom the file goes to and fro.
struct Taker {
    way: TakeOver,
    path: PathBuf,
    manager: Manager,
    number: u8,
    rows: u64,
}

impl Taker {
    /// Takes the file for the first time, which starts DuckDB.
    fn start(way: TakeOver, database: &Path, number: u8) -> Self {
        let manager = policy::manager();
        let mut new = Self { way, path: database.into(), manager, number, rows: 0 };
        new.take();
        new
    }

    /// Takes the file and lets go of it; returns how long it took until it could be used.
    fn take(&mut self) -> Duration {
        let begin = Instant::now();
        if self.way == TakeOver::Open {
            let connection = row::open(&self.path, AccessMode::ReadWrite);
            let taken = begin.elapsed();
            row::close(connection.expect("the other process has closed it"));
            return taken;
        }
        let lease = self.manager.write(&self.path).expect("the manager gives it within the wait");
        let taken = begin.elapsed();
        if self.way == TakeOver::LeaseAndRow {
            let row = duckdb::params![self.number, self.rows];
            lease.transaction(|tx| tx.execute(row::INSERT, row)).expect("a lease can write");
            self.rows += 1;
        }
        taken
    }

    /// Lets go of it for good; returns how many rows it has stored.
    fn close(self) -> u64 {
        policy::close(&self.manager);
        self.rows
    }
}

/// Hands the file to and fro.
fn hand_to_and_fro(way: TakeOver, turns: u32, folder: &Path) -> io::Result<Figures> {
    let database = folder.join(format!("idle-{}.duckdb", way as u8));
    row::create(&database, ROWS);
    let mut peer = Peer::start(way.name(), &database, PEER)?;
    let mut this = Taker::start(way, &database, THIS);
    let mut waits = Latencies::default();
    for _ in 0..turns / 2 {
        std::thread::sleep(IDLE);
        peer.tell("take")?;
        let nanoseconds = peer.answer()?.parse().map_err(io::Error::other)?;
        waits.record(Duration::from_nanos(nanoseconds));
        std::thread::sleep(IDLE);
        waits.record(this.take());
    }
    peer.end()?;
    let rows = this.close(); // both have taken it equally often
    row::assert_stored(&database, PEER, rows);
    row::assert_stored(&database, THIS, rows);
    Ok(Figures { name: way.name().to_owned(), waits, others: None })
}

/// What is done to the file.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Use {
    Write,
    Read,
}

impl Use {
    const ALL: [Self; 2] = [Self::Write, Self::Read];

    fn name(self) -> &'static str {
        match self {
            Self::Write => "write",
            Self::Read => "read",
        }
    }

    /// What those in the way do.
    fn other(self) -> Self {
        match self {
            Self::Write => Self::Read,
            Self::Read => Self::Write,
        }
    }

    fn behind_others(self) -> &'static str {
        match self {
            Self::Write => "write behind readers",
            Self::Read => "read behind writers",
        }
    }
}

/// A client that does the same again and again.
struct User {
    client: Client,
    how: Use,
    turns: u64,
}

impl User {
    /// Does it for the first time, which starts DuckDB.
    fn start(how: Use, policy: Policy, database: &Path, number: u8) -> Self {
        let mut new = Self { client: policy.client(database, number), how, turns: 0 };
        new.turn(Instant::now() + WAIT_MAX);
        new
    }

    fn turn(&mut self, until: Instant) -> Wait {
        self.turns += 1;
        match self.how {
            Use::Write => self.client.write(until),
            Use::Read => self.client.read(self.turns % ROWS, until),
        }
    }

    /// Lets go of the file for good; returns how many rows it has stored.
    fn close(self) -> u64 {
        let rows = self.client.rows();
        self.client.close();
        rows
    }
}

/// Wants the file every [`PERIOD`], behind a crew that does the other without pause.
fn wait_behind_others(
    wanted: Use,
    policy: Policy,
    length: Duration,
    folder: &Path,
) -> io::Result<Figures> {
    let database = folder.join(format!("{}-{}.duckdb", wanted.name(), policy as u8));
    row::create(&database, ROWS);
    let mut this = User::start(wanted, policy, &database, THIS);
    let role = format!("{} {}", wanted.other().name(), policy.name());
    let mut crew = Crew::start(&role, &database, CREW)?;

    crew.begin(length)?;
    let begin = Instant::now();
    let (mut due, mut done) = (PERIOD, Outcome::default());
    while due < length {
        std::thread::sleep((begin + due).saturating_duration_since(Instant::now()));
        done.note(this.turn(begin + length));
        while due <= begin.elapsed() {
            due += PERIOD;
        }
    }
    let others = crew.end()?;

    row::assert_stored(&database, THIS, this.close());
    for (writer, other) in (PEER..).zip(&others).filter(|_| wanted == Use::Read) {
        row::assert_stored(&database, writer, other.operations + 1); // the first of all starts DuckDB
    }
    Ok(Figures {
        name: figure_name(wanted, policy),
        waits: done.waits,
        others: Some(others.iter().map(Outcome::rate).sum()),
    })
}

fn figure_name(wanted: Use, policy: Policy) -> String {
    format!("{}/{}", wanted.behind_others(), policy.name())
}

struct Figures {
    name: String,
    waits: Latencies,
    /// What others did per second meanwhile.
    others: Option<f64>,
}

impl Figures {
    fn line(&self) -> String {
        let [p50, p99] = [0.5, 0.99].map(|part| self.waits.quantile(part));
        let (count, max) = (self.waits.count(), self.waits.max());
        let others = self.others.map_or_else(|| "-".to_owned(), |rate| format!("{rate:.0}"));
        format!("{:<40} {count:>5} {p50:>9.1?} {p99:>9.1?} {max:>9.1?} {others:>9}", self.name)
    }
}

/// What was measured, beside what it should be.
fn targets(all: &[Figures]) -> impl Iterator<Item = String> {
    let milliseconds = |name: &str, part: f64| {
        let figures = all.iter().find(|figures| figures.name == name)?;
        Some(figures.waits.quantile(part).as_secs_f64() * 1e3)
    };
    let line = |name: &str, words: &str, part, target| {
        figure::line(&format!("{name}, {words}, ms"), milliseconds(name, part), target)
    };
    let [lease, lease_and_row, open] = TakeOver::ALL.map(TakeOver::name);
    let mut lines = vec![
        line(lease, "median", 0.5, Target::AtMost(2.0)),
        line(lease, "p99", 0.99, Target::ForComparison),
        line(lease_and_row, "median", 0.5, Target::ForComparison),
        figure::line(
            "idle, medians, managed, nothing written : open, nobody has it",
            figure::ratio(milliseconds(lease, 0.5), milliseconds(open, 0.5)),
            Target::ForComparison,
        ),
    ];
    for wanted in Use::ALL {
        let [managed, opened] = POLICIES.map(|policy| figure_name(wanted, policy));
        lines.push(line(&managed, "p99", 0.99, Target::AtMost(50.0)));
        lines.push(line(&opened, "p99", 0.99, Target::ForComparison));
    }
    lines.into_iter().flatten()
}

/// One of the other processes.
fn play(role: &Role) {
    if let Some(way) = TakeOver::ALL.into_iter().find(|way| way.name() == role.name) {
        let mut taker = Taker::start(way, &role.database, role.number);
        peer::obey(|_| taker.take().as_nanos().to_string());
        taker.close();
        return;
    }
    let (how, policy) = role.name.split_once(' ').expect("a role is a use and a policy");
    let how = Use::ALL.into_iter().find(|it| it.name() == how);
    let (how, policy) = how.zip(Policy::named(policy)).expect("a peer is started by this program");
    let mut user = User::start(how, policy, &role.database, role.number);
    crew::work(|until| user.turn(until));
    user.close();
}

fn main() {
    if let Some(role) = peer::role() {
        return play(&role);
    }
    let arguments = Arguments::of_process();
    let folder =
        tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("the target can be written");
    let selected = |name: &str| arguments.selects(name).then(|| println!("{name}")).is_some();

    let mut all = Vec::new();
    for way in TakeOver::ALL.into_iter().filter(|way| selected(way.name())) {
        all.push(hand_to_and_fro(way, arguments.count(TURNS), folder.path()));
    }
    for wanted in Use::ALL {
        for policy in POLICIES {
            if selected(&figure_name(wanted, policy)) {
                let length = arguments.length(LENGTH);
                all.push(wait_behind_others(wanted, policy, length, folder.path()));
            }
        }
    }
    let all: io::Result<Vec<Figures>> = all.into_iter().collect();
    let all = all.expect("this program can be started again, and tells what it did");
    if all.is_empty() {
        return;
    }
    println!(
        "\n{:<40} {:>5} {:>9} {:>9} {:>9} {:>9}",
        "wait for the file", "waits", "p50", "p99", "max", "others/s"
    );
    let lines: Vec<String> = all.iter().map(Figures::line).collect();
    println!("{}", lines.join("\n"));
    println!("\n{}", targets(&all).collect::<Vec<_>>().join("\n"));
}
