//! Nodes of graphs: kernels, copies, fills, host functions, events, memory, graphs in graphs.

use crate::copy::Kind;
use crate::copy3d;
use crate::driver::{self, Driver};
use crate::error::{Error, Outcome};
use crate::module;
use crate::pointer::{In, InOut, Out};
use crate::symbol;
use crate::types::{
    AttributeValue, Copy3D, Copy3DParameters, DriverKernelNode, Extent, HostNode, KernelNode,
    MemAllocNodeParams, MemsetNode, PitchedPtr, Position, Side3D,
};

/// The thread's context: a node belongs to one.
fn context(driver: &Driver) -> Outcome<usize> {
    let mut context = 0;
    driver.cuCtxGetCurrent(Out::to(&mut context)).map(|()| context)
}

/// The driver's form of a launch.
fn driver_kernel(node: KernelNode) -> Outcome<DriverKernelNode> {
    Ok(DriverKernelNode {
        function: module::kernel(node.function)?,
        grid: node.grid,
        block: node.block,
        shared_bytes: node.shared_bytes,
        parameters: node.parameters,
        extra: node.extra,
        kernel: 0,
        context: 0,
    })
}

/// The program's form of a launch.
fn program_kernel(node: DriverKernelNode) -> Outcome<KernelNode> {
    let kernel = if node.kernel == 0 { node.function } else { node.kernel };
    Ok(KernelNode {
        function: module::host_function(kernel)?,
        grid: node.grid,
        block: node.block,
        shared_bytes: node.shared_bytes,
        parameters: node.parameters,
        extra: node.extra,
    })
}

/// A copy that a node shall do: an empty one is none.
fn driver_copy(copy: In<'_, Copy3DParameters>) -> Outcome<Copy3D> {
    copy3d::description(copy.get()?)?.ok_or(Error::INVALID_VALUE)
}

/// A copy of some bytes in a row.
fn linear(dst: usize, src: usize, bytes: usize, kind: Kind) -> Outcome<Copy3D> {
    let row = |ptr| PitchedPtr { ptr, pitch: bytes, xsize: bytes, ysize: 1 };
    let parameters = Copy3DParameters {
        src: row(src),
        dst: row(dst),
        extent: Extent { width: bytes, height: 1, depth: 1 },
        kind: kind as u32,
        ..Copy3DParameters::default()
    };
    driver_copy(In::to(&parameters))
}

fn program_side(side: Side3D) -> (PitchedPtr, Position) {
    let at = if side.kind == crate::copy::HOST { side.host } else { side.device as usize };
    let ptr = PitchedPtr { ptr: at, pitch: side.pitch, xsize: side.pitch, ysize: side.height };
    (ptr, Position { x: side.x_bytes, y: side.y, z: side.z })
}

/// The program's form of a copy.
fn program_copy(copy: Copy3D) -> Copy3DParameters {
    let kinds = [Kind::HostToHost, Kind::HostToDevice, Kind::DeviceToHost, Kind::DeviceToDevice];
    let types = (copy.src.kind, copy.dst.kind);
    let kind = kinds.into_iter().find(|kind| kind.memory_types() == types);
    let ((src, src_position), (dst, dst_position)) =
        (program_side(copy.src), program_side(copy.dst));
    let extent = Extent { width: copy.width_bytes, height: copy.height, depth: copy.depth };
    let kind = kind.unwrap_or(Kind::Default) as u32;
    Copy3DParameters { src, src_position, dst, dst_position, extent, kind, ..Default::default() }
}

/// Where a node is added.
#[derive(Clone, Copy)]
struct Place<'a> {
    node: Out<'a, usize>,
    graph: usize,
    dependencies: In<'a, usize>,
    count: usize,
}

impl Place<'_> {
    fn add_copy(self, copy: Copy3D) -> Outcome {
        let driver = driver::bind()?;
        let Place { node, graph, dependencies, count } = self;
        let context = context(driver)?;
        driver.cuGraphAddMemcpyNode(node, graph, dependencies, count, In::to(&copy), context)
    }
}

fn set_copy(node: usize, copy: Copy3D) -> Outcome {
    driver::bind()?.cuGraphMemcpyNodeSetParams(node, In::to(&copy))
}

fn set_exec_copy(exec: usize, node: usize, copy: Copy3D) -> Outcome {
    let driver = driver::bind()?;
    driver.cuGraphExecMemcpyNodeSetParams(exec, node, In::to(&copy), context(driver)?)
}

fn to_symbol(symbol: usize, src: usize, bytes: usize, offset: usize, kind: u32) -> Outcome<Copy3D> {
    let kind = symbol::to_variable(kind)?;
    linear(symbol::part(symbol, bytes, offset)?, src, bytes, kind)
}

fn from_symbol(
    dst: usize,
    symbol: usize,
    bytes: usize,
    offset: usize,
    kind: u32,
) -> Outcome<Copy3D> {
    let kind = symbol::from_variable(kind)?;
    linear(dst, symbol::part(symbol, bytes, offset)?, bytes, kind)
}

entries! {
    sync fn cudaGraphAddKernelNode(node: Out<'_, usize>, graph: usize, dependencies[count]: In<'_, usize>, count: usize, kernel: In<'_, KernelNode>) {
        let kernel = driver_kernel(kernel.get()?)?;
        driver::bind()?.cuGraphAddKernelNode_v2(node, graph, dependencies, count, In::to(&kernel))
    }

    sync fn cudaGraphKernelNodeGetParams(node: usize, kernel: Out<'_, KernelNode>) {
        let kernel = kernel.present()?;
        let mut found = DriverKernelNode::default();
        driver::bind()?.cuGraphKernelNodeGetParams_v2(node, Out::to(&mut found))?;
        kernel.set(program_kernel(found)?)
    }

    sync fn cudaGraphKernelNodeSetParams(node: usize, kernel: In<'_, KernelNode>) {
        let kernel = driver_kernel(kernel.get()?)?;
        driver::bind()?.cuGraphKernelNodeSetParams_v2(node, In::to(&kernel))
    }

    sync fn cudaGraphExecKernelNodeSetParams(exec: usize, node: usize, kernel: In<'_, KernelNode>) {
        let kernel = driver_kernel(kernel.get()?)?;
        driver::bind()?.cuGraphExecKernelNodeSetParams_v2(exec, node, In::to(&kernel))
    }

    sync fn cudaGraphAddMemcpyNode(node: Out<'_, usize>, graph: usize, dependencies[count]: In<'_, usize>, count: usize, copy: In<'_, Copy3DParameters>) {
        Place { node, graph, dependencies, count }.add_copy(driver_copy(copy)?)
    }

    sync fn cudaGraphAddMemcpyNode1D(node: Out<'_, usize>, graph: usize, dependencies[count]: In<'_, usize>, count: usize, dst: usize, src: usize, bytes: usize, kind: u32) {
        Place { node, graph, dependencies, count }.add_copy(linear(dst, src, bytes, Kind::new(kind)?)?)
    }

    sync fn cudaGraphAddMemcpyNodeToSymbol(node: Out<'_, usize>, graph: usize, dependencies[count]: In<'_, usize>, count: usize, symbol: usize, src: usize, bytes: usize, offset: usize, kind: u32) {
        Place { node, graph, dependencies, count }.add_copy(to_symbol(symbol, src, bytes, offset, kind)?)
    }

    sync fn cudaGraphAddMemcpyNodeFromSymbol(node: Out<'_, usize>, graph: usize, dependencies[count]: In<'_, usize>, count: usize, dst: usize, symbol: usize, bytes: usize, offset: usize, kind: u32) {
        Place { node, graph, dependencies, count }.add_copy(from_symbol(dst, symbol, bytes, offset, kind)?)
    }

    sync fn cudaGraphMemcpyNodeGetParams(node: usize, copy: Out<'_, Copy3DParameters>) {
        let copy = copy.present()?;
        let mut found = Copy3D::default();
        driver::bind()?.cuGraphMemcpyNodeGetParams(node, Out::to(&mut found))?;
        copy.set(program_copy(found))
    }

    sync fn cudaGraphMemcpyNodeSetParams(node: usize, copy: In<'_, Copy3DParameters>) {
        set_copy(node, driver_copy(copy)?)
    }

    sync fn cudaGraphMemcpyNodeSetParams1D(node: usize, dst: usize, src: usize, bytes: usize, kind: u32) {
        set_copy(node, linear(dst, src, bytes, Kind::new(kind)?)?)
    }

    sync fn cudaGraphMemcpyNodeSetParamsToSymbol(node: usize, symbol: usize, src: usize, bytes: usize, offset: usize, kind: u32) {
        set_copy(node, to_symbol(symbol, src, bytes, offset, kind)?)
    }

    sync fn cudaGraphMemcpyNodeSetParamsFromSymbol(node: usize, dst: usize, symbol: usize, bytes: usize, offset: usize, kind: u32) {
        set_copy(node, from_symbol(dst, symbol, bytes, offset, kind)?)
    }

    sync fn cudaGraphExecMemcpyNodeSetParams(exec: usize, node: usize, copy: In<'_, Copy3DParameters>) {
        set_exec_copy(exec, node, driver_copy(copy)?)
    }

    sync fn cudaGraphExecMemcpyNodeSetParams1D(exec: usize, node: usize, dst: usize, src: usize, bytes: usize, kind: u32) {
        set_exec_copy(exec, node, linear(dst, src, bytes, Kind::new(kind)?)?)
    }

    sync fn cudaGraphExecMemcpyNodeSetParamsToSymbol(exec: usize, node: usize, symbol: usize, src: usize, bytes: usize, offset: usize, kind: u32) {
        set_exec_copy(exec, node, to_symbol(symbol, src, bytes, offset, kind)?)
    }

    sync fn cudaGraphExecMemcpyNodeSetParamsFromSymbol(exec: usize, node: usize, dst: usize, symbol: usize, bytes: usize, offset: usize, kind: u32) {
        set_exec_copy(exec, node, from_symbol(dst, symbol, bytes, offset, kind)?)
    }

    sync fn cudaGraphAddMemsetNode(node: Out<'_, usize>, graph: usize, dependencies[count]: In<'_, usize>, count: usize, fill: In<'_, MemsetNode>) {
        let driver = driver::bind()?;
        driver.cuGraphAddMemsetNode(node, graph, dependencies, count, fill, context(driver)?)
    }

    sync fn cudaGraphExecMemsetNodeSetParams(exec: usize, node: usize, fill: In<'_, MemsetNode>) {
        let driver = driver::bind()?;
        driver.cuGraphExecMemsetNodeSetParams(exec, node, fill, context(driver)?)
    }
}

passed! {
    sync fn cudaGraphMemsetNodeGetParams(node: usize, fill: Out<'_, MemsetNode>) = cuGraphMemsetNodeGetParams;
    sync fn cudaGraphMemsetNodeSetParams(node: usize, fill: In<'_, MemsetNode>) = cuGraphMemsetNodeSetParams;
    sync fn cudaGraphKernelNodeCopyAttributes(dst: usize, src: usize) = cuGraphKernelNodeCopyAttributes;
    sync fn cudaGraphKernelNodeGetAttribute(node: usize, attribute: u32, value: Out<'_, AttributeValue>) = cuGraphKernelNodeGetAttribute;
    sync fn cudaGraphKernelNodeSetAttribute(node: usize, attribute: u32, value: In<'_, AttributeValue>) = cuGraphKernelNodeSetAttribute;
    sync fn cudaGraphAddHostNode(node: Out<'_, usize>, graph: usize, dependencies[count]: In<'_, usize>, count: usize, call: In<'_, HostNode>) = cuGraphAddHostNode;
    sync fn cudaGraphHostNodeGetParams(node: usize, call: Out<'_, HostNode>) = cuGraphHostNodeGetParams;
    sync fn cudaGraphHostNodeSetParams(node: usize, call: In<'_, HostNode>) = cuGraphHostNodeSetParams;
    sync fn cudaGraphExecHostNodeSetParams(exec: usize, node: usize, call: In<'_, HostNode>) = cuGraphExecHostNodeSetParams;
    sync fn cudaGraphAddEmptyNode(node: Out<'_, usize>, graph: usize, dependencies[count]: In<'_, usize>, count: usize) = cuGraphAddEmptyNode;
    sync fn cudaGraphAddChildGraphNode(node: Out<'_, usize>, graph: usize, dependencies[count]: In<'_, usize>, count: usize, child: usize) = cuGraphAddChildGraphNode;
    sync fn cudaGraphChildGraphNodeGetGraph(node: usize, graph: Out<'_, usize>) = cuGraphChildGraphNodeGetGraph;
    sync fn cudaGraphExecChildGraphNodeSetParams(exec: usize, node: usize, child: usize) = cuGraphExecChildGraphNodeSetParams;
    sync fn cudaGraphAddEventRecordNode(node: Out<'_, usize>, graph: usize, dependencies[count]: In<'_, usize>, count: usize, event: usize) = cuGraphAddEventRecordNode;
    sync fn cudaGraphAddEventWaitNode(node: Out<'_, usize>, graph: usize, dependencies[count]: In<'_, usize>, count: usize, event: usize) = cuGraphAddEventWaitNode;
    sync fn cudaGraphEventRecordNodeGetEvent(node: usize, event: Out<'_, usize>) = cuGraphEventRecordNodeGetEvent;
    sync fn cudaGraphEventRecordNodeSetEvent(node: usize, event: usize) = cuGraphEventRecordNodeSetEvent;
    sync fn cudaGraphEventWaitNodeGetEvent(node: usize, event: Out<'_, usize>) = cuGraphEventWaitNodeGetEvent;
    sync fn cudaGraphEventWaitNodeSetEvent(node: usize, event: usize) = cuGraphEventWaitNodeSetEvent;
    sync fn cudaGraphExecEventRecordNodeSetEvent(exec: usize, node: usize, event: usize) = cuGraphExecEventRecordNodeSetEvent;
    sync fn cudaGraphExecEventWaitNodeSetEvent(exec: usize, node: usize, event: usize) = cuGraphExecEventWaitNodeSetEvent;
    sync fn cudaGraphAddMemAllocNode(node: Out<'_, usize>, graph: usize, dependencies[count]: In<'_, usize>, count: usize, parameters: InOut<'_, MemAllocNodeParams>) = cuGraphAddMemAllocNode;
    sync fn cudaGraphMemAllocNodeGetParams(node: usize, parameters: Out<'_, MemAllocNodeParams>) = cuGraphMemAllocNodeGetParams;
    sync fn cudaGraphAddMemFreeNode(node: Out<'_, usize>, graph: usize, dependencies[count]: In<'_, usize>, count: usize, at: u64) = cuGraphAddMemFreeNode;
    sync fn cudaGraphMemFreeNodeGetParams(node: usize, at: Out<'_, u64>) = cuGraphMemFreeNodeGetParams;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_copy_of_bytes_survives_the_drivers_form() {
        let copy = linear(8192, 4096, 100, Kind::DeviceToHost).unwrap();
        let again = program_copy(copy);
        assert_eq!((again.dst.ptr, again.src.ptr, again.kind), (8192, 4096, 2));
        assert_eq!((again.extent.width, again.extent.height, again.extent.depth), (100, 1, 1));
        assert_eq!(linear(8192, 4096, 0, Kind::Default).err(), Some(Error::INVALID_VALUE));
    }
}
