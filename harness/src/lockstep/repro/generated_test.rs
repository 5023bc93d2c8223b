//! A repro as a test in Rust, for a crate that depends on this one. One of them is part of our own tests.
//!
//! # Scope of determinism
//!
//! A pure function of the repro and its log. It has no build and no time in it, and is formatted as `rustfmt` would.

use std::fmt::Write as _;

use super::Repro;
use crate::lockstep::log::Log;
use crate::scenario::script::{EachActor, Script};

pub(super) fn of(repro: &Repro, script: &Script, log: &Log) -> String {
    let name = format!("{}_on_{}_breaks_{}", script.id, repro.driver, repro.symptom.check);
    let name = name.replace('-', "_");
    let mut text = format!(
        "//! `{}` on `{}`: `{}` is broken.\n//!\n//! Written by `harness shrink`.\n\n",
        repro.scenario, repro.driver, repro.symptom.check
    );
    let processes = script.each_actor == EachActor::Process;
    if processes {
        text += "use harness::lockstep::process::use_program;\n";
    }
    text += "use harness::lockstep::repro::Repro;\n\n";
    for line in repro.critical_pair.iter().chain([&repro.message]) {
        let _ = writeln!(text, "// {}", line.replace('\n', " ")); // writing to a String does not fail
    }
    let _ = writeln!(text, "#[test]\nfn {name}() {{");
    if processes {
        text += "    // The actors are processes: of a `harness` that was built, or a program that calls `actor::serve`.\n    \
                 let program = std::env::var_os(\"HARNESS_PROGRAM\").expect(\"HARNESS_PROGRAM names it\");\n    \
                 use_program(program.into());\n";
    }
    let _ = writeln!(
        text,
        "    let repro = Repro::new(SCENARIO, {:?}, CHECK, MOVES).expect(\"it was written with this text\");\n    \
         let verdict = repro.verdict().expect(\"it can be run\");\n    \
         assert!(verdict.is_failure(), \"it does not fail: {{:?}}\", verdict.finding);\n}}\n",
        repro.driver
    );
    let marks = "#".repeat(marks(&repro.scenario_text));
    let _ = write!(
        text,
        "/// The property, and in which way it is broken.\n#[rustfmt::skip]\nconst CHECK: [&str; 2] = [{:?}, {:?}];\n\n\
         /// Who moves, and what happens to it; what it does then is what the driver makes of it.\n\
         #[rustfmt::skip]\nconst MOVES: &[(&str, &str)] = &[\n",
        repro.symptom.check, repro.symptom.kind
    );
    let longest = repro.moves.iter().map(|step| step.actor.len()).max().unwrap_or(0);
    for (step, logged) in repro.moves.iter().zip(&log.steps) {
        let decision = &logged.decision;
        let at = decision.at.as_ref().map(|at| format!(", at {at}")).unwrap_or_default();
        let (actor, act) = (format!("{:?},", step.actor), format!("{:?}", step.act.to_string()));
        let doing = format!("{}{at}", decision.op).replace('\n', " ");
        let _ = writeln!(text, "    ({actor:width$} {act}), // {doing}", width = longest + 3);
    }
    let _ = writeln!(
        text,
        "];\n\n#[rustfmt::skip]\nconst SCENARIO: &str = r{marks}\"{}\"{marks};",
        repro.scenario_text
    );
    text
}

/// How many `#` a raw text needs around it.
fn marks(text: &str) -> usize {
    let behind_quotes = text.split('"').skip(1);
    let runs = behind_quotes.map(|rest| rest.len() - rest.trim_start_matches('#').len());
    runs.max().map_or(1, |longest| longest + 1)
}

#[cfg(test)]
mod tests {
    use super::marks;

    #[test]
    fn a_raw_text_has_more_marks_around_it_than_behind_any_of_its_quotes() {
        assert_eq!(marks("plain"), 1);
        assert_eq!(marks("a \"b\" c"), 1);
        assert_eq!(marks("r#\"b\"#"), 2);
        assert_eq!(marks("\"##"), 3);
    }
}
