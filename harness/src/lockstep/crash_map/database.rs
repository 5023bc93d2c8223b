//! The database of a crash map, by plain DuckDB or through the manager: the steps of the workload, and the look at what is
//! left of it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use manager::duckdb::{self, Config, Connection};
use manager::{Drain, Error, ErrorClass, Manager};
use serde::{Deserialize, Serialize};

use super::Driver;
use super::workload::{self, Op, Step};

/// The database's file in its folder.
const FILE: &str = "db.duckdb";

/// How a step ended, as its caller was told.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Said {
    /// It succeeded: what it wrote is stored.
    Done,
    /// It failed, and stored nothing.
    Failed(String),
    /// It failed, and may have stored all of it or nothing.
    Unknown(String),
}

/// What is left.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Found {
    /// No file.
    Absent,
    /// A file that cannot be opened.
    Unopenable(String),
    /// A database that cannot be read.
    Unreadable(String),
    /// A database.
    Rows {
        /// Of all rows, see [`workload::digest`].
        digest: u64,
        /// How many rows each transaction wrote last; `None` if there is no table.
        by_transaction: Option<BTreeMap<i64, u64>>,
        /// Where the index says otherwise than the scan.
        disagreements: Vec<String>,
    },
}

/// A way to the database.
pub(super) enum Session {
    Naive(Connection),
    Managed(Manager, PathBuf),
    /// Has told of the last transaction, and not committed it.
    Eager(Connection),
}

fn config() -> duckdb::Result<Config> {
    Config::default()
        .with("autoinstall_known_extensions", "false")?
        .with("autoload_known_extensions", "false")?
        .threads(1)
}

fn manager() -> Result<Manager, Error> {
    Manager::new(manager::Config {
        label: "crash map".to_owned(),
        duckdb_threads: Some(1),
        // Nothing may happen by a clock between two steps.
        idle_max: std::time::Duration::from_hours(1),
        wait_max: std::time::Duration::from_secs(5),
        ..manager::Config::default()
    })
}

fn class_of(error: &duckdb::Error) -> ErrorClass {
    ErrorClass::of(&error.to_string())
}

/// What a call of the manager has said. The variant stands for the error, as its text may name paths.
fn said<T>(result: Result<T, Error>) -> Said {
    let Err(error) = result else { return Said::Done };
    let text = format!("{error:?}");
    let variant = text.split(|letter: char| !letter.is_alphanumeric()).next().unwrap_or_default();
    let class = error.class().map_or_else(String::new, |class| format!(" {class:?}"));
    match error {
        Error::UnknownOutcome { .. } => Said::Unknown(format!("{variant}{class}")),
        _ => Said::Failed(format!("{variant}{class}")),
    }
}

impl Session {
    /// Opens the database, which plain DuckDB creates by that.
    pub(super) fn open(driver: Driver, folder: &Path) -> (Option<Self>, Said) {
        let path = folder.join(FILE);
        let session = match driver {
            Driver::Naive => open(&path).map(Self::Naive),
            Driver::Eager => open(&path).map(Self::Eager),
            Driver::Managed => match manager() {
                Ok(manager) => Ok(Self::Managed(manager, path)),
                Err(error) => return (None, said::<()>(Err(error))),
            },
        };
        match session {
            Ok(session) => (Some(session), Said::Done),
            Err(error) => (None, failed(&error)),
        }
    }

    pub(super) fn transaction(&mut self, number: i64, ops: &[Op]) -> Said {
        let statements: Vec<String> = ops.iter().map(|op| op.sql(number)).collect();
        match self {
            Self::Naive(connection) => naive_transaction(connection, &statements),
            Self::Eager(connection) => {
                let _ = connection.execute_batch("COMMIT"); // of the last one, if there is one
                batch(connection, &format!("BEGIN TRANSACTION; {}", statements.join("; ")))
            }
            // The way in which the manager makes a database: wholly or not at all.
            Self::Managed(manager, path) if ops == [Op::CreateTable] => {
                let created = manager.create(&*path, |connection| -> Result<(), Error> {
                    Ok(statements.iter().try_for_each(|sql| connection.execute_batch(sql))?)
                });
                match created {
                    // It may have failed after the database had got its name.
                    Err(Error::Io { .. }) => Said::Unknown("Io".to_owned()),
                    created => said(created),
                }
            }
            Self::Managed(manager, path) => said(manager.write(&*path).and_then(|lease| {
                lease.transaction(|tx| -> Result<(), Error> {
                    statements.iter().try_for_each(|sql| tx.execute_batch(sql))
                })
            })),
        }
    }

    pub(super) fn checkpoint(&mut self) -> Said {
        const CHECKPOINT: &str = "CHECKPOINT";
        match self {
            Self::Naive(connection) => batch(connection, CHECKPOINT),
            Self::Eager(connection) => batch(connection, &format!("COMMIT; {CHECKPOINT}")),
            Self::Managed(manager, path) => {
                said(manager.write(&*path).and_then(|lease| Ok(lease.execute_batch(CHECKPOINT)?)))
            }
        }
    }

    pub(super) fn close(self) -> Said {
        match self {
            Self::Naive(connection) => match connection.close() {
                Ok(()) => Said::Done,
                Err((_, error)) => failed(&error),
            },
            Self::Eager(connection) => {
                let _ = connection.execute_batch("COMMIT"); // as in `transaction`
                Said::Done
            }
            Self::Managed(manager, _) => {
                if manager.close_all_connections(Drain::default()).is_complete() {
                    Said::Done
                } else {
                    Said::Failed("incomplete".to_owned())
                }
            }
        }
    }
}

fn open(path: &Path) -> duckdb::Result<Connection> {
    config().and_then(|config| Connection::open_with_flags(path, config))
}

/// A failure that stored nothing.
fn failed(error: &duckdb::Error) -> Said {
    Said::Failed(format!("{:?}", class_of(error)))
}

fn batch(connection: &Connection, sql: &str) -> Said {
    connection.execute_batch(sql).map_or_else(|error| failed(&error), |()| Said::Done)
}

/// A careful caller of plain DuckDB: rolls back what failed, and does not call a commit that was cut off a failure.
fn naive_transaction(connection: &Connection, statements: &[String]) -> Said {
    let begun = batch(connection, &format!("BEGIN TRANSACTION; {}", statements.join("; ")));
    if begun != Said::Done {
        let _ = connection.execute_batch("ROLLBACK"); // there may be nothing to roll back
        return begun;
    }
    match connection.execute_batch("COMMIT") {
        Err(error) if class_of(&error) == ErrorClass::Fatal => Said::Unknown("Fatal".to_owned()),
        ended => ended.map_or_else(|error| failed(&error), |()| Said::Done),
    }
}

/// Opens what is left, as the next process would, and reads it by scan and by index. That mends it, which has to hold: it is
/// opened once more.
pub(super) fn look(driver: Driver, steps: &[Step], folder: &Path) -> Found {
    twice(|| look_once(driver, steps, folder))
}

fn twice(look: impl Fn() -> Found) -> Found {
    let mut found = look();
    if matches!(found, Found::Rows { .. }) {
        let again = look();
        let differs = again != found;
        if let Found::Rows { disagreements, .. } = &mut found
            && differs
        {
            disagreements.push(format!("opened once more, it is {again:?}"));
        }
    }
    found
}

fn look_once(driver: Driver, steps: &[Step], folder: &Path) -> Found {
    let path = folder.join(FILE);
    if !path.exists() {
        return Found::Absent;
    }
    match driver {
        Driver::Naive | Driver::Eager => match open(&path) {
            Ok(connection) => read(&connection, steps),
            Err(error) => Found::Unopenable(format!("{:?}", class_of(&error))),
        },
        Driver::Managed => {
            let manager = match manager() {
                Ok(manager) => manager,
                Err(error) => return Found::Unopenable(format!("{error:?}")),
            };
            let found = match manager.read(&path) {
                Ok(lease) => read(&lease, steps),
                Err(error) => match said::<()>(Err(error)) {
                    Said::Failed(text) | Said::Unknown(text) => Found::Unopenable(text),
                    Said::Done => unreachable!("an error was put in"),
                },
            };
            manager.close_all_connections(Drain::default());
            found
        }
    }
}

fn read(connection: &Connection, steps: &[Step]) -> Found {
    rows(connection, steps)
        .unwrap_or_else(|error| Found::Unreadable(format!("{:?}", class_of(&error))))
}

fn rows(connection: &Connection, steps: &[Step]) -> duckdb::Result<Found> {
    let tables = "SELECT count(*) FROM duckdb_tables() WHERE table_name = 't'";
    let tables: i64 = connection.query_row(tables, [], |row| row.get(0))?;
    if tables == 0 {
        let digest = workload::digest(&None);
        return Ok(Found::Rows { digest, by_transaction: None, disagreements: Vec::new() });
    }
    let (mut text, mut scanned) = (workload::HEAD.to_owned(), BTreeMap::new());
    let mut by_transaction = BTreeMap::new();
    let mut statement = connection.prepare("SELECT id, transaction, note FROM t ORDER BY ALL")?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        let (key, transaction): (i64, i64) = (row.get(0)?, row.get(1)?);
        text += &workload::line(key, transaction, &row.get::<_, String>(2)?);
        *by_transaction.entry(transaction).or_default() += 1;
        scanned.insert(key, transaction);
    }
    let disagreements = disagreements(connection, steps, &scanned)?;
    let digest = crate::seed::fnv1a(text.as_bytes());
    Ok(Found::Rows { digest, by_transaction: Some(by_transaction), disagreements })
}

/// Where a look-up by the primary key, or a count, finds something else than the scan did.
fn disagreements(
    connection: &Connection,
    steps: &[Step],
    scanned: &BTreeMap<i64, i64>,
) -> duckdb::Result<Vec<String>> {
    let mut found = Vec::new();
    let count: usize = connection.query_row("SELECT count(*) FROM t", [], |row| row.get(0))?;
    if count != scanned.len() {
        found.push(format!("count says {count}, the scan finds {}", scanned.len()));
    }
    let mut statement = connection.prepare("SELECT transaction FROM t WHERE id = ?")?;
    for key in workload::telling_keys(steps) {
        let indexed = match statement.query_row([key], |row| row.get::<_, i64>(0)) {
            Err(duckdb::Error::QueryReturnedNoRows) => None,
            other => Some(other?),
        };
        if indexed.as_ref() != scanned.get(&key) {
            found.push(format!(
                "key {key}: the index says {indexed:?}, the scan {:?}",
                scanned.get(&key)
            ));
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;
    use crate::lockstep::crash_map::workload::Workload;

    #[test]
    fn an_index_that_says_otherwise_than_the_scan_is_told_of() {
        let steps = Workload::Short.steps();
        let connection = Connection::open_in_memory().unwrap();
        for step in &steps {
            let Step::Transaction(number, ops) = step else { continue };
            for op in ops {
                connection.execute_batch(&op.sql(*number)).unwrap();
            }
        }
        let scanned = BTreeMap::from([(1, 2), (2, 2), (3, 2)]);
        assert_eq!(disagreements(&connection, &steps, &scanned).unwrap(), [""; 0]);
        let stale = BTreeMap::from([(1, 2), (2, 9), (4, 2)]);
        assert_eq!(
            disagreements(&connection, &steps, &stale).unwrap(),
            [
                "key 2: the index says Some(2), the scan Some(9)",
                "key 3: the index says Some(2), the scan None"
            ]
        );
        let fewer = BTreeMap::from([(1, 2), (2, 2)]);
        let told = disagreements(&connection, &steps, &fewer).unwrap();
        assert_eq!(told[0], "count says 3, the scan finds 2");
    }

    #[test]
    fn a_database_that_does_not_stay_as_it_was_found_contradicts_itself() {
        let rows = |digest| Found::Rows { digest, by_transaction: None, disagreements: Vec::new() };
        assert_eq!(twice(|| rows(1)), rows(1));
        let count = Cell::new(0);
        let found = twice(|| {
            count.set(count.get() + 1);
            rows(count.get())
        });
        let Found::Rows { digest: 1, disagreements, .. } = found else { panic!("{found:?}") };
        assert!(disagreements[0].starts_with("opened once more, it is Rows"), "{disagreements:?}");
        assert_eq!(twice(|| Found::Absent), Found::Absent);
    }
}
