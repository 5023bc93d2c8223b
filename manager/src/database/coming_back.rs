//! How a lease comes back, and who lets go of the file when it was the last one.

use std::sync::atomic::Ordering;

use super::{Database, Granted, Site, Taker, Used};
use crate::attachment::{Demand, Left};
use crate::class::ErrorClass;
use crate::config::AccessMode;
use crate::engine;
use crate::gate::state::Afterwards;
use crate::observer::LeaseEvent;

impl Database {
    /// Takes a lease back. The connection is closed first: that rolls its transaction back and drops its
    /// temporary tables (I5).
    pub(crate) fn release(&self, granted: Granted, used: Used) {
        let Granted { connection, number, mode, taker } = granted;
        let site = &*self.site;
        if site.context.is_forked() {
            std::mem::forget(connection); // it is the parent's, and so is the lease
            return;
        }
        let age = site.leases.age(number);
        site.context.tell(&site.path, &LeaseEvent::Returned { number, mode, used: age });
        if mode == AccessMode::ReadWrite && used == Used::Freely {
            self.count_commit();
        }
        let beside_a_writer = mode == AccessMode::ReadOnly && site.attachment.lock().is_written();
        if used == Used::Freely || beside_a_writer {
            engine::roll_back(&connection);
        }
        // Who only reads kills nothing, and of the manager's own statements the errors have been seen.
        let proof = match (mode, used) {
            (AccessMode::ReadWrite, Used::Freely) => engine::prove_alive(&connection),
            _ => Ok(()),
        };
        let dead = proof.err().map(|error| error.to_string());
        let dead = dead.filter(|text| ErrorClass::of(text) == ErrorClass::Fatal);
        if let Err((connection, error)) = connection.close() {
            // Its own destructor would panic on the same error.
            tracing::error!(path = %site.path.display(), %error, "a connection did not close; it is leaked");
            std::mem::forget(connection);
        }
        let lease = site.leases.remove(number);
        if let Some(text) = dead {
            self.found_dead(&text);
        } else if used == Used::Freely {
            let left = site.attachment.lock().look_after(age);
            match left {
                Left::Nothing => {}
                Left::AnotherDatabase => {
                    let taken_at = lease.map(|(_, taken_at)| taken_at.to_string());
                    tracing::warn!(path = %site.path.display(), ?taken_at, "a lease left a database attached; closing");
                    site.attachment.lock().condemn();
                    site.yield_hold();
                }
                Left::ADeadInstance(text) => self.found_dead(&text),
            }
        }
        self.conclude(site.take_back(mode), taker);
    }

    /// Does what is left to do after a lease, or has the keeper do it.
    pub(super) fn conclude(&self, afterwards: Afterwards, taker: Taker) {
        match (taker, afterwards) {
            (Taker::Thread, _) | (_, Afterwards::Nothing) => self.site.conclude(afterwards),
            (Taker::Task, Afterwards::Detach) => self.detach_elsewhere(),
        }
    }

    /// Lets go of the file on the keeper's thread.
    fn detach_elsewhere(&self) {
        self.site.owes_detach.store(true, Ordering::SeqCst);
        if self.keeper.is_begun() {
            self.keeper.wake_now();
        } else {
            self.site.pay_detach();
        }
    }
}

impl Site {
    pub(super) fn give_back(&self, mode: AccessMode) {
        self.conclude(self.take_back(mode));
    }

    /// Takes a lease back and says what is left to do.
    pub(super) fn take_back(&self, mode: AccessMode) -> Afterwards {
        self.yield_if_due();
        let mut afterwards = self.queue.release(mode);
        if afterwards == Afterwards::Nothing
            && !self.attachment.try_lock().is_none_or(|attachment| attachment.may_keep())
        {
            afterwards = self.queue.let_go_if_idle();
        }
        afterwards
    }

    fn yield_if_due(&self) {
        // A thread that changes the hold has this lock; then there is nothing to yield.
        let Some(mut attachment) = self.attachment.try_lock() else { return };
        let demand = attachment.demand(false);
        drop(attachment);
        if matches!(demand, Demand::Due { .. }) {
            self.yield_hold();
        }
    }

    /// Lets go of the file if somebody owes that.
    pub(super) fn pay_detach(&self) {
        if self.owes_detach.swap(false, Ordering::SeqCst) {
            self.detach();
        }
    }
}
