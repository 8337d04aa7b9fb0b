//! Streams that record into graphs.

use super::{Graph, Task};
use crate::gpu::MockGpu;
use crate::schedule::Kind;
use crate::work::Work;
use ringbar_backend::Context;
use ringbar_vocabulary::*;
use std::collections::{BTreeMap, BTreeSet, HashMap};

const ILLEGAL_STATE: Status = Status(401);
const UNSUPPORTED: Status = Status(900);
const INVALIDATED: Status = Status(901);
const MERGE: Status = Status(902);
const UNMATCHED: Status = Status(903);
const UNJOINED: Status = Status(904);
const ISOLATION: Status = Status(905);
const IMPLICIT: Status = Status(906);
/// `CUstreamCaptureMode` goes up to this.
const MODE_MAX: u32 = 2;
/// For records and waits: a node of its own.
const EXTERNAL: u32 = 1;
/// `CUstreamCaptureStatus`.
const ACTIVE: u32 = 1;
const INVALID: u32 = 2;

/// Nodes that the next one of a stream comes after.
type Tips = BTreeSet<u64>;

/// A graph in the making.
struct Capture {
    /// The stream that began it and ends it.
    origin: u32,
    graph: Graph,
    /// The graph's number, once the client gave it one: then the graph lies in the table.
    named: Option<u32>,
    /// Whether the graph existed before, and goes on if the capture fails.
    lasting: bool,
    tips: HashMap<u32, Tips>,
    invalid: bool,
}

impl Capture {
    /// Whether it ends well.
    fn end(&self) -> Result<(), Status> {
        if self.invalid {
            return Err(INVALIDATED);
        }
        let end = self.tips.get(&self.origin).cloned().unwrap_or_default();
        let joined = self.tips.values().all(|tips| self.graph.all_lead_to(tips, &end));
        if joined { Ok(()) } else { Err(UNJOINED) }
    }
}

/// All captures.
#[derive(Default)]
pub(crate) struct Captures {
    next: u64,
    captures: BTreeMap<u64, Capture>,
    /// Which capture a stream records into.
    streams: HashMap<u32, u64>,
    /// Records of events inside captures.
    events: HashMap<u32, (u64, Tips)>,
}

impl Captures {
    fn of(&mut self, stream: StreamId) -> Option<&mut Capture> {
        let id = self.streams.get(&stream.0)?;
        self.captures.get_mut(id)
    }

    fn invalidate(&mut self, stream: StreamId) {
        if let Some(capture) = self.of(stream) {
            capture.invalid = true;
        }
    }

    /// Ends a capture and forgets all that belongs to it.
    fn remove(&mut self, id: u64) -> Option<Capture> {
        self.streams.retain(|_, capture| *capture != id);
        self.events.retain(|_, (capture, _)| *capture != id);
        self.captures.remove(&id)
    }
}

impl MockGpu {
    /// Whether a stream records into a graph. The legacy default stream must not be used while a
    /// stream is captured that waits for it.
    #[inline]
    pub(crate) fn is_capturing(&mut self, stream: StreamId) -> Result<bool, Status> {
        if self.captures.streams.is_empty() {
            return Ok(false);
        }
        self.look_at_captures(stream)
    }

    fn look_at_captures(&mut self, stream: StreamId) -> Result<bool, Status> {
        if let Some(capture) = self.captures.of(stream) {
            return if capture.invalid { Err(INVALIDATED) } else { Ok(true) };
        }
        let lane = self.streams.get(stream.0)?.lane;
        if lane.kind != Kind::Default {
            return Ok(false);
        }
        let broken: Vec<u32> = self
            .captures
            .streams
            .keys()
            .copied()
            .filter(|&other| {
                self.streams.get(other).is_ok_and(|other| {
                    other.lane.kind == Kind::Blocking && other.lane.context == lane.context
                })
            })
            .collect();
        for &other in &broken {
            self.captures.invalidate(StreamId(other));
        }
        if broken.is_empty() { Ok(false) } else { Err(IMPLICIT) }
    }

    fn graph_of(&mut self, capture: u64) -> Result<&mut Graph, Status> {
        let capture = self.captures.captures.get_mut(&capture).ok_or(ILLEGAL_STATE)?;
        match capture.named {
            Some(graph) => self.graphs.get_mut(graph),
            None => Ok(&mut capture.graph),
        }
    }

    /// Makes work of a captured stream a node.
    pub(crate) fn capture(&mut self, stream: StreamId, work: Work) -> Result<(), Status> {
        self.capture_task(stream, Task::Work(work))
    }

    pub(crate) fn capture_task(&mut self, stream: StreamId, task: Task) -> Result<(), Status> {
        let id = *self.captures.streams.get(&stream.0).ok_or(ILLEGAL_STATE)?;
        let capture = self.captures.captures.get_mut(&id).ok_or(ILLEGAL_STATE)?;
        let after = capture.tips.get(&stream.0).cloned().unwrap_or_default();
        let node = self.next_node;
        self.next_node += 1;
        self.graph_of(id)?.add(node, task, after)?;
        let capture = self.captures.captures.get_mut(&id).ok_or(ILLEGAL_STATE)?;
        capture.tips.insert(stream.0, Tips::from([node]));
        Ok(())
    }

    /// For what cannot be part of a graph.
    #[inline]
    pub(crate) fn refuse_in_capture(&mut self, stream: StreamId) -> Result<(), Status> {
        if self.is_capturing(stream)? {
            self.captures.invalidate(stream);
            return Err(UNSUPPORTED);
        }
        Ok(())
    }

    /// Whether a record was one inside a capture, which only says where others join.
    #[inline]
    pub(crate) fn record_in_capture(
        &mut self,
        stream: StreamId,
        event: EventId,
        flags: u32,
    ) -> Result<bool, Status> {
        if !self.is_capturing(stream)? {
            if !self.captures.events.is_empty() {
                self.captures.events.remove(&event.0);
            }
            return Ok(false);
        }
        if flags & EXTERNAL != 0 {
            self.capture(stream, Work::Record { event: event.0 })?;
            return Ok(true);
        }
        let id = *self.captures.streams.get(&stream.0).ok_or(ILLEGAL_STATE)?;
        let capture = self.captures.captures.get(&id).ok_or(ILLEGAL_STATE)?;
        let tips = capture.tips.get(&stream.0).cloned().unwrap_or_default();
        self.captures.events.insert(event.0, (id, tips));
        Ok(true)
    }

    /// Whether a wait was one inside a capture: the stream joins it, or comes after more.
    #[inline]
    pub(crate) fn wait_in_capture(
        &mut self,
        stream: StreamId,
        event: EventId,
        flags: u32,
    ) -> Result<bool, Status> {
        let capturing = self.is_capturing(stream)?;
        if !capturing && self.captures.events.is_empty() {
            return Ok(false);
        }
        if capturing && flags & EXTERNAL != 0 {
            self.capture(stream, Work::WaitEvent { event: event.0 })?;
            return Ok(true);
        }
        let Some((id, tips)) = self.captures.events.get(&event.0).cloned() else {
            if capturing {
                // A graph cannot wait for what happens outside it.
                self.captures.invalidate(stream);
                return Err(ISOLATION);
            }
            return Ok(false);
        };
        self.join(stream, id, tips)?;
        Ok(true)
    }

    fn join(&mut self, stream: StreamId, id: u64, tips: Tips) -> Result<(), Status> {
        let own = self.captures.streams.get(&stream.0).copied();
        if own.is_some_and(|own| own != id) {
            self.captures.invalidate(stream);
            if let Some(capture) = self.captures.captures.get_mut(&id) {
                capture.invalid = true;
            }
            return Err(MERGE);
        }
        let legacy = self.streams.get(stream.0)?.lane.kind == Kind::Default;
        let capture = self.captures.captures.get_mut(&id).ok_or(ILLEGAL_STATE)?;
        if legacy {
            capture.invalid = true;
            return Err(IMPLICIT);
        }
        capture.tips.entry(stream.0).or_default().extend(tips);
        self.captures.streams.insert(stream.0, id);
        Ok(())
    }

    /// A destroyed stream ends its own capture and breaks one that it joined.
    pub(crate) fn forget_capture(&mut self, stream: StreamId) {
        let Some(&id) = self.captures.streams.get(&stream.0) else { return };
        let begun = self.captures.captures.get(&id).is_some_and(|c| c.origin == stream.0);
        if begun {
            self.captures.remove(id);
        } else {
            self.captures.invalidate(stream);
            self.captures.streams.remove(&stream.0);
        }
    }

    pub(crate) fn forget_event(&mut self, event: EventId) {
        self.captures.events.remove(&event.0);
    }

    pub(crate) fn stream_begin_capture(
        &mut self,
        _cx: &mut Context<'_>,
        command: StreamBeginCapture,
    ) -> Result<StreamBeginCaptureReply, Status> {
        self.check_capture(command.stream, command.mode)?;
        self.begin_capture(command.stream, None, Tips::new());
        Ok(StreamBeginCaptureReply {})
    }

    pub(crate) fn stream_begin_capture_to_graph(
        &mut self,
        cx: &mut Context<'_>,
        command: StreamBeginCaptureToGraph<'_>,
    ) -> Result<StreamBeginCaptureToGraphReply, Status> {
        let StreamBeginCaptureToGraph { stream, graph, mode, nodes } = command;
        self.check_capture(stream, mode)?;
        let tips: Tips = super::nodes::words(cx, nodes)?.into_iter().collect();
        let found = self.graph(graph)?;
        if !tips.iter().all(|node| found.nodes.contains_key(node)) {
            return Err(Status::INVALID_VALUE);
        }
        if self.captures.captures.values().any(|capture| capture.named == Some(graph.0)) {
            return Err(Status::INVALID_VALUE);
        }
        self.begin_capture(stream, Some(graph.0), tips);
        Ok(StreamBeginCaptureToGraphReply {})
    }

    /// Whether a capture of a stream could begin.
    fn check_capture(&self, stream: StreamId, mode: u32) -> Result<(), Status> {
        self.stream(stream)?;
        if mode > MODE_MAX {
            return Err(Status::INVALID_VALUE);
        }
        if self.streams.get(stream.0)?.lane.kind == Kind::Default {
            return Err(UNSUPPORTED);
        }
        if self.captures.streams.contains_key(&stream.0) {
            return Err(ILLEGAL_STATE);
        }
        Ok(())
    }

    /// Captures a stream into a graph that exists, or into a new one.
    fn begin_capture(&mut self, stream: StreamId, named: Option<u32>, tips: Tips) {
        self.captures.next += 1;
        let (id, origin) = (self.captures.next, stream.0);
        let tips = HashMap::from([(origin, tips)]);
        let (graph, lasting) = (Graph::default(), named.is_some());
        let capture = Capture { origin, graph, named, lasting, tips, invalid: false };
        self.captures.captures.insert(id, capture);
        self.captures.streams.insert(origin, id);
    }

    pub(crate) fn stream_end_capture(
        &mut self,
        _cx: &mut Context<'_>,
        command: StreamEndCapture,
    ) -> Result<StreamEndCaptureReply, Status> {
        self.stream(command.stream)?;
        let stream = command.stream.0;
        let &id = self.captures.streams.get(&stream).ok_or(ILLEGAL_STATE)?;
        let capture = self.captures.captures.get_mut(&id).ok_or(ILLEGAL_STATE)?;
        if capture.origin != stream {
            capture.invalid = true;
            return Err(UNMATCHED);
        }
        let (named, lasting) = (capture.named, capture.lasting);
        if command.graph.0 == 0 {
            return Err(Status::INVALID_HANDLE);
        }
        if named != Some(command.graph.0) {
            if lasting {
                return Err(Status::INVALID_VALUE);
            }
            self.graphs.check_new(command.graph.0)?;
        }
        let mut capture = self.captures.remove(id).ok_or(ILLEGAL_STATE)?;
        if let Some(named) = named {
            capture.graph = self.graphs.remove(named)?;
        }
        let ended = capture.end();
        if ended.is_ok() || lasting {
            self.graphs.add(command.graph.0, capture.graph)?;
        }
        ended.map(|()| StreamEndCaptureReply {})
    }

    pub(crate) fn stream_capture_info(
        &mut self,
        cx: &mut Context<'_>,
        command: StreamCaptureInfo,
    ) -> Result<StreamCaptureInfoReply, Status> {
        self.stream(command.stream)?;
        cx.check_arena(command.nodes)?;
        let none = StreamCaptureInfoReply { id: 0, status: 0, graph: GraphId(0), nodes: 0 };
        let Some(&id) = self.captures.streams.get(&command.stream.0) else { return Ok(none) };
        let capture = self.captures.captures.get_mut(&id).ok_or(ILLEGAL_STATE)?;
        if capture.invalid {
            return Ok(StreamCaptureInfoReply { id, status: INVALID, ..none });
        }
        if capture.named.is_none() && command.graph.0 != 0 {
            self.graphs.add(command.graph.0, std::mem::take(&mut capture.graph))?;
            capture.named = Some(command.graph.0);
        }
        let graph = GraphId(capture.named.unwrap_or(0));
        let tips: Vec<u64> =
            capture.tips.get(&command.stream.0).into_iter().flatten().copied().collect();
        super::nodes::write_words(cx, command.nodes, &tips)?;
        Ok(StreamCaptureInfoReply { id, status: ACTIVE, graph, nodes: tips.len() as u32 })
    }

    pub(crate) fn stream_capture_invalidate(
        &mut self,
        _cx: &mut Context<'_>,
        command: StreamCaptureInvalidate,
    ) -> Result<StreamCaptureInvalidateReply, Status> {
        self.stream(command.stream)?;
        self.captures.invalidate(command.stream);
        Ok(StreamCaptureInvalidateReply {})
    }

    pub(crate) fn stream_capture_dependencies(
        &mut self,
        cx: &mut Context<'_>,
        command: StreamCaptureDependencies<'_>,
    ) -> Result<StreamCaptureDependenciesReply, Status> {
        let stream = command.stream;
        self.stream(stream)?;
        if command.flags > 1 {
            return Err(Status::INVALID_VALUE);
        }
        if !self.is_capturing(stream)? {
            return Err(ILLEGAL_STATE);
        }
        let nodes: Tips = super::nodes::words(cx, command.nodes)?.into_iter().collect();
        let id = *self.captures.streams.get(&stream.0).ok_or(ILLEGAL_STATE)?;
        let graph = self.graph_of(id)?;
        if !nodes.iter().all(|node| graph.nodes.contains_key(node)) {
            return Err(Status::INVALID_VALUE);
        }
        let capture = self.captures.captures.get_mut(&id).ok_or(ILLEGAL_STATE)?;
        let tips = capture.tips.entry(stream.0).or_default();
        if command.flags == 1 {
            tips.clear();
        }
        tips.extend(nodes);
        Ok(StreamCaptureDependenciesReply {})
    }
}
