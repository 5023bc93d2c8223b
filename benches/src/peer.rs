//! A second process that does what the first one does, or what that tells it: the bench's own program, started again.
//!
//! The peer says `ready` when it has started DuckDB. From then on it either [`play`]s, that is works without pause until
//! it is told to stop, or [`obey`]s, that is works when it is told to. Either ends when its input does, so that no
//! peer outlives the bench by long.

use std::env;
use std::io::{self, BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::latencies::Latencies;

// Without the prefix of the settings: of those, a variable that is none is refused.
const ROLE: &str = "BENCH_PEER_ROLE";
const DATABASE: &str = "BENCH_PEER_DATABASE";
const NUMBER: &str = "BENCH_PEER_NUMBER";

/// The peer, as the bench sees it.
pub struct Peer {
    process: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
}

/// What a peer is to do, as it sees it.
pub struct Role {
    /// A name that the program understands.
    pub name: String,
    /// The file that it is about.
    pub database: PathBuf,
    /// Which of the bench's processes this is.
    pub number: u8,
}

impl Peer {
    /// Starts this program again, in a role that it understands, and waits until it is ready.
    pub fn start(name: &str, database: &Path, number: u8) -> io::Result<Self> {
        let mut process = Command::new(env::current_exe()?)
            .env(ROLE, name)
            .env(DATABASE, database)
            .env(NUMBER, number.to_string())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let input = process.stdin.take().expect("its input is a pipe");
        let output = BufReader::new(process.stdout.take().expect("its output is a pipe"));
        let mut peer = Self { process, input, output };
        match peer.answer()?.as_str() {
            "ready" => Ok(peer),
            other => Err(io::Error::other(format!("the peer said `{other}` instead of `ready`"))),
        }
    }

    /// Tells it what to do next; it answers when it has done it.
    pub fn tell(&mut self, command: &str) -> io::Result<()> {
        writeln!(self.input, "{command}")
    }

    /// Waits for its next line.
    pub fn answer(&mut self) -> io::Result<String> {
        let mut line = String::new();
        match self.output.read_line(&mut line)? {
            0 => Err(io::Error::other("the peer has died; what it said stands above")),
            _ => Ok(line.trim_end().to_owned()),
        }
    }

    /// Ends one that obeys, and waits until it is gone.
    pub fn end(mut self) -> io::Result<()> {
        drop(self.input);
        let status = self.process.wait()?;
        status
            .success()
            .then_some(())
            .ok_or_else(|| io::Error::other(format!("the peer: {status}")))
    }

    /// Ends one that plays; returns how many times it has done its work, and its latencies for people.
    pub fn stop(mut self) -> io::Result<(u64, String)> {
        self.tell("stop")?;
        let count = self.answer()?;
        let latencies = self.answer()?;
        self.end()?;
        let count = count
            .parse()
            .map_err(|_| io::Error::other(format!("the peer said `{count}`, no number")))?;
        Ok((count, latencies))
    }
}

/// The role of this process, if it is a peer.
pub fn role() -> Option<Role> {
    let number = env::var(NUMBER).ok()?.parse().expect("a peer is started with a number");
    Some(Role { name: env::var(ROLE).ok()?, database: env::var_os(DATABASE)?.into(), number })
}

/// Plays the peer: calls `work` again and again until it is told to stop.
pub fn play(mut work: impl FnMut()) {
    let stopped = Arc::new(AtomicBool::new(false));
    let told = Arc::clone(&stopped);
    std::thread::spawn(move || {
        // Whether it is a line or the end of the input.
        let _ = io::stdin().read_line(&mut String::new());
        told.store(true, Ordering::Relaxed); // the flag is all there is to see
    });
    work(); // the first starts DuckDB
    println!("ready");
    let (mut latencies, mut count) = (Latencies::default(), 1);
    while !stopped.load(Ordering::Relaxed) {
        latencies.time(&mut work);
        count += 1;
    }
    println!("{count}\n{latencies}");
}

/// Obeys as the peer: answers each line that it is told, until there are no more. Call it when DuckDB has started.
pub fn obey(mut answer: impl FnMut(&str) -> String) {
    println!("ready");
    for command in io::stdin().lines() {
        println!("{}", answer(&command.expect("the bench writes text")));
    }
}
