//! Where an actor stops within its operations, as its scenario asks for: yield points of the manager, I/O calls of the
//! engine.

use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Once};
use std::time::Duration;

use manager::lockstep::Scheduler;

use super::act::Act;
use super::baton::Me;
use super::driver::{Turn, Waits};
use super::io::survivors::Keeping;
use super::io::{Call, Guard, Judge, Kind, Verdict, arm};
use super::loss;

/// Has the threads of this process that are decided about stop at yield points of the manager, wait by the scheduler, and
/// have its time. Where they stop at I/O calls, the last two hold as well; otherwise the manager is left alone.
pub(super) fn install() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| manager::lockstep::install(Some(Arc::new(ByBaton))));
}

/// What the manager asks.
struct ByBaton;

impl ByBaton {
    /// Of a thread that it has.
    fn me() -> Option<Me> {
        Me::this_thread().filter(Me::is_timed)
    }
}

impl Scheduler for ByBaton {
    fn has_this_thread(&self) -> bool {
        Self::me().is_some()
    }

    fn now(&self) -> Duration {
        Duration::from_nanos(Self::me().map_or(0, |me| me.now_ns()))
    }

    fn point(&self, place: &str) {
        if let Some(me) = Self::me().filter(Me::stops_in_the_manager) {
            me.stop_at(Turn::Paused(place.to_owned()));
        }
    }

    fn wait(&self, place: &str, until: Option<Duration>) {
        let Some(me) = Self::me() else { return };
        let until_ns = until.map(|until| u64::try_from(until.as_nanos()).unwrap_or(u64::MAX));
        me.stop_at(Turn::Waiting(Waits {
            what: place.to_owned(),
            held_by: Vec::new(),
            at_most_ns: until_ns.map(|until_ns| until_ns.saturating_sub(me.now_ns())),
        }));
    }

    fn wake(&self) {
        // Elsewhere it is the I/O calls that give something back.
        if let Some(me) = Self::me().filter(Me::stops_in_the_manager) {
            me.wake();
        }
    }

    fn spawn(&self, name: &str, body: Box<dyn FnOnce() + Send>) -> io::Result<()> {
        match Self::me() {
            // Its I/O calls would be no steps: whoever has a thread's work to do does it without one.
            Some(me) if !me.stops_in_the_manager() => {
                Err(io::Error::other("threads are not decided about here"))
            }
            Some(me) => me.begin(name, body),
            None => Err(io::Error::other("the schedule has ended")),
        }
    }
}

/// Has the calling thread stop at every I/O call on a file of that folder, for as long as the result lives. Where the power
/// may fail, what the calls change is written down.
pub(super) fn stop_at_calls(folder: &Path, power_may_fail: bool) -> io::Result<Guard> {
    let scheduled = Scheduled::default();
    if power_may_fail {
        let keeping = Keeping::join(folder, &loss::kept(folder), scheduled)?;
        return arm(folder, Arc::new(keeping));
    }
    arm(folder, Arc::new(scheduled))
}

/// Asks the scheduler.
#[derive(Default)]
struct Scheduled {
    is_full: AtomicBool,
}

impl Judge for Scheduled {
    fn call(&self, call: &Call) -> Verdict {
        let Some(me) = Me::this_thread() else { return Verdict::Pass };
        let place = call.to_string();
        let act = me.stop_at(Turn::Paused(place.clone()));
        if act == Act::Full {
            // Relaxed: the thread that is armed is the only one here.
            self.is_full.store(true, Ordering::Relaxed);
        }
        if matches!(call.kind, Kind::Unlock | Kind::Close) {
            me.wake(); // it will have been done when this thread stops again
        }
        match act {
            Act::Eio => Verdict::Fail(libc::EIO),
            Act::Enospc => Verdict::Fail(libc::ENOSPC),
            Act::Torn => Verdict::Torn,
            Act::Kill => Verdict::Kill,
            _ if self.is_full.load(Ordering::Relaxed) && needs_room(&place) => {
                Verdict::Fail(libc::ENOSPC)
            }
            _ => Verdict::Pass,
        }
    }
}

/// Whether a call writes to a file.
pub(super) fn is_write(call: &str) -> bool {
    call.starts_with("write ") || call.starts_with("pwrite ")
}

/// Whether a call can fail because the disk is full.
pub(super) fn needs_room(call: &str) -> bool {
    is_write(call) || call.starts_with("ftruncate ") || call.starts_with("open ")
}
