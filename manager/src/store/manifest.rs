//! The manifest: what is published, as rows of the database. `schema.rs` has its tables.
//!
//! Everything that reads it is written over [`Queries`], so it runs alike on a lease and inside a transaction, and could
//! run on another server's connection.

use std::sync::Arc;

use duckdb::{Connection, Params, Row, params, params_from_iter};

use super::content::Content;
use super::key::Key;
use super::mirror::{Changes, Entry, Inline, Known, Totals};
use super::record::{Outcome, Record};
use crate::error::Error;
use crate::transaction::Transaction;

/// Keys in one `IN (…)`; longer batches take several queries of one snapshot.
const BATCH: usize = 256;

/// Something that answers queries.
pub(crate) trait Queries {
    fn rows<T>(
        &self,
        sql: &str,
        params: impl Params,
        map: impl FnMut(&Row<'_>) -> duckdb::Result<T>,
    ) -> Result<Vec<T>, Error>;
}

impl Queries for Connection {
    fn rows<T>(
        &self,
        sql: &str,
        params: impl Params,
        map: impl FnMut(&Row<'_>) -> duckdb::Result<T>,
    ) -> Result<Vec<T>, Error> {
        let mut statement = self.prepare(sql)?;
        Ok(statement.query_map(params, map)?.collect::<duckdb::Result<_>>()?)
    }
}

impl Queries for Transaction<'_> {
    fn rows<T>(
        &self,
        sql: &str,
        params: impl Params,
        map: impl FnMut(&Row<'_>) -> duckdb::Result<T>,
    ) -> Result<Vec<T>, Error> {
        self.query(sql, params, map)
    }
}

/// How much there is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Extent {
    /// The number of the last change.
    pub(crate) seq: u64,
    pub(crate) rows: u64,
    pub(crate) inline_bytes: u64,
}

pub(crate) fn extent(queries: &impl Queries) -> Result<Extent, Error> {
    let sql =
        "SELECT count(*), coalesce(sum(octet_length(inline)), 0)::UBIGINT FROM flockgate_manifest";
    let seq = last_seq(queries)?;
    let rows = queries
        .rows(sql, [], |row| Ok(Extent { seq, rows: row.get(0)?, inline_bytes: row.get(1)? }))?;
    Ok(rows[0])
}

/// The number of the last change.
pub(crate) fn last_seq(queries: &impl Queries) -> Result<u64, Error> {
    let sql = "
        SELECT greatest(
            (SELECT coalesce(max(seq), 0) FROM flockgate_manifest),
            (SELECT coalesce(max(seq), 0) FROM flockgate_dropped),
            (SELECT value::UBIGINT FROM flockgate_meta WHERE name = 'forgotten'))";
    Ok(queries.rows(sql, [], |row| row.get(0))?[0])
}

/// The columns that a mirror wants, in the order in which [`entry`] reads them.
const MIRRORED: &str = "seq, key, content, bytes, codec, inline, reason, retry_at_ms, known_through, fit_end, compute_us, created_ms";

fn entry(row: &Row<'_>, totals: &Arc<Totals>) -> duckdb::Result<(Key, Arc<Entry>)> {
    let known = match row.get::<_, Option<Vec<u8>>>(2)? {
        Some(bytes) => {
            let content = content(bytes);
            let inline: Option<Vec<u8>> = row.get(5)?;
            let inline = inline.map(|bytes| Inline::new(bytes, content));
            Known::Ready { content, bytes: row.get(3)?, codec: row.get(4)?, inline }
        }
        None => Known::Absent { reason: row.get::<_, String>(6)?.into(), retry_at_ms: row.get(7)? },
    };
    let mut entry = Entry::new(row.get(0)?, known, totals);
    entry.known_through = row.get(8)?;
    entry.fit_end = row.get(9)?;
    entry.compute_us = row.get(10)?;
    entry.created_ms = row.get(11)?;
    Ok((key(row, 1)?, Arc::new(entry)))
}

pub(crate) fn content(bytes: Vec<u8>) -> Content {
    Content::from_bytes(bytes.try_into().unwrap_or_default())
}

pub(crate) fn key(row: &Row<'_>, column: usize) -> duckdb::Result<Key> {
    Ok(Key::from_bytes(row.get::<_, Vec<u8>>(column)?.try_into().unwrap_or_default()))
}

/// What has changed after the change of that number, in order.
pub(crate) fn changes_since(
    queries: &impl Queries,
    seq: u64,
    totals: &Arc<Totals>,
) -> Result<Changes, Error> {
    let dropped = "SELECT key, seq FROM flockgate_dropped WHERE seq > ? ORDER BY seq";
    let added = format!("SELECT {MIRRORED} FROM flockgate_manifest WHERE seq > ? ORDER BY seq");
    Ok(Changes {
        dropped: queries.rows(dropped, [seq], |row| Ok((key(row, 0)?, row.get(1)?)))?,
        added: queries.rows(&added, [seq], |row| entry(row, totals))?,
    })
}

/// What is known of these keys, in no order.
pub(crate) fn find(
    queries: &impl Queries,
    keys: &[Key],
    totals: &Arc<Totals>,
) -> Result<Vec<(Key, Arc<Entry>)>, Error> {
    let mut found = Vec::new();
    for batch in keys.chunks(BATCH) {
        let marks = vec!["?"; batch.len()].join(", ");
        let sql = format!("SELECT {MIRRORED} FROM flockgate_manifest WHERE key IN ({marks})");
        let keys = params_from_iter(batch.iter().map(|key| key.as_bytes().as_slice()));
        found.extend(queries.rows(&sql, keys, |row| entry(row, totals))?);
    }
    Ok(found)
}

/// Puts rows in, numbered from `first` on.
pub(crate) fn append(tx: &Transaction<'_>, first: u64, records: &[&Record]) -> Result<(), Error> {
    tx.append("flockgate_manifest", |appender| {
        for (seq, record) in (first..).zip(records) {
            let (codec, bytes, content, inline, reason, retry_at_ms) = match &record.outcome {
                Outcome::Ready { content, bytes, codec, inline } => {
                    let content = content.as_bytes().as_slice();
                    (Some(*codec), Some(*bytes), Some(content), inline.as_deref(), None, None)
                }
                Outcome::Absent { reason, retry_at_ms } => {
                    (None, None, None, None, Some(reason.as_str()), Some(*retry_at_ms))
                }
            };
            appender.append_row(params![
                seq,
                record.key.as_bytes().as_slice(),
                record.feature,
                record.version,
                record.params,
                record.code,
                record.entities,
                record.inputs,
                record.range.0,
                record.range.1,
                record.lookahead,
                record.calendar,
                record.fit.map(|fit| fit.0),
                record.fit.map(|fit| fit.1),
                record.known_through,
                codec,
                bytes,
                content,
                inline,
                reason,
                retry_at_ms,
                record.compute_us,
                record.created_ms,
                record.pid
            ])?;
        }
        Ok(())
    })
}

/// Takes keys out, numbered from `first` on, at that generation. Their files become garbage once nobody reads at an
/// older one. Keys that are not there are passed over. Returns those that were, in the order of their numbers.
pub(crate) fn drop_keys(
    tx: &Transaction<'_>,
    first: u64,
    generation: u64,
    keys: &[Key],
) -> Result<Vec<Key>, Error> {
    let (mut next, mut dropped) = (first, Vec::new());
    for batch in keys.chunks(BATCH) {
        let marks = vec!["?"; batch.len()].join(", ");
        let keys = || params_from_iter(batch.iter().map(|key| key.as_bytes().as_slice()));
        let gone = tx.query(
            &format!(
                "SELECT key, CASE WHEN inline IS NULL THEN content END, coalesce(bytes, 0) FROM flockgate_manifest \
                 WHERE key IN ({marks}) ORDER BY seq"
            ),
            keys(),
            |row| Ok((key(row, 0)?, row.get::<_, Option<Vec<u8>>>(1)?, row.get::<_, u64>(2)?)),
        )?;
        dropped.extend(gone.iter().map(|(key, ..)| *key));
        tx.execute(&format!("DELETE FROM flockgate_manifest WHERE key IN ({marks})"), keys())?;
        tx.append("flockgate_dropped", |appender| {
            for (key, content, bytes) in &gone {
                let key = key.as_bytes().as_slice();
                appender.append_row(params![next, key, content, bytes, generation])?;
                next += 1;
            }
            Ok(())
        })?;
    }
    Ok(dropped)
}

/// Drops up to this number are forgotten: whoever knows less starts from the beginning.
pub(crate) fn forgotten(queries: &impl Queries) -> Result<u64, Error> {
    let sql = "SELECT value::UBIGINT FROM flockgate_meta WHERE name = 'forgotten'";
    Ok(queries.rows(sql, [], |row| row.get(0))?.first().copied().unwrap_or(0))
}

/// The entry that a record is once it has been put in.
pub(crate) fn entry_of(record: &Record, seq: u64, totals: &Arc<Totals>) -> Entry {
    let known = match &record.outcome {
        Outcome::Ready { content, bytes, codec, inline } => Known::Ready {
            content: *content,
            bytes: *bytes,
            codec: *codec,
            inline: inline
                .as_ref()
                .map(|bytes| Inline { bytes: bytes.as_slice().into(), is_sound: true }),
        },
        Outcome::Absent { reason, retry_at_ms } => {
            Known::Absent { reason: reason.as_str().into(), retry_at_ms: *retry_at_ms }
        }
    };
    let mut entry = Entry::new(seq, known, totals);
    entry.known_through = record.known_through;
    entry.fit_end = record.fit.map(|fit| fit.1);
    entry.compute_us = record.compute_us;
    entry.created_ms = record.created_ms;
    entry
}
