//! The keeper: the thread that looks after a database while nobody else does.
//!
//! It answers the bell when another process wants a file that this one keeps, lets go of a file that nobody has used
//! for long, and tells of waits and leases that take too long. One thread a database, begun when the database is first
//! waited for. It sleeps on the bell itself (futex(2)) while the file is held, and otherwise on a condition variable.
//!
//! What it does is not decided here: it calls `look`, which says how long it may sleep.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::seam::shared_page::SharedPage;
use crate::seam::sync::{Condvar, Mutex};
use crate::seam::{clock, fork, lockstep};

/// How long it sleeps at most while anything is going on.
pub(crate) const TICK: Duration = Duration::from_millis(250);
/// How long it sleeps when nothing is.
const REST: Duration = Duration::from_hours(1);

/// What the keeper is to do next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Next {
    /// Look again after so long at most, or when the bell is rung.
    Look(Duration),
    /// Somebody changes the hold, and gives an order when it is done: the bell is not heard meanwhile.
    AwaitOrder,
    /// Nothing is held and nobody waits: rest until woken.
    Rest,
}

/// See the module's header. Its thread ends soon after this is dropped.
pub(crate) struct Keeper {
    shared: Arc<Shared>,
    is_begun: AtomicBool,
    epoch: u32,
}

#[derive(Default)]
struct Shared {
    orders: Mutex<Orders>,
    given: Condvar,
    /// Nothing wakes it but an order.
    is_resting: AtomicBool,
}

#[derive(Default)]
struct Orders {
    /// The bell of the gate at which the file is held.
    page: Option<Arc<SharedPage>>,
    number: u64,
    is_stopped: bool,
}

impl Default for Keeper {
    fn default() -> Self {
        Self { shared: Arc::default(), is_begun: AtomicBool::new(false), epoch: fork::epoch() }
    }
}

impl Keeper {
    /// Begins the thread if that has not been done. Without one (a process at its limit of threads) holds are given up
    /// only when their last lease comes back late enough, and nothing is reported.
    pub(crate) fn begin(&self, look: impl Fn() -> Next + Send + 'static) {
        if self.is_begun.load(Ordering::Acquire) || self.is_begun.swap(true, Ordering::AcqRel) {
            return;
        }
        let shared = Arc::clone(&self.shared);
        let begun = lockstep::spawn("flockgate keeper", move || shared.run(look));
        if let Err(error) = begun {
            tracing::error!(%error, "no thread for the keeper of a database");
            self.is_begun.store(false, Ordering::Release);
        }
    }

    /// Whether there is a thread.
    pub(crate) fn is_begun(&self) -> bool {
        self.is_begun.load(Ordering::Acquire)
    }

    /// The hold has been changed: the file is held at the gate that has this page, or not at all. Has the keeper look.
    pub(crate) fn follow(&self, page: Option<Arc<SharedPage>>) {
        self.order(|orders| orders.page = page);
    }

    /// Has it look, if it rests.
    pub(crate) fn wake(&self) {
        if self.shared.is_resting.load(Ordering::SeqCst) {
            self.order(|_| ());
        }
    }

    /// Has it look now.
    pub(crate) fn wake_now(&self) {
        // It may be listening to the bell. Other processes hear this, too, and find nothing.
        let page = self.order(|orders| orders.page.clone());
        if let Some(page) = page {
            page.ring();
        }
    }

    fn order<T>(&self, change: impl FnOnce(&mut Orders) -> T) -> T {
        let mut orders = self.shared.orders.lock();
        orders.number += 1;
        let changed = change(&mut orders);
        drop(orders);
        self.shared.given.notify_all();
        changed
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        // A forked child has no such thread, and the parent's may have been in the middle of its orders.
        if fork::epoch() == self.epoch {
            self.order(|orders| orders.is_stopped = true);
            self.wake_now();
        }
    }
}

impl Shared {
    fn run(&self, look: impl Fn() -> Next) {
        loop {
            let (page, rings, number) = {
                let orders = self.orders.lock();
                if orders.is_stopped {
                    return;
                }
                let rings = orders.page.as_ref().map(|page| page.rings());
                (orders.page.clone(), rings, orders.number)
            };
            // Whatever happens from here on rings the bell once more or gives another order.
            match (look(), page, rings) {
                (Next::Look(pause), Some(page), Some(rings)) => page.listen(rings, pause.min(TICK)),
                (Next::Look(pause), ..) => self.sleep(number, pause.min(TICK)),
                (Next::AwaitOrder, ..) => self.sleep(number, TICK),
                (Next::Rest, ..) => {
                    self.is_resting.store(true, Ordering::SeqCst);
                    // Somebody may have come after the look, and have found the keeper awake.
                    if look() == Next::Rest {
                        self.sleep(number, REST);
                    }
                    self.is_resting.store(false, Ordering::SeqCst);
                }
            }
        }
    }

    /// Sleeps until an order after that number is given, or for so long.
    fn sleep(&self, number: u64, limit: Duration) {
        let mut orders = self.orders.lock();
        if orders.number == number && !orders.is_stopped {
            self.given.wait_until(&mut orders, clock::deadline_in(limit));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::seam::shared_page::PAGE_BYTES;
    use std::sync::mpsc;

    #[test]
    fn the_keeper_looks_when_the_bell_is_rung_and_not_at_its_next_tick() {
        let file = tempfile::tempfile().unwrap();
        file.set_len(PAGE_BYTES as u64).unwrap();
        let page = Arc::new(SharedPage::map(&file, true).unwrap());
        let keeper = Keeper::default();
        keeper.follow(Some(Arc::clone(&page)));
        let (looks, looked) = mpsc::channel();
        keeper.begin(move || {
            let _ = looks.send(()); // the test is over
            Next::Look(REST)
        });
        let rounds = 20;
        looked.recv().unwrap();
        let begun = clock::now();
        for _ in 0..rounds {
            page.ring();
            looked.recv().unwrap();
        }
        assert!(clock::since(begun) < rounds * TICK / 2, "it slept over rings");
    }
}
