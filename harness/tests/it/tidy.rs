//! The rules of the architecture that a compiler does not know, each as a search through the sources.
//!
//! A rule names every file that may break it. When such a file stops doing so it has to leave the list, or the
//! rule would rot.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use harness::scenario::Work;
use harness::suite;

use crate::support::{read, workspace};

const LINES_MAX: usize = 500;

/// A line of a source file, without its comment.
struct Line {
    /// Relative to the workspace.
    file: String,
    number: usize,
    code: String,
    is_test: bool,
}

/// Every file below a folder of the workspace whose name ends so; of a module its own file too.
fn files(folder: &str, end: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![workspace().join(folder)];
    while let Some(next) = folders.pop() {
        for entry in fs::read_dir(&next).unwrap_or_else(|error| panic!("{folder}: {error}")) {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.to_str().unwrap().ends_with(end) {
                found.push(path);
            }
        }
    }
    found.extend(Some(workspace().join(format!("{folder}{end}"))).filter(|file| file.is_file()));
    found.sort();
    assert!(!found.is_empty(), "no file {end} in {folder}");
    found
}

fn name(file: &Path) -> String {
    file.strip_prefix(workspace()).unwrap().to_str().unwrap().to_owned()
}

fn lines(folder: &str) -> Vec<Line> {
    let mut lines = Vec::new();
    for file in files(folder, ".rs") {
        let name = name(&file);
        let is_test_file = ["/tests.rs", "/tests/", "/fixture.rs", "/simulation.rs"]
            .iter()
            .any(|part| name.contains(part));
        let text = read(&file);
        // A module of tests stands last in its file.
        let begins = ["", "pub(super) ", "pub(crate) "]
            .map(|public| text.find(&format!("#[cfg(test)]\n{public}mod tests {{")));
        let tests_begin = begins.into_iter().flatten().min().unwrap_or(text.len());
        let code_lines = text[..tests_begin].lines().count();
        for (index, line) in text.lines().enumerate() {
            let comment = line.find("// ").filter(|at| !line[..*at].contains('"'));
            let is_comment = line.trim_start().starts_with("//");
            let code = if is_comment { "" } else { &line[..comment.unwrap_or(line.len())] };
            lines.push(Line {
                file: name.clone(),
                number: index + 1,
                code: code.to_owned(),
                is_test: is_test_file || code_lines <= index,
            });
        }
    }
    lines
}

/// Whether a line has that text, and not as the end of a longer name.
fn has(code: &str, text: &str) -> bool {
    code.match_indices(text).any(|(at, _)| {
        let before = code[..at].chars().next_back();
        !before.is_some_and(|letter| letter.is_alphanumeric() || letter == '_')
    })
}

/// Below a folder only these files have one of these texts outside of tests; everybody else does something
/// `instead`.
#[track_caller]
fn only(allowed: &[&str], folder: &str, texts: &[&str], instead: &str) {
    let lines = lines(folder);
    let naming =
        lines.iter().filter(|line| !line.is_test && texts.iter().any(|text| has(&line.code, text)));
    let mut seen = BTreeSet::new();
    for Line { file, number, code, .. } in naming {
        let code = code.trim();
        assert!(allowed.contains(&file.as_str()), "{file}:{number}: `{code}`: {instead}");
        seen.insert(file.as_str());
    }
    let allowed: BTreeSet<_> = allowed.iter().copied().collect();
    assert_eq!(seen, allowed, "files that no longer have {texts:?} leave the list of this rule");
}

#[test]
fn duckdb_is_named_by_those_parts_of_the_manager_that_hand_its_types_on() {
    only(
        &[
            "manager/src/asynchronous.rs",
            "manager/src/attachment.rs",
            "manager/src/create.rs",
            "manager/src/database.rs",
            "manager/src/engine.rs",
            "manager/src/error.rs",
            "manager/src/lease.rs",
            "manager/src/lib.rs",
            "manager/src/manager.rs",
            "manager/src/store/artefact.rs",
            "manager/src/store/feature_store.rs",
            "manager/src/store/manifest.rs",
            "manager/src/store/publish.rs",
            "manager/src/store/rows.rs",
            "manager/src/store/schema.rs",
            "manager/src/transaction.rs",
        ],
        "manager/src",
        &["duckdb::", "use duckdb", "pub use duckdb"],
        "ask `engine` for it: the gate, the registry and the retries know no DuckDB",
    );
}

#[test]
fn a_database_is_opened_in_one_place_of_the_manager() {
    only(
        &["manager/src/engine.rs"],
        "manager/src",
        &["Connection::open", "InnerConnection"],
        "take a lease, or a connection of `engine::Host`: a second instance of a file loses commits",
    );
}

#[test]
fn no_other_file_of_the_manager_opens_files() {
    only(
        &[
            "manager/src/create.rs",    // the temporary file and its folder, to sync them
            "manager/src/gate/file.rs", // the gate file
            "manager/src/quarantine.rs", // the evidence
            // The database itself, to ask who has it locked, and only while nothing of this process has.
            "manager/src/seam/database_lock.rs",
            "manager/src/seam/process.rs",     // /proc
            "manager/src/seam/shared_page.rs", // the gate file, through /proc
            // The files of artefacts in the folder beside a database, and what is left and noted there.
            "manager/src/store/export.rs",
            "manager/src/store/failed.rs",
            "manager/src/store/files.rs",
            "manager/src/store/files/put.rs",
            "manager/src/store/files/temp.rs",
            "manager/src/store/locks.rs",
            "manager/src/store/spool.rs",
            "manager/src/store/stats.rs",
        ],
        "manager/src",
        &[
            "File::open",
            "File::create",
            "File::options",
            "OpenOptions",
            "fs::read(",
            "fs::copy",
            "fs::read_to_string",
            "fs::write",
        ],
        "a database file is for DuckDB alone: closing any other descriptor of it drops DuckDB's lock",
    );
}

#[test]
fn clocks_and_sleeps_of_the_manager_come_through_the_seam() {
    only(
        &["manager/src/seam/clock.rs"],
        "manager/src",
        &["Instant::now", "SystemTime::now", "thread::sleep", "SystemTime", "elapsed()"],
        "use `seam::clock`, which a test can put its own time into",
    );
}

#[test]
fn random_numbers_of_the_manager_come_through_the_seam() {
    only(
        &["manager/src/seam/jitter.rs"],
        "manager/src",
        &["rand::", "use rand"],
        "use `seam::jitter`, which a test can fix",
    );
}

/// loom replaces what the gate waits on, and it does so in the seam. Other locks of the manager are held for a
/// moment only, and nobody waits under them.
#[test]
fn whoever_waits_in_the_manager_waits_through_the_seam() {
    let instead = "use `seam::sync`, which loom can replace";
    only(&[], "manager/src/gate", &["parking_lot::", "std::sync::atomic"], instead);
    only(
        &["manager/src/seam/lockstep/sync.rs", "manager/src/seam/sync.rs"],
        "manager/src",
        &["parking_lot::Condvar", "parking_lot::{Condvar", "try_lock_until", "std::sync::Condvar"],
        instead,
    );
    only(
        // For keepers, and for what interrupts the statement of a transaction whose future was dropped.
        &["manager/src/seam/free.rs", "manager/src/seam/lockstep.rs"],
        "manager/src",
        &["std::sync::Mutex", "std::sync::RwLock", "thread::spawn", "thread::Builder", "mpsc::"],
        "use `seam::sync` and `seam::lockstep`; the manager has no other threads",
    );
}

#[test]
fn the_random_numbers_of_the_harness_are_its_own() {
    only(
        &[],
        "harness/src",
        &["rand::", "use rand"],
        "draw from `seed`: another generator would change what every stored seed means",
    );
}

#[test]
fn no_connection_is_cloned_to_escape_its_lease() {
    only(&[], "manager/src/store", &["try_clone("], "take another lease");
}

#[test]
fn checks_name_the_history_and_nothing_else() {
    only(
        &[],
        "harness/src/check",
        &[
            "manager::",
            "duckdb::",
            "Instant",
            "SystemTime",
            "std::fs",
            "std::env",
            "std::process",
            "std::thread",
            "rand::",
            "crate::driver",
            "crate::judge",
            "crate::pipeline",
            "crate::plan",
            "crate::probe",
            "crate::run",
            "crate::scenario",
            "crate::session",
            "crate::tally",
        ],
        "a check is a pure function of the history, so that no bug can hide in its own judge",
    );
    only(
        &[],
        "harness/src/lockstep/check",
        &[
            "manager::",
            "duckdb::",
            "Instant",
            "SystemTime",
            "std::",
            "lockstep::managed",
            "lockstep::naive",
        ],
        "a check is a pure function of the script and the log",
    );
    for folder in ["harness/src/isolation", "harness/src/linearizable"] {
        let others = [
            "manager::",
            "duckdb::",
            "Instant",
            "SystemTime",
            "std::fs",
            "std::env",
            "rand::",
            "crate::",
        ];
        only(&[], folder, &others, "it knows no database, log or clock");
    }
}

/// A library that defined `open` or `write` would take them away from every program that it is linked to.
#[test]
fn only_the_binary_of_the_harness_defines_functions_of_the_c_library() {
    let instead = "expand `export_io_symbols` in the main.rs of a binary";
    let names = ["no_mangle", "export_name"];
    only(&[], "manager/src", &names, instead);
    only(&[], "reports/src", &names, instead);
    only(&["harness/src/lockstep/io/symbols.rs"], "harness/src", &names, instead);
    // The second is where the macro is, which names itself.
    let expanding = ["harness/src/lockstep/io/symbols.rs", "harness/src/main.rs"];
    only(&expanding, "harness/src", &["export_io_symbols!"], instead);
}

#[test]
fn libraries_print_nothing() {
    for folder in ["manager/src", "reports/src"] {
        let instead = "return it, or trace it: standard output belongs to the program";
        only(&[], folder, &["println!", "print!", "eprintln!", "eprint!"], instead);
    }
    only(
        &["harness/src/run/worker.rs"],
        "harness/src",
        &["println!", "print!", "eprintln!", "eprint!"],
        "return it to `cli`, which knows what the user asked to see; there, `tell!` or `data!`",
    );
}

/// The tables of the design say which test fails without what; a name that no test has proves nothing.
#[test]
fn every_test_that_the_design_of_the_manager_names_is_there() {
    let sources: String = files("manager", ".rs").iter().map(read).collect();
    let design = read(workspace().join("manager/DESIGN.md"));
    let named: BTreeSet<&str> = design.split('`').skip(1).step_by(2).collect();
    let tests = named.iter().filter(|name| name.contains("::") && name.matches('_').count() >= 3);
    let mut count = 0;
    for name in tests {
        let test = name.rsplit("::").next().unwrap_or(name);
        assert!(sources.contains(&format!("fn {test}(")), "manager/DESIGN.md names `{name}`");
        count += 1;
    }
    assert!(count >= 40, "only {count} tests are named");
}

#[test]
fn nobody_unwraps_outside_of_tests() {
    for folder in ["manager/src", "harness/src", "reports/src"] {
        let lines = lines(folder);
        for Line { file, number, code, .. } in lines.iter().filter(|line| !line.is_test) {
            let unwraps = code.contains(".unwrap()") || code.contains(".expect(\"\")");
            assert!(!unwraps, "{file}:{number}: say why it cannot fail: `expect(\"…\")`");
        }
    }
}

#[test]
fn nothing_is_left_to_be_done_later() {
    // In two parts, or this file would not pass its own search.
    let unfinished = [
        concat!("to", "do!("),
        concat!("unimple", "mented!("),
        concat!("#[ig", "nore"),
        concat!("db", "g!("),
        concat!("FIX", "ME"),
        concat!("XX", "X"),
    ];
    for member in ["manager", "harness", "reports", "benches"] {
        for file in files(member, ".rs") {
            for (index, line) in read(&file).lines().enumerate() {
                let found = unfinished.iter().find(|word| line.contains(**word));
                let place = format!("{}:{}", name(&file), index + 1);
                assert_eq!(found, None, "{place}: what is not built yet is absent, not faked");
            }
        }
    }
}

#[test]
fn no_source_file_is_longer_than_500_lines() {
    for member in ["manager", "harness", "reports", "benches"] {
        for file in files(member, ".rs") {
            let count = read(&file).lines().count();
            assert!(count <= LINES_MAX, "{} has {count} lines; part it", name(&file));
        }
    }
}

/// Which tables of a manifest name dependencies: those of its targets too.
fn dependencies(manifest: &toml::Table) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    for (key, value) in manifest {
        let Some(table) = value.as_table() else { continue };
        if key.ends_with("dependencies") {
            names.extend(table.keys().cloned());
        } else {
            names.extend(dependencies(table));
        }
    }
    names
}

#[test]
fn the_manager_and_the_reports_name_no_other_member() {
    let members = ["manager", "harness", "reports", "benches"];
    let dependencies_of = |member: &str| {
        let manifest = read(workspace().join(member).join("Cargo.toml"));
        dependencies(&manifest.parse::<toml::Table>().unwrap())
    };
    for member in ["manager", "reports"] {
        let own = dependencies_of(member);
        assert!(own.contains("serde"), "{member} has dependencies: {own:?}");
        // Itself it may name: so its tests have the features that are off for users.
        let others = members.into_iter().filter(|other| *other != member);
        let named = others.into_iter().find(|other| own.contains(*other));
        assert_eq!(named, None, "{member} stands alone");
    }
    assert!(dependencies_of("harness").contains("manager"), "the search finds what is there");
}

#[test]
fn every_version_stands_in_the_root_manifest() {
    for member in ["manager", "harness", "reports", "benches"] {
        let path = workspace().join(member).join("Cargo.toml");
        for line in read(&path).lines().filter(|line| line.contains("version = \"")) {
            // The one build dependency that the workspace's table cannot hold, see there.
            let known = member == "manager" && line.starts_with("syn = ");
            assert!(known, "{}: `{line}`: write `workspace = true`", name(&path));
        }
    }
}

#[test]
fn every_scenario_reads_and_is_listed_in_the_readme_of_scenarios() {
    let folder = workspace().join("scenarios");
    let free = suite::all(&folder).unwrap_or_else(|error| panic!("{error}"));
    let scripts = suite::scripts(&folder).unwrap_or_else(|error| panic!("{error}"));
    for scenario in &free {
        if let Work::Pipeline { data, .. } = &scenario.work {
            assert!(
                data.prices.is_file(),
                "{}: there is no {}",
                scenario.id,
                data.prices.display()
            );
        }
    }
    let scripts = scripts.into_iter().map(|script| (script.id, script.suites));
    let free = free.into_iter().map(|scenario| (scenario.id, scenario.suites));
    let scenarios: BTreeMap<String, Vec<String>> = free.chain(scripts).collect();
    let files = files("scenarios", ".toml");
    assert_eq!(scenarios.len(), files.len(), "two scenarios have one id: {scenarios:?}");
    let readme = read(folder.join("README.md"));
    for file in &files {
        let file = file.strip_prefix(&folder).unwrap();
        // A file is named like the scenario in it.
        let id = file.file_stem().unwrap().to_str().unwrap();
        let suites = scenarios.get(id).unwrap_or_else(|| panic!("{id}: the file has another id"));
        let row = format!("| `{}` | {} |", file.display(), suites.join(", "));
        assert!(readme.contains(&row), "scenarios/README.md lacks a row `{row}`");
    }
}
