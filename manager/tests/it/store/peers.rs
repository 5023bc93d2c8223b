//! Other processes at a store: children that run `examples/store_peer`.

use std::path::Path;
use std::process::Command;

use manager::{FeatureSpec, FeatureStore, Lookup};

use crate::peer::{Peer, example, with_settings};

/// A process that has the store open.
pub(crate) fn open(database: &Path) -> Peer {
    open_with("-", database, &[])
}

/// One with options (see `examples/store_peer`) and settings of its own.
pub(crate) fn open_with(options: &str, database: &Path, settings: &[(&str, &str)]) -> Peer {
    let peer = Peer::run(&mut command(options, database, settings));
    peer.hears("open");
    peer
}

/// What starts one.
pub(crate) fn command(options: &str, database: &Path, settings: &[(&str, &str)]) -> Command {
    let mut command = Command::new(example("store_peer"));
    let own = [("wait_max", "30s"), ("duckdb_threads", "1"), ("label", "peer")];
    with_settings(&mut command, &own);
    with_settings(command.arg(options).arg(database), settings);
    command
}

/// Several of them.
pub(crate) fn open_many(count: usize, database: &Path, settings: &[(&str, &str)]) -> Vec<Peer> {
    let begun: Vec<_> =
        (0..count).map(|_| Peer::run(&mut command("-", database, settings))).collect();
    for peer in &begun {
        peer.hears("open");
    }
    begun
}

/// Gives all of them an order at the same time.
pub(crate) fn tell_all(peers: &mut [Peer], order: &str) -> Vec<String> {
    for peer in &mut *peers {
        peer.order(order);
    }
    peers.iter().map(Peer::line).collect()
}

/// What an artefact of that name is of, as the peers have it.
pub(crate) fn spec(name: &str) -> FeatureSpec {
    let feature = if name.starts_with("kept") { "kept" } else { "rsi" };
    FeatureSpec::new(feature, 1).entity(name).range(0..21)
}

/// Its bytes.
pub(crate) fn content(text: &str, length: usize) -> Vec<u8> {
    let mut bytes = text.as_bytes().to_vec();
    bytes.resize(length.max(bytes.len()), b'.');
    bytes
}

/// What is there under a name, as a peer tells it.
pub(crate) fn look(store: &FeatureStore, name: &str) -> String {
    match store.get(spec(name).key()).unwrap() {
        Lookup::Hit(artefact) => match artefact.bytes() {
            Ok(bytes) => {
                let text = String::from_utf8_lossy(&bytes);
                format!("hit {} {}", bytes.len(), text.trim_end_matches('.'))
            }
            Err(error) => format!("error: {error}"),
        },
        Lookup::Absent(absent) => format!("absent {}", absent.reason),
        Lookup::Miss => "miss".to_owned(),
    }
}

/// How many files there are in a folder.
pub(crate) fn files_in(folder: &Path) -> usize {
    names_in(folder).len()
}

/// What they are called.
pub(crate) fn names_in(folder: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    entries.map(|entry| entry.file_name().into_string().unwrap()).collect()
}
