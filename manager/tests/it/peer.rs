//! Other processes: children that run `examples/peer.rs`.

use std::ffi::OsString;
use std::fs::Permissions;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::mpsc;
use std::thread;

use rustix::process::{Pid, Signal, kill_process};

use crate::support::{A_WHILE, LONG, Site, eventually, sleeps_for_a_lock};

/// A child process at the gate. Killed and reaped when it is dropped.
pub(crate) struct Peer {
    child: Child,
    input: Option<ChildStdin>,
    lines: mpsc::Receiver<String>,
    role: String,
}

impl Peer {
    /// Starts a peer and waits until it has what it came for.
    pub(crate) fn holding(role: &str, database: &Path) -> Self {
        let peer = Self::begin(role, database);
        peer.hears("held");
        peer
    }

    /// Starts a peer that may have to wait.
    pub(crate) fn begin(role: &str, database: &Path) -> Self {
        Self::begin_labelled(role, database, "peer")
    }

    pub(crate) fn begin_labelled(role: &str, database: &Path, label: &str) -> Self {
        Self::run(Command::new(program()).arg(role).arg(database).arg(label))
    }

    /// Starts a peer with settings of its own, as [`with_settings`] takes them.
    pub(crate) fn begin_with(role: &str, database: &Path, settings: &[(&str, &str)]) -> Self {
        let mut command = Command::new(program());
        Self::run(with_settings(command.arg(role).arg(database).arg("peer"), settings))
    }

    /// Starts a command that runs the program of the peers. Of the settings in the environment of the tests it gets none.
    pub(crate) fn run(command: &mut Command) -> Self {
        let role = format!("{command:?}");
        let own: Vec<OsString> = command.get_envs().map(|(name, _)| name.to_owned()).collect();
        for (name, _) in std::env::vars_os() {
            if name.as_encoded_bytes().starts_with(b"FLOCKGATE_") && !own.contains(&name) {
                command.env_remove(name);
            }
        }
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("{role}: {error}"));
        let output = BufReader::new(child.stdout.take().unwrap());
        let (send, lines) = mpsc::channel();
        thread::spawn(move || {
            output.lines().map_while(Result::ok).try_for_each(|line| send.send(line))
        });
        Self { input: child.stdin.take(), child, lines, role }
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Waits for the next line that it prints.
    pub(crate) fn line(&self) -> String {
        self.lines
            .recv_timeout(LONG)
            .unwrap_or_else(|error| panic!("{}: no line after {LONG:?}: {error}", self.role))
    }

    #[track_caller]
    pub(crate) fn hears(&self, expected: &str) {
        assert_eq!(self.line(), expected, "{}", self.role);
    }

    /// Looks on for a while and tells whether it printed nothing.
    pub(crate) fn is_silent(&self) -> bool {
        matches!(self.lines.recv_timeout(A_WHILE), Err(mpsc::RecvTimeoutError::Timeout))
    }

    /// Whether it has printed nothing until now. A line that it has printed is passed over.
    pub(crate) fn has_said_nothing(&self) -> bool {
        self.lines.try_recv().is_err()
    }

    /// Waits until its main thread sleeps in the kernel for a file lock.
    pub(crate) fn sleeps_for_a_lock(&self) {
        sleeps_for_a_lock(self.pid(), self.pid());
    }

    /// Gives it an order and returns its answer.
    pub(crate) fn tell(&mut self, order: &str) -> String {
        self.order(order);
        self.line()
    }

    /// Gives it an order whose answer is heard later.
    pub(crate) fn order(&mut self, order: &str) {
        let input = self.input.as_mut().expect("its input is open until it is released");
        match writeln!(input, "{order}") {
            // It was killed within an earlier order; whoever waits for its answer hears of it.
            Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => {}
            other => other.unwrap_or_else(|error| panic!("{}: {error}", self.role)),
        }
    }

    /// Waits until it has ended, by itself or killed, and returns how, and what it printed until then.
    pub(crate) fn ends(mut self) -> (Vec<String>, ExitStatus) {
        let mut lines = Vec::new();
        loop {
            match self.lines.recv_timeout(LONG) {
                Ok(line) => lines.push(line),
                Err(mpsc::RecvTimeoutError::Disconnected) => break,
                Err(error) => panic!("{}: not at its end after {LONG:?}: {error}", self.role),
            }
        }
        (lines, self.child.wait().unwrap())
    }

    /// Commits rows and returns when they are acknowledged.
    pub(crate) fn insert(&mut self, numbers: std::ops::Range<i64>) {
        for number in numbers {
            assert_eq!(self.tell(&format!("insert {number}")), "ok", "{}", self.role);
        }
    }

    #[track_caller]
    pub(crate) fn release(mut self) {
        assert_eq!(self.tell("release"), "released", "{}", self.role);
        let status = self.child.wait().unwrap();
        assert!(status.success(), "{}: {status}", self.role);
    }

    /// Lets it have no more orders.
    pub(crate) fn end_input(&mut self) {
        self.input = None;
    }

    /// Stops it where it is, with SIGSTOP, and waits until all its threads stand still.
    pub(crate) fn stop(&self) {
        kill_process(Pid::from_child(&self.child), Signal::STOP).unwrap();
        eventually("the process stands still", || {
            let threads = std::fs::read_dir(format!("/proc/{}/task", self.pid())).unwrap();
            threads.map(Result::unwrap).all(|thread| {
                // proc(5): the state comes behind the command, which is in parentheses.
                let stat = std::fs::read_to_string(thread.path().join("stat")).unwrap();
                stat.rsplit_once(") ").unwrap().1.starts_with('T')
            })
        });
    }

    /// Continues it, with SIGCONT.
    pub(crate) fn go_on(&self) {
        kill_process(Pid::from_child(&self.child), Signal::CONT).unwrap();
    }

    /// Ends it with SIGKILL.
    pub(crate) fn kill(self) {
        drop(self);
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        let _ = self.child.kill(); // SIGKILL; fails if it has ended
        let _ = self.child.wait();
    }
}

/// Gives a command settings, by the names of the fields of [`manager::Config`] and as text: `("idle_max", "10s")`.
pub(crate) fn with_settings<'a>(
    command: &'a mut Command,
    settings: &[(&str, &str)],
) -> &'a mut Command {
    let variable = |field: &str| format!("FLOCKGATE_{}", field.to_uppercase());
    command.envs(settings.iter().map(|(field, value)| (variable(field), value)))
}

/// The program of the peers.
pub(crate) fn program() -> PathBuf {
    example("peer")
}

/// An example, as cargo puts it: `<target>/release/examples/<name>` for `<target>/release/deps/it-…`.
pub(crate) fn example(name: &str) -> PathBuf {
    let this = std::env::current_exe().unwrap();
    let program = this.parent().and_then(Path::parent).unwrap().join("examples").join(name);
    assert!(
        program.exists(),
        "{} is missing; build it with `cargo build --release -p manager --example {name}`",
        program.display()
    );
    program
}

/// Somebody whom permissions bind: root may read and write everything, so root runs the program as another user.
pub(crate) struct AnotherUser {
    /// The program of the peers, where that user can run it.
    program: PathBuf,
}

impl AnotherUser {
    /// The user and the group, where this process is root.
    pub(crate) const ID: u32 = 65_534;

    /// With the program where that user can run it, in the folder of the test.
    pub(crate) fn beside(site: &Site) -> Self {
        let copy = site.path("peer");
        // Not by `fs::copy`: a child that is forked meanwhile would have the copy open for writing, and a file that
        // is open for writing cannot be run.
        let copied = Command::new("cp").arg(program()).arg(&copy).status().unwrap();
        assert!(copied.success());
        std::fs::set_permissions(site.folder(), Permissions::from_mode(0o777)).unwrap();
        Self { program: copy }
    }

    pub(crate) fn runs(&self, role: &str, database: &Path) -> Peer {
        self.runs_with(role, database, &[])
    }

    /// With settings, as [`with_settings`] takes them.
    pub(crate) fn runs_with(&self, role: &str, database: &Path, settings: &[(&str, &str)]) -> Peer {
        let mut command = Command::new(&self.program);
        if rustix::process::geteuid().is_root() {
            command.uid(Self::ID).gid(Self::ID);
        }
        Peer::run(with_settings(command.arg(role).arg(database), settings))
    }
}

#[test]
fn a_peer_has_the_settings_that_it_is_given() {
    let site = Site::new();
    let peer = Peer::begin_with("read", &site.database(), &[("wait_max", "soon")]);
    let line = peer.line();
    assert!(line.contains("FLOCKGATE_WAIT_MAX") && line.contains("soon"), "{line}");
}
