//! Numbers that the client chooses: streams, events, modules, functions. Never reused within a session.

use crate::SessionError;
use ringbar::sync::{AtomicU64, Ordering::Relaxed};
use ringbar_vocabulary::{EventId, FunctionId, ModuleId, StreamId};

pub(crate) struct Ids {
    streams: Counter,
    events: Counter,
    modules: Counter,
    functions: Counter,
}

impl Ids {
    pub(crate) fn new() -> Self {
        Self {
            streams: Counter::new("stream"),
            events: Counter::new("event"),
            modules: Counter::new("module"),
            functions: Counter::new("function"),
        }
    }

    pub(crate) fn stream(&self) -> Result<StreamId, SessionError> {
        self.streams.next().map(StreamId)
    }

    /// Keeps a number that the caller chose itself from being given out.
    pub(crate) fn taken_stream(&self, stream: StreamId) {
        self.streams.next.fetch_max(u64::from(stream.0) + 1, Relaxed);
    }

    pub(crate) fn event(&self) -> Result<EventId, SessionError> {
        self.events.next().map(EventId)
    }

    pub(crate) fn module(&self) -> Result<ModuleId, SessionError> {
        self.modules.next().map(ModuleId)
    }

    pub(crate) fn function(&self) -> Result<FunctionId, SessionError> {
        self.functions.next().map(FunctionId)
    }
}

struct Counter {
    kind: &'static str,
    /// 64 bits wide, so that the end of 32 is noticed.
    next: AtomicU64,
}

impl Counter {
    /// Starts at 1: stream 0 is the default stream.
    fn new(kind: &'static str) -> Self {
        Self { kind, next: AtomicU64::new(1) }
    }

    fn next(&self) -> Result<u32, SessionError> {
        let next = self.next.fetch_add(1, Relaxed);
        u32::try_from(next).map_err(|_| SessionError::Ids { kind: self.kind })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_begin_at_one_and_skip_what_was_taken() {
        let ids = Ids::new();
        assert_eq!(ids.stream().expect("the first"), StreamId(1));
        ids.taken_stream(StreamId(9));
        ids.taken_stream(StreamId(3));
        assert_eq!(ids.stream().expect("behind the taken one"), StreamId(10));
    }

    #[test]
    fn the_end_of_the_numbers_is_an_error_and_not_a_repetition() {
        let ids = Ids::new();
        ids.taken_stream(StreamId(u32::MAX));
        assert!(matches!(ids.stream(), Err(SessionError::Ids { kind: "stream" })));
    }
}
