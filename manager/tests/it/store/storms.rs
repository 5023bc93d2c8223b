//! Everything at once for a while, in several processes.

use super::peers::{content, look, open_many, open_with, spec};
use super::store;
use crate::peer::Peer;
use crate::support::{Site, manager};
use manager::{Depth, FeatureStore, PinnedFeature};

const MS: u32 = 2500;

/// Keeps what is called so from being evicted.
fn pin(store: &FeatureStore) {
    let feature = "kept".to_owned();
    let note = "the test counts on it".to_owned();
    store.pin(&PinnedFeature { feature, version: None, note, until_unix_ms: None }).unwrap();
}

/// The numbers of an answer that all was well.
#[track_caller]
fn done(answer: &str) -> Vec<usize> {
    let numbers = answer.strip_prefix("done ").unwrap_or_else(|| panic!("{answer}"));
    numbers.split(' ').map(|number| number.parse().unwrap()).collect()
}

/// What of the acknowledged artefacts that nobody evicts is not there as it was published.
fn lost(store: &FeatureStore, name: &str, acknowledged: usize) -> Vec<String> {
    let names = (0..acknowledged).map(|number| (number, format!("kept{name}-{number}")));
    names
        .filter(|(number, name)| {
            let length = if number % 2 == 0 { 5000 } else { 60 };
            look(store, name) != format!("hit {length} {name}")
        })
        .map(|(_, name)| name)
        .collect()
}

#[test]
fn upkeep_beside_publishers_and_readers_harms_nobody() {
    let site = Site::empty();
    let manager = manager();
    let here = store(&manager, &site);
    pin(&here);
    let database = site.database();
    let mut peers = open_many(5, &database, &[]);
    peers.extend([(); 2].map(|()| open_with("sql", &database, &[])));
    let folder = site.folder().display();
    let orders = [
        format!("storm publish {MS} {folder} p"),
        format!("storm publish {MS} {folder} q"),
        format!("storm read {MS} {folder} p q"),
        format!("storm read {MS} {folder} p q"),
        format!("storm upkeep {MS} {folder}"),
        format!("storm upkeep {MS} {folder}"),
        format!("storm read {MS} {folder} p q"),
    ];
    peers.iter_mut().zip(&orders).for_each(|(peer, order)| peer.order(order));
    let numbers: Vec<_> = peers.iter().map(|peer| done(&peer.line())).collect();
    println!("published, read, evicted: {numbers:?}");
    for (name, acknowledged) in [("p", numbers[0][0]), ("q", numbers[1][0])] {
        assert!(acknowledged > 0);
        assert_eq!(lost(&here, name, acknowledged), Vec::<String>::new());
    }
    assert!(numbers[4][1] + numbers[5][1] > 0, "something was evicted: {numbers:?}");
    peers.into_iter().for_each(Peer::release);
    here.gc(false).unwrap();
    let report = here.verify(Depth::Deep).unwrap();
    assert!(report.is_sound() && report.files_without_row == 0, "{report:?}");
}

#[test]
fn a_storm_in_which_something_was_lost_or_changed_would_be_noticed() {
    let site = Site::empty();
    let manager = manager();
    let here = store(&manager, &site);
    let mut peers = open_many(2, &site.database(), &[]);
    let folder = site.folder().display().to_string();
    assert!(done(&peers[0].tell(&format!("storm publish 100 {folder} p")))[0] >= 1);
    assert_eq!(lost(&here, "p", 1), Vec::<String>::new());
    let first = here.get(spec("keptp-0").key()).unwrap().hit().unwrap();
    let file = first.path().unwrap();
    std::fs::write(&file, content("keptp-1", 5000)).unwrap();
    let answer = peers[1].tell(&format!("storm read 20000 {folder} p"));
    assert!(answer.starts_with("error: keptp-0: "), "{answer}");
    assert_eq!(lost(&here, "p", 1), ["keptp-0"]);
    let answer = peers[1].tell(&format!("storm upkeep 20000 {folder}"));
    assert!(answer.starts_with("error: unsound"), "{answer}");
    std::fs::write(site.path("q.acked"), "000000999").unwrap();
    let answer = peers[0].tell(&format!("storm read 20000 {folder} q"));
    assert!(answer.ends_with("was acknowledged and is not found"), "{answer}");
}

/// Publishers are killed at random moments: also between a commit and what it counts, where no point is.
#[test]
fn publishers_that_are_killed_at_random_moments_leave_no_key_twice() {
    let site = Site::empty();
    let manager = manager();
    let here = store(&manager, &site);
    let folder = site.folder().display();
    let mut steady = open_many(1, &site.database(), &[]);
    for round in 0..6_u64 {
        let name = format!("p{round}");
        let mut doomed = open_many(2, &site.database(), &[]);
        for peer in &mut doomed {
            peer.order(&format!("storm publish 20000 {folder} {name}"));
        }
        std::thread::sleep(std::time::Duration::from_millis(20 + 17 * round));
        doomed.into_iter().for_each(Peer::kill);
        // In the place where they were: what is there already is present.
        let acknowledged = done(&steady[0].tell(&format!("storm publish 60 {folder} {name}")))[0];
        assert_eq!(lost(&here, &name, acknowledged), Vec::<String>::new());
        assert!(steady[0].tell("verify").starts_with("sound "));
    }
    let report = here.verify(Depth::Deep).unwrap();
    assert!(report.is_sound() && report.duplicate_keys == 0, "{report:?}");
    let numbers: (u64, u64) = manager
        .read(site.database())
        .unwrap()
        .query_row("SELECT count(*), count(DISTINCT seq) FROM flockgate_manifest", [], |row| {
            Ok((row.get(0)?, row.get(1)?))
        })
        .unwrap();
    assert_eq!(numbers.0, numbers.1, "no number is given twice");
}
