//! Single flight inside a process: the first thread that misses a key computes it, the others wait for that.

use std::collections::HashMap;
use std::sync::Arc;
use std::thread::{self, ThreadId};

use super::artefact::Lookup;
use super::key::Key;
use crate::seam::clock;
use crate::seam::patience::Patience;
use crate::seam::sync::{Condvar, Mutex};

/// Which keys are being computed by threads of this process.
#[derive(Default)]
pub(crate) struct Flights {
    flying: Mutex<HashMap<Key, Arc<Flying>>>,
}

/// One computation that is going on.
pub(crate) struct Flying {
    pilot: ThreadId,
    landed: Mutex<Option<Landing>>,
    moved: Condvar,
}

/// How it ended.
#[derive(Clone, Debug)]
pub(crate) enum Landing {
    /// There is an artefact, or the knowledge that there is none.
    Found(Lookup),
    /// It failed, for this reason.
    Failed(String),
    /// It was not even begun: its thread could not wait any longer for another process, say.
    GaveUp,
}

/// Who a thread is for a key.
pub(crate) enum Role<'a> {
    /// It computes.
    Pilot(Pilot<'a>),
    /// Another thread does.
    Passenger(Arc<Flying>),
    /// It does already, further up its stack.
    Itself,
}

/// The thread that computes. Whoever waits for it goes on when this is dropped.
pub(crate) struct Pilot<'a> {
    flights: &'a Flights,
    key: Key,
    flying: Arc<Flying>,
}

impl Flights {
    pub(crate) fn join(&self, key: Key) -> Role<'_> {
        let mut flying = self.flying.lock();
        let pilot = thread::current().id();
        match flying.get(&key) {
            Some(flying) if flying.pilot == pilot => return Role::Itself,
            Some(flying) => return Role::Passenger(Arc::clone(flying)),
            None => {}
        }
        let own = Arc::new(Flying { pilot, landed: Mutex::default(), moved: Condvar::default() });
        flying.insert(key, Arc::clone(&own));
        Role::Pilot(Pilot { flights: self, key, flying: own })
    }
}

impl Pilot<'_> {
    pub(crate) fn key(&self) -> Key {
        self.key
    }

    /// Tells the passengers how it ended. The first time counts.
    pub(crate) fn land(&self, landing: Landing) {
        self.flying.landed.lock().get_or_insert(landing);
        self.flying.moved.notify_all();
    }
}

impl Drop for Pilot<'_> {
    fn drop(&mut self) {
        // First out of the map: whoever comes now begins anew.
        self.flights.flying.lock().remove(&self.key);
        self.land(Landing::GaveUp);
    }
}

impl Flying {
    /// Waits until it has ended; `None` if patience ends before.
    pub(crate) fn wait(&self, patience: &Patience) -> Option<Landing> {
        let mut landed = self.landed.lock();
        while landed.is_none() {
            if patience.is_over(clock::now()) {
                return None;
            }
            self.moved.wait_until(&mut landed, patience.deadline());
        }
        landed.clone()
    }
}
