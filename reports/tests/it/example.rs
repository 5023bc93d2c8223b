//! A report in which every field is filled, and its parts for the tests that need less.

use reports::{
    Actor, Canaries, Check, Counts, Failure, Hex64, Kind, Latencies, Latency, Machine, Minimized,
    Mode, Provenance, Report, ScenarioReport, Score, Status, Verdict, Versions,
};

/// The report that is pinned as `golden/run.json`.
pub(crate) fn report() -> Report {
    let canaries = Canaries { planted: 3, caught: 3 };
    Report::new(Kind::Run, provenance(), vec![naive(), managed()], canaries)
}

fn provenance() -> Provenance {
    Provenance {
        started_at: "2026-11-23T08:05:53Z".to_owned(),
        duration_ns: 41_822_193_001,
        argv: ["harness", "run", "--seed", "0x5eed00000000002a"].map(str::to_owned).into(),
        versions: Versions {
            rustc: "1.95.0".to_owned(),
            duckdb: "v1.5.5".to_owned(),
            target: "x86_64-unknown-linux-gnu".to_owned(),
            profile: "release".to_owned(),
            commit: Some("4f1c2ab9d0e35b7714c6a1f8e2d9b3c05a687f12".to_owned()),
            dirty: Some(false),
        },
        machine: Machine {
            os: "linux 6.1".to_owned(),
            arch: "x86_64".to_owned(),
            cpu_model: "AMD EPYC 7763".to_owned(),
            logical_cpus: 2,
            memory_bytes: 24_696_061_952,
            filesystem: "ext4".to_owned(),
        },
    }
}

/// A run without the manager: conflicts, and a violation that is expected of it.
pub(crate) fn naive() -> ScenarioReport {
    ScenarioReport {
        driver: "naive".to_owned(),
        duration_ns: 31_415_926_535,
        counts: Counts {
            operations: 4_200,
            conflicts: 3_121,
            retries: 0,
            surfaced_errors: 3_121,
            cache_hits: 880,
            cache_misses: 140,
            misses_published: 120,
            recomputes: 120,
            lost_rows: 2,
        },
        latency_ns: Latencies {
            acquire: Some(Latency::new(412, 12_100_000, 42_100_000, 97_300_000, 2_314_000_000)),
            lookup: None,
            handoff: None,
        },
        checks: vec![
            check("no-lost-rows", Verdict::Violated, "2 acknowledged rows are gone"),
            check("one-writer", Verdict::Holds, ""),
        ],
        digest: Hex64(0xb7d3_0000_0000_0001),
        failure: Some(Failure {
            fingerprint: Hex64(0xb7d3_91ac_0f5e_2d48),
            because: vec![
                "training-0/0 was told that row 7 is stored (event 4).".to_owned(),
                "A fresh reader found no row 7 (event 6): a contradiction.".to_owned(),
            ],
            replay_command: Some(
                "harness replay --scenario walk-forward --seed 0x5eed00000000002a".to_owned(),
            ),
            reproduced: Some([19, 20]),
            minimized: Some(Minimized {
                events: [112, 8],
                statements: [120, 10],
                steps: vec!["ada: begin write".to_owned(), "bob: commit".to_owned()],
                critical_pair: Some(
                    "fails if `bob: commit` comes before `ada: commit`, not if after".to_owned(),
                ),
                verified: [3, 3],
                complete: true,
            }),
        }),
        ..managed()
    }
}

/// The same scenario with the manager: nothing to complain about.
pub(crate) fn managed() -> ScenarioReport {
    ScenarioReport {
        id: "walk-forward".to_owned(),
        driver: "managed".to_owned(),
        mode: Mode::Free,
        seed: Hex64(0x5eed_0000_0000_002a),
        status: Status::Passed,
        duration_ns: 9_876_543_210,
        actors: vec![actor("training", 0), actor("evaluation", 1)],
        counts: Counts {
            operations: 5_040,
            cache_hits: 1_000,
            cache_misses: 20,
            ..Counts::default()
        },
        store: None,
        latency_ns: Latencies {
            acquire: Some(Latency::new(5_040, 3_400, 11_000, 640_000, 1_210_000)),
            lookup: Some(Latency::new(1_020, 120, 180, 950, 2_000)),
            handoff: Some(Latency::new(6, 13_000, 15_000, 15_000, 15_000)),
        },
        checks: vec![
            check("no-lost-rows", Verdict::Holds, ""),
            check("one-writer", Verdict::Holds, ""),
        ],
        scores: vec![score(0, 0.0125), score(1, -0.0025)],
        digest: Hex64(0xb7d3_0000_0000_0002),
        failure: None,
        exploration: None,
    }
}

fn actor(role: &str, process: u32) -> Actor {
    Actor { id: format!("{role}-{process}/0"), role: role.to_owned(), process, thread: 0 }
}

/// A check that found what was expected.
pub(crate) fn check(id: &str, verdict: Verdict, message: &str) -> Check {
    Check { id: id.to_owned(), status: verdict, expected: verdict, message: message.to_owned() }
}

fn score(window: u32, r2_out_of_sample: f64) -> Score {
    Score { window, sessions: 21, r2_out_of_sample, r2_in_sample: 0.25, sign_hit_ratio: 0.5 }
}

/// A report of these scenarios, with no canary planted.
pub(crate) fn report_of(scenarios: Vec<ScenarioReport>) -> Report {
    Report::new(Kind::Run, provenance(), scenarios, Canaries::default())
}
