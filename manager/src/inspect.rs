//! Who holds a database, seen from outside: reads the gate and never opens the database.

use std::path::{Path, PathBuf};

use crate::error::Error;
use crate::gate::file::{GateFile, Refusal, path_of};
use crate::gate::record::Holder;

/// Who holds a database file or waits for it, over all processes that use the gate. Looks at the gate only
/// and never opens the database. Does not block.
///
/// # Errors
///
/// * [`Error::Gate`] if the gate file is there but cannot be read.
///
/// # Example
///
/// ```no_run
/// for holder in manager::holders("features.duckdb".as_ref())? {
///     println!("{holder}");
/// }
/// # Ok::<(), manager::Error>(())
/// ```
pub fn holders(database: &Path) -> Result<Vec<Holder>, Error> {
    let path = std::fs::canonicalize(database).unwrap_or_else(|_| database.to_path_buf());
    let looked = GateFile::open_existing(&path)
        .and_then(|gate| gate.map_or(Ok(Vec::new()), |gate| gate.holders()));
    looked.map_err(|refusal| match refusal {
        Refusal::Unusable { gate, source } => Error::Gate { path: gate, source },
        Refusal::Expired(_) | Refusal::Evaluation(_) => unreachable!("a look waits for nothing"),
    })
}

/// The path of the gate file of a database.
pub fn gate_path(database: &Path) -> PathBuf {
    path_of(database)
}
