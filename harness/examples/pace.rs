//! How many schedules a second and core: with files that are attached, with a fresh instance each, through the manager, and
//! with three processes. A measurement, to be read beside each other: nothing is asserted.
//!
//! ```console
//! $ cargo run --release -p harness --example pace
//! ```

use std::fs;
use std::path::Path;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use harness::lockstep::driver::{Actor, Command, Driver, DriverError, Turn, World};
use harness::lockstep::explore::{self, Options};
use harness::lockstep::strategy::Kind;
use harness::lockstep::{actor, managed::Managed, naive::Naive, opening::Retrying, sql};
use harness::scenario::script::Script;
use harness::seed::Seed;
use harness::suite;
use manager::duckdb::{self, Config, Connection};
use parking_lot::Mutex;

/// So many schedules of each.
const SCHEDULES: u64 = 300;

fn main() {
    // The actors of the last row are this program, too.
    if std::env::args().nth(1).as_deref() == Some(actor::ARGUMENT) {
        return actor::serve(&harness::lockstep::driver).expect("orders");
    }
    let file = suite::folder().join("threads/three-by-six.toml");
    let threads = Script::read(&file).expect("the scenario");
    let text = threads.text.replacen("[database]", "each_actor = \"process\"\n\n[database]", 1);
    let processes = Script::parse(&file, text.as_bytes()).expect("the same with processes");
    println!("schedules a second, three actors with six steps each, all on one core");
    for (what, script, driver) in [
        ("attached to an instance", &threads, &Naive as &dyn Driver),
        ("a fresh instance each", &threads, &Fresh),
        ("through the manager", &threads, &Managed),
        ("three processes, each opens and closes", &processes, &Retrying),
        ("three processes, through the manager", &processes, &Managed),
    ] {
        println!("{what:42} {:6.0}", pace(script, driver));
    }
}

fn pace(script: &Script, driver: &dyn Driver) -> f64 {
    let folder = tempfile::tempdir().expect("a folder");
    let options = Options {
        script,
        driver,
        strategy: Kind::Random,
        seed: Seed(0x2a),
        cases: SCHEDULES,
        time: Duration::from_mins(2),
        shrink: false,
        folder: folder.path(),
        interrupted: &AtomicBool::new(false),
    };
    let explored = explore::explore(&options, &mut |_| ()).expect("schedules");
    assert!(explored.divergence.is_none(), "{:?}", explored.divergence);
    explored.schedules as f64 / explored.duration.as_secs_f64()
}

/// Plain DuckDB, with an instance that is opened for each schedule and closed behind it.
struct Fresh;

struct Opened(Mutex<Connection>);

struct Connected(Connection);

impl Driver for Fresh {
    fn name(&self) -> &'static str {
        "fresh"
    }

    fn create(&self, script: &Script, folder: &Path) -> Result<Arc<dyn World>, DriverError> {
        static TEMPLATE: OnceLock<Vec<u8>> = OnceLock::new();
        let failed = |error: duckdb::Error| DriverError::new("open the database", error);
        let path = folder.join("db.duckdb");
        if TEMPLATE.get().is_none() {
            let made = template(script, &path).map_err(failed)?;
            TEMPLATE.get_or_init(|| made);
        }
        let template = TEMPLATE.get().expect("it was just made");
        fs::write(&path, template).map_err(|error| DriverError::new("copy the file", error))?;
        Ok(Arc::new(Opened(Mutex::new(open(&path).map_err(failed)?))))
    }
}

fn open(path: &Path) -> duckdb::Result<Connection> {
    let opened = Connection::open_with_flags(path, Config::default().threads(1)?)?;
    opened.execute_batch("PRAGMA disable_checkpoint_on_shutdown")?;
    Ok(opened)
}

fn template(script: &Script, path: &Path) -> duckdb::Result<Vec<u8>> {
    let made = open(path)?;
    for statement in &script.setup {
        made.execute_batch(statement)?;
    }
    made.execute_batch("CHECKPOINT")?;
    drop(made);
    Ok(fs::read(path).expect("the file that was just made"))
}

impl World for Opened {
    fn actor(&self, _: &str) -> Result<Box<dyn Actor>, DriverError> {
        let connected = self.0.lock().try_clone();
        let connection = connected.map_err(|error| DriverError::new("connect", error))?;
        Ok(Box::new(Connected(connection)))
    }

    fn query(&self, query: &str) -> Result<String, DriverError> {
        let asked = sql::query(&self.0.lock(), query);
        asked.map_err(|error| DriverError::scenario(query, error))
    }

    fn contents(&self) -> Result<String, DriverError> {
        let read = sql::contents(&self.0.lock());
        read.map_err(|error| DriverError::new("read all tables", error))
    }
}

impl Actor for Connected {
    fn step(&mut self, op: &str) -> Turn {
        Turn::Done(sql::outcome(sql::query(&self.0, Command::of(op).sql())))
    }
}
