//! Which scenario is expected to show a fault, or why none can.

use manager::faulty::Fault;

/// What is known of a fault.
pub(crate) enum Seen {
    /// That scenario shows it, and is explored first.
    By(&'static str),
    /// None does; that is where it is caught, or why it cannot be seen.
    Elsewhere(&'static str),
}

pub(crate) fn seen(fault: Fault) -> Seen {
    use Seen::{By, Elsewhere};
    match fault {
        Fault::NoGate | Fault::GateBeforeDetach | Fault::GateAtCommit => By("hand-over-at-calls"),
        Fault::KeeperAsleep => By("hand-over"),
        Fault::NoTurnstile => By("writer-between-readers"),
        Fault::DeadlineTooLate => By("deadline"),
        Fault::SecondWriter
        | Fault::LeaseLeaked
        | Fault::PoisonIgnored
        | Fault::RollbackForgotten
        | Fault::DescriptorLeaked => By("one-writer"),
        Fault::LastComeFirstServed | Fault::WritersOvertake | Fault::ReleaseWakesNobody => {
            By("queue")
        }
        Fault::WriteOnReadHold | Fault::ReaderWithoutSnapshot => By("reader-beside-writer"),
        Fault::LeaseLostInPanic => By("panic"),
        Fault::NestedNotRefused => By("nest"),
        Fault::LockNotHardened => By("past-the-manager"),
        Fault::AttachLeftBehind => By("left-behind"),
        Fault::FailedCommitIsSuccess => By("failing-disk"),
        Fault::PhaseIgnoredByWriters | Fault::PhaseNotHeld | Fault::EvaluationDoesNotWait => {
            By("phases")
        }
        Fault::MirrorWithoutGeneration
        | Fault::GenerationNotCounted
        | Fault::GenerationCountedEarly
        | Fault::FollowerAcknowledgedEarly => By("look-ups"),
        Fault::FlightWithoutLock => By("computes"),
        Fault::RowBeforeFile => By("files"),
        Fault::SweptWhileRead => By("sweeps"),
        Fault::HoldersNotNamed => Elsewhere("a log keeps the class of an error, not its text"),
        Fault::KeyedByPath => Elsewhere("no operation makes a hard link"),
        Fault::IdentityNotChecked | Fault::LogNotChecked => {
            Elsewhere("no operation replaces the file")
        }
        Fault::ForkIgnored => Elsewhere("actors do not fork"),
        Fault::UnknownOutcomeRepeated => {
            Elsewhere("transactions are leases here, which repeat nothing")
        }
        Fault::CreatedInPlace => Elsewhere("databases are made before the first step"),
        Fault::NegativeNeverEnds => Elsewhere("no operation publishes a negative entry"),
        Fault::ArtefactNotVerified => Elsewhere("no operation damages a file"),
        Fault::ArtefactNotSynced => {
            Elsewhere("no file is lost behind a write, in memory as it lies")
        }
        other => panic!("{other}: say which scenario shows it"),
    }
}

/// The one that is expected to show it.
pub(crate) fn scenario(fault: Fault) -> Option<&'static str> {
    match seen(fault) {
        Seen::By(scenario) => Some(scenario),
        Seen::Elsewhere(_) => None,
    }
}
