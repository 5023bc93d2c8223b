//! Writing back what the kernel has in memory.

use std::fs::File;
use std::os::fd::AsRawFd;

/// Asks the kernel to begin writing a file's bytes to the disk, and does not wait for it: `SYNC_FILE_RANGE_WRITE`
/// of `sync_file_range`(2). Makes nothing durable, only the `fsync` that follows shorter.
pub(crate) fn begin(file: &File) {
    // Where a file system does not know it, the `fsync` does all the work.
    // SAFETY: the descriptor is open for the life of `file`, and the call touches no memory.
    let _ = unsafe {
        libc::sync_file_range(file.as_raw_fd(), 0, 0, libc::SYNC_FILE_RANGE_WRITE) // length 0: to the end
    };
}
