//! How much shrinking leaves out, and how long it takes: failures of `naive` in the shipped scenarios as they are, and in
//! [`padded`] ones.
//!
//! # Scope of determinism
//!
//! Which cases there are, and what is left of them, is a function of the seed and the scenarios; how long it took is not.

use std::fmt;
use std::path::Path;
use std::time::{Duration, Instant};

use reports::ExitCode;

use super::padding::padded;
use super::{Options, ShrinkError, Shrunk, shrink};
use crate::check::Verdict;
use crate::lockstep::explore;
use crate::lockstep::log::{Build, Log};
use crate::lockstep::naive::Naive;
use crate::lockstep::repro::Symptom;
use crate::lockstep::schedule::{self, Job, ScheduleError, WATCHDOG};
use crate::lockstep::strategy::Kind;
use crate::lockstep::workplace::Workplace;
use crate::scenario::ScenarioError;
use crate::scenario::script::Script;
use crate::seed::Seed;
use crate::suite::{self, SuiteError};

/// Padded cases.
const PADDED: u64 = 20;
/// So many random schedules are looked through for a failure.
const SCHEDULES_MAX: u32 = 2_000;
/// And for so long: those of processes are slow.
const SEARCH_MAX: Duration = Duration::from_secs(20);

/// What was measured.
#[derive(Clone, Debug, Default)]
pub struct Figures {
    /// Of the shipped scenarios.
    pub shipped: Vec<Case>,
    /// Of padded ones.
    pub padded: Vec<Case>,
}

/// One failure.
#[derive(Clone, Debug)]
pub struct Case {
    /// The scenario and the check.
    pub name: String,
    /// Statements before and after.
    pub statements: [u64; 2],
    /// Steps before and after.
    pub events: [u64; 2],
    /// Cases that were run.
    pub runs: u64,
    /// How long it took.
    pub duration: Duration,
}

/// Why nothing was measured.
#[derive(Debug, thiserror::Error)]
pub enum FiguresError {
    /// The scenarios cannot be read.
    #[error(transparent)]
    Suite(#[from] SuiteError),
    /// One has no room for padding.
    #[error("pad a scenario: {0}")]
    Scenario(#[from] Box<ScenarioError>),
    /// A schedule could not be run.
    #[error(transparent)]
    Schedule(#[from] ScheduleError),
    /// A failure could not be made smaller.
    #[error(transparent)]
    Shrink(#[from] ShrinkError),
    /// Nothing fails.
    #[error("no shipped scenario expects a failure of naive in {SCHEDULES_MAX} random schedules")]
    Nothing,
}

impl FiguresError {
    /// What the program exits with.
    pub fn exit_code(&self) -> ExitCode {
        match self {
            Self::Suite(_) | Self::Scenario(_) => ExitCode::Usage,
            Self::Schedule(error) => error.exit_code(),
            Self::Shrink(error) => error.exit_code(),
            Self::Nothing => ExitCode::NothingRan,
        }
    }
}

/// Measures; each case may take that long. `tell` gets each case.
///
/// # Errors
///
/// A [`FiguresError`].
pub fn measure(
    folder: &Path,
    time: Duration,
    seed: Seed,
    tell: &mut dyn FnMut(&Case),
) -> Result<Figures, FiguresError> {
    let mut figures = Figures::default();
    let mut known = Vec::new();
    for script in suite::scripts(folder)? {
        let expected = script.expect.get("naive").into_iter().flatten();
        for check in
            expected.filter(|(_, verdict)| **verdict == Verdict::Violated).map(|(id, _)| id)
        {
            if let Some(case) = one(&script, check, time, seed)? {
                tell(&case);
                figures.shipped.push(case);
                known.push((script.clone(), check.clone()));
            }
        }
    }
    if known.is_empty() {
        return Err(FiguresError::Nothing);
    }
    for (number, (script, check)) in (0..PADDED).zip(known.iter().cycle()) {
        let script = padded(script, seed, number)?;
        if let Some(case) = one(&script, check, time, seed)? {
            tell(&case);
            figures.padded.push(case);
        }
    }
    Ok(figures)
}

fn one(
    script: &Script,
    check: &str,
    time: Duration,
    seed: Seed,
) -> Result<Option<Case>, FiguresError> {
    let Some(log) = failing(script, check, seed)? else { return Ok(None) };
    let options = Options { check: Some(check), time, ..Options::new(&Naive) };
    let Shrunk { repro, runs, duration, .. } = shrink(&log, &options, &mut |_| ())?;
    let name = format!("{} ({check})", script.id);
    let (statements, events) = (repro.statements, repro.events);
    Ok(Some(Case { name, statements, events, runs, duration }))
}

/// The first random schedule in which a check finds something.
///
/// # Errors
///
/// A [`ScheduleError`].
pub fn failing(script: &Script, check: &str, seed: Seed) -> Result<Option<Log>, ScheduleError> {
    let place = Workplace::new()?;
    let build = Build::of_this_program();
    let mut strategy = explore::strategy(Kind::Random, seed, script);
    let begun = Instant::now();
    for _ in 0..SCHEDULES_MAX {
        if SEARCH_MAX <= begun.elapsed() || !strategy.begin() {
            break;
        }
        let folder = place.fresh()?;
        let job = Job { script, driver: &Naive, folder: &folder, watchdog: WATCHDOG };
        let header = explore::header(script, "naive", seed, strategy.schedule(), &build);
        let log = schedule::run(&job, &mut *strategy, &place.beside("log.jsonl"), header)?;
        if Symptom::all(script, &log).iter().any(|(symptom, _)| symptom.check == check) {
            return Ok(Some(log));
        }
    }
    Ok(None)
}

impl Case {
    /// Which part of the statements was left out, in percent.
    fn removed(&self) -> f64 {
        let [before, after] = self.statements.map(|count| count as f64);
        100.0 * (1.0 - after / before)
    }
}

impl fmt::Display for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [all, left] = self.statements;
        let [before, after] = self.events;
        write!(
            f,
            "{}: {all} → {left} statements ({:.0} % left out), {before} → {after} steps, {} runs in {:.2} s",
            self.name,
            self.removed(),
            self.runs,
            self.duration.as_secs_f64()
        )
    }
}

impl fmt::Display for Figures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (what, cases) in
            [("shipped scenarios", &self.shipped), ("padded scenarios", &self.padded)]
        {
            let removed = median(cases.iter().map(Case::removed));
            let seconds = median(cases.iter().map(|case| case.duration.as_secs_f64()));
            writeln!(
                f,
                "{what}: {} failures, median {removed:.0} % of the statements left out in {seconds:.2} s",
                cases.len()
            )?;
        }
        Ok(())
    }
}

fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    match values.len() {
        0 => f64::NAN,
        count if count % 2 == 1 => values[count / 2],
        count => f64::midpoint(values[count / 2 - 1], values[count / 2]),
    }
}

#[cfg(test)]
mod tests {
    use super::median;

    #[test]
    fn a_median_has_as_many_values_below_it_as_above() {
        let of = |values: &[f64]| format!("{}", median(values.iter().copied()));
        assert_eq!([of(&[3.0, 1.0, 2.0]), of(&[4.0, 1.0, 2.0, 3.0])], ["2", "2.5"]);
    }
}
