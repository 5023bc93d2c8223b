//! One scenario on one driver: who took part, what was counted and measured, what the checks say.
//!
//! Part of `report.json`; the rules in [`crate::model`] hold here too.

use std::fmt;

use schemars::JsonSchema;
use serde::ser::Error as _;
use serde::{Deserialize, Serialize, Serializer};

use crate::hex64::Hex64;
use crate::model::{Exploration, Status};

/// One scenario, run once on one driver.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ScenarioReport {
    /// The scenario's id, the same for all drivers it ran on.
    pub id: String,
    /// What stood between the actors and the database: `naive`, `retrying`, `managed`, or a user's own.
    pub driver: String,
    /// How far the seed decides what happened.
    pub mode: Mode,
    /// What the plan was drawn from.
    pub seed: Hex64,
    /// Whether the checks said what was expected of this driver.
    pub status: Status,
    /// From the first actor's start to the last one's end, by a monotonic clock. Nanoseconds.
    pub duration_ns: u64,
    /// Who took part.
    pub actors: Vec<Actor>,
    /// What was counted.
    pub counts: Counts,
    /// What the store did, where the scenario is about the store alone. Absent otherwise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub store: Option<StoreFigures>,
    /// How long things took. Nanoseconds throughout.
    pub latency_ns: Latencies,
    /// What the checks say about the recorded history.
    pub checks: Vec<Check>,
    /// How well the pipeline's model forecast, window by window.
    pub scores: Vec<Score>,
    /// Hash of the recorded history. Equal for equal seeds in `lockstep` only.
    pub digest: Hex64,
    /// The first failure, explained, or null if there is none.
    pub failure: Option<Failure>,
    /// How much of this scenario's schedules was covered. Absent where nothing was explored or replayed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exploration: Option<Exploration>,
}

/// How far the seed decides what happens in a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// One actor moves at a time and the seed decides who: the same build gives the same history.
    Lockstep,
    /// Real parallelism: the seed decides the plan, the operating system the order.
    Free,
}

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Lockstep => "lockstep",
            Self::Free => "free",
        })
    }
}

/// A thread of a process that took part.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Actor {
    /// Unique in the scenario, for example `training-0/1`.
    pub id: String,
    /// What it does, for example `training` or `evaluation`.
    pub role: String,
    /// Number of its process, counted from 0 over all roles.
    pub process: u32,
    /// Number of its thread in the process, counted from 0.
    pub thread: u32,
}

/// What was counted in one scenario. Keys are features asked for, rows are features stored.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Counts {
    /// Operations that actors began.
    pub operations: u64,
    /// Times that an actor found the file held by somebody else.
    pub conflicts: u64,
    /// Times that an operation was tried again after a conflict.
    pub retries: u64,
    /// Errors that reached the pipeline's own code.
    pub surfaced_errors: u64,
    /// Keys that a look-up in the evaluation found.
    pub cache_hits: u64,
    /// Keys that a look-up in the evaluation did not find, published or not.
    pub cache_misses: u64,
    /// Those of `cache_misses` whose key had been acknowledged as published before the look-up began.
    pub misses_published: u64,
    /// Features computed although they had already been published.
    pub recomputes: u64,
    /// Rows acknowledged as stored that a fresh reader did not find after the run.
    pub lost_rows: u64,
}

impl Counts {
    /// The part of the look-ups of published keys that found them, from 0 to 1. `None` if there was
    /// no such look-up.
    ///
    /// A key that nobody has published yet is no fault of the cache, so its miss does not count.
    pub fn hit_ratio_published(&self) -> Option<f64> {
        let (hits, misses) = (self.cache_hits as f64, self.misses_published as f64);
        (0.0 < hits + misses).then(|| hits / (hits + misses))
    }
}

/// What the store did in one scenario, over all phases.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct StoreFigures {
    /// Keys that were looked up.
    pub lookups: u64,
    /// Those that were found.
    pub hits: u64,
    /// Artefacts that were computed.
    pub computed: u64,
    /// Those of `computed` that had been computed before.
    pub computed_twice: u64,
    /// Artefacts that were found and computed again, to be compared.
    pub compared: u64,
    /// Those of `compared` that were not what they should be.
    pub wrong: u64,
    /// What computing took, over all actors. Nanoseconds.
    pub compute_ns: u64,
    /// What computing the artefacts that were found would have taken. Nanoseconds.
    pub saved_ns: u64,
    /// What the database and its files take on disk. Bytes.
    pub disk_bytes: u64,
}

impl StoreFigures {
    /// The part of the look-ups that found something, from 0 to 1. `None` if there was no look-up.
    pub fn hit_ratio(&self) -> Option<f64> {
        (0 < self.lookups).then(|| self.hits as f64 / self.lookups as f64)
    }
}

/// How long things took. An entry is null where nothing was measured. Nanoseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Latencies {
    /// From asking for a connection to having it, all retries and pauses included.
    pub acquire: Option<Latency>,
    /// From asking for a batch of features to having the answer.
    pub lookup: Option<Latency>,
    /// From the last process of one phase leaving the file to the first of the next having it.
    pub handoff: Option<Latency>,
}

/// A distribution of durations. Nanoseconds, by a monotonic clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Latency {
    /// How many durations were measured. At least 1.
    #[schemars(range(min = 1))]
    pub count: u64,
    /// Half of them were at most this long.
    pub p50: u64,
    /// 90 of 100 were at most this long.
    pub p90: u64,
    /// 99 of 100 were at most this long. Little more than `max` under another name if `samples_low`.
    pub p99: u64,
    /// The longest.
    pub max: u64,
    /// `count` is under 1,000, too few to trust `p99`.
    pub samples_low: bool,
}

impl Latency {
    /// The fewest samples whose 99th percentile rests on more than a handful of them.
    pub const SAMPLES_ENOUGH: u64 = 1_000;

    /// A distribution of `count` samples; `samples_low` follows from the count.
    pub const fn new(count: u64, p50: u64, p90: u64, p99: u64, max: u64) -> Self {
        Self { count, p50, p90, p99, max, samples_low: count < Self::SAMPLES_ENOUGH }
    }
}

/// What one check says about the recorded history.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Check {
    /// The property that was checked, for example `no-lost-rows`.
    pub id: String,
    /// What the check found.
    pub status: Verdict,
    /// What this driver is known to do: the naive one is expected to violate what it cannot keep.
    pub expected: Verdict,
    /// What was seen, in one sentence. Empty if there is nothing to say.
    pub message: String,
}

impl Check {
    /// Whether the check found what was expected.
    pub fn is_as_expected(&self) -> bool {
        self.status == self.expected
    }
}

/// What a check found. `unknown` is no pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// The property holds in the recorded history.
    Holds,
    /// The history contradicts the property.
    Violated,
    /// The history does not decide it, or the check ran out of its budget.
    Unknown,
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Holds => "holds",
            Self::Violated => "violated",
            Self::Unknown => "unknown",
        })
    }
}

/// How well the pipeline's model forecast in one walk-forward window.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Score {
    /// The window's number, counted from 0.
    pub window: u32,
    /// Trading sessions that were forecast.
    pub sessions: u32,
    /// R² on the sessions after the training range. At most 1; below 0 is worse than the forecast 0.
    #[serde(serialize_with = "finite")]
    #[schemars(range(max = 1))]
    pub r2_out_of_sample: f64,
    /// R² on the training range. At most 1.
    #[serde(serialize_with = "finite")]
    #[schemars(range(max = 1))]
    pub r2_in_sample: f64,
    /// The part of the sessions whose sign was forecast rightly, from 0 to 1.
    #[serde(serialize_with = "finite")]
    #[schemars(range(min = 0, max = 1))]
    pub sign_hit_ratio: f64,
}

/// Refuses what JSON has no word for. `serde_json` would write `null`, which no reader takes back.
#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde decides the signature")]
fn finite<S: Serializer>(value: &f64, serializer: S) -> Result<S::Ok, S::Error> {
    if !value.is_finite() {
        return Err(S::Error::custom(format_args!("a score is {value}")));
    }
    serializer.serialize_f64(*value)
}

/// A failure, explained, with what it takes to see it again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Failure {
    /// Names the failure across runs: equal for equal causes, free of times and paths.
    pub fingerprint: Hex64,
    /// The steps that lead to the contradiction, in order, a sentence each.
    pub because: Vec<String>,
    /// A command that runs the same again, or null if there is none.
    pub replay_command: Option<String>,
    /// Times the failure came back, and times it was tried; null if it was not tried.
    pub reproduced: Option<[u32; 2]>,
    /// The smallest case found that fails in the same way. Absent where nobody looked for one, or none was found.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub minimized: Option<Minimized>,
}

/// A failure made small.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Minimized {
    /// Steps of the schedule before and after.
    pub events: [u64; 2],
    /// Statements of all actors and of the set-up before and after.
    pub statements: [u64; 2],
    /// The steps that are left, in order, each with its actor.
    pub steps: Vec<String>,
    /// Two steps whose order decides, in a sentence; null if no change of one place makes it pass.
    pub critical_pair: Option<String>,
    /// Times the smallest case failed in the same way, and times it was tried.
    pub verified: [u32; 2],
    /// Whether nothing could be left out any more, or time was out before that.
    pub complete: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_that_nobody_had_published_does_not_lower_the_hit_ratio() {
        let counts =
            Counts { cache_hits: 3, cache_misses: 5, misses_published: 1, ..Counts::default() };
        assert_eq!(counts.hit_ratio_published(), Some(0.75));
        assert_eq!(Counts::default().hit_ratio_published(), None);
        let only_misses = Counts { misses_published: 1, ..Counts::default() };
        assert_eq!(only_misses.hit_ratio_published(), Some(0.0));
    }

    #[test]
    fn a_thousand_samples_are_enough_and_one_less_is_not() {
        assert!(Latency::new(999, 1, 2, 3, 4).samples_low);
        assert!(!Latency::new(1_000, 1, 2, 3, 4).samples_low);
    }
}
