//! The worker: a child process of the harness that does its part of a plan, as told on its standard input.
//!
//! It ends when its standard input does: a coordinator that dies takes its workers along.

use std::io::{self, BufRead};
use std::panic::{self, AssertUnwindSafe};
use std::thread;

use crossbeam::channel::{self, Receiver};
use manager::duckdb::{AccessMode, Config, Connection};

use super::protocol::{Command, PhaseWork, Reply, Start};
use super::shelf::Shelf;
use super::specs::Specs;
use super::steps::{Actor, Source, Worker};
use crate::driver;
use crate::history::What;
use crate::panel::Market;
use crate::probe::Probe;
use crate::scenario::Work;
use crate::seed::Seed;

/// Runs until the coordinator says finish. Returns the exit code: 0, or 70 if it said that it failed.
pub fn main() -> u8 {
    // Also covers a coordinator that is killed while this process computes.
    let _ = rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::KILL));
    let Some(start) = read_start() else {
        eprintln!(
            "harness worker: this is a part of `harness run`; it is not meant to be started by hand"
        );
        return 2;
    };
    let commands = read_commands();
    let probe = Probe::new(&start.process, Box::new(io::stdout()));
    match work(&start, &probe, &commands) {
        Ok(()) => {
            probe.reply(&Reply::Done);
            0
        }
        Err(message) => {
            probe.reply(&Reply::Failed { message });
            70
        }
    }
}

/// Does what it is told until it is told to finish; then everything it held is given back.
fn work(start: &Start, probe: &Probe, commands: &Receiver<Command>) -> Result<(), String> {
    let (prices, source) = open_source(start)?;
    let store = driver::open(start.driver, &start.store, start.role, start.writes, probe.clone())
        .map_err(|error| error.to_string())?;
    let shelf = Shelf::new(start.role, probe.clone(), store);
    let worker = Worker { start: start.clone(), shelf, source };
    probe.reply(&Reply::Done);
    while let Ok(Command::Phase(phase)) = commands.recv() {
        run_phase(&worker, prices.as_ref(), &phase)?;
        probe.reply(&Reply::Done);
    }
    Ok(())
}

/// What artefacts are made from: read, or drawn.
fn open_source(start: &Start) -> Result<(Option<Connection>, Source), String> {
    match &start.work {
        Work::Pipeline { data, .. } => {
            let failed = |error| format!("open the prices: {error}");
            let prices = open_prices(start).map_err(failed)?;
            let specs = Specs::read(&prices, &start.windows, data.price).map_err(failed)?;
            Ok((Some(prices), Source::Prices(Box::new(specs))))
        }
        Work::Panel(panel) => {
            let market = Market::draw(*panel, start.windows.block_sessions, Seed(start.seed));
            Ok((None, Source::Market(Box::new(market))))
        }
    }
}

fn run_phase(
    worker: &Worker,
    prices: Option<&Connection>,
    phase: &PhaseWork,
) -> Result<(), String> {
    worker.shelf.store().enter(phase.phase).map_err(|failed| failed.to_string())?;
    let window = phase.window.id;
    worker.shelf.probe().record_process(What::PhaseEntered { phase: phase.phase, window });
    let done = run_actors(worker, prices, phase);
    worker.shelf.probe().record_process(What::PhaseLeft { phase: phase.phase, window });
    worker.shelf.store().leave();
    done
}

fn run_actors(
    worker: &Worker,
    prices: Option<&Connection>,
    phase: &PhaseWork,
) -> Result<(), String> {
    thread::scope(|scope| {
        let mut threads = Vec::new();
        for (id, steps) in &phase.steps {
            let prices = prices.map(Connection::try_clone).transpose();
            let prices = prices.map_err(|error| error.to_string())?;
            let actor = Actor { worker, prices, window: &phase.window, fits: &phase.fits };
            threads.push(scope.spawn(move || {
                Probe::become_actor(id);
                let steps = || steps.iter().try_for_each(|step| actor.take(step));
                match panic::catch_unwind(AssertUnwindSafe(steps)) {
                    Ok(done) => done.map_err(|error| format!("{id}: {error}")),
                    Err(_) => Err(format!("{id}: panicked; its message is on standard error")),
                }
            }));
        }
        threads.into_iter().try_for_each(|thread| thread.join().expect("panics are caught inside"))
    })
}

/// The prices are read-only for everybody, so any number of processes may have them open.
fn open_prices(start: &Start) -> manager::duckdb::Result<Connection> {
    // One thread a query: several may add up in another order.
    let config = Config::default().access_mode(AccessMode::ReadOnly)?.threads(1)?;
    Connection::open_with_flags(&start.prices, config)
}

/// The first command, if it is the one that comes first.
fn read_start() -> Option<Start> {
    let mut line = String::new();
    io::stdin().lock().read_line(&mut line).ok()?;
    match serde_json::from_str(&line) {
        Ok(Command::Start(start)) => Some(start),
        _ => None,
    }
}

/// Every command after the first.
fn read_commands() -> Receiver<Command> {
    let (send, commands) = channel::unbounded();
    thread::spawn(move || {
        for line in io::stdin().lock().lines() {
            let Ok(line) = line else { break };
            match serde_json::from_str(&line) {
                Ok(command) => {
                    let last = command == Command::Finish;
                    if send.send(command).is_err() || last {
                        return; // it ends by itself
                    }
                }
                Err(error) => {
                    eprintln!("harness worker: a command that this build does not know: {error}");
                    break;
                }
            }
        }
        std::process::exit(3); // the coordinator is gone
    });
    commands
}
