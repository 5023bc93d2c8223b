//! A synthetic market, drawn from a seed, and 158 features of it, block by block for all symbols: the shape of qlib's
//! Alpha158 on its rolling benchmark.
//!
//! A *panel* is one feature of all symbols in one block of sessions: an `f32` for each, symbol by symbol.
//!
//! # Scope of determinism
//!
//! A market is a pure function of its size and seed, and a panel one of the market, on one machine and build: every
//! process that draws the market computes the same bytes.

mod alpha;

use std::ops::Range;
use std::sync::OnceLock;

use manager::{FeatureSpec, Fingerprint, FingerprintBuilder, Input, Params};

use crate::scenario::Panel;
use crate::seed::{Prng, Seed};

pub use alpha::{FEATURES, Feature};

/// How many sessions before a block its panels are computed from: the longest window, and one for the first return.
pub const LOOKBACK: u32 = 61;

/// Raise it with every change of what a panel is.
const VERSION: u32 = 1;

/// Open, high, low, close, volume.
const COLUMNS: [&str; 5] = ["Open", "High", "Low", "Close", "Volume"];

/// The prices of all symbols.
pub struct Market {
    symbols: usize,
    sessions: usize,
    block_sessions: u32,
    /// Column by column, symbol by symbol, session by session.
    values: [Vec<f64>; 5],
    features: Vec<Feature>,
    /// By block, once somebody has asked.
    specs: Vec<OnceLock<Vec<FeatureSpec>>>,
}

impl Market {
    /// Draws a market: every symbol's price takes a random walk of its own.
    pub fn draw(panel: Panel, block_sessions: u32, seed: Seed) -> Self {
        let (symbols, sessions) = (panel.symbols as usize, panel.sessions as usize);
        let mut values: [Vec<f64>; 5] = Default::default();
        for symbol in 0..symbols {
            let mut prng = seed.stream(&format!("panel/{symbol}"));
            let mut close = 10.0 + 90.0 * unit(&mut prng);
            for _ in 0..sessions {
                let open = close * (1.0 + 0.01 * around_zero(&mut prng));
                close = open * (1.0 + 0.03 * around_zero(&mut prng));
                let high = open.max(close) * (1.0 + 0.01 * unit(&mut prng));
                let low = open.min(close) * (1.0 - 0.01 * unit(&mut prng));
                let volume = (1e5 * (1.0 + 9.0 * unit(&mut prng))).round();
                for (column, value) in values.iter_mut().zip([open, high, low, close, volume]) {
                    column.push(value);
                }
            }
        }
        let blocks = panel.sessions.div_ceil(block_sessions);
        let specs = (0..blocks).map(|_| OnceLock::new()).collect();
        Self { symbols, sessions, block_sessions, values, features: alpha::features(), specs }
    }

    /// What the panels of a block are, in the order of the features.
    pub fn specs(&self, block: u32) -> &[FeatureSpec] {
        self.specs[block as usize].get_or_init(|| self.make_specs(block))
    }

    /// The panel of a feature in a block, as bytes: little-endian.
    pub fn panel(&self, block: u32, feature: usize) -> Vec<u8> {
        let feature = &self.features[feature];
        let range = self.range(block);
        let mut bytes = Vec::with_capacity(4 * self.symbols * range.len());
        for symbol in 0..self.symbols {
            let prices = self
                .values
                .each_ref()
                .map(|column| &column[symbol * self.sessions..(symbol + 1) * self.sessions]);
            for session in range.clone() {
                bytes.extend((feature.at(prices, session as usize) as f32).to_le_bytes());
            }
        }
        bytes
    }

    /// The sessions of a block.
    fn range(&self, block: u32) -> Range<u32> {
        let end = ((block + 1) * self.block_sessions).min(self.sessions as u32);
        block * self.block_sessions..end
    }

    fn make_specs(&self, block: u32) -> Vec<FeatureSpec> {
        let range = self.range(block);
        let read = range.start.saturating_sub(LOOKBACK) as usize..range.end as usize;
        let fingerprint = |column: &Vec<f64>| {
            let of_symbols = column.chunks(self.sessions).map(|values| &values[read.clone()]);
            of_symbols.fold(Fingerprint::builder(), FingerprintBuilder::f64s).finish()
        };
        let fingerprints = self.values.each_ref().map(fingerprint);
        let spec = |feature: &Feature| {
            let window = serde_json::json!({ "window": feature.window() });
            let params = Params::try_from(window).expect("it is an object of a whole number");
            let spec = FeatureSpec::new(feature.name(), VERSION)
                .params(params)
                .code(Fingerprint::of(alpha::SOURCE))
                .entity(format!("synthetic market of {}", self.symbols))
                .range(range.clone());
            let inputs = feature
                .reads()
                .iter()
                .map(|column| Input::column(COLUMNS[*column], fingerprints[*column]));
            inputs.fold(spec, FeatureSpec::input)
        };
        self.features.iter().map(spec).collect()
    }
}

/// From 0 to 1.
fn unit(prng: &mut Prng) -> f64 {
    (prng.next_u64() >> 11) as f64 / (1_u64 << 53) as f64
}

/// From -1 to 1, most often near 0.
fn around_zero(prng: &mut Prng) -> f64 {
    (unit(prng) + unit(prng) + unit(prng)) * 2.0 / 3.0 - 1.0
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn market(seed: u64) -> Market {
        Market::draw(Panel { symbols: 3, sessions: 200 }, 20, Seed(seed))
    }

    #[test]
    fn a_seed_has_one_market_and_another_seed_another() {
        let panels = |seed| {
            let market = market(seed);
            (0..FEATURES).map(|feature| market.panel(7, feature)).collect::<Vec<_>>()
        };
        assert_eq!(panels(1), panels(1));
        assert_ne!(panels(1), panels(2));
        assert!(panels(1).iter().all(|panel| panel.len() == 4 * 3 * 20));
    }

    #[test]
    fn there_are_158_features_and_each_has_keys_and_values_of_its_own() {
        let market = market(1);
        let keys: BTreeSet<_> =
            [5, 6].iter().flat_map(|block| market.specs(*block)).map(FeatureSpec::key).collect();
        assert_eq!(keys.len(), 2 * 158);
        let panels: BTreeSet<_> = (0..FEATURES).map(|feature| market.panel(9, feature)).collect();
        assert_eq!(panels.len(), FEATURES, "no two are the same");
        for panel in panels {
            let finite =
                panel.chunks(4).all(|n| f32::from_le_bytes(n.try_into().unwrap()).is_finite());
            assert!(finite, "a panel has a hole");
        }
    }

    #[test]
    fn a_panel_knows_nothing_but_what_its_spec_names() {
        let (before, mut after) = (market(1), market(1));
        for column in &mut after.values {
            for symbol in 0..3 {
                for session in (0..39).chain(120..200) {
                    column[symbol * 200 + session] *= 3.0;
                }
            }
        }
        // Block 5 is the sessions from 100, which look back to 39.
        for feature in 0..FEATURES {
            assert_eq!(before.panel(5, feature), after.panel(5, feature), "{feature}");
        }
        assert_eq!(before.specs(5), after.specs(5));
        after.values[3][39] *= 2.0;
        after.specs = (0..10).map(|_| OnceLock::new()).collect();
        for (feature, (one, other)) in before.specs(5).iter().zip(after.specs(5)).enumerate() {
            let reads_close = before.features[feature].reads().contains(&3);
            assert_eq!(one.key() != other.key(), reads_close, "{}", one.name());
        }
    }

    #[test]
    fn each_feature_reads_the_columns_that_it_says() {
        let before = market(1);
        for (changed, name) in COLUMNS.iter().enumerate() {
            let mut after = market(1);
            for (index, value) in after.values[changed].iter_mut().enumerate() {
                *value *= 1.0 + (index % 7) as f64 / 50.0;
            }
            for feature in 0..FEATURES {
                let reads = before.features[feature].reads().contains(&changed);
                let is_same = before.panel(5, feature) == after.panel(5, feature);
                assert!(reads || is_same, "{} reads {}", before.features[feature].name(), name);
            }
        }
    }
}
