//! A walk-forward that several processes do together, some of which are killed.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::peers::{command, names_in, open_many, tell_all};
use crate::peer::Peer;
use crate::support::{Site, eventually};

/// Four windows, two phases, three tasks.
const STEPS: usize = 24;

fn folder(site: &Site, name: &str) -> PathBuf {
    let folder = site.path(name);
    std::fs::create_dir(&folder).unwrap();
    folder
}

/// How often each step was done.
fn done(folder: &Path) -> BTreeMap<String, usize> {
    let mut done = BTreeMap::new();
    for name in names_in(folder) {
        let (step, _pid) = name.rsplit_once('.').unwrap();
        *done.entry(step.to_owned()).or_default() += 1;
    }
    done
}

/// Steps done here, calls of progress, and the outcomes.
fn walked(answer: &str) -> (usize, usize, &str) {
    let mut words = answer.strip_prefix("walked ").unwrap_or_else(|| panic!("{answer}")).split(' ');
    let mut number = || words.next().unwrap().parse().unwrap();
    (number(), number(), words.next().unwrap())
}

#[test]
fn each_step_of_a_walk_is_done_once_by_any_of_its_processes() {
    let site = Site::empty();
    let first = folder(&site, "first");
    let mut peers = open_many(3, &site.database(), &[]);
    let answers = tell_all(&mut peers, &format!("walk {}", first.display()));
    let walks: Vec<_> = answers.iter().map(|answer| walked(answer)).collect();
    assert_eq!(walks.iter().map(|walk| walk.0).sum::<usize>(), STEPS, "{answers:?}");
    for walk in &walks {
        assert_eq!((walk.1, walk.2), (STEPS, walks[0].2), "{answers:?}");
    }
    assert_eq!(walks[0].2.split(',').count(), STEPS);
    let steps = done(&first);
    assert!(steps.len() == STEPS && steps.values().all(|times| *times == 1), "{steps:?}");

    let second = folder(&site, "second");
    for answer in tell_all(&mut peers, &format!("walk {}", second.display())) {
        assert_eq!(walked(&answer), (0, STEPS, walks[0].2));
    }
    assert!(names_in(&second).is_empty(), "nothing is computed again");
}

/// One that kills itself, in its work or at a point of the library; it is begun again, and the walk comes to its end.
#[track_caller]
fn walk_with_a_kill(die: &str, crash_at: Option<&str>, extra_max: usize) {
    let site = Site::empty();
    let marks = folder(&site, "marks");
    let order = format!("walk {}", marks.display());
    let mut doomed = command("-", &site.database(), &[]);
    doomed.envs(crash_at.map(|point| ("CRASH_AT", point)));
    let mut doomed = Peer::run(&mut doomed);
    doomed.hears("open");
    let mut peers = open_many(2, &site.database(), &[]);
    doomed.order(&format!("{order}{die}"));
    // Of the point that it passes for the nth time it has to have a share of the steps.
    let nth =
        crash_at.and_then(|point| point.split_once(':')).map_or(1, |(_, nth)| nth.parse().unwrap());
    let own = format!(".{}", doomed.pid());
    let done_by_doomed = || names_in(&marks).iter().filter(|name| name.ends_with(&own)).count();
    eventually("the doomed one is at work", || nth <= done_by_doomed() + 1);
    for peer in &mut peers {
        peer.order(&order);
    }
    let (lines, status) = doomed.ends();
    assert!(!status.success() && lines.is_empty(), "{status} {lines:?}");
    let mut again = open_many(1, &site.database(), &[]);
    again[0].order(&order);
    let answers: Vec<_> = peers.iter().chain(&again).map(Peer::line).collect();
    let outcomes = walked(&answers[0]).2;
    assert_eq!(outcomes.split(',').count(), STEPS);
    for answer in &answers {
        assert_eq!((walked(answer).1, walked(answer).2), (STEPS, outcomes));
    }
    let steps = done(&marks);
    let extra = steps.values().sum::<usize>() - steps.len();
    assert!(steps.len() == STEPS && extra <= extra_max, "{steps:?}");
}

#[test]
fn a_walk_goes_on_when_one_of_its_processes_is_killed_in_a_step() {
    for step in [1, 2, 4] {
        walk_with_a_kill(&format!(" die={step}"), None, 1);
    }
}

#[test]
fn a_walk_goes_on_when_one_of_its_processes_is_killed_after_its_commit() {
    for point in ["publish.committed", "publish.committed:3"] {
        walk_with_a_kill("", Some(point), 0);
    }
    // In evaluation it leaves its outcomes in the spool.
    walk_with_a_kill("", Some("publish.spooled:2"), 0);
    walk_with_a_kill("", Some("put.renamed:1"), 0);
}

#[test]
fn a_step_that_fails_reaches_every_process_and_what_is_done_stays_done() {
    let site = Site::empty();
    let first = folder(&site, "first");
    let mut peers = open_many(3, &site.database(), &[]);
    for answer in tell_all(&mut peers, &format!("walk {} fail=1", first.display())) {
        assert!(answer.starts_with("error: ") && answer.contains("the model is gone"), "{answer}");
    }
    let second = folder(&site, "second");
    for answer in tell_all(&mut peers, &format!("walk {}", second.display())) {
        assert_eq!(walked(&answer).1, STEPS);
    }
    let (first, second) = (done(&first), done(&second));
    let twice: Vec<_> = first.keys().filter(|step| second.contains_key(*step)).collect();
    assert_eq!(twice, ["1.evaluation.AAPL"], "{first:?} {second:?}");
    assert_eq!(first.len() + second.len(), STEPS + 1);
}
