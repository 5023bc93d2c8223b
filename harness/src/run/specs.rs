//! What the artefacts of the pipeline are: code, parameters, ticker, sessions, and the values they were computed from.
//!
//! # Scope of determinism
//!
//! A spec is a function of the scenario and of the prices that its artefact reads: a session that is appended leaves the
//! keys of older artefacts as they are, and a price that is restated does not.

use std::collections::BTreeMap;
use std::ops::Range;

use manager::duckdb::{self, Connection};
use manager::{FeatureSpec, Fingerprint, Input, Leak, Params};

use crate::pipeline::{self, Columns, Price};
use crate::plan::{Plan, Step};
use crate::scenario::Windows;

/// Makes specs.
pub struct Specs {
    windows: Windows,
    price: Price,
    /// The dates of the sessions.
    calendar: Vec<String>,
    columns: BTreeMap<String, Columns>,
    params: Params,
}

impl Specs {
    /// Reads what specs are made from: the whole table of prices.
    ///
    /// # Errors
    ///
    /// Those of reading it.
    pub fn read(prices: &Connection, windows: &Windows, price: Price) -> duckdb::Result<Self> {
        let dates = "SELECT strftime(date, '%Y-%m-%d') FROM price GROUP BY date ORDER BY date";
        let tickers = "SELECT DISTINCT ticker FROM price";
        let texts = |sql| -> duckdb::Result<Vec<String>> {
            prices.prepare(sql)?.query_map([], |row| row.get(0))?.collect()
        };
        let mut columns = BTreeMap::new();
        for ticker in texts(tickers)? {
            let of_ticker = Columns::read(prices, &ticker)?;
            columns.insert(ticker, of_ticker);
        }
        let params = serde_json::json!({ "label_sessions": windows.label_sessions });
        let params = Params::try_from(params).expect("it is an object of whole numbers");
        Ok(Self { windows: windows.clone(), price, calendar: texts(dates)?, columns, params })
    }

    /// The features of a ticker at some sessions, with their labels.
    pub fn features(&self, ticker: &str, sessions: Range<u32>) -> FeatureSpec {
        let code = Fingerprint::of(pipeline::code());
        self.spec("features", ticker, sessions, code)
    }

    /// What a ticker contributes to the model that is trained on some sessions.
    pub fn gram(&self, ticker: &str, train: Range<u32>) -> FeatureSpec {
        let code = Fingerprint::builder().texts([pipeline::code(), "sums"]).finish();
        self.spec("gram", ticker, train.clone(), code).fit(train)
    }

    /// Why a ticker has nothing at some sessions, if it was listed after them.
    pub fn absent(&self, ticker: &str, sessions: &Range<u32>) -> Option<String> {
        let first = self.columns.get(ticker).and_then(Columns::first_session);
        match first {
            None => Some("never listed".to_owned()),
            Some(first) if sessions.end <= first => {
                Some(format!("listed on {}", self.calendar[first as usize]))
            }
            Some(_) => None,
        }
    }

    /// How far somebody sees who scores the blocks that end there: until the last of their labels is known.
    pub fn scored_at(&self, end: u32) -> u32 {
        end + self.windows.label_sessions
    }

    /// Whether all training of a plan knows no more than it may.
    ///
    /// # Errors
    ///
    /// The first [`Leak`].
    pub fn check(&self, plan: &Plan) -> Result<(), Leak> {
        for window in &plan.windows {
            for step in window.training.values().flatten() {
                if let Step::Fit { ticker, .. } = step {
                    let train = window.window.train.clone();
                    self.features(ticker, train.clone()).allow(window.window.eval.start)?;
                    self.gram(ticker, train).allow(window.window.eval.start)?;
                }
            }
        }
        Ok(())
    }

    fn spec(
        &self,
        feature: &str,
        ticker: &str,
        sessions: Range<u32>,
        code: Fingerprint,
    ) -> FeatureSpec {
        let lookahead = self.windows.label_sessions;
        // Positions count from the first session, so all dates up to the last one that is read count.
        let dates = self.calendar.iter().take((sessions.end + lookahead) as usize);
        let calendar = Fingerprint::builder().texts(dates.map(String::as_str)).finish();
        let spec = FeatureSpec::new(feature, u32::from(pipeline::VERSION))
            .code(code)
            .params(self.params.clone())
            .entity(ticker)
            .calendar(calendar)
            .range(sessions.clone())
            .lookahead(lookahead);
        let inputs = self.inputs(ticker, &sessions);
        inputs.into_iter().fold(spec, FeatureSpec::input)
    }

    /// The columns that are read: from a look-back before the first session, and the price for the labels, too.
    fn inputs(&self, ticker: &str, sessions: &Range<u32>) -> Vec<Input> {
        let Some(columns) = self.columns.get(ticker) else { return Vec::new() };
        let begin = sessions.start.saturating_sub(pipeline::LOOKBACK);
        let input = |(index, &name): (usize, &&str)| {
            if name != Price::Close.column() {
                return Input::column(name, columns.fingerprint(index, begin..sessions.end));
            }
            let read = begin..sessions.end + self.windows.label_sessions;
            let price = Input::column(self.price.column(), columns.fingerprint(index, read));
            match self.price {
                Price::Close => price,
                // Every split until the last session of the file is folded into it.
                Price::AdjClose => price.known_through(self.calendar.len() as u32),
            }
        };
        Columns::NAMES.iter().enumerate().map(input).collect()
    }
}

#[cfg(test)]
mod tests {
    use manager::{LeakCause, WindowMode};

    use super::*;

    fn specs(price: Price, sql: &str) -> Specs {
        let connection = Connection::open_in_memory().unwrap();
        let file = concat!(env!("CARGO_MANIFEST_DIR"), "/../scenarios/data/stocks.csv.gz");
        pipeline::load(&connection, file.as_ref(), "2012-01-03", None, price).unwrap();
        connection.execute_batch(sql).unwrap();
        let windows = Windows {
            mode: WindowMode::Rolling,
            count: 1,
            block_sessions: 21,
            train_sessions: 126,
            eval_sessions: 42,
            step_sessions: 42,
            label_sessions: 5,
            embargo_sessions: 1,
        };
        Specs::read(&connection, &windows, price).unwrap()
    }

    const KEYS: [(&str, Range<u32>); 4] =
        [("AAPL", 84..105), ("AAPL", 105..126), ("IBM", 84..105), ("FB", 0..21)];

    fn keys(specs: &Specs) -> [manager::Key; 4] {
        KEYS.map(|(ticker, sessions)| specs.features(ticker, sessions).key())
    }

    #[test]
    fn a_day_that_is_appended_changes_no_older_key() {
        let append =
            "INSERT INTO price SELECT ticker, session + 1, date + 1, open, high, low, close, volume
            FROM price WHERE session = (SELECT max(session) FROM price)";
        assert_eq!(keys(&specs(Price::Close, "")), keys(&specs(Price::Close, append)));
    }

    #[test]
    fn a_price_that_is_restated_changes_the_keys_of_what_is_made_from_it() {
        let before = keys(&specs(Price::Close, ""));
        for (session, changed) in [
            (20, [false; 4]),
            (21, [true, false, false, false]),
            (109, [true, true, false, false]),
            (110, [false, true, false, false]),
        ] {
            let restate = format!(
                "UPDATE price SET close = close * 2 WHERE ticker = 'AAPL' AND session = {session}"
            );
            let after = keys(&specs(Price::Close, &restate));
            let found: Vec<_> =
                before.iter().zip(after).map(|(one, other)| *one != other).collect();
            assert_eq!(found, changed, "session {session}");
        }
    }

    #[test]
    fn a_label_is_known_when_its_last_price_is() {
        let specs = specs(Price::Close, "");
        assert_eq!(specs.features("AAPL", 0..126).known_through(), 131);
        assert_eq!(specs.gram("AAPL", 0..126).known_through(), 131);
        assert_eq!(specs.gram("AAPL", 0..126).fit_end(), Some(126));
        assert_eq!(specs.features("AAPL", 0..126).allow(132), Ok(()));
        assert_eq!(
            specs.features("AAPL", 0..126).allow(130).unwrap_err().cause,
            LeakCause::Lookahead
        );
    }

    #[test]
    fn an_adjusted_price_knows_the_last_session_and_is_refused_before() {
        let specs = specs(Price::AdjClose, "");
        let leak = specs.features("AAPL", 0..126).allow(132).unwrap_err();
        assert_eq!(leak.cause, LeakCause::Input("Adj Close".to_owned()));
        assert_eq!(leak.known_through as usize, specs.calendar.len());
    }

    #[test]
    fn a_ticker_has_nothing_before_it_was_listed() {
        let specs = specs(Price::Close, "");
        let listed = Some("listed on 2012-05-18".to_owned());
        assert_eq!(specs.absent("FB", &(0..21)), listed);
        assert_eq!(specs.absent("FB", &(63..95)), listed);
        assert_eq!(specs.absent("FB", &(63..96)), None);
        assert_eq!(specs.absent("AAPL", &(0..21)), None);
        assert_eq!(specs.absent("XYZ", &(0..21)).as_deref(), Some("never listed"));
    }
}
