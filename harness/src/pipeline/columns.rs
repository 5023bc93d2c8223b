//! The prices of a ticker in memory, column by column: what an artefact was computed from, to be fingerprinted.

use std::ops::Range;

use manager::Fingerprint;
use manager::duckdb::{self, Connection};

/// The columns of a ticker's prices, in session order.
#[derive(Clone, Debug, PartialEq)]
pub struct Columns {
    sessions: Vec<i64>,
    values: [Vec<f64>; Columns::NAMES.len()],
}

impl Columns {
    /// What the columns are called in the file of prices. The close is last but one: it alone is read ahead, by labels.
    pub const NAMES: [&'static str; 5] = ["Open", "High", "Low", "Close", "Volume"];

    /// Reads them from the table `price`.
    ///
    /// # Errors
    ///
    /// Those of reading the table.
    pub fn read(connection: &Connection, ticker: &str) -> duckdb::Result<Self> {
        let sql = "SELECT session, open, high, low, close, volume FROM price WHERE ticker = ? ORDER BY session";
        let mut columns = Self { sessions: Vec::new(), values: Default::default() };
        let mut statement = connection.prepare(sql)?;
        let mut rows = statement.query([ticker])?;
        while let Some(row) = rows.next()? {
            columns.sessions.push(row.get(0)?);
            for (index, values) in columns.values.iter_mut().enumerate() {
                values.push(row.get(index + 1)?);
            }
        }
        Ok(columns)
    }

    /// The first session that it was traded in.
    pub fn first_session(&self) -> Option<u32> {
        self.sessions.first().and_then(|first| u32::try_from(*first).ok())
    }

    /// The fingerprint of a column's values at some sessions, and of which of these have one.
    pub fn fingerprint(&self, column: usize, sessions: Range<u32>) -> Fingerprint {
        let at = |session: u32| self.sessions.partition_point(|&own| own < i64::from(session));
        let rows = at(sessions.start)..at(sessions.end);
        Fingerprint::builder()
            .i64s(&self.sessions[rows.clone()])
            .f64s(&self.values[column][rows])
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::super::prices::tests::demo_database;
    use super::*;

    #[test]
    fn only_the_values_of_those_sessions_and_that_column_count() {
        let connection = demo_database();
        let before = Columns::read(&connection, "AAPL").unwrap();
        let restate = "UPDATE price SET close = close + 1 WHERE ticker = 'AAPL' AND session = 500";
        connection.execute_batch(restate).unwrap();
        let after = Columns::read(&connection, "AAPL").unwrap();
        let is_same = |column, sessions: Range<u32>| {
            before.fingerprint(column, sessions.clone()) == after.fingerprint(column, sessions)
        };
        assert!(is_same(3, 400..500) && is_same(3, 501..600) && is_same(0, 400..600));
        assert!(!is_same(3, 400..501) && !is_same(3, 500..501));
        assert_ne!(before.fingerprint(3, 0..0), before.fingerprint(3, 0..1));
        assert_ne!(before.fingerprint(2, 0..9), before.fingerprint(3, 0..9));
    }

    #[test]
    fn a_ticker_begins_where_it_was_listed() {
        let connection = demo_database();
        let first = |ticker| Columns::read(&connection, ticker).unwrap().first_session();
        assert_eq!((first("AAPL"), first("FB"), first("XYZ")), (Some(0), Some(3_074), None));
    }
}
