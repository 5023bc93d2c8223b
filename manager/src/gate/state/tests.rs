//! The state machine against a model of it that is too simple to be wrong, in random orders.
//!
//! The model is a list of actors, each with what it is doing, in the order in which they came. Whose turn it is, is
//! read off that list anew each time. Actors do only what `queue.rs` lets a thread do; which of them moves next is
//! proptest's choice. At the end everything is returned and everybody polls until nobody moves: then everybody has
//! been served, nothing is attached, and nobody waits.

use proptest::prelude::*;
use proptest::sample::Index;

use super::*;
use AccessMode::{ReadOnly, ReadWrite};

/// What an actor is doing. Actors are never removed: their order is the order of arrival.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Doing {
    Waits(Ticket, AccessMode),
    Changes(Ticket, AccessMode),
    Holds(AccessMode),
    /// Lets go of the file after the last lease.
    LetsGo,
    Drains(Drained),
    /// Lets go of the file for its drain.
    LetsGoFor(Drained),
    Done,
}

/// What an actor may do next; which of several, is drawn.
#[derive(Clone, Debug)]
enum Op {
    Arrive(AccessMode),
    Drain(Drained),
    Yield,
    /// The keeper finds that nobody has used the hold for long.
    Rest,
    /// Somebody takes a lease only if it is there for the taking.
    Try(AccessMode),
    Move {
        who: Index,
        fails: bool,
        gives_up: bool,
    },
}

#[derive(Debug)]
struct World {
    limits: Limits,
    state: State,
    actors: Vec<Doing>,
    hold: Option<AccessMode>,
    yielding: bool,
    served: Vec<Ticket>,
}

impl World {
    fn new(limits: Limits) -> Self {
        Self {
            limits,
            state: State::new(limits),
            actors: Vec::new(),
            hold: None,
            yielding: false,
            served: Vec::new(),
        }
    }

    fn apply(&mut self, op: &Op) {
        match *op {
            Op::Arrive(mode) => {
                let ticket = self.state.enqueue(mode);
                self.actors.push(Doing::Waits(ticket, mode));
            }
            Op::Drain(drained) => {
                self.state.begin_drain(drained);
                self.actors.push(Doing::Drains(drained));
            }
            Op::Yield => {
                self.yielding = self.hold.is_some();
                self.actors.push(Doing::Done);
                let afterwards = self.state.yield_hold();
                let last = self.actors.len() - 1;
                self.actors[last] = self.conclude(last, afterwards);
            }
            Op::Rest => {
                let idle = self.hold.is_some() && !self.somebody_is_at_it();
                self.yielding |= idle;
                self.actors.push(Doing::Done);
                let afterwards = self.state.let_go_if_idle();
                assert_eq!(afterwards == Afterwards::Detach, idle, "{self:#?}");
                let last = self.actors.len() - 1;
                self.actors[last] = self.conclude(last, afterwards);
            }
            Op::Try(mode) => {
                self.actors.push(Doing::Done);
                let last = self.actors.len() - 1;
                let expected = self.expected(last, mode) == Turn::Granted;
                assert_eq!(self.state.try_now(mode), expected, "{self:#?}");
                if expected {
                    self.actors[last] = Doing::Holds(mode);
                }
            }
            Op::Move { who, fails, gives_up } => {
                let able: Vec<usize> = (0..self.actors.len())
                    .filter(|&actor| self.actors[actor] != Doing::Done)
                    .collect();
                if !able.is_empty() {
                    self.step(able[who.index(able.len())], fails, gives_up);
                }
            }
        }
    }

    /// One actor goes on. Returns whether anything changed.
    fn step(&mut self, actor: usize, fails: bool, gives_up: bool) -> bool {
        let before = self.actors[actor];
        self.actors[actor] = match before {
            Doing::Waits(ticket, mode) => self.poll(actor, ticket, mode, gives_up),
            Doing::Changes(ticket, mode) => self.finish_change(ticket, mode, fails),
            Doing::Holds(mode) => {
                let afterwards = self.state.release(mode);
                self.conclude(actor, afterwards)
            }
            Doing::LetsGo => {
                self.state.detached();
                Doing::Done
            }
            Doing::Drains(drained) => self.poll_drain(actor, drained, gives_up),
            Doing::LetsGoFor(drained) => {
                self.state.detached();
                Doing::Drains(drained)
            }
            Doing::Done => Doing::Done,
        };
        self.actors[actor] != before
    }

    fn poll(&mut self, actor: usize, ticket: Ticket, mode: AccessMode, gives_up: bool) -> Doing {
        let expected = self.expected(actor, mode);
        let turn = self.state.poll(ticket);
        assert_eq!(turn, expected, "{self:#?}");
        match turn {
            Turn::Granted => self.serve(ticket, mode),
            Turn::Change { .. } => {
                self.hold = None;
                self.yielding = false;
                Doing::Changes(ticket, mode)
            }
            Turn::Wait if gives_up => {
                let afterwards = self.state.cancel(ticket);
                self.conclude(actor, afterwards)
            }
            Turn::Wait => Doing::Waits(ticket, mode),
        }
    }

    /// The rules, one sentence each, on the list of actors.
    fn expected(&self, actor: usize, mode: AccessMode) -> Turn {
        let somebody = |is: fn(&Doing) -> bool| self.actors.iter().any(is);
        let all = somebody(|doing| {
            matches!(doing, Doing::Drains(Drained::All) | Doing::LetsGoFor(Drained::All))
        });
        let writes = somebody(|doing| {
            matches!(doing, Doing::Drains(Drained::Writes) | Doing::LetsGoFor(Drained::Writes))
        });
        let changing = somebody(|doing| {
            matches!(doing, Doing::Changes(..) | Doing::LetsGo | Doing::LetsGoFor(_))
        });
        let leases = somebody(|doing| matches!(doing, Doing::Holds(_)));
        let a_writer_is_out = somebody(|doing| matches!(doing, Doing::Holds(ReadWrite)));
        let is_full = match mode {
            ReadWrite => a_writer_is_out,
            ReadOnly => self.readers() >= self.limits.readers_max as usize,
        };
        let ahead = self.actors[..actor].iter().any(|doing| matches!(doing, Doing::Waits(..)));
        let serves = match (self.hold, mode) {
            (None, _) | (Some(ReadOnly), ReadWrite) => false,
            (Some(ReadOnly), ReadOnly) => !self.yielding,
            (Some(ReadWrite), _) => !self.yielding && !writes,
        };
        let held_back = all || (writes && mode == ReadWrite);
        if ahead || changing || held_back || (serves && is_full) {
            Turn::Wait
        } else if serves {
            Turn::Granted
        } else if leases {
            Turn::Wait
        } else {
            Turn::Change { from: self.hold, to: mode }
        }
    }

    fn readers(&self) -> usize {
        self.actors.iter().filter(|doing| **doing == Doing::Holds(ReadOnly)).count()
    }

    /// Whether anybody has a lease or will change the hold.
    fn somebody_is_at_it(&self) -> bool {
        self.actors.iter().any(|doing| {
            matches!(
                doing,
                Doing::Waits(..) | Doing::Holds(_) | Doing::Drains(_) | Doing::LetsGoFor(_)
            )
        })
    }

    fn finish_change(&mut self, ticket: Ticket, mode: AccessMode, fails: bool) -> Doing {
        if fails {
            self.state.change_failed(ticket);
            return Doing::Done;
        }
        self.state.changed(ticket);
        self.hold = Some(mode);
        self.serve(ticket, mode)
    }

    fn serve(&mut self, ticket: Ticket, mode: AccessMode) -> Doing {
        if let Some(last) = self.served.last() {
            assert!(*last < ticket, "in order of arrival: {self:#?}");
        }
        self.served.push(ticket);
        Doing::Holds(mode)
    }

    fn poll_drain(&mut self, actor: usize, drained: Drained, gives_up: bool) -> Doing {
        let changing = |doing: &Doing| {
            matches!(doing, Doing::Changes(..) | Doing::LetsGo | Doing::LetsGoFor(_))
        };
        let leases = self.actors.iter().any(|doing| matches!(doing, Doing::Holds(_)));
        let concerned =
            self.hold == Some(ReadWrite) || (drained == Drained::All && self.hold.is_some());
        let expected = if self.actors.iter().any(changing) || (concerned && leases) {
            DrainTurn::Wait
        } else if concerned {
            DrainTurn::Detach
        } else {
            DrainTurn::Done
        };
        let turn = self.state.poll_drain(drained);
        assert_eq!(turn, expected, "{self:#?}");
        match turn {
            DrainTurn::Detach => {
                self.hold = None;
                self.yielding = false;
                Doing::LetsGoFor(drained)
            }
            DrainTurn::Wait if !gives_up => Doing::Drains(drained),
            DrainTurn::Wait | DrainTurn::Done => {
                let afterwards = self.state.end_drain(drained);
                self.conclude(actor, afterwards)
            }
        }
    }

    /// The actor is through with what it did, unless it has to let go of the file.
    fn conclude(&mut self, actor: usize, afterwards: Afterwards) -> Doing {
        self.actors[actor] = Doing::Done;
        let unwanted = self.hold.is_some() && !self.somebody_is_at_it();
        let goes = unwanted && (self.yielding || !self.limits.keep);
        let expected = if goes { Afterwards::Detach } else { Afterwards::Nothing };
        assert_eq!(afterwards, expected, "{self:#?}");
        match afterwards {
            Afterwards::Nothing => Doing::Done,
            Afterwards::Detach => {
                self.hold = None;
                self.yielding = false;
                Doing::LetsGo
            }
        }
    }

    fn run(&mut self) {
        let mut moved = true;
        while moved {
            moved = false;
            for actor in 0..self.actors.len() {
                moved |= self.step(actor, false, false);
            }
        }
    }

    /// Everybody goes on until nobody moves.
    fn run_to_rest(&mut self) {
        self.run();
        self.apply(&Op::Rest); // a kept hold goes with its keeper
        self.run();
        let at_rest = self.actors.iter().all(|doing| *doing == Doing::Done);
        assert!(at_rest, "everybody is served or has left: {self:#?}");
        assert_eq!(self.state.attachment(), None, "nothing stays attached: {self:#?}");
        assert_eq!(self.state.waiting(), 0);
        assert!(!self.state.changing && self.state.leases() == 0, "{self:#?}");
    }
}

fn mode() -> impl Strategy<Value = AccessMode> {
    prop_oneof![Just(ReadOnly), Just(ReadWrite)]
}

fn op() -> impl Strategy<Value = Op> {
    let drained = prop_oneof![Just(Drained::Writes), Just(Drained::All)];
    prop_oneof![
        4 => mode().prop_map(Op::Arrive),
        1 => drained.prop_map(Op::Drain),
        1 => Just(Op::Yield),
        1 => Just(Op::Rest),
        1 => mode().prop_map(Op::Try),
        12 => (any::<Index>(), prop::bool::weighted(0.2), prop::bool::weighted(0.2))
            .prop_map(|(who, fails, gives_up)| Op::Move { who, fails, gives_up }),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn grants_follow_the_rules_and_everybody_is_served_in_the_end(
        readers_max in 1..4_u32,
        keep in any::<bool>(),
        ops in prop::collection::vec(op(), 1..80),
    ) {
        let mut world = World::new(Limits { readers_max, keep });
        for op in &ops {
            world.apply(op);
        }
        world.run_to_rest();
    }
}

/// Changes the hold for the ticket, which is at the front.
fn change(state: &mut State, ticket: Ticket) {
    assert!(matches!(state.poll(ticket), Turn::Change { .. }), "{state:?}");
    state.changed(ticket);
}

#[test]
fn a_reader_beside_the_writer_shares_its_hold() {
    let mut state = State::default();
    let (writer, reader) = (state.enqueue(ReadWrite), state.enqueue(ReadOnly));
    change(&mut state, writer);
    assert_eq!(state.poll(reader), Turn::Granted);
    assert_eq!(state.release(ReadWrite), Afterwards::Nothing, "the reader keeps the hold");
    assert_eq!(state.attachment(), Some(ReadWrite));
    assert_eq!(state.release(ReadOnly), Afterwards::Detach);
}

#[test]
fn readers_behind_a_waiting_writer_wait_behind_it() {
    let mut state = State::default();
    let first = state.enqueue(ReadOnly);
    change(&mut state, first);
    let (writer, late) = (state.enqueue(ReadWrite), state.enqueue(ReadOnly));
    assert_eq!(state.poll(late), Turn::Wait);
    assert_eq!(state.poll(writer), Turn::Wait);
    assert_eq!(state.release(ReadOnly), Afterwards::Nothing, "the writer changes the hold itself");
    assert_eq!(state.poll(late), Turn::Wait);
    assert_eq!(state.poll(writer), Turn::Change { from: Some(ReadOnly), to: ReadWrite });
}

#[test]
fn a_writer_that_gives_up_lets_the_readers_behind_it_in() {
    let mut state = State::default();
    let first = state.enqueue(ReadOnly);
    change(&mut state, first);
    let (writer, late) = (state.enqueue(ReadWrite), state.enqueue(ReadOnly));
    assert_eq!(state.cancel(writer), Afterwards::Nothing);
    assert_eq!(state.poll(late), Turn::Granted);
}

#[test]
fn the_last_waiter_that_gives_up_at_an_idle_hold_lets_go_of_it() {
    let mut state = State::default();
    let first = state.enqueue(ReadOnly);
    change(&mut state, first);
    let writer = state.enqueue(ReadWrite);
    assert_eq!(state.release(ReadOnly), Afterwards::Nothing);
    assert_eq!(state.cancel(writer), Afterwards::Detach);
    state.detached();
    assert_eq!(state.attachment(), None);
}

#[test]
fn a_hold_that_yields_serves_nobody_until_it_has_been_changed() {
    let mut state = State::default();
    let first = state.enqueue(ReadOnly);
    change(&mut state, first);
    let second = state.enqueue(ReadOnly);
    assert_eq!(state.yield_hold(), Afterwards::Nothing);
    assert_eq!(state.poll(second), Turn::Wait, "another process is to have it first");
    assert_eq!(state.release(ReadOnly), Afterwards::Nothing);
    assert_eq!(state.poll(second), Turn::Change { from: Some(ReadOnly), to: ReadOnly });
}

fn keeping() -> State {
    State::new(Limits { keep: true, ..Limits::default() })
}

#[test]
fn a_hold_that_is_kept_serves_the_next_one_without_a_change() {
    let mut state = keeping();
    let first = state.enqueue(ReadWrite);
    change(&mut state, first);
    assert_eq!(state.release(ReadWrite), Afterwards::Nothing);
    assert!(state.is_idle());
    assert!(state.try_now(ReadWrite));
    assert!(!state.try_now(ReadWrite), "one writer");
    assert!(state.try_now(ReadOnly), "beside it");
}

#[test]
fn a_kept_hold_is_given_up_as_soon_as_another_process_wants_it() {
    let mut state = keeping();
    let first = state.enqueue(ReadOnly);
    change(&mut state, first);
    assert_eq!(state.release(ReadOnly), Afterwards::Nothing);
    assert_eq!(state.yield_hold(), Afterwards::Detach);
    assert!(!state.try_now(ReadOnly), "it is on its way out");
    state.detached();
    assert_eq!(state.attachment(), None);
}

#[test]
fn it_is_quiet_while_nobody_has_a_lease_or_waits_for_one() {
    let mut state = keeping();
    assert!(state.is_quiet());
    let first = state.enqueue(ReadWrite);
    assert!(!state.is_quiet(), "somebody waits");
    change(&mut state, first);
    assert!(!state.is_quiet(), "and now has it");
    assert_eq!(state.release(ReadWrite), Afterwards::Nothing);
    assert!(state.is_quiet(), "the hold is kept, and nobody uses it");
}

#[test]
fn a_hold_that_is_used_is_not_let_go_of_as_idle() {
    let mut state = keeping();
    let first = state.enqueue(ReadOnly);
    change(&mut state, first);
    assert_eq!(state.let_go_if_idle(), Afterwards::Nothing);
    assert!(state.try_now(ReadOnly), "and goes on serving");
}

#[test]
fn the_reader_above_the_limit_waits_for_one_of_the_others() {
    let mut state = State::new(Limits { readers_max: 2, ..Limits::default() });
    let [first, second, third] = [(); 3].map(|()| state.enqueue(ReadOnly));
    change(&mut state, first);
    assert_eq!(state.poll(second), Turn::Granted);
    assert_eq!(state.poll(third), Turn::Wait);
    assert_eq!(state.release(ReadOnly), Afterwards::Nothing);
    assert_eq!(state.poll(third), Turn::Granted);
}

#[test]
fn a_drain_of_writes_lets_readers_read_on_their_own_hold() {
    let mut state = State::default();
    let first = state.enqueue(ReadOnly);
    change(&mut state, first);
    state.begin_drain(Drained::Writes);
    let (reader, writer) = (state.enqueue(ReadOnly), state.enqueue(ReadWrite));
    assert_eq!(state.poll_drain(Drained::Writes), DrainTurn::Done);
    assert_eq!(state.poll(reader), Turn::Granted);
    assert_eq!(state.poll(writer), Turn::Wait);
}

#[test]
#[should_panic(expected = "a write lease returns that was out")]
fn a_lease_that_returns_twice_is_a_bug_that_shows() {
    let _ = State::default().release(ReadWrite);
}
