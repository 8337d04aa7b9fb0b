//! Events. Whether one is complete is one look at the fence word of the stream that recorded it.

use crate::arg::Out;
use crate::context::{self, Context, resolve_or_current};
use crate::failure::{Failure, Outcome};
use crate::handles::{Kind, Table};
use crate::memory::managed;
use crate::session::{self, Live};
use crate::stream::{Working, unready, working};
use crate::types::{CUcontext, CUevent, CUstream};
use crate::{capturing, device, output, stream, tls};
use ringbar::sync::{AtomicBool, AtomicU32, Ordering::*};
use ringbar_session::FenceTicket;
use ringbar_vocabulary::{
    EventCreate, EventDestroy, EventElapsed, EventId, EventRecord, EventStatus, NO_FENCE, Ping,
    Status, StreamId, StreamWaitEvent,
};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// `CU_EVENT_DISABLE_TIMING`.
const DISABLE_TIMING: u32 = 2;
/// `CU_EVENT_INTERPROCESS`.
const INTERPROCESS: u32 = 4;
/// `CU_EVENT_BLOCKING_SYNC`.
const BLOCKING_SYNC: u32 = 1;
/// `CU_EVENT_BLOCKING_SYNC`, `DISABLE_TIMING`, `INTERPROCESS`.
const FLAGS: u32 = 7;
/// `CU_DEVICE_ATTRIBUTE_IPC_EVENT_SUPPORTED`.
const IPC_EVENT_SUPPORTED: u32 = 125;
/// `CU_EVENT_RECORD_EXTERNAL`.
const RECORD_EXTERNAL: u32 = 1;

/// An event. Never freed.
#[derive(Debug)]
pub struct Event {
    /// Its number for the executor.
    pub id: EventId,
    /// The context it belongs to.
    pub context: &'static Context,
    flags: u32,
    record: Mutex<Record>,
    unready: AtomicU32,
    /// Whether nodes of graphs, launches by their attributes or other processes may record it: then only the device knows its latest record, now and for
    /// ever.
    recorded_elsewhere: AtomicBool,
    /// A stream that has nothing to do but to wait for it, once somebody asked for an event that is recorded elsewhere.
    follower: Mutex<Option<StreamId>>,
}

/// What the event's latest record is.
#[derive(Clone, Copy, Debug)]
enum Record {
    /// There is none: the event counts as complete.
    None,
    /// Complete when the ticket's point is reached.
    Posted(FenceTicket),
    /// Part of the capture of that number: nobody can wait for it from here.
    Captured(u64),
}

/// All events by handle.
pub static EVENTS: Table<Event> = Table::new(Kind::Event);

/// The event of a handle; INVALID_HANDLE for what is none.
#[inline]
pub fn get(event: CUevent) -> Outcome<&'static Event> {
    EVENTS.get(event).ok_or(Failure(Status::INVALID_HANDLE))
}

impl Event {
    fn latest(&self) -> MutexGuard<'_, Record> {
        self.record.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// INVALID_VALUE if it was recorded in a capture that is over.
    pub fn check_capture(&self) -> Outcome {
        match *self.latest() {
            Record::Captured(capture) if !capturing::goes_on(capture) => {
                Err(Status::INVALID_VALUE.into())
            }
            _ => Ok(()),
        }
    }

    fn new(id: EventId, context: &'static Context, flags: u32) -> Self {
        Self {
            id,
            context,
            flags,
            record: Mutex::new(Record::None),
            unready: AtomicU32::new(0),
            recorded_elsewhere: AtomicBool::new(false),
            follower: Mutex::new(None),
        }
    }

    /// Nodes of graphs record it from now on.
    pub fn goes_into_graph(&self) {
        self.recorded_elsewhere.store(true, Release);
    }

    /// Whether times are taken when it is recorded.
    pub(crate) fn has_times(&self) -> bool {
        self.flags & DISABLE_TIMING == 0
    }

    /// A launch that is about to be posted to the stream records it, when the device says so.
    pub(crate) fn goes_into_launch(&self, stream: &Working) -> Outcome {
        let record = match capturing::is_capturing(stream)? {
            true => Record::Captured(capturing::id_of(stream.id)?),
            false => {
                self.goes_into_graph();
                Record::None
            }
        };
        *self.latest() = record;
        Ok(())
    }

    /// Waits until the worker has taken what was posted for an event of several processes. Who is told by this process of a
    /// record may wait for it at once, or record it anew after a wait, through another worker.
    pub fn settle(&self, live: &Live) -> Outcome {
        if self.flags & INTERPROCESS != 0 {
            live.call(&Ping { token: 0 })?;
        }
        Ok(())
    }

    /// Other processes record it from now on.
    pub fn goes_out(&self) {
        self.recorded_elsewhere.store(true, Release);
    }

    /// For an event that is recorded elsewhere: a stream whose work is done when the event's latest record is complete.
    fn followed(&self, live: &Live) -> Outcome<Option<StreamId>> {
        if !self.recorded_elsewhere.load(Acquire) {
            return Ok(None);
        }
        let mut follower = self.follower.lock().unwrap_or_else(PoisonError::into_inner);
        let stream = match *follower {
            Some(stream) => stream,
            None => live.session.create_stream_in(self.context.id, stream::NON_BLOCKING, 0)?,
        };
        *follower = Some(stream);
        live.post(&StreamWaitEvent { stream, event: self.id, flags: 0 })?;
        Ok(Some(stream))
    }

    /// Whether the latest record of an event that is recorded elsewhere is complete: NOT_READY if not.
    #[cold]
    fn query_followed(&self, live: &Live) -> Outcome {
        if let Record::Captured(capture) = *self.latest() {
            return Err(capturing::refuse_event(capture));
        }
        capturing::unsafe_call()?;
        // The device is asked, behind all that was posted: of what a stream was waited for the records are complete.
        match Status(live.call(&EventStatus { event: self.id })?.status) {
            Status::SUCCESS => managed::after_work(self.context),
            other => Err(other.into()),
        }
    }

    fn take_follower(&self) -> Option<StreamId> {
        self.follower.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// Whether its latest record is known to be complete.
    pub fn is_complete(&self, live: &Live) -> bool {
        if self.recorded_elsewhere.load(Acquire) {
            return false;
        }
        match *self.latest() {
            Record::None => true,
            Record::Posted(ticket) => live.session.is_reached(ticket),
            Record::Captured(_) => false,
        }
    }

    /// Records it behind everything in the stream.
    fn record(&self, stream: &Working, flags: u32) -> Outcome {
        if flags & !RECORD_EXTERNAL != 0 {
            return Err(Status::INVALID_VALUE.into());
        }
        if !std::ptr::eq(self.context, stream.context) {
            return Err(Status::INVALID_HANDLE.into());
        }
        let live = session::live()?;
        // Held while it is posted: of two records at once the one that is posted last must be kept.
        let mut latest = self.latest();
        if capturing::is_capturing(stream)? {
            let (event, stream, index) = (self.id, stream.id, NO_FENCE);
            live.post(&EventRecord { event, stream, flags, index, value: 0 })?;
            if flags & RECORD_EXTERNAL != 0 {
                self.goes_into_graph();
            } else {
                *latest = Record::Captured(capturing::id_of(stream)?);
            }
        } else {
            *latest = Record::Posted(live.session.record_event(self.id, stream.id, flags)?);
        }
        self.settle(live)
    }

    /// The point that its latest record is; `None` if there is nothing to wait for.
    fn ticket(&self, live: &Live) -> Outcome<Option<FenceTicket>> {
        let latest = *self.latest();
        if let Record::Captured(capture) = latest {
            return Err(capturing::refuse_event(capture));
        }
        capturing::unsafe_call()?;
        if let Some(follower) = self.followed(live)? {
            return Ok(Some(live.session.fence(follower)?));
        }
        match latest {
            Record::Posted(ticket) => Ok(Some(ticket)),
            _ => Ok(None),
        }
    }
}

/// A context is destroyed with everything in it.
pub fn forget_context(context: &Context) {
    for (handle, event) in EVENTS.alive() {
        if std::ptr::eq(event.context, context)
            && EVENTS.remove(handle).is_some()
            && let (Some(follower), Ok(live)) = (event.take_follower(), session::live())
        {
            live.session.forget_stream(follower);
        }
    }
}

/// Whether events of a context's device can be other processes' too.
fn leaves_the_process(context: &Context) -> Outcome<bool> {
    Ok(device::resolve(context.visible)?.attribute(IPC_EVENT_SUPPORTED) == Some(1))
}

/// The handle of an event of another process, which the executor knows by that number.
pub fn opened(id: EventId, context: &'static Context) -> Outcome<CUevent> {
    let event = Event::new(id, context, INTERPROCESS | DISABLE_TIMING);
    event.goes_out();
    Ok(EVENTS.insert(|_| event)?.0)
}

fn destroy(event: CUevent) -> Outcome {
    let event = EVENTS.remove(event).ok_or(Failure(Status::INVALID_HANDLE))?;
    if event.context.usable().is_ok() {
        let live = session::live()?;
        if let Some(follower) = event.take_follower() {
            live.session.destroy_stream(follower)?;
        }
        live.post(&EventDestroy { event: event.id })?;
    }
    Ok(())
}

fn elapsed(place: Out<f32>, start: CUevent, end: CUevent) -> Outcome {
    let (start, end) = (get(start)?, get(end)?);
    let untimed = (start.flags | end.flags) & DISABLE_TIMING != 0;
    let unrecorded = |event: &Event| {
        matches!(*event.latest(), Record::None) && !event.recorded_elsewhere.load(Acquire)
    };
    if place.is_null() || untimed || unrecorded(start) || unrecorded(end) {
        return Err(Status::INVALID_HANDLE.into());
    }
    let live = session::live()?;
    for event in [start, end] {
        if let Record::Captured(capture) = *event.latest() {
            return Err(capturing::refuse_event(capture));
        }
        // Of an event that is recorded elsewhere the driver knows more.
        let unfinished =
            matches!(*event.latest(), Record::Posted(ticket) if !live.session.is_reached(ticket));
        if unfinished && !event.recorded_elsewhere.load(Acquire) {
            return Err(Status::NOT_READY.into());
        }
    }
    let reply = live.call(&EventElapsed { start: start.id, end: end.id })?;
    place.set(f32::from_bits(reply.milliseconds_bits))
}

entry! {
    /// Creates an event in the current context; an interprocess one where the device has them.
    post fn cuEventCreate(event: Out<CUevent>, flags: u32) {
        let event = event.required()?;
        let context = tls::current()?;
        if flags & !FLAGS != 0 || flags & INTERPROCESS != 0 && flags & DISABLE_TIMING == 0 {
            return Err(Status::INVALID_VALUE.into());
        }
        if flags & INTERPROCESS != 0 && !leaves_the_process(context)? {
            return Err(Status::NOT_SUPPORTED.into());
        }
        let live = session::live()?;
        let id = live.session.event_id()?;
        live.post(&EventCreate { context: context.id, event: id, flags })?;
        let (handle, _) = EVENTS.insert(|_| Event::new(id, context, flags))?;
        event.set(handle)
    }

    /// Destroys an event; streams that wait for it still do.
    post fn cuEventDestroy_v2(event: CUevent) {
        destroy(event)
    }

    /// The same, as CUDA 3 spelled it.
    post fn cuEventDestroy(event: CUevent) {
        destroy(event)
    }

    /// Whether an event's latest record is complete: NOT_READY if not.
    local fn cuEventQuery(event: CUevent) {
        let event = get(event)?;
        let live = session::live()?;
        if event.recorded_elsewhere.load(Acquire) {
            return event.query_followed(live);
        }
        let Some(ticket) = event.ticket(live)? else { return Ok(()) };
        if live.session.is_reached(ticket) {
            return managed::after_work(event.context);
        }
        Err(unready(live, ticket.stream(), &event.unready))
    }

    /// Waits for an event's latest record.
    sync fn cuEventSynchronize(event: CUevent) {
        let event = get(event)?;
        let live = session::live()?;
        let Some(ticket) = event.ticket(live)? else { return Ok(()) };
        match event.flags & BLOCKING_SYNC != 0 || event.context.waits_asleep() {
            true => live.session.wait_asleep(ticket)?,
            false => live.session.wait(ticket)?,
        }
        event.unready.store(0, Relaxed);
        output::flush(event.context)?;
        Ok(())
    }

    /// Milliseconds between the records of two events, as a float.
    sync fn cuEventElapsedTime_v2(milliseconds: Out<f32>, start: CUevent, end: CUevent) {
        elapsed(milliseconds, start, end)
    }

    /// The same, as CUDA 2 spelled it.
    sync fn cuEventElapsedTime(milliseconds: Out<f32>, start: CUevent, end: CUevent) {
        elapsed(milliseconds, start, end)
    }

    /// Records an event behind all work of a context; null means the current one.
    post fn cuCtxRecordEvent(context: CUcontext, event: CUevent) {
        let (context, event) = (resolve_or_current(context)?, get(event)?);
        capturing::refuse_in(context)?;
        let live = session::live()?;
        let default = Working::default_of(context);
        // The default stream waits for all streams but the non-blocking ones, so those are joined to it first.
        for stream in stream::non_blocking(context) {
            let helper = live.session.event_id()?;
            let (flags, index) = (DISABLE_TIMING, NO_FENCE);
            live.post(&EventCreate { context: context.id, event: helper, flags })?;
            live.post(&EventRecord { event: helper, stream, flags: 0, index, value: 0 })?;
            live.post(&StreamWaitEvent { stream: default.id, event: helper, flags: 0 })?;
            live.post(&EventDestroy { event: helper })?;
        }
        event.record(&default, 0)
    }

    /// Makes all later work of a context's streams wait for an event.
    post fn cuCtxWaitEvent(context: CUcontext, event: CUevent) {
        if context.is_null() {
            return Err(Status::INVALID_CONTEXT.into());
        }
        let (context, event) = (context::resolve(context)?, get(event)?);
        event.check_capture()?;
        capturing::refuse_in(context)?;
        let live = session::live()?;
        let default = context.id.default_stream();
        for stream in stream::non_blocking(context).chain([default]) {
            live.post(&StreamWaitEvent { stream, event: event.id, flags: 0 })?;
        }
        event.settle(live)
    }
}

stream_entry! {
    /// Records an event behind everything in a stream.
    post fn cuEventRecord | cuEventRecord_ptsz[flavour](event: CUevent, stream: CUstream) {
        let event = get(event)?;
        event.record(&working(stream, flavour)?, 0)
    }

    /// The same, with flags.
    post fn cuEventRecordWithFlags | cuEventRecordWithFlags_ptsz[flavour](event: CUevent, stream: CUstream, flags: u32) {
        let event = get(event)?;
        event.record(&working(stream, flavour)?, flags)
    }
}
