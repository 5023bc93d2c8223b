//! Cycles of dependencies: of each component the worst kind there is, as a short cycle, in words.

use std::collections::VecDeque;

use super::graph::{
    Components, Dependency, Edge, Graph, NONE, READ_WRITE, TIME, View, WRITE_READ, WRITE_WRITE,
};
use super::{Anomaly, History, Kind};

/// In a component so many nodes are gone to in search of a shorter cycle, or of one with fewer anti-dependencies.
const VISITS_MAX: usize = 2_000_000;

/// What is looked for, the worst first.
struct Pass {
    mask: u8,
    in_a_row: bool,
    /// An edge that the cycle must have; the passes before found those without.
    needs: u8,
}

const PASSES: [Pass; 5] = [
    Pass { mask: WRITE_WRITE, in_a_row: false, needs: WRITE_WRITE },
    Pass { mask: WRITE_WRITE | WRITE_READ, in_a_row: false, needs: WRITE_READ },
    Pass { mask: WRITE_WRITE | WRITE_READ | READ_WRITE, in_a_row: false, needs: READ_WRITE },
    Pass {
        mask: WRITE_WRITE | WRITE_READ | READ_WRITE | TIME,
        in_a_row: false,
        needs: WRITE_WRITE | WRITE_READ | READ_WRITE,
    },
    Pass { mask: WRITE_WRITE | WRITE_READ | READ_WRITE, in_a_row: true, needs: READ_WRITE },
];

/// The cycles of a graph. A component with transactions of `known` anomalies is not looked at: they would be found again.
pub(super) fn anomalies(history: &History, graph: &Graph, known: &[Anomaly]) -> Vec<Anomaly> {
    let mut accused = vec![false; graph.vertices()];
    for index in known.iter().flat_map(|anomaly| &anomaly.transactions) {
        accused[*index] = true;
    }
    let mut anomalies = Vec::new();
    for Pass { mask, in_a_row, needs } in PASSES {
        let view = View { graph, mask, in_a_row };
        let components = view.components();
        let mut search = Search::new(&view, &components);
        for (number, members) in components.members.iter().enumerate() {
            if members.iter().any(|node| accused[*node as usize / 2]) {
                continue;
            }
            let Some(cycle) = search.cycle(number as u32, members, needs) else { continue };
            let anomaly = anomaly(history, &cycle);
            for index in &anomaly.transactions {
                accused[*index] = true;
            }
            anomalies.push(anomaly);
        }
    }
    anomalies
}

/// Searches within components, breadth first.
struct Search<'v, 'g> {
    view: &'v View<'g>,
    components: &'v Components,
    /// By node: in which search it was found, and by which edge from which node.
    found: Vec<(u32, u32, u32)>,
    searches: u32,
    visits_left: usize,
}

impl<'v, 'g> Search<'v, 'g> {
    fn new(view: &'v View<'g>, components: &'v Components) -> Self {
        let found = vec![(0, 0, 0); view.nodes()];
        Self { view, components, found, searches: 0, visits_left: 0 }
    }

    /// A cycle through an edge of a kind, with at most one anti-dependency if there is such a one, and short.
    fn cycle(&mut self, component: u32, members: &[u32], needs: u8) -> Option<Vec<Edge>> {
        for mask in [self.view.mask & !READ_WRITE, self.view.mask] {
            self.visits_left = VISITS_MAX;
            let mut best: Option<Vec<Edge>> = None;
            for (node, edge, to) in self.starts(component, members, needs) {
                // Behind an edge that starts a cycle the whole view leads back: that one search is always made.
                let is_last = mask == self.view.mask && best.is_none();
                if self.visits_left == 0 && !is_last {
                    break;
                }
                let Some(mut cycle) = self.path(component, to, node, mask) else { continue };
                cycle.insert(0, edge);
                if best.as_ref().is_none_or(|best| cycle.len() < best.len()) {
                    best = Some(cycle);
                }
                if best.as_ref().is_some_and(|best| best.len() == 2) {
                    break;
                }
            }
            if best.is_some() {
                return best;
            }
        }
        None
    }

    /// The edges within a component of one of the kinds, with the nodes they lead from and to.
    fn starts(&self, component: u32, members: &[u32], needs: u8) -> Vec<(u32, Edge, u32)> {
        let mut starts = Vec::new();
        for node in members {
            for edge in self.view.graph.edges_of(node / 2) {
                let edge = self.view.graph.edges[edge as usize];
                let to = self.view.follow(*node, edge).filter(|_| edge.why.bit() & needs != 0);
                let Some(to) = to else { continue };
                if self.components.of[to as usize] == component {
                    starts.push((*node, edge, to));
                }
            }
        }
        starts
    }

    /// The edges of a shortest way from one node to another.
    fn path(&mut self, component: u32, from: u32, to: u32, mask: u8) -> Option<Vec<Edge>> {
        self.searches += 1;
        self.found[from as usize] = (self.searches, NONE, NONE);
        let mut queue = VecDeque::from([from]);
        while let Some(node) = queue.pop_front() {
            self.visits_left = self.visits_left.saturating_sub(1);
            if node == to {
                return Some(self.way_to(to));
            }
            for at in self.view.graph.edges_of(node / 2) {
                let edge = self.view.graph.edges[at as usize];
                let next = self.view.follow(node, edge).filter(|_| edge.why.bit() & mask != 0);
                let Some(next) = next else { continue };
                let is_new = self.found[next as usize].0 != self.searches;
                if is_new && self.components.of[next as usize] == component {
                    self.found[next as usize] = (self.searches, at, node);
                    queue.push_back(next);
                }
            }
        }
        None
    }

    fn way_to(&self, to: u32) -> Vec<Edge> {
        let mut way = Vec::new();
        let mut node = to;
        while let (_, at, before) = self.found[node as usize]
            && at != NONE
        {
            way.push(self.view.graph.edges[at as usize]);
            node = before;
        }
        way.reverse();
        way
    }
}

/// The name of a cycle, and its story.
fn anomaly(history: &History, cycle: &[Edge]) -> Anomaly {
    let first_moment = history.transactions.len() as u32;
    let mut cycle = cycle.to_vec();
    // It begins at the transaction that stands first in the history.
    let first = (0..cycle.len()).min_by_key(|at| cycle[*at].from).unwrap_or_default();
    cycle.rotate_left(first);
    let mut transactions = Vec::new();
    let mut lines = Vec::new();
    let mut from = None;
    for edge in &cycle {
        let begins = *from.get_or_insert(edge.from as usize);
        if edge.to < first_moment {
            transactions.push(begins);
            lines.push(line(history, begins, edge.to as usize, edge.why));
            from = None;
        }
    }
    Anomaly {
        kind: kind(&cycle),
        timed: cycle.iter().any(|edge| edge.why == Dependency::Time),
        transactions,
        words: lines.join("; "),
    }
}

fn line(history: &History, from: usize, to: usize, why: Dependency) -> String {
    let (one, other) = (&history.transactions[from].name, &history.transactions[to].name);
    match why {
        Dependency::WriteWrite(key) => {
            format!("{other} appended to {} after {one}", history.list(key))
        }
        Dependency::WriteRead(key) => {
            format!("{other} read in {} what {one} appended", history.list(key))
        }
        Dependency::ReadWrite(key) => {
            format!("{one} read {} without what {other} appended", history.list(key))
        }
        Dependency::Time => format!("{one} had ended before {other} began"),
    }
}

fn kind(cycle: &[Edge]) -> Kind {
    let is_anti = |edge: &Edge| edge.why.bit() == READ_WRITE;
    let anti = cycle.iter().filter(|edge| is_anti(edge)).count();
    let next = cycle.iter().cycle().skip(1);
    let in_a_row = cycle.iter().zip(next).any(|(one, other)| is_anti(one) && is_anti(other));
    match anti {
        0 if cycle.iter().any(|edge| edge.why.bit() == WRITE_READ) => Kind::G1c,
        0 => Kind::G0,
        1 if is_lost_update(cycle) => Kind::LostUpdate,
        1 => Kind::GSingle,
        _ if in_a_row => Kind::G2Item,
        _ => Kind::GNonadjacent,
    }
}

/// Whether one overwrote a key with the other's append in it, after it had read the key without.
fn is_lost_update(cycle: &[Edge]) -> bool {
    let written = |edge: &&Edge| matches!(edge.why, Dependency::WriteWrite(_));
    let key = |edge: &Edge| match edge.why {
        Dependency::WriteWrite(key) | Dependency::WriteRead(key) | Dependency::ReadWrite(key) => {
            Some(key)
        }
        Dependency::Time => None,
    };
    cycle.len() == 2 && cycle.iter().any(|it| written(&it)) && key(&cycle[0]) == key(&cycle[1])
}
