//! What a manager does, in numbers, under the names that OpenTelemetry gives to pools of connections.
//!
//! Names, units and attributes are those of the semantic conventions 1.44 for `db.client.connection.*`, all of them in
//! development there; where these have no word for what happens, the name begins with `duckdb.`. An event of
//! [`Observer`] changes some of the counts; the only state kept here is what tells an idle file from a used one.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use opentelemetry::KeyValue;
use opentelemetry::metrics::{Counter, Histogram, Meter, UpDownCounter};
use parking_lot::Mutex;

use crate::config::{AccessMode, Config};
use crate::gate::record::Phase;
use crate::observer::{LeaseEvent, Observer};

/// In seconds. The conventions advise them for `db.client.operation.duration`, and none for pools.
const BOUNDARIES: [f64; 9] = [0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1.0, 5.0, 10.0];

/// Counts and times for OpenTelemetry: an [`Observer`] that records into the instruments of a meter. Needs the feature
/// `opentelemetry`.
///
/// Every point has the attributes `db.system.name` = `duckdb` and `db.client.connection.pool.name`, the canonical path of
/// the database unless it is [named otherwise](Self::named_by).
///
/// | instrument | unit | what it is here |
/// |---|---|---|
/// | `db.client.connection.count` | `{connection}` | `db.client.connection.state` = `used`: leases that are out; `idle`: see below |
/// | `db.client.connection.max` | `{connection}` | the most leases out at once: [`Config::readers_max`] and one writer |
/// | `db.client.connection.pending_requests` | `{request}` | calls that wait for a lease |
/// | `db.client.connection.timeouts` | `{timeout}` | waits that ran out |
/// | `db.client.connection.create_time` | `s` | attaching the file, programs without the gate included |
/// | `db.client.connection.wait_time` | `s` | from the call to the lease, if it was given |
/// | `db.client.connection.use_time` | `s` | how long a lease was out |
/// | `duckdb.lock.wait_time` | `s` | at the gate, for other processes; `duckdb.lock.mode` = `read` or `write` |
/// | `duckdb.lock.held_time` | `s` | from attaching the file to letting go of it; `duckdb.lock.mode` |
/// | `duckdb.lock.retries` | `{retry}` | attempts that found the file held by a program without the gate |
/// | `duckdb.phase` | `{phase}` | guards of the phase `duckdb.phase.name` = `training` or `evaluation` that are out |
///
/// A connection is made for each lease and is never kept: what a pool keeps idle is the file. So `idle` is 1 while this
/// process has the file attached and no lease on it is out, and 0 otherwise.
///
/// Times have the bucket boundaries 1, 5, 10, 50, 100, 500 ms, 1, 5, 10 s; a view of the SDK changes them.
///
/// # Cardinality
///
/// One value of the pool's name for each database that this process has used, and none is ever given up. For a program that
/// opens a database a day or a symbol, [name](Self::named_by) what belongs together alike; counts then add up.
///
/// # Example
///
/// ```
/// use std::sync::Arc;
/// use manager::{Config, Manager, PoolMetrics};
/// use opentelemetry::metrics::MeterProvider;
///
/// let provider = opentelemetry_sdk::metrics::SdkMeterProvider::default(); // with a reader, in a real program
/// let config = Config::default();
/// let metrics = PoolMetrics::new(&provider.meter("flockgate"), &config)
///     .named_by(|path| path.file_stem().unwrap_or_default().to_string_lossy().into_owned());
/// let manager = Manager::builder(config).observer(Arc::new(metrics)).build()?;
/// # drop(manager);
/// # Ok::<(), manager::Error>(())
/// ```
pub struct PoolMetrics {
    instruments: Instruments,
    connections_max: i64,
    name: Box<dyn Fn(&Path) -> String + Send + Sync>,
    pools: Mutex<HashMap<PathBuf, Pool>>,
}

struct Instruments {
    connections: UpDownCounter<i64>,
    connections_max: UpDownCounter<i64>,
    pending: UpDownCounter<i64>,
    timeouts: Counter<u64>,
    create_time: Histogram<f64>,
    wait_time: Histogram<f64>,
    use_time: Histogram<f64>,
    lock_wait_time: Histogram<f64>,
    lock_held_time: Histogram<f64>,
    lock_retries: Counter<u64>,
    phases: UpDownCounter<i64>,
}

/// One database.
struct Pool {
    /// Those that every point has.
    attributes: [KeyValue; 2],
    is_attached: bool,
    leases_out: u32,
}

impl PoolMetrics {
    /// Makes the instruments. `config` is that of the manager that is to be observed.
    pub fn new(meter: &Meter, config: &Config) -> Self {
        Self {
            instruments: Instruments::new(meter),
            connections_max: i64::from(config.readers_max) + 1,
            name: Box::new(|path| path.display().to_string()),
            pools: Mutex::default(),
        }
    }

    /// Names the pool of a database after its canonical path. Called once for each database. Default: the path.
    #[must_use]
    pub fn named_by(mut self, name: impl Fn(&Path) -> String + Send + Sync + 'static) -> Self {
        self.name = Box::new(name);
        self
    }

    fn new_pool(&self, database: &Path) -> Pool {
        let attributes = [
            KeyValue::new("db.system.name", "duckdb"),
            KeyValue::new("db.client.connection.pool.name", (self.name)(database)),
        ];
        self.instruments.connections_max.add(self.connections_max, &attributes);
        Pool { attributes, is_attached: false, leases_out: 0 }
    }
}

impl Observer for PoolMetrics {
    fn observe(&self, database: &Path, event: &LeaseEvent<'_>) {
        let mut pools = self.pools.lock();
        if !pools.contains_key(database) {
            pools.insert(database.into(), self.new_pool(database));
        }
        let pool = pools.get_mut(database).expect("it has just been inserted");
        self.instruments.count(pool, event);
        self.instruments.time(pool, event);
    }
}

impl Instruments {
    fn new(meter: &Meter) -> Self {
        let gauge = |name, unit| meter.i64_up_down_counter(name).with_unit(unit).build();
        let counter = |name, unit| meter.u64_counter(name).with_unit(unit).build();
        let times = |name| {
            let histogram = meter.f64_histogram(name).with_unit("s");
            histogram.with_boundaries(BOUNDARIES.into()).build()
        };
        Self {
            connections: gauge("db.client.connection.count", "{connection}"),
            connections_max: gauge("db.client.connection.max", "{connection}"),
            pending: gauge("db.client.connection.pending_requests", "{request}"),
            timeouts: counter("db.client.connection.timeouts", "{timeout}"),
            create_time: times("db.client.connection.create_time"),
            wait_time: times("db.client.connection.wait_time"),
            use_time: times("db.client.connection.use_time"),
            lock_wait_time: times("duckdb.lock.wait_time"),
            lock_held_time: times("duckdb.lock.held_time"),
            lock_retries: counter("duckdb.lock.retries", "{retry}"),
            phases: gauge("duckdb.phase", "{phase}"),
        }
    }

    fn count(&self, pool: &mut Pool, event: &LeaseEvent<'_>) {
        let was = (pool.is_idle(), pool.leases_out);
        match *event {
            LeaseEvent::Waits { .. } => self.pending.add(1, &pool.attributes),
            LeaseEvent::Taken { .. } => {
                self.pending.add(-1, &pool.attributes);
                pool.leases_out += 1;
            }
            LeaseEvent::GaveUp { timed_out, .. } => {
                self.pending.add(-1, &pool.attributes);
                self.timeouts.add(u64::from(timed_out), &pool.attributes);
            }
            LeaseEvent::Returned { .. } => pool.leases_out = pool.leases_out.saturating_sub(1),
            LeaseEvent::Opened { .. } => pool.is_attached = true,
            LeaseEvent::Closed { .. } => pool.is_attached = false,
            LeaseEvent::HeldOutside { .. } => self.lock_retries.add(1, &pool.attributes),
            LeaseEvent::PhaseEntered { phase, .. } => self.phases.add(1, &pool.in_phase(phase)),
            LeaseEvent::PhaseLeft { phase, .. } => self.phases.add(-1, &pool.in_phase(phase)),
            _ => {}
        }
        let is = (pool.is_idle(), pool.leases_out);
        if is != was {
            self.connections.add(i64::from(is.0) - i64::from(was.0), &pool.in_state("idle"));
            self.connections.add(i64::from(is.1) - i64::from(was.1), &pool.in_state("used"));
        }
    }

    fn time(&self, pool: &Pool, event: &LeaseEvent<'_>) {
        let record = |times: &Histogram<f64>, time: Duration, attributes: &[KeyValue]| {
            times.record(time.as_secs_f64(), attributes);
        };
        match *event {
            LeaseEvent::Taken { waited, .. } => record(&self.wait_time, waited, &pool.attributes),
            LeaseEvent::Returned { used, .. } => record(&self.use_time, used, &pool.attributes),
            LeaseEvent::Opened { mode, waited, attached_in } => {
                record(&self.create_time, attached_in, &pool.attributes);
                record(&self.lock_wait_time, waited, &pool.in_mode(mode));
            }
            LeaseEvent::Closed { mode, held } => {
                record(&self.lock_held_time, held, &pool.in_mode(mode));
            }
            _ => {}
        }
    }
}

impl Pool {
    fn is_idle(&self) -> bool {
        self.is_attached && self.leases_out == 0
    }

    fn in_state(&self, state: &'static str) -> [KeyValue; 3] {
        self.and("db.client.connection.state", state)
    }

    fn in_mode(&self, mode: AccessMode) -> [KeyValue; 3] {
        let mode = match mode {
            AccessMode::ReadOnly => "read",
            AccessMode::ReadWrite => "write",
        };
        self.and("duckdb.lock.mode", mode)
    }

    fn in_phase(&self, phase: Phase) -> [KeyValue; 3] {
        let phase = match phase {
            Phase::Training => "training",
            Phase::Evaluation => "evaluation",
        };
        self.and("duckdb.phase.name", phase)
    }

    fn and(&self, key: &'static str, value: &'static str) -> [KeyValue; 3] {
        let [system, name] = self.attributes.clone();
        [system, name, KeyValue::new(key, value)]
    }
}

impl std::fmt::Debug for PoolMetrics {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PoolMetrics")
            .field("connections_max", &self.connections_max)
            .finish_non_exhaustive()
    }
}
