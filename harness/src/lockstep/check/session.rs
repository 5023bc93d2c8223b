//! *Session*: an actor finds in a list what it found there before, and what it appended and was told is kept.

use super::Check;
use super::lists::{self, Act, Listed};
use super::transaction::Fate;
use crate::check::{Evidence, Finding};
use crate::lockstep::log::Log;
use crate::lockstep::vocabulary;
use crate::scenario::script::Script;

/// See the module's header.
pub(super) struct Session;

impl Check for Session {
    fn id(&self) -> &'static str {
        "session"
    }

    fn judge(&self, script: &Script, log: &Log) -> Option<Finding> {
        let lists = lists::of(script, log)?;
        let mut memories: Vec<Memory<'_>> = Vec::new();
        let mut evidence = Evidence::default();
        let mut compared = 0;
        for Listed { transaction, acts } in &lists.transactions {
            let actor = transaction.actor;
            for (step, act) in acts {
                let Act::Read(key, list) = act else { continue };
                let Some(memory) = recall(&memories, actor, key) else { continue };
                compared += 1;
                if !list.starts_with(&memory.found) {
                    let found = &memory.found;
                    evidence.add(|| {
                        format!("{actor} read {list:?} in `{key}` at step {step}, after it had read {found:?}")
                    });
                }
                for value in memory.appended.iter().filter(|value| !list.contains(value)) {
                    evidence.add(|| {
                        format!("{actor} read {list:?} in `{key}` at step {step}, without its own {value}")
                    });
                }
            }
            remember(&mut memories, actor, acts, transaction.fate() == Fate::Kept);
        }
        if let Some(reason) = lists.unknown.filter(|_| evidence.is_empty()) {
            return Some(Finding::unknown(&reason));
        }
        (0 < compared).then(|| evidence.finding(format!("{compared} reads of what an actor knew")))
    }

    /// Lets a read that has something to find find nothing.
    fn plant(&self, script: &Script, log: &Log) -> Option<Log> {
        let lists = lists::of(script, log)?;
        let mut memories: Vec<Memory<'_>> = Vec::new();
        for Listed { transaction, acts } in &lists.transactions {
            for (step, act) in acts {
                let Act::Read(key, _) = act else { continue };
                let memory = recall(&memories, transaction.actor, key);
                if memory.is_some_and(|it| !it.found.is_empty() || !it.appended.is_empty()) {
                    let mut planted = log.clone();
                    let outcome = &mut planted.steps[*step].came.as_mut()?.outcome;
                    outcome.shown = vocabulary::list(&[]) + "\n";
                    return Some(planted);
                }
            }
            remember(&mut memories, transaction.actor, acts, transaction.fate() == Fate::Kept);
        }
        None
    }
}

/// What an actor knows of a list.
struct Memory<'a> {
    actor: &'a str,
    key: &'a str,
    found: Vec<u64>,
    appended: Vec<u64>,
}

fn recall<'m, 'a>(memories: &'m [Memory<'a>], actor: &str, key: &str) -> Option<&'m Memory<'a>> {
    memories.iter().find(|memory| memory.actor == actor && memory.key == key)
}

/// Learns from a transaction: what it found, but not behind an own append that may not stay.
fn remember<'a>(
    memories: &mut Vec<Memory<'a>>,
    actor: &'a str,
    acts: &[(usize, Act<'a>)],
    is_kept: bool,
) {
    let mut appended: Vec<&str> = Vec::new();
    for (_, act) in acts {
        let (Act::Append(key, _) | Act::Read(key, _)) = act;
        if recall(memories, actor, key).is_none() {
            memories.push(Memory { actor, key, found: Vec::new(), appended: Vec::new() });
        }
        let mut known = memories.iter_mut();
        let Some(memory) = known.find(|it| it.actor == actor && it.key == *key) else { continue };
        match act {
            Act::Append(_, value) if is_kept => memory.appended.push(*value),
            Act::Append(..) => appended.push(key),
            Act::Read(_, list) if !appended.contains(key) => memory.found.clone_from(list),
            Act::Read(..) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::Verdict;
    use crate::lockstep::check::canary;
    use crate::lockstep::check::fixture::{Fixture, finding};
    use crate::lockstep::driver::{Class, Outcome};

    fn fixture() -> Fixture {
        Fixture::new("[lists]\ntable = \"lists\"\n")
    }

    #[test]
    fn an_actor_finds_what_it_knew_and_what_it_appended() {
        let good = fixture()
            .ok("ada", "append x 1", "1\n")
            .ok("bob", "read x", ",1\n")
            .ok("ada", "append x 2", "1\n")
            .ok("ada", "read x", ",1,2\n")
            .ok("bob", "read x", ",1,2\n");
        let (script, log) = good.clone().build();
        let found = finding(&Session, &script, &log);
        assert_eq!(
            (found.verdict, &*found.message),
            (Verdict::Holds, "2 reads of what an actor knew")
        );
        assert_eq!(canary(&Session, &script, &log), Some(true));
        for (actor, list, because) in [
            ("bob", ",1", "bob read [1] in `x` at step 5, after it had read [1, 2]"),
            ("eve", ",1", ""),
        ] {
            let (script, log) = good.clone().ok(actor, "read x", &format!("{list}\n")).build();
            let because: Vec<String> =
                Some(because.to_owned()).filter(|it| !it.is_empty()).into_iter().collect();
            assert_eq!(finding(&Session, &script, &log).because, because, "{actor}");
        }
    }

    #[test]
    fn an_own_append_is_missed_if_it_was_acknowledged() {
        let reads = |class| {
            let commit = Outcome::new(class, "");
            let fixture = fixture()
                .ok("ada", "begin write", "")
                .ok("ada", "append x 1", "1\n")
                .ok("ada", "read x", ",1\n")
                .step("ada", "commit", commit)
                .ok("ada", "read x", "\n");
            let (script, log) = fixture.build();
            finding(&Session, &script, &log)
        };
        assert_eq!(
            reads(Class::Ok).because.len(),
            2,
            "neither what was read nor what was appended"
        );
        assert_eq!(reads(Class::Conflict).verdict, Verdict::Holds);
        assert_eq!(reads(Class::Killed).verdict, Verdict::Holds);
    }

    #[test]
    fn a_list_that_the_log_does_not_keep_is_unknown() {
        let (script, log) = fixture().ok("ada", "read x", "NULL\n").build();
        assert_eq!(finding(&Session, &script, &log).verdict, Verdict::Unknown);
        let (script, log) = fixture().ok("ada", "read x", "\n").build();
        assert_eq!(Session.judge(&script, &log), None, "there is nothing to compare");
    }
}
