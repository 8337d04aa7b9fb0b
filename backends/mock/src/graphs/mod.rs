//! Graphs: tasks and what each comes after.

mod ask;
mod captures;
mod exec;
mod memory;
mod nodes;

pub(crate) use captures::Captures;
pub(crate) use exec::Exec;

use crate::work::Work;
use ringbar_vocabulary::{DevicePtr, Status};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};

/// Nodes of one graph at most, those of its children included.
const NODES_MAX: usize = 1 << 18;
/// How deep graphs may be nested.
const DEPTH_MAX: usize = 32;

/// `CUgraphNodeType`.
mod kind {
    pub(super) const KERNEL: u32 = 0;
    pub(super) const COPY: u32 = 1;
    pub(super) const FILL: u32 = 2;
    pub(super) const HOST: u32 = 3;
    pub(super) const GRAPH: u32 = 4;
    pub(super) const EMPTY: u32 = 5;
    pub(super) const WAIT_EVENT: u32 = 6;
    pub(super) const RECORD_EVENT: u32 = 7;
    pub(super) const ALLOCATION: u32 = 10;
    pub(super) const FREE: u32 = 11;
    pub(super) const MEMORY_OPERATION: u32 = 12;
}

/// What a node does.
#[derive(Clone)]
pub(crate) enum Task {
    Work(Work),
    Empty,
    Child(Graph),
    /// Memory that exists as long as a graph or an executable one has this node.
    Allocation(Arc<GraphMemory>),
    /// The end of its use inside the graph.
    Free(DevicePtr),
}

/// Addresses that no graph has any more.
pub(crate) type Abandoned = Arc<Mutex<Vec<DevicePtr>>>;

/// Memory of a graph.
pub(crate) struct GraphMemory {
    pub(crate) at: DevicePtr,
    pub(crate) bytes: u64,
    pub(crate) device: u32,
    /// A bit for each device that reaches it besides.
    pub(crate) reached_by: u64,
    pub(crate) abandoned: Abandoned,
}

impl Drop for GraphMemory {
    fn drop(&mut self) {
        self.abandoned.lock().unwrap_or_else(PoisonError::into_inner).push(self.at);
    }
}

impl Task {
    fn kind(&self) -> u32 {
        match self {
            Task::Empty => kind::EMPTY,
            Task::Child(_) => kind::GRAPH,
            Task::Allocation(_) => kind::ALLOCATION,
            Task::Free(_) => kind::FREE,
            // A library's call would be kernels on a real device.
            Task::Work(Work::Kernel(_) | Work::Library { .. }) => kind::KERNEL,
            Task::Work(Work::Copy(_) | Work::ArrayCopy(_) | Work::Bytes { .. }) => kind::COPY,
            Task::Work(Work::Fill(_)) => kind::FILL,
            Task::Work(Work::Host { .. }) => kind::HOST,
            Task::Work(Work::Record { .. }) => kind::RECORD_EVENT,
            Task::Work(Work::WaitEvent { .. }) => kind::WAIT_EVENT,
            Task::Work(Work::Write(_) | Work::WaitValue(_)) => kind::MEMORY_OPERATION,
        }
    }
}

/// A node.
#[derive(Clone)]
pub(crate) struct Node {
    pub(crate) task: Task,
    /// What it comes after.
    after: BTreeSet<u64>,
    /// Attributes of a kernel that were set, by `CUkernelNodeAttrID`.
    attributes: BTreeMap<u32, [u64; 4]>,
}

/// Why an executable graph cannot become like another: `CUgraphExecUpdateResult` and the node.
pub(crate) struct Difference {
    pub(crate) result: u32,
    pub(crate) node: u64,
}

const TOPOLOGY_CHANGED: u32 = 2;
const NODE_TYPE_CHANGED: u32 = 3;

/// Nodes by their numbers, which grow as they are added.
#[derive(Clone, Default)]
pub(crate) struct Graph {
    nodes: BTreeMap<u64, Node>,
    /// How many nodes its children have.
    inner: usize,
    /// In a copy: which of its nodes is the copy of a node of the original.
    copies: BTreeMap<u64, u64>,
}

impl Graph {
    /// Adds a node under a number larger than all others.
    pub(crate) fn add(&mut self, id: u64, task: Task, after: BTreeSet<u64>) -> Result<(), Status> {
        if !after.iter().all(|node| self.nodes.contains_key(node)) {
            return Err(Status::INVALID_VALUE);
        }
        if let Task::Child(child) = &task
            && child.depth() >= DEPTH_MAX
        {
            return Err(Status::INVALID_VALUE);
        }
        let more = if let Task::Child(child) = &task { child.size() } else { 0 };
        if self.size() + more >= NODES_MAX {
            return Err(Status::OUT_OF_MEMORY);
        }
        self.inner += more;
        self.nodes.insert(id, Node { task, after, attributes: BTreeMap::new() });
        Ok(())
    }

    fn children(&self) -> impl Iterator<Item = &Graph> {
        self.nodes.values().filter_map(|node| match &node.task {
            Task::Child(child) => Some(child),
            _ => None,
        })
    }

    /// Its nodes and those of its children.
    fn size(&self) -> usize {
        self.nodes.len() + self.inner
    }

    fn depth(&self) -> usize {
        1 + self.children().map(Graph::depth).max().unwrap_or(0)
    }

    /// Removes a node with all its edges.
    fn remove(&mut self, id: u64) {
        if let Some(Node { task: Task::Child(child), .. }) = self.nodes.remove(&id) {
            self.inner -= child.size();
        }
        for node in self.nodes.values_mut() {
            node.after.remove(&id);
        }
    }

    /// The nodes in an order that keeps what each comes after; INVALID_VALUE if there is none.
    pub(crate) fn order(&self) -> Result<Vec<u64>, Status> {
        let mut missing: BTreeMap<u64, usize> =
            self.nodes.iter().map(|(&id, node)| (id, node.after.len())).collect();
        let mut then: BTreeMap<u64, Vec<u64>> = BTreeMap::new();
        for (&id, node) in &self.nodes {
            node.after.iter().for_each(|&before| then.entry(before).or_default().push(id));
        }
        let ready = missing.iter().filter(|(_, count)| **count == 0).map(|(&id, _)| id);
        let mut ready: BTreeSet<u64> = ready.collect();
        let mut order = Vec::with_capacity(self.nodes.len());
        while let Some(id) = ready.pop_first() {
            order.push(id);
            for next in then.remove(&id).unwrap_or_default() {
                if let Some(count) = missing.get_mut(&next) {
                    *count -= 1;
                    if *count == 0 {
                        ready.insert(next);
                    }
                }
            }
        }
        if order.len() == self.nodes.len() { Ok(order) } else { Err(Status::INVALID_VALUE) }
    }

    /// Whether each of `nodes` is one of `of`, or comes before one.
    fn all_lead_to(&self, nodes: &BTreeSet<u64>, of: &BTreeSet<u64>) -> bool {
        let mut seen = BTreeSet::new();
        let mut open: Vec<u64> = of.iter().copied().collect();
        while let Some(id) = open.pop() {
            if seen.insert(id)
                && let Some(node) = self.nodes.get(&id)
            {
                open.extend(&node.after);
            }
        }
        nodes.is_subset(&seen)
    }

    /// Edges in the order of the nodes they lead to.
    fn edges(&self) -> Vec<(u64, u64)> {
        let edges = self.nodes.iter();
        edges.flat_map(|(&to, node)| node.after.iter().map(move |&from| (from, to))).collect()
    }

    /// A copy with new numbers, counted from `next` on.
    fn renumbered(&self, next: &mut u64) -> Graph {
        let first = *next;
        let places: BTreeMap<u64, u64> =
            self.nodes.keys().zip(first..).map(|(&old, new)| (old, new)).collect();
        *next += places.len() as u64;
        let nodes = self.nodes.iter().map(|(old, node)| {
            let after = node.after.iter().filter_map(|before| places.get(before).copied());
            let (task, attributes) = (node.task.clone(), node.attributes.clone());
            (places[old], Node { task, after: after.collect(), attributes })
        });
        let nodes = nodes.collect();
        Graph { nodes, inner: self.inner, copies: places }
    }

    /// The copy of a node of the graph that this one was copied from.
    fn copy_of(&self, original: u64) -> Option<u64> {
        let copy = self.copies.get(&original).copied();
        copy.filter(|node| self.nodes.contains_key(node))
    }

    /// Takes over the tasks of a graph of the same shape: as many nodes of the same kinds, added
    /// in the same order, with the same edges.
    fn take_over(&mut self, other: &Graph) -> Result<(), Difference> {
        if let Some(difference) = self.difference(other) {
            return Err(difference);
        }
        for (own, new) in self.nodes.values_mut().zip(other.nodes.values()) {
            own.task = new.task.clone();
        }
        Ok(())
    }

    fn difference(&self, other: &Graph) -> Option<Difference> {
        let place = |graph: &Graph| -> BTreeMap<u64, usize> {
            graph.nodes.keys().enumerate().map(|(at, &id)| (id, at)).collect()
        };
        let (own_places, new_places) = (place(self), place(other));
        if self.nodes.len() != other.nodes.len() {
            return Some(Difference { result: TOPOLOGY_CHANGED, node: 0 });
        }
        for (own, (&id, new)) in self.nodes.values().zip(&other.nodes) {
            if own.task.kind() != new.task.kind() {
                return Some(Difference { result: NODE_TYPE_CHANGED, node: id });
            }
            let places = own.after.iter().map(|before| own_places.get(before));
            let same = places.eq(new.after.iter().map(|before| new_places.get(before)));
            if !same {
                return Some(Difference { result: TOPOLOGY_CHANGED, node: id });
            }
            if let (Task::Child(own), Task::Child(new)) = (&own.task, &new.task)
                && let Some(inner) = own.difference(new)
            {
                return Some(Difference { node: id, ..inner });
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn graph(edges: &[(u64, &[u64])]) -> Graph {
        let mut graph = Graph::default();
        for &(id, after) in edges {
            graph.add(id, Task::Empty, after.iter().copied().collect()).unwrap();
        }
        graph
    }

    #[test]
    fn the_order_keeps_what_comes_before_and_finds_cycles() {
        let mut diamond = graph(&[(1, &[]), (2, &[1]), (3, &[1]), (4, &[2, 3])]);
        assert_eq!(diamond.order().unwrap(), [1, 2, 3, 4]);
        diamond.nodes.get_mut(&1).unwrap().after.insert(4);
        assert_eq!(diamond.order(), Err(Status::INVALID_VALUE));
    }

    #[test]
    fn only_the_same_shape_can_be_taken_over() {
        let mut first = graph(&[(1, &[]), (2, &[1])]);
        assert!(first.take_over(&graph(&[(7, &[]), (9, &[7])])).is_ok());
        let apart = first.take_over(&graph(&[(7, &[]), (9, &[])])).err().unwrap();
        assert_eq!((apart.result, apart.node), (TOPOLOGY_CHANGED, 9));
        assert!(first.take_over(&graph(&[(7, &[])])).is_err());
    }

    #[test]
    fn nesting_is_bounded() {
        let mut inner = Graph::default();
        let mut refused = None;
        for id in 0..100 {
            let mut outer = Graph::default();
            refused = outer.add(id, Task::Child(inner.clone()), BTreeSet::new()).err();
            if refused.is_some() {
                break;
            }
            inner = outer;
        }
        assert_eq!(refused, Some(Status::INVALID_VALUE));
    }
}
