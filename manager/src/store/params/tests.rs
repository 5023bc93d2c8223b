//! Parameters have one spelling, and different ones different spellings.

use proptest::prelude::*;

use super::*;

fn text(of: &str) -> String {
    Params::try_from(of).unwrap().as_str().to_owned()
}

/// How a number is spelled.
fn number(of: &str) -> String {
    let text = text(&format!("{{\"n\":{of}}}"));
    text["{\"n\":".len()..text.len() - 1].to_owned()
}

#[test]
fn every_number_has_one_spelling() {
    for (of, spelled) in [
        ("1", "1"),
        ("1.0", "1"),
        ("1e0", "1"),
        ("-0", "0"),
        ("-0.0", "0"),
        ("0e5", "0"),
        ("9.40e-1", "0.94"),
        ("-12.5", "-12.5"),
        ("0.1", "0.1"),
        ("0.30000000000000004", "0.30000000000000004"),
        ("0.000001", "0.000001"),
        ("0.00000015", "1.5e-7"),
        ("-1E-7", "-1e-7"),
        ("9007199254740993", "9007199254740993"),
        ("18446744073709551615", "18446744073709551615"),
        ("-9223372036854775808", "-9223372036854775808"),
        ("1e18", "1000000000000000000"),
        ("18446744073709551616", "18446744073709552000"),
        ("-1e20", "-100000000000000000000"),
        ("1e21", "1e21"),
        ("1.7976931348623157e308", "1.7976931348623157e308"),
        ("5e-324", "5e-324"),
        // These two `serde_json` reads a bit off, unless its feature `float_roundtrip` is on.
        ("-8.5087161457008e19", "-85087161457008000000"),
        ("-7.891620845605279e183", "-7.891620845605279e183"),
    ] {
        assert_eq!(number(of), spelled, "{of}");
        assert_eq!(number(spelled), spelled, "{of}");
    }
}

#[test]
fn members_stand_in_the_order_of_their_bytes_at_every_depth() {
    assert_eq!(
        text(r#" {"b": [ {"z": null, "a": true} ], "é": "\u00e9\n\/", "a": {}, "B": "\"" } "#),
        r#"{"B":"\"","a":{},"b":[{"a":true,"z":null}],"é":"é\n/"}"#
    );
    // UTF-16, in which JavaScript sorts, has these two the other way round.
    assert_eq!(text("{\"\u{10000}\":1,\"\u{ffff}\":2}"), "{\"\u{ffff}\":2,\"\u{10000}\":1}");
}

#[test]
fn a_member_that_is_named_twice_counts_once() {
    assert_eq!(text(r#"{"days":14,"days":21}"#), r#"{"days":21}"#);
}

#[test]
fn no_parameters_are_an_empty_object() {
    assert_eq!(text(" { } "), Params::none().as_str());
    assert_eq!(Params::default(), Params::none());
}

#[test]
fn what_is_no_object_is_refused_by_its_name() {
    for (of, name) in [("[14]", "an array"), ("14", "a number"), ("\"{}\"", "a text")] {
        let error = Params::try_from(of).unwrap_err();
        assert!(matches!(error, ParamsError::NoObject { found } if found == name), "{error}");
    }
}

#[test]
fn what_is_no_json_is_refused() {
    let deep = format!("{{\"a\":{}{}}}", "[".repeat(200), "]".repeat(200));
    for of in ["", "{", "{}x", "{'days':14}", "{\"a\":NaN}", "{\"a\":1e400}", &deep] {
        let error = Params::try_from(of).unwrap_err();
        assert!(matches!(error, ParamsError::Json(_)), "{of}: {error}");
    }
}

fn numbers() -> impl Strategy<Value = Number> {
    let doubles = any::<f64>().prop_filter_map("JSON has no infinity", Number::from_f64);
    prop_oneof![
        any::<i64>().prop_map(Number::from),
        any::<u64>().prop_map(Number::from),
        (-3..3_i64).prop_map(Number::from),
        (-3..3_i8).prop_filter_map("", |n| Number::from_f64(f64::from(n) / 2.0)),
        doubles,
    ]
}

fn values() -> impl Strategy<Value = Value> {
    let leaves = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        numbers().prop_map(Value::Number),
        "[a\"\\\\:,{}é\u{0}-\u{20}]{0,3}".prop_map(Value::from),
    ];
    leaves.prop_recursive(3, 24, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::vec(("[abé\"]{0,2}", inner), 0..4)
                .prop_map(|members| Value::Object(members.into_iter().collect())),
        ]
    })
}

fn objects() -> impl Strategy<Value = Value> {
    prop::collection::vec(("[abé\"]{0,2}", values()), 0..4)
        .prop_map(|members| Value::Object(members.into_iter().collect()))
}

/// What a value means: equal numbers are equal, however they are stored.
fn meaning(value: &Value) -> Value {
    match value {
        Value::Number(number) => {
            let double = number.as_f64().filter(|_| number.is_f64());
            double.and_then(whole).map_or_else(|| value.clone(), Value::from)
        }
        Value::Array(values) => values.iter().map(meaning).collect(),
        Value::Object(members) => {
            members.iter().map(|(name, value)| (name.clone(), meaning(value))).collect()
        }
        other => other.clone(),
    }
}

/// The number as an integer, if it is one that JSON values hold. By its text, so as not to repeat the code.
fn whole(double: f64) -> Option<Number> {
    let text = format!("{double:.1}");
    let digits = text.strip_suffix(".0").filter(|_| double.fract() == 0.0)?;
    digits.parse().map(u64::into).or_else(|_| digits.parse().map(i64::into)).ok()
}

/// The same value as JSON that somebody else wrote: members backwards, spaces everywhere, whole numbers as doubles.
fn written_otherwise(value: &Value) -> String {
    match value {
        Value::Number(number) => match number.as_i64() {
            Some(small @ -9_007_199_254_740_991..=9_007_199_254_740_991) => format!("{small}.00"),
            _ => number.to_string(),
        },
        Value::Array(values) => {
            let values: Vec<String> = values.iter().map(written_otherwise).collect();
            format!("[ {} ]", values.join(" ,\n"))
        }
        Value::Object(members) => {
            let members: Vec<String> = members
                .iter()
                .rev()
                .map(|(name, value)| {
                    format!("{} :\t{}", Value::from(name.as_str()), written_otherwise(value))
                })
                .collect();
            format!("{{ {} }}", members.join(" ,\r\n"))
        }
        other => other.to_string(),
    }
}

proptest! {
    #[test]
    fn a_spelling_is_spelled_as_it_is(value in objects()) {
        let params = Params::try_from(&value).unwrap();
        prop_assert_eq!(Params::try_from(params.as_str()).unwrap(), params);
    }

    #[test]
    fn a_spelling_means_what_was_written(value in objects()) {
        let params = Params::try_from(&value).unwrap();
        let read: Value = serde_json::from_str(params.as_str()).unwrap();
        prop_assert_eq!(meaning(&read), meaning(&value));
    }

    #[test]
    fn the_order_of_members_and_spaces_do_not_matter(value in objects()) {
        let params = Params::try_from(&value).unwrap();
        prop_assert_eq!(Params::try_from(&*written_otherwise(&value)).unwrap(), params);
    }

    #[test]
    fn different_values_have_different_spellings(one in objects(), other in objects()) {
        let equal = Params::try_from(&one).unwrap() == Params::try_from(&other).unwrap();
        prop_assert_eq!(equal, meaning(&one) == meaning(&other));
    }

    #[test]
    fn equal_numbers_have_equal_spellings(one in numbers(), other in numbers()) {
        let spelled = |of: &Number| spelling(of).unwrap();
        let meant = |of: &Number| meaning(&Value::Number(of.clone()));
        prop_assert_eq!(spelled(&one) == spelled(&other), meant(&one) == meant(&other));
    }

    #[test]
    fn no_text_makes_it_panic(text in "[\\[\\]{}\",:0-9eE.+\\- a]{0,16}") {
        let _ = Params::try_from(&*text);
    }
}
