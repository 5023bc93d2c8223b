//! *No deadlock*: everybody comes to the end of the script.

use super::Check;
use crate::check::{Evidence, Finding};
use crate::lockstep::log::{Edge, End, Ended, Log};
use crate::scenario::script::Script;

/// See the module's header.
pub(super) struct NoDeadlock;

impl Check for NoDeadlock {
    fn id(&self) -> &'static str {
        "no_deadlock"
    }

    fn judge(&self, _: &Script, log: &Log) -> Option<Finding> {
        let Some(end) = &log.end else { return Some(Finding::unknown("the log was cut off")) };
        let mut evidence = Evidence::default();
        let message = match &end.ended {
            Ended::Done => "everybody came to an end".to_owned(),
            Ended::Deadlock { graph } => {
                evidence.add(|| "nobody can move, and there is no timer".to_owned());
                for edge in graph {
                    evidence.add(|| line(edge));
                }
                format!("{} wait for each other", graph.len())
            }
            Ended::Died { actor, op, how } => {
                evidence
                    .add(|| format!("{actor} died in `{op}` ({how}), and nobody had decided that"));
                format!("{actor} died")
            }
            Ended::Stuck { actor, op } => {
                evidence.add(|| {
                    format!(
                        "{actor} did not come back from `{op}`: it waits for something unknown here"
                    )
                });
                format!("{actor} is stuck")
            }
        };
        Some(evidence.finding(message))
    }

    fn plant(&self, _: &Script, log: &Log) -> Option<Log> {
        let mut planted = log.clone();
        let last = planted.steps.last()?.decision.clone();
        let waits = crate::lockstep::driver::Waits {
            what: "itself".to_owned(),
            held_by: vec![last.actor.clone()],
            at_most_ns: None,
        };
        let graph = vec![Edge { actor: last.actor, op: last.op, waits }];
        let end = planted.end.as_mut()?;
        *end = End { ended: Ended::Deadlock { graph }, ..end.clone() };
        Some(planted)
    }
}

fn line(edge: &Edge) -> String {
    let Edge { actor, op, waits } = edge;
    format!("{actor} (`{op}`) waits for {}, which {} has", waits.what, waits.held_by.join(" and "))
}
