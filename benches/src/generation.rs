//! A count in memory that processes share: what the floor of a look-up checks as the store checks its generation.

use std::io;
use std::path::Path;
use std::ptr;
use std::sync::atomic::{AtomicU64, Ordering};

use rustix::mm::{MapFlags, ProtFlags, mmap, munmap};

const LENGTH: usize = 4096;

/// A count in a file that is mapped and shared.
pub struct Generation {
    page: *mut AtomicU64,
}

// SAFETY: all that is reached through the pointer is an atomic.
unsafe impl Send for Generation {}
// SAFETY: as above.
unsafe impl Sync for Generation {}

impl Generation {
    /// A count of zero in a new file.
    ///
    /// # Errors
    ///
    /// If the file cannot be made or mapped.
    pub fn create(path: &Path) -> io::Result<Self> {
        let file = std::fs::File::options().read(true).write(true).create_new(true).open(path)?;
        file.set_len(LENGTH as u64)?;
        let access = ProtFlags::READ | ProtFlags::WRITE;
        // SAFETY: a mapping at an address that the kernel chooses overlaps nothing.
        let page = unsafe { mmap(ptr::null_mut(), LENGTH, access, MapFlags::SHARED, &file, 0)? };
        Ok(Self { page: page.cast() })
    }

    /// The count as of now.
    #[inline]
    pub fn now(&self) -> u64 {
        // SAFETY: the page is mapped until this is dropped, and aligned.
        unsafe { &*self.page }.load(Ordering::Acquire)
    }
}

impl Drop for Generation {
    fn drop(&mut self) {
        // SAFETY: nobody has borrowed from the page.
        let unmapped = unsafe { munmap(self.page.cast(), LENGTH) };
        debug_assert!(unmapped.is_ok());
    }
}
