//! Logs that tests write down, step by step.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;

use crate::check::Finding;
use crate::lockstep::check::Check;
use crate::lockstep::driver::{Class, Outcome, Waits};
use crate::lockstep::explore;
use crate::lockstep::log::{Build, Came, Decision, End, Ended, Log, Step};
use crate::scenario::script::Script;
use crate::seed::Seed;

/// A script with some keys of its own, and what its actors did.
#[derive(Clone)]
pub(super) struct Fixture {
    keys: String,
    steps: Vec<(String, String, Option<Outcome>)>,
    answers: BTreeMap<String, String>,
}

impl Fixture {
    /// With these keys beside those that every script has.
    pub(super) fn new(keys: &str) -> Self {
        Self { keys: keys.to_owned(), steps: Vec::new(), answers: BTreeMap::new() }
    }

    /// A question at the end, and its answer.
    pub(super) fn ends_with(mut self, question: &str, answer: &str) -> Self {
        self.answers.insert(question.to_owned(), answer.to_owned());
        self
    }

    /// A step that succeeded.
    pub(super) fn ok(self, actor: &str, op: &str, result: &str) -> Self {
        self.step(actor, op, Outcome::new(Class::Ok, result))
    }

    pub(super) fn step(self, actor: &str, op: &str, outcome: Outcome) -> Self {
        self.maybe(actor, op, Some(outcome))
    }

    /// A step of which there may be no outcome.
    pub(super) fn maybe(mut self, actor: &str, op: &str, outcome: Option<Outcome>) -> Self {
        self.steps.push((actor.to_owned(), op.to_owned(), outcome));
        self
    }

    /// The script and the log.
    pub(super) fn build(self) -> (Script, Log) {
        let script = self.script();
        let build = Build {
            harness: String::new(),
            commit: None,
            duckdb: String::new(),
            target: String::new(),
            profile: String::new(),
        };
        let header = explore::header(&script, "naive", Seed(0), "fixture".into(), &build);
        let enabled: Vec<String> = script.actors.iter().map(|actor| actor.id.clone()).collect();
        let step = |(number, (actor, op, outcome)): (usize, (String, String, Option<Outcome>))| {
            let step = number as u64;
            let (at, act) = Default::default();
            let enabled = enabled.clone();
            let decision = Decision { step, at_ns: step, enabled, actor, op, at, act };
            let waits = |outcome: &Outcome| {
                let what = outcome.shown.clone();
                (outcome.class == Class::Blocked).then(|| Waits { what, ..Waits::default() })
            };
            let came = outcome.map(|outcome| Came { step, waits: waits(&outcome), outcome });
            Step { decision, came }
        };
        let steps: Vec<Step> = self.steps.into_iter().enumerate().map(step).collect();
        let at_ns = steps.len() as u64;
        let ended = Ended::Done;
        let end = End { ended, at_ns, answers: self.answers, ..End::default() };
        (script, Log { header, steps, end: Some(end) })
    }

    /// In which every actor has done all of its steps.
    fn script(&self) -> Script {
        let mut text =
            "format = 1\nid = \"x\"\ntitle = \"x\"\nsuites = [\"ci\"]\nmode = \"lockstep\"\n\
                        drivers = [\"naive\", \"managed\"]\n"
                .to_owned();
        text += &self.keys;
        text += "[database]\nsetup = [\"-\"]\n";
        let mut actors: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
        for (actor, op, _) in &self.steps {
            let steps = actors.entry(actor).or_default();
            // What is tried again stands in the script once.
            if steps.last() != Some(&op.as_str()) {
                steps.push(op);
            }
        }
        for (actor, steps) in actors {
            let _ = writeln!(text, "[[actors]]\nid = {actor:?}\nsteps = {steps:?}");
        }
        Script::parse(Path::new("x.toml"), text.as_bytes()).unwrap()
    }
}

/// What a check says of a log that is about its property.
pub(super) fn finding(check: &dyn Check, script: &Script, log: &Log) -> Finding {
    check.judge(script, log).expect("the scenario asks for it")
}
