//! One processor for a run: a hand-over between two threads of one core takes 4 µs, between two cores 39 µs.

use rustix::thread::{CpuSet, sched_getaffinity, sched_getcpu, sched_setaffinity};

/// While it lives, the calling thread and those it starts run on one core. A thread that is started meanwhile and lives
/// on keeps that core.
pub(super) struct Pinned {
    before: Option<CpuSet>,
}

impl Pinned {
    /// Pins the thread to the core it runs on; where the system refuses, everything works as well, only slower.
    pub(super) fn here() -> Self {
        let before = sched_getaffinity(None).ok();
        let mut one = CpuSet::new();
        one.set(sched_getcpu());
        let pinned = before.is_some() && sched_setaffinity(None, &one).is_ok();
        Self { before: before.filter(|_| pinned) }
    }
}

impl Drop for Pinned {
    fn drop(&mut self) {
        if let Some(before) = &self.before {
            let _ = sched_setaffinity(None, before); // it was allowed before
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thread_is_pinned_to_one_core_and_gets_all_of_its_own_back() {
        let cores = || sched_getaffinity(None).unwrap().count();
        let before = cores();
        let pinned = Pinned::here();
        assert_eq!(cores(), 1);
        drop(pinned);
        assert_eq!(cores(), before);
    }
}
