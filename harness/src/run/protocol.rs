//! What the coordinator and a worker say to each other: JSON, a line each, commands on the worker's standard
//! input, events and replies on its standard output. Its logs go to standard error.

use std::collections::BTreeMap;
use std::path::PathBuf;

use manager::Window;
use serde::{Deserialize, Serialize};

use crate::history::{Event, Role};
use crate::plan::Step;
use crate::scenario::{Driver, Windows, Work, Writes};

/// What a worker is told. It answers each with one [`Reply`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "command", rename_all = "kebab-case")]
pub enum Command {
    /// Who it is and where everything lies. Comes first.
    Start(Start),
    /// Enter a phase, do these steps, leave it.
    Phase(PhaseWork),
    /// Give everything back and end.
    Finish,
}

/// See [`Command::Start`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Start {
    /// Its name, the first part of its actors' ids.
    pub process: String,
    /// What its actors do.
    pub role: Role,
    /// How it gets at the store.
    pub driver: Driver,
    /// The store's database.
    pub store: PathBuf,
    /// The prices' database, which nobody writes. None is there for a panel.
    pub prices: PathBuf,
    /// What the synthetic market is drawn from.
    pub seed: u64,
    /// How time is cut.
    pub windows: Windows,
    /// What is done.
    pub work: Work,
    /// When what evaluators have computed gets into the database.
    pub writes: Writes,
}

impl Start {
    /// The penalty of the regression.
    pub fn ridge(&self) -> f64 {
        match &self.work {
            Work::Pipeline { model, .. } => model.ridge,
            Work::Panel(_) => 0.0,
        }
    }
}

/// See [`Command::Phase`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PhaseWork {
    /// Positions to train and to evaluate on.
    pub window: Window,
    /// Which phase.
    pub phase: Role,
    /// Steps by actor, of this process only. Each actor is a thread.
    pub steps: BTreeMap<String, Vec<Step>>,
    /// What the window's model is fitted on: blocks by ticker, in the order in which they are summed.
    pub fits: BTreeMap<String, Vec<u32>>,
}

/// A line of a worker.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Line {
    /// The answer to a command.
    Reply(Reply),
    /// Something that happened meanwhile.
    Event(Event),
}

/// The answer to a command.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "reply", rename_all = "kebab-case")]
pub enum Reply {
    /// It is done.
    Done,
    /// It cannot be done, and neither can what was to come after it.
    Failed {
        /// Why.
        message: String,
    },
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::history::{Mode, What};

    #[test]
    fn events_and_replies_are_told_apart() {
        let event = Event {
            t_ns: 7,
            actor: "training-0/1".into(),
            what: What::LeaseTaken { lease: 1, mode: Mode::Write, waited_ns: 3 },
        };
        for line in [
            Line::Reply(Reply::Done),
            Line::Reply(Reply::Failed { message: "no".into() }),
            Line::Event(event),
        ] {
            let text = serde_json::to_string(&line).unwrap();
            assert_eq!(serde_json::from_str::<Line>(&text).unwrap(), line, "{text}");
        }
        assert!(serde_json::from_str::<Line>("{\"reply\":\"perhaps\"}").is_err());
    }
}
