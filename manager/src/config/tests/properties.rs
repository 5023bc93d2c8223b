//! What is written is read back, and TOML and the environment agree.

use std::ops::RangeInclusive;

use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;

use super::variables;
use crate::config::*;

fn duration(bounds: RangeInclusive<Duration>) -> impl Strategy<Value = Duration> {
    let [from, to] = [bounds.start(), bounds.end()].map(Duration::as_nanos);
    let nanos = 1_000_000_000;
    prop_oneof![from..=to, from..=to.min(100 * nanos)]
        .prop_map(move |all| Duration::new((all / nanos) as u64, (all % nanos) as u32))
}

fn config() -> impl Strategy<Value = Config> {
    let waits = (
        duration(Duration::ZERO..=HUNDRED_YEARS),
        duration(Duration::ZERO..=TEN_SECONDS),
        duration(Duration::ZERO..=HOUR),
        option::of(duration(TEN_MILLISECONDS..=Duration::MAX)),
        duration(TEN_MILLISECONDS..=HOUR),
        option::of(duration(TEN_MILLISECONDS..=Duration::MAX)),
        duration(MILLISECOND..=TEN_SECONDS),
    );
    let counts = (
        1..=10_000_u32,
        prop_oneof![0..=1_u64 << 30, (0..=1_u64 << 10).prop_map(|mib| mib << 20)],
        1..=10_000_u32,
        option::of(1..=u32::MAX),
        option::of(prop_oneof![16 << 20..=u64::MAX, (16_u64..1 << 44).prop_map(|mib| mib << 20)]),
        prop_oneof![Just(WritesInEvaluation::Refuse), Just(WritesInEvaluation::Allow)],
    );
    ("\\PC{0,80}", waits, counts).prop_map(|(label, waits, counts)| Config {
        label: label.replace(char::is_control, ""),
        wait_max: waits.0,
        hold_max: waits.1,
        idle_max: waits.2,
        readers_max: counts.0,
        lease_age_max: waits.3,
        warn_after: waits.4,
        interrupt_after: waits.5,
        foreign_poll_max: waits.6,
        checkpoint_wal_bytes: counts.1,
        transaction_attempts_max: counts.2,
        duckdb_threads: counts.3,
        duckdb_memory_max_bytes: counts.4,
        writes_in_evaluation: counts.5,
    })
}

/// Texts of the parts that durations, bytes and none are made of.
fn nearly_a_value() -> impl Strategy<Value = String> {
    let part = prop_oneof![
        "[0-9]{1,20}",
        "[ .+_µ\"\\-]",
        prop::sample::select(vec!["ns", "ms", "s", "years", "KiB", "TiB", "B", "none", "allow"])
            .prop_map(str::to_owned),
        "\\PC",
    ];
    vec(part, 0..6).prop_map(|parts| parts.concat())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 500, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_is_written_is_read_back_from_toml_and_from_the_environment(config in config()) {
        prop_assert_eq!(config.validate(), Ok(()));
        prop_assert_eq!(Config::from_toml(&config.to_toml()), Ok(config.clone()));
        prop_assert_eq!(Config::default().with_variables(variables(&config)), Ok(config.clone()));
        prop_assert_eq!(config.clone().to_builder().build(), Ok(config));
    }

    /// TOML wants an integer where a variable has digits; what either takes as a string the other takes too.
    #[test]
    fn toml_and_the_environment_take_the_same_values(
        index in 0..FIELDS.len(),
        text in nearly_a_value(),
    ) {
        let name = FIELDS[index].name();
        let variable = format!("FLOCKGATE_{}", name.to_uppercase());
        let from_env = Config::default().with_variables([(variable, text.clone())]);
        let quoted = toml::Value::String(text.clone());
        let is_count = ["readers_max", "transaction_attempts_max", "duckdb_threads"].contains(&name);
        let value = if is_count && text != "none" { text } else { quoted.to_string() };
        let from_toml = Config::from_toml(&format!("[flockgate]\n{name} = {value}\n"));
        if is_count && from_env.is_ok() != from_toml.is_ok() {
            // Leading zeros, underscores and comments are digits to one of them only.
            return Ok(());
        }
        match (from_env, from_toml) {
            (Err(one), Err(other)) if !is_count => {
                prop_assert_eq!(&one.field, name);
                prop_assert_eq!((one.field, one.expected), (other.field, other.expected));
            }
            (Err(_), Err(_)) => {}
            (one, other) => prop_assert_eq!(one, other),
        }
    }

    #[test]
    fn no_text_makes_the_reader_of_toml_panic(text in "(\\[flockgate\\]\n)?(\\PC|\n|=|wait_max){0,40}") {
        if let Err(error) = Config::from_toml(&text) {
            prop_assert!(matches!(error.origin, ConfigOrigin::Toml { line: 1.., column: 1.. }), "{}", error);
        }
    }
}
