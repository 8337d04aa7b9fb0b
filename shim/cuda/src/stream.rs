//! Streams: what a handle means, their creation and end, waiting for them.

use crate::arg::{In, Out};
use crate::context::Context;
use crate::failure::{Failure, Outcome};
use crate::handles::{Handle, Kind, Table};
use crate::memory::managed;
use crate::session::{self, Live};
use crate::types::{CUcontext, CUevent, CUstream, DefaultStream};
use crate::{capturing, device, event, fork, memory, output, tls};
use ringbar::sync::{AtomicBool, AtomicU32, Ordering::*};
use ringbar_session::FenceTicket;
use ringbar_vocabulary::{
    FenceStatus, Status, StreamCopyAttributes, StreamGetAttribute, StreamId, StreamSetAttribute,
    StreamWaitEvent,
};
use std::cell::RefCell;
use std::sync::{Mutex, PoisonError};

/// `CU_STREAM_NON_BLOCKING`.
pub(crate) const NON_BLOCKING: u32 = 1;
/// `CU_STREAM_LEGACY`.
const LEGACY: usize = 1;
/// `CU_STREAM_PER_THREAD`.
const PER_THREAD: usize = 2;
/// `CU_EVENT_WAIT_EXTERNAL`.
const WAIT_EXTERNAL: u32 = 1;
/// So many answers of NOT_READY in a row, and the worker is asked whether the stream failed.
const UNREADY_PER_QUESTION: u32 = 4096;

/// A stream that was created here: by the program, or as a thread's own default stream. Never freed.
#[derive(Debug)]
pub struct Stream {
    /// Its number for the executor.
    pub id: StreamId,
    /// The context it belongs to.
    pub context: &'static Context,
    flags: u32,
    priority: i32,
    /// Whether it may have work that no fence covers yet.
    dirty: AtomicBool,
    /// The fence of the latest wait for its whole context: another thread may be waiting for it.
    waited: Mutex<Option<FenceTicket>>,
    unready: AtomicU32,
}

/// All streams by handle.
pub static STREAMS: Table<Stream> = Table::new(Kind::Stream);

/// A stream that is about to get work. Keep it until the work is posted: then it marks the stream.
///
/// The mark must not come before the work: a wait of another thread in between would take it back.
#[derive(Debug)]
pub struct Working {
    /// The stream's number.
    pub id: StreamId,
    /// Its context.
    pub context: &'static Context,
    stream: Option<&'static Stream>,
}

impl Drop for Working {
    #[inline]
    fn drop(&mut self) {
        if let Some(stream) = self.stream {
            stream.dirty.store(true, Release);
        }
    }
}

/// The stream that a handle means in the current context: null by the function's own spelling, 1 the legacy default
/// stream, 2 the thread's own. INVALID_CONTEXT without a current context, INVALID_HANDLE for what is no stream.
///
/// The legacy default stream is refused while a stream captures that it waits for.
#[inline]
pub fn working(stream: CUstream, default: DefaultStream) -> Outcome<Working> {
    let found = find(stream, default)?;
    if found.is_legacy() {
        capturing::legacy_use(found.context)?;
    }
    managed::before_work(found.context)?;
    Ok(found)
}

/// The same for calls that give it no work.
#[inline]
pub fn find(stream: CUstream, default: DefaultStream) -> Outcome<Working> {
    let current = tls::current()?;
    let found = match (stream.0, default) {
        (0, DefaultStream::Legacy) | (LEGACY, _) => {
            return Ok(Working { id: current.id.default_stream(), context: current, stream: None });
        }
        (0, DefaultStream::PerThread) | (PER_THREAD, _) => thread_stream(current)?,
        _ => STREAMS.get(stream).ok_or(Failure(Status::INVALID_HANDLE))?,
    };
    found.context.usable()?;
    Ok(Working { id: found.id, context: found.context, stream: Some(found) })
}

impl Working {
    /// The default stream of a context.
    pub(crate) fn default_of(context: &'static Context) -> Self {
        Self { id: context.id.default_stream(), context, stream: None }
    }

    /// Whether it is the legacy default stream of its context.
    #[inline]
    pub(crate) fn is_legacy(&self) -> bool {
        self.stream.is_none()
    }

    /// Whether the legacy default stream waits for it.
    pub(crate) fn is_blocking(&self) -> bool {
        self.stream.is_none_or(|stream| stream.flags & NON_BLOCKING == 0)
    }
}

/// The streams of a context that its default stream does not wait for.
pub(crate) fn non_blocking(context: &'static Context) -> impl Iterator<Item = StreamId> {
    let wanted = |stream: &&Stream| {
        std::ptr::eq(stream.context, context) && stream.flags & NON_BLOCKING != 0
    };
    STREAMS.alive().map(|(_, stream)| stream).filter(wanted).map(|stream| stream.id)
}

/// The number of the stream that a handle means, for calls that give it no work.
#[inline]
pub fn resolve(stream: CUstream, default: DefaultStream) -> Outcome<StreamId> {
    Ok(find(stream, default)?.id)
}

/// The streams that are threads' own default streams, one a context.
struct ThreadStreams(Vec<(Handle, &'static Stream)>);

thread_local! {
    static THREAD_STREAMS: RefCell<ThreadStreams> = const { RefCell::new(ThreadStreams(Vec::new())) };
}

impl Drop for ThreadStreams {
    /// The thread ends. Nobody is left to be told of an error.
    fn drop(&mut self) {
        if fork::is_dead_copy() || session::gate().is_err() {
            return;
        }
        for (handle, stream) in self.0.drain(..) {
            if STREAMS.remove(handle).is_some() && stream.context.usable().is_ok() {
                let _ = session::live().map(|live| live.session.destroy_stream(stream.id));
            }
        }
    }
}

/// The calling thread's own default stream of a context.
fn thread_stream(context: &'static Context) -> Outcome<&'static Stream> {
    let known = THREAD_STREAMS.try_with(|streams| {
        let streams = streams.borrow();
        // One that is not alive went with its context, which was reset since.
        let here = |(handle, stream): &&(Handle, &'static Stream)| {
            std::ptr::eq(stream.context, context) && STREAMS.get(*handle).is_some()
        };
        streams.0.iter().find(here).map(|(_, stream)| *stream)
    });
    match known {
        Ok(Some(stream)) => Ok(stream),
        Ok(None) => {
            let (handle, stream) = create(context, 0, 0)?;
            let _ = THREAD_STREAMS.try_with(|all| all.borrow_mut().0.push((handle, stream)));
            Ok(stream)
        }
        // The thread's end: its streams are gone.
        Err(_) => Err(Status::INVALID_HANDLE.into()),
    }
}

fn create(
    context: &'static Context,
    flags: u32,
    priority: i32,
) -> Outcome<(Handle, &'static Stream)> {
    let id = session::live()?.session.create_stream_in(context.id, flags, priority)?;
    let (dirty, unready) = (AtomicBool::new(false), AtomicU32::new(0));
    let waited = Mutex::default();
    STREAMS.insert(|_| Stream { id, context, flags, priority, dirty, waited, unready })
}

/// A context is destroyed with everything in it.
pub fn forget_context(context: &Context) {
    let Ok(live) = session::live() else { return };
    capturing::forget_context(context);
    live.session.forget_stream(context.id.default_stream());
    for (handle, stream) in STREAMS.alive() {
        if std::ptr::eq(stream.context, context) && STREAMS.remove(handle).is_some() {
            live.session.forget_stream(stream.id);
        }
    }
}

/// Waits for all work of a stream, and reports what failed before.
pub(crate) fn synchronise(live: &Live, stream: &Working) -> Outcome {
    capturing::refuse(stream)?;
    capturing::unsafe_call()?;
    await_ticket(live, stream.context, live.session.fence(stream.id)?)?;
    output::flush(stream.context)?;
    Ok(())
}

impl Stream {
    /// A fence behind all its work so far; none if nothing is outstanding.
    fn outstanding(&self, live: &Live) -> Outcome<Option<FenceTicket>> {
        let mut waited = self.waited.lock().unwrap_or_else(PoisonError::into_inner);
        if self.dirty.swap(false, AcqRel) {
            match live.session.fence(self.id) {
                Ok(ticket) => *waited = Some(ticket),
                Err(error) => {
                    self.dirty.store(true, Release);
                    return Err(error.into());
                }
            }
        }
        Ok(waited.filter(|ticket| !live.session.is_reached(*ticket)))
    }
}

/// Waits as the context is set to: polling, or asleep.
fn await_ticket(live: &Live, context: &Context, ticket: FenceTicket) -> Outcome {
    match context.waits_asleep() {
        true => Ok(live.session.wait_asleep(ticket)?),
        false => Ok(live.session.wait(ticket)?),
    }
}

/// Waits for all work of a context: its default stream waits for all streams but the non-blocking ones.
pub(crate) fn synchronise_context(context: &'static Context) -> Outcome {
    let live = session::live()?;
    capturing::refuse_in(context)?;
    capturing::unsafe_call()?;
    let mut tickets = vec![live.session.fence(context.id.default_stream())?];
    for (_, stream) in STREAMS.alive().filter(|(_, s)| std::ptr::eq(s.context, context)) {
        if stream.flags & NON_BLOCKING != 0 {
            tickets.extend(stream.outstanding(live)?);
        }
    }
    for ticket in tickets {
        await_ticket(live, context, ticket)?;
    }
    output::flush(context)?;
    Ok(())
}

/// What a poll answers that found work unfinished: NOT_READY, or why it never will be finished.
pub(crate) fn unready(live: &Live, stream: StreamId, times: &AtomicU32) -> Failure {
    if let Err(lost) = live.still_there() {
        return lost;
    }
    if let Some((_, status)) = live.session.first_failure()
        && status.is_sticky()
    {
        return status.into();
    }
    if times.fetch_add(1, Relaxed) % UNREADY_PER_QUESTION == UNREADY_PER_QUESTION - 1
        && let Ok(reply) = live.call(&FenceStatus { stream })
        && Status(reply.status).is_sticky()
    {
        return Status(reply.status).into();
    }
    Status::NOT_READY.into()
}

static UNREADY_DEFAULT: AtomicU32 = AtomicU32::new(0);

impl Working {
    fn flags(&self) -> u32 {
        self.stream.map_or(0, |stream| stream.flags)
    }

    fn priority(&self) -> i32 {
        self.stream.map_or(0, |stream| stream.priority)
    }

    fn unready(&self) -> &AtomicU32 {
        self.stream.map_or(&UNREADY_DEFAULT, |stream| &stream.unready)
    }
}

fn new_stream(place: Out<CUstream>, flags: u32, priority: i32) -> Outcome {
    let place = place.required()?;
    let context = tls::current()?;
    if flags & !NON_BLOCKING != 0 {
        return Err(Status::INVALID_VALUE.into());
    }
    let (least, greatest) = device::resolve(context.visible)?.priorities();
    // Lower numbers are more urgent.
    let priority = priority.max(greatest).min(least);
    let (handle, _) = create(context, flags, priority)?;
    place.set(handle)
}

fn destroy(handle: CUstream) -> Outcome {
    tls::current()?;
    let stream = STREAMS.remove(handle).ok_or(Failure(Status::INVALID_HANDLE))?;
    stream.context.usable()?;
    session::live()?.session.destroy_stream(stream.id)?;
    capturing::ended(stream.id);
    Ok(())
}

entry! {
    /// Creates a stream in the current context.
    post fn cuStreamCreate(stream: Out<CUstream>, flags: u32) {
        new_stream(stream, flags, 0)
    }

    /// Creates a stream with a priority, which is brought into the device's range.
    post fn cuStreamCreateWithPriority(stream: Out<CUstream>, flags: u32, priority: i32) {
        new_stream(stream, flags, priority)
    }

    /// Destroys a stream; its outstanding work still completes.
    post fn cuStreamDestroy_v2(stream: CUstream) {
        destroy(stream)
    }

    /// The same, as CUDA 3 spelled it.
    post fn cuStreamDestroy(stream: CUstream) {
        destroy(stream)
    }

    /// Waits for all work of the current context.
    sync fn cuCtxSynchronize() {
        synchronise_context(tls::current()?)
    }

    /// Waits for all work of a context; null means the current one.
    sync fn cuCtxSynchronize_v2(context: CUcontext) {
        let context = match context.is_null() {
            true => tls::current()?,
            false => crate::context::CONTEXTS.get(context).ok_or(Failure(Status::INVALID_CONTEXT))?,
        };
        context.usable()?;
        synchronise_context(context)
    }
}

stream_entry! {
    /// Waits for all work of a stream.
    sync fn cuStreamSynchronize | cuStreamSynchronize_ptsz[flavour](stream: CUstream) {
        let stream = working(stream, flavour)?;
        synchronise(session::live()?, &stream)
    }

    /// Whether all work of a stream is done: NOT_READY if not.
    local fn cuStreamQuery | cuStreamQuery_ptsz[flavour](stream: CUstream) {
        let stream = working(stream, flavour)?;
        let live = session::live()?;
        capturing::refuse(&stream)?;
        capturing::unsafe_call()?;
        if !live.session.query(stream.id)? {
            return Err(unready(live, stream.id, stream.unready()));
        }
        stream.unready().store(0, Relaxed);
        live.session.check()?;
        managed::after_work(stream.context)
    }

    /// Makes later work of a stream wait for an event's latest record.
    post fn cuStreamWaitEvent | cuStreamWaitEvent_ptsz[flavour](stream: CUstream, event: CUevent, flags: u32) {
        let stream = working(stream, flavour)?;
        let event = event::get(event)?;
        if flags & !WAIT_EXTERNAL != 0 {
            return Err(Status::INVALID_VALUE.into());
        }
        event.check_capture()?;
        let live = session::live()?;
        if !capturing::any() && event.is_complete(live) {
            return Ok(());
        }
        live.post(&StreamWaitEvent { stream: stream.id, event: event.id, flags })?;
        event.settle(live)
    }

    /// The flags that a stream was created with.
    local fn cuStreamGetFlags | cuStreamGetFlags_ptsz[flavour](stream: CUstream, flags: Out<u32>) {
        flags.set(find(stream, flavour)?.flags())
    }

    /// The priority of a stream.
    local fn cuStreamGetPriority | cuStreamGetPriority_ptsz[flavour](stream: CUstream, priority: Out<i32>) {
        priority.set(find(stream, flavour)?.priority())
    }

    /// A number that no other stream of this process has.
    local fn cuStreamGetId | cuStreamGetId_ptsz[flavour](stream: CUstream, id: Out<u64>) {
        id.set(find(stream, flavour)?.id.0.into())
    }

    /// The context of a stream.
    local fn cuStreamGetCtx | cuStreamGetCtx_ptsz[flavour](stream: CUstream, context: Out<CUcontext>) {
        context.set(find(stream, flavour)?.context.handle)
    }

    /// The context of a stream; no stream belongs to a green context here.
    local fn cuStreamGetCtx_v2 | cuStreamGetCtx_v2_ptsz[flavour](stream: CUstream, context: Out<CUcontext>, green: Out<usize>) {
        let stream = find(stream, flavour)?;
        context.set_if_wanted(stream.context.handle);
        green.set_if_wanted(0);
        Ok(())
    }

    /// The device of a stream.
    local fn cuStreamGetDevice | cuStreamGetDevice_ptsz[flavour](stream: CUstream, device: Out<i32>) {
        let stream = find(stream, flavour)?;
        device.set(stream.context.visible)
    }

    /// An attribute of a stream.
    sync fn cuStreamGetAttribute | cuStreamGetAttribute_ptsz[flavour](stream: CUstream, attribute: u32, value: Out<[u64; 4]>) {
        let (stream, value) = (find(stream, flavour)?, value.required()?);
        let reply = session::live()?.call(&StreamGetAttribute { stream: stream.id, attribute })?;
        value.set(reply.value)
    }

    /// Sets an attribute of a stream.
    post fn cuStreamSetAttribute | cuStreamSetAttribute_ptsz[flavour](stream: CUstream, attribute: u32, value: In<[u64; 4]>) {
        let (stream, value) = (working(stream, flavour)?, value.get()?);
        let live = session::live()?;
        let position = live.post(&StreamSetAttribute { stream: stream.id, attribute, value })?;
        // Rare, and the driver alone knows which values it takes.
        Ok(live.session.wait_executed(position)?)
    }

    /// Gives a stream the attributes of another.
    post fn cuStreamCopyAttributes | cuStreamCopyAttributes_ptsz[flavour](dst: CUstream, src: CUstream) {
        let (dst, src) = (working(dst, flavour)?, working(src, flavour)?);
        session::live()?.post(&StreamCopyAttributes { dst: dst.id, src: src.id })?;
        Ok(())
    }

    /// Attaches managed memory to a stream. The device reaches all of it at any time here, so only arguments are checked.
    local fn cuStreamAttachMemAsync | cuStreamAttachMemAsync_ptsz[flavour](stream: CUstream, at: u64, bytes: usize, flags: u32) {
        working(stream, flavour)?;
        let known = memory::find(at).is_some_and(|entry| entry.is_managed());
        let _ = bytes;
        match known && matches!(flags, 1 | 2 | 4) {
            true => Ok(()),
            false => Err(Status::INVALID_VALUE.into()),
        }
    }
}
