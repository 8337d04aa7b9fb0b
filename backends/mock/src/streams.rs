//! Streams, events, fences, host functions.

use crate::engine::Cost;
use crate::facts::PRIORITIES;
use crate::gpu::MockGpu;
use crate::op::Op;
use crate::schedule::{Kind, Lane, Mailbox, Mark};
use crate::work::Work;
use ringbar_backend::Context;
use ringbar_vocabulary::*;
use std::collections::BTreeMap;
use std::sync::PoisonError;

/// Stream flags that exist: only `CU_STREAM_NON_BLOCKING`.
const NON_BLOCKING: u32 = 1;
/// `CU_EVENT_*`: blocking wait, no timing, between processes.
const EVENT_FLAGS: u32 = 7;
const NO_TIMING: u32 = 2;
/// `CUstreamAttrID`: access window, policy of waits, priority, domains of memory and their map.
const ATTRIBUTES: [u32; 5] = [1, 3, 8, 9, 10];
const PRIORITY: u32 = 8;

/// A stream.
pub(crate) struct Stream {
    pub(crate) lane: Lane,
    attributes: BTreeMap<u32, [u64; 4]>,
}

impl Stream {
    pub(crate) fn new(lane: Lane, priority: i32) -> Self {
        let (least, greatest) = PRIORITIES;
        let priority = priority.clamp(greatest, least);
        let attributes = BTreeMap::from([(PRIORITY, [u64::from(priority as u32), 0, 0, 0])]);
        Self { lane, attributes }
    }
}

/// An event.
pub(crate) struct Event {
    pub(crate) context: u32,
    flags: u32,
    /// The latest record, unless its work was done at once.
    mark: Option<Mark>,
    /// The device's time at the latest record.
    time_ns: Option<u64>,
}

/// Whether a number is one that clients give to streams.
fn is_clients(stream: StreamId) -> bool {
    stream != StreamId::DEFAULT && stream.0 < StreamId::DEFAULTS
}

impl MockGpu {
    pub(crate) fn stream_create(
        &mut self,
        _cx: &mut Context<'_>,
        command: StreamCreate,
    ) -> Result<(), Status> {
        self.context(command.context)?;
        let StreamCreate { context, stream, flags, priority } = command;
        if flags & !NON_BLOCKING != 0 {
            return Err(Status::INVALID_VALUE);
        }
        if !is_clients(stream) {
            return Err(Status::INVALID_HANDLE);
        }
        self.streams.check_new(stream.0)?;
        let kind = if flags & NON_BLOCKING == 0 { Kind::Blocking } else { Kind::Free };
        let lane = Lane { serial: self.next_serial, kind, context: context.0 };
        self.next_serial += 1;
        self.engine.add_stream(lane);
        self.streams.add(stream.0, Stream::new(lane, priority))
    }

    pub(crate) fn stream_destroy(
        &mut self,
        _cx: &mut Context<'_>,
        command: StreamDestroy,
    ) -> Result<(), Status> {
        self.ready()?;
        if !is_clients(command.stream) {
            return Err(Status::INVALID_HANDLE);
        }
        let stream = self.streams.remove(command.stream.0)?;
        self.forget_capture(command.stream);
        self.engine.remove_stream(stream.lane.serial);
        Ok(())
    }

    pub(crate) fn stream_set_attribute(
        &mut self,
        _cx: &mut Context<'_>,
        command: StreamSetAttribute,
    ) -> Result<(), Status> {
        self.ready()?;
        let stream = self.streams.get_mut(command.stream.0)?;
        if !ATTRIBUTES.contains(&command.attribute) {
            return Err(Status::INVALID_VALUE);
        }
        stream.attributes.insert(command.attribute, command.value);
        Ok(())
    }

    pub(crate) fn stream_get_attribute(
        &mut self,
        _cx: &mut Context<'_>,
        command: StreamGetAttribute,
    ) -> Result<StreamGetAttributeReply, Status> {
        self.ready()?;
        let stream = self.streams.get(command.stream.0)?;
        if !ATTRIBUTES.contains(&command.attribute) {
            return Err(Status::INVALID_VALUE);
        }
        let value = stream.attributes.get(&command.attribute).copied().unwrap_or_default();
        Ok(StreamGetAttributeReply { value })
    }

    pub(crate) fn stream_copy_attributes(
        &mut self,
        _cx: &mut Context<'_>,
        command: StreamCopyAttributes,
    ) -> Result<(), Status> {
        self.ready()?;
        let attributes = self.streams.get(command.src.0)?.attributes.clone();
        self.streams.get_mut(command.dst.0)?.attributes = attributes;
        Ok(())
    }

    pub(crate) fn stream_wait_event(
        &mut self,
        cx: &mut Context<'_>,
        command: StreamWaitEvent,
    ) -> Result<(), Status> {
        let serial = self.stream(command.stream)?;
        self.events.get(command.event.0)?;
        // Bit 0 asks for a node of its own in a graph.
        if command.flags > 1 {
            return Err(Status::INVALID_VALUE);
        }
        if self.wait_in_capture(command.stream, command.event, command.flags)? {
            return Ok(());
        }
        self.wait_event(cx, serial, command.event.0)
    }

    /// Lets a stream wait for an event's latest record.
    pub(crate) fn wait_event(
        &mut self,
        cx: &mut Context<'_>,
        serial: u64,
        event: u32,
    ) -> Result<(), Status> {
        let mark = self.events.get(event)?.mark;
        self.engine.wait_for(cx, serial, mark);
        Ok(())
    }

    pub(crate) fn event_create(
        &mut self,
        _cx: &mut Context<'_>,
        command: EventCreate,
    ) -> Result<(), Status> {
        self.context(command.context)?;
        if command.flags & !EVENT_FLAGS != 0 {
            return Err(Status::INVALID_VALUE);
        }
        let (context, flags) = (command.context.0, command.flags);
        self.events.add(command.event.0, Event { context, flags, mark: None, time_ns: None })
    }

    pub(crate) fn event_record(
        &mut self,
        cx: &mut Context<'_>,
        command: EventRecord,
    ) -> Result<(), Status> {
        let EventRecord { event, stream, flags, index, value } = command;
        if index != NO_FENCE {
            cx.check_fence(index)?;
        }
        let serial = self.stream(stream)?;
        self.events.get(event.0)?;
        // Bit 0 asks for a node of its own in a graph.
        if flags > 1 {
            return Err(Status::INVALID_VALUE);
        }
        if self.record_in_capture(stream, event, flags)? {
            return Ok(());
        }
        self.record(cx, serial, event.0, (index != NO_FENCE).then_some((index, value)))
    }

    /// Records an event in a stream, and perhaps writes a fence word with it.
    pub(crate) fn record(
        &mut self,
        cx: &mut Context<'_>,
        serial: u64,
        event: u32,
        fence: Option<(u32, u64)>,
    ) -> Result<(), Status> {
        let now = self.clock_ns;
        let mark = match fence {
            Some((index, value)) => {
                self.engine.submit(cx, serial, Cost::Nothing, Op::Fence { index, value })?
            }
            None => self.engine.mark(cx, serial),
        };
        let record = self.events.get_mut(event)?;
        record.mark = mark;
        record.time_ns = Some(now);
        Ok(())
    }

    pub(crate) fn event_destroy(
        &mut self,
        _cx: &mut Context<'_>,
        command: EventDestroy,
    ) -> Result<(), Status> {
        self.ready()?;
        self.forget_event(command.event);
        self.events.remove(command.event.0).map(|_| ())
    }

    pub(crate) fn event_elapsed(
        &mut self,
        _cx: &mut Context<'_>,
        command: EventElapsed,
    ) -> Result<EventElapsedReply, Status> {
        self.ready()?;
        let (start, end) = (self.events.get(command.start.0)?, self.events.get(command.end.0)?);
        let (Some(from), Some(to)) = (start.time_ns, end.time_ns) else {
            return Err(Status::INVALID_HANDLE);
        };
        if (start.flags | end.flags) & NO_TIMING != 0 {
            return Err(Status::INVALID_HANDLE);
        }
        let done =
            self.engine.reached(start.mark.as_ref()) && self.engine.reached(end.mark.as_ref());
        if !done {
            return Err(Status::NOT_READY);
        }
        let milliseconds = (to as f64 - from as f64) / 1e6;
        Ok(EventElapsedReply { milliseconds_bits: (milliseconds as f32).to_bits() })
    }

    pub(crate) fn event_status(
        &mut self,
        _cx: &mut Context<'_>,
        command: EventStatus,
    ) -> Result<EventStatusReply, Status> {
        self.ready()?;
        let event = self.events.get(command.event.0)?;
        let done = self.engine.reached(event.mark.as_ref());
        let status = if done { Status::SUCCESS } else { Status::NOT_READY };
        Ok(EventStatusReply { status: status.0 })
    }

    pub(crate) fn fence(&mut self, cx: &mut Context<'_>, command: Fence) -> Result<(), Status> {
        cx.check_fence(command.index)?;
        let serial = self.stream(command.stream)?;
        self.refuse_in_capture(command.stream)?;
        self.pools_settle();
        self.engine.fence(cx, serial, command.index, command.value)
    }

    pub(crate) fn fence_status(
        &mut self,
        _cx: &mut Context<'_>,
        command: FenceStatus,
    ) -> Result<FenceStatusReply, Status> {
        let serial = self.stream(command.stream)?;
        let done = self.engine.is_done(serial);
        let status = if done { Status::SUCCESS } else { Status::NOT_READY };
        Ok(FenceStatusReply { status: status.0 })
    }

    pub(crate) fn host_function_setup(
        &mut self,
        cx: &mut Context<'_>,
        command: HostFunctionSetup,
    ) -> Result<HostFunctionSetupReply, Status> {
        self.ready()?;
        cx.check_fence(command.index)?;
        cx.check_arena(command.mailbox)?;
        if command.mailbox.len != 16 {
            return Err(Status::INVALID_VALUE);
        }
        let mailbox = self.engine.mailbox().clone();
        let mut mailbox = mailbox.lock().unwrap_or_else(PoisonError::into_inner);
        if mailbox.is_some() {
            return Err(Status::NOT_PERMITTED);
        }
        let (index, words) = (command.index, command.mailbox);
        *mailbox = Some(Mailbox { index, words, announced: 0, running: None });
        Ok(HostFunctionSetupReply {})
    }

    pub(crate) fn check_host_functions(&self) -> Result<(), Status> {
        let mailbox = self.engine.mailbox().lock().unwrap_or_else(PoisonError::into_inner);
        // Without a mailbox nobody would ever be told.
        if mailbox.is_some() { Ok(()) } else { Err(Status::NOT_PERMITTED) }
    }

    pub(crate) fn launch_host_function(
        &mut self,
        cx: &mut Context<'_>,
        command: LaunchHostFunction,
    ) -> Result<(), Status> {
        self.stream(command.stream)?;
        self.check_host_functions()?;
        self.issue(cx, command.stream, Work::Host { token: command.token })
    }

    /// Waits for the work posted before as far as it can go on, then hands out what was printed.
    pub(crate) fn output_take(
        &mut self,
        cx: &mut Context<'_>,
        command: OutputTake,
    ) -> Result<OutputTakeReply, Status> {
        self.context(command.context)?;
        cx.check_arena(command.text)?;
        let room = usize::try_from(command.text.len).unwrap_or(usize::MAX);
        let text: Vec<u8> = self.engine.quiet(|_, space| {
            let taken = room.min(space.output.len());
            Ok(space.output.drain(..taken).collect())
        })?;
        if let Some(place) = command.text.part(0, text.len() as u64) {
            cx.write_arena(place, &text)?;
        }
        Ok(OutputTakeReply { bytes: text.len() as u32 })
    }
}
