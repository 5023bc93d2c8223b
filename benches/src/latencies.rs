//! Latencies of single operations, for their tail, and averages of operations too short to be timed one by one.

use std::fmt;
use std::hint::black_box;
use std::io;
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

    /// The latency that this part of them does not exceed, to three digits; zero if there are none.
    pub fn quantile(&self, part: f64) -> Duration {
        Duration::from_nanos(self.nanoseconds.value_at_quantile(part))
    }

    /// The longest, to three digits; zero if there are none.
    pub fn max(&self) -> Duration {
        Duration::from_nanos(self.nanoseconds.max())
    }

    /// Notes what an operation took.
    pub fn record(&mut self, latency: Duration) {
        let nanoseconds = u64::try_from(latency.as_nanos()).unwrap_or(u64::MAX);
        self.record_many(nanoseconds, 1);
    }

    /// Adds those of another process.
    pub fn merge(&mut self, other: &Self) {
        self.nanoseconds.add(&other.nanoseconds).expect("a histogram that resizes takes any value");
    }

    /// All of them as words without spaces around them, for [`decode`](Self::decode) in another process.
    pub fn encode(&self) -> String {
        let buckets = self.nanoseconds.iter_recorded();
        let words =
            buckets.map(|step| format!("{}:{}", step.value_iterated_to(), step.count_at_value()));
        words.collect::<Vec<_>>().join(" ")
    }

    /// What [`encode`](Self::encode) made these words of.
    ///
    /// # Errors
    ///
    /// If it did not make them.
    pub fn decode<'a>(words: impl Iterator<Item = &'a str>) -> io::Result<Self> {
        let mut latencies = Self::default();
        for word in words {
            let parts = word.split_once(':').and_then(|(nanoseconds, count)| {
                Some((nanoseconds.parse().ok()?, count.parse().ok()?))
            });
            let (nanoseconds, count) = parts
                .ok_or_else(|| io::Error::other(format!("`{word}` is no latency with a count")))?;
            latencies.record_many(nanoseconds, count);
        }
        Ok(latencies)
    }

    fn record_many(&mut self, nanoseconds: u64, count: u64) {
        let recorded = self.nanoseconds.record_n(nanoseconds, count);
        recorded.expect("a histogram that resizes takes any value");
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

/// How long an operation takes on average, over all samples that Criterion takes of it, those of its warm-up included.
#[derive(Default)]
pub struct Average {
    operations: u64,
    taken: Duration,
}

impl Average {
    /// Runs `operation` so many times, for a `Bencher::iter_custom`, and returns what that took.
    pub fn sample<T>(&mut self, iterations: u64, mut operation: impl FnMut() -> T) -> Duration {
        let begin = Instant::now();
        for _ in 0..iterations {
            black_box(operation());
        }
        let taken = begin.elapsed();
        self.operations += iterations;
        self.taken += taken;
        taken
    }

    /// In seconds; `None` before the first sample.
    pub fn seconds(&self) -> Option<f64> {
        (self.operations > 0).then(|| self.taken.as_secs_f64() / self.operations as f64)
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
    #[test]
    fn what_another_process_tells_is_what_it_has_noted() {
        let mut told = Latencies::default();
        for nanoseconds in [0, 1, 999, 1_234_567, 1_234_567, 61_000_000_000] {
            told.record(Duration::from_nanos(nanoseconds));
        }
        let heard = Latencies::decode(told.encode().split_whitespace()).unwrap();
        assert_eq!(heard.encode(), told.encode());
        assert_eq!(heard.count(), 6);
        assert_eq!(heard.max(), told.max());
        assert_eq!(heard.quantile(0.5), told.quantile(0.5));

        let mut merged = latencies(3);
        merged.merge(&heard);
        assert_eq!(merged.count(), 9);
        assert_eq!(merged.max(), told.max());
        assert!(Latencies::decode("12:1 13".split_whitespace()).is_err());
        assert_eq!(Latencies::decode("".split_whitespace()).unwrap().max(), Duration::ZERO);
    }

    #[test]
    fn an_average_is_taken_over_all_samples() {
        let mut average = Average::default();
        assert_eq!(average.seconds(), None);
        let pause = || std::thread::sleep(Duration::from_millis(5));
        let taken = average.sample(1, pause) + average.sample(3, pause);
        let seconds = average.seconds().unwrap();
        assert!((seconds - taken.as_secs_f64() / 4.0).abs() < 1e-9);
    }
}
