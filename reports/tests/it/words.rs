//! The table on the terminal, letter by letter.

use reports::{Check, ScenarioReport, Verdict, table};

use crate::example;

#[test]
fn a_run_of_one_scenario_is_one_table_with_a_column_per_driver() {
    let expected = "\
┌─────────────────────────────────────────────────────────────────────────────────────────────────────┐
│ walk-forward                                                             naive              managed │
╞═════════════════════════════════════════════════════════════════════════════════════════════════════╡
│ conflicts met                                                             3121                    0 │
│ errors surfaced                                                           3121                    0 │
│ retries                                                                      0                    0 │
│ cache hit ratio in evaluation (published features)                     88.00 %             100.00 % │
│ features recomputed                                                        120                    0 │
│ rows lost                                                                    2                    0 │
│ acquire p50 / p99                                    12.1 ms / 97.3 ms (n 412)      3.4 µs / 640 µs │
│ total seconds                                                            31.42                 9.88 │
│ checks                                                      2 of 2 as expected   2 of 2 as expected │
│ out-of-sample R² (mean over windows)                                  0.005000             0.005000 │
└─────────────────────────────────────────────────────────────────────────────────────────────────────┘
";
    assert_eq!(table(&example::report()), expected);
}

#[test]
fn each_scenario_has_its_own_table_and_what_was_not_measured_is_a_dash() {
    let bare = ScenarioReport {
        id: "hand-over".to_owned(),
        counts: reports::Counts::default(),
        latency_ns: reports::Latencies::default(),
        checks: Vec::new(),
        scores: Vec::new(),
        ..example::managed()
    };
    let expected = "\
┌─────────────────────────────────────────────────────────────────────────┐
│ walk-forward                                                    managed │
╞═════════════════════════════════════════════════════════════════════════╡
│ conflicts met                                                         0 │
│ errors surfaced                                                       0 │
│ retries                                                               0 │
│ cache hit ratio in evaluation (published features)             100.00 % │
│ features recomputed                                                   0 │
│ rows lost                                                             0 │
│ acquire p50 / p99                                       3.4 µs / 640 µs │
│ total seconds                                                      9.88 │
│ checks                                               2 of 2 as expected │
│ out-of-sample R² (mean over windows)                           0.005000 │
└─────────────────────────────────────────────────────────────────────────┘

┌──────────────────────────────────────────────────────────────┐
│ hand-over                                            managed │
╞══════════════════════════════════════════════════════════════╡
│ conflicts met                                              0 │
│ errors surfaced                                            0 │
│ retries                                                    0 │
│ cache hit ratio in evaluation (published features)         - │
│ features recomputed                                        0 │
│ rows lost                                                  0 │
│ acquire p50 / p99                                          - │
│ total seconds                                           9.88 │
│ checks                                                     - │
│ out-of-sample R² (mean over windows)                       - │
└──────────────────────────────────────────────────────────────┘
";
    assert_eq!(table(&example::report_of(vec![example::managed(), bare])), expected);
}

#[test]
fn a_check_that_surprises_has_one_line_below_the_table() {
    let mut naive = example::naive();
    naive.checks.push(Check {
        expected: Verdict::Holds,
        ..example::check("no-torn-read", Verdict::Violated, "row 7 is half new\nand half old")
    });
    let mut managed = example::managed();
    managed.checks[1].status = Verdict::Unknown;
    let text = table(&example::report_of(vec![naive, managed]));
    assert!(text.contains(" 2 of 3 as expected "), "{text}");
    assert!(text.contains(" 1 of 2 as expected "), "{text}");
    let (_, below) = text.split_once("┘\n").expect("the table's last corner");
    assert_eq!(
        below,
        "naive: no-torn-read: violated, expected holds: row 7 is half new and half old\n\
         managed: one-writer: unknown, expected holds\n"
    );
}

#[test]
fn two_runs_of_one_driver_are_told_apart_by_mode_and_seed() {
    let mut again = example::managed();
    again.seed = reports::Hex64(1);
    let text = table(&example::report_of(vec![example::managed(), again, example::naive()]));
    let header = text.lines().nth(1).expect("a header");
    assert!(header.contains("managed (free, 0x5eed00000000002a)"), "{header}");
    assert!(header.contains("managed (free, 0x0000000000000001)"), "{header}");
    assert!(header.contains(" naive "), "{header}");
}

#[test]
fn no_scenario_is_said_in_words() {
    assert_eq!(table(&example::report_of(Vec::new())), "nothing ran\n");
}
