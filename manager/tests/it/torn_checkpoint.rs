//! A kill can cut off DuckDB's checkpoint inside a block, and the file cannot be opened any more (DuckDB 1.5.5; the story
//! is at the head of `examples/kill_storm/torn.rs`). The storm has met it once in some 33,000 kills; here the
//! same file is put together each time.
//!
//! What holds: the damage is seen, named and left as it is, and every acknowledged row is still in the file.

use std::fs;
use std::ops::Range;
use std::path::Path;

use manager::{Error, ErrorClass};

use crate::peer::Peer;
use crate::support::{Site, count, make_database, manager};
use torn::Torn;

#[path = "../../examples/kill_storm/torn.rs"]
mod torn;

/// The kernel cuts a write off between two of these.
const PAGE_BYTES: usize = 4096;
/// Where DuckDB's block 0 stands, which has the metadata of a small database.
const BLOCK: Range<usize> = 12_288..12_288 + 262_144;

/// A database whose last checkpoint was cut off inside a block, and how many rows were acknowledged.
fn torn_database() -> (Site, i64) {
    let site = Site::empty();
    let (database, log) = (site.database(), site.path("x.db.wal"));
    make_database(&database, 0);
    for round in 1..10 {
        let mut killed = Peer::holding("write", &database);
        killed.insert((round - 1) * 3..round * 3);
        killed.kill();
        let (mut bytes, logged) = (fs::read(&database).unwrap(), fs::read(&log).unwrap());
        drop(manager().write(&database).unwrap()); // replays the log and checkpoints
        let after = fs::read(&database).unwrap();
        let changed: Vec<usize> = BLOCK
            .step_by(PAGE_BYTES)
            .filter(|&at| bytes[at..at + PAGE_BYTES] != after[at..at + PAGE_BYTES])
            .collect();
        // A block of which one page has changed is not torn by any cut.
        if let [first, _, ..] = changed[..] {
            let written = BLOCK.start..first + PAGE_BYTES;
            bytes[written.clone()].copy_from_slice(&after[written]);
            fs::write(&database, bytes).unwrap();
            fs::write(&log, logged).unwrap();
            return (site, round * 3);
        }
    }
    panic!("no checkpoint changed two pages of its metadata");
}

/// The error of everybody who opens it, and the block that it names.
fn refused(database: &Path) -> Torn {
    let manager = manager();
    let [reading, writing] = [
        manager.read(database).map(drop).unwrap_err(),
        manager.write(database).map(drop).unwrap_err(),
    ]
    .map(|error| {
        let text = error.to_string();
        assert!(matches!(error, Error::Quarantined { .. }), "{text}");
        assert_eq!(error.class(), Some(ErrorClass::Corrupt), "{text}");
        assert!(text.contains("restore it from a backup"), "{text}");
        Torn::of(&text).unwrap_or_else(|| panic!("no block is named in: {text}"))
    });
    assert_eq!(reading, writing);
    reading
}

#[test]
fn a_file_that_a_cut_off_checkpoint_has_torn_is_called_corrupt_and_left_alone() {
    let (site, _) = torn_database();
    let before = (fs::read(site.database()).unwrap(), fs::read(site.path("x.db.wal")).unwrap());
    refused(&site.database());
    let after = (fs::read(site.database()).unwrap(), fs::read(site.path("x.db.wal")).unwrap());
    assert!(before == after, "what is left of it is for somebody to mend");
}

#[test]
fn a_torn_file_whose_checksum_is_mended_has_every_acknowledged_row() {
    let (site, rows) = torn_database();
    let torn = refused(&site.database());
    assert!(torn.mend(&site.database()).unwrap(), "it is a block of the metadata");
    assert_eq!(count(&manager().read(site.database()).unwrap()), rows);
    let mut writer = Peer::holding("write", &site.database());
    writer.insert(rows..rows + 1);
    writer.release();
    assert_eq!(count(&manager().read(site.database()).unwrap()), rows + 1);
}

/// A block of rows is rewritten nowhere, so a wrong checksum there is damage of another kind.
#[test]
fn a_block_that_is_none_of_the_metadata_is_not_mended() {
    let site = Site::new();
    let before = fs::read(site.database()).unwrap();
    let text = "Corrupt database file: computed checksum 1 does not match stored checksum 2 in block at location 4096";
    assert!(!Torn::of(text).unwrap().mend(&site.database()).unwrap());
    assert!(fs::read(site.database()).unwrap() == before);
    Torn::tear(&site.database()).unwrap();
    let torn = refused(&site.database());
    assert!(torn.mend(&site.database()).unwrap());
    assert!(fs::read(site.database()).unwrap() == before, "it is as it was");
}
