//! The numbers under OpenTelemetry's names are those of the events, and of a real run.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use manager::{
    AccessMode, AcquireOptions, Drain, Error, LeaseEvent, Manager, Observer, Phase, PoolMetrics,
};
use opentelemetry::KeyValue;
use opentelemetry::metrics::MeterProvider;
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::metrics::data::{
    AggregatedMetrics, Metric, MetricData, ResourceMetrics, ScopeMetrics, SumDataPoint,
};
use opentelemetry_sdk::metrics::exporter::PushMetricExporter;
use opentelemetry_sdk::metrics::{PeriodicReader, SdkMeterProvider, Temporality};

use crate::peer::Peer;
use crate::support::{A_WHILE, LONG, Running, Site, config};

/// What was exported last: `name unit {attributes}` and the value; of a histogram, how many values and their sum in
/// milliseconds.
type Points = BTreeMap<String, Value>;

#[derive(Clone, Copy, Debug, PartialEq)]
enum Value {
    Count(i64),
    Times { number: u64, sum_ms: i64 },
}

/// The SDK with an exporter that keeps what it is given.
struct Sdk {
    provider: SdkMeterProvider,
    exported: Exported,
}

#[derive(Clone, Default)]
struct Exported(Arc<Mutex<Points>>);

impl Sdk {
    fn new() -> Self {
        let exported = Exported::default();
        // It collects when it is flushed: the interval is longer than any test.
        let reader = PeriodicReader::builder(exported.clone())
            .with_interval(Duration::from_hours(1))
            .build();
        Self { provider: SdkMeterProvider::builder().with_reader(reader).build(), exported }
    }

    fn metrics(&self) -> PoolMetrics {
        PoolMetrics::new(&self.provider.meter("test"), &config()).named_by(|_| "p".into())
    }

    fn points(&self) -> Points {
        self.provider.force_flush().unwrap();
        self.exported.0.lock().unwrap().clone()
    }

    #[track_caller]
    fn count(&self, name: &str, attributes: &str) -> i64 {
        let points = self.points();
        let point = points
            .iter()
            .find(|(key, _)| key.starts_with(&format!("{name} ")) && key.contains(attributes));
        match point {
            Some((_, Value::Count(count))) => *count,
            Some((_, Value::Times { number, .. })) => i64::try_from(*number).unwrap(),
            None => panic!("{name} {attributes} is not among {points:#?}"),
        }
    }
}

impl PushMetricExporter for Exported {
    async fn export(&self, metrics: &ResourceMetrics) -> OTelSdkResult {
        let mut points = self.0.lock().unwrap();
        points.clear();
        for metric in metrics.scope_metrics().flat_map(ScopeMetrics::metrics) {
            note(metric, &mut points);
        }
        Ok(())
    }

    fn force_flush(&self) -> OTelSdkResult {
        Ok(())
    }

    fn shutdown_with_timeout(&self, _: Duration) -> OTelSdkResult {
        Ok(())
    }

    fn temporality(&self) -> Temporality {
        Temporality::Cumulative
    }
}

fn note(metric: &Metric, points: &mut Points) {
    let key = |attributes: &mut dyn Iterator<Item = &KeyValue>| {
        let mut attributes: Vec<_> =
            attributes.map(|one| format!("{}={}", one.key, one.value)).collect();
        attributes.sort();
        format!("{} {} {{{}}}", metric.name(), metric.unit(), attributes.join(","))
    };
    match metric.data() {
        AggregatedMetrics::I64(MetricData::Sum(sum)) => {
            let value = |point: &SumDataPoint<i64>| {
                (key(&mut point.attributes()), Value::Count(point.value()))
            };
            points.extend(sum.data_points().map(value));
        }
        AggregatedMetrics::U64(MetricData::Sum(sum)) => {
            let count =
                |point: &SumDataPoint<u64>| Value::Count(i64::try_from(point.value()).unwrap());
            points.extend(
                sum.data_points().map(|point| (key(&mut point.attributes()), count(point))),
            );
        }
        AggregatedMetrics::F64(MetricData::Histogram(times)) => {
            points.extend(times.data_points().map(|point| {
                assert_eq!(
                    point.bounds().collect::<Vec<_>>(),
                    [0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1.0, 5.0, 10.0]
                );
                let sum_ms = (point.sum() * 1e3).round() as i64;
                (key(&mut point.attributes()), Value::Times { number: point.count(), sum_ms })
            }));
        }
        data => panic!("{} is an unexpected kind of metric: {data:?}", metric.name()),
    }
}

#[test]
fn a_sequence_of_events_gives_its_numbers() {
    let sdk = Sdk::new();
    let metrics = sdk.metrics();
    let ms = Duration::from_millis;
    let (read, write) = (AccessMode::ReadOnly, AccessMode::ReadWrite);
    for event in [
        LeaseEvent::PhaseEntered { phase: Phase::Training, waited: ms(1) },
        LeaseEvent::Waits { mode: write },
        LeaseEvent::HeldOutside { text: "held" },
        LeaseEvent::HeldOutside { text: "held" },
        LeaseEvent::Opened { mode: write, waited: ms(20), attached_in: ms(2) },
        LeaseEvent::Taken { number: 0, mode: write, waited: ms(25) },
        LeaseEvent::Waits { mode: read },
        LeaseEvent::Taken { number: 1, mode: read, waited: ms(1) },
        LeaseEvent::Waits { mode: write },
        LeaseEvent::GaveUp { mode: write, waited: ms(30), timed_out: true },
        LeaseEvent::Waits { mode: write },
        LeaseEvent::GaveUp { mode: write, waited: ms(0), timed_out: false },
        LeaseEvent::Returned { number: 1, mode: read, used: ms(4) },
        LeaseEvent::Waits { mode: read },
    ] {
        metrics.observe(Path::new("/x.db"), &event);
    }
    let points = sdk.points();
    let of = "db.client.connection.pool.name=p";
    let duckdb = "db.system.name=duckdb";
    let state = "db.client.connection.state";
    let times = |number, sum_ms| Value::Times { number, sum_ms };
    let expected = [
        (
            format!("db.client.connection.count {{connection}} {{{of},{state}=idle,{duckdb}}}"),
            Value::Count(0),
        ),
        (
            format!("db.client.connection.count {{connection}} {{{of},{state}=used,{duckdb}}}"),
            Value::Count(1),
        ),
        (format!("db.client.connection.max {{connection}} {{{of},{duckdb}}}"), Value::Count(65)),
        (
            format!("db.client.connection.pending_requests {{request}} {{{of},{duckdb}}}"),
            Value::Count(1),
        ),
        (format!("db.client.connection.timeouts {{timeout}} {{{of},{duckdb}}}"), Value::Count(1)),
        (format!("db.client.connection.create_time s {{{of},{duckdb}}}"), times(1, 2)),
        (format!("db.client.connection.wait_time s {{{of},{duckdb}}}"), times(2, 26)),
        (format!("db.client.connection.use_time s {{{of},{duckdb}}}"), times(1, 4)),
        (format!("duckdb.lock.wait_time s {{{of},{duckdb},duckdb.lock.mode=write}}"), times(1, 20)),
        (format!("duckdb.lock.retries {{retry}} {{{of},{duckdb}}}"), Value::Count(2)),
        (
            format!("duckdb.phase {{phase}} {{{of},{duckdb},duckdb.phase.name=training}}"),
            Value::Count(1),
        ),
    ];
    assert_eq!(points, expected.into());

    for event in [
        LeaseEvent::Taken { number: 2, mode: read, waited: ms(1) },
        LeaseEvent::Returned { number: 2, mode: read, used: ms(1) },
        LeaseEvent::Returned { number: 0, mode: write, used: ms(50) },
        LeaseEvent::PhaseLeft { phase: Phase::Training, lasted: ms(90) },
    ] {
        metrics.observe(Path::new("/x.db"), &event);
    }
    assert_eq!(sdk.count("db.client.connection.count", "idle"), 1, "the file is kept");
    assert_eq!(sdk.count("db.client.connection.count", "used"), 0);
    assert_eq!(sdk.count("duckdb.phase", "training"), 0);
    metrics.observe(Path::new("/x.db"), &LeaseEvent::Closed { mode: write, held: ms(60) });
    assert_eq!(sdk.count("db.client.connection.count", "idle"), 0);
    assert_eq!(sdk.count("duckdb.lock.held_time", "write"), 1);
}

#[test]
fn the_counts_of_a_run_return_to_zero() {
    const THREADS: i64 = 4;
    const ROUNDS: i64 = 25;
    let (site, sdk) = (Site::new(), Sdk::new());
    let manager = Manager::builder(config()).observer(Arc::new(sdk.metrics())).build().unwrap();
    let peer = Peer::holding("write", &site.database());
    let options = AcquireOptions { wait_max: Some(A_WHILE), ..AcquireOptions::default() };
    let refused = manager.get_with(site.database(), AccessMode::ReadOnly, &options);
    assert!(matches!(refused, Err(Error::TimedOut { .. })));
    peer.release();
    let threads: Vec<_> = (0..THREADS)
        .map(|number| {
            let (manager, path) = (manager.clone(), site.database());
            Running::begin(move || {
                for _ in 0..ROUNDS {
                    if number % 2 == 0 {
                        drop(manager.read(&path).unwrap());
                    } else {
                        drop(manager.write(&path).unwrap());
                    }
                }
            })
        })
        .collect();
    threads.into_iter().for_each(Running::finish);
    let phase = manager.evaluation_phase(site.database()).unwrap();
    let lease = manager.read(site.database()).unwrap();
    assert_eq!(sdk.count("db.client.connection.count", "used"), 1);
    assert_eq!(sdk.count("db.client.connection.count", "idle"), 0);
    assert_eq!(sdk.count("duckdb.phase", "evaluation"), 1);
    drop((lease, phase));
    let drain = Drain { wait_max: LONG, ..Drain::default() };
    assert!(manager.close_all_connections(drain).is_complete());
    for (name, attributes, expected) in [
        ("db.client.connection.count", "used", 0),
        ("db.client.connection.count", "idle", 0),
        ("db.client.connection.pending_requests", "", 0),
        ("duckdb.phase", "evaluation", 0),
        ("db.client.connection.timeouts", "", 1),
        ("db.client.connection.wait_time", "", THREADS * ROUNDS + 1),
        ("db.client.connection.use_time", "", THREADS * ROUNDS + 1),
    ] {
        assert_eq!(sdk.count(name, attributes), expected, "{name} {attributes}");
    }
}

/// Counts the events that it is told.
#[derive(Default)]
struct Counting(Mutex<u32>);

impl Observer for Counting {
    fn observe(&self, _: &Path, _: &LeaseEvent<'_>) {
        *self.0.lock().unwrap() += 1;
    }
}

/// Panics at every event.
struct Faulty;

impl Observer for Faulty {
    fn observe(&self, _: &Path, _: &LeaseEvent<'_>) {
        panic!("a bug of the observer");
    }
}

#[test]
fn every_observer_is_told_whatever_another_one_does() {
    let (site, counting) = (Site::new(), Arc::new(Counting::default()));
    let builder = Manager::builder(config()).observer(Arc::new(Faulty)).observer(counting.clone());
    drop(builder.build().unwrap().read(site.database()).unwrap());
    assert!(*counting.0.lock().unwrap() >= 4, "waits, opened, taken, returned");
}
