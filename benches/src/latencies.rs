//! Latencies of single operations, for their tail.

use std::fmt;
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;

/// The time that one of Criterion's iterations stands for; see [`Latencies::sample`].
pub const ITERATION: Duration = Duration::from_millis(20);

/// Below this many operations a 99th percentile would be little else than the maximum.
const P99_COUNT_MIN: u64 = 1_000;

/// The time that each operation took. Its `Display` is one line for people.
///
/// These are service times: the next operation begins when the last one has ended, so one that waits for a second
/// holds back others, which then do not count as late.
pub struct Latencies {
    nanoseconds: Histogram<u64>,
}

impl Default for Latencies {
    fn default() -> Self {
        Self { nanoseconds: Histogram::new(3).expect("three digits are in bounds") }
    }
}

impl Latencies {
    /// Runs `operation` for as many [`ITERATION`]s of time, notes what each run took, and returns what so many runs
    /// take on average.
    ///
    /// By time and not by count: the average of a writer that starves now and then cannot be foretold from its
    /// warm-up, and nor could the length of the bench.
    pub fn sample(&mut self, iterations: u64, mut operation: impl FnMut()) -> Duration {
        let limit = ITERATION.mul_f64(iterations as f64);
        let (begin, mut taken, mut runs) = (Instant::now(), Duration::ZERO, 0_u32);
        while taken < limit {
            taken += self.time(&mut operation);
            runs += 1;
        }
        begin.elapsed().mul_f64(iterations as f64 / f64::from(runs))
    }

    /// Runs `operation` once, notes what it took, and returns it.
    pub fn time(&mut self, operation: impl FnOnce()) -> Duration {
        let begin = Instant::now();
        operation();
        let taken = begin.elapsed();
        self.record(taken);
        taken
    }

    /// How many there are.
    pub fn count(&self) -> u64 {
        self.nanoseconds.len()
    }

    fn record(&mut self, latency: Duration) {
        let nanoseconds = u64::try_from(latency.as_nanos()).unwrap_or(u64::MAX);
        self.nanoseconds.record(nanoseconds).expect("a histogram that resizes takes any value");
    }
}

impl fmt::Display for Latencies {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ms = |nanoseconds: u64| format!("{:.2} ms", nanoseconds as f64 / 1e6);
        let p99 = if self.count() < P99_COUNT_MIN {
            "too few".to_owned()
        } else {
            ms(self.nanoseconds.value_at_quantile(0.99))
        };
        let [p50, p90] =
            [0.5, 0.9].map(|quantile| ms(self.nanoseconds.value_at_quantile(quantile)));
        let max = ms(self.nanoseconds.max());
        write!(f, "p50 {p50:>10}  p90 {p90:>10}  p99 {p99:>10}  max {max:>10}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn latencies(count: u64) -> Latencies {
        let mut latencies = Latencies::default();
        (1..=count).for_each(|ms| latencies.record(Duration::from_millis(ms)));
        latencies
    }

    #[test]
    fn a_p99_is_printed_from_a_thousand_operations_on() {
        assert!(latencies(999).to_string().contains("p99    too few"));
        let line = latencies(1_000).to_string();
        let p99: f64 = line
            .split_whitespace()
            .skip_while(|word| *word != "p99")
            .nth(1)
            .unwrap()
            .parse()
            .unwrap();
        assert!((p99 - 990.0).abs() < 2.0, "{line}");
    }

    #[test]
    fn a_sample_notes_every_run_and_returns_their_average_times_the_iterations() {
        let (mut latencies, mut runs) = (Latencies::default(), 0);
        let taken = latencies.sample(10, || {
            runs += 1;
            std::thread::sleep(Duration::from_millis(40));
        });
        assert_eq!(latencies.count(), runs);
        assert!(runs <= 5, "200 ms hold at most 5 runs of 40 ms");
        assert!(taken >= Duration::from_millis(400) && taken < Duration::from_secs(4), "{taken:?}");
    }
}
