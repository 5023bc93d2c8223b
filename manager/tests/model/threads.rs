//! A process of two threads with one database: the queue over a hold at the gate, as `database.rs` has them.

use std::sync::Arc;

use manager::AccessMode::{self, ReadWrite};
use manager::Phase;

use super::world::{Doing, Process, World, patient};
use crate::gate::file::Refusal;
use crate::gate::hold::Hold;
use crate::gate::phase::{PhaseHold, WritePermission};
use crate::gate::queue::Queue;
use crate::gate::state::{Afterwards, DrainTurn, Drained, Limits, Turn};
use crate::seam::sync::Mutex;

pub(crate) struct Threads {
    process: Process,
    queue: Queue,
    held: Mutex<Option<Held>>,
    /// Covers the writes of the process while it is in it.
    training: Mutex<Option<Arc<PhaseHold>>>,
}

struct Held {
    gate: Hold,
    /// The phase that covers a write hold lasts as long as the hold.
    _training: Option<Arc<PhaseHold>>,
}

impl Threads {
    pub(crate) fn of(process: Process) -> Self {
        Self {
            process,
            queue: Queue::new(Limits { keep: true, ..Limits::default() }),
            held: Mutex::new(None),
            training: Mutex::new(None),
        }
    }

    pub(crate) fn enter_training(&self, world: &World) {
        let entered = self.process.enter(world, Phase::Training).unwrap();
        world.begin(Doing::Training);
        *self.training.lock() = Some(Arc::new(entered));
    }

    pub(crate) fn leave_training(&self, world: &World) {
        world.end(Doing::Training);
        *self.training.lock() = None;
    }

    /// Writes once, and keeps the hold. Refused if somebody evaluates.
    pub(crate) fn write_unless_evaluated(&self, world: &World) {
        match self.acquire(ReadWrite) {
            Ok(()) => {
                world.visit(Doing::Writing);
                self.conclude(self.queue.release(ReadWrite));
            }
            Err(Refusal::Evaluation(_)) => {}
            Err(refusal) => panic!("{refusal:?}"),
        }
    }

    /// Listens until the hold is wanted or given up, as the keeper does.
    pub(crate) fn keep(&self, world: &World) {
        let page = self.held.lock().as_ref().map(|held| Arc::clone(held.gate.page()));
        let Some(page) = page else { return };
        let mut is_wanted = false;
        World::listen(&page, || {
            let held = self.held.lock();
            let Some(held) = held.as_ref() else { return true };
            is_wanted = held.gate.is_wanted() || held.gate.is_phase_wanted();
            is_wanted || world.all_are_served()
        });
        if is_wanted {
            self.conclude(self.queue.yield_hold());
        }
    }

    pub(crate) fn drain(&self, drained: Drained) {
        self.queue.begin_drain(drained);
        loop {
            match self.queue.wait_drained(drained, &patient()) {
                DrainTurn::Done => break,
                DrainTurn::Detach => self.let_go(),
                DrainTurn::Wait => unreachable!("it has no deadline"),
            }
        }
        self.conclude(self.queue.end_drain(drained));
    }

    fn acquire(&self, mode: AccessMode) -> Result<(), Refusal> {
        if self.queue.try_now(mode) {
            return Ok(());
        }
        let ticket = self.queue.enqueue(mode);
        let turn = self.queue.wait(ticket, &patient()).expect("it has no deadline");
        if turn == Turn::Granted {
            return Ok(());
        }
        let mut held = self.held.lock();
        *held = None;
        let training = self.training.lock().clone();
        let permission = match &training {
            Some(_) => WritePermission::Granted,
            None => WritePermission::OutsideEvaluation,
        };
        match self.process.take_as(mode, permission, &patient()) {
            Ok(gate) => {
                *held = Some(Held { gate, _training: training });
                drop(held);
                self.queue.changed(ticket);
                Ok(())
            }
            Err(refusal) => {
                drop(held);
                self.queue.change_failed(ticket);
                Err(refusal)
            }
        }
    }

    fn conclude(&self, afterwards: Afterwards) {
        if afterwards == Afterwards::Detach {
            self.let_go();
        }
    }

    fn let_go(&self) {
        let held = self.held.lock().take().expect("only what is held is let go of");
        let page = Arc::clone(held.gate.page());
        drop(held);
        self.queue.detached();
        page.ring(); // for the keeper, which looks now and then
    }
}
