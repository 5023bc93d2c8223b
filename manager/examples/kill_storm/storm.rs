//! The storm: kills a worker at a random moment, waits until the others have got something again, and looks.

use std::collections::VecDeque;
use std::io;
use std::path::PathBuf;
use std::thread;
use std::time::{Duration, Instant};

use manager::Error;

use super::check::{self, StoredTransaction};
use super::fleet::{Fleet, Orders};
use super::history::History;
use super::journal::{Activity, Line};
use super::judge::{Judge, Look};
use super::random::Random;
use super::report::Report;
use super::schema;
use super::torn::Torn;

/// The longest from what a worker said to its death.
const DELAY_MAX: Duration = Duration::from_millis(30);
/// How long a worker that is at what the draw wants is waited for.
const WANTED_MAX: Duration = Duration::from_millis(25);
/// Lines of the history that are kept.
const TAIL_LINES: usize = 80;

pub(crate) struct Options {
    pub(crate) kills: u64,
    pub(crate) workers: usize,
    pub(crate) seed: u64,
    /// Everybody has to get something within this time.
    pub(crate) recovery_max: Duration,
    pub(crate) canary: Option<Canary>,
    pub(crate) program: PathBuf,
    pub(crate) folder: PathBuf,
}

/// A lie or an omission that the storm has to notice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Canary {
    /// An acknowledged transaction is taken away before the last look.
    DropAck,
    /// A row is added without its count.
    TornRow,
    /// A worker is stopped where it holds the write lease, and never continued.
    Strand,
    /// Somebody holds the file who does not know the gate.
    Outsider,
    /// A block of the metadata has a checksum that is not its own.
    Tear,
}

/// Why a storm ended early.
pub(crate) enum Trouble {
    /// Something happened that must not.
    Violated(String),
    /// The storm itself could not go on.
    Failed(String),
}

impl From<io::Error> for Trouble {
    fn from(error: io::Error) -> Self {
        Self::Failed(error.to_string())
    }
}

/// The judge is a caller like any other: what the manager refuses it is a violation.
impl From<Error> for Trouble {
    fn from(error: Error) -> Self {
        Self::Violated(format!("the judge: {error}"))
    }
}

pub(crate) struct Storm {
    options: Options,
    random: Random,
    fleet: Fleet,
    history: History,
    judge: Judge,
    begin: Instant,
    /// By slot, what is still waited for: that its worker gets something.
    debts: Vec<Option<Debt>>,
    is_ending: bool,
    pub(crate) report: Report,
    /// The last lines of everybody.
    pub(crate) tail: VecDeque<String>,
}

#[derive(Clone, Copy)]
struct Debt {
    since: Instant,
    /// Since its own start, not since another one's death.
    is_start: bool,
}

impl Storm {
    pub(crate) fn new(options: Options) -> Self {
        let (program, folder) = (options.program.clone(), options.folder.clone());
        Self {
            random: Random::new(options.seed),
            fleet: Fleet::new(Orders { program, folder: folder.clone(), seed: options.seed }),
            history: History::default(),
            judge: Judge::new(&folder, options.recovery_max),
            begin: Instant::now(),
            debts: vec![None; options.workers],
            is_ending: false,
            report: Report::default(),
            tail: VecDeque::new(),
            options,
        }
    }

    /// Runs it to its end. The report says how far it came, whatever this returns.
    pub(crate) fn run(&mut self) -> Result<(), Trouble> {
        let ran = self.rage();
        self.report.acknowledged = self.history.acknowledged();
        self.report.elapsed = self.begin.elapsed();
        ran
    }

    fn rage(&mut self) -> Result<(), Trouble> {
        self.judge.make_database(self.options.workers)?;
        for slot in 0..self.options.workers {
            self.start(slot)?;
        }
        self.wait_for_all()?;
        let kills_between_looks = (self.options.kills / 100).max(20);
        let mut next_look = kills_between_looks;
        while self.report.kills < self.options.kills {
            let burst = 1 + self.random.below(3);
            for _ in 0..burst.min(self.options.kills - self.report.kills) {
                self.kill_one()?;
            }
            self.wait_for_all()?;
            if self.report.kills >= next_look {
                next_look += kills_between_looks;
                self.look()?;
            }
        }
        match self.options.canary {
            Some(Canary::TornRow) => {
                self.judge.tear()?;
                self.wait_for_trouble()?;
            }
            Some(Canary::Strand) => self.strand()?,
            Some(Canary::Outsider) => self.intrude()?,
            Some(Canary::Tear) => self.tear()?,
            Some(Canary::DropAck) | None => {}
        }
        self.wait_for_all()?;
        self.end()
    }

    fn start(&mut self, slot: usize) -> Result<(), Trouble> {
        let worker = self.history.begin(slot);
        self.debts[slot] = Some(Debt { since: Instant::now(), is_start: true });
        self.fleet.start(slot, worker)?;
        self.note(worker, Instant::now(), &format!("started, pid {}", self.fleet.pid(slot)));
        Ok(())
    }

    /// Kills one worker some time after it has said that it is at what the draw wants.
    fn kill_one(&mut self) -> Result<(), Trouble> {
        let any = self.random.below(self.options.workers as u64) as usize;
        let slot = match self.random.pick(&Activity::ALL) {
            Activity::Start => self.youngest(),
            wanted => self.find(wanted)?.unwrap_or(any),
        };
        let soon = self.random.one_in(2);
        let delay = if soon { DELAY_MAX / 15 } else { DELAY_MAX };
        thread::sleep(self.random.up_to(delay));
        if self.random.one_in(8) {
            self.fleet.stop(slot)?;
            self.report.kills_stopped += 1;
            thread::sleep(self.random.up_to(DELAY_MAX));
        }
        self.kill(slot)?;
        self.start(slot)
    }

    /// Waits for a worker that is at something.
    fn find(&mut self, wanted: Activity) -> Result<Option<usize>, Trouble> {
        let deadline = Instant::now() + WANTED_MAX;
        while let Some((slot, line)) = self.hear(deadline)? {
            if line.activity() == Some(wanted) {
                return Ok(Some(slot));
            }
        }
        Ok(None)
    }

    fn youngest(&self) -> usize {
        let slots = 0..self.options.workers;
        slots.max_by_key(|&slot| self.fleet.worker(slot)).unwrap_or_default()
    }

    fn kill(&mut self, slot: usize) -> Result<(), Trouble> {
        let (worker, at) = (self.fleet.worker(slot), Instant::now());
        if let Some(status) = self.fleet.kill(slot)? {
            self.hear_out(worker)?; // it may have said why
            return Err(Trouble::Violated(format!("worker {worker} ended by itself: {status}")));
        }
        for debt in &mut self.debts {
            debt.get_or_insert(Debt { since: at, is_start: false });
        }
        self.hear_out(worker)?;
        let activity = self.history.life(worker).activity;
        self.note(worker, at, &format!("killed, {activity}"));
        self.report.kills += 1;
        *self.report.kills_by_activity.entry(activity).or_default() += 1;
        Ok(())
    }

    /// Hears everything that a dead worker has said.
    fn hear_out(&mut self, worker: u64) -> Result<(), Trouble> {
        self.history.end(worker);
        let deadline = Instant::now() + self.options.recovery_max;
        while Instant::now() < deadline {
            let Some(heard) = self.fleet.hear(deadline) else { break };
            match heard.line {
                Some(line) => drop(self.take_in(heard.worker, &line, heard.at)?),
                None if heard.worker == worker => return Ok(()),
                None => self.expect_dead(heard.worker)?,
            }
        }
        Err(Trouble::Failed(format!("the pipe of worker {worker}, which is dead, does not end")))
    }

    /// The next line of anybody, with its slot.
    fn hear(&mut self, deadline: Instant) -> Result<Option<(usize, Line)>, Trouble> {
        while let Some(heard) = self.fleet.hear(deadline) {
            match heard.line {
                Some(line) => return self.take_in(heard.worker, &line, heard.at).map(Some),
                None => self.expect_dead(heard.worker)?,
            }
        }
        Ok(None)
    }

    fn expect_dead(&self, worker: u64) -> Result<(), Trouble> {
        if self.history.life(worker).is_alive {
            return Err(Trouble::Violated(format!("worker {worker} ended by itself")));
        }
        Ok(())
    }

    fn take_in(&mut self, worker: u64, text: &str, at: Instant) -> Result<(usize, Line), Trouble> {
        self.note(worker, at, text);
        let line = Line::parse(text)
            .ok_or_else(|| Trouble::Violated(format!("worker {worker} said `{text}`")))?;
        match &line {
            Line::Broken(what) => {
                return Err(Trouble::Violated(format!("worker {worker}: {what}")));
            }
            Line::Torn(error) => self.mend(worker, error)?,
            Line::Polls => {
                let text = format!("worker {worker} had the gate and found the file held");
                return Err(Trouble::Violated(text));
            }
            _ => {}
        }
        let heard = self.history.hear(worker, &line);
        heard.map_err(|what| Trouble::Failed(format!("worker {worker}: {what}")))?;
        let slot = self.history.life(worker).slot;
        if line.is_progress() {
            self.pay(worker, slot, at);
        }
        Ok((slot, line))
    }

    /// A worker cannot open the database any more. If it is by the defect of `torn.rs`, the file is mended, and another
    /// worker takes the place of this one, which ends itself.
    fn mend(&mut self, worker: u64, error: &str) -> Result<(), Trouble> {
        let database = schema::database(&self.options.folder);
        let is_torn = Torn::of(error).map_or(Ok(false), |torn| torn.mend(&database))?;
        if !is_torn {
            return Err(Trouble::Violated(format!("worker {worker}: {error}")));
        }
        self.report.torn += 1;
        let life = self.history.life(worker);
        if life.is_alive && !self.is_ending {
            let slot = life.slot;
            self.history.end(worker);
            self.fleet.kill(slot)?; // how it ended is of no interest
            self.start(slot)?;
        }
        Ok(())
    }

    /// A worker has got something. What it got before the debt does not count, nor what it says when it is dead.
    fn pay(&mut self, worker: u64, slot: usize, at: Instant) {
        let is_alive = self.history.life(worker).is_alive;
        let Some(debt) = self.debts[slot].filter(|debt| is_alive && debt.since <= at) else {
            return;
        };
        let slowest =
            if debt.is_start { &mut self.report.start_max } else { &mut self.report.recovery_max };
        *slowest = (*slowest).max(at - debt.since);
        self.debts[slot] = None;
    }

    /// Waits until every worker that is alive has got something. Nobody may be stranded.
    fn wait_for_all(&mut self) -> Result<(), Trouble> {
        while let Some(oldest) = self.debts.iter().flatten().map(|debt| debt.since).min() {
            if self.hear(oldest + self.options.recovery_max)?.is_none() {
                let text = format!("got nothing for {:?}", self.options.recovery_max);
                return Err(Trouble::Violated(format!("{}{text}", self.debtors())));
            }
        }
        Ok(())
    }

    /// Canary: holds the file as a program does that does not know the gate, until somebody meets it.
    fn intrude(&mut self) -> Result<(), Trouble> {
        let _outsider = self.judge.hold_outside()?;
        self.wait_for_trouble()
    }

    /// Canary: goes on until somebody meets what is wrong.
    fn wait_for_trouble(&mut self) -> Result<(), Trouble> {
        let deadline = Instant::now() + self.options.recovery_max;
        while Instant::now() < deadline {
            self.hear(deadline)?;
        }
        Err(Trouble::Failed("nobody met what is wrong".into()))
    }

    /// Canary: tears the database until somebody meets it. A checkpoint may come first and write the block anew.
    fn tear(&mut self) -> Result<(), Trouble> {
        let deadline = Instant::now() + self.options.recovery_max;
        while self.report.torn == 0 {
            if Instant::now() > deadline {
                return Err(Trouble::Failed("nobody met the torn block".into()));
            }
            Torn::tear(&schema::database(&self.options.folder))?;
            let soon = Instant::now() + DELAY_MAX;
            while self.report.torn == 0 && self.hear(soon)?.is_some() {}
        }
        Ok(())
    }

    fn debtors(&self) -> String {
        let slots = (0..self.debts.len()).filter(|&slot| self.debts[slot].is_some());
        slots.fold(String::new(), |text, slot| {
            let worker = self.fleet.worker(slot);
            let activity = self.history.life(worker).activity;
            format!("{text}worker {worker} (pid {}, at: {activity}), ", self.fleet.pid(slot))
        })
    }

    /// Compares what is stored with what was said.
    fn look(&mut self) -> Result<(), Trouble> {
        while self.hear(Instant::now())?.is_some() {}
        self.history.demand();
        let look = self.look_at_what_is_whole()?;
        self.report.looks += 1;
        self.report.look_wait_max = self.report.look_wait_max.max(look.waited);
        // What was seen was said before, but perhaps not heard yet.
        let deadline = Instant::now() + Duration::from_secs(1);
        let keys = || look.stored.transactions.iter().map(StoredTransaction::key);
        while !keys().all(|key| self.history.explains(key)) && self.hear(deadline)?.is_some() {}
        self.report.findings = check::check(&self.history, &look.stored);
        if let Some(finding) = self.report.findings.first() {
            let findings = self.report.findings.len();
            return Err(Trouble::Violated(format!("{finding} ({findings} findings)")));
        }
        let settled = self.history.settle(&look.stored.keys());
        self.report.unknown_there += settled.there;
        self.report.unknown_not_there += settled.not_there;
        let alive = (0..self.options.workers).map(|slot| self.fleet.worker(slot));
        let oldest = alive.filter(|&worker| self.history.life(worker).is_alive).min();
        self.look_at_creations(oldest)
    }

    /// The judge may be the first to meet a torn block.
    fn look_at_what_is_whole(&mut self) -> Result<Look, Trouble> {
        let looked = self.judge.look();
        let Err(error) = &looked else { return Ok(looked?) };
        let Some(torn) = Torn::of(&error.to_string()) else { return Ok(looked?) };
        if !torn.mend(&schema::database(&self.options.folder))? {
            return Ok(looked?);
        }
        self.report.torn += 1;
        Ok(self.judge.look()?)
    }

    /// Looks at the second databases whose creators are all dead.
    fn look_at_creations(&mut self, oldest_alive: Option<u64>) -> Result<(), Trouble> {
        let before = oldest_alive.map_or(u64::MAX, schema::creation_of);
        for (number, was_made) in self.history.take_creations(before) {
            self.report.creations += 1;
            if let Some(what) = self.judge.judge_creation(number, was_made)? {
                return Err(Trouble::Violated(what));
            }
        }
        Ok(())
    }

    /// Canary: a worker stands still for good where it has the write lease.
    fn strand(&mut self) -> Result<(), Trouble> {
        let deadline = Instant::now() + self.options.recovery_max;
        while let Some((slot, line)) = self.hear(deadline)? {
            if matches!(line, Line::Write(_)) {
                self.fleet.stop(slot)?;
                let debt = Debt { since: Instant::now(), is_start: false };
                self.debts.fill(Some(debt));
                return Ok(());
            }
        }
        Err(Trouble::Failed("nobody wrote".into()))
    }

    /// Lets everybody end, and looks once more: nobody is left at the gate, and the database can be used.
    fn end(&mut self) -> Result<(), Trouble> {
        self.is_ending = true;
        self.fleet.call_home();
        self.wait_for_silence()?;
        for slot in 0..self.options.workers {
            let (worker, status) = (self.fleet.worker(slot), self.fleet.reap(slot)?);
            if !status.success() {
                return Err(Trouble::Violated(format!("worker {worker} ended: {status}")));
            }
        }
        let database = schema::database(&self.options.folder);
        let nobody = |when: &str| match manager::holders(&database)?.first() {
            Some(left) => {
                Err(Trouble::Violated(format!("{when} this was left at the gate: {left}")))
            }
            None => Ok(()),
        };
        nobody("after all had ended")?;
        if self.options.canary == Some(Canary::DropAck) {
            let last = self.history.last_acknowledged();
            let key = last.ok_or_else(|| Trouble::Failed("nothing was acknowledged".into()))?;
            self.judge.drop_transaction(key)?;
        }
        self.look()?;
        self.judge.can_write()?;
        nobody("after the last look")
    }

    /// Hears everybody out until all have ended.
    fn wait_for_silence(&mut self) -> Result<(), Trouble> {
        let deadline = Instant::now() + self.options.recovery_max;
        let mut alive = self.options.workers;
        while alive > 0 {
            let Some(heard) = self.fleet.hear(deadline) else {
                let text =
                    format!("{alive} workers did not end in {:?}", self.options.recovery_max);
                return Err(Trouble::Violated(text));
            };
            if let Some(line) = heard.line {
                self.take_in(heard.worker, &line, heard.at)?;
            } else if self.history.life(heard.worker).is_alive {
                // One that was killed a moment ago is not among those that are waited for.
                self.history.end(heard.worker);
                alive -= 1;
            }
        }
        Ok(())
    }

    fn note(&mut self, worker: u64, at: Instant, what: &str) {
        if self.tail.len() == TAIL_LINES {
            self.tail.pop_front();
        }
        let slot = self.history.life(worker).slot;
        let at = at.saturating_duration_since(self.begin).as_secs_f64();
        self.tail.push_back(format!("{at:10.4} s  slot {slot}  worker {worker:5}  {what}"));
    }
}
