//! Processes are killed at random moments, two hundred times, and nobody else loses by it.
//!
//! The storm is a program, `examples/kill_storm`, which says how it works and kills ten thousand on demand. Its checker
//! is tested here too: a checker that finds nothing proves nothing.

use std::io::Write;
use std::process::{Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use crate::peer::example;
use crate::support::{Running, Site};

// The checker and what it stands on, for their own tests.
#[path = "../../examples/kill_storm/check.rs"]
mod check;
#[path = "../../examples/kill_storm/history.rs"]
mod history;
#[path = "../../examples/kill_storm/journal.rs"]
mod journal;

/// No storm of these tests takes longer, on a machine that does much else.
const STORM_MAX: Duration = Duration::from_mins(4);

/// Runs a storm in a folder of its own and returns how it ended and what it printed.
fn storm(arguments: &[&str]) -> (ExitStatus, String) {
    let site = Site::empty();
    let mut storm = Command::new(example("kill_storm"))
        .args(arguments)
        .arg("--folder")
        .arg(site.folder())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let output = storm.stdout.take().unwrap();
    let reading = Running::begin(move || std::io::read_to_string(output).unwrap());
    let deadline = Instant::now() + STORM_MAX;
    let status = loop {
        if let Some(status) = storm.try_wait().unwrap() {
            break status;
        }
        if Instant::now() > deadline {
            storm.kill().unwrap(); // its workers end when it is gone
            storm.wait().unwrap();
            panic!("a storm is still not over after {STORM_MAX:?}: {}", reading.finish());
        }
        thread::sleep(Duration::from_millis(5));
    };
    (status, reading.finish())
}

#[test]
fn two_hundred_kills_at_random_moments_lose_nothing_and_strand_nobody() {
    let (status, output) = storm(&["--kills", "200"]);
    println!("{output}");
    match status.code() {
        Some(0) => {}
        // About once in a hundred runs; `torn_checkpoint.rs` has it every time.
        Some(3) => {
            let met = "a checkpoint of DuckDB was cut off, which is a known defect; all else holds";
            let _ =
                writeln!(std::io::stderr(), "NOT HELD: that a file opens after each kill: {met}");
        }
        _ => panic!("{status}: {output}"),
    }
    for part in ["kills 200 ", "lost 0, partial 0, duplicate 0, risen 0, unexplained 0"] {
        assert!(output.contains(part), "`{part}` is in: {output}");
    }
}

#[test]
fn a_storm_that_lost_an_acknowledged_transaction_fails_and_tells_how_to_see_it_again() {
    let (status, output) = storm(&["--kills", "6", "--seed", "0x2a", "--canary", "drop-ack"]);
    assert_eq!(status.code(), Some(1), "{output}");
    for part in [
        "seed 0x000000000000002a",
        "lost 1,",
        "the last of the history:",
        "VIOLATED: transaction ",
        "was acknowledged or seen and is gone",
    ] {
        assert!(output.contains(part), "`{part}` is in: {output}");
    }
}

#[test]
fn a_storm_whose_worker_sees_half_a_transaction_fails() {
    let (status, output) = storm(&["--kills", "6", "--canary", "torn-row"]);
    assert_eq!(status.code(), Some(1), "{output}");
    assert!(output.contains("counters are not what their rows say"), "{output}");
}

#[test]
fn a_storm_that_strands_its_workers_fails_and_names_who_is_in_the_way() {
    let arguments = ["--kills", "6", "--canary", "strand", "--recovery-max-ms", "4000"];
    let (status, output) = storm(&arguments);
    assert_eq!(status.code(), Some(1), "{output}");
    assert!(output.contains("got nothing for 4s"), "{output}");
    assert!(output.contains("at the gate: pid "), "{output}");
}

#[test]
fn a_storm_in_which_the_gate_is_given_before_the_file_is_free_fails() {
    let (status, output) = storm(&["--kills", "6", "--canary", "outsider"]);
    assert_eq!(status.code(), Some(1), "{output}");
    assert!(output.contains("had the gate and found the file held"), "{output}");
}

#[test]
fn a_storm_that_meets_a_file_torn_by_duckdb_mends_it_and_tells_so() {
    let (status, output) = storm(&["--kills", "6", "--canary", "tear"]);
    assert_eq!(status.code(), Some(3), "{output}");
    assert!(output.contains("lost 0, partial 0, duplicate 0, risen 0"), "{output}");
    assert!(output.contains("TORN: "), "{output}");
}
