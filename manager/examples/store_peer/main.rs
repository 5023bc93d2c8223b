//! Uses a feature store from a process of its own: for the tests, and for trying it from two shells.
//!
//! ```console
//! $ cargo run --release -p manager --example store_peer -- - features.duckdb
//! open
//! publish IBM 100
//! ok 1 0
//! get IBM
//! hit 100 IBM
//! release
//! released
//! ```
//!
//! Its arguments are options, separated by commas (`-`: none), and the database:
//!
//! | option | what it does |
//! |---|---|
//! | `sql` | no mirror |
//! | `wait=MS` | how long it waits for somebody else's computation |
//!
//! It obeys its input, line by line, and answers each with one line; what goes wrong is one that begins with `error:`.
//! `orders.rs` has the orders. Its settings are those of the environment (`FLOCKGATE_WAIT_MAX` and so on), and with
//! `CRASH_AT` there it kills itself at that point.
//!
//! An artefact called `NAME` is NAME and so many dots that it has its length, or `NAME by PID` and dots if it was computed.
//! It is of the feature `rsi`, or of the feature `kept` if its name begins with that.

mod orders;
mod storm;
mod walk;

use std::io::{self, BufRead};
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use manager::{Config, FeatureSpec, FeatureStore, Manager, StoreOptions};

type Outcome<T> = Result<T, Box<dyn std::error::Error>>;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let done = match arguments.as_slice() {
        [options, path] => serve(options, Path::new(path)),
        _ => Err("say options and a path: store_peer OPTIONS PATH".into()),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            say_error(&*error);
            ExitCode::FAILURE
        }
    }
}

fn serve(options: &str, path: &Path) -> Outcome<()> {
    let manager = Manager::new(Config::from_env()?)?;
    let store = FeatureStore::open_with(&manager, path, options_of(options)?)?;
    println!("open");
    let mut orders = orders::Orders::new(&store);
    for line in io::stdin().lock().lines() {
        let line = line?;
        if line == "release" {
            drop(orders);
            drop(store);
            println!("released");
            return Ok(());
        }
        match orders.obey(&line) {
            Ok(answer) => println!("{answer}"),
            Err(error) => say_error(&*error),
        }
    }
    Ok(())
}

fn options_of(text: &str) -> Outcome<StoreOptions> {
    let mut options = StoreOptions::default();
    for option in text.split(',') {
        match option.split_once('=') {
            None if option == "-" => {}
            None if option == "sql" => options.mirror_bytes_max = 0,
            Some(("wait", ms)) => {
                options.computation_wait_max = Duration::from_millis(ms.parse()?);
            }
            _ => return Err(format!("there is no option `{option}`").into()),
        }
    }
    Ok(options)
}

/// What the artefact of a name is of.
fn spec(name: &str) -> FeatureSpec {
    let feature = if name.starts_with("kept") { "kept" } else { "rsi" };
    FeatureSpec::new(feature, 1).entity(name).range(0..21)
}

/// A text and so many dots that it has its length.
fn content(text: &str, length: usize) -> Vec<u8> {
    let mut bytes = text.as_bytes().to_vec();
    bytes.resize(length.max(bytes.len()), b'.');
    bytes
}

/// One line, whatever the error's text is.
fn say_error(error: &dyn std::error::Error) {
    println!("error: {}", error.to_string().replace('\n', " "));
}
