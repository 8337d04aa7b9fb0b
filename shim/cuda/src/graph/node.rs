//! What nodes are, and changing it.

use super::params::*;
use super::{Exec, GRAPHS, resolve_exec, resolve_node};
use crate::arg::{In, Out};
use crate::failure::{Failure, Outcome};
use crate::function::{FUNCTIONS, Function};
use crate::handles::Handle;
use crate::memory;
use crate::memory::plan::{CUDA_MEMCPY3D, Side3D};
use crate::module::KERNELS;
use crate::session::live;
use crate::types::{CUcontext, CUgraphExec, CUgraphNode, CUhostFn, CUkernel};
use ringbar_vocabulary::{
    FunctionId, GraphExecId, GraphId, GraphKernelParams, GraphKernelParamsReply, GraphMemcpyParams,
    GraphMemsetParams, GraphNodeDestroy, GraphNodeType, GraphSetKernelParams, GraphSetMemcpy,
    GraphSetMemset, NodeId, PARAM_BLOCK_MAX_BYTES, Status, Tail,
};
use std::collections::HashMap;
use std::ffi::c_void;
use std::sync::{LazyLock, Mutex, MutexGuard, PoisonError};

/// `CU_MEMORYTYPE_HOST` and `CU_MEMORYTYPE_DEVICE`.
const MEMORY_HOST: u32 = 1;
const MEMORY_DEVICE: u32 = 2;
/// What the executor tells of a copy: 9 words.
const COPY_BYTES: usize = 72;

/// What the program said about a node, as it said it.
#[derive(Clone, Copy)]
pub(super) enum Remembered {
    Memcpy(CUDA_MEMCPY3D),
    /// The function, and the address it is called with.
    Host(CUhostFn, usize),
}

/// A kernel node's parameters as the program was given them: the block, and a pointer to each parameter in it.
struct Lent {
    _block: Box<[u64]>,
    pointers: Box<[usize]>,
}

#[derive(Default)]
struct Nodes {
    remembered: HashMap<u64, Remembered>,
    lent: HashMap<u64, Lent>,
    /// Graphs inside nodes that the program asked for.
    inside: HashMap<u64, Handle>,
}

static NODES: LazyLock<Mutex<Nodes>> = LazyLock::new(Mutex::default);

fn nodes() -> MutexGuard<'static, Nodes> {
    NODES.lock().unwrap_or_else(PoisonError::into_inner)
}

pub(super) fn remember(node: NodeId, what: Remembered) {
    nodes().remembered.insert(node.0, what);
}

pub(super) fn remembered(node: NodeId) -> Option<Remembered> {
    nodes().remembered.get(&node.0).copied()
}

/// The graph inside a node, under the handle that the program was given before or is given now.
pub(super) fn graph_inside(node: NodeId, ask: impl FnOnce() -> Outcome<Handle>) -> Outcome<Handle> {
    if let Some(known) = nodes().inside.get(&node.0).copied() {
        return Ok(known);
    }
    let graph = ask()?;
    nodes().inside.insert(node.0, graph);
    Ok(graph)
}

fn memset_params(node: NodeId) -> Outcome<CUDA_MEMSET_NODE_PARAMS_v1> {
    let found = live()?.call(&GraphMemsetParams { node })?;
    Ok(CUDA_MEMSET_NODE_PARAMS_v1 {
        dst: found.dst.0,
        pitch: found.pitch as usize,
        value: found.value,
        element_bytes: found.element_bytes,
        width: found.width as usize,
        height: found.height as usize,
    })
}

/// As the program gave it, or as the executor tells of a captured one.
fn memcpy_params(node: NodeId) -> Outcome<CUDA_MEMCPY3D> {
    match remembered(node) {
        Some(Remembered::Memcpy(copy)) => return Ok(copy),
        Some(_) => return Err(Status::INVALID_VALUE.into()),
        None => {}
    }
    let live = live()?;
    let block = live.session.answer_block(COPY_BYTES as u64)?;
    let copy = block.place();
    live.call(&GraphMemcpyParams { node, copy })?;
    let mut bytes = [0; COPY_BYTES];
    block.read(&mut bytes)?;
    let (words, _) = bytes.as_chunks::<8>();
    let words: Vec<u64> = words.iter().map(|word| u64::from_le_bytes(*word)).collect();
    Ok(described(&words))
}

/// A copy from the words that the executor tells.
fn described(words: &[u64]) -> CUDA_MEMCPY3D {
    let side = |at: usize| {
        let (address, pitch, slice) = (words[at], words[at + 1], words[at + 2]);
        let is_host = memory::find(address).is_some_and(|entry| !entry.is_device());
        let (host, device) = if is_host { (address as usize, 0) } else { (0, address) };
        let height = slice.checked_div(pitch).unwrap_or(0) as usize;
        let memory_type = if is_host { MEMORY_HOST } else { MEMORY_DEVICE };
        Side3D { memory_type, host, device, pitch: pitch as usize, height, ..Side3D::default() }
    };
    let [width_bytes, height, depth] = [6, 7, 8].map(|at| words[at] as usize);
    CUDA_MEMCPY3D { dst: side(0), src: side(3), width_bytes, height, depth }
}

/// `CUgraphNodeType` of a node.
pub(super) fn kind(node: NodeId) -> Outcome<u32> {
    Ok(live()?.call(&GraphNodeType { node })?.kind)
}

fn destroy(node: NodeId) -> Outcome {
    live()?.call(&GraphNodeDestroy { node })?;
    let mut nodes = nodes();
    nodes.remembered.remove(&node.0);
    nodes.lent.remove(&node.0);
    if let Some(graph) = nodes.inside.remove(&node.0) {
        GRAPHS.remove(graph);
    }
    Ok(())
}

fn function_of(id: FunctionId) -> Outcome<&'static Function> {
    let found = FUNCTIONS.alive().find(|(_, function)| function.id == id);
    found.map(|(_, function)| function).ok_or(Failure(Status::INVALID_HANDLE))
}

fn ask_kernel(node: NodeId) -> Outcome<(GraphKernelParamsReply, Box<[u64]>)> {
    let live = live()?;
    let block = live.session.answer_block(PARAM_BLOCK_MAX_BYTES as u64)?;
    let params = block.place();
    let reply = live.call(&GraphKernelParams { node, params })?;
    let mut bytes =
        vec![0; (reply.param_bytes as usize).next_multiple_of(8).min(block.len() as usize)];
    block.read(&mut bytes)?;
    let words = bytes.as_chunks::<8>().0.iter();
    Ok((reply, words.map(|word| u64::from_ne_bytes(*word)).collect()))
}

/// The kernel of a library that a function is; null for a function of a module.
fn kernel_of(function: &Function) -> CUkernel {
    let found = KERNELS.alive().find(|(_, kernel)| kernel.is(function));
    found.map_or(CUkernel::NULL, |(handle, _)| handle)
}

/// A kernel node's parameters; the pointers in them are valid until the node is asked again or destroyed.
fn kernel_params(node: NodeId) -> Outcome<CUDA_KERNEL_NODE_PARAMS_v2> {
    let (reply, block) = ask_kernel(node)?;
    let function = function_of(reply.function)?;
    let start = block.as_ptr().expose_provenance();
    let pointers = function.params.iter().map(|param| start + usize::from(param.offset)).collect();
    let lent = Lent { _block: block, pointers };
    let params = lent.pointers.as_ptr().cast::<*const c_void>();
    nodes().lent.insert(node.0, lent);
    let first = CUDA_KERNEL_NODE_PARAMS_v1 {
        function: function.handle,
        grid: reply.grid,
        block: reply.block,
        shared_bytes: reply.shared_bytes,
        params,
        extra: std::ptr::null(),
    };
    Ok(CUDA_KERNEL_NODE_PARAMS_v2 {
        first,
        kernel: kernel_of(function),
        context: function.module.context.handle,
    })
}

/// The number of an executable graph for commands; 0 stands for the node's own graph.
pub(super) fn number(exec: Option<&Exec>) -> GraphExecId {
    exec.map_or(GraphExecId(0), |exec| exec.id)
}

pub(super) fn set_kernel(
    node: NodeId,
    exec: Option<&Exec>,
    params: &CUDA_KERNEL_NODE_PARAMS_v2,
) -> Outcome {
    params.with(|function, shape, block| {
        let command = GraphSetKernelParams {
            node,
            exec: number(exec),
            function: function.id,
            grid: shape.grid,
            block: shape.block,
            shared_bytes: shape.shared_bytes,
            params: Tail::Inline(block),
        };
        live()?.call(&command)?;
        Ok(())
    })
}

pub(super) fn set_memset(
    node: NodeId,
    exec: Option<&Exec>,
    params: CUDA_MEMSET_NODE_PARAMS_v1,
    context: CUcontext,
) -> Outcome {
    let c = params.command(GraphId(0), context, &[])?;
    live()?.call(&GraphSetMemset {
        node,
        exec: number(exec),
        context: c.context,
        dst: c.dst,
        pitch: c.pitch,
        width: c.width,
        height: c.height,
        value: c.value,
        element_bytes: c.element_bytes,
    })?;
    Ok(())
}

pub(super) fn set_memcpy(
    node: NodeId,
    exec: Option<&Exec>,
    copy: CUDA_MEMCPY3D,
    context: CUcontext,
) -> Outcome {
    let c = memcpy_command(&copy, GraphId(0), context, &[])?;
    live()?.call(&GraphSetMemcpy {
        node,
        exec: number(exec),
        context: c.context,
        dst: c.dst,
        src: c.src,
        width_bytes: c.width_bytes,
        height: c.height,
        depth: c.depth,
        host: c.host,
    })?;
    if exec.is_none() {
        remember(node, Remembered::Memcpy(copy));
    }
    Ok(())
}

entry! {
    /// What a node is.
    sync fn cuGraphNodeGetType(node: CUgraphNode, kind: Out<u32>) {
        let kind = kind.required()?;
        kind.set(self::kind(resolve_node(node)?)?)
    }

    /// Removes a node from its graph.
    sync fn cuGraphDestroyNode(node: CUgraphNode) {
        destroy(resolve_node(node)?)
    }

    /// What a kernel node launches.
    sync fn cuGraphKernelNodeGetParams(node: CUgraphNode, params: Out<CUDA_KERNEL_NODE_PARAMS_v1>) {
        let params = params.required()?;
        params.set(kernel_params(resolve_node(node)?)?.first)
    }

    /// What a kernel node launches.
    sync fn cuGraphKernelNodeGetParams_v2(node: CUgraphNode, params: Out<CUDA_KERNEL_NODE_PARAMS_v2>) {
        let params = params.required()?;
        params.set(kernel_params(resolve_node(node)?)?)
    }

    /// Changes what a kernel node launches.
    sync fn cuGraphKernelNodeSetParams(node: CUgraphNode, params: In<CUDA_KERNEL_NODE_PARAMS_v1>) {
        set_kernel(resolve_node(node)?, None, &params.get()?.into())
    }

    /// Changes what a kernel node launches.
    sync fn cuGraphKernelNodeSetParams_v2(node: CUgraphNode, params: In<CUDA_KERNEL_NODE_PARAMS_v2>) {
        set_kernel(resolve_node(node)?, None, &params.get()?)
    }

    /// Changes what a kernel node of an executable graph launches.
    sync fn cuGraphExecKernelNodeSetParams(exec: CUgraphExec, node: CUgraphNode, params: In<CUDA_KERNEL_NODE_PARAMS_v1>) {
        set_kernel(resolve_node(node)?, Some(resolve_exec(exec)?), &params.get()?.into())
    }

    /// Changes what a kernel node of an executable graph launches.
    sync fn cuGraphExecKernelNodeSetParams_v2(exec: CUgraphExec, node: CUgraphNode, params: In<CUDA_KERNEL_NODE_PARAMS_v2>) {
        set_kernel(resolve_node(node)?, Some(resolve_exec(exec)?), &params.get()?)
    }

    /// What a memset node fills.
    sync fn cuGraphMemsetNodeGetParams(node: CUgraphNode, params: Out<CUDA_MEMSET_NODE_PARAMS_v1>) {
        let params = params.required()?;
        params.set(memset_params(resolve_node(node)?)?)
    }

    /// Changes what a memset node fills, in the current context.
    sync fn cuGraphMemsetNodeSetParams(node: CUgraphNode, params: In<CUDA_MEMSET_NODE_PARAMS_v1>) {
        set_memset(resolve_node(node)?, None, params.get()?, CUcontext::NULL)
    }

    /// Changes what a memset node of an executable graph fills.
    sync fn cuGraphExecMemsetNodeSetParams(exec: CUgraphExec, node: CUgraphNode, params: In<CUDA_MEMSET_NODE_PARAMS_v1>, context: CUcontext) {
        set_memset(resolve_node(node)?, Some(resolve_exec(exec)?), params.get()?, context)
    }

    /// What a copy node copies.
    sync fn cuGraphMemcpyNodeGetParams(node: CUgraphNode, copy: Out<CUDA_MEMCPY3D>) {
        let copy = copy.required()?;
        copy.set(memcpy_params(resolve_node(node)?)?)
    }

    /// Changes what a copy node copies, in the current context.
    sync fn cuGraphMemcpyNodeSetParams(node: CUgraphNode, copy: In<CUDA_MEMCPY3D>) {
        set_memcpy(resolve_node(node)?, None, copy.get()?, CUcontext::NULL)
    }

    /// Changes what a copy node of an executable graph copies.
    sync fn cuGraphExecMemcpyNodeSetParams(exec: CUgraphExec, node: CUgraphNode, copy: In<CUDA_MEMCPY3D>, context: CUcontext) {
        set_memcpy(resolve_node(node)?, Some(resolve_exec(exec)?), copy.get()?, context)
    }
}
