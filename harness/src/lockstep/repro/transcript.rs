//! The statements of a schedule in order, with who types which: each actor into a shell of its own.
//!
//! # Scope of determinism
//!
//! A pure function of the repro and its log.

use std::fmt::Write as _;

use super::Repro;
use crate::lockstep::driver::{Class, Command};
use crate::lockstep::log::{Ended, Log, Step};
use crate::lockstep::{sql, stage};
use crate::scenario::script::{EachActor, Script};

pub(super) fn of(repro: &Repro, script: &Script, log: &Log) -> String {
    let mut text = head(repro, script);
    for statement in &script.setup {
        let _ = writeln!(text, "{}", closed(statement)); // writing to a String does not fail
    }
    let mut last = "";
    for step in &log.steps {
        let actor = step.decision.actor.as_str();
        if actor != last {
            let _ = writeln!(text, "\n-- actor: {actor}");
            last = actor;
        }
        text += &typed(step);
    }
    text += "\n-- actor: nobody any longer\n";
    if let Some(counter) = &script.counter {
        let found = log.end.as_ref().and_then(|end| end.counter);
        let seen = found.map_or_else(String::new, |[before, after]| {
            format!(" -- {after}; {before} at the beginning")
        });
        let _ = writeln!(text, "{}{seen}", closed(&counter.query));
    }
    if let Some(Ended::Deadlock { .. }) = log.end.as_ref().map(|end| &end.ended) {
        text += "-- nobody can move\n";
    }
    let _ = writeln!(text, "-- {}: {}", repro.symptom.check, commented(&repro.message));
    text
}

fn head(repro: &Repro, script: &Script) -> String {
    let shell = match script.each_actor {
        EachActor::Thread => "a connection of its own to one instance",
        EachActor::Process => "a process of its own",
    };
    let mut text = format!(
        "-- {} on {}: {} is broken.\n-- Each actor has {shell}. Everything is typed in this order; a line's comment says \
         how it ended.\n",
        repro.scenario, repro.driver, repro.symptom.check
    );
    if let Some(pair) = &repro.critical_pair {
        let _ = writeln!(text, "-- {}", commented(pair));
    }
    text + "\n-- set-up\n"
}

/// What is typed for a step, and what comes of it.
fn typed(step: &Step) -> String {
    let decision = &step.decision;
    let mut line = match (&decision.at, Command::of(&decision.op)) {
        (Some(at), _) => format!("-- … goes on, from {at}"),
        (
            None,
            Command::BeginPhase(_)
            | Command::EndPhase(_)
            | Command::Barge
            | Command::Panic
            | Command::Nest
            | Command::Store(_)
            | Command::Sql(stage::RESTART | stage::ON_ITS_OWN),
        ) => format!("-- {}", decision.op),
        (None, Command::Open) => "-- opens the file".to_owned(),
        (None, Command::Close) => "-- closes the file".to_owned(),
        (None, Command::Touch) => "-- opens the file as any file, and closes it".to_owned(),
        (None, Command::Create) => sql::creation(&format!("'{}'", sql::NEW)),
        (None, command) => closed(command.sql()),
    };
    if !decision.act.is_go() {
        line = format!("-- {}: {}", decision.act, commented(&line));
    }
    let Some(came) = &step.came else { return line + " -- was not seen to end\n" };
    let shown = commented(came.outcome.shown.trim_end());
    let class = came.outcome.class;
    match (class, shown.is_empty()) {
        (Class::Blocked, _) => format!("{line} -- has to wait: {shown}\n"),
        (Class::Paused, false) => format!("{line} -- stops before {shown}\n"),
        (_, true) => format!("{line} -- {class}\n"),
        (_, false) => format!("{line} -- {class}: {shown}\n"),
    }
}

/// Comments end with their line.
fn commented(text: &str) -> String {
    text.replace('\n', " / ")
}

fn closed(statement: &str) -> String {
    let statement = statement.trim_end().trim_end_matches(';');
    format!("{statement};")
}
