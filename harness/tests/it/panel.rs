//! A panel: `alpha158-wf`, small enough for a test.

use std::path::PathBuf;

use harness::scenario::{Scenario, Work};
use reports::{Status, StoreFigures};

use crate::support::{Site, read, workspace};

/// Nine blocks of 60 symbols: panels of 4,800 bytes, which go into files.
fn small(site: &Site, computed: u32) -> PathBuf {
    let text = read(workspace().join("scenarios/alpha158-wf.toml"))
        .replace("symbols = 300", "symbols = 60")
        .replace("sessions = 3080", "sessions = 200")
        .replace("train_sessions = 2200", "train_sessions = 100")
        .replace("count = 44", "count = 4")
        .replace("computed_exactly = 24332", &format!("computed_exactly = {computed}"))
        .replace("hit_ratio_min = 0.969", "hit_ratio_min = 0.718");
    site.file("small.toml", text)
}

#[test]
fn every_panel_is_computed_once_and_found_by_everybody_after_that() {
    let site = Site::new();
    let ran = site.run(&[small(&site, 9 * 158)]).exits_with(0);
    for row in ["keys looked up", "computed twice", "computing done / saved", "disk"] {
        assert!(ran.stderr.contains(row), "no `{row}` in {}", ran.stderr);
    }
    let report = &site.report().scenarios[0];
    let StoreFigures { lookups, hits, computed, computed_twice, compared, wrong, .. } =
        report.store.unwrap();
    // In each of 4 windows: 5 blocks to train on, the new one, and the new one again by each of 2 evaluators.
    assert_eq!(lookups, 4 * (5 + 1 + 2) * 158);
    assert_eq!((hits, computed, computed_twice), (lookups - 9 * 158, 9 * 158, 0));
    assert_eq!((compared, wrong), (4 * 2 * 4, 0));
    let figures = report.store.unwrap();
    assert!(9 * 158 * 4_800 < figures.disk_bytes && 0 < figures.saved_ns, "{figures:?}");
    assert!(report.scores.is_empty());
}

#[test]
fn a_count_that_is_off_by_one_fails_the_run() {
    let site = Site::new();
    site.run(&[small(&site, 9 * 158 - 1)])
        .exits_with(1)
        .says(&["computed_exactly: found 1422, exactly 1421 expected"]);
    assert_eq!(site.report().scenarios[0].status, Status::Failed);
}

#[test]
fn the_benchmark_has_the_size_of_qlibs_and_does_not_run_by_itself() {
    let scenario = Scenario::read(&workspace().join("scenarios/alpha158-wf.toml")).unwrap();
    assert_eq!(scenario.suites, ["full"]);
    let Work::Panel(panel) = scenario.work else { panic!("{:?}", scenario.work) };
    let blocks = panel.sessions / scenario.windows.block_sessions;
    assert_eq!((panel.symbols, blocks, scenario.windows.count), (300, 154, 44));
    let computed = scenario.expect[&harness::scenario::Driver::Managed].computed_exactly;
    assert_eq!(computed, Some(u64::from(blocks) * 158));
}
