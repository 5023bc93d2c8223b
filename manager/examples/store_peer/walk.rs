//! A share in a walk-forward of four windows with three tasks: 24 steps.
//!
//! `walk FOLDER [fail=WINDOW] [die=STEP]` takes part. Each step that it does makes a file `FOLDER/WINDOW.PHASE.TASK.PID`;
//! with `die` it kills itself in its so manyth step, with `fail` the first task of that window's evaluation fails. The answer is
//! `walked DONE_HERE TOLD OUTCOMES`: steps done, calls of progress, and all outcomes.

use std::cell::Cell;
use std::fs::File;
use std::path::Path;
use std::time::Duration;

use manager::{
    Error, FeatureStore, Fingerprint, Phase, Step, WalkForward, WalkForwardDriver, WindowMode,
};
use rustix::process::{Signal, getpid, kill_process};

use super::Outcome;

pub(crate) fn run(store: &FeatureStore, words: &[&str]) -> Outcome<String> {
    let (folder, options) = words.split_first().ok_or("say a folder")?;
    let option = |name: &str| -> Option<u64> {
        options.iter().find_map(|option| option.strip_prefix(name)?.parse().ok())
    };
    let shape = WalkForward {
        positions: 100,
        train: 50,
        eval: 10,
        step: 10,
        label_horizon: 5,
        embargo: 1,
        mode: WindowMode::Rolling,
        keep_tail: false,
    };
    let (told, steps) = (Cell::new(0), Cell::new(0));
    let walk = WalkForwardDriver::new(store, "nightly", shape)
        .tasks(["AAPL", "IBM", "SAP"])
        .identity(Fingerprint::of("v1"))
        .progress(|_| told.set(told.get() + 1));
    let walked = walk.run(|step| {
        steps.set(steps.get() + 1);
        let is_last = option("die=") == Some(steps.get());
        do_step(step, Path::new(folder), is_last, option("fail="))
    })?;
    let outcomes: Vec<String> = walked
        .windows
        .iter()
        .flat_map(|window| window.trained.iter().chain(&window.evaluated))
        .map(|bytes| String::from_utf8_lossy(bytes).into_owned())
        .collect();
    Ok(format!("walked {} {} {}", walked.done_here, told.get(), outcomes.join(",")))
}

fn do_step(
    step: &Step<'_>,
    folder: &Path,
    is_last: bool,
    fails: Option<u64>,
) -> Result<Vec<u8>, Error> {
    let name = format!("{}.{}.{}", step.window.id, step.phase, step.task);
    let mark = folder.join(format!("{name}.{}", std::process::id()));
    File::create_new(mark).expect("no process does a step twice");
    if step.phase == Phase::Evaluation {
        assert_eq!(step.trained.len(), 3, "all of the training comes first");
        if fails == Some(u64::from(step.window.id)) && step.task == "AAPL" {
            let source = std::io::Error::other("the model is gone");
            return Err(Error::Io { action: "score", path: name.into(), source });
        }
    }
    std::thread::sleep(Duration::from_millis(2)); // so that the others come to wait
    if is_last {
        let _ = kill_process(getpid(), Signal::KILL);
    }
    Ok(name.into_bytes())
}
