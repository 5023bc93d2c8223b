//! *Invariant*: whoever asks the scenario's query gets the same answer always, and so does who asks at the end. A
//! transaction that has written something itself may see it half done, and is not held to it.

use reports::Hex64;

use super::Check;
use super::transaction::{self, Statement};
use crate::check::{Evidence, Finding};
use crate::lockstep::driver::Class;
use crate::lockstep::log::Log;
use crate::scenario::script::Script;
use crate::seed::fnv1a;

/// See the module's header.
pub(super) struct Invariant;

impl Check for Invariant {
    fn id(&self) -> &'static str {
        "invariant"
    }

    fn judge(&self, script: &Script, log: &Log) -> Option<Finding> {
        let invariant = script.watched.invariant.as_ref()?;
        let always = format!("{}\n", invariant.always);
        // Of an answer the log may keep only the beginning, but always the digest of the whole.
        let digest = Hex64(fnv1a(always.as_bytes()));
        let mut evidence = Evidence::default();
        let asked = asked(log, &invariant.query);
        for Statement { actor, step, outcome, .. } in &asked {
            if outcome.result != digest {
                let found = outcome.shown.trim_end();
                evidence.add(|| format!("{actor} got `{found}` at step {step}"));
            }
        }
        let last = log.end.as_ref().and_then(|end| end.answers.get(&invariant.query));
        if let Some(last) = last.filter(|last| **last != always) {
            evidence.add(|| format!("at the end it is `{}`", last.trim_end()));
        }
        let count = asked.len() + usize::from(last.is_some());
        let message = format!("`{}` was asked {count} times", invariant.query);
        Some(match count {
            0 => Finding::unknown("nobody asked"),
            _ => evidence.finding(message),
        })
    }

    fn plant(&self, script: &Script, log: &Log) -> Option<Log> {
        let mut planted = log.clone();
        let query = &script.watched.invariant.as_ref()?.query;
        planted.end.as_mut()?.answers.get_mut(query)?.insert(0, '0');
        Some(planted)
    }
}

/// The query's answers to transactions that had written nothing before.
fn asked<'a>(log: &'a Log, query: &str) -> Vec<Statement<'a>> {
    let mut asked = Vec::new();
    for transaction in transaction::all(log) {
        // A statement that failed may have written something too.
        let before = transaction.statements.iter().take_while(|it| it.is_query());
        asked.extend(before.filter(|it| it.sql == query && it.outcome.class == Class::Ok));
    }
    asked
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::Verdict;
    use crate::lockstep::check::canary;
    use crate::lockstep::check::fixture::{Fixture, finding};

    const SUM: &str = "SELECT sum(n) FROM accounts";

    fn fixture() -> Fixture {
        Fixture::new(&format!("[invariant]\nquery = \"{SUM}\"\nalways = \"100\"\n"))
    }

    #[test]
    fn every_answer_counts_but_those_within_an_own_change() {
        let good = fixture()
            .ends_with(SUM, "100\n")
            .ok("ada", "begin write", "")
            .ok("ada", SUM, "100\n")
            .ok("ada", "UPDATE accounts SET n = n - 1 WHERE id = 1", "1\n")
            .ok("ada", SUM, "99\n")
            .ok("bob", SUM, "100\n");
        let (script, log) = good.clone().build();
        let found = finding(&Invariant, &script, &log);
        assert_eq!(found.verdict, Verdict::Holds);
        assert_eq!(found.message, format!("`{SUM}` was asked 3 times"));
        assert_eq!(canary(&Invariant, &script, &log), Some(true));
        let (script, log) = good.ok("eve", SUM, "99\n").build();
        let found = finding(&Invariant, &script, &log);
        assert_eq!(
            (found.verdict, &*found.because[0]),
            (Verdict::Violated, "eve got `99` at step 5")
        );
    }

    #[test]
    fn what_it_is_at_the_end_counts_and_without_any_answer_nothing_is_known() {
        let (script, log) = fixture().ends_with(SUM, "99\n").ok("ada", SUM, "100\n").build();
        let found = finding(&Invariant, &script, &log);
        assert_eq!(
            (found.verdict, &*found.because[0]),
            (Verdict::Violated, "at the end it is `99`")
        );
        let (script, log) = fixture().ok("ada", "SELECT 1", "1\n").build();
        assert_eq!(finding(&Invariant, &script, &log).verdict, Verdict::Unknown);
        let (script, log) = Fixture::new("").ok("ada", SUM, "1\n").build();
        assert_eq!(Invariant.judge(&script, &log), None);
    }
}
