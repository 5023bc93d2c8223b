//! The pipeline of the demo: daily prices in, features, a ridge regression, scores.
//!
//! It is honest machine-learning work, kept small: [`load`] reads a file of prices into a table,
//! [`compute`] makes the features of one ticker and one block of sessions by one SQL statement,
//! [`Gram`] sums them up, [`fit`] solves for weights, [`score`] judges them on later sessions.
//! Nothing here knows of leases, phases or the feature store; whoever calls brings a connection.
//!
//! # Words
//!
//! A *session* is a trading day, numbered from 0 over all dates of the table. A *block* is a run of
//! sessions; all blocks have one length and follow each other, so a number names a block. A *label* is
//! what the model forecasts: the log return of the next `label_sessions` sessions.
//!
//! # Scope of determinism
//!
//! * A block is a function of the prices in its own input range (see [`compute`]) and of nothing
//!   else in the table: two processes of one build on one machine compute the same bytes, provided
//!   that DuckDB runs with `threads = 1`, for several threads may sum in another order.
//! * Sums, weights and scores add up in session order, so they are as deterministic as the blocks.
//! * Another machine may differ in the last bit: logarithms come from its C library.
//!
//! # Invariants
//!
//! * A feature at session `s` is made from prices of sessions up to `s`, a label from `s` and
//!   `s + label_sessions`. Prices that were corrected later with hindsight are loaded only for whoever names
//!   them ([`Price::AdjClose`]).
//! * Every row of a [`FeatureBlock`] has all features, finite; a row that lacks one is left out.
//!
//! # Further work
//!
//! A share that is split shows as a fall of its price, in features and labels alike (AAPL in 2000 and
//! 2005, MSFT in 2003); a table of splits with the dates they were announced would mend that.

mod bytes;
mod columns;
mod features;
mod model;
mod prices;

pub use bytes::DecodeError;
pub use columns::Columns;
pub use features::{
    FEATURES, FeatureBlock, FeatureRow, FeaturesError, LOOKBACK, N, VERSION, code, compute,
    compute_range,
};
pub use model::{FitError, Gram, Score, Weights, fit, score};
pub use prices::{Market, Price, PricesError, load, market};
