//! A ridge regression in closed form, from sums that can be stored and added up.
//!
//! [`Gram`] holds all that a linear regression needs to know of its rows, whatever their number. One
//! is made per ticker and training range; [`fit`] pools them. A range that was summed up before need
//! not be read again.

use std::ops::Range;

use nalgebra::{Cholesky, DMatrix, DVector, Dyn};

use super::bytes::{DecodeError, Kind, put};
use super::features::{FeatureBlock, FeatureRow, N};

/// The upper triangle of an `N` × `N` matrix, row by row.
const TRIANGLE: usize = N * (N + 1) / 2;

/// Less than this part of a sum is what rounding leaves of 0: a feature whose variance is so small
/// beside its mean square is constant, and one that others explain but for so little depends on them.
const ROUNDING: f64 = 1e-10;

/// Sums over rows with a label: their number, and the sums of features x, label y and all their
/// products.
#[derive(Clone, Debug, PartialEq)]
pub struct Gram {
    count: u64,
    y: f64,
    yy: f64,
    x: [f64; N],
    xy: [f64; N],
    xx: [f64; TRIANGLE],
}

/// A fitted model: the forecast is `intercept` plus the features times `slopes`.
#[derive(Clone, Debug, PartialEq)]
pub struct Weights {
    /// The forecast where all features are 0.
    pub intercept: f64,
    /// One for each feature, in its own unit.
    pub slopes: [f64; N],
}

/// How well forecasts met labels. Sums, so that scores of several ranges can be added.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Score {
    /// Sessions scored.
    pub sessions: u32,
    /// Sum of squared errors.
    pub squared_error: f64,
    /// Sum of squared labels: the squared error of forecasting 0.
    pub squared_label: f64,
    /// Sessions whose forecast had the sign of the label. A label of 0 has none.
    pub sign_hits: u32,
}

/// Why there are no weights.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum FitError {
    /// Fewer rows than unknowns.
    #[error(
        "fit the model: {rows} rows with a label for {N} features, it takes at least {}; lengthen \
         the training range or add tickers",
        N + 1
    )]
    TooFewRows {
        /// What there is.
        rows: u64,
    },
    /// The penalty is not one.
    #[error("fit the model: the ridge is {ridge}; make it a finite number of at least 0")]
    Ridge {
        /// As given.
        ridge: f64,
    },
    /// Sums or weights overflow.
    #[error(
        "fit the model: its {what} are not finite; look for absurd prices in the training range"
    )]
    NotFinite {
        /// What is not.
        what: &'static str,
    },
    /// Features depend on each other.
    #[error("fit the model: the features depend on each other and the ridge is {ridge}; raise it")]
    Singular {
        /// As given.
        ridge: f64,
    },
}

impl Gram {
    /// The sums over no row.
    pub fn empty() -> Self {
        Self { count: 0, y: 0.0, yy: 0.0, x: [0.0; N], xy: [0.0; N], xx: [0.0; TRIANGLE] }
    }

    /// The sums over the rows of `blocks` with a label and a session in `train`, added up in session
    /// order, so that equal rows give equal bits however the blocks are ordered.
    pub fn of(blocks: &[FeatureBlock], train: Range<u32>) -> Self {
        let mut gram = Self::empty();
        for (row, label) in labelled(blocks, train) {
            gram.add(&row.features, label);
        }
        gram
    }

    /// The sums over the rows of all `parts`, added up in their order.
    pub fn merge(parts: &[Self]) -> Self {
        let mut whole = Self::empty();
        for part in parts {
            whole.count = whole.count.saturating_add(part.count); // counts may come from stored bytes
            for (sum, term) in whole.sums_mut().zip(part.sums()) {
                *sum += term;
            }
        }
        whole
    }

    /// How many rows were summed up.
    pub fn count(&self) -> u64 {
        self.count
    }

    fn add(&mut self, features: &[f64; N], label: f64) {
        self.count += 1;
        self.y += label;
        self.yy += label * label;
        for ((x, xy), feature) in self.x.iter_mut().zip(&mut self.xy).zip(features) {
            *x += feature;
            *xy += feature * label;
        }
        let products =
            (0..N).flat_map(|i| features[i..].iter().map(move |right| features[i] * right));
        for (xx, product) in self.xx.iter_mut().zip(products) {
            *xx += product;
        }
    }

    fn sums(&self) -> impl Iterator<Item = &f64> {
        let scalars = [&self.y, &self.yy].into_iter();
        scalars.chain(&self.x).chain(&self.xy).chain(&self.xx)
    }

    fn sums_mut(&mut self) -> impl Iterator<Item = &mut f64> {
        let scalars = [&mut self.y, &mut self.yy].into_iter();
        scalars.chain(&mut self.x).chain(&mut self.xy).chain(&mut self.xx)
    }
}

const GRAM: Kind = Kind { what: "gram", magic: *b"FGgr" };

impl Gram {
    /// The sums as bytes, equal for equal sums. All numbers are little-endian.
    ///
    /// | offset | type | what |
    /// |---|---|---|
    /// | 0 | 4 bytes | `FGgr` |
    /// | 4 | `u16` | [`VERSION`](super::VERSION) |
    /// | 6 | `u16` | [`N`] |
    /// | 8 | `u64` | number of rows |
    /// | 16 | `f64` | Σ y |
    /// | 24 | `f64` | Σ y² |
    /// | 32 | `N` × `f64` | Σ x |
    /// | 32 + 8 `N` | `N` × `f64` | Σ x y |
    /// | 32 + 16 `N` | `N` (`N` + 1) / 2 × `f64` | Σ x x', the upper triangle row by row |
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut message = GRAM.begin(8 * (3 + 2 * N + TRIANGLE));
        message.extend(self.count.to_le_bytes());
        put(&mut message, self.sums());
        message
    }

    /// The sums that [`Gram::to_bytes`] wrote.
    ///
    /// # Errors
    ///
    /// A [`DecodeError`] if the bytes are not exactly one [`Gram`] of this version.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, DecodeError> {
        let mut reader = GRAM.open(bytes)?;
        let gram = Self {
            count: reader.u64()?,
            y: reader.f64()?,
            yy: reader.f64()?,
            x: reader.f64s()?,
            xy: reader.f64s()?,
            xx: reader.f64s()?,
        };
        reader.end()?;
        Ok(gram)
    }
}

impl Weights {
    /// The forecast for one row.
    pub fn predict(&self, features: &[f64; N]) -> f64 {
        let terms = self.slopes.iter().zip(features);
        terms.fold(self.intercept, |sum, (slope, feature)| sum + slope * feature)
    }
}

/// Fits weights to the rows of all `grams`, pooled in their order.
///
/// Features are standardised by their pooled mean and standard deviation. The weights minimise the
/// squared error, summed over rows, plus `ridge` times the sum of the squared standardised weights;
/// the intercept is not penalised. A feature that is constant gets the weight 0.
///
/// # Errors
///
/// * [`FitError::Ridge`] if `ridge` is negative or not finite.
/// * [`FitError::TooFewRows`] if there are not more rows than features.
/// * [`FitError::Singular`] if `ridge` is too small to keep features apart that depend on each other.
/// * [`FitError::NotFinite`] if the sums or the weights overflow.
pub fn fit(grams: &[Gram], ridge: f64) -> Result<Weights, FitError> {
    if !(ridge.is_finite() && ridge >= 0.0) {
        return Err(FitError::Ridge { ridge });
    }
    let pooled = Gram::merge(grams);
    if pooled.count <= N as u64 {
        return Err(FitError::TooFewRows { rows: pooled.count });
    }
    if !pooled.sums().all(|sum| sum.is_finite()) {
        return Err(FitError::NotFinite { what: "sums" });
    }
    let standard = Standard::of(&pooled);
    let (matrix, target) = standard.equations(&pooled, ridge);
    let solver = Cholesky::new(matrix)
        .filter(|solver| smallest_pivot(solver) > ROUNDING * pooled.count as f64)
        .ok_or(FitError::Singular { ridge })?;
    let weights = standard.weights(&solver.solve(&target));
    let finite = weights.intercept.is_finite() && weights.slopes.iter().all(|w| w.is_finite());
    if finite { Ok(weights) } else { Err(FitError::NotFinite { what: "weights" }) }
}

/// The least sum of squares that a standardised feature has left beside those before it.
fn smallest_pivot(solver: &Cholesky<f64, Dyn>) -> f64 {
    solver.l_dirty().diagonal().min().powi(2)
}

/// What standardises features: their means, and one over their standard deviations, 0 where a feature
/// is constant, so that it vanishes from the equations.
struct Standard {
    label_mean: f64,
    means: DVector<f64>,
    inverse_deviations: DVector<f64>,
}

impl Standard {
    fn of(gram: &Gram) -> Self {
        let rows = gram.count as f64;
        let means = DVector::from_iterator(N, gram.x.iter().map(|sum| sum / rows));
        let squares = upper_triangle().zip(&gram.xx);
        let squares = squares.filter(|((i, j), _)| i == j).map(|(_, sum)| sum / rows);
        let inverse_deviations = means.iter().zip(squares).map(|(mean, square)| {
            let variance = square - mean * mean;
            if variance > ROUNDING * square { variance.sqrt().recip() } else { 0.0 }
        });
        Self {
            label_mean: gram.y / rows,
            inverse_deviations: DVector::from_iterator(N, inverse_deviations),
            means,
        }
    }

    /// `Z'Z + ridge` and `Z'(y - mean)`, for `Z` the standardised features. A constant feature has a
    /// 1 on the diagonal and nothing else, so that its weight is 0.
    fn equations(&self, gram: &Gram, ridge: f64) -> (DMatrix<f64>, DVector<f64>) {
        let rows = gram.count as f64;
        let mut matrix = DMatrix::zeros(N, N);
        for ((i, j), sum) in upper_triangle().zip(&gram.xx) {
            let centred = sum - rows * self.means[i] * self.means[j];
            let value = centred * self.inverse_deviations[i] * self.inverse_deviations[j];
            matrix[(i, j)] = value;
            matrix[(j, i)] = value;
        }
        for (i, inverse) in self.inverse_deviations.iter().enumerate() {
            matrix[(i, i)] += ridge + f64::from(*inverse == 0.0);
        }
        let sums = DVector::from_column_slice(&gram.xy);
        let centred = sums - &self.means * (rows * self.label_mean);
        (matrix, centred.component_mul(&self.inverse_deviations))
    }

    /// Weights of the features as they come, from weights of the standardised ones.
    fn weights(&self, standardised: &DVector<f64>) -> Weights {
        let slopes = standardised.component_mul(&self.inverse_deviations);
        Weights {
            intercept: self.label_mean - slopes.dot(&self.means),
            slopes: std::array::from_fn(|i| slopes[i]),
        }
    }
}

/// Row and column of every cell of a packed upper triangle.
fn upper_triangle() -> impl Iterator<Item = (usize, usize)> {
    (0..N).flat_map(|i| (i..N).map(move |j| (i, j)))
}

/// Scores `weights` on the rows of `blocks` with a label and a session in `range`, in session order.
pub fn score(weights: &Weights, blocks: &[FeatureBlock], range: Range<u32>) -> Score {
    let mut score = Score::default();
    for (row, label) in labelled(blocks, range) {
        let forecast = weights.predict(&row.features);
        score.sessions += 1;
        score.squared_error += (forecast - label).powi(2);
        score.squared_label += label * label;
        score.sign_hits += u32::from(forecast * label > 0.0);
    }
    score
}

fn labelled(blocks: &[FeatureBlock], range: Range<u32>) -> Vec<(&FeatureRow, f64)> {
    let rows = blocks.iter().flat_map(|block| &block.rows);
    let mut rows: Vec<_> = rows
        .filter(move |row| range.contains(&row.session))
        .filter_map(|row| Some((row, row.label?)))
        .collect();
    rows.sort_by_key(|(row, _)| row.session);
    rows
}

#[cfg(test)]
mod tests;
