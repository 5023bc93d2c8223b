//! Scenarios at random: two or three actors, transactions over three tables, any driver, threads or processes, points
//! within operations, faults.

use std::fmt::Write as _;

use crate::seed::{Prng, Seed};

/// A scenario's text: the one of that number.
pub fn text(seed: Seed, number: u64) -> String {
    let mut draws = seed.stream(&format!("determinism/{number}"));
    let mut text = format!(
        "format = 1\nid = \"drawn-{number}\"\ntitle = \"Drawn\"\nsuites = [\"full\"]\nmode = \"lockstep\"\n"
    );
    let are_processes = draws.below(3) == 0;
    let drivers: &[&str] = if are_processes {
        &["naive", "retrying", "managed"]
    } else {
        &["naive", "naive", "naive", "retrying", "separate", "managed"]
    };
    let driver = one_of(&mut draws, drivers);
    let _ = writeln!(text, "drivers = [\"{driver}\"]"); // writing to a String does not fail, here and below
    if are_processes {
        text += "each_actor = \"process\"\n";
    }
    let has_calls = are_processes && draws.below(2) == 0;
    if has_calls {
        text += "points = \"io\"\n";
    } else if driver == "managed" && draws.below(2) == 0 {
        text += "points = \"manager\"\n";
    }
    if has_calls {
        let kinds =
            ["kill", "torn", "eio", "enospc", "full", "loss-strict", "pause", "loss-ordered"];
        let first = draws.below(kinds.len() as u64) as usize;
        let kinds = &kinds[first..];
        let restart = draws.below(2) == 0;
        let _ = writeln!(text, "[faults]\nkinds = {kinds:?}\nat_most = 1\nrestart = {restart}");
    }
    let key = one_of(&mut draws, &["", " PRIMARY KEY"]);
    let made = |table| format!("CREATE TABLE t{table} (id INTEGER{key}, n INTEGER)");
    let filled = |table| format!("INSERT INTO t{table} VALUES (0, 0), (1, 10), (2, 20)");
    let setup: Vec<String> = (0..3).flat_map(|table| [made(table), filled(table)]).collect();
    let _ = writeln!(text, "[database]\nsetup = {setup:?}");
    for actor in 0..2 + draws.below(2) {
        let steps: Vec<String> =
            (0..=draws.below(2)).flat_map(|_| transaction(&mut draws)).collect();
        let _ = writeln!(text, "[[actors]]\nid = \"a{actor}\"\nsteps = {steps:?}");
    }
    text += "[counter]\nquery = \"SELECT count(*) FROM t0\"\neach_commit_adds = 1\n";
    text
}

fn transaction(draws: &mut Prng) -> Vec<String> {
    match draws.below(8) {
        0 => vec![statement(draws)],
        1 => vec!["CHECKPOINT".to_owned()],
        2 => vec!["begin read".to_owned(), query(draws), query(draws), "commit".to_owned()],
        _ => {
            let mut steps = vec!["begin write".to_owned()];
            steps.extend((0..=draws.below(2)).map(|_| statement(draws)));
            steps.push(one_of(draws, &["commit", "commit", "commit", "rollback"]).to_owned());
            steps
        }
    }
}

fn statement(draws: &mut Prng) -> String {
    let (table, id, value) = (draws.below(3), draws.below(4), draws.below(100));
    match draws.below(7) {
        0 => query(draws),
        1 | 2 => format!("INSERT INTO t{table} VALUES ({id}, {value})"),
        3 => format!("DELETE FROM t{table} WHERE id = {id}"),
        4 => format!("CREATE TABLE IF NOT EXISTS u{table} (n INTEGER)"),
        _ => format!("UPDATE t{table} SET n = n + {value} WHERE id = {id}"),
    }
}

fn query(draws: &mut Prng) -> String {
    format!("SELECT id, n FROM t{} ORDER BY ALL", draws.below(3))
}

fn one_of<'a>(draws: &mut Prng, all: &[&'a str]) -> &'a str {
    all[draws.below(all.len() as u64) as usize]
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::path::Path;

    use super::*;
    use crate::scenario::script::{EachActor, Points, Script};

    #[test]
    fn what_is_drawn_is_a_scenario_and_all_kinds_are() {
        let mut kinds = BTreeSet::new();
        for number in 0..200 {
            let text = text(Seed(7), number);
            let script = Script::parse(Path::new("drawn.toml"), text.as_bytes());
            let script = script.unwrap_or_else(|error| panic!("{error}\n{text}"));
            let is_process = script.each_actor == EachActor::Process;
            let (has_calls, faults) = (script.points == Points::Io, script.faults.is_some());
            kinds.insert((script.drivers[0].clone(), is_process, has_calls, faults));
        }
        // Four drivers as threads; three as processes, with I/O calls and without.
        assert_eq!(kinds.len(), 10, "{kinds:?}");
    }
}
