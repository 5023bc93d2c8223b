//! What the world does to a store: full disks, permissions, bits that flip, and kills where there is no point.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use manager::{Depth, Error, FeatureStore, Fill, Lookup, Publication, Selector, duckdb};

use super::peers::{command, content, files_in, look, open, open_with, spec};
use super::{bytes, store};
use crate::full_disk::SmallDisk;
use crate::peer::{AnotherUser, Peer, with_settings};
use crate::support::{Site, eventually, manager, waits_at_the_gate};

fn put(store: &FeatureStore, name: &str, length: usize) -> Result<manager::Published, Error> {
    store.publish(vec![Publication::new(&spec(name), content(name, length))])
}

#[test]
fn a_full_disk_publishes_nothing_by_half_and_all_goes_on_with_room_again() {
    let site = Site::empty();
    let Some(disk) = SmallDisk::mount(&site, 4 * 1024) else { return };
    let manager = manager();
    let here = FeatureStore::open(&manager, disk.database()).unwrap();
    put(&here, "before", 6000).unwrap();

    // More than there is room for, in files and in rows.
    let specs: Vec<_> = (0..300).map(|number| spec(&format!("f{number}"))).collect();
    let publish = |length: usize| {
        let fill = |(number, spec)| Publication::new(spec, content(&format!("f{number}"), length));
        here.publish(specs.iter().enumerate().map(fill).collect())
    };
    let error = publish(40_000).unwrap_err();
    assert!(matches!(&error, Error::Io { .. }), "{error:?}");
    assert!(error.to_string().contains("x.db.store"), "{error}");
    let inside = |lookup: &Lookup| !lookup.is_miss();
    let keys: Vec<_> = specs.iter().map(manager::FeatureSpec::key).collect();
    assert!(!here.get_many(&keys).unwrap().iter().any(inside), "none of them is there");
    assert_eq!(files_in(&here.folder().join("tmp")), 0, "nor what was being written");
    here.gc(false).unwrap();

    disk.fill();
    let error = put(&here, "large", 6000).unwrap_err();
    assert!(matches!(&error, Error::Io { .. }), "{error:?}");
    let error = here.get_or_compute(&spec("large"), || bytes(&content("large", 6000))).unwrap_err();
    assert!(matches!(&error, Error::Io { .. }), "{error:?}");
    assert_eq!(look(&here, "large"), "miss");
    assert_eq!(look(&here, "before"), "hit 6000 before");
    let inline = publish(4000);
    let text = inline.map(|published| format!("{published:?}")).map_err(|error| error.to_string());
    assert!(text.as_ref().is_err_and(|text| text.contains("No space left")), "{text:?}");

    disk.resize(64 * 1024);
    put(&here, "large", 6000).unwrap();
    let there = here.get_many(&keys).unwrap().iter().filter(|found| inside(found)).count();
    assert!([0, 300].contains(&there), "{there} of 300, after {text:?}");
    publish(4000).unwrap();
    for name in ["before", "large"] {
        assert_eq!(look(&here, name), format!("hit 6000 {name}"));
    }
    let report = here.verify(Depth::Deep).unwrap();
    assert!(report.is_sound() && report.artefacts == 302, "{report:?}");
}

/// Somebody who may use the database and not the store's folder.
#[test]
fn a_folder_that_may_not_be_written_keeps_large_artefacts_out_and_nothing_else() {
    let site = Site::empty();
    let another_user = AnotherUser::beside(&site);
    let program = site.path("store_peer");
    let copied = std::process::Command::new("cp")
        .arg(crate::peer::example("store_peer"))
        .arg(&program)
        .status();
    assert!(copied.unwrap().success());
    drop(another_user);
    let manager = manager();
    let here = store(&manager, &site);
    put(&here, "small", 60).unwrap();
    put(&here, "large", 6000).unwrap();
    drop(here);
    drop(manager);
    let folder = site.path("x.db.store");
    for name in ["x.db", "x.db.gate"] {
        fs::set_permissions(site.path(name), Permissions::from_mode(0o666)).unwrap();
    }
    let mut forbidden = vec![folder.clone(), folder.join("tmp"), folder.join("objects")];
    forbidden.extend(fs::read_dir(folder.join("objects")).unwrap().map(|it| it.unwrap().path()));
    for path in &forbidden {
        fs::set_permissions(path, Permissions::from_mode(0o555)).unwrap();
    }
    fs::set_permissions(folder.join("locks"), Permissions::from_mode(0o444)).unwrap();
    fs::create_dir(site.path("marks")).unwrap();
    fs::set_permissions(site.path("marks"), Permissions::from_mode(0o777)).unwrap();

    let mut run = std::process::Command::new(&program);
    if rustix::process::geteuid().is_root() {
        use std::os::unix::process::CommandExt;
        run.uid(AnotherUser::ID).gid(AnotherUser::ID);
    }
    let settings = [("wait_max", "30s"), ("duckdb_threads", "1")];
    let mut peer = Peer::run(with_settings(run.arg("-").arg(site.database()), &settings));
    peer.hears("open");
    assert_eq!(peer.tell("get small"), "hit 60 small");
    assert_eq!(peer.tell("get large"), "hit 6000 large");
    assert_eq!(peer.tell("get none"), "miss");
    let computed = peer.tell(&format!("compute tiny 60 {}", site.path("marks").display()));
    assert_eq!(computed, format!("hit 60 tiny by {}", peer.pid()));
    assert_eq!(peer.tell("publish more 60"), "ok 1 0");
    let answer = peer.tell("publish huge 6000");
    assert!(answer.starts_with("error: ") && answer.contains("x.db.store"), "{answer}");
    assert_eq!(peer.tell("get huge"), "miss");
    assert_eq!(peer.tell("get more"), "hit 60 more");
    for path in &forbidden {
        fs::set_permissions(path, Permissions::from_mode(0o755)).unwrap();
    }
}

fn flip_a_bit(path: &Path) {
    let mut bytes = fs::read(path).unwrap();
    bytes[1000] ^= 1;
    fs::write(path, bytes).unwrap();
}

#[test]
fn a_bit_that_flips_is_found_by_every_process_and_healed_for_all_of_them() {
    let site = Site::empty();
    let manager = manager();
    let here = store(&manager, &site);
    put(&here, "IBM", 6000).unwrap();
    let mut others = [open(&site.database()), open(&site.database())];
    for other in &mut others {
        assert_eq!(other.tell("get IBM"), "hit 6000 IBM");
        assert_eq!(other.tell("hold IBM"), "held");
    }
    let file = here.get(spec("IBM").key()).unwrap().hit().unwrap().path().unwrap();
    flip_a_bit(&file);
    for other in &mut others {
        let answer = other.tell("read");
        assert!(answer.starts_with("error: "), "{answer}");
        assert_eq!(other.tell("get IBM"), "miss", "it counts as missing");
    }
    let kept: Vec<_> = fs::read_dir(here.folder().join("corrupt")).unwrap().collect();
    assert_eq!(kept.len(), 2, "the file, once, and what is wrong with it");
    // Whoever publishes it anew has told everybody, also those that have found it damaged.
    put(&here, "IBM", 6000).unwrap();
    for other in &mut others {
        assert_eq!(other.tell("get IBM"), "hit 6000 IBM");
    }
    assert_eq!(others[0].tell("verify"), "sound 1");
}

#[test]
fn two_processes_that_find_the_same_damage_heal_it_and_agree() {
    let site = Site::empty();
    let manager = manager();
    let here = store(&manager, &site);
    fs::create_dir(site.path("marks")).unwrap();
    let mut others = [open(&site.database()), open(&site.database())];
    for round in 0..10 {
        let name = format!("a{round}");
        put(&here, &name, 6000).unwrap();
        let file = here.get(spec(&name).key()).unwrap().hit().unwrap().path().unwrap();
        flip_a_bit(&file);
        let order = format!("compute {name} 6000 {}", site.path("marks").display());
        let answers = super::peers::tell_all(&mut others, &order);
        assert!(answers[0].starts_with(&format!("hit 6000 {name} by ")), "{answers:?}");
        assert_eq!(answers[0], answers[1]);
    }
    assert_eq!(others[0].tell("verify"), "sound 10");
    assert_eq!(here.gc(false).unwrap().temporary, 0);
    assert_eq!(others[1].tell("verify"), "sound 10");
}

/// Changes the database as somebody does who is killed between the commit and the counting of it.
fn change_uncounted(site: &Site, sql: &[&str], key: Option<&str>) {
    let mut open = None;
    eventually("the file is free", || {
        open = duckdb::Connection::open(site.database()).ok();
        open.is_some()
    });
    let connection = open.unwrap();
    for sql in sql {
        let key = key.map(|name| *spec(name).key().as_bytes());
        let changed = match key {
            Some(key) => connection.execute(sql, [key.as_slice()]),
            None => connection.execute(sql, []),
        };
        assert!(changed.unwrap() > 0, "{sql}");
    }
    connection.close().map_err(|(_, error)| error).unwrap();
}

#[test]
fn a_commit_whose_process_was_killed_before_it_was_counted_is_met_by_the_next_writer() {
    let site = Site::empty();
    let first = manager();
    put(&store(&first, &site), "IBM", 60).unwrap();
    let mut before = open_with("-", &site.database(), &[("idle_max", "0s")]);
    assert_eq!(before.tell("get IBM"), "hit 60 IBM"); // its mirror has all there is
    drop(first);
    let row = "INSERT INTO flockgate_manifest SELECT * REPLACE (2 AS seq, ? AS key) FROM flockgate_manifest WHERE seq = 1";
    change_uncounted(&site, &[row], Some("SAP"));
    let mut after = open_with("-", &site.database(), &[("idle_max", "0s")]);
    assert_eq!(after.tell("get SAP"), "hit 60 IBM"); // its mirror has what was not counted, too
    assert_eq!(before.tell("publish SAP 60"), "ok 0 1", "it is there already");
    assert_eq!(before.tell("publish AMD 60"), "ok 1 0");
    for peer in [&mut before, &mut after] {
        assert_eq!(peer.tell("get AMD"), "hit 60 AMD", "no look-up is stale");
        assert_eq!(peer.tell("get SAP"), "hit 60 IBM");
    }
    let manager = manager();
    let report = store(&manager, &site).verify(Depth::Deep).unwrap();
    assert_eq!((report.artefacts, report.duplicate_keys), (3, 0), "{report:?}");
}

#[test]
fn an_uncounted_eviction_leaves_the_file_to_those_who_read_it() {
    let site = Site::empty();
    let first = manager();
    let here = store(&first, &site);
    put(&here, "IBM", 6000).unwrap();
    put(&here, "SAP", 6000).unwrap();
    let generation = generation(&site);
    let mut reading = open_with("-", &site.database(), &[("idle_max", "0s")]);
    assert_eq!(reading.tell("hold IBM"), "held");
    drop(here);
    drop(first);
    let drop_row = format!(
        "INSERT INTO flockgate_dropped SELECT 3, key, content, bytes, {} FROM flockgate_manifest WHERE seq = 1",
        generation + 1
    );
    change_uncounted(&site, &[&drop_row, "DELETE FROM flockgate_manifest WHERE seq = 1"], None);
    let mut sweeping = open_with("-", &site.database(), &[("idle_max", "0s")]);
    assert_eq!(sweeping.tell("gc"), "gc 0 0 1 0", "it is kept for a reader");
    assert_eq!(reading.tell("read"), "hit 6000 IBM");
    assert_eq!(reading.tell("get IBM"), "miss");
    assert_eq!(reading.tell("get SAP"), "hit 6000 SAP");
    assert_eq!(sweeping.tell("gc"), "gc 1 0 0 0");
    assert_eq!(sweeping.tell("verify"), "sound 1");
}

/// The generation, from the gate file.
fn generation(site: &Site) -> u64 {
    let gate = fs::read(site.path("x.db.gate")).unwrap();
    u64::from_ne_bytes(gate[2056..2064].try_into().unwrap())
}

#[test]
fn readers_of_what_was_evicted_by_a_process_that_died_of_it_read_on() {
    for options in ["-", "sql"] {
        let site = Site::empty();
        let manager = manager();
        let here = store(&manager, &site);
        put(&here, "IBM", 6000).unwrap();
        let mut reader = open_with(options, &site.database(), &[]);
        assert_eq!(reader.tell("hold IBM"), "held");
        let mut doomed =
            Peer::run(command("-", &site.database(), &[]).env("CRASH_AT", "evict.committed"));
        doomed.hears("open");
        doomed.order("evict 0");
        assert!(doomed.ends().0.is_empty(), "it was not acknowledged");
        assert_eq!(look(&here, "IBM"), "miss"); // and from now on this one pins nothing older
        assert_eq!(here.gc(false).unwrap().kept_for_readers, 1, "{options}");
        assert_eq!(reader.tell("read"), "hit 6000 IBM");
        assert_eq!(reader.tell("get IBM"), "miss");
        let report = here.gc(false).unwrap();
        assert_eq!((report.files, report.kept_for_readers), (1, 0));
    }
}

/// Who has read the spool before another process has emptied it does not put back what was taken out since.
#[test]
fn what_is_folded_by_one_and_evicted_is_not_folded_by_another() {
    let site = Site::empty();
    let manager = manager();
    let here = store(&manager, &site);
    let evaluation = here.evaluation_phase().unwrap();
    for number in 0..40 {
        let name = format!("f{number}");
        let fill = || -> Result<Fill, Error> { bytes(&content(&name, 6000)) };
        here.get_or_compute(&spec(&name), fill).unwrap();
    }
    drop(evaluation);
    let mut peers = super::peers::open_many(3, &site.database(), &[]);
    let answers = super::peers::tell_all(&mut peers, "fold");
    let stored: usize = answers
        .iter()
        .map(|answer| answer.split(' ').nth(1).unwrap().parse::<usize>().unwrap())
        .sum();
    let present = answers.iter().filter(|answer| !answer.ends_with(" 0")).count();
    assert_eq!((stored, present), (40, 0), "each was folded by one of them: {answers:?}");
    here.invalidate(&Selector::Feature("rsi".into(), None)).unwrap();
    assert!(here.verify(Depth::Deep).unwrap().is_sound());
}

/// What only the spool names is needed as much as what a row names.
#[test]
fn a_file_that_only_the_spool_names_stays_when_its_last_row_goes() {
    let site = Site::empty();
    let manager = manager();
    let here = store(&manager, &site);
    put(&here, "IBM", 6000).unwrap();
    let evaluation = here.evaluation_phase().unwrap();
    here.get_or_compute(&spec("SAP"), || bytes(&content("IBM", 6000))).unwrap();
    assert!(matches!(here.fold().unwrap_err(), Error::EvaluationIsOn { .. }));
    assert_eq!(look(&here, "SAP"), "hit 6000 IBM", "what could not be folded is still there");
    drop(evaluation);
    let mut sweeping = open(&site.database());
    assert_eq!(sweeping.tell("evict 0"), "gone 1");
    assert_eq!(look(&here, "SAP"), "hit 6000 IBM");
    assert_eq!(sweeping.tell("evict 0"), "gone 0"); // sweeps again, now that nobody here reads at an older generation
    assert_eq!(look(&here, "SAP"), "hit 6000 IBM");
    assert_eq!(sweeping.tell("fold"), "ok 1 0");
    assert_eq!(sweeping.tell("gc"), "gc 0 0 0 0");
    assert_eq!(look(&here, "SAP"), "hit 6000 IBM");
    assert_eq!(look(&here, "IBM"), "miss");
    assert_eq!(sweeping.tell("verify"), "sound 1");
}

#[test]
fn a_file_whose_row_waits_to_be_committed_is_nobodys_garbage() {
    let site = Site::empty();
    let manager = manager();
    let here = store(&manager, &site);
    put(&here, "IBM", 6000).unwrap();
    let (mut sweeping, mut publishing) = (open(&site.database()), open(&site.database()));
    let lease = manager.write(site.database()).unwrap();
    sweeping.order("gc");
    waits_at_the_gate(&site.database(), sweeping.pid());
    publishing.order("publish SAP 6001");
    waits_at_the_gate(&site.database(), publishing.pid());
    assert_eq!(super::objects(&here).len(), 2, "the file is there before its row");
    drop(lease);
    assert_eq!(sweeping.line(), "gc 0 0 0 1", "somebody is publishing it");
    assert_eq!(publishing.line(), "ok 1 0");
    assert_eq!(look(&here, "SAP"), "hit 6001 SAP");
    assert_eq!(sweeping.tell("verify"), "sound 2");
}

#[test]
fn a_damaged_file_that_somebody_is_publishing_anew_stays_where_it_is() {
    let site = Site::empty();
    let manager = manager();
    let here = store(&manager, &site);
    put(&here, "IBM", 6000).unwrap();
    let found = here.get(spec("IBM").key()).unwrap().hit().unwrap();
    let mut publishing = open(&site.database());
    let lease = manager.write(site.database()).unwrap();
    publishing.order("publish IBM 6000");
    waits_at_the_gate(&site.database(), publishing.pid());
    flip_a_bit(&found.path().unwrap());
    let error = found.bytes().unwrap_err();
    assert!(matches!(error, Error::Artefact { evidence: None, .. }), "{error:?}");
    assert!(found.path().unwrap().exists());
    drop(lease);
    assert_eq!(publishing.line(), "ok 0 1");
    let error = found.bytes().unwrap_err();
    assert!(matches!(error, Error::Artefact { evidence: Some(_), .. }), "{error:?}");
    assert_eq!(publishing.tell("publish IBM 6000"), "ok 0 1");
    assert_eq!(look(&here, "IBM"), "hit 6000 IBM");
}

#[test]
fn what_a_stopped_process_was_writing_is_not_swept() {
    let site = Site::empty();
    let manager = manager();
    let here = store(&manager, &site);
    // It keeps no lease while it writes files, so that it can be stopped without stopping everybody.
    let mut writing = open_with("-", &site.database(), &[("idle_max", "0s")]);
    let tmp = here.folder().join("tmp");
    let mut was_met = false;
    for round in 0..20 {
        writing.order(&format!("batch b{round}- 200 6000"));
        eventually("it writes", || files_in(&tmp) > 0);
        writing.stop();
        let left = files_in(&tmp);
        // One that is made and not locked yet may go: its writer makes another.
        let swept = if left > 2 { here.gc(false).unwrap().temporary } else { 0 };
        writing.go_on();
        assert!(swept <= 1, "{swept} of {left} are swept");
        assert_eq!(writing.line(), "ok 200 0");
        was_met |= left > 2;
        if was_met {
            break; // otherwise it was stopped too late
        }
    }
    assert!(was_met, "it was stopped while it wrote");
    assert!(writing.tell("verify").starts_with("sound "));
}

#[test]
fn what_evaluators_have_left_is_invalidated_with_the_rest() {
    let site = Site::empty();
    let manager = manager();
    let here = store(&manager, &site);
    let evaluation = here.evaluation_phase().unwrap();
    here.get_or_compute(&spec("SAP"), || bytes(&content("SAP", 6000))).unwrap();
    drop(evaluation);
    let mut other = open(&site.database());
    assert_eq!(other.tell("get SAP"), "hit 6000 SAP");
    assert_eq!(other.tell("invalidate SAP"), "gone 1");
    assert_eq!(look(&here, "SAP"), "miss");
    assert_eq!(other.tell("get SAP"), "miss");
}
