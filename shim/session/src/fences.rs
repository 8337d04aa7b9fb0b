//! Fences: how a client learns that device work is done, without asking.
//!
//! A stream gets a fence word at its first fence, and keeps it: values of one stream are written in the order in which
//! they were posted, so a word that serves one stream only grows. Values are drawn while the producer's lock is held,
//! so their order is the ring's.

use crate::sink::RingSink;
use crate::{Session, SessionError};
use ringbar::client::Client;
use ringbar::error::ChannelError;
use ringbar::sync::{AtomicU64, Ordering::Relaxed};
use ringbar_vocabulary::{Command, Fence, Status, StreamId};
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// How often a waiter looks whether its fence can still be reached.
const LOOK_EVERY: Duration = Duration::from_millis(50);
/// Status codes that make a device unusable: after one of these no fence is written any more.
const STICKY: std::ops::RangeInclusive<u32> = 700..=799;

/// A point in a stream that can be waited for, any number of times, by any thread.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FenceTicket {
    index: u32,
    value: u64,
    /// Position of the fence's command.
    position: u64,
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
    /// The last value posted. Written only under the producer's lock.
    issued: AtomicU64,
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
        words.by_stream.insert(stream.0, Arc::clone(&word));
        Ok(word)
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
        let word = Word { index: self.fresh, issued: AtomicU64::new(0) };
        self.fresh += 1;
        Ok(Arc::new(word))
    }
}

impl Session {
    /// Posts a fence behind everything posted to `stream` so far.
    pub fn fence(&self, stream: StreamId) -> Result<FenceTicket, SessionError> {
        let shared = &*self.shared;
        let word = shared.fences.of(stream, &shared.client)?;
        let index = word.index;
        let bytes = Fence { stream, index, value: 0 }.encoded_len();
        let mut value = 0;
        let position = shared.client.post_with(bytes, |room| {
            value = word.issued.load(Relaxed) + 1;
            word.issued.store(value, Relaxed);
            shared.counters.sent.count(Fence::ROW);
            Fence { stream, index, value }.encode(&mut RingSink(room));
        })?;
        Ok(FenceTicket { index, value, position: self.posted(position)? })
    }

    /// Whether the fence is reached: one load of shared memory.
    #[inline]
    pub fn is_reached(&self, ticket: FenceTicket) -> bool {
        self.shared.client.fence(ticket.index) >= Some(ticket.value)
    }

    /// Waits until the fence is reached, then reports failures of posts that were not reported yet.
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

    /// Waits until all work posted to `stream` so far is done, then reports failures of posts.
    pub fn synchronise(&self, stream: StreamId) -> Result<(), SessionError> {
        self.wait(self.fence(stream)?)
    }

    pub(crate) fn reach(
        &self,
        ticket: FenceTicket,
        limit: Option<Duration>,
    ) -> Result<(), SessionError> {
        let end = limit.map(|limit| (Instant::now() + limit, limit));
        loop {
            let left = end.map(|(end, _)| end.saturating_duration_since(Instant::now()));
            let slice = left.map_or(LOOK_EVERY, |left| left.min(LOOK_EVERY));
            match self.shared.client.wait_fence(ticket.index, ticket.value, Some(slice)) {
                Ok(()) => return Ok(()),
                Err(ChannelError::Deadline { .. }) => self.still_reachable(ticket)?,
                Err(error) => return Err(error.into()),
            }
            if let Some((_, limit)) = end.filter(|(end, _)| Instant::now() >= *end) {
                return Err(ChannelError::Deadline { limit }.into());
            }
        }
    }

    /// The first failure, if it is why the fence will never be written.
    fn still_reachable(&self, ticket: FenceTicket) -> Result<(), SessionError> {
        match self.first_failure() {
            Some((position, status)) if is_sticky(status) || position == ticket.position => {
                self.shared.failures_reported.fetch_max(1, Relaxed);
                Err(SessionError::PostFailed { position, status })
            }
            _ => Ok(()),
        }
    }
}

fn is_sticky(status: Status) -> bool {
    STICKY.contains(&status.0)
}
