//! Parameters of nodes as C lays them out, and what they mean for the executor.

use super::memory::CUDA_MEM_ALLOC_NODE_PARAMS;
use crate::arg::In;
use crate::context;
use crate::failure::Outcome;
use crate::function::{Function, Params, Shape, function_in};
use crate::memory;
use crate::memory::place::classify;
use crate::memory::plan::{CUDA_MEMCPY3D, Side};
use crate::types::{CUcontext, CUdeviceptr, CUevent, CUfunction, CUgraph, CUhostFn, CUkernel};
use ringbar_vocabulary::{
    Corner, DevicePtr, GraphAddMemcpy, GraphAddMemset, GraphId, Status, Tail,
};
use std::ffi::c_void;

/// `CUgraphEdgeData`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CUgraphEdgeData {
    /// Which end of the node before: 0 its completion.
    pub from_port: u8,
    /// Which part of the node behind: 0 all of it.
    pub to_port: u8,
    /// `CUgraphDependencyType`.
    pub kind: u8,
    /// Zeros.
    pub reserved: [u8; 5],
}

/// NOT_SUPPORTED for edges that are no plain dependencies.
pub(super) fn only_default(edges: In<CUgraphEdgeData>, count: usize) -> Outcome {
    let count = if edges.is_null() { 0 } else { count };
    match edges.all(count)?.iter().all(|edge| *edge == CUgraphEdgeData::default()) {
        true => Ok(()),
        false => Err(Status::NOT_SUPPORTED.into()),
    }
}

/// `CUDA_KERNEL_NODE_PARAMS_v1`.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct CUDA_KERNEL_NODE_PARAMS_v1 {
    /// The function.
    pub function: CUfunction,
    /// Blocks in x, y, z.
    pub grid: [u32; 3],
    /// Threads of a block in x, y, z.
    pub block: [u32; 3],
    /// Dynamic shared memory in bytes.
    pub shared_bytes: u32,
    /// A pointer to each parameter.
    pub params: *const *const c_void,
    /// Pairs that name a parameter block.
    pub extra: *const *const c_void,
}

/// `CUDA_KERNEL_NODE_PARAMS_v2` and `_v3`.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct CUDA_KERNEL_NODE_PARAMS_v2 {
    /// What version 1 had.
    pub first: CUDA_KERNEL_NODE_PARAMS_v1,
    /// A kernel, if there is no function.
    pub kernel: CUkernel,
    /// The context it runs in; null for the current one.
    pub context: CUcontext,
}

impl From<CUDA_KERNEL_NODE_PARAMS_v1> for CUDA_KERNEL_NODE_PARAMS_v2 {
    fn from(first: CUDA_KERNEL_NODE_PARAMS_v1) -> Self {
        Self { first, kernel: CUkernel::NULL, context: CUcontext::NULL }
    }
}

impl CUDA_KERNEL_NODE_PARAMS_v2 {
    /// Checks them and hands over function, shape and parameter block.
    pub(super) fn with<T>(
        &self,
        run: impl FnOnce(&'static Function, Shape, &[u8]) -> Outcome<T>,
    ) -> Outcome<T> {
        let first = self.first;
        let context = context::resolve_or_current(self.context)?;
        let handle = if first.function.is_null() { self.kernel } else { first.function };
        let function = function_in(handle, context)?;
        let shape =
            Shape { grid: first.grid, block: first.block, shared_bytes: first.shared_bytes };
        let params = Params { each: first.params, extra: first.extra };
        params.with_block(function, |block| run(function, shape, block))
    }
}

/// `CUDA_MEMSET_NODE_PARAMS_v1`.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct CUDA_MEMSET_NODE_PARAMS_v1 {
    /// The first byte.
    pub dst: CUdeviceptr,
    /// Bytes from row to row.
    pub pitch: usize,
    /// The value.
    pub value: u32,
    /// 1, 2 or 4.
    pub element_bytes: u32,
    /// Values of a row.
    pub width: usize,
    /// Rows.
    pub height: usize,
}

/// `CUDA_MEMSET_NODE_PARAMS_v2`.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct CUDA_MEMSET_NODE_PARAMS_v2 {
    /// What version 1 had.
    pub first: CUDA_MEMSET_NODE_PARAMS_v1,
    /// The context; null for the current one.
    pub context: CUcontext,
}

impl CUDA_MEMSET_NODE_PARAMS_v1 {
    /// As the executor takes it, for a graph and nodes to be named yet.
    pub(super) fn command<'a>(
        &self,
        graph: GraphId,
        context: CUcontext,
        nodes: &'a [u8],
    ) -> Outcome<GraphAddMemset<'a>> {
        let context = context::resolve_or_current(context)?.id;
        if !matches!(self.element_bytes, 1 | 2 | 4) || self.width == 0 || self.height == 0 {
            return Err(Status::INVALID_VALUE.into());
        }
        Ok(GraphAddMemset {
            graph,
            context,
            dst: DevicePtr(self.dst),
            pitch: self.pitch as u64,
            width: self.width as u64,
            height: self.height as u64,
            value: self.value,
            element_bytes: self.element_bytes,
            nodes: Tail::Inline(nodes),
        })
    }
}

/// `CUDA_MEMCPY_NODE_PARAMS`.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct CUDA_MEMCPY_NODE_PARAMS {
    /// Must be 0.
    pub flags: i32,
    /// Must be 0.
    pub reserved: i32,
    /// The context; null for the current one.
    pub context: CUcontext,
    /// The copy.
    pub copy: CUDA_MEMCPY3D,
}

/// A copy as the executor takes it. Both ends must be device or pinned memory: a graph outlives the call, so nothing can be
/// staged for it.
pub(super) fn memcpy_command<'a>(
    copy: &CUDA_MEMCPY3D,
    graph: GraphId,
    context: CUcontext,
    nodes: &'a [u8],
) -> Outcome<GraphAddMemcpy<'a>> {
    let context = context::resolve_or_current(context)?.id;
    let plan = copy.plan()?.ok_or(Status::INVALID_VALUE)?;
    let map = memory::read();
    let corner = |side: &Side| {
        let place = classify(&map, side.at, plan.span(side), side.declared)?;
        if place.is_pageable() {
            return Err(Status::NOT_SUPPORTED.into());
        }
        // Pinned memory has the same address on the device.
        Outcome::Ok(Corner { at: place.address(), pitch: side.pitch.row, slice: side.pitch.slice })
    };
    Ok(GraphAddMemcpy {
        graph,
        context,
        dst: corner(&plan.dst)?,
        src: corner(&plan.src)?,
        width_bytes: plan.extent.width_bytes,
        height: plan.extent.height,
        depth: plan.extent.depth,
        host: 0,
        nodes: Tail::Inline(nodes),
    })
}

/// `CUDA_HOST_NODE_PARAMS`.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct CUDA_HOST_NODE_PARAMS {
    /// The function.
    pub function: CUhostFn,
    /// What it is called with.
    pub data: *mut c_void,
}

/// `CUDA_CHILD_GRAPH_NODE_PARAMS`.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct CUDA_CHILD_GRAPH_NODE_PARAMS {
    /// The graph.
    pub graph: CUgraph,
    /// `CUgraphChildGraphNodeOwnership`.
    pub ownership: u32,
}

/// `CUgraphNodeParams`: the kind of a node, and its parameters in a union.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct CUgraphNodeParams {
    /// `CUgraphNodeType`.
    pub kind: u32,
    /// Zeros.
    pub reserved: [u32; 3],
    /// The parameters.
    pub of: NodeUnion,
    /// Zero.
    pub reserved2: u64,
}

/// What the kind of a node decides.
#[repr(C)]
#[derive(Clone, Copy)]
pub union NodeUnion {
    /// The room of all.
    pub room: [u64; 29],
    /// Kind 0.
    pub kernel: CUDA_KERNEL_NODE_PARAMS_v2,
    /// Kind 1.
    pub memcpy: CUDA_MEMCPY_NODE_PARAMS,
    /// Kind 2.
    pub memset: CUDA_MEMSET_NODE_PARAMS_v2,
    /// Kind 3.
    pub host: CUDA_HOST_NODE_PARAMS,
    /// Kind 4.
    pub child: CUDA_CHILD_GRAPH_NODE_PARAMS,
    /// Kinds 6 and 7.
    pub event: CUevent,
    /// Kind 10.
    pub alloc: CUDA_MEM_ALLOC_NODE_PARAMS,
    /// Kind 11.
    pub at: CUdeviceptr,
}
const _: () = assert!(size_of::<CUgraphNodeParams>() == 256);
const _: () = assert!(size_of::<CUDA_KERNEL_NODE_PARAMS_v1>() == 56);
const _: () = assert!(size_of::<CUDA_MEMCPY_NODE_PARAMS>() == 216);
