//! The locks on bytes of the loom models answer as those of the kernel do.
//!
//! Compared are the answers, and who holds what afterwards. There is one thread, so nobody waits for anybody.

#[allow(dead_code, unreachable_pub, reason = "a part of the seam is used")]
mod seam {
    #[path = "../../src/seam/clock.rs"]
    pub(crate) mod clock;
    #[path = "../../src/seam/file_lock.rs"]
    pub(crate) mod file_lock;
    #[path = "../../src/seam/free.rs"]
    pub(crate) mod lockstep;
    #[path = "../../src/seam/patience.rs"]
    pub(crate) mod patience;
    #[path = "../../src/seam/sync.rs"]
    pub(crate) mod sync;
}

mod model {
    pub(crate) mod kernel;
}

use std::fs::File;

use model::kernel::Byte;
use proptest::prelude::*;
use seam::file_lock::{self, Share};
use seam::patience::Patience;

const OWNERS: usize = 3;

/// What an owner does at the byte.
#[derive(Clone, Copy, Debug)]
enum Call {
    Try(Share),
    /// Waits, with a deadline that has passed.
    Wait(Share),
    Unlock,
}

fn call() -> impl Strategy<Value = Call> {
    let share = || prop_oneof![Just(Share::Shared), Just(Share::Exclusive)];
    prop_oneof![share().prop_map(Call::Try), share().prop_map(Call::Wait), Just(Call::Unlock)]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_locks_of_the_models_answer_as_those_of_the_kernel_do(
        calls in prop::collection::vec((0..OWNERS, call()), 1..40),
    ) {
        let there = tempfile::NamedTempFile::new().unwrap();
        let open = |_| File::options().read(true).write(true).open(there.path()).unwrap();
        let files: Vec<File> = (0..OWNERS).map(open).collect();
        let byte = Byte::default();
        let passed = Patience::until(seam::clock::now());
        for (owner, call) in calls {
            let (file, named) = (&files[owner], owner as u64);
            match call {
                Call::Try(share) => assert_eq!(
                    byte.try_lock(named, share),
                    file_lock::try_lock(file, 7, share).unwrap(),
                ),
                Call::Wait(share) => assert_eq!(
                    byte.lock(named, share, &passed),
                    file_lock::lock(file, 7, share, &passed).unwrap(),
                ),
                Call::Unlock => {
                    byte.unlock(named);
                    file_lock::unlock(file, 7).unwrap();
                }
            }
            for (other, file) in files.iter().enumerate() {
                assert_eq!(
                    byte.held_by_other(other as u64),
                    file_lock::held_by_other(file, 7).unwrap(),
                );
            }
        }
    }
}
