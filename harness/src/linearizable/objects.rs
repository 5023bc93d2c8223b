//! Objects that are asked about: a list, and a lease that one at a time can have.

use super::Object;

/// A list that grows at its end and is read whole.
pub struct List;

/// What a transaction did to a list, all of it in one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OnList {
    /// It added a value.
    Append(u64),
    /// It found these.
    Read(Vec<u64>),
}

impl Object for List {
    type State = Vec<u64>;
    type Call = Vec<OnList>;

    fn start(&self) -> Vec<u64> {
        Vec::new()
    }

    fn apply(&self, list: &Vec<u64>, call: &Vec<OnList>) -> Option<Vec<u64>> {
        let mut list = list.clone();
        for act in call {
            match act {
                OnList::Append(value) => list.push(*value),
                OnList::Read(found) if *found != list => return None,
                OnList::Read(_) => {}
            }
        }
        Some(list)
    }
}

/// A lease that one at a time can have.
pub struct Lease;

/// What somebody did with it, named by a number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnLease {
    /// Got it.
    Acquired(usize),
    /// Gave it back.
    Released(usize),
}

impl Object for Lease {
    type State = Option<usize>;
    type Call = OnLease;

    fn start(&self) -> Option<usize> {
        None
    }

    fn apply(&self, holder: &Option<usize>, call: &OnLease) -> Option<Option<usize>> {
        match (holder, call) {
            (None, OnLease::Acquired(who)) => Some(Some(*who)),
            (Some(holder), OnLease::Released(who)) if holder == who => Some(None),
            _ => None,
        }
    }
}
