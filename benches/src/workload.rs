//! Artefacts, and who asks for which: the same in every run.

use manager::{FeatureSpec, Key};

/// Artefacts in the store.
pub const ARTEFACTS: usize = 10_000;
/// Bytes of one.
pub const PAYLOAD_BYTES: usize = 420;
/// Keys in one batch: the features of one ticker and block.
pub const BATCH: usize = 158;
/// Where all randomness of the benches begins.
pub const SEED: u64 = 0x5eed_0000_0000_002a;

/// One published feature.
pub struct Artefact {
    feature: String,
    entity: String,
    /// Bytes that do not compress.
    pub payload: Vec<u8>,
}

impl Artefact {
    /// What it is of.
    pub fn spec(&self) -> FeatureSpec {
        FeatureSpec::new(&self.feature, 1).entity(&self.entity).range(0..21)
    }

    /// Its key in the store.
    pub fn key(&self) -> Key {
        self.spec().key()
    }
}

/// All [`ARTEFACTS`].
pub fn artefacts() -> Vec<Artefact> {
    let mut random = Random(SEED);
    let artefact = |number| Artefact {
        feature: format!("feature_{:03}", number % BATCH),
        entity: format!("ticker_{:03}", number / BATCH),
        payload: std::iter::repeat_with(|| random.next().to_le_bytes())
            .flatten()
            .take(PAYLOAD_BYTES)
            .collect(),
    };
    (0..ARTEFACTS).map(artefact).collect()
}

/// Draws from `0..items` without end, where item *k* has the weight 1 / (*k* + 1)^0.99: a few are asked for all the
/// time and most of them seldom.
pub fn zipf(items: usize) -> impl Iterator<Item = usize> {
    let mut total = 0.0;
    let bounds: Vec<f64> = (1..=items)
        .map(|rank| {
            total += (rank as f64).powf(-0.99);
            total
        })
        .collect();
    let mut random = Random(SEED);
    std::iter::repeat_with(move || {
        let drawn = random.unit() * total;
        bounds.partition_point(|&bound| bound <= drawn).min(items - 1)
    })
}

/// [`BATCH`] different items of [`zipf`] in the order in which they are first drawn, `count` times.
pub fn batches(items: usize, count: usize) -> Vec<Vec<usize>> {
    let mut draws = zipf(items);
    let mut batch = || {
        let mut batch = Vec::with_capacity(BATCH);
        while batch.len() < BATCH {
            batch.extend(draws.next().filter(|item| !batch.contains(item)));
        }
        batch
    };
    (0..count).map(|_| batch()).collect()
}

/// `SplitMix64`: enough for a workload, and the same for good.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// Uniform in `0.0..1.0`.
    fn unit(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1_u64 << 53) as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn every_artefact_has_a_key_of_its_own() {
        let artefacts = artefacts();
        let keys: HashSet<Key> = artefacts.iter().map(Artefact::key).collect();
        assert_eq!(keys.len(), ARTEFACTS);
        assert!(artefacts.iter().all(|artefact| artefact.payload.len() == PAYLOAD_BYTES));
    }

    #[test]
    fn the_first_of_ten_thousand_items_is_drawn_about_once_in_ten_times() {
        // The weights of 10,000 items sum up to 10.2.
        let draws = 100_000;
        let first = zipf(ARTEFACTS).take(draws).filter(|&item| item == 0).count();
        assert!((9_000..10_700).contains(&first), "{first} of {draws}");
    }

    #[test]
    fn a_batch_has_no_item_twice() {
        for batch in batches(ARTEFACTS, 20) {
            let different: HashSet<usize> = batch.iter().copied().collect();
            assert_eq!(different.len(), BATCH);
        }
    }
}
