//! The frame that blocks and sums share as bytes, and its reader.
//!
//! All numbers are little-endian. Every message begins with the same 8 bytes:
//!
//! | offset | type | what |
//! |---|---|---|
//! | 0 | 4 bytes | magic, names the kind of message |
//! | 4 | `u16` | [`VERSION`] of the features |
//! | 6 | `u16` | [`N`], the number of features |
//!
//! A reader never trusts a count: it takes what the bytes hold and stops at their end.

use super::features::{N, VERSION};

/// Why bytes are not what they were taken for. Whoever stored them can compute them again.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DecodeError {
    /// The magic is another one.
    #[error("decode a {what}: the bytes begin with {found:02x?}, they hold something else")]
    Foreign {
        /// What was asked for.
        what: &'static str,
        /// The first bytes, 4 at most.
        found: Vec<u8>,
    },
    /// Another version of the features, or another number of them.
    #[error(
        "decode a {what}: it has {features} features of version {version}, this build has {N} of \
         version {VERSION}; compute it again"
    )]
    Version {
        /// What was asked for.
        what: &'static str,
        /// What the bytes say.
        version: u16,
        /// What the bytes say.
        features: u16,
    },
    /// The bytes end too early.
    #[error("decode a {what}: the bytes end after {length}, in the middle; compute it again")]
    Truncated {
        /// What was asked for.
        what: &'static str,
        /// How many there are.
        length: usize,
    },
    /// Bytes follow the end.
    #[error("decode a {what}: {extra} bytes follow its end; compute it again")]
    Trailing {
        /// What was asked for.
        what: &'static str,
        /// How many.
        extra: usize,
    },
    /// A row that no writer writes.
    #[error(
        "decode a {what}: row {row} is out of order, badly marked or not finite; compute it \
         again"
    )]
    Row {
        /// What was asked for.
        what: &'static str,
        /// Counted from 0.
        row: u32,
    },
}

/// A kind of message.
pub(super) struct Kind {
    /// Its name in errors.
    pub(super) what: &'static str,
    /// Its first 4 bytes.
    pub(super) magic: [u8; 4],
}

impl Kind {
    /// A message that holds the frame, with room for `body` bytes more.
    pub(super) fn begin(&self, body: usize) -> Vec<u8> {
        let mut message = Vec::with_capacity(8 + body);
        message.extend(self.magic);
        message.extend(VERSION.to_le_bytes());
        message.extend((N as u16).to_le_bytes());
        message
    }

    /// Checks the frame and returns a reader of what follows it.
    pub(super) fn open<'a>(&self, bytes: &'a [u8]) -> Result<Reader<'a>, DecodeError> {
        let what = self.what;
        if !bytes.starts_with(&self.magic) {
            let found = bytes[..bytes.len().min(4)].to_vec();
            return Err(DecodeError::Foreign { what, found });
        }
        let mut reader = Reader { what, length: bytes.len(), rest: &bytes[4..] };
        let (version, features) = (reader.u16()?, reader.u16()?);
        if version != VERSION || usize::from(features) != N {
            return Err(DecodeError::Version { what, version, features });
        }
        Ok(reader)
    }
}

/// Takes numbers from the front of a message.
pub(super) struct Reader<'a> {
    what: &'static str,
    length: usize,
    rest: &'a [u8],
}

impl Reader<'_> {
    fn take<const L: usize>(&mut self) -> Result<[u8; L], DecodeError> {
        let (taken, rest) = self
            .rest
            .split_first_chunk()
            .ok_or(DecodeError::Truncated { what: self.what, length: self.length })?;
        self.rest = rest;
        Ok(*taken)
    }

    pub(super) fn u16(&mut self) -> Result<u16, DecodeError> {
        self.take().map(u16::from_le_bytes)
    }

    pub(super) fn u32(&mut self) -> Result<u32, DecodeError> {
        self.take().map(u32::from_le_bytes)
    }

    pub(super) fn u64(&mut self) -> Result<u64, DecodeError> {
        self.take().map(u64::from_le_bytes)
    }

    pub(super) fn f64(&mut self) -> Result<f64, DecodeError> {
        self.take().map(f64::from_le_bytes)
    }

    pub(super) fn f64s<const L: usize>(&mut self) -> Result<[f64; L], DecodeError> {
        let mut numbers = [0.0; L];
        for number in &mut numbers {
            *number = self.f64()?;
        }
        Ok(numbers)
    }

    /// The error of row `row`.
    pub(super) fn bad_row(&self, row: u32) -> DecodeError {
        DecodeError::Row { what: self.what, row }
    }

    /// Checks that nothing is left.
    pub(super) fn end(self) -> Result<(), DecodeError> {
        match self.rest.len() {
            0 => Ok(()),
            extra => Err(DecodeError::Trailing { what: self.what, extra }),
        }
    }
}

/// Appends numbers to a message.
pub(super) fn put<'a>(message: &mut Vec<u8>, numbers: impl IntoIterator<Item = &'a f64>) {
    message.extend(numbers.into_iter().flat_map(|number| number.to_le_bytes()));
}
