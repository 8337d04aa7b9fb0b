//! Memory that graphs allocate. Its address is known from the node on, and stays the same for every launch.

use super::add::Spot;
use super::{node_handle, resolve_node};
use crate::arg::{In, InOut, Out};
use crate::device;
use crate::failure::{Failure, Outcome};
use crate::handles::Handle;
use crate::memory;
use crate::memory::map::What;
use crate::memory::pool::{CUmemAccessDesc, CUmemLocation, CUmemPoolProps};
use crate::session::live;
use crate::types::{CUdevice, CUdeviceptr, CUgraph, CUgraphNode};
use ringbar_vocabulary::{
    DeviceGraphMemory, DeviceGraphMemoryTrim, DevicePtr, GraphMemoryParams, NodeId, Status,
};
use std::collections::HashMap;
use std::sync::{LazyLock, Mutex, PoisonError};

/// `CUgraphNodeType` of an allocation and of its end.
const ALLOCATION: u32 = 10;
const END: u32 = 11;
/// `CU_MEM_ACCESS_FLAGS_PROT_READWRITE`.
const READ_WRITE: u32 = 3;

/// `CUDA_MEM_ALLOC_NODE_PARAMS`.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct CUDA_MEM_ALLOC_NODE_PARAMS {
    /// Where the memory is.
    pub pool: CUmemPoolProps,
    /// Which devices reach it besides.
    pub access: *const CUmemAccessDesc,
    /// How many those are.
    pub access_count: usize,
    /// Size in bytes.
    pub bytes: usize,
    /// The memory's first byte: an answer.
    pub at: CUdeviceptr,
}
const _: () = assert!(size_of::<CUDA_MEM_ALLOC_NODE_PARAMS>() == 120);

/// Lists of devices that programs were told of nodes, by the bits of the devices: a few, which live as long as the nodes may.
type Lent = HashMap<u64, Box<[CUmemAccessDesc]>>;

static LENT: LazyLock<Mutex<Lent>> = LazyLock::new(Mutex::default);

impl CUDA_MEM_ALLOC_NODE_PARAMS {
    /// A bit for each device that reaches the memory besides.
    fn reached_by(&self) -> Outcome<u64> {
        let mut bits = 0;
        for access in In::at_address(self.access).all(self.access_count)? {
            if access.flags != READ_WRITE {
                return Err(Status::INVALID_VALUE.into());
            }
            let ordinal = access.location.device()?.ordinal;
            bits |= 1_u64.checked_shl(ordinal).ok_or(Status::INVALID_DEVICE)?;
        }
        Ok(bits)
    }

    /// Adds the node, and writes down where its memory is.
    pub(super) fn add(&mut self, spot: &Spot) -> Outcome<NodeId> {
        let device = self.pool.device()?;
        let added = spot.mem_alloc(device.ordinal, self.bytes as u64, self.reached_by()?)?;
        self.at = added.at.0;
        memory::claim_where_it_is(self.at, self.bytes as u64, memory::GRAPH_MEMORY)?;
        memory::remember_as(self.at, self.bytes as u64, What::Graph, Handle::NULL, device.visible);
        Ok(added.node)
    }
}

/// The list of devices of which a number has the bits, kept for the program.
fn lend(bits: u64) -> Outcome<(*const CUmemAccessDesc, usize)> {
    let devices = device::devices()?.iter().filter(|device| bits >> device.ordinal & 1 != 0);
    let list = devices.map(|device| CUmemAccessDesc {
        location: CUmemLocation::of_device(device.visible),
        flags: READ_WRITE,
    });
    let mut lent = LENT.lock().unwrap_or_else(PoisonError::into_inner);
    let list = lent.entry(bits).or_insert_with(|| list.collect());
    let at = if list.is_empty() { std::ptr::null() } else { list.as_ptr() };
    Ok((at, list.len()))
}

fn alloc_params(node: NodeId) -> Outcome<CUDA_MEM_ALLOC_NODE_PARAMS> {
    let found = live()?.call(&GraphMemoryParams { node, kind: ALLOCATION })?;
    let device = device::devices()?.iter().find(|device| device.ordinal == found.device);
    let device = device.ok_or(Failure(Status::INVALID_DEVICE))?;
    let (access, access_count) = lend(found.reached_by)?;
    Ok(CUDA_MEM_ALLOC_NODE_PARAMS {
        pool: CUmemPoolProps::of_device(device.visible),
        access,
        access_count,
        bytes: found.bytes as usize,
        at: found.at.0,
    })
}

fn attribute(device: CUdevice, attribute: u32, set: u32, value: u64) -> Outcome<u64> {
    let device = device::resolve(device)?.ordinal;
    Ok(live()?.call(&DeviceGraphMemory { device, attribute, set, value })?.value)
}

entry! {
    /// Adds an allocation to a graph, and says where its memory is.
    sync fn cuGraphAddMemAllocNode(node: Out<CUgraphNode>, graph: CUgraph, dependencies[count]: In<CUgraphNode>, count: usize, params: InOut<CUDA_MEM_ALLOC_NODE_PARAMS>) {
        let node = node.required()?;
        let mut wanted = params.get()?;
        let added = wanted.add(&Spot::new(graph, dependencies, count)?)?;
        params.set(wanted)?;
        node.set(node_handle(added)?)
    }

    /// What a node allocates.
    sync fn cuGraphMemAllocNodeGetParams(node: CUgraphNode, params: Out<CUDA_MEM_ALLOC_NODE_PARAMS>) {
        let params = params.required()?;
        params.set(alloc_params(resolve_node(node)?)?)
    }

    /// Adds the end of an allocation to a graph.
    sync fn cuGraphAddMemFreeNode(node: Out<CUgraphNode>, graph: CUgraph, dependencies[count]: In<CUgraphNode>, count: usize, at: CUdeviceptr) {
        let node = node.required()?;
        node.set(node_handle(Spot::new(graph, dependencies, count)?.mem_free(DevicePtr(at))?)?)
    }

    /// Which allocation a node ends.
    sync fn cuGraphMemFreeNodeGetParams(node: CUgraphNode, at: Out<CUdeviceptr>) {
        let at = at.required()?;
        let node = resolve_node(node)?;
        at.set(live()?.call(&GraphMemoryParams { node, kind: END })?.at.0)
    }

    /// Gives unused memory for graphs back to a device.
    sync fn cuDeviceGraphMemTrim(device: CUdevice) {
        let device = device::resolve(device)?.ordinal;
        live()?.call(&DeviceGraphMemoryTrim { device })?;
        Ok(())
    }

    /// How much memory a device has for graphs.
    sync fn cuDeviceGetGraphMemAttribute(device: CUdevice, which: u32, value: Out<u64>) {
        value.required()?.set(attribute(device, which, 0, 0)?)
    }

    /// Sets the most that it had back to 0.
    sync fn cuDeviceSetGraphMemAttribute(device: CUdevice, which: u32, value: In<u64>) {
        attribute(device, which, 1, value.get()?).map(drop)
    }
}
