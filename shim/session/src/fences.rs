//! Fences: how a client learns that device work is done, without asking.
//!
//! A stream gets a fence word at its first fence or record, and keeps it: values of one stream are written in the order in
//! which they were posted, so a word that serves one stream only grows. Values are drawn while the producer's lock is
//! held, so their order is the ring's. The record of an event draws its value from the word of its stream, so events need
//! no words of their own, and a record serves as a fence too.

use crate::sink::RingSink;
use crate::{Session, SessionError};
use ringbar::client::Client;
use ringbar::error::ChannelError;
use ringbar::sync::{
    AtomicU64,
    Ordering::{Acquire, Relaxed, Release},
};
use ringbar_vocabulary::{EventId, EventRecord, Fence, FenceStatus, PostCommand, Status, StreamId};
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// How often a waiter looks whether its fence can still be reached.
const LOOK_EVERY: Duration = Duration::from_millis(50);
/// Every so many looks the worker is asked about the stream.
const LOOKS_PER_QUESTION: u32 = 2;

/// A point in a stream that can be waited for, any number of times, by any thread.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FenceTicket {
    stream: StreamId,
    index: u32,
    value: u64,
    /// Position of the command that writes it.
    position: u64,
}

impl FenceTicket {
    /// The stream that it is a point of.
    pub fn stream(self) -> StreamId {
        self.stream
    }
}

pub(crate) struct FenceWords {
    /// How many the channel has.
    limit: u32,
    words: Mutex<Words>,
}

#[derive(Default)]
struct Words {
    by_stream: HashMap<u32, Arc<Word>>,
    /// Never used yet, from here up.
    fresh: u32,
    /// Of destroyed streams; free once their last value is written.
    leaving: Vec<Arc<Word>>,
}

struct Word {
    index: u32,
    /// The last value posted; 0 for none. Written only under the producer's lock.
    issued: AtomicU64,
    /// What the session had posted before that. Written after `issued`, under the same lock.
    covers: AtomicU64,
    /// Position of the command that writes it.
    position: AtomicU64,
    /// What the session had posted when the stream was last found idle.
    idle_at: AtomicU64,
}

impl Word {
    /// The last value as a ticket, and whether nothing was posted since that it does not cover.
    ///
    /// `covers` is loaded first: a value that is newer than it covers more, never less.
    fn last(&self, stream: StreamId, work: u64) -> Option<(FenceTicket, bool)> {
        let covers = self.covers.load(Acquire);
        let value = self.issued.load(Relaxed);
        let position = self.position.load(Relaxed);
        let ticket = FenceTicket { stream, index: self.index, value, position };
        (value > 0).then_some((ticket, covers == work))
    }
}

impl FenceWords {
    pub(crate) fn new(client: &Client) -> Self {
        let limit = (0..=16).map(|shift| 1 << shift).take_while(|n| client.fence(n - 1).is_some());
        Self { limit: limit.last().unwrap_or(0), words: Mutex::default() }
    }

    fn words(&self) -> MutexGuard<'_, Words> {
        self.words.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn of(&self, stream: StreamId, client: &Client) -> Result<Arc<Word>, SessionError> {
        let mut words = self.words();
        if let Some(word) = words.by_stream.get(&stream.0) {
            return Ok(Arc::clone(word));
        }
        let word = words.take(self.limit, client)?;
        // What it covered was another stream's work.
        word.covers.store(u64::MAX, Release);
        word.idle_at.store(u64::MAX, Release);
        words.by_stream.insert(stream.0, Arc::clone(&word));
        Ok(word)
    }

    /// A word that belongs to no stream, for as long as the session lives.
    pub(crate) fn keep(&self, client: &Client) -> Result<u32, SessionError> {
        let mut words = self.words();
        if words.fresh == self.limit {
            return Err(SessionError::FenceWords { limit: self.limit });
        }
        let word = words.take_fresh();
        debug_assert_eq!(client.fence(word.index), Some(0), "nobody wrote it yet");
        Ok(word.index)
    }

    /// The stream is destroyed.
    pub(crate) fn release(&self, stream: StreamId) {
        let mut words = self.words();
        if let Some(word) = words.by_stream.remove(&stream.0) {
            words.leaving.push(word);
        }
    }
}

impl Words {
    fn take(&mut self, limit: u32, client: &Client) -> Result<Arc<Word>, SessionError> {
        let settled =
            |word: &Arc<Word>| client.fence(word.index) >= Some(word.issued.load(Relaxed));
        if let Some(at) = self.leaving.iter().position(settled) {
            return Ok(self.leaving.swap_remove(at));
        }
        if self.fresh == limit {
            return Err(SessionError::FenceWords { limit });
        }
        Ok(Arc::new(self.take_fresh()))
    }

    fn take_fresh(&mut self) -> Word {
        let index = self.fresh;
        self.fresh += 1;
        let [issued, covers, position] = [const { AtomicU64::new(0) }; 3];
        Word { index, issued, covers, position, idle_at: AtomicU64::new(u64::MAX) }
    }
}

impl Session {
    /// A point behind everything posted to `stream` so far: the last one, if nothing was posted since, else a new fence.
    pub fn fence(&self, stream: StreamId) -> Result<FenceTicket, SessionError> {
        let shared = &*self.shared;
        let word = shared.fences.of(stream, &shared.client)?;
        if let Some((ticket, true)) = word.last(stream, shared.counters.work()) {
            return Ok(ticket);
        }
        self.mark(&word, stream, |index, value| Fence { stream, index, value })
    }

    /// Records an event and answers with a point of its stream that is reached when the record is complete. Never for a
    /// stream that captures: nothing would write its value.
    pub fn record_event(
        &self,
        event: EventId,
        stream: StreamId,
        flags: u32,
    ) -> Result<FenceTicket, SessionError> {
        let shared = &*self.shared;
        let word = shared.fences.of(stream, &shared.client)?;
        self.mark(&word, stream, |index, value| EventRecord { event, stream, flags, index, value })
    }

    /// Whether everything posted to `stream` so far is done. Asks the worker only where the last fence says nothing.
    pub fn query(&self, stream: StreamId) -> Result<bool, SessionError> {
        let shared = &*self.shared;
        let word = shared.fences.of(stream, &shared.client)?;
        let work = shared.counters.work();
        match word.last(stream, work) {
            // What came later is not done before it either.
            Some((last, covers)) if covers || !self.is_reached(last) => Ok(self.is_reached(last)),
            _ if word.idle_at.load(Acquire) == work => Ok(true),
            _ => self.ask_idle(&word, stream, work),
        }
    }

    /// The exact answer comes from the worker, behind all that was posted. A fence is posted only behind work that is
    /// found unfinished: on an idle stream it would itself be what the next question finds unfinished.
    fn ask_idle(&self, word: &Word, stream: StreamId, work: u64) -> Result<bool, SessionError> {
        if !self.is_idle(stream)? {
            self.mark(word, stream, |index, value| Fence { stream, index, value })?;
            return Ok(false);
        }
        // The question counts as well. If nothing else came meanwhile, the stream stays idle until something does.
        let now = self.shared.counters.work();
        if now == work + 1 {
            word.idle_at.store(now, Release);
        }
        Ok(true)
    }

    /// Asks the worker whether a stream has nothing to do.
    fn is_idle(&self, stream: StreamId) -> Result<bool, SessionError> {
        match self.caller()?.call(&FenceStatus { stream }) {
            Ok(reply) => Ok(reply.status == 0),
            // Whatever is wrong with the stream is reported by whoever waits for it.
            Err(error) if error.status().is_some() => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Posts a command that writes the next value of a word.
    fn mark<C: PostCommand>(
        &self,
        word: &Word,
        stream: StreamId,
        command: impl Fn(u32, u64) -> C,
    ) -> Result<FenceTicket, SessionError> {
        let shared = &*self.shared;
        let index = word.index;
        let bytes = command(index, 0).encoded_len();
        let mut value = 0;
        let position = shared.client.post_with(bytes, |room| {
            value = word.issued.load(Relaxed) + 1;
            word.issued.store(value, Relaxed);
            word.covers.store(shared.counters.work(), Release);
            shared.counters.sent.count(C::ROW);
            command(index, value).encode(&mut RingSink(room));
        })?;
        word.position.store(position, Relaxed);
        Ok(FenceTicket { stream, index, value, position: self.posted(position)? })
    }

    /// Whether the fence is reached: one load of shared memory.
    #[inline]
    pub fn is_reached(&self, ticket: FenceTicket) -> bool {
        self.shared.client.fence(ticket.index) >= Some(ticket.value)
    }

    /// Waits until the fence is reached, then reports failures of posts that were not reported yet. Polls for up to 20 ms
    /// before it sleeps, where there are processors for it.
    ///
    /// Ends as well when the worker is gone, and with the first failure if that made the device unusable or is the
    /// fence's own.
    pub fn wait(&self, ticket: FenceTicket) -> Result<(), SessionError> {
        self.wait_within(ticket, None)
    }

    /// The same; after `limit` it ends with [`ChannelError::Deadline`].
    pub fn wait_within(
        &self,
        ticket: FenceTicket,
        limit: Option<Duration>,
    ) -> Result<(), SessionError> {
        self.reach(ticket, limit)?;
        self.check()
    }

    /// As [`Session::wait`], but sleeps as soon as it can: for callers who asked for that.
    pub fn wait_asleep(&self, ticket: FenceTicket) -> Result<(), SessionError> {
        self.reach_by(ticket, None, Client::wait_fence)?;
        self.check()
    }

    /// Waits until all work posted to `stream` so far is done, then reports failures of posts.
    pub fn synchronise(&self, stream: StreamId) -> Result<(), SessionError> {
        self.wait(self.fence(stream)?)
    }

    pub(crate) fn reach(
        &self,
        ticket: FenceTicket,
        limit: Option<Duration>,
    ) -> Result<(), SessionError> {
        self.reach_by(ticket, limit, Client::wait_device_fence)
    }

    /// `first` is how it waits at first.
    fn reach_by(
        &self,
        ticket: FenceTicket,
        limit: Option<Duration>,
        first: WaitFence,
    ) -> Result<(), SessionError> {
        if self.is_reached(ticket) {
            return Ok(());
        }
        let mut wait = first;
        // A limit beyond what a clock can say is none.
        let end = limit.and_then(|limit| Some((Instant::now().checked_add(limit)?, limit)));
        let mut looks = 0_u32;
        loop {
            let left = end.map(|(end, _)| end.saturating_duration_since(Instant::now()));
            let slice = left.map_or(LOOK_EVERY, |left| left.min(LOOK_EVERY));
            match wait(&self.shared.client, ticket.index, ticket.value, Some(slice)) {
                Ok(()) => return Ok(()),
                Err(ChannelError::Deadline { .. }) => {
                    wait = Client::wait_fence;
                    looks = looks.wrapping_add(1);
                    if self.is_over(ticket, looks.is_multiple_of(LOOKS_PER_QUESTION))? {
                        return Ok(());
                    }
                }
                Err(error) => return Err(error.into()),
            }
            if let Some((_, limit)) = end.filter(|(end, _)| Instant::now() >= *end) {
                return Err(ChannelError::Deadline { limit }.into());
            }
        }
    }

    /// Whether the fence's point is passed although nobody writes its value any more, or the failure for which it never
    /// will be. With `ask` the worker is asked too: work can fail with no command's position.
    fn is_over(&self, ticket: FenceTicket, ask: bool) -> Result<bool, SessionError> {
        let failure = self.first_failure();
        match failure {
            Some((position, status)) if status.is_sticky() || position == ticket.position => {
                return Err(self.failed_for(position, status));
            }
            _ if !ask => return Ok(false),
            _ => {}
        }
        match self.caller()?.call(&FenceStatus { stream: ticket.stream }) {
            // Without the value: then the command that was to write it failed, which is latched.
            Ok(reply) if reply.status == 0 => Ok(!self.is_reached(ticket)),
            Ok(reply) if reply.status == Status::NOT_READY.0 => Ok(false),
            Ok(reply) => {
                let status = Status(reply.status);
                Err(SessionError::Status { function: "FenceStatus", status })
            }
            Err(error) => match (error.status(), failure) {
                (Some(Status::NOT_SUPPORTED), _) => Ok(false),
                // A destroyed stream's work still completes; one that could not be created has none.
                (Some(Status::INVALID_HANDLE), None) => Ok(false),
                (Some(Status::INVALID_HANDLE), Some((position, status))) => {
                    Err(self.failed_for(position, status))
                }
                _ => Err(error),
            },
        }
    }

    fn failed_for(&self, position: u64, status: Status) -> SessionError {
        self.shared.failures_reported.fetch_max(1, Relaxed);
        SessionError::PostFailed { position, status }
    }
}

/// How a client waits for the value of a fence word.
type WaitFence = fn(&Client, u32, u64, Option<Duration>) -> Result<(), ChannelError>;
