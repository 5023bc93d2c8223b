use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use super::*;
use crate::seam::clock;
use crate::seam::patience::Patience;
use crate::store::content::Content;
use crate::store::fixture::{Ready, folder, given, other, ready};

const KEY: [u8; 16] = *b"0123456789abcdef";

fn within(wait: Duration) -> Patience {
    Patience::until(clock::deadline_in(wait))
}

fn soon() -> Patience {
    within(Duration::from_millis(30))
}

fn long() -> Patience {
    within(Duration::from_mins(1))
}

#[track_caller]
fn expired<T: std::fmt::Debug>(taken: Result<T, LockError>) -> Vec<Holder> {
    match taken {
        Err(LockError::Expired(holders)) => holders,
        taken => panic!("{taken:?}"),
    }
}

#[test]
fn one_flight_of_a_key_is_on_at_a_time() {
    let (_site, folder) = folder();
    let flight = Flight::try_take(&folder, &KEY, "rsi of IBM").unwrap().unwrap();
    assert!(Flight::try_take(&folder, &KEY, "").unwrap().is_none());
    assert!(Flight::try_take(&folder, b"another key of 1", "").unwrap().is_some());
    let holders = expired(Flight::take(&folder, &KEY, "", &soon()));
    assert_eq!(holders.len(), 1);
    assert_eq!(holders[0].label, format!("{} rsi of IBM", hex::of(&KEY)));
    assert!(holders[0].to_string().contains("rsi of IBM`) computes it since"), "{}", holders[0]);
    drop(flight);
    drop(Flight::take(&folder, &KEY, "", &soon()).unwrap());
}

#[test]
fn threads_that_wait_for_a_flight_get_it_one_after_the_other() {
    let (_site, folder) = folder();
    let inside = AtomicU32::new(0);
    let work = || {
        for _ in 0..20 {
            let _flight = Flight::take(&folder, &KEY, "", &long()).unwrap();
            assert_eq!(inside.fetch_add(1, Ordering::SeqCst), 0);
            std::thread::yield_now();
            assert_eq!(inside.fetch_sub(1, Ordering::SeqCst), 1);
        }
    };
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(work);
        }
    });
}

#[test]
fn who_computes_in_another_process_is_named_and_replaced_when_it_dies() {
    if let Some(folder) = given() {
        let _flight = Flight::try_take(&folder, &KEY, "rsi").unwrap().unwrap();
        return ready();
    }
    let (_site, folder) = folder();
    let test = "who_computes_in_another_process_is_named_and_replaced_when_it_dies";
    let process = Ready::start(other(module_path!(), test, folder.database()));
    let mine = Flight::try_take(&folder, b"another key of 1", "").unwrap().unwrap();
    let holders = expired(Flight::take(&folder, &KEY, "", &soon()));
    let pids: Vec<_> = holders.iter().map(|holder| holder.pid).collect();
    assert_eq!(pids, [process.0.id()], "and not this process, which computes another key");
    assert!(holders[0].command.contains(test), "{}", holders[0]);
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| Flight::take(&folder, &KEY, "", &long()));
        process.kill();
        assert!(waiting.join().unwrap().is_ok());
    });
    drop(mine);
}

#[test]
fn a_forked_child_neither_keeps_nor_gives_back_what_its_parent_has() {
    if let Some(folder) = given() {
        return fork_with_locks(&folder);
    }
    let (_site, folder) = folder();
    let test = "a_forked_child_neither_keeps_nor_gives_back_what_its_parent_has";
    let process = Ready::start(other(module_path!(), test, folder.database()));
    let child = std::fs::read_to_string(folder.path().join("child")).unwrap();
    let is_free = || Flight::try_take(&folder, &KEY, "").unwrap().is_some();
    let before = (is_free(), oldest_pin_before(&folder, 9).unwrap());
    process.kill();
    let kept = Flight::take(&folder, &KEY, "", &within(Duration::from_secs(5)));
    let pinned = oldest_pin_before(&folder, 9).unwrap();
    let child = rustix::process::Pid::from_raw(child.parse().unwrap()).unwrap();
    rustix::process::kill_process(child, rustix::process::Signal::KILL).unwrap();
    assert_eq!(before, (false, Some(5)), "the child has given back what is its parent's");
    assert!(kept.is_ok(), "the child keeps it: {kept:?}");
    assert_eq!(pinned, None, "the child keeps it");
}

/// Takes locks, has a child that drops some of them and keeps the others open, writes down who that is, and stays.
fn fork_with_locks(folder: &Folder) {
    let flight = Flight::try_take(folder, &KEY, "").unwrap().unwrap();
    let pins = [5, 6].map(|generation| Pin::take(folder, generation).unwrap());
    let other = Flight::try_take(folder, b"another key of 1", "").unwrap();
    let (mut reader, writer) = io::pipe().unwrap();
    // SAFETY: the child drops values, writes to a pipe, sleeps until it is killed or a minute has passed, and exits.
    let child = unsafe { libc::fork() };
    if child == 0 {
        let [first, second] = pins;
        drop((first, other));
        io::Write::write_all(&mut { writer }, b".").unwrap();
        std::mem::forget((flight, second));
        // SAFETY: async-signal-safe.
        unsafe {
            libc::sleep(60);
            libc::_exit(0);
        }
    }
    io::Read::read_exact(&mut reader, &mut [0]).unwrap();
    std::fs::write(folder.path().join("child"), child.to_string()).unwrap();
    ready();
    drop((flight, pins, other));
}

#[test]
fn a_content_that_a_publisher_holds_is_not_removed() {
    let (_site, folder) = folder();
    let [a, b, c] = [1, 2, 3].map(|number| Content::from_bytes([number; 16]));
    let publisher = ContentHold::take(&folder, [a, b, a], &soon()).unwrap();
    let second = ContentHold::take(&folder, [b], &soon()).unwrap();
    let is_free = |content| ContentHold::try_exclusive(&folder, content).unwrap().is_some();
    assert!(!is_free(a) && !is_free(b) && is_free(c));
    drop(publisher);
    assert!(is_free(a) && !is_free(b));
    drop(second);
    let remover = ContentHold::try_exclusive(&folder, b).unwrap().unwrap();
    assert!(expired(ContentHold::take(&folder, [a, b], &soon())).is_empty());
    assert!(is_free(a), "a hold that was not had leaves nothing locked");
    drop(remover);
    ContentHold::take(&folder, [a, b], &soon()).unwrap();
}

#[test]
fn the_oldest_pin_is_seen_whoever_has_it() {
    if let Some(folder) = given() {
        let _pins = [70, 40, 90].map(|generation| Pin::take(&folder, generation).unwrap());
        return ready();
    }
    let (_site, folder) = folder();
    assert_eq!(oldest_pin_before(&folder, 100).unwrap(), None, "there is no lock file yet");
    let mine = [60, 61, 50].map(|generation| Pin::take(&folder, generation).unwrap());
    let test = "the_oldest_pin_is_seen_whoever_has_it";
    let process = Ready::start(other(module_path!(), test, folder.database()));
    let oldest = |generation| oldest_pin_before(&folder, generation).unwrap();
    assert_eq!((oldest(100), oldest(41), oldest(40), oldest(0)), (Some(40), Some(40), None, None));
    process.kill();
    assert_eq!((oldest(100), oldest(51), oldest(50)), (Some(50), Some(50), None));
    let [sixty, sixty_one, fifty] = mine;
    drop(fifty);
    assert_eq!(oldest(100), Some(60));
    drop(sixty);
    assert_eq!(oldest(100), Some(61));
    drop(sixty_one);
    assert_eq!(oldest(100), None);
}

#[test]
fn every_generation_below_2_to_the_62nd_can_be_pinned() {
    let (_site, folder) = folder();
    let last = (1 << 62) - 1;
    let _pin = Pin::take(&folder, last).unwrap();
    let _other = Pin::take(&folder, last - 1).unwrap();
    assert_eq!(oldest_pin_before(&folder, last).unwrap(), Some(last - 1));
    assert!(Pin::take(&folder, last + 1).is_err());
    assert!(oldest_pin_before(&folder, u64::MAX).is_err());
}

#[test]
fn no_name_gets_out_of_its_region() {
    for name in [[0; 16], [0xff; 16], KEY] {
        for region in [1 << 60, 1 << 61] {
            assert!((region..2 * region).contains(&byte_of(&name, region)));
        }
    }
}

#[test]
fn a_deleted_lock_file_is_noticed() {
    let (_site, folder) = folder();
    let old = Flight::try_take(&folder, &KEY, "").unwrap().unwrap();
    let pin = Pin::take(&folder, 3).unwrap();
    let hold = ContentHold::take(&folder, [Content::from_bytes(KEY)], &soon()).unwrap();
    assert!(old.is_current().unwrap());
    std::fs::remove_file(path_of(&folder)).unwrap();
    assert!(!old.is_current().unwrap() && !pin.is_current().unwrap());
    assert!(!hold.is_current().unwrap());
    std::thread::scope(|scope| {
        let new = Flight::try_take(&folder, &KEY, "").unwrap().unwrap();
        assert!(new.is_current().unwrap());
        let waiting = scope.spawn(|| Flight::take(&folder, &KEY, "", &long()).unwrap());
        while file_waiters(&folder) == 0 {
            std::thread::yield_now();
        }
        std::fs::remove_file(path_of(&folder)).unwrap();
        drop(new);
        assert!(
            waiting.join().unwrap().is_current().unwrap(),
            "it was had on the file that is there"
        );
    });
    std::fs::remove_dir_all(folder.path()).unwrap();
    assert!(Flight::try_take(&folder, &KEY, "").unwrap().is_some(), "the folder is made anew");
}

/// How many wait for a lock on the lock file, as the kernel says.
fn file_waiters(folder: &Folder) -> usize {
    let inode = std::fs::metadata(path_of(folder)).unwrap().ino().to_string();
    let locks = std::fs::read_to_string("/proc/locks").unwrap();
    let waits = |line: &&str| line.contains("->") && line.contains(&format!(":{inode} "));
    locks.lines().filter(waits).count()
}

#[test]
fn a_file_of_somebody_else_is_no_lock_file() {
    let (_site, folder) = folder();
    std::fs::write(path_of(&folder), "mine").unwrap();
    let error = Flight::take(&folder, &KEY, "", &soon()).unwrap_err();
    let is_refused = matches!(&error, LockError::Unusable { path, source }
        if *path == path_of(&folder) && source.to_string().contains("not a lock file"));
    assert!(is_refused, "{error:?}");
    assert!(Pin::take(&folder, 1).is_err() && oldest_pin_before(&folder, 1).is_err());
    assert_eq!(std::fs::read(path_of(&folder)).unwrap(), b"mine");
    // A maker that was killed left the beginning of it.
    std::fs::write(path_of(&folder), &HEADER[..9]).unwrap();
    assert!(Flight::try_take(&folder, &KEY, "").unwrap().is_some());
    assert!(std::fs::read(path_of(&folder)).unwrap().starts_with(HEADER));
}

#[test]
fn more_flights_than_records_are_on_and_a_part_of_them_is_named() {
    let (_site, folder) = folder();
    let key = |number: u8| [number; 16];
    let flights: Vec<_> = (0..=200)
        .map(|number| Flight::try_take(&folder, &key(number), "").unwrap().unwrap())
        .collect();
    let named = (0..=200).filter(|&number| {
        !expired(Flight::take(&folder, &key(number), "", &Patience::until(clock::now()))).is_empty()
    });
    assert_eq!(named.count(), 128);
    assert_eq!(flights.len(), 201);
}
