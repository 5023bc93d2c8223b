//! `harness run demo`: what the README promises of the default run. It is run once; the tests share it.

use std::fs;
use std::sync::OnceLock;

use harness::driver::{self, Made};
use harness::history::{Event, History, What, When};
use harness::scenario::Scenario;
use reports::{ScenarioReport, Status};

use crate::support::{Ran, Running, Site, harness, is_worker, read, workers, workspace};

const DRIVERS: [&str; 3] = ["naive", "retrying", "managed"];

struct Demo {
    site: Site,
    ran: Ran,
}

/// The one run of the demo.
fn demo() -> &'static Demo {
    static DEMO: OnceLock<Demo> = OnceLock::new();
    DEMO.get_or_init(|| {
        let site = Site::new();
        let ran = site.run(&["demo"]);
        Demo { site, ran }
    })
}

fn scenario(driver: &str) -> ScenarioReport {
    let report = demo().site.report();
    report.scenarios.into_iter().find(|run| run.driver == driver).unwrap()
}

fn history(driver: &str) -> History {
    let file = demo().site.latest().join(format!("histories/demo.{driver}.jsonl"));
    History::read(read(file).as_bytes()).unwrap()
}

/// What the rows of a table begin with, the head left out.
fn row_labels(text: &str) -> Vec<String> {
    let rows = text.lines().filter_map(|line| line.trim().strip_prefix('│')).skip(1);
    rows.map(|row| row.split("   ").next().unwrap().trim().to_owned()).collect()
}

#[test]
fn the_demo_passes_and_every_driver_comes_out_as_expected() {
    let Ran { status, stderr, .. } = &demo().ran;
    assert_eq!(status.code(), Some(0), "{stderr}");
    let report = demo().site.report();
    assert_eq!((report.summary.exit_code, report.summary.status), (0, Status::Passed));
    let ran: Vec<_> = report.scenarios.iter().map(|run| run.driver.as_str()).collect();
    assert_eq!(ran, DRIVERS);
    for run in &report.scenarios {
        assert_eq!((run.id.as_str(), run.status), ("demo", Status::Passed), "{}", run.driver);
        assert!(run.checks.iter().all(reports::Check::is_as_expected), "{:?}", run.checks);
    }
}

#[test]
fn the_report_of_the_demo_is_valid_by_the_checked_in_schema() {
    let schema = read(workspace().join("reports/schema/report.v1.schema.json"));
    let schema = serde_json::from_str(&schema).unwrap();
    let validator = jsonschema::draft202012::new(&schema).unwrap();
    let report = read(demo().site.latest().join(reports::FILE_NAME));
    let report: serde_json::Value = serde_json::from_str(&report).unwrap();
    let faults: Vec<_> = validator
        .iter_errors(&report)
        .map(|fault| format!("{}: {fault}", fault.instance_path()))
        .collect();
    assert_eq!(faults, Vec::<String>::new());
}

#[test]
fn the_naive_driver_conflicts_and_computes_again_what_was_published() {
    let counts = scenario("naive").counts;
    assert!(0 < counts.conflicts && 0 < counts.recomputes, "{counts:?}");
    assert_eq!(counts.retries, 0, "the naive driver tries nothing again");
}

#[test]
fn the_retrying_driver_conflicts_and_loses_nothing() {
    let counts = scenario("retrying").counts;
    assert!(0 < counts.conflicts && 0 < counts.retries, "{counts:?}");
    assert_eq!(counts.lost_rows, 0);
}

#[test]
fn the_managed_driver_surfaces_loses_and_recomputes_nothing_and_finds_all_that_was_published() {
    let counts = scenario("managed").counts;
    assert_eq!((counts.surfaced_errors, counts.lost_rows, counts.recomputes), (0, 0, 0));
    assert_eq!(counts.misses_published, 0);
    assert!(0 < counts.cache_hits, "{counts:?}");
    assert_eq!(counts.hit_ratio_published(), Some(1.0));
}

#[test]
fn all_drivers_score_the_same_to_the_last_bit() {
    let bits = |driver| {
        let scores = scenario(driver).scores.into_iter();
        let bits = scores.map(|score| {
            let floats = [score.r2_out_of_sample, score.r2_in_sample, score.sign_hit_ratio];
            (score.window, score.sessions, floats.map(f64::to_bits))
        });
        bits.collect::<Vec<_>>()
    };
    let naive = bits("naive");
    let demo = Scenario::read(&workspace().join("scenarios/demo.toml")).unwrap();
    assert_eq!(naive.len(), demo.windows.count as usize, "one score a window");
    assert!(6 <= naive.len());
    assert_eq!(bits("retrying"), naive);
    assert_eq!(bits("managed"), naive);
}

/// One share was listed too late: whoever asks for it earlier is told why there is nothing.
#[test]
fn what_a_late_share_lacks_is_found_as_a_negative_entry_by_every_driver() {
    let reason = Made::Absent("listed on 2012-05-18".to_owned());
    let content = driver::row(manager::FeatureSpec::new("any", 1).key(), &reason).content;
    let mut stored = Vec::new();
    for driver in DRIVERS {
        let events = history(driver).events;
        let found = |event: &Event| match event.what {
            What::Lookup { absent, .. } if event.actor.starts_with("evaluation-") => absent,
            _ => 0,
        };
        let found: u32 = events.iter().map(found).sum();
        assert_eq!(0 < found, driver != "naive", "{driver}, whose look-ups fail if it is naive");
        let rows = events.iter().find_map(|event| match &event.what {
            What::Visible { rows } => Some(rows.clone()),
            _ => None,
        });
        stored.push(rows.unwrap().iter().filter(|row| row.content == content).count());
    }
    assert!(0 < stored[2], "{stored:?}");
    assert_eq!(stored[1], stored[2]);
}

#[test]
fn two_processes_with_two_threads_each_train_and_as_many_evaluate() {
    for driver in DRIVERS {
        let history = history(driver);
        let names: Vec<_> = workers(&history).into_iter().map(|(name, _)| name).collect();
        assert_eq!(names, ["training-0", "training-1", "evaluation-2", "evaluation-3"]);
        let actors: Vec<_> = history.header.actors.iter().map(|actor| actor.id.as_str()).collect();
        let expected = [
            "training-0/0",
            "training-0/1",
            "training-1/0",
            "training-1/1",
            "evaluation-2/0",
            "evaluation-2/1",
            "evaluation-3/0",
            "evaluation-3/1",
        ];
        assert_eq!(actors, expected);
        for actor in expected {
            let looked =
                |event: &&Event| event.actor == actor && matches!(event.what, What::Lookup { .. });
            assert!(history.events.iter().any(|event| looked(&event)), "{actor} on {driver}");
        }
    }
}

#[test]
fn every_recorded_history_can_be_checked_again_with_the_same_verdict() {
    for (driver, code) in [("naive", 1), ("retrying", 0), ("managed", 0)] {
        let file = demo().site.latest().join(format!("histories/demo.{driver}.jsonl"));
        let ran = Running::start(harness(&["check"]).arg(&file)).finish().exits_with(code);
        let verdict = |id: &str| {
            let line = ran.stdout.lines().find(|line| line.starts_with(id)).unwrap();
            line.split_whitespace().nth(1).unwrap().to_owned()
        };
        let phase = if driver == "naive" { "violated" } else { "holds" };
        assert_eq!(verdict("phase_respected"), phase, "{driver}");
        for id in ["one_writer", "no_lost_commit", "no_leak"] {
            assert_eq!(verdict(id), "holds", "{driver}: {id}\n{}", ran.stdout);
        }
    }
}

#[test]
fn every_planted_canary_of_the_demo_is_caught() {
    let canaries = demo().site.report().summary.canaries;
    // One a check and driver, but for the one that the naive driver breaks by itself.
    assert_eq!((canaries.planted, canaries.caught), (11, 11));
}

#[test]
fn the_run_leaves_a_report_and_its_histories_and_nothing_else() {
    let folder = demo().site.latest();
    let run = folder.file_name().unwrap().to_str().unwrap();
    let mut expected = vec![run.to_owned(), "latest".to_owned()];
    expected.extend([format!("{run}/report.json"), format!("{run}/histories")]);
    expected.extend(DRIVERS.map(|driver| format!("{run}/histories/demo.{driver}.jsonl")));
    expected.sort();
    let found: Vec<_> =
        demo().site.leftovers().iter().map(|path| path.to_str().unwrap().to_owned()).collect();
    assert_eq!(found, expected);
    assert_eq!(fs::read_link(demo().site.output().join("latest")).unwrap().to_str(), Some(run));
}

#[test]
fn no_process_of_the_demo_is_left() {
    for driver in DRIVERS {
        let history = history(driver);
        let ended = |pid: u32| {
            history
                .events
                .iter()
                .any(|event| event.what == What::ProcessEnded { pid, code: Some(0) })
        };
        for (name, pid) in workers(&history) {
            assert!(ended(pid) && !is_worker(pid), "{name}, {pid}, on {driver}");
        }
    }
}

/// What is there before the first process and what is left after the last: swapped, nothing would ever leak.
#[test]
fn the_machine_is_surveyed_first_and_last() {
    for driver in DRIVERS {
        let events = history(driver).events;
        let [first, .., last] = &*events else { panic!("{driver}: {} events", events.len()) };
        let files = |event: &Event, expected| match &event.what {
            What::Survey { when, files, .. } if *when == expected => files.clone(),
            other => panic!("{driver}: {other:?}"),
        };
        assert_eq!(files(first, When::Before), Vec::<String>::new());
        assert!(files(last, When::After).contains(&"store.duckdb".to_owned()), "{driver}");
    }
}

#[test]
fn the_report_says_where_it_comes_from() {
    let provenance = demo().site.report().provenance;
    assert_eq!(provenance.versions.duckdb, "v1.5.5");
    assert_eq!(provenance.argv[1], "run");
    assert!(1 <= provenance.machine.logical_cpus && 0 < provenance.machine.memory_bytes);
    let demo_ns: u64 = demo().site.report().scenarios.iter().map(|run| run.duration_ns).sum();
    assert!(demo_ns < provenance.duration_ns, "{demo_ns} of {}", provenance.duration_ns);
}

/// The README promises these rows to whoever types the first command, and shows them from a real run.
#[test]
fn the_run_prints_the_table_that_the_readme_shows() {
    let Ran { stdout, stderr, .. } = &demo().ran;
    assert_eq!(stdout, "", "text for people goes to standard error");
    let printed = row_labels(stderr);
    for promised in [
        "conflicts met",
        "errors surfaced",
        "retries",
        "cache hit ratio in evaluation (published features)",
        "features recomputed",
        "rows lost",
        "acquire p50 / p99",
        "total seconds",
    ] {
        assert!(printed.iter().any(|label| label == promised), "no `{promised}` in\n{stderr}");
    }
    let readme = read(workspace().join("README.md"));
    assert_eq!(row_labels(&readme), printed, "paste the table of a run into README.md");
    assert_eq!(row_labels(&reports::table(&demo().site.report())), printed);
    let report = demo().site.latest().join(reports::FILE_NAME);
    assert!(stderr.contains(&report.display().to_string()), "where the report lies:\n{stderr}");
}
