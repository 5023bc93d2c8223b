//! The 158 features: 9 of a day's candle, 4 prices, and 29 operators over 5 windows each, after qlib's Alpha158
//! (`qlib/contrib/data/loader.py`), but for its volume-weighted price, which is the mean of high, low and close here.
//!
//! Each is computed from its window anew, so that costs differ as they do there: a mean is cheap, a quantile is dear.

/// How many there are.
pub const FEATURES: usize = 158;

/// This file: what keys take for the code.
pub(super) const SOURCE: &str = include_str!("alpha.rs");

const OPEN: usize = 0;
const HIGH: usize = 1;
const LOW: usize = 2;
const CLOSE: usize = 3;
const VOLUME: usize = 4;

/// The prices of one symbol, column by column.
type Prices<'p> = [&'p [f64]; 5];

type Candle = fn(open: f64, high: f64, low: f64, close: f64) -> f64;
type Operator = fn(&Window<'_>) -> f64;

const EPSILON: f64 = 1e-12;

const CANDLES: [(&str, Candle); 13] = [
    ("KMID", |o, _, _, c| (c - o) / o),
    ("KLEN", |o, h, l, _| (h - l) / o),
    ("KMID2", |o, h, l, c| (c - o) / (h - l + EPSILON)),
    ("KUP", |o, h, _, c| (h - o.max(c)) / o),
    ("KUP2", |o, h, l, c| (h - o.max(c)) / (h - l + EPSILON)),
    ("KLOW", |o, _, l, c| (o.min(c) - l) / o),
    ("KLOW2", |o, h, l, c| (o.min(c) - l) / (h - l + EPSILON)),
    ("KSFT", |o, h, l, c| (2.0 * c - h - l) / o),
    ("KSFT2", |_, h, l, c| (2.0 * c - h - l) / (h - l + EPSILON)),
    ("OPEN0", |o, _, _, c| o / c),
    ("HIGH0", |_, h, _, c| h / c),
    ("LOW0", |_, _, l, c| l / c),
    ("VWAP0", |_, h, l, c| (h + l + c) / 3.0 / c),
];

const WINDOWS: [usize; 5] = [5, 10, 20, 30, 60];

const OPERATORS: [(&str, &[usize], Operator); 29] = [
    ("ROC", &[CLOSE], |w| w.before(CLOSE) / w.now(CLOSE)),
    ("MA", &[CLOSE], |w| mean(w.of(CLOSE)) / w.now(CLOSE)),
    ("STD", &[CLOSE], |w| deviation(w.of(CLOSE)) / w.now(CLOSE)),
    ("BETA", &[CLOSE], |w| line(w.of(CLOSE)).slope / w.now(CLOSE)),
    ("RSQR", &[CLOSE], |w| line(w.of(CLOSE)).r2),
    ("RESI", &[CLOSE], |w| line(w.of(CLOSE)).rest / w.now(CLOSE)),
    ("MAX", &[HIGH, CLOSE], |w| max(w.of(HIGH)) / w.now(CLOSE)),
    ("MIN", &[LOW, CLOSE], |w| min(w.of(LOW)) / w.now(CLOSE)),
    ("QTLU", &[CLOSE], |w| quantile(w.of(CLOSE), 0.8) / w.now(CLOSE)),
    ("QTLD", &[CLOSE], |w| quantile(w.of(CLOSE), 0.2) / w.now(CLOSE)),
    ("RANK", &[CLOSE], |w| share(w.of(CLOSE).iter().map(|c| *c <= w.now(CLOSE)))),
    ("RSV", &[HIGH, LOW, CLOSE], |w| {
        let low = min(w.of(LOW));
        (w.now(CLOSE) - low) / (max(w.of(HIGH)) - low + EPSILON)
    }),
    ("IMAX", &[HIGH], |w| place(w.of(HIGH), f64::gt)),
    ("IMIN", &[LOW], |w| place(w.of(LOW), f64::lt)),
    ("IMXD", &[HIGH, LOW], |w| place(w.of(HIGH), f64::gt) - place(w.of(LOW), f64::lt)),
    ("CORR", &[CLOSE, VOLUME], |w| {
        let volumes: Vec<f64> = w.of(VOLUME).iter().map(|volume| volume.ln_1p()).collect();
        correlation(w.of(CLOSE), &volumes)
    }),
    ("CORD", &[CLOSE, VOLUME], |w| {
        let volumes: Vec<f64> = w.ratios(VOLUME).map(f64::ln_1p).collect();
        correlation(&w.ratios(CLOSE).collect::<Vec<_>>(), &volumes)
    }),
    ("CNTP", &[CLOSE], |w| share(w.steps(CLOSE).map(|step| 0.0 < step))),
    ("CNTN", &[CLOSE], |w| share(w.steps(CLOSE).map(|step| step < 0.0))),
    ("CNTD", &[CLOSE], |w| mean(&w.steps(CLOSE).map(f64::signum).collect::<Vec<_>>())),
    ("SUMP", &[CLOSE], |w| gains(w, CLOSE).0),
    ("SUMN", &[CLOSE], |w| gains(w, CLOSE).1),
    ("SUMD", &[CLOSE], |w| gains(w, CLOSE).0 - gains(w, CLOSE).1),
    ("VMA", &[VOLUME], |w| mean(w.of(VOLUME)) / w.now(VOLUME)),
    ("VSTD", &[VOLUME], |w| deviation(w.of(VOLUME)) / w.now(VOLUME)),
    ("WVMA", &[CLOSE, VOLUME], |w| {
        let moved = w.ratios(CLOSE).zip(w.of(VOLUME).iter().rev());
        let moved: Vec<f64> = moved.map(|(ratio, volume)| (ratio - 1.0).abs() * volume).collect();
        deviation(&moved) / (mean(&moved) + EPSILON)
    }),
    ("VSUMP", &[VOLUME], |w| gains(w, VOLUME).0),
    ("VSUMN", &[VOLUME], |w| gains(w, VOLUME).1),
    ("VSUMD", &[VOLUME], |w| gains(w, VOLUME).0 - gains(w, VOLUME).1),
];

/// One of the features.
pub struct Feature {
    name: String,
    window: usize,
    reads: &'static [usize],
    how: How,
}

enum How {
    Candle(Candle),
    Operator(Operator),
}

impl Feature {
    /// Its name in qlib.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// How many sessions it looks at.
    pub fn window(&self) -> usize {
        self.window
    }

    /// The columns that it reads.
    pub(super) fn reads(&self) -> &'static [usize] {
        self.reads
    }

    /// Its value at a session. What cannot be said is 0.
    pub(super) fn at(&self, prices: Prices<'_>, session: usize) -> f64 {
        let value = match self.how {
            How::Candle(candle) => {
                let at = |column: usize| prices[column][session];
                candle(at(OPEN), at(HIGH), at(LOW), at(CLOSE))
            }
            How::Operator(operator) => operator(&Window { prices, session, length: self.window }),
        };
        if value.is_finite() { value } else { 0.0 }
    }
}

/// All of them.
pub(super) fn features() -> Vec<Feature> {
    let candle = |(name, candle): (&str, Candle)| Feature {
        name: name.to_owned(),
        window: 1,
        reads: &[OPEN, HIGH, LOW, CLOSE],
        how: How::Candle(candle),
    };
    let operators = OPERATORS.iter().flat_map(|(name, reads, operator)| {
        WINDOWS.map(|window| Feature {
            name: format!("{name}{window}"),
            window,
            reads,
            how: How::Operator(*operator),
        })
    });
    CANDLES.into_iter().map(candle).chain(operators).collect()
}

/// The sessions up to one, today included; fewer where the market begins.
struct Window<'p> {
    prices: Prices<'p>,
    session: usize,
    length: usize,
}

impl<'p> Window<'p> {
    fn of(&self, column: usize) -> &'p [f64] {
        &self.prices[column][(self.session + 1).saturating_sub(self.length)..=self.session]
    }

    fn now(&self, column: usize) -> f64 {
        self.prices[column][self.session]
    }

    /// A whole window ago.
    fn before(&self, column: usize) -> f64 {
        self.prices[column][self.session.saturating_sub(self.length)]
    }

    /// Each value and the one of the day before, the last first.
    fn pairs(&self, column: usize) -> impl Iterator<Item = (f64, f64)> {
        let values = self.prices[column];
        let first = (self.session + 1).saturating_sub(self.length);
        (first..=self.session).rev().map(move |at| (values[at], values[at.saturating_sub(1)]))
    }

    fn ratios(&self, column: usize) -> impl Iterator<Item = f64> {
        self.pairs(column).map(|(value, before)| value / before)
    }

    fn steps(&self, column: usize) -> impl Iterator<Item = f64> {
        self.pairs(column).map(|(value, before)| value - before)
    }
}

fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len() as f64
}

fn deviation(values: &[f64]) -> f64 {
    let mean = mean(values);
    (values.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / values.len() as f64).sqrt()
}

fn max(values: &[f64]) -> f64 {
    values.iter().copied().fold(f64::MIN, f64::max)
}

fn min(values: &[f64]) -> f64 {
    values.iter().copied().fold(f64::MAX, f64::min)
}

fn quantile(values: &[f64], share: f64) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let place = share * (sorted.len() - 1) as f64;
    let (below, part) = (place as usize, place.fract());
    let above = (below + 1).min(sorted.len() - 1);
    sorted[below] + part * (sorted[above] - sorted[below])
}

/// Which part of them is so.
fn share(are: impl Iterator<Item = bool>) -> f64 {
    let (yes, all) = are.fold((0_u32, 0_u32), |(yes, all), is| (yes + u32::from(is), all + 1));
    f64::from(yes) / f64::from(all)
}

/// How far from the begin of its window the best one is, from 0 to 1.
fn place(values: &[f64], is_better: fn(&f64, &f64) -> bool) -> f64 {
    let mut best = 0;
    for (at, value) in values.iter().enumerate() {
        if is_better(value, &values[best]) {
            best = at;
        }
    }
    (best + 1) as f64 / values.len() as f64
}

/// A straight line through the values.
struct Line {
    slope: f64,
    r2: f64,
    /// How far the last value is above it.
    rest: f64,
}

fn line(values: &[f64]) -> Line {
    let count = values.len() as f64;
    let (middle, average) = ((count - 1.0) / 2.0, mean(values));
    let (mut xx, mut xy, mut yy) = (0.0, 0.0, 0.0);
    for (at, value) in values.iter().enumerate() {
        let (x, y) = (at as f64 - middle, value - average);
        xx += x * x;
        xy += x * y;
        yy += y * y;
    }
    let slope = xy / xx;
    let rest = values[values.len() - 1] - average - slope * (count - 1.0 - middle);
    Line { slope, r2: xy * xy / (xx * yy), rest }
}

fn correlation(one: &[f64], other: &[f64]) -> f64 {
    let (mean_one, mean_other) = (mean(one), mean(other));
    let (mut xx, mut xy, mut yy) = (0.0, 0.0, 0.0);
    for (x, y) in one.iter().zip(other) {
        let (x, y) = (x - mean_one, y - mean_other);
        xx += x * x;
        xy += x * y;
        yy += y * y;
    }
    xy / (xx * yy).sqrt()
}

/// The parts of all movement that went up, and down.
fn gains(window: &Window<'_>, column: usize) -> (f64, f64) {
    let (up, down) = window
        .steps(column)
        .fold((0.0, 0.0), |(up, down), step| (up + step.max(0.0), down + (-step).max(0.0)));
    (up / (up + down + EPSILON), down / (up + down + EPSILON))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_are_as_many_as_qlib_has() {
        assert_eq!(features().len(), FEATURES);
        assert_eq!(features().iter().map(Feature::window).max(), Some(60));
    }

    #[test]
    fn operators_say_what_their_names_promise() {
        let close = [1.0, 2.0, 4.0, 3.0, 5.0];
        let prices: Prices<'_> = [&close; 5];
        let at = |name: &str| {
            let all = features();
            all.iter().find(|feature| feature.name() == name).unwrap().at(prices, 4)
        };
        for (name, value) in [
            ("ROC5", 1.0 / 5.0),
            ("MA5", 3.0 / 5.0),
            ("STD5", 2.0_f64.sqrt() / 5.0),
            ("BETA5", 0.9 / 5.0),
            ("RSQR5", 0.81),
            ("RESI5", 0.2 / 5.0),
            ("MAX5", 1.0),
            ("MIN5", 0.2),
            ("QTLU5", 4.2 / 5.0),
            ("QTLD5", 1.8 / 5.0),
            ("RANK5", 1.0),
            ("RSV5", 1.0),
            ("IMAX5", 1.0),
            ("IMIN5", 0.2),
            ("IMXD5", 0.8),
            ("CNTP5", 3.0 / 5.0),
            ("CNTN5", 1.0 / 5.0),
            ("SUMP5", 5.0 / 6.0),
            ("SUMN5", 1.0 / 6.0),
            ("SUMD5", 4.0 / 6.0),
        ] {
            assert!((at(name) - value).abs() < 1e-9, "{name}: {} and not {value}", at(name));
        }
    }
}
