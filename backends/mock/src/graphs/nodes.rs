//! Graphs and their nodes, as commands build and ask for them.

use super::{Graph, Task};
use crate::gpu::MockGpu;
use crate::kernel::Geometry;
use crate::launch::{check_function, check_geometry};
use crate::work::{Copy, Fill, Launch, Work};
use ringbar_backend::Context;
use ringbar_vocabulary::*;
use std::collections::BTreeSet;
use std::sync::{Arc, PoisonError};

/// Node numbers of one command at most, in bytes.
const NODES_MAX_BYTES: usize = 8 << 17;

/// The numbers in a tail, 8 bytes each.
pub(super) fn words(cx: &mut Context<'_>, tail: Tail<'_>) -> Result<Vec<u64>, Status> {
    let mut scratch = Vec::new();
    let bytes = cx.tail(tail, &mut scratch, NODES_MAX_BYTES)?;
    let (words, rest) = bytes.as_chunks::<8>();
    if !rest.is_empty() {
        return Err(Status::INVALID_VALUE);
    }
    Ok(words.iter().map(|word| u64::from_le_bytes(*word)).collect())
}

/// Writes as many numbers as have room.
pub(super) fn write_words(
    cx: &mut Context<'_>,
    block: ArenaRef,
    words: &[u64],
) -> Result<(), Status> {
    let room = (block.len / 8).min(words.len() as u64);
    let bytes: Vec<u8> =
        words[..room as usize].iter().flat_map(|word| word.to_le_bytes()).collect();
    match block.part(0, bytes.len() as u64) {
        Some(place) if !bytes.is_empty() => cx.write_arena(place, &bytes),
        _ => Ok(()),
    }
}

fn no_twice(nodes: Vec<u64>) -> Result<BTreeSet<u64>, Status> {
    let count = nodes.len();
    let set: BTreeSet<u64> = nodes.into_iter().collect();
    if set.len() == count { Ok(set) } else { Err(Status::INVALID_VALUE) }
}

impl MockGpu {
    pub(super) fn graph(&mut self, graph: GraphId) -> Result<&mut Graph, Status> {
        self.ready()?;
        self.graphs.get_mut(graph.0)
    }

    /// The graph that has a node.
    pub(super) fn graph_with(&mut self, node: NodeId) -> Result<&mut Graph, Status> {
        self.ready()?;
        let graphs = self.graphs.values_mut();
        let mut graphs = graphs.filter(|graph| graph.nodes.contains_key(&node.0));
        graphs.next().ok_or(Status::INVALID_VALUE)
    }

    /// The task of a node, in its graph or in an executable one.
    pub(super) fn task(&mut self, node: NodeId, exec: GraphExecId) -> Result<&mut Task, Status> {
        let graph = match exec.0 {
            0 => self.graph_with(node)?,
            exec => Arc::make_mut(&mut self.execs.get_mut(exec)?.graph),
        };
        let found = graph.nodes.get_mut(&node.0).ok_or(Status::INVALID_VALUE)?;
        Ok(&mut found.task)
    }

    pub(super) fn add_node(
        &mut self,
        graph: GraphId,
        task: Task,
        after: Vec<u64>,
    ) -> Result<NodeId, Status> {
        let after = no_twice(after)?;
        let node = self.next_node;
        self.graph(graph)?.add(node, task, after)?;
        self.next_node += 1;
        Ok(NodeId(node))
    }

    fn add_work(
        &mut self,
        cx: &mut Context<'_>,
        graph: GraphId,
        work: Work,
        nodes: Tail<'_>,
    ) -> Result<NodeId, Status> {
        let after = words(cx, nodes)?;
        self.add_node(graph, Task::Work(work), after)
    }

    pub(crate) fn graph_create(
        &mut self,
        _cx: &mut Context<'_>,
        command: GraphCreate,
    ) -> Result<GraphCreateReply, Status> {
        self.ready()?;
        self.new_graph(command.graph, Graph::default())?;
        Ok(GraphCreateReply {})
    }

    pub(super) fn new_graph(&mut self, id: GraphId, graph: Graph) -> Result<(), Status> {
        if id.0 == 0 {
            return Err(Status::INVALID_HANDLE);
        }
        self.graphs.add(id.0, graph)
    }

    pub(crate) fn graph_destroy(
        &mut self,
        _cx: &mut Context<'_>,
        command: GraphDestroy,
    ) -> Result<(), Status> {
        self.ready()?;
        drop(self.graphs.remove(command.graph.0)?);
        self.free_abandoned()
    }

    /// Gives back the memory of graphs that are gone, after the work posted before.
    pub(super) fn free_abandoned(&mut self) -> Result<(), Status> {
        let mut abandoned = self.abandoned.lock().unwrap_or_else(PoisonError::into_inner);
        let abandoned = std::mem::take(&mut *abandoned);
        abandoned.into_iter().try_for_each(|at| self.engine.free(at))
    }

    pub(crate) fn graph_clone(
        &mut self,
        _cx: &mut Context<'_>,
        command: GraphClone,
    ) -> Result<GraphCloneReply, Status> {
        let mut next = self.next_node;
        let copy = self.graph(command.original)?.renumbered(&mut next);
        self.new_graph(command.graph, copy)?;
        self.next_node = next;
        Ok(GraphCloneReply {})
    }

    pub(crate) fn graph_nodes(
        &mut self,
        cx: &mut Context<'_>,
        command: GraphNodes,
    ) -> Result<GraphNodesReply, Status> {
        cx.check_arena(command.nodes)?;
        let nodes = self.graph(command.graph)?.nodes.iter();
        let wanted = nodes.filter(|(_, node)| command.roots == 0 || node.after.is_empty());
        let nodes: Vec<u64> = wanted.map(|(&id, _)| id).collect();
        write_words(cx, command.nodes, &nodes)?;
        Ok(GraphNodesReply { count: nodes.len() as u64 })
    }

    pub(crate) fn graph_edges(
        &mut self,
        cx: &mut Context<'_>,
        command: GraphEdges,
    ) -> Result<GraphEdgesReply, Status> {
        cx.check_arena(command.edges)?;
        let NodeId(node) = command.node;
        let edges: Vec<(u64, u64)> = match (command.graph.0, command.which) {
            (0, 0) => {
                self.graph_with(command.node)?.edges().into_iter().filter(|e| e.1 == node).collect()
            }
            (0, 1) => {
                self.graph_with(command.node)?.edges().into_iter().filter(|e| e.0 == node).collect()
            }
            (0, _) => return Err(Status::INVALID_VALUE),
            _ => self.graph(command.graph)?.edges(),
        };
        let count = edges.len() as u64;
        // An edge is written whole or not at all.
        let room = (command.edges.len / 16).min(count) as usize;
        let ends: Vec<u64> = edges[..room].iter().flat_map(|&(from, to)| [from, to]).collect();
        write_words(cx, command.edges, &ends)?;
        Ok(GraphEdgesReply { count })
    }

    /// A launch for a node, checked as one in a stream.
    fn node_launch(
        &mut self,
        function: FunctionId,
        geometry: Geometry,
        params: &[u8],
    ) -> Result<Launch, Status> {
        self.ready()?;
        check_geometry(&geometry)?;
        let found = self.functions.get(function.0)?;
        check_function(found, &geometry, params.len())?;
        Ok(Launch { function, kernel: found.kernel.clone(), params: params.into(), geometry })
    }

    pub(crate) fn graph_add_kernel(
        &mut self,
        cx: &mut Context<'_>,
        command: GraphAddKernel<'_>,
    ) -> Result<GraphAddKernelReply, Status> {
        let GraphAddKernel { graph, function, grid, block, shared_bytes, .. } = command;
        let mut scratch = Vec::new();
        let limit = NODES_MAX_BYTES + PARAM_BLOCK_MAX_BYTES;
        let body = cx.tail(command.body, &mut scratch, limit)?;
        let split = (command.dependencies as usize).checked_mul(8);
        let parts = split.and_then(|split| body.split_at_checked(split));
        let (nodes, params) = parts.ok_or(Status::INVALID_VALUE)?;
        let after = nodes.as_chunks::<8>().0.iter().map(|word| u64::from_le_bytes(*word)).collect();
        let geometry = Geometry { grid, block, shared_bytes, stream: StreamId::DEFAULT };
        let launch = self.node_launch(function, geometry, params)?;
        let node = self.add_node(graph, Task::Work(Work::Kernel(launch)), after)?;
        Ok(GraphAddKernelReply { node })
    }

    pub(crate) fn graph_add_memset(
        &mut self,
        cx: &mut Context<'_>,
        command: GraphAddMemset<'_>,
    ) -> Result<GraphAddMemsetReply, Status> {
        self.context(command.context)?;
        let GraphAddMemset { graph, dst, pitch, width, height, value, element_bytes, .. } = command;
        if ![1, 2, 4].contains(&element_bytes) {
            return Err(Status::INVALID_VALUE);
        }
        let fill = Fill { dst, pitch, width, height, value, element_bytes };
        let node = self.add_work(cx, graph, Work::Fill(fill), command.nodes)?;
        Ok(GraphAddMemsetReply { node })
    }

    pub(crate) fn graph_add_memcpy(
        &mut self,
        cx: &mut Context<'_>,
        command: GraphAddMemcpy<'_>,
    ) -> Result<GraphAddMemcpyReply, Status> {
        self.context(command.context)?;
        let GraphAddMemcpy { graph, dst, src, width_bytes: width, height, depth, host, .. } =
            command;
        let copy = Copy { dst, src, width, height, depth, host };
        let node = self.add_work(cx, graph, Work::Copy(copy), command.nodes)?;
        Ok(GraphAddMemcpyReply { node })
    }

    pub(crate) fn graph_add_host(
        &mut self,
        cx: &mut Context<'_>,
        command: GraphAddHost<'_>,
    ) -> Result<GraphAddHostReply, Status> {
        self.check_host_functions()?;
        let work = Work::Host { token: command.token };
        let node = self.add_work(cx, command.graph, work, command.nodes)?;
        Ok(GraphAddHostReply { node })
    }

    pub(crate) fn graph_add_empty(
        &mut self,
        cx: &mut Context<'_>,
        command: GraphAddEmpty<'_>,
    ) -> Result<GraphAddEmptyReply, Status> {
        let after = words(cx, command.nodes)?;
        let node = self.add_node(command.graph, Task::Empty, after)?;
        Ok(GraphAddEmptyReply { node })
    }

    pub(crate) fn graph_add_event(
        &mut self,
        cx: &mut Context<'_>,
        command: GraphAddEvent<'_>,
    ) -> Result<GraphAddEventReply, Status> {
        self.ready()?;
        let event = command.event.0;
        self.events.get(event)?;
        let work = match command.wait {
            0 => Work::Record { event },
            1 => Work::WaitEvent { event },
            _ => return Err(Status::INVALID_VALUE),
        };
        let node = self.add_work(cx, command.graph, work, command.nodes)?;
        Ok(GraphAddEventReply { node })
    }

    pub(crate) fn graph_add_child(
        &mut self,
        cx: &mut Context<'_>,
        command: GraphAddChild<'_>,
    ) -> Result<GraphAddChildReply, Status> {
        let child = self.graph(command.child)?.clone();
        let after = words(cx, command.nodes)?;
        let node = self.add_node(command.graph, Task::Child(child), after)?;
        Ok(GraphAddChildReply { node })
    }

    pub(crate) fn graph_dependencies(
        &mut self,
        cx: &mut Context<'_>,
        command: GraphDependencies<'_>,
    ) -> Result<GraphDependenciesReply, Status> {
        let ends = words(cx, command.edges)?;
        let graph = self.graph(command.graph)?;
        let (edges, rest) = ends.as_chunks::<2>();
        let known = |node: &u64| graph.nodes.contains_key(node);
        let has = |[from, to]: &[u64; 2]| graph.nodes[to].after.contains(from);
        let remove = command.remove != 0;
        let good =
            |edge: &[u64; 2]| edge.iter().all(known) && edge[0] != edge[1] && has(edge) == remove;
        if !rest.is_empty() || !edges.iter().all(good) {
            return Err(Status::INVALID_VALUE);
        }
        for [from, to] in edges {
            if let Some(node) = graph.nodes.get_mut(to) {
                if remove {
                    node.after.remove(from)
                } else {
                    node.after.insert(*from)
                };
            }
        }
        Ok(GraphDependenciesReply {})
    }

    pub(crate) fn graph_node_type(
        &mut self,
        _cx: &mut Context<'_>,
        command: GraphNodeType,
    ) -> Result<GraphNodeTypeReply, Status> {
        let kind = self.task(command.node, GraphExecId(0))?.kind();
        Ok(GraphNodeTypeReply { kind })
    }

    pub(crate) fn graph_node_destroy(
        &mut self,
        _cx: &mut Context<'_>,
        command: GraphNodeDestroy,
    ) -> Result<GraphNodeDestroyReply, Status> {
        self.graph_with(command.node)?.remove(command.node.0);
        Ok(GraphNodeDestroyReply {})
    }

    pub(crate) fn graph_kernel_params(
        &mut self,
        cx: &mut Context<'_>,
        command: GraphKernelParams,
    ) -> Result<GraphKernelParamsReply, Status> {
        cx.check_arena(command.params)?;
        let Task::Work(Work::Kernel(launch)) = self.task(command.node, GraphExecId(0))? else {
            return Err(Status::INVALID_VALUE);
        };
        let Launch { function, params, geometry, .. } = launch;
        let Geometry { grid, block, shared_bytes, .. } = *geometry;
        if let Some(place) = command.params.part(0, params.len() as u64) {
            cx.write_arena(place, params)?;
        }
        let (function, param_bytes) = (*function, params.len() as u32);
        Ok(GraphKernelParamsReply { function, grid, block, shared_bytes, param_bytes })
    }

    pub(crate) fn graph_set_kernel_params(
        &mut self,
        cx: &mut Context<'_>,
        command: GraphSetKernelParams<'_>,
    ) -> Result<GraphSetKernelParamsReply, Status> {
        let GraphSetKernelParams { node, exec, function, grid, block, shared_bytes, .. } = command;
        let mut scratch = Vec::new();
        let params = cx.tail(command.params, &mut scratch, PARAM_BLOCK_MAX_BYTES)?;
        let geometry = Geometry { grid, block, shared_bytes, stream: StreamId::DEFAULT };
        let launch = self.node_launch(function, geometry, params)?;
        match self.task(node, exec)? {
            Task::Work(Work::Kernel(place)) => *place = launch,
            _ => return Err(Status::INVALID_VALUE),
        }
        Ok(GraphSetKernelParamsReply {})
    }

    pub(crate) fn graph_set_memset(
        &mut self,
        _cx: &mut Context<'_>,
        command: GraphSetMemset,
    ) -> Result<GraphSetMemsetReply, Status> {
        self.context(command.context)?;
        let GraphSetMemset { node, exec, dst, pitch, width, height, value, element_bytes, .. } =
            command;
        match self.task(node, exec)? {
            Task::Work(Work::Fill(place)) if [1, 2, 4].contains(&element_bytes) => {
                *place = Fill { dst, pitch, width, height, value, element_bytes };
            }
            _ => return Err(Status::INVALID_VALUE),
        }
        Ok(GraphSetMemsetReply {})
    }

    pub(crate) fn graph_set_memcpy(
        &mut self,
        _cx: &mut Context<'_>,
        command: GraphSetMemcpy,
    ) -> Result<GraphSetMemcpyReply, Status> {
        self.context(command.context)?;
        let GraphSetMemcpy {
            node, exec, dst, src, width_bytes: width, height, depth, host, ..
        } = command;
        match self.task(node, exec)? {
            Task::Work(place @ (Work::Copy(_) | Work::Bytes { .. })) => {
                *place = Work::Copy(Copy { dst, src, width, height, depth, host });
            }
            _ => return Err(Status::INVALID_VALUE),
        }
        Ok(GraphSetMemcpyReply {})
    }
}
