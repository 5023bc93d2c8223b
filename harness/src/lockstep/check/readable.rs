//! *Readable*: when everybody has gone, the database can be opened and read.

use super::Check;
use crate::check::{Evidence, Finding};
use crate::lockstep::log::{Ended, Log};
use crate::scenario::script::Script;

/// See the module's header.
pub(super) struct Readable;

impl Check for Readable {
    fn id(&self) -> &'static str {
        "readable"
    }

    fn judge(&self, _: &Script, log: &Log) -> Option<Finding> {
        let Some(end) = &log.end else { return Some(Finding::unknown("the log was cut off")) };
        if matches!(end.ended, Ended::Stuck { .. }) {
            return Some(Finding::unknown("an actor is stuck, and nobody looked"));
        }
        let mut evidence = Evidence::default();
        if let Some(why) = &end.unreadable {
            evidence.add(|| why.clone());
        }
        let message = if end.unreadable.is_some() { "nobody can read it" } else { "it was read" };
        Some(evidence.finding(message.to_owned()))
    }

    fn plant(&self, _: &Script, log: &Log) -> Option<Log> {
        let mut planted = log.clone();
        planted.end.as_mut()?.unreadable = Some("planted".to_owned());
        Some(planted)
    }
}
