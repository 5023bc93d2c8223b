//! The list of planted bugs does not rot: each can still be planted, and the tests that it names are there.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use list::Mutants;

#[path = "../examples/mutants/list.rs"]
#[allow(dead_code, reason = "the runner prints it, too")]
mod list;

fn folder() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn sources(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let nested = entries.map(|path| if path.is_dir() { sources(&path) } else { vec![path] });
    nested.flatten().filter(|path| path.extension().is_some_and(|end| end == "rs")).collect()
}

#[test]
fn every_bug_of_the_list_can_be_planted() {
    let mutants = Mutants::read(folder());
    assert!(30 <= mutants.mutants.len(), "the list is there");
    let mut names = BTreeSet::new();
    for mutant in &mutants.mutants {
        let source = read(&folder().join("src").join(&mutant.file));
        let planted = mutant.planted(&source).unwrap_or_else(|error| panic!("{error}"));
        assert_ne!(planted, source, "`{}` changes something", mutant.name);
        assert!(mutants.tests.contains_key(&mutant.file), "`{}` is tested", mutant.file);
        assert!(names.insert(&mutant.name), "two bugs are called `{}`", mutant.name);
    }
}

#[test]
fn every_bug_of_the_list_is_caught_by_tests_that_there_are() {
    let text: String = ["src", "tests"]
        .iter()
        .flat_map(|part| sources(&folder().join(part)))
        .map(|path| read(&path))
        .collect();
    for mutant in Mutants::read(folder()).mutants {
        assert!(!mutant.caught_by.is_empty(), "`{}` is caught", mutant.name);
        for test in &mutant.caught_by {
            assert!(text.contains(&format!("fn {test}(")), "`{}`: no test {test}", mutant.name);
        }
    }
}
