//! A scheduler as small as can be: one thread at a time has the baton, a seed decides who gets it next.

use std::cell::Cell;
use std::collections::VecDeque;
use std::io;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use manager::lockstep::{self, Scheduler};

thread_local! {
    static ACTOR: Cell<Option<usize>> = const { Cell::new(None) };
}

/// How a thread is: it can go on, waits, or has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Standing {
    Ready,
    Waiting(Option<Duration>),
    Ended,
}

#[derive(Default)]
struct State {
    random: u64,
    now: Duration,
    running: Option<usize>,
    actors: Vec<(String, Standing)>,
    steps: VecDeque<String>,
    failed: Option<&'static str>,
}

/// See the module's header.
#[derive(Default)]
pub(crate) struct Baton {
    state: Mutex<State>,
    passed: Condvar,
}

pub(crate) type Body = Box<dyn FnOnce() + Send>;

/// Runs the actors in an order that the seed decides, and returns their steps.
pub(crate) fn run(
    seed: u64,
    actors: impl FnOnce(&Arc<Baton>) -> Vec<(&'static str, Body)>,
) -> Vec<String> {
    // One scheduler a process.
    static ALONE: Mutex<()> = Mutex::new(());
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let baton = Arc::new(Baton::default());
    baton.state().random = seed;
    let actors = actors(&baton);
    lockstep::install(Some(Arc::new(Shared(Arc::clone(&baton)))));
    for (name, body) in actors {
        baton.enter(name, body);
    }
    let mut state = baton.state();
    state.pass();
    baton.passed.notify_all();
    let is_over = |state: &State| {
        state.failed.is_some() || state.actors.iter().all(|(_, is)| *is == Standing::Ended)
    };
    while !is_over(&state) {
        state = baton.passed.wait(state).unwrap_or_else(PoisonError::into_inner);
    }
    lockstep::install(None);
    assert_eq!(state.failed, None, "{:?} after {:#?}", state.actors, state.steps);
    state.steps.drain(..).collect()
}

impl State {
    /// Gives the baton to one of those that can go on; if there is none, time goes on to the first deadline.
    fn pass(&mut self) {
        let standings = || self.actors.iter().map(|(_, standing)| *standing).enumerate();
        let ready: Vec<_> = standings().filter(|(_, is)| *is == Standing::Ready).collect();
        let timers = standings().filter_map(|(actor, is)| match is {
            Standing::Waiting(until) => Some((until?, actor)),
            _ => None,
        });
        self.running = if ready.is_empty() {
            timers.min().map(|(until, actor)| {
                self.now = self.now.max(until);
                self.actors[actor].1 = Standing::Ready;
                actor
            })
        } else {
            // Knuth's generator for MMIX; its upper bits are the better ones.
            self.random = self
                .random
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            Some(ready[(self.random >> 33) as usize % ready.len()].0)
        };
        let is_over = self.actors.iter().all(|(_, is)| *is == Standing::Ended);
        if self.running.is_none() && !is_over {
            self.failed = Some("nobody can go on");
        }
    }
}

impl Baton {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lets virtual time go by in the calling actor.
    pub(crate) fn sleep(&self, pause: Duration) {
        let end = self.state().now + pause;
        while self.state().now < end {
            self.step("sleeps", Standing::Waiting(Some(end)));
        }
    }

    /// Virtual time.
    pub(crate) fn now(&self) -> Duration {
        self.state().now
    }

    /// Everybody who waits looks again.
    pub(crate) fn wake(&self) {
        for (_, standing) in &mut self.state().actors {
            if matches!(standing, Standing::Waiting(_)) {
                *standing = Standing::Ready;
            }
        }
    }

    /// Begins another actor.
    pub(crate) fn enter(self: &Arc<Self>, name: &str, body: Body) {
        let mut state = self.state();
        let actor = state.actors.len();
        state.actors.push((name.to_owned(), Standing::Ready));
        drop(state);
        let baton = Arc::clone(self);
        std::thread::spawn(move || {
            ACTOR.set(Some(actor));
            baton.take(actor);
            if std::panic::catch_unwind(std::panic::AssertUnwindSafe(body)).is_err() {
                baton.state().failed = Some("an actor panicked");
            }
            baton.step("ends", Standing::Ended);
        });
    }

    fn step(&self, place: &str, standing: Standing) {
        let Some(actor) = ACTOR.get() else { return };
        let mut state = self.state();
        let step = format!("{:?} {}: {place}", state.now, state.actors[actor].0);
        state.steps.push_back(step);
        state.actors[actor].1 = standing;
        state.pass();
        drop(state);
        self.passed.notify_all();
        if standing != Standing::Ended {
            self.take(actor);
        }
    }

    fn take(&self, actor: usize) {
        let state = self.state();
        let is_elsewhere = |state: &mut State| state.running != Some(actor);
        drop(self.passed.wait_while(state, is_elsewhere).unwrap_or_else(PoisonError::into_inner));
    }
}

/// What is installed.
struct Shared(Arc<Baton>);

impl Scheduler for Shared {
    fn has_this_thread(&self) -> bool {
        ACTOR.get().is_some()
    }

    fn now(&self) -> Duration {
        self.0.now()
    }

    fn point(&self, place: &str) {
        self.0.step(place, Standing::Ready);
    }

    fn wait(&self, place: &str, until: Option<Duration>) {
        self.0.step(&format!("waits for {place}"), Standing::Waiting(until));
    }

    fn wake(&self) {
        self.0.wake();
    }

    fn spawn(&self, name: &str, body: Body) -> io::Result<()> {
        self.0.enter(name, body);
        Ok(())
    }
}
