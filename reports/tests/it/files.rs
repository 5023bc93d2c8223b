//! What is on disk during and after `write`, and what `read` takes and refuses.

use std::fs;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use reports::{FILE_NAME, ReadError, Report, ScenarioReport, Status, WriteError};
use serde_json::{Value, json};

use crate::example;
use crate::folder::Folder;

/// The example as JSON, for tests that damage it.
fn example_json() -> Value {
    serde_json::to_value(example::report()).expect("the example has a JSON form")
}

fn read_json(folder: &Folder, json: &Value) -> Result<Report, ReadError> {
    Report::read(folder.put("report.json", &json.to_string()))
}

#[test]
fn a_written_report_reads_back_equal_and_is_alone_in_its_folder() {
    let folder = Folder::new("alone");
    let path = example::report().write(folder.path()).expect("a writable folder");
    assert_eq!(path, folder.path().join(FILE_NAME));
    assert_eq!(folder.names(), [FILE_NAME]);
    assert_eq!(Report::read(path).expect("our own report"), example::report());
}

#[test]
fn a_shorter_report_leaves_nothing_of_the_longer_one_it_replaces() {
    let folder = Folder::new("shorter");
    example::report().write(folder.path()).expect("a writable folder");
    let short = example::report_of(Vec::new());
    let path = short.write(folder.path()).expect("a writable folder");
    assert_eq!(Report::read(path).expect("the short report"), short);
}

/// A CI job polled `report.json` while it was written and parsed half of it.
#[test]
fn a_reader_beside_two_writers_never_sees_a_part_of_a_report() {
    let folder = Folder::new("beside");
    let long = example::report_of(vec![example::naive(); 200]);
    let short = example::report_of(vec![example::managed()]);
    let path = long.write(folder.path()).expect("a writable folder");
    let is_done = AtomicBool::new(false);
    thread::scope(|scope| {
        let reader = scope.spawn(|| {
            while !is_done.load(Ordering::Acquire) {
                let seen = Report::read(&path).expect("a whole report at all times");
                assert!(seen == long || seen == short, "a mixture of two reports");
            }
        });
        let writers = [&long, &short].map(|report| {
            let folder = folder.path();
            scope.spawn(move || {
                for _ in 0..20 {
                    report.write(folder).expect("two writers do not meet");
                }
            })
        });
        // The reader is told to stop before anything can panic, or it would read on for ever.
        let ends = writers.map(thread::ScopedJoinHandle::join);
        is_done.store(true, Ordering::Release);
        for end in ends {
            end.expect("the writer is content");
        }
        reader.join().expect("the reader is content");
    });
    assert_eq!(folder.names(), [FILE_NAME]);
}

#[test]
fn a_missing_folder_is_named_together_with_the_way_out() {
    let folder = Folder::new("missing");
    let missing = folder.path().join("not-there");
    let error = example::report().write(&missing).expect_err("no such folder");
    assert!(matches!(error, WriteError::Create { .. }), "{error:?}");
    let text = error.to_string();
    assert!(text.contains(&missing.display().to_string()), "{text}");
    assert!(text.contains("--output"), "{text}");
}

#[test]
fn a_report_that_cannot_get_its_name_takes_its_temporary_file_away() {
    let folder = Folder::new("occupied");
    fs::create_dir(folder.path().join(FILE_NAME)).expect("a folder in the way");
    let error = example::report().write(folder.path()).expect_err("the name is taken");
    assert!(matches!(error, WriteError::Publish { .. }), "{error:?}");
    assert_eq!(folder.names(), [FILE_NAME]);
}

/// `serde_json` writes NaN as `null`, and the report could never be read again.
#[test]
fn a_score_that_is_no_number_is_refused_and_the_old_report_stays() {
    let folder = Folder::new("not-a-number");
    let path = example::report().write(folder.path()).expect("a writable folder");
    let mut broken = example::report();
    broken.scenarios[0].scores[0].r2_out_of_sample = f64::NAN;
    let error = broken.write(folder.path()).expect_err("NaN is not JSON");
    assert!(matches!(error, WriteError::Encode { .. }), "{error:?}");
    assert_eq!(Report::read(path).expect("the old report"), example::report());
    assert_eq!(folder.names(), [FILE_NAME]);
}

#[test]
fn a_later_minor_version_with_unknown_keys_is_read_and_keeps_its_number() {
    let folder = Folder::new("minor");
    let mut json = example_json();
    json["format_version"] = json!("1.7");
    json["added_later"] = json!({ "by": "1.1" });
    json["scenarios"][0]["conflict_matrix"] = json!([[0, 1], [2, 0]]);
    let report = read_json(&folder, &json).expect("a minor version only adds");
    assert_eq!(report.format_version, "1.7");
    assert_eq!(report.scenarios, example::report().scenarios);
}

#[test]
fn a_later_major_version_is_refused_by_its_number_whatever_it_holds() {
    let folder = Folder::new("major");
    for version in ["2.0", "10.0", "0.9", "1", "one.zero", ""] {
        let json = json!({ "format": "flockgate-report", "format_version": version });
        let error = read_json(&folder, &json).expect_err(version);
        let ReadError::Version { found, .. } = &error else {
            panic!("{error:?} for `{version}`");
        };
        assert_eq!(found, version);
        assert!(error.to_string().contains("1.x"), "{error}");
    }
}

#[test]
fn a_file_of_another_format_is_refused_by_the_name_it_gives_itself() {
    let folder = Folder::new("format");
    for (json, name) in [
        (json!({ "format": "flockgate-history", "format_version": "1.0" }), "flockgate-history"),
        (json!({ "name": "something else" }), ""),
    ] {
        let error = read_json(&folder, &json).expect_err("no report");
        assert!(matches!(&error, ReadError::Format { found, .. } if found == name), "{error:?}");
    }
}

#[test]
fn a_status_of_a_later_version_is_read_as_an_error_and_not_as_a_pass() {
    let folder = Folder::new("status");
    let mut json = example_json();
    json["summary"]["status"] = json!("skipped");
    json["scenarios"][1]["status"] = json!("flaky");
    let report = read_json(&folder, &json).expect("an unknown status is no obstacle");
    assert_eq!(report.summary.status, Status::Error);
    assert_eq!(report.scenarios[1].status, Status::Error);
    assert_eq!(report.scenarios[0].status, Status::Passed);
}

#[test]
fn a_report_cut_short_is_refused_with_its_path_and_line() {
    let folder = Folder::new("cut");
    let whole = serde_json::to_string_pretty(&example_json()).expect("JSON");
    let path = folder.put("report.json", &whole[..whole.len() / 2]);
    let error = Report::read(&path).expect_err("half a report");
    assert!(matches!(error, ReadError::Parse { .. }), "{error:?}");
    let text = error.to_string();
    assert!(text.contains(&path.display().to_string()), "{text}");
    assert!(text.contains("line"), "{text}");
}

#[test]
fn a_missing_file_is_named() {
    let folder = Folder::new("no-file");
    let path = folder.path().join("report.json");
    let error = Report::read(&path).expect_err("no such file");
    assert!(matches!(error, ReadError::Io { .. }), "{error:?}");
    assert!(error.to_string().contains(&path.display().to_string()), "{error}");
}

#[test]
fn seeds_and_hashes_are_strings_in_the_file_and_numbers_carry_no_unit() {
    let json = example_json();
    let scenario = &json["scenarios"][0];
    assert_eq!(scenario["seed"], "0x5eed00000000002a");
    assert_eq!(scenario["digest"], "0xb7d3000000000001");
    assert_eq!(scenario["failure"]["fingerprint"], "0xb7d391ac0f5e2d48");
    assert_eq!(scenario["duration_ns"], 31_415_926_535_u64);
    assert_eq!(scenario["mode"], "free");
    assert_eq!(scenario["checks"][0]["status"], "violated");
    assert_eq!(json["kind"], "run");
}

#[test]
fn null_and_absent_optional_fields_read_alike() {
    let folder = Folder::new("optional");
    let mut json = example_json();
    let managed = json["scenarios"][1].as_object_mut().expect("an object");
    assert_eq!(managed["failure"], Value::Null);
    managed.remove("failure");
    let report = read_json(&folder, &json).expect("an optional field");
    let scenario: &ScenarioReport = &report.scenarios[1];
    assert_eq!(scenario.failure, None);
}
