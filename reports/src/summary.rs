//! A run on the terminal: the drivers side by side.
//!
//! Plain text: no colour, no control characters, no wrapping, the same on a terminal and in a log. It
//! is for people and may change; scripts read `report.json`.

use comfy_table::{CellAlignment, Table, presets};

use crate::model::Report;
use crate::scenario::{Check, Latency, ScenarioReport, StoreFigures};

/// What a cell shows where nothing was measured.
const NOTHING: &str = "-";

/// What one row says about one driver.
type Show = fn(&ScenarioReport) -> String;

/// The rows of a table, in order.
const ROWS: [(&str, Show); 10] = [
    ("conflicts met", |s| s.counts.conflicts.to_string()),
    ("errors surfaced", |s| s.counts.surfaced_errors.to_string()),
    ("retries", |s| s.counts.retries.to_string()),
    ("cache hit ratio in evaluation (published features)", |s| {
        or_nothing(s.counts.hit_ratio_published(), percent)
    }),
    ("features recomputed", |s| s.counts.recomputes.to_string()),
    ("rows lost", |s| s.counts.lost_rows.to_string()),
    ("acquire p50 / p99", |s| or_nothing(s.latency_ns.acquire, quantiles)),
    ("total seconds", |s| {
        let hundredths = rounded(s.duration_ns, 10_000_000);
        format!("{}.{:02}", hundredths / 100, hundredths % 100)
    }),
    ("checks", checks),
    ("out-of-sample R² (mean over windows)", |s| {
        or_nothing(mean_score(s), |mean| format!("{mean:.6}"))
    }),
];

/// The rows that come on top where a scenario is about the store alone.
const STORE_ROWS: [(&str, Show); 7] = [
    ("keys looked up", |s| store(s, |figures| figures.lookups.to_string())),
    ("found", |s| store(s, |figures| or_nothing(figures.hit_ratio(), percent))),
    ("artefacts computed", |s| store(s, |figures| figures.computed.to_string())),
    ("computed twice", |s| store(s, |figures| figures.computed_twice.to_string())),
    ("look-up of a batch p50 / p99", |s| or_nothing(s.latency_ns.lookup, quantiles)),
    ("computing done / saved", |s| {
        store(s, |figures| format!("{} / {}", human(figures.compute_ns), human(figures.saved_ns)))
    }),
    ("disk", |s| store(s, |figures| format!("{} MB", rounded(figures.disk_bytes, 1_000_000)))),
];

/// The summary of a run: for each scenario a table with one column per driver, and below it one line
/// for each check that did not find what was expected.
///
/// Ends with a line break. A report without scenarios gives the line `nothing ran`.
pub fn table(report: &Report) -> String {
    let mut ids: Vec<&str> = Vec::new();
    for scenario in &report.scenarios {
        if !ids.contains(&scenario.id.as_str()) {
            ids.push(&scenario.id);
        }
    }
    if ids.is_empty() {
        return "nothing ran\n".to_owned();
    }
    let sections: Vec<String> = ids.iter().map(|id| section(report, id)).collect();
    sections.join("\n")
}

/// The table of the scenario `id`, with what did not go as expected below it.
fn section(report: &Report, id: &str) -> String {
    let runs: Vec<&ScenarioReport> = report.scenarios.iter().filter(|run| run.id == id).collect();
    let labels: Vec<String> = runs.iter().map(|run| label(run, &runs)).collect();

    let mut table = Table::new();
    table.load_preset(presets::UTF8_BORDERS_ONLY);
    table.set_header(std::iter::once(one_line(id)).chain(labels.iter().cloned()));
    let is_of_store = runs.iter().any(|run| run.store.is_some());
    let of_store = STORE_ROWS.into_iter().filter(|_| is_of_store);
    for (name, show) in of_store.chain(ROWS) {
        let cells = runs.iter().map(|run| show(run));
        table.add_row(std::iter::once(name.to_owned()).chain(cells));
    }
    for column in table.column_iter_mut().skip(1) {
        column.set_cell_alignment(CellAlignment::Right);
    }

    let mut text = format!("{table}\n");
    for (run, label) in runs.iter().zip(&labels) {
        for check in run.checks.iter().filter(|check| !check.is_as_expected()) {
            text.push_str(&surprise(label, check));
            text.push('\n');
        }
    }
    text
}

/// One line on a check that did not find what was expected.
fn surprise(label: &str, check: &Check) -> String {
    let found = format!("{label}: {}: {}, expected {}", check.id, check.status, check.expected);
    if check.message.is_empty() {
        one_line(&found)
    } else {
        one_line(&format!("{found}: {}", check.message))
    }
}

/// The driver, and what tells two runs of one driver apart.
fn label(run: &ScenarioReport, runs: &[&ScenarioReport]) -> String {
    let of_driver = runs.iter().filter(|other| other.driver == run.driver);
    if of_driver.count() < 2 {
        one_line(&run.driver)
    } else {
        one_line(&format!("{} ({}, {})", run.driver, run.mode, run.seed))
    }
}

fn store(run: &ScenarioReport, show: impl FnOnce(StoreFigures) -> String) -> String {
    or_nothing(run.store, show)
}

fn or_nothing<T>(value: Option<T>, show: impl FnOnce(T) -> String) -> String {
    value.map_or_else(|| NOTHING.to_owned(), show)
}

/// A ratio in percent. Rounding never makes a whole of what is none.
fn percent(ratio: f64) -> String {
    let text = format!("{:.2} %", ratio * 100.0);
    if ratio < 1.0 && text == "100.00 %" {
        return "> 99.99 %".to_owned();
    }
    text
}

/// Median and tail, and how many samples there are where they are too few for a tail.
fn quantiles(latency: Latency) -> String {
    let text = format!("{} / {}", human(latency.p50), human(latency.p99));
    if latency.samples_low { format!("{text} (n {})", latency.count) } else { text }
}

/// How many checks found what was expected, of how many.
fn checks(run: &ScenarioReport) -> String {
    let expected = run.checks.iter().filter(|check| check.is_as_expected());
    match run.checks.len() {
        0 => NOTHING.to_owned(),
        all => format!("{} of {all} as expected", expected.count()),
    }
}

/// The mean of the windows' scores, each window counting the same.
fn mean_score(run: &ScenarioReport) -> Option<f64> {
    let sum: f64 = run.scores.iter().map(|score| score.r2_out_of_sample).sum();
    (!run.scores.is_empty()).then(|| sum / run.scores.len() as f64)
}

/// Nanoseconds with a unit, to two digits at least: `3.4 µs`, `640 µs`, `1.2 ms`, `2.31 s`.
fn human(ns: u64) -> String {
    // Each range ends where rounding would add a digit to the number.
    match ns {
        0..1_000 => format!("{ns} ns"),
        1_000..9_950 => {
            let tenths = rounded(ns, 100);
            format!("{}.{} µs", tenths / 10, tenths % 10)
        }
        9_950..999_500 => format!("{} µs", rounded(ns, 1_000)),
        999_500..999_950_000 => {
            let tenths = rounded(ns, 100_000);
            format!("{}.{} ms", tenths / 10, tenths % 10)
        }
        _ => {
            let hundredths = rounded(ns, 10_000_000);
            format!("{}.{:02} s", hundredths / 100, hundredths % 100)
        }
    }
}

/// `ns` in the given unit, rounded half up. Adding half a unit first could overflow.
fn rounded(ns: u64, unit_ns: u64) -> u64 {
    ns / unit_ns + u64::from(unit_ns / 2 <= ns % unit_ns)
}

/// The text on one line and without control characters: a message may quote an error of several
/// lines, and a report from elsewhere must not steer the terminal.
fn one_line(text: &str) -> String {
    let words = text.split(|c: char| c.is_whitespace() || c.is_control());
    let words: Vec<&str> = words.filter(|word| !word.is_empty()).collect();
    words.join(" ")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn durations_read_as_people_write_them() {
        for (ns, text) in [
            (0, "0 ns"),
            (999, "999 ns"),
            (1_000, "1.0 µs"),
            (9_949, "9.9 µs"),
            (9_950, "10 µs"),
            (640_000, "640 µs"),
            (999_499, "999 µs"),
            (999_500, "1.0 ms"),
            (1_210_000, "1.2 ms"),
            (97_300_000, "97.3 ms"),
            (999_949_999, "999.9 ms"),
            (999_950_000, "1.00 s"),
            (2_314_999_999, "2.31 s"),
            (2_315_000_000, "2.32 s"),
            (3_600_000_000_000, "3600.00 s"),
            (u64::MAX, "18446744073.71 s"),
        ] {
            assert_eq!(human(ns), text, "{ns} ns");
        }
    }

    #[test]
    fn one_missed_key_in_a_million_is_not_shown_as_a_hundred_percent() {
        assert_eq!(percent(1.0), "100.00 %");
        assert_eq!(percent(0.999_999), "> 99.99 %");
        assert_eq!(percent(0.987_65), "98.77 %");
        assert_eq!(percent(0.0), "0.00 %");
    }

    #[test]
    fn a_message_cannot_break_the_line_or_steer_the_terminal() {
        assert_eq!(one_line("a\n  b\u{1b}[31m\tc"), "a b [31m c");
    }

    proptest! {
        #[test]
        fn a_duration_in_words_is_within_a_twentieth_of_it(ns in 1_000..u64::MAX) {
            let text = human(ns);
            let (number, unit) = text.split_once(' ').expect("a number and a unit");
            let unit_ns = match unit {
                "µs" => 1e3,
                "ms" => 1e6,
                "s" => 1e9,
                other => panic!("unit {other}"),
            };
            let shown = number.parse::<f64>().expect("a number") * unit_ns;
            let ratio = shown / ns as f64;
            prop_assert!((0.95..=1.05).contains(&ratio), "{} for {} ns", text, ns);
        }
    }
}
