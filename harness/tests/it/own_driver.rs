//! A driver of one's own through the public traits: the example that puts r2d2 under the scheduler.

#[path = "../../examples/r2d2.rs"]
mod example;

use harness::lockstep::managed::Managed;

#[test]
fn the_harness_finds_what_a_pool_of_connections_does_wrong_and_the_manager_does_none_of_it() {
    let folder = tempfile::tempdir().unwrap();
    let findings = example::findings(folder.path()).join("\n");
    for found in ["abandoned: durability", "refused: no_false_commit", "replaced: no_lost_update"] {
        assert!(findings.contains(&format!("{found} violated")), "{found} is not in\n{findings}");
    }
    for scenario in [example::REFUSED, example::REPLACED] {
        let explored = example::explored(scenario, &Managed, folder.path());
        assert_eq!(explored.total, Some(explored.schedules), "all of them were run");
        let violated: u64 = explored.checks.values().map(|tally| tally.violated).sum();
        assert_eq!(violated, 0);
    }
}
