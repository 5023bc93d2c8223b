//! Single flight inside a process: the first thread that misses a key computes it, the others wait for that.
//!
//! The pilot looks once more after it has joined: whoever flew before it lands before it leaves the map, and has put what
//! it found where everybody finds it before it lands. `tests/flight_models.rs` has every interleaving of this file.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::Arc;

use crate::seam::clock;
use crate::seam::patience::Patience;
use crate::seam::sync::{Condvar, Mutex, ThreadId, this_thread};

/// Which keys are being computed by threads of this process.
pub(crate) struct Flights<K, V> {
    flying: Mutex<HashMap<K, Arc<Flying<V>>>>,
}

/// One computation that is going on.
pub(crate) struct Flying<V> {
    pilot: ThreadId,
    landed: Mutex<Option<Landing<V>>>,
    moved: Condvar,
}

/// How it ended.
#[derive(Clone, Debug)]
pub(crate) enum Landing<V> {
    /// There is something, or the knowledge that there is nothing.
    Found(V),
    /// It failed, for this reason.
    Failed(String),
    /// It was not even begun: its thread could not wait any longer for another process, say.
    GaveUp,
}

/// Who a thread is for a key.
pub(crate) enum Role<'a, K: Copy + Eq + Hash, V> {
    /// It computes.
    Pilot(Pilot<'a, K, V>),
    /// Another thread does.
    Passenger(Arc<Flying<V>>),
    /// It does already, further up its stack.
    Itself,
}

/// The thread that computes. Whoever waits for it goes on when this is dropped.
pub(crate) struct Pilot<'a, K: Copy + Eq + Hash, V> {
    flights: &'a Flights<K, V>,
    key: K,
    flying: Arc<Flying<V>>,
}

impl<K: Copy + Eq + Hash, V> Flights<K, V> {
    pub(crate) fn new() -> Self {
        Self { flying: Mutex::new(HashMap::new()) }
    }

    pub(crate) fn join(&self, key: K) -> Role<'_, K, V> {
        let mut flying = self.flying.lock();
        let pilot = this_thread();
        match flying.get(&key) {
            Some(flying) if flying.pilot == pilot => return Role::Itself,
            Some(flying) => return Role::Passenger(Arc::clone(flying)),
            None => {}
        }
        let own = Arc::new(Flying { pilot, landed: Mutex::new(None), moved: Condvar::default() });
        flying.insert(key, Arc::clone(&own));
        Role::Pilot(Pilot { flights: self, key, flying: own })
    }
}

impl<K: Copy + Eq + Hash, V> Pilot<'_, K, V> {
    pub(crate) fn key(&self) -> K {
        self.key
    }

    /// Tells the passengers how it ended. The first time counts.
    pub(crate) fn land(&self, landing: Landing<V>) {
        self.flying.landed.lock().get_or_insert(landing);
        self.flying.moved.notify_all();
    }
}

impl<K: Copy + Eq + Hash, V> Drop for Pilot<'_, K, V> {
    fn drop(&mut self) {
        // First out of the map: whoever comes now begins anew.
        self.flights.flying.lock().remove(&self.key);
        self.land(Landing::GaveUp);
    }
}

impl<V: Clone> Flying<V> {
    /// Waits until it has ended; `None` if patience ends before.
    pub(crate) fn wait(&self, patience: &Patience) -> Option<Landing<V>> {
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
