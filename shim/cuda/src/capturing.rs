//! Captures: which streams record into graphs, what they forbid, and whom.
//!
//! The executor begins every capture in the relaxed mode, since one thread of it serves all threads of a program: what a
//! stricter mode forbids, and which thread, is decided here. A call that is refused for it breaks the captures that
//! forbade it, as CUDA says, and so does a call that can never be made on a capturing stream.
//!
//! Captures begin and end by calls of this process, but a stream can also join one by waiting for an event of a capturing
//! stream; so while any capture is active, the executor is asked.

use crate::arg::InOut;
use crate::context::Context;
use crate::failure::{Failure, Outcome};
use crate::graph::Graph;
use crate::memory::captured;
use crate::session;
use crate::stream::Working;
use ringbar::sync::{AtomicU64, AtomicUsize, Ordering::*};
use ringbar_vocabulary::{
    ArenaRef, GraphId, Status, StreamBeginCapture, StreamBeginCaptureToGraph, StreamCaptureInfo,
    StreamCaptureInfoReply, StreamCaptureInvalidate, StreamId, Tail,
};
use std::cell::Cell;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// `CU_STREAM_CAPTURE_MODE_GLOBAL`: forbids unsafe calls in all threads.
const GLOBAL: u32 = 0;
/// `CU_STREAM_CAPTURE_MODE_RELAXED`: forbids no call that could be allowed.
const RELAXED: u32 = 2;

/// `CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED`.
pub const UNSUPPORTED: Status = Status(900);
/// `CUDA_ERROR_STREAM_CAPTURE_IMPLICIT`.
const IMPLICIT: Status = Status(906);
/// `CUDA_ERROR_CAPTURED_EVENT`.
const CAPTURED_EVENT: Status = Status(907);
/// `CUDA_ERROR_STREAM_CAPTURE_WRONG_THREAD`.
pub const WRONG_THREAD: Status = Status(908);

/// A capture that was begun and not ended.
struct Capture {
    /// The stream that began it.
    origin: StreamId,
    /// Its number for the executor's driver.
    id: u64,
    context: &'static Context,
    /// Whether the legacy default stream waits for the stream that began it.
    blocking: bool,
    mode: u32,
    thread: u64,
    /// The graph that existed before, if it captures into one.
    target: Option<&'static Graph>,
}

impl Capture {
    /// Whether the legacy default stream of that context would have to wait for what is captured.
    fn holds_up_legacy_of(&self, context: &Context) -> bool {
        self.blocking && std::ptr::eq(self.context, context)
    }
}

static ACTIVE: AtomicUsize = AtomicUsize::new(0);
static CAPTURES: Mutex<Vec<Capture>> = Mutex::new(Vec::new());

thread_local! {
    /// `CUstreamCaptureMode` of the calling thread; global at first.
    static MODE: Cell<u32> = const { Cell::new(GLOBAL) };
    /// The calling thread's number; 0 before it was asked for.
    static THREAD: Cell<u64> = const { Cell::new(0) };
}

fn thread() -> u64 {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    if THREAD.get() == 0 {
        THREAD.set(NEXT.fetch_add(1, Relaxed));
    }
    THREAD.get()
}

fn captures() -> MutexGuard<'static, Vec<Capture>> {
    CAPTURES.lock().unwrap_or_else(PoisonError::into_inner)
}

/// INVALID_VALUE for what is no mode.
fn check_mode(mode: u32) -> Outcome {
    if mode > RELAXED { Err(Status::INVALID_VALUE.into()) } else { Ok(()) }
}

/// Begins a capture, which forbids what its mode says.
pub fn begin(stream: &Working, mode: u32) -> Outcome {
    check_mode(mode)?;
    session::live()?.call(&StreamBeginCapture { stream: stream.id, mode: RELAXED })?;
    begun(stream, mode, None)
}

/// The same into a graph, behind nodes of it, whose numbers are given as they travel.
pub fn begin_in(stream: &Working, mode: u32, graph: &'static Graph, nodes: &[u8]) -> Outcome {
    check_mode(mode)?;
    let (stream_id, nodes) = (stream.id, Tail::Inline(nodes));
    session::live()?.call(&StreamBeginCaptureToGraph {
        stream: stream_id,
        graph: graph.id(),
        mode: RELAXED,
        nodes,
    })?;
    begun(stream, mode, Some(graph))
}

fn begun(stream: &Working, mode: u32, target: Option<&'static Graph>) -> Outcome {
    let id = info(stream.id)?.id;
    let (origin, context, blocking) = (stream.id, stream.context, stream.is_blocking());
    let mut captures = captures();
    captures.push(Capture { origin, id, context, blocking, mode, thread: thread(), target });
    ACTIVE.store(captures.len(), Release);
    Ok(())
}

/// The graph that existed before a stream began to capture into it, if it does.
pub fn target(stream: StreamId) -> Option<&'static Graph> {
    captures().iter().find(|capture| capture.origin == stream)?.target
}

/// The capture that a stream began is over.
pub fn ended(stream: StreamId) {
    let mut captures = captures();
    captures.retain(|capture| capture.origin != stream);
    ACTIVE.store(captures.len(), Release);
}

/// Whether only another thread may end the stream's capture.
pub fn is_anothers(stream: StreamId) -> bool {
    let anothers = |c: &Capture| c.origin == stream && c.mode != RELAXED && c.thread != thread();
    captures().iter().any(anothers)
}

fn is_origin(stream: StreamId) -> bool {
    captures().iter().any(|capture| capture.origin == stream)
}

/// Whether any stream captures.
#[inline]
pub fn any() -> bool {
    ACTIVE.load(Acquire) > 0
}

/// Whether the stream captures, itself or by having joined a capture.
#[inline]
pub fn is_capturing(stream: &Working) -> Outcome<bool> {
    if !any() { Ok(false) } else { ask(stream.id) }
}

#[cold]
fn ask(stream: StreamId) -> Outcome<bool> {
    Ok(is_origin(stream) || info(stream)?.status != 0)
}

/// What the executor says about a stream's capture.
pub fn info(stream: StreamId) -> Outcome<StreamCaptureInfoReply> {
    let nodes = ArenaRef::default();
    session::live()?.call(&StreamCaptureInfo { stream, graph: GraphId(0), nodes })
}

/// The number of the capture that the stream takes part in.
pub fn id_of(stream: StreamId) -> Outcome<u64> {
    Ok(info(stream)?.id)
}

fn invalidate(stream: StreamId) -> Outcome {
    session::live()?.call(&StreamCaptureInvalidate { stream })?;
    Ok(())
}

/// Breaks the captures that are meant.
fn invalidate_all(which: impl Fn(&Capture) -> bool) -> Outcome<bool> {
    let captures = captures();
    let origins: Vec<StreamId> =
        captures.iter().filter(|capture| which(capture)).map(|capture| capture.origin).collect();
    drop(captures);
    origins.iter().try_for_each(|&origin| invalidate(origin))?;
    Ok(!origins.is_empty())
}

/// Refuses to tell of an event that was recorded in the capture of that number: CAPTURED_EVENT while it goes on, which
/// breaks it; INVALID_VALUE when it is over.
pub fn refuse_event(id: u64) -> Failure {
    match invalidate_all(|capture| capture.id == id) {
        Ok(true) => CAPTURED_EVENT.into(),
        Ok(false) => Status::INVALID_VALUE.into(),
        Err(failure) => failure,
    }
}

/// Whether the capture of that number goes on.
pub fn goes_on(id: u64) -> bool {
    captures().iter().any(|capture| capture.id == id)
}

/// Refuses a call that would wait for work: UNSUPPORTED on a stream that captures, which breaks the capture.
#[inline]
pub fn refuse(stream: &Working) -> Outcome {
    if any() { refuse_on(stream.id) } else { Ok(()) }
}

#[cold]
fn refuse_on(stream: StreamId) -> Outcome {
    match info(stream)?.status {
        0 => Ok(()),
        _ => {
            invalidate(stream)?;
            Err(UNSUPPORTED.into())
        }
    }
}

/// Refuses work of a whole context in which a stream captures.
pub fn refuse_in(context: &Context) -> Outcome {
    if !any() {
        return Ok(());
    }
    match invalidate_all(|capture| std::ptr::eq(capture.context, context))? {
        true => Err(UNSUPPORTED.into()),
        false => Ok(()),
    }
}

/// Refuses what a capture forbids that this thread or, with the global mode, any thread began, unless this thread chose
/// the relaxed mode: calls that may wait for the device, or change it for all streams.
#[inline]
pub fn unsafe_call() -> Outcome {
    if any() { forbid() } else { Ok(()) }
}

#[cold]
fn forbid() -> Outcome {
    let (mode, thread) = (MODE.get(), thread());
    let forbids = |capture: &Capture| match mode {
        RELAXED => false,
        _ if capture.thread == thread => capture.mode != RELAXED,
        GLOBAL => capture.mode == GLOBAL,
        _ => false,
    };
    if invalidate_all(forbids)? { Err(UNSUPPORTED.into()) } else { Ok(()) }
}

/// Refuses a use of the legacy default stream of a context in which a stream captures that it waits for.
#[inline]
pub fn legacy_use(context: &Context) -> Outcome {
    if any() { refuse_legacy(context) } else { Ok(()) }
}

#[cold]
fn refuse_legacy(context: &Context) -> Outcome {
    match invalidate_all(|capture| capture.holds_up_legacy_of(context))? {
        true => Err(IMPLICIT.into()),
        false => Ok(()),
    }
}

/// The same for a question, which breaks no capture.
pub fn legacy_question(stream: &Working) -> Outcome {
    let holds_up = |capture: &Capture| capture.holds_up_legacy_of(stream.context);
    match any() && stream.is_legacy() && captures().iter().any(holds_up) {
        true => Err(IMPLICIT.into()),
        false => Ok(()),
    }
}

/// A context's captures are gone with its streams.
pub fn forget_context(context: &Context) {
    let mut captures = captures();
    let gone: Vec<Capture> =
        captures.extract_if(.., |capture| std::ptr::eq(capture.context, context)).collect();
    ACTIVE.store(captures.len(), Release);
    drop(captures);
    gone.iter().for_each(|capture| captured::hand_over(capture.id, capture.target));
}

entry! {
    /// Exchanges the calling thread's capture mode.
    local fn cuThreadExchangeStreamCaptureMode(mode: InOut<u32>) {
        let new = mode.get()?;
        if new > RELAXED {
            return Err(Status::INVALID_VALUE.into());
        }
        mode.set(MODE.replace(new))
    }
}
