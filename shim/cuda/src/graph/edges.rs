//! Which nodes a graph has, and what depends on what.

use super::params::{CUgraphEdgeData, only_default};
use super::{bytes_of, list, node_handle, resolve, resolve_node};
use crate::arg::{In, InOut, Out};
use crate::failure::Outcome;
use crate::handles::Handle;
use crate::session::live;
use crate::types::{CUgraph, CUgraphNode};
use ringbar_vocabulary::{
    GraphDependencies, GraphEdges, GraphId, GraphNodes, NodeId, Status, Tail,
};

/// Writes as many items as there is room for, none behind them; without places only their number.
fn give(items: &[Handle], place: Out<CUgraphNode>, room: usize) -> Outcome {
    let items = items.iter().copied().chain(std::iter::repeat(Handle::NULL)).take(room);
    if place.is_null() { Ok(()) } else { place.set_all(items) }
}

/// Writes how many there are, or were written.
fn give_count(found: usize, wanted: bool, count: Out<usize>) -> Outcome {
    let room = count.get()?;
    count.set(if wanted { found.min(room) } else { found })
}

fn handles(words: impl IntoIterator<Item = u64>) -> Outcome<Vec<Handle>> {
    words.into_iter().map(|node| node_handle(NodeId(node))).collect()
}

fn nodes(graph: CUgraph, roots: u32, place: Out<CUgraphNode>, count: Out<usize>) -> Outcome {
    let graph = resolve(graph)?.id();
    let room = count.get()?;
    let found = list(1, |nodes| Ok(live()?.call(&GraphNodes { graph, roots, nodes })?.count))?;
    let found = handles(found)?;
    give(&found, place, room)?;
    give_count(found.len(), !place.is_null(), count)
}

fn edge_list(graph: GraphId, node: NodeId, which: u32) -> Outcome<Vec<u64>> {
    list(2, |edges| Ok(live()?.call(&GraphEdges { graph, node, which, edges })?.count))
}

fn edges(
    graph: CUgraph,
    places: (Out<CUgraphNode>, Out<CUgraphNode>),
    data: Out<CUgraphEdgeData>,
    count: Out<usize>,
) -> Outcome {
    let graph = resolve(graph)?.id();
    let room = count.get()?;
    let (from, to) = places;
    if from.is_null() != to.is_null() || from.is_null() && !data.is_null() {
        return Err(Status::INVALID_VALUE.into());
    }
    let found = edge_list(graph, NodeId(0), 0)?;
    let ends = |end: usize| handles(found.iter().copied().skip(end).step_by(2));
    give(&ends(0)?, from, room)?;
    give(&ends(1)?, to, room)?;
    give_data(data, room)?;
    give_count(found.len() / 2, !from.is_null(), count)
}

/// The data of edges: all of them are plain dependencies.
fn give_data(data: Out<CUgraphEdgeData>, room: usize) -> Outcome {
    match data.is_null() {
        true => Ok(()),
        false => data.set_all(std::iter::repeat_n(CUgraphEdgeData::default(), room)),
    }
}

/// The nodes before a node (`which` 0) or behind it (1).
fn around(
    node: CUgraphNode,
    which: u32,
    place: Out<CUgraphNode>,
    data: Out<CUgraphEdgeData>,
    count: Out<usize>,
) -> Outcome {
    let node = resolve_node(node)?;
    let room = count.get()?;
    if place.is_null() && !data.is_null() {
        return Err(Status::INVALID_VALUE.into());
    }
    let found = edge_list(GraphId(0), node, which)?;
    let found = handles(found.into_iter().skip(which as usize).step_by(2))?;
    give(&found, place, room)?;
    give_data(data, room)?;
    give_count(found.len(), !place.is_null(), count)
}

fn change(
    graph: CUgraph,
    from: In<CUgraphNode>,
    to: In<CUgraphNode>,
    count: usize,
    remove: u32,
) -> Outcome {
    let graph = resolve(graph)?.id();
    let mut words = Vec::new();
    for at in 0..count {
        words.extend([resolve_node(from.at(at)?)?.0, resolve_node(to.at(at)?)?.0]);
    }
    let bytes = bytes_of(words);
    live()?.call(&GraphDependencies { graph, remove, edges: Tail::Inline(&bytes) })?;
    Ok(())
}

entry! {
    /// The nodes of a graph, or how many there are.
    sync fn cuGraphGetNodes(graph: CUgraph, nodes[count]: Out<CUgraphNode>, count: InOut<usize>) {
        self::nodes(graph, 0, nodes, count)
    }

    /// The nodes of a graph that depend on none, or how many there are.
    sync fn cuGraphGetRootNodes(graph: CUgraph, nodes[count]: Out<CUgraphNode>, count: InOut<usize>) {
        self::nodes(graph, 1, nodes, count)
    }

    /// The edges of a graph, or how many there are.
    sync fn cuGraphGetEdges(graph: CUgraph, from[count]: Out<CUgraphNode>, to[count]: Out<CUgraphNode>, count: InOut<usize>) {
        edges(graph, (from, to), Out::null(), count)
    }

    /// The edges of a graph with their data, or how many there are.
    sync fn cuGraphGetEdges_v2(graph: CUgraph, from[count]: Out<CUgraphNode>, to[count]: Out<CUgraphNode>, data[count]: Out<CUgraphEdgeData>, count: InOut<usize>) {
        edges(graph, (from, to), data, count)
    }

    /// What a node depends on, or how many there are.
    sync fn cuGraphNodeGetDependencies(node: CUgraphNode, nodes[count]: Out<CUgraphNode>, count: InOut<usize>) {
        around(node, 0, nodes, Out::null(), count)
    }

    /// What a node depends on with the edges' data, or how many there are.
    sync fn cuGraphNodeGetDependencies_v2(node: CUgraphNode, nodes[count]: Out<CUgraphNode>, data[count]: Out<CUgraphEdgeData>, count: InOut<usize>) {
        around(node, 0, nodes, data, count)
    }

    /// What depends on a node, or how many there are.
    sync fn cuGraphNodeGetDependentNodes(node: CUgraphNode, nodes[count]: Out<CUgraphNode>, count: InOut<usize>) {
        around(node, 1, nodes, Out::null(), count)
    }

    /// What depends on a node with the edges' data, or how many there are.
    sync fn cuGraphNodeGetDependentNodes_v2(node: CUgraphNode, nodes[count]: Out<CUgraphNode>, data[count]: Out<CUgraphEdgeData>, count: InOut<usize>) {
        around(node, 1, nodes, data, count)
    }

    /// Adds edges to a graph.
    sync fn cuGraphAddDependencies(graph: CUgraph, from[count]: In<CUgraphNode>, to[count]: In<CUgraphNode>, count: usize) {
        change(graph, from, to, count, 0)
    }

    /// Adds edges to a graph; their data must be the default.
    sync fn cuGraphAddDependencies_v2(graph: CUgraph, from[count]: In<CUgraphNode>, to[count]: In<CUgraphNode>, data[count]: In<CUgraphEdgeData>, count: usize) {
        only_default(data, count)?;
        change(graph, from, to, count, 0)
    }

    /// Removes edges of a graph.
    sync fn cuGraphRemoveDependencies(graph: CUgraph, from[count]: In<CUgraphNode>, to[count]: In<CUgraphNode>, count: usize) {
        change(graph, from, to, count, 1)
    }

    /// Removes edges of a graph; their data must be the default.
    sync fn cuGraphRemoveDependencies_v2(graph: CUgraph, from[count]: In<CUgraphNode>, to[count]: In<CUgraphNode>, data[count]: In<CUgraphEdgeData>, count: usize) {
        only_default(data, count)?;
        change(graph, from, to, count, 1)
    }
}
