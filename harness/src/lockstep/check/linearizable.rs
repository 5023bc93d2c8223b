//! *Linearizable*: each list by itself, and each lease, is as if one operation came after the other, each at a moment
//! between its beginning and its end.
//!
//! A transaction's operations on one list take effect in one moment: where it appends, nobody else does so meanwhile. A
//! lease is what `acquire NAME` and `release NAME` are about, in the words of a driver of one's own; one actor at a time can
//! have it.

use super::Check;
use super::lists::{self, Act, Listed};
use super::transaction::{self, Fate, Statement};
use crate::check::{Evidence, Finding};
use crate::linearizable::objects::{Lease, List, OnLease, OnList};
use crate::linearizable::{self, Answer, Object, Operation};
use crate::lockstep::driver::Class;
use crate::lockstep::log::Log;
use crate::lockstep::vocabulary;
use crate::scenario::script::Script;

/// See the module's header.
pub(super) struct Linearizable;

impl Check for Linearizable {
    fn id(&self) -> &'static str {
        "linearizable"
    }

    fn judge(&self, script: &Script, log: &Log) -> Option<Finding> {
        let lists = lists::of(script, log);
        let mut judged = Judged::default();
        if let Some(lists) = &lists {
            judged.unknown.clone_from(&lists.unknown);
            // What is not known may be the append that explains a read.
            let known = lists.unknown.is_none().then(|| on_lists(lists, log.steps.len()));
            for (key, operations) in known.into_iter().flatten() {
                judged.judge("list", key, &List, operations);
            }
        }
        for (name, operations) in on_leases(log) {
            judged.judge("lease", name, &Lease, operations);
        }
        let Judged { evidence, objects, unknown } = judged;
        match unknown.filter(|_| evidence.is_empty()) {
            Some(reason) => Some(Finding::unknown(&reason)),
            None => {
                (0 < objects).then(|| evidence.finding(format!("{objects} objects were looked at")))
            }
        }
    }

    /// Lets the last look at a list find nothing.
    fn plant(&self, script: &Script, log: &Log) -> Option<Log> {
        let lists = lists::of(script, log)?;
        let (key, _) = lists.acknowledged().next()?;
        let mut planted = log.clone();
        let question = script.watched.vocabulary().all_lists()?;
        let lines = lists.last.as_ref()?.iter().map(|(name, values)| {
            let left = if *name == key { &[] } else { values.as_slice() };
            [name, "|", &*vocabulary::list(left), "\n"].concat()
        });
        *planted.end.as_mut()?.answers.get_mut(&question)? = lines.collect();
        Some(planted)
    }
}

/// What was found so far.
#[derive(Default)]
struct Judged {
    evidence: Evidence,
    objects: usize,
    unknown: Option<String>,
}

/// An operation, and what people call it.
type Told<C> = (Operation<C>, String);

impl Judged {
    fn judge<O: Object>(&mut self, kind: &str, name: &str, object: &O, told: Vec<Told<O::Call>>) {
        self.objects += 1;
        let count = told.len();
        let (operations, words): (Vec<_>, Vec<_>) = told.into_iter().unzip();
        match linearizable::check(object, &operations) {
            Answer::Linearizable => {}
            Answer::Not { stuck } => self.evidence.add(|| {
                let words = &words[stuck];
                format!("{kind} `{name}`: no order of its {count} operations explains that {words}")
            }),
            Answer::Unknown => {
                let reason =
                    format!("{kind} `{name}` has {count} operations, too many to try their orders");
                self.unknown.get_or_insert(reason);
            }
        }
    }
}

/// The operations on each list: a transaction's in one, and a last look.
fn on_lists<'a>(lists: &lists::Lists<'a>, end: usize) -> Vec<(&'a str, Vec<Told<Vec<OnList>>>)> {
    let mut objects = Vec::new();
    for Listed { transaction, acts } in &lists.transactions {
        let fate = transaction.fate();
        let mut keys: Vec<&'a str> = Vec::new();
        for (_, act) in acts {
            let (Act::Append(key, _) | Act::Read(key, _)) = act;
            if fate == Fate::Undone || keys.contains(key) {
                continue;
            }
            keys.push(key);
            let call: Vec<OnList> =
                acts.iter().filter_map(|(_, act)| on_list(act, key, fate)).collect();
            let ended = transaction.ended.filter(|_| fate == Fate::Kept).map(|step| step as u64);
            let operation = Operation { call, began: transaction.began as u64, ended };
            let words = format!("{} did {:?}", lists::name(transaction), operation.call);
            add(&mut objects, key, (operation, words));
        }
    }
    for (key, list) in lists.last.iter().flatten() {
        let (call, end) = (vec![OnList::Read(list.clone())], end as u64);
        let words = format!("{list:?} is there at the end");
        add(&mut objects, key, (Operation { call, began: end, ended: Some(end) }, words));
    }
    objects
}

/// What an act did to a list. What a transaction has read that may not have been committed says nothing.
fn on_list(act: &Act<'_>, list: &str, fate: Fate) -> Option<OnList> {
    match act {
        Act::Append(key, value) if *key == list => Some(OnList::Append(*value)),
        Act::Read(key, values) if *key == list && fate == Fate::Kept => {
            Some(OnList::Read(values.clone()))
        }
        _ => None,
    }
}

/// The operations on each lease. Who is killed may have given back what it had.
fn on_leases(log: &Log) -> Vec<(&str, Vec<Told<OnLease>>)> {
    let mut objects = Vec::new();
    let mut actors: Vec<&str> = Vec::new();
    let mut names: Vec<&str> = Vec::new();
    for statement in transaction::statements(log) {
        let Statement { actor, first, step, sql, outcome } = statement;
        let who = actors.iter().position(|it| *it == actor).unwrap_or_else(|| {
            actors.push(actor);
            actors.len() - 1
        });
        let ended = match outcome.class {
            Class::Ok => Some(step as u64),
            Class::Unknown | Class::Panicked | Class::Killed => None,
            _ => continue,
        };
        let (verb, name) = sql.split_once(' ').unwrap_or_default();
        let call = match verb {
            "acquire" => Some(OnLease::Acquired(who)),
            "release" => Some(OnLease::Released(who)),
            _ => None,
        };
        if let Some(call) = call {
            if !names.contains(&name) {
                names.push(name);
            }
            let words = format!("{actor} did `{sql}` at step {step}");
            add(&mut objects, name, (Operation { call, began: first as u64, ended }, words));
        }
        if matches!(outcome.class, Class::Killed | Class::Panicked) {
            for name in &names {
                let call = OnLease::Released(who);
                let words = format!("{actor} ended at step {step}");
                add(
                    &mut objects,
                    name,
                    (Operation { call, began: first as u64, ended: None }, words),
                );
            }
        }
    }
    objects
}

fn add<'a, T>(objects: &mut Vec<(&'a str, Vec<T>)>, name: &'a str, operation: T) {
    match objects.iter_mut().find(|(it, _)| *it == name) {
        Some((_, operations)) => operations.push(operation),
        None => objects.push((name, vec![operation])),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::Verdict;
    use crate::lockstep::check::canary;
    use crate::lockstep::check::fixture::{Fixture, finding};
    use crate::lockstep::driver::Outcome;

    fn lists() -> Fixture {
        let question = "SELECT k, v FROM lists ORDER BY k";
        Fixture::new("[lists]\ntable = \"lists\"\n").ends_with(question, "x|,1,2\n")
    }

    fn judged(fixture: Fixture) -> Finding {
        let (script, log) = fixture.build();
        finding(&Linearizable, &script, &log)
    }

    #[test]
    fn a_list_that_is_read_in_the_order_of_time_holds_and_a_stale_read_does_not() {
        let good = lists()
            .ok("ada", "begin write", "")
            .ok("ada", "append x 1", "1\n")
            .ok("bob", "read x", "\n")
            .ok("ada", "commit", "")
            .ok("bob", "append x 2", "1\n");
        let (script, log) = good.clone().build();
        assert_eq!(finding(&Linearizable, &script, &log).verdict, Verdict::Holds);
        assert_eq!(canary(&Linearizable, &script, &log), Some(true));
        assert_eq!(
            judged(good.ok("eve", "read x", ",1\n")).because,
            ["list `x`: no order of its 5 operations explains that eve (step 5) did [Read([1])]"]
        );
    }

    #[test]
    fn what_a_transaction_of_unknown_end_has_read_explains_nothing() {
        let unknown = lists()
            .ok("ada", "begin write", "")
            .ok("ada", "read x", ",9\n")
            .ok("ada", "append x 2", "1\n")
            .step("ada", "commit", Outcome::new(Class::Unknown, ""))
            .ok("bob", "append x 1", "1\n");
        assert_eq!(judged(unknown).verdict, Verdict::Holds, "the append came late, and is there");
    }

    #[test]
    fn a_lease_that_two_have_at_once_is_told() {
        let first = || {
            Fixture::new("").ok("ada", "acquire x", "").step(
                "bob",
                "acquire x",
                Outcome::new(Class::Blocked, "x"),
            )
        };
        let turns = first().ok("ada", "release x", "").ok("bob", "acquire x", "");
        assert_eq!(judged(turns).verdict, Verdict::Holds);
        assert_eq!(
            judged(first().ok("bob", "acquire x", "")).because,
            ["lease `x`: no order of its 2 operations explains that bob did `acquire x` at step 2"]
        );
        let killed = first().step("ada", "work", Outcome::new(Class::Killed, ""));
        assert_eq!(judged(killed.ok("bob", "acquire x", "")).verdict, Verdict::Holds);
    }

    #[test]
    fn too_many_operations_on_one_object_and_what_the_log_does_not_keep_are_unknown() {
        let many = (0..101).fold(Fixture::new(""), |fixture, _| {
            fixture.ok("ada", "acquire x", "").ok("ada", "release x", "")
        });
        assert_eq!(judged(many).verdict, Verdict::Unknown);
        let cut = lists().ok("ada", "append x 1", "1\n").ok("ada", "append x 2", "1\n");
        assert_eq!(judged(cut.ok("bob", "read x", "NULL\n")).verdict, Verdict::Unknown);
        let (script, log) = Fixture::new("").ok("ada", "SELECT 1", "1\n").build();
        assert_eq!(Linearizable.judge(&script, &log), None);
    }
}
