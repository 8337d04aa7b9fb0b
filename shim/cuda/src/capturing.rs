//! Which streams capture, as far as the calls that record no graph must know.
//!
//! Captures begin and end by calls of this process, but a stream can also join one by waiting for an event of a capturing
//! stream; so while any capture is active, the executor is asked.

use crate::arg::Out;
use crate::context::Context;
use crate::failure::Outcome;
use crate::session;
use crate::stream::{STREAMS, Working};
use ringbar::sync::{AtomicUsize, Ordering::*};
use ringbar_vocabulary::{ArenaRef, GraphId, Status, StreamCaptureInfo, StreamId};
use std::cell::Cell;
use std::collections::HashSet;
use std::sync::{Mutex, PoisonError};

/// `CU_STREAM_CAPTURE_MODE_RELAXED`: how every capture runs in the executor. One thread of it serves all threads of a
/// program, so a stricter mode would forbid a thread what another thread's capture forbids itself, and would know nothing
/// of the mode that a thread chose for the moment.
pub const RELAXED: u32 = 2;

/// `CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED`.
pub const UNSUPPORTED: Status = Status(900);

static ACTIVE: AtomicUsize = AtomicUsize::new(0);
static ORIGINS: Mutex<Option<HashSet<u32>>> = Mutex::new(None);

/// A stream began to capture, or ended it.
pub fn note_capture(stream: StreamId, captures: bool) {
    let mut origins = ORIGINS.lock().unwrap_or_else(PoisonError::into_inner);
    let origins = origins.get_or_insert_default();
    match captures {
        true => origins.insert(stream.0),
        false => origins.remove(&stream.0),
    };
    ACTIVE.store(origins.len(), Release);
}

fn is_origin(stream: StreamId) -> bool {
    let origins = ORIGINS.lock().unwrap_or_else(PoisonError::into_inner);
    origins.as_ref().is_some_and(|origins| origins.contains(&stream.0))
}

/// Whether any stream captures.
#[inline]
pub fn any() -> bool {
    ACTIVE.load(Acquire) > 0
}

/// Whether a stream of that context began a capture.
pub fn any_of(context: &Context) -> bool {
    let of_context = |stream: &crate::stream::Stream| {
        std::ptr::eq(stream.context, context) && is_origin(stream.id)
    };
    any() && STREAMS.alive().any(|(_, stream)| of_context(stream))
}

/// Whether the stream captures, itself or by having joined a capture.
#[inline]
pub fn is_capturing(stream: &Working) -> Outcome<bool> {
    if !any() { Ok(false) } else { ask(stream.id) }
}

#[cold]
fn ask(stream: StreamId) -> Outcome<bool> {
    if is_origin(stream) {
        return Ok(true);
    }
    let nodes = ArenaRef::default();
    let question = StreamCaptureInfo { stream, graph: GraphId(0), nodes };
    Ok(session::live()?.call(&question)?.status != 0)
}

thread_local! {
    /// `CUstreamCaptureMode` of the calling thread; global at first.
    static MODE: Cell<u32> = const { Cell::new(0) };
}

entry! {
    /// Exchanges the calling thread's capture mode. Captures forbid no call here, see [`RELAXED`].
    local fn cuThreadExchangeStreamCaptureMode(mode: Out<u32>) {
        let new = mode.get()?;
        if new > RELAXED {
            return Err(Status::INVALID_VALUE.into());
        }
        mode.set(MODE.replace(new))
    }
}
