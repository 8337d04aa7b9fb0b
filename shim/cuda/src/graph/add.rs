//! Adding nodes.

use super::node::{Remembered, remember};
use super::params::*;
use super::{Graph, bytes_of, node_handle, resolve, resolve_node};
use crate::arg::{In, Out};
use crate::failure::Outcome;
use crate::memory::plan::CUDA_MEMCPY3D;
use crate::session::live;
use crate::types::{CUcontext, CUevent, CUgraph, CUgraphNode};
use crate::{event, host_function};
use ringbar_vocabulary::{
    DevicePtr, GraphAddChild, GraphAddEmpty, GraphAddEvent, GraphAddHost, GraphAddKernel,
    GraphAddMemAlloc, GraphAddMemAllocReply, GraphAddMemFree, NodeId, Tail,
};

/// Where a node goes: its graph, and what it depends on, as it travels.
pub(super) struct Spot {
    graph: &'static Graph,
    nodes: Vec<u8>,
    count: u32,
}

impl Spot {
    pub(super) fn new(
        graph: CUgraph,
        dependencies: In<CUgraphNode>,
        count: usize,
    ) -> Outcome<Self> {
        let graph = resolve(graph)?;
        let nodes = dependencies.all(count)?;
        let nodes: Outcome<Vec<u64>> =
            nodes.into_iter().map(|node| Ok(resolve_node(node)?.0)).collect();
        Ok(Self { graph, nodes: bytes_of(nodes?), count: count as u32 })
    }

    fn tail(&self) -> Tail<'_> {
        Tail::Inline(&self.nodes)
    }

    pub(super) fn kernel(&self, params: &CUDA_KERNEL_NODE_PARAMS_v2) -> Outcome<NodeId> {
        params.with(|function, shape, block| {
            let mut body = self.nodes.clone();
            body.extend_from_slice(block);
            let command = GraphAddKernel {
                graph: self.graph.id(),
                function: function.id,
                grid: shape.grid,
                block: shape.block,
                shared_bytes: shape.shared_bytes,
                dependencies: self.count,
                body: Tail::Inline(&body),
            };
            Ok(live()?.call(&command)?.node)
        })
    }

    pub(super) fn memset(
        &self,
        params: CUDA_MEMSET_NODE_PARAMS_v1,
        context: CUcontext,
    ) -> Outcome<NodeId> {
        Ok(live()?.call(&params.command(self.graph.id(), context, &self.nodes)?)?.node)
    }

    pub(super) fn memcpy(&self, copy: CUDA_MEMCPY3D, context: CUcontext) -> Outcome<NodeId> {
        let node =
            live()?.call(&memcpy_command(&copy, self.graph.id(), context, &self.nodes)?)?.node;
        remember(node, Remembered::Memcpy(copy));
        Ok(node)
    }

    pub(super) fn host(&self, params: CUDA_HOST_NODE_PARAMS) -> Outcome<NodeId> {
        // Executable graphs made of this one go on to call it, so it is never forgotten.
        let token = host_function::register_for_graph(params.function, params.data)?;
        let added =
            live()?.call(&GraphAddHost { graph: self.graph.id(), token, nodes: self.tail() });
        if added.is_err() {
            host_function::forget(token);
        }
        let node = added?.node;
        let data = params.data.expose_provenance();
        remember(node, Remembered::Host(params.function, data));
        Ok(node)
    }

    pub(super) fn empty(&self) -> Outcome<NodeId> {
        Ok(live()?.call(&GraphAddEmpty { graph: self.graph.id(), nodes: self.tail() })?.node)
    }

    pub(super) fn event(&self, handle: CUevent, wait: u32) -> Outcome<NodeId> {
        let known = event::get(handle)?;
        let (event, nodes) = (known.id, self.tail());
        let node =
            live()?.call(&GraphAddEvent { graph: self.graph.id(), event, wait, nodes })?.node;
        if wait == 0 {
            known.goes_into_graph();
        }
        Ok(node)
    }

    pub(super) fn mem_alloc(
        &self,
        device: u32,
        bytes: u64,
        reached_by: u64,
    ) -> Outcome<GraphAddMemAllocReply> {
        let (graph, nodes) = (self.graph.id(), self.tail());
        live()?.call(&GraphAddMemAlloc { graph, device, bytes, reached_by, nodes })
    }

    pub(super) fn mem_free(&self, at: DevicePtr) -> Outcome<NodeId> {
        let (graph, nodes) = (self.graph.id(), self.tail());
        Ok(live()?.call(&GraphAddMemFree { graph, at, nodes })?.node)
    }

    pub(super) fn child(&self, child: CUgraph) -> Outcome<NodeId> {
        let child = resolve(child)?;
        let (graph, nodes) = (self.graph.id(), self.tail());
        let node = live()?.call(&GraphAddChild { graph, child: child.id(), nodes })?.node;
        self.graph.held.share(&child.held);
        Ok(node)
    }
}

entry! {
    /// Adds a kernel launch to a graph.
    sync fn cuGraphAddKernelNode(node: Out<CUgraphNode>, graph: CUgraph, dependencies[count]: In<CUgraphNode>, count: usize, params: In<CUDA_KERNEL_NODE_PARAMS_v1>) {
        let node = node.required()?;
        let params = params.get()?.into();
        node.set(node_handle(Spot::new(graph, dependencies, count)?.kernel(&params)?)?)
    }

    /// The same with a kernel or context of its own.
    sync fn cuGraphAddKernelNode_v2(node: Out<CUgraphNode>, graph: CUgraph, dependencies[count]: In<CUgraphNode>, count: usize, params: In<CUDA_KERNEL_NODE_PARAMS_v2>) {
        let node = node.required()?;
        let params = params.get()?;
        node.set(node_handle(Spot::new(graph, dependencies, count)?.kernel(&params)?)?)
    }

    /// Adds a copy to a graph; both ends must be device or pinned memory.
    sync fn cuGraphAddMemcpyNode(node: Out<CUgraphNode>, graph: CUgraph, dependencies[count]: In<CUgraphNode>, count: usize, copy: In<CUDA_MEMCPY3D>, context: CUcontext) {
        let node = node.required()?;
        let copy = copy.get()?;
        node.set(node_handle(Spot::new(graph, dependencies, count)?.memcpy(copy, context)?)?)
    }

    /// Adds a fill to a graph.
    sync fn cuGraphAddMemsetNode(node: Out<CUgraphNode>, graph: CUgraph, dependencies[count]: In<CUgraphNode>, count: usize, params: In<CUDA_MEMSET_NODE_PARAMS_v1>, context: CUcontext) {
        let node = node.required()?;
        let params = params.get()?;
        node.set(node_handle(Spot::new(graph, dependencies, count)?.memset(params, context)?)?)
    }

    /// Adds a function of the program to a graph.
    sync fn cuGraphAddHostNode(node: Out<CUgraphNode>, graph: CUgraph, dependencies[count]: In<CUgraphNode>, count: usize, params: In<CUDA_HOST_NODE_PARAMS>) {
        let node = node.required()?;
        let params = params.get()?;
        node.set(node_handle(Spot::new(graph, dependencies, count)?.host(params)?)?)
    }

    /// Adds a copy of a graph to a graph as one node.
    sync fn cuGraphAddChildGraphNode(node: Out<CUgraphNode>, graph: CUgraph, dependencies[count]: In<CUgraphNode>, count: usize, child: CUgraph) {
        let node = node.required()?;
        node.set(node_handle(Spot::new(graph, dependencies, count)?.child(child)?)?)
    }

    /// Adds a node that does nothing to a graph.
    sync fn cuGraphAddEmptyNode(node: Out<CUgraphNode>, graph: CUgraph, dependencies[count]: In<CUgraphNode>, count: usize) {
        let node = node.required()?;
        node.set(node_handle(Spot::new(graph, dependencies, count)?.empty()?)?)
    }

    /// Adds the record of an event to a graph.
    sync fn cuGraphAddEventRecordNode(node: Out<CUgraphNode>, graph: CUgraph, dependencies[count]: In<CUgraphNode>, count: usize, event: CUevent) {
        let node = node.required()?;
        node.set(node_handle(Spot::new(graph, dependencies, count)?.event(event, 0)?)?)
    }

    /// Adds a wait for an event to a graph.
    sync fn cuGraphAddEventWaitNode(node: Out<CUgraphNode>, graph: CUgraph, dependencies[count]: In<CUgraphNode>, count: usize, event: CUevent) {
        let node = node.required()?;
        node.set(node_handle(Spot::new(graph, dependencies, count)?.event(event, 1)?)?)
    }
}
