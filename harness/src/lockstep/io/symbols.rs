//! The functions of the C library that the binary defines itself.
//!
//! DuckDB is linked into the binary, so the linker takes the binary's definitions for it, and for the Rust standard library
//! too. Each does the system call, unless the thread is armed and the call is about a file of its scenario; then the judge
//! is asked first.

use std::ffi::{c_char, c_int, c_void};

use libc::{c_long, mode_t, off_t, size_t, ssize_t};

use super::call::{self, Call, Kind};
use super::{Asking, Change, Verdict, raw};

/// Defines the functions, in the main.rs of a binary and nowhere else: a library that did so would take them away from every
/// program that it is linked to.
#[macro_export]
macro_rules! export_io_symbols {
    () => {
        mod io_symbols {
            use std::ffi::{c_char, c_int, c_long, c_void};
            use $crate::lockstep::io::symbols;
            $crate::export_io_symbols! { @each
                open(path: *const c_char, flags: c_int, mode: u32) -> c_int = open;
                open64(path: *const c_char, flags: c_int, mode: u32) -> c_int = open;
                close(file: c_int) -> c_int = close;
                write(file: c_int, bytes: *const c_void, length: usize) -> isize = write;
                pwrite(file: c_int, bytes: *const c_void, length: usize, offset: i64) -> isize = pwrite;
                pwrite64(file: c_int, bytes: *const c_void, length: usize, offset: i64) -> isize = pwrite;
                fsync(file: c_int) -> c_int = fsync;
                fdatasync(file: c_int) -> c_int = fdatasync;
                fcntl(file: c_int, command: c_int, argument: c_long) -> c_int = fcntl;
                fcntl64(file: c_int, command: c_int, argument: c_long) -> c_int = fcntl;
                rename(from: *const c_char, to: *const c_char) -> c_int = rename;
                unlink(path: *const c_char) -> c_int = unlink;
                remove(path: *const c_char) -> c_int = remove;
                ftruncate(file: c_int, length: i64) -> c_int = ftruncate;
                ftruncate64(file: c_int, length: i64) -> c_int = ftruncate;
            }
        }
    };
    (@each $($name:ident($($argument:ident: $type:ty),*) -> $result:ty = $inner:ident;)*) => {
        $(
            #[unsafe(no_mangle)]
            unsafe extern "C" fn $name($($argument: $type),*) -> $result {
                // SAFETY: the caller's, which is that of the C library's function of this name.
                unsafe { symbols::$inner($($argument),*) }
            }
        )*
    };
}

/// The file of the scenario that is open there.
struct Opened {
    name: String,
    /// It has been removed, so nothing written to it is left by anything.
    gone: bool,
}

impl Asking<'_> {
    fn opened(&self, file: c_int) -> Option<Opened> {
        let mut room = [0; _];
        let (name, gone) = raw::name_of(file, &mut room)?;
        Some(Opened { name: self.below(name)?, gone })
    }

    /// # Safety
    ///
    /// The path ends with a zero.
    unsafe fn named(&self, path: *const c_char) -> Option<String> {
        let mut room = [0; _];
        // SAFETY: the caller's.
        self.below(unsafe { raw::absolute(path, &mut room) }?)
    }

    /// Has a call judged that writes nothing.
    fn ask(&self, call: &Call, pass: impl FnOnce() -> c_int) -> c_int {
        match self.judge(call) {
            Verdict::Pass => pass(),
            Verdict::Fail(errno) => raw::fail(errno),
            Verdict::Torn | Verdict::Kill => raw::die(),
        }
    }

    /// Has a write judged. `pass` writes the first so many bytes.
    fn ask_to_write(
        &self,
        call: &Call,
        (file, bytes): (c_int, &[u8]),
        gone: bool,
        pass: impl Fn(usize) -> ssize_t,
    ) -> ssize_t {
        let write = |length| {
            let written = pass(length);
            let status = if 0 < written && !gone { raw::status(file) } else { None };
            if let Some(status) = status {
                let bytes = &bytes[..written as usize];
                let offset = call.offset.unwrap_or(0);
                self.changed(&Change::Written { inode: status.st_ino, offset, bytes });
            }
            written
        };
        match self.judge(call) {
            Verdict::Pass => write(bytes.len()),
            Verdict::Fail(errno) => raw::fail(errno) as ssize_t,
            Verdict::Torn => {
                write(call::torn(bytes.len()));
                raw::die()
            }
            Verdict::Kill => raw::die(),
        }
    }
}

/// open(2)
///
/// # Safety
///
/// The path ends with a zero.
pub unsafe fn open(path: *const c_char, flags: c_int, mode: mode_t) -> c_int {
    // SAFETY: the caller's.
    let pass = || unsafe { raw::open(path, flags, mode) };
    let Some(asking) = Asking::begin() else { return pass() };
    // SAFETY: the caller's.
    let Some(name) = (unsafe { asking.named(path) }) else { return pass() };
    let creates = flags & libc::O_CREAT != 0;
    // SAFETY: the caller's.
    let is_new = creates && !unsafe { raw::exists(path) };
    let kind = if creates { Kind::Create } else { Kind::Open };
    asking.ask(&Call::on(kind, name), || {
        let file = pass();
        // Not of a file that was not opened: that would replace the error.
        let status = if file < 0 { None } else { raw::status(file) };
        if let Some(status) = status {
            let inode = status.st_ino;
            if is_new {
                asking.changed(&Change::Created { inode });
            } else if flags & libc::O_TRUNC != 0 {
                asking.changed(&Change::Truncated { inode, length: 0 });
            }
        }
        file
    })
}

/// close(2)
///
/// # Safety
///
/// The file is the caller's.
pub unsafe fn close(file: c_int) -> c_int {
    let pass = || raw::close(file);
    let Some(asking) = Asking::begin() else { return pass() };
    let Some(opened) = asking.opened(file) else { return pass() };
    match asking.judge(&Call::on(Kind::Close, opened.name)) {
        Verdict::Pass => pass(),
        Verdict::Fail(errno) => {
            pass();
            raw::fail(errno)
        }
        Verdict::Torn | Verdict::Kill => raw::die(),
    }
}

/// write(2)
///
/// # Safety
///
/// There are so many bytes.
pub unsafe fn write(file: c_int, bytes: *const c_void, length: size_t) -> ssize_t {
    let bytes = bytes.cast::<u8>();
    // SAFETY: the caller's, also of fewer bytes.
    let pass = |length| unsafe { raw::write(file, bytes, length) };
    let Some(asking) = Asking::begin() else { return pass(length) };
    let Some(opened) = asking.opened(file) else { return pass(length) };
    // SAFETY: the caller's.
    let bytes = unsafe { std::slice::from_raw_parts(bytes, length) };
    let call = Call::writing(Kind::Write, opened.name, raw::position(file), length);
    asking.ask_to_write(&call, (file, bytes), opened.gone, pass)
}

/// pwrite(2)
///
/// # Safety
///
/// There are so many bytes.
pub unsafe fn pwrite(file: c_int, bytes: *const c_void, length: size_t, offset: off_t) -> ssize_t {
    let bytes = bytes.cast::<u8>();
    // SAFETY: the caller's, also of fewer bytes.
    let pass = |length| unsafe { raw::pwrite(file, bytes, length, offset) };
    let Some(asking) = Asking::begin() else { return pass(length) };
    let Some(opened) = asking.opened(file) else { return pass(length) };
    // SAFETY: the caller's.
    let bytes = unsafe { std::slice::from_raw_parts(bytes, length) };
    let offset = u64::try_from(offset).unwrap_or(0); // a negative one is refused by the kernel
    let call = Call::writing(Kind::Pwrite, opened.name, offset, length);
    asking.ask_to_write(&call, (file, bytes), opened.gone, pass)
}

/// fsync(2)
///
/// # Safety
///
/// The file is the caller's.
pub unsafe fn fsync(file: c_int) -> c_int {
    sync(file, Kind::Fsync, raw::fsync)
}

/// fdatasync(2)
///
/// # Safety
///
/// The file is the caller's.
pub unsafe fn fdatasync(file: c_int) -> c_int {
    sync(file, Kind::Fdatasync, raw::fdatasync)
}

fn sync(file: c_int, kind: Kind, sync: fn(c_int) -> c_int) -> c_int {
    let Some(asking) = Asking::begin() else { return sync(file) };
    let Some(opened) = asking.opened(file) else { return sync(file) };
    let call = Call::on(kind, opened.name);
    asking.ask(&call, || {
        let synced = sync(file);
        let status = if synced == 0 { raw::status(file) } else { None };
        if let Some(status) = status {
            asking.changed(&if status.st_mode & libc::S_IFMT == libc::S_IFDIR {
                Change::FolderSynced { folder: &call.file }
            } else {
                Change::Synced { inode: status.st_ino }
            });
        }
        synced
    })
}

/// fcntl(2)
///
/// # Safety
///
/// The argument is what the command takes.
pub unsafe fn fcntl(file: c_int, command: c_int, argument: c_long) -> c_int {
    // SAFETY: the caller's.
    let pass = || unsafe { raw::fcntl(file, command, argument) };
    let Some(asking) = Asking::begin() else { return pass() };
    // SAFETY: the caller's.
    let Some(kind) = (unsafe { lock_kind(command, argument) }) else { return pass() };
    let Some(opened) = asking.opened(file) else { return pass() };
    asking.ask(&Call::on(kind, opened.name), pass)
}

/// Which call about a lock it is, if it is one.
///
/// # Safety
///
/// The argument is what the command takes.
unsafe fn lock_kind(command: c_int, argument: c_long) -> Option<Kind> {
    let waits = match command {
        libc::F_GETLK | libc::F_OFD_GETLK => return Some(Kind::LockTest),
        libc::F_SETLK | libc::F_OFD_SETLK => false,
        libc::F_SETLKW | libc::F_OFD_SETLKW => true,
        _ => return None,
    };
    // SAFETY: the command takes a lock.
    Some(match (unsafe { raw::lock_type(argument) }?, waits) {
        (libc::F_UNLCK, _) => Kind::Unlock,
        (libc::F_RDLCK, false) => Kind::LockRead,
        (libc::F_RDLCK, true) => Kind::AwaitRead,
        (_, false) => Kind::LockWrite,
        (_, true) => Kind::AwaitWrite,
    })
}

/// rename(2)
///
/// # Safety
///
/// Both paths end with a zero.
pub unsafe fn rename(from: *const c_char, to: *const c_char) -> c_int {
    // SAFETY: the caller's.
    let pass = || unsafe { raw::rename(from, to) };
    let Some(asking) = Asking::begin() else { return pass() };
    // SAFETY: the caller's.
    let (old, new) = unsafe { (asking.named(from), asking.named(to)) };
    if old.is_none() && new.is_none() {
        return pass();
    }
    let elsewhere = || "(elsewhere)".to_owned();
    let call = Call::on(Kind::Rename, old.unwrap_or_else(elsewhere));
    asking.ask(&Call { to: Some(new.unwrap_or_else(elsewhere)), ..call }, pass)
}

/// unlink(2)
///
/// # Safety
///
/// The path ends with a zero.
pub unsafe fn unlink(path: *const c_char) -> c_int {
    // SAFETY: the caller's.
    unsafe { removal(path, Kind::Unlink, raw::unlink) }
}

/// remove(3)
///
/// # Safety
///
/// The path ends with a zero.
pub unsafe fn remove(path: *const c_char) -> c_int {
    // SAFETY: the caller's.
    unsafe { removal(path, Kind::Remove, raw::remove) }
}

/// # Safety
///
/// The path ends with a zero.
unsafe fn removal(
    path: *const c_char,
    kind: Kind,
    remove: unsafe fn(*const c_char) -> c_int,
) -> c_int {
    // SAFETY: the caller's.
    let pass = || unsafe { remove(path) };
    let Some(asking) = Asking::begin() else { return pass() };
    // SAFETY: the caller's.
    let Some(name) = (unsafe { asking.named(path) }) else { return pass() };
    asking.ask(&Call::on(kind, name), pass)
}

/// ftruncate(2)
///
/// # Safety
///
/// The file is the caller's.
pub unsafe fn ftruncate(file: c_int, length: off_t) -> c_int {
    let pass = || raw::ftruncate(file, length);
    let Some(asking) = Asking::begin() else { return pass() };
    let Some(opened) = asking.opened(file) else { return pass() };
    let length = u64::try_from(length).unwrap_or(0); // a negative one is refused by the kernel
    let call = Call { length: Some(length), ..Call::on(Kind::Truncate, opened.name) };
    asking.ask(&call, || {
        let truncated = pass();
        let status = if truncated == 0 && !opened.gone { raw::status(file) } else { None };
        if let Some(status) = status {
            asking.changed(&Change::Truncated { inode: status.st_ino, length });
        }
        truncated
    })
}
