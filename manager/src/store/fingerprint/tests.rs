//! Fingerprints are pinned, and no two sequences of calls are taken for each other.

use proptest::prelude::*;

use super::*;

/// One call of the builder.
#[derive(Clone, Debug, PartialEq)]
enum Call {
    F64s(Vec<f64>),
    I64s(Vec<i64>),
    Texts(Vec<String>),
    Bytes(Vec<u8>),
}

fn taken(calls: &[Call]) -> Fingerprint {
    let take = |builder: FingerprintBuilder, call: &Call| match call {
        Call::F64s(numbers) => builder.f64s(numbers),
        Call::I64s(numbers) => builder.i64s(numbers),
        Call::Texts(texts) => builder.texts(texts.iter().map(String::as_str)),
        Call::Bytes(bytes) => builder.bytes(bytes),
    };
    calls.iter().fold(Fingerprint::builder(), take).finish()
}

/// So few values that equal calls are drawn often, and calls with equal bytes too.
fn calls() -> impl Strategy<Value = Vec<Call>> {
    let call = prop_oneof![
        prop::collection::vec((0..2_u8).prop_map(f64::from), 0..3).prop_map(Call::F64s),
        prop::collection::vec(0..2_i64, 0..3).prop_map(Call::I64s),
        prop::collection::vec("a{0,2}", 0..3).prop_map(Call::Texts),
        prop::collection::vec(0..2_u8, 0..3).prop_map(Call::Bytes),
    ];
    prop::collection::vec(call, 0..3)
}

proptest! {
    #[test]
    fn fingerprints_are_equal_exactly_if_the_calls_are(one in calls(), other in calls()) {
        prop_assert_eq!(taken(&one) == taken(&other), one == other);
    }

    #[test]
    fn a_value_that_moves_to_the_next_call_changes_the_fingerprint(
        numbers in prop::collection::vec(any::<i64>(), 1..9), cut in 0..9_usize, other in 0..9_usize,
    ) {
        let (cut, other) = (cut.min(numbers.len()), other.min(numbers.len()));
        let split = |at: usize| taken(&[Call::I64s(numbers[..at].to_vec()), Call::I64s(numbers[at..].to_vec())]);
        prop_assert_eq!(split(cut) == split(other), cut == other);
    }

    #[test]
    fn the_text_of_a_fingerprint_reads_back(bytes: [u8; 32]) {
        let fingerprint = Fingerprint::from_bytes(bytes);
        prop_assert_eq!(fingerprint.to_string().parse(), Ok(fingerprint));
        prop_assert_eq!(fingerprint.as_bytes(), &bytes);
    }
}

#[test]
fn every_nan_is_one_and_both_zeros_are_one() {
    let quiet = f64::from_bits(0xfff8_0000_0000_1234);
    let signalling = f64::from_bits(0x7ff0_0000_0000_0001);
    let of = |numbers: &[f64]| Fingerprint::builder().f64s(numbers).finish();
    assert_eq!(of(&[quiet, -0.0]), of(&[signalling, 0.0]));
    assert_ne!(of(&[f64::NAN]), of(&[f64::INFINITY]));
    assert_ne!(of(&[0.0]), of(&[f64::MIN_POSITIVE]));
}

#[test]
fn columns_longer_than_a_chunk_are_taken_to_their_last_value() {
    let mut numbers = vec![0; 3 * CHUNK + 1];
    let whole = Fingerprint::builder().i64s(&numbers).finish();
    *numbers.last_mut().unwrap() += 1;
    assert_ne!(Fingerprint::builder().i64s(&numbers).finish(), whole);
}

#[test]
fn serialised_it_is_its_digits() {
    let fingerprint = Fingerprint::of("x");
    let text = serde_json::to_string(&fingerprint).unwrap();
    assert_eq!(text, format!("\"{fingerprint}\""));
    assert_eq!(serde_json::from_str::<Fingerprint>(&text).unwrap(), fingerprint);
    assert!(serde_json::from_str::<Fingerprint>("\"00\"").is_err());
}

/// If this fails, every input looks restated. The fingerprints come from an independent implementation: a Python
/// script that follows the table of [`FingerprintBuilder`] with the package `blake3`.
#[test]
fn fingerprints_never_change() {
    let build = Fingerprint::builder;
    let numbers: Vec<i64> = (0..1500).collect();
    for (fingerprint, digits) in [
        (
            Fingerprint::of("abc"),
            "6437b3ac38465133ffb63b75273a8db548c558465d79db03fd359c6cd5bd9d85",
        ),
        (build().finish(), "77dc71695577fd3090a393cb5164eef4879b3ad5f3b87107a1cfc3327d99b092"),
        (
            build().f64s(&[101.5, -0.0, f64::NAN, f64::NEG_INFINITY]).finish(),
            "8c4ceb71cbd2373354602b2151490826cc25c3a53c22e9939a1df52b100d4b28",
        ),
        (
            build().i64s(&[-1, 0, i64::MAX]).finish(),
            "13035baa0256e524224ac6ac75e2d11b2c089126c0d9ee2e491f7b0e62e569e8",
        ),
        (
            build().texts(["IBM", "", "é"]).finish(),
            "b09089666e78eb52d6b5e1d0ae32a28235f68a5a38d81c7c17ee5d997d850256",
        ),
        (
            build().i64s(&[250, 251]).f64s(&[101.5, 99.0]).texts(["x"]).bytes([0, 1]).finish(),
            "cb6efa03e2a31b339471c3dca1881173c8044297c7c2022ff714ad5ad8c760ab",
        ),
        (
            build().i64s(&numbers).finish(),
            "e59503065da32f8f410e1df4d6b8d745298c51c2fa8c2b84b6681a3860744e53",
        ),
    ] {
        assert_eq!(fingerprint.to_string(), digits);
    }
}
