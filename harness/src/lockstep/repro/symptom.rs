//! What two failures have in common if they are one: the property that is broken, and in which way.
//!
//! # Scope of determinism
//!
//! A pure function of the script and the log.

use serde::{Deserialize, Serialize};

use crate::check::{Finding, Verdict};
use crate::lockstep::check;
use crate::lockstep::log::Log;
use crate::scenario::script::Script;

/// See the module's header.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Symptom {
    /// The property's id.
    pub check: String,
    /// The words of a line of evidence, without the names, numbers and statements of this one case.
    pub kind: String,
}

impl Symptom {
    /// That of a finding; none if nothing is broken.
    pub fn of(script: &Script, check: &str, finding: &Finding) -> Option<Self> {
        let is_violated = finding.verdict == Verdict::Violated;
        let line = finding.because.first().unwrap_or(&finding.message);
        is_violated.then(|| Self { check: check.to_owned(), kind: kind(script, line) })
    }

    /// Everything that is broken in a log, and what the checks say about it.
    pub fn all(script: &Script, log: &Log) -> Vec<(Self, Finding)> {
        let findings = check::all().into_iter().filter_map(|check| {
            let finding = check.judge(script, log)?;
            Some((Self::of(script, check.id(), &finding)?, finding))
        });
        findings.collect()
    }

    /// What its check says about a log, and whether it is this.
    pub fn look(&self, script: &Script, log: &Log) -> (Option<Finding>, bool) {
        let check = check::all().into_iter().find(|check| check.id() == self.check);
        let finding = check.and_then(|check| check.judge(script, log));
        let is_this = |finding: &Finding| {
            let mut lines = finding.because.iter().chain([&finding.message]);
            finding.verdict == Verdict::Violated
                && lines.any(|line| kind(script, line) == self.kind)
        };
        let fails = finding.as_ref().is_some_and(is_this);
        (finding, fails)
    }
}

/// Of two cases of one failure the lines differ in who is accused, of what, and in numbers.
fn kind(script: &Script, line: &str) -> String {
    let unquoted: String = line.split('`').step_by(2).collect();
    let is_name = |word: &str| word == "and" || script.actors.iter().any(|actor| actor.id == word);
    let words =
        unquoted.split_whitespace().map(|word| word.trim_matches([':', ',', '.', '(', ')']));
    let plain = words.filter(|word| {
        let is_word = word.chars().all(|letter| letter.is_ascii_alphabetic());
        !word.is_empty() && is_word && !is_name(word)
    });
    plain.collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    #[test]
    fn a_kind_has_the_words_and_not_the_names_numbers_and_statements() {
        let text = "format = 1\nid = \"x\"\ntitle = \"x\"\nsuites = [\"ci\"]\nmode = \"lockstep\"\n\
                    drivers = [\"naive\"]\n[database]\nsetup = [\"-\"]\n\
                    [[actors]]\nid = \"ada\"\nsteps = [\"-\"]\n[[actors]]\nid = \"b-1\"\nsteps = [\"-\"]\n";
        let script = Script::parse(Path::new("x.toml"), text.as_bytes()).unwrap();
        let kind = |line| kind(&script, line);
        assert_eq!(
            kind("ada: `UPDATE a` failed at step 3 (conflict), and the commit at step 9 said so"),
            "failed at step conflict the commit at step said so"
        );
        assert_eq!(
            kind("committed by ada, b-1, each adding 1: 1 of it is gone"),
            kind("committed by b-1 and ada, each adding 7: 21 of it is gone"),
        );
        assert_ne!(kind("1 of it is gone"), kind("1 more than was committed"));
    }
}
