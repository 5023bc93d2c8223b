//! Locks on single bytes of a file, held by the kernel and freed by it when their holder dies.
//!
//! These are Linux's *open file description* locks (`F_OFD_SETLK`, fcntl(2)): they belong to one `open()`,
//! not to the process, so two threads exclude each other and closing another descriptor of the file
//! takes nothing away. A wait sleeps in the kernel. fcntl(2) has no wait with a deadline; [`lock`] makes
//! one from a POSIX timer that interrupts the calling thread, so an expired wait leaves nothing behind:
//! no helper thread, no place in the kernel's queue.

use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::fd::AsRawFd;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use super::patience::{Patience, Woken};
use super::{clock, lockstep};

/// Who else may hold the byte.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Share {
    /// Other shared holders.
    Shared,
    /// Nobody.
    Exclusive,
}

/// Takes the lock if nobody is in the way. Returns whether it did.
pub(crate) fn try_lock(file: &File, byte: i64, share: Share) -> io::Result<bool> {
    match control(file, libc::F_OFD_SETLK, byte, 1, kind(share)) {
        Ok(_) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(false),
        Err(error) if error.raw_os_error() == Some(libc::EACCES) => Ok(false),
        Err(error) => Err(error),
    }
}

/// Waits in the kernel until the lock is had or patience has ended. Returns whether it is had.
///
/// A lock that is free is taken even if the deadline has passed already.
pub(crate) fn lock(file: &File, byte: i64, share: Share, patience: &Patience) -> io::Result<bool> {
    if try_lock(file, byte, share)? {
        return Ok(true);
    }
    if let Some(had) = wait_as_scheduled(file, byte, share, patience) {
        return had;
    }
    let alarm = match Alarm::set(patience.deadline()) {
        // The user's limit of queued signals is used up (RLIMIT_SIGPENDING): without a timer a wait in the kernel
        // has no end, so this one is spent outside of it.
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
            return poll(file, byte, share, patience);
        }
        alarm => alarm?,
    };
    let _woken = alarm.rings_when_cancelled(patience);
    while clock::now() < patience.deadline() && !patience.is_cancelled() {
        match control(file, libc::F_OFD_SETLKW, byte, 1, kind(share)) {
            Ok(_) => return Ok(true),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(false)
}

/// Waits as the scheduler of this thread says; `None` if it has none.
fn wait_as_scheduled(
    file: &File,
    byte: i64,
    share: Share,
    patience: &Patience,
) -> Option<io::Result<bool>> {
    let _woken = lockstep::is_on().then(|| patience.on_cancel(lockstep::wake));
    let mut had = Ok(false);
    let is_over = || {
        had = try_lock(file, byte, share);
        !matches!(had, Ok(false)) || patience.is_cancelled()
    };
    lockstep::wait_for_byte(byte, patience.deadline(), is_over).then_some(had)
}

fn poll(file: &File, byte: i64, share: Share, patience: &Patience) -> io::Result<bool> {
    while clock::now() < patience.deadline() && !patience.is_cancelled() {
        if try_lock(file, byte, share)? {
            return Ok(true);
        }
        clock::sleep(Duration::from_millis(1));
    }
    Ok(false)
}

/// Gives the byte back. Giving back what is not held does nothing.
pub(crate) fn unlock(file: &File, byte: i64) -> io::Result<()> {
    control(file, libc::F_OFD_SETLK, byte, 1, libc::F_UNLCK)?;
    lockstep::wake();
    Ok(())
}

/// Gives every byte back, also if a forked child still has the descriptor open.
pub(crate) fn unlock_all(file: &File) -> io::Result<()> {
    control(file, libc::F_OFD_SETLK, 0, 0, libc::F_UNLCK)?;
    lockstep::wake();
    Ok(())
}

/// How somebody else holds the byte, if somebody does.
pub(crate) fn held_by_other(file: &File, byte: i64) -> io::Result<Option<Share>> {
    let found = control(file, libc::F_OFD_GETLK, byte, 1, libc::F_WRLCK)?;
    Ok(match i32::from(found.l_type) {
        libc::F_UNLCK => None,
        libc::F_RDLCK => Some(Share::Shared),
        _ => Some(Share::Exclusive),
    })
}

/// A byte of this range that somebody else holds, if there is one. It is the first that its holder has there; others may
/// hold earlier ones.
pub(crate) fn held_by_other_in(file: &File, range: Range<i64>) -> io::Result<Option<i64>> {
    if range.is_empty() {
        return Ok(None); // a length of 0 would reach to the end
    }
    let length = range.end - range.start;
    let found = control(file, libc::F_OFD_GETLK, range.start, length, libc::F_WRLCK)?;
    let is_held = i32::from(found.l_type) != libc::F_UNLCK;
    Ok(is_held.then(|| found.l_start.max(range.start)))
}

fn kind(share: Share) -> i32 {
    match share {
        Share::Shared => libc::F_RDLCK,
        Share::Exclusive => libc::F_WRLCK,
    }
}

/// One call of fcntl(2) on `length` bytes from `byte`; length 0 reaches to the end of all files.
fn control(
    file: &File,
    command: i32,
    byte: i64,
    length: i64,
    kind: i32,
) -> io::Result<libc::flock> {
    let mut request = libc::flock {
        l_type: kind as i16,
        l_whence: libc::SEEK_SET as i16,
        l_start: byte,
        l_len: length,
        l_pid: 0, // fcntl(2) demands 0 for the OFD commands
    };
    // SAFETY: the descriptor is open for the life of `file`, and `request` is a valid `flock` that
    // outlives the call, which writes to nothing else.
    let result = unsafe { libc::fcntl(file.as_raw_fd(), command, &raw mut request) };
    if result == -1 { Err(io::Error::last_os_error()) } else { Ok(request) }
}

/// Interrupts the thread that set it at the deadline, and every 5 ms after that until dropped: a signal
/// that arrives just before the thread goes to sleep in the kernel would otherwise be lost.
struct Alarm {
    timer: libc::timer_t,
    mask_before: libc::sigset_t,
}

impl Alarm {
    fn set(deadline: Instant) -> io::Result<Self> {
        let signal = alarm_signal()?;
        // SAFETY: `sigset_t`, `sigevent` and `itimerspec` are plain C structures for which all-zero bytes
        // are valid; each pointer below is to a live local of the right type; the thread id is our own.
        unsafe {
            let mut event: libc::sigevent = std::mem::zeroed();
            event.sigev_notify = libc::SIGEV_THREAD_ID;
            event.sigev_signo = signal;
            event.sigev_notify_thread_id = rustix::thread::gettid().as_raw_nonzero().get();
            let mut timer: libc::timer_t = std::mem::zeroed();
            if libc::timer_create(libc::CLOCK_MONOTONIC, &raw mut event, &raw mut timer) == -1 {
                return Err(io::Error::last_os_error());
            }
            let mut unblocked: libc::sigset_t = std::mem::zeroed();
            let mut mask_before: libc::sigset_t = std::mem::zeroed();
            libc::sigemptyset(&raw mut unblocked);
            libc::sigaddset(&raw mut unblocked, signal);
            libc::pthread_sigmask(libc::SIG_UNBLOCK, &raw const unblocked, &raw mut mask_before);
            let alarm = Self { timer, mask_before };
            ring_in(timer, deadline.saturating_duration_since(clock::now()))?;
            Ok(alarm)
        }
    }

    /// Rings at once when the wait is cancelled. What this returns has to go before the alarm does.
    fn rings_when_cancelled(&self, patience: &Patience) -> Option<Woken> {
        let timer = self.timer as usize; // a pointer is not `Send`; this one is only a name
        patience.on_cancel(move || {
            // A timer that exists can be set, and a deadline that rings in its place ends the wait as well.
            let _ = ring_in(timer as libc::timer_t, Duration::ZERO);
        })
    }
}

/// Sets the timer to ring after so long, and every 5 ms from then on.
fn ring_in(timer: libc::timer_t, pause: Duration) -> io::Result<()> {
    // SAFETY: all-zero bytes are a valid `itimerspec`, which outlives the call; the timer exists, as the alarm it
    // belongs to does: `set` has it at hand, and a waker is gone before its alarm.
    unsafe {
        let mut schedule: libc::itimerspec = std::mem::zeroed();
        schedule.it_value = timespec(pause.max(Duration::from_nanos(1))); // zero would disarm it
        schedule.it_interval = timespec(Duration::from_millis(5));
        match libc::timer_settime(timer, 0, &raw const schedule, std::ptr::null_mut()) {
            -1 => Err(io::Error::last_os_error()),
            _ => Ok(()),
        }
    }
}

impl Drop for Alarm {
    fn drop(&mut self) {
        // SAFETY: the timer was made by `set` and is deleted once; the mask is the one `set` saved on this
        // thread (an `Alarm` never leaves the function that set it).
        unsafe {
            libc::timer_delete(self.timer);
            libc::pthread_sigmask(
                libc::SIG_SETMASK,
                &raw const self.mask_before,
                std::ptr::null_mut(),
            );
        }
    }
}

fn timespec(duration: Duration) -> libc::timespec {
    libc::timespec {
        tv_sec: i64::try_from(duration.as_secs()).unwrap_or(i64::MAX),
        tv_nsec: i64::from(duration.subsec_nanos()),
    }
}

/// The signal of all alarms: the first real-time signal, counted down from `SIGRTMAX - 2`, that nobody
/// else in the process handles. It gets a handler that does nothing, without `SA_RESTART`, so that it
/// ends a blocking fcntl(2) with `EINTR` and touches nothing else.
fn alarm_signal() -> io::Result<i32> {
    static SIGNAL: OnceLock<Option<i32>> = OnceLock::new();
    SIGNAL
        .get_or_init(|| {
            (libc::SIGRTMIN()..=libc::SIGRTMAX() - 2).rev().find(|&signal| claim(signal))
        })
        .ok_or_else(|| {
            io::Error::other("every real-time signal has a handler, none is left to end a wait")
        })
}

fn claim(signal: i32) -> bool {
    extern "C" fn nothing(_: i32) {}
    // SAFETY: all-zero bytes are a valid `sigaction`; both pointers are to live locals; the handler is
    // async-signal-safe because it does nothing.
    unsafe {
        let mut current: libc::sigaction = std::mem::zeroed();
        if libc::sigaction(signal, std::ptr::null(), &raw mut current) == -1
            || current.sa_sigaction != libc::SIG_DFL
        {
            return false;
        }
        let mut action: libc::sigaction = std::mem::zeroed();
        action.sa_sigaction = nothing as extern "C" fn(i32) as libc::sighandler_t;
        libc::sigemptyset(&raw mut action.sa_mask);
        libc::sigaction(signal, &raw const action, std::ptr::null_mut()) == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc;
    use std::thread;

    fn two_handles() -> (File, File) {
        let file = tempfile::NamedTempFile::new().unwrap();
        let open = || File::options().read(true).write(true).open(file.path()).unwrap();
        (open(), open())
    }

    fn within(wait: Duration) -> Patience {
        Patience::until(clock::deadline_in(wait))
    }

    #[test]
    fn a_wait_that_is_cancelled_ends_long_before_its_deadline() {
        let (holder, waiter) = two_handles();
        assert!(try_lock(&holder, 7, Share::Exclusive).unwrap());
        let cancel = super::super::patience::Cancel::default();
        let patience =
            Patience::with(clock::deadline_in(Duration::from_secs(20)), Some(cancel.clone()));
        let begin = clock::now();
        let waiting = thread::spawn(move || lock(&waiter, 7, Share::Exclusive, &patience).unwrap());
        thread::sleep(Duration::from_millis(20)); // whether it sleeps in the kernel by now or not
        cancel.cancel();
        assert!(!waiting.join().unwrap());
        assert!(begin.elapsed() < Duration::from_secs(10));
        unlock(&holder, 7).unwrap();
        assert_eq!(held_by_other(&holder, 7).unwrap(), None);
    }

    #[test]
    fn an_expired_wait_gives_up_in_time_and_leaves_no_place_in_the_queue() {
        let (holder, waiter) = two_handles();
        assert!(try_lock(&holder, 7, Share::Exclusive).unwrap());
        let begin = clock::now();
        let wait = Duration::from_millis(40);
        assert!(!lock(&waiter, 7, Share::Exclusive, &Patience::until(begin + wait)).unwrap());
        assert!(begin.elapsed() >= wait);
        unlock(&holder, 7).unwrap();
        // Had the wait left a request in the kernel, it would now hold the byte.
        assert_eq!(held_by_other(&holder, 7).unwrap(), None);
    }

    #[test]
    fn a_wait_ends_when_the_holder_lets_go() {
        let (holder, waiter) = two_handles();
        assert!(try_lock(&holder, 7, Share::Exclusive).unwrap());
        let (begun, has_begun) = mpsc::channel();
        let waiting = thread::spawn(move || {
            begun.send(()).unwrap();
            lock(&waiter, 7, Share::Shared, &within(Duration::from_mins(1))).unwrap()
        });
        has_begun.recv().unwrap();
        unlock(&holder, 7).unwrap();
        assert!(waiting.join().unwrap());
    }

    #[test]
    fn shared_holders_keep_only_an_exclusive_one_out() {
        let (one, two) = two_handles();
        assert!(try_lock(&one, 7, Share::Shared).unwrap());
        assert!(try_lock(&two, 7, Share::Shared).unwrap());
        assert!(!try_lock(&two, 7, Share::Exclusive).unwrap());
        assert!(try_lock(&two, 8, Share::Exclusive).unwrap(), "another byte is another lock");
    }

    #[test]
    fn a_range_is_held_if_a_byte_of_it_is() {
        let (holder, other) = two_handles();
        let far = i64::MAX - 1; // the last one that can be locked is the one after it
        for byte in [7, far] {
            assert!(try_lock(&holder, byte, Share::Shared).unwrap());
            assert_eq!(held_by_other_in(&other, byte - 3..byte + 1).unwrap(), Some(byte));
            assert_eq!(held_by_other_in(&other, byte - 3..byte).unwrap(), None);
            assert_eq!(held_by_other_in(&other, byte..byte).unwrap(), None);
            assert_eq!(held_by_other_in(&holder, 0..i64::MAX).unwrap(), None, "own locks");
        }
    }

    #[test]
    fn a_thread_that_blocks_all_signals_still_gives_up_in_time() {
        let (holder, waiter) = two_handles();
        assert!(try_lock(&holder, 7, Share::Exclusive).unwrap());
        let gave_up = thread::spawn(move || {
            // SAFETY: blocks signals on this thread only, which ends below.
            unsafe {
                let mut all: libc::sigset_t = std::mem::zeroed();
                libc::sigfillset(&raw mut all);
                libc::pthread_sigmask(libc::SIG_BLOCK, &raw const all, std::ptr::null_mut());
            }
            !lock(&waiter, 7, Share::Exclusive, &within(Duration::from_millis(30))).unwrap()
        });
        assert!(gave_up.join().unwrap());
    }
}
