//! The checked-in schema: up to date, strict about what it names, open to what it does not.

use std::fs;
use std::sync::LazyLock;

use serde_json::{Value, json};

use crate::example;

const SCHEMA: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/schema/report.v1.schema.json");
const UPDATE: &str = "`UPDATE_SCHEMA=1 cargo test --release -p reports` writes it anew";

/// The schema as it is checked in, after the update that `UPDATE_SCHEMA` asks for. Read once, so that
/// no test sees it half written.
static CHECKED_IN: LazyLock<Value> = LazyLock::new(|| {
    if std::env::var_os("UPDATE_SCHEMA").is_some() {
        let text = serde_json::to_string_pretty(&reports::schema()).expect("a schema is JSON");
        fs::write(SCHEMA, text + "\n").expect("the schema file is writable");
    }
    let text =
        fs::read_to_string(SCHEMA).unwrap_or_else(|error| panic!("{SCHEMA}: {error}; {UPDATE}"));
    serde_json::from_str(&text).unwrap_or_else(|error| panic!("{SCHEMA}: {error}; {UPDATE}"))
});

fn example_json() -> Value {
    serde_json::to_value(example::report()).expect("the example has a JSON form")
}

/// What the schema says against a report; `None` if nothing.
fn objection(report: &Value) -> Option<String> {
    let validator = jsonschema::draft202012::new(&CHECKED_IN).expect("the schema is a schema");
    let error = validator.iter_errors(report).next()?;
    Some(format!("{}: {error}", error.instance_path()))
}

#[test]
fn the_checked_in_schema_is_the_one_of_the_types() {
    // Compared as values: whether keys are sorted depends on features that other members switch on.
    assert!(*CHECKED_IN == reports::schema(), "`{SCHEMA}` is out of date; {UPDATE}");
}

#[test]
fn the_schema_is_valid_draft_2020_12_and_names_itself() {
    jsonschema::draft202012::meta::validate(&CHECKED_IN).expect("a valid schema");
    assert_eq!(CHECKED_IN["$schema"], "https://json-schema.org/draft/2020-12/schema");
    assert_eq!(CHECKED_IN["$id"], "urn:flockgate:report:v1");
    assert_eq!(CHECKED_IN["title"], "Flockgate report");
}

#[test]
fn a_full_report_validates() {
    assert_eq!(objection(&example_json()), None);
}

#[test]
fn a_report_in_which_every_optional_field_is_null_validates() {
    let mut report = example_json();
    for pointer in [
        "/provenance/versions/commit",
        "/provenance/versions/dirty",
        "/scenarios/0/failure/replay_command",
        "/scenarios/0/failure/reproduced",
        "/scenarios/1/latency_ns/acquire",
    ] {
        *report.pointer_mut(pointer).expect(pointer) = Value::Null;
    }
    assert_eq!(objection(&report), None);
}

/// An additive change must not break those who validate against this version.
#[test]
fn unknown_keys_validate_at_every_level() {
    fn add_keys(value: &mut Value) {
        match value {
            Value::Object(fields) => {
                fields.values_mut().for_each(add_keys);
                fields.insert("added_later".to_owned(), json!({ "by": "1.1" }));
            }
            Value::Array(items) => items.iter_mut().for_each(add_keys),
            _ => (),
        }
    }
    let mut report = example_json();
    add_keys(&mut report);
    assert_eq!(objection(&report), None);
}

#[test]
fn what_breaks_the_contract_does_not_validate() {
    for (pointer, wrong) in [
        ("/format", json!("duckdb-report")),
        ("/format_version", json!("2.0")),
        ("/kind", json!("guess")),
        ("/provenance/duration_ns", json!(-1)),
        ("/provenance/argv", json!("harness run")),
        ("/provenance/machine/logical_cpus", json!(0)),
        ("/summary/status", json!("green")),
        ("/summary/exit_code", json!(256)),
        ("/scenarios/0/seed", json!(42)),
        ("/scenarios/0/seed", json!("0x2a")),
        ("/scenarios/0/digest", json!("0x000000000000002A")),
        ("/scenarios/0/duration_ns", json!(-1)),
        ("/scenarios/0/duration_ns", json!("31.4 s")),
        ("/scenarios/0/mode", json!("random")),
        ("/scenarios/0/counts/conflicts", json!(0.5)),
        ("/scenarios/0/latency_ns/acquire/p99", Value::Null),
        ("/scenarios/0/checks/0/status", json!("passed")),
        ("/scenarios/0/scores/0/r2_out_of_sample", Value::Null),
        ("/scenarios/0/scores/0/sign_hit_ratio", json!(1.5)),
        ("/scenarios/0/failure/reproduced", json!([1, 2, 3])),
    ] {
        let mut report = example_json();
        *report.pointer_mut(pointer).expect(pointer) = wrong.clone();
        let objection =
            objection(&report).unwrap_or_else(|| panic!("{wrong} at {pointer} is not objected to"));
        // Below an `anyOf` the validator names the parent.
        let place = objection.split(':').next().expect("a place");
        assert!(!place.is_empty() && pointer.starts_with(place), "{pointer}: {objection}");
    }
}

#[test]
fn a_report_without_one_of_its_parts_does_not_validate() {
    for part in ["format", "format_version", "kind", "provenance", "summary", "scenarios"] {
        let mut report = example_json();
        report.as_object_mut().expect("an object").remove(part);
        let objection = objection(&report).unwrap_or_else(|| panic!("`{part}` is not missed"));
        assert!(objection.contains(part), "{objection}");
    }
}

/// The schema is the reference that people read; a field without a text there has no meaning.
#[test]
fn every_field_is_described() {
    fn walk(path: &str, schema: &Value) {
        let fields = schema["properties"].as_object().into_iter().flatten();
        for (name, field) in fields {
            assert!(field["description"].is_string(), "`{path}{name}` has no description");
        }
    }
    walk("", &CHECKED_IN);
    let types = CHECKED_IN["$defs"].as_object().expect("types");
    assert!(types.contains_key("ScenarioReport"), "the types of the parts are there");
    for (name, schema) in types {
        walk(&format!("{name}."), schema);
    }
}
