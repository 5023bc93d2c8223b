//! The queue of a process, and leases that come back.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use manager::{AccessMode, Error, Manager};

use super::site::{Notes, Part, SHORT, Site, lockstep, manager, patient, timed_out};
use crate::baton::Baton;

const SECOND: Duration = Duration::from_secs(1);
const HOUR: Duration = Duration::from_hours(1);

/// An actor that comes at some time, waits to write for an hour at most, keeps the lease for a while, and notes its name
/// and when it got it.
fn writer(
    name: &'static str,
    (manager, path): (&Manager, &PathBuf),
    (comes, keeps): (Duration, Duration),
) -> Part<'static, (&'static str, Duration)> {
    let (manager, path) = (manager.clone(), path.clone());
    let part = move |baton: &Arc<Baton>, notes: &Notes<_>| {
        baton.sleep(comes);
        let lease = manager.get_with(&path, AccessMode::ReadWrite, &patient(HOUR));
        notes.lock().unwrap().push((name, baton.now()));
        baton.sleep(keeps);
        drop(lease);
    };
    (name, Box::new(part))
}

pub(crate) fn a_wait_ends_at_its_deadline(site: &Site) -> bool {
    let manager = manager();
    let at = (&manager, &site.path);
    let holder = writer("holder", at, (Duration::ZERO, 3 * HOUR));
    let waiter = writer("waiter", at, (SECOND, Duration::ZERO));
    drop(manager); // or its keeper would never end
    let (noted, _) = lockstep(1, vec![holder, waiter]);
    noted[1] == ("waiter", SECOND + HOUR)
}

pub(crate) fn there_is_one_writer(site: &Site) -> bool {
    let manager = manager();
    let _lease = manager.write(&site.path).unwrap();
    !site.another_can_write(&manager)
}

pub(crate) fn a_writer_waits_for_readers(site: &Site) -> bool {
    let manager = manager();
    let _lease = manager.read(&site.path).unwrap();
    !site.another_can_write(&manager)
}

pub(crate) fn first_come_first_served(site: &Site) -> bool {
    let manager = manager();
    let at = (&manager, &site.path);
    let holder = writer("holder", at, (Duration::ZERO, 3 * SECOND));
    let first = writer("first", at, (SECOND, Duration::ZERO));
    let second = writer("second", at, (2 * SECOND, Duration::ZERO));
    drop(manager); // or its keeper would never end
    let (noted, _) = lockstep(1, vec![holder, first, second]);
    noted.iter().map(|(name, _)| *name).eq(["holder", "first", "second"])
}

pub(crate) fn nobody_overtakes(site: &Site) -> bool {
    (0..20).all(|seed| {
        let manager = manager();
        let waiter = writer("waiter", (&manager, &site.path), (SECOND, Duration::ZERO));
        let path = site.path.clone();
        let greedy = move |baton: &Arc<Baton>, notes: &Notes<_>| {
            let lease = manager.write(&path).unwrap();
            baton.sleep(2 * SECOND);
            drop(lease);
            drop(manager.write(&path).unwrap());
            notes.lock().unwrap().push(("greedy", baton.now()));
        };
        let (noted, _) = lockstep(seed, vec![waiter, ("greedy", Box::new(greedy))]);
        noted[0].0 == "waiter"
    })
}

pub(crate) fn a_release_wakes_who_waits(site: &Site) -> bool {
    let manager = manager();
    let at = (&manager, &site.path);
    let holder = writer("holder", at, (Duration::ZERO, 2 * SECOND));
    let waiter = writer("waiter", at, (SECOND, Duration::ZERO));
    drop(manager); // or its keeper would never end
    let (noted, _) = lockstep(1, vec![holder, waiter]);
    noted[1] == ("waiter", 2 * SECOND)
}

pub(crate) fn a_dropped_lease_is_back(site: &Site) -> bool {
    let manager = manager();
    manager.write(&site.path).unwrap().execute_batch("INSERT INTO t VALUES (1)").unwrap();
    site.another_can_write(&manager)
}

pub(crate) fn a_lease_that_a_panic_dropped_is_back(site: &Site) -> bool {
    let manager = manager();
    let panicked = catch_unwind(AssertUnwindSafe(|| {
        let _lease = manager.write(&site.path).unwrap();
        std::panic::resume_unwind(Box::new("on purpose"));
    }));
    assert!(panicked.is_err());
    site.another_can_write(&manager)
}

pub(crate) fn a_nested_lease_is_refused(site: &Site) -> bool {
    let manager = manager();
    let _lease = manager.write(&site.path).unwrap();
    let nested = site.write(&manager, SHORT);
    assert!(matches!(nested, Err(Error::Nested { .. })) || timed_out(&nested));
    !timed_out(&nested)
}
