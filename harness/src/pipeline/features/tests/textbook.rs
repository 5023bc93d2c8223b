//! The features once more, from their definitions in textbooks, to hold the SQL against.

use manager::duckdb::Connection;

use super::super::N;

/// All prices of AAPL, by session.
#[derive(Default)]
pub(super) struct Bars {
    open: Vec<f64>,
    high: Vec<f64>,
    low: Vec<f64>,
    pub(super) close: Vec<f64>,
    volume: Vec<f64>,
}

pub(super) fn bars(connection: &Connection) -> Bars {
    let mut bars = Bars::default();
    let mut statement = connection
        .prepare("SELECT open, high, low, close, volume FROM price WHERE ticker = 'AAPL' ORDER BY session")
        .unwrap();
    let mut rows = statement.query([]).unwrap();
    while let Some(row) = rows.next().unwrap() {
        bars.open.push(row.get(0).unwrap());
        bars.high.push(row.get(1).unwrap());
        bars.low.push(row.get(2).unwrap());
        bars.close.push(row.get(3).unwrap());
        bars.volume.push(row.get(4).unwrap());
    }
    bars
}

fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len() as f64
}

/// The mean product of deviations from the means.
fn covariance(left: &[f64], right: &[f64]) -> f64 {
    let (a, b) = (mean(left), mean(right));
    let products = left.iter().zip(right).map(|(x, y)| (x - a) * (y - b));
    products.sum::<f64>() / left.len() as f64
}

fn deviation(values: &[f64], lost: usize) -> f64 {
    let (n, lost) = (values.len() as f64, lost as f64);
    (covariance(values, values) * n / (n - lost)).sqrt()
}

fn correlation(left: &[f64], right: &[f64]) -> f64 {
    covariance(left, right) / (deviation(left, 0) * deviation(right, 0))
}

fn skewness(values: &[f64]) -> f64 {
    let (n, m, s) = (values.len() as f64, mean(values), deviation(values, 0));
    let third = values.iter().map(|v| ((v - m) / s).powi(3)).sum::<f64>() / n;
    third * (n * (n - 1.0)).sqrt() / (n - 2.0)
}

impl Bars {
    /// What the SQL should say, by the textbook, at session `s`.
    pub(super) fn features(&self, s: usize) -> [f64; N] {
        let last = |values: &[f64], n: usize| values[s + 1 - n..=s].to_vec();
        let highest = |n| last(&self.high, n).into_iter().fold(f64::MIN, f64::max);
        let lowest = |n| last(&self.low, n).into_iter().fold(f64::MAX, f64::min);
        let close = self.close[s];
        let back = |n: usize| (close / self.close[s - n]).ln();
        let changes = |values: &[f64], end: usize, n: usize| {
            let pairs = values[end - n..=end].windows(2);
            pairs.map(|pair| (pair[1] / pair[0]).ln()).collect::<Vec<_>>()
        };
        let steps = |n| changes(&self.close, s, n);
        let volume_steps = changes(&self.volume, s, 21);
        let average = |n| mean(&last(&self.close, n));
        let moves: Vec<f64> = self.close[s - 14..=s].windows(2).map(|p| p[1] - p[0]).collect();
        let gains: f64 = moves.iter().filter(|m| **m > 0.0).sum();
        let range = |i: usize| (self.high[i] / self.low[i]).ln();
        let squares: Vec<f64> = (s - 20..=s).map(|i| range(i).powi(2)).collect();
        let true_ranges: Vec<f64> = (s - 13..=s)
            .map(|i| self.high[i].max(self.close[i - 1]) - self.low[i].min(self.close[i - 1]))
            .collect();
        let channel = |n| (close - lowest(n)) / (highest(n) - lowest(n));
        let band = deviation(&last(&self.close, 20), 0);
        let logs: Vec<f64> = last(&self.close, 21).iter().map(|c| c.ln()).collect();
        let days: Vec<f64> = (0..21).map(f64::from).collect();
        [
            back(1),
            back(5),
            back(10),
            back(21),
            back(63),
            deviation(&steps(5), 1),
            deviation(&steps(10), 1),
            deviation(&steps(21), 1),
            deviation(&steps(63), 1),
            skewness(&steps(21)),
            correlation(&steps(21), &changes(&self.close, s - 1, 21)),
            close / average(5) - 1.0,
            close / average(10) - 1.0,
            close / average(21) - 1.0,
            close / average(63) - 1.0,
            (close - (average(20) - 2.0 * band)) / (4.0 * band),
            gains / moves.iter().map(|m| m.abs()).sum::<f64>(),
            range(s),
            (highest(5) / lowest(5)).ln(),
            (mean(&squares) / (4.0 * 2.0_f64.ln())).sqrt(),
            mean(&true_ranges) / close,
            channel(21),
            channel(63),
            (close / highest(63)).ln(),
            (self.open[s] / self.close[s - 1]).ln(),
            self.volume[s] / mean(&last(&self.volume, 5)),
            self.volume[s] / mean(&last(&self.volume, 21)),
            (self.volume[s] / self.volume[s - 1]).ln(),
            deviation(&volume_steps, 1),
            correlation(&steps(21), &volume_steps),
            covariance(&days, &logs) / covariance(&days, &days),
            correlation(&days, &logs).powi(2),
        ]
    }
}
