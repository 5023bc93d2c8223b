//! The worker processes: started, listened to, killed.

use std::io::{self, BufRead, BufReader};
use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::Instant;

use rustix::process::{Pid, Signal, kill_process};

/// What starts a worker: this program, in its other role.
pub(crate) struct Orders {
    pub(crate) program: PathBuf,
    pub(crate) folder: PathBuf,
    pub(crate) seed: u64,
}

/// One line of a worker, or the end of all its lines.
pub(crate) struct Heard {
    pub(crate) worker: u64,
    pub(crate) at: Instant,
    /// `None` when its pipe has ended, which it does when it is dead.
    pub(crate) line: Option<String>,
}

/// All workers that are alive, one a slot. Killed and reaped when this is dropped.
pub(crate) struct Fleet {
    orders: Orders,
    by_slot: Vec<Process>,
    voice: mpsc::Sender<Heard>,
    heard: mpsc::Receiver<Heard>,
}

struct Process {
    worker: u64,
    child: Child,
    /// A worker ends when this is closed: at the storm's end, and if the storm itself is killed.
    input: Option<ChildStdin>,
}

impl Fleet {
    pub(crate) fn new(orders: Orders) -> Self {
        let (voice, heard) = mpsc::channel();
        Self { orders, by_slot: Vec::new(), voice, heard }
    }

    /// Starts a worker in a slot that is free: the next one, or one whose worker was killed.
    pub(crate) fn start(&mut self, slot: usize, worker: u64) -> io::Result<()> {
        let mut child = Command::new(&self.orders.program)
            .arg("--as-worker")
            .arg(&self.orders.folder)
            .args([worker, slot as u64, self.orders.seed].map(|number| number.to_string()))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let output = child.stdout.take().expect("its output was asked for");
        let voice = self.voice.clone();
        thread::spawn(move || {
            for line in BufReader::new(output).lines().map_while(Result::ok) {
                let _ = voice.send(Heard { worker, at: Instant::now(), line: Some(line) });
            }
            let _ = voice.send(Heard { worker, at: Instant::now(), line: None });
        });
        let process = Process { worker, input: child.stdin.take(), child };
        if slot == self.by_slot.len() {
            self.by_slot.push(process);
        } else {
            self.by_slot[slot] = process;
        }
        Ok(())
    }

    pub(crate) fn worker(&self, slot: usize) -> u64 {
        self.by_slot[slot].worker
    }

    pub(crate) fn pid(&self, slot: usize) -> u32 {
        self.by_slot[slot].child.id()
    }

    /// The next line of anybody, if one comes before the deadline.
    pub(crate) fn hear(&self, deadline: Instant) -> Option<Heard> {
        match self.heard.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
            Ok(heard) => Some(heard),
            Err(RecvTimeoutError::Timeout) => None,
            Err(RecvTimeoutError::Disconnected) => unreachable!("the fleet has a sender itself"),
        }
    }

    /// Stops a worker where it is.
    pub(crate) fn stop(&self, slot: usize) -> io::Result<()> {
        let pid = Pid::from_child(&self.by_slot[slot].child);
        Ok(kill_process(pid, Signal::STOP)?)
    }

    /// Kills a worker and reaps it. Returns how it ended, if it had ended before and not by this.
    pub(crate) fn kill(&mut self, slot: usize) -> io::Result<Option<ExitStatus>> {
        let child = &mut self.by_slot[slot].child;
        child.kill()?;
        let status = child.wait()?;
        Ok((status.signal() != Some(Signal::KILL.as_raw())).then_some(status))
    }

    /// Lets every worker finish what it is at and end.
    pub(crate) fn call_home(&mut self) {
        self.by_slot.iter_mut().for_each(|process| process.input = None);
    }

    /// Reaps a worker whose pipe has ended.
    pub(crate) fn reap(&mut self, slot: usize) -> io::Result<ExitStatus> {
        self.by_slot[slot].child.wait()
    }
}

impl Drop for Fleet {
    fn drop(&mut self) {
        for process in &mut self.by_slot {
            let _ = process.child.kill(); // fails if it was reaped already
            let _ = process.child.wait();
        }
    }
}
