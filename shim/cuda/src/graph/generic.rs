//! Nodes of any kind by one function.

use super::add::Spot;
use super::node::{set_kernel, set_memcpy, set_memset};
use super::params::{CUgraphEdgeData, CUgraphNodeParams, only_default};
use super::refer::{set_child, set_event, set_host};
use super::{Exec, node_handle, resolve_exec, resolve_node};
use crate::arg::{In, InOut, Out};
use crate::failure::Outcome;
use crate::types::{CUgraph, CUgraphExec, CUgraphNode};
use ringbar_vocabulary::{DevicePtr, NodeId, Status};

/// `CU_GRAPH_NODE_TYPE_MEM_ALLOC`.
const ALLOCATION: u32 = 10;

/// Reads the part of the union that the node's kind says is there.
macro_rules! part {
    ($params:ident.$part:ident) => {
        // SAFETY: the kind says that this part was written, and every part is plain numbers.
        unsafe { $params.of.$part }
    };
}

fn add(spot: &Spot, params: &mut CUgraphNodeParams) -> Outcome<NodeId> {
    match params.kind {
        0 => spot.kernel(&part!(params.kernel)),
        1 => {
            let memcpy = part!(params.memcpy);
            spot.memcpy(memcpy.copy, memcpy.context)
        }
        2 => {
            let memset = part!(params.memset);
            spot.memset(memset.first, memset.context)
        }
        3 => spot.host(part!(params.host)),
        4 => {
            let child = part!(params.child);
            // A child that moves into the graph would end the program's own handle of it.
            if child.ownership != 0 {
                Err(Status::NOT_SUPPORTED.into())
            } else {
                spot.child(child.graph)
            }
        }
        5 => spot.empty(),
        6 => spot.event(part!(params.event), 1),
        7 => spot.event(part!(params.event), 0),
        10 => {
            let mut alloc = part!(params.alloc);
            let node = alloc.add(spot)?;
            params.of.alloc = alloc;
            Ok(node)
        }
        11 => spot.mem_free(DevicePtr(part!(params.at))),
        8..=13 => Err(Status::NOT_SUPPORTED.into()),
        _ => Err(Status::INVALID_VALUE.into()),
    }
}

/// The same for parameters of the program's, into which the address of an allocation is written.
fn add_named(spot: &Spot, place: InOut<CUgraphNodeParams>) -> Outcome<CUgraphNode> {
    let mut params = place.get()?;
    let node = add(spot, &mut params)?;
    if params.kind == ALLOCATION {
        place.set(params)?;
    }
    node_handle(node)
}

fn set(node: CUgraphNode, exec: Option<&Exec>, params: &CUgraphNodeParams) -> Outcome {
    let node = resolve_node(node)?;
    match params.kind {
        0 => set_kernel(node, exec, &part!(params.kernel)),
        1 => {
            let memcpy = part!(params.memcpy);
            set_memcpy(node, exec, memcpy.copy, memcpy.context)
        }
        2 => {
            let memset = part!(params.memset);
            set_memset(node, exec, memset.first, memset.context)
        }
        3 => set_host(node, exec, part!(params.host)),
        4 => match exec {
            Some(exec) => set_child(node, exec, part!(params.child).graph),
            None => Err(Status::NOT_SUPPORTED.into()),
        },
        6 => set_event(node, exec, part!(params.event), 1),
        7 => set_event(node, exec, part!(params.event), 0),
        5 | 8..=13 => Err(Status::NOT_SUPPORTED.into()),
        _ => Err(Status::INVALID_VALUE.into()),
    }
}

entry! {
    /// Adds a node of any kind that has an own function as well.
    sync fn cuGraphAddNode(node: Out<CUgraphNode>, graph: CUgraph, dependencies[count]: In<CUgraphNode>, count: usize, params: InOut<CUgraphNodeParams>) {
        let (node, params) = (node.required()?, params.required()?);
        node.set(add_named(&Spot::new(graph, dependencies, count)?, params)?)
    }

    /// The same with data of the edges, which must be the default.
    sync fn cuGraphAddNode_v2(node: Out<CUgraphNode>, graph: CUgraph, dependencies[count]: In<CUgraphNode>, data[count]: In<CUgraphEdgeData>, count: usize, params: InOut<CUgraphNodeParams>) {
        let (node, params) = (node.required()?, params.required()?);
        only_default(data, count)?;
        node.set(add_named(&Spot::new(graph, dependencies, count)?, params)?)
    }

    /// Changes a kernel, copy or memset node.
    sync fn cuGraphNodeSetParams(node: CUgraphNode, params: In<CUgraphNodeParams>) {
        set(node, None, &params.get()?)
    }

    /// Changes a kernel, copy or memset node of an executable graph.
    sync fn cuGraphExecNodeSetParams(exec: CUgraphExec, node: CUgraphNode, params: In<CUgraphNodeParams>) {
        set(node, Some(resolve_exec(exec)?), &params.get()?)
    }
}
