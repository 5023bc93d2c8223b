//! A process that uses the database through the manager, in a mix that is drawn, and says each step first.

use std::error::Error as StdError;
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::AsFd;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use manager::duckdb::Connection;
use manager::{Config, Drain, Error, LeaseEvent, Manager, Observer, Transaction};

use super::journal::Line;
use super::random::Random;
use super::schema;
use super::torn::Torn;

type Outcome<T = ()> = Result<T, Box<dyn StdError + Send + Sync>>;

/// Works until its input ends, and returns whether everything was as it has to be.
pub(crate) fn work(folder: &Path, number: u64, slot: u64, seed: u64) -> bool {
    let worked = Worker::start(folder, number, slot, seed).and_then(Worker::live);
    worked.map_or_else(|error| say_failed(&error.to_string()), |()| true)
}

/// Says what has gone wrong and returns whether it is none of the worker's concern.
fn say_failed(text: &str) -> bool {
    let text = text.replace('\n', " ");
    let is_torn = Torn::of(&text).is_some();
    let line = if is_torn { Line::Torn(text) } else { Line::Broken(text) };
    // If nobody listens any more, nobody is to be told.
    let _ = Journal::open().and_then(|journal| journal.say(&line));
    is_torn
}

struct Worker {
    folder: PathBuf,
    number: u64,
    slot: u64,
    random: Random,
    manager: Manager,
    journal: Journal,
    is_called_home: Arc<AtomicBool>,
    /// The number of its next transaction.
    next: u64,
    acknowledged: i64,
    /// The most rows that it has seen: none of them may ever be gone.
    rows_seen: i64,
    is_training: bool,
}

/// Where it says what it is at: one write(2) a line, without a buffer.
struct Journal(File);

impl Journal {
    fn open() -> io::Result<Self> {
        Ok(Self(File::from(io::stdout().as_fd().try_clone_to_owned()?)))
    }

    fn say(&self, line: &Line) -> io::Result<()> {
        (&self.0).write_all(format!("{line}\n").as_bytes())
    }
}

impl Observer for Journal {
    fn observe(&self, _: &Path, event: &LeaseEvent<'_>) {
        if matches!(event, LeaseEvent::HeldOutside { .. }) {
            let _ = self.say(&Line::Polls); // nobody listens only if the storm is over
        }
    }
}

impl Worker {
    fn start(folder: &Path, number: u64, slot: u64, seed: u64) -> Outcome<Self> {
        let config = Config {
            label: format!("worker {number}"),
            duckdb_threads: Some(1),
            ..Config::default()
        };
        let is_called_home = Arc::new(AtomicBool::new(false));
        let home = Arc::clone(&is_called_home);
        thread::spawn(move || {
            let _ = io::stdin().read_to_end(&mut Vec::new()); // also an error is an end
            home.store(true, Ordering::Relaxed);
        });
        Ok(Self {
            folder: folder.into(),
            number,
            slot,
            random: Random::stream(seed, number),
            manager: Manager::with_observer(config, Arc::new(Journal::open()?))?,
            journal: Journal::open()?,
            is_called_home,
            next: 0,
            acknowledged: 0,
            rows_seen: 0,
            is_training: false,
        })
    }

    fn live(mut self) -> Outcome {
        self.say(&Line::Ready)?;
        let companion = self.random.one_in(2).then(|| self.start_companion());
        while !self.is_called_home.load(Ordering::Relaxed) {
            match self.random.below(100) {
                0..40 => self.store()?,
                40..50 => self.fail()?,
                50..66 => self.read()?,
                66..74 => self.train()?,
                74..82 => self.evaluate()?,
                82..88 => self.create()?,
                88..92 => self.close()?,
                _ => self.idle()?,
            }
        }
        if let Some(companion) = companion {
            companion.join().map_err(|_| "the companion has panicked")?;
        }
        Ok(self.say(&Line::Ended)?)
    }

    fn say(&self, line: &Line) -> io::Result<()> {
        self.journal.say(line)
    }

    fn database(&self) -> PathBuf {
        schema::database(&self.folder)
    }

    /// A second thread that reads beside whatever the first is at, and says nothing unless something is wrong.
    fn start_companion(&mut self) -> thread::JoinHandle<()> {
        let mut random = Random::new(self.random.draw());
        let (manager, database) = (self.manager.clone(), self.database());
        let is_called_home = Arc::clone(&self.is_called_home);
        thread::spawn(move || {
            while !is_called_home.load(Ordering::Relaxed) {
                thread::sleep(random.up_to(Duration::from_millis(20)));
                let read = manager.read(&database).map_err(Into::into);
                if let Err(error) = read.and_then(|lease| look(&lease).map(drop)) {
                    // The other thread may be waiting for something; this is not to wait for that.
                    let is_torn = say_failed(&format!("beside the main thread: {error}"));
                    std::process::exit(i32::from(!is_torn));
                }
            }
        })
    }

    /// A transaction that is to be stored.
    fn store(&mut self) -> Outcome {
        let (key, parts) = self.draw_transaction();
        let pause = self.draw_pause();
        self.say(&Line::Begin(key.1))?;
        let journal = &self.journal;
        let stored = self.manager.transaction(self.database(), |tx| {
            journal.say(&Line::Write(key.1)).expect("the storm listens");
            add(tx, key, self.slot, parts, pause)?;
            journal.say(&Line::Commit(key.1)).expect("the storm listens");
            Ok(())
        });
        match stored {
            Ok(()) => {
                self.say(&Line::Ack(key.1))?;
                self.acknowledged += 1;
                Ok(())
            }
            Err(error) => self.undone(key.1, error),
        }
    }

    /// A transaction that must leave nothing behind, in one of four ways.
    fn fail(&mut self) -> Outcome {
        let (key, parts) = self.draw_transaction();
        let (pause, way) = (self.draw_pause(), self.random.below(4));
        self.say(&Line::Begin(key.1))?;
        let lease = match self.manager.write(self.database()) {
            Ok(lease) => lease,
            Err(error) => return self.undone(key.1, error),
        };
        self.say(&Line::Write(key.1))?;
        let add = |tx: &Transaction<'_>| add(tx, key, self.slot, parts, pause);
        let is_right = match way {
            0 => {
                let failed: Result<(), Error> = lease.transaction(|tx| {
                    add(tx)?;
                    tx.execute("SELECT CAST('no number' AS INTEGER)", []).map(drop)
                });
                matches!(failed, Err(Error::Database { .. }))
            }
            1 => {
                let failed = lease.transaction(|tx| {
                    add(tx)?;
                    let _ignored = tx.execute("SELECT CAST('no number' AS INTEGER)", []);
                    Ok(())
                });
                matches!(failed, Err(Error::Poisoned { .. }))
            }
            2 => catch_unwind(AssertUnwindSafe(|| {
                lease.transaction(|tx| -> Result<(), Error> {
                    add(tx)?;
                    resume_unwind(Box::new("on purpose")) // a panic that prints nothing
                })
            }))
            .is_err(),
            _ => {
                lease.execute_batch("BEGIN")?;
                schema::add(&lease, key, self.slot, parts)?;
                true // given back with its transaction open
            }
        };
        drop(lease);
        if !is_right {
            return Err(format!("a transaction that failed on purpose (way {way}) did not").into());
        }
        Ok(self.say(&Line::Undone(key.1))?)
    }

    fn read(&mut self) -> Outcome {
        let pause = self.draw_pause();
        self.say(&Line::Reads)?;
        let lease = self.manager.read(self.database())?;
        let rows = look(&lease)?;
        thread::sleep(pause);
        if rows < self.rows_seen {
            return Err(format!("there were {} rows and are {rows}", self.rows_seen).into());
        }
        if rows != look(&lease)? {
            return Err("one lease saw two states".into());
        }
        let mine = schema::transactions_of(&lease, self.number)?;
        if mine != self.acknowledged {
            let text = format!(
                "{} of my transactions were acknowledged and {mine} are there",
                self.acknowledged
            );
            return Err(text.into());
        }
        drop(lease);
        self.rows_seen = rows;
        Ok(self.say(&Line::Read)?)
    }

    fn train(&mut self) -> Outcome {
        self.say(&Line::Enters)?;
        let phase = self.manager.training_phase(self.database())?;
        self.say(&Line::Entered)?;
        self.is_training = true;
        for _ in 0..=self.random.below(3) {
            self.store()?;
        }
        self.is_training = false;
        drop(phase);
        Ok(self.say(&Line::Left)?)
    }

    fn evaluate(&mut self) -> Outcome {
        self.say(&Line::Enters)?;
        let phase = self.manager.evaluation_phase(self.database())?;
        self.say(&Line::Entered)?;
        self.read()?;
        let rows = self.rows_seen;
        for _ in 0..self.random.below(3) {
            self.read()?;
        }
        if self.rows_seen != rows {
            return Err("somebody wrote during an evaluation".into());
        }
        drop(phase);
        Ok(self.say(&Line::Left)?)
    }

    /// Creates a second database, which some other workers create too.
    fn create(&mut self) -> Outcome {
        let number = schema::creation_of(self.number);
        let pause = self.draw_pause();
        self.say(&Line::Creates(number))?;
        let path = schema::creation(&self.folder, number);
        self.manager.create(&path, |new| schema::fill(new, pause))?;
        let rows = schema::count_filled(&*self.manager.read(&path)?)?;
        if rows != schema::ROWS_FILLED {
            return Err(format!("a new database has {rows} rows").into());
        }
        Ok(self.say(&Line::Created(number))?)
    }

    fn close(&mut self) -> Outcome {
        self.say(&Line::Closes)?;
        let report = self.manager.close_all_connections(Drain::within(Duration::from_secs(5)));
        if !report.is_complete() {
            return Err(format!("closing left leases: {report:?}").into());
        }
        Ok(self.say(&Line::Closed)?)
    }

    fn idle(&mut self) -> Outcome {
        self.say(&Line::Idles)?;
        thread::sleep(self.random.up_to(Duration::from_millis(10)));
        Ok(self.say(&Line::Idled)?)
    }

    fn draw_transaction(&mut self) -> ((u64, u64), u64) {
        let number = self.next;
        self.next += 1;
        ((self.number, number), 1 + self.random.below(3))
    }

    fn draw_pause(&mut self) -> Duration {
        if self.random.one_in(3) {
            self.random.up_to(Duration::from_millis(4))
        } else {
            Duration::ZERO
        }
    }

    /// A transaction has failed without having been asked to. While somebody evaluates, writes are refused;
    /// nothing else may be in the way for as long as a lease is waited for.
    fn undone(&self, number: u64, error: Error) -> Outcome {
        match error {
            Error::EvaluationIsOn { .. } if !self.is_training => {
                Ok(self.say(&Line::Undone(number))?)
            }
            error => Err(error.into()),
        }
    }
}

/// The rows of a transaction and the count of them, with a pause between the two.
fn add(
    tx: &Transaction<'_>,
    key: (u64, u64),
    slot: u64,
    parts: u64,
    pause: Duration,
) -> Result<(), Error> {
    tx.execute(schema::ADD_ROWS, [key.0, key.1, slot, parts])?;
    thread::sleep(pause);
    tx.execute(schema::COUNT_ROWS, [parts, slot]).map(drop)
}

/// The number of rows, if they are as their counters say.
fn look(connection: &Connection) -> Outcome<i64> {
    let (rows, miscounted) = schema::look(connection)?;
    if miscounted > 0 {
        return Err(format!("{miscounted} counters are not what their rows say").into());
    }
    Ok(rows)
}
