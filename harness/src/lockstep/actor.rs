//! An actor with a process of its own, in that process: orders on standard input, replies on standard output.
//!
//! A program that puts its own drivers under the scheduler calls [`serve`] when it is started with the one argument
//! [`ARGUMENT`], and adds `harness::export_io_symbols!()` to its `main.rs` if its actors are to stop at I/O calls.

use std::collections::BTreeMap;
use std::io::{self, BufRead, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use super::baton::{Crew, Thread};
use super::driver::{Driver, DriverError, World};
use super::leaks;
use super::wire::{Make, Order, Reply};
use crate::scenario::script::Script;

/// What such a process is started with.
pub const ARGUMENT: &str = "actor";

/// A step may take as long as the scheduler has patience.
const FOREVER: Duration = Duration::from_hours(24);

/// Carries out orders until there are none to come. `driver` gives drivers by their names.
///
/// # Errors
///
/// [`io::ErrorKind::InvalidData`] for a line that is no order: it is not meant to be started by hand.
pub fn serve(driver: &dyn Fn(&str) -> Option<Box<dyn Driver>>) -> io::Result<()> {
    let mut stage = Stage { driver, script: None, cast: None };
    for line in io::stdin().lock().lines() {
        let Ok(line) = line else { break };
        let order = serde_json::from_str(&line).map_err(io::Error::from)?;
        let reply = stage.obey(order).unwrap_or_else(|error| Reply::Failed { error });
        let mut text = serde_json::to_vec(&reply)?;
        text.push(b'\n');
        let mut output = io::stdout().lock();
        if output.write_all(&text).and_then(|()| output.flush()).is_err() {
            break; // whoever gave the order has gone
        }
    }
    Ok(())
}

struct Stage<'a> {
    driver: &'a dyn Fn(&str) -> Option<Box<dyn Driver>>,
    script: Option<Script>,
    cast: Option<Cast>,
}

/// Who is on.
struct Cast {
    crew: Arc<Crew>,
    actor: String,
    open: leaks::Before,
    threads: BTreeMap<String, Thread>,
    world: Arc<dyn World>,
}

impl Stage<'_> {
    fn obey(&mut self, order: Order) -> Result<Reply, DriverError> {
        match order {
            Order::Make(make) => self.make(make),
            Order::Go { thread, go } => {
                let none = || DriverError::new("go on", format!("there is no thread {thread}"));
                let cast = self.cast.as_mut().ok_or_else(none)?;
                let one = cast.threads.get_mut(&thread).ok_or_else(none)?;
                let back = one.step(go, FOREVER).expect("a day is not over");
                let began = cast.crew.began();
                let names = began.iter().map(|thread| thread.name().to_owned()).collect();
                for thread in began {
                    cast.threads.insert(thread.name().to_owned(), thread);
                }
                Ok(Reply::Back { back, began: names })
            }
            Order::Drop => {
                let Some(cast) = self.cast.take() else { return Ok(Reply::Done) };
                let open = cast.leave().left_open().map_err(unlisted)?;
                Ok(Reply::Left { open })
            }
        }
    }

    fn make(&mut self, make: Make) -> Result<Reply, DriverError> {
        if let Some(text) = &make.text {
            let script = Script::parse(Path::new(&make.name), text.as_bytes());
            self.script = Some(script.map_err(|error| DriverError::scenario("read it", error))?);
        }
        let script = self.script.as_ref().filter(|script| script.digest == make.digest);
        let script = script.ok_or_else(|| DriverError::new("be an actor", "which scenario?"))?;
        let driver = (self.driver)(&make.driver).ok_or_else(|| {
            DriverError::Scenario(format!("this program has no driver `{}`", make.driver))
        })?;
        let folder = PathBuf::from(&make.folder);
        let open = leaks::Before::now(&folder).map_err(unlisted)?;
        let world = driver.join(script, &folder)?;
        let crew = Crew::new(script, &folder);
        let thread = Thread::start(&crew, &world, &make.actor)?;
        let threads = BTreeMap::from([(make.actor.clone(), thread)]);
        self.cast = Some(Cast { crew, actor: make.actor, open, threads, world });
        Ok(Reply::Done)
    }
}

impl Cast {
    /// The actor first, then what the manager began: that ends by itself, when the world has gone.
    fn leave(mut self) -> leaks::Before {
        self.crew.is_over();
        if let Some(actor) = self.threads.remove(&self.actor) {
            actor.stop();
        }
        self.threads.into_values().for_each(Thread::release);
        drop(self.world);
        self.open
    }
}

fn unlisted(error: io::Error) -> DriverError {
    DriverError::new("list descriptors", error)
}
