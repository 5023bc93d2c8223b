//! Features of one ticker and one block of sessions, by DuckDB's window functions.
//!
//! [`compute`] runs one SQL statement. Its windows end at the current row, so a feature knows no
//! later session; their frames are counted in rows and ordered by session, so the order of summing is
//! fixed. Where a formula would divide by zero the SQL makes the divisor NULL (`nullif`), and a row
//! that has a feature NULL, NaN or infinite is left out.
//!
//! # The features
//!
//! A number at the end of a name is how many sessions the feature looks at, today included.
//!
//! * `return_*`: log return of the close. `volatility_*`: standard deviation of daily log returns.
//!   `skewness_21`, `autocorrelation_21` (with the day before): of the same returns.
//! * `mean_gap_*`: the close relative to its moving average. `bollinger_20`: %b, the place within two
//!   standard deviations around it (Bollinger, *Bollinger on Bollinger Bands*, 2001).
//! * `rsi_14`: the relative strength index of Wilder (*New Concepts in Technical Trading Systems*,
//!   1978) between 0 and 1, with simple averages, which is Cutler's variant. Wilder's own smoothing
//!   remembers all the past, so that its value would depend on where the input begins.
//! * `range_*`: log of high over low. `range_volatility_21`: the volatility that follows from it
//!   (Parkinson, *Journal of Business* 53, 1980). `true_range_14`: Wilder's average true range, also
//!   with a simple average, relative to the close.
//! * `channel_*`: the place of the close between the lowest low and the highest high, 0 to 1.
//!   `below_high_63`: log of the close over the highest high.
//! * `gap_1`: log of the open over the close before.
//! * `volume_ratio_*`: volume over its moving average. `volume_change_1`: its log change, and
//!   `volume_volatility_21` the standard deviation of that. `volume_correlation_21`: of returns with
//!   volume changes.
//! * `trend_21`, `trend_fit_21`: slope and R² of a line through the logs of the close.

use std::ops::Range;

use manager::duckdb::{self, Connection, Row, params};

use super::bytes::{DecodeError, Kind, put};

/// How many features a row has.
pub const N: usize = 32;

/// The version of the features and of their bytes. Raise it with every change of the SQL, so that no
/// stored block is taken for a new one.
pub const VERSION: u16 = 1;

/// How many sessions before the first one of a block its features look back.
pub const LOOKBACK: u32 = 63;

/// The names of the features, in the order of [`FeatureRow::features`].
pub const FEATURES: [&str; N] = [
    "return_1",
    "return_5",
    "return_10",
    "return_21",
    "return_63",
    "volatility_5",
    "volatility_10",
    "volatility_21",
    "volatility_63",
    "skewness_21",
    "autocorrelation_21",
    "mean_gap_5",
    "mean_gap_10",
    "mean_gap_21",
    "mean_gap_63",
    "bollinger_20",
    "rsi_14",
    "range_1",
    "range_5",
    "range_volatility_21",
    "true_range_14",
    "channel_21",
    "channel_63",
    "below_high_63",
    "gap_1",
    "volume_ratio_5",
    "volume_ratio_21",
    "volume_change_1",
    "volume_volatility_21",
    "volume_correlation_21",
    "trend_21",
    "trend_fit_21",
];

/// `$1` ticker, `$2..=$3` sessions to read, `$4..=$5` sessions of the block, `$6` sessions of a label,
/// `$7` [`LOOKBACK`]. The last condition leaves out rows whose windows are not full, be it for a late
/// listing or for a missing session.
const STATEMENT: &str = r"
WITH scope AS (
    SELECT session, open, high, low, close, nullif(volume, 0) AS volume,
        lag(close) OVER past AS previous,
        lag(close, 2) OVER past AS before,
        lag(nullif(volume, 0)) OVER past AS previous_volume
    FROM price
    WHERE ticker = $1 AND session BETWEEN $2 AND $3
    WINDOW past AS (ORDER BY session)
), daily AS (
    SELECT *,
        ln(close / previous) AS step,
        ln(previous / before) AS previous_step,
        ln(volume / previous_volume) AS volume_step,
        ln(high / low) AS span,
        greatest(high, previous) - least(low, previous) AS true_range,
        greatest(close - previous, 0) AS gain,
        abs(close - previous) AS move
    FROM scope
)
SELECT session,
    CASE WHEN lead(session, $6) OVER past = session + $6
        THEN ln(lead(close, $6) OVER past / close) END AS label,
    step AS return_1,
    ln(close / lag(close, 5) OVER past) AS return_5,
    ln(close / lag(close, 10) OVER past) AS return_10,
    ln(close / lag(close, 21) OVER past) AS return_21,
    ln(close / lag(close, 63) OVER past) AS return_63,
    stddev_samp(step) OVER last_5 AS volatility_5,
    stddev_samp(step) OVER last_10 AS volatility_10,
    stddev_samp(step) OVER last_21 AS volatility_21,
    stddev_samp(step) OVER last_63 AS volatility_63,
    skewness(step) OVER last_21 AS skewness_21,
    corr(step, previous_step) OVER last_21 AS autocorrelation_21,
    close / avg(close) OVER last_5 - 1 AS mean_gap_5,
    close / avg(close) OVER last_10 - 1 AS mean_gap_10,
    close / avg(close) OVER last_21 - 1 AS mean_gap_21,
    close / avg(close) OVER last_63 - 1 AS mean_gap_63,
    (close - avg(close) OVER last_20) / nullif(4 * stddev_pop(close) OVER last_20, 0) + 0.5
        AS bollinger_20,
    avg(gain) OVER last_14 / nullif(avg(move) OVER last_14, 0) AS rsi_14,
    span AS range_1,
    ln(max(high) OVER last_5 / min(low) OVER last_5) AS range_5,
    sqrt(avg(span * span) OVER last_21 / (4 * ln(2))) AS range_volatility_21,
    avg(true_range) OVER last_14 / close AS true_range_14,
    (close - min(low) OVER last_21)
        / nullif(max(high) OVER last_21 - min(low) OVER last_21, 0) AS channel_21,
    (close - min(low) OVER last_63)
        / nullif(max(high) OVER last_63 - min(low) OVER last_63, 0) AS channel_63,
    ln(close / max(high) OVER last_63) AS below_high_63,
    ln(open / previous) AS gap_1,
    volume / avg(volume) OVER last_5 AS volume_ratio_5,
    volume / avg(volume) OVER last_21 AS volume_ratio_21,
    volume_step AS volume_change_1,
    stddev_samp(volume_step) OVER last_21 AS volume_volatility_21,
    corr(step, volume_step) OVER last_21 AS volume_correlation_21,
    regr_slope(ln(close), session) OVER last_21 AS trend_21,
    regr_r2(ln(close), session) OVER last_21 AS trend_fit_21
FROM daily
WINDOW past AS (ORDER BY session),
    last_5 AS (past ROWS BETWEEN 4 PRECEDING AND CURRENT ROW),
    last_10 AS (past ROWS BETWEEN 9 PRECEDING AND CURRENT ROW),
    last_14 AS (past ROWS BETWEEN 13 PRECEDING AND CURRENT ROW),
    last_20 AS (past ROWS BETWEEN 19 PRECEDING AND CURRENT ROW),
    last_21 AS (past ROWS BETWEEN 20 PRECEDING AND CURRENT ROW),
    last_63 AS (past ROWS BETWEEN 62 PRECEDING AND CURRENT ROW)
QUALIFY session BETWEEN $4 AND $5 AND lag(session, $7) OVER past + $7 = session
ORDER BY session";

/// The features of one ticker at one session.
#[derive(Clone, Debug, PartialEq)]
pub struct FeatureRow {
    /// Number of the session.
    pub session: u32,
    /// Log return from this session to the one `label_sessions` later, unless that is not known.
    pub label: Option<f64>,
    /// In the order of [`FEATURES`], all finite.
    pub features: [f64; N],
}

/// The features of one ticker in one block: the rows that exist, by session.
#[derive(Clone, Debug, PartialEq)]
pub struct FeatureBlock {
    /// The first session of the block, whether it has a row or not.
    pub first_session: u32,
    /// Ascending by session. Empty before a ticker was listed.
    pub rows: Vec<FeatureRow>,
}

/// Why a block could not be computed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FeaturesError {
    /// The block has no number or no length.
    #[error(
        "compute features: no block {block} of {block_sessions} sessions; a block has at least 1 \
         session, and its sessions have numbers below 2^32"
    )]
    NoSuchBlock {
        /// As asked for.
        block: u32,
        /// As asked for.
        block_sessions: u32,
    },
    /// Nothing is asked for.
    #[error("compute features: of no session at all; ask for at least 1")]
    NoSessions,
    /// A label that looks nowhere.
    #[error("compute features: a label over 0 sessions is always 0; look at least 1 session ahead")]
    NoLabel,
    /// DuckDB failed.
    #[error(
        "compute features of `{ticker}` at sessions {sessions:?}: {source}; is the table `price` loaded?"
    )]
    Database {
        /// As asked for.
        ticker: String,
        /// As asked for.
        sessions: Range<u32>,
        /// What DuckDB says.
        source: duckdb::Error,
    },
}

/// The text that features are computed by: whatever changes them changes it, or raises [`VERSION`].
pub fn code() -> &'static str {
    STATEMENT
}

/// Computes block `block` of `ticker`, where a block is `block_sessions` long, as [`compute_range`] does.
///
/// # Errors
///
/// * [`FeaturesError::NoSuchBlock`] if `block_sessions` is 0 or the block ends beyond 2³² sessions.
/// * Those of [`compute_range`].
pub fn compute(
    connection: &Connection,
    ticker: &str,
    block: u32,
    block_sessions: u32,
    label_sessions: u32,
) -> Result<FeatureBlock, FeaturesError> {
    let end = block.checked_add(1).and_then(|next| next.checked_mul(block_sessions));
    let (Some(end), 1..) = (end, block_sessions) else {
        return Err(FeaturesError::NoSuchBlock { block, block_sessions });
    };
    compute_range(connection, ticker, end - block_sessions..end, label_sessions)
}

/// Computes the features of `ticker` at some sessions, where a label looks `label_sessions` ahead.
///
/// It reads the sessions from [`LOOKBACK`] before them to `label_sessions` after them, and the
/// result depends on nothing else: not on other tickers, not on earlier or later sessions. The caller
/// sets `threads = 1`, for with several DuckDB may sum in another order.
///
/// A ticker without a full look-back at a session has no row there. A ticker that the table does not
/// have has no rows at all: a block of nothing is an answer.
///
/// # Errors
///
/// * [`FeaturesError::NoSessions`] if there are none.
/// * [`FeaturesError::NoLabel`] if `label_sessions` is 0.
/// * [`FeaturesError::Database`] if the table `price` cannot be read.
pub fn compute_range(
    connection: &Connection,
    ticker: &str,
    sessions: Range<u32>,
    label_sessions: u32,
) -> Result<FeatureBlock, FeaturesError> {
    if sessions.is_empty() {
        return Err(FeaturesError::NoSessions);
    }
    if label_sessions == 0 {
        return Err(FeaturesError::NoLabel);
    }
    let (first, last) = (sessions.start, sessions.end - 1);
    let rows = query(connection, ticker, first, last, label_sessions).map_err(|source| {
        FeaturesError::Database { ticker: ticker.to_owned(), sessions, source }
    })?;
    Ok(FeatureBlock { first_session: first, rows })
}

fn query(
    connection: &Connection,
    ticker: &str,
    first: u32,
    last: u32,
    label_sessions: u32,
) -> duckdb::Result<Vec<FeatureRow>> {
    let (read_first, read_last) =
        (first.saturating_sub(LOOKBACK), u64::from(last) + u64::from(label_sessions));
    let (label_sessions, lookback) = (i64::from(label_sessions), i64::from(LOOKBACK));
    connection
        .prepare(STATEMENT)?
        .query_map(
            params![ticker, read_first, read_last, first, last, label_sessions, lookback],
            feature_row,
        )?
        .filter_map(Result::transpose)
        .collect()
}

/// The row, unless one of its features is not a finite number.
fn feature_row(row: &Row<'_>) -> duckdb::Result<Option<FeatureRow>> {
    let mut features = [0.0; N];
    for (index, feature) in features.iter_mut().enumerate() {
        match row.get::<_, Option<f64>>(index + 2)? {
            Some(value) if value.is_finite() => *feature = value,
            _ => return Ok(None),
        }
    }
    Ok(Some(FeatureRow { session: row.get(0)?, label: row.get(1)?, features }))
}

const BLOCK: Kind = Kind { what: "feature block", magic: *b"FGfb" };

impl FeatureBlock {
    /// The block as bytes, equal for equal blocks. All numbers are little-endian.
    ///
    /// | offset | type | what |
    /// |---|---|---|
    /// | 0 | 4 bytes | `FGfb` |
    /// | 4 | `u16` | [`VERSION`] |
    /// | 6 | `u16` | [`N`] |
    /// | 8 | `u32` | first session |
    /// | 12 | `u32` | number of rows |
    ///
    /// and for each row, 16 + 8 × `N` bytes long:
    ///
    /// | offset | type | what |
    /// |---|---|---|
    /// | 0 | `u32` | session |
    /// | 4 | `u32` | 1 with a label, 0 without |
    /// | 8 | `f64` | label, or 0 |
    /// | 16 | `N` × `f64` | features |
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut message = BLOCK.begin(8 + self.rows.len() * (16 + 8 * N));
        message.extend(self.first_session.to_le_bytes());
        message.extend((self.rows.len() as u32).to_le_bytes());
        for row in &self.rows {
            message.extend(row.session.to_le_bytes());
            message.extend(u32::from(row.label.is_some()).to_le_bytes());
            put(&mut message, &[row.label.unwrap_or(0.0)]);
            put(&mut message, &row.features);
        }
        message
    }

    /// The block that [`FeatureBlock::to_bytes`] wrote.
    ///
    /// # Errors
    ///
    /// A [`DecodeError`] if the bytes are not exactly one block of this version.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, DecodeError> {
        let mut reader = BLOCK.open(bytes)?;
        let (first_session, count) = (reader.u32()?, reader.u32()?);
        let mut rows: Vec<FeatureRow> = Vec::new();
        for number in 0..count {
            let (session, labelled, label) = (reader.u32()?, reader.u32()?, reader.f64()?);
            let features: [f64; N] = reader.f64s()?;
            let follows = rows.last().is_none_or(|row| row.session < session);
            let finite = label.is_finite() && features.iter().all(|feature| feature.is_finite());
            if session < first_session || !follows || labelled > 1 || !finite {
                return Err(reader.bad_row(number));
            }
            rows.push(FeatureRow { session, label: (labelled == 1).then_some(label), features });
        }
        reader.end()?;
        Ok(Self { first_session, rows })
    }
}

#[cfg(test)]
mod tests;
