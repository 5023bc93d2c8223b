//! Feature stores in the scenario's database: one that the actors of a process publish through, and one of each actor's
//! own, which has a mirror of its own, to look things up.

use std::path::Path;
use std::sync::Arc;

use manager::{Artefact, Error, FeatureSpec, FeatureStore, Fill, Manager, Publication, Selector};
use parking_lot::Mutex;

use super::failed;
use crate::lockstep::driver::{Class, Outcome, Turn};
use crate::lockstep::stored::{COMPUTED, MISS, Size, Stored};

/// More than the default of `StoreOptions::inline_bytes_max`.
const FILE_BYTES: usize = 1 << 20;

/// The store that the actors of a process publish through, once it is open.
pub(super) type Common = Arc<Mutex<Option<FeatureStore>>>;

/// What one actor has of stores.
#[derive(Default)]
pub(super) struct Stores {
    own: Option<FeatureStore>,
    held: Option<Artefact>,
}

/// Makes the tables of a store, if the database has none.
pub(super) fn make(manager: &Manager, path: &Path) -> Result<(), Error> {
    FeatureStore::open(manager, path).map(drop)
}

impl Stores {
    pub(super) fn step(
        &mut self,
        (manager, path): (&Manager, &Path),
        common: &Common,
        op: Stored<'_>,
    ) -> Turn {
        let done = self.run((manager, path), common, op);
        let done = done.map_or_else(
            |error| failed(&error),
            |text| Outcome::new(Class::Ok, &format!("{text}\n")),
        );
        Turn::Done(done.waking())
    }

    fn run(
        &mut self,
        (manager, path): (&Manager, &Path),
        common: &Common,
        op: Stored<'_>,
    ) -> Result<String, Error> {
        match op {
            Stored::Put(key, value, size) => {
                let store = opened(common, manager, path)?;
                let published =
                    store.publish(vec![Publication::new(&spec(key), bytes(value, size))])?;
                Ok(if published.stored == 1 { "stored" } else { "present" }.to_owned())
            }
            Stored::Drop(key) => {
                let store = opened(common, manager, path)?;
                let dropped = store.invalidate(&Selector::Feature(key.to_owned(), None))?;
                store.gc(false)?;
                Ok(dropped.to_string())
            }
            Stored::Get(key) => match self.own(manager, path)?.get(spec(key).key())?.hit() {
                Some(artefact) => value(&artefact),
                None => Ok(MISS.to_owned()),
            },
            Stored::Compute(key, value) => {
                let mut has_computed = false;
                let compute = || {
                    has_computed = true;
                    Ok::<_, Error>(Fill::Bytes(bytes(value, Size::Inline)))
                };
                self.own(manager, path)?.get_or_compute(&spec(key), compute)?;
                Ok(if has_computed { COMPUTED } else { "found" }.to_owned())
            }
            Stored::Hold(key) => {
                self.held = self.own(manager, path)?.get(spec(key).key())?.hit();
                Ok(self.held.as_ref().map_or(MISS, |_| "held").to_owned())
            }
            Stored::Load => self.held.as_ref().map_or_else(|| Ok(MISS.to_owned()), value),
        }
    }

    fn own(&mut self, manager: &Manager, path: &Path) -> Result<&FeatureStore, Error> {
        if self.own.is_none() {
            self.own = Some(FeatureStore::open(manager, path)?);
        }
        Ok(self.own.as_ref().expect("it was just opened"))
    }
}

/// The store that is shared. Nobody has its lock while it is opened, since others move then.
fn opened(common: &Common, manager: &Manager, path: &Path) -> Result<FeatureStore, Error> {
    if let Some(store) = &*common.lock() {
        return Ok(store.clone());
    }
    let opened = FeatureStore::open(manager, path)?;
    Ok(common.lock().get_or_insert(opened).clone())
}

fn spec(key: &str) -> FeatureSpec {
    FeatureSpec::new(key, 1)
}

/// A value, at the beginning of as many bytes as it takes to be kept there.
fn bytes(value: u64, size: Size) -> Vec<u8> {
    let mut bytes = value.to_le_bytes().to_vec();
    if size == Size::File {
        bytes.resize(FILE_BYTES, 0);
    }
    bytes
}

fn value(artefact: &Artefact) -> Result<String, Error> {
    let bytes = artefact.bytes()?;
    let first = bytes.first_chunk().copied().map(u64::from_le_bytes);
    Ok(first.map_or_else(|| "something else".to_owned(), |value| value.to_string()))
}
