//! What people get wrong: each mistake is refused with the exit code of the contract and a text that names the
//! thing, and nothing is left behind.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use crate::support::{Ran, Running, Site, harness, read, workspace};

/// The smallest scenario, with its data named by its whole path.
fn smoke() -> String {
    let data = workspace().join("scenarios/data/stocks.csv.gz");
    read(workspace().join("scenarios/smoke.toml"))
        .replace("data/stocks.csv.gz", data.to_str().unwrap())
}

/// The line on which a text stands first, counted from 1.
fn line_of(text: &str, part: &str) -> usize {
    1 + text.lines().position(|line| line.contains(part)).unwrap_or_else(|| panic!("no {part}"))
}

/// Runs a scenario file that has to be refused before anything begins.
#[track_caller]
fn refused(site: &Site, scenario: &Path, parts: &[String]) {
    site.run(&[scenario]).exits_with(2).says(parts);
    assert!(!site.output().exists(), "{:?}", site.leftovers());
}

/// Changes a line of the scenario, which then has to be refused with its place and these words.
#[track_caller]
fn refused_line(from: &str, to: &str, place: (&str, usize), words: &str) {
    let site = Site::new();
    let text = smoke();
    assert_eq!(text.matches(from).count(), 1, "{from}");
    let text = text.replace(from, to);
    let file = site.file("bad.toml", &text);
    let (at, column) = place;
    let place = format!("{}:{}:{column}: ", file.display(), line_of(&text, at));
    refused(&site, &file, &[place, words.to_owned()]);
}

#[test]
fn an_unknown_key_is_refused_with_its_place_and_the_key_that_was_meant() {
    refused_line(
        "threads = 2",
        "treads = 2",
        ("treads = 2", 1),
        "training.treads: found an unknown key, did you mean `threads`?",
    );
}

#[test]
fn a_wrong_type_is_refused_with_its_place() {
    refused_line(
        "count = 2",
        "count = \"two\"",
        ("count = ", 9),
        "windows.count: expected an integer from 1 to 100000, found",
    );
}

#[test]
fn a_negative_number_is_refused_with_its_place() {
    refused_line(
        "train_sessions = 126",
        "train_sessions = -1",
        ("train_sessions", 18),
        "windows.train_sessions: expected an integer from 1 to 100000, found -1",
    );
}

#[test]
fn a_missing_key_is_refused_with_the_table_that_lacks_it() {
    refused_line("ridge = 1000.0", "", ("[model]", 1), "model.ridge: expected");
}

#[test]
fn text_that_is_not_toml_is_refused_with_its_place() {
    let site = Site::new();
    let file = site.file("bad.toml", "format = 1\nid = = 2\n");
    refused(&site, &file, &[format!("{}:2:6: not TOML", file.display())]);
}

#[test]
fn a_file_that_is_empty_or_not_text_is_refused_with_its_place() {
    let site = Site::new();
    for (name, content, words) in [
        ("empty.toml", &b""[..], ":1:1: expected a scenario, found an empty file"),
        ("blank.toml", b"\n\n", ":1:1: expected a scenario, found an empty file"),
        (
            "latin.toml",
            b"format = 1\nid = \"\xe9\"\n",
            ":2:7: expected UTF-8 text, found the byte 0xe9",
        ),
    ] {
        let file = site.file(name, content);
        refused(&site, &file, &[format!("{}{words}", file.display())]);
    }
}

#[test]
fn a_scenario_that_is_not_there_or_a_directory_is_refused_by_name() {
    let site = Site::new();
    let missing = site.path("no-such.toml");
    refused(
        &site,
        &missing,
        &[format!("{}: expected a scenario file, found no such file", missing.display())],
    );
    let folder = site.path("folder.toml");
    fs::create_dir(&folder).unwrap();
    refused(
        &site,
        &folder,
        &[format!("{}: expected a scenario file, found a directory", folder.display())],
    );
}

#[test]
fn words_of_the_command_line_that_nobody_knows_are_usage_errors() {
    let site = Site::new();
    for (arguments, parts) in [
        (["--suite", "nope"], ["'nope'", "demo, smoke, ci, full"]),
        (["--driver", "nope"], ["'nope'", "naive, retrying, separate, managed"]),
        (["--seed", "zz"], ["`zz`", "hexadecimal"]),
        (["--message-format", "xml"], ["'xml'", "human, json"]),
        (["--no-such-flag", "demo"], ["'--no-such-flag'", "--help"]),
    ] {
        site.run(&arguments).exits_with(2).says(&parts);
    }
    let mut command = site.run_command(&["smoke"]);
    Running::start(command.env("HARNESS_SEED", "zz")).finish().exits_with(2).says(&["`zz`"]);
    assert!(!site.output().exists(), "{:?}", site.leftovers());
}

/// A filter that matches nothing must not look like a pass.
#[test]
fn a_filter_that_matches_nothing_is_no_pass_and_the_report_says_so() {
    let site = Site::new();
    site.run(&["no-such-id"]).exits_with(4).says(&["no-such-id", "nothing ran", "harness list"]);
    assert_eq!(site.report().summary.exit_code, 4);
    assert!(site.report().scenarios.is_empty());

    let site = Site::new();
    site.run(&["alpha158-wf", "--driver", "retrying"]).exits_with(4).says(&["nothing ran"]);
    assert_eq!(site.report().summary.exit_code, 4);
    assert!(!site.latest().join("work").exists());
}

/// A scenario that reads its own prices, and these prices.
fn with_prices(site: &Site, prices: &str) -> (PathBuf, PathBuf) {
    let text = read(workspace().join("scenarios/smoke.toml"));
    let scenario = site.file("own.toml", text.replace("data/stocks.csv.gz", "prices.csv"));
    (scenario, site.file("prices.csv", prices))
}

#[track_caller]
fn refused_data(site: &Site, scenario: &Path, parts: &[String]) {
    site.run(&[scenario]).exits_with(2).says(parts);
    assert_eq!(site.leftovers(), Vec::<PathBuf>::new());
}

#[test]
fn a_broken_row_is_named_by_file_and_line() {
    let site = Site::new();
    let (scenario, prices) = with_prices(
        &site,
        "Ticker,Date,Open,High,Low,Close,Volume,Adj Close\n\
         IBM,2012-01-03,10,11,9,10.5,1000,10.5\n\
         IBM,2012-01-04,10,11,oops,10.5,1000,10.5\n",
    );
    let place = format!("`{}`, line 3: low is not a positive number", prices.display());
    refused_data(&site, &scenario, &[place, "mend the line or take it out".into()]);
}

#[test]
fn prices_that_are_missing_empty_foreign_or_too_few_are_refused_by_name() {
    let site = Site::new();
    let header = "Ticker,Date,Open,High,Low,Close,Volume,Adj Close\n";
    for (content, words) in [
        ("", "it is empty"),
        ("a,b\n1,2\n", "line 1: the header is `a,b`"),
        (&format!("{header}IBM,2012-01-03,10,11,9,10.5,1000,10.5\n"), "no ticker `AAPL`"),
    ] {
        let (scenario, prices) = with_prices(&site, content);
        refused_data(&site, &scenario, &[prices.display().to_string(), words.into()]);
    }
    let (scenario, prices) = with_prices(&site, "");
    fs::remove_file(&prices).unwrap();
    let words = format!("`{}`: there is no such file", prices.display());
    refused_data(&site, &scenario, &[words]);
    fs::create_dir(&prices).unwrap();
    refused_data(&site, &scenario, &[format!("`{}`: it is not a file", prices.display())]);
}

#[test]
fn a_scenario_that_its_prices_cannot_fill_is_refused() {
    let site = Site::new();
    let file = site.file("long.toml", smoke().replace("count = 2", "count = 5000"));
    refused_data(&site, &file, &["plan `smoke`".into(), "`windows.count` asks for 5000".into()]);
}

#[test]
fn an_output_that_is_a_file_is_an_error_of_the_output() {
    let site = Site::new();
    let file = site.file("out", "in the way");
    site.run(&["smoke"]).exits_with(74).says(&[&file.display().to_string(), "`--output`"]);
    assert_eq!(read(file), "in the way");
}

#[test]
fn something_in_the_place_of_latest_is_an_error_and_the_report_is_there_all_the_same() {
    let site = Site::new();
    fs::create_dir_all(site.output().join("latest/mine")).unwrap();
    site.run(&["smoke"]).exits_with(74).says(&["latest"]);
    let reports: Vec<_> =
        site.leftovers().into_iter().filter(|path| path.ends_with("report.json")).collect();
    assert_eq!(reports.len(), 1, "{:?}", site.leftovers());
    let stray = |path: &PathBuf| path.to_str().unwrap().starts_with(".latest");
    assert!(!site.leftovers().iter().any(stray), "{:?}", site.leftovers());
}

/// Runs `harness run smoke` on a disk of that size, which goes with the run. `None` where nobody may mount.
///
/// The shell prints the content of every report that is there at the end.
fn on_a_disk_of(space: &str) -> Option<Ran> {
    with_output_on_a_disk_of(space, "run smoke")
}

/// The same of other words of the command line.
fn with_output_on_a_disk_of(space: &str, words: &str) -> Option<Ran> {
    let site = Site::new();
    let disk = site.path("disk");
    fs::create_dir(&disk).unwrap();
    let script = "mount -t tmpfs -o size=$1 none $2 || exit 99; \
                  $3 $4 --output $2/out; code=$?; \
                  find $2/out -name '*report.json*' -exec cat {} +; exit $code";
    let mut command = Command::new("unshare");
    if !rustix::process::geteuid().is_root() {
        command.args(["--user", "--map-root-user"]);
    }
    command.args(["--mount", "sh", "-c", script, "sh", space]).arg(disk);
    command.args([env!("CARGO_BIN_EXE_harness"), words]).current_dir(workspace());
    let ran = Running::start(&mut command).finish();
    let permitted = ran.status.code() != Some(99) && !ran.stderr.starts_with("unshare:");
    permitted.then_some(ran)
}

#[test]
fn a_full_disk_is_an_error_that_names_it_and_leaves_no_half_of_a_report() {
    for size in ["16k", "64k", "300k"] {
        let Some(ran) = on_a_disk_of(size) else {
            eprintln!("not tested: mounting a tmpfs in a namespace is not permitted here");
            return;
        };
        let ran = ran.exits_with(74).says(&["No space left on device", "disk/out", "`--output`"]);
        assert_eq!(ran.stdout, "", "no report, whole or half, on a disk of {size}");
    }
    let on_a_disk_of = |size| on_a_disk_of(size).expect("it was permitted a moment ago");
    // Large enough to begin: the run is broken, and its report is whole.
    let ran = on_a_disk_of("1m").exits_with(70).says(&["No space left on device", "disk/out"]);
    let report: Value = serde_json::from_str(&ran.stdout).unwrap();
    assert_eq!(report["summary"]["exit_code"], 70);
    assert_eq!(report["scenarios"][0]["status"], "error");
    // Who meets the full disk first, the store or the history, is the kernel's to say.
    let ran = on_a_disk_of("2m").says(&["No space left on device"]);
    let report: Value = serde_json::from_str(&ran.stdout).unwrap();
    assert!([Some(1), Some(70)].contains(&ran.status.code()), "{}", ran.status);
    assert_eq!(report["summary"]["exit_code"], ran.status.code().unwrap());
    on_a_disk_of("20m").exits_with(0);
}

#[test]
fn a_full_disk_under_an_exploration_is_an_error_and_what_was_recorded_is_kept() {
    let words = "explore lost-update --driver naive";
    let Some(ran) = with_output_on_a_disk_of("8k", words) else {
        eprintln!("not tested: mounting a tmpfs in a namespace is not permitted here");
        return;
    };
    ran.exits_with(74).says(&["No space left on device", "disk/out", "`--output`"]);
    let on_a_disk_of = |size| with_output_on_a_disk_of(size, words).expect("it was permitted");
    on_a_disk_of("400k").exits_with(0);
}

/// A recorded history of a run that went well.
fn recorded(site: &Site) -> Vec<u8> {
    site.run(&["smoke", "-q"]).exits_with(0);
    fs::read(site.latest().join("histories/smoke.managed.jsonl")).unwrap()
}

fn check(file: &Path) -> Ran {
    Running::start(harness(&["check"]).arg(file)).finish()
}

/// A killed run ends in the middle of a line, perhaps of a character.
#[test]
fn a_history_whose_last_line_was_cut_is_checked_as_far_as_it_goes() {
    let site = Site::new();
    let mut history = recorded(&site);
    history.truncate(history.len() - 5);
    // Without the survey at its end, nobody can tell whether something leaked.
    let ran = check(&site.file("cut.jsonl", &history)).exits_with(3);
    let verdict = |id: &str| ran.stdout.lines().find(|line| line.starts_with(id)).unwrap();
    assert!(verdict("no_leak").contains("unknown"), "{}", ran.stdout);
    assert!(verdict("one_writer").contains("holds"), "{}", ran.stdout);

    let mut history = recorded(&site);
    history.extend("{\"t_ns\":1,\"actor\":\"é".bytes());
    history.pop();
    check(&site.file("cut-in-a-character.jsonl", &history)).exits_with(0);
}

#[test]
fn a_file_that_is_no_history_is_refused_with_the_line() {
    let site = Site::new();
    let history = recorded(&site);
    let text = String::from_utf8(history.clone()).unwrap();
    let header = text.lines().next().unwrap();
    let with_latin = [header.as_bytes(), b"\n{\"actor\":\"\xe9\"}\n"].concat();
    for (name, content, words) in [
        ("garbage", b"not json\n".to_vec(), "line 1: "),
        ("binary", vec![0, 159, 146, 150, b'\n', 1], "line 1: "),
        ("empty", Vec::new(), "the file is empty"),
        ("damaged", format!("{header}\n{{\"t_ns\":true}}\n").into_bytes(), "line 2: "),
        ("latin", with_latin, "line 2: "),
        ("blank", format!("{header}\n\n{}", &text[header.len() + 1..]).into_bytes(), "line 2: "),
        (
            "later",
            text.replacen("\"format_version\":\"1.0\"", "\"format_version\":\"9.0\"", 1).into(),
            "version `9.0`, this build reads `flockgate-history` version `1.0`",
        ),
        ("report", fs::read(site.latest().join(reports::FILE_NAME)).unwrap(), "line 1: "),
    ] {
        let file = site.file(name, content);
        check(&file).exits_with(2).says(&[&file.display().to_string(), words]);
    }
    let missing = site.path("missing.jsonl");
    check(&missing).exits_with(2).says(&[missing.display()]);
    check(&site.output()).exits_with(2).says(&[site.output().display()]);
}

#[test]
fn the_status_of_a_file_that_is_not_there_is_a_usage_error() {
    let site = Site::new();
    let missing = site.path("no-such.duckdb");
    Running::start(harness(&["status"]).arg(&missing))
        .finish()
        .exits_with(2)
        .says(&[&missing.display().to_string(), "there is no such file; check the path"]);
    assert!(!missing.exists());
}

/// The price is no name on a list: it says how far it knows, and the store refuses it as of an earlier session.
#[test]
fn a_price_that_folds_in_what_came_later_is_refused_by_the_store_before_anything_runs() {
    let site = Site::new();
    let text = smoke().replace("from = ", "price = \"Adj Close\"\nfrom = ");
    let file = site.file("leak.toml", &text);
    site.run(&[file.as_path()]).exits_with(2).says(&[
        "the facts folded into its input `Adj Close` reach up to position 291",
        "read `Adj Close` as it was known at 174",
    ]);
    assert_eq!(site.leftovers(), [""; 0].map(PathBuf::from));
    // Without the manager nobody refuses it.
    let text = text.replace("[\"managed\"]", "[\"retrying\", \"managed\"]");
    let file = site.file("leak.toml", text);
    site.run(&[file.as_path(), "--driver".as_ref(), "retrying".as_ref()]).exits_with(0);
}
