//! Executable graphs.

use super::user_object::{Held, Launches};
use super::{EXECS, Exec, node_handle, resolve, resolve_exec};
use crate::arg::{InOut, Out};
use crate::capturing;
use crate::failure::{Failure, Outcome};
use crate::handles::Handle;
use crate::session::live;
use crate::stream::working;
use crate::types::{CUgraph, CUgraphExec, CUgraphNode, CUstream, DefaultStream};
use ringbar_vocabulary::{
    GraphExecDestroy, GraphExecUpdate, GraphInstantiate, GraphLaunch, GraphUpload, NodeId, Status,
};
use std::ffi::c_char;

/// `CUDA_GRAPH_INSTANTIATE_PARAMS`.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct CUDA_GRAPH_INSTANTIATE_PARAMS {
    /// `CUgraphInstantiate_flags`.
    pub flags: u64,
    /// The stream for the upload, if flags ask for it.
    pub upload_stream: CUstream,
    /// Out: the node that was the reason of a failure.
    pub error_node: CUgraphNode,
    /// Out: `CUgraphInstantiateResult`.
    pub result: u32,
}

/// `CUgraphExecUpdateResultInfo`.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct CUgraphExecUpdateResultInfo {
    /// `CUgraphExecUpdateResult`.
    pub result: u32,
    /// The node that was the reason of a failure.
    pub error_node: CUgraphNode,
    /// The node before it, if an edge was the reason.
    pub error_from_node: CUgraphNode,
}

/// `CUDA_GRAPH_INSTANTIATE_FLAG_UPLOAD`.
const UPLOAD: u64 = 2;
/// `CUDA_GRAPH_INSTANTIATE_FLAG_DEVICE_LAUNCH`.
const DEVICE_LAUNCH: u64 = 4;
const FLAGS: u64 = 0xf;

/// What an instantiation came to: the executable graph, or why there is none.
struct Instantiated {
    exec: Option<&'static Exec>,
    node: NodeId,
    result: u32,
    failure: Option<Failure>,
}

fn instantiate(graph: CUgraph, flags: u64) -> Outcome<Instantiated> {
    let source = resolve(graph)?;
    let graph = source.id();
    if flags & !FLAGS != 0 {
        return Err(Status::INVALID_VALUE.into());
    }
    if flags & DEVICE_LAUNCH != 0 {
        return Err(Status::NOT_SUPPORTED.into());
    }
    capturing::unsafe_call()?;
    let live = live()?;
    let id = live.session.graph_exec_id()?;
    // The upload is a command of its own here, since only it names a stream.
    let reply = match live.call(&GraphInstantiate { graph, exec: id, flags: flags & !UPLOAD }) {
        Ok(reply) => reply,
        Err(failure) => {
            return Ok(Instantiated {
                exec: None,
                node: NodeId(0),
                result: 1,
                failure: Some(failure),
            });
        }
    };
    let (node, result) = (reply.node, reply.result);
    if result != 0 {
        let failure = Some(Failure(Status::INVALID_VALUE));
        return Ok(Instantiated { exec: None, node, result, failure });
    }
    let (held, launches) = (Held::default(), Launches::default());
    held.share(&source.held);
    let (_, exec) = EXECS.insert(|handle| Exec { handle, id, flags, held, launches })?;
    Ok(Instantiated { exec: Some(exec), node, result, failure: None })
}

impl Instantiated {
    fn give(&self, place: Out<CUgraphExec>) -> Outcome {
        match self.failure {
            Some(failure) => Err(failure),
            None => place.set(self.exec.map_or(Handle::NULL, |exec| exec.handle)),
        }
    }
}

/// The first forms have room for a log, which stays empty.
fn instantiate_with_log(
    place: Out<CUgraphExec>,
    graph: CUgraph,
    node: Out<CUgraphNode>,
    log: Out<c_char>,
    bytes: usize,
) -> Outcome {
    let place = place.required()?;
    let made = instantiate(graph, 0)?;
    node.set_if_wanted(node_handle(made.node)?);
    if bytes > 0 {
        log.set_if_wanted(0);
    }
    made.give(place)
}

fn with_params(
    place: Out<CUgraphExec>,
    graph: CUgraph,
    params: Out<CUDA_GRAPH_INSTANTIATE_PARAMS>,
) -> Outcome {
    let place = place.required()?;
    let mut wish = params.get()?;
    let made = instantiate(graph, wish.flags)?;
    wish.error_node = node_handle(made.node)?;
    wish.result = made.result;
    params.set(wish)?;
    made.give(place)?;
    match made.exec {
        Some(exec) if wish.flags & UPLOAD != 0 => {
            upload(exec, wish.upload_stream, DefaultStream::Legacy)
        }
        _ => Ok(()),
    }
}

fn upload(exec: &Exec, stream: CUstream, default: DefaultStream) -> Outcome {
    let stream = working(stream, default)?;
    live()?.post(&GraphUpload { exec: exec.id, stream: stream.id })?;
    Ok(())
}

fn launch(exec: CUgraphExec, stream: CUstream, default: DefaultStream) -> Outcome {
    let exec = resolve_exec(exec)?;
    // Marked as having work once that is posted.
    let stream = working(stream, default)?;
    let live = live()?;
    live.post(&GraphLaunch { exec: exec.id, stream: stream.id })?;
    if !exec.held.any() {
        return Ok(());
    }
    match capturing::is_capturing(&stream)? {
        true => exec.held.share_with_capture(capturing::id_of(stream.id)?),
        false => exec.launches.note(live, &stream)?,
    }
    Ok(())
}

fn update(exec: CUgraphExec, graph: CUgraph) -> Outcome<(CUgraphExecUpdateResultInfo, Status)> {
    let (exec, graph) = (resolve_exec(exec)?, resolve(graph)?);
    let reply = live()?.call(&GraphExecUpdate { exec: exec.id, graph: graph.id() })?;
    // Launches before the update may still use what it held until now.
    exec.held.share(&graph.held);
    let info = CUgraphExecUpdateResultInfo {
        result: reply.result,
        error_node: node_handle(reply.node)?,
        error_from_node: node_handle(reply.from)?,
    };
    Ok((info, Status(reply.status)))
}

entry! {
    /// Makes a graph executable.
    sync fn cuGraphInstantiateWithFlags(exec: Out<CUgraphExec>, graph: CUgraph, flags: u64) {
        let exec = exec.required()?;
        instantiate(graph, flags)?.give(exec)
    }

    /// The same, with the reason of a failure.
    sync fn cuGraphInstantiate(exec: Out<CUgraphExec>, graph: CUgraph, node: Out<CUgraphNode>, log[bytes]: Out<c_char>, bytes: usize) {
        instantiate_with_log(exec, graph, node, log, bytes)
    }

    /// The same, with the reason of a failure.
    sync fn cuGraphInstantiate_v2(exec: Out<CUgraphExec>, graph: CUgraph, node: Out<CUgraphNode>, log[bytes]: Out<c_char>, bytes: usize) {
        instantiate_with_log(exec, graph, node, log, bytes)
    }

    /// Changes an executable graph into another of the same shape.
    sync fn cuGraphExecUpdate_v2(exec: CUgraphExec, graph: CUgraph, info: Out<CUgraphExecUpdateResultInfo>) {
        let info = info.required()?;
        let (found, status) = update(exec, graph)?;
        info.set(found)?;
        Ok(status.ok()?)
    }

    /// The same; the node before is not told.
    sync fn cuGraphExecUpdate(exec: CUgraphExec, graph: CUgraph, node: Out<CUgraphNode>, result: Out<u32>) {
        let (found, status) = update(exec, graph)?;
        node.set_if_wanted(found.error_node);
        result.set_if_wanted(found.result);
        Ok(status.ok()?)
    }

    /// The flags that an executable graph was made with.
    local fn cuGraphExecGetFlags(exec: CUgraphExec, flags: Out<u64>) {
        let flags = flags.required()?;
        flags.set(resolve_exec(exec)?.flags)
    }

    /// Destroys an executable graph.
    post fn cuGraphExecDestroy(exec: CUgraphExec) {
        let exec = EXECS.remove(exec).ok_or(Failure(Status::INVALID_VALUE))?;
        live()?.post(&GraphExecDestroy { exec: exec.id })?;
        exec.launches.end(&exec.held);
        Ok(())
    }
}

stream_entry! {
    /// Makes a graph executable, with the reason of a failure, and uploads it if flags ask for it.
    sync fn cuGraphInstantiateWithParams | cuGraphInstantiateWithParams_ptsz[_default](exec: Out<CUgraphExec>, graph: CUgraph, params: InOut<CUDA_GRAPH_INSTANTIATE_PARAMS>) {
        with_params(exec, graph, params)
    }

    /// Uploads an executable graph to its device.
    post fn cuGraphUpload | cuGraphUpload_ptsz[default](exec: CUgraphExec, stream: CUstream) {
        upload(resolve_exec(exec)?, stream, default)
    }

    /// Launches an executable graph, in stream order.
    post fn cuGraphLaunch | cuGraphLaunch_ptsz[default](exec: CUgraphExec, stream: CUstream) {
        launch(exec, stream, default)
    }
}
