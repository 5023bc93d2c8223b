//! Runs that are interrupted or killed: what was recorded is kept, and nobody is left running.

use std::fs::File;
use std::io::{BufReader, BufWriter};
use std::os::unix::process::CommandExt as _;
use std::process::Command;
use std::time::Duration;

use harness::history::{Event, FORMAT, FORMAT_VERSION, Header, History, Recorder, Role, What};
use reports::{Report, Status};
use rustix::process::Signal;

use crate::support::{
    LONG, Ran, Running, SOON, Site, eventually, harness, is_worker, send, send_to_group, workers,
};

/// Workers that lose their coordinator have this long to end.
const A_FEW_SECONDS: Duration = Duration::from_secs(10);
/// How long a test looks on to see that something does not happen.
const A_WHILE: Duration = Duration::from_millis(200);

/// A run of the demo in the middle of its first training phase.
struct Begun {
    site: Site,
    running: Running,
    workers: Vec<(String, u32)>,
}

impl Begun {
    /// On the naive driver only, which takes longest.
    fn naive() -> Self {
        Self::of(|site| site.run_command(&["demo", "--driver", "naive"]))
    }

    fn of(command: impl FnOnce(&Site) -> Command) -> Self {
        let site = Site::new();
        let running = Running::start(&mut command(&site));
        let history = eventually("the first training phase has begun", LONG, || {
            let history = site.history_so_far("demo.naive.jsonl")?;
            let publishes = |what: &What| matches!(what, What::PublishEnded { .. });
            history.events.iter().any(|event| publishes(&event.what)).then_some(history)
        });
        let workers = workers(&history);
        assert_eq!(workers.len(), 4, "{workers:?}");
        assert!(workers.iter().all(|(_, pid)| is_worker(*pid)), "{workers:?}");
        Self { site, running, workers }
    }

    fn pid(&self, name: &str) -> u32 {
        self.workers.iter().find(|(known, _)| known == name).unwrap().1
    }

    /// Waits for the end, and looks whether what has to be gone is gone and the rest is there.
    fn ends_with(self, code: i32) -> (Site, Ran, Report) {
        let Self { site, running, workers } = self;
        let ran = running.finish_within(SOON).exits_with(code);
        for (name, pid) in workers {
            assert!(!is_worker(pid), "{name}, {pid}, still runs");
        }
        assert!(!site.latest().join("work").exists(), "the databases of a run do not outlive it");
        let report = site.report();
        assert_eq!(i32::from(report.summary.exit_code), code);
        assert_begun(&site.history_so_far("demo.naive.jsonl").unwrap());
        (site, ran, report)
    }
}

/// The history of a run that did not come to its end still says what happened.
fn assert_begun(history: &History) {
    let entered = |what: &What| matches!(what, What::PhaseEntered { phase: Role::Training, .. });
    assert!(history.events.iter().any(|event| entered(&event.what)));
}

#[test]
fn an_interrupted_run_is_reported_and_ends_its_workers() {
    for signal in [Signal::INT, Signal::TERM] {
        let begun = Begun::of(|site| site.run_command(&["demo"]));
        send(begun.running.pid(), signal);
        let (_, _, report) = begun.ends_with(130);
        assert_eq!(report.summary.status, Status::Inconclusive, "{signal:?}");
        assert!(report.scenarios.is_empty(), "{signal:?}: the driver that ran was broken off");
    }
}

/// A terminal sends Ctrl-C to every process of the foreground group, so the workers got it too, and their
/// deaths were reported as the run's failure (exit code 70) before the coordinator looked whether it had been
/// interrupted. Workers have a group of their own now.
#[test]
fn ctrl_c_on_a_terminal_is_an_interruption_and_no_failure() {
    let begun = Begun::of(|site| {
        let mut command = site.run_command(&["demo"]);
        command.process_group(0);
        command
    });
    // Stopped, the coordinator cannot be the first by chance.
    send(begun.running.pid(), Signal::STOP);
    send_to_group(begun.running.pid(), Signal::INT);
    std::thread::sleep(A_WHILE);
    let ended: Vec<_> = begun.workers.iter().filter(|(_, pid)| !is_worker(*pid)).collect();
    send(begun.running.pid(), Signal::CONT);
    assert!(ended.is_empty(), "{ended:?} ended by the signal that is for the coordinator");
    let (_, _, report) = begun.ends_with(130);
    assert_eq!(report.summary.scenarios.error, 0, "{:?}", report.scenarios);
}

#[test]
fn a_killed_worker_breaks_the_run_and_is_named_and_the_other_drivers_are_run() {
    let begun = Begun::of(|site| site.run_command(&["demo"]));
    send(begun.pid("training-1"), Signal::KILL);
    let report = broken_by(begun, "training-1");
    let others: Vec<_> = report.scenarios[1..].iter().map(|run| run.status).collect();
    assert_eq!(others, [Status::Passed, Status::Passed]);
}

/// The end of a worker that had nothing to do was read and forgotten; the run then waited three minutes for an
/// answer and called the dead worker silent.
#[test]
fn a_worker_that_is_killed_while_it_waits_for_its_phase_is_noticed_at_once() {
    let begun = Begun::naive();
    send(begun.pid("evaluation-3"), Signal::KILL);
    broken_by(begun, "evaluation-3");
}

/// The report of a run whose first driver was broken by the death of that process.
#[track_caller]
fn broken_by(begun: Begun, killed: &str) -> Report {
    let (_, ran, report) = begun.ends_with(70);
    let naive = &report.scenarios[0];
    assert_eq!((naive.driver.as_str(), naive.status), ("naive", Status::Error));
    let because = &naive.failure.as_ref().unwrap().because[0];
    let expected = format!("{killed} ended in the middle of its work (killed by a signal)");
    assert!(because.starts_with(&expected), "{because}");
    assert!(ran.stderr.contains(&expected), "{}", ran.stderr);
    report
}

#[test]
fn workers_end_by_themselves_when_their_coordinator_is_killed() {
    let begun = Begun::naive();
    send(begun.running.pid(), Signal::KILL);
    eventually("every worker has ended", A_FEW_SECONDS, || {
        begun.workers.iter().all(|(_, pid)| !is_worker(*pid)).then_some(())
    });
    assert_begun(&begun.site.history_so_far("demo.naive.jsonl").unwrap());
}

/// Whoever is killed has recorded all that came before: nothing waits in a buffer.
#[test]
fn an_event_is_in_the_file_when_it_has_been_recorded() {
    let site = Site::new();
    let path = site.file("history.jsonl", "");
    let file = BufWriter::with_capacity(1 << 20, File::create(&path).unwrap());
    let header = Header {
        format: FORMAT.into(),
        format_version: FORMAT_VERSION.into(),
        scenario: "kills".into(),
        driver: "none".into(),
        seed: "0x0000000000000000".into(),
        actors: vec![],
    };
    let mut recorder = Recorder::start(file, &header).unwrap();
    for pid in 1..=3 {
        let what = What::ProcessStarted { pid };
        let event = Event { t_ns: u64::from(pid), actor: "training-0".into(), what };
        recorder.record(&event).unwrap();
        let so_far = History::read(BufReader::new(File::open(&path).unwrap())).unwrap();
        assert_eq!(so_far.events.last(), Some(&event));
    }
}

/// It used to end without a word: the thread that read the commands ended the process before the one that
/// waited for them could say so.
#[test]
fn a_worker_that_is_started_by_hand_says_what_it_is_for() {
    Running::start(&mut harness(&["worker"]))
        .finish_within(SOON)
        .exits_with(2)
        .says(&["part of `harness run`", "not meant to be started by hand"]);
}
