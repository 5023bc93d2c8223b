//! Look-ups in a thread that the kernel kills at its first system call but read, write and exit: for the tests.
//!
//! ```console
//! $ cargo run --release -p manager --example no_system_call -- hits features.duckdb
//! survived
//! over
//! $ cargo run --release -p manager --example no_system_call -- refresh features.duckdb
//! over
//! ```
//!
//! | argument | is |
//! |---|---|
//! | 1 | `hits`: 10,000 times `get`, the bytes of what it gives, `get_many`, and 10,000 times `Reader::get`. `refresh`: another store has published before, so that the first look-up has to ask the database |
//! | 2 | the database, which is created |
//!
//! `survived` is what the thread writes if it is not killed. `refused`: this kernel, or a container's filter, allows no
//! strict mode.

use std::os::fd::AsRawFd;
use std::sync::mpsc;
use std::time::Duration;

use manager::{Config, Error, FeatureSpec, FeatureStore, Key, Lookup, Manager, Publication};

const ARTEFACTS: usize = 158;
const LOOK_UPS: usize = 10_000;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [what, path] = arguments.as_slice() else {
        return Err("say what to do: no_system_call hits|refresh DATABASE".into());
    };
    let manager = Manager::new(Config::default())?;
    let store = FeatureStore::open(&manager, path)?;
    let keys = publish(&store, "warm")?;
    look_up(&store, &keys);
    let other = if what == "refresh" { Some(FeatureStore::open(&manager, path)?) } else { None };
    let (send, thread) = mpsc::channel();
    std::thread::spawn(move || {
        let _ = send.send(rustix::thread::gettid());
        look_up(&store, &keys); // what this thread needs once, memory and thread-locals, is there after that
        if let Some(other) = other {
            publish(&other, "fresh").expect("nobody is in the way");
        }
        survive(&store, &keys);
    });
    let task = format!("/proc/self/task/{}", thread.recv()?.as_raw_nonzero());
    while std::path::Path::new(&task).exists() {
        std::thread::sleep(Duration::from_millis(1));
    }
    write(b"over\n");
    // Not by returning: the thread may have been killed with a lock that leaving would take.
    // SAFETY: nothing runs after it.
    unsafe { libc::_exit(0) }
}

fn publish(store: &FeatureStore, feature: &str) -> Result<Vec<Key>, Error> {
    let spec = |number: usize| FeatureSpec::new(feature, 1).entity(number.to_string()).range(0..9);
    let specs: Vec<_> = (0..ARTEFACTS).map(spec).collect();
    store.publish(specs.iter().map(|spec| Publication::new(spec, vec![7; 420])).collect())?;
    Ok(specs.iter().map(FeatureSpec::key).collect())
}

fn look_up(store: &FeatureStore, keys: &[Key]) {
    let check = |found: &Lookup| {
        let Lookup::Hit(artefact) = found else { panic!("it is published") };
        assert_eq!(artefact.bytes().expect("it is whole").len(), 420);
    };
    for key in keys.iter().cycle().take(LOOK_UPS) {
        check(&store.get(*key).expect("it can be read"));
    }
    store.get_many(keys).expect("it can be read").iter().for_each(check);
    let mut reader = store.reader();
    for key in keys.iter().cycle().take(LOOK_UPS) {
        let found = reader.get(*key).expect("it can be read").expect("it is published");
        assert_eq!(found.bytes().expect("it is whole").len(), 420);
    }
}

/// Looks up in strict mode, says so, and ends the thread.
fn survive(store: &FeatureStore, keys: &[Key]) -> ! {
    // SAFETY: it changes what the kernel allows this thread, which does nothing but this from now on.
    if unsafe { libc::prctl(libc::PR_SET_SECCOMP, libc::SECCOMP_MODE_STRICT) } == 0 {
        look_up(store, keys);
        write(b"survived\n");
    } else {
        write(b"refused\n");
    }
    // Of this thread alone, and not by `_exit`, which is another call that strict mode kills for.
    // SAFETY: nothing of this thread is used by anybody else, and nothing runs after it.
    unsafe { libc::syscall(libc::SYS_exit, 0) };
    unreachable!("it has ended")
}

fn write(text: &[u8]) {
    // SAFETY: the text is there while it is written.
    unsafe { libc::write(std::io::stdout().as_raw_fd(), text.as_ptr().cast(), text.len()) };
}
