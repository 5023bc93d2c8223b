//! *Never stale*: a look-up of a store that begins after a publication was acknowledged finds what was published, and
//! nobody ever finds what nobody published.
//!
//! Keys that somebody takes out may be missed.

use super::Check;
use super::transaction::{self, Statement};
use crate::check::{Evidence, Finding};
use crate::lockstep::driver::Class;
use crate::lockstep::log::Log;
use crate::lockstep::stored::{MISS, Stored};
use crate::scenario::script::Script;

/// See the module's header.
pub(super) struct NeverStale;

impl Check for NeverStale {
    fn id(&self) -> &'static str {
        "never_stale"
    }

    fn judge(&self, _: &Script, log: &Log) -> Option<Finding> {
        let statements = transaction::statements(log);
        let look_ups = look_ups(&statements);
        let mut evidence = Evidence::default();
        for LookUp { key, statement } in &look_ups {
            let Statement { actor, first, step, outcome, .. } = statement;
            let found = outcome.shown.trim_end();
            if found == MISS {
                if let Some(before) = acknowledged(&statements, key, *first) {
                    evidence.add(|| {
                        format!(
                            "{actor} missed `{key}` at step {step}, which {} was told is stored at step {}",
                            before.actor, before.step
                        )
                    });
                }
            } else if !asked(&statements, key).any(|value| value.to_string() == found) {
                evidence.add(|| format!("{actor} found `{found}` under `{key}` at step {step}"));
            }
        }
        let count = look_ups.len();
        (0 < count).then(|| evidence.finding(format!("{count} look-ups compared")))
    }

    /// Lets a look-up miss what was acknowledged before it.
    fn plant(&self, _: &Script, log: &Log) -> Option<Log> {
        let statements = transaction::statements(log);
        let late = look_ups(&statements).into_iter().find(|LookUp { key, statement }| {
            acknowledged(&statements, key, statement.first).is_some()
        })?;
        let mut planted = log.clone();
        let outcome = &mut planted.steps[late.statement.step].came.as_mut()?.outcome;
        outcome.shown = format!("{MISS}\n");
        Some(planted)
    }
}

struct LookUp<'a> {
    key: &'a str,
    statement: Statement<'a>,
}

/// Those that had an answer, of keys that nobody takes out.
fn look_ups<'a>(statements: &[Statement<'a>]) -> Vec<LookUp<'a>> {
    let answered = statements.iter().filter(|it| it.outcome.class == Class::Ok);
    let of = |statement: &Statement<'a>| match Stored::of(statement.sql) {
        Some(Stored::Get(key)) => Some(LookUp { key, statement: *statement }),
        _ => None,
    };
    let is_dropped =
        |key: &str| statements.iter().any(|it| Stored::of(it.sql) == Some(Stored::Drop(key)));
    answered.filter_map(of).filter(|it| !is_dropped(it.key)).collect()
}

/// A publication that had been acknowledged before that step.
fn acknowledged<'s, 'a>(
    statements: &'s [Statement<'a>],
    key: &str,
    before: usize,
) -> Option<&'s Statement<'a>> {
    let earlier = statements.iter().filter(|it| it.step < before && it.outcome.class == Class::Ok);
    earlier.filter(|it| published(it).is_some_and(|(its, _)| its == key)).min_by_key(|it| it.step)
}

/// What anybody has tried to publish under that key.
fn asked<'s>(statements: &'s [Statement<'_>], key: &'s str) -> impl Iterator<Item = u64> + 's {
    statements.iter().filter_map(published).filter(move |(its, _)| *its == key).map(|(_, it)| it)
}

fn published<'a>(statement: &Statement<'a>) -> Option<(&'a str, u64)> {
    match Stored::of(statement.sql)? {
        Stored::Put(key, value, _) | Stored::Compute(key, value) => Some((key, value)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::Verdict;
    use crate::lockstep::check::canary;
    use crate::lockstep::check::fixture::{Fixture, finding};
    use crate::lockstep::driver::Outcome;

    /// With the scheduler's clock.
    fn fixture() -> Fixture {
        Fixture::new("points = \"manager\"\n")
    }

    #[test]
    fn what_was_acknowledged_is_found_and_what_is_under_way_may_be() {
        let good = fixture()
            .ok("bob", "store get x", "miss\n")
            .step("ada", "store put x 7", Outcome::new(Class::Paused, "commit"))
            .ok("bob", "store get x", "miss\n")
            .ok("eve", "store get x", "7\n")
            .ok("ada", "store put x 7", "stored\n")
            .ok("bob", "store get x", "7\n");
        let (script, log) = good.clone().build();
        let found = finding(&NeverStale, &script, &log);
        assert_eq!((found.verdict, &*found.message), (Verdict::Holds, "4 look-ups compared"));
        assert_eq!(canary(&NeverStale, &script, &log), Some(true));
        for (answer, because) in [
            ("miss\n", "bob missed `x` at step 6, which ada was told is stored at step 4"),
            ("8\n", "bob found `8` under `x` at step 6"),
        ] {
            let (script, log) = good.clone().ok("bob", "store get x", answer).build();
            assert_eq!(finding(&NeverStale, &script, &log).because, [because]);
        }
    }

    #[test]
    fn a_publication_that_failed_or_was_taken_out_may_be_missed() {
        let failed = Outcome::new(Class::Failed, "");
        let fixtures = [
            fixture().step("ada", "store put x 7", failed),
            fixture().ok("ada", "store put x 7", "stored\n").ok("ada", "store drop x", "1\n"),
        ];
        for fixture in fixtures {
            let (script, log) = fixture.ok("bob", "store get x", "miss\n").build();
            let found = NeverStale.judge(&script, &log);
            assert!(found.is_none_or(|found| found.verdict == Verdict::Holds));
        }
        let (script, log) = Fixture::new("").ok("ada", "SELECT 1", "1\n").build();
        assert_eq!(NeverStale.judge(&script, &log), None);
    }
}
