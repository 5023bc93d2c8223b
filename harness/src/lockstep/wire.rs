//! What is said between the scheduler and an actor's process: a line of JSON an order, a line a reply, in turns.

use serde::{Deserialize, Serialize};

use super::baton::{Back, Go};
use super::driver::DriverError;

/// To the process.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "order", rename_all = "snake_case")]
pub(super) enum Order {
    /// Be that actor.
    Make(Make),
    /// That thread goes on.
    Go {
        /// The actor's, or one that the manager began.
        thread: String,
        /// With what.
        go: Go,
    },
    /// Drop what the actor held; another one may follow.
    Drop,
}

/// Which actor a process is to be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Make {
    /// Name of the driver.
    pub(super) driver: String,
    /// The scenario's file name, for errors.
    pub(super) name: String,
    /// Digest of the scenario's text.
    pub(super) digest: u64,
    /// The text, unless this process has had it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) text: Option<String>,
    /// Where the database is.
    pub(super) folder: String,
    /// The actor's id.
    pub(super) actor: String,
}

/// From the process.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "reply", rename_all = "snake_case")]
pub(super) enum Reply {
    /// It has been done.
    Done,
    /// The thread has come to its next stop.
    Back {
        /// With what.
        back: Back,
        /// Threads that the manager began on the way.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        began: Vec<String>,
    },
    /// What the actor held was dropped, and this is open all the same.
    Left {
        /// Names of files.
        open: Vec<String>,
    },
    /// It could not be done.
    Failed {
        /// Why.
        error: DriverError,
    },
}
