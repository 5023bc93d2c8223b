//! Which transaction depends on which, and the strongly connected components of that.
//!
//! # Invariants
//!
//! * An edge says that in every execution one commit, or one snapshot, stands before another: see [`Dependency`].
//! * The order of edges is a function of the history.
//! * Nothing recurses: a cycle may be as long as the history.

use super::versions::{Versioned, Versions};
use super::{History, Key};

/// Of appends to a key that nobody has read, so many pairs with a reader are looked at.
const PAIRS_MAX: usize = 10_000;

/// Why one transaction stands before another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Dependency {
    /// The other one's append follows its own.
    WriteWrite(Key),
    /// The other one read its append.
    WriteRead(Key),
    /// It read a version that the other one's append replaced: its snapshot stands before the other one's commit.
    ReadWrite(Key),
    /// It had ended before the other one began.
    Time,
}

/// Sets of dependencies.
pub(super) const WRITE_WRITE: u8 = 1;
pub(super) const WRITE_READ: u8 = 2;
pub(super) const READ_WRITE: u8 = 4;
pub(super) const TIME: u8 = 8;

impl Dependency {
    pub(super) fn bit(self) -> u8 {
        match self {
            Self::WriteWrite(_) => WRITE_WRITE,
            Self::WriteRead(_) => WRITE_READ,
            Self::ReadWrite(_) => READ_WRITE,
            Self::Time => TIME,
        }
    }
}

/// A dependency and where it leads.
#[derive(Clone, Copy, Debug)]
pub(super) struct Edge {
    pub(super) from: u32,
    pub(super) to: u32,
    pub(super) why: Dependency,
}

/// All of them. The first vertices are the transactions, those behind are moments.
pub(super) struct Graph {
    /// In the order of their beginnings.
    pub(super) edges: Vec<Edge>,
    /// Where the edges of each vertex begin, and one place more.
    starts: Vec<u32>,
    pub(super) left_out: usize,
}

impl Graph {
    pub(super) fn new(history: &History, versions: &Versions) -> Self {
        let mut edges = Vec::new();
        let mut left_out = 0;
        for (key, versioned) in &versions.keys {
            left_out += depend(*key, versioned, &mut edges);
        }
        let vertices = wait(history, &versions.committed, &mut edges);
        edges.sort_by_key(|edge| edge.from);
        let mut starts = vec![0; vertices + 1];
        for edge in &edges {
            starts[edge.from as usize + 1] += 1;
        }
        for vertex in 0..vertices {
            starts[vertex + 1] += starts[vertex];
        }
        Self { edges, starts, left_out }
    }

    pub(super) fn vertices(&self) -> usize {
        self.starts.len() - 1
    }

    /// Places in [`edges`](Self::edges).
    pub(super) fn edges_of(&self, vertex: u32) -> std::ops::Range<u32> {
        self.starts[vertex as usize]..self.starts[vertex as usize + 1]
    }
}

/// The dependencies that a key makes. Returns how many were left out.
fn depend(key: Key, versioned: &Versioned, edges: &mut Vec<Edge>) -> usize {
    let mut add = |from: usize, to: usize, why: Dependency| {
        if from != to {
            edges.push(Edge { from: from as u32, to: to as u32, why });
        }
    };
    // The nearest committed writer at or behind each place, and before it.
    let places = versioned.writers.len();
    let mut next = vec![None; places + 1];
    for place in (0..places).rev() {
        next[place] = versioned.writers[place].or(next[place + 1]);
    }
    let mut before = vec![None; places + 1];
    for place in 0..places {
        before[place + 1] = versioned.writers[place].or(before[place]);
    }
    for (one, other) in before.iter().zip(&versioned.writers) {
        if let (Some(one), Some(other)) = (*one, *other) {
            add(one, other, Dependency::WriteWrite(key));
        }
    }
    for &(reader, length) in &versioned.readers {
        if let Some(writer) = before[length] {
            add(writer, reader, Dependency::WriteRead(key));
        }
        if let Some(writer) = next[length] {
            add(reader, writer, Dependency::ReadWrite(key));
        }
    }
    // What nobody read comes after what somebody did.
    let at_the_end = |(_, length): &&(usize, usize)| next[*length].is_none();
    let unread = &versioned.unread;
    for &writer in unread {
        if let Some(last) = before[places] {
            add(last, writer, Dependency::WriteWrite(key));
        }
    }
    let readers = versioned.readers.iter().filter(at_the_end);
    let mut left = PAIRS_MAX;
    let mut left_out = 0;
    for &(reader, _) in readers {
        if left < unread.len() {
            left_out += unread.len();
            continue;
        }
        left -= unread.len();
        for &writer in unread {
            add(reader, writer, Dependency::ReadWrite(key));
        }
    }
    left_out
}

/// Who had ended before who began: through a chain of moments, one for each commit, so that there are few edges.
/// Returns how many vertices there are then.
fn wait(history: &History, committed: &[bool], edges: &mut Vec<Edge>) -> usize {
    let transactions = history.transactions.iter().zip(committed).enumerate();
    let alive = transactions.filter(|(_, (_, committed))| **committed);
    let mut ends: Vec<(u64, usize)> =
        alive.clone().filter_map(|(index, (it, _))| Some((it.ended?, index))).collect();
    ends.sort_unstable();
    let first = history.transactions.len();
    let mut add = |from: usize, to: usize| {
        edges.push(Edge { from: from as u32, to: to as u32, why: Dependency::Time });
    };
    for (place, &(_, index)) in ends.iter().enumerate() {
        add(index, first + place);
        if 0 < place {
            add(first + place - 1, first + place);
        }
    }
    for (index, (transaction, _)) in alive {
        let Some(began) = transaction.began else { continue };
        let before = ends.partition_point(|(ended, _)| *ended < began);
        if 0 < before {
            add(first + before - 1, index);
        }
    }
    first + ends.len()
}

/// A graph as one kind of cycle sees it.
///
/// Its nodes are the vertices twice: as they are reached by an anti-dependency (odd), and by anything else (even). So a
/// cycle in it that may not have two anti-dependencies in a row is a cycle that snapshot isolation forbids.
pub(super) struct View<'g> {
    pub(super) graph: &'g Graph,
    /// Which dependencies there are.
    pub(super) mask: u8,
    /// Whether two anti-dependencies may follow each other.
    pub(super) in_a_row: bool,
}

impl View<'_> {
    pub(super) fn nodes(&self) -> usize {
        self.graph.vertices() * 2
    }

    /// Where an edge leads from a node, if it can be gone from there.
    pub(super) fn follow(&self, node: u32, edge: Edge) -> Option<u32> {
        let is_anti = edge.why.bit() == READ_WRITE;
        let allowed = self.mask & edge.why.bit() != 0;
        let second = node % 2 == 1 && is_anti;
        (allowed && !second).then(|| edge.to * 2 + u32::from(is_anti && !self.in_a_row))
    }

    /// The component of each node, and how many nodes each has (Tarjan, *Depth-First Search and Linear Graph Algorithms*,
    /// 1972).
    pub(super) fn components(&self) -> Components {
        let mut tarjan = Tarjan {
            view: self,
            found: vec![NONE; self.nodes()],
            low: vec![NONE; self.nodes()],
            stack: Vec::new(),
            next: 0,
            components: Components { of: vec![NONE; self.nodes()], members: Vec::new() },
        };
        for node in 0..self.nodes() as u32 {
            if tarjan.found[node as usize] == NONE {
                tarjan.visit(node);
            }
        }
        tarjan.components
    }
}

/// Nodes that can all reach each other.
pub(super) struct Components {
    /// By node; [`NONE`] if a node is alone.
    pub(super) of: Vec<u32>,
    /// The nodes of each that has more than one.
    pub(super) members: Vec<Vec<u32>>,
}

pub(super) const NONE: u32 = u32::MAX;

struct Tarjan<'v, 'g> {
    view: &'v View<'g>,
    found: Vec<u32>,
    low: Vec<u32>,
    stack: Vec<u32>,
    next: u32,
    components: Components,
}

impl Tarjan<'_, '_> {
    fn visit(&mut self, root: u32) {
        let mut calls = vec![self.enter(root)];
        while let Some((node, edges)) = calls.last_mut() {
            let node = *node;
            let Some(edge) = edges.next() else {
                calls.pop();
                self.leave(node);
                if let Some((caller, _)) = calls.last() {
                    let caller = *caller as usize;
                    self.low[caller] = self.low[caller].min(self.low[node as usize]);
                }
                continue;
            };
            let edge = self.view.graph.edges[edge as usize];
            let Some(to) = self.view.follow(node, edge) else { continue };
            if self.found[to as usize] == NONE {
                calls.push(self.enter(to));
            } else {
                // Of a node whose component is complete this is NONE or more than here.
                self.low[node as usize] = self.low[node as usize].min(self.on_stack(to));
            }
        }
    }

    fn enter(&mut self, node: u32) -> (u32, std::ops::Range<u32>) {
        self.found[node as usize] = self.next;
        self.low[node as usize] = self.next;
        self.next += 1;
        self.stack.push(node);
        (node, self.view.graph.edges_of(node / 2))
    }

    /// When a node was found, if its component is not complete.
    fn on_stack(&self, node: u32) -> u32 {
        if self.low[node as usize] == NONE { NONE } else { self.found[node as usize] }
    }

    fn leave(&mut self, node: u32) {
        let low = self.low[node as usize];
        if low != self.found[node as usize] {
            return;
        }
        let at = self.stack.iter().rposition(|it| *it == node).expect("it was put there");
        let members = self.stack.split_off(at);
        for member in &members {
            self.low[*member as usize] = NONE;
            if 1 < members.len() {
                self.components.of[*member as usize] = self.components.members.len() as u32;
            }
        }
        if 1 < members.len() {
            self.components.members.push(members);
        }
    }
}
