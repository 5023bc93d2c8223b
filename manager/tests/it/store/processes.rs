//! Several processes at one store: each artefact is computed once, and nobody finds anything stale.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use manager::{FeatureStore, StoreOptions};

use super::peers::{files_in, look, names_in, open, open_many, open_with, spec, tell_all};
use super::{is_hit, publish, store};
use crate::peer::Peer;
use crate::support::{Running, Site, eventually, manager};

/// A folder where each computation leaves a file.
fn computed_in(site: &Site) -> PathBuf {
    let folder = site.path("computed");
    std::fs::create_dir_all(&folder).unwrap();
    folder
}

/// Has all of them ask for the same 20 artefacts of a length at once: each is computed once, and all get the same.
#[track_caller]
fn compute_once(peers: &mut [Peer], site: &Site, name: &str, length: usize) {
    let folder = computed_in(site);
    let order = format!("computes {name} 20 {length} {}", folder.display());
    let answers = tell_all(peers, &order);
    assert!(answers[0].starts_with(&format!("hit {length} {name}0 by ")), "{}", answers[0]);
    assert_eq!(answers[0].split(", ").count(), 20);
    for answer in &answers {
        assert_eq!(*answer, answers[0]);
    }
    let files = names_in(&folder);
    let own = files.iter().filter(|file| file.starts_with(name)).count();
    assert_eq!(own, 20, "each is computed once: {files:?}");
}

#[test]
fn eight_processes_compute_what_all_of_them_miss_once() {
    let site = Site::empty();
    let mut peers = open_many(8, &site.database(), &[]);
    compute_once(&mut peers, &site, "inline", 60);
    compute_once(&mut peers, &site, "file", 6000);

    let evaluator = Peer::holding("evaluation", &site.database());
    compute_once(&mut peers, &site, "spool-inline", 60);
    compute_once(&mut peers, &site, "spool-file", 6000);
    let manager = manager();
    let here = store(&manager, &site);
    assert_eq!(files_in(&here.folder().join("spool")), 40);
    let spooled = look(&here, "spool-file7");
    assert!(spooled.starts_with("hit 6000 spool-file7 by "), "{spooled}");
    evaluator.release();
    peers[0].order("enter training");
    peers[0].hears("ok");
    assert_eq!(files_in(&here.folder().join("spool")), 0);
    assert_eq!(look(&here, "spool-file7"), spooled);
    let report = here.verify(manager::Depth::Deep).unwrap();
    assert!(report.is_sound() && report.artefacts == 80, "{report:?}");
}

#[test]
fn processes_that_may_write_beside_an_evaluation_compute_once_too() {
    let site = Site::empty();
    let mut peers = open_many(4, &site.database(), &[("writes_in_evaluation", "allow")]);
    let evaluator = Peer::holding("evaluation", &site.database());
    compute_once(&mut peers, &site, "inline", 60);
    compute_once(&mut peers, &site, "file", 6000);
    let manager = manager();
    let here = store(&manager, &site);
    assert_eq!(files_in(&here.folder().join("spool")), 0);
    assert_eq!(here.verify(manager::Depth::Deep).unwrap().artefacts, 40);
    evaluator.release();
}

/// A process that computes `IBM` and does not come to an end by itself.
fn computing(site: &Site, order: &str) -> Peer {
    let mut peer = open(&site.database());
    let folder = computed_in(site);
    peer.order(&order.replace("FOLDER", &folder.display().to_string()));
    let mark = folder.join(format!("IBM.{}", peer.pid()));
    eventually("it computes", || mark.exists());
    peer
}

/// One that waits for that.
fn waiting(site: &Site) -> Peer {
    let mut peer = open(&site.database());
    peer.order(&format!("compute IBM 60 {}", computed_in(site).display()));
    peer.sleeps_for_a_lock();
    peer
}

#[test]
fn a_computation_whose_process_is_killed_is_done_by_one_that_waits() {
    let site = Site::empty();
    let pilot = computing(&site, "hang IBM FOLDER");
    let waiting = [waiting(&site), waiting(&site)];
    assert!(waiting[0].is_silent());
    let begun = Instant::now();
    pilot.kill();
    let answers = [waiting[0].line(), waiting[1].line()];
    assert!(begun.elapsed() < Duration::from_secs(10), "{:?}", begun.elapsed());
    assert_eq!(answers[0], answers[1]);
    let by = |peer: &Peer| format!("hit 60 IBM by {}", peer.pid());
    assert!(waiting.iter().any(|peer| by(peer) == answers[0]), "{answers:?}");
    assert_eq!(files_in(&computed_in(&site)), 2, "by the killed one and by one of the two");
}

#[test]
fn a_computation_that_fails_or_panics_reaches_every_process_that_waits() {
    for (order, reason) in
        [("fail IBM FOLDER GO", "the prices are gone"), ("panic IBM FOLDER GO", "it panicked")]
    {
        let site = Site::empty();
        let go = site.path("go");
        let pilot = computing(&site, &order.replace("GO", &go.display().to_string()));
        let waiting = [waiting(&site), waiting(&site), waiting(&site)];
        std::fs::write(&go, "").unwrap();
        assert!(pilot.line().contains(reason));
        for waiting in waiting {
            let answer = waiting.line();
            let by = format!("pid {} ", pilot.pid());
            let parts = ["error: compute artefact ", &by, "failed at it", reason];
            assert!(parts.iter().all(|part| answer.contains(part)), "{answer}");
        }
        assert_eq!(files_in(&computed_in(&site)), 1, "nobody has tried it again");
        // Whoever comes after that has not waited for it, and tries.
        let answer = open(&site.database())
            .tell(&format!("compute IBM 60 {}", computed_in(&site).display()));
        assert!(answer.starts_with("hit 60 IBM by "), "{answer}");
    }
}

#[test]
fn a_computation_that_hangs_is_named_by_its_process() {
    let site = Site::empty();
    let pilot = computing(&site, "hang IBM FOLDER");
    let mut hasty = open_with("wait=100", &site.database(), &[]);
    let answer = hasty.tell(&format!("compute IBM 60 {}", computed_in(&site).display()));
    assert!(answer.starts_with("error: "), "{answer}");
    let key = spec("IBM").key().to_string();
    for part in [&format!("pid {}", pilot.pid()), &key] {
        assert!(answer.contains(part), "{part} in {answer}");
    }
}

/// I9, over processes: what one has been told, the other finds, at once.
#[test]
fn what_a_process_was_told_no_other_process_misses() {
    let site = Site::empty();
    let rounds = std::env::var("TEST_ROUNDS").map_or(60, |rounds| rounds.parse().unwrap());
    let mut peers =
        [open(&site.database()), open(&site.database()), open_with("sql", &site.database(), &[])];
    for round in 0..rounds {
        let (writing, length) = (round % 3, if round % 5 == 0 { 6000 } else { 60 });
        let name = format!("a{round}");
        assert_eq!(peers[(round + 1) % 3].tell(&format!("get {name}")), "miss");
        assert_eq!(peers[writing].tell(&format!("publish {name} {length}")), "ok 1 0");
        for peer in &mut peers {
            assert_eq!(peer.tell(&format!("get {name}")), format!("hit {length} {name}"));
        }
        if round % 3 == 0 {
            assert_eq!(peers[2].tell(&format!("invalidate {name}")), "gone 1");
            for peer in &mut peers {
                assert_eq!(peer.tell(&format!("get {name}")), "miss");
            }
        }
    }
}

/// The same over stores of one process, whose mirrors are brought up to date beside its writer.
#[test]
fn no_look_up_beside_a_writer_is_stale() {
    let site = Site::empty();
    let manager = manager();
    let (here, told) = (store(&manager, &site), Arc::new(AtomicU32::new(0)));
    let readers: Vec<_> = (0..2)
        .map(|_| {
            let (there, told) = (store(&manager, &site), Arc::clone(&told));
            Running::begin(move || {
                let mut looked = 0;
                while told.load(Ordering::SeqCst) < 400 {
                    let number = told.load(Ordering::SeqCst);
                    if number > 0 {
                        let name = (number - 1).to_string();
                        is_hit(&there.get(super::spec(&name).key()).unwrap(), name.as_bytes());
                        looked += 1;
                    }
                }
                looked
            })
        })
        .collect();
    for number in 0..400_u32 {
        publish(&here, &number.to_string(), number.to_string().as_bytes());
        told.store(number + 1, Ordering::SeqCst);
    }
    assert!(readers.into_iter().all(|reader| reader.finish() > 0));
}

/// What an evaluator has left is found, also while it goes from the spool into the manifest; with a mirror and without.
#[test]
fn no_look_up_beside_a_fold_is_stale() {
    let site = Site::empty();
    let manager = manager();
    let (here, told) = (store(&manager, &site), Arc::new(AtomicU32::new(0)));
    let by_sql = StoreOptions { mirror_bytes_max: 0, ..StoreOptions::default() };
    let readers = [StoreOptions::default(), by_sql].map(|options| {
        let there = FeatureStore::open_with(&manager, site.database(), options).unwrap();
        let told = Arc::clone(&told);
        Running::begin(move || {
            let mut looked = 0;
            while told.load(Ordering::SeqCst) < 60 {
                let number = told.load(Ordering::SeqCst);
                if number > 0 {
                    let name = (number - 1).to_string();
                    is_hit(&there.get(super::spec(&name).key()).unwrap(), name.as_bytes());
                    looked += 1;
                }
            }
            looked
        })
    });
    for number in 0..60_u32 {
        let name = number.to_string();
        let evaluation = here.evaluation_phase().unwrap();
        here.get_or_compute(&super::spec(&name), || super::bytes(name.as_bytes())).unwrap();
        told.store(number + 1, Ordering::SeqCst);
        drop(evaluation);
        assert_eq!(here.fold().unwrap().stored, 1);
    }
    assert!(readers.into_iter().all(|reader| reader.finish() > 0));
}
