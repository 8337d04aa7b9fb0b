//! Memory that graphs allocate and end.

use crate::api::{AccessDesc, AllocNode, device_location};
use crate::live::Live;
use ringbar_backend::Context;
use ringbar_vocabulary::*;

/// `CUgraphNodeType` of an allocation and of its end.
const ALLOCATION: u32 = 10;
const END: u32 = 11;
/// `CU_MEM_ALLOCATION_TYPE_PINNED` and `CU_MEM_LOCATION_TYPE_DEVICE`.
const PINNED: u32 = 1;
const DEVICE: u32 = 1;
/// `CU_MEM_ACCESS_FLAGS_PROT_READWRITE`.
const READ_WRITE: u32 = 3;

fn alloc_node(device: i32, bytes: u64, access: &[AccessDesc]) -> AllocNode {
    AllocNode {
        allocation_type: PINNED,
        handle_types: 0,
        location_type: DEVICE,
        device,
        win32: 0,
        max_bytes: 0,
        rest: [0; 56],
        access: if access.is_empty() { std::ptr::null() } else { access.as_ptr() },
        access_count: access.len(),
        bytes: bytes as usize,
        at: 0,
    }
}

impl Live {
    /// The devices of which a number has the bits.
    fn devices_of(&self, bits: u64) -> Result<Vec<AccessDesc>, Status> {
        let ordinals = (0..u64::BITS).filter(|bit| bits >> bit & 1 != 0);
        ordinals
            .map(|ordinal| {
                let location = device_location(self.device(ordinal)?);
                Ok(AccessDesc { location, flags: READ_WRITE })
            })
            .collect()
    }

    /// The ordinal of a device of the driver's.
    fn ordinal_of(&self, device: i32) -> Result<u32, Status> {
        let found = self.devices.iter().position(|&known| known == device);
        found.map(|ordinal| ordinal as u32).ok_or(Status::INVALID_DEVICE)
    }

    pub fn graph_add_mem_alloc(
        &mut self,
        cx: &mut Context<'_>,
        c: GraphAddMemAlloc<'_>,
    ) -> Result<GraphAddMemAllocReply, Status> {
        let device = self.device(c.device)?;
        self.enter(ContextId(c.device))?;
        let after = self.graphs.read_nodes(cx, c.nodes)?;
        let access = self.devices_of(c.reached_by)?;
        let mut params = alloc_node(device, c.bytes, &access);
        let node = self.add_node(c.graph, &after, |live, node, graph, after, count| {
            // SAFETY: all of this frame.
            unsafe { live.api.cuGraphAddMemAllocNode(node, graph, after, count, &mut params) }
        })?;
        self.graph_memory.insert(params.at, ContextId(c.device));
        Ok(GraphAddMemAllocReply { node, at: DevicePtr(params.at) })
    }

    pub fn graph_add_mem_free(
        &mut self,
        cx: &mut Context<'_>,
        c: GraphAddMemFree<'_>,
    ) -> Result<GraphAddMemFreeReply, Status> {
        let after = self.graphs.read_nodes(cx, c.nodes)?;
        let node = self.add_node(c.graph, &after, |live, node, graph, after, count| {
            // SAFETY: all of this frame.
            unsafe { live.api.cuGraphAddMemFreeNode(node, graph, after, count, c.at.0) }
        })?;
        Ok(GraphAddMemFreeReply { node })
    }

    pub fn graph_memory_params(
        &mut self,
        _cx: &mut Context<'_>,
        c: GraphMemoryParams,
    ) -> Result<GraphMemoryParamsReply, Status> {
        let node = self.graphs.node(c.node)?;
        match c.kind {
            END => {
                let mut at = 0;
                self.api.cuGraphMemFreeNodeGetParams(node, &mut at)?;
                Ok(GraphMemoryParamsReply { at: DevicePtr(at), ..Default::default() })
            }
            ALLOCATION => {
                let mut found = alloc_node(0, 0, &[]);
                self.api.cuGraphMemAllocNodeGetParams(node, &mut found)?;
                let AllocNode { at, bytes, device, .. } = found;
                let reached_by = self.bits_of(&found)?;
                let (at, device) = (DevicePtr(at), self.ordinal_of(device)?);
                Ok(GraphMemoryParamsReply { at, bytes: bytes as u64, reached_by, device })
            }
            _ => Err(Status::INVALID_VALUE),
        }
    }

    /// The bits of the devices that reach a node's memory besides its own.
    fn bits_of(&self, node: &AllocNode) -> Result<u64, Status> {
        let mut bits = 0;
        for at in 0..node.access_count {
            // SAFETY: the driver's list, which lives as long as the node.
            let access = unsafe { node.access.wrapping_add(at).read() };
            bits |= 1_u64.checked_shl(self.ordinal_of(access.location.id)?).unwrap_or(0);
        }
        Ok(bits)
    }

    pub fn device_graph_memory(
        &mut self,
        _cx: &mut Context<'_>,
        c: DeviceGraphMemory,
    ) -> Result<DeviceGraphMemoryReply, Status> {
        let device = self.device(c.device)?;
        let mut value = c.value;
        if c.set != 0 {
            self.api.cuDeviceSetGraphMemAttribute(device, c.attribute, &mut value)?;
        }
        self.api.cuDeviceGetGraphMemAttribute(device, c.attribute, &mut value)?;
        Ok(DeviceGraphMemoryReply { value })
    }

    pub fn device_graph_memory_trim(
        &mut self,
        _cx: &mut Context<'_>,
        c: DeviceGraphMemoryTrim,
    ) -> Result<DeviceGraphMemoryTrimReply, Status> {
        self.api.cuDeviceGraphMemTrim(self.device(c.device)?)?;
        Ok(DeviceGraphMemoryTrimReply {})
    }
}
