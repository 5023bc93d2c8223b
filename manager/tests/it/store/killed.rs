//! A process is killed at every point at which a store can be left half done, and nobody else loses by it.
//!
//! Each scenario is a list of orders that a process carries out, and the points that it passes on its way. It is killed at
//! the first and at the second pass of each, in a store of its own; then this process looks at what is left.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};

use manager::{Depth, FeatureStore, Publication};

use super::peers::{command, content, files_in, look, open, spec};
use super::store;
use crate::peer::Peer;
use crate::support::{Site, manager};

/// The points, from the sources: whoever adds one has to say here which scenario passes it.
fn points() -> BTreeSet<&'static str> {
    let source = include_str!("../../../src/store/crash.rs");
    let (_, list) = source.split_once("POINTS: &[&str] = &[").unwrap();
    list.split_once("];").unwrap().0.split('"').skip(1).step_by(2).collect()
}

const WRITING: &[&str] = &[
    "put.temp-made",
    "put.temp-locked",
    "put.temp-written",
    "put.writeback-begun",
    "put.synced",
    "put.all-synced",
    "put.renamed",
    "put.all-renamed",
    "put.folder-synced",
    "put.all-synced-folders",
];

/// What is in the store before: 4 files, 2 inline.
const BASE: &[(&str, usize)] = &[
    ("base0", 6000),
    ("base1", 6001),
    ("base2", 6002),
    ("base3", 6003),
    ("small0", 60),
    ("small1", 61),
];

#[derive(Clone, Copy, PartialEq, Eq)]
enum Before {
    Nothing,
    /// This process evaluates until the other one is dead.
    Evaluation,
    /// Evaluators have left `left0` and `left1` (files) and `left2`.
    Spool,
    /// Two files without a row and two of writers that are gone.
    Garbage,
    /// The files of `base0` and `base1` have other bytes.
    Damage,
}

struct Scenario {
    name: &'static str,
    before: Before,
    orders: &'static [&'static str],
    points: &'static [&'static str],
    writes: bool,
}

const SCENARIOS: &[Scenario] = &[
    Scenario {
        name: "publish",
        before: Before::Nothing,
        orders: &["publish a 6000", "batch b 3 6000", "publish c 60", "publish d 6000"],
        points: &["put.folder-made", "publish.held", "publish.written", "publish.committed"],
        writes: true,
    },
    Scenario {
        name: "spool",
        before: Before::Evaluation,
        orders: &["compute a 6000 MARKS", "compute c 60 MARKS", "compute d 6000 MARKS"],
        points: &["publish.held", "publish.written", "publish.spooled"],
        writes: true,
    },
    Scenario {
        name: "compute",
        before: Before::Nothing,
        orders: &["compute a 6000 MARKS", "compute c 60 MARKS"],
        points: &["publish.committed"],
        writes: false,
    },
    Scenario {
        name: "fold",
        before: Before::Spool,
        orders: &["fold", "enter evaluation", "compute c 60 MARKS", "leave", "fold"],
        points: &["fold.read", "fold.committed"],
        writes: false,
    },
    Scenario {
        name: "invalidate",
        before: Before::Nothing,
        orders: &["invalidate base0", "invalidate base1", "invalidate small0"],
        points: &["invalidate.committed", "remove.begun", "remove.unlinked", "upkeep.swept"],
        writes: false,
    },
    Scenario {
        name: "evict",
        before: Before::Nothing,
        orders: &["evict 13000", "evict 0"],
        points: &["evict.committed", "remove.begun", "remove.unlinked", "upkeep.swept"],
        writes: false,
    },
    Scenario {
        name: "gc",
        before: Before::Garbage,
        orders: &["gc", "invalidate base0"],
        points: &[
            "sweep.locked",
            "sweep.unlinked",
            "remove.begun",
            "remove.unlinked",
            "upkeep.swept",
        ],
        writes: false,
    },
    Scenario {
        name: "evidence",
        before: Before::Damage,
        orders: &["get base0", "get base1"],
        points: &["evidence.begun", "evidence.moved", "evidence.written"],
        writes: true,
    },
];

/// A kill: where, and at which pass.
#[derive(Clone, Copy)]
struct Kill {
    scenario: &'static Scenario,
    point: &'static str,
    pass: usize,
}

fn kills() -> Vec<Kill> {
    let of = |scenario: &'static Scenario| {
        let writing = if scenario.writes { WRITING } else { &[] };
        let points = scenario.points.iter().chain(writing);
        points.flat_map(move |point| [1, 2].map(|pass| Kill { scenario, point, pass }))
    };
    SCENARIOS.iter().flat_map(of).collect()
}

/// The store that each scenario begins with, made once.
fn template(before: Before) -> Site {
    let site = Site::empty();
    let manager = manager();
    let here = store(&manager, &site);
    let specs: Vec<_> = BASE.iter().map(|(name, _)| spec(name)).collect();
    let base = specs.iter().zip(BASE);
    let base = base.map(|(spec, (name, length))| Publication::new(spec, content(name, *length)));
    here.publish(base.collect()).unwrap();
    match before {
        Before::Nothing | Before::Evaluation => {}
        Before::Spool => {
            let _phase = here.evaluation_phase().unwrap();
            for (name, length) in [("left0", 6000), ("left1", 6000), ("left2", 60)] {
                let bytes = content(name, length);
                here.get_or_compute(&spec(name), || super::bytes(&bytes)).unwrap();
            }
            assert_eq!(files_in(&here.folder().join("spool")), 3);
        }
        Before::Garbage => {
            for name in ["ab".repeat(16), "cd".repeat(16)] {
                let folder = here.folder().join("objects").join(&name[..2]);
                fs::create_dir_all(&folder).unwrap();
                fs::write(folder.join(&name), "left").unwrap();
                // No process has so high a number.
                fs::write(here.folder().join(format!("tmp/{name}.4194999.0")), "left").unwrap();
            }
        }
        Before::Damage => {
            for name in ["base0", "base1"] {
                let found = here.get(spec(name).key()).unwrap().hit().unwrap();
                flip_a_bit(&found.path().unwrap());
            }
        }
    }
    site
}

fn flip_a_bit(path: &Path) {
    let mut bytes = fs::read(path).unwrap();
    bytes[1000] ^= 1;
    fs::write(path, bytes).unwrap();
}

fn copy(template: &Site) -> Site {
    let site = Site::empty();
    for name in ["x.db", "x.db.store"] {
        // Not by `fs::copy`, whose open files a child that is forked meanwhile would have, too, with their locks.
        let copied =
            Command::new("cp").arg("-r").arg(template.path(name)).arg(site.folder()).status();
        assert!(copied.unwrap().success());
    }
    fs::create_dir(site.path("marks")).unwrap();
    site
}

/// Runs the orders of a scenario until the process is killed. Returns the answers that it gave before.
fn run(kill: Kill, site: &Site) -> Vec<String> {
    let Kill { scenario, point, pass } = kill;
    let manager = manager();
    let _phase = (scenario.before == Before::Evaluation)
        .then(|| manager.evaluation_phase(site.database()).unwrap());
    let mut command = command("-", &site.database(), &[]);
    let mut peer = Peer::run(command.env("CRASH_AT", format!("{point}:{pass}")));
    peer.hears("open");
    let marks = site.path("marks").display().to_string();
    // In one piece: it may be dead before it has read all of them.
    let orders: Vec<_> =
        scenario.orders.iter().map(|order| order.replace("MARKS", &marks)).collect();
    peer.order(&format!("{}\nrelease", orders.join("\n")));
    let (answers, status) = peer.ends();
    let place = format!("{} {point}:{pass}", scenario.name);
    assert_eq!(status.signal(), Some(libc::SIGKILL), "{place} is passed: {status} {answers:?}");
    answers
}

/// The names that a scenario is about, and their lengths.
fn names() -> Vec<String> {
    let base = BASE.iter().map(|(name, _)| (*name).to_owned());
    let others = ["a", "b0", "b1", "b2", "c", "d", "left0", "left1", "left2"];
    base.chain(others.map(str::to_owned)).collect()
}

/// What is there now, by name.
fn state(store: &FeatureStore) -> BTreeMap<String, String> {
    names().into_iter().map(|name| (name.clone(), look(store, &name))).collect()
}

/// What is wrong with what a kill has left behind.
fn wrong(kill: Kill, site: &Site, answers: &[String]) -> Vec<String> {
    let manager = manager();
    let here = store(&manager, site);
    let mut wrong = Vec::new();
    let report = here.verify(Depth::Deep).unwrap();
    if !report.is_sound() && kill.scenario.before != Before::Damage {
        wrong.push(format!("{report:?}"));
    }
    if kill.scenario.before == Before::Damage {
        state(&here); // who looks first finds the damage; after that it is missing
    }
    let before_gc = state(&here);
    for (order, answer) in kill.scenario.orders.iter().zip(answers) {
        wrong.extend(broken_promise(order, answer, &before_gc));
    }
    wrong.extend(changed_without_an_order(kill.scenario, &before_gc));
    here.gc(false).unwrap();
    let after_gc = state(&here);
    if after_gc != before_gc {
        wrong.push(format!("gc changed {before_gc:?} to {after_gc:?}"));
    }
    wrong.extend(not_tidy(kill.scenario, &here));
    // And it goes on working.
    for (name, length) in [("base0", 6000), ("a", 6000), ("new", 6000), ("newer", 60)] {
        let found = here.get_or_compute(&spec(name), || super::bytes(&content(name, length)));
        let found = found.map(|found| found.hit().unwrap().len());
        if found.as_ref().ok() != Some(&(length as u64)) {
            wrong.push(format!("{name} cannot be computed: {found:?}"));
        }
    }
    let report = here.verify(Depth::Deep).unwrap();
    if !report.is_sound() && kill.scenario.before != Before::Damage {
        wrong.push(format!("at the end: {report:?}"));
    }
    wrong
}

/// What was acknowledged is not so.
fn broken_promise(order: &str, answer: &str, now: &BTreeMap<String, String>) -> Vec<String> {
    let words: Vec<_> = order.split(' ').collect();
    let expected: Vec<(String, String)> = match words.as_slice() {
        ["publish", name, length] => vec![((*name).to_owned(), format!("hit {length} {name}"))],
        ["batch", name, count, length] => (0..count.parse().unwrap())
            .map(|number: usize| format!("{name}{number}"))
            .map(|name| (name.clone(), format!("hit {length} {name}")))
            .collect(),
        ["compute", name, ..] => vec![((*name).to_owned(), answer.to_owned())],
        ["invalidate", name] => vec![((*name).to_owned(), "miss".to_owned())],
        ["evict", "0"] => {
            BASE.iter().map(|(name, _)| ((*name).to_owned(), "miss".into())).collect()
        }
        _ => Vec::new(),
    };
    let broken = expected.into_iter().filter(|(name, expected)| now[name] != *expected);
    broken.map(|(name, expected)| format!("{name}: {} instead of {expected}", now[&name])).collect()
}

/// What is neither as it was nor as somebody wanted it.
fn changed_without_an_order(scenario: &Scenario, now: &BTreeMap<String, String>) -> Vec<String> {
    let removes = |name: &str| {
        let order = format!("invalidate {name}");
        scenario.orders.iter().any(|it| *it == order || it.starts_with("evict"))
    };
    let damaged =
        |name: &str| scenario.before == Before::Damage && ["base0", "base1"].contains(&name);
    let mut wrong = Vec::new();
    for (name, length) in BASE {
        let is = &now[*name];
        let as_it_was = *is == format!("hit {length} {name}");
        let gone = is == "miss" && removes(name);
        let found_out = damaged(name) && (is == "miss" || is.starts_with("error: "));
        if !(as_it_was || gone || found_out) {
            wrong.push(format!("{name} is {is}"));
        }
    }
    let batch: BTreeSet<_> = ["b0", "b1", "b2"].iter().map(|name| now[*name] == "miss").collect();
    if batch.len() > 1 {
        wrong.push(format!("a half of a batch is there: {now:?}"));
    }
    if scenario.before == Before::Spool {
        for (name, length) in [("left0", 6000), ("left1", 6000), ("left2", 60)] {
            if now[name] != format!("hit {length} {name}") {
                wrong.push(format!("{name}, which was left for the manifest, is {}", now[name]));
            }
        }
    }
    wrong
}

/// What gc leaves that nobody needs.
fn not_tidy(scenario: &Scenario, store: &FeatureStore) -> Vec<String> {
    let mut wrong = Vec::new();
    let report = store.verify(Depth::Deep).unwrap();
    if report.files_without_row > 0 || report.spooled > 0 {
        wrong.push(format!("after gc: {report:?}"));
    }
    let temps = files_in(&store.folder().join("tmp"));
    if temps > 0 {
        wrong.push(format!("{temps} temporary files after gc"));
    }
    if scenario.before == Before::Damage {
        let folder = store.folder().join("corrupt");
        let kept = super::peers::names_in(&folder);
        // By the time this looks, this process itself may have moved them there.
        let is_file = |name: &&String| Path::new(name).extension().is_none_or(|end| end != "json");
        if kept.iter().filter(is_file).count() != 2 {
            wrong.push(format!("the damaged files are not kept: {kept:?}"));
        }
    }
    wrong
}

#[test]
fn a_process_killed_at_any_point_leaves_a_sound_store() {
    let listed: BTreeSet<_> = SCENARIOS
        .iter()
        .flat_map(|scenario| {
            scenario.points.iter().chain(if scenario.writes { WRITING } else { &[] })
        })
        .copied()
        .collect();
    assert_eq!(listed, points(), "each point is passed by a scenario");

    let templates: Vec<Site> = SCENARIOS.iter().map(|scenario| template(scenario.before)).collect();
    let (kills, next) = (kills(), AtomicUsize::new(0));
    std::thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| {
                while let Some(kill) = kills.get(next.fetch_add(1, Ordering::SeqCst)) {
                    let number = SCENARIOS.iter().position(|it| it.name == kill.scenario.name);
                    let site = copy(&templates[number.unwrap()]);
                    let answers = run(*kill, &site);
                    let wrong = wrong(*kill, &site, &answers);
                    let place = format!("{} {}:{}", kill.scenario.name, kill.point, kill.pass);
                    assert!(wrong.is_empty(), "{place} after {answers:?}: {wrong:#?}");
                }
            });
        }
    });
}

/// A store as a kill leaves it, and the file of one of its artefacts.
fn left_by_a_kill() -> (Kill, Site, Vec<String>, PathBuf) {
    let scenario = &SCENARIOS[0];
    let kill = Kill { scenario, point: "publish.committed", pass: 2 };
    let site = copy(&template(scenario.before));
    let answers = run(kill, &site);
    let mut peer = open(&site.database());
    assert_eq!(peer.tell("get a"), "hit 6000 a");
    let manager = manager();
    let found = store(&manager, &site).get(spec("a").key()).unwrap().hit().unwrap();
    (kill, site, answers, found.path().unwrap())
}

#[test]
fn a_kill_that_had_lost_or_left_something_would_be_noticed() {
    let finds = |harm: &dyn Fn(&Site, &Path), what: &str| {
        let (kill, site, answers, file) = left_by_a_kill();
        harm(&site, &file);
        let wrong = wrong(kill, &site, &answers);
        assert!(wrong.iter().any(|wrong| wrong.contains(what)), "{what}: {wrong:?}");
    };
    let (kill, site, answers, _) = left_by_a_kill();
    assert_eq!(wrong(kill, &site, &answers), Vec::<String>::new());
    finds(&|_, file| fs::remove_file(file).unwrap(), "its file is missing");
    finds(&|_, file| flip_a_bit(file), "damaged: [Finding");
    let drop = |site: &Site, condition: &str| {
        let sql = format!("DELETE FROM flockgate_manifest WHERE contains(entities, '{condition}')");
        super::change(&manager(), &site.database(), &sql);
    };
    finds(&|site, _| drop(site, "\"a\""), "a: miss instead of hit 6000 a");
    finds(&|site, _| drop(site, "\"b1\""), "a half of a batch is there");
    finds(&|site, _| drop(site, "\"base0\""), "base0 is miss");
    let twice = "INSERT INTO flockgate_manifest SELECT * FROM flockgate_manifest";
    finds(&|site, _| super::change(&manager(), &site.database(), twice), "duplicate_keys: 1");
}
