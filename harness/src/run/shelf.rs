//! Look up, make what is missing, publish: what all steps do with the store, and what the history says of it.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use manager::FeatureSpec;

use super::steps::StepError;
use crate::driver::{self, Failed, Fresh, Made, Store};
use crate::history::{Outcome, Role, What};
use crate::probe::{Probe, as_ns};

/// A process's store, as its threads use it.
pub struct Shelf {
    role: Role,
    probe: Probe,
    store: Box<dyn Store>,
    publishes: AtomicU64,
}

impl Shelf {
    /// A shelf of a process with that role.
    pub fn new(role: Role, probe: Probe, store: Box<dyn Store>) -> Self {
        Self { role, probe, store, publishes: AtomicU64::new(0) }
    }

    /// Where the process's events go.
    pub fn probe(&self) -> &Probe {
        &self.probe
    }

    /// The way to the store.
    pub fn store(&self) -> &dyn Store {
        &*self.store
    }

    /// Looks artefacts up, makes those that are missing, publishes these, and returns all in order.
    ///
    /// A trainer publishes all that it makes at once. An evaluator misses seldom, and others may miss the same: each
    /// artefact is made once over all of them, where the driver can do that.
    ///
    /// # Errors
    ///
    /// What `compute` returns; [`StepError::Leak`] if one of them knows more than `as_of`. A store that fails is none.
    pub fn find_or_make(
        &self,
        window: u32,
        specs: &[FeatureSpec],
        as_of: u32,
        compute: impl Fn(usize) -> Result<Made, StepError>,
    ) -> Result<Vec<Made>, StepError> {
        let mut found = self.look_up(window, specs, as_of)?;
        let mut fresh: Vec<(usize, Duration)> = Vec::new();
        for index in 0..specs.len() {
            if found[index].is_some() {
                continue;
            }
            let compute = || compute(index);
            if self.role == Role::Evaluation
                && let Some(made) = self.make_once(&specs[index], as_of, &compute)?
            {
                found[index] = Some(made);
                continue;
            }
            let (made, took) = self.make(&specs[index], &compute)?;
            found[index] = Some(made);
            fresh.push((index, took));
        }
        let all: Vec<Made> = found.into_iter().flatten().collect();
        if !fresh.is_empty() {
            let fresh: Vec<_> = fresh
                .into_iter()
                .map(|(index, computed_in)| Fresh {
                    spec: &specs[index],
                    made: &all[index],
                    computed_in,
                })
                .collect();
            self.publish(&fresh);
        }
        Ok(all)
    }

    /// A store that does not answer is taken for one that has nothing: that is what caches are for. One that refuses is
    /// not.
    ///
    /// # Errors
    ///
    /// [`StepError::Leak`] if one of them knows more than `as_of`.
    pub fn look_up(
        &self,
        window: u32,
        specs: &[FeatureSpec],
        as_of: u32,
    ) -> Result<Vec<Option<Made>>, StepError> {
        let begun = Instant::now();
        let found = match self.store.get_many(specs, as_of) {
            Ok(found) => found,
            Err(Failed { leak: Some(leak), .. }) => return Err(leak.into()),
            Err(_) => vec![None; specs.len()],
        };
        let took_ns = as_ns(begun.elapsed());
        let missed: Vec<String> = specs
            .iter()
            .zip(&found)
            .filter(|(_, found)| found.is_none())
            .map(|(spec, _)| spec.key().to_string())
            .collect();
        let absent = found.iter().filter(|found| matches!(found, Some(Made::Absent(_)))).count();
        let (hits, absent) = ((specs.len() - missed.len()) as u32, absent as u32);
        self.probe.record(What::Lookup { window, hits, absent, missed, took_ns });
        Ok(found)
    }

    fn make(
        &self,
        spec: &FeatureSpec,
        compute: &impl Fn() -> Result<Made, StepError>,
    ) -> Result<(Made, Duration), StepError> {
        let begun = Instant::now();
        let made = compute()?;
        let took = begun.elapsed();
        self.probe.record(What::Computed { key: spec.key().to_string(), took_ns: as_ns(took) });
        Ok((made, took))
    }

    /// Has the store make it, which does so once for everybody; `None` if it has no such thing.
    fn make_once(
        &self,
        spec: &FeatureSpec,
        as_of: u32,
        compute: &impl Fn() -> Result<Made, StepError>,
    ) -> Result<Option<Made>, StepError> {
        let mut here = None;
        let mut op = None;
        let mut record = || {
            let made = self.make(spec, compute).map(|(made, _)| made);
            let answer = made.as_ref().ok().cloned();
            // What is published begins to be there from now on.
            op = answer.as_ref().map(|made| self.begin(vec![driver::row(spec.key(), made)]));
            here = Some(made);
            answer
        };
        let Some(stored) = self.store.get_or_make(spec, as_of, &mut record) else {
            return Ok(None);
        };
        if let Some(op) = op {
            self.end(op, stored.as_ref().map(|_| ()).map_err(|failed| failed.outcome));
        }
        match (stored, here) {
            (_, Some(Err(error))) => Err(error),
            (Err(Failed { leak: Some(leak), .. }), _) => Err(leak.into()),
            (Ok(made), _) | (Err(_), Some(Ok(made))) => Ok(Some(made)),
            (Err(_), None) => self.make(spec, compute).map(|(made, _)| Some(made)),
        }
    }

    fn publish(&self, artefacts: &[Fresh<'_>]) {
        let rows =
            artefacts.iter().map(|fresh| driver::row(fresh.spec.key(), fresh.made)).collect();
        let op = self.begin(rows);
        self.end(op, self.store.publish(artefacts).map_err(|failed| failed.outcome));
    }

    fn begin(&self, rows: Vec<crate::history::Row>) -> u64 {
        let op = self.publishes.fetch_add(1, Ordering::Relaxed); // only has to be unique
        self.probe.record(What::PublishStarted { op, rows });
        op
    }

    fn end(&self, op: u64, ended: Result<(), Outcome>) {
        let outcome = ended.err().unwrap_or(Outcome::Ok);
        self.probe.record(What::PublishEnded { op, outcome });
    }
}
