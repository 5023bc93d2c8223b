//! `harness store`: looks after a feature store from outside, through the gate, while others use it.
//!
//! # Exit codes
//!
//! | code | when |
//! |---|---|
//! | 0 | it is done; `verify` has found nothing wrong |
//! | 1 | `verify` has found something wrong, `export` had to leave damaged artefacts out, or the database is damaged |
//! | 2 | there is no such database, it is no feature store, or the command line is wrong |
//! | 3 | others kept the database busy for longer than `--wait`, or an evaluation phase keeps writers out: nothing was done |
//! | 4 | `invalidate` and `unpin`: nothing matched |
//! | 70 | anything else |
//! | 74 | the folder of an export could not be written |
//!
//! # Invariants
//!
//! * No database is created, and none becomes a store that was none: what is named has to be there.

mod arguments;
mod show;

use std::fs::File;
use std::io::{self, Write as _};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::{Args, Subcommand};
use manager::{Config, Depth, Error, ErrorClass, FeatureStore, Manager, PinnedFeature, Policy};
use reports::ExitCode;
use serde::Serialize;
use serde_json::json;

use super::fail;
use arguments::Selected;

/// Look after a feature store, beside everybody who uses it. Opening a store of an older version migrates it. Exits
/// with 3 if others kept it busy for too long, with 4 if there was nothing to invalidate or unpin.
#[derive(Debug, Args)]
pub(super) struct StoreArgs {
    #[command(subcommand)]
    verb: Verb,
    /// Print JSON on standard output.
    #[arg(long, global = true)]
    json: bool,
    /// How long to wait for others who use the database, `30s` say.
    #[arg(long, global = true, value_name = "TIME", default_value = "30s", value_parser = humantime::parse_duration)]
    wait: Duration,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Compare the manifest with the files. Exits with 1 if something is wrong.
    Verify {
        /// The store's database.
        database: PathBuf,
        /// Read every byte.
        #[arg(long)]
        deep: bool,
    },
    /// Remove what nobody needs: files that no row names, temporary files of writers that are gone.
    Gc {
        /// The store's database.
        database: PathBuf,
        /// Only tell what would be removed.
        #[arg(long)]
        dry_run: bool,
    },
    /// Tell what has been counted: hits, misses, time saved.
    Stats {
        /// The store's database.
        database: PathBuf,
    },
    /// Copy the store into a folder: a file an artefact, and a list.
    Export {
        /// The store's database.
        database: PathBuf,
        /// The folder, which must not exist yet.
        #[arg(long, value_name = "DIR")]
        to: PathBuf,
    },
    /// Take artefacts out until all together take so many bytes at most. Pinned ones stay.
    Evict {
        /// The store's database.
        database: PathBuf,
        /// How many bytes may stay: `8GiB`, `500MB`, or a number.
        #[arg(long, value_name = "N", value_parser = arguments::bytes)]
        bytes: u64,
        /// What goes first.
        #[arg(long, default_value = "schedule", value_parser = arguments::policy)]
        policy: Policy,
    },
    /// Take artefacts out that are wrong, pinned ones too. Exits with 4 if there is none.
    Invalidate {
        /// The store's database.
        database: PathBuf,
        #[command(flatten)]
        selected: Selected,
    },
    /// Keep a feature from being evicted.
    Pin {
        /// The store's database.
        database: PathBuf,
        /// The feature's name.
        feature: String,
        /// This version only.
        #[arg(long, value_name = "V")]
        version: Option<u32>,
        /// Why.
        #[arg(long, value_name = "TEXT", default_value = "")]
        note: String,
        /// Until then: `2030-01-31`, `2030-01-31T12:00:00Z`, or a time from now on, `30d` say. Without it, for good.
        #[arg(long, value_name = "WHEN", value_parser = arguments::until)]
        until: Option<u64>,
    },
    /// End a pin. Exits with 4 if there is none.
    Unpin {
        /// The store's database.
        database: PathBuf,
        /// The feature's name.
        feature: String,
        /// The version that was pinned, if one was.
        #[arg(long, value_name = "V")]
        version: Option<u32>,
    },
    /// List what is pinned.
    Pins {
        /// The store's database.
        database: PathBuf,
    },
    /// List the walk-forwards that eviction knows of.
    Plans {
        /// The store's database.
        database: PathBuf,
    },
}

impl Verb {
    fn database(&self) -> &Path {
        match self {
            Self::Verify { database, .. }
            | Self::Gc { database, .. }
            | Self::Stats { database }
            | Self::Export { database, .. }
            | Self::Evict { database, .. }
            | Self::Invalidate { database, .. }
            | Self::Pin { database, .. }
            | Self::Unpin { database, .. }
            | Self::Pins { database }
            | Self::Plans { database } => database,
        }
    }
}

/// Why nothing was done.
#[derive(Debug, thiserror::Error)]
enum Refusal {
    #[error("look after `{}`: there is no such file; check the path", .0.display())]
    Missing(PathBuf),
    #[error("look after `{}`: it is no DuckDB database; name the database of a feature store", .0.display())]
    NoDatabase(PathBuf),
    #[error("look after `{}`: {text}; name the database of a feature store that this build can read", path.display())]
    NoStore { path: PathBuf, text: String },
    #[error("look at `{}`: {source}", path.display())]
    Unreadable { path: PathBuf, source: io::Error },
    #[error("export to `{}`: {what}; name a new folder inside one that exists", path.display())]
    Target { path: PathBuf, what: &'static str },
    #[error(transparent)]
    Store(#[from] Error),
}

impl Refusal {
    fn exit_code(&self) -> ExitCode {
        match self {
            Self::Missing(_) | Self::NoDatabase(_) | Self::NoStore { .. } | Self::Target { .. } => {
                ExitCode::Usage
            }
            Self::Store(Error::Quarantined { .. }) => ExitCode::CheckFailed,
            Self::Store(Error::Unusable { class, .. }) => match class {
                ErrorClass::Corrupt => ExitCode::CheckFailed,
                ErrorClass::Missing | ErrorClass::NotADatabase => ExitCode::Usage,
                _ => ExitCode::Internal,
            },
            Self::Store(
                Error::TimedOut { .. } | Error::HeldOutside { .. } | Error::EvaluationIsOn { .. },
            ) => ExitCode::Inconclusive,
            Self::Store(Error::Io { action: "export to", .. }) => ExitCode::NotWritten,
            Self::Unreadable { .. } | Self::Store(_) => ExitCode::Internal,
        }
    }
}

/// Does what is asked for, and says what came of it.
pub(super) fn run(args: &StoreArgs) -> ExitCode {
    match open(args).and_then(|store| act(args, &store)) {
        Ok(code) => code,
        Err(refusal) => fail(&refusal, refusal.exit_code()),
    }
}

fn open(args: &StoreArgs) -> Result<FeatureStore, Refusal> {
    let path = args.verb.database();
    check_file(path)?;
    if let Verb::Export { to, .. } = &args.verb {
        check_target(to)?;
    }
    let config = Config {
        label: "harness store".into(),
        wait_max: args.wait,
        duckdb_threads: Some(1),
        ..Config::default()
    };
    FeatureStore::open_existing(&Manager::new(config)?, path).map_err(|error| match error {
        Error::Unusable { path, class: ErrorClass::OtherVersion, text } => {
            Refusal::NoStore { path, text }
        }
        error => error.into(),
    })
}

/// Before a gate is put beside it: a database begins with a checksum and then says `DUCK`. Nothing of this process has
/// it open yet, so that closing it drops nobody's lock.
fn check_file(path: &Path) -> Result<(), Refusal> {
    let unreadable = |source| Refusal::Unreadable { path: path.into(), source };
    match path.metadata() {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return Err(Refusal::Missing(path.into()));
        }
        Err(source) => return Err(unreadable(source)),
        Ok(found) if !found.is_file() => return Err(Refusal::NoDatabase(path.into())),
        Ok(_) => {}
    }
    let mut magic = [0; 4];
    match File::open(path).and_then(|file| file.read_exact_at(&mut magic, 8)) {
        Ok(()) if magic == *b"DUCK" => Ok(()),
        Ok(()) => Err(Refusal::NoDatabase(path.into())),
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
            Err(Refusal::NoDatabase(path.into()))
        }
        Err(source) => Err(unreadable(source)),
    }
}

fn check_target(to: &Path) -> Result<(), Refusal> {
    let refused = |what| Err(Refusal::Target { path: to.into(), what });
    // A link that leads nowhere is in the way, too.
    if to.symlink_metadata().is_ok() {
        return refused("it exists already");
    }
    match to.parent() {
        Some(parent) if parent.as_os_str().is_empty() || parent.is_dir() => Ok(()),
        _ => refused("there is no folder to make it in"),
    }
}

fn act(args: &StoreArgs, store: &FeatureStore) -> Result<ExitCode, Refusal> {
    let tell = Tell { json: args.json };
    let found_some = |some: bool| if some { ExitCode::Passed } else { ExitCode::NothingRan };
    let is_sound = |sound: bool| if sound { ExitCode::Passed } else { ExitCode::CheckFailed };
    Ok(match &args.verb {
        Verb::Verify { deep, .. } => {
            let report = store.verify(if *deep { Depth::Deep } else { Depth::Shallow })?;
            tell.both(&report, &show::verified(&report));
            is_sound(report.is_sound())
        }
        Verb::Gc { dry_run, .. } => {
            let report = store.gc(*dry_run)?;
            tell.both(&report, &show::swept(&report, *dry_run));
            ExitCode::Passed
        }
        Verb::Stats { .. } => {
            let stats = store.stats()?;
            tell.both(&stats, &show::counted(&stats));
            ExitCode::Passed
        }
        Verb::Export { to, .. } => {
            let report = store.export(to)?;
            tell.both(&report, &show::exported(&report, to));
            is_sound(report.damaged.is_empty())
        }
        Verb::Evict { bytes, policy, .. } => {
            let evicted = store.evict_to(*bytes, *policy)?;
            tell.both(&evicted, &show::evicted(&evicted));
            ExitCode::Passed
        }
        Verb::Invalidate { selected, .. } => {
            let count = store.invalidate(&selected.selector())?;
            tell.both(&json!({ "invalidated": count }), &format!("{count} invalidated"));
            found_some(0 < count)
        }
        Verb::Pin { feature, version, note, until, .. } => {
            let (feature, note) = (feature.clone(), note.clone());
            let pin = PinnedFeature { feature, version: *version, note, until_unix_ms: *until };
            store.pin(&pin)?;
            tell.both(&pin, &show::pin(&pin));
            ExitCode::Passed
        }
        Verb::Unpin { feature, version, .. } => {
            let was_pinned = store.unpin(feature, *version)?;
            tell.both(
                &json!({ "unpinned": was_pinned }),
                &show::unpinned(feature, *version, was_pinned),
            );
            found_some(was_pinned)
        }
        Verb::Pins { .. } => {
            let pins = store.pins()?;
            let lines: Vec<_> = pins.iter().map(show::pin).collect();
            tell.both(&pins, &show::list(&lines, "nothing is pinned"));
            ExitCode::Passed
        }
        Verb::Plans { .. } => {
            let plans = store.plans()?;
            let lines: Vec<_> = plans.iter().map(show::plan).collect();
            tell.both(&plans, &show::list(&lines, "no plan"));
            ExitCode::Passed
        }
    })
}

/// Prints an outcome as it was asked for.
struct Tell {
    json: bool,
}

impl Tell {
    fn both(&self, report: &impl Serialize, text: &str) {
        if !self.json {
            data!("{text}");
            return;
        }
        match serde_json::to_string_pretty(report) {
            Ok(json) => data!("{json}"),
            Err(error) => tell!("harness: print the outcome: {error}"),
        }
    }
}
