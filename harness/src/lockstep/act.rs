//! What is decided about an actor beside that it moves: that it does not survive, or that its disk fails.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::io::survivors::Model;

/// What happens to the actor that moves.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(rename_all = "snake_case")]
pub enum Act {
    /// It goes on.
    #[default]
    Go,
    /// Its process is killed (`SIGKILL`) instead, and waited for.
    Kill,
    /// Its process is stopped (`SIGSTOP`), until it moves again.
    Pause,
    /// Virtual time goes on by [`JUMP_NS`] before it moves.
    Jump,
    /// The I/O call that it stands at is not done and fails with `EIO`.
    Eio,
    /// The I/O call that it stands at is not done and fails with `ENOSPC`.
    Enospc,
    /// This and every further call of its process that needs room fails with `ENOSPC`.
    Full,
    /// Half of the write that it stands at is done, then its process is killed.
    Torn,
    /// The power fails: the processes of all actors are gone, and of the files there is what [`Model::Ordered`] leaves. Those
    /// of the others say so in a step of their own each, before anybody else moves.
    LossOrdered,
    /// The same with [`Model::Strict`].
    LossStrict,
}

/// How far a clock jumps: beyond every wait and every idle limit of a default configuration.
pub const JUMP_NS: u64 = 3_600 * 1_000_000_000;

impl Act {
    /// All but [`Go`](Self::Go), with the names that scenarios give them.
    pub const FAULTS: [(&'static str, Self); 9] = [
        ("kill", Self::Kill),
        ("pause", Self::Pause),
        ("jump", Self::Jump),
        ("eio", Self::Eio),
        ("enospc", Self::Enospc),
        ("full", Self::Full),
        ("torn", Self::Torn),
        ("loss-ordered", Self::LossOrdered),
        ("loss-strict", Self::LossStrict),
    ];

    /// Whether nothing else happens than that the actor goes on.
    pub fn is_go(&self) -> bool {
        *self == Self::Go
    }

    /// Whether it can only happen to an actor that stands at an I/O call.
    pub fn needs_call(self) -> bool {
        matches!(self, Self::Eio | Self::Enospc | Self::Full | Self::Torn)
    }

    /// Whether it can only happen where I/O calls are seen.
    pub fn needs_calls_seen(self) -> bool {
        self.needs_call() || self.loses().is_some()
    }

    /// Whether it can only happen to an actor with a process of its own.
    pub fn needs_process(self) -> bool {
        self.needs_calls_seen() || matches!(self, Self::Kill | Self::Pause)
    }

    /// Whether the actor's process is dead afterwards.
    pub fn kills(self) -> bool {
        matches!(self, Self::Kill | Self::Torn) || self.loses().is_some()
    }

    /// What survives, if the power fails.
    pub fn loses(self) -> Option<Model> {
        match self {
            Self::LossOrdered => Some(Model::Ordered),
            Self::LossStrict => Some(Model::Strict),
            _ => None,
        }
    }
}

impl fmt::Display for Act {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let named = Self::FAULTS.iter().find(|(_, act)| act == self);
        f.write_str(named.map_or("go", |(name, _)| name))
    }
}

/// Who moves, and what happens to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Move {
    /// Its index.
    pub actor: usize,
    /// What happens to it.
    pub act: Act,
}

impl Move {
    /// It goes on.
    pub fn go(actor: usize) -> Self {
        Self { actor, act: Act::Go }
    }
}
