//! Seeds, and the random numbers that are drawn from them.
//!
//! # Scope of determinism
//!
//! Everything here is a pure function of the seed, equal on every platform and for ever: stored seeds
//! keep their meaning. That is why the generator is ours and not that of a crate whose minor versions
//! may change its values.
//!
//! # Invariants
//!
//! * Every user draws from a stream of its own name, so one user's draws never shift another's.
//! * A seed prints as `0x` and 16 hexadecimal digits, and what it prints is read back as itself.

use std::fmt;
use std::str::FromStr;

/// What fixes the random part of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Seed(pub u64);

/// Why a text is not a [`Seed`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "read the seed `{text}`: expected `0x` and 1 to 16 hexadecimal digits, or a decimal number below 2^64"
)]
pub struct SeedError {
    /// The text.
    pub text: String,
}

impl FromStr for Seed {
    type Err = SeedError;

    /// Reads `0x000000000000002a`, `0x2a` or `42`.
    fn from_str(text: &str) -> Result<Self, SeedError> {
        let (digits, radix) = match text.strip_prefix("0x") {
            Some(digits) => (digits, 16),
            None => (text, 10),
        };
        // `from_str_radix` would let a sign pass, and any number of leading zeros.
        let plain = digits.chars().all(|digit| digit.is_digit(radix));
        let short = radix == 10 || digits.len() <= 16;
        u64::from_str_radix(digits, radix)
            .ok()
            .filter(|_| plain && short)
            .map(Self)
            .ok_or_else(|| SeedError { text: text.to_owned() })
    }
}

impl fmt::Display for Seed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#018x}", self.0)
    }
}

impl Seed {
    /// The stream of that name. Two names give streams that have nothing to do with each other.
    pub fn stream(self, name: &str) -> Prng {
        // The seed is mixed first: otherwise seeds that differ in the bits in which two names differ
        // would give equal streams.
        Prng::new(mix(self.0) ^ fnv1a(name.as_bytes()))
    }
}

/// `SplitMix64`: Steele, Lea and Flood, *Fast Splittable Pseudorandom Number Generators*, OOPSLA 2014.
#[derive(Clone, Debug)]
pub struct Prng {
    state: u64,
}

impl Prng {
    /// A generator that begins at that state, as in the reference implementation.
    pub fn new(state: u64) -> Self {
        Self { state }
    }

    /// The next 64 bits.
    pub fn next_u64(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        mix(self.state)
    }

    /// A number from 0 to `bound - 1`, each equally likely (Lemire, *Fast Random Integer Generation in
    /// an Interval*, 2019).
    ///
    /// # Panics
    ///
    /// If `bound` is 0.
    pub fn below(&mut self, bound: u64) -> u64 {
        assert!(0 < bound, "a number below 0 was asked for");
        // The draws that would make the first results likelier by one are drawn again: fewer than half.
        let surplus = bound.wrapping_neg() % bound;
        loop {
            let product = u128::from(self.next_u64()) * u128::from(bound);
            if surplus <= product as u64 {
                return (product >> 64) as u64;
            }
        }
    }

    /// Puts the items into a random order (Fisher and Yates), each order equally likely.
    pub fn shuffle<T>(&mut self, items: &mut [T]) {
        for last in (1..items.len()).rev() {
            let other = self.below(last as u64 + 1) as usize;
            items.swap(last, other);
        }
    }
}

/// The output function of `SplitMix64`, a bijection of 64 bits.
fn mix(mut bits: u64) -> u64 {
    bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    bits ^ (bits >> 31)
}

/// FNV-1a with 64 bits: a short digest that is equal on every platform.
pub fn fnv1a(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_generator_agrees_with_the_reference_implementation() {
        let mut prng = Prng::new(1_234_567);
        let drawn: Vec<u64> = (0..5).map(|_| prng.next_u64()).collect();
        assert_eq!(
            drawn,
            [
                6_457_827_717_110_365_317,
                3_203_168_211_198_807_973,
                9_817_491_932_198_370_423,
                4_593_380_528_125_082_431,
                16_408_922_859_458_223_821,
            ]
        );
    }

    #[test]
    fn the_digest_agrees_with_the_published_vectors() {
        assert_eq!(fnv1a(b""), 0xcbf2_9ce4_8422_2325);
        assert_eq!(fnv1a(b"a"), 0xaf63_dc4c_8601_ec8c);
        assert_eq!(fnv1a(b"foobar"), 0x8594_4171_f739_67e8);
    }

    #[test]
    fn the_streams_of_seed_42_never_change() {
        let first_two = |name: &str| {
            let mut prng = Seed(42).stream(name);
            (prng.next_u64(), prng.next_u64())
        };
        assert_eq!(first_two("plan"), (0x2bf9_cadd_2dfe_f79a, 0xdc3d_8224_7cbc_19c0));
        assert_eq!(first_two("backoff"), (0x71ad_c7d6_b306_5af2, 0x0187_00f5_2cdc_bf9e));
        assert_eq!(first_two("random/0"), (0xe623_9c56_5b1c_9172, 0x7c79_cc8d_9abc_529b));
        assert_eq!(first_two("pct/0"), (0xe373_c7e2_5d25_2460, 0xd31a_958e_8111_55bc));
    }

    #[test]
    fn a_shuffle_of_seed_42_never_changes() {
        let mut items = [0, 1, 2, 3, 4, 5, 6, 7];
        Seed(42).stream("shuffle").shuffle(&mut items);
        assert_eq!(items, [6, 0, 2, 5, 4, 7, 1, 3]);
    }

    #[test]
    fn every_number_below_the_bound_is_drawn_about_equally_often() {
        let mut prng = Seed(7).stream("dice");
        let mut counts = [0_u32; 6];
        for _ in 0..60_000 {
            counts[prng.below(6) as usize] += 1;
        }
        // Five standard deviations of a fair die are 457 draws.
        assert!(counts.iter().all(|count| count.abs_diff(10_000) < 457));
    }

    #[test]
    fn a_bound_near_the_top_of_the_range_draws_no_number_twice_as_often() {
        // Without second draws every third number would be twice as likely as its neighbours.
        let bound = (1_u64 << 63) + (1 << 62);
        let mut prng = Seed(7).stream("bias");
        let thirds = (0..9_000).filter(|_| prng.below(bound).is_multiple_of(3)).count();
        assert!(thirds.abs_diff(3_000) < 250, "{thirds} of 9000");
    }

    #[test]
    #[should_panic(expected = "a number below 0 was asked for")]
    fn nothing_is_below_zero() {
        Prng::new(0).below(0);
    }

    #[test]
    fn a_bad_seed_is_refused_with_what_was_expected() {
        for text in [
            "",
            "0x",
            "0X2a",
            "2a",
            "-1",
            "+1",
            "0x+1",
            "0x00000000000000001",
            "18446744073709551616",
            " 1",
        ] {
            assert_eq!(
                text.parse::<Seed>().unwrap_err().to_string(),
                format!(
                    "read the seed `{text}`: expected `0x` and 1 to 16 hexadecimal digits, \
                     or a decimal number below 2^64"
                )
            );
        }
    }

    #[test]
    fn a_seed_may_be_short_or_decimal() {
        assert_eq!("0x2a".parse(), Ok(Seed(42)));
        assert_eq!("42".parse(), Ok(Seed(42)));
        assert_eq!("0xFFFFFFFFFFFFFFFF".parse(), Ok(Seed(u64::MAX)));
        assert_eq!(Seed(42).to_string(), "0x000000000000002a");
    }

    proptest! {
        #[test]
        fn a_printed_seed_is_read_back_as_itself(bits in any::<u64>()) {
            let text = Seed(bits).to_string();
            prop_assert_eq!(text.len(), 18);
            prop_assert_eq!(text.parse(), Ok(Seed(bits)));
        }

        #[test]
        fn a_draw_stays_below_its_bound(state in any::<u64>(), bound in 1..=u64::MAX) {
            prop_assert!(Prng::new(state).below(bound) < bound);
        }

        #[test]
        fn a_shuffle_keeps_every_item(state in any::<u64>(), count in 0..40_usize) {
            let mut items: Vec<usize> = (0..count).collect();
            Prng::new(state).shuffle(&mut items);
            items.sort_unstable();
            prop_assert_eq!(items, (0..count).collect::<Vec<_>>());
        }
    }
}
