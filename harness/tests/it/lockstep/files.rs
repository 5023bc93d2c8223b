//! Logs as files: cut off, foreign, damaged.

use std::fs;
use std::path::Path;

use harness::lockstep::act::Move;
use harness::lockstep::log::{Came, Log};
use harness::lockstep::replay::Replayed;
use harness::lockstep::schedule;
use harness::lockstep::strategy::{Chooser, Offer, Stop};

use super::{Bench, Kind, Naive, Seed, explore, shipped};

/// A log of a real schedule, as bytes.
fn recorded(bench: &Bench) -> Vec<u8> {
    let script = shipped("lost-update.toml");
    let mut strategy = explore::strategy(Kind::Random, Seed(7), &script);
    assert!(strategy.begin());
    bench.run(&script, &Naive, &mut *strategy).unwrap().1
}

#[test]
fn a_log_that_is_cut_off_anywhere_is_read_up_to_its_last_whole_line() {
    let bench = Bench::new();
    let bytes = recorded(&bench);
    let whole = Log::parse("x", &bytes).unwrap();
    let header = bytes.iter().position(|&byte| byte == b'\n').unwrap();
    for length in header + 1..bytes.len() {
        let log = Log::parse("x", &bytes[..length]).unwrap();
        assert!(log.is_cut() && log.steps.len() <= whole.steps.len());
        let known = whole.steps.iter().map(|step| &step.decision);
        assert!(log.steps.iter().map(|step| &step.decision).zip(known).all(|(a, b)| a == b));
    }
    for length in [0, 1, header] {
        let error = Log::parse("x", &bytes[..length]).unwrap_err().to_string();
        assert_eq!(
            error,
            "x:1: expected the header of a decision log (`flockgate-decisions`), found no whole line"
        );
    }
}

#[test]
fn a_log_that_is_cut_off_is_replayed_as_far_as_it_goes() {
    let bench = Bench::new();
    let bytes = recorded(&bench);
    let cut = Log::parse("x", &bytes[..bytes.len() * 3 / 4]).unwrap();
    assert!(1 < cut.steps.len());
    let replayed = bench.replay(&cut, &shipped("lost-update.toml"), &Naive);
    assert_eq!(replayed, Replayed::Cut(cut.steps.len() as u64));
}

#[test]
fn foreign_and_damaged_logs_are_refused_with_what_was_expected() {
    let bench = Bench::new();
    let text = String::from_utf8(recorded(&bench)).unwrap();
    let refused = |text: &str| Log::parse("x", text.as_bytes()).unwrap_err().to_string();
    assert_eq!(
        refused(&text.replacen("\"version\":2", "\"version\":3", 1)),
        "x:1: the decision log has format version 3, this build reads 1 to 2; replay it with the build that wrote it"
    );
    assert_eq!(
        refused(&text.replacen("flockgate-decisions", "flockgate-report", 1)),
        "x:1: expected the header of a decision log (`flockgate-decisions`), found `flockgate-report`"
    );
    assert!(refused("not JSON\n").ends_with("found something that is no JSON"));
    let mut lines: Vec<&str> = text.lines().collect();
    lines.remove(3);
    assert_eq!(
        refused(&(lines.join("\n") + "\n")),
        "x:4: a line out of order; the log is damaged, not only cut off"
    );
    let garbage = text.replacen("\"line\":\"came\"", "\"line\":\"went\"", 1);
    assert!(refused(&garbage).starts_with("x:3: unknown variant `went`"), "{}", refused(&garbage));
}

/// Moves the first, and looks into the log before the outcome is in it.
struct Peeking<'a>(&'a Path, Vec<String>);
impl Chooser for Peeking<'_> {
    fn choose(&mut self, offer: &Offer<'_>) -> Result<Move, Stop> {
        Ok(Move::go(offer.enabled[0]))
    }

    fn came(&mut self, _: &Came) -> Result<(), Stop> {
        // The step has run, and its outcome is not in the file yet.
        let text = fs::read_to_string(self.0).unwrap();
        self.1.push(text.lines().last().unwrap().to_owned());
        Ok(())
    }
}

#[test]
fn the_decision_is_in_the_file_before_its_step_runs() {
    let bench = Bench::new();
    let script = super::script(&[("ada", &["one", "panic"])]);
    let file = bench.folder.path().join("log.jsonl");
    let mut peeking = Peeking(&file, Vec::new());
    let header = explore::header(&script, "fake", Seed(7), "peeking".into(), &bench.build);
    bench
        .job(&script, &super::Fake, |job| schedule::run(job, &mut peeking, &file, header).unwrap());
    let seen = peeking.1;
    assert_eq!(seen.len(), 2);
    assert!(seen.iter().all(|line| line.starts_with("{\"line\":\"decision\"")), "{seen:?}");
}
