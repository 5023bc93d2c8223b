mod properties;

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;

use super::*;

/// A literal without `..`, so a new field has to come here, and from here into every test below.
fn nothing_at_its_default() -> Config {
    Config {
        label: "nightly \"1\"".into(),
        wait_max: Duration::from_secs(90),
        hold_max: Duration::from_micros(1_500),
        idle_max: Duration::ZERO,
        readers_max: 8,
        lease_age_max: None,
        warn_after: Duration::from_millis(250),
        interrupt_after: Some(Duration::from_secs(5)),
        foreign_poll_max: Duration::from_millis(7),
        checkpoint_wal_bytes: 16 << 20,
        transaction_attempts_max: 3,
        duckdb_threads: Some(2),
        duckdb_memory_max_bytes: Some((1 << 30) + 1),
        writes_in_evaluation: WritesInEvaluation::Allow,
    }
}

const NOTHING_AT_ITS_DEFAULT: &str = r#"
[tool.flockgate]
colour = "red"

[flockgate]
label = 'nightly "1"'
wait_max = "1m 30s"
hold_max = "1.5ms"
idle_max = "0s"
readers_max = 8
lease_age_max = "none"
warn_after = "250ms"
interrupt_after = "5s"
foreign_poll_max = "7ms"
checkpoint_wal_bytes = "16MiB"
transaction_attempts_max = 3
duckdb_threads = 2
duckdb_memory_max_bytes = 1_073_741_825
writes_in_evaluation = "allow"

[flockgate_of_somebody_else]
label = 3
"#;

fn variables(config: &Config) -> Vec<(String, String)> {
    let variable = |name: &str| format!("FLOCKGATE_{}", name.to_uppercase());
    FIELDS.iter().map(|field| (variable(field.name()), field.text(config))).collect()
}

/// The names that `Debug`, which is derived and knows no table, prints.
fn names_of_the_struct() -> Vec<String> {
    let text = format!("{:#?}", Config::default());
    let fields = text.lines().filter_map(|line| line.strip_prefix("    "));
    let names = fields.filter_map(|field| field.split_once(": ")).map(|(name, _)| name);
    names.filter(|name| !name.contains(' ')).map(str::to_owned).collect()
}

#[track_caller]
fn refused_toml(text: &str) -> String {
    let error = Config::from_toml(text).unwrap_err().to_string();
    error.strip_prefix("configure the manager from TOML, ").unwrap().to_owned()
}

#[track_caller]
fn refused_variable(name: &str, value: &str) -> String {
    let error = Config::default().with_variables([(name, value)]).unwrap_err().to_string();
    error.strip_prefix("configure the manager from the environment, ").unwrap().to_owned()
}

#[test]
fn every_field_is_set_by_the_builder_by_toml_and_by_the_environment() {
    let expected = nothing_at_its_default();
    let built = Config::builder()
        .label("nightly \"1\"")
        .wait_max(Duration::from_secs(90))
        .hold_max(Duration::from_micros(1_500))
        .idle_max(Duration::ZERO)
        .readers_max(8)
        .lease_age_max(None)
        .warn_after(Duration::from_millis(250))
        .interrupt_after(Some(Duration::from_secs(5)))
        .foreign_poll_max(Duration::from_millis(7))
        .checkpoint_wal_bytes(16 << 20)
        .transaction_attempts_max(3)
        .duckdb_threads(Some(2))
        .duckdb_memory_max_bytes(Some((1 << 30) + 1))
        .writes_in_evaluation(WritesInEvaluation::Allow)
        .build();
    assert_eq!(built, Ok(expected.clone()));
    assert_eq!(Config::from_toml(NOTHING_AT_ITS_DEFAULT), Ok(expected.clone()));
    assert_eq!(Config::default().with_variables(variables(&expected)), Ok(expected.clone()));

    let names: Vec<_> = FIELDS.iter().map(|field| field.name()).collect();
    assert_eq!(names, names_of_the_struct());
    for field in FIELDS {
        let [set, default] = [&expected, &Config::default()].map(|config| field.text(config));
        assert_ne!(set, default, "{} is set to another value here", field.name());
    }
}

#[test]
fn every_field_is_documented_with_its_default_and_its_bounds() {
    for field in FIELDS {
        let contract = field.contract(&Config::default());
        let (name, doc) = (field.name(), field.doc());
        assert!(doc.trim_end().ends_with(&contract), "`{name}` ends with: {contract}");
        assert!(doc.trim_start().len() > contract.len() + 40, "`{name}` says what it does");
        assert!(!name.ends_with("_bytes") || doc.contains("in bytes"), "`{name}` has its unit");
    }
}

#[test]
fn nothing_said_is_the_default() {
    let default = Config::default();
    assert_eq!(default.validate(), Ok(()));
    assert_eq!(Config::builder().build(), Ok(default.clone()));
    for text in ["", "[flockgate]", "flockgate = {}", "wait_max = 3\n[other]\nreaders_max = 0"] {
        assert_eq!(Config::from_toml(text), Ok(default.clone()), "{text}");
    }
    let others = [("HOME", "/root"), ("FLOCKGATE", "x"), ("flockgate_label", "x"), ("", "")];
    assert_eq!(Config::default().with_variables(others), Ok(default));
}

#[test]
fn the_environment_of_the_process_is_read_as_a_list_of_variables_is() {
    let read = Config::default().with_variables(std::env::vars_os());
    assert_eq!(Config::from_env(), read);
    assert_eq!(Config::default().with_env(), read);
}

#[test]
fn a_later_layer_changes_what_it_names_and_nothing_else() {
    let config = Config::from_toml("[flockgate]\nwait_max = '1s'\nreaders_max = 2\nlabel = 'a'")
        .unwrap()
        .with_toml("[flockgate]\nhold_max = '5ms'\nlabel = 'b'")
        .unwrap()
        .with_variables([("FLOCKGATE_READERS_MAX", "3"), ("FLOCKGATE_READERS_MAX", "4")])
        .unwrap()
        .to_builder()
        .label("c")
        .build()
        .unwrap();
    let expected = Config {
        wait_max: Duration::from_secs(1),
        hold_max: Duration::from_millis(5),
        readers_max: 4,
        label: "c".into(),
        ..Config::default()
    };
    assert_eq!(config, expected);
}

#[test]
fn each_bound_belongs_to_its_field_and_what_is_beyond_does_not() {
    let nanosecond = Duration::from_nanos(1);
    let [ms, second] = [Duration::from_millis(1), Duration::from_secs(1)];
    let below_10_ms = Duration::from_nanos(9_999_999);
    let century = Duration::from_hours(876_600);
    let check = |field: &str, set: &dyn Fn(ConfigBuilder) -> ConfigBuilder, fits: bool| {
        let built = set(Config::builder()).build();
        assert_eq!(built.is_ok(), fits, "{field}: {built:?}");
        if let Err(error) = built {
            assert_eq!((error.field.as_str(), error.origin), (field, ConfigOrigin::Program));
        }
    };
    macro_rules! bounds {
        ($($field:ident: fits $inside:expr, beyond $beyond:expr;)+) => {$(
            for value in $inside {
                check(stringify!($field), &|builder| builder.$field(value), true);
            }
            for value in $beyond {
                check(stringify!($field), &|builder| builder.$field(value), false);
            }
        )+};
    }
    bounds! {
        label: fits ["", "ä\u{1f986}", &"x".repeat(1000)], beyond ["\n", "a\0b", "\u{85}"];
        wait_max: fits [Duration::ZERO, century], beyond [century + nanosecond, Duration::MAX];
        hold_max: fits [Duration::ZERO, 10 * second], beyond [10 * second + nanosecond];
        idle_max: fits [Duration::ZERO, 3600 * second], beyond [3600 * second + nanosecond];
        readers_max: fits [1, 10_000], beyond [0, 10_001];
        lease_age_max: fits [None, Some(10 * ms), Some(Duration::MAX)],
            beyond [Some(below_10_ms), Some(Duration::ZERO)];
        warn_after: fits [10 * ms, 3600 * second],
            beyond [below_10_ms, 3600 * second + nanosecond];
        interrupt_after: fits [None, Some(10 * ms), Some(Duration::MAX)],
            beyond [Some(below_10_ms)];
        foreign_poll_max: fits [ms, 10 * second], beyond [Duration::from_nanos(999_999), 10 * second + nanosecond];
        checkpoint_wal_bytes: fits [0, 1 << 30], beyond [(1 << 30) + 1];
        transaction_attempts_max: fits [1, 10_000], beyond [0, 10_001];
        duckdb_threads: fits [None, Some(1), Some(u32::MAX)], beyond [Some(0)];
        duckdb_memory_max_bytes: fits [None, Some(16 << 20), Some(u64::MAX)],
            beyond [Some((16 << 20) - 1)];
    }
}

#[test]
fn what_a_program_sets_out_of_bounds_is_refused_by_name() {
    let refused = |config: Config| config.validate().unwrap_err().to_string();
    assert_eq!(
        refused(Config { duckdb_threads: Some(0), ..Config::default() }),
        "configure the manager from the program: `duckdb_threads` is 0, \
         expected an integer, at least `1`, or \"none\""
    );
    assert_eq!(
        refused(Config { label: "a\nb".into(), readers_max: 0, ..Config::default() }),
        "configure the manager from the program: `label` is \"a\\nb\", \
         expected a text with no control characters"
    );
    let bad = Config { hold_max: Duration::from_secs(11), ..Config::default() };
    for error in [bad.clone().with_toml(""), bad.clone().with_toml("[flockgate]")] {
        assert_eq!(error.unwrap_err().origin, ConfigOrigin::Program);
    }
    assert_eq!(bad.clone().with_variables([("", ""); 0]).unwrap_err().field, "hold_max");
    assert!(
        bad.with_variables([("FLOCKGATE_HOLD_MAX", "10s")]).is_ok(),
        "the later layer mends it"
    );
}

#[test]
fn a_bad_value_in_toml_is_refused_with_its_place_its_name_and_what_was_expected() {
    let refused = |entry: &str| refused_toml(&format!("# ä\n[flockgate]\n{entry}\n"));
    let duration = "expected a duration, from `0s` to `100years`, like \"1m 30s\"";
    for (value, shown) in [
        ("30", "30"),
        ("1.5", "1.5"),
        ("true", "true"),
        ("2024-01-01", "2024-01-01 without quotes"),
        ("['30s']", "a list"),
        ("{ s = 30 }", "a table"),
        ("''", "\"\""),
        ("'30'", "\"30\""),
        ("'-1s'", "\"-1s\""),
        ("'none'", "\"none\""),
        ("'101years'", "\"101years\""),
    ] {
        let error = format!("line 3, column 12: `wait_max` is {shown}, {duration}");
        assert_eq!(refused(&format!("wait_max = {value}")), error);
    }
    for (entry, error) in [
        ("label = 3", "column 9: `label` is 3, expected a text with no control characters"),
        (
            r#"label = "\t""#,
            r#"column 9: `label` is "\t", expected a text with no control characters"#,
        ),
        (
            "readers_max = '8'",
            "column 15: `readers_max` is \"8\", expected an integer, from `1` to `10000`",
        ),
        (
            "readers_max = -1",
            "column 15: `readers_max` is -1, expected an integer, from `1` to `10000`",
        ),
        (
            "duckdb_threads = 4_294_967_296",
            "column 18: `duckdb_threads` is 4294967296, expected an integer, at least `1`, or \"none\"",
        ),
        (
            "checkpoint_wal_bytes = '2GiB'",
            "column 24: `checkpoint_wal_bytes` is \"2GiB\", \
             expected a number of bytes, from `0` to `1GiB`, like 4096 or \"16MiB\"",
        ),
        (
            "writes_in_evaluation = true",
            "column 24: `writes_in_evaluation` is true, expected `refuse` or `allow`",
        ),
    ] {
        assert_eq!(refused(entry), format!("line 3, {error}"));
    }
}

#[test]
fn columns_are_counted_in_characters() {
    let error = refused_toml("flockgate = { label = 'ä', readers_max = 0 }");
    assert!(error.starts_with("line 1, column 42: `readers_max` is 0"), "{error}");
}

#[test]
fn an_unknown_key_in_toml_is_refused_with_the_one_that_was_meant_or_with_all() {
    let refused = |entry: &str| refused_toml(&format!("[flockgate]\n{entry}"));
    assert_eq!(
        refused("wait_mx = '1s'"),
        "line 2, column 1: `wait_mx` is not a setting, expected `wait_max`"
    );
    assert_eq!(
        refused("Wait_Max = '1s'"),
        "line 2, column 1: `Wait_Max` is not a setting, expected `wait_max`"
    );
    let all: Vec<_> = names_of_the_struct().iter().map(|name| format!("`{name}`")).collect();
    assert_eq!(
        refused("  colour = 'red'"),
        format!("line 2, column 3: `colour` is not a setting, expected one of {}", all.join(", "))
    );
    let first = refused("readers_max = 0\ncolour = 'red'\nhold_max = 3");
    assert!(first.contains("`readers_max` is 0"), "of several the first: {first}");
    let first = refused("wait_max = '1s'\ncolour = 'red'\nhold_max = 3");
    assert!(first.contains("`colour`"), "of several the first: {first}");
}

#[test]
fn what_is_not_a_toml_table_is_refused_with_its_place() {
    assert_eq!(
        refused_toml("\nflockgate = 3"),
        "line 2, column 13: `flockgate` is 3, expected a table"
    );
    let list = refused_toml("[[flockgate]]\nreaders_max = 3");
    assert!(list.ends_with("`flockgate` is a list, expected a table"), "{list}");
    for text in ["[flockgate]\nwait_max = 30s", "[flockgate]\nwait_max =", "[x]\n[flockgate"] {
        let error = refused_toml(text);
        assert!(error.starts_with("line 2, column "), "{error}");
        assert!(error.contains("`flockgate` is unreadable ("), "{error}");
        assert!(error.ends_with("), expected a TOML document"), "{error}");
        assert!(!error.contains('\n'), "{error}");
    }
}

#[test]
fn a_bad_variable_is_refused_by_its_name() {
    assert_eq!(
        refused_variable("FLOCKGATE_WAIT_MAX", "soon"),
        "FLOCKGATE_WAIT_MAX: `wait_max` is \"soon\", \
         expected a duration, from `0s` to `100years`, like \"1m 30s\""
    );
    assert_eq!(
        refused_variable("FLOCKGATE_READERS_MAX", ""),
        "FLOCKGATE_READERS_MAX: `readers_max` is \"\", expected an integer, from `1` to `10000`"
    );
    for name in ["FLOCKGATE_WAIT_MX", "FLOCKGATE_wait_max", "FLOCKGATE_WAIT_MAX_"] {
        let written = &name["FLOCKGATE_".len()..];
        let error = format!("{name}: `{written}` is not a setting, expected `FLOCKGATE_WAIT_MAX`");
        assert_eq!(refused_variable(name, "1s"), error);
    }
    let all = refused_variable("FLOCKGATE_", "1s");
    assert!(all.contains("expected one of `FLOCKGATE_LABEL`, `FLOCKGATE_WAIT_MAX`, "), "{all}");

    let two = [("FLOCKGATE_ZZZZ", "1"), ("FLOCKGATE_IDLE_MAX", "-1s")];
    let error = Config::default().with_variables(two).unwrap_err();
    assert_eq!(error.field, "idle_max", "of several the first in the alphabet");
}

#[test]
fn a_variable_that_is_not_utf_8_is_refused_by_its_name() {
    let bytes = |bytes: &[u8]| OsString::from_vec(bytes.to_vec());
    let refused = |name: &[u8], value: &[u8]| {
        let error = Config::default().with_variables([(bytes(name), bytes(value))]).unwrap_err();
        error.to_string()
    };
    assert_eq!(
        refused(b"FLOCKGATE_LABEL", b"a\xffb"),
        "configure the manager from the environment, FLOCKGATE_LABEL: \
         `label` is \"a\\xffb\", which is not UTF-8, expected a text with no control characters"
    );
    assert!(refused(b"FLOCKGATE_LABE\xff", b"x").contains("expected `FLOCKGATE_LABEL`"));
    let other = Config::default().with_variables([(bytes(b"HOME\xff"), bytes(b"\xff"))]);
    assert_eq!(other, Ok(Config::default()));
}

#[test]
fn bytes_have_units_of_1024_and_no_others() {
    let read = |text: &str| {
        let config =
            Config::default().with_variables([("FLOCKGATE_DUCKDB_MEMORY_MAX_BYTES", text)]);
        config.ok().and_then(|config| config.duckdb_memory_max_bytes)
    };
    for (text, bytes) in [
        ("16777216", 16 << 20),
        ("16777216B", 16 << 20),
        ("16384KiB", 16 << 20),
        ("16 MiB", 16 << 20),
        ("3GiB", 3 << 30),
        ("1TiB", 1 << 40),
        ("18446744073709551615", u64::MAX),
        ("16777215TiB", 16_777_215 << 40),
    ] {
        assert_eq!(read(text), Some(bytes), "{text}");
    }
    let bad =
        ["16MB", "16M", "16mib", "MiB", "1.5GiB", "-1", "16777216TiB", "16 MiB ", "0x1000000"];
    for text in bad {
        assert_eq!(read(text), None, "{text}");
    }
}

/// `humantime` 2.4.0 adds the seconds, finds room for them, and then carries a second from exactly 10⁹ ns into
/// `Duration::new`, which panics. The text comes from outside, so the process would end on a bad variable. Durations
/// are now read number by number and added with a check.
#[test]
fn a_duration_that_overflows_is_refused_and_does_not_panic() {
    for text in ["18446744073709551615s 1000000000ns", "584542046090years 584542046090years"] {
        let error = refused_variable("FLOCKGATE_INTERRUPT_AFTER", text);
        assert!(error.contains("`interrupt_after` is \"") && error.contains(text), "{error}");
    }
    let longest = "18446744073709551615s 999999999ns";
    let config = Config::default().with_variables([("FLOCKGATE_INTERRUPT_AFTER", longest)]);
    assert_eq!(config.unwrap().interrupt_after, Some(Duration::MAX));
}
