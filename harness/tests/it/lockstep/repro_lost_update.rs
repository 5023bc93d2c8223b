//! `lost-update` on `naive`: `no_lost_update` is broken.
//!
//! Written by `harness shrink`.

use harness::lockstep::repro::Repro;

// fails if `in-place: UPDATE counter SET n = n + 1 WHERE id = 1` comes before `replacing: commit`, not if after
// the counter went from 0 to 1, 2 was committed
#[test]
fn lost_update_on_naive_breaks_no_lost_update() {
    let repro = Repro::new(SCENARIO, "naive", CHECK, MOVES).expect("it was written with this text");
    let verdict = repro.verdict().expect("it can be run");
    assert!(verdict.is_failure(), "it does not fail: {:?}", verdict.finding);
}

/// The property, and in which way it is broken.
#[rustfmt::skip]
const CHECK: [&str; 2] = ["no_lost_update", "committed by each adding of it is gone"];

/// Who moves, and what happens to it; what it does then is what the driver makes of it.
#[rustfmt::skip]
const MOVES: &[(&str, &str)] = &[
    ("replacing", "go"), // begin write
    ("replacing", "go"), // SET VARIABLE n = (SELECT n FROM counter WHERE id = 1)
    ("replacing", "go"), // DELETE FROM counter WHERE id = 1
    ("replacing", "go"), // INSERT INTO counter VALUES (1, getvariable('n') + 1)
    ("in-place",  "go"), // begin write
    ("in-place",  "go"), // UPDATE counter SET n = n + 1 WHERE id = 1
    ("in-place",  "go"), // commit
    ("replacing", "go"), // commit
];

#[rustfmt::skip]
const SCENARIO: &str = r#"format = 1
id = "lost-update"
title = "An update in place is lost to one that replaces the row"
suites = [
    "smoke",
    "ci",
    "full",
]
mode = "lockstep"
drivers = ["naive"]

[database]
setup = [
    "CREATE TABLE counter (id INTEGER, n INTEGER)",
    "INSERT INTO counter VALUES (1, 0)",
]

[[actors]]
id = "in-place"
steps = [
    "begin write",
    "UPDATE counter SET n = n + 1 WHERE id = 1",
    "commit",
]

[[actors]]
id = "replacing"
steps = [
    "begin write",
    "SET VARIABLE n = (SELECT n FROM counter WHERE id = 1)",
    "DELETE FROM counter WHERE id = 1",
    "INSERT INTO counter VALUES (1, getvariable('n') + 1)",
    "commit",
]

[counter]
each_commit_adds = 1
query = "SELECT n FROM counter WHERE id = 1"

[expect.naive]
no_lost_update = "violated"
"#;
