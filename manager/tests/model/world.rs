//! What processes do at a gate, in small parts, and who is at the database now.

use std::sync::Arc;
use std::time::Duration;

use manager::AccessMode::{self, ReadOnly, ReadWrite};
use manager::Phase;

use crate::gate::file::{DIES_AFTER, GateFile, Refusal};
use crate::gate::hold::Hold;
use crate::gate::phase::{PhaseHold, WritePermission};
use crate::seam::patience::{Cancel, Patience};
use crate::seam::shared_page::SharedPage;
use crate::seam::sync::{Condvar, Mutex, never};

pub(crate) const DATABASE: &str = "database";

pub(crate) fn patient() -> Patience {
    Patience::until(never())
}

/// What a process is at the database for.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Doing {
    Reading,
    Writing,
    Training,
    Evaluating,
}

/// Who is at the database, and what was told.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Present {
    readers: u32,
    writers: u32,
    trainers: u32,
    evaluators: u32,
    /// How many processes have got what they came for, or an answer.
    pub(crate) served: u32,
    pub(crate) may_begin: bool,
    pub(crate) is_told: bool,
}

impl Present {
    fn count(&mut self, doing: Doing) -> &mut u32 {
        match doing {
            Doing::Reading => &mut self.readers,
            Doing::Writing => &mut self.writers,
            Doing::Training => &mut self.trainers,
            Doing::Evaluating => &mut self.evaluators,
        }
    }

    fn check(self) {
        assert!(self.writers <= 1, "I3: one writer: {self:?}");
        if self.writers == 1 {
            assert!(self.readers == 0, "I3: no other process reads beside it: {self:?}");
            assert!(self.evaluators == 0, "nobody writes during an evaluation: {self:?}");
        }
        if self.evaluators > 0 {
            assert!(self.trainers == 0, "no training during an evaluation: {self:?}");
        }
    }
}

/// What the processes of a model share beside the gate.
#[derive(Clone)]
pub(crate) struct World {
    processes: u32,
    shared: Arc<Shared>,
    pub(crate) cancel: Cancel,
}

#[derive(Default)]
struct Shared {
    present: Mutex<Present>,
    changed: Condvar,
}

impl World {
    pub(crate) fn of(processes: u32) -> Self {
        Self { processes, shared: Arc::default(), cancel: Cancel::default() }
    }

    pub(crate) fn note(&self, change: impl FnOnce(&mut Present)) -> Present {
        let mut present = self.shared.present.lock();
        change(&mut present);
        present.check();
        let now = *present;
        drop(present);
        self.shared.changed.notify_all();
        now
    }

    pub(crate) fn begin(&self, doing: Doing) -> Present {
        self.note(|present| *present.count(doing) += 1)
    }

    pub(crate) fn end(&self, doing: Doing) {
        self.note(|present| *present.count(doing) -= 1);
    }

    /// Comes and goes, and meets whoever is there between the two.
    pub(crate) fn visit(&self, doing: Doing) {
        self.begin(doing);
        self.end(doing);
    }

    pub(crate) fn wait_until(&self, is_so: impl Fn(&Present) -> bool) {
        let mut present = self.shared.present.lock();
        while !is_so(&present) {
            self.shared.changed.wait_until(&mut present, never());
        }
    }

    /// One more has got what it came for. The last one tells those who keep a hold that nobody else will come, as the
    /// idle limit does.
    pub(crate) fn count_served(&self) {
        let now = self.note(|present| present.served += 1);
        if now.served == self.processes {
            GateFile::open(DATABASE.as_ref()).expect("it opens").page().ring();
        }
    }

    pub(crate) fn all_are_served(&self) -> bool {
        self.shared.present.lock().served == self.processes
    }

    /// Sleeps on the bell until it is so, as the keeper does.
    pub(crate) fn listen(page: &Arc<SharedPage>, mut is_so: impl FnMut() -> bool) {
        loop {
            let heard = page.rings();
            if is_so() {
                return;
            }
            page.listen(heard, Duration::MAX);
        }
    }
}

/// Who comes to the gate.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Process {
    pub(crate) database: &'static str,
    /// It is killed at this call to the gate file, counted from 0 at the first lock.
    pub(crate) dies_after: Option<u32>,
}

impl Process {
    fn label(self) -> String {
        self.dies_after.map_or_else(String::new, |calls| format!("{DIES_AFTER}{calls}"))
    }

    pub(crate) fn take_as(
        self,
        mode: AccessMode,
        permission: WritePermission,
        patience: &Patience,
    ) -> Result<Hold, Refusal> {
        let taken = Hold::take(self.database.as_ref(), mode, &self.label(), permission, patience)?;
        Ok(taken.expect("there is a gate"))
    }

    pub(crate) fn take(self, mode: AccessMode) -> Result<Hold, Refusal> {
        self.take_as(mode, WritePermission::Granted, &patient())
    }

    pub(crate) fn enter(self, world: &World, phase: Phase) -> Result<PhaseHold, Refusal> {
        let before = || {
            // Nobody is in the other phase by now; a writer would be.
            if phase == Phase::Evaluation {
                world.visit(Doing::Evaluating);
            }
        };
        PhaseHold::enter(self.database.as_ref(), phase, &self.label(), &patient(), before)
    }

    /// Lets go of the file at once.
    pub(crate) fn use_once(self, world: &World, mode: AccessMode) {
        let hold = self.take(mode).unwrap();
        world.visit(doing(mode));
        drop(hold);
        world.count_served();
    }

    /// Keeps the file until somebody waits for it: what the keeper does for a hold that nobody uses.
    pub(crate) fn use_and_keep(self, world: &World, mode: AccessMode) {
        let hold = self.take(mode).unwrap();
        world.visit(doing(mode));
        world.count_served();
        World::listen(hold.page(), || hold.is_wanted() || world.all_are_served());
    }

    /// Looks whether somebody waits only after a ring, as who brings a lease back does.
    pub(crate) fn use_until_rung(self, world: &World, mode: AccessMode) {
        let mut hold = self.take(mode).unwrap();
        world.visit(doing(mode));
        world.count_served();
        let page = Arc::clone(hold.page());
        World::listen(&page, || world.all_are_served() || (hold.was_rung() && hold.is_wanted()));
    }

    pub(crate) fn write_unless_evaluated(self, world: &World) {
        match self.take_as(ReadWrite, WritePermission::OutsideEvaluation, &patient()) {
            Ok(_hold) => world.visit(Doing::Writing),
            Err(Refusal::Evaluation(_)) => {}
            Err(refusal) => panic!("{refusal:?}"),
        }
        world.count_served();
    }

    /// Keeps a hold that no phase covers: it is wanted by who waits for a phase, too.
    pub(crate) fn write_outside_evaluation_and_keep(self, world: &World) {
        let taken = self.take_as(ReadWrite, WritePermission::OutsideEvaluation, &patient());
        if let Ok(_hold) = &taken {
            world.visit(Doing::Writing);
        }
        world.count_served();
        match taken {
            Ok(hold) => World::listen(hold.page(), || {
                hold.is_wanted() || hold.is_phase_wanted() || world.all_are_served()
            }),
            Err(Refusal::Evaluation(_)) => {}
            Err(refusal) => panic!("{refusal:?}"),
        }
    }

    pub(crate) fn be_in(self, world: &World, phase: Phase) {
        self.enter_and_leave(world, phase);
        world.count_served();
    }

    pub(crate) fn enter_and_leave(self, world: &World, phase: Phase) {
        let _hold = self.enter(world, phase).unwrap();
        world.visit(match phase {
            Phase::Training => Doing::Training,
            Phase::Evaluation => Doing::Evaluating,
        });
    }

    pub(crate) fn write_or_die(self, world: &World) {
        match self.take_as(ReadWrite, WritePermission::OutsideEvaluation, &patient()) {
            Ok(_hold) => world.visit(Doing::Writing),
            Err(Refusal::Died | Refusal::Evaluation(_)) => {}
            Err(refusal) => panic!("{refusal:?}"),
        }
        world.count_served();
    }

    pub(crate) fn evaluate_or_die(self, world: &World) {
        match self.enter(world, Phase::Evaluation) {
            Ok(_hold) => world.visit(Doing::Evaluating),
            Err(Refusal::Died) => {}
            Err(refusal) => panic!("{refusal:?}"),
        }
        world.count_served();
    }
}

fn doing(mode: AccessMode) -> Doing {
    match mode {
        ReadOnly => Doing::Reading,
        ReadWrite => Doing::Writing,
    }
}
