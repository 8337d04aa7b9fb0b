//! What nodes are, and changing it.

use super::params::*;
use super::{Exec, resolve_exec, resolve_node};
use crate::arg::{In, Out};
use crate::failure::{Failure, Outcome};
use crate::function::{FUNCTIONS, Function};
use crate::memory::plan::CUDA_MEMCPY3D;
use crate::session::live;
use crate::types::{CUcontext, CUevent, CUgraphExec, CUgraphNode, CUhostFn, CUkernel};
use ringbar_vocabulary::{
    ArenaRef, FunctionId, GraphExecId, GraphId, GraphKernelParams, GraphKernelParamsReply,
    GraphNodeDestroy, GraphNodeType, GraphSetKernelParams, GraphSetMemcpy, GraphSetMemset, NodeId,
    PARAM_BLOCK_MAX_BYTES, Status, Tail,
};
use std::collections::HashMap;
use std::ffi::c_void;
use std::sync::{LazyLock, Mutex, MutexGuard, PoisonError};

/// What the program said about a node that the executor cannot be asked for.
#[derive(Clone, Copy)]
pub(super) enum Remembered {
    Memset(CUDA_MEMSET_NODE_PARAMS_v1),
    Memcpy(CUDA_MEMCPY3D),
    /// The function, and the address it is called with.
    Host(CUhostFn, usize),
    Event(CUevent),
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
}

static NODES: LazyLock<Mutex<Nodes>> = LazyLock::new(Mutex::default);

fn nodes() -> MutexGuard<'static, Nodes> {
    NODES.lock().unwrap_or_else(PoisonError::into_inner)
}

pub(super) fn remember(node: NodeId, what: Remembered) {
    nodes().remembered.insert(node.0, what);
}

fn remembered(node: NodeId) -> Outcome<Remembered> {
    nodes().remembered.get(&node.0).copied().ok_or(Failure(Status::NOT_SUPPORTED))
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
    Ok(())
}

fn function_of(id: FunctionId) -> Outcome<&'static Function> {
    let found = FUNCTIONS.alive().find(|(_, function)| function.id == id);
    found.map(|(_, function)| function).ok_or(Failure(Status::INVALID_HANDLE))
}

fn ask_kernel(node: NodeId) -> Outcome<(GraphKernelParamsReply, Box<[u64]>)> {
    let live = live()?;
    let block = live.session.client().stage(PARAM_BLOCK_MAX_BYTES as u64)?;
    let params = ArenaRef { addr: block.address(), len: block.len() };
    let reply = live.call(&GraphKernelParams { node, params })?;
    let mut bytes =
        vec![0; (reply.param_bytes as usize).next_multiple_of(8).min(block.len() as usize)];
    block.read(0, &mut bytes).map_err(ringbar::Error::from)?;
    let words = bytes.as_chunks::<8>().0.iter();
    Ok((reply, words.map(|word| u64::from_ne_bytes(*word)).collect()))
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
        kernel: CUkernel::NULL,
        context: function.module.context.handle,
    })
}

/// The number of an executable graph for commands; 0 stands for the node's own graph.
fn number(exec: Option<&Exec>) -> GraphExecId {
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
    if exec.is_none() {
        remember(node, Remembered::Memset(params));
    }
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

fn event_of(node: CUgraphNode) -> Outcome<CUevent> {
    match remembered(resolve_node(node)?)? {
        Remembered::Event(event) => Ok(event),
        _ => Err(Status::INVALID_VALUE.into()),
    }
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

    /// What a memset node fills, if the program added it itself.
    local fn cuGraphMemsetNodeGetParams(node: CUgraphNode, params: Out<CUDA_MEMSET_NODE_PARAMS_v1>) {
        let params = params.required()?;
        match remembered(resolve_node(node)?)? {
            Remembered::Memset(found) => params.set(found),
            _ => Err(Status::INVALID_VALUE.into()),
        }
    }

    /// Changes what a memset node fills, in the current context.
    sync fn cuGraphMemsetNodeSetParams(node: CUgraphNode, params: In<CUDA_MEMSET_NODE_PARAMS_v1>) {
        set_memset(resolve_node(node)?, None, params.get()?, CUcontext::NULL)
    }

    /// Changes what a memset node of an executable graph fills.
    sync fn cuGraphExecMemsetNodeSetParams(exec: CUgraphExec, node: CUgraphNode, params: In<CUDA_MEMSET_NODE_PARAMS_v1>, context: CUcontext) {
        set_memset(resolve_node(node)?, Some(resolve_exec(exec)?), params.get()?, context)
    }

    /// What a copy node copies, if the program added it itself.
    local fn cuGraphMemcpyNodeGetParams(node: CUgraphNode, copy: Out<CUDA_MEMCPY3D>) {
        let copy = copy.required()?;
        match remembered(resolve_node(node)?)? {
            Remembered::Memcpy(found) => copy.set(found),
            _ => Err(Status::INVALID_VALUE.into()),
        }
    }

    /// Changes what a copy node copies, in the current context.
    sync fn cuGraphMemcpyNodeSetParams(node: CUgraphNode, copy: In<CUDA_MEMCPY3D>) {
        set_memcpy(resolve_node(node)?, None, copy.get()?, CUcontext::NULL)
    }

    /// Changes what a copy node of an executable graph copies.
    sync fn cuGraphExecMemcpyNodeSetParams(exec: CUgraphExec, node: CUgraphNode, copy: In<CUDA_MEMCPY3D>, context: CUcontext) {
        set_memcpy(resolve_node(node)?, Some(resolve_exec(exec)?), copy.get()?, context)
    }

    /// What a host node calls, if the program added it itself.
    local fn cuGraphHostNodeGetParams(node: CUgraphNode, params: Out<CUDA_HOST_NODE_PARAMS>) {
        let params = params.required()?;
        match remembered(resolve_node(node)?)? {
            Remembered::Host(function, data) => {
                params.set(CUDA_HOST_NODE_PARAMS { function, data: std::ptr::with_exposed_provenance_mut(data) })
            }
            _ => Err(Status::INVALID_VALUE.into()),
        }
    }

    /// The event that a node records, if the program added it itself.
    local fn cuGraphEventRecordNodeGetEvent(node: CUgraphNode, event: Out<CUevent>) {
        let event = event.required()?;
        event.set(event_of(node)?)
    }

    /// The event that a node waits for, if the program added it itself.
    local fn cuGraphEventWaitNodeGetEvent(node: CUgraphNode, event: Out<CUevent>) {
        let event = event.required()?;
        event.set(event_of(node)?)
    }
}
