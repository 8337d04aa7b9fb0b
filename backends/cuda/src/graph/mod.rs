//! Graphs: numbers for graphs (the client's) and nodes (this side's), and the rows that ask about them.

mod ask;
mod exec;
mod memory;
mod nodes;

use crate::api::Raw;
use crate::live::Live;
use cudarc::driver::sys::CUgraphEdgeData;
use ringbar_backend::Context;
use ringbar_backend::table::{IdMap, OBJECTS_MAX, Table};
use ringbar_vocabulary::*;
use std::ffi::CString;
use std::io::Read;
use std::os::fd::{AsRawFd, FromRawFd};

/// The most bytes of a tail of node numbers.
const NODES_MAX_BYTES: usize = 16 << 20;

struct Graph {
    raw: Raw,
    /// Whether it is destroyed with its number: a graph that is still being captured is the stream's, one inside a node
    /// is the node's.
    owned: bool,
    /// The node that it is inside of, and that node's graph.
    inside: Option<(NodeId, Raw)>,
}

struct Node {
    raw: Raw,
    graph: Raw,
}

/// The tables.
#[derive(Default)]
pub struct Graphs {
    graphs: Table<Graph>,
    execs: Table<Raw>,
    nodes: IdMap<u64, Node>,
    node_numbers: IdMap<Raw, u64>,
    next_node: u64,
}

impl Graphs {
    /// Whether a graph could have that number.
    pub fn check_new(&self, graph: GraphId) -> Result<(), Status> {
        if graph.0 == 0 {
            return Err(Status::INVALID_VALUE);
        }
        self.graphs.check_new(graph.0)
    }

    /// Gives a graph its number.
    pub fn insert(&mut self, graph: GraphId, raw: Raw, owned: bool) {
        self.graphs.insert(graph.0, Graph { raw, owned, inside: None });
    }

    /// Gives a graph inside a node a number.
    fn insert_inside(&mut self, graph: GraphId, raw: Raw, node: NodeId) {
        let around = self.nodes.get(&node.0).map_or(0, |node| node.graph);
        self.graphs.insert(graph.0, Graph { raw, owned: false, inside: Some((node, around)) });
    }

    /// A graph is gone, or one of its nodes is: so is what was inside, and every number of it.
    fn forget_inside(&mut self, graph: Raw, node: Option<NodeId>) {
        let gone = |(within, around): (NodeId, Raw)| {
            around == graph && node.is_none_or(|node| node == within)
        };
        let found = self.graphs.iter().filter(|(_, graph)| graph.inside.is_some_and(gone));
        let found: Vec<(u32, Raw)> = found.map(|(id, graph)| (id, graph.raw)).collect();
        for (id, raw) in found {
            // Listed just now.
            let _ = self.graphs.remove(id);
            self.forget_nodes_of(raw);
            self.forget_inside(raw, None);
        }
    }

    /// The number of a graph, if it has one.
    pub fn number_of(&self, raw: Raw) -> Option<GraphId> {
        self.graphs.iter().find(|(_, graph)| graph.raw == raw).map(|(id, _)| GraphId(id))
    }

    /// The handle of a graph.
    pub fn graph(&self, graph: GraphId) -> Result<Raw, Status> {
        self.graphs.get(graph.0).map(|graph| graph.raw)
    }

    fn exec(&self, exec: GraphExecId) -> Result<Raw, Status> {
        self.execs.get(exec.0).copied()
    }

    fn node(&self, node: NodeId) -> Result<Raw, Status> {
        self.nodes.get(&node.0).map(|node| node.raw).ok_or(Status::INVALID_HANDLE)
    }

    /// The number of a node, a new one if it has none.
    fn number_node(&mut self, raw: Raw, graph: Raw) -> Result<u64, Status> {
        if raw == 0 {
            return Ok(0);
        }
        if let Some(&number) = self.node_numbers.get(&raw) {
            return Ok(number);
        }
        if self.nodes.len() >= OBJECTS_MAX {
            return Err(Status::OUT_OF_MEMORY);
        }
        self.next_node += 1;
        self.nodes.insert(self.next_node, Node { raw, graph });
        self.node_numbers.insert(raw, self.next_node);
        Ok(self.next_node)
    }

    /// The numbers of nodes of a graph.
    pub fn number_nodes(&mut self, raws: &[Raw], graph: Raw) -> Result<Vec<u64>, Status> {
        raws.iter().map(|&raw| self.number_node(raw, graph)).collect()
    }

    /// The number of a node that an error names; 0 if it has none.
    fn known_number(&self, raw: Raw) -> NodeId {
        NodeId(self.node_numbers.get(&raw).copied().unwrap_or(0))
    }

    fn forget_nodes_of(&mut self, graph: Raw) {
        let numbers = &mut self.node_numbers;
        self.nodes.retain(|_, node| {
            let stays = node.graph != graph;
            if !stays {
                numbers.remove(&node.raw);
            }
            stays
        });
    }

    fn forget_node(&mut self, node: NodeId) {
        if let Some(gone) = self.nodes.remove(&node.0) {
            self.node_numbers.remove(&gone.raw);
        }
    }

    /// The nodes that a tail names.
    pub fn read_nodes(&self, cx: &mut Context<'_>, tail: Tail<'_>) -> Result<Vec<Raw>, Status> {
        let mut scratch = Vec::new();
        let bytes = cx.tail(tail, &mut scratch, NODES_MAX_BYTES)?;
        self.parse_nodes(bytes)
    }

    fn parse_nodes(&self, bytes: &[u8]) -> Result<Vec<Raw>, Status> {
        let (numbers, rest) = bytes.as_chunks::<8>();
        if !rest.is_empty() {
            return Err(Status::INVALID_VALUE);
        }
        numbers.iter().map(|number| self.node(NodeId(u64::from_le_bytes(*number)))).collect()
    }
}

/// Writes as many numbers as there is room for.
pub fn write_numbers(cx: &mut Context<'_>, place: ArenaRef, numbers: &[u64]) -> Result<(), Status> {
    let fit = numbers.len().min(place.len as usize / 8);
    let bytes: Vec<u8> = numbers[..fit].iter().flat_map(|number| number.to_le_bytes()).collect();
    let part = place.part(0, bytes.len() as u64).ok_or(Status::INVALID_VALUE)?;
    cx.write_arena(part, &bytes)
}

/// Asks twice: how many, then which.
fn list(
    mut ask: impl FnMut(*mut Raw, *mut usize) -> Result<(), Status>,
) -> Result<Vec<Raw>, Status> {
    let mut count = 0;
    ask(std::ptr::null_mut(), &mut count)?;
    let mut found = vec![0; count];
    if count > 0 {
        ask(found.as_mut_ptr(), &mut count)?;
        found.truncate(count);
    }
    Ok(found)
}

impl Live {
    pub fn graph_create(
        &mut self,
        _cx: &mut Context<'_>,
        c: GraphCreate,
    ) -> Result<GraphCreateReply, Status> {
        self.graphs.check_new(c.graph)?;
        let mut raw = 0;
        self.api.cuGraphCreate(&mut raw, 0)?;
        self.graphs.insert(c.graph, raw, true);
        Ok(GraphCreateReply {})
    }

    pub fn graph_destroy(&mut self, _cx: &mut Context<'_>, c: GraphDestroy) -> Result<(), Status> {
        let graph = self.graphs.graphs.remove(c.graph.0)?;
        if !graph.owned {
            return Ok(());
        }
        self.graphs.forget_nodes_of(graph.raw);
        self.graphs.forget_inside(graph.raw, None);
        self.api.cuGraphDestroy(graph.raw)
    }

    pub fn graph_clone(
        &mut self,
        _cx: &mut Context<'_>,
        c: GraphClone,
    ) -> Result<GraphCloneReply, Status> {
        self.graphs.check_new(c.graph)?;
        let mut raw = 0;
        self.api.cuGraphClone(&mut raw, self.graphs.graph(c.original)?)?;
        self.graphs.insert(c.graph, raw, true);
        Ok(GraphCloneReply {})
    }

    pub fn graph_nodes(
        &mut self,
        cx: &mut Context<'_>,
        c: GraphNodes,
    ) -> Result<GraphNodesReply, Status> {
        cx.check_arena(c.nodes)?;
        let (graph, api) = (self.graphs.graph(c.graph)?, &self.api);
        let found = list(|nodes, count| {
            if c.roots != 0 {
                // SAFETY: no room, or as much as `count` says.
                unsafe { api.cuGraphGetRootNodes(graph, nodes, count) }
            } else {
                // SAFETY: as above.
                unsafe { api.cuGraphGetNodes(graph, nodes, count) }
            }
        })?;
        let numbers = self.graphs.number_nodes(&found, graph)?;
        write_numbers(cx, c.nodes, &numbers)?;
        Ok(GraphNodesReply { count: numbers.len() as u64 })
    }

    pub fn graph_edges(
        &mut self,
        cx: &mut Context<'_>,
        c: GraphEdges,
    ) -> Result<GraphEdgesReply, Status> {
        cx.check_arena(c.edges)?;
        let numbers = match c.graph.0 {
            0 => self.edges_of_node(c.node, c.which)?,
            _ => self.edges_of_graph(self.graphs.graph(c.graph)?)?,
        };
        let whole = c.edges.len / 16 * 16;
        write_numbers(cx, ArenaRef { len: whole, ..c.edges }, &numbers)?;
        Ok(GraphEdgesReply { count: numbers.len() as u64 / 2 })
    }

    fn edges_of_graph(&mut self, graph: Raw) -> Result<Vec<u64>, Status> {
        let (mut count, none) = (0, std::ptr::null_mut());
        self.ask_edges(graph, (none, none), &mut count)?;
        let (mut from, mut to) = (vec![0; count], vec![0; count]);
        if count > 0 {
            self.ask_edges(graph, (from.as_mut_ptr(), to.as_mut_ptr()), &mut count)?;
        }
        let from = self.graphs.number_nodes(&from, graph)?;
        let to = self.graphs.number_nodes(&to, graph)?;
        Ok(from.into_iter().zip(to).take(count).flat_map(|(from, to)| [from, to]).collect())
    }

    /// Edges carry data that says of which kind they are; only ordinary ones can be told of without it.
    fn ask_edges(
        &self,
        graph: Raw,
        (from, to): (*mut Raw, *mut Raw),
        count: &mut usize,
    ) -> Result<(), Status> {
        let mut data = EdgeData::room(if from.is_null() { 0 } else { *count });
        // SAFETY: no room, or as much as `count` says in all three.
        let newer = unsafe { self.api.cuGraphGetEdges_v2(graph, from, to, data.at(), count) };
        match newer {
            Err(Status::NOT_SUPPORTED) => {
                // SAFETY: as above.
                unsafe { self.api.cuGraphGetEdges(graph, from, to, count) }
            }
            other => other.and_then(|()| data.check_plain()),
        }
    }

    fn edges_of_node(&mut self, node: NodeId, which: u32) -> Result<Vec<u64>, Status> {
        let raw = self.graphs.node(node)?;
        let graph = self.graphs.nodes.get(&node.0).map_or(0, |node| node.graph);
        let found = list(|nodes, count| self.ask_neighbours(raw, which, nodes, count))?;
        let others = self.graphs.number_nodes(&found, graph)?;
        let edge = |other| if which == 0 { [other, node.0] } else { [node.0, other] };
        Ok(others.into_iter().flat_map(edge).collect())
    }

    fn ask_neighbours(
        &self,
        node: Raw,
        which: u32,
        nodes: *mut Raw,
        count: *mut usize,
    ) -> Result<(), Status> {
        // SAFETY: a place for a number, which says how much room there is.
        let room = if nodes.is_null() { 0 } else { unsafe { count.read() } };
        let mut data = EdgeData::room(room);
        let api = &self.api;
        let newer = if which == 0 {
            // SAFETY: no room, or as much as the count says.
            unsafe { api.cuGraphNodeGetDependencies_v2(node, nodes, data.at(), count) }
        } else {
            // SAFETY: as above.
            unsafe { api.cuGraphNodeGetDependentNodes_v2(node, nodes, data.at(), count) }
        };
        match newer {
            // SAFETY: as above.
            Err(Status::NOT_SUPPORTED) if which == 0 => unsafe {
                api.cuGraphNodeGetDependencies(node, nodes, count)
            },
            // SAFETY: as above.
            Err(Status::NOT_SUPPORTED) => unsafe {
                api.cuGraphNodeGetDependentNodes(node, nodes, count)
            },
            other => other.and_then(|()| data.check_plain()),
        }
    }

    pub fn graph_dependencies(
        &mut self,
        cx: &mut Context<'_>,
        c: GraphDependencies<'_>,
    ) -> Result<GraphDependenciesReply, Status> {
        let graph = self.graphs.graph(c.graph)?;
        let nodes = self.graphs.read_nodes(cx, c.edges)?;
        let (edges, rest) = nodes.as_chunks::<2>();
        if !rest.is_empty() {
            return Err(Status::INVALID_VALUE);
        }
        let (from, to): (Vec<_>, Vec<_>) = edges.iter().map(|&[from, to]| (from, to)).unzip();
        self.change_edges(graph, &from, &to, c.remove != 0)?;
        Ok(GraphDependenciesReply {})
    }

    fn change_edges(
        &self,
        graph: Raw,
        from: &[Raw],
        to: &[Raw],
        remove: bool,
    ) -> Result<(), Status> {
        let (count, none) = (from.len(), std::ptr::null());
        let (from, to, api) = (from.as_ptr(), to.as_ptr(), &self.api);
        let newer = if remove {
            // SAFETY: two lists of that many handles, no data.
            unsafe { api.cuGraphRemoveDependencies_v2(graph, from, to, none, count) }
        } else {
            // SAFETY: as above.
            unsafe { api.cuGraphAddDependencies_v2(graph, from, to, none, count) }
        };
        match newer {
            // SAFETY: as above.
            Err(Status::NOT_SUPPORTED) if remove => unsafe {
                api.cuGraphRemoveDependencies(graph, from, to, count)
            },
            // SAFETY: as above.
            Err(Status::NOT_SUPPORTED) => unsafe {
                api.cuGraphAddDependencies(graph, from, to, count)
            },
            other => other,
        }
    }

    pub fn graph_node_type(
        &mut self,
        _cx: &mut Context<'_>,
        c: GraphNodeType,
    ) -> Result<GraphNodeTypeReply, Status> {
        let mut kind = 0;
        self.api.cuGraphNodeGetType(self.graphs.node(c.node)?, &mut kind)?;
        Ok(GraphNodeTypeReply { kind })
    }

    pub fn graph_node_destroy(
        &mut self,
        _cx: &mut Context<'_>,
        c: GraphNodeDestroy,
    ) -> Result<GraphNodeDestroyReply, Status> {
        self.api.cuGraphDestroyNode(self.graphs.node(c.node)?)?;
        let around = self.graphs.nodes.get(&c.node.0).map_or(0, |node| node.graph);
        self.graphs.forget_inside(around, Some(c.node));
        self.graphs.forget_node(c.node);
        Ok(GraphNodeDestroyReply {})
    }

    /// The driver prints to a file; this one has no name outside this process.
    pub fn graph_dot(
        &mut self,
        cx: &mut Context<'_>,
        c: GraphDot,
    ) -> Result<GraphDotReply, Status> {
        cx.check_arena(c.text)?;
        let graph = self.graphs.graph(c.graph)?;
        // SAFETY: the name is a string with a terminating zero.
        let fd = unsafe { libc::memfd_create(c"ringbar-dot".as_ptr(), libc::MFD_CLOEXEC) };
        if fd < 0 {
            return Err(Status::OPERATING_SYSTEM);
        }
        // SAFETY: made just now, and nobody else's.
        let mut file = unsafe { std::fs::File::from_raw_fd(fd) };
        let path = CString::new(format!("/proc/self/fd/{}", file.as_raw_fd())).unwrap_or_default();
        // SAFETY: a path with a terminating zero.
        unsafe { self.api.cuGraphDebugDotPrint(graph, path.as_ptr(), c.flags) }?;
        let mut text = Vec::new();
        file.read_to_end(&mut text).map_err(|_| Status::OPERATING_SYSTEM)?;
        if let Some(place) = c.text.part(0, text.len() as u64) {
            cx.write_arena(place, &text)?;
        }
        Ok(GraphDotReply { bytes: text.len() as u64 })
    }
}

/// Room for the data of edges, which is asked for since the driver refuses to leave out what is not ordinary.
struct EdgeData(Vec<CUgraphEdgeData>);

impl EdgeData {
    fn room(count: usize) -> Self {
        let none = CUgraphEdgeData { from_port: 0, to_port: 0, type_: 0, reserved: [0; 5] };
        Self(vec![none; count])
    }

    /// NOT_SUPPORTED if an edge is more than a plain dependency, which a client is not told of.
    fn check_plain(&self) -> Result<(), Status> {
        let plain =
            |edge: &CUgraphEdgeData| (edge.from_port, edge.to_port, edge.type_) == (0, 0, 0);
        if self.0.iter().all(plain) {
            return Ok(());
        }
        tracing::warn!("a graph has edges that are no plain dependencies (programmatic launches?)");
        Err(Status::NOT_SUPPORTED)
    }

    fn at(&mut self) -> *mut CUgraphEdgeData {
        if self.0.is_empty() { std::ptr::null_mut() } else { self.0.as_mut_ptr() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_keeps_its_number_until_its_graph_goes() {
        let mut graphs = Graphs::default();
        graphs.insert(GraphId(4), 0xa0, true);
        assert_eq!(graphs.number_nodes(&[0x10, 0x20, 0x10], 0xa0), Ok(vec![1, 2, 1]));
        assert_eq!(graphs.number_node(0, 0xa0), Ok(0));
        assert_eq!((graphs.node(NodeId(2)), graphs.known_number(0x20)), (Ok(0x20), NodeId(2)));
        graphs.forget_nodes_of(0xa0);
        assert_eq!(graphs.node(NodeId(2)), Err(Status::INVALID_HANDLE));
        assert_eq!(
            graphs.number_node(0x20, 0xb0),
            Ok(3),
            "an address that came back is another node"
        );
        graphs.forget_node(NodeId(3));
        assert_eq!(graphs.known_number(0x20), NodeId(0));
    }

    #[test]
    fn a_graph_inside_a_node_goes_with_the_node_and_with_the_graph_around_it() {
        let mut graphs = Graphs::default();
        graphs.insert(GraphId(1), 0xa0, true);
        graphs.number_nodes(&[0x10, 0x20], 0xa0).unwrap();
        graphs.insert_inside(GraphId(2), 0xb0, NodeId(1));
        graphs.number_nodes(&[0x30], 0xb0).unwrap();
        graphs.insert_inside(GraphId(3), 0xc0, NodeId(3));
        graphs.insert_inside(GraphId(4), 0xd0, NodeId(2));
        graphs.forget_inside(0xa0, Some(NodeId(1)));
        assert_eq!(
            [1, 2, 3, 4].map(|id| graphs.graph(GraphId(id)).is_ok()),
            [true, false, false, true]
        );
        assert_eq!(graphs.node(NodeId(3)), Err(Status::INVALID_HANDLE));
        graphs.forget_inside(0xa0, None);
        assert!(graphs.graph(GraphId(4)).is_err() && graphs.graph(GraphId(1)).is_ok());
    }

    #[test]
    fn a_tail_of_nodes_is_whole_numbers_of_nodes_that_exist() {
        let mut graphs = Graphs::default();
        graphs.number_nodes(&[0x10, 0x20], 0xa0).unwrap();
        let bytes: Vec<u8> = [2_u64, 1].iter().flat_map(|n| n.to_le_bytes()).collect();
        assert_eq!(graphs.parse_nodes(&bytes), Ok(vec![0x20, 0x10]));
        assert_eq!(graphs.parse_nodes(&bytes[..12]), Err(Status::INVALID_VALUE));
        assert_eq!(graphs.parse_nodes(&3_u64.to_le_bytes()), Err(Status::INVALID_HANDLE));
    }

    #[test]
    fn zero_is_no_number_of_a_graph() {
        let mut graphs = Graphs::default();
        assert_eq!(graphs.check_new(GraphId(0)), Err(Status::INVALID_VALUE));
        graphs.insert(GraphId(4), 0xa0, true);
        assert_eq!(graphs.check_new(GraphId(4)), Err(Status::INVALID_HANDLE));
        assert_eq!((graphs.number_of(0xa0), graphs.number_of(0xb0)), (Some(GraphId(4)), None));
    }
}
