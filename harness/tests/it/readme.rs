//! What the READMEs tell people to type is run by `.ci/run` or by a test.

use std::collections::BTreeSet;

use crate::support::{read, workspace};

/// Commands that `.ci/run` does not run: the file and the test that do what they do.
const TESTED: &[(&str, &str, &str)] = &[
    (
        "cargo run --release -- run smoke",
        "harness/tests/it/smoke.rs",
        "smoke_passes_with_every_seed_and_the_seed_is_in_report_and_history",
    ),
    (
        "cargo run --release -- run scenarios/smoke.toml",
        "harness/tests/it/smoke.rs",
        "a_file_and_a_suite_can_be_named",
    ),
    (
        "cargo run --release -- run --suite ci --seed 0x2a",
        "harness/tests/it/smoke.rs",
        "a_file_and_a_suite_can_be_named",
    ),
    // A minute or two; a test runs it with fewer symbols and windows.
    (
        "cargo run --release -- run alpha158-wf",
        "harness/tests/it/panel.rs",
        "every_panel_is_computed_once_and_found_by_everybody_after_that",
    ),
    (
        "cargo run --release -- check reports/out/latest/histories/demo.managed.jsonl",
        "harness/tests/it/demo.rs",
        "every_recorded_history_can_be_checked_again_with_the_same_verdict",
    ),
    (
        "cargo run --release -- explore",
        "harness/tests/it/lockstep/verbs.rs",
        "explore_prints_its_seed_first_and_reports_what_it_covered",
    ),
    (
        "cargo run --release -- explore lost-update",
        "harness/tests/it/lockstep/verbs.rs",
        "explore_prints_its_seed_first_and_reports_what_it_covered",
    ),
    (
        "cargo run --release -- explore three-by-six",
        "harness/tests/it/lockstep/order.rs",
        "three_by_six_is_complete_on_duckdb_with_at_most_two_preemptions",
    ),
    (
        "cargo run --release -- replay FILE",
        "harness/tests/it/lockstep/verbs.rs",
        "a_failing_schedule_is_kept_and_its_replay_fails_the_same_way",
    ),
    // It takes a second; the same checker against two others, on histories of which it is known what they are.
    ("cargo run --release -p harness --example isolation", "harness/src/isolation/tests.rs", "fn "),
    // A measurement; what it measures is run by these tests.
    (
        "cargo run --release -p harness --example pace",
        "harness/tests/it/lockstep/order.rs",
        "three_by_six_is_complete_on_duckdb_with_at_most_two_preemptions",
    ),
    (
        "cargo run --release -p harness --example r2d2",
        "harness/tests/it/own_driver.rs",
        "the_harness_finds_what_a_pool_of_connections_does_wrong_and_the_manager_does_none_of_it",
    ),
    // Of all calls it takes half a minute.
    (
        "cargo run --release -- crash-map --driver managed",
        "harness/tests/it/crash_map.rs",
        "the_verb_prints_a_table_or_json_and_says_how_much_it_covers",
    ),
    (
        "cargo run --release -- shrink FILE",
        "harness/tests/it/lockstep/shrink.rs",
        "shrink_writes_a_repro_in_its_folder_and_exits_as_a_replay_would",
    ),
    // A few minutes; a test does it with one of its cases.
    (
        "cargo run --release -- shrink --bench",
        "harness/tests/it/lockstep/shrink.rs",
        "of_a_padded_lost_update_nothing_but_the_lost_update_is_left_and_twice_the_same_bytes",
    ),
    (
        "cargo run --release -- status FILE",
        "harness/tests/it/status.rs",
        "a_writer_is_named_with_pid_label_and_time_until_it_has_gone",
    ),
    (
        "cargo run --release -- store verify FILE",
        "harness/tests/it/store.rs",
        "a_sound_store_is_verified_with_0",
    ),
    (
        "cargo run --release -- replay --scenario lost-update --seed 0x7 --schedule 12",
        "harness/tests/it/corpus.rs",
        "run_runs_both_modes_and_replay_runs_a_schedule_of_a_seed",
    ),
    // The same for 200 of them.
    (
        "cargo run --release -- explore --check-determinism 10000 --time 1h",
        "harness/tests/it/corpus.rs",
        "two_hundred_scenarios_at_random_come_out_the_same_twice",
    ),
    (
        "cargo run --release -- list",
        "harness/tests/it/smoke.rs",
        "the_list_names_every_scenario_with_its_suites_and_drivers",
    ),
    (
        "cargo run --release -- schema",
        "harness/tests/it/smoke.rs",
        "the_printed_schema_is_the_checked_in_one",
    ),
    (
        "cargo run --release -p manager --example peer -- write FILE",
        "manager/tests/it/two_processes.rs",
        "a_killed_holder_frees_the_file_and_its_acknowledged_rows_are_there",
    ),
    // Half an hour; that its list is still right is tested each time.
    (
        "cargo run --release -p manager --no-default-features --example mutants",
        "manager/tests/mutants.rs",
        "fn ",
    ),
    // The same storm with 200 kills.
    (
        "cargo run --release -p manager --example kill_storm -- --kills 10000",
        "manager/tests/it/kills.rs",
        "two_hundred_kills_at_random_moments_lose_nothing_and_strand_nobody",
    ),
    // It opens a browser; nothing but that is left out.
];

/// Every command that begins with `cargo`: lines of code blocks, and code within a line.
fn commands(text: &str) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for line in text.lines() {
        let line = line.trim().trim_start_matches("$ ");
        let typed = line.split(" # ").next().unwrap_or(line).trim();
        let inline = line.split('`').skip(1).step_by(2);
        let all = std::iter::once(typed).chain(inline);
        found.extend(all.filter(|command| command.starts_with("cargo ")).map(str::to_owned));
    }
    found
}

#[test]
fn every_command_of_the_readmes_is_run_by_the_gate_or_by_a_test() {
    let gate = read(workspace().join(".ci/run"));
    let run = |command: &str| gate.lines().any(|line| line.ends_with(&format!(" {command}")));
    let mut shown = BTreeSet::new();
    for file in ["README.md", "scenarios/README.md"] {
        shown.extend(commands(&read(workspace().join(file))));
    }
    for both in ["cargo run --release", "cargo test --release"] {
        assert!(shown.contains(both) && run(both), "the set-up in two commands: {shown:?}");
    }
    for command in &shown {
        let tested = TESTED.iter().any(|(known, ..)| known == command);
        assert!(run(command) || tested, "`{command}` is run neither by .ci/run nor by a test");
    }
    for (command, file, test) in TESTED {
        assert!(shown.contains(*command), "no README shows `{command}` any longer");
        assert!(read(workspace().join(file)).contains(test), "{file} has no test `{test}`");
    }
}
