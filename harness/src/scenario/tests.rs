//! Claims about scenario files, above all about the bad ones.
//!
//! # Scope of determinism
//!
//! Pure functions of the texts below and of the files that are shipped.
//!
//! # Invariants
//!
//! * Each class of mistake has its exact text here: it is the first thing a new user reads.

use super::*;
use crate::pipeline::Price;

fn data_of(scenario: &Scenario) -> &Data {
    match &scenario.work {
        Work::Pipeline { data, .. } => data,
        Work::Panel(panel) => panic!("{panel:?}"),
    }
}

const GOOD: &str = r#"format = 1
id = "fixture"
title = "A fixture"
suites = ["ci", "full"]
mode = "free"
drivers = ["retrying", "managed"]

[data]
prices = "data/prices.csv"
from = "2009-01-02"
tickers = ["AAPL", "IBM"]

[windows]
mode = "expanding"
count = 8
block_sessions = 21
train_sessions = 252
eval_sessions = 63
step_sessions = 0x3f
label_sessions = 5
embargo_sessions = 0

[training]
processes = 8
threads = 16

[evaluation]
processes = 1
threads = 1

[model]
ridge = 1

[expect.retrying]
conflicts_min = 1
recomputes_min = 2
phase_respected = "violated"

[expect.managed]
surfaced_errors_max = 0
lost_rows_max = 0
recomputes_max = 0
hit_ratio_published_min = 0.5
one_writer = "holds"
"#;

fn parse(text: &str) -> Result<Scenario, ScenarioError> {
    Scenario::parse(Path::new("scenarios/x.toml"), text.as_bytes())
}

/// The error after one replacement in the good scenario.
fn refused(old: &str, new: &str) -> String {
    assert_eq!(GOOD.matches(old).count(), 1, "`{old}` must be there once");
    parse(&GOOD.replacen(old, new, 1)).unwrap_err().to_string()
}

#[test]
fn a_good_scenario_is_read_as_it_stands() {
    let mut retrying =
        Expect { conflicts_min: Some(1), recomputes_min: Some(2), ..Expect::default() };
    retrying.checks.insert("phase_respected".to_owned(), Verdict::Violated);
    let mut managed = Expect {
        surfaced_errors_max: Some(0),
        lost_rows_max: Some(0),
        recomputes_max: Some(0),
        hit_ratio_published_min: Some(0.5),
        ..Expect::default()
    };
    managed.checks.insert("one_writer".to_owned(), Verdict::Holds);
    assert_eq!(
        parse(GOOD).unwrap(),
        Scenario {
            id: "fixture".to_owned(),
            title: "A fixture".to_owned(),
            suites: vec!["ci".to_owned(), "full".to_owned()],
            mode: Mode::Free,
            drivers: vec![Driver::Retrying, Driver::Managed],
            work: Work::Pipeline {
                data: Data {
                    prices: "scenarios/data/prices.csv".into(),
                    price: Price::Close,
                    from: "2009-01-02".to_owned(),
                    tickers: Some(vec!["AAPL".to_owned(), "IBM".to_owned()]),
                },
                model: Model { ridge: 1.0 },
            },
            windows: Windows {
                mode: WindowMode::Expanding,
                count: 8,
                block_sessions: 21,
                train_sessions: 252,
                eval_sessions: 63,
                step_sessions: 63,
                label_sessions: 5,
                embargo_sessions: 0,
            },
            training: Workers { processes: 8, threads: 16 },
            evaluation: Workers { processes: 1, threads: 1 },
            writes: Writes::AtOnce,
            expect: BTreeMap::from([(Driver::Retrying, retrying), (Driver::Managed, managed)]),
        }
    );
}

#[test]
fn a_check_is_expected_to_hold_unless_the_scenario_says_otherwise() {
    let scenario = parse(GOOD).unwrap();
    let expect = scenario.expect(Driver::Retrying);
    assert_eq!(expect.verdict("phase_respected"), Verdict::Violated);
    assert_eq!(expect.verdict("no_leak"), Verdict::Holds);
    assert_eq!(scenario.expect(Driver::Naive), Expect::default());
    assert_eq!(scenario.expect(Driver::Naive).verdict("one_writer"), Verdict::Holds);
}

#[test]
fn the_tickers_and_the_expectations_may_be_left_out() {
    let (without_expect, _) = GOOD.split_once("[expect.retrying]").unwrap();
    let scenario = parse(&without_expect.replace("tickers = [\"AAPL\", \"IBM\"]\n", "")).unwrap();
    assert_eq!(data_of(&scenario).tickers, None);
    assert_eq!(scenario.expect, BTreeMap::new());
}

#[test]
fn the_shipped_scenarios_are_good() {
    let shipped = Path::new(env!("CARGO_MANIFEST_DIR")).join("../scenarios");
    let demo = Scenario::read(&shipped.join("demo.toml")).unwrap();
    assert_eq!((demo.id.as_str(), demo.suites), ("demo", vec!["demo".to_owned()]));
    assert_eq!(demo.drivers, Driver::ALL);
    let naive = &demo.expect[&Driver::Naive];
    assert_eq!(naive.verdict("phase_respected"), Verdict::Violated);
    let smoke = Scenario::read(&shipped.join("smoke.toml")).unwrap();
    assert_eq!(smoke.id, "smoke");
    assert_eq!(smoke.suites, ["smoke", "ci"]);
    assert_eq!(smoke.drivers, [Driver::Managed]);
    assert!(data_of(&smoke).prices.is_file(), "{}", data_of(&smoke).prices.display());
}

#[test]
fn a_file_that_is_not_there_or_not_a_file_is_named() {
    let refused = |file: &str| Scenario::read(Path::new(file)).unwrap_err().to_string();
    assert_eq!(
        refused("no/such.toml"),
        "no/such.toml: expected a scenario file, found no such file"
    );
    assert_eq!(refused("/"), "/: expected a scenario file, found a directory");
}

#[test]
fn a_file_that_is_empty_or_not_text_is_refused() {
    for empty in ["", " \n\t\n"] {
        assert_eq!(
            parse(empty).unwrap_err().to_string(),
            "scenarios/x.toml:1:1: expected a scenario, found an empty file; \
             `scenarios/README.md` shows every key"
        );
    }
    let bytes = b"format = 1\nid = \"\xc3\xa4\xff\"\n";
    let error = Scenario::parse(Path::new("scenarios/x.toml"), bytes).unwrap_err();
    assert_eq!(error.to_string(), "scenarios/x.toml:2:8: expected UTF-8 text, found the byte 0xff");
}

#[test]
fn a_file_that_is_not_toml_is_refused_with_what_the_parser_says() {
    for (old, new, error) in [
        (
            "id = \"fixture\"",
            "id = demo",
            "2:6: not TOML: string values must be quoted, expected literal string",
        ),
        ("[model]", "[model", "31:7: not TOML: unclosed table, expected `]`"),
        ("count = 8", "count = 8\ncount = 9", "16:1: not TOML: duplicate key"),
    ] {
        assert_eq!(refused(old, new), format!("scenarios/x.toml:{error}"));
    }
}

#[test]
fn a_value_out_of_bounds_is_refused() {
    assert_eq!(
        refused("processes = 8", "processes = -1"),
        "scenarios/x.toml:24:13: training.processes: expected an integer from 1 to 8, found -1"
    );
    assert_eq!(
        refused("threads = 16", "threads = 17"),
        "scenarios/x.toml:25:11: training.threads: expected an integer from 1 to 16, found 17"
    );
    assert_eq!(
        refused("count = 8", "count = 0"),
        "scenarios/x.toml:15:9: windows.count: expected an integer from 1 to 100000, found 0"
    );
    assert_eq!(
        refused("conflicts_min = 1", "conflicts_min = 99999999999999999999"),
        "scenarios/x.toml:35:17: expect.retrying.conflicts_min: \
         expected an integer from 0 to 1000000000, found 99999999999999999999"
    );
    assert_eq!(
        refused("hit_ratio_published_min = 0.5", "hit_ratio_published_min = 1.01"),
        "scenarios/x.toml:43:27: expect.managed.hit_ratio_published_min: \
         expected a number from 0 to 1, found 1.01"
    );
    for ridge in ["0", "-0.5", "nan", "inf"] {
        assert_eq!(
            refused("ridge = 1", &format!("ridge = {ridge}")),
            format!("scenarios/x.toml:32:9: model.ridge: expected a number above 0, found {ridge}")
        );
    }
}

#[test]
fn a_value_of_another_type_is_refused() {
    assert_eq!(
        refused("count = 8", "count = \"8\""),
        "scenarios/x.toml:15:9: windows.count: expected an integer from 1 to 100000, found \"8\""
    );
    assert_eq!(
        refused("count = 8", "count = 8.0"),
        "scenarios/x.toml:15:9: windows.count: expected an integer from 1 to 100000, found 8.0"
    );
    assert_eq!(
        refused("title = \"A fixture\"", "title = []"),
        "scenarios/x.toml:3:9: title: expected one line of text, found an empty list"
    );
    assert_eq!(
        refused("suites = [\"ci\", \"full\"]", "suites = \"ci\""),
        "scenarios/x.toml:4:10: suites: expected a list of at least one suite, found \"ci\""
    );
    assert_eq!(
        refused("[model]\nridge = 1\n", "[[model]]\nridge = 1\n"),
        "scenarios/x.toml:31:1: model: expected a table, found a list"
    );
    assert_eq!(
        refused("prices = \"data/prices.csv\"", "prices = true"),
        "scenarios/x.toml:9:10: data.prices: expected the path of a file, found true"
    );
}

#[test]
fn a_missing_key_is_reported_at_its_table() {
    assert_eq!(
        refused("format = 1\n", ""),
        "scenarios/x.toml:1:1: format: expected 1, the format that this build reads, found nothing"
    );
    assert_eq!(
        refused("count = 8\n", ""),
        "scenarios/x.toml:13:1: windows.count: expected an integer from 1 to 100000, found nothing"
    );
    assert_eq!(
        refused("[model]\nridge = 1\n", ""),
        "scenarios/x.toml:1:1: model: expected a table, found nothing"
    );
}

#[test]
fn an_unknown_key_is_refused_and_the_nearest_known_one_named() {
    assert_eq!(
        refused("threads = 16", "treads = 16"),
        "scenarios/x.toml:25:1: training.treads: found an unknown key, did you mean `threads`?"
    );
    assert_eq!(
        refused("from = ", "form = "),
        "scenarios/x.toml:10:1: data.form: found an unknown key, did you mean `from`?"
    );
    assert_eq!(
        refused("threads = 16", "threads = 16\nnice = 3"),
        "scenarios/x.toml:26:1: training.nice: found an unknown key, \
         expected one of `processes`, `threads`"
    );
    assert_eq!(
        refused("[expect.managed]", "[expect.manager]"),
        "scenarios/x.toml:39:9: expect.manager: found an unknown key, did you mean `managed`?"
    );
    assert_eq!(
        refused("one_writer = ", "one_write = "),
        "scenarios/x.toml:44:1: expect.managed.one_write: found an unknown key, \
         did you mean `one_writer`?"
    );
}

#[test]
fn of_several_unknown_keys_the_first_in_the_file_is_reported() {
    assert_eq!(
        refused("[training]\n", "[training]\nnice = 1\nage = 2\nzeal = 3\n"),
        "scenarios/x.toml:24:1: training.nice: found an unknown key, \
         expected one of `processes`, `threads`"
    );
}

#[test]
fn a_word_that_is_not_one_of_the_few_is_refused() {
    assert_eq!(
        refused("mode = \"expanding\"", "mode = \"growing\""),
        "scenarios/x.toml:14:8: windows.mode: expected \"rolling\" or \"expanding\", found \"growing\""
    );
    assert_eq!(
        refused("\"retrying\", \"managed\"", "\"retrying\", \"magic\""),
        "scenarios/x.toml:6:24: drivers[1]: expected \"naive\" or \"retrying\" or \"managed\", \
         found \"magic\""
    );
    assert_eq!(
        refused("\"ci\", \"full\"", "\"cl\""),
        "scenarios/x.toml:4:11: suites[0]: expected \"demo\" or \"smoke\" or \"ci\" or \"full\", \
         found \"cl\""
    );
    assert_eq!(
        refused("one_writer = \"holds\"", "one_writer = \"unknown\""),
        "scenarios/x.toml:44:14: expect.managed.one_writer: expected \"holds\" or \"violated\", \
         found \"unknown\""
    );
}

#[test]
fn a_mode_that_is_not_built_yet_says_so() {
    assert_eq!(
        refused("mode = \"free\"", "mode = \"lockstep\""),
        "scenarios/x.toml:5:8: mode: expected \"free\", found \"lockstep\", which `explore` runs"
    );
    assert_eq!(
        refused("mode = \"free\"", "mode = \"fast\""),
        "scenarios/x.toml:5:8: mode: expected \"free\", found \"fast\""
    );
}

#[test]
fn another_format_is_refused() {
    assert_eq!(
        refused("format = 1", "format = 2"),
        "scenarios/x.toml:1:10: format: expected 1, the format that this build reads, found 2"
    );
}

#[test]
fn a_list_needs_values_and_each_once() {
    assert_eq!(
        refused("drivers = [\"retrying\", \"managed\"]", "drivers = []"),
        "scenarios/x.toml:6:11: drivers: expected a list of at least one driver, found an empty list"
    );
    assert_eq!(
        refused("\"retrying\", \"managed\"", "\"managed\", \"managed\""),
        "scenarios/x.toml:6:23: drivers[1]: expected every value once, found \"managed\" again"
    );
    assert_eq!(
        refused("\"AAPL\", \"IBM\"", "\"AAPL\", \" \""),
        "scenarios/x.toml:11:20: data.tickers[1]: expected the name of a ticker, found \" \""
    );
}

#[test]
fn an_id_is_fit_for_a_file_name() {
    for id in ["", "A", "a b", "a/b", "..", "ä"] {
        assert_eq!(
            refused("id = \"fixture\"", &format!("id = {id:?}")),
            format!(
                "scenarios/x.toml:2:6: id: expected lower-case letters, digits and hyphens, \
                 such as \"smoke\", found {id:?}"
            )
        );
    }
}

#[test]
fn a_date_has_the_shape_of_one() {
    for from in [
        "2009-1-2",
        "2009-13-01",
        "2009-00-01",
        "2009-01-32",
        "2009/01/02",
        "20090-1-02",
        "2009-01-022",
        "",
    ] {
        assert_eq!(
            refused("\"2009-01-02\"", &format!("{from:?}")),
            format!(
                "scenarios/x.toml:10:8: data.from: expected a date in quotes, such as \"2009-01-02\", \
                 found {from:?}"
            )
        );
    }
    assert_eq!(
        refused("\"2009-01-02\"", "2009-01-02"),
        "scenarios/x.toml:10:8: data.from: expected a date in quotes, such as \"2009-01-02\", \
         found 2009-01-02 without quotes"
    );
}

#[test]
fn a_column_counts_characters_and_not_bytes() {
    assert_eq!(
        refused("\"AAPL\", \"IBM\"", "\"ÄÖ\", 3"),
        "scenarios/x.toml:11:18: data.tickers[1]: expected the name of a ticker, found 3"
    );
}

const PANEL: &str = r#"format = 1
id = "panel"
title = "A panel"
suites = ["full"]
mode = "free"
drivers = ["managed"]

[panel]
symbols = 3
sessions = 200

[windows]
mode = "rolling"
count = 2
block_sessions = 20
train_sessions = 100
eval_sessions = 20
step_sessions = 20

[training]
processes = 1
threads = 2

[evaluation]
processes = 2
threads = 1
writes = "spool"
"#;

#[test]
fn a_panel_takes_the_place_of_data_and_model_and_has_no_labels() {
    let panel = parse(PANEL).unwrap();
    assert_eq!(panel.work, Work::Panel(Panel { symbols: 3, sessions: 200 }));
    assert_eq!((panel.windows.label_sessions, panel.windows.embargo_sessions), (0, 0));
    assert_eq!(panel.writes, Writes::Spool);
    let refused = |old: &str, new: &str| parse(&PANEL.replace(old, new)).unwrap_err().to_string();
    assert!(refused("[panel]", "[model]\nridge = 1\n[panel]").contains("nothing beside `panel`"));
    assert!(
        refused("train_sessions = 100", "train_sessions = 90")
            .contains("windows.train_sessions: expected whole blocks of 20 sessions, found 90")
    );
    assert!(refused("symbols = 3", "symbols = 0").contains("from 1 to 10000"));
    assert!(refused("\"spool\"", "\"later\"").contains("\"at_once\" or \"spool\""));
}

#[test]
fn the_price_of_a_day_is_the_close_unless_another_is_named() {
    assert_eq!(data_of(&parse(GOOD).unwrap()).price, Price::Close);
    let adjusted = GOOD.replace("from =", "price = \"Adj Close\"\nfrom =");
    assert_eq!(data_of(&parse(&adjusted).unwrap()).price, Price::AdjClose);
    let error = refused("from = \"2009-01-02\"", "price = \"Open\"\nfrom = \"2009-01-02\"");
    assert!(
        error.contains("data.price: expected \"Close\" or \"Adj Close\", found \"Open\""),
        "{error}"
    );
}
