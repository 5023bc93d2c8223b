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
    looked.map_err(error)
}

fn error(refusal: Refusal) -> Error {
    match refusal {
        Refusal::Unusable { gate, source } => Error::Gate { path: gate, source },
        Refusal::Expired(_) | Refusal::Evaluation(_) => unreachable!("a look waits for nothing"),
    }
}

/// The generation of a database: it counts committed changes, over all processes that use the gate, and whenever a process
/// takes the file to write, as the one before may have been killed before it could count. `None` if nobody has
/// used it through the gate yet. Looks at the gate only. Does not block.
///
/// A transaction counts before it is acknowledged, and what is written on a bare connection when its lease comes back.
/// So whoever is told of a change, by whatever way, and then takes a lease, sees it; and whoever remembers something
/// together with the generation from *before* it was read knows that it still holds while the generation is the same.
/// It never comes back to a value it had, also when the gate file is deleted and made anew.
///
/// # Errors
///
/// * [`Error::Gate`] if the gate file is there but cannot be read.
pub fn generation(database: &Path) -> Result<Option<u64>, Error> {
    let path = std::fs::canonicalize(database).unwrap_or_else(|_| database.to_path_buf());
    let looked = GateFile::open_existing(&path).map_err(error)?;
    Ok(looked.map(|gate| gate.page().count()))
}

/// The path of the gate file of a database.
pub fn gate_path(database: &Path) -> PathBuf {
    path_of(database)
}
