//! Bugs on purpose: for tests of test harnesses, behind the feature `faulty`.
//!
//! Each [`Fault`] is a mistake that a maker of a manager like this one could make. One at a time is
//! [planted](plant), and from then on this process has it. A harness that is worth its name catches each of them by
//! what can be seen from outside: leases, transactions, phases, the store, the files. Where it is planted the code asks
//! `faulty!(Fault::…)`, which is `false` in every build without the feature.
//!
//! [`Fault::breaks`] names the invariant (`DESIGN.md`) and [`Fault::shows`] how it can be seen.

use std::fmt;
use std::str::FromStr;
use std::sync::atomic::{AtomicUsize, Ordering};

/// The environment variable that plants a fault, by its [name](Fault::name), in a process that has not called [`plant`].
pub const VARIABLE: &str = "FLOCKGATE_FAULTY";

macro_rules! faults {
    ($($fault:ident $name:literal $sentence:literal breaks $breaks:literal shows $shows:literal;)*) => {
        /// A planted bug. See the module's header.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[non_exhaustive]
        pub enum Fault {
            $(#[doc = concat!($sentence, " Breaks ", $breaks, ". Shows: ", $shows)] $fault,)*
        }

        impl Fault {
            /// All of them.
            pub const ALL: &[Self] = &[$(Self::$fault,)*];

            /// Its name, in small letters with hyphens.
            pub fn name(self) -> &'static str {
                match self { $(Self::$fault => $name,)* }
            }

            /// What is wrong.
            pub fn sentence(self) -> &'static str {
                match self { $(Self::$fault => $sentence,)* }
            }

            /// The invariant that it breaks: `I1` to `I11`, or `phases`.
            pub fn breaks(self) -> &'static str {
                match self { $(Self::$fault => $breaks,)* }
            }

            /// How it can be seen from outside.
            pub fn shows(self) -> &'static str {
                match self { $(Self::$fault => $shows,)* }
            }
        }
    };
}

faults! {
    // The gate, across processes.
    NoGate "no-gate"
        "The byte of the file is never taken: the gate keeps nobody out." breaks "I3"
        shows "Two processes: the second meets DuckDB's lock, and gets HeldOutside instead of a turn.";
    NoTurnstile "no-turnstile"
        "Nobody stops at the turnstile: whoever comes later gets the file before who waits." breaks "I10"
        shows "Three processes: readers that overlap keep a writer waiting until its deadline.";
    GateBeforeDetach "gate-before-detach"
        "The gate is given back before the file is detached." breaks "I2"
        shows "Two processes: the next one finds the file locked by an outsider, between the two steps.";
    GateAtCommit "gate-at-commit"
        "The gate is given back as soon as a commit is counted, with the lease still out." breaks "I3"
        shows "Two processes: the second passes the gate while the first has a write lease, and meets DuckDB's lock.";
    KeeperAsleep "keeper-asleep"
        "The keeper never looks: a file that is kept idle is not given up." breaks "I10"
        shows "Two processes: the second waits until its deadline for a file that nobody uses.";
    HoldersNotNamed "holders-not-named"
        "The error of a wait at the gate names nobody." breaks "I10"
        shows "Two processes: TimedOut without holders, though one has the file.";
    DeadlineTooLate "deadline-too-late"
        "A wait lasts twice as long as it may." breaks "I10"
        shows "Threads or processes: TimedOut after twice wait_max of virtual time.";

    // The queue, in a process.
    SecondWriter "second-writer"
        "A second write lease is granted beside the first." breaks "I3"
        shows "Threads: two have a write lease at the same time; their transactions conflict.";
    WriteOnReadHold "write-on-read-hold"
        "A write lease is granted on a file that is held to read." breaks "I3"
        shows "Threads: a write lease beside readers, on which every write fails as read-only.";
    LastComeFirstServed "last-come-first-served"
        "The queue is a stack." breaks "I10"
        shows "Threads: of two that wait for a writer the later one gets its lease first.";
    WritersOvertake "writers-overtake"
        "A writer that finds the lease free takes it, whoever queues." breaks "I10"
        shows "Threads: a writer that comes later goes first, and a stream of them starves who waits.";
    ReleaseWakesNobody "release-wakes-nobody"
        "A lease that comes back wakes nobody." breaks "I10"
        shows "Threads: who waits gets its lease only at its deadline.";
    LeaseLeaked "lease-leaked"
        "A write lease that was dereferenced does not come back." breaks "I11"
        shows "Threads: the next writer waits until its deadline for a lease that was dropped.";
    LeaseLostInPanic "lease-lost-in-panic"
        "A lease that is dropped by a panic does not come back." breaks "I11"
        shows "Threads: after a closure that panicked the next writer waits until its deadline.";
    NestedNotRefused "nested-not-refused"
        "A thread that asks for a second lease waits for itself." breaks "I10"
        shows "One thread: TimedOut instead of Nested.";

    // One instance, its locks and its leases.
    KeyedByPath "keyed-by-path"
        "The registry knows a file by its path instead of by its device and inode." breaks "I1"
        shows "One process: a hard link is not refused with AlreadyManaged; it passes a gate of its own.";
    IdentityNotChecked "identity-not-checked"
        "Nobody looks whether the file is still the same after a wait." breaks "I1"
        shows "One process: a file that was replaced meanwhile is attached under the old one's name.";
    LockNotHardened "lock-not-hardened"
        "DuckDB's lock stays a POSIX one." breaks "I4"
        shows "One process and plain DuckDB: after any open and close of the file here, others can write it.";
    DescriptorLeaked "descriptor-leaked"
        "Each gate that is closed leaves a descriptor open." breaks "I11"
        shows "One process: /proc/self/fd grows with every change of hands.";
    ReaderWithoutSnapshot "reader-without-snapshot"
        "A read lease beside this process's writer is no transaction." breaks "I5"
        shows "Threads: two reads of one lease differ when the writer commits in between; and the lease can write.";
    AttachLeftBehind "attach-left-behind"
        "What a lease has attached stays for the next one." breaks "I5"
        shows "Threads: the next lease finds another database in duckdb_databases().";
    ForkIgnored "fork-ignored"
        "Managers do not notice that they are in a forked child." breaks "I11"
        shows "A forked child: its parent's manager goes on instead of failing with Forked.";
    LogNotChecked "log-not-checked"
        "Nobody looks whose log lies beside the file before folding it." breaks "I7"
        shows "One process: a file and log put in the place of a held one lose that log when the hold ends.";

    // Transactions.
    PoisonIgnored "poison-ignored"
        "A transaction with a statement that failed is committed all the same, and DuckDB says yes." breaks "I6"
        shows "Threads: Ok for a transaction of which nothing is stored.";
    FailedCommitIsSuccess "failed-commit-is-success"
        "A commit that failed is acknowledged." breaks "I6"
        shows "Threads or an I/O error at the commit: Ok, and nothing is stored.";
    RollbackForgotten "rollback-forgotten"
        "A transaction whose closure failed is committed." breaks "I6"
        shows "Threads: rows of a transaction that returned an error.";
    UnknownOutcomeRepeated "unknown-outcome-repeated"
        "A transaction of which nobody knows whether it is stored is run again." breaks "I7"
        shows "An I/O error at the commit: acknowledged once, stored twice or against the closure's word.";

    // Phases.
    PhaseIgnoredByWriters "phase-ignored-by-writers"
        "Writers do not ask whether an evaluation is on." breaks "phases"
        shows "Two processes or threads: a write lease in the middle of an evaluation.";
    PhaseNotHeld "phase-not-held"
        "A phase ends as soon as it is entered." breaks "phases"
        shows "Two processes: one in training and one in evaluation at the same time.";
    EvaluationDoesNotWait "evaluation-does-not-wait"
        "An evaluation does not wait until nobody trains." breaks "phases"
        shows "Two processes: an evaluation begins while a training phase or a write hold lasts.";

    // Creation.
    CreatedInPlace "created-in-place"
        "A database is made under its own name." breaks "I7"
        shows "A kill or an error inside the closure of `create`: a database that is there by half.";

    // The store.
    MirrorWithoutGeneration "mirror-without-generation"
        "The mirror does not compare its generation." breaks "I9"
        shows "Two processes: a look-up misses what another process was told is stored.";
    GenerationNotCounted "generation-not-counted"
        "Commits are not counted." breaks "I9"
        shows "Two processes: as above; and `generation` stands still.";
    GenerationCountedEarly "generation-counted-early"
        "Commits are counted before they are made." breaks "I9"
        shows "Two threads or processes: a mirror that is read between the two stays stale after the commit.";
    FollowerAcknowledgedEarly "follower-acknowledged-early"
        "Whoever publishes behind another thread is told so before the commit." breaks "I7"
        shows "Threads of a store: a publication that was acknowledged is missed, and lost by a kill.";
    FlightWithoutLock "flight-without-lock"
        "No process tells the others what it computes." breaks "I8"
        shows "Two processes: a missing artefact is computed twice.";
    NegativeNeverEnds "negative-never-ends"
        "A negative entry stands for ever." breaks "I9"
        shows "One thread, after its time: Absent instead of a miss.";
    ArtefactNotVerified "artefact-not-verified"
        "The bytes of a file are handed out without their checksum." breaks "I8"
        shows "A flipped bit in `objects/`: a hit with wrong bytes.";
    RowBeforeFile "row-before-file"
        "The row of an artefact is committed before its file is written." breaks "I8"
        shows "A kill or another process in between: a hit whose file is missing.";
    ArtefactNotSynced "artefact-not-synced"
        "The file of an artefact is not synced before it gets its name." breaks "I8"
        shows "Loss of un-fsynced data: a row whose file is torn or empty.";
    SweptWhileRead "swept-while-read"
        "Pins are not looked at by who sweeps." breaks "I8"
        shows "Threads or processes: the file of an evicted artefact goes while somebody reads it.";
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A name that no fault has.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no fault is called `{name}`; there are {}", names())]
pub struct UnknownFault {
    name: String,
}

fn names() -> String {
    let names: Vec<_> = Fault::ALL.iter().map(|fault| fault.name()).collect();
    names.join(", ")
}

impl FromStr for Fault {
    type Err = UnknownFault;

    fn from_str(name: &str) -> Result<Self, UnknownFault> {
        let found = Self::ALL.iter().copied().find(|fault| fault.name() == name);
        found.ok_or_else(|| UnknownFault { name: name.into() })
    }
}

/// Nobody has said anything yet; nothing is planted; or the number of a fault and 2.
static PLANTED: AtomicUsize = AtomicUsize::new(0);
const NOTHING: usize = 1;

/// Plants a bug in this process, in the place of the one before, or takes it out. Between tests, while no lease is out.
pub fn plant(fault: Option<Fault>) {
    PLANTED.store(fault.map_or(NOTHING, number), Ordering::SeqCst);
}

/// What is planted in this process.
///
/// # Panics
///
/// If [`VARIABLE`] has the name of no fault: a test that plants nothing would pass.
pub fn planted() -> Option<Fault> {
    Fault::ALL.iter().copied().find(|fault| is_planted(*fault))
}

fn number(fault: Fault) -> usize {
    fault as usize + 2
}

pub(crate) fn is_planted(fault: Fault) -> bool {
    let planted = match PLANTED.load(Ordering::Relaxed) {
        0 => from_environment(),
        known => known,
    };
    planted == number(fault)
}

#[cold]
fn from_environment() -> usize {
    let fault = std::env::var(VARIABLE).ok().filter(|name| !name.is_empty());
    let fault =
        fault.map(|name| name.parse().unwrap_or_else(|unknown| panic!("{VARIABLE}: {unknown}")));
    plant(fault);
    PLANTED.load(Ordering::SeqCst)
}

/// Whether that bug is planted.
macro_rules! faulty {
    (Fault::$fault:ident) => {
        $crate::faulty::is_planted($crate::faulty::Fault::$fault)
    };
}
