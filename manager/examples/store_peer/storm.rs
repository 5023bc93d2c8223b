//! One thing over and over for a while, beside others.
//!
//! | order | what it does | answer |
//! |---|---|---|
//! | `storm publish MS FOLDER NAME` | publishes `keptNAME-0`, `NAME-0`, `keptNAME-1`, …, small and large, and says in `FOLDER/NAME.acked` how many were acknowledged | `done COUNT` |
//! | `storm read MS FOLDER NAME …` | looks at random ones of those names; what was acknowledged and is kept, it finds | `done HITS MISSES` |
//! | `storm upkeep MS FOLDER` | gc, eviction, verify, export to FOLDER, in turn | `done ROUNDS EVICTED` |
//!
//! The first thing that is not as it should be ends it with an error.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use manager::{Depth, Error, FeatureStore, Lookup, Policy, Publication};
use rand::RngExt;

use super::{Outcome, content, spec};

pub(crate) fn run(store: &FeatureStore, words: &[&str]) -> Outcome<String> {
    let [what, ms, rest @ ..] = words else { return Err("say what, and for how long".into()) };
    let end = Instant::now() + Duration::from_millis(ms.parse()?);
    match (*what, rest) {
        ("publish", [folder, name]) => publish(store, end, Path::new(folder), name),
        ("read", [folder, names @ ..]) => read(store, end, Path::new(folder), names),
        ("upkeep", [folder]) => upkeep(store, end, Path::new(folder)),
        _ => Err(format!("`{what}` is no storm").into()),
    }
}

/// Small ones stand in the database, large ones in files.
fn length_of(number: usize) -> usize {
    if number.is_multiple_of(2) { 5000 } else { 60 }
}

fn acknowledged_in(folder: &Path, name: &str) -> PathBuf {
    folder.join(format!("{name}.acked"))
}

fn acknowledged(folder: &Path, name: &str) -> usize {
    let text = std::fs::read_to_string(acknowledged_in(folder, name)).unwrap_or_default();
    text.parse().unwrap_or(0) // the file is being made
}

fn publish(store: &FeatureStore, end: Instant, folder: &Path, name: &str) -> Outcome<String> {
    let mut count = 0;
    let told = File::create(acknowledged_in(folder, name))?;
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
        // Of one length, in one write: no reader sees a part of it.
        told.write_all_at(format!("{count:09}").as_bytes(), 0)?;
    }
    Ok(format!("done {count}"))
}

fn read(store: &FeatureStore, end: Instant, folder: &Path, names: &[&str]) -> Outcome<String> {
    let (mut random, mut hits, mut misses, mut last) = (rand::rng(), 0_u64, 0_u64, 10);
    while Instant::now() < end {
        let name = names[random.random_range(0..names.len())];
        let kept = if random.random_bool(0.5) { "kept" } else { "" };
        let told = acknowledged(folder, name);
        // The last one more often than the others.
        let number = if random.random_bool(0.2) && told > 0 {
            told - 1
        } else {
            random.random_range(0..last)
        };
        let is_told = kept == "kept" && number < told;
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
            Lookup::Miss if is_told => {
                return Err(format!("{name} was acknowledged and is not found").into());
            }
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
