//! A second process that does what the first one does, without pause: the bench's own program, started again.
//!
//! The peer says `ready` when it has done it once, stops when its input says so or ends (so it never outlives
//! the bench by long), and says how many times it has done it and how long each took.

use std::env;
use std::io::{self, BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::latencies::Latencies;

const ROLE: &str = "FLOCKGATE_BENCH_PEER";
const DATABASE: &str = "FLOCKGATE_BENCH_DATABASE";

/// The peer, as the bench sees it.
pub struct Peer {
    process: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
}

impl Peer {
    /// Starts this program again, in a role that it understands, and waits until it is at work.
    pub fn start(role: &str, database: &Path) -> io::Result<Self> {
        let mut process = Command::new(env::current_exe()?)
            .env(ROLE, role)
            .env(DATABASE, database)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let input = process.stdin.take().expect("its input is a pipe");
        let output = BufReader::new(process.stdout.take().expect("its output is a pipe"));
        let mut peer = Self { process, input, output };
        match peer.line()?.as_str() {
            "ready" => Ok(peer),
            other => Err(io::Error::other(format!("the peer said `{other}` instead of `ready`"))),
        }
    }

    /// Stops it; returns how many times it has done its work, and its latencies for people.
    pub fn stop(mut self) -> io::Result<(u64, String)> {
        writeln!(self.input, "stop")?;
        let count = self.line()?;
        let latencies = self.line()?;
        self.process.wait()?;
        let count = count
            .parse()
            .map_err(|_| io::Error::other(format!("the peer said `{count}`, no number")))?;
        Ok((count, latencies))
    }

    fn line(&mut self) -> io::Result<String> {
        let mut line = String::new();
        match self.output.read_line(&mut line)? {
            0 => Err(io::Error::other("the peer has died; what it said stands above")),
            _ => Ok(line.trim_end().to_owned()),
        }
    }
}

/// The role and the database of this process, if it is a peer.
pub fn role() -> Option<(String, PathBuf)> {
    Some((env::var(ROLE).ok()?, env::var_os(DATABASE)?.into()))
}

/// Plays the peer: calls `work` with 0, 1, 2, … until it is told to stop.
pub fn play(mut work: impl FnMut(u64)) {
    let stopped = Arc::new(AtomicBool::new(false));
    let told = Arc::clone(&stopped);
    std::thread::spawn(move || {
        // Whether it is a line or the end of the input.
        let _ = io::stdin().read_line(&mut String::new());
        told.store(true, Ordering::Relaxed); // the flag is all there is to see
    });
    work(0); // the first starts DuckDB
    println!("ready");
    let (mut latencies, mut count) = (Latencies::default(), 1);
    while !stopped.load(Ordering::Relaxed) {
        latencies.time(|| work(count));
        count += 1;
    }
    println!("{count}\n{latencies}");
}
