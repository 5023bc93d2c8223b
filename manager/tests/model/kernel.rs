//! Locks on bytes as Linux has them (`F_OFD_SETLK`, fcntl(2)), on the seam's mutex and condition variable.
//!
//! An *owner* stands for one open file description. Whoever comes first has a byte that is free: nothing is assumed of
//! the order in which the kernel wakes those who wait, nor that a byte stays free until they are awake.
//!
//! `tests/kernel_conformance.rs` compares these answers to the kernel's.

use std::sync::Arc;

use crate::seam::file_lock::Share;
use crate::seam::patience::Patience;
use crate::seam::sync::{Condvar, Mutex};

/// One open file description.
pub(crate) type Owner = u64;

/// One byte of a file.
#[derive(Clone, Default)]
pub(crate) struct Byte(Arc<Shared>);

#[derive(Default)]
struct Shared {
    locks: Mutex<Vec<(Owner, Share)>>,
    freed: Condvar,
}

impl Byte {
    /// Takes the lock, or changes the one that this owner has, if nobody is in the way. Returns whether it did; what
    /// the owner had, it has still if not.
    pub(crate) fn try_lock(&self, owner: Owner, share: Share) -> bool {
        let taken = take(&mut self.0.locks.lock(), owner, share);
        self.0.freed.notify_all(); // an exclusive lock may have become a shared one
        taken
    }

    /// Waits for the lock until patience ends.
    pub(crate) fn lock(&self, owner: Owner, share: Share, patience: &Patience) -> bool {
        let shared = Arc::clone(&self.0);
        let _woken = patience.on_cancel(move || {
            let _locks = shared.locks.lock();
            shared.freed.notify_all();
        });
        let mut locks = self.0.locks.lock();
        let mut has_ended = false;
        while !take(&mut locks, owner, share) {
            if has_ended || patience.is_cancelled() {
                return false;
            }
            has_ended = self.0.freed.wait_until(&mut locks, patience.deadline());
        }
        drop(locks);
        self.0.freed.notify_all();
        true
    }

    pub(crate) fn unlock(&self, owner: Owner) {
        self.0.locks.lock().retain(|(other, _)| *other != owner);
        self.0.freed.notify_all();
    }

    /// How somebody else holds the byte, if somebody does.
    pub(crate) fn held_by_other(&self, owner: Owner) -> Option<Share> {
        let locks = self.0.locks.lock();
        locks.iter().find(|(other, _)| *other != owner).map(|(_, share)| *share)
    }
}

fn take(locks: &mut Vec<(Owner, Share)>, owner: Owner, share: Share) -> bool {
    let in_the_way = |&(other, held): &(Owner, Share)| {
        other != owner && (share == Share::Exclusive || held == Share::Exclusive)
    };
    let is_free = !locks.iter().any(in_the_way);
    if is_free {
        locks.retain(|(other, _)| *other != owner);
        locks.push((owner, share));
    }
    is_free
}
