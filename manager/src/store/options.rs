//! How a store is used by a process.

use std::time::Duration;

use super::eviction::Policy;

/// How a process uses a store. Different processes may use one store differently.
///
/// # Example
///
/// ```
/// use manager::StoreOptions;
///
/// let options = StoreOptions { bytes_max: Some(8 << 30), ..StoreOptions::default() };
/// assert_eq!(options.inline_bytes_max, 4096);
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct StoreOptions {
    /// What the mirror may take in memory, about, in bytes: 224 an artefact, and those that are inline. A store that
    /// needs more is asked by SQL, some thousand times slower, and says so ([`Stats::mirror`](crate::Stats::mirror)).
    /// Default: 256 MiB. 0: no mirror.
    pub mirror_bytes_max: u64,
    /// Artefacts of at most so many bytes stand in the database itself, larger ones in files of their own. Default:
    /// 4 KiB. At most 1 MiB; more counts as that.
    pub inline_bytes_max: u32,
    /// What all artefacts together may take, in bytes. A publish that goes beyond evicts what `policy` finds least
    /// worth keeping, down to a hundredth below. Default: no bound.
    pub bytes_max: Option<u64>,
    /// What goes first. Default: [`Policy::Schedule`], which is [`Policy::Lru`] in a store without a plan.
    pub policy: Policy,
    /// How long somebody who misses waits for somebody else to compute the same artefact. Default: 10 min.
    pub computation_wait_max: Duration,
}

impl Default for StoreOptions {
    fn default() -> Self {
        Self {
            mirror_bytes_max: 256 << 20,
            inline_bytes_max: 4096,
            bytes_max: None,
            policy: Policy::Schedule,
            computation_wait_max: Duration::from_mins(10),
        }
    }
}

impl StoreOptions {
    /// The bound that counts.
    pub(crate) fn inline_max(&self) -> usize {
        self.inline_bytes_max.min(1 << 20) as usize
    }
}
