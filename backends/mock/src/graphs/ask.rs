//! What nodes refer to: asked, and changed.

use super::{Graph, Task, kind};
use crate::gpu::MockGpu;
use crate::work::{Copy, Work, line};
use ringbar_backend::Context;
use ringbar_vocabulary::*;
use std::collections::BTreeMap;

/// `CUkernelNodeAttrID`: access policy, cooperative, cluster dimensions and scheduling, priority, domain.
const ATTRIBUTES: [u32; 6] = [1, 2, 4, 5, 8, 10];
/// Words that describe a copy.
const COPY_WORDS: u64 = 9;

impl MockGpu {
    pub(crate) fn graph_node_find_in_clone(
        &mut self,
        _cx: &mut Context<'_>,
        command: GraphNodeFindInClone,
    ) -> Result<GraphNodeFindInCloneReply, Status> {
        let found = self.graph(command.graph)?.copy_of(command.node.0);
        Ok(GraphNodeFindInCloneReply { node: NodeId(found.ok_or(Status::INVALID_VALUE)?) })
    }

    pub(crate) fn graph_set_host(
        &mut self,
        _cx: &mut Context<'_>,
        command: GraphSetHost,
    ) -> Result<GraphSetHostReply, Status> {
        self.check_host_functions()?;
        match self.task(command.node, command.exec)? {
            Task::Work(Work::Host { token }) => *token = command.token,
            _ => return Err(Status::INVALID_VALUE),
        }
        Ok(GraphSetHostReply {})
    }

    pub(crate) fn graph_set_event(
        &mut self,
        _cx: &mut Context<'_>,
        command: GraphSetEvent,
    ) -> Result<GraphSetEventReply, Status> {
        self.ready()?;
        self.events.get(command.event.0)?;
        match (self.task(command.node, command.exec)?, command.wait) {
            (Task::Work(Work::Record { event }), 0)
            | (Task::Work(Work::WaitEvent { event }), 1) => *event = command.event.0,
            _ => return Err(Status::INVALID_VALUE),
        }
        Ok(GraphSetEventReply {})
    }

    pub(crate) fn graph_set_child(
        &mut self,
        _cx: &mut Context<'_>,
        command: GraphSetChild,
    ) -> Result<GraphSetChildReply, Status> {
        let child = self.graph(command.child)?.clone();
        if command.exec.0 == 0 {
            return Err(Status::INVALID_VALUE);
        }
        match self.task(command.node, command.exec)? {
            Task::Child(inside) => {
                inside.take_over(&child).map_err(|_| Status::INVALID_VALUE)?;
            }
            _ => return Err(Status::INVALID_VALUE),
        }
        Ok(GraphSetChildReply {})
    }

    pub(crate) fn graph_memset_params(
        &mut self,
        _cx: &mut Context<'_>,
        command: GraphMemsetParams,
    ) -> Result<GraphMemsetParamsReply, Status> {
        let Task::Work(Work::Fill(fill)) = self.task(command.node, GraphExecId(0))? else {
            return Err(Status::INVALID_VALUE);
        };
        let crate::work::Fill { dst, pitch, width, height, value, element_bytes } = *fill;
        Ok(GraphMemsetParamsReply { dst, pitch, width, height, value, element_bytes })
    }

    pub(crate) fn graph_memcpy_params(
        &mut self,
        cx: &mut Context<'_>,
        command: GraphMemcpyParams,
    ) -> Result<GraphMemcpyParamsReply, Status> {
        cx.check_arena(command.copy)?;
        let copy = match self.task(command.node, GraphExecId(0))? {
            Task::Work(Work::Copy(copy)) => *copy,
            // Where such bytes came from is no address any more.
            Task::Work(Work::Bytes { dst, bytes }) => Copy {
                dst: line(dst.0),
                src: line(0),
                width: bytes.len() as u64,
                height: 1,
                depth: 1,
                host: 0,
            },
            Task::Work(Work::ArrayCopy(_)) => return Err(Status::NOT_SUPPORTED),
            _ => return Err(Status::INVALID_VALUE),
        };
        if command.copy.len < COPY_WORDS * 8 {
            return Err(Status::INVALID_VALUE);
        }
        let Copy { dst, src, width, height, depth, .. } = copy;
        let ends = [dst, src].map(|end| [end.at, end.pitch, end.slice]);
        let words = [&ends[0][..], &ends[1], &[width, height, depth]].concat();
        super::nodes::write_words(cx, command.copy, &words)?;
        Ok(GraphMemcpyParamsReply {})
    }

    pub(crate) fn graph_node_enabled(
        &mut self,
        _cx: &mut Context<'_>,
        command: GraphNodeEnabled,
    ) -> Result<GraphNodeEnabledReply, Status> {
        let GraphNodeEnabled { node, exec, set, enabled } = command;
        if exec.0 == 0 || enabled > 1 {
            return Err(Status::INVALID_VALUE);
        }
        let kind = self.task(node, exec)?.kind();
        if !matches!(kind, kind::KERNEL | kind::COPY | kind::FILL) {
            return Err(Status::INVALID_VALUE);
        }
        let disabled = &mut self.execs.get_mut(exec.0)?.disabled;
        match (set, enabled) {
            (0, _) => {}
            (_, 0) => drop(disabled.insert(node.0)),
            _ => drop(disabled.remove(&node.0)),
        }
        Ok(GraphNodeEnabledReply { enabled: u32::from(!disabled.contains(&node.0)) })
    }

    /// The attributes of a kernel node.
    fn kernel_attributes(&mut self, node: NodeId) -> Result<&mut BTreeMap<u32, [u64; 4]>, Status> {
        let found = self.graph_with(node)?.nodes.get_mut(&node.0).ok_or(Status::INVALID_VALUE)?;
        match found.task.kind() {
            kind::KERNEL => Ok(&mut found.attributes),
            _ => Err(Status::INVALID_VALUE),
        }
    }

    pub(crate) fn graph_kernel_attribute(
        &mut self,
        _cx: &mut Context<'_>,
        command: GraphKernelAttribute,
    ) -> Result<GraphKernelAttributeReply, Status> {
        let attributes = self.kernel_attributes(command.node)?;
        if !ATTRIBUTES.contains(&command.attribute) {
            return Err(Status::INVALID_VALUE);
        }
        if command.set != 0 {
            attributes.insert(command.attribute, command.value);
        }
        let value = attributes.get(&command.attribute).copied().unwrap_or_default();
        Ok(GraphKernelAttributeReply { value })
    }

    pub(crate) fn graph_kernel_copy_attributes(
        &mut self,
        _cx: &mut Context<'_>,
        command: GraphKernelCopyAttributes,
    ) -> Result<GraphKernelCopyAttributesReply, Status> {
        let attributes = self.kernel_attributes(command.src)?.clone();
        *self.kernel_attributes(command.dst)? = attributes;
        Ok(GraphKernelCopyAttributesReply {})
    }

    /// A graph inside a node is given out as it is now; later changes of it do not reach the node.
    pub(crate) fn graph_node_object(
        &mut self,
        _cx: &mut Context<'_>,
        command: GraphNodeObject,
    ) -> Result<GraphNodeObjectReply, Status> {
        let mut next = self.next_node;
        let object = match (self.task(command.node, GraphExecId(0))?, command.kind) {
            (Task::Work(Work::Host { token }), kind::HOST) => *token,
            (Task::Work(Work::WaitEvent { event }), kind::WAIT_EVENT)
            | (Task::Work(Work::Record { event }), kind::RECORD_EVENT) => u64::from(*event),
            (Task::Child(inside), kind::GRAPH) => {
                let inside: Graph = inside.renumbered(&mut next);
                self.new_graph(command.graph, inside)?;
                self.next_node = next;
                u64::from(command.graph.0)
            }
            _ => return Err(Status::INVALID_VALUE),
        };
        Ok(GraphNodeObjectReply { object })
    }
}
