//! What the keeper does on its rounds.

use std::time::Duration;

use super::{GRACE, INTERRUPT_INTERVAL, Site};
use crate::attachment::{Attachment, Demand};
use crate::keeper::{Next, TICK};
use crate::observer::LeaseEvent;
use crate::seam::sync::MutexGuard;
use crate::wait::SlowWait;

/// How long is waited for the keeper to look at a hold, or to close it.
const QUIET_MAX: Duration = Duration::from_secs(1);

impl Site {
    /// Looks after the hold, the leases and the waits, once.
    pub(super) fn round(&self) -> Next {
        if self.context.is_forked() || faulty!(Fault::KeeperAsleep) {
            return Next::Rest;
        }
        self.pay_detach();
        self.tell_of_slow_waits();
        self.tell_of_overdue_leases();
        if self.queue.is_changing() {
            return Next::AwaitOrder; // whoever changes the hold says when it is done
        }
        let next = self.look_after_hold();
        let at_rest = self.waits.is_empty() && self.leases.idle_for().is_some();
        next.map_or(if at_rest { Next::Rest } else { Next::Look(TICK) }, Next::Look)
    }

    /// Gives up the hold if it is time to; returns when to look again, `None` if nothing is held.
    fn look_after_hold(&self) -> Option<Duration> {
        // Somebody looks at it, or has just begun to change it. What was rung must not be slept over for that.
        let Some(mut attachment) = self.attachment.try_lock() else { return Some(GRACE) };
        if attachment.is_free() {
            return None;
        }
        if attachment.lingers() {
            let gone = attachment.let_go();
            return (!gone).then_some(super::LINGER_POLL);
        }
        if attachment.has_lost_its_gate() {
            drop(attachment);
            self.yield_hold(); // and takes the new gate with the next lease
            return Some(TICK);
        }
        let idle = self.leases.idle_for();
        let demand = attachment.demand(true);
        drop(attachment);
        match demand {
            Demand::Due { pressed } => {
                self.yield_hold();
                Some(if self.interrupt_if_pressed(pressed) { INTERRUPT_INTERVAL } else { TICK })
            }
            Demand::In { pressed, rest } => {
                self.interrupt_if_pressed(pressed);
                match idle {
                    Some(idle) if idle >= GRACE => self.let_go_if_idle(),
                    _ => {}
                }
                Some(rest.min(GRACE))
            }
            Demand::None => {
                let idle_max = self.context.config.idle_max;
                let Some(idle) = idle else { return Some(TICK) };
                if idle >= idle_max {
                    self.let_go_if_idle();
                }
                Some(idle_max.saturating_sub(idle).max(GRACE))
            }
        }
    }

    /// What is attached, if nobody of this process uses it or waits for it: whoever has the lock then is the keeper, which
    /// looks at it or closes it. `None` if that takes longer than [`QUIET_MAX`].
    pub(super) fn when_quiet(&self) -> Option<MutexGuard<'_, Attachment>> {
        if !self.queue.is_quiet() {
            return None;
        }
        let attachment = self.attachment.try_lock_for(QUIET_MAX)?;
        // Somebody may have come for it meanwhile.
        self.queue.is_quiet().then_some(attachment)
    }

    pub(super) fn let_go_if_idle(&self) {
        let afterwards = self.queue.let_go_if_idle();
        self.conclude(afterwards);
    }

    fn interrupt_if_pressed(&self, pressed: Duration) -> bool {
        let is_time = self.context.config.interrupt_after.is_some_and(|after| pressed >= after);
        if is_time {
            self.interrupt();
        }
        is_time
    }

    /// Interrupts the queries of all leases that are out.
    pub(super) fn interrupt(&self) {
        for number in self.leases.interrupt() {
            self.context.tell(&self.path, &LeaseEvent::Interrupted { number });
        }
    }

    fn tell_of_slow_waits(&self) {
        for SlowWait { wanted, waited } in self.waits.newly_slow(self.context.config.warn_after) {
            let holders = self.holders();
            let names: Vec<String> = holders.iter().map(ToString::to_string).collect();
            let here: Vec<String> =
                self.leases.statuses().iter().map(ToString::to_string).collect();
            tracing::warn!(
                path = %self.path.display(), %wanted, ?waited, holders = names.join("; "), here = here.join("; "),
                "a wait takes long"
            );
            let event = LeaseEvent::SlowWait { wanted, waited, holders: &holders };
            self.context.tell(&self.path, &event);
        }
    }

    fn tell_of_overdue_leases(&self) {
        let Some(age_max) = self.context.config.lease_age_max else { return };
        for overdue in self.leases.newly_overdue(age_max) {
            let (number, age, taken_at) = (overdue.number, overdue.age, overdue.taken_at);
            tracing::warn!(path = %self.path.display(), %taken_at, ?age, "a lease is out for long");
            let event = LeaseEvent::Overdue { number, age, taken_at };
            self.context.tell(&self.path, &event);
        }
    }
}
