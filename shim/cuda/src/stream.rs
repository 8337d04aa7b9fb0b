//! Streams: which one a handle means.

use crate::failure::Outcome;
use crate::tls;
use crate::types::{CUstream, DefaultStream};
use ringbar_vocabulary::{Status, StreamId};

/// The stream that a handle means in the current context: null by the function's own spelling, 1 the legacy default
/// stream, 2 the thread's own.
#[inline]
pub fn resolve(stream: CUstream, default: DefaultStream) -> Outcome<StreamId> {
    let context = tls::current()?;
    match (stream.0, default) {
        (0, DefaultStream::Legacy) | (1, _) => Ok(context.id.default_stream()),
        _ => Err(Status::INVALID_HANDLE.into()),
    }
}
