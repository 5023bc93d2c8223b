//! Every interleaving of the gate inside one process, by loom.
//!
//! What is modelled: [`gate::queue::Queue`] and [`gate::state::State`], the very files of the crate, with loom's mutex
//! and condition variable in the place of the real ones. Up to three threads do what `database.rs` does with a queue;
//! the file is a mutex that asserts I2 and I3: one hold at a time, leases only under a hold, one writer.
//!
//! What is not: kernel locks, other processes, DuckDB, the clock. loom's condition variable never times out, so a
//! wait whose deadline has passed is a call with [`PASSED`], which is refused at its first wait; it races with the
//! other threads at every point before that.
//!
//! Budget: at most PREEMPTIONS preemptions per execution, five minutes for nobody. Measured: see each model's
//! `at_least`.

mod seam {
    pub(crate) mod sync {}
}
