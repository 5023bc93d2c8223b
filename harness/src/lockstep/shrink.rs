//! Makes a failing schedule small: leaves out what the failure does not need, and says what decides.
//!
//! | module | what it leaves out |
//! |---|---|
//! | `content` | actors, then transactions, statements, faults, statements of the set-up |
//! | `order` | switches between actors |
//! | `critical` | nothing: which two steps' order decides |
//! | `outcome` | nothing: the parts of `report.json` |
//! | [`ddmin`](mod@ddmin) | parts of a list |
//!
//! # Invariants
//!
//! * A smaller case counts if the same check finds the same kind of failure ([`Symptom`]), and its log replays to the
//!   letter. The log that was recorded then is what the next case is made from.
//! * Where the failure needs an order of steps, other actors or a fault, so does each smaller case: neither one actor after
//!   the other nor one alone breaks the property. (Without its UPDATE, a transaction that promises to add one breaks its promise alone.)
//! * What is handed back was replayed three times, and failed each time; otherwise nothing is.
//! * Nothing grows: each case that counts has fewer statements, faults or switches, or the same ones later.
//!
//! # Scope of determinism
//!
//! A pure function of the log, the driver and the build, unless time is out before nothing can be left out any more.

mod case;
mod content;
mod critical;
pub mod ddmin;
pub mod figures;
mod lab;
mod order;
mod outcome;
pub mod padding;

use std::time::Duration;

use super::driver::Driver;
use super::explore::VERIFIED;
use super::log::{Ended, Log};
use super::repro::{Repro, ReproError, Symptom};
use super::schedule::{ScheduleError, WATCHDOG};
use super::session;
use crate::scenario::ScenarioError;
use crate::scenario::script::Script;
pub use outcome::{minimized, report, steps};

use case::Case;
use lab::{Failing, Halt, Lab};

/// How long it may take, unless somebody says otherwise.
pub const TIME: Duration = Duration::from_secs(30);
/// So often at most are all parts looked at again, because something else was left out.
const ROUNDS_MAX: u32 = 8;

/// What is asked for.
pub struct Options<'a> {
    /// The driver that the log names.
    pub driver: &'a dyn Driver,
    /// Of several failures that of this check; otherwise the first that the scenario does not expect.
    pub check: Option<&'a str>,
    /// For at most that long.
    pub time: Duration,
    /// With at most so many runs.
    pub runs_max: u64,
    /// As of a schedule.
    pub watchdog: Duration,
}

impl<'a> Options<'a> {
    /// [`TIME`], and as many runs as it has room for.
    pub fn new(driver: &'a dyn Driver) -> Self {
        Self { driver, check: None, time: TIME, runs_max: u64::MAX, watchdog: WATCHDOG }
    }
}

/// How far it is.
#[derive(Clone, Copy, Debug)]
pub struct Progress {
    /// What is being left out.
    pub pass: &'static str,
    /// Cases that were run.
    pub runs: u64,
    /// Steps of the schedule at the beginning and now.
    pub events: [u64; 2],
}

/// What came of it.
#[derive(Clone, Debug)]
pub struct Shrunk {
    /// The small case.
    pub repro: Repro,
    /// Its decision log.
    pub log: Log,
    /// Cases that were run.
    pub runs: u64,
    /// How long it took.
    pub duration: Duration,
}

/// Why there is no smaller case.
#[derive(Debug, thiserror::Error)]
pub enum ShrinkError {
    /// No check finds anything.
    #[error("there is no failure in the log of {scenario} on {driver}: {found}")]
    NoFailure {
        /// The scenario's id.
        scenario: String,
        /// The driver's name.
        driver: String,
        /// What was looked for.
        found: String,
    },
    /// The log has no end, so nobody judged it.
    #[error(
        "the log was cut off after {steps} steps, so no check has a verdict; replay it to see how it goes on"
    )]
    Cut {
        /// How many it has.
        steps: usize,
    },
    /// An actor was stuck.
    #[error(
        "{actor} is stuck in `{op}`, which a wall clock told: there is no decision that could be left out"
    )]
    Stuck {
        /// Who.
        actor: String,
        /// In which operation.
        op: String,
    },
    /// It could not even be begun.
    #[error("no time was left to follow the log once")]
    NoTime,
    /// The failure does not come back.
    #[error("the log does not fail in the same way when it is followed again: {0}")]
    NotReproduced(String),
    /// The small case does not fail each time.
    #[error("the smaller case fails {} times of {}, so it was thrown away", times[0], times[1])]
    NotVerified {
        /// How often it failed, of how many.
        times: [u32; 2],
    },
    /// The log's scenario cannot be read.
    #[error("the scenario in the log: {0}")]
    Scenario(#[from] Box<ScenarioError>),
    /// A case could not be run.
    #[error(transparent)]
    Schedule(#[from] ScheduleError),
    /// The repro could not be written.
    #[error(transparent)]
    Repro(#[from] ReproError),
}

/// Makes a failing log small. `tell` is called after each step on the way.
///
/// # Errors
///
/// A [`ShrinkError`].
pub fn shrink(
    log: &Log,
    options: &Options<'_>,
    tell: &mut dyn FnMut(&Progress),
) -> Result<Shrunk, ShrinkError> {
    shrink_by(&PASSES, log, options, tell)
}

/// Leaves something out of a case that fails.
type Pass = fn(&mut Lab<'_>, &mut Failing) -> Result<(), Halt>;

/// In this order.
const PASSES: [(&str, Pass); 6] = [
    ("actors", content::actors),
    ("transactions", content::transactions),
    ("statements", content::statements),
    ("faults", content::faults),
    ("set-up", content::setup),
    ("switches", order::flatten),
];

fn shrink_by(
    passes: &[(&'static str, Pass)],
    log: &Log,
    options: &Options<'_>,
    tell: &mut dyn FnMut(&Progress),
) -> Result<Shrunk, ShrinkError> {
    let script = session::script_of(log).map_err(Box::new)?;
    let symptom = symptom(&script, log, options)?;
    let mut lab = Lab::new(options, symptom, log.steps.len() as u64, tell)?;
    let whole = Case::of(&script, log);
    let mut base = match lab.begin(&whole) {
        Ok(Some(base)) => base,
        Ok(None) => return Err(not_reproduced(&lab)),
        Err(Halt::Spent) => return Err(ShrinkError::NoTime),
        Err(Halt::Failed(error)) => return Err(error),
    };
    let (mut complete, mut critical) = (true, None);
    match search(passes, &mut lab, &mut base) {
        Ok(pair) => critical = pair,
        Err(Halt::Spent) => complete = false,
        Err(Halt::Failed(error)) => return Err(error),
    }
    let verified = verify(&lab, &base.script, &base.log)?;
    let repro = Repro {
        message: base.finding.message.clone(),
        moves: base.case.steps(),
        events: [log.steps.len() as u64, base.log.steps.len() as u64],
        statements: [whole.statements(), base.case.statements()],
        faults: [&whole, &base.case].map(|case| case.fault_places().len() as u64),
        switches: [&whole, &base.case].map(Case::switches),
        critical_pair: critical,
        verified,
        complete,
        ..Repro::blank(&base.script, options.driver.name(), lab.symptom.clone())
    };
    Ok(Shrunk { repro, log: base.log, runs: lab.runs, duration: lab.elapsed() })
}

/// All passes until none of them leaves anything out, then the pair that decides.
fn search(
    passes: &[(&'static str, Pass)],
    lab: &mut Lab<'_>,
    base: &mut Failing,
) -> Result<Option<String>, Halt> {
    for _ in 0..ROUNDS_MAX {
        let before = size(&base.case);
        for (name, pass) in passes {
            lab.pass = name;
            pass(lab, base)?;
        }
        if size(&base.case) == before {
            break;
        }
    }
    lab.pass = "the pair that decides";
    critical::pair(lab, base)
}

fn size(case: &Case) -> [u64; 3] {
    [case.statements(), case.fault_places().len() as u64, case.switches()]
}

/// Three of three, or nothing.
fn verify(lab: &Lab<'_>, script: &Script, log: &Log) -> Result<[u32; 2], ShrinkError> {
    let mut times = 0;
    for _ in 0..VERIFIED {
        times += u32::from(lab.again(script, log)?);
    }
    let times = [times, VERIFIED];
    if times[0] < times[1] { Err(ShrinkError::NotVerified { times }) } else { Ok(times) }
}

/// What is looked for in every smaller case.
fn symptom(script: &Script, log: &Log, options: &Options<'_>) -> Result<Symptom, ShrinkError> {
    match log.end.as_ref().map(|end| &end.ended) {
        None => return Err(ShrinkError::Cut { steps: log.steps.len() }),
        Some(Ended::Stuck { actor, op }) => {
            return Err(ShrinkError::Stuck { actor: actor.clone(), op: op.clone() });
        }
        Some(_) => {}
    }
    let driver = options.driver.name();
    let mut broken: Vec<Symptom> =
        Symptom::all(script, log).into_iter().map(|(symptom, _)| symptom).collect();
    broken.retain(|symptom| options.check.is_none_or(|check| symptom.check == check));
    // What is expected comes last.
    broken.sort_by_key(|symptom| script.verdict(driver, &symptom.check));
    broken.into_iter().next().ok_or_else(|| ShrinkError::NoFailure {
        scenario: script.id.clone(),
        driver: driver.to_owned(),
        found: match options.check {
            Some(check) => format!("{check} is not broken"),
            None => "no check finds anything".to_owned(),
        },
    })
}

fn not_reproduced(lab: &Lab<'_>) -> ShrinkError {
    let Symptom { check, kind } = &lab.symptom;
    ShrinkError::NotReproduced(format!("{check} is not broken, or not as `{kind}`"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lockstep::naive::Naive;

    const LOG: &[u8] = include_bytes!("../../../scenarios/regressions/lost-update.naive.v1.jsonl");

    fn shrunk_by(passes: &[(&'static str, Pass)]) -> Result<Shrunk, ShrinkError> {
        let log = Log::parse("lost-update", LOG).unwrap();
        shrink_by(passes, &log, &Options::new(&Naive), &mut |_| ())
    }

    /// Takes an order that does not fail for one that does.
    fn plant(lab: &mut Lab<'_>, base: &mut Failing) -> Result<(), Halt> {
        base.case.moves.clear();
        if let Some(trial) = lab.run(&base.case)? {
            base.log = trial.log;
        }
        Ok(())
    }

    #[test]
    fn a_smaller_case_that_does_not_fail_is_never_handed_back() {
        let planted = shrunk_by(&[("planted", plant)]);
        let Err(ShrinkError::NotVerified { times }) = planted else { panic!("{planted:?}") };
        assert_eq!(times, [0, 3]);
        assert_eq!(shrunk_by(&[]).unwrap().repro.verified, [3, 3]);
    }

    #[test]
    fn what_fails_with_one_actor_after_the_other_is_another_failure() {
        let shrunk = shrunk_by(&PASSES).unwrap();
        let script = shrunk.repro.script().unwrap();
        let commits = script.actors.iter().filter(|actor| actor.steps.contains(&"commit".into()));
        assert!(commits.clone().all(|actor| 2 < actor.steps.len()), "{:?}", script.actors);
        assert_eq!(commits.count(), 2);
    }
}
