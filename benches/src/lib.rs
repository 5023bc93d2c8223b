//! What the benches share.
//!
//! ```console
//! $ cargo bench                               # all, under five minutes once built
//! $ cargo bench --bench retry_latency         # one of them
//! $ cargo bench --bench cache_hit -- 158      # the part of it whose names contain `158`
//! $ cargo bench -- --quick                    # all, in less time and less sure
//! ```
//!
//! | bench | what its figures are |
//! |---|---|
//! | `contention` | durable one-row writes from 4 and 6 processes that all write without pause |
//! | `hand_over` | the wait for a file that another process keeps idle, and behind others who use it without pause |
//! | `lease` | a lease taken and returned inside one process, when nobody else wants the file |
//! | `retry_latency` | the time to get one durable row into a file while another process does the same without pause |
//! | `cache_hit` | what it takes to find one of 10,000 artefacts, or 158 at a time, also beside somebody who publishes |
//! | `publish` | rows published durably per second, cold keys, verifying, and the first look-up with its memory |
//!
//! Each stands beside its alternatives in the same run, on the same machine and disk, and each ends with a table
//! of its own: Criterion times whole samples and so has no tail, and it sets nothing in proportion. Criterion
//! stores its figures under the target folder, the databases lie there too, and all of DuckDB runs on one thread.
//!
//! Inside: [`policy`] is how a process gets hold of a file, [`row`] what it stores there, [`peer`] another process and
//! [`crew`] several of them at work, [`workload`] artefacts and who asks for which, [`latencies`] times with a tail,
//! [`contest`] contenders that take turns, [`generation`] a count that processes share, [`figure`] a figure beside what it should be, [`arguments`] the command line where Criterion does not read it.
//!
//! # How far to trust them
//!
//! Compare within one run only, and see that nothing else runs, or writes to the disk: `contention`, `hand_over` and
//! `retry_latency` are checkpoints and fsyncs, and with compilers beside it each figure of the last has come out up to
//! seven times as high, those of `cache_hit` twice. Writers that poll are luck in any case, as one starves the other
//! for seconds.
//!
//! No figure here passes or fails anything. Criterion's lines about a *change* since the last run are for people
//! who have changed one thing and watch the machine.

pub mod arguments;
pub mod contest;
pub mod crew;
pub mod figure;
pub mod generation;
pub mod latencies;
pub mod peer;
pub mod policy;
pub mod row;
pub mod workload;
