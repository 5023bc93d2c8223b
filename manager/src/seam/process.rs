//! Who this process is, and what `/proc` says of others.

use std::fs;

/// This process's id.
pub(crate) fn id() -> u32 {
    std::process::id()
}

/// When a process started, in clock ticks after boot (field 22 of `/proc/<pid>/stat`, proc(5)): with the
/// pid it names one process and no other, however often the pid is reused. `None` if there is none.
pub(crate) fn started(pid: u32) -> Option<u64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The command in parentheses may hold spaces and parentheses, so count from the last one.
    let after_command = stat.rsplit_once(')')?.1;
    after_command.split_whitespace().nth(19)?.parse().ok()
}

/// The command line of a process, its arguments joined by spaces and cut at 160 characters.
pub(crate) fn command(pid: u32) -> Option<String> {
    let line = fs::read(format!("/proc/{pid}/cmdline")).ok()?;
    let text = String::from_utf8_lossy(&line).replace('\0', " ");
    let text = text.trim();
    (!text.is_empty()).then(|| text.chars().take(160).collect())
}

/// The user that this process acts as: the name that `/etc/passwd` gives it, or else its number.
pub(crate) fn user() -> String {
    let id = rustix::process::geteuid().as_raw();
    let known = fs::read_to_string("/etc/passwd").unwrap_or_default();
    let name = known.lines().find_map(|line| {
        // name:password:number:…, passwd(5)
        let mut fields = line.split(':');
        let name = fields.next()?;
        (fields.nth(1)?.parse() == Ok(id)).then(|| name.chars().take(32).collect())
    });
    name.unwrap_or_else(|| id.to_string())
}
