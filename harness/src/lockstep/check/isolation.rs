//! *Isolation*: the scenario's lists were appended to and read as the level allows, which is snapshot isolation unless the
//! scenario asks for more. The anomalies have names: see [`crate::isolation`].

use super::{Check, lists};
use crate::check::{Evidence, Finding};
use crate::isolation::{self, Kind, Level};
use crate::lockstep::log::Log;
use crate::lockstep::vocabulary;
use crate::scenario::script::Script;

/// See the module's header.
pub(super) struct Isolation;

impl Check for Isolation {
    fn id(&self) -> &'static str {
        "isolation"
    }

    fn judge(&self, script: &Script, log: &Log) -> Option<Finding> {
        let level = script.watched.lists.as_ref()?.level;
        let lists = lists::of(script, log)?;
        let history = lists.history();
        let report = isolation::check(&history);
        let mut evidence = Evidence::default();
        let mut unsure = lists.unknown;
        for anomaly in report.violations(level) {
            // An append that is not known may be the one that a list should not have.
            let may_be_known = matches!(anomaly.kind, Kind::Unwritten | Kind::Internal);
            if may_be_known && unsure.is_some() {
                continue;
            }
            evidence.add(|| anomaly.to_string());
        }
        if 0 < report.left_out {
            unsure = unsure.or(Some(format!("{} dependencies were left out", report.left_out)));
        }
        let skew = report.anomalies.iter().find(|anomaly| anomaly.kind == Kind::G2Item);
        let allowed = skew.filter(|_| level == Level::Snapshot);
        let allowed = allowed.map_or_else(String::new, |skew| format!("; allowed: {skew}"));
        let finding =
            evidence.finding(format!("{} transactions were committed{allowed}", report.committed));
        Some(match unsure {
            Some(reason) if finding.count == 0 => Finding::unknown(&reason),
            _ => finding,
        })
    }

    /// Takes an acknowledged append out of the last lists.
    fn plant(&self, script: &Script, log: &Log) -> Option<Log> {
        let lists = lists::of(script, log)?;
        let (key, value) = lists.acknowledged().next()?;
        let mut planted = log.clone();
        let question = script.watched.vocabulary().all_lists()?;
        let answer = planted.end.as_mut()?.answers.get_mut(&question)?;
        let lines = lists.last.iter().flatten().map(|(name, values)| {
            let is_kept = |it: &u64| (*name, *it) != (key, value);
            let kept: Vec<u64> = values.iter().copied().filter(is_kept).collect();
            [name, "|", &*vocabulary::list(&kept), "\n"].concat()
        });
        *answer = lines.collect();
        Some(planted)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::Verdict;
    use crate::lockstep::check::canary;
    use crate::lockstep::check::fixture::{Fixture, finding};
    use crate::lockstep::driver::{Class, Outcome};

    const LISTS: &str = "[lists]\ntable = \"lists\"\n";

    fn script() -> Fixture {
        Fixture::new(LISTS).ends_with("SELECT k, v FROM lists ORDER BY k", "x|,1\ny|,2\n")
    }

    /// One appends to `x`, another reads it and appends to `y`.
    fn good() -> Fixture {
        script()
            .ok("ada", "begin write", "")
            .ok("ada", "append x 1", "1\n")
            .ok("ada", "commit", "")
            .ok("bob", "begin write", "")
            .ok("bob", "read x", ",1\n")
            .ok("bob", "append y 2", "1\n")
            .ok("bob", "commit", "")
    }

    #[test]
    fn lists_that_tell_of_snapshots_hold_and_the_canary_is_caught() {
        let (script, log) = good().build();
        let found = finding(&Isolation, &script, &log);
        assert_eq!(
            (found.verdict, &*found.message),
            (Verdict::Holds, "2 transactions were committed")
        );
        assert_eq!(canary(&Isolation, &script, &log), Some(true));
    }

    #[test]
    fn a_read_that_misses_what_was_committed_before_is_told_with_its_steps() {
        let stale = script()
            .ok("ada", "append x 1", "1\n")
            .ok("ada", "append y 2", "1\n")
            .ok("bob", "read x", "\n");
        let (script, log) = stale.build();
        let found = finding(&Isolation, &script, &log);
        assert_eq!(found.verdict, Verdict::Violated);
        assert_eq!(
            found.because,
            [
                "G-single (read skew) in real time: ada (step 0) had ended before bob (step 2) began; \
              bob (step 2) read `x` without what ada (step 0) appended"
            ]
        );
    }

    #[test]
    fn write_skew_is_reported_and_breaks_only_what_is_to_be_serializable() {
        let skew = |level: &str| {
            Fixture::new(&format!("{LISTS}level = \"{level}\"\n"))
                .ends_with("SELECT k, v FROM lists ORDER BY k", "x|,1\ny|,2\n")
                .ok("ada", "begin write", "")
                .ok("bob", "begin write", "")
                .ok("ada", "read y", "\n")
                .ok("bob", "read x", "\n")
                .ok("ada", "append x 1", "1\n")
                .ok("bob", "append y 2", "1\n")
                .ok("ada", "commit", "")
                .ok("bob", "commit", "")
                .build()
        };
        let (script, log) = skew("snapshot");
        let found = finding(&Isolation, &script, &log);
        assert_eq!(found.verdict, Verdict::Holds);
        assert!(found.message.contains("; allowed: G2-item (write skew): "), "{}", found.message);
        let (script, log) = skew("serializable");
        assert_eq!(finding(&Isolation, &script, &log).verdict, Verdict::Violated);
    }

    #[test]
    fn what_the_log_does_not_keep_is_unknown_and_what_surely_happened_is_not() {
        let too_much = vocabulary::list(&(1..500).collect::<Vec<_>>());
        for (op, result, message) in [
            ("read x", &*too_much, "`read x` at step 7 gave more than the log keeps"),
            ("read x", "NULL\n", "`read x` at step 7 gave no list"),
            ("append x 9", "0\n", "`append x 9` at step 7 found no list, or more than one"),
        ] {
            let (script, log) = good().ok("eve", op, result).build();
            let found = finding(&Isolation, &script, &log);
            assert_eq!((found.verdict, &*found.message), (Verdict::Unknown, message));
            let (script, log) = good().ok("eve", op, result).ok("eve", "read x", "\n").build();
            assert_eq!(finding(&Isolation, &script, &log).verdict, Verdict::Violated, "{result}");
        }
    }

    #[test]
    fn an_append_that_nobody_answered_for_may_be_there_or_not() {
        for class in [Class::Unknown, Class::Killed, Class::Panicked] {
            for last in ["x|,1\ny|,2\n", "x|,1,3\ny|,2\n"] {
                let (script, log) = good()
                    .ends_with("SELECT k, v FROM lists ORDER BY k", last)
                    .step("eve", "append x 3", Outcome::new(class, ""))
                    .build();
                let found = finding(&Isolation, &script, &log);
                assert_eq!(found.verdict, Verdict::Holds, "{class} {last} {found:?}");
            }
        }
        let (script, log) = good()
            .ends_with("SELECT k, v FROM lists ORDER BY k", "x|,1,3\ny|,2\n")
            .step("eve", "append x 3", Outcome::new(Class::Conflict, ""))
            .build();
        assert_eq!(finding(&Isolation, &script, &log).verdict, Verdict::Violated);
    }

    #[test]
    fn a_statement_that_is_under_way_when_the_log_ends_may_have_happened() {
        let under_way = [Outcome::new(Class::Paused, "")];
        for outcome in under_way.into_iter().map(Some).chain([None]) {
            let (script, log) = good()
                .ends_with("SELECT k, v FROM lists ORDER BY k", "x|,1,3\ny|,2\n")
                .maybe("eve", "append x 3", outcome)
                .build();
            assert_eq!(finding(&Isolation, &script, &log).verdict, Verdict::Holds);
        }
    }

    #[test]
    fn who_is_killed_within_a_transaction_has_none_afterwards() {
        let (script, log) = good()
            .ends_with("SELECT k, v FROM lists ORDER BY k", "x|,1,4\ny|,2\n")
            .ok("eve", "begin write", "")
            .ok("eve", "append x 3", "1\n")
            .step("eve", "read x", Outcome::new(Class::Killed, ""))
            .ok("eve", "append x 4", "1\n")
            .build();
        assert_eq!(finding(&Isolation, &script, &log).verdict, Verdict::Holds);
    }

    #[test]
    fn a_statement_in_pieces_is_the_one_that_was_begun() {
        let pieces = |end| {
            good()
                .ends_with("SELECT k, v FROM lists ORDER BY k", "x|,1,3\ny|,2\n")
                .step("eve", "append x 3", Outcome::new(Class::Paused, ""))
                .step("eve", "a point within it", Outcome::new(end, "1\n"))
                .build()
        };
        for (end, verdict) in [(Class::Ok, Verdict::Holds), (Class::Conflict, Verdict::Violated)] {
            let (script, log) = pieces(end);
            assert_eq!(finding(&Isolation, &script, &log).verdict, verdict, "{end}");
        }
    }

    #[test]
    fn a_scenario_without_lists_is_about_something_else() {
        let (script, log) = Fixture::new("").ok("ada", "SELECT 1", "1\n").build();
        assert_eq!(Isolation.judge(&script, &log), None);
    }
}
