//! Kills processes that use one database, at random moments, and checks that nobody else loses by it.
//!
//! ```console
//! $ cargo run --release -p manager --example kill_storm -- --kills 10000
//! ```
//!
//! | option | default | |
//! |---|---|---|
//! | `--kills N` | 200 | workers that are killed, with SIGKILL |
//! | `--workers N` | 4 | workers that are alive at a time |
//! | `--seed 0xN` | the clock | of every draw |
//! | `--folder PATH` | a temporary one | where the database is; it has to be empty |
//! | `--recovery-max-ms N` | 10000 | everybody gets something within this time after each kill |
//! | `--canary drop-ack`, `torn-row`, `strand`, `outsider`, `tear` | none | a planted fault, which the storm has to notice |
//!
//! Exit code 0: nothing was lost. 1: something was, or somebody was stranded; the last lines of the history say how,
//! and the folder stays. 2: the storm itself could not go on. 3: nothing was lost, but DuckDB has left a file that could
//! not be opened before the storm mended it (`torn.rs`).
//!
//! # How it works
//!
//! Each worker is this program again (`worker.rs`). It stores, fails on purpose, reads, enters phases, creates second
//! databases and closes, as its draws say, and says each step on a pipe first (`journal.rs`). The storm (`storm.rs`)
//! kills one to three of them, starts new ones, and waits until all have got something again. After some kills, and in
//! the end, it reads the database through the manager (`judge.rs`) and compares it with what was said (`history.rs`,
//! `check.rs`).
//!
//! # Scope of determinism
//!
//! The seed fixes what every worker draws, and what the storm draws. The kernel schedules the processes, so the same
//! seed does not give the same history again.

mod check;
mod fleet;
mod history;
mod journal;
mod judge;
mod random;
mod report;
mod schema;
mod storm;
mod torn;
mod worker;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use storm::{Canary, Options, Storm, Trouble};

const VIOLATED: u8 = 1;
const FAILED: u8 = 2;
const TORN: u8 = 3;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if let [role, folder, numbers @ ..] = arguments.as_slice()
        && role == "--as-worker"
    {
        return work(Path::new(folder), numbers);
    }
    match Arguments::parse(&arguments).and_then(Arguments::rage) {
        Ok(code) => code,
        Err(text) => {
            eprintln!("kill_storm: {text}");
            ExitCode::from(FAILED)
        }
    }
}

fn work(folder: &Path, numbers: &[String]) -> ExitCode {
    let numbers: Vec<u64> = numbers.iter().map_while(|number| number.parse().ok()).collect();
    let &[number, slot, seed] = numbers.as_slice() else { return ExitCode::from(FAILED) };
    if worker::work(folder, number, slot, seed) { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

struct Arguments {
    kills: u64,
    workers: usize,
    seed: u64,
    folder: Option<PathBuf>,
    recovery_max: Duration,
    canary: Option<Canary>,
}

impl Arguments {
    fn parse(arguments: &[String]) -> Result<Self, String> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |now| now.as_nanos());
        let mut parsed = Self {
            kills: 200,
            workers: 4,
            seed: now as u64,
            folder: None,
            recovery_max: Duration::from_secs(10),
            canary: None,
        };
        for pair in arguments.chunks(2) {
            let [option, value] = pair else { return Err(format!("`{}` lacks a value", pair[0])) };
            parsed.set(option, value)?;
        }
        Ok(parsed)
    }

    fn set(&mut self, option: &str, value: &str) -> Result<(), String> {
        let number = |digits: &str, radix| {
            let wrong = |_| format!("`{value}` is no number for {option}");
            u64::from_str_radix(digits, radix).map_err(wrong)
        };
        match option {
            "--kills" => self.kills = number(value, 10)?,
            "--workers" => {
                self.workers = number(value, 10)? as usize;
                if !(1..=32).contains(&self.workers) {
                    return Err("there can be 1 to 32 workers".into());
                }
            }
            "--seed" => {
                self.seed = value
                    .strip_prefix("0x")
                    .map_or_else(|| number(value, 10), |digits| number(digits, 16))?;
            }
            "--folder" => self.folder = Some(value.into()),
            "--recovery-max-ms" => self.recovery_max = Duration::from_millis(number(value, 10)?),
            "--canary" => {
                self.canary = Some(match value {
                    "drop-ack" => Canary::DropAck,
                    "torn-row" => Canary::TornRow,
                    "strand" => Canary::Strand,
                    "outsider" => Canary::Outsider,
                    "tear" => Canary::Tear,
                    _ => return Err(format!("there is no canary `{value}`")),
                });
            }
            _ => {
                return Err(format!(
                    "there is no option `{option}`; the head of its source has them"
                ));
            }
        }
        Ok(())
    }

    fn rage(self) -> Result<ExitCode, String> {
        println!("seed 0x{:016x}", self.seed);
        let place = match self.folder {
            Some(folder) => Place::Given(folder),
            None => Place::Temporary(
                tempfile::Builder::new()
                    .prefix("kill-storm-")
                    .tempdir()
                    .map_err(|error| format!("make a folder: {error}"))?,
            ),
        };
        let folder = place.path().to_path_buf();
        let program = std::env::current_exe().map_err(|error| format!("find itself: {error}"))?;
        let mut storm = Storm::new(Options {
            kills: self.kills,
            workers: self.workers,
            seed: self.seed,
            recovery_max: self.recovery_max,
            canary: self.canary,
            program,
            folder: folder.clone(),
        });
        let ran = storm.run();
        print!("{}", storm.report);
        let (code, text) = match ran {
            Ok(()) if storm.report.torn == 0 => return Ok(ExitCode::SUCCESS),
            Ok(()) => {
                println!("TORN: a checkpoint of DuckDB was cut off; its file had to be mended");
                return Ok(ExitCode::from(TORN));
            }
            Err(Trouble::Violated(text)) => (VIOLATED, format!("VIOLATED: {text}")),
            Err(Trouble::Failed(text)) => (FAILED, format!("FAILED: {text}")),
        };
        println!("the last of the history:");
        storm.tail.iter().for_each(|line| println!("{line}"));
        for holder in manager::holders(&schema::database(&folder)).into_iter().flatten() {
            println!("at the gate: {holder}");
        }
        println!("folder {}", folder.display());
        place.keep();
        println!("seed 0x{:016x}", self.seed);
        println!("{text}");
        Ok(ExitCode::from(code))
    }
}

/// Where the database is.
enum Place {
    Given(PathBuf),
    Temporary(tempfile::TempDir),
}

impl Place {
    fn path(&self) -> &Path {
        match self {
            Self::Given(folder) => folder,
            Self::Temporary(folder) => folder.path(),
        }
    }

    /// Lets it stay for somebody to look at.
    fn keep(self) {
        if let Self::Temporary(folder) = self {
            let _ = folder.keep();
        }
    }
}
