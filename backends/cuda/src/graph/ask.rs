//! What nodes refer to: asked, and changed.

use crate::api::{Copy3D, CopyEnd, Raw};
use crate::host_function::run_kept;
use crate::launch::check_plain;
use crate::live::Live;
use cudarc::driver::sys::{CUDA_HOST_NODE_PARAMS, CUDA_MEMSET_NODE_PARAMS};
use ringbar_backend::Context;
use ringbar_vocabulary::*;

/// `CUgraphNodeType`.
const HOST: u32 = 3;
const GRAPH: u32 = 4;
const WAIT_EVENT: u32 = 6;
const RECORD_EVENT: u32 = 7;
/// `CU_MEMORYTYPE_HOST`.
const MEMORY_HOST: u32 = 1;
/// `CU_MEMORYTYPE_ARRAY`.
const MEMORY_ARRAY: u32 = 3;

/// Address, pitch and slice of one end.
fn corner(end: &CopyEnd) -> Result<[u64; 3], Status> {
    if end.memory_type == MEMORY_ARRAY {
        return Err(Status::NOT_SUPPORTED);
    }
    let base = if end.memory_type == MEMORY_HOST { end.host as u64 } else { end.device };
    let (pitch, slice) = (end.pitch as u64, end.pitch as u64 * end.height as u64);
    let before = end.x_bytes as u64 + end.y as u64 * pitch + end.z as u64 * slice;
    Ok([base.wrapping_add(before), pitch, slice])
}

impl Live {
    pub fn graph_node_find_in_clone(
        &mut self,
        _cx: &mut Context<'_>,
        c: GraphNodeFindInClone,
    ) -> Result<GraphNodeFindInCloneReply, Status> {
        let (node, graph) = (self.graphs.node(c.node)?, self.graphs.graph(c.graph)?);
        let mut copy = 0;
        self.api.cuGraphNodeFindInClone(&mut copy, node, graph)?;
        Ok(GraphNodeFindInCloneReply { node: NodeId(self.graphs.number_node(copy, graph)?) })
    }

    pub fn graph_set_host(
        &mut self,
        _cx: &mut Context<'_>,
        c: GraphSetHost,
    ) -> Result<GraphSetHostReply, Status> {
        let node = self.graphs.node(c.node)?;
        let exec = if c.exec.0 == 0 { None } else { Some(self.graphs.exec(c.exec)?) };
        let call = self.host_functions.keep(c.token)?;
        let params = CUDA_HOST_NODE_PARAMS { fn_: Some(run_kept), userData: call };
        match exec {
            // SAFETY: of this frame; the call lives as long as the process.
            None => unsafe { self.api.cuGraphHostNodeSetParams(node, &params) },
            // SAFETY: as above.
            Some(exec) => unsafe { self.api.cuGraphExecHostNodeSetParams(exec, node, &params) },
        }?;
        Ok(GraphSetHostReply {})
    }

    pub fn graph_set_event(
        &mut self,
        _cx: &mut Context<'_>,
        c: GraphSetEvent,
    ) -> Result<GraphSetEventReply, Status> {
        let (node, event) = (self.graphs.node(c.node)?, self.events.get(c.event.0)?.raw);
        let exec = if c.exec.0 == 0 { None } else { Some(self.graphs.exec(c.exec)?) };
        let api = &self.api;
        match (exec, c.wait) {
            (None, 0) => api.cuGraphEventRecordNodeSetEvent(node, event),
            (None, _) => api.cuGraphEventWaitNodeSetEvent(node, event),
            (Some(exec), 0) => api.cuGraphExecEventRecordNodeSetEvent(exec, node, event),
            (Some(exec), _) => api.cuGraphExecEventWaitNodeSetEvent(exec, node, event),
        }?;
        Ok(GraphSetEventReply {})
    }

    pub fn graph_set_child(
        &mut self,
        _cx: &mut Context<'_>,
        c: GraphSetChild,
    ) -> Result<GraphSetChildReply, Status> {
        let (node, exec) = (self.graphs.node(c.node)?, self.graphs.exec(c.exec)?);
        let child = self.graphs.graph(c.child)?;
        self.api.cuGraphExecChildGraphNodeSetParams(exec, node, child)?;
        Ok(GraphSetChildReply {})
    }

    pub fn graph_memset_params(
        &mut self,
        _cx: &mut Context<'_>,
        c: GraphMemsetParams,
    ) -> Result<GraphMemsetParamsReply, Status> {
        let node = self.graphs.node(c.node)?;
        let mut found = CUDA_MEMSET_NODE_PARAMS {
            dst: 0,
            pitch: 0,
            value: 0,
            elementSize: 0,
            width: 0,
            height: 0,
        };
        self.api.cuGraphMemsetNodeGetParams(node, &mut found)?;
        Ok(GraphMemsetParamsReply {
            dst: DevicePtr(found.dst),
            pitch: found.pitch as u64,
            width: found.width as u64,
            height: found.height as u64,
            value: found.value,
            element_bytes: found.elementSize,
        })
    }

    pub fn graph_memcpy_params(
        &mut self,
        cx: &mut Context<'_>,
        c: GraphMemcpyParams,
    ) -> Result<GraphMemcpyParamsReply, Status> {
        cx.check_arena(c.copy)?;
        let node = self.graphs.node(c.node)?;
        let mut found = Copy3D::default();
        // SAFETY: a place of this frame.
        unsafe { self.api.cuGraphMemcpyNodeGetParams(node, &mut found) }?;
        let (dst, src) = (corner(&found.dst)?, corner(&found.src)?);
        let extent = [found.width_bytes, found.height, found.depth].map(|n| n as u64);
        let words = [dst, src, extent].concat();
        let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
        let place = c.copy.part(0, bytes.len() as u64).ok_or(Status::INVALID_VALUE)?;
        cx.write_arena(place, &bytes)?;
        Ok(GraphMemcpyParamsReply {})
    }

    pub fn graph_node_object(
        &mut self,
        _cx: &mut Context<'_>,
        c: GraphNodeObject,
    ) -> Result<GraphNodeObjectReply, Status> {
        let node = self.graphs.node(c.node)?;
        let object = match c.kind {
            HOST => self.token_of_node(node)?,
            GRAPH => self.graph_inside(c, node)?,
            WAIT_EVENT | RECORD_EVENT => self.event_of_node(c.kind, node)?,
            _ => return Err(Status::INVALID_VALUE),
        };
        Ok(GraphNodeObjectReply { object })
    }

    pub fn graph_node_enabled(
        &mut self,
        _cx: &mut Context<'_>,
        c: GraphNodeEnabled,
    ) -> Result<GraphNodeEnabledReply, Status> {
        let (node, exec) = (self.graphs.node(c.node)?, self.graphs.exec(c.exec)?);
        if c.set != 0 {
            self.api.cuGraphNodeSetEnabled(exec, node, c.enabled)?;
        }
        let mut enabled = 0;
        self.api.cuGraphNodeGetEnabled(exec, node, &mut enabled)?;
        Ok(GraphNodeEnabledReply { enabled })
    }

    pub fn graph_kernel_attribute(
        &mut self,
        _cx: &mut Context<'_>,
        c: GraphKernelAttribute,
    ) -> Result<GraphKernelAttributeReply, Status> {
        let node = self.graphs.node(c.node)?;
        check_plain(c.attribute)?;
        let mut value = [0; 8];
        value[..4].copy_from_slice(&c.value);
        match c.set {
            0 => self.api.cuGraphKernelNodeGetAttribute(node, c.attribute, &mut value)?,
            _ => self.api.cuGraphKernelNodeSetAttribute(node, c.attribute, &value)?,
        }
        Ok(GraphKernelAttributeReply { value: [value[0], value[1], value[2], value[3]] })
    }

    pub fn graph_kernel_copy_attributes(
        &mut self,
        _cx: &mut Context<'_>,
        c: GraphKernelCopyAttributes,
    ) -> Result<GraphKernelCopyAttributesReply, Status> {
        let (dst, src) = (self.graphs.node(c.dst)?, self.graphs.node(c.src)?);
        self.api.cuGraphKernelNodeCopyAttributes(dst, src)?;
        Ok(GraphKernelCopyAttributesReply {})
    }

    fn token_of_node(&self, node: Raw) -> Result<u64, Status> {
        let mut found = CUDA_HOST_NODE_PARAMS { fn_: None, userData: std::ptr::null_mut() };
        // SAFETY: a place of this frame.
        unsafe { self.api.cuGraphHostNodeGetParams(node, &mut found) }?;
        self.host_functions.token_of(found.userData).ok_or(Status::INVALID_HANDLE)
    }

    fn graph_inside(&mut self, c: GraphNodeObject, node: Raw) -> Result<u64, Status> {
        let mut graph = 0;
        self.api.cuGraphChildGraphNodeGetGraph(node, &mut graph)?;
        if let Some(known) = self.graphs.number_of(graph) {
            return Ok(known.0.into());
        }
        self.graphs.check_new(c.graph)?;
        self.graphs.insert_inside(c.graph, graph, c.node);
        Ok(c.graph.0.into())
    }

    fn event_of_node(&self, kind: u32, node: Raw) -> Result<u64, Status> {
        let mut raw = 0;
        match kind {
            WAIT_EVENT => self.api.cuGraphEventWaitNodeGetEvent(node, &mut raw),
            _ => self.api.cuGraphEventRecordNodeGetEvent(node, &mut raw),
        }?;
        let found = self.events.iter().find(|(_, event)| event.raw == raw);
        found.map(|(id, _)| id.into()).ok_or(Status::INVALID_HANDLE)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_end_is_told_by_the_address_of_its_first_byte() {
        let end =
            CopyEnd { memory_type: 2, device: 1000, pitch: 10, height: 4, ..CopyEnd::default() };
        assert_eq!(corner(&end), Ok([1000, 10, 40]));
        let end = CopyEnd { memory_type: 1, host: 5000, x_bytes: 3, y: 2, z: 1, ..end };
        assert_eq!(corner(&end), Ok([5000 + 40 + 20 + 3, 10, 40]));
        let array = CopyEnd { memory_type: 3, ..end };
        assert_eq!(corner(&array), Err(Status::NOT_SUPPORTED));
    }
}
