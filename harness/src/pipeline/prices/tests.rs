use std::fs;
use std::path::{Path, PathBuf};

use manager::duckdb::{Connection, types::Value};

use super::{HEADER, Price, PricesError, market};

const GOOD: &str = "A,2000-03-01,2,3,1,2,100,9";

fn load(
    connection: &Connection,
    csv: &Path,
    from: &str,
    tickers: Option<&[String]>,
) -> Result<(), PricesError> {
    super::load(connection, csv, from, tickers, Price::Close)
}

/// The prices that the demo runs on.
pub(crate) fn demo_file() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../scenarios/data/stocks.csv.gz")
}

/// A new database in memory, with one thread as the features want it.
pub(crate) fn empty_database() -> Connection {
    let connection = Connection::open_in_memory().unwrap();
    connection.execute_batch("SET threads = 1").unwrap();
    connection
}

/// A new database with the demo's prices since 2000-03-01.
pub(crate) fn demo_database() -> Connection {
    let connection = empty_database();
    load(&connection, &demo_file(), "2000-03-01", None).unwrap();
    connection
}

fn names(tickers: &[&str]) -> Vec<String> {
    tickers.iter().map(ToString::to_string).collect()
}

fn tables(connection: &Connection) -> Vec<String> {
    let mut statement =
        connection.prepare("SELECT table_name FROM duckdb_tables() ORDER BY table_name").unwrap();
    let found = statement.query_map([], |row| row.get(0)).unwrap();
    found.collect::<Result<_, _>>().unwrap()
}

/// Loads a file of these bytes and returns the error, having checked that nothing is left behind.
fn refusal(bytes: impl AsRef<[u8]>, from: &str, tickers: Option<&[String]>) -> PricesError {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("prices.csv");
    fs::write(&file, bytes).unwrap();
    let connection = empty_database();
    let error = load(&connection, &file, from, tickers).unwrap_err();
    assert_eq!(tables(&connection), [""; 0]);
    error
}

fn lines(lines: &[&str]) -> String {
    format!("{HEADER}\n{}\n", lines.join("\n"))
}

#[test]
fn the_demo_file_loads_whole() {
    let connection = demo_database();
    let rows: u32 =
        connection.query_row("SELECT count(*) FROM price", [], |row| row.get(0)).unwrap();
    assert_eq!(rows, 12_154);

    let (dates, tickers) = market(&connection).unwrap();
    assert_eq!(dates.len(), 3_270);
    assert_eq!(dates[0], "2000-03-01");
    assert_eq!(dates[3_269], "2013-03-01");
    assert!(dates.is_sorted());
    let listings: Vec<(&str, &str)> = tickers
        .iter()
        .map(|(ticker, first)| (ticker.as_str(), dates[*first as usize].as_str()))
        .collect();
    assert_eq!(
        listings,
        [
            ("AAPL", "2000-03-01"),
            ("FB", "2012-05-18"),
            ("GOOG", "2004-08-19"),
            ("IBM", "2000-03-01"),
            ("MSFT", "2000-03-01"),
        ]
    );
}

#[test]
fn the_table_has_its_columns_and_no_adjusted_close() {
    let connection = demo_database();
    let mut statement = connection
        .prepare(
            "SELECT column_name || ' ' || data_type FROM duckdb_columns() \
             WHERE table_name = 'price' ORDER BY column_index",
        )
        .unwrap();
    let columns = statement.query_map([], |row| row.get(0)).unwrap();
    let columns: Vec<String> = columns.collect::<Result<_, _>>().unwrap();
    assert_eq!(
        columns,
        [
            "ticker VARCHAR",
            "session UINTEGER",
            "date DATE",
            "open DOUBLE",
            "high DOUBLE",
            "low DOUBLE",
            "close DOUBLE",
            "volume DOUBLE",
        ]
    );
    let first: Vec<Value> = connection
        .query_row("SELECT * FROM price LIMIT 1", [], |row| {
            (0..8).map(|column| row.get(column)).collect()
        })
        .unwrap();
    assert_eq!(first[0], Value::Text("AAPL".into()));
    assert_eq!(first[1], Value::UInt(0));
    let prices = [118.56, 132.06, 118.5, 130.31, 9_616_100.0].map(Value::Double);
    assert_eq!(first[3..], prices);
}

#[test]
fn rows_are_stored_by_ticker_and_session() {
    let disorder: u32 = demo_database()
        .query_row(
            "SELECT count(*) FROM (SELECT rowid <> row_number() OVER (ORDER BY ticker, session) - 1 \
             AS moved FROM price) WHERE moved",
            [],
            |row| row.get(0),
        )
        .unwrap();
    assert_eq!(disorder, 0);
}

#[test]
fn sessions_count_the_dates_that_are_kept() {
    let connection = empty_database();
    let tickers = names(&["IBM", "FB"]);
    load(&connection, &demo_file(), "2012-05-16", Some(&tickers)).unwrap();
    let (dates, tickers) = market(&connection).unwrap();
    assert_eq!(dates[..3], ["2012-05-16", "2012-05-17", "2012-05-18"]);
    assert_eq!(tickers, [("FB".to_owned(), 2), ("IBM".to_owned(), 0)]);

    let connection = empty_database();
    load(&connection, &demo_file(), "2000-03-01", Some(&names(&["FB"]))).unwrap();
    let (dates, tickers) = market(&connection).unwrap();
    assert_eq!(dates[0], "2012-05-18");
    assert_eq!(tickers, [("FB".to_owned(), 0)]);
}

#[test]
fn a_broken_line_is_refused_by_its_number() {
    for (line, told) in [
        ("", "it is blank"),
        ("A,2000-03-02,2,3,1,2,100", "it has 7 columns, not 8"),
        ("A,2000-03-02,2,3,1,2,100,9,9", "it has 9 columns, not 8"),
        ("A,2000-03-02,2,3,x,2,100,9", "low is not a positive number"),
        ("A,2000-03-02,2,3,1,,100,9", "close is not a positive number"),
        ("A,2000-03-02,0,3,1,2,100,9", "open is not a positive number"),
        ("A,2000-03-02,2,3,-1,2,100,9", "low is not a positive number"),
        ("A,2000-03-02,2,inf,1,2,100,9", "high is not a positive number"),
        ("A,2000-03-02,nan,3,1,2,100,9", "open is not a positive number"),
        ("A,2000-03-02,2,3,1,2,-1,9", "volume is not a number of at least 0"),
        ("A,2000-03-02,2,3,1,2,NULL,9", "volume is not a number of at least 0"),
        ("A,2000-03-02,2,3,1,4,100,9", "high is below another price of the day"),
        ("A,2000-03-02,2,3,2.5,2.5,100,9", "low is above another price of the day"),
        ("A,2000-13-02,2,3,1,2,100,9", "the date is not a day written like 2000-03-01"),
        ("A,2001-02-29,2,3,1,2,100,9", "the date is not a day written like 2000-03-01"),
        ("A,infinity,2,3,1,2,100,9", "the date is not a day written like 2000-03-01"),
        (
            ",2000-03-02,2,3,1,2,100,9",
            "the ticker is not made of letters, digits, dots, carets and dashes",
        ),
        (
            "\"A\",2000-03-02,2,3,1,2,100,9",
            "the ticker is not made of letters, digits, dots, carets and dashes",
        ),
        (GOOD, "A has a line for 2000-03-01 already"),
    ] {
        for newline in ["\n", "\r\n"] {
            let text = lines(&[GOOD, "B,2000-03-01,2,3,1,2,0,9", line, "A,,,,,,,"]);
            match refusal(text.replace('\n', newline), "2000-01-01", None) {
                PricesError::Line { line: 4, problem, .. } => assert_eq!(problem, told),
                other => panic!("`{line}`: {other}"),
            }
        }
    }
}

#[test]
fn a_broken_line_that_would_not_be_kept_is_refused_too() {
    let text = lines(&["B,2000-03-01,0,3,1,2,0,9", "A,2000-03-02,2,3,1,2,100,9"]);
    let error = refusal(text, "2000-03-02", Some(&names(&["A"])));
    let told = error.to_string();
    assert!(told.starts_with("load prices from `"), "{told}");
    assert!(
        told.ends_with(
            "prices.csv`, line 2: open is not a positive number; mend the line or take it out"
        ),
        "{told}"
    );
}

#[test]
fn a_file_that_holds_no_prices_is_refused() {
    let from = "2000-01-01";
    assert!(matches!(refusal("", from, None), PricesError::Empty { .. }));
    assert!(matches!(refusal(format!("{HEADER}\n"), from, None), PricesError::Empty { .. }));
    for other in ["Ticker,Date,Open", "\n", GOOD] {
        let error = refusal(format!("{other}\n{GOOD}\n"), from, None);
        assert!(matches!(error, PricesError::Header { .. }), "{error}");
    }
    let error = refusal([b"Ticker\n".as_slice(), &[0xff, 0xfe]].concat(), from, None);
    assert!(matches!(error, PricesError::Unreadable { .. }), "{error}");
}

#[test]
fn a_path_that_leads_to_no_file_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let connection = empty_database();
    let error = load(&connection, folder.path(), "2000-01-01", None).unwrap_err();
    assert!(matches!(error, PricesError::NotAFile { .. }), "{error}");

    let error = load(&connection, &folder.path().join("none"), "2000-01-01", None).unwrap_err();
    assert!(matches!(error, PricesError::Missing { .. }), "{error}");

    let archive = folder.path().join("prices.csv.gz");
    fs::write(&archive, lines(&[GOOD])).unwrap();
    let error = load(&connection, &archive, "2000-01-01", None).unwrap_err();
    assert!(matches!(error, PricesError::Unreadable { .. }), "{error}");
    assert_eq!(tables(&connection), [""; 0]);
}

#[test]
fn a_path_is_not_a_pattern() {
    let folder = tempfile::tempdir().unwrap();
    let inner = folder.path().join("a[1]?");
    fs::create_dir(&inner).unwrap();
    fs::write(inner.join("ab.csv"), "something else\n").unwrap();
    let file = inner.join("a*.csv");
    fs::write(&file, lines(&[GOOD])).unwrap();
    let connection = empty_database();
    load(&connection, &file, "2000-01-01", None).unwrap();
    assert_eq!(market(&connection).unwrap().0, ["2000-03-01"]);
}

#[test]
fn a_choice_that_keeps_nothing_is_refused() {
    let text = lines(&[GOOD, "B,2000-03-05,2,3,1,2,100,9"]);
    let refuse = |from: &str, tickers: Option<&[&str]>| {
        let tickers = tickers.map(names);
        refusal(&text, from, tickers.as_deref()).to_string()
    };
    assert!(
        refuse("2000-03-06", None)
            .contains("the file has none since 2000-03-06, the last is of 2000-03-05")
    );
    assert!(
        refuse("2000-03-02", Some(&["B", "A"]))
            .contains("A has none since 2000-03-02, the last is of 2000-03-01")
    );
    assert!(refuse("2000-01-01", Some(&["A", "C"])).contains("no ticker `C`; there are A, B"));
    assert!(refuse("2000-01-01", Some(&["A,B"])).contains("no ticker `A,B`"));
    assert!(refuse("2000-01-01", Some(&[])).contains("the list of tickers is empty"));
    for from in ["", "yesterday", "2000-3-1", "2000-02-30", "infinity"] {
        assert!(refuse(from, None).contains("that is not a day"), "{from}");
    }
}

#[test]
fn a_failure_within_a_transaction_leaves_no_table_even_if_it_is_committed() {
    let folder = tempfile::tempdir().unwrap();
    let broken = folder.path().join("prices.csv");
    fs::write(&broken, lines(&[GOOD, GOOD])).unwrap();
    let connection = Connection::open(folder.path().join("prices.db")).unwrap();
    connection.execute_batch("BEGIN; CREATE TABLE mine (i INTEGER)").unwrap();
    load(&connection, &broken, "2000-01-01", None).unwrap_err();
    connection.execute_batch("COMMIT").unwrap();
    assert_eq!(tables(&connection), ["mine"]);
}

#[test]
fn a_load_is_part_of_the_callers_transaction() {
    let folder = tempfile::tempdir().unwrap();
    let connection = Connection::open(folder.path().join("prices.db")).unwrap();
    connection.execute_batch("BEGIN").unwrap();
    load(&connection, &demo_file(), "2000-03-01", None).unwrap();
    assert_eq!(tables(&connection), ["price"]);
    connection.execute_batch("ROLLBACK").unwrap();
    assert_eq!(tables(&connection), [""; 0]);

    connection.execute_batch("BEGIN").unwrap();
    load(&connection, &demo_file(), "2000-03-01", None).unwrap();
    connection.execute_batch("COMMIT").unwrap();
    assert_eq!(market(&connection).unwrap().0.len(), 3_270);
}

#[test]
fn a_second_load_fails_and_keeps_the_first() {
    let connection = demo_database();
    let error = load(&connection, &demo_file(), "2012-01-01", None).unwrap_err();
    assert!(error.to_string().contains("already exists"), "{error}");
    assert_eq!(tables(&connection), ["price"]);
    assert_eq!(market(&connection).unwrap().0.len(), 3_270);
}

#[test]
fn a_market_without_a_table_is_an_error() {
    let error = market(&empty_database()).unwrap_err();
    assert!(matches!(error, PricesError::Database(_)), "{error}");
}

#[test]
fn the_adjusted_close_adjusts_the_other_prices_of_its_day_and_has_to_be_one() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("prices.csv");
    let adjusted = |adjusted: &str| {
        fs::write(&file, lines(&[&format!("A,2000-03-01,2,4,1,2,100,{adjusted}")])).unwrap();
        let connection = empty_database();
        super::load(&connection, &file, "2000-01-01", None, Price::AdjClose)?;
        let row = "SELECT [open, high, low, close, volume]::VARCHAR FROM price";
        Ok::<String, PricesError>(connection.query_row(row, [], |row| row.get(0)).unwrap())
    };
    assert_eq!(adjusted("1").unwrap(), "[1.0, 2.0, 0.5, 1.0, 100.0]");
    let error = adjusted("nan").unwrap_err().to_string();
    assert!(error.contains("line 2: adj close is not a positive number"), "{error}");
}
