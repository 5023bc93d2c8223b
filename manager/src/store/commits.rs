//! Group commit: what several threads publish at the same time is stored by one transaction.
//!
//! A publisher queues what it has. If nobody leads, it leads: it takes all that is queued and commits it, while the next
//! ones queue up behind. A commit is one fsync(2) whatever is in it, so a store under load commits rarely and much.
//! A leader waits a moment for as many publishers as the last commit had; they come back just after it, and would
//! otherwise be split over two commits.
//!
//! If a commit of several fails, each of its publishers commits what it has by itself, and gets an error of its own.

use std::collections::HashMap;
use std::time::Duration;

use super::record::Record;
use crate::error::Error;
use crate::seam::clock;
use crate::seam::patience::Patience;
use crate::seam::sync::{Condvar, Mutex, MutexGuard};

/// How long a leader waits for publishers of the last commit to come back; a sixth to a half of what a durable
/// commit takes.
const GATHER: Duration = Duration::from_micros(200);
/// How long somebody who is being committed sleeps at most before it looks again; it is woken before that.
const LOOK: Duration = Duration::from_mins(1);
/// Rows in one transaction, beyond which a leader takes no more publications into it.
const ROWS_MAX: usize = 20_000;

/// What a publish stored.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Published {
    /// What is new.
    pub stored: usize,
    /// What was there before; the first publication stays.
    pub present: usize,
}

/// See the module's header.
#[derive(Default)]
pub(crate) struct Commits {
    queue: Mutex<Queue>,
    /// A publication has been queued.
    arrived: Condvar,
    /// A commit is over.
    over: Condvar,
}

#[derive(Default)]
struct Queue {
    next_ticket: u64,
    is_led: bool,
    waiting: Vec<(u64, Vec<Record>)>,
    outcomes: HashMap<u64, Outcome>,
    last_count: usize,
}

enum Outcome {
    Stored(Published),
    /// It was alone in the commit that failed.
    Failed(Error),
    /// The commit failed; what was to be published goes back.
    Alone(Vec<Record>),
}

impl Commits {
    /// Stores records, in a transaction that `commit` runs: it tells of each record whether it is new.
    ///
    /// `None` if patience ended while it was queued; nothing is stored then.
    pub(crate) fn submit(
        &self,
        records: Vec<Record>,
        patience: &Patience,
        commit: impl Fn(&[&Record]) -> Result<Vec<bool>, Error>,
    ) -> Option<Result<Published, Error>> {
        let stored = records.len();
        let mut queue = self.queue.lock();
        let ticket = queue.next_ticket;
        queue.next_ticket += 1;
        queue.waiting.push((ticket, records));
        self.arrived.notify_all();
        loop {
            match queue.outcomes.remove(&ticket) {
                Some(Outcome::Stored(published)) => return Some(Ok(published)),
                Some(Outcome::Failed(error)) => return Some(Err(error)),
                Some(Outcome::Alone(records)) => {
                    drop(queue);
                    let records: Vec<_> = records.iter().collect();
                    return Some(commit(&records).map(|are_new| count(&are_new)));
                }
                None => {}
            }
            if !queue.is_led {
                queue.is_led = true;
                self.lead(queue, &commit);
                queue = self.queue.lock();
                continue;
            }
            let is_queued = queue.waiting.iter().any(|(queued, _)| *queued == ticket);
            if is_queued && patience.is_over(clock::now()) {
                queue.waiting.retain(|(queued, _)| *queued != ticket);
                return None;
            }
            if faulty!(Fault::FollowerAcknowledgedEarly) && !is_queued {
                return Some(Ok(Published { stored, present: 0 }));
            }
            // Whoever is being committed waits for the leader, whose transaction has a deadline of its own.
            let limit = if is_queued { patience.deadline() } else { clock::deadline_in(LOOK) };
            self.over.wait_until(&mut queue, limit);
        }
    }

    /// Commits what is queued, in order.
    fn lead(
        &self,
        queue: MutexGuard<'_, Queue>,
        commit: &impl Fn(&[&Record]) -> Result<Vec<bool>, Error>,
    ) {
        let mut queue = self.gather(queue);
        let batch = take(&mut queue.waiting);
        queue.last_count = batch.len();
        drop(queue);
        if faulty!(Fault::FollowerAcknowledgedEarly) {
            self.over.notify_all();
        }
        let mut led = Led { commits: self, batch };
        match commit(&led.records()) {
            Ok(are_new) => led.deliver(&are_new),
            Err(error) if led.batch.len() == 1 => led.fail(error),
            Err(error) => {
                let count = led.batch.len();
                tracing::warn!(%error, count, "a commit of several failed; each of them goes alone");
            }
        }
    }

    fn gather<'a>(&'a self, mut queue: MutexGuard<'a, Queue>) -> MutexGuard<'a, Queue> {
        let deadline = clock::deadline_in(GATHER);
        while queue.waiting.len() < queue.last_count {
            if self.arrived.wait_until(&mut queue, deadline) {
                break;
            }
        }
        queue
    }
}

/// As many publications as one transaction takes, at least one, in order.
fn take(waiting: &mut Vec<(u64, Vec<Record>)>) -> Vec<(u64, Vec<Record>)> {
    let mut rows = 0;
    let count = waiting.iter().take_while(|(_, records)| {
        let fits = rows == 0 || rows + records.len() <= ROWS_MAX;
        rows += records.len();
        fits
    });
    let count = count.count().max(1).min(waiting.len());
    waiting.drain(..count).collect()
}

fn count(are_new: &[bool]) -> Published {
    let stored = are_new.iter().filter(|is_new| **is_new).count();
    Published { stored, present: are_new.len() - stored }
}

/// A commit that is going on. What has no outcome when it is dropped, also by a panic, goes back to its publishers.
struct Led<'a> {
    commits: &'a Commits,
    batch: Vec<(u64, Vec<Record>)>,
}

impl Led<'_> {
    fn records(&self) -> Vec<&Record> {
        self.batch.iter().flat_map(|(_, records)| records).collect()
    }

    /// Tells each publisher what became of what it had.
    fn deliver(&mut self, are_new: &[bool]) {
        let mut rest = are_new;
        let mut queue = self.commits.queue.lock();
        for (ticket, records) in self.batch.drain(..) {
            let (own, others) = rest.split_at(records.len());
            rest = others;
            queue.outcomes.insert(ticket, Outcome::Stored(count(own)));
        }
    }

    fn fail(&mut self, error: Error) {
        if let Some((ticket, _)) = self.batch.pop() {
            self.commits.queue.lock().outcomes.insert(ticket, Outcome::Failed(error));
        }
    }
}

impl Drop for Led<'_> {
    fn drop(&mut self) {
        let mut queue = self.commits.queue.lock();
        for (ticket, records) in self.batch.drain(..) {
            queue.outcomes.insert(ticket, Outcome::Alone(records));
        }
        queue.is_led = false;
        drop(queue);
        self.commits.over.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::thread;

    use super::*;
    use crate::ErrorClass;
    use crate::store::key::Key;
    use crate::store::record;

    fn records(number: u8) -> Vec<Record> {
        let absent = record::Outcome::Absent { reason: "none".into(), retry_at_ms: 0 };
        vec![Record::of_nothing(Key::from_bytes([number; 16]), absent)]
    }

    fn soon() -> Patience {
        Patience::until(clock::deadline_in(Duration::from_secs(20)))
    }

    fn failure() -> Error {
        Error::Unusable { path: "x".into(), class: ErrorClass::DiskFull, text: String::new() }
    }

    /// Submits from so many threads at once, each as often; `commit` may fail.
    fn from_threads(
        threads: u8,
        times: usize,
        commit: impl Fn(&[&Record]) -> Result<Vec<bool>, Error> + Sync,
    ) -> (usize, usize) {
        let (commits, failed, stored) =
            (Commits::default(), AtomicUsize::new(0), AtomicUsize::new(0));
        thread::scope(|scope| {
            for number in 0..threads {
                let (commits, commit, failed, stored) = (&commits, &commit, &failed, &stored);
                scope.spawn(move || {
                    for _ in 0..times {
                        match commits.submit(records(number), &soon(), commit).unwrap() {
                            Ok(published) => stored.fetch_add(published.stored, Ordering::SeqCst),
                            Err(_) => failed.fetch_add(1, Ordering::SeqCst),
                        };
                    }
                });
            }
        });
        assert!(commits.queue.lock().outcomes.is_empty(), "every outcome is fetched");
        (stored.into_inner(), failed.into_inner())
    }

    #[test]
    fn eight_threads_share_commits() {
        let commits = Arc::new(AtomicUsize::new(0));
        let (stored, failed) = from_threads(8, 50, |records| {
            commits.fetch_add(1, Ordering::SeqCst);
            thread::sleep(Duration::from_millis(1));
            Ok(vec![true; records.len()])
        });
        assert_eq!((stored, failed), (400, 0));
        let commits = commits.load(Ordering::SeqCst);
        assert!(commits <= 200, "{commits} commits for 400 publications");
    }

    #[test]
    fn one_bad_publication_fails_alone() {
        let (stored, failed) = from_threads(4, 20, |records| {
            thread::sleep(Duration::from_micros(200));
            let is_bad = |record: &&Record| record.key == Key::from_bytes([3; 16]);
            if records.iter().any(is_bad) { Err(failure()) } else { Ok(vec![true; records.len()]) }
        });
        assert_eq!((stored, failed), (60, 20));
    }

    #[test]
    fn a_leader_that_panics_leaves_the_queue_to_the_others() {
        let commits = Commits::default();
        let panics = AtomicUsize::new(1);
        let commit = |records: &[&Record]| {
            thread::sleep(Duration::from_millis(5));
            assert_eq!(panics.swap(0, Ordering::SeqCst), 0, "planted");
            Ok(vec![true; records.len()])
        };
        thread::scope(|scope| {
            let submit = |number| {
                let (commits, commit) = (&commits, &commit);
                scope.spawn(move || {
                    commits.submit(records(number), &soon(), commit).unwrap().unwrap().stored
                })
            };
            let begun: Vec<_> = (0..4).map(submit).collect();
            let outcomes: Vec<_> = begun.into_iter().map(thread::ScopedJoinHandle::join).collect();
            assert_eq!(outcomes.iter().filter(|outcome| outcome.is_err()).count(), 1);
            assert!(outcomes.iter().flatten().all(|stored| *stored == 1));
        });
    }

    #[test]
    fn who_cannot_wait_is_not_stored() {
        let commits = Commits::default();
        thread::scope(|scope| {
            let (inside, entered) = std::sync::mpsc::channel();
            let (leave, left) = std::sync::mpsc::channel::<()>();
            let left = std::sync::Mutex::new(left);
            let commits = &commits;
            let leading = scope.spawn(move || {
                commits.submit(records(1), &soon(), |records| {
                    inside.send(()).unwrap();
                    left.lock().unwrap().recv().unwrap();
                    Ok(vec![true; records.len()])
                })
            });
            entered.recv().unwrap();
            let now = Patience::until(clock::now());
            assert!(
                commits.submit(records(2), &now, |_| unreachable!("nobody asked for it")).is_none()
            );
            leave.send(()).unwrap();
            assert_eq!(leading.join().unwrap().unwrap().unwrap().stored, 1);
        });
    }
}
