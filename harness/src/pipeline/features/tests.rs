mod textbook;

use std::thread;

use manager::duckdb::Connection;
use proptest::array::uniform32;
use proptest::prelude::*;

use super::super::prices::tests::{demo_database, demo_file, empty_database};
use super::{
    DecodeError, FEATURES, FeatureBlock, FeatureRow, FeaturesError, LOOKBACK, N, STATEMENT,
    compute, compute_range,
};
use crate::pipeline::{Price, load};
use textbook::bars;

const BLOCK: u32 = 21;
const LABEL: u32 = 5;

/// Block 30 of AAPL, which spans sessions 630 to 650.
fn block_30(connection: &Connection) -> FeatureBlock {
    compute(connection, "AAPL", 30, BLOCK, LABEL).unwrap()
}

fn change(connection: &Connection, sql: &str) {
    let changed = connection.execute(sql, []).unwrap();
    assert!(changed > 0, "`{sql}` changes nothing");
}

const SHAKEN: &str = "SET open = open * 1.5, high = high * 1.75, low = low * 1.25, \
                      close = close * 1.5, volume = volume * 3";

#[test]
fn features_are_named_in_the_order_of_the_columns() {
    let connection = demo_database();
    let mut statement = connection.prepare(STATEMENT).unwrap();
    statement.execute(manager::duckdb::params!["AAPL", 0, 90, 63, 83, 5, 63]).unwrap();
    assert_eq!(statement.column_names()[2..], FEATURES);
    assert_eq!(statement.column_names()[..2], ["session", "label"]);
}

#[test]
fn blocks_cover_every_session_with_a_full_look_back() {
    let connection = demo_database();
    let blocks: Vec<FeatureBlock> = (0..=3_270 / BLOCK)
        .map(|block| compute(&connection, "AAPL", block, BLOCK, LABEL).unwrap())
        .collect();
    let sessions: Vec<u32> =
        blocks.iter().flat_map(|block| block.rows.iter().map(|row| row.session)).collect();
    assert_eq!(sessions, (LOOKBACK..3_270).collect::<Vec<_>>());
    for (number, block) in blocks.iter().enumerate() {
        assert_eq!(block.first_session, number as u32 * BLOCK);
    }
}

#[test]
fn later_prices_change_no_earlier_feature() {
    let whole = block_30(&demo_database());
    assert_eq!(whole.rows.len(), BLOCK as usize);
    for seen in [0, 1, 7, 20] {
        let last = whole.rows[seen].session;
        for change_future in [
            format!("UPDATE price {SHAKEN} WHERE session > {last}"),
            format!("DELETE FROM price WHERE session > {last}"),
        ] {
            let connection = demo_database();
            change(&connection, &change_future);
            let now = block_30(&connection);
            for (before, after) in whole.rows.iter().zip(&now.rows).take(seen + 1) {
                assert_eq!(before.session, after.session);
                assert_eq!(
                    before.features.map(f64::to_bits),
                    after.features.map(f64::to_bits),
                    "session {}, {change_future}",
                    before.session
                );
            }
            assert!(seen < now.rows.len());
        }
    }
}

#[test]
fn every_feature_sees_its_own_session() {
    let connection = demo_database();
    let before = block_30(&connection);
    change(
        &connection,
        "UPDATE price SET open = open * 1.01, high = high * 1.08, low = low * 0.97, \
         close = close * 1.05, volume = volume * 3 WHERE ticker = 'AAPL' AND session = 640",
    );
    let after = block_30(&connection);
    for (name, (old, new)) in
        FEATURES.iter().zip(before.rows[10].features.iter().zip(after.rows[10].features))
    {
        assert!((old - new).abs() > 0.0, "{name}");
    }
    assert_eq!(before.rows[..5], after.rows[..5]);
}

#[test]
fn a_block_depends_on_its_own_input_range_only() {
    let whole = block_30(&demo_database());
    let connection = demo_database();
    change(
        &connection,
        &format!("UPDATE price {SHAKEN} WHERE ticker <> 'AAPL' OR session < 567 OR session > 655"),
    );
    assert_eq!(block_30(&connection).to_bytes(), whole.to_bytes());

    change(&connection, &format!("UPDATE price {SHAKEN} WHERE session = 567"));
    assert_ne!(block_30(&connection).to_bytes(), whole.to_bytes());

    let alone = empty_database();
    load(&alone, &demo_file(), "2000-03-01", Some(&["AAPL".to_owned()]), Price::Close).unwrap();
    assert_eq!(block_30(&alone).to_bytes(), whole.to_bytes());
}

#[test]
fn two_databases_give_the_same_bits() {
    let all = || {
        let connection = demo_database();
        let blocks = (3..156).step_by(7).flat_map(|number| {
            ["AAPL", "FB", "GOOG"]
                .map(|ticker| compute(&connection, ticker, number, BLOCK, LABEL).unwrap())
        });
        blocks.map(|block| block.to_bytes()).collect::<Vec<_>>()
    };
    let other = thread::spawn(all).join().unwrap();
    assert_eq!(all(), other);
}

#[test]
fn a_ticker_has_no_rows_before_its_look_back_is_full() {
    let connection = demo_database();
    let listed = 3_270 - 196; // FB has 196 sessions, the last of the file among them
    let first = listed + LOOKBACK;
    assert!(compute(&connection, "FB", 0, listed, LABEL).unwrap().rows.is_empty());
    let block = compute(&connection, "FB", first / BLOCK, BLOCK, LABEL).unwrap();
    assert_eq!(block.rows[0].session, first);
    let unknown = compute(&connection, "XYZ", 30, BLOCK, LABEL).unwrap();
    assert!(unknown.rows.is_empty());
}

#[test]
fn a_missing_session_empties_every_window_it_falls_into() {
    let connection = demo_database();
    change(&connection, "DELETE FROM price WHERE ticker = 'AAPL' AND session = 640");
    let sessions = |number| {
        let block = compute(&connection, "AAPL", number, BLOCK, LABEL).unwrap();
        block.rows.iter().map(|row| (row.session, row.label.is_some())).collect::<Vec<_>>()
    };
    // Those of the last five sessions before the gap would lie beyond it.
    let before_the_gap: Vec<_> = (630..640).map(|session| (session, session < 635)).collect();
    assert_eq!(sessions(30), before_the_gap);
    assert_eq!(sessions(32), []);
    assert_eq!(sessions(33), (704..714).map(|session| (session, true)).collect::<Vec<_>>());
}

#[test]
fn a_row_without_a_finite_feature_is_left_out() {
    let connection = demo_database();
    change(&connection, "UPDATE price SET volume = 0 WHERE ticker = 'AAPL' AND session = 649");
    let sessions: Vec<u32> = block_30(&connection).rows.iter().map(|row| row.session).collect();
    assert_eq!(sessions, (630..649).collect::<Vec<_>>());

    let flat = "SET open = 9, high = 9, low = 9, close = 9";
    let doubling = "SET open = 2.0 ** (session::INTEGER - 640), \
                    close = 2.0 ** (session::INTEGER - 640), \
                    high = 2.0 ** (session::INTEGER - 639), \
                    low = 2.0 ** (session::INTEGER - 641)";
    for undefined in [flat, doubling] {
        let connection = demo_database();
        change(&connection, &format!("UPDATE price {undefined} WHERE session BETWEEN 540 AND 680"));
        assert_eq!(block_30(&connection).rows, [], "{undefined}");
    }
}

#[test]
fn a_label_is_the_log_return_of_the_sessions_that_follow() {
    let connection = demo_database();
    let close = bars(&connection).close;
    for label_sessions in [1, 5, 30] {
        let block = compute(&connection, "AAPL", 155, BLOCK, label_sessions).unwrap();
        assert_eq!(block.rows.len(), 15);
        for row in &block.rows {
            let later = close.get((row.session + label_sessions) as usize);
            let expected = later.map(|later| (later / close[row.session as usize]).ln());
            match (row.label, expected) {
                (Some(label), Some(expected)) => assert!((label - expected).abs() < 1e-14),
                (label, expected) => assert_eq!(label, expected),
            }
        }
    }
}

#[test]
fn impossible_blocks_are_refused() {
    let connection = empty_database();
    for (block, length) in [(0, 0), (u32::MAX, 1), (1 << 20, 1 << 12)] {
        let error = compute(&connection, "AAPL", block, length, LABEL).unwrap_err();
        assert!(matches!(error, FeaturesError::NoSuchBlock { .. }), "{error}");
    }
    let error = compute(&connection, "AAPL", 0, BLOCK, 0).unwrap_err();
    assert!(matches!(error, FeaturesError::NoLabel), "{error}");
    let error = compute(&connection, "AAPL", 0, BLOCK, LABEL).unwrap_err();
    let text = error.to_string();
    assert!(text.starts_with("compute features of `AAPL` at sessions 0..21: "), "{text}");
    let error = compute_range(&connection, "AAPL", 5..5, LABEL).unwrap_err();
    assert!(matches!(error, FeaturesError::NoSessions), "{error}");

    let connection = demo_database();
    let beyond = compute(&connection, "AAPL", u32::MAX / BLOCK - 1, BLOCK, u32::MAX).unwrap();
    assert!(beyond.rows.is_empty());
}

#[test]
fn features_are_those_of_the_textbook() {
    let connection = demo_database();
    let bars = bars(&connection);
    for number in [3, 30, 99, 155] {
        let block = compute(&connection, "AAPL", number, BLOCK, LABEL).unwrap();
        assert!(!block.rows.is_empty());
        for row in block.rows {
            let expected = bars.features(row.session as usize);
            for ((name, found), expected) in FEATURES.iter().zip(row.features).zip(expected) {
                assert!(
                    (found - expected).abs() <= 1e-9 * expected.abs().max(1e-3),
                    "{name} at {}: {found}, by the textbook {expected}",
                    row.session
                );
            }
        }
    }
}

fn finite() -> impl Strategy<Value = f64> {
    any::<f64>().prop_filter("finite", |number| number.is_finite())
}

fn blocks() -> impl Strategy<Value = FeatureBlock> {
    let row = (1_u32..9, prop::option::of(finite()), uniform32(finite()));
    (0_u32..1000, prop::collection::vec(row, 0..12)).prop_map(|(first_session, rows)| {
        let mut session = first_session;
        let rows = rows.into_iter().map(|(step, label, features)| {
            session += step;
            FeatureRow { session, label, features }
        });
        FeatureBlock { first_session, rows: rows.collect() }
    })
}

proptest! {
    #[test]
    fn a_block_survives_its_bytes(block in blocks()) {
        let bytes = block.to_bytes();
        let again = FeatureBlock::from_bytes(&bytes).unwrap();
        prop_assert_eq!(&again, &block);
        prop_assert_eq!(again.to_bytes(), bytes);
    }

    #[test]
    fn a_block_cut_short_is_refused(block in blocks(), cut in any::<prop::sample::Index>()) {
        let bytes = block.to_bytes();
        let cut = cut.index(bytes.len());
        let error = FeatureBlock::from_bytes(&bytes[..cut]).unwrap_err();
        let expected = if cut < 4 {
            DecodeError::Foreign { what: "feature block", found: bytes[..cut].to_vec() }
        } else {
            DecodeError::Truncated { what: "feature block", length: cut }
        };
        prop_assert_eq!(error, expected);
    }

    #[test]
    fn no_bytes_make_the_decoder_panic(tail in prop::collection::vec(any::<u8>(), 0..900)) {
        let head = FeatureBlock { first_session: 0, rows: vec![] }.to_bytes();
        let _ = FeatureBlock::from_bytes(&[&head[..8], &tail].concat());
        let _ = FeatureBlock::from_bytes(&tail);
    }
}

#[test]
fn foreign_bytes_are_refused_by_what_is_wrong_with_them() {
    let row = |session| FeatureRow { session, label: None, features: [0.5; N] };
    let block = FeatureBlock { first_session: 7, rows: vec![row(7), row(8)] };
    let bytes = block.to_bytes();
    let with = |offset: usize, patch: &[u8]| {
        let mut bytes = bytes.clone();
        bytes[offset..offset + patch.len()].copy_from_slice(patch);
        FeatureBlock::from_bytes(&bytes).unwrap_err()
    };
    let what = "feature block";
    let second = 16 + 16 + 8 * N;
    assert_eq!(with(0, b"FGgr"), DecodeError::Foreign { what, found: b"FGgr".to_vec() });
    assert_eq!(with(4, &[9, 0]), DecodeError::Version { what, version: 9, features: 32 });
    assert_eq!(with(6, &[9, 0]), DecodeError::Version { what, version: 1, features: 9 });
    assert!(matches!(with(12, &[9]), DecodeError::Truncated { .. }));
    assert_eq!(with(12, &[1]), DecodeError::Trailing { what, extra: 16 + 8 * N });
    assert_eq!(with(16, &[6]), DecodeError::Row { what, row: 0 });
    assert_eq!(with(16, &[0xff; 4]), DecodeError::Row { what, row: 1 });
    assert_eq!(with(second, &[7]), DecodeError::Row { what, row: 1 });
    assert_eq!(with(second + 4, &[2]), DecodeError::Row { what, row: 1 });
    assert_eq!(with(second + 16, &f64::NAN.to_le_bytes()), DecodeError::Row { what, row: 1 });
}
