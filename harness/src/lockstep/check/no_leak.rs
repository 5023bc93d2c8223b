//! *No leak*: when everybody has gone, nobody has a file of the scenario open. A process that was killed has none.

use super::Check;
use crate::check::{Evidence, Finding};
use crate::lockstep::log::{Ended, Log};
use crate::scenario::script::Script;

/// See the module's header.
pub(super) struct NoLeak;

impl Check for NoLeak {
    fn id(&self) -> &'static str {
        "no_leak"
    }

    fn judge(&self, _: &Script, log: &Log) -> Option<Finding> {
        let end = log.end.as_ref()?;
        if end.ended != Ended::Done {
            return None; // who has not come to an end has not let go
        }
        let mut evidence = Evidence::default();
        for (who, files) in &end.left_open {
            evidence.add(|| format!("{who} has {} open", files.join(", ")));
        }
        let count: usize = end.left_open.values().map(Vec::len).sum();
        Some(evidence.finding(format!("{count} descriptors are left open")))
    }

    fn plant(&self, _: &Script, log: &Log) -> Option<Log> {
        let mut planted = log.clone();
        let left = vec!["db.duckdb".to_owned()];
        planted.end.as_mut()?.left_open.insert("(planted)".to_owned(), left);
        Some(planted)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::Verdict;
    use crate::lockstep::check::canary;
    use crate::lockstep::check::fixture::{Fixture, finding};

    #[test]
    fn a_file_that_is_left_open_is_named_with_who_has_it() {
        let (script, mut log) = Fixture::new("").ok("ada", "begin write", "").build();
        assert_eq!(finding(&NoLeak, &script, &log).verdict, Verdict::Holds);
        assert_eq!(canary(&NoLeak, &script, &log), Some(true));
        let end = log.end.as_mut().unwrap();
        end.left_open.insert("ada".to_owned(), vec!["a".to_owned(), "b".to_owned()]);
        assert_eq!(finding(&NoLeak, &script, &log).because, ["ada has a, b open"]);
        log.end.as_mut().unwrap().ended = Ended::Stuck { actor: "ada".into(), op: "x".into() };
        assert_eq!(NoLeak.judge(&script, &log), None);
    }
}
