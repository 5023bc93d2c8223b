use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

fn key(number: u8) -> Key {
    Key::from_bytes([number; 16])
}

fn entry(seq: u64, text: &str, totals: &Arc<Totals>) -> Arc<Entry> {
    let content = Content::of(text.as_bytes());
    let inline = Some(Inline::new(text.into(), content));
    let known = Known::Ready { content, bytes: text.len() as u64, codec: 0, inline };
    let mut entry = Entry::new(seq, known, totals);
    entry.compute_us = 7;
    Arc::new(entry)
}

fn empty() -> Snapshot {
    Snapshot::empty(Reading::of_nothing())
}

#[test]
fn a_change_is_in_the_next_snapshot_and_not_in_the_one_before() {
    let totals = Totals::of_nothing();
    let before = empty();
    let added = vec![(key(1), entry(1, "one", &totals))];
    let after = before.with(5, 1, Changes { added, ..Changes::default() }, Reading::of_nothing());
    assert!(before.find(key(1)).is_none() && after.find(key(1)).is_some());
    assert_eq!((after.generation(), after.seq(), after.len()), (5, 1, 1));
    let dropped = vec![(key(1), 2)];
    let gone = after.with(6, 2, Changes { dropped, ..Changes::default() }, Reading::of_nothing());
    assert!(gone.find(key(1)).is_none() && after.find(key(1)).is_some());
    assert_eq!((gone.len(), gone.memory()), (0, 0));
}

#[test]
fn what_was_dropped_before_it_was_put_in_again_is_there() {
    let totals = Totals::of_nothing();
    let changes =
        Changes { dropped: vec![(key(1), 2)], added: vec![(key(1), entry(3, "new", &totals))] };
    let snapshot = empty().with(5, 3, changes, Reading::of_nothing());
    assert_eq!(snapshot.find(key(1)).unwrap().seq, 3);
    // The drop is told again, to somebody who has the new one already.
    let again = Changes { dropped: vec![(key(1), 2)], ..Changes::default() };
    assert!(snapshot.with(6, 3, again, Reading::of_nothing()).find(key(1)).is_some());
}

#[test]
fn an_older_snapshot_does_not_replace_a_newer_one() {
    let mirror = Mirror::new(Folder::of(std::path::Path::new("nowhere")));
    for generation in [5, 9, 7] {
        let next = empty().with(generation, 0, Changes::default(), Reading::of_nothing());
        mirror.replace(&Arc::new(next));
    }
    assert_eq!(mirror.current().generation(), 9);
}

#[test]
fn hits_are_counted_also_of_entries_that_are_gone() {
    let mirror = Mirror::new(Folder::of(std::path::Path::new("nowhere")));
    let added =
        vec![(key(1), entry(1, "four", mirror.totals())), (key(2), entry(2, "x", mirror.totals()))];
    let full = empty().with(1, 2, Changes { added, ..Changes::default() }, Reading::of_nothing());
    for _ in 0..3 {
        full.find(key(1)).unwrap().count_hit(1);
    }
    full.find(key(2)).unwrap().count_hit(1);
    mirror.replace(&Arc::new(full));
    assert_eq!(mirror.counted(), (4, 0, 13, 28));
    let dropped = vec![(key(1), 3)];
    let next = mirror.current().with(
        2,
        3,
        Changes { dropped, ..Changes::default() },
        Reading::of_nothing(),
    );
    mirror.replace(&Arc::new(next));
    assert_eq!(mirror.counted(), (4, 0, 13, 28));
}

#[derive(Clone, Debug)]
enum Step {
    Add(u8, String),
    Drop(u8),
}

fn steps() -> impl Strategy<Value = Vec<Vec<Step>>> {
    let step = prop_oneof![
        3 => (any::<u8>(), "[a-z]{0,3}").prop_map(|(key, text)| Step::Add(key, text)),
        1 => any::<u8>().prop_map(Step::Drop),
    ];
    prop::collection::vec(prop::collection::vec(step, 0..40), 0..20)
}

proptest! {
    /// Against a map that is simply changed, over merges and all.
    #[test]
    fn a_mirror_that_follows_the_changes_is_the_manifest(batches in steps()) {
        let totals = Totals::of_nothing();
        let mut snapshot = empty();
        let mut manifest: BTreeMap<u8, (u64, String)> = BTreeMap::new();
        let mut seq = 0;
        for (generation, batch) in batches.into_iter().enumerate() {
            let since = seq;
            let mut dropped = Vec::new();
            for step in batch {
                seq += 1;
                match step {
                    Step::Add(number, text) => {
                        if manifest.insert(number, (seq, text)).is_some() {
                            dropped.push((key(number), seq));
                        }
                    }
                    Step::Drop(number) => {
                        if manifest.remove(&number).is_some() {
                            dropped.push((key(number), seq));
                        }
                    }
                }
            }
            let added = manifest.iter().filter(|(_, (at, _))| *at > since);
            let added = added.map(|(number, (at, text))| (key(*number), entry(*at, text, &totals))).collect();
            snapshot = snapshot.with(generation as u64, seq, Changes { dropped, added }, Reading::of_nothing());
            for number in 0..=u8::MAX {
                let found = snapshot.find(key(number)).map(|entry| entry.seq);
                prop_assert_eq!(found, manifest.get(&number).map(|(at, _)| *at));
            }
            prop_assert_eq!(snapshot.len(), manifest.len());
            let memory: u64 = snapshot.entries().map(|(_, entry)| entry.memory()).sum();
            prop_assert_eq!(snapshot.memory(), memory);
        }
    }
}
