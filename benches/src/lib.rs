//! What the benches share: a workload that is the same in every run, a peer process, latencies with a tail.
//!
//! ```console
//! $ cargo bench                               # both, about 70 seconds once built
//! $ cargo bench --bench retry_latency         # one of them
//! $ cargo bench --bench cache_hit -- 158      # the part of it whose names contain `158`
//! ```
//!
//! | bench | what one figure is |
//! |---|---|
//! | `retry_latency` | the time to get one durable row into a file while another process does the same without pause |
//! | `cache_hit` | how many artefacts one thread finds per second in 10,000, one by one and 158 at a time |
//!
//! Each stands beside its alternatives in the same run, on the same machine and disk, and each ends with a table
//! of its own: Criterion times whole samples and so has no tail, and it sets nothing in proportion. Criterion
//! stores its figures under the target folder, the databases lie there too, and all of DuckDB runs on one thread.
//!
//! # How far to trust them
//!
//! Compare within one run only, and see that nothing else runs, or writes to the disk: `retry_latency` is
//! checkpoints and fsyncs, and with compilers beside it each of its figures has come out up to seven times as high,
//! those of `cache_hit` twice. Writers that poll are luck in any case, as one starves the other for seconds.
//!
//! No figure here passes or fails anything. Criterion's lines about a *change* since the last run are for people
//! who have changed one thing and watch the machine.

pub mod latencies;
pub mod peer;
pub mod workload;
