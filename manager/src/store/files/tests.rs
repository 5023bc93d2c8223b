use std::collections::BTreeSet;
use std::os::unix::process::ExitStatusExt;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};

use super::temp::Swept;
use super::*;
use crate::store::crash::POINTS;
use crate::store::fixture::{Ready, folder, given, other, ready};

fn artefact(number: u64, length: usize) -> (Content, Vec<u8>) {
    let bytes: Vec<u8> =
        (0..length as u64).map(|at| (at * 7 + number) as u8).chain(number.to_le_bytes()).collect();
    (Content::of(&bytes), bytes)
}

fn put(folder: &Folder, artefacts: &[(Content, Vec<u8>)]) -> io::Result<u64> {
    let objects: Vec<_> = artefacts.iter().map(|(content, bytes)| (*content, &bytes[..])).collect();
    folder.put_many(&objects)
}

fn some(count: u64) -> Vec<(Content, Vec<u8>)> {
    (0..count).map(|number| artefact(number, 3000)).collect()
}

/// The listed artefacts, each of which is read and found good.
#[track_caller]
fn whole(folder: &Folder) -> BTreeSet<Content> {
    let listing = folder.list().unwrap();
    for &(content, bytes) in &listing.objects {
        let read = folder.read(content, bytes);
        assert!(read.is_ok(), "{content}: {read:?}");
    }
    assert!(listing.foreign.is_empty(), "{listing:?}");
    listing.objects.into_iter().map(|(content, _)| content).collect()
}

fn temps(folder: &Folder) -> usize {
    entries(&folder.tmp()).unwrap().len()
}

#[test]
fn what_was_put_is_read_and_not_written_again() {
    let (_site, folder) = folder();
    let artefacts = some(300); // more than are open at once
    let twice: Vec<_> = artefacts.iter().chain(&artefacts[..2]).cloned().collect();
    assert_eq!(put(&folder, &twice).unwrap(), 300 * 3008);
    for (content, bytes) in &artefacts {
        assert_eq!(folder.read(*content, 3008).unwrap(), *bytes);
    }
    assert_eq!(put(&folder, &artefacts).unwrap(), 0);
    assert_eq!(put(&folder, &[]).unwrap(), 0);
    assert_eq!(whole(&folder).len(), 300);
    assert_eq!(temps(&folder), 0);
    let gone = artefacts[7].0;
    assert!(folder.remove(gone).unwrap());
    assert!(!folder.remove(gone).unwrap());
    assert!(matches!(folder.read(gone, 3008), Err(ReadError::Missing)));
    assert_eq!(whole(&folder).len(), 299);
}

#[test]
fn a_store_that_nobody_has_made_is_made_by_who_puts() {
    let (_site, folder) = folder();
    fs::remove_dir_all(folder.path()).unwrap();
    assert!(folder.list().unwrap().objects.is_empty());
    assert_eq!(folder.sweep_temps(false).unwrap(), Swept::default());
    put(&folder, &some(1)).unwrap();
    assert_eq!(whole(&folder).len(), 1);
}

#[test]
fn a_folder_that_cannot_be_made_is_named() {
    let (_site, folder) = folder();
    fs::remove_dir_all(folder.path()).unwrap();
    fs::write(folder.path(), "mine").unwrap();
    let error = folder.create().unwrap_err();
    assert_eq!(error.path, folder.objects());
    let error = io::Error::from(error).to_string();
    assert!(error.contains("make the folder") && error.contains("x.db.store/objects"), "{error}");
    assert!(put(&folder, &some(1)).is_err());
}

#[test]
fn every_damage_is_found() {
    let (_site, folder) = folder();
    let (content, bytes) = artefact(1, 100);
    put(&folder, &[(content, bytes.clone())]).unwrap();
    let found = |damaged: &[u8]| {
        fs::write(folder.object(content), damaged).unwrap();
        match folder.read(content, bytes.len() as u64) {
            Err(ReadError::Corrupt { found }) => found,
            read => panic!("{read:?}"),
        }
    };
    assert_eq!(found(&bytes[1..]), "107 bytes instead of 108");
    assert_eq!(found(b""), "0 bytes instead of 108");
    for at in 0..bytes.len() {
        let mut flipped = bytes.clone();
        flipped[at] ^= 1;
        assert!(found(&flipped).starts_with("108 bytes with the hash "));
    }
    // One of another length is written again; that of the same length is for who reads it.
    fs::write(folder.object(content), "short").unwrap();
    assert_eq!(put(&folder, &[(content, bytes.clone())]).unwrap(), 108);
    assert_eq!(folder.read(content, 108).unwrap(), bytes);
}

#[test]
fn evidence_of_damage_is_kept_and_the_artefact_can_be_put_again() {
    let (_site, folder) = folder();
    let (content, bytes) = artefact(1, 100);
    put(&folder, &[(content, bytes.clone())]).unwrap();
    assert_eq!(folder.keep_evidence(content, 108).unwrap(), None, "it is good");
    fs::write(folder.object(content), "rubbish").unwrap();
    let kept = folder.keep_evidence(content, 108).unwrap().unwrap();
    assert_eq!(fs::read(&kept).unwrap(), b"rubbish");
    let text = fs::read(kept.with_added_extension("json")).unwrap();
    let evidence: Evidence = serde_json::from_slice(&text).unwrap();
    assert_eq!((evidence.expected_bytes, evidence.bytes, evidence.pid), (108, 7, process::id()));
    assert_eq!(evidence.expected, content.to_string());
    assert_eq!(evidence.found, "7 bytes instead of 108");
    assert!(matches!(folder.read(content, 108), Err(ReadError::Missing)));
    assert_eq!(folder.keep_evidence(content, 108).unwrap(), None, "it is gone");
    put(&folder, &[(content, bytes)]).unwrap();
    assert_eq!(whole(&folder).len(), 1);
}

#[test]
fn files_of_others_are_left_alone_and_reported() {
    let (_site, folder) = folder();
    let artefacts = some(1);
    put(&folder, &artefacts).unwrap();
    let object = folder.object(artefacts[0].0);
    let mut foreign = vec![
        folder.objects().join("README"),
        object.with_added_extension("bak"),
        folder.objects().join("zz").join(name_of(&object).unwrap()), // in the wrong folder
    ];
    fs::create_dir(folder.objects().join("zz")).unwrap();
    for path in &foreign {
        fs::write(path, "mine").unwrap();
    }
    let own = folder.tmp().join("notes.txt");
    fs::write(&own, "mine").unwrap();
    let mut listing = folder.list().unwrap();
    listing.foreign.sort();
    foreign.sort();
    assert_eq!(listing.foreign, foreign);
    assert_eq!(listing.objects, [(artefacts[0].0, 3008)]);
    assert_eq!(folder.sweep_temps(false).unwrap(), Swept::default());
    assert!(own.exists());
}

#[test]
fn whoever_may_use_the_database_may_use_its_store() {
    let (_site, folder) = folder();
    fs::remove_dir_all(folder.path()).unwrap();
    fs::set_permissions(folder.database(), Permissions::from_mode(0o660)).unwrap();
    let artefacts = some(1);
    put(&folder, &artefacts).unwrap();
    let object = folder.object(artefacts[0].0);
    let mode = |path: &Path| fs::metadata(path).unwrap().mode() & 0o777;
    assert_eq!(mode(&object), 0o660);
    for path in [object.parent().unwrap(), &folder.objects(), &folder.tmp(), folder.path()] {
        assert_eq!(mode(path), 0o770, "{}", path.display());
    }
}

#[test]
fn who_cannot_put_an_artefact_leaves_nothing_of_it() {
    let (_site, folder) = folder();
    let artefacts = some(20);
    let blocked = folder.object(artefacts[19].0);
    fs::write(blocked.parent().unwrap(), "not a folder").unwrap();
    put(&folder, &artefacts).unwrap_err();
    assert_eq!(temps(&folder), 0);
    fs::remove_file(blocked.parent().unwrap()).unwrap();
    whole(&folder);
    put(&folder, &artefacts).unwrap();
    assert_eq!(whole(&folder).len(), 20);
}

#[test]
fn a_full_disk_leaves_whole_artefacts_and_no_temporary_files() {
    let (site, _) = folder();
    let disk = site.path().join("disk");
    fs::create_dir(&disk).unwrap();
    let mut mount = Command::new("mount");
    mount.args(["-t", "tmpfs", "-o", "size=512k", "tmpfs"]).arg(&disk);
    if !mount.output().is_ok_and(|output| output.status.success()) {
        println!("NOT TESTED: a full disk needs a mount");
        return;
    }
    let small = Folder::of(&disk.join("x.db"));
    small.create().unwrap();
    let artefacts = some(200);
    let error = put(&small, &artefacts).unwrap_err();
    let left = (temps(&small), whole(&small).len());
    let first = put(&small, &artefacts[..20]);
    let read = whole(&small).len();
    assert!(Command::new("umount").arg("-l").arg(&disk).status().unwrap().success());
    assert_eq!(error.kind(), io::ErrorKind::StorageFull);
    assert_eq!(left.0, 0);
    assert!(left.1 < 200);
    assert!(first.is_ok() && read >= 20, "with room again all goes on: {first:?}");
}

#[test]
fn a_temporary_file_is_swept_when_its_writer_is_dead_and_not_before() {
    if let Some(folder) = given() {
        let mut temp = temp::Temp::make(&folder, &hex::of(&[9; 16])).unwrap();
        temp.write(b"half").unwrap();
        return ready();
    }
    let (_site, folder) = folder();
    let test = "a_temporary_file_is_swept_when_its_writer_is_dead_and_not_before";
    let writer = Ready::start(other(module_path!(), test, folder.database()));
    let mine = temp::Temp::make(&folder, &hex::of(&[8; 16])).unwrap();
    assert_eq!(temps(&folder), 2);
    for dry in [true, false] {
        assert_eq!(folder.sweep_temps(dry).unwrap(), Swept::default());
    }
    writer.kill();
    let swept = Swept { count: 1, bytes: 4 };
    assert_eq!(folder.sweep_temps(true).unwrap(), swept);
    assert_eq!(folder.sweep_temps(false).unwrap(), swept);
    assert_eq!(temps(&folder), 1);
    mine.rename(&folder.path().join("renamed")).unwrap();
    assert_eq!(temps(&folder), 0);
}

#[test]
fn writers_and_sweepers_do_not_hurt_each_other() {
    let (_site, folder) = folder();
    let is_over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let sweepers: Vec<_> = (0..2)
            .map(|_| {
                scope.spawn(|| {
                    while !is_over.load(Ordering::Relaxed) {
                        folder.sweep_temps(false).unwrap();
                    }
                })
            })
            .collect();
        let writers: Vec<_> = (0..3)
            .map(|first| {
                let folder = &folder;
                scope.spawn(move || {
                    for number in 0..40 {
                        put(folder, &[artefact(first * 30 + number, 500)]).unwrap();
                    }
                })
            })
            .collect();
        let written = writers.into_iter().all(|writer| writer.join().is_ok());
        is_over.store(true, Ordering::Relaxed);
        assert!(written && sweepers.into_iter().all(|sweeper| sweeper.join().is_ok()));
    });
    assert_eq!(whole(&folder).len(), 100);
    assert_eq!(temps(&folder), 0);
}

/// What a process does that is killed on its way: all that has points. Artefact 8 is damaged, and 9 is there.
fn all_of_it(folder: &Folder) {
    put(folder, &some(3)).unwrap();
    folder.sweep_temps(false).unwrap();
    folder.remove(artefact(9, 3000).0).unwrap();
    folder.keep_evidence(artefact(8, 3000).0, 3008).unwrap();
}

#[test]
fn a_kill_anywhere_leaves_whole_artefacts_and_what_is_swept() {
    if let Some(folder) = given() {
        return all_of_it(&folder);
    }
    let test = "a_kill_anywhere_leaves_whole_artefacts_and_what_is_swept";
    let here = ["put.", "remove.", "sweep.", "evidence."];
    let points = POINTS.iter().filter(|point| here.iter().any(|name| point.starts_with(name)));
    for at in points.flat_map(|point| [(*point).to_owned(), format!("{point}:3")]) {
        let (_site, folder) = folder();
        let (damaged, there) = (artefact(8, 3000), artefact(9, 3000));
        put(&folder, &[damaged.clone(), there.clone()]).unwrap();
        fs::write(folder.object(damaged.0), "rubbish").unwrap();
        for dead in 0..3 {
            fs::write(folder.tmp().join(format!("{}.1.{dead}", damaged.0)), "dead").unwrap();
        }
        let mut process = other(module_path!(), test, folder.database());
        let end = process.env("CRASH_AT", &at).stdout(Stdio::null()).status().unwrap();
        let is_once = ["remove", "evidence", "put.all", "put.folder-made"];
        let may_pass_less = at.ends_with(":3") && is_once.iter().any(|name| at.starts_with(name));
        let is_killed = end.signal() == Some(libc::SIGKILL);
        assert!(is_killed || may_pass_less && end.success(), "{at}: {end}");

        folder.sweep_temps(false).unwrap();
        assert_eq!(temps(&folder), 0, "{at}");
        folder.keep_evidence(damaged.0, 3008).unwrap();
        folder.remove(there.0).unwrap();
        let left = whole(&folder);
        assert!(left.is_subset(&some(3).iter().map(|(content, _)| *content).collect()), "{at}");
        let kept: Vec<_> = entries(&folder.path().join("corrupt")).unwrap();
        assert!(kept.iter().any(|path| fs::read(path).unwrap() == b"rubbish"), "{at}: {kept:?}");
        all_of_it(&folder);
        assert_eq!(whole(&folder).len(), 3, "{at}");
    }
}
