//! What is done with a given time: all schedules with no, one and two preemptions, then as many of PCT as find a bug of
//! depth 2 with a probability of 99 %, then swarm for the rest.

use super::{Chooser, Dfs, Offer, Part, Pct, Stop, Strategy, Swarm};
use crate::lockstep::act::Move;
use crate::lockstep::log::{Came, Decision, End};
use crate::scenario::script::Script;
use crate::seed::Seed;

/// See the module's header.
pub struct Portfolio {
    stages: Vec<Stage>,
    at: usize,
}

struct Stage {
    name: String,
    strategy: Box<dyn Strategy>,
    /// How many schedules it has been given, and is given at most.
    begun: u64,
    most: u64,
}

impl Portfolio {
    /// Schedules of that seed for that script.
    pub fn new(seed: Seed, script: &Script) -> Self {
        const DEPTH: u32 = 2;
        let stage = |name: &str, strategy: Box<dyn Strategy>, most| Stage {
            name: name.to_owned(),
            strategy,
            begun: 0,
            most,
        };
        let mut stages: Vec<Stage> = (0..=2)
            .map(|preemptions| {
                let name = format!("dfs, at most {preemptions} preemptions");
                stage(&name, Box::new(Dfs::new(preemptions)), u64::MAX)
            })
            .collect();
        // (1 - p)^n <= 1 % from n = ln(100) / p on.
        let enough = (100f64.ln() / Pct::bound(DEPTH, script)).ceil() as u64;
        stages.push(stage("pct, depth 2", Box::new(Pct::new(seed, DEPTH, script)), enough));
        stages.push(stage("swarm", Box::new(Swarm::new(seed)), u64::MAX));
        Self { stages, at: 0 }
    }

    fn stage(&mut self) -> &mut dyn Strategy {
        &mut *self.stages[self.at].strategy
    }
}

impl Chooser for Portfolio {
    fn choose(&mut self, offer: &Offer<'_>) -> Result<Move, Stop> {
        self.stage().choose(offer)
    }

    fn decided(&mut self, decision: &Decision) -> Result<(), Stop> {
        self.stage().decided(decision)
    }

    fn came(&mut self, came: &Came) -> Result<(), Stop> {
        self.stage().came(came)
    }

    fn ended(&mut self, end: &End) -> Result<(), Stop> {
        self.stage().ended(end)
    }
}

impl Strategy for Portfolio {
    fn begin(&mut self) -> bool {
        while let Some(stage) = self.stages.get_mut(self.at) {
            if stage.begun < stage.most && stage.strategy.begin() {
                stage.begun += 1;
                return true;
            }
            self.at += 1;
        }
        false
    }

    fn schedule(&self) -> String {
        self.stages.get(self.at).map_or_else(String::new, |stage| stage.strategy.schedule())
    }

    fn parts(&self) -> Vec<Part> {
        let begun = self.stages.iter().filter(|stage| 0 < stage.begun);
        begun
            .map(|stage| Part {
                name: stage.name.clone(),
                schedules: stage.begun,
                total: stage.strategy.total(),
            })
            .collect()
    }
}
