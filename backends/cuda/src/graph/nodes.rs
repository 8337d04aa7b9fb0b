//! Nodes of graphs: added, asked about, changed.

use crate::api::Raw;
use crate::copy::{BoxCopy, Placed};
use crate::host_function::run_kept;
use crate::launch::{PARAM_BUFFER_POINTER, PARAM_BUFFER_SIZE, check_params};
use crate::live::Live;
use cudarc::driver::sys::{
    CUDA_HOST_NODE_PARAMS, CUDA_KERNEL_NODE_PARAMS_v2, CUDA_MEMCPY3D, CUDA_MEMSET_NODE_PARAMS,
};
use ringbar_backend::Context;
use ringbar_vocabulary::*;
use std::ffi::c_void;

/// Keys of an `extra` list that are read.
const EXTRA_PAIRS_MAX: usize = 4;
/// The most bytes of a kernel node's tail.
const BODY_MAX_BYTES: usize = (16 << 20) + PARAM_BLOCK_MAX_BYTES;

/// A pointer to each parameter of a block: a node that was given a whole block takes no attributes.
fn pointers(params: &[u8], layout: &[Param]) -> Result<Vec<*mut c_void>, Status> {
    let place = |param: &Param| {
        let bytes = params.get(usize::from(param.offset)..param.end());
        bytes.map(|bytes| bytes.as_ptr().cast_mut().cast()).ok_or(Status::INVALID_VALUE)
    };
    layout.iter().map(place).collect()
}

/// The list as the driver takes it: null where there are no parameters.
fn list_of(values: &mut [*mut c_void]) -> *mut *mut c_void {
    if values.is_empty() { std::ptr::null_mut() } else { values.as_mut_ptr() }
}

/// What a kernel node launches, with a pointer to each parameter.
fn kernel_node(
    function: Raw,
    grid: [u32; 3],
    block: [u32; 3],
    shared: u32,
    values: *mut *mut c_void,
) -> CUDA_KERNEL_NODE_PARAMS_v2 {
    CUDA_KERNEL_NODE_PARAMS_v2 {
        func: std::ptr::with_exposed_provenance_mut(function),
        gridDimX: grid[0],
        gridDimY: grid[1],
        gridDimZ: grid[2],
        blockDimX: block[0],
        blockDimY: block[1],
        blockDimZ: block[2],
        sharedMemBytes: shared,
        kernelParams: values,
        extra: std::ptr::null_mut(),
        kern: std::ptr::null_mut(),
        ctx: std::ptr::null_mut(),
    }
}

fn memset_node(
    (dst, pitch): (DevicePtr, u64),
    (width, height): (u64, u64),
    (value, element_bytes): (u32, u32),
) -> CUDA_MEMSET_NODE_PARAMS {
    CUDA_MEMSET_NODE_PARAMS {
        dst: dst.0,
        pitch: pitch as usize,
        value,
        elementSize: element_bytes,
        width: width as usize,
        height: height as usize,
    }
}

impl Live {
    /// Adds a node by `add`, which gets the place for it, the list of those before it, and its length.
    pub(super) fn add_node(
        &mut self,
        graph: GraphId,
        after: &[Raw],
        add: impl FnOnce(&Self, *mut Raw, Raw, *const Raw, usize) -> Result<(), Status>,
    ) -> Result<NodeId, Status> {
        let raw_graph = self.graphs.graph(graph)?;
        let mut node = 0;
        let list = if after.is_empty() { std::ptr::null() } else { after.as_ptr() };
        add(self, &mut node, raw_graph, list, after.len())?;
        self.graphs.number_node(node, raw_graph).map(NodeId)
    }

    pub fn graph_add_kernel(
        &mut self,
        cx: &mut Context<'_>,
        c: GraphAddKernel<'_>,
    ) -> Result<GraphAddKernelReply, Status> {
        let function = self.function(c.function)?;
        let param_bytes = self.functions.get(c.function.0)?.param_bytes;
        let mut scratch = Vec::new();
        let body = cx.tail(c.body, &mut scratch, BODY_MAX_BYTES)?;
        let bytes = (c.dependencies as usize).checked_mul(8).ok_or(Status::INVALID_VALUE)?;
        let (after, params) = body.split_at_checked(bytes).ok_or(Status::INVALID_VALUE)?;
        let params = check_params(params, param_bytes)?;
        let after = self.graphs.parse_nodes(after)?;
        let mut values = pointers(params, &self.layout_of(function)?)?;
        let node = self.add_node(c.graph, &after, |live, node, graph, after, count| {
            let values = list_of(&mut values);
            let node_params = kernel_node(function, c.grid, c.block, c.shared_bytes, values);
            // SAFETY: all of this frame; the driver copies the parameter block.
            unsafe { live.api.cuGraphAddKernelNode_v2(node, graph, after, count, &node_params) }
        })?;
        Ok(GraphAddKernelReply { node })
    }

    pub fn graph_add_memset(
        &mut self,
        cx: &mut Context<'_>,
        c: GraphAddMemset<'_>,
    ) -> Result<GraphAddMemsetReply, Status> {
        let context = self.context(c.context)?;
        let after = self.graphs.read_nodes(cx, c.nodes)?;
        let params = memset_node((c.dst, c.pitch), (c.width, c.height), (c.value, c.element_bytes));
        let node = self.add_node(c.graph, &after, |live, node, graph, after, count| {
            // SAFETY: all of this frame.
            unsafe { live.api.cuGraphAddMemsetNode(node, graph, after, count, &params, context) }
        })?;
        Ok(GraphAddMemsetReply { node })
    }

    /// A copy whose arena side lies in pinned memory, which the client keeps for the graph's life.
    fn graph_copy(
        &mut self,
        cx: &mut Context<'_>,
        copy: &BoxCopy,
    ) -> Result<CUDA_MEMCPY3D, Status> {
        if copy.host > 3 {
            return Err(Status::INVALID_VALUE);
        }
        let Placed { dst, src, .. } = self.place_box(cx, copy)?;
        let apart = || {
            tracing::warn!(
                "a graph's copy of pinned memory that reaches over two registrations of the arena: likely cause: a first \
                 arena of more than 256 MiB, of which smaller blocks were used before; try a smaller arena, which grows by \
                 segments of one registration each, or two copies"
            );
            Status::NOT_SUPPORTED
        };
        copy.describe(dst.ok_or_else(apart)?, src.ok_or_else(apart)?)
    }

    pub fn graph_add_memcpy(
        &mut self,
        cx: &mut Context<'_>,
        c: GraphAddMemcpy<'_>,
    ) -> Result<GraphAddMemcpyReply, Status> {
        let context = self.context(c.context)?;
        let after = self.graphs.read_nodes(cx, c.nodes)?;
        let GraphAddMemcpy { dst, src, width_bytes: width, height, depth, host, .. } = c;
        let params = self.graph_copy(cx, &BoxCopy { dst, src, width, height, depth, host })?;
        let node = self.add_node(c.graph, &after, |live, node, graph, after, count| {
            // SAFETY: all of this frame; the copy's host side lies inside the arena.
            unsafe { live.api.cuGraphAddMemcpyNode(node, graph, after, count, &params, context) }
        })?;
        Ok(GraphAddMemcpyReply { node })
    }

    pub fn graph_add_host(
        &mut self,
        cx: &mut Context<'_>,
        c: GraphAddHost<'_>,
    ) -> Result<GraphAddHostReply, Status> {
        let after = self.graphs.read_nodes(cx, c.nodes)?;
        let call = self.host_functions.keep(c.token)?;
        let params = CUDA_HOST_NODE_PARAMS { fn_: Some(run_kept), userData: call };
        let node = self.add_node(c.graph, &after, |live, node, graph, after, count| {
            // SAFETY: all of this frame; the call lives as long as the process.
            unsafe { live.api.cuGraphAddHostNode(node, graph, after, count, &params) }
        })?;
        Ok(GraphAddHostReply { node })
    }

    pub fn graph_add_empty(
        &mut self,
        cx: &mut Context<'_>,
        c: GraphAddEmpty<'_>,
    ) -> Result<GraphAddEmptyReply, Status> {
        let after = self.graphs.read_nodes(cx, c.nodes)?;
        let node = self.add_node(c.graph, &after, |live, node, graph, after, count| {
            // SAFETY: all of this frame.
            unsafe { live.api.cuGraphAddEmptyNode(node, graph, after, count) }
        })?;
        Ok(GraphAddEmptyReply { node })
    }

    pub fn graph_add_event(
        &mut self,
        cx: &mut Context<'_>,
        c: GraphAddEvent<'_>,
    ) -> Result<GraphAddEventReply, Status> {
        let after = self.graphs.read_nodes(cx, c.nodes)?;
        let event = self.events.get(c.event.0)?.raw;
        let node = self.add_node(c.graph, &after, |live, node, graph, after, count| {
            if c.wait != 0 {
                // SAFETY: all of this frame.
                unsafe { live.api.cuGraphAddEventWaitNode(node, graph, after, count, event) }
            } else {
                // SAFETY: as above.
                unsafe { live.api.cuGraphAddEventRecordNode(node, graph, after, count, event) }
            }
        })?;
        Ok(GraphAddEventReply { node })
    }

    pub fn graph_add_child(
        &mut self,
        cx: &mut Context<'_>,
        c: GraphAddChild<'_>,
    ) -> Result<GraphAddChildReply, Status> {
        let after = self.graphs.read_nodes(cx, c.nodes)?;
        let child = self.graphs.graph(c.child)?;
        let node = self.add_node(c.graph, &after, |live, node, graph, after, count| {
            // SAFETY: all of this frame.
            unsafe { live.api.cuGraphAddChildGraphNode(node, graph, after, count, child) }
        })?;
        Ok(GraphAddChildReply { node })
    }

    pub fn graph_kernel_params(
        &mut self,
        cx: &mut Context<'_>,
        c: GraphKernelParams,
    ) -> Result<GraphKernelParamsReply, Status> {
        cx.check_arena(c.params)?;
        let node = self.graphs.node(c.node)?;
        let nothing = std::ptr::null_mut();
        let mut found = kernel_node(0, [0; 3], [0; 3], 0, nothing);
        // SAFETY: a place of this frame.
        unsafe { self.api.cuGraphKernelNodeGetParams_v2(node, &mut found) }?;
        let function = found.func.expose_provenance();
        let number = *self.function_ids.get(&function).ok_or(Status::INVALID_HANDLE)?;
        let layout = self.layout_of(function)?;
        let bytes = read_params(&found, &layout);
        if let Some(place) = c.params.part(0, bytes.len() as u64) {
            cx.write_arena(place, &bytes)?;
        }
        Ok(GraphKernelParamsReply {
            function: FunctionId(number),
            grid: [found.gridDimX, found.gridDimY, found.gridDimZ],
            block: [found.blockDimX, found.blockDimY, found.blockDimZ],
            shared_bytes: found.sharedMemBytes,
            param_bytes: bytes.len() as u32,
        })
    }

    pub fn graph_set_kernel_params(
        &mut self,
        cx: &mut Context<'_>,
        c: GraphSetKernelParams<'_>,
    ) -> Result<GraphSetKernelParamsReply, Status> {
        let (node, function) = (self.graphs.node(c.node)?, self.function(c.function)?);
        let mut scratch = Vec::new();
        let params = cx.tail(c.params, &mut scratch, PARAM_BLOCK_MAX_BYTES)?;
        let params = check_params(params, self.functions.get(c.function.0)?.param_bytes)?;
        let mut values = pointers(params, &self.layout_of(function)?)?;
        let values = list_of(&mut values);
        let params = kernel_node(function, c.grid, c.block, c.shared_bytes, values);
        if c.exec.0 == 0 {
            // SAFETY: all of this frame; the driver copies the parameter block.
            unsafe { self.api.cuGraphKernelNodeSetParams_v2(node, &params) }?;
        } else {
            let exec = self.graphs.exec(c.exec)?;
            // SAFETY: as above.
            unsafe { self.api.cuGraphExecKernelNodeSetParams_v2(exec, node, &params) }?;
        }
        Ok(GraphSetKernelParamsReply {})
    }

    pub fn graph_set_memset(
        &mut self,
        _cx: &mut Context<'_>,
        c: GraphSetMemset,
    ) -> Result<GraphSetMemsetReply, Status> {
        let context = self.context(c.context)?;
        let node = self.graphs.node(c.node)?;
        let params = memset_node((c.dst, c.pitch), (c.width, c.height), (c.value, c.element_bytes));
        if c.exec.0 == 0 {
            self.api.cuGraphMemsetNodeSetParams(node, &params)?;
        } else {
            let exec = self.graphs.exec(c.exec)?;
            self.api.cuGraphExecMemsetNodeSetParams(exec, node, &params, context)?;
        }
        Ok(GraphSetMemsetReply {})
    }

    pub fn graph_set_memcpy(
        &mut self,
        cx: &mut Context<'_>,
        c: GraphSetMemcpy,
    ) -> Result<GraphSetMemcpyReply, Status> {
        let context = self.context(c.context)?;
        let node = self.graphs.node(c.node)?;
        let GraphSetMemcpy { dst, src, width_bytes: width, height, depth, host, .. } = c;
        let params = self.graph_copy(cx, &BoxCopy { dst, src, width, height, depth, host })?;
        if c.exec.0 == 0 {
            // SAFETY: of this frame; the copy's host side lies inside the arena.
            unsafe { self.api.cuGraphMemcpyNodeSetParams(node, &params) }?;
        } else {
            let exec = self.graphs.exec(c.exec)?;
            // SAFETY: as above.
            unsafe { self.api.cuGraphExecMemcpyNodeSetParams(exec, node, &params, context) }?;
        }
        Ok(GraphSetMemcpyReply {})
    }
}

/// The parameter block of a kernel node: the driver has it as a pointer a parameter, or as it was given by `extra`.
fn read_params(node: &CUDA_KERNEL_NODE_PARAMS_v2, layout: &[Param]) -> Vec<u8> {
    let end = layout.iter().map(|param| param.end()).max().unwrap_or(0);
    let mut bytes = vec![0; end];
    if node.kernelParams.is_null() {
        read_extra(node.extra, &mut bytes);
        return bytes;
    }
    for (n, param) in layout.iter().enumerate() {
        // SAFETY: the driver's list has a pointer for each parameter of the function.
        let at = unsafe { node.kernelParams.wrapping_add(n).read() };
        if !at.is_null() {
            let into = &mut bytes[usize::from(param.offset)..param.end()];
            // SAFETY: the driver's copy of the parameter, of the size that the driver names.
            unsafe { at.cast::<u8>().copy_to_nonoverlapping(into.as_mut_ptr(), into.len()) };
        }
    }
    bytes
}

/// The same from a list of keys and values that ends with a zero.
fn read_extra(list: *mut *mut c_void, bytes: &mut [u8]) {
    let (mut block, mut size) = (std::ptr::null::<u8>(), 0);
    for pair in 0..EXTRA_PAIRS_MAX {
        if list.is_null() {
            return;
        }
        // SAFETY: the driver's list, which is read up to its end.
        let key = unsafe { list.wrapping_add(2 * pair).read() }.addr();
        if key != PARAM_BUFFER_POINTER && key != PARAM_BUFFER_SIZE {
            break;
        }
        // SAFETY: a key is followed by its value.
        let value = unsafe { list.wrapping_add(2 * pair + 1).read() };
        if key == PARAM_BUFFER_POINTER {
            block = value.cast_const().cast();
        } else if !value.is_null() {
            // SAFETY: this key's value is the address of a size.
            size = unsafe { value.cast::<usize>().read() };
        }
    }
    if !block.is_null() {
        let count = size.min(bytes.len());
        // SAFETY: the driver's copy of the block, of the size that it names.
        unsafe { block.copy_to_nonoverlapping(bytes.as_mut_ptr(), count) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::launch::Extra;

    #[test]
    fn parameters_are_gathered_by_their_layout() {
        let (first, second) = (7_u32.to_le_bytes(), 9_u64.to_le_bytes());
        let mut list =
            [first.as_ptr().cast_mut().cast::<c_void>(), second.as_ptr().cast_mut().cast()];
        let mut node = kernel_node(1, [1; 3], [1; 3], 0, std::ptr::null_mut());
        let layout = [Param { offset: 0, size: 4 }, Param { offset: 8, size: 8 }];
        assert_eq!(read_params(&node, &layout), [0; 16]);
        node.kernelParams = list.as_mut_ptr();
        let expected = [&first[..], &[0; 4], &second[..]].concat();
        assert_eq!(read_params(&node, &layout), expected);
    }

    #[test]
    fn a_block_that_was_given_whole_is_read_whole() {
        let block = [1_u8, 2, 3, 4, 5, 6, 7, 8];
        let mut extra = Extra::new(&block);
        let mut node = kernel_node(1, [1; 3], [1; 3], 0, std::ptr::null_mut());
        node.extra = extra.list();
        let layout = [Param { offset: 0, size: 4 }, Param { offset: 4, size: 4 }];
        assert_eq!(read_params(&node, &layout), block);
        assert_eq!(read_params(&node, &layout[..1]), block[..4]);
    }

    #[test]
    fn each_parameter_is_pointed_to_where_the_layout_has_it() {
        let block = [1_u8, 2, 3, 4, 0, 0, 0, 0, 9, 8, 7, 6, 5, 4, 3, 2];
        let layout = [Param { offset: 0, size: 4 }, Param { offset: 8, size: 8 }];
        let mut values = pointers(&block, &layout).unwrap();
        let node = kernel_node(1, [1; 3], [1; 3], 0, list_of(&mut values));
        assert_eq!(read_params(&node, &layout), block);
        assert_eq!(pointers(&block[..12], &layout).err(), Some(Status::INVALID_VALUE));
        assert!(list_of(&mut []).is_null());
    }
}
