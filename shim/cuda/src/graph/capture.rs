//! Capturing: what is posted to a stream becomes a graph instead of running.

use super::{GRAPHS, Graph, list, made, node_handle, resolve, resolve_node};
use crate::arg::{In, Out};
use crate::capturing;
use crate::failure::Outcome;
use crate::handles::Handle;
use crate::memory::captured;
use crate::session::live;
use crate::stream;
use crate::types::{CUgraph, CUgraphNode, CUstream, DefaultStream};
use ringbar_vocabulary::{
    ArenaRef, GraphDestroy, GraphId, NodeId, Status, StreamCaptureDependencies, StreamCaptureInfo,
    StreamCaptureInfoReply, StreamEndCapture, StreamId, Tail,
};
use std::cell::RefCell;
use std::sync::{Mutex, PoisonError};

use super::params::CUgraphEdgeData;

/// Graphs whose capture goes on and that the program already asked for.
static CAPTURED: Mutex<Vec<&'static Graph>> = Mutex::new(Vec::new());
/// `CU_STREAM_CAPTURE_STATUS_ACTIVE`.
const ACTIVE: u32 = 1;
/// `CUDA_ERROR_ILLEGAL_STATE`.
const ILLEGAL_STATE: Status = Status(401);

thread_local! {
    /// What the latest answer of dependencies points to, as CUDA's own list: valid until the thread asks again.
    static DEPENDENCIES: RefCell<Vec<Handle>> = const { RefCell::new(Vec::new()) };
    static EDGES: RefCell<Vec<CUgraphEdgeData>> = const { RefCell::new(Vec::new()) };
}

/// The number of a stream that is asked about.
fn asked(stream: CUstream, default: DefaultStream) -> Outcome<StreamId> {
    let stream = stream::find(stream, default)?;
    capturing::legacy_question(&stream)?;
    Ok(stream.id)
}

fn begin(stream: CUstream, default: DefaultStream, mode: u32) -> Outcome {
    capturing::begin(&stream::working(stream, default)?, mode)
}

/// Ends a capture. Without a place for it, and for a thread that may not end it, the graph is destroyed.
fn end(stream: CUstream, default: DefaultStream, place: Out<CUgraph>) -> Outcome {
    let stream = stream::working(stream, default)?.id;
    let capture = if capturing::any() { Some(capturing::info(stream)?) } else { None };
    let capture = capture.filter(|info| info.status != 0).ok_or(ILLEGAL_STATE)?.id;
    let anothers = capturing::is_anothers(stream);
    let live = live()?;
    let target = capturing::target(stream);
    let (known, id) = match target {
        Some(graph) => (target, graph.id()),
        None => (known_graph(stream)?, live.session.graph_id()?),
    };
    let ended = live.call(&StreamEndCapture { stream, graph: id });
    // A capture that failed is over as well, unless it was not this stream's to end.
    let goes_on = ended.is_err() && capturing::info(stream).is_ok_and(|info| info.status != 0);
    if !goes_on {
        capturing::ended(stream);
    }
    place.set_if_wanted(Handle::NULL);
    let is_over = ended.is_err() || anothers || place.is_null();
    if is_over && !goes_on {
        // A graph that existed before stays, with what was captured into it.
        captured::hand_over(capture, target);
    }
    ended?;
    if is_over {
        if target.is_none() {
            live.post(&GraphDestroy { graph: id })?;
        }
        return if anothers { Err(capturing::WRONG_THREAD.into()) } else { Ok(()) };
    }
    let graph = match known {
        Some(graph) => {
            graph.renumber(id);
            graph
        }
        None => made(id).inspect_err(|_| captured::hand_over(capture, None))?,
    };
    captured::hand_over(capture, Some(graph));
    place.set(graph.handle)
}

/// The graph that the stream captures into, if the program asked for it; it is none of those under way any more.
fn known_graph(stream: StreamId) -> Outcome<Option<&'static Graph>> {
    let empty = CAPTURED.lock().unwrap_or_else(PoisonError::into_inner).is_empty();
    if empty {
        return Ok(None);
    }
    let number = capturing::info(stream)?.graph;
    let mut captured = CAPTURED.lock().unwrap_or_else(PoisonError::into_inner);
    let at = captured.iter().position(|graph| graph.id() == number);
    Ok(at.map(|at| captured.swap_remove(at)))
}

fn ask(stream: StreamId, graph: GraphId, nodes: ArenaRef) -> Outcome<StreamCaptureInfoReply> {
    live()?.call(&StreamCaptureInfo { stream, graph, nodes })
}

/// The handle of the graph under capture that the executor knows by that number.
fn graph_under_capture(number: GraphId) -> Outcome<Handle> {
    let mut captured = CAPTURED.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(graph) = captured.iter().find(|graph| graph.id() == number) {
        return Ok(graph.handle);
    }
    // It may have existed before the capture.
    if let Some((handle, _)) = GRAPHS.alive().find(|(_, graph)| graph.id() == number) {
        return Ok(handle);
    }
    let graph = made(number)?;
    captured.push(graph);
    Ok(graph.handle)
}

/// Where the answers of `cuStreamGetCaptureInfo` go.
struct Places {
    status: Out<u32>,
    id: Out<u64>,
    graph: Out<CUgraph>,
    nodes: Out<*const CUgraphNode>,
    edges: Out<*const CUgraphEdgeData>,
    count: Out<usize>,
}

fn info(stream: CUstream, default: DefaultStream, to: &Places) -> Outcome {
    let status = to.status.required()?;
    let stream = asked(stream, default)?;
    let wants_graph = !to.graph.is_null() || !to.nodes.is_null() || !to.count.is_null();
    if !wants_graph {
        let reply = capturing::info(stream)?;
        status.set(reply.status)?;
        if reply.status == ACTIVE {
            to.id.set_if_wanted(reply.id);
        }
        return Ok(());
    }
    let number = live()?.session.graph_id()?;
    let mut reply = StreamCaptureInfoReply::default();
    let nodes = list(1, |place| {
        reply = ask(stream, number, place)?;
        Ok(u64::from(reply.nodes))
    })?;
    status.set(reply.status)?;
    if reply.status != ACTIVE {
        return Ok(());
    }
    to.id.set_if_wanted(reply.id);
    to.graph.set_if_wanted(graph_under_capture(reply.graph)?);
    to.count.set_if_wanted(nodes.len());
    lend(&nodes, to)
}

/// Points the program to the dependencies, in a list that this thread keeps.
fn lend(nodes: &[u64], to: &Places) -> Outcome {
    let handles: Outcome<Vec<Handle>> =
        nodes.iter().map(|&node| node_handle(NodeId(node))).collect();
    let handles = handles?;
    EDGES.with_borrow_mut(|list| {
        *list = vec![CUgraphEdgeData::default(); handles.len()];
        to.edges.set_if_wanted(list.as_ptr());
    });
    DEPENDENCIES.with_borrow_mut(|list| {
        *list = handles;
        to.nodes.set_if_wanted(list.as_ptr());
    });
    Ok(())
}

/// The numbers of nodes as they travel.
fn numbers(nodes: In<CUgraphNode>, count: usize) -> Outcome<Vec<u8>> {
    let nodes: Outcome<Vec<u64>> =
        nodes.all(count)?.into_iter().map(|node| Ok(resolve_node(node)?.0)).collect();
    Ok(super::bytes_of(nodes?))
}

fn update(
    stream: CUstream,
    default: DefaultStream,
    nodes: In<CUgraphNode>,
    count: usize,
    flags: u32,
) -> Outcome {
    let stream = stream::resolve(stream, default)?;
    if flags > 1 {
        return Err(Status::INVALID_VALUE.into());
    }
    let nodes = numbers(nodes, count)?;
    live()?.call(&StreamCaptureDependencies { stream, flags, nodes: Tail::Inline(&nodes) })?;
    Ok(())
}

stream_entry! {
    /// Makes later work of a stream part of a graph instead of running it.
    sync fn cuStreamBeginCapture_v2 | cuStreamBeginCapture_v2_ptsz[default](stream: CUstream, mode: u32) {
        begin(stream, default, mode)
    }

    /// The same in the mode that forbids unsafe calls in all threads.
    sync fn cuStreamBeginCapture | cuStreamBeginCapture_ptsz[default](stream: CUstream) {
        begin(stream, default, 0)
    }

    /// Makes later work of a stream part of a graph that exists, behind some of its nodes. Data of the edges must be the
    /// default.
    sync fn cuStreamBeginCaptureToGraph | cuStreamBeginCaptureToGraph_ptsz[default](stream: CUstream, graph: CUgraph, nodes[count]: In<CUgraphNode>, edges[count]: In<CUgraphEdgeData>, count: usize, mode: u32) {
        let (stream, graph) = (stream::working(stream, default)?, resolve(graph)?);
        super::params::only_default(edges, count)?;
        capturing::begin_in(&stream, mode, graph, &numbers(nodes, count)?)
    }

    /// Ends a capture and gives its graph.
    sync fn cuStreamEndCapture | cuStreamEndCapture_ptsz[default](stream: CUstream, graph: Out<CUgraph>) {
        end(stream, default, graph)
    }

    /// Whether a stream captures.
    sync fn cuStreamIsCapturing | cuStreamIsCapturing_ptsz[default](stream: CUstream, status: Out<u32>) {
        let status = status.required()?;
        let stream = asked(stream, default)?;
        if !capturing::any() {
            return status.set(0);
        }
        status.set(capturing::info(stream)?.status)
    }

    /// Whether a stream captures, and the capture's number.
    sync fn cuStreamGetCaptureInfo | cuStreamGetCaptureInfo_ptsz[default](stream: CUstream, status: Out<u32>, id: Out<u64>) {
        let places = Places { status, id, graph: Out::null(), nodes: Out::null(), edges: Out::null(), count: Out::null() };
        info(stream, default, &places)
    }

    /// Whether a stream captures, into what, and what the next node will depend on.
    sync fn cuStreamGetCaptureInfo_v2 | cuStreamGetCaptureInfo_v2_ptsz[default](stream: CUstream, status: Out<u32>, id: Out<u64>, graph: Out<CUgraph>, nodes: Out<*const CUgraphNode>, count: Out<usize>) {
        info(stream, default, &Places { status, id, graph, nodes, edges: Out::null(), count })
    }

    /// The same with data of the edges: always the default, since no others can be made here.
    sync fn cuStreamGetCaptureInfo_v3 | cuStreamGetCaptureInfo_v3_ptsz[default](stream: CUstream, status: Out<u32>, id: Out<u64>, graph: Out<CUgraph>, nodes: Out<*const CUgraphNode>, edges: Out<*const CUgraphEdgeData>, count: Out<usize>) {
        info(stream, default, &Places { status, id, graph, nodes, edges, count })
    }

    /// Changes what the next captured node depends on.
    sync fn cuStreamUpdateCaptureDependencies | cuStreamUpdateCaptureDependencies_ptsz[default](stream: CUstream, nodes[count]: In<CUgraphNode>, count: usize, flags: u32) {
        update(stream, default, nodes, count, flags)
    }

    /// The same with data of the edges, which must be the default.
    sync fn cuStreamUpdateCaptureDependencies_v2 | cuStreamUpdateCaptureDependencies_v2_ptsz[default](stream: CUstream, nodes[count]: In<CUgraphNode>, edges[count]: In<CUgraphEdgeData>, count: usize, flags: u32) {
        super::params::only_default(edges, count)?;
        update(stream, default, nodes, count, flags)
    }
}
