//! A defect of DuckDB 1.5.5, met once in some 33,000 kills of storms, whose database has a few tables. The more tables, the
//! oftener: plain DuckDB with 40 tables and a checkpoint after each insert left 9 such files in 5,000 kills.
//!
//! A checkpoint writes its metadata into free parts of blocks whose other parts are in use, and rewrites each such block
//! (256 KiB) where it stands (`MetadataManager::Flush`). A kill can cut that write off after any page. The parts in use
//! are the same before and after, so nothing is lost; but the block's checksum is that of the whole new block, and the
//! file cannot be opened any more. Storing the checksum of what is there makes it whole again.
//!
//! The storm does so, to see that nothing else is wrong, and says that it had to. A block that is not one of the
//! metadata is another matter: that is a violation.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

/// Where the two headers of the database stand, of which the one with the higher count of checkpoints is in use.
const HEADERS: [u64; 2] = [4096, 8192];
/// Where block 0 stands.
const FIRST_BLOCK: u64 = 12_288;
const BLOCK_BYTES: u64 = 262_144;

/// A block whose checksum is not its own, as DuckDB's error names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Torn {
    computed: u64,
    stored: u64,
    location: u64,
}

impl Torn {
    /// Finds it in the text of an error.
    pub(crate) fn of(text: &str) -> Option<Self> {
        let number = |before: &str| {
            let rest = text.split_once(before)?.1;
            rest.split(|character: char| !character.is_ascii_digit()).next()?.parse().ok()
        };
        Some(Self {
            computed: number("Corrupt database file: computed checksum ")?,
            stored: number("does not match stored checksum ")?,
            location: number("in block at location ")?,
        })
    }

    /// Stores the block's own checksum; nobody has the database open. Returns whether it is a block of the metadata that
    /// is in use, and does nothing if it is not.
    pub(crate) fn mend(self, database: &Path) -> io::Result<bool> {
        let file = File::options().read(true).write(true).open(database)?;
        if !metadata_blocks(&file)?.contains(&self.location) {
            return Ok(false);
        }
        // Somebody else may have met it too, and it may be mended already.
        if read(&file, self.location)? == self.stored {
            file.write_all_at(&self.computed.to_le_bytes(), self.location)?;
        }
        Ok(true)
    }

    /// Canary: does to a database what such a kill does.
    pub(crate) fn tear(database: &Path) -> io::Result<()> {
        let file = File::options().read(true).write(true).open(database)?;
        let location = metadata_blocks(&file)?[0];
        let stored = read(&file, location)?;
        file.write_all_at(&(!stored).to_le_bytes(), location)
    }
}

/// The blocks of the metadata that the header in use begins with: those of the catalog and of the free list.
fn metadata_blocks(file: &File) -> io::Result<[u64; 2]> {
    let mut in_use = (0, [0; 2]);
    for at in HEADERS {
        // A checksum, the count of checkpoints, the pointers to the catalog and to the free list.
        let pointers = [read(file, at + 16)?, read(file, at + 24)?];
        in_use = in_use.max((read(file, at + 8)?, pointers));
    }
    // The highest byte of a pointer is the part of the block.
    Ok(in_use.1.map(|pointer| FIRST_BLOCK + (pointer & (u64::MAX >> 8)) * BLOCK_BYTES))
}

fn read(file: &File, at: u64) -> io::Result<u64> {
    let mut bytes = [0; 8];
    file.read_exact_at(&mut bytes, at)?;
    Ok(u64::from_le_bytes(bytes))
}
