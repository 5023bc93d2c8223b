//! Daily prices: from a CSV file into the table `price`.
//!
//! The file has the columns `Ticker,Date,Open,High,Low,Close,Volume,Adj Close`, in plain cells
//! without quotes, and may be compressed with gzip. The table is
//! `price(ticker VARCHAR, session UINTEGER, date DATE, open, high, low, close, volume DOUBLE)`,
//! ordered by ticker and session, so that DuckDB skips the row groups of other tickers.
//!
//! `Adj Close` is not loaded, unless somebody asks for it by [`Price::AdjClose`]. It folds in every split
//! and dividend up to the day the file was made: AAPL's factor in 2000 is 0.032 because of splits after
//! 2013, so whoever computes from it looks ahead, and a store that is asked as of a position refuses it.
//!
//! # How the file is read
//!
//! As lines, cut at the commas and cast in SQL. DuckDB's own CSV columns would do the casts, but skip
//! blank lines without counting them, turn the date `infinity` into 1900-01-01, and let `nan` pass as
//! a number. Here every broken line has its true number, and one place says what a good line is.
//!
//! A gzip file that was cut off is read as far as it goes, for DuckDB does not check its end: the
//! loss shows only as a broken last line, or not at all.

use std::fmt::Display;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use manager::duckdb::{self, Connection, OptionalExt, params};
use serde::{Deserialize, Serialize};

const HEADER: &str = "Ticker,Date,Open,High,Low,Close,Volume,Adj Close";

/// The file as a table of typed cells, NULL where a cell is not what its column wants. To the reader
/// cells end at the unit separator, which no price file has, so that a line is one cell.
const READ: &str = r"
CREATE OR REPLACE TEMP TABLE price_line AS
WITH lines AS (
    SELECT row_number() OVER () AS line, coalesce(text, '') AS text
    FROM read_csv($1, columns = {'text': 'VARCHAR'}, auto_detect = false, header = false,
                  delim = E'\x1f', quote = '', escape = '', parallel = false)
), cells AS (
    SELECT line, text, string_split(text, ',') AS cell FROM lines
)
SELECT line, text, len(cell) AS width,
    CASE WHEN regexp_full_match(cell[1], '[A-Za-z0-9.^-]+') THEN cell[1] END AS ticker,
    CASE WHEN regexp_full_match(cell[2], '\d{4}-\d\d-\d\d') THEN try_cast(cell[2] AS DATE) END AS date,
    try_cast(cell[3] AS DOUBLE) AS open,
    try_cast(cell[4] AS DOUBLE) AS high,
    try_cast(cell[5] AS DOUBLE) AS low,
    try_cast(cell[6] AS DOUBLE) AS close,
    try_cast(cell[7] AS DOUBLE) AS volume,
    try_cast(cell[8] AS DOUBLE) AS adjusted
FROM cells";

/// The first line that is not a good one, and why. NaN compares as the greatest number.
const FIRST_PROBLEM: &str = r"
WITH judged AS (
    SELECT line, CASE
        WHEN text = '' THEN 'it is blank'
        WHEN width <> 8 THEN format('it has {} columns, not 8', width)
        WHEN ticker IS NULL THEN 'the ticker is not made of letters, digits, dots, carets and dashes'
        WHEN date IS NULL THEN 'the date is not a day written like 2000-03-01'
        WHEN NOT coalesce(open > 0 AND isfinite(open), false) THEN 'open is not a positive number'
        WHEN NOT coalesce(high > 0 AND isfinite(high), false) THEN 'high is not a positive number'
        WHEN NOT coalesce(low > 0 AND isfinite(low), false) THEN 'low is not a positive number'
        WHEN NOT coalesce(close > 0 AND isfinite(close), false) THEN 'close is not a positive number'
        WHEN NOT coalesce(volume >= 0 AND isfinite(volume), false)
            THEN 'volume is not a number of at least 0'
        WHEN $1 AND NOT coalesce(adjusted > 0 AND isfinite(adjusted), false)
            THEN 'adj close is not a positive number'
        WHEN high < greatest(open, low, close) THEN 'high is below another price of the day'
        WHEN low > least(open, close) THEN 'low is above another price of the day'
        WHEN row_number() OVER (PARTITION BY ticker, date ORDER BY line) > 1
            THEN format('{} has a line for {} already', ticker, date)
    END AS problem
    FROM price_line WHERE line > 1
)
SELECT line, problem FROM judged WHERE problem IS NOT NULL ORDER BY line LIMIT 1";

/// Tickers hold no comma, so a list of them travels as one parameter. With `$3` all prices of a day are adjusted as its
/// close is.
const CREATE: &str = r"
CREATE TABLE price AS
SELECT ticker, (dense_rank() OVER (ORDER BY date) - 1)::UINTEGER AS session, date,
    open * factor AS open, high * factor AS high, low * factor AS low, close * factor AS close, volume
FROM (SELECT *, CASE WHEN $3 THEN adjusted / close ELSE 1 END AS factor FROM price_line)
WHERE line > 1 AND date >= $1::DATE AND ticker IN (SELECT unnest(string_split($2, ',')))
ORDER BY ticker, session";

/// Which price is the price of a day.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Price {
    /// What it was traded at, as everybody knew that evening.
    #[default]
    Close,
    /// The same, with every split and dividend folded in that came until the file was made.
    AdjClose,
}

impl Price {
    /// Both, by the names of their columns.
    pub const ALL: [(&'static str, Self); 2] =
        [("Close", Self::Close), ("Adj Close", Self::AdjClose)];

    /// The name of its column.
    pub fn column(self) -> &'static str {
        match self {
            Self::Close => "Close",
            Self::AdjClose => "Adj Close",
        }
    }
}

/// Why prices could not be loaded.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PricesError {
    /// There is no such file.
    #[error("load prices from `{}`: there is no such file; check the path", file.display())]
    Missing {
        /// The path as given.
        file: PathBuf,
    },
    /// It is a directory or something else.
    #[error("load prices from `{}`: it is not a file; name the CSV file itself", file.display())]
    NotAFile {
        /// The path as given.
        file: PathBuf,
    },
    /// It holds no price.
    #[error(
        "load prices from `{}`: it is empty; it wants the header `{HEADER}` and a line for each \
         ticker and day",
        file.display()
    )]
    Empty {
        /// The path as given.
        file: PathBuf,
    },
    /// It could not be read as lines of text.
    #[error(
        "load prices from `{}`: {message}; it wants to be UTF-8 text, plain or gzip",
        file.display()
    )]
    Unreadable {
        /// The path as given.
        file: PathBuf,
        /// What the system or DuckDB says.
        message: String,
    },
    /// It has other columns.
    #[error(
        "load prices from `{}`, line 1: the header is `{found}`; make it `{HEADER}`",
        file.display()
    )]
    Header {
        /// The path as given.
        file: PathBuf,
        /// Its first line.
        found: String,
    },
    /// A line is broken.
    #[error(
        "load prices from `{}`, line {line}: {problem}; mend the line or take it out",
        file.display()
    )]
    Line {
        /// The path as given.
        file: PathBuf,
        /// Counted from 1, the header included.
        line: u64,
        /// What is wrong.
        problem: String,
    },
    /// The first date wanted is not a date.
    #[error("load prices from `{from}` on: that is not a day; write it like 2000-03-01")]
    From {
        /// As given.
        from: String,
    },
    /// No price is as late as wanted.
    #[error(
        "load prices from `{}`: {ticker} has none since {from}, the last is of {last}; begin earlier \
         or leave it out",
        file.display()
    )]
    NoneSince {
        /// The path as given.
        file: PathBuf,
        /// The ticker, or `the file` if none was asked for by name.
        ticker: String,
        /// The first date wanted.
        from: String,
        /// The last date there is.
        last: String,
    },
    /// A ticker that the file does not have.
    #[error(
        "load prices from `{}`: no ticker `{ticker}`; there are {}",
        file.display(),
        known.join(", ")
    )]
    UnknownTicker {
        /// The path as given.
        file: PathBuf,
        /// As asked for.
        ticker: String,
        /// What there is.
        known: Vec<String>,
    },
    /// An empty list of tickers was asked for.
    #[error("load prices: the list of tickers is empty; name at least one, or ask for all")]
    NoTickers,
    /// DuckDB failed otherwise.
    #[error("keep prices in the table `price`: {0}")]
    Database(#[from] duckdb::Error),
}

/// Loads the prices since `from` (a date like `2000-03-01`) of some tickers, or of all that the file
/// has, into a new table `price`. With [`Price::AdjClose`] open, high and low are adjusted as the close is.
///
/// `session` counts the dates of all rows kept, from 0. The whole file must be good, also the lines
/// that are not kept. The table appears as a whole or not at all, with or without a transaction of
/// the caller's; the temporary table of the lines is gone afterwards.
///
/// # Errors
///
/// * [`PricesError::Line`] for the first line with another number of columns, a cell that is not what
///   its column wants, a price that is not positive, or a ticker and date that came before.
/// * [`PricesError::NoneSince`] if a ticker that was asked for has no price since `from`, or no ticker
///   has.
/// * [`PricesError::Database`] if DuckDB fails, for example because there is a table `price`.
/// * The others, as they say.
pub fn load(
    connection: &Connection,
    csv: &Path,
    from: &str,
    tickers: Option<&[String]>,
    price: Price,
) -> Result<(), PricesError> {
    check_file(csv)?;
    let loaded = load_lines(connection, csv, from, tickers, price);
    let dropped = connection.execute_batch("DROP TABLE IF EXISTS temp.price_line");
    loaded?; // the first cause; in a transaction that it spoilt, the drop fails too
    Ok(dropped?)
}

/// Dates, ascending, so that session `s` is of the date at `s`; and tickers, in order, each with its
/// first session.
pub type Market = (Vec<String>, Vec<(String, u32)>);

/// Reads the calendar and the tickers of the table `price`.
///
/// # Errors
///
/// [`PricesError::Database`] if the table cannot be read.
pub fn market(connection: &Connection) -> Result<Market, PricesError> {
    let mut dates = connection
        .prepare("SELECT strftime(date, '%Y-%m-%d') FROM price GROUP BY date ORDER BY date")?;
    let mut tickers = connection
        .prepare("SELECT ticker, min(session) FROM price GROUP BY ticker ORDER BY ticker")?;
    let dates = dates.query_map([], |row| row.get(0))?;
    let tickers = tickers.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?;
    Ok((dates.collect::<Result<_, _>>()?, tickers.collect::<Result<_, _>>()?))
}

fn check_file(csv: &Path) -> Result<(), PricesError> {
    let file = csv.to_path_buf();
    match fs::metadata(csv) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Err(PricesError::Missing { file }),
        Err(error) => Err(unreadable(csv, error)),
        Ok(found) if !found.is_file() => Err(PricesError::NotAFile { file }),
        Ok(found) if found.len() == 0 => Err(PricesError::Empty { file }),
        Ok(_) => Ok(()),
    }
}

fn load_lines(
    connection: &Connection,
    csv: &Path,
    from: &str,
    tickers: Option<&[String]>,
    price: Price,
) -> Result<(), PricesError> {
    let is_adjusted = price == Price::AdjClose;
    let path = csv.to_str().ok_or_else(|| unreadable(csv, "its path is not UTF-8"))?;
    check_from(connection, from)?;
    connection.execute(READ, [literal(path)]).map_err(|error| unreadable(csv, error))?;
    check_lines(connection, csv, is_adjusted)?;
    let tickers = choose(connection, csv, from, tickers)?;
    connection.execute(CREATE, params![from, tickers.join(","), is_adjusted])?;
    Ok(())
}

/// DuckDB takes a path for a pattern; in brackets a character stands for itself.
fn literal(path: &str) -> String {
    path.replace('[', "[[]").replace('*', "[*]").replace('?', "[?]")
}

/// DuckDB also reads `2000-3-1` and `infinity` as dates.
fn check_from(connection: &Connection, from: &str) -> Result<(), PricesError> {
    let is_day: bool = connection.query_row(
        r"SELECT coalesce(regexp_full_match($1, '\d{4}-\d\d-\d\d')
                          AND try_cast($1 AS DATE) IS NOT NULL, false)",
        [from],
        |row| row.get(0),
    )?;
    let from = from.to_owned();
    if is_day { Ok(()) } else { Err(PricesError::From { from }) }
}

fn check_lines(connection: &Connection, csv: &Path, is_adjusted: bool) -> Result<(), PricesError> {
    let file = || csv.to_path_buf();
    let header: Option<String> = connection
        .query_row("SELECT text FROM price_line WHERE line = 1", [], |row| row.get(0))
        .optional()?;
    match header {
        Some(found) if found == HEADER => (),
        Some(found) => {
            return Err(PricesError::Header { file: file(), found });
        }
        None => return Err(PricesError::Empty { file: file() }),
    }
    let broken = connection
        .query_row(FIRST_PROBLEM, [is_adjusted], |row| Ok((row.get(0)?, row.get(1)?)))
        .optional()?;
    match broken {
        None => Ok(()),
        Some((line, problem)) => Err(PricesError::Line { file: file(), line, problem }),
    }
}

/// The tickers to keep. Dates are compared as text, which for ISO dates is their order.
fn choose(
    connection: &Connection,
    csv: &Path,
    from: &str,
    asked: Option<&[String]>,
) -> Result<Vec<String>, PricesError> {
    let known: Vec<(String, String)> = connection
        .prepare(
            "SELECT ticker, strftime(max(date), '%Y-%m-%d') FROM price_line WHERE line > 1 \
             GROUP BY ticker ORDER BY ticker",
        )?
        .query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?
        .collect::<Result<_, _>>()?;
    let latest = known.iter().map(|(_, last)| last).max();
    let latest = latest.ok_or_else(|| PricesError::Empty { file: csv.to_path_buf() })?;
    let none_since = |ticker: &str, last: &str| PricesError::NoneSince {
        file: csv.to_path_buf(),
        ticker: ticker.to_owned(),
        from: from.to_owned(),
        last: last.to_owned(),
    };
    if latest.as_str() < from {
        return Err(none_since("the file", latest));
    }
    let Some(asked) = asked else {
        return Ok(known.into_iter().map(|(ticker, _)| ticker).collect());
    };
    if asked.is_empty() {
        return Err(PricesError::NoTickers);
    }
    for ticker in asked {
        match known.iter().find(|(name, _)| name == ticker) {
            None => {
                return Err(PricesError::UnknownTicker {
                    file: csv.to_path_buf(),
                    ticker: ticker.clone(),
                    known: known.into_iter().map(|(name, _)| name).collect(),
                });
            }
            Some((_, last)) if last.as_str() < from => return Err(none_since(ticker, last)),
            Some(_) => (),
        }
    }
    Ok(asked.to_vec())
}

/// DuckDB adds advice about options of its reader, which are not the user's to set.
fn unreadable(csv: &Path, cause: impl Display) -> PricesError {
    let text = cause.to_string();
    let told = text.split("Possible").next().unwrap_or(&text);
    PricesError::Unreadable {
        file: csv.to_path_buf(),
        message: told.split_whitespace().collect::<Vec<_>>().join(" "),
    }
}

#[cfg(test)]
pub(super) mod tests;
