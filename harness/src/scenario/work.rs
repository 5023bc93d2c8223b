//! What a scenario's actors do: the pipeline on real prices, or panels of a synthetic market.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::document::{Item, ScenarioError, Section};
use super::{SESSIONS_MAX, is_date, is_filled, optional};
use crate::pipeline::Price;

/// What is done, and on what.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Work {
    /// Features of each ticker, a regression, scores.
    Pipeline {
        /// What is read.
        data: Data,
        /// What is fitted.
        model: Model,
    },
    /// Features of a whole market, block by block, to be found again: the work of the store alone.
    Panel(Panel),
}

/// What is read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Data {
    /// The file of daily prices, already joined to the folder of the scenario.
    pub prices: PathBuf,
    /// Which price is the price of a day.
    pub price: Price,
    /// The first session that is read, `YYYY-MM-DD`.
    pub from: String,
    /// Only these, if given.
    pub tickers: Option<Vec<String>>,
}

/// What is fitted.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Model {
    /// The penalty of the ridge regression, above 0.
    pub ridge: f64,
}

/// A synthetic market.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Panel {
    /// How many symbols it has.
    pub symbols: u32,
    /// How many sessions.
    pub sessions: u32,
}

/// When an evaluator that has computed something writes that to the database.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Writes {
    /// At once, between the other evaluators' reads.
    #[default]
    AtOnce,
    /// Not at all: it leaves it in the store's folder, and the next training phase puts it into the database.
    Spool,
}

/// The work of a scenario: `[data]` and `[model]`, or `[panel]`.
pub(super) fn work(file: &Path, root: &Section<'_>) -> Result<Work, ScenarioError> {
    let Some(item) = root.optional("panel") else {
        let (data, model) = (data(file, &root.item("data"))?, model(&root.item("model"))?);
        return Ok(Work::Pipeline { data, model });
    };
    for other in ["data", "model"] {
        if let Some(item) = root.optional(other) {
            return Err(item.wrong("nothing beside `panel`"));
        }
    }
    let table = item.table(&["symbols", "sessions"])?;
    Ok(Work::Panel(Panel {
        symbols: table.item("symbols").integer(1..=10_000)?,
        sessions: table.item("sessions").integer(1..=SESSIONS_MAX)?,
    }))
}

fn data(file: &Path, item: &Item<'_>) -> Result<Data, ScenarioError> {
    let table = item.table(&["prices", "price", "from", "tickers"])?;
    let prices = table.item("prices").text("the path of a file", is_filled)?;
    let ticker = |item: &Item<'_>| item.text("the name of a ticker", is_filled);
    Ok(Data {
        prices: file.parent().unwrap_or(Path::new("")).join(prices),
        price: optional(&table, "price", |item| item.choice(&Price::ALL))?.unwrap_or_default(),
        from: table.item("from").text("a date in quotes, such as \"2009-01-02\"", is_date)?,
        tickers: optional(&table, "tickers", |item| {
            item.list("a list of at least one ticker", ticker)
        })?,
    })
}

fn model(item: &Item<'_>) -> Result<Model, ScenarioError> {
    let table = item.table(&["ridge"])?;
    let ridge = table.item("ridge").number("a number above 0", |ridge| 0.0 < ridge)?;
    Ok(Model { ridge })
}

/// The key `writes` of `[evaluation]`.
pub(super) fn writes(item: &Item<'_>) -> Result<Writes, ScenarioError> {
    item.choice(&[("at_once", Writes::AtOnce), ("spool", Writes::Spool)])
}
