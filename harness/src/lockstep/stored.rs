//! Operations on a feature store that lies in the scenario's database, in words that drivers and checks understand.
//!
//! | operation | does | gives |
//! |---|---|---|
//! | `store put KEY VALUE` | publishes an artefact, through the store that all actors of a process share | `stored` or `present` |
//! | `store put-file KEY VALUE` | the same of one that is too large for the database | the same |
//! | `store get KEY` | looks it up, through a store of the actor's own | the value, or `miss` |
//! | `store compute KEY VALUE` | looks it up, through the same, and computes it if it is missing | `computed` or `found` |
//! | `store hold KEY` | looks it up, and keeps what it found without reading it | `held` or `miss` |
//! | `store load` | reads what was kept | the value |
//! | `store drop KEY` | takes it out, and removes the files that nobody needs | how many were taken out |
//!
//! # Scope of determinism
//!
//! A pure function of the operation. An operation that means nothing here is left alone.

use super::vocabulary::key;

/// See the module's header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stored<'a> {
    /// Publishes an artefact.
    Put(&'a str, u64, Size),
    /// Looks one up.
    Get(&'a str),
    /// Looks one up, and computes it if it is missing.
    Compute(&'a str, u64),
    /// Looks one up, and keeps it.
    Hold(&'a str),
    /// Reads what was kept.
    Load,
    /// Takes one out.
    Drop(&'a str),
}

/// Where the bytes of an artefact are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Size {
    /// In the database.
    Inline,
    /// In a file of their own.
    File,
}

/// What a look-up gives that finds nothing.
pub const MISS: &str = "miss";
/// What `store compute` gives if it computed.
pub const COMPUTED: &str = "computed";

impl<'a> Stored<'a> {
    /// What the text asks for, if it is one of these.
    pub fn of(op: &'a str) -> Option<Self> {
        let parts: Vec<&str> = op.split(' ').collect();
        let number = |text: &str| text.parse().ok();
        match parts[..] {
            ["store", "put", name, value] => {
                Some(Self::Put(key(name)?, number(value)?, Size::Inline))
            }
            ["store", "put-file", name, value] => {
                Some(Self::Put(key(name)?, number(value)?, Size::File))
            }
            ["store", "get", name] => Some(Self::Get(key(name)?)),
            ["store", "compute", name, value] => Some(Self::Compute(key(name)?, number(value)?)),
            ["store", "hold", name] => Some(Self::Hold(key(name)?)),
            ["store", "load"] => Some(Self::Load),
            ["store", "drop", name] => Some(Self::Drop(key(name)?)),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn operations_of_a_store_are_read_and_others_are_not() {
        for (op, stored) in [
            ("store put rsi 7", Some(Stored::Put("rsi", 7, Size::Inline))),
            ("store put-file rsi 7", Some(Stored::Put("rsi", 7, Size::File))),
            ("store get rsi", Some(Stored::Get("rsi"))),
            ("store compute rsi 7", Some(Stored::Compute("rsi", 7))),
            ("store hold rsi", Some(Stored::Hold("rsi"))),
            ("store load", Some(Stored::Load)),
            ("store drop rsi", Some(Stored::Drop("rsi"))),
            ("store put rsi", None),
            ("store put rsi seven", None),
            ("store get rsi 7", None),
            ("store get r'si", None),
            ("put 7", None),
            ("SELECT 1", None),
        ] {
            assert_eq!(Stored::of(op), stored, "{op}");
        }
    }
}
