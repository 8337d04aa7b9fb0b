//! Memory that graphs allocate: at one address for all launches, and there as long as a graph has it.

use super::{GraphMemory, Task, kind, nodes};
use crate::gpu::MockGpu;
use crate::heap::Owner;
use ringbar_backend::Context;
use ringbar_vocabulary::*;
use std::sync::Arc;

/// `CUgraphMem_attribute`: what is used and what is reserved, each now and at most. Here both are the same.
const ATTRIBUTES: u32 = 4;

impl MockGpu {
    /// Memory for a node.
    pub(crate) fn graph_memory(
        &mut self,
        device: u32,
        bytes: u64,
        reached_by: u64,
    ) -> Result<Arc<GraphMemory>, Status> {
        let (at, used) = self.engine.with_space(|space| {
            let heap = space.heap(device)?;
            let at = heap.alloc(bytes, Owner::Graph)?;
            Ok((at, heap.bytes_of(Owner::Graph)))
        })?;
        let most = self.graph_memory_most.entry(device).or_default();
        *most = (*most).max(used);
        let abandoned = self.abandoned.clone();
        Ok(Arc::new(GraphMemory { at, bytes, device, reached_by, abandoned }))
    }

    pub(crate) fn graph_add_mem_alloc(
        &mut self,
        cx: &mut Context<'_>,
        command: GraphAddMemAlloc<'_>,
    ) -> Result<GraphAddMemAllocReply, Status> {
        let GraphAddMemAlloc { graph, device, bytes, reached_by, nodes } = command;
        self.check_device(device)?;
        self.graph(graph)?;
        if bytes == 0 {
            return Err(Status::INVALID_VALUE);
        }
        if reached_by.checked_shr(self.config.devices).unwrap_or(0) != 0 {
            return Err(Status::INVALID_DEVICE);
        }
        let after = nodes::words(cx, nodes)?;
        let memory = self.graph_memory(device, bytes, reached_by)?;
        let at = memory.at;
        let added = self.add_node(graph, Task::Allocation(memory), after);
        if added.is_err() {
            self.free_abandoned()?;
        }
        Ok(GraphAddMemAllocReply { node: added?, at })
    }

    pub(crate) fn graph_add_mem_free(
        &mut self,
        cx: &mut Context<'_>,
        command: GraphAddMemFree<'_>,
    ) -> Result<GraphAddMemFreeReply, Status> {
        let GraphAddMemFree { graph, at, nodes } = command;
        let ends = |task: &Task| matches!(task, Task::Free(ended) if *ended == at);
        if self.graph(graph)?.nodes.values().any(|node| ends(&node.task)) {
            return Err(Status::INVALID_VALUE);
        }
        let owner = self
            .engine
            .with_space_now(|space| Ok(space.heap_at(at).and_then(|heap| heap.owner(at))))?;
        if owner != Some(Owner::Graph) {
            return Err(Status::INVALID_VALUE);
        }
        let after = nodes::words(cx, nodes)?;
        let node = self.add_node(graph, Task::Free(at), after)?;
        Ok(GraphAddMemFreeReply { node })
    }

    pub(crate) fn graph_memory_params(
        &mut self,
        _cx: &mut Context<'_>,
        command: GraphMemoryParams,
    ) -> Result<GraphMemoryParamsReply, Status> {
        match (self.task(command.node, GraphExecId(0))?, command.kind) {
            (Task::Allocation(memory), kind::ALLOCATION) => {
                let GraphMemory { at, bytes, device, reached_by, .. } = **memory;
                Ok(GraphMemoryParamsReply { at, bytes, reached_by, device })
            }
            (Task::Free(at), kind::FREE) => {
                Ok(GraphMemoryParamsReply { at: *at, ..Default::default() })
            }
            _ => Err(Status::INVALID_VALUE),
        }
    }

    pub(crate) fn device_graph_memory(
        &mut self,
        _cx: &mut Context<'_>,
        command: DeviceGraphMemory,
    ) -> Result<DeviceGraphMemoryReply, Status> {
        let DeviceGraphMemory { device, attribute, set, value } = command;
        self.check_device(device)?;
        if attribute >= ATTRIBUTES {
            return Err(Status::INVALID_VALUE);
        }
        let used = self
            .engine
            .with_space(|space| space.heap(device).map(|heap| heap.bytes_of(Owner::Graph)))?;
        let most = self.graph_memory_most.entry(device).or_default();
        let asks_most = attribute % 2 == 1;
        if set != 0 {
            // Only the most that there was can be set, and only back.
            if !asks_most || value != 0 {
                return Err(Status::INVALID_VALUE);
            }
            *most = used;
        }
        Ok(DeviceGraphMemoryReply { value: if asks_most { *most } else { used } })
    }

    pub(crate) fn device_graph_memory_trim(
        &mut self,
        _cx: &mut Context<'_>,
        command: DeviceGraphMemoryTrim,
    ) -> Result<DeviceGraphMemoryTrimReply, Status> {
        self.check_device(command.device)?;
        Ok(DeviceGraphMemoryTrimReply {})
    }
}
