//! One thing over and over for a while, beside others.
//!
//! | order | what it does | answer |
//! |---|---|---|
//! | `storm publish MS NAME` | publishes `keptNAME-0`, `NAME-0`, `keptNAME-1`, …, small and large | `done COUNT`: so many of each were acknowledged |
//! | `storm read MS NAME …` | looks at random ones of those names, at last ones more often | `done HITS MISSES` |
//! | `storm upkeep MS FOLDER` | gc, eviction, verify, export to FOLDER, in turn | `done ROUNDS EVICTED` |
//!
//! The first thing that is not as it should be ends it with an error.

use std::path::Path;
use std::time::{Duration, Instant};

use manager::{Depth, Error, FeatureStore, Lookup, Policy, Publication};
use rand::RngExt;

use super::{Outcome, content, spec};

pub(crate) fn run(store: &FeatureStore, words: &[&str]) -> Outcome<String> {
    let [what, ms, rest @ ..] = words else { return Err("say what, and for how long".into()) };
    let end = Instant::now() + Duration::from_millis(ms.parse()?);
    match (*what, rest) {
        ("publish", [name]) => publish(store, end, name),
        ("read", names) => read(store, end, names),
        ("upkeep", [folder]) => upkeep(store, end, Path::new(folder)),
        _ => Err(format!("`{what}` is no storm").into()),
    }
}

/// Small ones stand in the database, large ones in files.
fn length_of(number: usize) -> usize {
    if number.is_multiple_of(2) { 5000 } else { 60 }
}

fn publish(store: &FeatureStore, end: Instant, name: &str) -> Outcome<String> {
    let mut count = 0;
    while Instant::now() < end {
        let names = [format!("kept{name}-{count}"), format!("{name}-{count}")];
        let specs = names.each_ref().map(|name| spec(name));
        let publications = specs
            .iter()
            .zip(&names)
            .map(|(spec, name)| Publication::new(spec, content(name, length_of(count))));
        store.publish(publications.collect())?;
        if store.get(specs[0].key())?.hit().is_none() {
            return Err(format!("{} was published and is not found", names[0]).into());
        }
        count += 1;
    }
    Ok(format!("done {count}"))
}

fn read(store: &FeatureStore, end: Instant, names: &[&str]) -> Outcome<String> {
    let (mut random, mut hits, mut misses, mut last) = (rand::rng(), 0_u64, 0_u64, 10);
    while Instant::now() < end {
        let name = names[random.random_range(0..names.len())];
        let kept = if random.random_bool(0.5) { "kept" } else { "" };
        let number = random.random_range(0..last);
        let name = format!("{kept}{name}-{number}");
        match store.get(spec(&name).key())? {
            Lookup::Hit(artefact) => {
                let bytes = artefact.bytes().map_err(|error| format!("{name}: {error}"))?;
                if *bytes != *content(&name, length_of(number)) {
                    return Err(format!("{name} has other bytes").into());
                }
                hits += 1;
                last = last.max(number + 10);
            }
            Lookup::Absent(absent) => return Err(format!("{name}: {}", absent.reason).into()),
            Lookup::Miss => misses += 1,
        }
    }
    Ok(format!("done {hits} {misses}"))
}

fn upkeep(store: &FeatureStore, end: Instant, folder: &Path) -> Outcome<String> {
    let (mut rounds, mut evicted) = (0, 0);
    while Instant::now() < end {
        store.gc(false)?;
        let all = store.verify(Depth::Deep)?;
        if !all.is_sound() {
            return Err(format!("unsound: {all:?}").into());
        }
        evicted += store.evict_to(all.bytes * 3 / 4, Policy::Lru)?.artefacts;
        let copy = folder.join(format!("{}-{rounds}", std::process::id()));
        let report = store.export(&copy)?;
        if !report.damaged.is_empty() {
            return Err(format!("exported in part: {report:?}").into());
        }
        std::fs::remove_dir_all(&copy).map_err(|source| Error::Io {
            action: "remove",
            path: copy,
            source,
        })?;
        rounds += 1;
    }
    Ok(format!("done {rounds} {evicted}"))
}
