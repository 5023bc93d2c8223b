//! What `run` and the tests do with a scenario in lockstep: which strategy, and how many schedules.

use super::Points;
use crate::lockstep::strategy::Kind;
use crate::scenario::document::{Item, ScenarioError};
use crate::scenario::optional;

/// The table `[gate]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gate {
    /// Who decides.
    pub strategy: Kind,
    /// At most so many schedules on each driver.
    pub schedules: u32,
}

impl Gate {
    /// Without a table: of whole operations every schedule with two preemptions, up to 1,000; of points within them 30 at
    /// random.
    pub(super) fn of(points: Points) -> Self {
        match points {
            Points::Statement => Self { strategy: Kind::Dfs { preemptions: 2 }, schedules: 1_000 },
            Points::Manager | Points::Io => Self { strategy: Kind::Random, schedules: 30 },
        }
    }

    pub(super) fn read(item: &Item<'_>, points: Points) -> Result<Self, ScenarioError> {
        let table = item.table(&["strategy", "preemptions", "depth", "schedules"])?;
        let default = Self::of(points);
        let preemptions = optional(&table, "preemptions", |item| item.integer(0..=8))?;
        let depth = optional(&table, "depth", |item| item.integer(1..=16))?;
        let strategies = [
            ("dfs", Kind::Dfs { preemptions: preemptions.unwrap_or(2) }),
            ("pct", Kind::Pct { depth: depth.unwrap_or(2) }),
            ("random", Kind::Random),
            ("swarm", Kind::Swarm),
            ("crash", Kind::Crash),
        ];
        let strategy = optional(&table, "strategy", |item| item.choice(&strategies))?;
        let strategy = match (strategy, preemptions, depth) {
            (Some(strategy), ..) => strategy,
            (None, Some(preemptions), _) => Kind::Dfs { preemptions },
            (None, None, Some(depth)) => Kind::Pct { depth },
            (None, None, None) => default.strategy,
        };
        for (key, fits) in [
            ("preemptions", matches!(strategy, Kind::Dfs { .. })),
            ("depth", matches!(strategy, Kind::Pct { .. })),
        ] {
            if let Some(item) = table.optional(key).filter(|_| !fits) {
                return Err(item.wrong(
                    "the strategy that it belongs to: `preemptions` to dfs, `depth` to pct",
                ));
            }
        }
        let schedules = optional(&table, "schedules", |item| item.integer(1..=1_000_000))?;
        Ok(Self { strategy, schedules: schedules.unwrap_or(default.schedules) })
    }
}
