//! Histories for the tests of the checks: by hand, and by a simulation of well-behaved actors.
//!
//! # Scope of determinism
//!
//! [`valid_histories`] is a function of the turns that proptest draws.
//!
//! # Invariants
//!
//! * In a simulated history every property holds, killed actors included.

use std::collections::BTreeMap;
use std::ops::Range;

use proptest::prelude::*;

use crate::history::{Actor, Event, Header, History, Mode, Outcome, Role, Row, What, When};

/// A history of two training processes and one for evaluation, two threads each.
pub(super) fn history(events: Vec<Event>) -> History {
    let mut actors = Vec::new();
    for (process, role) in
        [Role::Training, Role::Training, Role::Evaluation].into_iter().enumerate()
    {
        actors.extend((0..2).map(|thread| Actor {
            id: format!("{role}-{process}/{thread}"),
            role,
            process: process as u32,
            thread,
        }));
    }
    let header = Header {
        format: crate::history::FORMAT.to_owned(),
        format_version: crate::history::FORMAT_VERSION.to_owned(),
        scenario: "fixture".to_owned(),
        driver: "none".to_owned(),
        seed: "0x000000000000002a".to_owned(),
        actors,
    };
    let mut history = History { header, events };
    history.sort();
    history
}

pub(super) fn at(t_ns: u64, actor: &str, what: What) -> Event {
    let actor = actor.to_owned();
    Event { t_ns, actor, what }
}

pub(super) fn started(t_ns: u64, process: &str, pid: u32) -> Event {
    at(t_ns, process, What::ProcessStarted { pid })
}

/// The end of a process, whose pid is 100 and the number in its name.
pub(super) fn ended(t_ns: u64, process: &str, code: Option<i32>) -> Event {
    let number: u32 = process.rsplit('-').next().unwrap().parse().unwrap();
    let pid = 100 + number;
    at(t_ns, process, What::ProcessEnded { pid, code })
}

pub(super) fn taken(t_ns: u64, actor: &str, lease: u64, mode: Mode) -> Event {
    let waited_ns = 0;
    at(t_ns, actor, What::LeaseTaken { lease, mode, waited_ns })
}

pub(super) fn returned(t_ns: u64, actor: &str, lease: u64) -> Event {
    at(t_ns, actor, What::LeaseReturned { lease })
}

pub(super) fn entered(t_ns: u64, actor: &str, phase: Role, window: u32) -> Event {
    at(t_ns, actor, What::PhaseEntered { phase, window })
}

pub(super) fn left(t_ns: u64, actor: &str, phase: Role, window: u32) -> Event {
    at(t_ns, actor, What::PhaseLeft { phase, window })
}

pub(super) fn row(key: u64, content: u64) -> Row {
    Row { key: format!("{key:032x}"), content: format!("{content:016x}") }
}

/// A publish, whose end is missing if it has no outcome.
pub(super) fn publish(
    t_ns: Range<u64>,
    actor: &str,
    op: u64,
    rows: &[Row],
    outcome: Option<Outcome>,
) -> Vec<Event> {
    let rows = rows.to_vec();
    let mut events = vec![at(t_ns.start, actor, What::PublishStarted { op, rows })];
    events.extend(outcome.map(|outcome| at(t_ns.end, actor, What::PublishEnded { op, outcome })));
    events
}

pub(super) fn visible(t_ns: u64, rows: &[Row]) -> Vec<Event> {
    let rows = rows.to_vec();
    vec![at(t_ns, "coordinator", What::Visible { rows })]
}

pub(super) fn survey(t_ns: u64, when: When, files: &[&str]) -> Event {
    let what = What::Survey {
        when,
        descriptors: Vec::new(),
        locks: Vec::new(),
        processes: Vec::new(),
        files: files.iter().map(|file| (*file).to_owned()).collect(),
    };
    at(t_ns, "coordinator", what)
}

/// A turn of a training actor at the store.
#[derive(Clone, Debug)]
struct Turn {
    actor: usize,
    keys: Vec<u64>,
    outcome: Outcome,
    /// If nobody can tell how it ended: whether it happened.
    happened: bool,
    /// Whether the other thread of the process reads meanwhile.
    read_beside: bool,
    pause_ns: u64,
}

fn turns() -> impl Strategy<Value = Turn> {
    let outcome = prop_oneof![
        4 => Just(Outcome::Ok),
        1 => Just(Outcome::Failed),
        1 => Just(Outcome::Unknown),
    ];
    let keys = prop::collection::vec(0..12_u64, 1..4);
    (0..4_usize, keys, outcome, any::<bool>(), any::<bool>(), 0..5_u64).prop_map(
        |(actor, keys, outcome, happened, read_beside, pause_ns)| Turn {
            actor,
            keys,
            outcome,
            happened,
            read_beside,
            pause_ns,
        },
    )
}

/// Histories of windows in which processes take turns to write and then read together. In some of them a
/// training process is killed in the middle of a publish, and the other takes the lock at once.
pub(super) fn valid_histories() -> impl Strategy<Value = History> {
    let windows = prop::collection::vec(prop::collection::vec(turns(), 1..8), 1..4);
    (windows, prop::option::of(0..2_usize)).prop_map(|(windows, victim)| {
        let mut world = World::default();
        world.run(&windows, victim);
        history(world.events)
    })
}

const TRAINING: [&str; 2] = ["training-0", "training-1"];
const EVALUATION: &str = "evaluation-2";

#[derive(Default)]
struct World {
    t_ns: u64,
    events: Vec<Event>,
    /// What is in the store.
    rows: BTreeMap<u64, u64>,
    /// Numbers leases, operations and contents.
    last_number: u64,
    killed: Option<usize>,
}

impl World {
    fn record(&mut self, event: impl FnOnce(u64) -> Event) {
        self.t_ns += 1;
        self.events.push(event(self.t_ns));
    }

    fn number(&mut self) -> u64 {
        self.last_number += 1;
        self.last_number
    }

    fn alive(&self) -> Vec<&'static str> {
        let killed = self.killed.map(|victim| TRAINING[victim]);
        TRAINING.into_iter().filter(|process| killed != Some(process)).collect()
    }

    fn run(&mut self, windows: &[Vec<Turn>], victim: Option<usize>) {
        self.record(|t_ns| survey(t_ns, When::Before, &["prices.csv"]));
        for (process, pid) in TRAINING.into_iter().chain([EVALUATION]).zip(100..) {
            self.record(|t_ns| started(t_ns, process, pid));
        }
        // One publish is surely acknowledged and stays, so that every defect has a place.
        let (keys, outcome) = (vec![99], Outcome::Ok);
        self.turn(&Turn { keys, outcome, ..windows[0][0].clone() });
        for (window, turns) in (0..).zip(windows) {
            self.train(window, turns, victim.filter(|_| window == 0));
            self.evaluate(window);
        }
        for process in self.alive().into_iter().chain([EVALUATION]) {
            self.record(|t_ns| ended(t_ns, process, Some(0)));
        }
        let rows: Vec<Row> = self.rows.iter().map(|(key, content)| row(*key, *content)).collect();
        self.events.extend(visible(self.t_ns + 1, &rows));
        self.events.push(survey(self.t_ns + 2, When::After, &["prices.csv", "store.duckdb"]));
    }

    fn train(&mut self, window: u32, turns: &[Turn], victim: Option<usize>) {
        for process in self.alive() {
            self.record(|t_ns| entered(t_ns, process, Role::Training, window));
        }
        if let Some(victim) = victim {
            self.kill(victim, &turns[0]);
        }
        for turn in turns {
            self.turn(turn);
        }
        for process in self.alive() {
            self.record(|t_ns| left(t_ns, process, Role::Training, window));
        }
    }

    /// Two threads read together, the second for longer.
    fn evaluate(&mut self, window: u32) {
        let readers = [0, 1].map(|thread| (format!("{EVALUATION}/{thread}"), self.number()));
        for (actor, lease) in &readers {
            self.record(|t_ns| entered(t_ns, actor, Role::Evaluation, window));
            self.record(|t_ns| taken(t_ns, actor, *lease, Mode::Read));
        }
        for (actor, lease) in &readers {
            self.record(|t_ns| returned(t_ns, actor, *lease));
            self.record(|t_ns| left(t_ns, actor, Role::Evaluation, window));
        }
    }

    fn turn(&mut self, turn: &Turn) {
        if self.killed == Some(turn.actor / 2) {
            return;
        }
        let process = TRAINING[turn.actor / 2];
        let writer = format!("{process}/{}", turn.actor % 2);
        let reader = format!("{process}/{}", 1 - turn.actor % 2);
        let (lease, beside) = (self.number(), self.number());
        self.record(|t_ns| taken(t_ns, &writer, lease, Mode::Write));
        if turn.read_beside {
            self.record(|t_ns| taken(t_ns, &reader, beside, Mode::Read));
        }
        let op = self.publish(&writer, turn);
        let outcome = turn.outcome;
        self.record(|t_ns| at(t_ns, &writer, What::PublishEnded { op, outcome }));
        self.record(|t_ns| returned(t_ns, &writer, lease));
        if turn.read_beside {
            self.record(|t_ns| returned(t_ns, &reader, beside));
        }
        self.t_ns += turn.pause_ns;
    }

    /// Begins a publish, whose rows are in the store if it happens.
    fn publish(&mut self, writer: &str, turn: &Turn) -> u64 {
        let (op, content) = (self.number(), self.number());
        let rows = turn.keys.iter().map(|key| row(*key, content)).collect();
        self.record(|t_ns| at(t_ns, writer, What::PublishStarted { op, rows }));
        let happened = match turn.outcome {
            Outcome::Ok => true,
            Outcome::Failed => false,
            Outcome::Unknown => turn.happened,
        };
        if happened {
            self.rows.extend(turn.keys.iter().map(|key| (*key, content)));
        }
        op
    }

    fn kill(&mut self, victim: usize, turn: &Turn) {
        let (process, lease) = (TRAINING[victim], self.number());
        let writer = format!("{process}/0");
        self.record(|t_ns| taken(t_ns, &writer, lease, Mode::Write));
        self.publish(&writer, &Turn { outcome: Outcome::Unknown, ..turn.clone() });
        self.killed = Some(victim);
        // The other process has the lock before anybody has waited for the dead one.
        self.turn(&Turn { actor: 2 * (1 - victim), ..turn.clone() });
        self.record(|t_ns| ended(t_ns, process, None));
    }
}
