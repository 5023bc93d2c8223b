//! A report of format version 1.0 that every later build must still read.

use std::fs;

use reports::Report;

use crate::example;
use crate::folder::Folder;

const GOLDEN: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/golden/run.json");
const UPDATE: &str = "if a field was added, `UPDATE_GOLDEN=1 cargo test --release -p reports` writes the file anew; \
                      if one was renamed, removed or means something else, that is a new major version";

#[test]
fn the_golden_report_is_what_this_build_writes_and_reads() {
    let folder = Folder::new("golden");
    let written = example::report().write(folder.path()).expect("a writable folder");
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        fs::copy(&written, GOLDEN).expect("the golden file is writable");
    }
    let golden = Report::read(GOLDEN).unwrap_or_else(|error| panic!("{error}; {UPDATE}"));
    assert!(golden == example::report(), "`{GOLDEN}` reads differently; {UPDATE}");
    let is_same_text =
        fs::read(GOLDEN).expect("just read") == fs::read(written).expect("just written");
    assert!(is_same_text, "`{GOLDEN}` is written differently; {UPDATE}");
}
