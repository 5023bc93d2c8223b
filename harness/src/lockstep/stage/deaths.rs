//! How processes of actors end, stop and come back.

use std::cell::RefCell;
use std::process::ExitStatus;
use std::rc::Rc;

use super::Stage;
use crate::lockstep::act::Act;
use crate::lockstep::driver::{Class, Outcome};
use crate::lockstep::log::Came;
use crate::lockstep::loss;
use crate::lockstep::player::{Body, State, behind_transaction};
use crate::lockstep::process::{Process, in_words};
use crate::lockstep::schedule::ScheduleError;

impl Stage<'_> {
    /// Kills the process of an actor, and waits until it has gone.
    pub(super) fn kill(&mut self, actor: usize) -> Result<Outcome, ScheduleError> {
        let Body::Process(shared) = &self.players[actor].body else {
            unreachable!("only processes are offered to be killed")
        };
        let shared = Rc::clone(shared);
        let status = shared.borrow_mut().as_mut().expect("it lives").kill();
        let name = &self.names[actor];
        let status =
            status.map_err(|source| ScheduleError::Process { actor: name.clone(), source })?;
        self.died(&shared);
        Ok(killed(status))
    }

    /// Whoever was part of that process is no more.
    pub(super) fn died(&mut self, shared: &Rc<RefCell<Option<Process>>>) {
        *shared.borrow_mut() = None;
        for index in 0..self.players.len() {
            let Body::Process(theirs) = &self.players[index].body else { continue };
            if Rc::ptr_eq(theirs, shared) {
                self.players[index].state = self.dead(index);
            }
        }
    }

    /// The state of somebody whose process has died.
    fn dead(&self, player: usize) -> State {
        let restarts = self.job.script.faults.as_ref().is_some_and(|faults| faults.restart);
        let comes_back = restarts && player < self.job.script.actors.len();
        if comes_back { State::Dead } else { State::Gone }
    }

    /// All processes die, and of the files there is what survives. Who was not done says in its next step that it is dead.
    pub(super) fn lose_power(
        &mut self,
        step: u64,
        actor: usize,
        act: Act,
    ) -> Result<Came, ScheduleError> {
        let model = act.loses().expect("the power fails");
        let outcome = self.kill(actor)?;
        for index in 0..self.job.script.actors.len() {
            if !self.has_process(index) {
                continue;
            }
            let was_done = matches!(self.players[index].state, State::Gone);
            self.kill(index)?;
            self.players[index].state = if was_done { State::Gone } else { State::Doomed };
        }
        loss::lose(self.job.folder, model)?;
        let outcome = Outcome::new(outcome.class, &format!("{}, {act}", outcome.shown)).waking();
        Ok(Came { step, outcome, waits: None })
    }

    fn has_process(&self, actor: usize) -> bool {
        match &self.players[actor].body {
            Body::Process(shared) => shared.borrow().is_some(),
            Body::Thread(_) => false,
        }
    }

    /// Whose process has died with the power, and who has not said so yet.
    pub(super) fn doomed(&self) -> Option<usize> {
        self.players.iter().position(|player| matches!(player.state, State::Doomed))
    }

    /// Says so.
    pub(super) fn succumb(&mut self, step: u64, actor: usize) -> Came {
        self.players[actor].state = self.dead(actor);
        let outcome = Outcome::new(Class::Killed, "with the power").waking();
        Came { step, outcome, waits: None }
    }

    pub(super) fn pause(&mut self, step: u64, actor: usize) -> Result<Came, ScheduleError> {
        let Body::Process(shared) = &self.players[actor].body else {
            unreachable!("only processes are offered to be stopped")
        };
        let paused = shared.borrow().as_ref().expect("it lives").pause();
        paused.map_err(|source| ScheduleError::Process {
            actor: self.names[actor].clone(),
            source,
        })?;
        self.players[actor].state = State::Stopped;
        Ok(Came { step, outcome: Outcome::new(Class::Paused, "stopped"), waits: None })
    }

    /// Another process in the place of the one that died, which goes on behind the transaction that died with it.
    pub(super) fn restart(&mut self, step: u64, actor: usize) -> Result<Came, ScheduleError> {
        let script = &self.job.script.actors[actor];
        let body = Body::process(self.job, script)?;
        let player = &mut self.players[actor];
        player.body = body;
        let within = player.at.take().is_some();
        player.done = behind_transaction(&script.steps, player.done, within);
        player.state = if player.done < script.steps.len() { State::Ready } else { State::Gone };
        Ok(Came { step, outcome: Outcome::new(Class::Ok, ""), waits: None })
    }
}

pub(super) fn killed(status: ExitStatus) -> Outcome {
    Outcome::new(Class::Killed, &in_words(status)).waking()
}
