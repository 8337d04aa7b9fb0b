//! Streams, events, fences, capture, memory operations.

use crate::api::Raw;
use crate::launch::check_plain;
use crate::live::{CAPTURE_UNSUPPORTED, Live, Owned};
use ringbar_backend::Context;
use ringbar_vocabulary::*;

/// What a question was answered with; a failure that ended the device is everybody's.
fn told(cx: &mut Context<'_>, found: Result<(), Status>) -> u32 {
    let status = Status::of(&found);
    if status.is_sticky() {
        cx.latch(status);
    }
    status.0
}

impl Live {
    pub fn stream_create(&mut self, _cx: &mut Context<'_>, c: StreamCreate) -> Result<(), Status> {
        if c.stream == StreamId::DEFAULT || c.stream.0 & StreamId::DEFAULTS != 0 {
            return Err(Status::INVALID_HANDLE);
        }
        self.streams.check_new(c.stream.0)?;
        self.enter(c.context)?;
        let mut raw = 0;
        self.api.cuStreamCreateWithPriority(&mut raw, c.flags, c.priority)?;
        self.streams.insert(c.stream.0, Owned { raw, context: c.context });
        Ok(())
    }

    pub fn stream_destroy(
        &mut self,
        _cx: &mut Context<'_>,
        c: StreamDestroy,
    ) -> Result<(), Status> {
        let raw = self.streams.get(c.stream.0)?.raw;
        self.stream(c.stream)?;
        if !self.captures(raw) {
            self.mark((c.stream, raw), true)?;
        }
        self.streams.remove(c.stream.0)?;
        self.capture_targets.remove(&c.stream.0);
        self.api.cuStreamDestroy_v2(raw)
    }

    fn event(&self, event: EventId) -> Result<Raw, Status> {
        self.events.get(event.0).map(|event| event.raw)
    }

    pub fn stream_wait_event(
        &mut self,
        _cx: &mut Context<'_>,
        c: StreamWaitEvent,
    ) -> Result<(), Status> {
        let stream = self.stream(c.stream)?;
        self.api.cuStreamWaitEvent(stream, self.event(c.event)?, c.flags)
    }

    pub fn event_create(&mut self, _cx: &mut Context<'_>, c: EventCreate) -> Result<(), Status> {
        self.events.check_new(c.event.0)?;
        self.enter(c.context)?;
        let mut raw = 0;
        self.api.cuEventCreate(&mut raw, c.flags)?;
        self.events.insert(c.event.0, Owned { raw, context: c.context });
        Ok(())
    }

    pub fn event_record(&mut self, cx: &mut Context<'_>, c: EventRecord) -> Result<(), Status> {
        if c.index != NO_FENCE {
            cx.check_fence(c.index)?;
        }
        let (event, stream) = (self.event(c.event)?, self.stream(c.stream)?);
        match c.flags {
            0 => self.api.cuEventRecord(event, stream)?,
            flags => self.api.cuEventRecordWithFlags(event, stream, flags)?,
        }
        if c.index == NO_FENCE || self.captures(stream) {
            return Ok(());
        }
        self.write_fence((c.stream, stream), c.index, c.value)
    }

    pub fn event_destroy(&mut self, _cx: &mut Context<'_>, c: EventDestroy) -> Result<(), Status> {
        let event = self.events.remove(c.event.0)?;
        self.enter(event.context)?;
        self.api.cuEventDestroy_v2(event.raw)
    }

    pub fn event_elapsed(
        &mut self,
        _cx: &mut Context<'_>,
        c: EventElapsed,
    ) -> Result<EventElapsedReply, Status> {
        let (start, end) = (self.event(c.start)?, self.event(c.end)?);
        let mut milliseconds = 0.0;
        self.api.cuEventElapsedTime(&mut milliseconds, start, end)?;
        Ok(EventElapsedReply { milliseconds_bits: milliseconds.to_bits() })
    }

    pub fn fence(&mut self, cx: &mut Context<'_>, c: Fence) -> Result<(), Status> {
        cx.check_fence(c.index)?;
        let stream = self.stream(c.stream)?;
        if self.captures(stream) {
            return Err(CAPTURE_UNSUPPORTED);
        }
        self.write_fence((c.stream, stream), c.index, c.value)
    }

    pub fn fence_status(
        &mut self,
        cx: &mut Context<'_>,
        c: FenceStatus,
    ) -> Result<FenceStatusReply, Status> {
        let stream = self.stream(c.stream)?;
        if self.captures(stream) {
            return Err(CAPTURE_UNSUPPORTED);
        }
        let found = self.api.cuStreamQuery(stream);
        Ok(FenceStatusReply { status: told(cx, found) })
    }

    pub fn event_status(
        &mut self,
        cx: &mut Context<'_>,
        c: EventStatus,
    ) -> Result<EventStatusReply, Status> {
        let event = self.event(c.event)?;
        let found = self.api.cuEventQuery(event);
        Ok(EventStatusReply { status: told(cx, found) })
    }

    pub fn stream_set_attribute(
        &mut self,
        _cx: &mut Context<'_>,
        c: StreamSetAttribute,
    ) -> Result<(), Status> {
        let stream = self.stream(c.stream)?;
        check_plain(c.attribute)?;
        let mut value = [0; 8];
        value[..4].copy_from_slice(&c.value);
        self.api.cuStreamSetAttribute(stream, c.attribute, &value)
    }

    pub fn stream_get_attribute(
        &mut self,
        _cx: &mut Context<'_>,
        c: StreamGetAttribute,
    ) -> Result<StreamGetAttributeReply, Status> {
        let stream = self.stream(c.stream)?;
        check_plain(c.attribute)?;
        let mut value = [0; 8];
        self.api.cuStreamGetAttribute(stream, c.attribute, &mut value)?;
        Ok(StreamGetAttributeReply { value: [value[0], value[1], value[2], value[3]] })
    }

    pub fn stream_copy_attributes(
        &mut self,
        _cx: &mut Context<'_>,
        c: StreamCopyAttributes,
    ) -> Result<(), Status> {
        let (dst, src) = (self.stream(c.dst)?, self.stream(c.src)?);
        self.api.cuStreamCopyAttributes(dst, src)
    }

    pub fn stream_write_value(
        &mut self,
        _cx: &mut Context<'_>,
        c: StreamWriteValue,
    ) -> Result<(), Status> {
        let stream = self.stream(c.stream)?;
        match c.bits {
            32 => self.api.cuStreamWriteValue32_v2(stream, c.at.0, c.value as u32, c.flags),
            64 => self.api.cuStreamWriteValue64_v2(stream, c.at.0, c.value, c.flags),
            _ => Err(Status::INVALID_VALUE),
        }
    }

    pub fn stream_wait_value(
        &mut self,
        _cx: &mut Context<'_>,
        c: StreamWaitValue,
    ) -> Result<(), Status> {
        let stream = self.stream(c.stream)?;
        match c.bits {
            32 => self.api.cuStreamWaitValue32_v2(stream, c.at.0, c.value as u32, c.flags),
            64 => self.api.cuStreamWaitValue64_v2(stream, c.at.0, c.value, c.flags),
            _ => Err(Status::INVALID_VALUE),
        }
    }

    pub fn stream_begin_capture(
        &mut self,
        _cx: &mut Context<'_>,
        c: StreamBeginCapture,
    ) -> Result<StreamBeginCaptureReply, Status> {
        let stream = self.stream(c.stream)?;
        // Marks that are due would become part of the graph.
        self.mark((c.stream, stream), false)?;
        self.api.cuStreamBeginCapture_v2(stream, c.mode)?;
        self.captures += 1;
        Ok(StreamBeginCaptureReply {})
    }

    pub fn stream_begin_capture_to_graph(
        &mut self,
        cx: &mut Context<'_>,
        c: StreamBeginCaptureToGraph<'_>,
    ) -> Result<StreamBeginCaptureToGraphReply, Status> {
        let stream = self.stream(c.stream)?;
        let graph = self.graphs.graph(c.graph)?;
        let after = self.graphs.read_nodes(cx, c.nodes)?;
        self.mark((c.stream, stream), false)?;
        let list = if after.is_empty() { std::ptr::null() } else { after.as_ptr() };
        // SAFETY: as many handles as are named, and no edge data.
        unsafe {
            let (none, count) = (std::ptr::null(), after.len());
            self.api.cuStreamBeginCaptureToGraph(stream, graph, list, none, count, c.mode)
        }?;
        self.captures += 1;
        self.capture_targets.insert(c.stream.0, c.graph);
        Ok(StreamBeginCaptureToGraphReply {})
    }

    pub fn stream_end_capture(
        &mut self,
        _cx: &mut Context<'_>,
        c: StreamEndCapture,
    ) -> Result<StreamEndCaptureReply, Status> {
        let target = self.capture_targets.get(&c.stream.0).copied();
        match target {
            None => self.graphs.check_new(c.graph)?,
            Some(target) if target == c.graph => {}
            Some(_) => return Err(Status::INVALID_VALUE),
        }
        let stream = self.stream(c.stream)?;
        let was_capturing = self.captures(stream);
        let mut graph = 0;
        let ended = self.api.cuStreamEndCapture(stream, &mut graph);
        if was_capturing && !self.captures(stream) {
            self.captures -= 1;
            self.capture_targets.remove(&c.stream.0);
        }
        ended?;
        if target.is_none() {
            self.graphs.insert(c.graph, graph, true);
        }
        Ok(StreamEndCaptureReply {})
    }

    pub fn stream_capture_info(
        &mut self,
        cx: &mut Context<'_>,
        c: StreamCaptureInfo,
    ) -> Result<StreamCaptureInfoReply, Status> {
        let stream = self.stream(c.stream)?;
        cx.check_arena(c.nodes)?;
        let (mut status, mut id, mut graph, mut count) = (0, 0, 0, 0);
        let mut nodes = std::ptr::null::<Raw>();
        // SAFETY: places of this frame for each answer.
        unsafe {
            self.capture_info(stream, &mut status, &mut id, &mut graph, &mut nodes, &mut count)
        }?;
        if status != 1 {
            return Ok(StreamCaptureInfoReply { status, id, ..StreamCaptureInfoReply::default() });
        }
        let known = self.graphs.number_of(graph);
        let number = match known {
            Some(number) => number,
            None if c.graph.0 == 0 => GraphId(0),
            None => {
                self.graphs.check_new(c.graph)?;
                self.graphs.insert(c.graph, graph, false);
                c.graph
            }
        };
        let mut found = Vec::new();
        if number.0 != 0 && !nodes.is_null() {
            // SAFETY: the driver's list, which is valid until the next call on this stream.
            found = unsafe { std::slice::from_raw_parts(nodes, count) }.to_vec();
        }
        let numbers = self.graphs.number_nodes(&found, graph)?;
        crate::graph::write_numbers(cx, c.nodes, &numbers)?;
        Ok(StreamCaptureInfoReply { id, status, graph: number, nodes: count as u32 })
    }

    /// # Safety
    /// All are valid places.
    unsafe fn capture_info(
        &self,
        stream: Raw,
        status: *mut u32,
        id: *mut u64,
        graph: *mut Raw,
        nodes: *mut *const Raw,
        count: *mut usize,
    ) -> Result<(), Status> {
        let mut edges = std::ptr::null();
        // SAFETY: the caller's places, and one of this frame.
        let newer = unsafe {
            self.api.cuStreamGetCaptureInfo_v3(stream, status, id, graph, nodes, &mut edges, count)
        };
        match newer {
            Err(Status::NOT_SUPPORTED) => {
                // SAFETY: the caller's places.
                unsafe {
                    self.api.cuStreamGetCaptureInfo_v2(stream, status, id, graph, nodes, count)
                }
            }
            other => other,
        }
    }

    /// A query of a capturing stream is refused, and breaks its capture.
    pub fn stream_capture_invalidate(
        &mut self,
        _cx: &mut Context<'_>,
        c: StreamCaptureInvalidate,
    ) -> Result<StreamCaptureInvalidateReply, Status> {
        let stream = self.stream(c.stream)?;
        if self.captures(stream) {
            let refused = self.api.cuStreamQuery(stream);
            debug_assert!(refused.is_err(), "no stream that captures can be asked");
        }
        Ok(StreamCaptureInvalidateReply {})
    }

    pub fn stream_capture_dependencies(
        &mut self,
        cx: &mut Context<'_>,
        c: StreamCaptureDependencies<'_>,
    ) -> Result<StreamCaptureDependenciesReply, Status> {
        let stream = self.stream(c.stream)?;
        let mut nodes = self.graphs.read_nodes(cx, c.nodes)?;
        let (at, count) = (nodes.as_mut_ptr(), nodes.len());
        // SAFETY: as many handles as are named, and no edge data.
        let newer = unsafe {
            let none = std::ptr::null();
            self.api.cuStreamUpdateCaptureDependencies_v2(stream, at, none, count, c.flags)
        };
        match newer {
            Err(Status::NOT_SUPPORTED) => {
                // SAFETY: as above.
                unsafe { self.api.cuStreamUpdateCaptureDependencies(stream, at, count, c.flags) }?;
            }
            other => other?,
        }
        Ok(StreamCaptureDependenciesReply {})
    }
}
