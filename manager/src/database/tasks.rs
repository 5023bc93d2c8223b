//! A lease for a task, on a thread that may not wait.

use std::panic::Location;
use std::time::Duration;

use super::{Database, Granted, Taker};
use crate::config::AccessMode;
use crate::error::Error;
use crate::observer::LeaseEvent;
use crate::seam::clock;

/// How long others are waited for that look at the hold. Nobody changes it while a lease is out, but it may be checkpointed.
const LOOK_MAX: Duration = Duration::from_millis(1);

impl Database {
    /// Takes a lease if it is there for the taking: the process holds the file and nobody queues. `None` if it would have
    /// to be waited for.
    pub(crate) fn acquire_now(
        &self,
        mode: AccessMode,
        location: &'static Location<'static>,
    ) -> Option<Result<Granted, Error>> {
        let site = &*self.site;
        if site.context.is_forked() {
            return None; // whoever waits is refused
        }
        let begun = clock::now();
        if !site.queue.try_now(mode) {
            return None;
        }
        let Some(attachment) = site.attachment.try_lock_for(LOOK_MAX) else {
            self.conclude(site.take_back(mode), Taker::Task);
            return None;
        };
        let connected = attachment.connect(mode);
        drop(attachment);
        site.context.tell(&site.path, &LeaseEvent::Waits { mode });
        let granted = self.grant(connected, mode, Taker::Task, location);
        self.tell_outcome(mode, clock::since(begun), &granted);
        Some(granted)
    }
}
