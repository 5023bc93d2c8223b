//! *Agreement*: the scenario's queries, which ask the same in different ways (of an index, of the whole table), have the
//! same answer at the end.

use super::Check;
use crate::check::{Evidence, Finding};
use crate::lockstep::log::Log;
use crate::scenario::script::Script;

/// See the module's header.
pub(super) struct Agreement;

impl Check for Agreement {
    fn id(&self) -> &'static str {
        "agreement"
    }

    fn judge(&self, script: &Script, log: &Log) -> Option<Finding> {
        let (first, others) = script.watched.agree.split_first()?;
        let answer = |query: &String| log.end.as_ref().and_then(|end| end.answers.get(query));
        let mut evidence = Evidence::default();
        for other in others {
            let Some((one, two)) = answer(first).zip(answer(other)) else {
                return Some(Finding::unknown("nobody asked at the end"));
            };
            if one != two {
                let (one, two) = (one.trim_end(), two.trim_end());
                evidence.add(|| format!("`{first}` gave `{one}`, `{other}` gave `{two}`"));
            }
        }
        Some(evidence.finding(format!("{} queries were asked at the end", others.len() + 1)))
    }

    fn plant(&self, script: &Script, log: &Log) -> Option<Log> {
        let mut planted = log.clone();
        let query = script.watched.agree.last()?;
        planted.end.as_mut()?.answers.get_mut(query)?.push('0');
        Some(planted)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::Verdict;
    use crate::lockstep::check::canary;
    use crate::lockstep::check::fixture::{Fixture, finding};

    fn with(answers: &[(&str, &str)]) -> (Script, Log) {
        let keys = "[agree]\nqueries = [\"scan\", \"index\"]\n";
        let fixture = answers
            .iter()
            .fold(Fixture::new(keys), |fixture, (query, answer)| fixture.ends_with(query, answer));
        fixture.ok("ada", "SELECT 1", "1\n").build()
    }

    #[test]
    fn an_index_that_says_something_else_than_the_table_is_told() {
        let (script, log) = with(&[("scan", "7\n"), ("index", "7\n")]);
        assert_eq!(finding(&Agreement, &script, &log).verdict, Verdict::Holds);
        assert_eq!(canary(&Agreement, &script, &log), Some(true));
        let (script, log) = with(&[("scan", "7\n"), ("index", "6\n")]);
        let found = finding(&Agreement, &script, &log);
        assert_eq!(found.because, ["`scan` gave `7`, `index` gave `6`"]);
    }

    #[test]
    fn without_both_answers_nothing_is_known() {
        let (script, log) = with(&[("scan", "7\n")]);
        assert_eq!(finding(&Agreement, &script, &log).verdict, Verdict::Unknown);
        let (script, log) = Fixture::new("").ok("ada", "SELECT 1", "1\n").build();
        assert_eq!(Agreement.judge(&script, &log), None);
    }
}
