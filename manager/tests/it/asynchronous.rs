//! Futures wait without blocking their runtime, and leave nothing behind when they are dropped.

use std::future::Future;
use std::path::Path;
use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex, mpsc};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use manager::{
    AccessMode, AcquireOptions, AsyncManager, AsyncTransactionOptions, Cancel, Config, Drain,
    Error, LeaseEvent, Manager, Observer, Pending,
};
use tokio::runtime::{Builder, Runtime};
use tokio::time::{sleep, timeout};

use crate::peer::Peer;
use crate::support::{
    A_WHILE, LONG, Running, Site, config, count, eventually, insert, make_database,
    waits_at_the_gate,
};

/// One thread for all tasks.
fn runtime() -> Runtime {
    Builder::new_current_thread().enable_time().build().unwrap()
}

/// A manager that lets go of a file only if another process asks.
fn manager() -> AsyncManager {
    let config = Config { idle_max: Duration::from_hours(1), ..config() };
    Manager::new(config).unwrap().into()
}

/// What a future comes to, if it does within [`LONG`].
async fn outcome<T>(future: Pending<T>) -> Result<T, Error> {
    timeout(LONG, future).await.expect("the future is ready before the test has waited too long")
}

/// Polls a future once: it has to wait.
fn begins_to_wait<T>(future: &mut Pending<T>) {
    let poll = Pin::new(future).poll(&mut Context::from_waker(Waker::noop()));
    assert!(poll.is_pending());
}

fn waiting(manager: &AsyncManager) -> usize {
    manager.manager().status().databases[0].waiting
}

fn leases_out(manager: &AsyncManager) -> usize {
    manager.manager().status().leases_out()
}

/// This process is neither at the gate nor queues at it.
fn is_nowhere(database: &Path) -> bool {
    let holders = manager::holders(database).unwrap();
    holders.iter().all(|holder| holder.pid != std::process::id())
}

#[test]
fn a_wait_leaves_the_runtime_to_its_other_tasks() {
    let (site, manager) = (Site::new(), manager());
    runtime().block_on(async {
        let lease = outcome(manager.write(site.database())).await.unwrap();
        let waits = tokio::spawn(outcome(manager.write(site.database())));
        for _ in 0..20 {
            sleep(Duration::from_millis(1)).await; // on the one thread of the runtime
        }
        assert!(!waits.is_finished());
        drop(lease);
        let lease = waits.await.unwrap().unwrap();
        insert(&lease, 1);
        assert_eq!(count(&lease), 1);
    });
}

#[test]
fn a_wait_that_is_dropped_in_the_queue_leaves_no_place_in_it() {
    let (site, manager) = (Site::new(), manager());
    runtime().block_on(async {
        let lease = outcome(manager.write(site.database())).await.unwrap();
        let mut waits = manager.write(site.database());
        begins_to_wait(&mut waits);
        eventually("it queues", || waiting(&manager) == 1);
        drop(waits);
        eventually("its place is gone", || waiting(&manager) == 0);
        drop(lease);
        drop(outcome(manager.write(site.database())).await.unwrap());
        assert_eq!(leases_out(&manager), 0);
    });
}

#[test]
fn a_wait_that_is_dropped_at_the_gate_leaves_no_waiter_there() {
    let (site, manager) = (Site::new(), manager());
    let holder = Peer::holding("write", &site.database());
    runtime().block_on(async {
        let mut waits = manager.write(site.database());
        begins_to_wait(&mut waits);
        waits_at_the_gate(&site.database(), std::process::id());
        let next = Peer::begin("write", &site.database());
        waits_at_the_gate(&site.database(), next.pid());
        let begin = Instant::now();
        drop(waits);
        assert!(begin.elapsed() < A_WHILE, "dropping it does not wait");
        eventually("this process is no longer listed", || is_nowhere(&site.database()));
        holder.release();
        next.hears("held");
        next.release();
        drop(outcome(manager.write(site.database())).await.unwrap());
    });
}

#[test]
fn phases_that_are_dropped_while_they_wait_are_not_entered() {
    let (site, manager) = (Site::new(), manager());
    let trainer = Peer::holding("training", &site.database());
    runtime().block_on(async {
        // The second one waits for the first one, as a process enters a phase once.
        let mut one = manager.evaluation_phase(site.database());
        let mut two = manager.evaluation_phase(site.database());
        begins_to_wait(&mut one);
        waits_at_the_gate(&site.database(), std::process::id());
        begins_to_wait(&mut two);
        drop(two);
        drop(one);
        eventually("this process is no longer listed", || is_nowhere(&site.database()));
        trainer.release();
        let training = outcome(manager.training_phase(site.database())).await.unwrap();
        let mut refused = manager.evaluation_phase(site.database());
        begins_to_wait(&mut refused);
        drop((refused, training));
        drop(outcome(manager.evaluation_phase(site.database())).await.unwrap());
    });
    eventually("nobody is in a phase", || {
        let holders = manager::holders(&site.database()).unwrap();
        holders.iter().all(|holder| holder.phase.is_none())
    });
}

#[test]
fn the_thread_of_a_wait_that_is_dropped_ends_soon() {
    let (site, manager, runtime) = (Site::new(), manager(), runtime());
    let paths = ["held.db", "training.db", "outside.db"].map(|name| site.path(name));
    for path in &paths {
        make_database(path, 0);
    }
    let ([held, training, outside], new) = (paths, site.path("new.db"));
    let _peers =
        [("write", &held), ("training", &training), ("outside", &outside), ("create", &new)]
            .map(|(role, path)| Peer::holding(role, path));
    runtime.block_on(async {
        let _lease = outcome(manager.read(site.database())).await.unwrap();
        let mut leases = [&held, &outside, &new].map(|path| manager.write(path));
        leases.iter_mut().for_each(begins_to_wait);
        let mut phases = [(); 2].map(|()| manager.evaluation_phase(&training));
        phases.iter_mut().for_each(begins_to_wait);
        let drain = Drain { wait_max: LONG, ..Drain::default() };
        let mut closing = manager.close_all_connections(drain);
        begins_to_wait(&mut closing);
        for path in [&held, &training, &new] {
            waits_at_the_gate(path, std::process::id());
        }
    });
    let begin = Instant::now();
    drop(runtime); // waits until all its threads have ended
    assert!(begin.elapsed() < LONG / 6, "{:?}", begin.elapsed());
}

#[test]
fn a_grant_that_races_a_drop_never_leaks_a_lease() {
    const ROUNDS: u32 = 1_000;
    let (site, manager) = (Site::new(), manager());
    let (send, leases) = mpsc::channel();
    let returning = Running::begin(move || leases.iter().for_each(drop));
    runtime().block_on(async {
        for round in 0..ROUNDS {
            let lease = outcome(manager.write(site.database())).await.unwrap();
            let mut waits = manager.write(site.database());
            begins_to_wait(&mut waits);
            if round % 4 > 0 {
                eventually("it queues", || waiting(&manager) == 1);
            }
            send.send(lease).unwrap();
            for _ in 0..round % 64 * 64 {
                std::hint::spin_loop(); // so that the drop falls before, into and after the grant
            }
            drop(waits);
        }
    });
    drop(send);
    returning.finish();
    eventually("all leases are back", || leases_out(&manager) == 0 && waiting(&manager) == 0);
    Peer::holding("write", &site.database()).release();
}

#[test]
fn leases_that_are_there_for_the_taking_need_no_thread_of_the_pool() {
    let (site, manager) = (Site::new(), manager());
    let runtime =
        Builder::new_current_thread().enable_time().max_blocking_threads(1).build().unwrap();
    let (end, ended) = mpsc::channel::<()>();
    runtime.block_on(async {
        drop(outcome(manager.write(site.database())).await.unwrap());
        let occupied = tokio::task::spawn_blocking(move || ended.recv());
        for number in 0..100 {
            let writer = outcome(manager.write(site.database())).await.unwrap();
            insert(&writer, number);
            let reader = outcome(manager.read(site.database())).await.unwrap();
            assert_eq!(count(&reader), number + 1);
        }
        // One that has to wait stands in no queue until a thread is free, and dropped it never does.
        let lease = outcome(manager.write(site.database())).await.unwrap();
        let mut waits = manager.write(site.database());
        begins_to_wait(&mut waits);
        assert_eq!(waiting(&manager), 0);
        drop((waits, lease));
        drop(end);
        assert!(occupied.await.unwrap().is_err());
        assert_eq!(leases_out(&manager), 0);
    });
}

#[test]
fn a_transaction_of_a_task_is_stored() {
    let (site, manager) = (Site::empty(), manager());
    let stored = runtime().block_on(async {
        let create = |tx: &manager::Transaction<'_>| tx.execute_batch("CREATE TABLE t (a BIGINT)");
        outcome(manager.transaction(site.database(), create)).await?;
        let options = AsyncTransactionOptions {
            attempts_max: Some(2),
            is_stored: Some(Arc::new(|_| Ok(true))),
            ..AsyncTransactionOptions::default()
        };
        let insert = |tx: &manager::Transaction<'_>| tx.execute("INSERT INTO t VALUES (7)", []);
        outcome(manager.transaction_with(site.database(), options, insert)).await
    });
    assert_eq!(stored.unwrap(), 1);
    let mut reader = Peer::holding("read", &site.database());
    assert_eq!(reader.tell("count"), "1");
}

#[test]
fn a_transaction_that_is_dropped_is_interrupted_and_stores_nothing() {
    const HOURS: &str =
        "SELECT count(*) FROM range(1000000) a, range(1000000) b WHERE a.range % 7 = b.range % 3";
    let (site, manager) = (Site::new(), manager());
    runtime().block_on(async {
        for round in 0..100 {
            let (begun, has_begun) = mpsc::channel();
            let mut runs = manager.transaction(site.database(), move |tx| {
                tx.execute("INSERT INTO t VALUES (1)", [])?;
                begun.send(()).unwrap();
                tx.execute_batch(HOURS)
            });
            begins_to_wait(&mut runs);
            has_begun.recv_timeout(LONG).unwrap();
            // The drop falls before the statement, to its beginning and into it.
            std::thread::sleep(Duration::from_micros(20) * (round % 20));
            drop(runs);
            eventually("its lease is back", || leases_out(&manager) == 0);
        }
        assert_eq!(count(&outcome(manager.write(site.database())).await.unwrap()), 0);
    });
}

#[test]
#[should_panic(expected = "a bug of the caller")]
fn a_closure_that_panics_has_its_future_panic() {
    let (site, manager) = (Site::new(), manager());
    let work =
        |_: &manager::Transaction<'_>| -> Result<(), Error> { panic!("a bug of the caller") };
    let _ = runtime().block_on(outcome(manager.transaction(site.database(), work)));
}

#[test]
fn tasks_of_one_thread_may_have_leases_at_the_same_time() {
    let (site, manager) = (Site::new(), manager());
    runtime().block_on(async {
        let one = outcome(manager.read(site.database())).await.unwrap();
        let two = outcome(manager.read(site.database())).await.unwrap();
        assert_eq!((count(&one), count(&two)), (0, 0));
        assert_eq!(leases_out(&manager), 2);
        // And so may a thread of the manager itself, as those of tasks are on none.
        let three = manager.manager().read(site.database()).unwrap();
        assert_eq!(count(&three), 0);
    });
}

#[test]
fn status_names_the_line_that_asked_for_a_lease() {
    let (site, manager) = (Site::new(), manager());
    runtime().block_on(async {
        for _ in ["by waiting", "at once"] {
            let line = line!() + 1;
            let lease = outcome(manager.read(site.database())).await.unwrap();
            let taken_at = manager.manager().status().databases[0].leases[0].taken_at.clone();
            assert!(taken_at.contains(&format!("asynchronous.rs:{line}:")), "{taken_at}");
            drop(lease);
        }
    });
}

#[test]
fn a_wait_that_runs_out_names_the_holder() {
    let (site, manager) = (Site::new(), manager());
    let holder = Peer::begin_labelled("write", &site.database(), "the trainer");
    holder.hears("held");
    let options = AcquireOptions { wait_max: Some(A_WHILE), ..AcquireOptions::default() };
    let asked = manager.get_with(site.database(), AccessMode::ReadWrite, options);
    let error = runtime().block_on(outcome(asked)).unwrap_err();
    assert!(matches!(error, Error::TimedOut { .. }), "{error}");
    let text = error.to_string();
    assert!(text.contains("the trainer") && text.contains(&holder.pid().to_string()), "{text}");
}

#[test]
fn a_cancel_ends_the_waits_that_share_it_and_a_drop_does_not() {
    let (site, manager) = (Site::new(), manager());
    runtime().block_on(async {
        let lease = outcome(manager.write(site.database())).await.unwrap();
        let cancel = Cancel::default();
        let options = AcquireOptions { cancel: Some(cancel.clone()), ..AcquireOptions::default() };
        let ask = || manager.get_with(site.database(), AccessMode::ReadWrite, options.clone());
        let (mut one, mut two) = (ask(), ask());
        begins_to_wait(&mut one);
        begins_to_wait(&mut two);
        eventually("both queue", || waiting(&manager) == 2);
        drop(one);
        eventually("one waits on", || waiting(&manager) == 1);
        assert!(!cancel.is_cancelled());
        cancel.cancel();
        let error = outcome(two).await.unwrap_err();
        assert!(matches!(error, Error::Cancelled { .. }), "{error}");
        drop(lease);
    });
}

#[test]
fn closing_that_is_dropped_lets_leases_be_given_again() {
    let (site, manager) = (Site::new(), manager());
    runtime().block_on(async {
        let lease = outcome(manager.read(site.database())).await.unwrap();
        let mut closing =
            manager.close_all_connections(Drain { wait_max: LONG, ..Drain::default() });
        begins_to_wait(&mut closing);
        let options = AcquireOptions { wait_max: Some(LONG), ..AcquireOptions::default() };
        let mut held_back = None;
        eventually("new leases are held back", || {
            let mut asked =
                manager.get_with(site.database(), AccessMode::ReadOnly, options.clone());
            let poll = Pin::new(&mut asked).poll(&mut Context::from_waker(Waker::noop()));
            held_back = poll.is_pending().then_some(asked);
            held_back.is_some()
        });
        drop(closing);
        drop(outcome(held_back.unwrap()).await.unwrap());
        drop(lease);
        let report = outcome(manager.close_all_connections(Drain::default())).await.unwrap();
        assert!(report.is_complete(), "{report:?}");
        assert!(is_nowhere(&site.database()));
    });
}

/// The names of the threads on which the file was let go of.
#[derive(Default)]
struct Closers(Mutex<Vec<Option<String>>>);

impl Observer for Closers {
    fn observe(&self, _: &Path, event: &LeaseEvent<'_>) {
        if let LeaseEvent::Closed { .. } = event {
            let name = std::thread::current().name().map(str::to_owned);
            self.0.lock().unwrap().push(name);
        }
    }
}

#[test]
fn the_keeper_lets_go_of_the_file_when_a_task_drops_the_last_lease() {
    let site = Site::new();
    let closers = Arc::new(Closers::default());
    // Every lease that comes back is to let go of the file: nobody else can have come first.
    let config = Config { idle_max: Duration::ZERO, ..config() };
    let manager: AsyncManager = Manager::with_observer(config, closers.clone()).unwrap().into();
    runtime().block_on(async {
        for number in 0..10 {
            let lease = outcome(manager.write(site.database())).await.unwrap();
            insert(&lease, number);
            let peer = Peer::begin("write", &site.database());
            waits_at_the_gate(&site.database(), peer.pid());
            drop(lease);
            peer.hears("held");
            peer.release();
        }
    });
    // The peer may have the file before it is told that this process has let go of it.
    eventually("the last one is told", || closers.0.lock().unwrap().len() == 10);
    let closers = closers.0.lock().unwrap();
    assert!(closers.iter().all(|name| name.as_deref() == Some("flockgate keeper")), "{closers:?}");
}

#[test]
fn without_a_runtime_only_what_need_not_wait_is_had() {
    let (site, manager) = (Site::new(), manager());
    let poll_once = |asked: Pending<manager::ReadLease>| match pin!(asked)
        .poll(&mut Context::from_waker(Waker::noop()))
    {
        Poll::Ready(outcome) => outcome,
        Poll::Pending => panic!("there is nothing to wait in"),
    };
    let error = poll_once(manager.read(site.database())).unwrap_err();
    assert!(matches!(error, Error::NoRuntime), "{error}");
    drop(manager.manager().read(site.database()).unwrap()); // attaches the file
    assert_eq!(count(&poll_once(manager.read(site.database())).unwrap()), 0);
    assert_eq!(leases_out(&manager), 0);
}

#[test]
fn a_runtime_that_shuts_down_ends_the_waits_of_its_tasks() {
    for runtime in [runtime(), Builder::new_multi_thread().worker_threads(1).build().unwrap()] {
        let (site, manager) = (Site::new(), manager());
        let lease = manager.manager().write(site.database()).unwrap();
        runtime.spawn(manager.write(site.database()));
        runtime.block_on(async { tokio::task::yield_now().await });
        eventually("the task queues", || waiting(&manager) == 1);
        let shutdown = Running::begin(move || drop(runtime));
        shutdown.finish();
        assert_eq!(waiting(&manager), 0);
        drop(lease);
        drop(manager.manager().write(site.database()).unwrap());
    }
}
