//! Runs cases, and keeps the smallest that failed in the same way.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use super::case::Case;
use super::{Options, Progress, ShrinkError};
use crate::check::{Finding, Verdict};
use crate::lockstep::log::{Build, Ended, Log};
use crate::lockstep::replay::{self, Replayed};
use crate::lockstep::repro::{self, Symptom};
use crate::lockstep::schedule::{Job, ScheduleError};
use crate::lockstep::workplace::Workplace;
use crate::scenario::script::Script;

/// A case that failed, with its own log.
#[derive(Clone)]
pub(super) struct Failing {
    pub(super) case: Case,
    pub(super) script: Script,
    pub(super) log: Log,
    pub(super) finding: Finding,
}

/// What came of a case.
pub(super) struct Trial {
    pub(super) script: Script,
    pub(super) log: Log,
    pub(super) finding: Option<Finding>,
    pub(super) fails: bool,
}

impl Trial {
    /// Whether the property is not broken, in this or another way.
    pub(super) fn passes(&self) -> bool {
        self.finding.as_ref().is_none_or(|finding| finding.verdict == Verdict::Holds)
    }
}

/// Why a search ends before its end.
pub(super) enum Halt {
    /// Time is out, or there were enough runs.
    Spent,
    /// It cannot go on.
    Failed(ShrinkError),
}

impl From<ScheduleError> for Halt {
    fn from(error: ScheduleError) -> Self {
        Self::Failed(error.into())
    }
}

/// See the module's header.
pub(super) struct Lab<'a> {
    options: &'a Options<'a>,
    pub(super) symptom: Symptom,
    build: Build,
    place: Workplace,
    log_file: PathBuf,
    begun: Instant,
    pub(super) runs: u64,
    /// What is being left out.
    pub(super) pass: &'static str,
    tell: &'a mut dyn FnMut(&Progress),
    steps_before: u64,
    /// The failure needs an order of steps, or a fault: one actor after the other does not fail.
    needs_order: bool,
    /// The failure needs more than one actor, or a fault: no actor fails alone.
    needs_company: bool,
    /// Whether a script, by its digest, does not fail with one actor after the other.
    in_order: BTreeMap<u64, bool>,
}

impl<'a> Lab<'a> {
    pub(super) fn new(
        options: &'a Options<'a>,
        symptom: Symptom,
        steps_before: u64,
        tell: &'a mut dyn FnMut(&Progress),
    ) -> Result<Self, ShrinkError> {
        let place = Workplace::new().map_err(ScheduleError::Log)?;
        let log_file = place.beside("shrink.jsonl");
        Ok(Self {
            options,
            symptom,
            build: Build::of_this_program(),
            place,
            log_file,
            begun: Instant::now(),
            runs: 0,
            pass: "as it is",
            tell,
            steps_before,
            needs_order: false,
            needs_company: false,
            in_order: BTreeMap::new(),
        })
    }

    /// The case that everything begins with; none if it does not fail.
    pub(super) fn begin(&mut self, whole: &Case) -> Result<Option<Failing>, Halt> {
        if let Some(script) = whole.script() {
            self.needs_order = self.passes_in_order(whole, &script)?;
            self.needs_company = self.passes_alone(whole)?;
        }
        self.attempt(whole)
    }

    /// Whether one actor after the other, without a fault, does not fail.
    fn passes_in_order(&mut self, case: &Case, script: &Script) -> Result<bool, Halt> {
        if let Some(&known) = self.in_order.get(&script.digest) {
            return Ok(known);
        }
        let trial = self.run(&Case { moves: Vec::new(), ..case.clone() })?;
        let passes = trial.is_some_and(|trial| !trial.fails);
        self.in_order.insert(script.digest, passes);
        Ok(passes)
    }

    /// Whether no actor alone, without a fault, fails.
    fn passes_alone(&mut self, case: &Case) -> Result<bool, Halt> {
        for role in &case.roles {
            let alone = Case { roles: vec![role.clone()], ..case.clone() };
            let Some(script) = alone.script() else { return Ok(false) };
            if !self.passes_in_order(&alone, &script)? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Runs a case. None if it makes no sense.
    pub(super) fn run(&mut self, case: &Case) -> Result<Option<Trial>, Halt> {
        if self.options.time <= self.begun.elapsed() || self.options.runs_max <= self.runs {
            return Err(Halt::Spent);
        }
        let Some(script) = case.script() else { return Ok(None) };
        self.runs += 1;
        let (build, file) = (self.build.clone(), self.log_file.clone());
        let run = self.with_job(&script, |job| repro::follow(job, case.placed(), &build, &file));
        let log = match run {
            Ok(log) => log,
            Err(error) if repro::is_senseless(&error) => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        if log.end.as_ref().is_some_and(|end| matches!(end.ended, Ended::Stuck { .. })) {
            // Its thread is still there, and with it what it holds.
            return Err(Halt::Spent);
        }
        let (finding, fails) = self.symptom.look(&script, &log);
        Ok(Some(Trial { script, log, finding, fails }))
    }

    /// Runs a case and, if it fails in the same way, its log again. A case that fails without any other actor, or fault,
    /// where the first did not, is another failure: what was left out is what made it right.
    pub(super) fn attempt(&mut self, case: &Case) -> Result<Option<Failing>, Halt> {
        let Some(trial) = self.run(case)? else { return Ok(None) };
        let Some(finding) = trial.finding.filter(|_| trial.fails) else { return Ok(None) };
        let (script, log) = (trial.script, trial.log);
        if self.needs_order && !self.passes_in_order(case, &script)? {
            return Ok(None);
        }
        if self.needs_company && !self.passes_alone(case)? {
            return Ok(None);
        }
        if !self.again(&script, &log)? {
            return Ok(None);
        }
        (self.tell)(&Progress {
            pass: self.pass,
            runs: self.runs,
            events: [self.steps_before, log.steps.len() as u64],
        });
        Ok(Some(Failing { case: case.with_moves_of(&log), script, log, finding }))
    }

    /// Makes a case the base if it fails in the same way.
    pub(super) fn accept(&mut self, base: &mut Failing, case: &Case) -> Result<bool, Halt> {
        Ok(match self.attempt(case)? {
            Some(failing) => {
                *base = failing;
                true
            }
            None => false,
        })
    }

    /// Whether a log replays to the letter, and shows the failure again.
    pub(super) fn again(&self, script: &Script, log: &Log) -> Result<bool, ScheduleError> {
        let replayed = self.with_job(script, |job| replay::replay(log, job, &self.log_file))?;
        Ok(match replayed {
            Replayed::Reproduced(again) => self.symptom.look(script, &again).1,
            Replayed::Cut(_) | Replayed::Diverged(_) => false,
        })
    }

    pub(super) fn with_job<T>(
        &self,
        script: &Script,
        run: impl FnOnce(&Job<'_>) -> Result<T, ScheduleError>,
    ) -> Result<T, ScheduleError> {
        let folder = self.place.fresh()?;
        let Options { driver, watchdog, .. } = *self.options;
        run(&Job { script, driver, folder: &folder, watchdog })
    }

    pub(super) fn elapsed(&self) -> Duration {
        self.begun.elapsed()
    }
}
