//! The driver: windows in order, phases in turn, by as many processes as want to take part.
//!
//! What a step comes to is an artefact of the store like any other, under a key of the walk, the window, the phase and the
//! task. So the store's own guarantees are the driver's: each step is done once over all threads and processes, by
//! somebody else if its process dies, its outcome survives any kill, a failure reaches everybody who waits for it, and a
//! walk that is begun again goes on where it was. The driver adds the order: nobody evaluates a window before all of its
//! training steps are done, and nobody trains the next one while somebody evaluates, which the phases see to.

use std::fmt::Display;

use super::{WalkForward, Window};
use crate::error::Error;
use crate::gate::record::Phase;
use crate::phases::PhaseGuard;
use crate::seam::process;
use crate::store::{AsOf, FeatureSpec, FeatureStore, Fill, Fingerprint, Lookup, Params, Plan};

/// A walk-forward that is to be done. Every process that takes part makes the same one.
///
/// # Example
///
/// ```
/// use manager::{Config, Error, FeatureStore, Fingerprint, Manager, Phase, WalkForward, WalkForwardDriver, WindowMode};
///
/// # let folder = tempfile::tempdir().unwrap();
/// let store = FeatureStore::open(&Manager::new(Config::default())?, folder.path().join("x.duckdb"))?;
/// let shape = WalkForward {
///     positions: 100, train: 50, eval: 10, step: 10, label_horizon: 5, embargo: 1, mode: WindowMode::Rolling,
///     keep_tail: false,
/// };
/// let driver = WalkForwardDriver::new(&store, "nightly", shape)
///     .tasks(["AAPL", "IBM"])
///     .identity(Fingerprint::of("the code, the prices and everything else that the outcomes depend on"));
/// let walk = driver.run(|step| match step.phase {
///     Phase::Training => Ok::<_, Error>(step.task.as_bytes().to_vec()), // fit a model, say
///     Phase::Evaluation => Ok(vec![step.trained.len() as u8]),           // and score it
/// })?;
/// assert_eq!((walk.windows.len(), walk.done_here), (4, 16));
///
/// let again = driver.run(|_| -> Result<Vec<u8>, Error> { unreachable!("all of it is in the store") })?;
/// assert_eq!((again.done_here, again.windows == walk.windows), (0, true));
/// # Ok::<(), Error>(())
/// ```
pub struct WalkForwardDriver<'a> {
    store: &'a FeatureStore,
    name: String,
    shape: WalkForward,
    lookback: u32,
    tasks: Vec<String>,
    identity: Fingerprint,
    progress: Box<dyn Fn(&Progress<'_>) + 'a>,
}

/// One thing to do.
#[derive(Debug)]
pub struct Step<'a> {
    /// In which window.
    pub window: &'a Window,
    /// Training comes first, for all tasks.
    pub phase: Phase,
    /// One of [`WalkForwardDriver::tasks`].
    pub task: &'a str,
    /// What training this window came to, in the order of the tasks. Empty while it goes on.
    pub trained: &'a [Vec<u8>],
    /// The store as of the first position that is to be predicted, in training, or as of the end of the window. Labels
    /// to score by know more, and are looked up in the store itself.
    pub store: AsOf<'a>,
}

/// How far it has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress<'a> {
    /// The window.
    pub window: &'a Window,
    /// How many there are.
    pub windows: usize,
    /// The phase it is in.
    pub phase: Phase,
    /// The task that is done.
    pub task: &'a str,
    /// Whether this process did it. Otherwise another one did, or an earlier run.
    pub done_here: bool,
}

/// What a walk came to. Every process that takes part gets the same.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Walked {
    /// Window by window.
    pub windows: Vec<WalkedWindow>,
    /// How many steps this process did.
    pub done_here: usize,
}

/// What a window came to, in the order of the tasks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WalkedWindow {
    /// The window.
    pub window: Window,
    /// What training came to.
    pub trained: Vec<Vec<u8>>,
    /// What evaluation came to.
    pub evaluated: Vec<Vec<u8>>,
}

impl<'a> WalkForwardDriver<'a> {
    /// A walk of that name with one task, which is called like the walk.
    pub fn new(store: &'a FeatureStore, name: impl Into<String>, shape: WalkForward) -> Self {
        let name = name.into();
        let (tasks, identity) = (vec![name.clone()], Fingerprint::of(""));
        Self { store, name, shape, lookback: 0, tasks, identity, progress: Box::new(|_| ()) }
    }

    /// What is done in each phase of each window, in any order and at the same time: a share, a model. Each is done by one
    /// of the processes.
    #[must_use]
    pub fn tasks<T: Into<String>>(mut self, tasks: impl IntoIterator<Item = T>) -> Self {
        self.tasks = tasks.into_iter().map(Into::into).collect();
        self
    }

    /// How many positions before a range its features are computed from: what eviction has to know. Default: 0.
    #[must_use]
    pub fn lookback(mut self, lookback: u32) -> Self {
        self.lookback = lookback;
        self
    }

    /// What the outcomes depend on besides the windows and tasks: code, inputs, parameters. Another identity is another
    /// walk, which begins anew. Default: that of nothing.
    #[must_use]
    pub fn identity(mut self, identity: Fingerprint) -> Self {
        self.identity = identity;
        self
    }

    /// Is called on the thread that runs it whenever a task is done, wherever it was.
    #[must_use]
    pub fn progress(mut self, tell: impl Fn(&Progress<'_>) + 'a) -> Self {
        self.progress = Box::new(tell);
        self
    }

    /// Does what is not done yet, in turn with the other processes that run the same walk, and returns the whole of it.
    ///
    /// Blocks for the phases as [`FeatureStore::training_phase`] and [`FeatureStore::evaluation_phase`] do, for steps that
    /// another process does as [`FeatureStore::get_or_compute`] does, and for `work`.
    ///
    /// # Errors
    ///
    /// * Whatever `work` returns; the other processes get [`Error::ComputationFailed`]. What is done stays done.
    /// * [`Error::Windows`] if the shape has no windows, and those of the calls above.
    pub fn run<E: From<Error> + Display>(
        &self,
        work: impl Fn(&Step<'_>) -> Result<Vec<u8>, E>,
    ) -> Result<Walked, E> {
        let windows = self.shape.windows().map_err(Error::Windows)?;
        let mut walked = Walked::default();
        for window in &windows {
            let mut round = Round { driver: self, window, windows: windows.len(), done_here: 0 };
            let trained = round.phase(Phase::Training, &[], &work)?;
            let evaluated = round.phase(Phase::Evaluation, &trained, &work)?;
            walked.done_here += round.done_here;
            walked.windows.push(WalkedWindow { window: window.clone(), trained, evaluated });
        }
        if walked.done_here > 0 {
            self.finish(windows.len())?;
        }
        Ok(walked)
    }

    /// Tells eviction that the walk is over, so that nothing is kept for it.
    fn finish(&self, windows: usize) -> Result<(), Error> {
        match self.store.plan(&self.plan(windows as u32)) {
            // Whoever evaluates still may begin another walk; that one tells.
            Err(Error::EvaluationIsOn { .. }) => Ok(()),
            told => told,
        }
    }

    fn plan(&self, next_window: u32) -> Plan {
        let (name, shape) = (self.name.clone(), self.shape.clone());
        Plan { name, shape, lookback: self.lookback, next_window }
    }

    fn spec(&self, window: &Window, phase: Phase, task: &str) -> FeatureSpec {
        let range = match phase {
            Phase::Training => window.train.clone(),
            Phase::Evaluation => window.eval.clone(),
        };
        let params = serde_json::json!({ "phase": phase.to_string(), "window": window.id });
        let params = Params::try_from(params).expect("it is an object");
        FeatureSpec::new(format!("flockgate/walk/{}", self.name), 1)
            .params(params)
            .code(self.identity)
            .entity(task)
            .range(range)
            .fit(window.train.clone())
    }
}

/// One window, as this process goes through it.
struct Round<'a> {
    driver: &'a WalkForwardDriver<'a>,
    window: &'a Window,
    windows: usize,
    done_here: usize,
}

impl Round<'_> {
    /// What all tasks of a phase come to. Enters the phase only if something is left to do.
    fn phase<E: From<Error> + Display>(
        &mut self,
        phase: Phase,
        trained: &[Vec<u8>],
        work: &impl Fn(&Step<'_>) -> Result<Vec<u8>, E>,
    ) -> Result<Vec<Vec<u8>>, E> {
        let tasks = &self.driver.tasks;
        let mut outcomes: Vec<Option<Vec<u8>>> = vec![None; tasks.len()];
        self.look_up(phase, &mut outcomes)?;
        if outcomes.iter().any(Option::is_none) {
            let _phase = self.enter(phase)?;
            // First what nobody does, each process beginning at another one; then what others were doing meanwhile.
            let first = process::id() as usize % tasks.len().max(1);
            for is_patient in [false, true] {
                for index in (first..tasks.len()).chain(0..first) {
                    if outcomes[index].is_none() {
                        outcomes[index] = self.step(phase, index, trained, work, is_patient)?;
                    }
                }
            }
        }
        Ok(outcomes.into_iter().flatten().collect())
    }

    fn enter(&self, phase: Phase) -> Result<PhaseGuard, Error> {
        let store = self.driver.store;
        if phase == Phase::Evaluation {
            return store.evaluation_phase();
        }
        let guard = store.training_phase()?;
        store.plan(&self.driver.plan(self.window.id))?;
        Ok(guard)
    }

    /// What is done already: by an earlier run, or by a process that is ahead.
    fn look_up(&self, phase: Phase, outcomes: &mut [Option<Vec<u8>>]) -> Result<(), Error> {
        let tasks = &self.driver.tasks;
        let keys: Vec<_> =
            tasks.iter().map(|task| self.driver.spec(self.window, phase, task).key()).collect();
        let found = self.driver.store.get_many(&keys)?;
        for ((task, outcome), found) in tasks.iter().zip(outcomes).zip(found) {
            if let Lookup::Hit(artefact) = found
                && let Ok(bytes) = artefact.bytes()
            {
                *outcome = Some(bytes.into_owned());
                self.tell(phase, task, false);
            }
        }
        Ok(())
    }

    fn step<E: From<Error> + Display>(
        &mut self,
        phase: Phase,
        index: usize,
        trained: &[Vec<u8>],
        work: &impl Fn(&Step<'_>) -> Result<Vec<u8>, E>,
        is_patient: bool,
    ) -> Result<Option<Vec<u8>>, E> {
        let (driver, window) = (self.driver, self.window);
        let task = &driver.tasks[index];
        let position = match phase {
            Phase::Training => window.eval.start,
            Phase::Evaluation => window.eval.end,
        };
        let step = Step { window, phase, task, trained, store: driver.store.as_of(position) };
        let mut done_here = false;
        let compute = || {
            done_here = true;
            work(&step).map(Fill::Bytes)
        };
        let spec = driver.spec(window, phase, task);
        let found = if is_patient {
            driver.store.get_or_compute(&spec, compute).map(Some)?
        } else {
            driver.store.get_or_compute_unless_busy(&spec, compute)?
        };
        let Some(artefact) = found.and_then(Lookup::hit) else { return Ok(None) };
        self.done_here += usize::from(done_here);
        self.tell(phase, task, done_here);
        Ok(Some(artefact.bytes()?.into_owned()))
    }

    fn tell(&self, phase: Phase, task: &str, done_here: bool) {
        let (window, windows) = (self.window, self.windows);
        (self.driver.progress)(&Progress { window, windows, phase, task, done_here });
    }
}
