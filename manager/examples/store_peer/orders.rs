//! What a peer does with its store when it is told to.
//!
//! | order | answer |
//! |---|---|
//! | `publish NAME LENGTH` | `ok STORED PRESENT` |
//! | `batch NAME COUNT LENGTH`: `NAME0`, `NAME1`, … in one publish | `ok STORED PRESENT` |
//! | `get NAME` | `hit LENGTH TEXT`, `absent REASON` or `miss` |
//! | `hold NAME`: looks up and keeps what is found | `held` or `miss` |
//! | `read`: reads what is kept | `hit LENGTH TEXT` |
//! | `compute NAME LENGTH FOLDER`: if missing; each computation makes a file `FOLDER/NAME.PID` | as `get` |
//! | `computes NAME COUNT LENGTH FOLDER`: `NAME0`, `NAME1`, … beginning anywhere | what all of them are, one after the other |
//! | `hang NAME FOLDER`: computes without an end | |
//! | `fail NAME FOLDER GO`, `panic NAME FOLDER GO`: computes until there is a file `GO`, and then fails | `error: …` |
//! | `enter training`, `enter evaluation`, `leave` | `ok` |
//! | `invalidate NAME` | `gone COUNT` |
//! | `evict BYTES` | `gone COUNT` |
//! | `fold` | `ok STORED PRESENT` |
//! | `gc` | `gc FILES TEMPORARY KEPT_FOR_READERS KEPT_FOR_PUBLISHERS` |
//! | `verify` | `sound ARTEFACTS` or `unsound: …` |
//! | `storm …`, `walk …` | see `storm.rs`, `walk.rs` |

use std::fs::File;
use std::path::Path;
use std::thread;
use std::time::Duration;

use manager::{
    Artefact, Depth, Error, FeatureStore, Fill, Lookup, PhaseGuard, Policy, Publication, Published,
    Selector,
};

use super::{Outcome, content, spec, storm, walk};

pub(crate) struct Orders<'a> {
    store: &'a FeatureStore,
    phase: Option<PhaseGuard>,
    kept: Option<Artefact>,
}

impl<'a> Orders<'a> {
    pub(crate) fn new(store: &'a FeatureStore) -> Self {
        Self { store, phase: None, kept: None }
    }

    pub(crate) fn obey(&mut self, line: &str) -> Outcome<String> {
        let store = self.store;
        let words: Vec<&str> = line.split(' ').collect();
        match words.as_slice() {
            ["publish", name, length] => publish(store, &[(*name).to_owned()], length.parse()?),
            ["batch", name, count, length] => {
                publish(store, &names(name, count.parse()?), length.parse()?)
            }
            ["get", name] => found(&store.get(spec(name).key())?),
            ["hold", name] => {
                self.kept = store.get(spec(name).key())?.hit();
                Ok(if self.kept.is_some() { "held" } else { "miss" }.to_owned())
            }
            ["read"] => found(&Lookup::Hit(self.kept.take().ok_or("nothing is kept")?)),
            ["compute", name, length, folder] => {
                found(&compute(store, name, length.parse()?, Path::new(folder))?)
            }
            ["computes", name, count, length, folder] => {
                computes(store, &names(name, count.parse()?), length.parse()?, Path::new(folder))
            }
            ["hang", name, folder] => {
                let hang = || -> Result<Fill, Error> {
                    loop {
                        thread::sleep(Duration::from_mins(1));
                    }
                };
                found(&begin(store, name, Path::new(folder), hang)?)
            }
            [how @ ("fail" | "panic"), name, folder, go] => {
                found(&break_down(store, how, name, Path::new(folder), Path::new(go))?)
            }
            ["enter", phase @ ("training" | "evaluation")] => {
                let enter = if *phase == "training" {
                    FeatureStore::training_phase
                } else {
                    FeatureStore::evaluation_phase
                };
                self.phase = Some(enter(store)?);
                Ok("ok".to_owned())
            }
            ["leave"] => {
                self.phase = None;
                Ok("ok".to_owned())
            }
            ["invalidate", name] => {
                Ok(format!("gone {}", store.invalidate(&Selector::Key(spec(name).key()))?))
            }
            ["evict", bytes] => {
                let evicted = store.evict_to(bytes.parse()?, Policy::Lru)?;
                Ok(format!("gone {}", evicted.artefacts))
            }
            ["fold"] => Ok(published(store.fold()?)),
            ["gc"] => {
                let gc = store.gc(false)?;
                let kept = (gc.kept_for_readers, gc.kept_for_publishers);
                Ok(format!("gc {} {} {} {}", gc.files, gc.temporary, kept.0, kept.1))
            }
            ["verify"] => verify(store),
            ["storm", rest @ ..] => storm::run(store, rest),
            ["walk", rest @ ..] => walk::run(store, rest),
            _ => Err(format!("`{line}` is no order").into()),
        }
    }
}

fn names(name: &str, count: usize) -> Vec<String> {
    (0..count).map(|number| format!("{name}{number}")).collect()
}

fn publish(store: &FeatureStore, names: &[String], length: usize) -> Outcome<String> {
    let specs: Vec<_> = names.iter().map(|name| spec(name)).collect();
    let publications =
        specs.iter().zip(names).map(|(spec, name)| Publication::new(spec, content(name, length)));
    Ok(published(store.publish(publications.collect())?))
}

fn published(published: Published) -> String {
    format!("ok {} {}", published.stored, published.present)
}

pub(crate) fn found(lookup: &Lookup) -> Outcome<String> {
    Ok(match lookup {
        Lookup::Hit(artefact) => {
            let bytes = artefact.bytes()?;
            let text = String::from_utf8_lossy(&bytes);
            format!("hit {} {}", bytes.len(), text.trim_end_matches('.'))
        }
        Lookup::Absent(absent) => format!("absent {}", absent.reason),
        Lookup::Miss => "miss".to_owned(),
    })
}

/// Computes, after a file has been made that says so.
fn begin(
    store: &FeatureStore,
    name: &str,
    folder: &Path,
    work: impl FnOnce() -> Result<Fill, Error>,
) -> Result<Lookup, Error> {
    store.get_or_compute(&spec(name), || {
        let mark = folder.join(format!("{name}.{}", std::process::id()));
        File::create_new(mark).expect("no process computes the same thing twice");
        work()
    })
}

fn compute(
    store: &FeatureStore,
    name: &str,
    length: usize,
    folder: &Path,
) -> Result<Lookup, Error> {
    begin(store, name, folder, || {
        thread::sleep(Duration::from_millis(1)); // so that the others come to wait
        let text = format!("{name} by {}", std::process::id());
        Ok(Fill::Bytes(content(&text, length)))
    })
}

/// All of them, each process beginning at another one.
fn computes(
    store: &FeatureStore,
    names: &[String],
    length: usize,
    folder: &Path,
) -> Outcome<String> {
    let mut texts = vec![String::new(); names.len()];
    let first = std::process::id() as usize % names.len().max(1);
    for index in (first..names.len()).chain(0..first) {
        texts[index] = found(&compute(store, &names[index], length, folder)?)?;
    }
    Ok(texts.join(", "))
}

fn break_down(
    store: &FeatureStore,
    how: &str,
    name: &str,
    folder: &Path,
    go: &Path,
) -> Outcome<Lookup> {
    let work = || {
        while !go.exists() {
            thread::sleep(Duration::from_millis(1));
        }
        assert_ne!(how, "panic", "planted");
        Err(Error::Io { action: "read the prices", path: "p".into(), source: go_wrong() })
    };
    let ran =
        std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| begin(store, name, folder, work)));
    ran.map_err(|_| "it panicked")?.map_err(Into::into)
}

fn go_wrong() -> std::io::Error {
    std::io::Error::other("the prices are gone")
}

fn verify(store: &FeatureStore) -> Outcome<String> {
    let report = store.verify(Depth::Deep)?;
    if report.is_sound() {
        return Ok(format!("sound {}", report.artefacts));
    }
    Ok(format!("unsound: {report:?}"))
}
