//! Everybody who takes part in a schedule, what they are at, and what time it is.
//!
//! Actors come first, in the order of the scenario; behind them the threads that the manager begins on the way, as they
//! come. Those have no script, and no schedule waits for them.

mod deaths;

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;

use super::act::{Act, JUMP_NS, Move};
use super::baton::{Back, Crew, Go, Stuck, Thread};
use super::driver::{Class, Outcome, Turn, World};
use super::log::{Came, Decision, Edge, Ended};
use super::player::{Body, Player, State, behind, timers};
use super::points;
use super::process::{Lost, Process};
use super::schedule::{Job, STEP_NS, ScheduleError};
use super::vocabulary::Vocabulary;
use crate::scenario::script::Actor;
use deaths::killed;

/// The operation of an actor whose process was killed.
pub(super) const RESTART: &str = "restart";
/// What a thread of the manager does.
pub(super) const ON_ITS_OWN: &str = "(on its own)";
/// So many times in a row may time jump for threads of the manager alone, before nobody is expected to move again.
const IDLE_JUMPS_MAX: u32 = 16;

/// See the module's header.
pub(super) struct Stage<'a> {
    job: &'a Job<'a>,
    /// What drivers are told in the place of words that checks understand.
    vocabulary: Vocabulary,
    crew: Arc<Crew>,
    players: Vec<Player>,
    names: Vec<String>,
    now_ns: u64,
    last: Option<usize>,
    /// How many faults have been decided.
    faults: u32,
    idle_jumps: u32,
    is_whole: bool,
}

/// An actor that was lost within a step: a finding.
pub(super) enum LostActor {
    Stuck,
    Died(String),
}

impl LostActor {
    pub(super) fn ended(self, actor: String, op: String) -> Ended {
        match self {
            Self::Stuck => Ended::Stuck { actor, op },
            Self::Died(how) => Ended::Died { actor, op, how },
        }
    }
}

impl<'a> Stage<'a> {
    /// Has every actor made: on a thread in that world, or, without one, in a process of its own.
    pub(super) fn new(
        job: &'a Job<'a>,
        world: Option<&Arc<dyn World>>,
    ) -> Result<Self, ScheduleError> {
        let mut stage = Self {
            job,
            vocabulary: job.script.watched.vocabulary(),
            crew: Crew::new(job.script, job.folder),
            players: Vec::new(),
            names: Vec::new(),
            now_ns: 0,
            last: None,
            faults: 0,
            idle_jumps: 0,
            is_whole: true,
        };
        for actor in &job.script.actors {
            let body = match world {
                Some(world) => {
                    let thread = Thread::start(&stage.crew, world, &actor.id);
                    Body::Thread(Some(thread.map_err(|source| job.blame(source))?))
                }
                None => Body::process(job, actor)?,
            };
            stage.names.push(actor.id.clone());
            stage.players.push(Player::new(body));
        }
        Ok(stage)
    }

    pub(super) fn now_ns(&self) -> u64 {
        self.now_ns
    }

    pub(super) fn last(&self) -> Option<usize> {
        self.last
    }

    pub(super) fn names(&self) -> &[String] {
        &self.names
    }

    /// Who can move now, or, if nobody can, when the earliest timer has come. Nobody, once all actors are done.
    pub(super) fn enabled(&mut self) -> Vec<usize> {
        let actors = self.job.script.actors.len();
        loop {
            if self.players[..actors].iter().all(|player| matches!(player.state, State::Gone)) {
                return Vec::new();
            }
            if let Some(doomed) = self.doomed() {
                return vec![doomed];
            }
            let now_ns = self.now_ns;
            for player in &mut self.players {
                if matches!(player.state, State::Waiting { until_ns: Some(until), .. } if until <= now_ns)
                {
                    player.state = State::Ready;
                }
            }
            let moves = |index: &usize| self.can_move(&self.players[*index]);
            let enabled: Vec<usize> = (0..self.players.len()).filter(moves).collect();
            if !enabled.is_empty() {
                return enabled;
            }
            let Some(earliest) = timers(&self.players).min() else { return enabled };
            self.now_ns = earliest;
            let for_an_actor = timers(&self.players[..actors]).next().is_some();
            self.idle_jumps = if for_an_actor { 0 } else { self.idle_jumps + 1 };
            if IDLE_JUMPS_MAX < self.idle_jumps {
                return enabled;
            }
        }
    }

    /// Whether it is offered. Of a process that was stopped only the thread that it was stopped at is: it goes on first.
    fn can_move(&self, player: &Player) -> bool {
        let stops = |other: &Player| match (&player.body, &other.body) {
            (Body::Process(one), Body::Process(the_other)) => {
                Rc::ptr_eq(one, the_other) && matches!(other.state, State::Stopped)
            }
            _ => false,
        };
        player.can_move()
            && (matches!(player.state, State::Stopped) || !self.players.iter().any(stops))
    }

    /// What each of them would do next.
    pub(super) fn ops(&self, enabled: &[usize]) -> Vec<&str> {
        let op = |&index: &usize| match &self.players[index].at {
            Some(at) => at.as_str(),
            None => self.op(index),
        };
        enabled.iter().map(op).collect()
    }

    /// What else could happen than that somebody moves.
    pub(super) fn faults(&self, enabled: &[usize]) -> Vec<Move> {
        let script = self.job.script;
        let Some(faults) = script.faults.as_ref().filter(|faults| self.faults < faults.at_most)
        else {
            return Vec::new();
        };
        let mut moves = Vec::new();
        for &actor in enabled.iter().filter(|&&index| index < script.actors.len()) {
            let player = &self.players[actor];
            if matches!(player.state, State::Dead | State::Doomed | State::Stopped) {
                continue;
            }
            let at_call = player.at.as_deref().filter(|_| script.points.has_calls());
            let fits = |act: &&Act| match act {
                Act::Torn => at_call.is_some_and(points::is_write),
                Act::Enospc | Act::Full => at_call.is_some_and(points::needs_room),
                act => !act.needs_call() || at_call.is_some(),
            };
            moves.extend(faults.kinds.iter().filter(fits).map(|&act| Move { actor, act }));
        }
        moves
    }

    pub(super) fn decision(&self, step: u64, enabled: &[usize], chosen: Move) -> Decision {
        Decision {
            step,
            at_ns: self.now_ns,
            enabled: enabled.iter().map(|&index| self.names[index].clone()).collect(),
            actor: self.names[chosen.actor].clone(),
            op: self.op(chosen.actor).to_owned(),
            at: self.players[chosen.actor].at.clone(),
            act: chosen.act,
        }
    }

    fn op(&self, index: usize) -> &str {
        let Some(actor) = self.job.script.actors.get(index) else { return ON_ITS_OWN };
        match self.players[index].state {
            State::Dead => RESTART,
            _ => actor.steps.get(self.players[index].done).map_or(ON_ITS_OWN, String::as_str),
        }
    }

    /// Carries out what was decided.
    pub(super) fn step(
        &mut self,
        step: u64,
        chosen: Move,
    ) -> Result<Result<Came, LostActor>, ScheduleError> {
        let Move { actor, act } = chosen;
        self.faults += u32::from(!act.is_go());
        if act == Act::Jump {
            self.now_ns += JUMP_NS;
        }
        let came = match (act, &self.players[actor].state) {
            (_, State::Dead) => self.restart(step, actor)?,
            (_, State::Doomed) => self.succumb(step, actor),
            (Act::LossOrdered | Act::LossStrict, _) => self.lose_power(step, actor, act)?,
            (Act::Kill, _) => Came { step, outcome: self.kill(actor)?, waits: None },
            (Act::Pause, _) => self.pause(step, actor)?,
            _ => match self.go(actor, act)? {
                Ok(Back { turn, woke }) => {
                    let stood = self.players[actor].at.clone();
                    let mut came = self.take(step, actor, turn);
                    // Who waits where it waited has only looked. If that woke others, they would wake it, for ever.
                    let looked = came.waits.is_some() && stood == self.players[actor].at;
                    came.outcome.wakes |= woke && !looked;
                    came
                }
                Err(lost) => return Ok(Err(lost)),
            },
        };
        self.last = Some(actor);
        self.now_ns += STEP_NS;
        if came.outcome.wakes {
            self.wake(actor);
        }
        Ok(Ok(came))
    }

    fn go(&mut self, actor: usize, act: Act) -> Result<Result<Back, LostActor>, ScheduleError> {
        let op = self.op(actor).to_owned();
        let said = self.vocabulary.sql(&op).into_owned();
        let go = Go { op: said, act, now_ns: self.now_ns };
        let patience = self.job.watchdog;
        let name = self.names[actor].clone();
        let player = &mut self.players[actor];
        player.woken &= player.at.is_some();
        let before = std::mem::replace(&mut player.state, State::Ready);
        let is_stopped = matches!(before, State::Stopped);
        match &mut self.players[actor].body {
            Body::Thread(thread) => {
                let thread = thread.as_mut().expect("it is there until it has gone");
                let back = thread.step(go, patience);
                for thread in self.crew.began() {
                    self.newcomer(thread.name().to_owned(), Body::Thread(Some(thread)));
                }
                Ok(back.map_err(|Stuck| LostActor::Stuck))
            }
            Body::Process(shared) => {
                let shared = Rc::clone(shared);
                self.go_there(&name, &op, &shared, is_stopped, go)
            }
        }
    }

    /// The same in a process.
    fn go_there(
        &mut self,
        name: &str,
        op: &str,
        shared: &Rc<RefCell<Option<Process>>>,
        is_stopped: bool,
        go: Go,
    ) -> Result<Result<Back, LostActor>, ScheduleError> {
        let failed = |source| ScheduleError::Process { actor: name.to_owned(), source };
        let kills = go.act.kills();
        // Threads of the manager are called the same in every process.
        let (owner, thread) = name.split_once('/').unwrap_or((name, name));
        let mut slot = shared.borrow_mut();
        let process = slot.as_mut().expect("it is there until it has gone");
        if is_stopped {
            process.resume().map_err(failed)?;
        }
        let stepped = process.step(thread, go, self.job.watchdog);
        if kills && !matches!(stepped, Err(Lost::Stuck)) {
            let status = process.wait().map_err(failed)?;
            drop(slot);
            self.died(shared);
            return Ok(Ok(Back { turn: Turn::Done(killed(status)), woke: true }));
        }
        drop(slot);
        match stepped {
            Ok((back, began)) => {
                for thread in began {
                    let body = Body::Process(Rc::clone(shared));
                    self.newcomer(format!("{owner}/{thread}"), body);
                }
                Ok(Ok(back))
            }
            Err(Lost::Stuck) => Ok(Err(LostActor::Stuck)),
            Err(Lost::Died(how)) => {
                self.died(shared);
                Ok(Err(LostActor::Died(how)))
            }
            Err(lost) => Err(self.lost(name.to_owned(), op.to_owned(), lost)),
        }
    }

    fn newcomer(&mut self, name: String, body: Body) {
        self.names.push(name);
        self.players.push(Player::new(body));
    }

    fn lost(&self, actor: String, op: String, lost: Lost) -> ScheduleError {
        match lost {
            Lost::Garbage(said) => ScheduleError::Garbage { actor, op, said },
            Lost::Failed(source) => self.job.blame(source),
            Lost::Io(source) => ScheduleError::Process { actor, source },
            Lost::Stuck | Lost::Died(_) => {
                let source = std::io::Error::other("it did not become an actor");
                ScheduleError::Process { actor, source }
            }
        }
    }

    /// Notes what came of a step. When the time is needed, that of the step itself has passed.
    fn take(&mut self, step: u64, actor: usize, turn: Turn) -> Came {
        let now_ns = self.now_ns + STEP_NS;
        // A thread of the manager has one operation.
        let script = self.job.script.actors.get(actor).map(|actor| actor.steps.as_slice());
        let steps = script.map_or(1, <[String]>::len);
        let player = &mut self.players[actor];
        match turn {
            Turn::Paused(place) => {
                let outcome = Outcome::new(Class::Paused, &place);
                player.at = Some(place);
                Came { step, outcome, waits: None }
            }
            Turn::Blocked(waits) => player.waits(step, waits, now_ns, false),
            Turn::Waiting(waits) => player.waits(step, waits, now_ns, true),
            // Its state is that of its process.
            Turn::Done(outcome) if outcome.class == Class::Killed => {
                Came { step, outcome, waits: None }
            }
            Turn::Done(outcome) => {
                player.at = None;
                player.done = behind(script, player.done, outcome.class);
                if player.done == steps || outcome.class == Class::Panicked {
                    player.state = State::Gone;
                }
                Came { step, outcome, waits: None }
            }
        }
    }

    /// Whoever waits tries again, but for the one who moved.
    fn wake(&mut self, mover: usize) {
        for (index, player) in self.players.iter_mut().enumerate() {
            if index == mover {
                continue;
            }
            player.woken = true;
            if matches!(player.state, State::Waiting { .. }) {
                player.state = State::Ready;
            }
        }
    }

    /// Why there is nobody left to move.
    pub(super) fn ended(&self) -> Ended {
        let edge = |(index, actor): (usize, &Actor)| match &self.players[index].state {
            State::Waiting { waits, .. } => Some(Edge {
                actor: actor.id.clone(),
                op: self.op(index).to_owned(),
                waits: waits.clone(),
            }),
            _ => None,
        };
        let graph: Vec<_> = self.job.script.actors.iter().enumerate().filter_map(edge).collect();
        if graph.is_empty() { Ended::Done } else { Ended::Deadlock { graph } }
    }

    /// Ends all actors, one after the other. Where they are not whole, all threads are left behind, and all processes are
    /// killed. Returns what processes have open all the same.
    pub(super) fn clear(mut self, is_whole: bool) -> BTreeMap<String, Vec<String>> {
        self.is_whole = is_whole;
        self.end()
    }

    fn end(&mut self) -> BTreeMap<String, Vec<String>> {
        let mut left = BTreeMap::new();
        self.crew.is_over();
        // There are fewer than actors if one could not be made.
        let actors = self.job.script.actors.len().min(self.players.len());
        let threads = self.players.split_off(actors);
        // Who stands within an operation may wait there for somebody who has gone, and has what others would wait for.
        let stands =
            |player: &Player| player.at.is_some() && matches!(player.body, Body::Thread(_));
        let is_whole = self.is_whole && !self.players.iter().any(stands);
        // Those of the manager first: they may have a lock that an actor needs to go.
        for thread in threads {
            match thread.body {
                Body::Thread(Some(thread)) if is_whole => thread.release(),
                Body::Thread(Some(thread)) => thread.abandon(),
                Body::Thread(None) | Body::Process(_) => {}
            }
        }
        for (player, name) in self.players.drain(..).zip(&self.names) {
            match player.body {
                Body::Thread(Some(thread)) if is_whole => thread.stop(),
                Body::Thread(Some(thread)) => thread.abandon(),
                Body::Thread(None) => {}
                Body::Process(shared) => {
                    let process = shared.borrow_mut().take();
                    if let Some(process) = process.filter(|_| is_whole && player.at.is_none()) {
                        left.insert(name.clone(), process.give_back(self.job.watchdog));
                    }
                }
            }
        }
        left.retain(|_, open| !open.is_empty());
        left
    }
}

impl Drop for Stage<'_> {
    fn drop(&mut self) {
        self.end();
    }
}
