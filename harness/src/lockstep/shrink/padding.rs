//! Scenarios made larger by what their failures do not need: something to leave out.
//!
//! # Scope of determinism
//!
//! A pure function of the script, the seed and the number.

use std::path::PathBuf;

use toml::{Table, Value};

use crate::scenario::ScenarioError;
use crate::scenario::script::Script;
use crate::seed::{Prng, Seed};

/// Statements that are put among those of the actors that are there.
const STATEMENTS: usize = 60;
/// Actors that are added.
const ACTORS: [&str; 3] = ["padding-1", "padding-2", "padding-3"];
/// What each of them does: so many transactions, with a statement of its own behind each.
const TRANSACTIONS: usize = 4;

/// The script with 60 more statements in random places, three more actors, and a larger set-up. What is added reads,
/// or writes to a table of its own, and only outside of transactions: checks count what a transaction commits.
///
/// # Errors
///
/// A [`ScenarioError`] if the scenario has no room for it.
pub fn padded(script: &Script, seed: Seed, number: u64) -> Result<Script, Box<ScenarioError>> {
    let mut draws = seed.stream(&format!("padding/{number}"));
    let mut document: Table = toml::from_str(&script.text).unwrap_or_default();
    let database = document.get_mut("database").and_then(Value::as_table_mut);
    if let Some(setup) = database.and_then(|it| it.get_mut("setup")).and_then(Value::as_array_mut) {
        let more = [
            "CREATE TABLE padding (k INTEGER, v INTEGER)",
            "INSERT INTO padding SELECT range, 2 * range FROM range(100)",
            "CREATE TABLE log (who VARCHAR, what INTEGER)",
        ];
        setup.extend(more.map(|statement| Value::String(statement.to_owned())));
    }
    let actors = document.get_mut("actors").and_then(Value::as_array_mut);
    let actors = actors.map(std::mem::take).unwrap_or_default();
    let mut actors: Vec<Table> =
        actors.into_iter().filter_map(|actor| actor.try_into().ok()).collect();
    for _ in 0..STATEMENTS {
        let actor = draws.below(actors.len() as u64) as usize;
        if let Some(steps) = actors[actor].get_mut("steps").and_then(Value::as_array_mut) {
            let place = draws.below(steps.len() as u64 + 1) as usize;
            steps.insert(place, Value::String(query(&mut draws)));
        }
    }
    for name in ACTORS {
        let steps = bystander(&mut draws, name).into_iter().map(Value::String).collect();
        let place = draws.below(actors.len() as u64 + 1) as usize;
        actors.insert(
            place,
            Table::from_iter([
                ("id".to_owned(), Value::String(name.to_owned())),
                ("steps".to_owned(), Value::Array(steps)),
            ]),
        );
    }
    let actors = actors.into_iter().map(Value::Table).collect();
    document.insert("actors".to_owned(), Value::Array(actors));
    let text = toml::to_string(&document).unwrap_or_default();
    let file = PathBuf::from(format!("{}.toml", script.id));
    Ok(Script::parse(&file, text.as_bytes())?)
}

fn query(draws: &mut Prng) -> String {
    let k = draws.below(100);
    match draws.below(3) {
        0 => format!("SELECT v FROM padding WHERE k = {k}"),
        1 => format!("SELECT count(*) FROM padding WHERE k < {k}"),
        _ => format!("SELECT sum(v) FROM padding WHERE {k} <= k"),
    }
}

fn bystander(draws: &mut Prng, name: &str) -> Vec<String> {
    let mut steps = Vec::new();
    for _ in 0..TRANSACTIONS {
        steps.push("begin read".to_owned());
        steps.extend((0..=draws.below(3)).map(|_| query(draws)));
        steps.push("commit".to_owned());
        steps.push(format!("INSERT INTO log VALUES ('{name}', {})", draws.below(1_000)));
    }
    steps
}
