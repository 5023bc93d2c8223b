//! The system calls themselves. Each returns what the C library's function of that name does, and sets `errno` as it does.
//!
//! One thing is left out: `fcntl(F_GETOWN)` of a process group numbered below 4,096, whose answer looks like an error. The C
//! library asks in another way; nobody here asks at all.

use std::ffi::{CStr, c_char, c_int};
use std::ptr;

use libc::{c_long, mode_t, off_t, size_t, ssize_t, syscall};

/// # Safety
///
/// That of open(2).
pub(super) unsafe fn open(path: *const c_char, flags: c_int, mode: mode_t) -> c_int {
    let creates = flags & libc::O_CREAT != 0 || flags & libc::O_TMPFILE == libc::O_TMPFILE;
    // A caller that creates nothing has given no mode, and what stands in its place means nothing.
    let mode = if creates { mode } else { 0 };
    // SAFETY: the caller's.
    unsafe { syscall(libc::SYS_openat, libc::AT_FDCWD, path, flags, mode) as c_int }
}

pub(super) fn close(file: c_int) -> c_int {
    // SAFETY: no memory is involved. Whether the descriptor is the caller's to close is the caller's question.
    unsafe { syscall(libc::SYS_close, file) as c_int }
}

/// # Safety
///
/// That of write(2).
pub(super) unsafe fn write(file: c_int, bytes: *const u8, length: size_t) -> ssize_t {
    // SAFETY: the caller's.
    unsafe { syscall(libc::SYS_write, file, bytes, length) as ssize_t }
}

/// # Safety
///
/// That of pwrite(2).
pub(super) unsafe fn pwrite(
    file: c_int,
    bytes: *const u8,
    length: size_t,
    offset: off_t,
) -> ssize_t {
    // SAFETY: the caller's.
    unsafe { syscall(libc::SYS_pwrite64, file, bytes, length, offset) as ssize_t }
}

pub(super) fn fsync(file: c_int) -> c_int {
    // SAFETY: no memory is involved.
    unsafe { syscall(libc::SYS_fsync, file) as c_int }
}

pub(super) fn fdatasync(file: c_int) -> c_int {
    // SAFETY: no memory is involved.
    unsafe { syscall(libc::SYS_fdatasync, file) as c_int }
}

/// # Safety
///
/// That of fcntl(2).
pub(super) unsafe fn fcntl(file: c_int, command: c_int, argument: c_long) -> c_int {
    // SAFETY: the caller's.
    unsafe { syscall(libc::SYS_fcntl, file, command, argument) as c_int }
}

/// # Safety
///
/// That of rename(2).
pub(super) unsafe fn rename(from: *const c_char, to: *const c_char) -> c_int {
    let (here, flags) = (libc::AT_FDCWD, 0);
    // SAFETY: the caller's.
    unsafe { syscall(libc::SYS_renameat2, here, from, here, to, flags) as c_int }
}

/// # Safety
///
/// That of unlink(2).
pub(super) unsafe fn unlink(path: *const c_char) -> c_int {
    // SAFETY: the caller's.
    unsafe { syscall(libc::SYS_unlinkat, libc::AT_FDCWD, path, 0) as c_int }
}

/// # Safety
///
/// That of remove(3).
pub(super) unsafe fn remove(path: *const c_char) -> c_int {
    // SAFETY: the caller's.
    let unlinked = unsafe { unlink(path) };
    if unlinked == 0 || errno() != libc::EISDIR {
        return unlinked;
    }
    // SAFETY: the caller's.
    unsafe { syscall(libc::SYS_unlinkat, libc::AT_FDCWD, path, libc::AT_REMOVEDIR) as c_int }
}

pub(super) fn ftruncate(file: c_int, length: off_t) -> c_int {
    // SAFETY: no memory is involved.
    unsafe { syscall(libc::SYS_ftruncate, file, length) as c_int }
}

/// Fails like a system call.
pub(super) fn fail(errno: c_int) -> c_int {
    // SAFETY: the address is that of a variable of this thread.
    unsafe { *libc::__errno_location() = errno };
    -1
}

fn errno() -> c_int {
    // SAFETY: as above.
    unsafe { *libc::__errno_location() }
}

/// Dies by SIGKILL.
pub(super) fn die() -> ! {
    loop {
        // SAFETY: no memory is involved. The signal cannot be held back, but may take a moment to arrive.
        unsafe { syscall(libc::SYS_kill, libc::getpid(), libc::SIGKILL) };
    }
}

/// Room for a path.
pub(super) type Room = [u8; libc::PATH_MAX as usize];

/// The name of an open file, and whether it has none any more.
pub(super) fn name_of(file: c_int, room: &mut Room) -> Option<(&[u8], bool)> {
    const GONE: &[u8] = b" (deleted)";
    let mut link = [0_u8; 32];
    write_link(file, &mut link);
    // SAFETY: the link ends with a zero, and the room is as long as is said.
    let length = unsafe {
        syscall(libc::SYS_readlinkat, libc::AT_FDCWD, link.as_ptr(), room.as_mut_ptr(), room.len())
    };
    let name = room.get(..usize::try_from(length).ok()?)?;
    Some(name.strip_suffix(GONE).map_or((name, false), |name| (name, true)))
}

/// Writes `/proc/self/fd/7` and a zero, without allocating.
fn write_link(file: c_int, link: &mut [u8; 32]) {
    const FOLDER: &[u8] = b"/proc/self/fd/";
    link[..FOLDER.len()].copy_from_slice(FOLDER);
    let (mut rest, mut digits) = (file.unsigned_abs(), [0_u8; 10]);
    let mut first = digits.len();
    loop {
        first -= 1;
        digits[first] = b'0' + (rest % 10) as u8;
        rest /= 10;
        if rest == 0 {
            break;
        }
    }
    let digits = &digits[first..];
    link[FOLDER.len()..FOLDER.len() + digits.len()].copy_from_slice(digits);
}

/// A path from the root, unless it is too long.
///
/// # Safety
///
/// The path ends with a zero.
pub(super) unsafe fn absolute<'a>(path: *const c_char, room: &'a mut Room) -> Option<&'a [u8]> {
    // SAFETY: the caller's.
    let path = unsafe { CStr::from_ptr::<'a>(path) }.to_bytes();
    if path.first() == Some(&b'/') {
        return Some(path);
    }
    // SAFETY: the room is as long as is said.
    let length = unsafe { syscall(libc::SYS_getcwd, room.as_mut_ptr(), room.len()) };
    let begin = usize::try_from(length).ok()?; // the zero at its end is counted
    let path = path.strip_prefix(b"./").unwrap_or(path);
    let whole = room.get_mut(..begin + path.len())?;
    *whole.get_mut(begin - 1)? = b'/';
    whole[begin..].copy_from_slice(path);
    Some(whole)
}

/// Whether something of that name is there.
///
/// # Safety
///
/// The path ends with a zero.
pub(super) unsafe fn exists(path: *const c_char) -> bool {
    // SAFETY: the caller's.
    unsafe { syscall(libc::SYS_faccessat, libc::AT_FDCWD, path, libc::F_OK) == 0 }
}

/// What an open file is.
pub(super) fn status(file: c_int) -> Option<libc::stat> {
    let mut status = std::mem::MaybeUninit::<libc::stat>::uninit();
    // SAFETY: there is room for a status, and it is written if the call succeeds.
    unsafe { (libc::fstat(file, status.as_mut_ptr()) == 0).then(|| status.assume_init()) }
}

/// Where the next `write` of an open file begins.
pub(super) fn position(file: c_int) -> u64 {
    // SAFETY: the command takes no argument.
    let flags = unsafe { fcntl(file, libc::F_GETFL, 0) };
    if flags & libc::O_APPEND != 0 {
        return status(file).map_or(0, |status| status.st_size as u64);
    }
    // SAFETY: no memory is involved.
    let at = unsafe { syscall(libc::SYS_lseek, file, 0, libc::SEEK_CUR) };
    u64::try_from(at).unwrap_or(0)
}

/// A null pointer where a lock is not given.
///
/// # Safety
///
/// The argument is that of a lock command.
pub(super) unsafe fn lock_type(argument: c_long) -> Option<c_int> {
    let lock = ptr::with_exposed_provenance::<libc::flock>(argument as usize);
    // SAFETY: the caller's; a null pointer is looked for.
    unsafe { lock.as_ref() }.map(|lock| c_int::from(lock.l_type))
}
