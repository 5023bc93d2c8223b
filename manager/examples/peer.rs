//! Takes part at the gate from a process of its own: for trying it from two shells, and for the tests.
//!
//! ```console
//! $ cargo run --release -p manager --example peer -- write features.duckdb trainer
//! held
//! insert 7
//! ok
//! count
//! 1
//! release
//! released
//! ```
//!
//! | role | what it takes | rows are written and counted |
//! |---|---|---|
//! | `read` | a read lease | on the lease |
//! | `write` | the write lease | on the lease |
//! | `training`, `evaluation` | the phase | with a lease for each line |
//! | `outside`, `outside-read` | the file itself, by plain DuckDB and without the gate | on that connection |
//! | `create` | the making of the database: it is being filled while this is `held` | on the new database |
//!
//! Its settings are those of the environment (`FLOCKGATE_WAIT_MAX` and so on), under the label of the command line.
//!
//! It prints `held` when it has what it came for (`create` prints `exists` if there was nothing to do), and then
//! obeys its input, line by line: `insert N` commits a row in table `t` (made if it is missing) and answers
//! `ok`; `count` answers the number of rows; `release` gives back what is held and answers `released`; the end
//! of the input gives it back too. What goes wrong is one line that begins with `error:`.

use std::io::{self, BufRead};
use std::path::Path;
use std::process::ExitCode;

use manager::duckdb::{self, Connection};
use manager::{Config, Error, Manager, PhaseGuard, ReadLease, WriteLease};

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let taken = match arguments.as_slice() {
        [role, path] => take_part(role, Path::new(path), None),
        [role, path, label] => take_part(role, Path::new(path), Some(label)),
        _ => Err("say a role and a path: peer ROLE PATH [LABEL]".into()),
    };
    match taken {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            say_error(&*error);
            ExitCode::FAILURE
        }
    }
}

type Outcome = Result<(), Box<dyn std::error::Error>>;

fn take_part(role: &str, path: &Path, label: Option<&String>) -> Outcome {
    let config = Config::from_env()?;
    let label = label.map_or_else(|| config.label.clone(), Clone::clone);
    let manager = Manager::new(Config { label, ..config })?;
    let held = match role {
        "read" => Held::Read(manager.read(path)?),
        "write" => Held::Write(manager.write(path)?),
        "training" => Held::Phase(manager.training_phase(path)?, &manager),
        "evaluation" => Held::Phase(manager.evaluation_phase(path)?, &manager),
        "outside" => Held::Outside(Connection::open(path)?),
        "outside-read" => {
            let settings = duckdb::Config::default().access_mode(duckdb::AccessMode::ReadOnly)?;
            Held::Outside(Connection::open_with_flags(path, settings)?)
        }
        "create" => return create(&manager, path),
        _ => {
            let text = format!("there is no role `{role}`; the head of examples/peer.rs has them");
            return Err(text.into());
        }
    };
    println!("held");
    let released = obey(&held)?;
    drop(held);
    if released {
        println!("released");
    }
    Ok(())
}

fn create(manager: &Manager, path: &Path) -> Outcome {
    let mut released = false;
    let created = manager.create(path, |new| -> Result<(), Error> {
        new.execute_batch(TABLE)?;
        println!("held");
        released = obey(&Held::New(new)).unwrap_or_default();
        Ok(())
    })?;
    if !created {
        println!("exists");
    } else if released {
        println!("released");
    }
    Ok(())
}

/// Obeys the input until it says `release` or ends; returns whether it said it.
fn obey(held: &Held<'_>) -> io::Result<bool> {
    for line in io::stdin().lock().lines() {
        let line = line?;
        let answer = match line.split_once(' ') {
            None if line == "release" => return Ok(true),
            None if line == "count" => held.count().map(|count| count.to_string()),
            Some(("insert", number)) => match number.parse() {
                Ok(number) => held.insert(number).map(|()| "ok".to_owned()),
                Err(_) => Ok(format!("error: `{number}` is no number")),
            },
            _ => Ok(format!("error: `{line}` is none of insert N, count, release")),
        };
        match answer {
            Ok(answer) => println!("{answer}"),
            Err(error) => say_error(&error),
        }
    }
    Ok(false)
}

const TABLE: &str = "CREATE TABLE IF NOT EXISTS t (a BIGINT)";

/// What this process has, and through what it writes and counts.
enum Held<'a> {
    Read(ReadLease),
    Write(WriteLease),
    Phase(PhaseGuard, &'a Manager),
    Outside(Connection),
    New(&'a Connection),
}

impl Held<'_> {
    fn insert(&self, number: i64) -> Result<(), Error> {
        let insert = |connection: &Connection| -> Result<(), Error> {
            connection.execute_batch(TABLE)?;
            connection.execute("INSERT INTO t VALUES (?)", [number])?;
            Ok(())
        };
        match self {
            Self::Read(lease) => insert(lease),
            Self::Write(lease) => insert(lease),
            Self::Outside(connection) => insert(connection),
            Self::New(connection) => insert(connection),
            Self::Phase(phase, manager) => insert(&*manager.write(phase.path())?),
        }
    }

    fn count(&self) -> Result<i64, Error> {
        let count = |connection: &Connection| -> Result<i64, Error> {
            Ok(connection.query_row("SELECT count(*) FROM t", [], |row| row.get(0))?)
        };
        match self {
            Self::Read(lease) => count(lease),
            Self::Write(lease) => count(lease),
            Self::Outside(connection) => count(connection),
            Self::New(connection) => count(connection),
            Self::Phase(phase, manager) => count(&*manager.read(phase.path())?),
        }
    }
}

/// One line, whatever the error's text is.
fn say_error(error: &dyn std::error::Error) {
    println!("error: {}", error.to_string().replace('\n', " "));
}
