//! Executable graphs, and descriptions of graphs.

use super::{Difference, Graph, Task};
use crate::gpu::MockGpu;
use crate::work::Work;
use ringbar_backend::Context;
use ringbar_vocabulary::*;
use std::collections::BTreeSet;
use std::fmt::Write;
use std::sync::Arc;

/// `CUgraphInstantiate_flags` that change nothing here: free on launch, upload, priorities.
const FLAGS: u64 = 1 | 2 | 8;
/// Launches by the device itself.
const DEVICE_LAUNCH: u64 = 4;
const UPDATE_FAILURE: Status = Status(910);

/// A graph that can be launched. Its nodes have the numbers of the graph's that it came from.
pub(crate) struct Exec {
    pub(super) graph: Arc<Graph>,
    /// Nodes that a launch passes over.
    pub(super) disabled: BTreeSet<u64>,
}

/// Whether no graph in it goes round in circles.
fn check_order(graph: &Graph) -> Result<(), Status> {
    graph.order()?;
    graph.children().try_for_each(check_order)
}

fn label(task: &Task) -> String {
    match task {
        Task::Empty => "empty".into(),
        Task::Allocation(memory) => format!("memory at {:#x}", memory.at.0),
        Task::Free(at) => format!("end of memory at {:#x}", at.0),
        Task::Child(child) => format!("graph of {} nodes", child.nodes.len()),
        Task::Work(Work::Kernel(launch)) => {
            let (grid, block) = (launch.geometry.grid, launch.geometry.block);
            format!("{}\\ngrid {grid:?} block {block:?}", launch.kernel.name)
        }
        Task::Work(Work::Bytes { bytes, .. }) => format!("copy of {} bytes", bytes.len()),
        Task::Work(Work::Copy(copy) | Work::ArrayCopy(copy)) => {
            format!("copy of {} x {} x {} bytes", copy.width, copy.height, copy.depth)
        }
        Task::Work(Work::Fill(fill)) => format!("fill of {} x {}", fill.width, fill.height),
        Task::Work(Work::Host { .. }) => "host function".into(),
        Task::Work(Work::Record { .. }) => "event record".into(),
        Task::Work(Work::WaitEvent { .. }) => "event wait".into(),
        Task::Work(Work::Write(_)) => "write of a value".into(),
        Task::Work(Work::WaitValue(_)) => "wait for a value".into(),
        Task::Work(Work::Library { .. }) => "library call".into(),
    }
}

fn describe(graph: &Graph) -> String {
    let mut text = String::from("digraph {\n");
    for (id, node) in &graph.nodes {
        // Writing into a string cannot fail.
        let _ = writeln!(text, "  n{id} [label=\"{}\"];", label(&node.task));
    }
    for (from, to) in graph.edges() {
        let _ = writeln!(text, "  n{from} -> n{to};");
    }
    text + "}\n"
}

impl MockGpu {
    pub(crate) fn graph_instantiate(
        &mut self,
        _cx: &mut Context<'_>,
        command: GraphInstantiate,
    ) -> Result<GraphInstantiateReply, Status> {
        let GraphInstantiate { graph, exec, flags } = command;
        if flags & !(FLAGS | DEVICE_LAUNCH) != 0 {
            return Err(Status::INVALID_VALUE);
        }
        if flags & DEVICE_LAUNCH != 0 {
            tracing::warn!("the mock has no launches by the device itself");
            return Err(Status::NOT_SUPPORTED);
        }
        if exec.0 == 0 {
            return Err(Status::INVALID_HANDLE);
        }
        let graph = self.graph(graph)?.clone();
        check_order(&graph)?;
        self.execs.add(exec.0, Exec { graph: Arc::new(graph), disabled: BTreeSet::new() })?;
        Ok(GraphInstantiateReply { node: NodeId(0), result: 0 })
    }

    pub(crate) fn graph_exec_update(
        &mut self,
        _cx: &mut Context<'_>,
        command: GraphExecUpdate,
    ) -> Result<GraphExecUpdateReply, Status> {
        let graph = self.graph(command.graph)?.clone();
        check_order(&graph)?;
        let exec = self.execs.get_mut(command.exec.0)?;
        let (node, result, status) = match Arc::make_mut(&mut exec.graph).take_over(&graph) {
            Ok(()) => (0, 0, Status::SUCCESS),
            Err(Difference { result, node }) => (node, result, UPDATE_FAILURE),
        };
        let (node, from) = (NodeId(node), NodeId(0));
        Ok(GraphExecUpdateReply { node, from, result, status: status.0 })
    }

    pub(crate) fn graph_upload(
        &mut self,
        _cx: &mut Context<'_>,
        command: GraphUpload,
    ) -> Result<(), Status> {
        self.stream(command.stream)?;
        self.execs.get(command.exec.0)?;
        self.refuse_in_capture(command.stream)
    }

    pub(crate) fn graph_launch(
        &mut self,
        cx: &mut Context<'_>,
        command: GraphLaunch,
    ) -> Result<(), Status> {
        let serial = self.stream(command.stream)?;
        let exec = self.execs.get(command.exec.0)?;
        let (graph, disabled) = (exec.graph.clone(), exec.disabled.clone());
        if self.is_capturing(command.stream)? {
            return self.capture_task(command.stream, Task::Child((*graph).clone()));
        }
        self.run_graph(cx, serial, &graph, &disabled)
    }

    /// Does all of a graph's work in one stream, in an order that its edges allow.
    fn run_graph(
        &mut self,
        cx: &mut Context<'_>,
        serial: u64,
        graph: &Graph,
        disabled: &BTreeSet<u64>,
    ) -> Result<(), Status> {
        for id in graph.order()?.into_iter().filter(|id| !disabled.contains(id)) {
            match graph.nodes.get(&id).map(|node| &node.task) {
                Some(Task::Work(work)) => self.perform(cx, serial, work)?,
                Some(Task::Child(child)) => self.run_graph(cx, serial, child, disabled)?,
                Some(Task::Empty | Task::Allocation(_) | Task::Free(_)) | None => {}
            }
        }
        Ok(())
    }

    pub(crate) fn graph_exec_destroy(
        &mut self,
        _cx: &mut Context<'_>,
        command: GraphExecDestroy,
    ) -> Result<(), Status> {
        self.ready()?;
        drop(self.execs.remove(command.exec.0)?);
        self.free_abandoned()
    }

    pub(crate) fn graph_dot(
        &mut self,
        cx: &mut Context<'_>,
        command: GraphDot,
    ) -> Result<GraphDotReply, Status> {
        cx.check_arena(command.text)?;
        let text = describe(self.graph(command.graph)?);
        if let Some(place) = command.text.part(0, text.len() as u64) {
            cx.write_arena(place, text.as_bytes())?;
        }
        Ok(GraphDotReply { bytes: text.len() as u64 })
    }
}
