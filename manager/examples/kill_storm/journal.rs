//! What a worker says, one line for each step, so that its killer knows what it was at.
//!
//! A line is one write(2) to a pipe and shorter than `PIPE_BUF`: it is said wholly or not at all, wherever the
//! worker is killed (pipe(7)).

use std::fmt;

/// One line. The numbers are those of the worker's transactions, or of the database that it creates.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Line {
    Ready,
    /// It is about to wait for the write lease.
    Begin(u64),
    /// It has the lease; the statements come.
    Write(u64),
    /// The last that it says before COMMIT.
    Commit(u64),
    /// The commit was acknowledged.
    Ack(u64),
    /// The transaction was refused, or failed on purpose: nothing of it may be stored.
    Undone(u64),
    Reads,
    Read,
    Enters,
    Entered,
    Left,
    Creates(u64),
    Created(u64),
    Closes,
    Closed,
    Idles,
    Idled,
    /// It had the gate and found the file held: by somebody who let go of the gate first, or does not use it. Not by
    /// one who was killed: Linux may free its lock on the gate a moment before that on the file, which the manager waits
    /// out without a word (`outsiders.rs`).
    Polls,
    /// The database cannot be opened, by the defect of `torn.rs`; the text of the error. It ends itself.
    Torn(String),
    Ended,
    /// It saw what must not be.
    Broken(String),
}

/// What a worker is at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Activity {
    Start,
    Begin,
    Write,
    Commit,
    Read,
    Phase,
    Create,
    Close,
    Idle,
}

impl Activity {
    pub(crate) const ALL: [Self; 9] = [
        Self::Start,
        Self::Begin,
        Self::Write,
        Self::Commit,
        Self::Read,
        Self::Phase,
        Self::Create,
        Self::Close,
        Self::Idle,
    ];
}

impl fmt::Display for Activity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Start => "start",
            Self::Begin => "begin",
            Self::Write => "write",
            Self::Commit => "commit",
            Self::Read => "read",
            Self::Phase => "phase",
            Self::Create => "create",
            Self::Close => "close",
            Self::Idle => "idle",
        })
    }
}

impl Line {
    /// What a worker is at after this; `None` where it goes back to what it was at around it.
    pub(crate) fn activity(&self) -> Option<Activity> {
        Some(match self {
            Self::Begin(_) => Activity::Begin,
            Self::Write(_) => Activity::Write,
            Self::Commit(_) => Activity::Commit,
            Self::Reads => Activity::Read,
            Self::Enters | Self::Entered => Activity::Phase,
            Self::Creates(_) => Activity::Create,
            Self::Closes => Activity::Close,
            Self::Idles => Activity::Idle,
            _ => return None,
        })
    }

    /// Whether it has got something that others can keep from it.
    pub(crate) fn is_progress(&self) -> bool {
        matches!(
            self,
            Self::Ack(_)
                | Self::Undone(_)
                | Self::Read
                | Self::Entered
                | Self::Left
                | Self::Created(_)
                | Self::Closed
        )
    }

    /// Reads a line as [`Display`](fmt::Display) writes it.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let (word, rest) = text.split_once(' ').unwrap_or((text, ""));
        let number = || rest.parse().ok();
        Some(match word {
            "ready" => Self::Ready,
            "begin" => Self::Begin(number()?),
            "write" => Self::Write(number()?),
            "commit" => Self::Commit(number()?),
            "ack" => Self::Ack(number()?),
            "undone" => Self::Undone(number()?),
            "reads" => Self::Reads,
            "read" => Self::Read,
            "enters" => Self::Enters,
            "entered" => Self::Entered,
            "left" => Self::Left,
            "creates" => Self::Creates(number()?),
            "created" => Self::Created(number()?),
            "closes" => Self::Closes,
            "closed" => Self::Closed,
            "idles" => Self::Idles,
            "idled" => Self::Idled,
            "polls" => Self::Polls,
            "torn" => Self::Torn(rest.to_owned()),
            "ended" => Self::Ended,
            "broken" => Self::Broken(rest.to_owned()),
            _ => return None,
        })
    }
}

impl fmt::Display for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ready => f.write_str("ready"),
            Self::Begin(number) => write!(f, "begin {number}"),
            Self::Write(number) => write!(f, "write {number}"),
            Self::Commit(number) => write!(f, "commit {number}"),
            Self::Ack(number) => write!(f, "ack {number}"),
            Self::Undone(number) => write!(f, "undone {number}"),
            Self::Reads => f.write_str("reads"),
            Self::Read => f.write_str("read"),
            Self::Enters => f.write_str("enters"),
            Self::Entered => f.write_str("entered"),
            Self::Left => f.write_str("left"),
            Self::Creates(number) => write!(f, "creates {number}"),
            Self::Created(number) => write!(f, "created {number}"),
            Self::Closes => f.write_str("closes"),
            Self::Closed => f.write_str("closed"),
            Self::Idles => f.write_str("idles"),
            Self::Idled => f.write_str("idled"),
            Self::Polls => f.write_str("polls"),
            Self::Torn(text) => write!(f, "torn {text}"),
            Self::Ended => f.write_str("ended"),
            Self::Broken(text) => write!(f, "broken {text}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all() -> Vec<Line> {
        vec![
            Line::Ready,
            Line::Begin(0),
            Line::Write(1),
            Line::Commit(2),
            Line::Ack(u64::MAX),
            Line::Undone(4),
            Line::Reads,
            Line::Read,
            Line::Enters,
            Line::Entered,
            Line::Left,
            Line::Creates(5),
            Line::Created(6),
            Line::Closes,
            Line::Closed,
            Line::Idles,
            Line::Idled,
            Line::Polls,
            Line::Torn("the error".into()),
            Line::Ended,
            Line::Broken("what it saw".into()),
        ]
    }

    #[test]
    fn every_line_is_heard_as_it_was_said() {
        for line in all() {
            assert_eq!(Line::parse(&line.to_string()), Some(line));
        }
        for text in ["", "ac", "ack", "ack x", "ACK 1"] {
            assert_eq!(Line::parse(text), None, "{text}");
        }
    }

    #[test]
    fn a_worker_says_whatever_it_is_at_but_its_start() {
        let said: Vec<_> = all().iter().filter_map(Line::activity).collect();
        for activity in Activity::ALL {
            assert_eq!(said.contains(&activity), activity != Activity::Start, "{activity}");
        }
    }

    #[test]
    fn no_line_that_a_stranded_worker_can_say_is_progress() {
        for line in all().iter().filter(|line| line.is_progress()) {
            assert_eq!(line.activity().filter(|&at| at != Activity::Phase), None, "{line}");
            assert!(
                !matches!(line, Line::Ready | Line::Idled | Line::Polls | Line::Broken(_)),
                "{line}"
            );
        }
    }
}
