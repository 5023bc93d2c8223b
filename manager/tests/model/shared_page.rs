//! The bell, on the seam's mutex and condition variable. futex(2) compares and goes to sleep in one step, as they do.

use std::fmt;
use std::time::Duration;

use crate::seam::sync::{Condvar, Mutex, never};

#[derive(Default)]
pub(crate) struct SharedPage {
    rings: Mutex<u32>,
    rung: Condvar,
}

impl SharedPage {
    pub(crate) fn ring(&self) {
        *self.rings.lock() += 1;
        self.rung.notify_all();
    }

    pub(crate) fn rings(&self) -> u32 {
        *self.rings.lock()
    }

    /// Sleeps until the bell is rung once more than `heard` times. There is no limit: a ring that is lost is a deadlock
    /// here, and not a late answer.
    pub(crate) fn listen(&self, heard: u32, _limit: Duration) {
        let mut rings = self.rings.lock();
        while *rings == heard {
            self.rung.wait_until(&mut rings, never());
        }
    }
}

impl fmt::Debug for SharedPage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SharedPage")
    }
}
