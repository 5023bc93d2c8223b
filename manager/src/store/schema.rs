//! The tables of a store, and how an older store becomes one of this version.
//!
//! # Layout, schema version 2
//!
//! | table | column | content |
//! |---|---|---|
//! | `flockgate_meta` | `name VARCHAR`, `value VARCHAR` | `schema_version`: `2`; `forgotten`: the number up to which `flockgate_dropped` has been emptied |
//! | `flockgate_manifest` | `seq UBIGINT` | the number of the change that put the row in; one row a key |
//! | | `key BLOB` | the 16 bytes of a [`Key`](crate::Key) |
//! | | `feature VARCHAR`, `version UINTEGER`, `params VARCHAR`, `code VARCHAR` | what it is of; fingerprints are in hexadecimal |
//! | | `entities VARCHAR`, `inputs VARCHAR` | a JSON list of texts; a JSON object of fingerprints by column |
//! | | `range_begin UINTEGER`, `range_end UINTEGER`, `lookahead UINTEGER`, `calendar VARCHAR` | which positions of which calendar |
//! | | `fit_begin UINTEGER`, `fit_end UINTEGER` | the window it was fitted on, or NULL |
//! | | `known_through UINTEGER` | the first position that it knows nothing of |
//! | | `codec UTINYINT`, `bytes UBIGINT`, `content BLOB` | 0 bytes, 1 Arrow IPC stream; length; the first 16 bytes of their BLAKE3. NULL in a negative entry |
//! | | `inline BLOB` | the bytes, or NULL if they are in the file `objects/` of that content |
//! | | `reason VARCHAR`, `retry_at_ms UBIGINT` | of a negative entry; otherwise NULL |
//! | | `compute_us UBIGINT`, `created_ms UBIGINT`, `pid UINTEGER` | how long it took, when (milliseconds after 1970) and who |
//! | `flockgate_dropped` | `seq UBIGINT`, `key BLOB`, `content BLOB`, `bytes UBIGINT`, `generation UBIGINT` | a row that was taken out, by the number of that change; the file to be removed once nobody reads at an older generation, or NULL |
//! | `flockgate_pin` | `feature VARCHAR`, `version UINTEGER`, `note VARCHAR`, `until_ms UBIGINT` | what is never evicted; NULL: every version, for good |
//! | `flockgate_plan` | `name VARCHAR`, `shape VARCHAR`, `lookback UINTEGER`, `next_window UINTEGER` | a walk-forward as JSON, and the window it has come to |
//!
//! There are no keys and indexes: an index makes every hand-over's checkpoint several times dearer, and the one writer
//! lane makes it needless. Changes are numbered without gaps over the first two tables; a mirror that has all up to a
//! number asks for what came after it.
//!
//! # Version 1
//!
//! One table `flockgate_artefact` with all bytes inline. Its rows are taken over under their keys of that version
//! ([`Key::v1`](crate::Key::v1)); a [`FeatureSpec::formerly`](crate::FeatureSpec::formerly) finds them again. What that
//! version did not store (parameters, inputs) is empty, and such a row knows everything through its range.

use super::content::Content;
use super::key::Key;
use super::manifest::{self, Queries};
use super::record::{Outcome, Record};
use crate::error::Error;
use crate::seam::{clock, process};
use crate::transaction::Transaction;

pub(crate) const VERSION: &str = "2";

/// How many tables the database has.
pub(crate) const TABLES: &str = "SELECT count(*) FROM duckdb_tables() WHERE database_name = current_database() AND NOT temporary";

/// All tables of an empty store.
pub(crate) const CREATE: &str = "
    CREATE TABLE flockgate_meta (name VARCHAR NOT NULL, value VARCHAR NOT NULL);
    INSERT INTO flockgate_meta VALUES ('schema_version', '2'), ('forgotten', '0');

    CREATE TABLE flockgate_manifest (
        seq UBIGINT NOT NULL, key BLOB NOT NULL, feature VARCHAR NOT NULL, version UINTEGER NOT NULL,
        params VARCHAR NOT NULL, code VARCHAR NOT NULL, entities VARCHAR NOT NULL, inputs VARCHAR NOT NULL,
        range_begin UINTEGER NOT NULL, range_end UINTEGER NOT NULL, lookahead UINTEGER NOT NULL,
        calendar VARCHAR NOT NULL, fit_begin UINTEGER, fit_end UINTEGER, known_through UINTEGER NOT NULL,
        codec UTINYINT, bytes UBIGINT, content BLOB, inline BLOB, reason VARCHAR, retry_at_ms UBIGINT,
        compute_us UBIGINT NOT NULL, created_ms UBIGINT NOT NULL, pid UINTEGER NOT NULL
    );
    CREATE TABLE flockgate_dropped (
        seq UBIGINT NOT NULL, key BLOB NOT NULL, content BLOB, bytes UBIGINT NOT NULL, generation UBIGINT NOT NULL
    );
    CREATE TABLE flockgate_pin (feature VARCHAR NOT NULL, version UINTEGER, note VARCHAR NOT NULL, until_ms UBIGINT);
    CREATE TABLE flockgate_plan (
        name VARCHAR NOT NULL, shape VARCHAR NOT NULL, lookback UINTEGER NOT NULL, next_window UINTEGER NOT NULL
    );";

/// What a database is, by the version that it says.
pub(crate) enum Found {
    /// A store of this version.
    Current,
    /// One that [`migrate`] makes into that.
    Older,
    /// Neither.
    Other(String),
}

/// Looks which version a store is of. Fails if the database is none.
pub(crate) fn look(queries: &impl Queries) -> Result<Found, Error> {
    let sql = "SELECT value FROM flockgate_meta WHERE name = 'schema_version'";
    let versions: Vec<String> = queries.rows(sql, [], |row| row.get(0))?;
    Ok(match versions.first().map(String::as_str) {
        Some(VERSION) => Found::Current,
        Some("1") => Found::Older,
        other => Found::Other(other.unwrap_or("missing").to_owned()),
    })
}

/// Makes a store of version 1 one of this version, in one transaction. Does nothing to one that is.
pub(crate) fn migrate(tx: &Transaction<'_>) -> Result<(), Error> {
    if !matches!(look(tx)?, Found::Older) {
        return Ok(());
    }
    let old = tx.query(
        "SELECT key, feature, version, entity, range_begin, range_end, payload FROM flockgate_artefact ORDER BY rowid",
        [],
        of_version_1,
    )?;
    tx.execute_batch("DROP TABLE flockgate_meta; DROP TABLE flockgate_artefact")?;
    tx.execute_batch(CREATE)?;
    manifest::append(tx, 1, &old.iter().collect::<Vec<_>>())
}

/// A row of `flockgate_artefact`, as a record of this version.
fn of_version_1(row: &duckdb::Row<'_>) -> duckdb::Result<Record> {
    let (key, payload): (Vec<u8>, Vec<u8>) = (row.get(0)?, row.get(6)?);
    let range = (row.get(4)?, row.get(5)?);
    Ok(Record {
        key: Key::from_bytes(key.try_into().unwrap_or_default()),
        feature: row.get(1)?,
        version: row.get(2)?,
        params: "{}".into(),
        code: String::new(),
        entities: serde_json::json!([row.get::<_, String>(3)?]).to_string(),
        range,
        lookahead: 0,
        fit: None,
        calendar: String::new(),
        inputs: "{}".into(),
        known_through: range.1,
        outcome: Outcome::Ready {
            content: Content::of(&payload),
            bytes: payload.len() as u64,
            codec: 0,
            inline: Some(payload),
        },
        compute_us: 0,
        created_ms: clock::unix_ms(),
        pid: process::id(),
    })
}
