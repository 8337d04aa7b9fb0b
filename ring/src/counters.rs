//! Counters of a channel, published in its header where a third process can read them.
//!
//! Each side writes its own line, with plain stores, once a batch. What can be derived from positions is: lines waiting
//! are `tail - released`, doorbells suppressed are `batches - bells rung`. What several threads count (waits, replies,
//! failed posts) may be published in another order than it was counted, so such a word can lag for a moment.

use crate::layout::line;
use crate::lines::Lines;
use crate::progress;
use crate::sync::Ordering;

/// Words of the client's counter line.
#[derive(Clone, Copy)]
pub(crate) enum ClientWord {
    Tail,
    Commands,
    Batches,
    Bells,
    Parks,
    FullWaits,
    ArenaWaits,
    Bytes,
}

/// Words of the worker's counter line.
#[derive(Clone, Copy)]
pub(crate) enum WorkerWord {
    EventsTail,
    Commands,
    Replies,
    Bells,
    Parks,
    EmptyWakes,
    Bytes,
    Errors,
}

pub(crate) fn set_client<L: Lines>(header: &L, word: ClientWord, value: u64) {
    header.store(line::CLIENT_COUNTERS, word as usize, value, Ordering::Relaxed);
}

pub(crate) fn set_worker<L: Lines>(header: &L, word: WorkerWord, value: u64) {
    header.store(line::WORKER_COUNTERS, word as usize, value, Ordering::Relaxed);
}

/// What both sides of a channel have counted in this generation.
///
/// Each number is what its side claims; a hostile side can write anything. Numbers are read one after the other while
/// the sides go on counting.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Lines submitted (the client's tail).
    pub lines_submitted: u64,
    /// Commands submitted.
    pub commands_submitted: u64,
    /// Publications: a batch is one.
    pub batches: u64,
    /// Times the client rang the worker's doorbell.
    pub client_bells: u64,
    /// Times a client thread blocked.
    pub client_parks: u64,
    /// Times a client thread found the ring full.
    pub full_waits: u64,
    /// Times a client thread found the arena full.
    pub arena_waits: u64,
    /// Payload bytes submitted, in the ring and through the arena.
    pub client_bytes: u64,
    /// Lines released by the worker.
    pub lines_released: u64,
    /// Position after the last command executed.
    pub executed: u64,
    /// Position before which no command uses its arena bytes any more.
    pub retired: u64,
    /// Commands executed.
    pub commands_executed: u64,
    /// Replies given.
    pub replies: u64,
    /// Times the worker rang the client's doorbell.
    pub worker_bells: u64,
    /// Times the worker blocked.
    pub worker_parks: u64,
    /// Wake-ups of the worker that found no command.
    pub empty_wakes: u64,
    /// Payload bytes consumed from the ring.
    pub worker_bytes: u64,
    /// Posted commands that failed.
    pub errors: u64,
    /// Events that found their ring full.
    pub events_lost: u64,
}

impl Counters {
    /// Reads the counters of the channel with this header.
    pub fn read<L: Lines>(header: &L) -> Self {
        let client =
            |w: ClientWord| header.load(line::CLIENT_COUNTERS, w as usize, Ordering::Relaxed);
        let worker =
            |w: WorkerWord| header.load(line::WORKER_COUNTERS, w as usize, Ordering::Relaxed);
        Self {
            lines_submitted: client(ClientWord::Tail),
            commands_submitted: client(ClientWord::Commands),
            batches: client(ClientWord::Batches),
            client_bells: client(ClientWord::Bells),
            client_parks: client(ClientWord::Parks),
            full_waits: client(ClientWord::FullWaits),
            arena_waits: client(ClientWord::ArenaWaits),
            client_bytes: client(ClientWord::Bytes),
            lines_released: header.load(line::COMMAND_HEAD, 0, Ordering::Relaxed),
            executed: progress::executed(header).to_show(),
            retired: progress::retired(header).to_show(),
            commands_executed: worker(WorkerWord::Commands),
            replies: worker(WorkerWord::Replies),
            worker_bells: worker(WorkerWord::Bells),
            worker_parks: worker(WorkerWord::Parks),
            empty_wakes: worker(WorkerWord::EmptyWakes),
            worker_bytes: worker(WorkerWord::Bytes),
            errors: worker(WorkerWord::Errors),
            events_lost: progress::events_lost(header),
        }
    }

    /// Publications for which no doorbell was needed.
    pub fn bells_suppressed(&self) -> u64 {
        self.batches.saturating_sub(self.client_bells)
    }

    /// Lines submitted and not yet released.
    pub fn lines_waiting(&self) -> u64 {
        self.lines_submitted.saturating_sub(self.lines_released)
    }
}
