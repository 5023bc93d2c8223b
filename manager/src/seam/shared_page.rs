//! A page of memory that all processes at one gate share: a bell and a counter.
//!
//! The page is the first of the gate file, mapped. Ringing wakes everybody who listens, in any process, by futex(2)
//! on the mapped word; reading the counter is one load from memory, without a system call.
//!
//! Whoever cuts the file off while it is mapped kills the processes at it (SIGBUS), as with every mapped file.
//! Deleting it is harmless.

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use rustix::mm::{MapFlags, ProtFlags};
use rustix::thread::futex;

use super::{clock, lockstep};

/// Length of the page.
pub(crate) const PAGE_BYTES: usize = 4096;
/// Where the bell is: 4 bytes, counts its rings, native byte order.
pub(crate) const BELL_AT: usize = 2048;
/// Where the counter is: 8 bytes, native byte order.
pub(crate) const COUNTER_AT: usize = 2056;

/// See the module's header. Unmapped when it is dropped.
#[derive(Debug)]
pub(crate) struct SharedPage {
    page: NonNull<u8>,
    is_writable: bool,
}

// SAFETY: everything in the page that is read or written is an atomic.
unsafe impl Send for SharedPage {}
// SAFETY: as above.
unsafe impl Sync for SharedPage {}

impl SharedPage {
    /// Maps the first page of a file, which has to be there in full.
    pub(crate) fn map(file: &File, is_writable: bool) -> io::Result<Self> {
        if file.metadata()?.len() < PAGE_BYTES as u64 {
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "its first page is cut off"));
        }
        // Through an open of its own: a mapping keeps the file's open alive, in a forked child, too, and with it every
        // lock that was taken through that.
        let own = File::options()
            .read(true)
            .write(is_writable)
            .open(format!("/proc/self/fd/{}", file.as_raw_fd()));
        let file = own.as_ref().unwrap_or(file);
        let protection =
            if is_writable { ProtFlags::READ | ProtFlags::WRITE } else { ProtFlags::READ };
        // SAFETY: a new mapping at an address of the kernel's choice takes no memory away from anybody.
        let page = unsafe {
            rustix::mm::mmap(
                std::ptr::null_mut(),
                PAGE_BYTES,
                protection,
                MapFlags::SHARED,
                file,
                0,
            )
        }?;
        let page = NonNull::new(page.cast()).expect("the kernel maps nothing at address 0");
        Ok(Self { page, is_writable })
    }

    /// Wakes everybody who listens, if this process may write to the page.
    pub(crate) fn ring(&self) {
        if self.is_writable {
            // Release: whoever hears it sees the locks that were taken before, which are the kernel's anyway.
            self.bell().fetch_add(1, Ordering::Release);
            let _ = futex::wake(self.bell(), futex::Flags::empty(), i32::MAX as u32);
            lockstep::wake();
        }
    }

    /// How often the bell has been rung so far.
    pub(crate) fn rings(&self) -> u32 {
        self.bell().load(Ordering::Acquire)
    }

    /// Sleeps until the bell is rung once more than `heard` times, or for so long. May wake up early.
    pub(crate) fn listen(&self, heard: u32, limit: Duration) {
        if lockstep::wait("the bell", clock::deadline_in(limit), || self.rings() != heard) {
            return;
        }
        let limit = rustix::thread::Timespec {
            tv_sec: limit.as_secs().try_into().unwrap_or(i64::MAX),
            tv_nsec: limit.subsec_nanos().into(),
        };
        // Rung meanwhile, interrupted, or the time is over: in each case the caller looks again.
        let _ = futex::wait(self.bell(), futex::Flags::empty(), heard, Some(&limit));
    }

    /// The counter, as of now.
    #[inline]
    pub(crate) fn count(&self) -> u64 {
        self.counter().load(Ordering::Acquire)
    }

    /// Counts one more and returns the new count, or `None` if this process may not write to the page.
    pub(crate) fn count_one(&self) -> Option<u64> {
        self.is_writable.then(|| self.counter().fetch_add(1, Ordering::AcqRel) + 1)
    }

    fn bell(&self) -> &AtomicU32 {
        // SAFETY: within the page, aligned, and only ever accessed as an atomic while it is mapped.
        unsafe { self.page.add(BELL_AT).cast().as_ref() }
    }

    fn counter(&self) -> &AtomicU64 {
        // SAFETY: as above.
        unsafe { self.page.add(COUNTER_AT).cast().as_ref() }
    }
}

impl Drop for SharedPage {
    fn drop(&mut self) {
        // SAFETY: mapped by `map`, and every reference into it borrows from `self`.
        let _ = unsafe { rustix::mm::munmap(self.page.as_ptr().cast(), PAGE_BYTES) };
    }
}

const _: () =
    assert!(BELL_AT.is_multiple_of(4) && COUNTER_AT.is_multiple_of(8), "atomics are aligned");

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;
    use std::time::Instant;

    fn two_mappings() -> (SharedPage, SharedPage) {
        let file = tempfile::tempfile().unwrap();
        file.set_len(PAGE_BYTES as u64).unwrap();
        (SharedPage::map(&file, true).unwrap(), SharedPage::map(&file, true).unwrap())
    }

    #[test]
    fn a_ring_wakes_who_listens_through_another_mapping() {
        let (here, there) = two_mappings();
        let heard = there.rings();
        let listening = std::thread::spawn(move || {
            let begun = Instant::now();
            while there.rings() == heard {
                there.listen(heard, Duration::from_secs(20));
                assert!(begun.elapsed() < Duration::from_secs(10), "the ring woke nobody");
            }
        });
        std::thread::sleep(Duration::from_millis(10));
        here.ring();
        listening.join().unwrap();
    }

    #[test]
    fn who_has_not_heard_the_last_ring_does_not_sleep() {
        let (here, there) = two_mappings();
        let heard = there.rings();
        here.ring();
        let begun = Instant::now();
        there.listen(heard, Duration::from_secs(20));
        assert!(begun.elapsed() < Duration::from_secs(10), "it slept over the ring");
        assert_eq!(there.rings(), heard + 1);
    }

    #[test]
    fn every_count_of_two_threads_counts() {
        let (here, there) = two_mappings();
        let (here, there) = (Arc::new(here), Arc::new(there));
        let counting = std::thread::spawn({
            let there = Arc::clone(&there);
            move || (0..1_000).for_each(|_| assert!(there.count_one().is_some()))
        });
        (0..1_000).for_each(|_| assert!(here.count_one().is_some()));
        counting.join().unwrap();
        assert_eq!(here.count(), 2_000);
    }

    #[test]
    fn a_page_that_may_only_be_read_is_not_rung() {
        let file = tempfile::NamedTempFile::new().unwrap();
        file.as_file().set_len(PAGE_BYTES as u64).unwrap();
        let page = SharedPage::map(&File::open(file.path()).unwrap(), false).unwrap();
        page.ring();
        assert_eq!((page.rings(), page.count_one()), (0, None));
    }

    #[test]
    fn a_file_that_is_cut_off_is_refused() {
        let file = tempfile::tempfile().unwrap();
        assert!(SharedPage::map(&file, true).is_err());
    }
}
