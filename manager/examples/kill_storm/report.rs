//! What a storm did, in figures.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use super::check::Finding;
use super::journal::Activity;

#[derive(Default)]
pub(crate) struct Report {
    pub(crate) kills: u64,
    /// Those that were stopped first and killed while they stood still.
    pub(crate) kills_stopped: u64,
    pub(crate) kills_by_activity: BTreeMap<Activity, u64>,
    pub(crate) looks: u64,
    pub(crate) creations: u64,
    pub(crate) acknowledged: u64,
    pub(crate) findings: Vec<Finding>,
    pub(crate) unknown_there: u64,
    pub(crate) unknown_not_there: u64,
    /// Times that somebody met the defect of `torn.rs`.
    pub(crate) torn: u64,
    /// From a kill until the last of the survivors had got something again.
    pub(crate) recovery_max: Duration,
    /// From its start until a worker had got something.
    pub(crate) start_max: Duration,
    /// How long the judge waited for a lease.
    pub(crate) look_wait_max: Duration,
    pub(crate) elapsed: Duration,
}

impl Report {
    fn count(&self, is_of: impl Fn(&Finding) -> bool) -> usize {
        self.findings.iter().filter(|finding| is_of(finding)).count()
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let per_second = self.kills as f64 / self.elapsed.as_secs_f64().max(0.001);
        writeln!(
            f,
            "kills {} in {:.1?}, {per_second:.1} a second, {} of them stopped first",
            self.kills, self.elapsed, self.kills_stopped
        )?;
        let by_activity = Activity::ALL.map(|activity| {
            let kills = self.kills_by_activity.get(&activity).copied().unwrap_or_default();
            format!("{activity} {kills}")
        });
        writeln!(f, "kills by activity: {}", by_activity.join(", "))?;
        writeln!(
            f,
            "transactions: acknowledged {}, lost {}, partial {}, duplicate {}, risen {}, unexplained {}",
            self.acknowledged,
            self.count(|finding| matches!(finding, Finding::Lost(_))),
            self.count(|finding| matches!(finding, Finding::Partial(_))),
            self.count(|finding| matches!(finding, Finding::Duplicate(_))),
            self.count(|finding| matches!(finding, Finding::Risen(_))),
            self.count(|finding| matches!(finding, Finding::Unexplained(_))),
        )?;
        writeln!(
            f,
            "unknown outcomes: {} there, {} not there",
            self.unknown_there, self.unknown_not_there
        )?;
        writeln!(
            f,
            "looks {}, second databases {}, torn by DuckDB and mended {}",
            self.looks, self.creations, self.torn
        )?;
        writeln!(
            f,
            "slowest: recovery {:.1?}, start {:.1?}, lease of a look {:.1?}",
            self.recovery_max, self.start_max, self.look_wait_max
        )
    }
}
