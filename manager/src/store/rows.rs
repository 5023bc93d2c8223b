//! What the upkeep of a store reads from the manifest and writes to its smaller tables.

use std::ops::Range;

use duckdb::{Row, params};

use super::content::Content;
use super::key::Key;
use super::manifest::{Queries, content, key};
use super::plans::Plan;
use super::upkeep::{PinnedFeature, Selector};
use crate::error::Error;
use crate::transaction::Transaction;

/// A row of the manifest, without its bytes.
#[derive(Clone, Debug)]
pub(crate) struct Stored {
    pub(crate) seq: u64,
    pub(crate) key: Key,
    pub(crate) feature: String,
    pub(crate) version: u32,
    pub(crate) range: Range<u32>,
    pub(crate) fit: Option<Range<u32>>,
    /// `None` in a negative entry.
    pub(crate) content: Option<Content>,
    pub(crate) bytes: u64,
    pub(crate) is_inline: bool,
    pub(crate) compute_us: u64,
}

/// Every row, in the order of its change.
pub(crate) fn stored(queries: &impl Queries) -> Result<Vec<Stored>, Error> {
    let sql = "
        SELECT key, feature, version, range_begin, range_end, fit_begin, fit_end, content, coalesce(bytes, 0),
            inline IS NOT NULL, compute_us, seq
        FROM flockgate_manifest ORDER BY seq";
    queries.rows(sql, [], |row| {
        let fit: (Option<u32>, Option<u32>) = (row.get(5)?, row.get(6)?);
        Ok(Stored {
            key: key(row, 0)?,
            feature: row.get(1)?,
            version: row.get(2)?,
            range: row.get(3)?..row.get(4)?,
            fit: fit.0.zip(fit.1).map(|(begin, end)| begin..end),
            content: row.get::<_, Option<Vec<u8>>>(7)?.map(content),
            bytes: row.get(8)?,
            is_inline: row.get(9)?,
            compute_us: row.get(10)?,
            seq: row.get(11)?,
        })
    })
}

/// What all artefacts take.
pub(crate) fn total_bytes(queries: &impl Queries) -> Result<u64, Error> {
    let sql = "SELECT coalesce(sum(bytes), 0)::UBIGINT FROM flockgate_manifest";
    Ok(queries.rows(sql, [], |row| row.get(0))?.first().copied().unwrap_or(0))
}

/// An artefact that stands in the manifest itself.
pub(crate) struct InlineRow {
    pub(crate) key: Key,
    pub(crate) feature: String,
    pub(crate) content: Content,
    pub(crate) bytes: Vec<u8>,
}

pub(crate) fn inline(queries: &impl Queries) -> Result<Vec<InlineRow>, Error> {
    let sql =
        "SELECT key, feature, content, inline FROM flockgate_manifest WHERE inline IS NOT NULL";
    queries.rows(sql, [], |row| {
        let (key, feature) = (key(row, 0)?, row.get(1)?);
        Ok(InlineRow { key, feature, content: content(row.get(2)?), bytes: row.get(3)? })
    })
}

/// Every row without its bytes, as a JSON object.
pub(crate) fn as_json(queries: &impl Queries) -> Result<Vec<String>, Error> {
    let sql = "
        SELECT seq, hex(key), feature, version, params, code, entities, inputs, range_begin, range_end, lookahead, calendar,
            fit_begin, fit_end, known_through, codec, bytes, hex(content), reason, retry_at_ms, compute_us, created_ms, pid
        FROM flockgate_manifest ORDER BY seq";
    queries.rows(sql, [], |row| {
        let json = |text: String| serde_json::from_str(&text).unwrap_or(serde_json::Value::Null);
        Ok(serde_json::json!({
            "seq": row.get::<_, u64>(0)?,
            "key": row.get::<_, String>(1)?.to_lowercase(),
            "feature": row.get::<_, String>(2)?,
            "version": row.get::<_, u32>(3)?,
            "params": json(row.get(4)?),
            "code": row.get::<_, String>(5)?,
            "entities": json(row.get(6)?),
            "inputs": json(row.get(7)?),
            "range": [row.get::<_, u32>(8)?, row.get::<_, u32>(9)?],
            "lookahead": row.get::<_, u32>(10)?,
            "calendar": row.get::<_, String>(11)?,
            "fit": row.get::<_, Option<u32>>(12)?.zip(row.get::<_, Option<u32>>(13)?),
            "known_through": row.get::<_, u32>(14)?,
            "codec": row.get::<_, Option<u8>>(15)?,
            "bytes": row.get::<_, Option<u64>>(16)?,
            "content": row.get::<_, Option<String>>(17)?.map(|content| content.to_lowercase()),
            "reason": row.get::<_, Option<String>>(18)?,
            "retry_at_ms": row.get::<_, Option<u64>>(19)?,
            "compute_us": row.get::<_, u64>(20)?,
            "created_ms": row.get::<_, u64>(21)?,
            "pid": row.get::<_, u32>(22)?,
        })
        .to_string())
    })
}

/// The contents that are in files.
pub(crate) fn contents(queries: &impl Queries) -> Result<Vec<Content>, Error> {
    let sql = "SELECT DISTINCT content FROM flockgate_manifest WHERE content IS NOT NULL AND inline IS NULL";
    queries.rows(sql, [], |row| Ok(content(row.get(0)?)))
}

/// The keys that are meant.
pub(crate) fn select(queries: &impl Queries, selector: &Selector) -> Result<Vec<Key>, Error> {
    let sql = |condition| format!("SELECT key FROM flockgate_manifest WHERE {condition}");
    let of = |row: &Row<'_>| key(row, 0);
    match selector {
        Selector::Key(key) => Ok(vec![*key]),
        Selector::Feature(name, None) => queries.rows(&sql("feature = ?"), [name], of),
        Selector::Feature(name, Some(version)) => {
            queries.rows(&sql("feature = ? AND version = ?"), params![name, version], of)
        }
        // Fingerprints are hexadecimal, so one is found in the JSON of no other.
        Selector::Input(fingerprint) => {
            queries.rows(&sql("contains(inputs, ?)"), [format!("\"{fingerprint}\"")], of)
        }
        Selector::Range(range) => {
            let condition = sql("range_begin < ? AND ? < range_end");
            queries.rows(&condition, params![range.end, range.start], of)
        }
        Selector::Fit(fit) => {
            let condition = sql("fit_begin = ? AND fit_end = ?");
            queries.rows(&condition, params![fit.start, fit.end], of)
        }
    }
}

/// A file whose row was taken out.
#[derive(Clone, Copy, Debug)]
pub(crate) struct DroppedFile {
    pub(crate) content: Content,
    pub(crate) bytes: u64,
    /// Readers at an older generation may know the row.
    pub(crate) generation: u64,
}

pub(crate) fn dropped_files(queries: &impl Queries) -> Result<Vec<DroppedFile>, Error> {
    let sql = "
        SELECT content, max(bytes), max(generation) FROM flockgate_dropped WHERE content IS NOT NULL GROUP BY content";
    queries.rows(sql, [], |row| {
        Ok(DroppedFile {
            content: content(row.get(0)?),
            bytes: row.get(1)?,
            generation: row.get(2)?,
        })
    })
}

/// Rows of `flockgate_dropped` that are kept for mirrors which are behind; one that is further behind reads all.
const REMEMBERED: u64 = 20_000;

/// Notes that files are gone, and forgets drops that are long past.
pub(crate) fn forget(tx: &Transaction<'_>, files: &[Content]) -> Result<(), Error> {
    for batch in files.chunks(256) {
        let marks = vec!["?"; batch.len()].join(", ");
        let contents = batch.iter().map(|content| content.as_bytes().as_slice());
        let sql = format!("UPDATE flockgate_dropped SET content = NULL WHERE content IN ({marks})");
        tx.execute(&sql, duckdb::params_from_iter(contents))?;
    }
    let past = "SELECT coalesce(max(seq), 0) FROM flockgate_dropped WHERE content IS NULL";
    let count = "SELECT count(*) FROM flockgate_dropped";
    if tx.rows(count, [], |row| row.get::<_, u64>(0))? > vec![REMEMBERED] {
        let past: u64 = tx.rows(past, [], |row| row.get(0))?[0];
        tx.execute("DELETE FROM flockgate_dropped WHERE content IS NULL AND seq <= ?", [past])?;
        tx.execute(
            "UPDATE flockgate_meta SET value = ? WHERE name = 'forgotten'",
            [past.to_string()],
        )?;
    }
    Ok(())
}

pub(crate) fn pins(queries: &impl Queries) -> Result<Vec<PinnedFeature>, Error> {
    let sql = "SELECT feature, version, note, until_ms FROM flockgate_pin ORDER BY ALL";
    queries.rows(sql, [], |row| {
        let (feature, version) = (row.get(0)?, row.get(1)?);
        Ok(PinnedFeature { feature, version, note: row.get(2)?, until_unix_ms: row.get(3)? })
    })
}

pub(crate) fn pin(tx: &Transaction<'_>, pin: &PinnedFeature) -> Result<(), Error> {
    let row = params![pin.feature, pin.version, pin.note, pin.until_unix_ms];
    tx.execute("INSERT INTO flockgate_pin VALUES (?, ?, ?, ?)", row).map(|_| ())
}

pub(crate) fn unpin(
    tx: &Transaction<'_>,
    feature: &str,
    version: Option<u32>,
) -> Result<bool, Error> {
    let sql = "DELETE FROM flockgate_pin WHERE feature = ? AND version IS NOT DISTINCT FROM ?";
    Ok(tx.execute(sql, params![feature, version])? > 0)
}

pub(crate) fn plans(queries: &impl Queries) -> Result<Vec<Plan>, Error> {
    let sql = "SELECT name, shape, lookback, next_window FROM flockgate_plan ORDER BY name";
    let rows = queries.rows(sql, [], |row| {
        Ok((row.get::<_, String>(0)?, row.get::<_, String>(1)?, row.get(2)?, row.get(3)?))
    })?;
    Ok(rows
        .into_iter()
        .filter_map(|(name, shape, lookback, next_window)| {
            // A shape that a newer version wrote plans nothing here.
            let shape = serde_json::from_str(&shape).ok()?;
            Some(Plan { name, shape, lookback, next_window })
        })
        .collect())
}

pub(crate) fn put_plan(tx: &Transaction<'_>, plan: &Plan) -> Result<(), Error> {
    let shape = serde_json::to_string(&plan.shape).expect("numbers and names are JSON");
    tx.execute("DELETE FROM flockgate_plan WHERE name = ?", [&plan.name])?;
    let row = params![plan.name, shape, plan.lookback, plan.next_window];
    tx.execute("INSERT INTO flockgate_plan VALUES (?, ?, ?, ?)", row).map(|_| ())
}

pub(crate) fn drop_plan(tx: &Transaction<'_>, name: &str) -> Result<bool, Error> {
    Ok(tx.execute("DELETE FROM flockgate_plan WHERE name = ?", [name])? > 0)
}
