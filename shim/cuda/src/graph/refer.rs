//! What nodes refer to: host functions, events, graphs inside them, and their copies in other graphs.

use super::node::{Remembered, graph_inside, number, remember, remembered};
use super::params::CUDA_HOST_NODE_PARAMS;
use super::{Exec, made, node_handle, resolve, resolve_exec, resolve_node};
use crate::arg::{In, Out};
use crate::event::EVENTS;
use crate::failure::{Failure, Outcome};
use crate::host_function;
use crate::session::live;
use crate::types::{CUevent, CUgraph, CUgraphExec, CUgraphNode};
use ringbar_vocabulary::{
    EventId, GraphId, GraphKernelAttribute, GraphKernelCopyAttributes, GraphNodeEnabled,
    GraphNodeFindInClone, GraphNodeObject, GraphSetChild, GraphSetEvent, GraphSetHost, NodeId,
    Status,
};

/// `CUgraphNodeType`.
const HOST: u32 = 3;
const GRAPH: u32 = 4;
const WAIT_EVENT: u32 = 6;
const RECORD_EVENT: u32 = 7;

fn ask(node: NodeId, kind: u32) -> Outcome<u64> {
    Ok(live()?.call(&GraphNodeObject { node, kind, graph: GraphId(0) })?.object)
}

/// What a host node calls: as the program said, or the function that a capture took.
fn host_params(node: NodeId) -> Outcome<CUDA_HOST_NODE_PARAMS> {
    if let Some(Remembered::Host(function, data)) = remembered(node) {
        let data = std::ptr::with_exposed_provenance_mut(data);
        return Ok(CUDA_HOST_NODE_PARAMS { function, data });
    }
    let token = ask(node, HOST)?;
    let (function, data) =
        host_function::program_of(token).ok_or(Failure(Status::NOT_SUPPORTED))?;
    Ok(CUDA_HOST_NODE_PARAMS { function, data })
}

/// Gives a host node another function. The one before stays known: executable graphs may go on to call it.
pub(super) fn set_host(
    node: NodeId,
    exec: Option<&Exec>,
    params: CUDA_HOST_NODE_PARAMS,
) -> Outcome {
    let token = host_function::register_for_graph(params.function, params.data)?;
    let set = live()?.call(&GraphSetHost { node, exec: number(exec), token });
    if set.is_err() {
        host_function::forget(token);
    }
    set?;
    if exec.is_none() {
        remember(node, Remembered::Host(params.function, params.data.expose_provenance()));
    }
    Ok(())
}

fn event_of(node: CUgraphNode, kind: u32) -> Outcome<CUevent> {
    let id = EventId(ask(resolve_node(node)?, kind)? as u32);
    let found = EVENTS.alive().find(|(_, event)| event.id == id);
    found.map(|(handle, _)| handle).ok_or(Failure(Status::INVALID_VALUE))
}

pub(super) fn set_event(node: NodeId, exec: Option<&Exec>, event: CUevent, wait: u32) -> Outcome {
    let known = EVENTS.get(event).ok_or(Failure(Status::INVALID_VALUE))?;
    live()?.call(&GraphSetEvent { node, exec: number(exec), event: known.id, wait })?;
    if wait == 0 {
        known.goes_into_graph();
    }
    Ok(())
}

pub(super) fn set_child(node: NodeId, exec: &Exec, child: CUgraph) -> Outcome {
    let child = resolve(child)?;
    live()?.call(&GraphSetChild { node, exec: exec.id, child: child.id() })?;
    // Launches before may still use what it held until now.
    exec.held.share(&child.held);
    Ok(())
}

/// The graph inside a node; it lives as long as the node.
fn inside(node: NodeId) -> Outcome<CUgraph> {
    graph_inside(node, || {
        let live = live()?;
        let graph = live.session.graph_id()?;
        let object = live.call(&GraphNodeObject { node, kind: GRAPH, graph })?.object;
        Ok(made(GraphId(object as u32))?.handle)
    })
}

entry! {
    /// What a host node calls.
    sync fn cuGraphHostNodeGetParams(node: CUgraphNode, params: Out<CUDA_HOST_NODE_PARAMS>) {
        let params = params.required()?;
        params.set(host_params(resolve_node(node)?)?)
    }

    /// Changes what a host node calls.
    sync fn cuGraphHostNodeSetParams(node: CUgraphNode, params: In<CUDA_HOST_NODE_PARAMS>) {
        set_host(resolve_node(node)?, None, params.get()?)
    }

    /// Changes what a host node of an executable graph calls.
    sync fn cuGraphExecHostNodeSetParams(exec: CUgraphExec, node: CUgraphNode, params: In<CUDA_HOST_NODE_PARAMS>) {
        set_host(resolve_node(node)?, Some(resolve_exec(exec)?), params.get()?)
    }

    /// The event that a node records.
    sync fn cuGraphEventRecordNodeGetEvent(node: CUgraphNode, event: Out<CUevent>) {
        let event = event.required()?;
        event.set(event_of(node, RECORD_EVENT)?)
    }

    /// The event that a node waits for.
    sync fn cuGraphEventWaitNodeGetEvent(node: CUgraphNode, event: Out<CUevent>) {
        let event = event.required()?;
        event.set(event_of(node, WAIT_EVENT)?)
    }

    /// Has a node record another event.
    sync fn cuGraphEventRecordNodeSetEvent(node: CUgraphNode, event: CUevent) {
        set_event(resolve_node(node)?, None, event, 0)
    }

    /// Has a node wait for another event.
    sync fn cuGraphEventWaitNodeSetEvent(node: CUgraphNode, event: CUevent) {
        set_event(resolve_node(node)?, None, event, 1)
    }

    /// Has a node of an executable graph record another event.
    sync fn cuGraphExecEventRecordNodeSetEvent(exec: CUgraphExec, node: CUgraphNode, event: CUevent) {
        set_event(resolve_node(node)?, Some(resolve_exec(exec)?), event, 0)
    }

    /// Has a node of an executable graph wait for another event.
    sync fn cuGraphExecEventWaitNodeSetEvent(exec: CUgraphExec, node: CUgraphNode, event: CUevent) {
        set_event(resolve_node(node)?, Some(resolve_exec(exec)?), event, 1)
    }

    /// The graph inside a node, which lives as long as the node.
    sync fn cuGraphChildGraphNodeGetGraph(node: CUgraphNode, graph: Out<CUgraph>) {
        let graph = graph.required()?;
        graph.set(inside(resolve_node(node)?)?)
    }

    /// Changes the graph inside a node of an executable graph into another of the same shape.
    sync fn cuGraphExecChildGraphNodeSetParams(exec: CUgraphExec, node: CUgraphNode, child: CUgraph) {
        set_child(resolve_node(node)?, resolve_exec(exec)?, child)
    }

    /// Enables or disables a node of an executable graph: a disabled one is passed over at a launch.
    sync fn cuGraphNodeSetEnabled(exec: CUgraphExec, node: CUgraphNode, enabled: u32) {
        let (exec, node) = (resolve_exec(exec)?.id, resolve_node(node)?);
        let enabled = u32::from(enabled != 0);
        live()?.call(&GraphNodeEnabled { node, exec, set: 1, enabled })?;
        Ok(())
    }

    /// Whether a node of an executable graph is enabled.
    sync fn cuGraphNodeGetEnabled(exec: CUgraphExec, node: CUgraphNode, enabled: Out<u32>) {
        let enabled = enabled.required()?;
        let (exec, node) = (resolve_exec(exec)?.id, resolve_node(node)?);
        enabled.set(live()?.call(&GraphNodeEnabled { node, exec, set: 0, enabled: 0 })?.enabled)
    }

    /// An attribute of a kernel node.
    sync fn cuGraphKernelNodeGetAttribute(node: CUgraphNode, attribute: u32, value: Out<[u64; 4]>) {
        let value = value.required()?;
        let (node, none) = (resolve_node(node)?, [0; 4]);
        let ask = GraphKernelAttribute { node, attribute, set: 0, value: none };
        value.set(live()?.call(&ask)?.value)
    }

    /// Sets an attribute of a kernel node.
    sync fn cuGraphKernelNodeSetAttribute(node: CUgraphNode, attribute: u32, value: In<[u64; 4]>) {
        let (node, value) = (resolve_node(node)?, value.get()?);
        live()?.call(&GraphKernelAttribute { node, attribute, set: 1, value })?;
        Ok(())
    }

    /// Gives a kernel node the attributes of another.
    sync fn cuGraphKernelNodeCopyAttributes(dst: CUgraphNode, src: CUgraphNode) {
        let (dst, src) = (resolve_node(dst)?, resolve_node(src)?);
        live()?.call(&GraphKernelCopyAttributes { dst, src })?;
        Ok(())
    }

    /// The node of a copied graph that is the copy of a node.
    sync fn cuGraphNodeFindInClone(found: Out<CUgraphNode>, node: CUgraphNode, copy: CUgraph) {
        let found = found.required()?;
        let (node, graph) = (resolve_node(node)?, resolve(copy)?.id());
        found.set(node_handle(live()?.call(&GraphNodeFindInClone { node, graph })?.node)?)
    }
}
