//! Crash maps of short workloads: the same one twice, nothing unexplained, and a planted bug that shows.

use std::path::Path;

use harness::lockstep::crash_map::class::Class;
use harness::lockstep::crash_map::workload::Workload;
use harness::lockstep::crash_map::{self, CrashMap, Driver, Mode, Options, table};

use crate::support::{harness, output};

fn take(driver: Driver, calls: &[usize]) -> CrashMap {
    let program = Path::new(env!("CARGO_BIN_EXE_harness"));
    crash_map::take(&Options { driver, workload: Workload::Short, calls, program }).unwrap()
}

/// The numbers of the calls whose texts begin so.
fn numbers(map: &CrashMap, begins: &str) -> Vec<usize> {
    let calls = (1..).zip(&map.points).filter(|(_, point)| point.call.starts_with(begins));
    calls.map(|(number, _)| number).collect()
}

/// A map of no call, for the texts of all.
fn calls(driver: Driver) -> CrashMap {
    take(driver, &[usize::MAX])
}

fn classes(map: &CrashMap, mode: Mode) -> Vec<&Class> {
    map.pairs().filter(|(_, _, other, _)| *other == mode).map(|(_, _, _, class)| class).collect()
}

#[test]
fn a_map_of_plain_duckdb_is_whole_and_explained_and_the_same_twice() {
    let map = take(Driver::Naive, &[]);
    assert_eq!((map.covered, map.unexplained), (map.total, 0), "{}", table::text(&map));
    assert_eq!(table::text(&take(Driver::Naive, &[])), table::text(&map));
    // DuckDB creates a file in four steps, and whoever dies between them leaves a file that nobody can open.
    let creating = classes(&map, Mode::Kill);
    let creating: Vec<_> = (1..)
        .zip(creating)
        .filter_map(|(number, class)| (*class == Class::UnopenableWhileCreating).then_some(number))
        .collect();
    assert_eq!(creating, [4, 5, 6, 7]);
    // Killed before the sync of a commit, the transaction is there; if the power fails too, it is not.
    let [.., sync] = numbers(&map, "fsync db.duckdb.wal")[..2] else { unreachable!() };
    let point = &map.points[sync - 1].classes;
    assert_eq!(point[&Mode::Kill], Class::InFlightKept);
    assert_eq!(point[&Mode::Ordered], Class::InFlightGone);
    assert_eq!(classes(&map, Mode::Strict).last(), Some(&&Class::ModelLost));
}

#[test]
fn the_manager_s_creation_and_commits_stand_at_their_calls() {
    let map = calls(Driver::Managed);
    assert_eq!(map.covered, 0, "no call has this number");
    let mut chosen = numbers(&map, "fsync");
    chosen.extend(numbers(&map, "write db.duckdb.wal"));
    let map = take(Driver::Managed, &chosen);
    assert_eq!(map.unexplained, 0, "{}", table::text(&map));
    assert!(chosen.len() * 5 <= map.covered && map.covered < map.total);
    let opened = classes(&map, Mode::Kill);
    assert!(!opened.contains(&&Class::UnopenableWhileCreating), "it is there wholly or not at all");
    // The database has its name by now, but the name is not safe; and an error does not say that it is there.
    let named = map.points.iter().find(|point| point.call == "fsync .");
    let classes = &named.expect("the folder is synced").classes;
    let of = |mode| &classes[&mode];
    assert_eq!([of(Mode::Kill), of(Mode::Ordered)], [&Class::InFlightKept; 2]);
    assert_eq!(of(Mode::Strict), &Class::InFlightGone);
    assert_eq!([of(Mode::Eio), of(Mode::Enospc)], [&Class::UnknownKept; 2]);
}

#[test]
fn a_caller_that_acknowledges_before_it_commits_is_caught() {
    let written = numbers(&calls(Driver::Eager), "write db.duckdb.wal");
    let map = take(Driver::Eager, &written[..2]);
    let unexplained =
        |mode| classes(&map, mode).iter().filter(|class| class.name() == "unexplained").count();
    assert_eq!(unexplained(Mode::Kill), 2, "{}", table::text(&map));
    assert_eq!(unexplained(Mode::Torn), 2);
    assert_eq!(unexplained(Mode::Enospc), 2);
}

#[test]
fn the_verb_prints_a_table_or_json_and_says_how_much_it_covers() {
    let arguments = ["crash-map", "--workload", "short", "--call", "13"];
    let shown = output(&mut harness(&arguments));
    let text = String::from_utf8(shown.stdout).unwrap();
    assert_eq!(shown.status.code(), Some(0), "{text}");
    assert!(text.contains("  13  transaction 2  write db.duckdb.wal 185+327"), "{text}");
    assert!(text.contains("covered: 6 of "), "{text}");
    let output = output(&mut harness(&[&arguments[..], &["--json"]].concat()));
    let json: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(json["covered"], 6);
    assert_eq!(json["points"][12]["classes"]["torn"], "in-flight-gone");
}
