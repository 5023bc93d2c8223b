//! Keys are pinned, and no two specs are taken for each other.

use proptest::prelude::*;

use super::*;
use crate::store::{Input, Params};

fn params(text: &str) -> Params {
    Params::try_from(text).unwrap()
}

fn column(name: &str, values: &str) -> Input {
    Input::column(name, Fingerprint::of(values))
}

fn spec() -> FeatureSpec {
    FeatureSpec::new("rsi", 1)
        .params(params("{\"days\":14}"))
        .code(Fingerprint::of("code"))
        .entity("IBM")
        .range(0..21)
        .input(column("Close", "prices v1"))
}

/// If this fails, every store on disk has lost its keys. The keys come from an independent implementation: a Python
/// script that follows the table of [`Key`] with the package `blake3`.
#[test]
fn the_key_of_a_spec_never_changes() {
    let label = FeatureSpec::new("return_5d", 3)
        .entities(["MSFT", "IBM"])
        .range(100..350)
        .calendar(Fingerprint::of("days"))
        .lookahead(5);
    let scaled = FeatureSpec::new("größe", u32::MAX)
        .params(params("{\"days\":[1,2],\"alpha\":0.94}"))
        .code(Fingerprint::of("c"))
        .entities(["é", "z", "Z"])
        .range(100..121)
        .calendar(Fingerprint::of("d"))
        .fit(1..350)
        .input(column("Volume", "v"))
        .input(column("AdjClose", "a"))
        .input(column("Close", "c"));
    for (spec, key) in [
        (FeatureSpec::new("rsi", 1), "a261d8cbec9a957e1099f0d3c8fe6871"),
        (spec(), "328fe8a0705b76d9703d2e936cfd5a2f"),
        (label, "72d5f26536b341bfbe783de926a6f2c0"),
        (scaled, "20ccec9b123ca4c565b91c7fd0004773"),
    ] {
        assert_eq!(spec.key().to_string(), key, "{spec:?}");
    }
}

/// The first is the one that was pinned while these keys were in use; a store of that time, which the tests of the
/// store open, was written with the others.
#[test]
fn the_keys_of_stores_of_schema_version_1_never_change() {
    let old = |params, entity, inputs| Key::v1("rsi", 1, params, entity, 0..21, inputs).to_string();
    assert_eq!(old("{}", "IBM", b"p1"), "c67a8347dbcded80254719690738e943");
    for (entity, key) in [
        ("AAPL", "67b94aa4167fa5d39d0a5c48ec5d3b68"),
        ("IBM", "4298c33bbbd5d5691533f0c84905ca10"),
        ("FB", "3916ee3bda96e06fa0b259d2cdaab5a8"),
    ] {
        assert_eq!(old("{\"days\":14}", entity, b"prices v1"), key, "{entity}");
    }
}

#[test]
fn every_field_is_part_of_the_key() {
    // Each differs from one of the bare ones, or from the last one, in one field.
    let others = [
        FeatureSpec::new("rsi", 1).params(params("{\"days\":14}")),
        FeatureSpec::new("rsi", 1).code(Fingerprint::of("code")),
        FeatureSpec::new("rsj", 1).params(params("{\"days\":14}")),
        FeatureSpec::new("rsi", 2).params(params("{\"days\":14}")),
        FeatureSpec::new("rsi", 1).params(params("{\"days\":15}")),
        FeatureSpec::new("rsi", 1),
        spec().code(Fingerprint::of("codf")),
        spec().entity("MSFT"),
        spec().range(0..22),
        spec().range(1..21),
        spec().calendar(Fingerprint::of("days")),
        spec().calendar(Fingerprint::of("dayt")),
        spec().lookahead(1),
        spec().fit(0..0),
        spec().fit(0..21),
        spec().fit(1..21),
        spec().input(column("Close", "prices v2")),
        spec().input(column("Open", "prices v1")),
        spec(),
    ];
    for (at, one) in others.iter().enumerate() {
        for other in &others[..at] {
            assert_ne!(one.key(), other.key(), "{one:?} {other:?}");
        }
    }
}

#[test]
fn the_order_of_entities_and_inputs_is_no_part_of_the_key() {
    let (open, volume) = (column("Open", "o"), column("Volume", "v"));
    let one = spec().entities(["MSFT", "AAPL"]).input(open.clone()).input(volume.clone());
    let other = spec().entities(["AAPL", "IBM", "MSFT"]).input(volume).input(open);
    assert_eq!(one.key(), other.key());
}

#[test]
fn what_an_input_is_known_through_and_the_former_key_are_no_part_of_the_key() {
    let known = spec().input(column("Close", "prices v1").known_through(900));
    assert_eq!(known.key(), spec().key());
    assert_eq!(spec().formerly(Key::from_bytes([1; 16])).key(), spec().key());
}

#[test]
fn serialised_it_is_its_digits() {
    let key = spec().key();
    let text = serde_json::to_string(&key).unwrap();
    assert_eq!(text, format!("\"{key}\""));
    assert_eq!(serde_json::from_str::<Key>(&text).unwrap(), key);
    assert!(serde_json::from_str::<Key>("\"00\"").is_err());
}

fn encoded(spec: &FeatureSpec) -> Vec<u8> {
    let mut bytes = Vec::new();
    spec.encode(&mut |piece| bytes.extend_from_slice(piece));
    bytes
}

/// Two values for each thing, so that two specs are often equal in all but one.
fn specs() -> impl Strategy<Value = FeatureSpec> {
    let hash = || prop::option::of((0..2_u8).prop_map(|byte| Fingerprint::from_bytes([byte; 32])));
    let range = || (0..2_u32, 0..2_u32).prop_map(|(begin, end)| begin..end);
    let sets =
        (prop::collection::vec("a{0,2}", 0..3), prop::collection::vec(("a{0,2}", hash()), 0..3));
    let numbers = (0..2_u32, range(), 0..2_u32, prop::option::of(range()));
    let texts = ("a{0,2}", prop_oneof![Just("{}"), Just("{\"a\":0}")]);
    (texts, numbers, sets, hash(), hash()).prop_map(|(texts, numbers, sets, code, calendar)| {
        let (version, range, lookahead, fit) = numbers;
        let spec = FeatureSpec::new(texts.0, version).params(params(texts.1)).range(range);
        let spec = spec.lookahead(lookahead).entities(sets.0);
        let spec = code.into_iter().fold(spec, FeatureSpec::code);
        let spec = calendar.into_iter().fold(spec, FeatureSpec::calendar);
        let spec = fit.into_iter().fold(spec, FeatureSpec::fit);
        let hashed = sets.1.into_iter().filter_map(|(name, hash)| Some(Input::column(name, hash?)));
        hashed.fold(spec, FeatureSpec::input)
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn two_different_specs_never_share_the_bytes_that_are_hashed(one in specs(), other in specs()) {
        prop_assert_eq!(encoded(&one) == encoded(&other), one == other);
    }

    /// Stronger than sharing none: so nothing that ever follows the last field can make two specs meet.
    #[test]
    fn the_bytes_of_no_spec_begin_those_of_another(one in specs(), other in specs()) {
        prop_assert_eq!(encoded(&one).starts_with(&encoded(&other)), one == other);
    }

    #[test]
    fn moving_a_letter_from_one_field_to_the_next_changes_the_key(
        letters in "[a-z]{2,12}", cut in 0..12_usize, other in 0..12_usize,
    ) {
        let (cut, other) = (cut.min(letters.len()), other.min(letters.len()));
        let fields: [fn(&str, &str) -> FeatureSpec; 4] = [
            |one, other| FeatureSpec::new(one, 1).params(params(&format!("{{\"{other}\":1}}"))),
            |one, other| FeatureSpec::new(one, 1).entity(other),
            |one, other| FeatureSpec::new("f", 1).entities([format!("a{one}"), format!("b{other}")]),
            |one, other| FeatureSpec::new("f", 1).entity(one).input(column(other, "")),
        ];
        for field in fields {
            let key = |at: usize| field(&letters[..at], &letters[at..]).key();
            prop_assert_eq!(key(cut) == key(other), cut == other);
        }
    }

    #[test]
    fn the_text_of_a_key_reads_back(bytes: [u8; 16]) {
        let key = Key::from_bytes(bytes);
        prop_assert_eq!(key.to_string().parse(), Ok(key));
        prop_assert_eq!(key.to_string().to_uppercase().parse(), Ok(key));
        prop_assert_eq!(key.as_bytes(), &bytes);
    }
}
