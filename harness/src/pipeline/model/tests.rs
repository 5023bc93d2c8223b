use nalgebra::{DMatrix, DVector};
use proptest::array::uniform32;
use proptest::prelude::*;

use super::super::features::compute;
use super::super::prices::tests::demo_database;
use super::{FitError, Gram, N, Weights, fit, score};
use crate::pipeline::{DecodeError, FeatureBlock, FeatureRow};

/// Numbers between -1 and 1 that look random and are the same every time.
fn noise(seed: u32) -> impl Iterator<Item = f64> {
    let mut state = u64::from(seed) + 1;
    std::iter::repeat_with(move || {
        state =
            state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as f64 / f64::from(1_u32 << 30) - 1.0
    })
}

/// The size of feature `i`.
fn size(i: usize) -> f64 {
    1.3_f64.powf(i as f64 - 16.0)
}

/// Rows at the sessions from 0, with features of different sizes and offsets.
fn block(rows: u32, seed: u32, label: impl Fn(&[f64; N]) -> f64) -> FeatureBlock {
    let mut noise = noise(seed);
    let rows = (0..rows).map(|session| {
        let features = std::array::from_fn(|i| (noise.next().unwrap() + i as f64) * size(i));
        let label = Some(label(&features));
        FeatureRow { session, label, features }
    });
    FeatureBlock { first_session: 0, rows: rows.collect() }
}

fn planted() -> Weights {
    Weights { intercept: 0.25, slopes: std::array::from_fn(|i| f64::from(i as u32 % 7) - 3.0) }
}

fn assert_close(found: &Weights, expected: &Weights, tolerance: f64) {
    assert!((found.intercept - expected.intercept).abs() <= tolerance, "{found:?}");
    for (found, expected) in found.slopes.iter().zip(expected.slopes) {
        assert!(
            (found - expected).abs() <= tolerance * expected.abs().max(1.0),
            "{found} is not {expected}"
        );
    }
}

#[test]
fn planted_weights_are_recovered_without_a_ridge() {
    let blocks = [block(400, 1, |features| planted().predict(features))];
    let gram = Gram::of(&blocks, 0..400);
    assert_eq!(gram.count(), 400);
    let weights = fit(&[gram], 0.0).unwrap();
    assert_close(&weights, &planted(), 1e-6);
    let score = score(&weights, &blocks, 0..400);
    assert_eq!((score.sessions, score.sign_hits), (400, 400));
    assert!(score.squared_error < 1e-9 * score.squared_label);
}

#[test]
fn a_fit_agrees_with_the_normal_equations() {
    let blocks = [block(200, 2, |features| features[3].sin() + features[9] * features[5])];
    let rows = &blocks[0].rows;
    let ridge = 3.5;
    let found = fit(&[Gram::of(&blocks, 0..200)], ridge).unwrap();

    let x = DMatrix::from_fn(rows.len(), N, |i, j| rows[i].features[j]);
    let y = DVector::from_fn(rows.len(), |i, _| rows[i].label.unwrap());
    let mean = DVector::from_fn(N, |j, _| x.column(j).mean());
    let deviation = DVector::from_fn(N, |j, _| x.column(j).variance().sqrt());
    let z = DMatrix::from_fn(rows.len(), N, |i, j| (x[(i, j)] - mean[j]) / deviation[j]);
    let matrix = z.transpose() * &z + DMatrix::identity(N, N) * ridge;
    let target = z.transpose() * y.add_scalar(-y.mean());
    let slopes = matrix.lu().solve(&target).unwrap().component_div(&deviation);
    let expected = Weights {
        intercept: y.mean() - slopes.dot(&mean),
        slopes: std::array::from_fn(|j| slopes[j]),
    };
    assert_close(&found, &expected, 1e-8);
}

#[test]
fn a_greater_ridge_makes_smaller_weights() {
    let gram = Gram::of(&[block(200, 3, |features| planted().predict(features))], 0..200);
    let sum_of_squares = |ridge| {
        let weights = fit(std::slice::from_ref(&gram), ridge).unwrap();
        let terms = weights.slopes.iter().enumerate();
        terms.map(|(i, slope)| (slope * size(i)).powi(2)).sum::<f64>()
    };
    assert!(sum_of_squares(0.0) > sum_of_squares(10.0));
    assert!(sum_of_squares(10.0) > sum_of_squares(1e3));
    assert!(sum_of_squares(1e12) < 1e-12);
}

#[test]
fn a_constant_feature_gets_no_weight() {
    let constants = [0.0, 0.1, -0.3, 1.0 / 7.0, 1e6 / 7.0, 1e-9 / 7.0, 123.456];
    let mut blocks = [block(200, 4, |features| planted().predict(features))];
    for row in &mut blocks[0].rows {
        row.features[5..12].copy_from_slice(&constants);
    }
    let weights = fit(&[Gram::of(&blocks, 0..200)], 0.0).unwrap();
    assert_eq!(weights.slopes[5..12], [0.0; 7]);
    assert!(weights.slopes[4].abs() > 0.0);
}

#[test]
fn sessions_out_of_range_and_rows_without_a_label_are_ignored() {
    let mut blocks = [block(100, 5, |features| features[0])];
    let inside = FeatureBlock { first_session: 20, rows: blocks[0].rows[20..90].to_vec() };
    assert_eq!(Gram::of(&blocks, 20..90), Gram::of(std::slice::from_ref(&inside), 0..100));
    let all_inside = score(&planted(), &[inside], 0..100);
    assert_eq!(score(&planted(), &blocks, 20..90), all_inside);
    assert_eq!(all_inside.sessions, 70);

    blocks[0].rows[50].label = None;
    assert_eq!(Gram::of(&blocks, 20..90).count(), 69);
    assert_eq!(score(&planted(), &blocks, 20..90).sessions, 69);
    assert_eq!(Gram::of(&blocks, 100..200), Gram::empty());
    assert_eq!(Gram::of(&[], 0..200), Gram::empty());
}

#[test]
fn the_order_of_blocks_does_not_change_a_bit() {
    let whole = block(90, 6, |features| features[0]);
    let mut parts: Vec<FeatureBlock> = whole
        .rows
        .chunks(20)
        .map(|rows| FeatureBlock { first_session: rows[0].session, rows: rows.to_vec() })
        .collect();
    let expected = Gram::of(&[whole], 0..90).to_bytes();
    assert_eq!(Gram::of(&parts, 0..90).to_bytes(), expected);
    parts.reverse();
    assert_eq!(Gram::of(&parts, 0..90).to_bytes(), expected);
}

#[test]
fn a_score_adds_up_errors_labels_and_signs() {
    let rows =
        [(0.5, Some(0.5)), (0.5, Some(-1.0)), (-2.0, Some(-1.0)), (1.0, Some(0.0)), (1.0, None)];
    let rows = rows.iter().zip(0..).map(|(&(forecast, label), session)| {
        let mut features = [0.0; N];
        features[0] = forecast;
        FeatureRow { session, label, features }
    });
    let blocks = [FeatureBlock { first_session: 0, rows: rows.collect() }];
    let mut weights = Weights { intercept: 0.0, slopes: [0.0; N] };
    weights.slopes[0] = 1.0;
    let score = score(&weights, &blocks, 0..9);
    assert_eq!((score.sessions, score.sign_hits), (4, 2));
    assert!((score.squared_error - (2.25 + 1.0 + 1.0)).abs() < 1e-15);
    assert!((score.squared_label - (0.25 + 1.0 + 1.0)).abs() < 1e-15);
}

#[test]
fn a_fit_that_cannot_be_had_says_why() {
    let blocks = [block(200, 7, |features| features[0])];
    let gram = |rows| Gram::of(&blocks, 0..rows);
    let error = fit(&[gram(20), gram(12)], 1.0).unwrap_err();
    assert_eq!(error, FitError::TooFewRows { rows: 32 });
    assert!(error.to_string().contains("at least 33; lengthen the training range or add tickers"));
    assert!(fit(&[gram(33)], 1.0).is_ok());
    assert_eq!(fit(&[], 1.0).unwrap_err(), FitError::TooFewRows { rows: 0 });
    assert!(matches!(fit(&[gram(200)], f64::NAN), Err(FitError::Ridge { .. })));
    for ridge in [-1.0, f64::INFINITY] {
        assert_eq!(fit(&[gram(200)], ridge).unwrap_err(), FitError::Ridge { ridge });
    }

    let mut absurd = blocks.clone();
    absurd[0].rows[0].features[0] = 1e200;
    let error = fit(&[Gram::of(&absurd, 0..200)], 1.0).unwrap_err();
    assert_eq!(error, FitError::NotFinite { what: "sums" });
}

#[test]
fn features_that_depend_on_each_other_need_a_ridge() {
    for dependent in 2..N {
        let mut blocks = [block(200, 9, |features| features[0])];
        for FeatureRow { features, .. } in &mut blocks[0].rows {
            features[dependent] = 0.7 * features[dependent - 1] - 0.3 * features[dependent - 2];
        }
        let gram = Gram::of(&blocks, 0..200);
        let error = fit(std::slice::from_ref(&gram), 0.0).unwrap_err();
        assert_eq!(error, FitError::Singular { ridge: 0.0 });
        assert!(fit(&[gram], 1.0).is_ok());
    }
}

#[test]
fn the_demo_is_fitted_better_than_by_no_forecast() {
    let connection = demo_database();
    let tickers = ["AAPL", "FB", "GOOG", "IBM", "MSFT"];
    let blocks = tickers.map(|ticker| {
        (100..140)
            .map(|number| compute(&connection, ticker, number, 21, 5).unwrap())
            .collect::<Vec<_>>()
    });
    let grams = blocks.each_ref().map(|blocks| Gram::of(blocks, 2_100..2_856));
    assert_eq!(grams.each_ref().map(Gram::count), [756, 0, 756, 756, 756]);
    let weights = fit(&grams, 10.0).unwrap();
    for (ticker, blocks) in tickers.iter().zip(&blocks) {
        let (within, after) =
            (score(&weights, blocks, 2_100..2_856), score(&weights, blocks, 2_862..2_925));
        assert!(within.squared_error <= within.squared_label, "{ticker}: {within:?}");
        assert_eq!(after.sessions, if *ticker == "FB" { 0 } else { 63 });
        assert!(after.squared_error.is_finite());
    }
}

/// Up to 59 labelled rows, in blocks.
fn blocks() -> impl Strategy<Value = Vec<FeatureBlock>> {
    let row = (-1.0..1.0_f64, uniform32(-1.0..1.0_f64));
    let rows = prop::collection::vec(row, 1..60);
    (rows, 1_usize..20).prop_map(|(rows, length)| {
        let rows = rows.into_iter().zip(0..);
        let rows: Vec<FeatureRow> = rows
            .map(|((label, features), session)| FeatureRow {
                session,
                label: Some(label),
                features,
            })
            .collect();
        let parts = rows.chunks(length);
        parts
            .map(|rows| FeatureBlock { first_session: rows[0].session, rows: rows.to_vec() })
            .collect()
    })
}

proptest! {
    #[test]
    fn merged_parts_are_the_whole(blocks in blocks()) {
        let parts = blocks.iter().map(|block| Gram::of(std::slice::from_ref(block), 0..60));
        let parts: Vec<Gram> = parts.collect();
        let (merged, whole) = (Gram::merge(&parts), Gram::of(&blocks, 0..60));
        prop_assert_eq!(merged.count(), whole.count());
        for (merged, whole) in merged.sums().zip(whole.sums()) {
            prop_assert!((merged - whole).abs() < 1e-9);
        }
        prop_assert_eq!(Gram::merge(std::slice::from_ref(&whole)), whole);
    }

    #[test]
    fn sums_survive_their_bytes(blocks in blocks()) {
        let gram = Gram::of(&blocks, 0..60);
        let bytes = gram.to_bytes();
        prop_assert_eq!(Gram::from_bytes(&bytes).unwrap(), gram);
        let error = Gram::from_bytes(&[&bytes[..], &[0]].concat()).unwrap_err();
        prop_assert_eq!(error, DecodeError::Trailing { what: "gram", extra: 1 });
    }

    #[test]
    fn a_fit_beats_the_mean_in_sample(blocks in blocks(), ridge in 0.1..100.0_f64) {
        let gram = Gram::of(&blocks, 0..60);
        prop_assume!(gram.count() > N as u64);
        let mean = Weights { intercept: gram.y / gram.count() as f64, slopes: [0.0; N] };
        let fitted = fit(&[gram], ridge).unwrap();
        let (fitted, mean) = (score(&fitted, &blocks, 0..60), score(&mean, &blocks, 0..60));
        prop_assert!(fitted.squared_error <= mean.squared_error * (1.0 + 1e-9));
    }
}

#[test]
fn sums_cut_short_are_refused() {
    let bytes = Gram::of(&[block(40, 8, |features| features[0])], 0..40).to_bytes();
    for length in 0..bytes.len() {
        let error = Gram::from_bytes(&bytes[..length]).unwrap_err();
        if length < 4 {
            assert!(matches!(error, DecodeError::Foreign { .. }));
        } else {
            assert_eq!(error, DecodeError::Truncated { what: "gram", length });
        }
    }
    let block = FeatureBlock { first_session: 0, rows: vec![] }.to_bytes();
    assert!(matches!(Gram::from_bytes(&block), Err(DecodeError::Foreign { .. })));
}
