//! The report as a whole: where it comes from, what it sums up to, what it holds.
//!
//! These types are `report.json`, field by field, and their doc comments are the descriptions in its
//! JSON Schema; they therefore speak of JSON and hold no links. The rules of the format:
//!
//! * A unit is the last word of a name (`_ns`, `_bytes`, `_ratio`); no number is formatted.
//! * Seeds and hashes are strings, see [`Hex64`](crate::Hex64).
//! * A minor version adds optional fields or enum values; a major one may rename, remove, or change a
//!   meaning. Readers ignore keys they do not know.

use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize};

use crate::exit_code::ExitCode;
use crate::scenario::ScenarioReport;

/// What [`Report::format`] always says.
pub const FORMAT: &str = "flockgate-report";
/// The version of the format that this build writes.
pub const FORMAT_VERSION: &str = "1.0";

/// What one run of the Flockgate harness did, met and found. A later minor version may add keys.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Report {
    /// Always `flockgate-report`.
    #[schemars(extend("const" = FORMAT))]
    pub format: String,
    /// `MAJOR.MINOR` of this format.
    #[schemars(regex(pattern = r"^1\.(0|[1-9][0-9]*)$"))]
    pub format_version: String,
    /// Which verb of the harness wrote the report.
    pub kind: Kind,
    /// When, where, from what and by which command the report was made.
    pub provenance: Provenance,
    /// The totals and the outcome of everything in `scenarios`.
    pub summary: Summary,
    /// One entry for each scenario and driver that ran, in the order they ran.
    pub scenarios: Vec<ScenarioReport>,
    /// How much of the space of schedules was covered, over all scenarios. Absent where nothing was explored or replayed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exploration: Option<Exploration>,
}

impl Report {
    /// Puts a report together; its summary is derived from the scenarios, see [`Summary::of`].
    pub fn new(
        kind: Kind,
        provenance: Provenance,
        scenarios: Vec<ScenarioReport>,
        canaries: Canaries,
    ) -> Self {
        Self {
            format: FORMAT.to_owned(),
            format_version: FORMAT_VERSION.to_owned(),
            kind,
            provenance,
            summary: Summary::of(&scenarios, canaries),
            scenarios,
            exploration: None,
        }
    }

    /// Adds how much was explored; `summary.schedules` then counts those schedules.
    #[must_use]
    pub fn explored(mut self, exploration: Exploration) -> Self {
        self.summary.schedules = exploration.schedules_run;
        self.exploration = Some(exploration);
        self
    }
}

/// How much of a space of schedules was covered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Exploration {
    /// Who decided between the actors: `random`, `pct`, `dfs`, or `replay`.
    pub strategy: String,
    /// Schedules that were run to their end.
    pub schedules_run: u64,
    /// Schedules that there are within the bound, or null where nobody knows.
    pub schedules_total: Option<u64>,
    /// How often a schedule may leave an actor that could have gone on, or null if that is not bounded.
    pub preemption_bound: Option<u32>,
    /// Whether every schedule within the bound was run.
    pub complete: bool,
    /// Points of a workload at which it was cut off.
    pub crash_points_run: u64,
    /// Points at which it could be, or null where nobody knows.
    pub crash_points_total: Option<u64>,
    /// Times that the same decisions did not have the same outcome.
    pub divergences: u64,
}

/// Which verb of the harness wrote the report.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// Fixed scenarios and fixed seeds.
    Run,
    /// New schedules, as many as time allows.
    Explore,
    /// A recorded or seeded run, run again.
    Replay,
    /// Measurements of speed.
    Bench,
    /// Two reports side by side.
    Compare,
}

/// When, where, from what and by which command a report was made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Provenance {
    /// When the run began, by the machine's wall clock: RFC 3339, UTC.
    #[schemars(extend("format" = "date-time"))]
    pub started_at: String,
    /// From start to end of the run, by a monotonic clock. Nanoseconds.
    pub duration_ns: u64,
    /// The command line, the program's name first.
    pub argv: Vec<String>,
    /// What the run was built from.
    pub versions: Versions,
    /// What the run ran on. Durations of different machines cannot be compared.
    pub machine: Machine,
}

/// What a run was built from. A replay is only promised on the same versions.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Versions {
    /// The compiler, for example `1.95.0`.
    pub rustc: String,
    /// The database library that was linked, as it names itself, for example `v1.5.5`.
    pub duckdb: String,
    /// The target triple, for example `x86_64-unknown-linux-gnu`.
    pub target: String,
    /// The cargo profile, for example `release`.
    pub profile: String,
    /// The commit's hash as git prints it, or null outside a checkout.
    pub commit: Option<String>,
    /// Whether tracked files differed from the commit, or null outside a checkout.
    pub dirty: Option<bool>,
}

/// The machine that a run ran on. Holds no host name, user or path.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Machine {
    /// Operating system and its version, for example `linux 6.1`.
    pub os: String,
    /// Instruction set, for example `x86_64`.
    pub arch: String,
    /// The processor as it names itself.
    pub cpu_model: String,
    /// Processors that the run could use. At least 1.
    #[schemars(range(min = 1))]
    pub logical_cpus: u32,
    /// Main memory. Bytes.
    pub memory_bytes: u64,
    /// The type of the filesystem that held the database files, for example `ext4`.
    pub filesystem: String,
}

/// The totals and the outcome of a run. Every total is the sum over `scenarios`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Summary {
    /// The outcome in one word. `passed` exactly if `exit_code` is 0.
    pub status: Status,
    /// What the harness exited with: 0 all passed, 1 a check failed, 2 usage error or bad scenario,
    /// 3 something inconclusive, 4 nothing ran, 5 a replay did not reproduce, 6 performance
    /// regression, 7 a canary was not caught, 70 internal error, 74 report not written, 130
    /// interrupted.
    pub exit_code: u8,
    /// How many entries of `scenarios` have which status.
    pub scenarios: ScenarioTotals,
    /// Schedules that were run: those of `exploration`, or else one for each entry of `scenarios`.
    pub schedules: u64,
    /// Operations that actors began.
    pub operations: u64,
    /// Times that an actor found the file held by somebody else.
    pub conflicts: u64,
    /// Times that an operation was tried again after a conflict.
    pub retries: u64,
    /// Errors that reached the pipeline's own code.
    pub surfaced_errors: u64,
    /// How many planted bugs the checks caught.
    pub canaries: Canaries,
}

/// How many scenarios ended in which status.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ScenarioTotals {
    /// Every check said what was expected.
    pub passed: u32,
    /// A check said something else than expected.
    pub failed: u32,
    /// A check could not decide.
    pub inconclusive: u32,
    /// The harness itself failed.
    pub error: u32,
}

/// Bugs planted on purpose, to see whether the checks see. A missed one makes every pass worthless.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Canaries {
    /// Bugs that were planted.
    pub planted: u32,
    /// Those that a check reported. At most `planted`.
    pub caught: u32,
}

/// How a scenario, or a whole run, ended. Readers take a word they do not know for `error`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// All is as expected.
    Passed,
    /// Nothing failed, but something could not be decided, or did not run.
    Inconclusive,
    /// Something is not as expected.
    Failed,
    /// The harness itself is at fault; nothing is said about what it tested.
    Error,
}

impl<'de> Deserialize<'de> for Status {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(match String::deserialize(deserializer)?.as_str() {
            "passed" => Self::Passed,
            "inconclusive" => Self::Inconclusive,
            "failed" => Self::Failed,
            _ => Self::Error,
        })
    }
}

impl Summary {
    /// Derives totals, status and exit code. Nothing else computes them.
    ///
    /// A scenario in error gives [`ExitCode::Internal`], a missed canary [`ExitCode::CanaryMissed`], a
    /// failed scenario [`ExitCode::CheckFailed`], an inconclusive one [`ExitCode::Inconclusive`], and no
    /// scenario at all [`ExitCode::NothingRan`]; [`ExitCode::pick`] decides between them. What the
    /// scenarios cannot know is added with [`Summary::raise`].
    pub fn of(scenarios: &[ScenarioReport], canaries: Canaries) -> Self {
        let total = |count: fn(&ScenarioReport) -> u64| scenarios.iter().map(count).sum();
        let mut summary = Self {
            status: Status::Passed,
            exit_code: ExitCode::Passed.code(),
            scenarios: ScenarioTotals::of(scenarios),
            schedules: scenarios.len() as u64,
            operations: total(|scenario| scenario.counts.operations),
            conflicts: total(|scenario| scenario.counts.conflicts),
            retries: total(|scenario| scenario.counts.retries),
            surfaced_errors: total(|scenario| scenario.counts.surfaced_errors),
            canaries,
        };
        for (applies, code) in [
            (0 < summary.scenarios.error, ExitCode::Internal),
            (canaries.caught < canaries.planted, ExitCode::CanaryMissed),
            (0 < summary.scenarios.failed, ExitCode::CheckFailed),
            (0 < summary.scenarios.inconclusive, ExitCode::Inconclusive),
            (scenarios.is_empty(), ExitCode::NothingRan),
        ] {
            if applies {
                summary.raise(code);
            }
        }
        summary
    }

    /// Adds a reason to exit that the scenarios do not show: an interruption, a replay that did not
    /// reproduce, a regression.
    ///
    /// The exit code becomes the one that wins of the old and the new, the status the worse of the two.
    /// An exit code of a later format version, which this build cannot rank, gives way.
    pub fn raise(&mut self, code: ExitCode) {
        let known = ExitCode::from_code(self.exit_code);
        self.exit_code = ExitCode::pick(known.into_iter().chain([code])).code();
        self.status = self.status.max(code.status());
    }
}

impl ScenarioTotals {
    fn of(scenarios: &[ScenarioReport]) -> Self {
        let mut totals = Self::default();
        for scenario in scenarios {
            let total = match scenario.status {
                Status::Passed => &mut totals.passed,
                Status::Failed => &mut totals.failed,
                Status::Inconclusive => &mut totals.inconclusive,
                Status::Error => &mut totals.error,
            };
            *total += 1;
        }
        totals
    }
}
