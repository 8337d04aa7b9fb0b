//! Numbers that the client chooses: streams, events, modules, pools, graphs and so on. Never reused within a session.

use crate::SessionError;
use ringbar::sync::{AtomicU64, Ordering::Relaxed};
use ringbar_vocabulary::{
    ArrayId, ContextId, EventId, FunctionId, GraphExecId, GraphId, MemoryId, ModuleId, PoolId,
    StreamId,
};

/// From here on numbers mean something by themselves.
const RESERVED: u32 = StreamId::DEFAULTS;
const _: () = assert!(RESERVED == PoolId::DEFAULTS);

pub(crate) struct Ids {
    streams: Counter,
    events: Counter,
    modules: Counter,
    functions: Counter,
    contexts: Counter,
    pools: Counter,
    memories: Counter,
    graphs: Counter,
    graph_execs: Counter,
    arrays: Counter,
}

impl Ids {
    pub(crate) fn new() -> Self {
        Self {
            streams: Counter::new("stream"),
            events: Counter::new("event"),
            modules: Counter::new("module"),
            functions: Counter::new("function"),
            contexts: Counter::from("context", ContextId::FIRST_CREATED.0),
            pools: Counter::new("pool"),
            memories: Counter::new("memory"),
            graphs: Counter::new("graph"),
            graph_execs: Counter::new("executable graph"),
            arrays: Counter::new("array"),
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

    pub(crate) fn context(&self) -> Result<ContextId, SessionError> {
        self.contexts.next().map(ContextId)
    }

    pub(crate) fn pool(&self) -> Result<PoolId, SessionError> {
        self.pools.next().map(PoolId)
    }

    pub(crate) fn memory(&self) -> Result<MemoryId, SessionError> {
        self.memories.next().map(MemoryId)
    }

    pub(crate) fn graph(&self) -> Result<GraphId, SessionError> {
        self.graphs.next().map(GraphId)
    }

    pub(crate) fn graph_exec(&self) -> Result<GraphExecId, SessionError> {
        self.graph_execs.next().map(GraphExecId)
    }

    pub(crate) fn array(&self) -> Result<ArrayId, SessionError> {
        self.arrays.next().map(ArrayId)
    }
}

struct Counter {
    kind: &'static str,
    /// 64 bits wide, so that the end is noticed and not passed.
    next: AtomicU64,
}

impl Counter {
    /// Starts at 1: stream 0 is the default stream.
    fn new(kind: &'static str) -> Self {
        Self::from(kind, 1)
    }

    fn from(kind: &'static str, first: u32) -> Self {
        Self { kind, next: AtomicU64::new(first.into()) }
    }

    fn next(&self) -> Result<u32, SessionError> {
        let next = self.next.fetch_add(1, Relaxed);
        match u32::try_from(next) {
            // The upper half names what exists by itself: default streams of contexts, default pools of devices.
            Ok(number) if number < RESERVED => Ok(number),
            _ => Err(SessionError::Ids { kind: self.kind }),
        }
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
